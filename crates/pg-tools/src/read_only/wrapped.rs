//! A statement inside one of ours, for each way in which it is run.

use std::collections::HashSet;

use session_pool::Parameter;

use super::{
    bounds::SEAL,
    conditions::{self, Conditions},
    exchange::length,
    order::SortColumn,
    place::{Edge, Key, Place, Seam},
    rows::{Page, Sorts},
    shape::Shape,
    statement::Statement,
};

/// A statement, alone and inside one of ours.
pub(super) struct Wrapped<'a> {
    text: &'a str,
    pub(super) alone: String,
    /// Whether `alone` begins with [`PREPARE`].
    pub(super) is_prepare: bool,
    /// Whether it seemed to be out of bounds at a glance, and is to be judged exactly.
    pub(super) is_suspect: bool,
    /// Whether it has a [`SEAL`].
    pub(super) is_sealed: bool,
    /// Whether it is to be judged even if it was vouched for.
    pub(super) is_doubted: bool,
    /// Another text that must parse, and how many characters of ours it has before the statement.
    pub(super) gate: Option<(String, u32)>,
    pub(super) inside: String,
    pub(super) numbers: &'a [Parameter<'a>],
    /// How many characters of ours come before the statement in `inside`.
    pub(super) before: u32,
    /// How many characters of ours follow the subquery that it is put into.
    after: usize,
    pub(super) most_rows: u32,
    /// Whether its rows are shown unchanged.
    pub(super) is_shown: bool,
    /// The items of the statement's order for which it has keys after its own columns.
    pub(super) keys: &'a [usize],
    pub(super) seam: Option<Seam>,
}

/// Has PostgreSQL's grammar check the text alone. This is parsed and never run: what `PREPARE` takes after `AS` is one
/// whole statement, with nothing after it. Names are looked up only when the statement inside ours is parsed, so that
/// this is not done twice.
const PREPARE: &str = "PREPARE q AS\n";
/// A statement that names nothing and returns no row.
const NOTHING: &str = "SELECT LIMIT 0";
/// All columns of a row.
const WHOLE: &str = "*";

impl<'a> Wrapped<'a> {
    pub(super) fn page(statement: &Statement<'a>, page: Page, is_sealed: bool) -> Self {
        Wrapped {
            is_sealed,
            is_shown: page.is_shown,
            ..Wrapped::new(statement, WHOLE, &part(page, is_sealed), page.limit)
        }
    }

    /// Returns a page of the statement, as a shape with parameters.
    pub(super) fn shaped(
        statement: &Statement<'a>,
        shape: &'a Shape<'_>,
        page: Page,
        is_sealed: bool,
    ) -> Self {
        let shaped = Wrapped::of(&shape.text, WHOLE, &part(page, is_sealed), page.limit);
        Wrapped {
            is_sealed,
            text: statement.text(),
            numbers: &shape.numbers,
            is_shown: page.is_shown,
            ..shaped
        }
    }

    /// Has the columns described without fetching a row.
    pub(super) fn nothing(statement: &Statement<'a>) -> Self {
        Wrapped::new(statement, WHOLE, "LIMIT 0", 0)
    }

    pub(super) fn from_offset(statement: &Statement<'a>, place: &Place, limit: u32) -> Self {
        let after = format!(
            "LIMIT {} OFFSET {}",
            u64::from(limit) + 2,
            place.offset.saturating_sub(1)
        );
        Wrapped {
            seam: Some(Seam::at_offset(place.last_row)),
            ..Wrapped::new(statement, WHOLE, &after, limit)
        }
    }

    /// Takes the rows from an edge on; `width` is how many columns the statement has, including the keys.
    pub(super) fn from_edge(
        statement: &Statement<'a>,
        edge: &Edge,
        columns: &[SortColumn],
        never_null: &HashSet<usize>,
        width: usize,
        limit: u32,
    ) -> Self {
        let Conditions { equal, from_it_on } = Conditions::of(columns, &edge.values, never_null);
        let given = edge.given.clone();
        let after = format!(
            "({}) WHERE {from_it_on} LIMIT {}",
            conditions::names(width),
            given.count() + u64::from(limit) + 1
        );
        let rounded = |column: &SortColumn| column.sorts == Sorts::UnlessRounded;
        let key = Key {
            columns: columns.iter().map(|column| column.index).collect(),
            values: edge.values.clone(),
            may_be_rounded: columns.iter().any(rounded),
        };
        Wrapped {
            seam: Some(Seam::at_key(key, given)),
            ..Wrapped::new(statement, &format!("q.*, {equal}"), &after, limit)
        }
    }

    /// Sets the items for which the statement has keys.
    pub(super) fn with_keys(self, keys: &'a [usize]) -> Self {
        Wrapped { keys, ..self }
    }

    /// Puts the statement into one of ours. The line breaks keep a comment at its end from swallowing what follows it.
    /// A `LIMIT` tells the planner how many rows are wanted.
    fn new(statement: &Statement<'a>, wanted: &str, after: &str, most_rows: u32) -> Self {
        Wrapped::of(statement.text(), wanted, after, most_rows)
    }

    fn of(text: &'a str, wanted: &str, after: &str, most_rows: u32) -> Self {
        let before = ["SELECT ", wanted, " FROM (\n"].concat();
        let inside = [&*before, text, "\n) q ", after].concat();
        Wrapped {
            is_prepare: true,
            before: length(&before),
            after: after.len(),
            most_rows,
            ..Wrapped::bare(text, [PREPARE, text].concat(), inside)
        }
    }

    /// Puts the statement behind an `EXPLAIN`. That takes more than plain queries, so PostgreSQL parses the statement
    /// as a subquery first.
    pub(super) fn explained(statement: &Statement<'a>, before: &str) -> Self {
        let text = statement.text();
        let select = "SELECT FROM (\n";
        Wrapped {
            gate: Some((format!("{select}{text}\n) q"), length(select))),
            before: length(before),
            most_rows: 1,
            ..Wrapped::bare(text, text.to_owned(), format!("{before}{text}"))
        }
    }

    /// Has the statement parsed and not run.
    pub(super) fn parsed(statement: &Statement<'a>) -> Self {
        let text = statement.text();
        Wrapped {
            before: u32::MAX,
            ..Wrapped::bare(text, text.to_owned(), NOTHING.to_owned())
        }
    }

    /// Fills the rest with defaults.
    fn bare(text: &'a str, alone: String, inside: String) -> Self {
        Wrapped {
            text,
            alone,
            is_prepare: false,
            is_suspect: false,
            is_sealed: false,
            is_doubted: false,
            gate: None,
            inside,
            numbers: &[],
            before: 0,
            after: 0,
            most_rows: 0,
            is_shown: false,
            keys: &[],
            seam: None,
        }
    }

    /// Returns whether a position in `inside` is after the statement and its subquery.
    pub(super) fn is_behind(&self, position: u32) -> bool {
        let end = (length(&self.inside) as usize).saturating_sub(self.after);
        self.after > 0 && position as usize > end
    }

    /// Has the text parsed by itself, which tells exactly what is wrong with it.
    pub(super) fn by_itself(&mut self) {
        self.text.clone_into(&mut self.alone);
        self.is_prepare = false;
    }
}

fn part(page: Page, is_sealed: bool) -> String {
    let limit = (u64::from(page.limit) + 1).to_string();
    let seal = if is_sealed { SEAL } else { "" };
    [seal, "LIMIT ", &limit, " OFFSET ", &page.offset.to_string()].concat()
}
