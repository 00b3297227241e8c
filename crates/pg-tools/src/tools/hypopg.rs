//! The extension hypopg, which has PostgreSQL plan as if indexes were there.

use crate::{
    Agent,
    read_only::{ReadError, Reader},
};

const SCHEMA: &str = "SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_extension e \
     JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'hypopg'";

/// The schema of hypopg, quoted, where it is installed.
pub(super) async fn schema(reader: &Reader, agent: &Agent) -> Result<Option<String>, ReadError> {
    let rows = reader.ask(agent, SCHEMA, &[]).await?;
    Ok(rows.first().and_then(|row| row.try_get(0).ok()))
}

/// Says whether a plan uses an index.
pub(super) fn uses(node: &serde_json::Value, index: &str) -> bool {
    let below = || node["Plans"].as_array().into_iter().flatten();
    node["Index Name"] == index || below().any(|node| uses(node, index))
}
