//! `execute_write`: one statement that changes rows, for agents that may.

use std::{fmt::Write as _, sync::Arc};

use mcp_protocol::Json;

use super::{Answer, Call, Definition, Effect, Failure, Found, Offer, Tool};
use crate::{
    render::{self, Rendered},
    writing::{Writer, Written},
};

const USUAL_ROWS: u64 = 100;

/// The JSON schema of a change's result.
pub(super) const OUTPUT_SCHEMA: &str = r#"{"type":"object","properties":{"affected_rows":{"type":"integer"},"besides":{"type":"integer","description":"Rows changed as well by foreign keys, triggers, rules or moves between partitions, if any"},"columns":{"type":"array","items":{"type":"object","properties":{"name":{"type":"string"},"type":{"type":"string"}},"required":["name","type"]}},"rows":{"type":"array","items":{"type":"array","items":{"type":["string","number","boolean","null"]}}},"row_count":{"type":"integer"},"truncated":{"type":"boolean","description":"Not all returned rows are shown"}},"required":["affected_rows"]}"#;

const DEFINITION: Definition<'_> = Definition {
    name: "execute_write",
    title: "Change rows",
    description: "Runs one INSERT, UPDATE or DELETE, which may have RETURNING, and keeps it. When it changes more than max_rows, nothing is changed. \
        In a session also CREATE TEMP TABLE, DROP TABLE pg_temp.name, SET, RESET, PREPARE, EXECUTE or DEALLOCATE, for the calls after it.",
    input_schema: r#"{"type":"object","properties":{"query":{"type":"string","description":"One statement"},"max_rows":{"type":"integer","minimum":0,"default":100},"database":{"type":"string"}},"required":["query"],"additionalProperties":false}"#,
    output_schema: OUTPUT_SCHEMA,
    effect: Effect::Writes,
    offer: Offer::OptIn,
};

/// The tool.
pub(crate) struct ExecuteWrite(pub(crate) Arc<Writer>);

impl Tool for ExecuteWrite {
    fn definition(&self) -> Definition<'_> {
        DEFINITION
    }

    fn call<'a>(&'a self, call: Call<'a>) -> Answer<'a> {
        Box::pin(self.run(call))
    }
}

impl ExecuteWrite {
    async fn run(&self, mut call: Call<'_>) -> Result<Found, Failure> {
        let agent = &call.in_session()?;
        let query = call.arguments.text("query")?;
        let most_rows = call
            .arguments
            .number("max_rows", 0..=u64::MAX, USUAL_ROWS)?;
        call.arguments.finish()?;
        let line = agent.line().map(|line| &line.name);
        let is_known = line.is_some_and(|name| agent.session().knows(name));
        let written = self.0.write(agent, &query, &[], most_rows).await?;
        let mut found = found(&written);
        if let (Some(name), Some(idle)) = (line, written.begun) {
            found = found.said(format!(
                "(kept for the calls of this session, until it ends or is idle for {} s)",
                idle.as_secs_f64()
            ));
            if !is_known {
                call.client
                    .hold(Box::new(agent.session().tie(name.clone())));
            }
        }
        Ok(found)
    }
}

/// Returns the result that says what was changed.
pub(super) fn found(written: &Written) -> Found {
    let Written {
        affected, besides, ..
    } = *written;
    let mut said = match &written.done {
        Some(done) => done.clone(),
        None => format!("{} affected", render::row_count(affected)),
    };
    let mut counts = format!("\"affected_rows\":{affected}");
    if besides > 0 {
        _ = write!(
            said,
            " (and {besides} besides, by foreign keys, triggers, rules or moves between partitions)"
        );
        _ = write!(counts, ",\"besides\":{besides}");
    }
    let Some(rows) = &written.rows else {
        return Found::raw(Json::written(format!("{{{counts}}}"))).said(said);
    };
    let Rendered { text, structured } = render::rows(rows);
    let rest = structured.as_str().strip_prefix('{').unwrap_or("}");
    let structured = Json::written(format!("{{{counts},{rest}"));
    let mut found = Found::raw(structured).said(said).data(text);
    if rows.cut.is_some() {
        found = found.said(format!(
            "({} of them shown: they are too large together)",
            rows.count()
        ));
    }
    found
}
