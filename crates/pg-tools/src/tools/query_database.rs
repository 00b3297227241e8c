//! `query_database`: one query that can only read.

use std::sync::Arc;

use super::{Answer, Call, Definition, Effect, Failure, Found, Offer, Tool};
use crate::{
    arguments::Arguments,
    read_only::{Cut, Page, Reader, Rows},
    render,
};

const MOST_ROWS: u64 = 1_000;
const USUAL_ROWS: u64 = 100;
const LARGEST_OFFSET: u64 = i64::MAX as u64;

const DEFINITION: Definition<'_> = Definition {
    name: "query_database",
    title: "Query the database",
    description: "Runs one SQL query (SELECT, VALUES, TABLE or WITH) in a read-only transaction and returns the rows. \
        Values come as psql shows them; NULL is NULL. Use ORDER BY with limit and offset to page.",
    input_schema: r#"{"type":"object","properties":{"query":{"type":"string","description":"One PostgreSQL query"},"limit":{"type":"integer","minimum":1,"maximum":1000,"default":100,"description":"Rows at most"},"offset":{"type":"integer","minimum":0,"default":0,"description":"Rows to leave out first"},"database":{"type":"string","description":"One of list_databases; default: the current one"}},"required":["query"],"additionalProperties":false}"#,
    output_schema: r#"{"type":"object","properties":{"columns":{"type":"array","items":{"type":"object","properties":{"name":{"type":"string"},"type":{"type":"string"}},"required":["name","type"]}},"rows":{"type":"array","items":{"type":"array","items":{"type":["string","number","boolean","null"]}}},"row_count":{"type":"integer"},"truncated":{"type":"boolean","description":"There are more rows than these"}},"required":["columns","rows","row_count","truncated"]}"#,
    effect: Effect::Reads,
    offer: Offer::Usual,
};

/// The tool.
pub(crate) struct QueryDatabase(pub(crate) Arc<Reader>);

impl Tool for QueryDatabase {
    fn definition(&self) -> Definition<'_> {
        DEFINITION
    }

    fn call<'a>(&'a self, call: Call<'a>) -> Answer<'a> {
        Box::pin(self.run(call))
    }
}

struct Request {
    query: String,
    page: Page,
}

impl Request {
    fn read(mut arguments: Arguments) -> Result<Self, String> {
        let query = arguments.text("query")?;
        let limit = arguments.number("limit", 1..=MOST_ROWS, USUAL_ROWS)?;
        let offset = arguments.number("offset", 0..=LARGEST_OFFSET, 0)?;
        arguments.finish()?;
        let limit = u32::try_from(limit).expect("at most MOST_ROWS");
        Ok(Request {
            query,
            page: Page { limit, offset },
        })
    }
}

impl QueryDatabase {
    async fn run(&self, mut call: Call<'_>) -> Result<Found, Failure> {
        let agent = &call.on_database()?;
        let Request { query, page } = Request::read(call.arguments)?;
        let rows = self.0.query(agent, &query, page).await?;
        let found = Found::raw(render::structured(&rows)).data(render::text(&rows));
        Ok(match note(&rows, page) {
            Some(note) => found.said(note),
            None => found,
        })
    }
}

/// Says in words what the rows alone do not.
fn note(rows: &Rows, page: Page) -> Option<String> {
    let count = rows.rows.len();
    let next = page.offset.saturating_add(count as u64);
    match rows.cut {
        None if count == 0 => Some("(0 rows)".into()),
        None => None,
        Some(Cut::Limit) => Some(format!(
            "({count} rows, and there are more: call again with offset {next} and the same ORDER BY)"
        )),
        Some(Cut::Bytes) => Some(format!(
            "({count} rows, cut off because the result is too large: select fewer columns, or call again with offset {next} and the same ORDER BY)"
        )),
    }
}
