//! Why a question is not answered, and what may help to ask a better one.

use std::collections::BTreeSet;

use crate::grammar::{Draft, Read, Reading};
use crate::lexicon::{Asked, Lexicon};
use crate::names::Terms;
use crate::query::{Ask, Limit, Query};
use crate::schema::Schema;
use crate::words::{Kind, Word};
use crate::{explain, sql};

/// The most tables and columns that are named as the nearest.
const MOST_NEAREST: usize = 6;

/// The Jaro-Winkler similarity, from 0 to 1, at which two words may mean the same.
const LIKENESS: f64 = 0.8;

/// The row limit of a suggested query.
const SUGGESTED_ROWS: u64 = 10;

/// A longer word, in bytes, cannot be meant for a name in PostgreSQL, which has at most 63 bytes.
const LONGEST_NAME: usize = 64;

/// One similarity takes as long as so many comparisons for equality.
const LIKENING: usize = 16;

/// Why there is no answer, and what may help to ask a better question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsure {
    /// Why.
    pub reason: Reason,
    /// What was understood, one part per entry.
    pub understood: Vec<String>,
    /// The tables and columns that came closest, each as its path: schema, table and, for a column, its name.
    pub nearest: Vec<Vec<String>>,
    /// A query to start from, where a table came close.
    pub suggestion: Option<String>,
}

/// Why a question is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// These words are not explained.
    Unexplained(Vec<String>),
    /// It can mean different queries, of which these are up to three.
    Ambiguous(Vec<String>),
    /// All words are understood, but together they make no complete question.
    Incomplete,
    /// It is longer than 1,000 bytes or 60 words.
    TooLong,
    /// The schema has no tables.
    NoTables,
}

impl Unsure {
    pub(crate) fn because(reason: Reason) -> Self {
        Unsure {
            reason,
            understood: Vec::new(),
            nearest: Vec::new(),
            suggestion: None,
        }
    }

    pub(crate) fn ambiguous(readings: &[Reading], schema: &Schema) -> Self {
        let mut queries: Vec<String> = Vec::new();
        for reading in readings {
            let sql = sql::write(&reading.query, schema);
            if !queries.contains(&sql) {
                queries.push(sql);
            }
        }
        queries.truncate(3);
        let tables: BTreeSet<_> = readings.iter().map(|reading| reading.query.table).collect();
        let names = tables.into_iter().map(|table| path(schema, table));
        Unsure {
            understood: Vec::new(),
            nearest: names.take(MOST_NEAREST).collect(),
            suggestion: queries.first().cloned(),
            reason: Reason::Ambiguous(queries),
        }
    }

    pub(crate) fn unexplained(asked: Asked<'_>, reads: &[(usize, Read)]) -> Self {
        let schema = asked.schema;
        let best = reads.iter().max_by_key(|(table, read)| {
            let is_named = read.furthest.1.is_about_something();
            let rows = schema.tables[*table].rows.unwrap_or(0);
            (is_named, read.furthest.0, rows)
        });
        let strange = strange(asked, best);
        let reason = if strange.is_empty() {
            Reason::Incomplete
        } else {
            Reason::Unexplained(strange)
        };
        let mut unsure = Unsure::because(reason);
        unsure.nearest = nearest(asked);
        if let Some((table, read)) = best.filter(|(_, read)| read.furthest.1.is_about_something()) {
            let draft = &read.furthest.1;
            unsure
                .understood
                .push(format!("rows of {}", name(schema, *table)));
            let filters = draft.filters.iter();
            let filters =
                filters.map(|filter| format!("where {}", explain::filter(filter, schema, *table)));
            unsure.understood.extend(filters);
            unsure.suggestion = Some(suggestion(draft, schema, *table));
        }
        if let (None, Some(first)) = (&unsure.suggestion, nearest_table(asked)) {
            unsure.suggestion = Some(suggestion(&Draft::default(), schema, first));
        }
        unsure
    }
}

fn suggestion(draft: &Draft, schema: &Schema, table: usize) -> String {
    let query = Query {
        table,
        ask: Ask::Rows,
        filters: draft.filters.clone(),
        groups: Vec::new(),
        order: Vec::new(),
        limit: Some(Limit::Rows(SUGGESTED_ROWS)),
    };
    sql::write(&query, schema)
}

fn name(schema: &Schema, table: usize) -> String {
    path(schema, table).join(".")
}

fn path(schema: &Schema, table: usize) -> Vec<String> {
    let table = &schema.tables[table];
    vec![table.schema.clone(), table.name.clone()]
}

/// Of the words that the best reading does not explain, those that mean nothing in the schema; all, if there are none.
fn strange(asked: Asked<'_>, best: Option<&(usize, Read)>) -> Vec<String> {
    let words = asked.words;
    let Some((table, read)) = best else {
        return words.iter().map(|word| word.text.clone()).collect();
    };
    let lexicon = Lexicon::new(asked, *table);
    let is_known = |at: usize| {
        !lexicon.subjects(at).is_empty()
            || !lexicon.columns(at, &[]).is_empty()
            || !lexicon.values(at, None).is_empty()
            || !lexicon.parents(at).is_empty()
            || !lexicon.children(at).is_empty()
    };
    let rest = read.furthest.0..words.len();
    let unknown = rest.clone().filter(|at| {
        let word = &words[*at];
        word.kind == Kind::Plain && word.lower.len() > 3 && !is_known(*at)
    });
    let unknown: Vec<_> = unknown.map(|at| words[at].text.clone()).collect();
    if unknown.is_empty() {
        rest.map(|at| words[at].text.clone()).collect()
    } else {
        unknown
    }
}

/// How similar a word is to the nearest part of a name, from 0 to 1.
fn likeness(word: &Word, name: &[String]) -> f64 {
    name.iter()
        .map(|part| strsim::jaro_winkler(&word.stem, part))
        .fold(0.0, f64::max)
}

fn content(words: &[Word]) -> impl Iterator<Item = &Word> {
    words
        .iter()
        .filter(|word| word.kind == Kind::Plain && (3..=LONGEST_NAME).contains(&word.lower.len()))
}

/// The highest similarity of a word to a term; 0 once the effort is used up.
fn best_likeness(asked: Asked<'_>, terms: &Terms) -> f64 {
    let like = |word| {
        let parts = terms.iter().map(|(term, _)| term.len()).sum::<usize>();
        let may_be_likened = asked.effort.spend(LIKENING * parts);
        let terms = terms.iter().filter(move |_| may_be_likened);
        terms.map(move |(term, _)| likeness(word, term))
    };
    content(asked.words).flat_map(like).fold(0.0, f64::max)
}

fn nearest_table(asked: Asked<'_>) -> Option<usize> {
    let like = |index| best_likeness(asked, &asked.names.table(index).noun);
    let like = (0..asked.schema.tables.len()).map(|index| (like(index), index));
    let best = like.max_by(|one, other| one.0.total_cmp(&other.0))?;
    (best.0 >= LIKENESS).then_some(best.1)
}

/// All tables, the most similar to the question's words first.
pub(crate) fn nearest_tables(asked: Asked<'_>) -> Vec<usize> {
    let likeness = |index: usize| {
        let names = asked.names.table(index);
        let columns = names.columns.iter();
        // A table's own name counts for more than a column's.
        columns
            .map(|column| 0.9 * best_likeness(asked, &column.terms))
            .fold(best_likeness(asked, &names.noun), f64::max)
    };
    let tables = (0..asked.schema.tables.len()).map(|index| (likeness(index), index));
    let mut tables: Vec<_> = tables.collect();
    tables.sort_by(|one, other| other.0.total_cmp(&one.0));
    tables.into_iter().map(|(_, index)| index).collect()
}

/// The tables and columns whose names are most similar to the question's words.
fn nearest(asked: Asked<'_>) -> Vec<Vec<String>> {
    let Asked {
        words,
        schema,
        names,
        effort,
    } = asked;
    let mut found: Vec<(f64, Vec<String>)> = Vec::new();
    for (index, table) in schema.tables.iter().enumerate() {
        let full = path(schema, index);
        let names = names.table(index);
        found.push((best_likeness(asked, &names.noun), full.clone()));
        for (it, names) in table.columns.iter().zip(&names.columns) {
            let by_value = content(words).any(|word| {
                let mut values = it.values.iter();
                effort.spend(values.len())
                    && values.any(|value| value.eq_ignore_ascii_case(&word.lower))
            });
            let like = if by_value {
                1.0
            } else {
                best_likeness(asked, &names.terms)
            };
            // At the same similarity a table comes before its columns.
            let column = full.iter().chain([&it.name]).cloned();
            found.push((like - 0.01, column.collect()));
        }
    }
    found.retain(|(like, _)| *like >= LIKENESS);
    found.sort_by(|one, other| other.0.total_cmp(&one.0));
    found.truncate(MOST_NEAREST);
    found.into_iter().map(|(_, name)| name).collect()
}
