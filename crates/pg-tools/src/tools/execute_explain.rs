//! `execute_explain`: how PostgreSQL runs a query, and what to do about it.

mod findings;
mod plan;
mod served;

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    Answer, Call, Definition, Effect, Failure, Found, Offer, Tool, keep_first, partitions::Wholes,
};
use crate::read_only::{Explain, Reader, without_explain};
use findings::Finding;
use plan::Plan;

const DEFINITION: Definition<'_> = Definition {
    name: "execute_explain",
    title: "Explain a query",
    description: "Shows the plan of a query and what makes it slow, with a next step for each finding. analyze runs the query (read-only) and measures it.",
    input_schema: r#"{"type":"object","properties":{"query":{"type":"string","description":"One PostgreSQL query, without EXPLAIN"},"analyze":{"type":"boolean","default":true},"buffers":{"type":"boolean","default":true},"format":{"type":"string","enum":["text","json"],"default":"text"},"database":{"type":"string","description":"One of list_databases; default: the current one"}},"required":["query"],"additionalProperties":false}"#,
    output_schema: r#"{"type":"object","properties":{"plan":{"type":"object","description":"As EXPLAIN (VERBOSE, FORMAT JSON) gives it, without Output; empty where it is too large"},"findings":{"type":"array","items":{"type":"object","properties":{"finding":{"type":"string"},"next_step":{"type":"string"}},"required":["finding","next_step"]}}},"required":["plan","findings"]}"#,
    effect: Effect::Reads,
    offer: Offer::Usual,
};

/// The longest text in a plan that is shown, in bytes.
const LONGEST_TEXT: usize = 2_000;

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
            .explain(agent, without_explain(&query), Explain { analyze, buffers })
            .await?;
        let unreadable = |_| Failure::told("the plan is too deep to be read");
        let mut whole: Value = serde_json::from_str(&text).map_err(unreadable)?;
        let mut explained = whole.get_mut(0).map(Value::take).unwrap_or_default();
        leave_out(&mut explained);
        shorten(&mut explained);
        let wholes = match analyze {
            true => Wholes::of(&self.0, agent, &explained["Plan"]).await?,
            // Nothing is found in a plan without measurements.
            false => Wholes::default(),
        };
        let plan = Plan::read(&explained);
        let most_bytes = agent.limits(self.0.limits).result_bytes;
        let mut findings = findings::of(&plan, &wholes);
        let bytes = |found: &Finding| found.finding.len() + found.next_step.len();
        let mut is_cut = keep_first(&mut findings, most_bytes, bytes) > 0;

        let mut shown = if format == "json" {
            format!("{explained:#}")
        } else {
            plan.text()
        };
        is_cut |= cut(&mut shown, most_bytes);
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
        if explained.to_string().len() > most_bytes {
            is_cut = true;
            explained = json!({});
        }
        let structured = json!({ "plan": explained, "findings": listed });
        let mut found = Found::new(&structured).data(shown).data(told);
        if is_cut {
            found = found.said(format!(
                "(a result may have {most_bytes} bytes, and the plan has more: explain parts of the query, or as text)"
            ));
        }
        Ok(found)
    }
}

/// What `VERBOSE` adds to each node of a plan and nobody needs: it is used for the schemas of tables.
const UNASKED: [&str; 2] = ["Output", "Workers"];

fn leave_out(plan: &mut Value) {
    match plan {
        Value::Array(items) => items.iter_mut().for_each(leave_out),
        Value::Object(fields) => {
            fields.retain(|name, _| !UNASKED.contains(&name.as_str()));
            fields.values_mut().for_each(leave_out);
        }
        _ => {}
    }
}

/// Shortens long texts in a plan: a constant that the planner has computed may be of any size.
fn shorten(plan: &mut Value) {
    match plan {
        Value::String(text) if text.len() > LONGEST_TEXT => {
            cut(text, LONGEST_TEXT);
            text.push_str(" ..");
        }
        Value::Array(items) => items.iter_mut().for_each(shorten),
        Value::Object(fields) => fields.values_mut().for_each(shorten),
        _ => {}
    }
}

/// Cuts a text to at most `most_bytes`; returns whether it was longer.
fn cut(text: &mut String, most_bytes: usize) -> bool {
    let is_longer = text.len() > most_bytes;
    text.truncate(text.floor_char_boundary(most_bytes));
    is_longer
}
