//! Turns simple English questions about a database's tables into one SELECT, or says that it is not
//! sure.
//!
//! [`translate`] takes a question and a [`Schema`]. It knows a small grammar: lists, counts, averages
//! and the like, filters, dates, groups, order, the first few; of one table, with what its foreign
//! keys refer to and what refers to it. It explains every word of the question by the schema, or
//! gives no answer: a wrong answer would be worse. The SQL is written from a query value that can
//! hold nothing but a SELECT, with every name and text quoted.
//!
//! ```
//! use plain_question::{Column, Kind, Schema, Table, translate};
//!
//! let active = Column { name: "active".into(), kind: Kind::Boolean, ..Column::default() };
//! let users = Table { schema: "public".into(), name: "users".into(), columns: vec![active], ..Table::default() };
//! let schema = Schema { tables: vec![users] };
//!
//! let answer = translate("Show me all active users", &schema).unwrap();
//! assert_eq!(answer.sql, "SELECT t.*\nFROM \"public\".\"users\" AS t\nWHERE t.\"active\"");
//! assert_eq!(answer.understood, ["rows of public.users", "where active is true"]);
//!
//! assert!(translate("Show me all happy users", &schema).is_err());
//! ```

mod countries;
mod dates;
mod explain;
mod grammar;
mod lexicon;
mod names;
mod query;
mod schema;
mod sql;
mod unsure;
mod words;

use lexicon::{Asked, Effort};
use names::Names;
pub use schema::{Column, ForeignKey, Kind, Schema, Table};
pub use unsure::{Reason, Unsure};

/// The longest question that is read, in bytes.
const LONGEST: usize = 1_000;

/// The most words that are read.
const MOST_WORDS: usize = 60;

/// The most tables that a question is read as one about.
const MOST_TABLES: usize = 200;

/// How many names of the schema are compared with words until a question is given up: a fraction of a second.
const MOST_COMPARED: usize = 20_000_000;

/// A question that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// One SELECT that PostgreSQL 13 and later take.
    pub sql: String,
    /// What it asks for, a part at a time.
    pub understood: Vec<String>,
}

/// Translates a question into SQL.
///
/// # Errors
/// [`Unsure`] when a word is left unexplained, or when two readings are equally good; with what was
/// understood, what came closest and a query to begin with.
pub fn translate(question: &str, schema: &Schema) -> Result<Answer, Box<Unsure>> {
    let because = |reason| Err(Box::new(Unsure::because(reason)));
    if question.len() > LONGEST {
        return because(Reason::TooLong);
    }
    let words = words::read(question);
    if words.len() > MOST_WORDS {
        return because(Reason::TooLong);
    }
    if schema.tables.is_empty() {
        return because(Reason::NoTables);
    }
    let asked = Asked {
        words: &words,
        schema,
        names: &Names::of(schema, &words),
        effort: &Effort::of(MOST_COMPARED),
    };
    let tables = 0..schema.tables.len();
    let tables = tables.filter(|table| lexicon::may_be_about(asked, *table));
    let mut reads = Vec::new();
    let mut drafts = grammar::MOST_DRAFTS;
    for table in tables.take(MOST_TABLES) {
        let read = grammar::read(asked, table, drafts);
        drafts -= read.drafts;
        let is_tangled = read.is_tangled;
        reads.push((table, read));
        // Whatever the further tables come to, there is no answer.
        if is_tangled {
            break;
        }
    }
    // What was not compared may have meant something else.
    let readings = if asked.effort.is_used_up() {
        Vec::new()
    } else {
        best(&mut reads)
    };
    let mut queries: Vec<String> = readings
        .iter()
        .map(|reading| sql::write(&reading.query, schema))
        .collect();
    queries.sort_unstable();
    queries.dedup();
    match (&queries[..], readings.first()) {
        ([sql], Some(reading)) => Ok(Answer {
            sql: sql.clone(),
            understood: explain::query(&reading.query, schema),
        }),
        (_, Some(_)) => Err(Box::new(Unsure::ambiguous(&readings, schema))),
        (_, None) => {
            let effort = &Effort::of(MOST_COMPARED);
            Err(Box::new(Unsure::unexplained(
                Asked { effort, ..asked },
                &reads,
            )))
        }
    }
}

/// Orders the tables by how much their names have in common with the question, the most first.
///
/// For a reader of the schema that cannot be shown all of it.
#[must_use]
pub fn nearest_first(question: &str, schema: &Schema) -> Vec<usize> {
    let mut words = words::read(question);
    words.truncate(MOST_WORDS);
    unsure::nearest_tables(Asked {
        words: &words,
        schema,
        names: &Names::of(schema, &words),
        effort: &Effort::of(MOST_COMPARED),
    })
}

/// Takes the readings that cost the least. Where one was given up, a better one may have been missed.
fn best(reads: &mut [(usize, grammar::Read)]) -> Vec<grammar::Reading> {
    if reads.iter().any(|(_, read)| read.is_tangled) {
        return Vec::new();
    }
    let all = reads
        .iter_mut()
        .flat_map(|(_, read)| read.readings.drain(..));
    let mut all: Vec<_> = all.collect();
    let least = all.iter().map(|reading| reading.cost).min();
    all.retain(|reading| Some(reading.cost) == least);
    all
}
