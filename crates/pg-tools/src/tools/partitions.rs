//! Partitions in a plan. What helps a query on a partitioned table is an index on that table, and not one on a
//! partition, which saves less the more partitions there are.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tokio_postgres::{Error, Row, types::Type};

use super::count_rows::add_tables;
use crate::{
    Agent,
    read_only::{ReadError, Reader},
};

/// A table, as its schema and name.
type Named = (String, String);

/// Finds the partitions in a plan ($1 schemas, $2 names) of tables of which it reads several, each with its table, if
/// the agent's list of schemas lets it see that table. A single partition was named itself, or is all that the query
/// needs.
const WHOLES: &str = "SELECT w.* FROM ( \
       SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text, o.nspname::pg_catalog.text, r.relname::pg_catalog.text, \
              pg_catalog.count(*) OVER (PARTITION BY r.oid) AS parts \
       FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) t(schema, name) \
       JOIN pg_catalog.pg_namespace n ON n.nspname = t.schema \
       JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.name AND c.relispartition \
       JOIN pg_catalog.pg_class r ON r.oid = pg_catalog.pg_partition_root(c.oid) \
       JOIN pg_catalog.pg_namespace o ON o.oid = r.relnamespace \
     ) w(schema, name, whole_schema, whole_name, parts) \
     WHERE w.parts > 1 \
       AND COALESCE(w.whole_schema = ANY (NULLIF(pg_catalog.current_setting('mcp.schemas', true), '')::pg_catalog.text[]), true)";

/// The partitioned tables of which a plan reads several partitions, by partition.
#[derive(Default)]
pub(super) struct Wholes(BTreeMap<Named, Named>);

impl Wholes {
    pub(super) async fn of(
        reader: &Reader,
        agent: &Agent,
        plan: &Value,
    ) -> Result<Self, ReadError> {
        let mut read = BTreeSet::new();
        add_tables(plan, &mut read);
        if read.len() < 2 {
            return Ok(Wholes::default());
        }
        let (schemas, names): (Vec<String>, Vec<String>) = read.into_iter().unzip();
        let parameters = [
            (&schemas as _, Type::TEXT_ARRAY),
            (&names as _, Type::TEXT_ARRAY),
        ];
        let rows = reader.ask(agent, WHOLES, &parameters).await?;
        let wholes = rows.iter().map(part_and_whole).collect::<Result<_, _>>();
        wholes.map(Wholes).map_err(|_| ReadError::Unreadable)
    }

    /// Returns the partitioned tables.
    pub(super) fn tables(&self) -> impl Iterator<Item = &Named> {
        self.0.values()
    }

    /// Returns the table that a partition belongs to, if several partitions of that table are read.
    pub(super) fn of_partition(&self, schema: &str, table: &str) -> Option<&Named> {
        self.0.get(&(schema.to_owned(), table.to_owned()))
    }
}

fn part_and_whole(row: &Row) -> Result<(Named, Named), Error> {
    let part = (row.try_get(0)?, row.try_get(1)?);
    Ok((part, (row.try_get(2)?, row.try_get(3)?)))
}

/// Returns the alias that a partitioned table has where its partitions are joined or sorted: theirs without the number.
pub(super) fn alias_of_whole(alias: &str) -> Option<&str> {
    let (whole, number) = alias.rsplit_once('_')?;
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(whole)
}
