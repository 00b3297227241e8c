//! The schema that questions are about, as the agent's role sees it now.

use std::collections::BTreeSet;

use plain_question::{Column, ForeignKey, Kind, Schema, Table};
use serde_json::Value;
use tokio_postgres::{Error, Row, types::Type};

use crate::{
    Agent,
    read_only::{ReadError, Reader},
};

const SCHEMA: &str = include_str!("schema.sql");

/// How many tables a question can be about; those of the search path come first.
const MOST_TABLES: i64 = 1_000;

/// If a column has more different texts than this, they are not looked at.
const MOST_VALUES: i64 = 100;

/// Longer texts are not taken for names of anything.
const LONGEST_VALUE: i64 = 60;

/// How many bytes of table descriptions may be read in any case.
const LEAST_BYTES: usize = 768 << 10;

/// Reads the schema, with one query.
///
/// An exchange may have somewhat more than three times the bytes of a result.
pub(super) async fn read(reader: &Reader, agent: &Agent) -> Result<Schema, ReadError> {
    let most_bytes = (3 * reader.limits.result_bytes).max(LEAST_BYTES);
    let most_bytes = i64::try_from(most_bytes).unwrap_or(i64::MAX);
    let parameters = [
        (&MOST_TABLES as _, Type::INT8),
        (&MOST_VALUES as _, Type::INT8),
        (&LONGEST_VALUE as _, Type::INT8),
        (&most_bytes as _, Type::INT8),
    ];
    let rows = reader.ask(agent, SCHEMA, &parameters).await?;
    let tables = rows.iter().map(table).collect::<Result<Vec<_>, _>>();
    let mut tables = tables.map_err(|_| ReadError::Unreadable)?;
    leave_out_what_cannot_be_joined(&mut tables);
    Ok(Schema { tables })
}

/// Removes foreign keys that refer to what the role may not read: it cannot query by them, and is not told of them.
fn leave_out_what_cannot_be_joined(tables: &mut [Table]) {
    let columns: BTreeSet<(String, String, String)> = tables
        .iter()
        .flat_map(|table| {
            let names = table.columns.iter().map(|column| column.name.clone());
            names.map(|name| (table.schema.clone(), table.name.clone(), name))
        })
        .collect();
    for table in tables {
        table.foreign_keys.retain(|key| {
            key.targets.iter().all(|target| {
                columns.contains(&(key.schema.clone(), key.table.clone(), target.clone()))
            })
        });
    }
}

fn table(row: &Row) -> Result<Table, Error> {
    let rows: Option<i64> = row.try_get("row_estimate")?;
    let mut table = Table {
        schema: row.try_get("schema")?,
        name: row.try_get("name")?,
        comment: row.try_get("comment")?,
        columns: list(row.try_get("columns")?, column),
        is_in_part: row.try_get("is_in_part")?,
        rows: rows.and_then(|rows| u64::try_from(rows).ok()),
        ..Table::default()
    };
    for key in list(row.try_get("keys")?, Value::clone) {
        if key["primary"] == true {
            table.primary_key = texts(&key["columns"]);
        } else {
            table.foreign_keys.push(foreign_key(&key));
        }
    }
    // A role that may not read a column cannot query by it.
    let columns = &table.columns;
    let is_known = |name: &String| columns.iter().any(|column| column.name == *name);
    table
        .foreign_keys
        .retain(|key| key.columns.iter().all(is_known));
    if !table.primary_key.iter().all(is_known) {
        table.primary_key.clear();
    }
    Ok(table)
}

fn list<T>(json: Option<&str>, read: impl Fn(&Value) -> T) -> Vec<T> {
    let json = json.and_then(|text| serde_json::from_str::<Vec<Value>>(text).ok());
    json.unwrap_or_default().iter().map(read).collect()
}

fn column(value: &Value) -> Column {
    Column {
        name: text(&value["name"]),
        type_name: text(&value["type"]),
        kind: match value["kind"].as_str() {
            Some("boolean") => Kind::Boolean,
            Some("number") => Kind::Number,
            Some("text") => Kind::Text,
            Some("enum") => Kind::Enum,
            Some("date") => Kind::Date,
            _ => Kind::Other,
        },
        is_nullable: value["nullable"] == true,
        comment: value["comment"].as_str().map(str::to_owned),
        values: texts(&value["values"]),
        needs_cast: value["needs_cast"] == true,
    }
}

fn foreign_key(value: &Value) -> ForeignKey {
    ForeignKey {
        columns: texts(&value["columns"]),
        schema: text(&value["schema"]),
        table: text(&value["table"]),
        targets: texts(&value["targets"]),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    let values = value.as_array().map(Vec::as_slice).unwrap_or_default();
    values.iter().map(text).collect()
}
