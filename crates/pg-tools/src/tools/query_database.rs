//! `query_database`: one query that can only read.

use std::sync::Arc;

use super::{Answer, Definition, Outcome, Tool};
use crate::{
    Agent,
    arguments::Arguments,
    read_only::{Cut, Page, Reader, Rows},
    render,
};

const MOST_ROWS: u64 = 1_000;
const USUAL_ROWS: u64 = 100;
const LARGEST_OFFSET: u64 = i64::MAX as u64;

const DEFINITION: Definition = Definition {
    name: "query_database",
    title: "Query the database",
    description: "Runs one SQL query (SELECT, VALUES, TABLE or WITH) in a read-only transaction and returns the rows. \
        Values come as psql shows them; NULL is NULL. Use ORDER BY with limit and offset to page.",
    input_schema: r#"{"type":"object","properties":{"query":{"type":"string","description":"One PostgreSQL query"},"limit":{"type":"integer","minimum":1,"maximum":1000,"default":100,"description":"Rows at most"},"offset":{"type":"integer","minimum":0,"default":0,"description":"Rows to leave out first"}},"required":["query"],"additionalProperties":false}"#,
    output_schema: r#"{"type":"object","properties":{"columns":{"type":"array","items":{"type":"object","properties":{"name":{"type":"string"},"type":{"type":"string"}},"required":["name","type"]}},"rows":{"type":"array","items":{"type":"array","items":{"type":["string","number","boolean","null"]}}},"row_count":{"type":"integer"},"truncated":{"type":"boolean","description":"There are more rows than these"}},"required":["columns","rows","row_count","truncated"]}"#,
};

/// The tool.
pub(crate) struct QueryDatabase(pub(crate) Arc<Reader>);

impl Tool for QueryDatabase {
    fn definition(&self) -> Definition {
        DEFINITION
    }

    fn call<'a>(&'a self, agent: &'a Agent, arguments: Arguments) -> Answer<'a> {
        Box::pin(async move {
            match Request::read(arguments) {
                Err(message) => Outcome::Failed(format!("ERROR: {message}")),
                Ok(request) => self.run(agent, &request).await,
            }
        })
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
    async fn run(&self, agent: &Agent, request: &Request) -> Outcome {
        let Request { query, page } = request;
        match self.0.query(agent, query, *page).await {
            Ok(rows) => {
                let mut texts = vec![render::text(&rows)];
                texts.extend(note(&rows, *page));
                Outcome::Done {
                    texts,
                    structured: render::structured(&rows),
                }
            }
            Err(error) => Outcome::Failed(error.explain()),
        }
    }
}

/// Says in words what the rows alone do not.
fn note(rows: &Rows, page: Page) -> Option<String> {
    let count = rows.count();
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
