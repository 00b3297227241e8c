//! `get_schema_info`: the tables that the role may read, as they are now.

mod text;

use std::sync::Arc;

use serde_json::{Value, json};
use tokio_postgres::{Error, Row, types::Type};

use super::{Answer, Call, Definition, Effect, Failure, Found, Offer, Tool};
use crate::{arguments::Arguments, read_only::Reader};

const DEFINITION: Definition<'_> = Definition {
    name: "get_schema_info",
    title: "Look at the schema",
    description: "Tables and views that this token may read, with columns, keys, indexes and comments. Many tables at once are only listed: call again with schema_name, table_name or search.",
    input_schema: r#"{"type":"object","properties":{"schema_name":{"type":"string"},"table_name":{"type":"string"},"search":{"type":"string","description":"Part of a table's or column's name or comment"},"vector_tables_only":{"type":"boolean","default":false},"compact":{"type":"boolean","default":false,"description":"Names and types only"},"database":{"type":"string","description":"One of list_databases; default: the current one"}},"additionalProperties":false}"#,
    output_schema: r#"{"type":"object","properties":{"tables":{"type":"array","items":{"type":"object","properties":{"schema":{"type":"string"},"name":{"type":"string"},"kind":{"type":"string"}},"required":["schema","name","kind"]}},"summary":{"type":"boolean","description":"Only names: there are too many tables to show their parts"}},"required":["tables","summary"]}"#,
    effect: Effect::Reads,
    offer: Offer::Usual,
};

const TABLES: &str = include_str!("get_schema_info/tables.sql");

/// With more tables than these and nothing to choose among them, their parts are left out.
const MOST_WITH_PARTS: i64 = 10;

/// The tool.
pub(crate) struct GetSchemaInfo(pub(crate) Arc<Reader>);

impl Tool for GetSchemaInfo {
    fn definition(&self) -> Definition<'_> {
        DEFINITION
    }

    fn call<'a>(&'a self, call: Call<'a>) -> Answer<'a> {
        Box::pin(self.run(call))
    }
}

struct Request {
    schema: Option<String>,
    table: Option<String>,
    search: Option<String>,
    vectors: bool,
    compact: bool,
}

impl Request {
    fn read(mut arguments: Arguments) -> Result<Self, String> {
        let request = Request {
            schema: arguments.optional_text("schema_name")?,
            table: arguments.optional_text("table_name")?,
            search: arguments.optional_text("search")?,
            vectors: arguments.switch("vector_tables_only", false)?,
            compact: arguments.switch("compact", false)?,
        };
        arguments.finish()?;
        Ok(request)
    }

    fn chooses(&self) -> bool {
        self.schema.is_some() || self.table.is_some() || self.search.is_some() || self.vectors
    }
}

impl GetSchemaInfo {
    async fn run(&self, mut call: Call<'_>) -> Result<Found, Failure> {
        let agent = &call.on_database()?;
        let arguments = call.arguments;
        let request = Request::read(arguments)?;
        let with_parts = request.chooses();
        let rows = self
            .0
            .ask(
                agent,
                TABLES,
                &[
                    (&request.schema, Type::TEXT),
                    (&request.table, Type::TEXT),
                    (&request.vectors, Type::BOOL),
                    (&request.search, Type::TEXT),
                    (&with_parts, Type::BOOL),
                    (&MOST_WITH_PARTS, Type::INT8),
                ],
            )
            .await?;
        let odd = |_| Failure::told("the catalogue has an unknown form");
        let tables = rows
            .iter()
            .map(table)
            .collect::<Result<Vec<_>, _>>()
            .map_err(odd)?;
        if tables.is_empty() {
            return Err(Failure::told(nothing(&request)));
        }
        let summary = !with_parts && tables.len() as i64 > MOST_WITH_PARTS;
        let text = text::of(&tables, summary, request.compact);
        Ok(Found::new(&json!({ "tables": tables, "summary": summary })).data(text))
    }
}

fn nothing(request: &Request) -> String {
    if request.chooses() {
        "no table that this token may read fits\nHINT: call get_schema_info without arguments to see them all".into()
    } else {
        "there is no table that this token may read".into()
    }
}

/// Makes the structured form of one relation.
fn table(row: &Row) -> Result<Value, Error> {
    let parts = |column: &str| -> Result<Value, Error> {
        let text: Option<&str> = row.try_get(column)?;
        Ok(text
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or(Value::Null))
    };
    let mut table = json!({
        "schema": row.try_get::<_, &str>("schema")?,
        "name": row.try_get::<_, &str>("name")?,
        "kind": row.try_get::<_, &str>("kind")?,
        "comment": row.try_get::<_, Option<&str>>("comment")?,
        "row_estimate": row.try_get::<_, Option<i64>>("row_estimate")?,
        "size_bytes": row.try_get::<_, Option<i64>>("size_bytes")?,
        "partitions": row.try_get::<_, Option<i64>>("partitions")?,
        "columns": parts("columns")?,
        "constraints": parts("constraints")?,
        "indexes": parts("indexes")?,
    });
    tidy(&mut table);
    Ok(table)
}

/// Leaves out what is not there.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}
