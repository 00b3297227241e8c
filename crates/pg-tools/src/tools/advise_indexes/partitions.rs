//! Partitions in a plan: what helps a query on a partitioned table is an index of that table, and not one of each
//! partition, which saves the less the more of them there are.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tokio_postgres::types::Type;

use crate::{
    Agent,
    read_only::{ReadError, Reader},
    tools::count_rows::add_tables,
};

/// A table with its schema.
type Named = (String, String);

/// The field that marks a node of a plan which reads a partition, and tells of the table instead.
const MARK: &str = "Partitioned";

/// The partitions of which a plan ($1 schemas, $2 names) reads several, each with the table that it is of. A single
/// one was named itself, or is all that the query needs.
const WHOLES: &str = "SELECT w.* FROM ( \
       SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text, o.nspname::pg_catalog.text, r.relname::pg_catalog.text, \
              pg_catalog.count(*) OVER (PARTITION BY r.oid) AS parts \
       FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) t(schema, name) \
       JOIN pg_catalog.pg_namespace n ON n.nspname = t.schema \
       JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.name AND c.relispartition \
       JOIN pg_catalog.pg_class r ON r.oid = pg_catalog.pg_partition_root(c.oid) \
       JOIN pg_catalog.pg_namespace o ON o.oid = r.relnamespace \
     ) w(schema, name, whole_schema, whole_name, parts) WHERE w.parts > 1";

/// Says of a node of a plan whether it tells of a partitioned table.
pub(super) fn is_of_partitioned(node: &Value) -> bool {
    node[MARK] == true
}

/// Gives the alias that a partitioned table has where its partitions are joined or sorted: theirs, but for a number.
pub(super) fn alias_of_whole(alias: &str) -> Option<&str> {
    let (whole, number) = alias.rsplit_once('_')?;
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(whole)
}

/// Has a plan tell of partitioned tables where it tells of several partitions of one.
pub(super) async fn join(
    reader: &Reader,
    agent: &Agent,
    plan: &mut Value,
) -> Result<(), ReadError> {
    let mut read = BTreeSet::new();
    add_tables(plan, &mut read);
    if read.len() < 2 {
        return Ok(());
    }
    let (schemas, names): (Vec<String>, Vec<String>) = read.into_iter().unzip();
    let parameters = [
        (&schemas as _, Type::TEXT_ARRAY),
        (&names as _, Type::TEXT_ARRAY),
    ];
    let rows = reader.ask(agent, WHOLES, &parameters).await?;
    let mut wholes = BTreeMap::new();
    for row in &rows {
        let text = |place| row.try_get::<_, String>(place);
        let pair = |first, second| Ok((text(first)?, text(second)?));
        let (part, whole) = pair(0, 1)
            .and_then(|part| Ok((part, pair(2, 3)?)))
            .map_err(|_: tokio_postgres::Error| ReadError::Unreadable)?;
        wholes.insert(part, whole);
    }
    rename(plan, &wholes);
    Ok(())
}

fn rename(node: &mut Value, wholes: &BTreeMap<Named, Named>) {
    let text = |field: &str| node[field].as_str().map(str::to_owned);
    if let (Some(schema), Some(name)) = (text("Schema"), text("Relation Name"))
        && let Some((schema, name)) = wholes.get(&(schema, name))
    {
        node["Schema"] = schema.as_str().into();
        node["Relation Name"] = name.as_str().into();
        node[MARK] = true.into();
    }
    for below in node["Plans"].as_array_mut().into_iter().flatten() {
        rename(below, wholes);
    }
}
