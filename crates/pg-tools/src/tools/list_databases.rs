//! `list_databases`: which databases the agent may use, and whether they answer.

use std::{sync::Arc, time::Duration};

use serde_json::json;

use super::{Answer, Definition, Failure, Outcome, Tool};
use crate::{Agent, arguments::Arguments, read_only::Reader};

/// How long a database may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

const DEFINITION: Definition = Definition {
    name: "list_databases",
    title: "List databases",
    description: "Lists the databases that this token may use, which one is current, and whether it can be reached.",
    input_schema: r#"{"type":"object","properties":{},"additionalProperties":false}"#,
    output_schema: r#"{"type":"object","properties":{"databases":{"type":"array","items":{"type":"object","properties":{"name":{"type":"string"},"current":{"type":"boolean"},"reachable":{"type":"boolean"},"version":{"type":["string","null"]}},"required":["name","current","reachable","version"]}}},"required":["databases"]}"#,
};

/// The tool.
pub(crate) struct ListDatabases(pub(crate) Arc<Reader>);

impl Tool for ListDatabases {
    fn definition(&self) -> Definition {
        DEFINITION
    }

    fn call<'a>(&'a self, agent: &'a Agent, arguments: Arguments) -> Answer<'a> {
        Box::pin(async move { Outcome::of(self.run(agent, arguments).await) })
    }
}

impl ListDatabases {
    async fn run(
        &self,
        agent: &Agent,
        arguments: Arguments,
    ) -> Result<(Vec<String>, serde_json::Value), Failure> {
        arguments.finish()?;
        let name = agent.database();
        let asking = self.0.ask(
            agent,
            "SELECT pg_catalog.current_setting('server_version')",
            &[],
        );
        let version: Option<String> = match tokio::time::timeout(PATIENCE, asking).await {
            Ok(Ok(rows)) => rows.first().and_then(|row| row.try_get(0).ok()),
            Ok(Err(_)) | Err(_) => None,
        };
        let state = match &version {
            Some(version) => format!("PostgreSQL {version}"),
            None => "cannot be reached".to_owned(),
        };
        let database = json!({
            "name": name, "current": true, "reachable": version.is_some(), "version": version,
        });
        Ok((
            vec![format!("{name}\tcurrent\t{state}")],
            json!({ "databases": [database] }),
        ))
    }
}
