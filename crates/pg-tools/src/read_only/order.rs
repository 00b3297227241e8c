//! The order that a query gives its rows, where it is told by columns of its result.
//!
//! Then the rows from some row on can be asked for with a condition, which an index can serve, in
//! place of counting the rows before. Where anything is not certain there is no such condition.

use std::collections::HashSet;

use session_pool::{Column as Described, Lease};
use tokio_postgres::types::Type;

use super::{
    failure::ReadError,
    rows::{Column, Sorts},
    statement::{Statement, Token, tokens},
};
use crate::agent::literal;

/// The widest result that takes one more column; PostgreSQL's limit is 1,664.
const WIDEST: usize = 1_600;

/// Names that PostgreSQL takes for values, not for columns, when they are not quoted.
#[rustfmt::skip]
const VALUES: &[&str] = &[
    "current_catalog", "current_date", "current_role", "current_schema", "current_time",
    "current_timestamp", "current_user", "default", "false", "localtime", "localtimestamp", "null",
    "session_user", "system_user", "true", "user",
];

/// Words without which a table's column that is never NULL is never NULL in a result either.
#[rustfmt::skip]
const BRING_NULLS: &[&str] = &[
    "cube", "except", "full", "grouping", "intersect", "left", "right", "rollup", "union",
];

/// A column that a result is ordered by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SortColumn {
    /// Its place in the result, from 0 on.
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) sorts: Sorts,
    descending: bool,
    nulls_first: bool,
}

/// Finds the columns that a statement orders its whole result by; `None` when it is not by columns of
/// the result alone.
///
/// A bare name in `ORDER BY` is a column of the result if one has that name, and a number is the place
/// of one (PostgreSQL documentation, `SELECT`, "ORDER BY Clause").
pub(super) fn sort_columns(
    statement: &Statement<'_>,
    columns: &[Column],
) -> Option<Vec<SortColumn>> {
    if columns.len() > WIDEST {
        return None;
    }
    let items = items(statement.text())?;
    let sorted = items.into_iter().map(|item| {
        let index = match item.what {
            What::Name(name) => columns.iter().position(|column| *column.name == *name)?,
            What::Place(place) => place.checked_sub(1)?,
        };
        let Column { name, sorts, .. } = columns.get(index)?;
        let is_only = columns.iter().filter(|other| other.name == *name).count() == 1;
        (is_only && *sorts != Sorts::Unknown).then(|| SortColumn {
            index,
            name: name.to_string(),
            sorts: *sorts,
            descending: item.descending,
            nulls_first: item.nulls_first,
        })
    });
    sorted.collect()
}

struct Item {
    what: What,
    descending: bool,
    nulls_first: bool,
}

enum What {
    Name(String),
    Place(usize),
}

/// Reads the `ORDER BY` outside of all parentheses, if it has nothing but names and numbers.
fn items(text: &str) -> Option<Vec<Item>> {
    let mut words = behind_order_by(text)?.into_iter().peekable();
    let mut items = Vec::new();
    loop {
        let what = what(words.next()?)?;
        let descending = match words.next_if(|word| is(word, "asc") || is(word, "desc")) {
            Some(word) => is(&word, "desc"),
            None => false,
        };
        let mut nulls_first = descending;
        if words.next_if(|word| is(word, "nulls")).is_some() {
            nulls_first = match words.next()? {
                first if is(&first, "first") => true,
                last if is(&last, "last") => false,
                _ => return None,
            };
        }
        items.push(Item {
            what,
            descending,
            nulls_first,
        });
        match words.next() {
            Some(comma) if comma.text == "," => {}
            Some(end)
                if !["limit", "offset", "fetch", "for"]
                    .iter()
                    .any(|word| is(&end, word)) =>
            {
                return None;
            }
            _ => return Some(items),
        }
    }
}

/// Gives what follows the only `ORDER BY` outside of all parentheses.
fn behind_order_by(text: &str) -> Option<Vec<Token<'_>>> {
    let mut depth = 0_usize;
    let mut after_order = false;
    let mut behind: Option<Vec<Token<'_>>> = None;
    for token in tokens(text).filter(|token| !token.is_blank()) {
        let is_by = depth == 0 && after_order && is(&token, "by");
        after_order = depth == 0 && is(&token, "order");
        match token.text {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            _ => {}
        }
        match &mut behind {
            Some(_) if is_by => return None,
            None if is_by => behind = Some(Vec::new()),
            Some(behind) => behind.push(token),
            None => {}
        }
    }
    behind
}

fn is(token: &Token<'_>, word: &str) -> bool {
    token.text.eq_ignore_ascii_case(word)
}

fn what(token: Token<'_>) -> Option<What> {
    let text = token.text;
    if let Some(quoted) = text.strip_prefix('"') {
        return Some(What::Name(quoted.strip_suffix('"')?.to_owned()));
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(What::Place(text.parse().ok()?));
    }
    // How PostgreSQL folds other letters hangs on the database's encoding.
    let is_name = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !text.starts_with(|first: char| first.is_ascii_digit());
    let name = text.to_ascii_lowercase();
    (is_name && !VALUES.contains(&&*name)).then_some(What::Name(name))
}

/// Which columns of tables are never NULL, whatever is changed in them meanwhile: a constraint says so
/// that holds for every row, and there is no foreign table, for which PostgreSQL only believes it.
const NEVER_NULL: &str = "SELECT a.attrelid, a.attnum FROM pg_catalog.pg_attribute a \
     JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
     WHERE a.attrelid = ANY ($1) AND a.attnotnull \
       AND (c.relkind = 'r' AND NOT c.relhassubclass \
            OR c.relkind = 'p' AND NOT EXISTS (SELECT FROM pg_catalog.pg_partition_tree(c.oid) t \
                                               JOIN pg_catalog.pg_class f ON f.oid = t.relid WHERE f.relkind = 'f')) \
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint n \
                       WHERE n.conrelid = a.attrelid AND n.contype = 'n' AND a.attnum = ANY (n.conkey) \
                         AND (NOT n.convalidated OR n.connoinherit))";

/// Finds out which of a result's columns are surely never NULL, by their places.
pub(super) async fn never_null(
    lease: &Lease,
    statement: &Statement<'_>,
    described: &[Described],
    columns: &[SortColumn],
) -> Result<HashSet<usize>, ReadError> {
    let origins = columns
        .iter()
        .filter_map(|column| Some((column.index, described.get(column.index)?.origin?)));
    let origins: Vec<(usize, (u32, i16))> = origins.collect();
    let is_doubtful = statement.words().any(|word| BRING_NULLS.contains(&&*word));
    if origins.is_empty() || is_doubtful {
        return Ok(HashSet::new());
    }
    let tables: Vec<u32> = origins.iter().map(|(_, (table, _))| *table).collect();
    let rows = lease
        .query_typed(NEVER_NULL, &[(&tables, Type::OID_ARRAY)])
        .await
        .map_err(ReadError::lost)?;
    let mut never = HashSet::new();
    for row in rows {
        let found = (
            row.try_get(0).map_err(ReadError::lost)?,
            row.try_get(1).map_err(ReadError::lost)?,
        );
        let same = origins.iter().filter(|(_, origin)| *origin == found);
        never.extend(same.map(|(index, _)| *index));
    }
    Ok(never)
}

/// What says in SQL how the rows of `q` lie to one with certain values in the columns of the order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Conditions {
    /// They are equal to it in the order.
    pub(super) equal: String,
    /// They are equal or come after it.
    pub(super) from_it_on: String,
}

impl Conditions {
    /// `values` are the row's, one for each column.
    ///
    /// The values are literals of no type, which PostgreSQL reads as the column's.
    pub(super) fn of(
        columns: &[SortColumn],
        values: &[Option<String>],
        never_null: &HashSet<usize>,
    ) -> Self {
        let bounds: Vec<Bound> = columns
            .iter()
            .zip(values)
            .map(|(column, value)| Bound {
                name: format!("q.\"{}\"", column.name.replace('"', "\"\"")),
                value: value.as_deref().map(literal),
                descending: column.descending,
                nulls_first: column.nulls_first,
                never_null: never_null.contains(&column.index),
            })
            .collect();
        let equal: Vec<String> = bounds.iter().map(Bound::equal).collect();
        Conditions {
            equal: equal.join(" AND "),
            from_it_on: as_one(&bounds).unwrap_or_else(|| one_by_one(&bounds)),
        }
    }
}

/// A column and where in its order the row is.
struct Bound {
    name: String,
    /// As a literal; none is NULL.
    value: Option<String>,
    descending: bool,
    nulls_first: bool,
    never_null: bool,
}

impl Bound {
    fn equal(&self) -> String {
        match &self.value {
            Some(value) => format!("{} = {value}", self.name),
            None => format!("{} IS NULL", self.name),
        }
    }

    /// The condition that a value comes after; none if nothing can.
    fn after(&self) -> Option<String> {
        let name = &self.name;
        match &self.value {
            None => self.nulls_first.then(|| format!("{name} IS NOT NULL")),
            Some(value) => {
                let sign = if self.descending { "<" } else { ">" };
                let after = format!("{name} {sign} {value}");
                Some(if self.may_end_in_nulls() {
                    format!("{after} OR {name} IS NULL")
                } else {
                    after
                })
            }
        }
    }

    fn may_end_in_nulls(&self) -> bool {
        !self.nulls_first && !self.never_null
    }
}

/// Compares all columns at once, which an index over them can serve. That is right only where there
/// are no NULLs and all are in one direction.
fn as_one(bounds: &[Bound]) -> Option<String> {
    let descending = bounds.first()?.descending;
    let simple = bounds
        .iter()
        .all(|bound| bound.never_null && bound.descending == descending);
    let values: Option<Vec<&str>> = bounds.iter().map(|bound| bound.value.as_deref()).collect();
    let values = values.filter(|_| simple)?.join(", ");
    let names: Vec<&str> = bounds.iter().map(|bound| &*bound.name).collect();
    let sign = if descending { "<=" } else { ">=" };
    Some(format!("({}) {sign} ({values})", names.join(", ")))
}

/// Compares one column after the other. The first one's bound is said by itself, too, where that leaves
/// out no NULL, for an index can serve it.
fn one_by_one(bounds: &[Bound]) -> String {
    let mut whole = String::new();
    for bound in bounds.iter().rev() {
        let equal = bound.equal();
        let equal = match &*whole {
            "" => equal,
            rest => format!("{equal} AND ({rest})"),
        };
        whole = match bound.after() {
            Some(after) => format!("{after} OR {equal}"),
            None => equal,
        };
    }
    let first = bounds.first().filter(|bound| !bound.may_end_in_nulls());
    match first.and_then(|bound| Some((bound, bound.value.as_ref()?))) {
        Some((
            Bound {
                name, descending, ..
            },
            value,
        )) => {
            let sign = if *descending { "<=" } else { ">=" };
            format!("{name} {sign} {value} AND ({whole})")
        }
        None => whole,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::read_only::ColumnKind;

    fn columns(names: &[&str]) -> Vec<Column> {
        let columns = names.iter().map(|name| Column {
            name: (*name).into(),
            type_name: "t".into(),
            kind: ColumnKind::Text,
            sorts: if *name == "json" {
                Sorts::Unknown
            } else {
                Sorts::Surely
            },
        });
        columns.collect()
    }

    /// The columns' places, with `-` before descending ones and `!` behind those with NULLs first.
    fn order(text: &str) -> Option<String> {
        let statement = Statement::check(text).unwrap();
        let columns = columns(&["id", "name", "Odd 1", "twice", "twice", "json", "user"]);
        let columns = sort_columns(&statement, &columns)?;
        let told = columns.iter().map(|column| {
            let minus = if column.descending { "-" } else { "" };
            let first = if column.nulls_first { "!" } else { "" };
            format!("{minus}{}{first}", column.index)
        });
        Some(told.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn an_order_by_columns_of_the_result_is_read() {
        for (text, expected) in [
            ("SELECT x ORDER BY id", "0"),
            ("SELECT x ORDER BY ID DESC", "-0!"),
            ("SELECT x order/**/by 2 asc, id desc nulls last", "1 -0"),
            ("SELECT x ORDER BY name NULLS FIRST -- id", "1!"),
            ("SELECT x ORDER BY \"Odd 1\", 1 LIMIT 5", "2 0"),
            (
                "(SELECT x ORDER BY y) UNION (SELECT y) ORDER BY id FETCH FIRST ROW ONLY",
                "0",
            ),
            ("SELECT x OVER (ORDER BY y) ORDER BY \"user\" OFFSET 3", "6"),
        ] {
            assert_eq!(order(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn an_order_by_anything_else_is_not() {
        for text in [
            "SELECT x",
            "(SELECT x ORDER BY id)",
            "SELECT x ORDER BY",
            "SELECT x ORDER BY id,",
            "SELECT x ORDER BY lower(id)",
            "SELECT x ORDER BY id + 1",
            "SELECT x ORDER BY -id",
            "SELECT x ORDER BY t.id",
            "SELECT x ORDER BY id::text",
            "SELECT x ORDER BY id COLLATE \"C\"",
            "SELECT x ORDER BY id USING <",
            "SELECT x ORDER BY id NULLS",
            "SELECT x ORDER BY 'id'",
            "SELECT x ORDER BY (id)",
            "SELECT x ORDER BY 0",
            "SELECT x ORDER BY 8",
            "SELECT x ORDER BY 1.0",
            "SELECT x ORDER BY 99999999999999999999999",
            "SELECT x ORDER BY unknown",
            "SELECT x ORDER BY \"ID\"",
            "SELECT x ORDER BY \"Odd \"\"1\"",
            "SELECT x ORDER BY twice",
            "SELECT x ORDER BY 4",
            "SELECT x ORDER BY json",
            "SELECT x ORDER BY user",
            "SELECT x ORDER BY id ORDER BY name",
            "SELECT x ORDER BY id UNION SELECT y",
        ] {
            assert_eq!(order(text), None, "{text}");
        }
    }

    fn condition(order: &str, values: &[Option<&str>], never_null: &[usize]) -> Conditions {
        let text = format!("SELECT x ORDER BY {order}");
        let columns = columns(&["a", "b", "c\""]);
        let columns = sort_columns(&Statement::check(&text).unwrap(), &columns).unwrap();
        let values: Vec<_> = values
            .iter()
            .map(|value| value.map(str::to_owned))
            .collect();
        Conditions::of(&columns, &values, &never_null.iter().copied().collect())
    }

    #[test]
    fn the_conditions_follow_directions_and_nulls() {
        let (a, b) = (Some("1"), Some("x'\\"));
        for (order, values, never_null, expected) in [
            ("a", &[a][..], &[0][..], "(q.\"a\") >= (E'1')"),
            (
                "a, b",
                &[a, b],
                &[0, 1],
                "(q.\"a\", q.\"b\") >= (E'1', E'x''\\\\')",
            ),
            ("a DESC", &[a], &[0], "(q.\"a\") <= (E'1')"),
            (
                "a",
                &[a],
                &[],
                "q.\"a\" > E'1' OR q.\"a\" IS NULL OR q.\"a\" = E'1'",
            ),
            (
                "a DESC",
                &[a],
                &[],
                "q.\"a\" <= E'1' AND (q.\"a\" < E'1' OR q.\"a\" = E'1')",
            ),
            ("a", &[None], &[], "q.\"a\" IS NULL"),
            (
                "a DESC",
                &[None],
                &[],
                "q.\"a\" IS NOT NULL OR q.\"a\" IS NULL",
            ),
            (
                "a, b DESC",
                &[a, None],
                &[0],
                "q.\"a\" >= E'1' AND (q.\"a\" > E'1' OR q.\"a\" = E'1' AND (q.\"b\" IS NOT NULL OR q.\"b\" IS NULL))",
            ),
            ("3", &[a], &[2], "(q.\"c\"\"\") >= (E'1')"),
        ] {
            assert_eq!(
                condition(order, values, never_null).from_it_on,
                expected,
                "{order}"
            );
        }
        let Conditions { equal, .. } = condition("a, b", &[a, None], &[]);
        assert_eq!(equal, "q.\"a\" = E'1' AND q.\"b\" IS NULL");
    }
}
