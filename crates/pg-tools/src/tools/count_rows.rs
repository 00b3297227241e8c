//! `count_rows`: how many rows a table has.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};
use tokio_postgres::types::Type;

use super::{
    Answer, Call, Definition, Effect, Failure, Found, Offer, Tool,
    condition::{failure, keep_in_place},
    named::Named,
};
use crate::{
    Agent,
    arguments::Arguments,
    quoting::identifier,
    read_only::{Explain, Page, Part, ReadError, Reader},
};

const DEFINITION: Definition<'_> = Definition {
    name: "count_rows",
    title: "Count rows",
    description: "Counts the rows of a table, optionally those that a condition selects. estimate takes the planner's guess instead, at once.",
    input_schema: r#"{"type":"object","properties":{"table":{"type":"string","description":"table or schema.table"},"schema":{"type":"string","description":"Default: the search path"},"where":{"type":"string","description":"An SQL condition, without WHERE"},"estimate":{"type":"boolean","default":false},"database":{"type":"string","description":"One of list_databases; default: the current one"}},"required":["table"],"additionalProperties":false}"#,
    output_schema: r#"{"type":"object","properties":{"count":{"type":"integer"},"estimated":{"type":"boolean"},"unmeasured":{"type":"array","items":{"type":"string"},"description":"Tables without statistics: a guess"}},"required":["count","estimated","unmeasured"]}"#,
    effect: Effect::Reads,
    offer: Offer::Usual,
};

const ONE_ROW: Page = Page {
    limit: 1,
    offset: 0,
    is_shown: false,
};

/// Finds the tables among some that neither `ANALYZE` nor `VACUUM` has processed.
const UNMEASURED: &str = "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) \
     FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) read(schema, name) \
     JOIN pg_catalog.pg_namespace n ON n.nspname = read.schema \
     JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = read.name \
     WHERE c.reltuples < 0 ORDER BY 1";

/// How many of them are named in the text.
const MOST_NAMED: usize = 5;

/// The tool.
pub(crate) struct CountRows(pub(crate) Arc<Reader>);

impl Tool for CountRows {
    fn definition(&self) -> Definition<'_> {
        DEFINITION
    }

    fn call<'a>(&'a self, call: Call<'a>) -> Answer<'a> {
        Box::pin(self.run(call))
    }
}

struct Request {
    /// The table, as SQL.
    table: String,
    condition: Option<String>,
    estimate: bool,
}

impl Request {
    async fn read(
        mut arguments: Arguments,
        reader: &Reader,
        agent: &Agent,
    ) -> Result<Self, Failure> {
        let table = arguments.text("table")?;
        let schema = arguments.optional_text("schema")?;
        let condition = arguments.optional_text("where")?;
        let estimate = arguments.switch("estimate", false)?;
        arguments.finish()?;
        let named = match schema {
            Some(_) => Named { schema, table },
            None => Named::find(reader, agent, &table).await?,
        };
        if named.table.is_empty() {
            return Err(Failure::told("table is empty; name one"));
        }
        let table = identifier(&named.table);
        Ok(Request {
            table: match named.schema {
                Some(schema) => format!("{}.{table}", identifier(&schema)),
                None => table,
            },
            condition,
            estimate,
        })
    }

    /// Writes what comes before the condition in a query that begins with `beginning`.
    fn before(&self, beginning: &str) -> String {
        let filter = self.condition.as_ref().map_or("", |_| " WHERE (\n");
        format!("{beginning} FROM {}{filter}", self.table)
    }

    /// Returns the condition in its query.
    fn part<'a>(&'a self, before: &'a str) -> Part<'a> {
        let text = self.condition.as_deref();
        Part {
            before,
            text: text.unwrap_or_default(),
            after: text.map_or("", |_| "\n)"),
        }
    }
}

impl CountRows {
    async fn run(&self, mut call: Call<'_>) -> Result<Found, Failure> {
        let agent = &call.in_session()?;
        let arguments = call.arguments;
        let request = Request::read(arguments, &self.0, agent).await?;
        if let Some(condition) = &request.condition {
            keep_in_place(&self.0, agent, &request.table, condition).await?;
        }
        let (count, unmeasured) = if request.estimate {
            self.estimate(agent, &request).await?
        } else {
            (self.count(agent, &request).await?, Vec::new())
        };
        let about = if request.estimate { "about " } else { "" };
        let counted = json!({
            "count": count,
            "estimated": request.estimate,
            "unmeasured": unmeasured,
        });
        let found =
            Found::new(&counted).said(format!("{about}{}", crate::render::row_count(count)));
        if unmeasured.is_empty() {
            return Ok(found);
        }
        let names: Vec<&str> = unmeasured
            .iter()
            .take(MOST_NAMED)
            .map(|name| &**name)
            .collect();
        let further = if unmeasured.len() > MOST_NAMED {
            ", .."
        } else {
            ""
        };
        Ok(found
            .said("That is a guess with nothing behind it but the size of the file or a default: PostgreSQL has no statistics of the following, until the operator runs ANALYZE. Call again without estimate to count.")
            .data(format!("{}{further}", names.join(", "))))
    }

    async fn count(&self, agent: &Agent, request: &Request) -> Result<u64, Failure> {
        let before = request.before("SELECT count(*)");
        let part = request.part(&before);
        let rows = self.0.query(agent, &part.whole(), ONE_ROW).await;
        let rows = rows.map_err(|error| {
            let is_large =
                matches!(&error, ReadError::OutOfTime { locked, .. } if locked.is_empty());
            let failure = failure(error, &part);
            if is_large {
                failure.hint("the table is large: call again with estimate true")
            } else {
                failure
            }
        })?;
        let count = rows.first_value().and_then(|value| value.parse().ok());
        count.ok_or_else(|| Failure::told("PostgreSQL gave no count"))
    }

    /// Returns the planner's guess, and the tables that it has no statistics of.
    async fn estimate(
        &self,
        agent: &Agent,
        request: &Request,
    ) -> Result<(u64, Vec<String>), Failure> {
        let before = request.before("SELECT");
        let part = request.part(&before);
        let sql = part.whole();
        let plan = self.0.explain(agent, &sql, Explain::PLANNED).await;
        let plan = plan.map_err(|error| failure(error, &part))?;
        let plan: serde_json::Value = serde_json::from_str(&plan).unwrap_or_default();
        let rows = plan
            .pointer("/0/Plan/Plan Rows")
            .and_then(serde_json::Value::as_f64);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a planner's guess
        let rows = rows
            .map(|rows| rows.max(0.0) as u64)
            .ok_or_else(|| Failure::told("PostgreSQL gave no estimate"))?;
        let mut read = BTreeSet::new();
        if let Some(root) = plan.pointer("/0/Plan") {
            add_tables(root, &mut read);
        }
        Ok((rows, self.unmeasured(agent, &read).await?))
    }

    async fn unmeasured(
        &self,
        agent: &Agent,
        tables: &BTreeSet<(String, String)>,
    ) -> Result<Vec<String>, Failure> {
        if tables.is_empty() {
            return Ok(Vec::new());
        }
        let (schemas, names): (Vec<&str>, Vec<&str>) = tables
            .iter()
            .map(|(schema, name)| (schema.as_str(), name.as_str()))
            .unzip();
        let parameters = [
            (&schemas as _, Type::TEXT_ARRAY),
            (&names as _, Type::TEXT_ARRAY),
        ];
        let rows = self.0.ask(agent, UNMEASURED, &parameters).await?;
        Ok(rows.iter().filter_map(|row| row.try_get(0).ok()).collect())
    }
}

/// Adds the tables that a plan reads, each with its schema.
pub(super) fn add_tables(node: &Value, tables: &mut BTreeSet<(String, String)>) {
    let text = |field: &str| node[field].as_str().map(str::to_owned);
    if let (Some(schema), Some(name)) = (text("Schema"), text("Relation Name")) {
        tables.insert((schema, name));
    }
    for below in node["Plans"].as_array().into_iter().flatten() {
        add_tables(below, tables);
    }
}
