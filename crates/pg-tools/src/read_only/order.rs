//! The order of a query's rows, as its text tells it.
//!
//! If it is known by which columns of a run the rows are ordered, those from some row on can be requested with a
//! condition, which an index can serve, instead of counting the rows before. If anything is uncertain, there is no such
//! condition.

use super::{
    rows::{Column, Keys, Sorts},
    statement::{Statement, Token, tokens},
};

/// The widest result to which columns are added; PostgreSQL's limit is 1,664.
const WIDEST: usize = 1_600;

/// The most items of an `ORDER BY` that is read.
const MOST_ITEMS: usize = 64;

/// The longest name that PostgreSQL does not shorten, in bytes.
const LONGEST_NAME: usize = 63;

/// Names that PostgreSQL takes for values, not for columns, if they are not quoted.
#[rustfmt::skip]
const VALUES: &[&str] = &[
    "current_catalog", "current_date", "current_role", "current_schema", "current_time",
    "current_timestamp", "current_user", "default", "false", "localtime", "localtimestamp", "null",
    "session_user", "system_user", "true", "user",
];

/// Words that end an `ORDER BY`.
const ENDS: &[&str] = &["limit", "offset", "fetch", "for"];

/// A column that a run is ordered by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SortColumn {
    /// Its index in a row, from 0 on; the keys follow the result's own columns.
    pub(super) index: usize,
    pub(super) sorts: Sorts,
    pub(super) descending: bool,
    pub(super) nulls_first: bool,
}

/// Finds the columns that a statement orders its whole result by, among those of the result and the keys of its run;
/// `None` if these alone do not tell the order.
///
/// A bare name in `ORDER BY` is a column of the result if one has that name, and a number is the position of one
/// (PostgreSQL documentation, `SELECT`, "ORDER BY Clause"). If several columns have that name they are the same
/// expression, or PostgreSQL refuses the query.
pub(super) fn sort_columns(
    statement: &Statement<'_>,
    columns: &[Column],
    keys: &Keys,
) -> Option<Vec<SortColumn>> {
    let items = items(statement.text())?;
    if columns.len() + items.len() > WIDEST {
        return None;
    }
    let sorted = items.iter().enumerate().map(|(number, item)| {
        let own = match &item.what {
            What::Name(name) => columns.iter().position(|column| *column.name == **name),
            What::Place(place) => Some(place.checked_sub(1).filter(|at| *at < columns.len())?),
            What::Expression => None,
        };
        let key = || {
            let at = keys.items.iter().position(|key| *key == number)?;
            Some(columns.len() + at)
        };
        let index = own.or_else(key)?;
        let mut all = columns.iter().chain(&keys.columns);
        let sorts = all.nth(index)?.sorts;
        (sorts != Sorts::Unknown).then_some(SortColumn {
            index,
            sorts,
            descending: item.descending,
            nulls_first: item.nulls_first,
        })
    });
    sorted.collect()
}

/// One item of an `ORDER BY`.
pub(super) struct Item<'a> {
    /// Its text, without the direction.
    pub(super) text: &'a str,
    pub(super) what: What,
    descending: bool,
    nulls_first: bool,
}

/// What kind of item it is.
pub(super) enum What {
    /// A column of the result, if one has that name.
    Name(String),
    /// The position of a column of the result, from 1 on.
    Place(usize),
    /// Anything else, which refers to the columns of the tables.
    Expression,
}

/// Reads the only `ORDER BY` outside of all parentheses; `None` if it is not certain what it says.
pub(super) fn items(text: &str) -> Option<Vec<Item<'_>>> {
    // Most texts have none; this check is faster than splitting them into tokens.
    let is_order =
        |five: &[u8]| matches!(five[0], b'o' | b'O') && five.eq_ignore_ascii_case(b"order");
    if !text.as_bytes().windows(5).any(is_order) {
        return None;
    }
    let mut items = Vec::new();
    let mut open = Brackets::default();
    let (mut item, mut follows_dot) = (Vec::new(), false);
    for token in behind_order_by(text)? {
        let is_outside = open.is_none();
        let is_word = |word: &&str| is_outside && !follows_dot && is(&token, word);
        match token.text {
            // A parameter, a name with `$` in it, or the end of the statement.
            "$" | ";" => return None,
            _ if is_word(&"using") => return None,
            _ if ENDS.iter().any(is_word) => break,
            "," if is_outside => items.push(read(text, &std::mem::take(&mut item))?),
            _ => {
                open.pass(&token)?;
                follows_dot = token.text == ".";
                item.push(token);
            }
        }
    }
    items.push(read(text, &item)?);
    (open.is_none() && items.len() <= MOST_ITEMS).then_some(items)
}

/// The parentheses and brackets that are open.
#[derive(Default)]
pub(super) struct Brackets(Vec<&'static str>);

impl Brackets {
    pub(super) fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Opens or closes one; `None` if a closing one does not match the last opening one.
    pub(super) fn pass(&mut self, token: &Token<'_>) -> Option<()> {
        match token.text {
            "(" => self.0.push(")"),
            "[" => self.0.push("]"),
            close @ (")" | "]") => return self.0.pop().filter(|open| *open == close).map(drop),
            _ => {}
        }
        Some(())
    }
}

/// Reads one item.
fn read<'a>(text: &'a str, tokens: &[Token<'a>]) -> Option<Item<'a>> {
    let (tokens, nulls) = match tokens {
        [item @ .., nulls, end] if is(nulls, "nulls") && is(end, "first") => (item, Some(true)),
        [item @ .., nulls, end] if is(nulls, "nulls") && is(end, "last") => (item, Some(false)),
        item => (item, None),
    };
    let (tokens, descending) = match tokens {
        // After a point it is the name of a column.
        [.., dot, _] if dot.text == "." => (tokens, false),
        [item @ .., end] if is(end, "desc") => (item, true),
        [item @ .., end] if is(end, "asc") => (item, false),
        item => (item, false),
    };
    let (first, last) = (tokens.first()?, tokens.last()?);
    let what = match without_parentheses(tokens) {
        [one] => what(one)?,
        several if has_odd_name(several) => return None,
        _ => What::Expression,
    };
    Some(Item {
        text: &text[first.at..last.at + last.text.len()],
        what,
        descending,
        nulls_first: nulls.unwrap_or(descending),
    })
}

/// Removes the parentheses around a single token, which mean nothing to PostgreSQL either.
fn without_parentheses<'a, 'b>(tokens: &'b [Token<'a>]) -> &'b [Token<'a>] {
    let around = tokens.len().saturating_sub(1) / 2;
    let (open, rest) = tokens.split_at(around);
    let (one, close) = rest.split_at(rest.len() - around);
    let is_alone = one.len() == 1
        && open.iter().all(|token| token.text == "(")
        && close.iter().all(|token| token.text == ")");
    if is_alone { one } else { tokens }
}

/// Returns whether there is a name with a quote in it, which is split into two tokens.
fn has_odd_name(tokens: &[Token<'_>]) -> bool {
    tokens.windows(2).any(|two| {
        let touch = two[0].at + two[0].text.len() == two[1].at;
        touch && two.iter().all(|token| token.text.starts_with('"'))
    })
}

/// Returns the tokens after the only `ORDER BY` outside of all parentheses.
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

/// Returns whether a token is this word, in upper or lower case.
pub(super) fn is(token: &Token<'_>, word: &str) -> bool {
    token.text.eq_ignore_ascii_case(word)
}

fn what(token: &Token<'_>) -> Option<What> {
    let text = token.text;
    if let Some(quoted) = text.strip_prefix('"') {
        let name = quoted.strip_suffix('"')?;
        return (name.len() <= LONGEST_NAME).then(|| What::Name(name.to_owned()));
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(What::Place(text.parse().ok()?));
    }
    // How PostgreSQL folds the case of other letters depends on the database's encoding.
    let is_name = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !text.starts_with(|first: char| first.is_ascii_digit());
    let name = text.to_ascii_lowercase();
    let is_name = is_name && name.len() <= LONGEST_NAME && !VALUES.contains(&&*name);
    is_name.then_some(What::Name(name))
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

    /// Returns the columns' indexes, with `-` before descending ones and `!` after those with NULLs first. `keys` are
    /// the items that have keys.
    fn order_with(text: &str, keys: &[usize]) -> Option<String> {
        let statement = Statement::check(text).unwrap();
        let own = columns(&["id", "name", "Odd 1", "twice", "twice", "json", "user"]);
        let keys = Keys {
            items: keys.to_vec(),
            columns: columns(&["key", "key", "key"][..keys.len()]),
        };
        let columns = sort_columns(&statement, &own, &keys)?;
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
            ("SELECT x ORDER BY (id), ((2)) DESC", "0 -1!"),
            ("SELECT x ORDER BY twice, 5", "3 4"),
        ] {
            assert_eq!(order_with(text, &[]).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_column_of_the_result_is_a_key() {
        for (text, expected) in [
            ("SELECT x ORDER BY lower(id) DESC, id", "-7! 0"),
            ("SELECT x ORDER BY t.id", "7"),
            ("SELECT x ORDER BY t.desc", "7"),
            ("SELECT x ORDER BY t.limit desc limit 3", "-7!"),
            ("SELECT x ORDER BY unknown NULLS FIRST", "7!"),
            ("SELECT x ORDER BY \"ID\"", "7"),
            ("SELECT x ORDER BY coalesce(id, 'a, b'), name", "7 1"),
            ("SELECT x ORDER BY a[1], 1", "7 0"),
            ("SELECT x ORDER BY (id, name)", "7"),
            ("SELECT x ORDER BY id + 1", "7"),
            ("SELECT x ORDER BY -id", "7"),
            ("SELECT x ORDER BY id::text", "7"),
            ("SELECT x ORDER BY id COLLATE \"C\"", "7"),
        ] {
            assert_eq!(order_with(text, &[]), None, "{text}");
            assert_eq!(order_with(text, &[0]).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn an_order_of_which_something_is_not_certain_is_not_read() {
        for text in [
            "SELECT x",
            "(SELECT x ORDER BY id)",
            "SELECT x ORDER BY",
            "SELECT x ORDER BY id,",
            "SELECT x ORDER BY ,id",
            "SELECT x ORDER BY DESC",
            "SELECT x ORDER BY id USING <",
            "SELECT x ORDER BY lower(id",
            "SELECT x ORDER BY lower(id]",
            "SELECT x ORDER BY id)",
            "SELECT x ORDER BY 'id'",
            "SELECT x ORDER BY 0",
            "SELECT x ORDER BY 8",
            "SELECT x ORDER BY 99999999999999999999999",
            "SELECT x ORDER BY \"Odd \"\"1\"",
            "SELECT x ORDER BY gr\u{f6}\u{df}e",
            "SELECT x ORDER BY a$b",
            "SELECT x ORDER BY json",
            "SELECT x ORDER BY user",
            "SELECT x ORDER BY id ORDER BY name",
            "SELECT x ORDER BY id; SELECT y",
            &format!("SELECT x ORDER BY {}", "x".repeat(64)),
            &format!("SELECT x ORDER BY id{}", ", id".repeat(64)),
            &format!("SELECT x ORDER BY {}id", "(".repeat(60_000)),
        ] {
            assert_eq!(order_with(text, &[0]), None, "{text:.80}");
        }
    }

    #[test]
    fn an_item_is_told_as_it_is_written_without_its_direction() {
        let text = "SELECT x ORDER BY /* a */ lower( b -- , c\n) DESC NULLS LAST /* d */, \"e, f\" , E'g,\\', h' || i ASC -- j";
        let items = items(text).unwrap();
        let texts: Vec<_> = items.iter().map(|item| item.text).collect();
        assert_eq!(
            texts,
            ["lower( b -- , c\n)", "\"e, f\"", "E'g,\\', h' || i"]
        );
    }
}
