//! Tries any of the tools, switched on, for an agent of a real PostgreSQL.

use private_postgres::Cluster;
use serde_json::Value;
use session_pool::Sessions;

use super::*;
use crate::{Policy, bench::agent_of, client::Silent, shelf::Shelf};

/// An agent with tools.
pub(crate) struct Trial {
    _sessions: Sessions,
    agent: Agent,
    shelf: Shelf,
}

impl Trial {
    /// Creates a trial of the tools that the settings switch on, for a role.
    pub(crate) fn new(cluster: &Cluster, role: &str, settings: Settings) -> Self {
        let (sessions, agent) = agent_of(cluster, role);
        Trial {
            _sessions: sessions,
            agent,
            shelf: Shelf::new(settings).unwrap(),
        }
    }

    /// Creates a trial of one tool, for a role.
    pub(crate) fn of(cluster: &Cluster, role: &str, tool: Arc<dyn Tool>) -> Self {
        let (sessions, agent) = agent_of(cluster, role);
        Trial {
            _sessions: sessions,
            agent,
            shelf: Shelf::of_tools(vec![tool]),
        }
    }

    /// Returns the same trial, for an agent with this policy.
    pub(crate) fn with_policy(mut self, policy: Policy) -> Self {
        self.agent = self.agent.with_policy(policy);
        self
    }

    /// Returns how many rows the agent was given.
    pub(crate) fn rows_given(&self) -> u64 {
        self.agent.totals().rows
    }

    /// Returns whether the agent has a tool.
    pub(crate) fn finds(&self, tool: &str) -> bool {
        self.shelf.find(&self.agent, tool).is_some()
    }

    /// Calls a tool; returns all it says as one text, and what programs read.
    pub(crate) async fn call(&self, tool: &str, given: Value) -> Result<(String, Value), String> {
        let Value::Object(given) = given else {
            panic!("arguments are an object")
        };
        let tool = self.shelf.find(&self.agent, tool).unwrap();
        let found = match tool.call(&self.agent, given, &Silent).await {
            Ok(found) => found,
            Err(Failure::Told(text) | Failure::Quoted(text)) => return Err(text),
            Err(Failure::Unanswered) => panic!("nothing can be asked"),
        };
        let texts = found.texts.into_iter().map(|text| match text {
            Text::Said(text) => text,
            Text::Data(text) => text.plain(),
        });
        let structured = serde_json::from_str(found.structured.as_str()).unwrap();
        let schema = serde_json::from_str(tool.tool.definition().output_schema).unwrap();
        conforms(&structured, &schema, "$");
        Ok((texts.collect::<Vec<_>>().join("\n"), structured))
    }

    pub(crate) async fn done(&self, tool: &str, given: Value) -> (String, Value) {
        let called = self.call(tool, given.clone()).await;
        called.unwrap_or_else(|error| panic!("{tool} {given}: {error}"))
    }

    pub(crate) async fn failed(&self, tool: &str, given: Value) -> String {
        match self.call(tool, given.clone()).await {
            Ok((text, _)) => panic!("{tool} {given}: answered {text}"),
            Err(error) => error,
        }
    }
}

/// Checks a value against the part of JSON Schema that the tools' schemas use.
fn conforms(value: &Value, schema: &Value, place: &str) {
    let is_of = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("{place}: unknown type {other}"),
    };
    let names = match &schema["type"] {
        Value::String(name) => vec![name.as_str()],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => vec![],
    };
    let fits = names.is_empty() || names.iter().any(|name| is_of(name));
    assert!(fits, "{place}: {value} is none of {names:?}");
    if let Some(words) = schema["enum"].as_array() {
        assert!(
            words.contains(value),
            "{place}: {value} is none of {words:?}"
        );
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        assert!(
            value.get(name.as_str().unwrap()).is_some(),
            "{place}: no {name}"
        );
    }
    for (name, inner) in value.as_object().into_iter().flatten() {
        let known = &schema["properties"][name];
        match (known, &schema["additionalProperties"]) {
            (Value::Null, Value::Null) => panic!("{place}: {name} is not in the schema"),
            (Value::Null, other) => conforms(inner, other, &format!("{place}.{name}")),
            (known, _) => conforms(inner, known, &format!("{place}.{name}")),
        }
    }
    for (index, inner) in value.as_array().into_iter().flatten().enumerate() {
        conforms(inner, &schema["items"], &format!("{place}[{index}]"));
    }
}
