//! SQL conditions that compare rows with one row, in the order of a result.

use std::collections::HashSet;

use session_pool::{Column as Described, Lease};
use tokio_postgres::types::Type;

use super::{failure::ReadError, order::SortColumn, statement::Statement};
use crate::agent::literal;

/// Words without which a column that is never NULL in its table is never NULL in a result either.
#[rustfmt::skip]
const BRING_NULLS: &[&str] = &[
    "cube", "except", "full", "grouping", "intersect", "left", "right", "rollup", "union",
];

/// Finds columns of tables that are never NULL, whatever is changed in the tables meanwhile: a constraint holds for
/// every row, and no foreign table is involved, where PostgreSQL only assumes that it holds.
const NEVER_NULL: &str = "SELECT /* of pg-tools */ a.attrelid, a.attnum FROM pg_catalog.pg_attribute a \
     JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
     WHERE a.attrelid = ANY ($1) AND a.attnotnull \
       AND (c.relkind = 'r' AND NOT c.relhassubclass \
            OR c.relkind = 'p' AND NOT EXISTS (SELECT FROM pg_catalog.pg_partition_tree(c.oid) t \
                                               JOIN pg_catalog.pg_class f ON f.oid = t.relid WHERE f.relkind = 'f')) \
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint n \
                       WHERE n.conrelid = a.attrelid AND n.contype = 'n' AND a.attnum = ANY (n.conkey) \
                         AND (NOT n.convalidated OR n.connoinherit))";

/// Finds which of a result's columns are certainly never NULL, by their indexes.
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

/// Returns names for the columns of `q` by position, as several may have the same name of their own.
pub(super) fn names(count: usize) -> String {
    let names: Vec<String> = (0..count).map(name).collect();
    names.join(", ")
}

fn name(index: usize) -> String {
    format!("c{index}")
}

/// SQL conditions that compare the rows of `q`, whose columns have [`names`], with a row that has certain values in the
/// columns of the order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Conditions {
    /// Holds for rows that are equal to it in the order.
    pub(super) equal: String,
    /// Holds for rows that are equal to it or come after it.
    pub(super) from_it_on: String,
}

impl Conditions {
    /// Builds the conditions; `values` are the row's, one for each column.
    ///
    /// They are written as literals without a type, which PostgreSQL reads as values of the column's type.
    pub(super) fn of(
        columns: &[SortColumn],
        values: &[Option<String>],
        never_null: &HashSet<usize>,
    ) -> Self {
        let bounds: Vec<Bound> = columns
            .iter()
            .zip(values)
            .map(|(column, value)| Bound {
                name: format!("q.{}", name(column.index)),
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

/// A column, and the row's value in it.
struct Bound {
    name: String,
    /// As a literal; `None` for NULL.
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

    /// Returns the condition that holds for values after this one; `None` if there can be none.
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

/// Compares all columns at once, which an index on them can serve. That is right only if there are no NULLs and all
/// have the same direction.
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

/// Compares one column after the other. The bound of the first one is also stated by itself, unless that would exclude
/// NULLs, because an index can serve it.
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
    use crate::read_only::{Column, ColumnKind, Sorts, order::sort_columns, rows::Keys};

    fn condition(order: &str, values: &[Option<&str>], never_null: &[usize]) -> Conditions {
        let text = format!("SELECT x ORDER BY {order}");
        let columns = ["a", "b"].map(|name| Column {
            name: name.into(),
            type_name: "t".into(),
            kind: ColumnKind::Text,
            sorts: Sorts::Surely,
        });
        let statement = Statement::check(&text).unwrap();
        let columns = sort_columns(&statement, &columns, &Keys::default()).unwrap();
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
            ("a", &[a][..], &[0][..], "(q.c0) >= (E'1')"),
            (
                "a, b",
                &[a, b],
                &[0, 1],
                "(q.c0, q.c1) >= (E'1', E'x''\\\\')",
            ),
            ("a DESC", &[a], &[0], "(q.c0) <= (E'1')"),
            ("a", &[a], &[], "q.c0 > E'1' OR q.c0 IS NULL OR q.c0 = E'1'"),
            (
                "a DESC",
                &[a],
                &[],
                "q.c0 <= E'1' AND (q.c0 < E'1' OR q.c0 = E'1')",
            ),
            ("a", &[None], &[], "q.c0 IS NULL"),
            ("a DESC", &[None], &[], "q.c0 IS NOT NULL OR q.c0 IS NULL"),
            (
                "a, b DESC",
                &[a, None],
                &[0],
                "q.c0 >= E'1' AND (q.c0 > E'1' OR q.c0 = E'1' AND (q.c1 IS NOT NULL OR q.c1 IS NULL))",
            ),
            ("2", &[a], &[1], "(q.c1) >= (E'1')"),
        ] {
            assert_eq!(
                condition(order, values, never_null).from_it_on,
                expected,
                "{order}"
            );
        }
        let Conditions { equal, .. } = condition("a, b", &[a, None], &[]);
        assert_eq!(equal, "q.c0 = E'1' AND q.c1 IS NULL");
    }
}
