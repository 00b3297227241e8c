//! Turns simple English questions about a database's tables into one SELECT, or says that it is not
//! sure.
//!
//! [`translate`] takes a question and a [`Schema`]. It knows a small grammar: lists, counts, averages
//! and other aggregates, filters, dates, groups, order and limits, on one table with the tables that
//! its foreign keys refer to and those that refer to it. It explains every word of the question by the
//! schema, or gives no answer: a wrong answer would be worse. The SQL is written from a query value
//! that can express nothing but a SELECT, with every name and text quoted.
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

/// The most tables that a question is tried on.
const MOST_TABLES: usize = 200;

/// How many comparisons of the schema's names with words are made before a question is given up. They take a
/// fraction of a second.
const MOST_COMPARED: usize = 20_000_000;

/// A question that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// One SELECT that PostgreSQL 13 and later take.
    pub sql: String,
    /// What it asks for, one part per entry.
    pub understood: Vec<String>,
}

/// Translates a question into SQL.
///
/// # Errors
/// [`Unsure`] when a word is left unexplained, when readings that are equally good give different
/// queries, when the question is too long or takes too much work, or when there are no tables. Where
/// possible, it says what was understood, which names came closest, and a query to start from.
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
        // There is no answer now, whatever the other tables give.
        if is_tangled {
            break;
        }
    }
    // A name that was not compared might have given another reading.
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

/// Returns the indices of all tables, those whose names or columns' names are most similar to the question's words
/// first.
///
/// For showing a schema to a reader that cannot be shown all of it.
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

/// Takes the readings with the lowest cost; none when a table was given up, as a better one may have been missed there.
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
