//! A custom tool: the operator's SQL, with the model's values as its parameters.

use std::{error::Error, sync::Arc};

use serde_json::{Map, Number, Value, json};
use tokio_postgres::types::{Format, IsNull, ToSql, Type, private::BytesMut, to_sql_checked};

use super::{
    Answer, Call, Definition, Effect, Failure, Found, Offer, Tool, execute_write, query_database,
};
use crate::{
    Agent,
    custom::{CustomTool, Described},
    read_only::{Cut, Gathered, Parameter, ReadError, Reader, Rows, fields},
    render::{self, Rendered},
    writing::Writer,
};

/// Up to 2^53 every whole number is exact.
const MOST_EXACT: f64 = 9_007_199_254_740_992.0;

/// The tool.
pub(crate) struct CustomQuery {
    tool: CustomTool,
    described: Described,
    input_schema: String,
    /// The tool's query inside ours.
    wrapped: String,
    reader: Arc<Reader>,
    writer: Arc<Writer>,
}

impl Tool for CustomQuery {
    fn definition(&self) -> Definition<'_> {
        let (effect, output_schema) = if self.tool.read_only {
            (Effect::Reads, query_database::OUTPUT_SCHEMA)
        } else {
            (Effect::Writes, execute_write::OUTPUT_SCHEMA)
        };
        Definition {
            name: &self.tool.name,
            title: &self.tool.title,
            description: &self.tool.description,
            input_schema: &self.input_schema,
            output_schema,
            effect,
            offer: Offer::Usual,
        }
    }

    fn is_for(&self, agent: &Agent) -> bool {
        agent.on(&self.tool.database).is_some()
    }

    fn call<'a>(&'a self, call: Call<'a>) -> Answer<'a> {
        Box::pin(self.run(call))
    }
}

impl CustomQuery {
    pub(crate) fn new(
        tool: CustomTool,
        described: Described,
        reader: Arc<Reader>,
        writer: Arc<Writer>,
    ) -> Self {
        let most_bytes = reader.limits.result_bytes;
        // The line breaks keep a comment at the statement's end from swallowing what follows it.
        let wrapped = format!(
            "SELECT CASE WHEN pg_catalog.octet_length(r) <= {most_bytes} THEN r END \
             FROM (SELECT ROW(q.*)::pg_catalog.text AS r FROM (\n{}\n) q LIMIT {}) page",
            described.sql,
            u64::from(tool.max_rows) + 1
        );
        CustomQuery {
            input_schema: input_schema(&tool).to_string(),
            wrapped,
            tool,
            described,
            reader,
            writer,
        }
    }

    async fn run(&self, mut call: Call<'_>) -> Result<Found, Failure> {
        let agent = call.agent.on(&self.tool.database);
        let agent =
            &agent.ok_or_else(|| Failure::told("this token may not use the tool's database"))?;
        agent.note_statement(&self.described.sql);
        let mut values = Vec::new();
        for parameter in &self.tool.parameters {
            let name = &parameter.name;
            let value = match call.arguments.value(name) {
                Some(Value::Number(number)) if parameter.kind == "integer" => Some(
                    whole(&number).ok_or_else(|| Failure::told(format!("{name} is {TOO_LONG}")))?,
                ),
                Some(Value::Array(items)) if items.iter().any(is_rounded) => {
                    return Err(Failure::told(format!(
                        "{name} has {TOO_LONG}; write it as a string"
                    )));
                }
                value => value.as_ref().and_then(text),
            };
            if value.as_ref().is_some_and(|value| value.contains('\0')) {
                return Err(Failure::told(format!(
                    "{name} has a NUL character, which no text in PostgreSQL can have; leave it out"
                )));
            }
            values.push(TextValue(value));
        }
        let parameters: Vec<Parameter<'_>> = values
            .iter()
            .zip(&self.described.types)
            .map(|(value, kind)| (value as &(dyn ToSql + Sync), kind.clone()))
            .collect();
        if self.tool.read_only {
            self.reader.stay_within(agent, &self.described.sql).await?;
            let rows = self.read(agent, &parameters).await?;
            let Rendered { text, structured } = render::rows(&rows);
            let found = Found::raw(structured).data(text);
            return Ok(match note(&rows) {
                Some(note) => found.said(note),
                None => found,
            });
        }
        let most_rows = u64::from(self.tool.max_rows);
        let written = self
            .writer
            .write(agent, &self.described.sql, &parameters, most_rows)
            .await;
        let written = written.map_err(|error| match error {
            // The operator has given the tool its limit.
            ReadError::TooManyRows(_) => Failure::told(format!(
                "{error}; give arguments that fit fewer, or have the operator raise max_rows of the tool"
            )),
            error => error.into(),
        })?;
        Ok(execute_write::found(&written))
    }

    async fn read(&self, agent: &Agent, parameters: &[Parameter<'_>]) -> Result<Rows, Failure> {
        let most_bytes = agent.limits(self.reader.limits).result_bytes;
        let most_rows = agent.most_rows(self.tool.max_rows.into());
        let asked = self.reader.ask_with(agent, &[], &self.wrapped, parameters);
        let found = asked.await?;
        let (mut rows, mut bytes, mut cut) = (Gathered::default(), 0, None);
        let columns = self.described.columns.clone();
        for row in &found {
            let text: Option<&str> = row.try_get(0).map_err(ReadError::lost)?;
            bytes += text.map_or(most_bytes + 1, str::len);
            let Some(text) = text.filter(|_| bytes <= most_bytes) else {
                cut = Some(Cut::Bytes);
                break;
            };
            if rows.count() as u64 == most_rows {
                cut = Some(Cut::Limit);
                break;
            }
            let row = fields(text).ok_or(ReadError::Unreadable)?;
            if row.len() != columns.len().max(1) {
                return Err(Failure::told(
                    "the tables of this tool have changed since it was prepared; the operator must touch the file of custom tools",
                ));
            }
            rows.push_values(row.iter().map(Option::as_deref));
        }
        agent.count_rows(rows.count());
        let mut rows = rows.finish(cut)?;
        rows.columns = columns;
        Ok(rows)
    }
}

fn note(rows: &Rows) -> Option<String> {
    let count = rows.count();
    match rows.cut {
        None if count == 0 => Some("(0 rows)".into()),
        None => None,
        Some(_) => Some(format!(
            "({}, and there are more; this tool gives no more at once)",
            render::row_count(count)
        )),
    }
}

fn input_schema(tool: &CustomTool) -> Value {
    let properties: Map<String, Value> = tool
        .parameters
        .iter()
        .map(|parameter| {
            let mut schema = json!({ "type": parameter.kind });
            if let Some(description) = &parameter.description {
                schema["description"] = json!(description);
            }
            if parameter.kind == "array" {
                schema["items"] = json!({ "type": ["string", "number", "boolean", "null"] });
            }
            (parameter.name.clone(), schema)
        })
        .collect();
    let required = tool
        .parameters
        .iter()
        .filter(|parameter| parameter.required);
    let required: Vec<&str> = required.map(|parameter| &*parameter.name).collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// Writes a whole number, also `2.0`, as PostgreSQL reads it. `None` if it may not be what the client wrote: a number
/// of more than 64 bits was rounded when it was parsed.
fn whole(number: &Number) -> Option<String> {
    if !number.is_f64() {
        return Some(number.to_string());
    }
    let number = number.as_f64()?;
    (number.abs() <= MOST_EXACT).then(|| format!("{number:.0}"))
}

const TOO_LONG: &str = "a number of too many digits, which would be rounded";

/// Returns whether a value is, or contains, a whole number that may not be what the client wrote. The type that
/// PostgreSQL wants is not known here.
fn is_rounded(value: &Value) -> bool {
    match value {
        Value::Number(number) => whole(number).is_none(),
        Value::Array(items) => items.iter().any(is_rounded),
        _ => false,
    }
}

/// Writes a JSON value as PostgreSQL reads it; `None` is NULL.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => {
            let items = items.iter().map(|item| match text(item) {
                None => "NULL".to_owned(),
                Some(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
            });
            Some(format!("{{{}}}", items.collect::<Vec<_>>().join(",")))
        }
        Value::Number(number) => Some(exact(number).unwrap_or_else(|| number.to_string())),
        Value::Bool(_) | Value::Object(_) => Some(value.to_string()),
    }
}

/// Writes `2.0` as the whole number that it is in JSON, which integer types accept as well.
fn exact(number: &Number) -> Option<String> {
    let is_whole = number.as_f64()?.fract() == 0.0;
    whole(number).filter(|_| is_whole)
}

/// A value that PostgreSQL reads as whatever type it wants.
#[derive(Debug)]
struct TextValue(Option<String>);

impl ToSql for TextValue {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        Ok(match &self.0 {
            None => IsNull::Yes,
            Some(text) => {
                out.extend_from_slice(text.as_bytes());
                IsNull::No
            }
        })
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}
