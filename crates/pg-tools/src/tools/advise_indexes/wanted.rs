//! Indexes that the caller suggested.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Planned, candidates::create_index, uses};
use crate::{
    arguments::Arguments,
    quoting::{identifier, repeated, written},
    tools::{Failure, Found, count_rows::add_tables, named::Named, partitions::Wholes},
};

/// An index, in the form that the tool's schema gives it.
#[derive(Deserialize)]
pub(super) struct Wanted {
    table: String,
    columns: Vec<String>,
    #[serde(default)]
    using: Method,
}

/// The kinds of index that hypopg supports, among those that come with PostgreSQL.
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
    /// Reads the indexes that are to be tried, if any.
    pub(super) fn read(arguments: &mut Arguments) -> Result<Vec<Self>, String> {
        let given = arguments
            .optional_value("indexes")
            .unwrap_or_else(|| json!([]));
        serde_json::from_value(given).map_err(|wrong| format!("indexes: {wrong}"))
    }

    /// Writes the statement that would create the index, if the query reads its table.
    fn statement(&self, read: &BTreeSet<(String, String)>) -> Result<String, Failure> {
        let readings = Named::readings(&self.table);
        let is_it = |(schema, table): &&(String, String)| {
            let is_in = |named: &Named| named.schema.as_ref().is_none_or(|it| it == schema);
            let mut readings = readings.iter();
            readings.any(|named| named.table == *table && is_in(named))
        };
        let mut found = read.iter().filter(is_it);
        let (Some((schema, table)), None) = (found.next(), found.next()) else {
            return Err(Failure::Quoted(format!(
                "ERROR: indexes: \"{}\" must be one of the tables that the query reads: {}",
                repeated(&self.table),
                names(read)
            )));
        };
        let using = format!(" USING {}", self.using.name());
        let columns: Vec<_> = self.columns.iter().map(|name| identifier(name)).collect();
        Ok(create_index("", (schema, table), &using, &columns))
    }
}

/// Writes the statements that would create the indexes, whose tables the plan must read.
pub(super) fn statements(
    wanted: &[Wanted],
    plan: &Value,
    wholes: &Wholes,
) -> Result<Vec<String>, Failure> {
    let mut read = BTreeSet::new();
    add_tables(plan, &mut read);
    read.extend(wholes.tables().cloned());
    wanted.iter().map(|index| index.statement(&read)).collect()
}

/// Returns the failure that nothing can be tried.
pub(super) fn not_installed() -> Failure {
    Failure::told(
        "indexes can only be tried with the extension hypopg, which is not installed in this database: the operator runs CREATE EXTENSION hypopg",
    )
}

/// Says what all the indexes together save.
pub(super) fn found(statements: &[String], cost: f64, planned: &Planned) -> Found {
    let saved = (1_000.0 * (cost - planned.cost) / cost).round() / 10.0;
    let first = format!(
        "The query costs {cost:.0} by the planner's estimate, and with these indexes {:.0}, which saves {saved:.1} %:",
        planned.cost
    );
    let mut lines = Vec::new();
    let mut advice = Vec::new();
    for (statement, index) in statements.iter().zip(&planned.imagined) {
        let is_used = uses(&planned.plan, &index.name);
        let used = if is_used { "used" } else { "not used" };
        let kilobytes = index.size_bytes / 1024;
        lines.push(format!("- {statement}: {used}, about {kilobytes} kB"));
        let others = statements.iter().filter(|other| *other != statement);
        advice.push(json!({
            "statement": statement,
            "cost_after": planned.cost,
            "saved_percent": saved,
            "size_bytes": index.size_bytes,
            "together_with": others.collect::<Vec<_>>(),
            "used": is_used,
        }));
    }
    let structured =
        json!({ "method": "hypopg", "cost": cost, "advice": advice, "complete": true });
    Found::new(&structured).said(first).data(lines.join("\n"))
}

/// Writes the names of tables as in SQL.
fn names(tables: &BTreeSet<(String, String)>) -> String {
    let names = tables
        .iter()
        .map(|(schema, table)| format!("{}.{}", written(schema), written(table)));
    names.collect::<Vec<_>>().join(", ")
}
