//! `query_database`: one query that can only read.

mod cursor;
mod held;

use std::sync::Arc;

use mcp_protocol::Json;
use serde_json::Value;

use super::{Answer, Call, Definition, Effect, Failure, Found, Offer, Tool};
use crate::{
    Agent,
    arguments::Arguments,
    questions::{Answered, Asked, Questions},
    read_only::{Cut, Following, Page, Place, ReadError, Reader, Rows, without_fence},
    render::{self, Rendered},
};
use cursor::Cursor;
pub use held::Paging;
use held::{Held, Key};

const MOST_ROWS: u64 = 1_000;
const USUAL_ROWS: u64 = 100;
const LARGEST_OFFSET: u64 = i64::MAX as u64;

/// How many rows are read ahead once a second page is requested; their bytes are limited, too.
const ROWS_AHEAD: u32 = 10_000;

/// The JSON schema of a query's result.
pub(super) const OUTPUT_SCHEMA: &str = r#"{"type":"object","properties":{"columns":{"type":"array","items":{"type":"object","properties":{"name":{"type":"string"},"type":{"type":"string"}},"required":["name","type"]}},"rows":{"type":"array","items":{"type":"array","items":{"type":["string","number","boolean","null"]}}},"row_count":{"type":"integer"},"truncated":{"type":"boolean","description":"There are more rows than these"},"next_cursor":{"type":"string"},"sql":{"type":"string","description":"What a question was run as"}},"required":["columns","rows","row_count","truncated"]}"#;

const DEFINITION: Definition<'_> = Definition {
    name: "query_database",
    title: "Query the database",
    description: "Runs one SQL query (SELECT, VALUES, TABLE or WITH) in a read-only transaction and returns the rows. \
        A simple question in English is translated, and the answer holds its SQL. Values come as psql shows them; NULL is NULL. To page, use ORDER BY and call again with the cursor.",
    input_schema: r#"{"type":"object","properties":{"query":{"type":"string","description":"One PostgreSQL query, or a simple question in English"},"limit":{"type":"integer","minimum":1,"maximum":1000,"default":100,"description":"Rows at most"},"offset":{"type":"integer","minimum":0,"default":0,"description":"Rows to leave out first"},"cursor":{"type":"string","description":"next_cursor of the page before, with the same query"},"database":{"type":"string","description":"One of list_databases; default: the current one"}},"required":["query"],"additionalProperties":false}"#,
    output_schema: OUTPUT_SCHEMA,
    effect: Effect::Reads,
    offer: Offer::Usual,
};

/// The tool.
pub(crate) struct QueryDatabase {
    reader: Arc<Reader>,
    held: Arc<Held>,
    questions: Questions,
}

impl QueryDatabase {
    pub(crate) fn new(reader: Arc<Reader>, paging: Paging, questions: Questions) -> Self {
        QueryDatabase {
            reader,
            held: Arc::new(Held::new(paging)),
            questions,
        }
    }
}

impl Tool for QueryDatabase {
    fn definition(&self) -> Definition<'_> {
        let effect = if self.questions.asks_a_service() {
            Effect::Asks
        } else {
            Effect::Reads
        };
        Definition {
            effect,
            ..DEFINITION
        }
    }

    fn call<'a>(&'a self, call: Call<'a>) -> Answer<'a> {
        Box::pin(self.run(call))
    }
}

struct Request {
    query: String,
    page: Page,
    cursor: Option<Cursor>,
}

impl Request {
    fn read(mut arguments: Arguments, database: &str) -> Result<Self, String> {
        let query = arguments.text("query")?;
        let limit = arguments.number("limit", 1..=MOST_ROWS, USUAL_ROWS)?;
        let mut offset = arguments.number("offset", 0..=LARGEST_OFFSET, 0)?;
        let cursor = arguments.optional_text("cursor")?;
        arguments.finish()?;
        let cursor = match cursor {
            None => None,
            Some(_) if offset > 0 => {
                return Err("cursor says where to go on; leave offset out".into());
            }
            Some(text) => {
                let cursor = Cursor::read(&text).filter(|cursor| cursor.is_of(database, &query));
                let cursor = cursor.ok_or(
                    "cursor is not one of this query; repeat the query as it was, or leave the cursor out",
                )?;
                offset = cursor.place.offset;
                Some(cursor)
            }
        };
        let limit = u32::try_from(limit).expect("at most MOST_ROWS");
        Ok(Request {
            query,
            page: Page {
                limit,
                offset,
                is_shown: true,
            },
            cursor,
        })
    }
}

impl QueryDatabase {
    async fn run(&self, mut call: Call<'_>) -> Result<Found, Failure> {
        let agent = &call.in_session()?;
        let mut request = Request::read(call.arguments, &agent.scope())?;
        let mut question = None;
        let asked = u64::from(request.page.limit);
        let limit = agent.most_rows(asked);
        request.page.limit = u32::try_from(limit).expect("at most MOST_ROWS");
        let (mut rows, is_sure) = match &request.cursor {
            None => match self.page(agent, &request).await {
                Ok(rows) => (rows, true),
                Err(syntax) if syntax.is_not_sql() => {
                    let asked = Asked {
                        agent,
                        client: call.client,
                        text: without_fence(&request.query),
                        page: request.page,
                        syntax,
                    };
                    let Answered { sql, rows, told } =
                        Box::pin(self.questions.answer(asked)).await?;
                    request.query = sql;
                    question = Some(told);
                    (rows, true)
                }
                Err(error) => return Err(error.into()),
            },
            Some(cursor) => Box::pin(self.go_on(agent, &request, cursor)).await?,
        };
        if request.cursor.is_none() {
            // Rows that are held come from an older run than this first page, whatever its last row says.
            self.held
                .forget(agent.name(), &agent.scope(), &request.query);
        }
        agent.count_rows(rows.count());
        let next = next(&rows, &request, agent);
        let is_vague = next.as_ref().is_some_and(Cursor::is_vague);
        let next = next.map(|next| next.text());
        let sql = question.as_ref().map(|_| request.query.as_str());
        let Rendered { text, structured } = match rows.written.take() {
            Some(written) => written.finish(rows.cut.is_some()),
            None => render::rows(&rows),
        };
        let structured = with_more(structured, next.as_deref(), sql);
        let mut found = Found::raw(structured).data(text);
        if let (Some(told), Some(sql)) = (&question, sql) {
            found = found.data(format!("{told}\nSQL:\n{sql}"));
        }
        let more = |cut| {
            let bounds = Bounds {
                is_of_token: limit < asked,
                bytes: agent.limits(self.reader.limits).result_bytes,
            };
            let step = step(&rows, request.page, next.as_deref(), sql.is_some());
            format!("{}: {step}", bounds.why(cut))
        };
        if let Some(note) = note(&rows, more) {
            found = found.said(note);
        }
        if is_vague {
            found = found.said(
                "(ORDER BY leaves many rows equal, which may come in another order next time: end it with a unique column, so that no page misses or repeats one)",
            );
        }
        if !is_sure {
            found = found.said(
                "(the rows before these have changed since the page before, or their order has, so that some may be missing or repeated: to be sure, start again without a cursor)",
            );
        }
        Ok(found)
    }

    async fn page(&self, agent: &Agent, request: &Request) -> Result<Rows, ReadError> {
        self.reader.query(agent, &request.query, request.page).await
    }

    /// Returns the page after a cursor, and whether it is certain to follow the one before.
    ///
    /// An agent that asks for a second page is likely to ask for a third, so that the query is run once for many pages.
    async fn go_on(
        &self,
        agent: &Agent,
        request: &Request,
        Cursor { place, .. }: &Cursor,
    ) -> Result<(Rows, bool), Failure> {
        // Read before the rows are, so that rows are never kept as those of a newer generation than theirs.
        let generation = agent.session().generation(agent.database());
        let key = Key {
            policy: agent.policy().clone(),
            database: agent.scope().into_owned(),
            generation: generation.map_err(ReadError::from)?,
            query: request.query.clone(),
        };
        let limit = request.page.limit as usize;
        if let Some(rows) = self.held.page(agent.name(), &key, place, limit) {
            return Ok((rows, true));
        }
        let following = self
            .reader
            .query_from(agent, &request.query, place, ROWS_AHEAD);
        let Following { rows, is_sure } = following.await?;
        let page = rows.part(0, limit);
        if rows.count() > limit {
            self.held.hold(agent.name(), key, place, rows);
        }
        Ok((page, is_sure))
    }
}

/// Makes the cursor of the page after these rows, if there is one and the rows have an order.
fn next(rows: &Rows, request: &Request, agent: &Agent) -> Option<Cursor> {
    rows.cut?;
    let before = request.cursor.as_ref().map(|cursor| &cursor.place);
    let place = Place::behind(&request.query, rows, before, request.page.offset)?;
    Some(Cursor::new(place, &agent.scope(), &request.query))
}

fn with_more(structured: Json, next: Option<&str>, sql: Option<&str>) -> Json {
    let more = [("next_cursor", next), ("sql", sql)];
    let more: Vec<_> = more
        .into_iter()
        .filter_map(|(name, text)| Some(format!(",\"{name}\":{}", Value::from(text?))))
        .collect();
    match structured.as_str().strip_suffix('}') {
        Some(open) if !more.is_empty() => Json::written(format!("{open}{}}}", more.concat())),
        _ => structured,
    }
}

/// Says in words what the rows alone do not; `more` says why there are more, and how to get them.
fn note(rows: &Rows, more: impl FnOnce(Cut) -> String) -> Option<String> {
    let count = render::row_count(rows.count());
    match rows.cut {
        Some(cut) => Some(format!("({count}, {})", more(cut))),
        None if rows.count() == 0 => Some("(0 rows)".into()),
        None if rows.columns.is_empty() => Some(format!("({count} without columns)")),
        None => None,
    }
}

/// The limits of a page.
struct Bounds {
    /// Whether the token may have fewer rows at once than were requested.
    is_of_token: bool,
    bytes: usize,
}

impl Bounds {
    fn why(&self, cut: Cut) -> String {
        match cut {
            Cut::Limit if self.is_of_token => {
                "the most that this token gets at once, and there are more".into()
            }
            Cut::Limit => "and there are more".into(),
            Cut::Bytes => format!(
                "and there are more, left out because a result may have {} bytes: select fewer columns, or go on",
                self.bytes
            ),
        }
    }
}

/// Says how to get the rows after these.
fn step(rows: &Rows, page: Page, next: Option<&str>, is_question: bool) -> String {
    match next {
        Some(next) if is_question => {
            format!("call again with the SQL above as query and cursor {next}")
        }
        Some(next) => format!("call again with the same query and cursor {next}"),
        None => {
            let offset = page.offset.saturating_add(rows.count() as u64);
            format!("add ORDER BY, then call again with the cursor; or with offset {offset}")
        }
    }
}

/// Changes the first value of a cursor's key.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) fn forged(cursor: &str, value: Option<&str>) -> String {
    let mut cursor = Cursor::read(cursor).unwrap();
    cursor.place.edge.as_mut().unwrap().values[0] = value.map(str::to_owned);
    cursor.text()
}
