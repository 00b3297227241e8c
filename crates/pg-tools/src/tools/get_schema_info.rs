//! `get_schema_info`: the tables that the role may read, as they are now.

mod text;

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};
use tokio_postgres::{Error, Row, types::Type};

use super::{Answer, Call, Definition, Effect, Failure, Found, Offer, Tool, named::Named};
use crate::{Agent, arguments::Arguments, read_only::Reader};

const DEFINITION: Definition<'_> = Definition {
    name: "get_schema_info",
    title: "Look at the schema",
    description: "Tables and views that this token may read, with columns, keys, indexes and comments. Many tables at once are only listed: call again with schema_name, table_name or search.",
    input_schema: r#"{"type":"object","properties":{"schema_name":{"type":"string"},"table_name":{"type":"string","description":"table or schema.table"},"search":{"type":"string","description":"Part of a table's or column's name or comment"},"vector_tables_only":{"type":"boolean","default":false},"compact":{"type":"boolean","default":false,"description":"Names and types only"},"database":{"type":"string","description":"One of list_databases; default: the current one"}},"additionalProperties":false}"#,
    output_schema: r#"{"type":"object","properties":{"tables":{"type":"array","items":{"type":"object","properties":{"schema":{"type":"string"},"name":{"type":"string"},"kind":{"type":"string"},"parents":{"type":"array"},"children":{"type":"array"},"child_count":{"type":"integer"},"columns":{"type":"array"}},"required":["schema","name","kind"]}},"summary":{"type":"boolean","description":"Some tables are only named or counted"},"table_count":{"type":"integer"}},"required":["tables","summary","table_count"]}"#,
    effect: Effect::Reads,
    offer: Offer::Usual,
};

pub(super) const TABLES: &str = include_str!("get_schema_info/tables.sql");

/// If there are more tables than this and the call does not choose among them, their parts are left out.
const MOST_WITH_PARTS: i64 = 10;

/// Beyond about this many columns, the parts of further tables are left out.
const MOST_COLUMNS: usize = 10_000;

/// A rough estimate of what a column takes in an answer; the answer has a limit, too.
const BYTES_OF_A_COLUMN: usize = 100;

/// Beyond this many tables, further ones are only counted.
const MOST_TABLES: i64 = 1_000;

/// For how many schemas the number of relations is given: those with the most.
const MOST_SCHEMAS: i64 = 50;

/// How many of the tables that inherit from one are named.
const MOST_CHILDREN: i32 = 20;

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

/// Returns the structured form of one relation; `None` if the role may not read any of that name.
pub(crate) async fn schema_of(
    reader: &Arc<Reader>,
    agent: &Agent,
    schema: &str,
    table: &str,
) -> Result<Option<Value>, Failure> {
    let request = Request {
        schema: Some(schema.to_owned()),
        table: Some(table.to_owned()),
        search: None,
        vectors: false,
        compact: false,
    };
    let listing = GetSchemaInfo(reader.clone()).list(agent, &request).await?;
    Ok(listing.tables.into_iter().next())
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
        let mut request = Request::read(arguments)?;
        if let (None, Some(given)) = (&request.schema, &request.table) {
            let named = Named::find(&self.0, agent, given).await?;
            (request.schema, request.table) = (named.schema, Some(named.table));
        }
        let mut listing = self.list(agent, &request).await?;
        listing.fit(agent.limits(self.0.limits).result_bytes, request.compact);
        if listing.tables.is_empty() {
            return Err(self.nothing(agent, &request).await);
        }
        let structured = json!({
            "tables": listing.tables,
            "summary": listing.is_summary(),
            "table_count": listing.total,
        });
        let found = Found::new(&structured).data(text::of(&listing.tables, request.compact));
        Ok(match text::next_step(&listing) {
            Some(step) => found.said(step),
            None => found,
        })
    }

    /// Returns the failure that nothing fits, with what was probably meant.
    async fn nothing(&self, agent: &Agent, request: &Request) -> Failure {
        if !request.chooses() {
            return Failure::told("there is no table that this token may read");
        }
        let nothing = "no table that this token may read fits";
        let nearest = match request.table.as_ref().or(request.search.as_ref()) {
            Some(wrong) => self.0.nearest_relations(agent, wrong).await,
            None => Vec::new(),
        };
        let failure = if nearest.is_empty() {
            Failure::told(nothing)
        } else {
            Failure::Quoted(format!("ERROR: {nothing}\nNEAREST: {}", nearest.join(", ")))
        };
        failure.hint("call get_schema_info without arguments to see them all")
    }

    async fn list(&self, agent: &Agent, request: &Request) -> Result<Listing, Failure> {
        let chooses = request.chooses();
        let most_bytes = agent.limits(self.0.limits).result_bytes;
        let most_columns = MOST_COLUMNS.min(most_bytes / BYTES_OF_A_COLUMN) as i64;
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
                    (&chooses, Type::BOOL),
                    (&MOST_WITH_PARTS, Type::INT8),
                    (&most_columns, Type::INT8),
                    (&MOST_TABLES, Type::INT8),
                    (&MOST_SCHEMAS, Type::INT8),
                    (&MOST_CHILDREN, Type::INT4),
                ],
            )
            .await?;
        Listing::read(&rows).map_err(|_| Failure::told("the catalogue has an unknown form"))
    }
}

/// The relations that fit.
struct Listing {
    tables: Vec<Value>,
    /// How many there are, including those that are not listed.
    total: i64,
    /// The schemas that they are in, with the number in each.
    schemas: Vec<(String, i64)>,
}

impl Listing {
    fn read(rows: &[Row]) -> Result<Self, Error> {
        let total = rows.first().map_or(Ok(0), |row| row.try_get("total"))?;
        let schemas: Option<String> = rows
            .first()
            .map_or(Ok(None), |row| row.try_get("schemas"))?;
        let schemas = schemas.and_then(|list| serde_json::from_str(&list).ok());
        let tables = rows.iter().map(table).collect::<Result<_, _>>()?;
        Ok(Listing {
            tables,
            total,
            schemas: schemas.unwrap_or_default(),
        })
    }

    /// Leaves out parts, and then relations, beyond `most_bytes` of text; one is named in any case.
    fn fit(&mut self, most_bytes: usize, compact: bool) {
        let mut left = most_bytes;
        let mut fits = |table: &Value| {
            let bytes = text::of(std::slice::from_ref(table), compact).len() + 1;
            let after = left.checked_sub(bytes);
            left = after.unwrap_or(left);
            after.is_some()
        };
        let last = self.tables.iter_mut().position(|table| {
            if fits(table) {
                return false;
            }
            leave_parts_out(table);
            !fits(table)
        });
        self.tables
            .truncate(last.map_or(usize::MAX, |count| count.max(1)));
    }

    /// Returns how many are not listed.
    fn unlisted(&self) -> i64 {
        self.total - self.tables.len() as i64
    }

    /// Returns whether a relation is left out, or the columns of one.
    fn is_summary(&self) -> bool {
        self.unlisted() > 0 || self.tables.iter().any(|table| !has_parts(table))
    }
}

fn has_parts(table: &Value) -> bool {
    table.get("columns").is_some()
}

fn leave_parts_out(table: &mut Value) {
    if let Value::Object(fields) = table {
        for part in [
            "columns",
            "constraints",
            "indexes",
            "parents",
            "children",
            "child_count",
        ] {
            fields.remove(part);
        }
    }
}

/// A column as the catalogue query returns it: number, name, type, whether it is not null, expression, what the
/// expression or the identity is, and the labels, the domains and the fields of its type as JSON.
type Column = [Option<String>; 9];

/// Parses a part that the catalogue query returns as JSON.
fn read(text: Option<impl AsRef<str>>) -> Option<Value> {
    serde_json::from_str(text?.as_ref()).ok()
}

/// Builds the structured form of one relation.
fn table(row: &Row) -> Result<Value, Error> {
    let parts = |column: &str| row.try_get::<_, Option<&str>>(column);
    let comments: BTreeMap<i16, String> = parts("comments")?
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let columns: Option<Vec<Column>> =
        parts("columns")?.and_then(|text| serde_json::from_str(text).ok());
    let columns = columns.map(|columns| in_order(columns, &comments));
    let mut table = json!({
        "schema": row.try_get::<_, &str>("schema")?,
        "name": row.try_get::<_, &str>("name")?,
        "kind": row.try_get::<_, &str>("kind")?,
        "comment": row.try_get::<_, Option<&str>>("comment")?,
        "unpopulated": row.try_get::<_, Option<bool>>("is_unpopulated")?.filter(|is| *is),
        "row_security": row.try_get::<_, Option<bool>>("has_policies")?.filter(|has| *has),
        "locked": row.try_get::<_, bool>("is_held")?.then_some(true),
        "row_estimate": row.try_get::<_, Option<i64>>("row_estimate")?,
        "size_bytes": row.try_get::<_, Option<i64>>("size_bytes")?,
        "partitions": row.try_get::<_, Option<i64>>("partitions")?,
        "partitioned_by": parts("partitioned_by")?,
        "partition_of": parts("partition_of")?,
        "parents": read(parts("parents")?),
        "children": read(parts("children")?),
        "child_count": row.try_get::<_, Option<i64>>("child_count")?,
        "columns": columns,
        "constraints": read(parts("constraints")?),
        "indexes": read(parts("indexes")?),
    });
    tidy(&mut table);
    Ok(table)
}

fn in_order(columns: Vec<Column>, comments: &BTreeMap<i16, String>) -> Vec<Value> {
    let numbered = columns.into_iter().filter_map(|column| {
        let number: i16 = column[0].as_deref()?.parse().ok()?;
        Some((number, column))
    });
    let ordered: BTreeMap<i16, Column> = numbered.collect();
    ordered
        .into_iter()
        .map(|(number, one)| column(one, comments.get(&number)))
        .collect()
}

fn column(column: Column, comment: Option<&String>) -> Value {
    let [
        _,
        name,
        kind,
        not_null,
        expression,
        made,
        labels,
        domains,
        fields,
    ] = column;
    let is_generated = made.as_deref() == Some("generated");
    let (default, generated) = if is_generated {
        (None, expression)
    } else {
        (expression, None)
    };
    json!({
        "name": name,
        "type": kind,
        "nullable": not_null.as_deref() != Some("not null"),
        "not_null": not_null.filter(|kind| kind != "not null"),
        "default": default,
        "generated": generated,
        "identity": made.filter(|_| !is_generated),
        "comment": comment,
        "labels": read(labels),
        "domains": read(domains),
        "fields": read(fields),
    })
}

/// Removes the fields that are null.
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
