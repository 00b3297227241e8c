//! The order that a query gives its rows, where it is told by columns of its result.
//!
//! Then the rows from some row on can be asked for with a condition, which an index can serve, in
//! place of counting the rows before. Where anything is not certain there is no such condition.

use super::{
    rows::{Column, Sorts},
    statement::{Statement, Token, tokens},
};

/// The widest result that takes one more column; PostgreSQL's limit is 1,664.
const WIDEST: usize = 1_600;

/// Names that PostgreSQL takes for values, not for columns, when they are not quoted.
#[rustfmt::skip]
const VALUES: &[&str] = &[
    "current_catalog", "current_date", "current_role", "current_schema", "current_time",
    "current_timestamp", "current_user", "default", "false", "localtime", "localtimestamp", "null",
    "session_user", "system_user", "true", "user",
];

/// A column that a result is ordered by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SortColumn {
    /// Its place in the result, from 0 on.
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) sorts: Sorts,
    pub(super) descending: bool,
    pub(super) nulls_first: bool,
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

}
