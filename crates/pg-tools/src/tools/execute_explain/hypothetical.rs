//! Indexes that a caller would have PostgreSQL plan with, though they are not there.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::{Failure, count_rows::add_tables, hypopg, named::Named, partitions::Wholes};
use crate::{
    Agent,
    arguments::Arguments,
    quoting::{identifier, repeated, written},
    read_only::{Explain, Imagined, Reader},
};

/// Indexes that are not there, with which a query was planned.
pub(super) struct Tried {
    /// What the query costs without them.
    cost: f64,
    /// The statement that would make each, and what came of it.
    indexes: Vec<(String, Imagined)>,
}

impl Tried {
    /// Has a query planned with indexes that are not there; gives what `EXPLAIN` writes, as JSON.
    pub(super) async fn plan(
        reader: &Reader,
        agent: &Agent,
        query: &str,
        wanted: &[Wanted],
    ) -> Result<(String, Self), Failure> {
        let Some(hypopg) = hypopg::schema(reader, agent).await? else {
            return Err(Failure::told(
                "hypothetical_indexes needs the extension hypopg, which is not installed in this database: the operator runs CREATE EXTENSION hypopg",
            ));
        };
        let text = reader.explain(agent, query, Explain::PLANNED).await?;
        let now: Value = serde_json::from_str(&text).unwrap_or_default();
        let plan = &now[0]["Plan"];
        let mut read = BTreeSet::new();
        add_tables(plan, &mut read);
        let wholes = Wholes::of(reader, agent, plan).await?;
        read.extend(wholes.tables().cloned());
        let statements = wanted.iter().map(|index| index.statement(&read));
        let statements: Vec<String> = statements.collect::<Result<_, _>>()?;
        let (imagined, text) = reader.what_if(agent, query, &hypopg, &statements).await?;
        let tried = Tried {
            cost: cost(plan),
            indexes: statements.into_iter().zip(imagined).collect(),
        };
        Ok((text, tried))
    }

    /// Says what they come to, in words and as structured content. `plan` is the one with them.
    pub(super) fn told(&self, plan: &Value) -> (String, Value) {
        let (before, after) = (self.cost, cost(plan));
        let mut lines = vec![format!(
            "With these indexes, which are not there, the query costs {after:.0} by the planner's estimate; without them {before:.0}."
        )];
        let mut listed = Vec::new();
        for (statement, Imagined { name, size_bytes }) in &self.indexes {
            let is_used = hypopg::uses(plan, name);
            let used = if is_used { "used" } else { "not used" };
            lines.push(format!(
                "- {statement}: {used}, about {} kB",
                size_bytes / 1024
            ));
            listed
                .push(json!({ "statement": statement, "used": is_used, "size_bytes": size_bytes }));
        }
        let structured = json!({ "cost": after, "cost_without": before, "indexes": listed });
        (lines.join("\n"), structured)
    }
}

fn cost(plan: &Value) -> f64 {
    plan["Total Cost"].as_f64().unwrap_or_default()
}

/// An index that is asked for, in the form that the tool's schema gives it.
#[derive(Deserialize)]
pub(super) struct Wanted {
    table: String,
    columns: Vec<String>,
    #[serde(default)]
    using: Method,
}

/// The kinds of index that hypopg knows, of those that PostgreSQL brings.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Method {
    #[default]
    Btree,
    Hash,
    Brin,
}

impl Method {
    fn name(self) -> &'static str {
        match self {
            Method::Btree => "btree",
            Method::Hash => "hash",
            Method::Brin => "brin",
        }
    }
}

impl Wanted {
    /// Takes those that are asked for, if any are.
    pub(super) fn read(arguments: &mut Arguments) -> Result<Vec<Self>, String> {
        const NAME: &str = "hypothetical_indexes";
        let given = arguments.optional_value(NAME).unwrap_or_else(|| json!([]));
        serde_json::from_value(given).map_err(|wrong| format!("{NAME}: {wrong}"))
    }

    /// Writes the statement that would make the index, if the query reads its table.
    fn statement(&self, read: &BTreeSet<(String, String)>) -> Result<String, Failure> {
        let readings = Named::readings(&self.table);
        let is_it = |(schema, table): &&(String, String)| {
            let is_in = |named: &Named| named.schema.as_ref().is_none_or(|it| it == schema);
            let mut readings = readings.iter();
            readings.any(|named| named.table == *table && is_in(named))
        };
        let mut found = read.iter().filter(is_it);
        let (Some((schema, table)), None) = (found.next(), found.next()) else {
            return Err(Failure::told(format!(
                "hypothetical_indexes: \"{}\" must be one of the tables that the query reads: {}",
                repeated(&self.table),
                names(read)
            )));
        };
        let columns: Vec<_> = self.columns.iter().map(|name| identifier(name)).collect();
        Ok(format!(
            "CREATE INDEX ON {}.{} USING {} ({})",
            identifier(schema),
            identifier(table),
            self.using.name(),
            columns.join(", ")
        ))
    }
}

/// Writes the names of tables as SQL would have them.
fn names(tables: &BTreeSet<(String, String)>) -> String {
    let names = tables
        .iter()
        .map(|(schema, table)| format!("{}.{}", written(schema), written(table)));
    names.collect::<Vec<_>>().join(", ")
}
