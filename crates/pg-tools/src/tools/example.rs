//! `largest_tables`: where the bytes are.

use std::sync::Arc;

use serde_json::json;
use tokio_postgres::types::Type;

use super::{Answer, Call, Definition, Effect, Failure, Found, Offer, Tool};
use crate::read_only::{ReadError, Reader};

const DEFINITION: Definition<'_> = Definition {
    name: "largest_tables",
    title: "Largest tables",
    description: "Lists the tables that take the most space, the largest first.",
    input_schema: r#"{"type":"object","properties":{"limit":{"type":"integer","minimum":1,"maximum":100,"default":10},"database":{"type":"string"}},"additionalProperties":false}"#,
    output_schema: r#"{"type":"object","properties":{"tables":{"type":"array","items":{"type":"object","properties":{"name":{"type":"string"},"bytes":{"type":"integer"}},"required":["name","bytes"]}}},"required":["tables"]}"#,
    effect: Effect::Reads,
    offer: Offer::OptIn,
};

const LARGEST: &str = "SELECT c.oid::pg_catalog.regclass::text, pg_catalog.pg_total_relation_size(c.oid) \
     FROM pg_catalog.pg_class c \
     WHERE c.relkind IN ('r', 'm') AND pg_catalog.has_table_privilege(c.oid, 'SELECT') \
       AND c.relnamespace <> 'pg_catalog'::pg_catalog.regnamespace \
     ORDER BY 2 DESC, 1 LIMIT $1";

/// The tool.
pub(crate) struct LargestTables(pub(crate) Arc<Reader>);

impl Tool for LargestTables {
    fn definition(&self) -> Definition<'_> {
        DEFINITION
    }

    fn call<'a>(&'a self, call: Call<'a>) -> Answer<'a> {
        Box::pin(self.run(call))
    }
}

impl LargestTables {
    async fn run(&self, mut call: Call<'_>) -> Result<Found, Failure> {
        let agent = &call.on_database()?;
        let limit = call.arguments.number("limit", 1..=100, 10)? as i64;
        call.arguments.finish()?;
        let rows = self.0.ask(agent, LARGEST, &[(&limit, Type::INT8)]).await?;
        let tables: Vec<(String, i64)> = rows
            .iter()
            .map(|row| Ok::<_, tokio_postgres::Error>((row.try_get(0)?, row.try_get(1)?)))
            .collect::<Result<_, _>>()
            .map_err(ReadError::lost)?;
        let lines = tables
            .iter()
            .map(|(name, bytes)| format!("{name}\t{bytes}"));
        let listed = tables
            .iter()
            .map(|(name, bytes)| json!({ "name": name, "bytes": bytes }));
        let structured = json!({ "tables": listed.collect::<Vec<_>>() });
        Ok(Found::new(&structured).data(lines.collect::<Vec<_>>().join("\n")))
    }
}
