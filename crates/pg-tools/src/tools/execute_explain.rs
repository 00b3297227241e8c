//! `execute_explain`: how PostgreSQL runs a query, and what to do about it.

mod findings;
mod plan;

use std::sync::Arc;

use serde_json::json;

use super::{Answer, Call, Definition, Effect, Failure, Found, Offer, Tool};
use crate::read_only::{Explain, Reader};
use plan::Plan;

const DEFINITION: Definition<'_> = Definition {
    name: "execute_explain",
    title: "Explain a query",
    description: "Shows the plan of a query and what makes it slow, with a next step for each finding. analyze runs the query (read-only) and measures it.",
    input_schema: r#"{"type":"object","properties":{"query":{"type":"string","description":"One PostgreSQL query, without EXPLAIN"},"analyze":{"type":"boolean","default":true},"buffers":{"type":"boolean","default":true},"format":{"type":"string","enum":["text","json"],"default":"text"},"database":{"type":"string","description":"One of list_databases; default: the current one"}},"required":["query"],"additionalProperties":false}"#,
    output_schema: r#"{"type":"object","properties":{"plan":{"type":"object","description":"As EXPLAIN (FORMAT JSON) gives it"},"findings":{"type":"array","items":{"type":"object","properties":{"finding":{"type":"string"},"next_step":{"type":"string"}},"required":["finding","next_step"]}}},"required":["plan","findings"]}"#,
    effect: Effect::Reads,
    offer: Offer::Usual,
};

/// The tool.
pub(crate) struct ExecuteExplain(pub(crate) Arc<Reader>);

impl Tool for ExecuteExplain {
    fn definition(&self) -> Definition<'_> {
        DEFINITION
    }

    fn call<'a>(&'a self, call: Call<'a>) -> Answer<'a> {
        Box::pin(self.run(call))
    }
}

impl ExecuteExplain {
    async fn run(&self, mut call: Call<'_>) -> Result<Found, Failure> {
        let agent = &call.in_session()?;
        let mut arguments = call.arguments;
        let query = arguments.text("query")?;
        let analyze = arguments.switch("analyze", true)?;
        let buffers = arguments.switch("buffers", true)?;
        let format = arguments.choice("format", &["text", "json"])?;
        arguments.finish()?;

        let text = self
            .0
            .explain(agent, &query, Explain { analyze, buffers })
            .await?;
        let unreadable = |_| Failure::told("the plan is too deep to be read");
        let whole: serde_json::Value = serde_json::from_str(&text).map_err(unreadable)?;
        let explained = whole.get(0).cloned().unwrap_or_default();
        let plan = Plan::read(&explained);
        let findings = findings::of(&plan);

        let shown = if format == "json" {
            format!("{explained:#}")
        } else {
            plan.text()
        };
        let told = findings
            .iter()
            .map(|found| format!("- {}\n  {}", found.finding, found.next_step));
        let told: Vec<String> = told.collect();
        let told = if !analyze {
            "Findings need measurements: call again with analyze true".into()
        } else if told.is_empty() {
            "Findings: none".into()
        } else {
            format!("Findings:\n{}", told.join("\n"))
        };
        let listed: Vec<_> = findings
            .iter()
            .map(|found| json!({ "finding": found.finding, "next_step": found.next_step }))
            .collect();
        let structured = json!({ "plan": explained, "findings": listed });
        Ok(Found::new(&structured).data(shown).data(told))
    }
}
