//! Builds schemas from a few words.
#![allow(dead_code, unreachable_pub)] // Each test binary uses its own part.

use plain_question::{Column, ForeignKey, Kind, Schema, Table, translate};

pub fn column(name: &str, kind: Kind) -> Column {
    Column {
        name: name.into(),
        kind,
        ..Column::default()
    }
}

pub fn maybe(column: Column) -> Column {
    Column {
        is_nullable: true,
        ..column
    }
}

pub fn holding(column: Column, values: &[&str]) -> Column {
    Column {
        values: values.iter().map(|value| (*value).to_owned()).collect(),
        ..column
    }
}

pub fn schema(table: &str, columns: Vec<Column>) -> Schema {
    let id = column("id", Kind::Number);
    let table = Table {
        schema: "app".into(),
        name: table.into(),
        columns: std::iter::once(id).chain(columns).collect(),
        primary_key: vec!["id".into()],
        ..Table::default()
    };
    Schema {
        tables: vec![table],
    }
}

/// The condition that the question becomes, or `None` when it is not answered.
pub fn condition(question: &str, schema: &Schema) -> Option<String> {
    let sql = translate(question, schema).ok()?.sql;
    let (_, condition) = sql.split_once("\nWHERE ")?;
    Some(condition.to_owned())
}

/// Adds a foreign key on a column to another table's primary key.
pub fn refers(mut table: Table, column: &str, to: &Table) -> Table {
    table.foreign_keys.push(ForeignKey {
        columns: vec![column.into()],
        schema: to.schema.clone(),
        table: to.name.clone(),
        targets: to.primary_key.clone(),
    });
    table
}
