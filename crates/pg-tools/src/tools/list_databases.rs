//! `list_databases`: which databases the agent may use, and whether they answer.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{Answer, Call, Definition, Effect, Failure, Found, Offer, Tool};
use crate::{Agent, read_only::Reader};

/// How long a database may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

const DEFINITION: Definition<'_> = Definition {
    name: "list_databases",
    title: "List databases",
    description: "Lists the databases that this token may use, which one is current, and whether it can be reached.",
    input_schema: r#"{"type":"object","properties":{},"additionalProperties":false}"#,
    output_schema: r#"{"type":"object","properties":{"databases":{"type":"array","items":{"type":"object","properties":{"name":{"type":"string"},"current":{"type":"boolean"},"reachable":{"type":"boolean"},"version":{"type":["string","null"]}},"required":["name","current","reachable","version"]}}},"required":["databases"]}"#,
    effect: Effect::Reads,
    offer: Offer::Usual,
};

/// The tool.
pub(crate) struct ListDatabases(pub(crate) Arc<Reader>);

impl Tool for ListDatabases {
    fn definition(&self) -> Definition<'_> {
        DEFINITION
    }

    fn call<'a>(&'a self, call: Call<'a>) -> Answer<'a> {
        Box::pin(self.run(call))
    }
}

impl ListDatabases {
    async fn run(&self, call: Call<'_>) -> Result<Found, Failure> {
        let agent = call.agent;
        call.arguments.finish()?;
        let states = agent.databases().map(|name| self.state(agent, name));
        let states = futures_util::future::join_all(states).await;
        let lines: Vec<String> = states.iter().map(State::line).collect();
        let listed: Vec<Value> = states.iter().map(State::structured).collect();
        Ok(Found::new(&json!({ "databases": listed })).data(lines.join("\n")))
    }

    async fn state(&self, agent: &Agent, name: &str) -> State {
        let version = match agent.on(name) {
            Some(there) => self.version(&there).await,
            None => None,
        };
        State {
            name: name.to_owned(),
            current: name == agent.database(),
            version,
        }
    }

    async fn version(&self, agent: &Agent) -> Option<String> {
        let asking = self.0.ask(
            agent,
            "SELECT pg_catalog.current_setting('server_version')",
            &[],
        );
        match tokio::time::timeout(PATIENCE, asking).await {
            Ok(Ok(rows)) => rows.first().and_then(|row| row.try_get(0).ok()),
            Ok(Err(_)) | Err(_) => None,
        }
    }
}

/// The state of a database for an agent.
struct State {
    name: String,
    current: bool,
    /// PostgreSQL's version; `None` if it cannot be reached.
    version: Option<String>,
}

impl State {
    fn line(&self) -> String {
        let current = if self.current { "current" } else { "" };
        let state = match &self.version {
            Some(version) => format!("PostgreSQL {version}"),
            None => "cannot be reached".to_owned(),
        };
        format!("{}\t{current}\t{state}", self.name)
    }

    fn structured(&self) -> Value {
        json!({
            "name": self.name,
            "current": self.current,
            "reachable": self.version.is_some(),
            "version": self.version,
        })
    }
}
