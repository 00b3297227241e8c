//! `count_rows`: how many rows a table has.

use std::sync::Arc;

use serde_json::json;

use super::{Answer, Call, Definition, Effect, Failure, Found, Offer, Tool};
use crate::{
    Agent,
    arguments::Arguments,
    quoting::identifier,
    read_only::{Explain, Page, Reader},
};

const DEFINITION: Definition<'_> = Definition {
    name: "count_rows",
    title: "Count rows",
    description: "Counts the rows of a table, optionally those that a condition selects. estimate takes the planner's guess instead, at once.",
    input_schema: r#"{"type":"object","properties":{"table":{"type":"string"},"schema":{"type":"string","description":"Default: the search path"},"where":{"type":"string","description":"An SQL condition, without WHERE"},"estimate":{"type":"boolean","default":false},"database":{"type":"string","description":"One of list_databases; default: the current one"}},"required":["table"],"additionalProperties":false}"#,
    output_schema: r#"{"type":"object","properties":{"count":{"type":"integer"},"estimated":{"type":"boolean"}},"required":["count","estimated"]}"#,
    effect: Effect::Reads,
    offer: Offer::Usual,
};

const ONE_ROW: Page = Page {
    limit: 1,
    offset: 0,
    is_shown: false,
};

/// The tool.
pub(crate) struct CountRows(pub(crate) Arc<Reader>);

impl Tool for CountRows {
    fn definition(&self) -> Definition<'_> {
        DEFINITION
    }

    fn call<'a>(&'a self, call: Call<'a>) -> Answer<'a> {
        Box::pin(self.run(call))
    }
}

struct Request {
    table: String,
    condition: Option<String>,
    estimate: bool,
}

impl Request {
    fn read(mut arguments: Arguments) -> Result<Self, String> {
        let table = identifier(&arguments.text("table")?);
        let schema = arguments.optional_text("schema")?;
        let condition = arguments.optional_text("where")?;
        let estimate = arguments.switch("estimate", false)?;
        arguments.finish()?;
        let table = match schema {
            Some(schema) => format!("{}.{table}", identifier(&schema)),
            None => table,
        };
        Ok(Request {
            table,
            condition,
            estimate,
        })
    }

    fn filter(&self) -> String {
        self.condition
            .as_ref()
            .map_or_else(String::new, |text| format!(" WHERE (\n{text}\n)"))
    }
}

impl CountRows {
    async fn run(&self, mut call: Call<'_>) -> Result<Found, Failure> {
        let agent = &call.in_session()?;
        let arguments = call.arguments;
        let request = Request::read(arguments)?;
        self.keep_in_place(agent, &request).await?;
        let count = if request.estimate {
            self.estimate(agent, &request).await?
        } else {
            self.count(agent, &request).await?
        };
        let about = if request.estimate { "about " } else { "" };
        let counted = json!({ "count": count, "estimated": request.estimate });
        Ok(Found::new(&counted).said(format!("{about}{}", crate::render::row_count(count))))
    }

    /// Makes sure that a condition does not close the parenthesis that it stands in: what makes sense
    /// between brackets as well closes neither.
    async fn keep_in_place(&self, agent: &Agent, request: &Request) -> Result<(), Failure> {
        if let Some(condition) = &request.condition {
            let table = &request.table;
            let brackets = format!("SELECT ARRAY[\n{condition}\n]::boolean[] FROM {table} LIMIT 0");
            self.0.query(agent, &brackets, ONE_ROW).await?;
        }
        Ok(())
    }

    async fn count(&self, agent: &Agent, request: &Request) -> Result<u64, Failure> {
        let sql = format!("SELECT count(*) FROM {}{}", request.table, request.filter());
        let rows = self.0.query(agent, &sql, ONE_ROW).await.map_err(|error| {
            let is_timeout = error.is_timeout();
            let failure = Failure::from(error);
            if is_timeout {
                failure.hint("the table is large: call again with estimate true")
            } else {
                failure
            }
        })?;
        let count = rows.first_value().and_then(|value| value.parse().ok());
        count.ok_or_else(|| Failure::told("PostgreSQL gave no count"))
    }

    async fn estimate(&self, agent: &Agent, request: &Request) -> Result<u64, Failure> {
        let sql = format!("SELECT FROM {}{}", request.table, request.filter());
        let plan = self
            .0
            .explain(
                agent,
                &sql,
                Explain {
                    analyze: false,
                    buffers: false,
                },
            )
            .await?;
        let plan: serde_json::Value = serde_json::from_str(&plan).unwrap_or_default();
        let rows = plan
            .pointer("/0/Plan/Plan Rows")
            .and_then(serde_json::Value::as_f64);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a planner's guess
        rows.map(|rows| rows.max(0.0) as u64)
            .ok_or_else(|| Failure::told("PostgreSQL gave no estimate"))
    }
}
