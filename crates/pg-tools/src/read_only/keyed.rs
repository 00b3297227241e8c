//! A statement whose rows include what they are ordered by, if no column of the result tells that.
//!
//! `SELECT u.name FROM users u ORDER BY u.id` is run as `SELECT u.name, (u.id) AS mcp_key_1 FROM users u ORDER BY
//! u.id`, and the last column is not shown to the caller. PostgreSQL looks up the names of an expression in `ORDER BY`
//! in the tables, as it does in the select list, so that both mean the same; it computes the expression once, as it
//! finds that both are equal; and a column at the end of the list does not change what `ORDER BY 1` means.
//!
//! The key is a piece of the statement's own text between parentheses of ours. All parentheses in it are closed, so
//! that it names and does nothing that the statement does not. The text with keys is checked like any statement, and if
//! PostgreSQL does not accept it, the statement is run as it was written.

use super::{
    order::{Brackets, Item, What, is, items},
    rows::Column,
    statement::{Statement, tokens},
};

/// How the names of keys begin; a statement that contains this gets no keys.
const KEY: &str = "mcp_key_";

/// The most keys that a statement gets.
const MOST_KEYS: usize = 32;

/// Words that, outside of all parentheses, make a statement more than one `SELECT`, or not a query.
const NO_SELECT: &[&str] = &["union", "intersect", "except", "into"];

/// Words that end a `GROUP BY`.
const GROUP_ENDS: &[&str] = &["having", "window", "order"];

/// What comes before a number in `GROUP BY` that may be the position of a column.
const BEFORE_PLACES: &[&str] = &["by", "all", "distinct", ",", "("];

/// Words after a value that make another value of it, and are not a name for it.
const AFTER_VALUES: &[&str] = &["isnull", "notnull"];

/// A statement with keys after its own columns.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Keyed {
    pub(super) text: String,
    /// The items of its `ORDER BY` that the keys stand for.
    pub(super) items: Vec<usize>,
    /// How many columns its own result must have at least to be right, as it refers to them by position.
    pub(super) places: usize,
}

impl Keyed {
    /// Adds the keys that a statement needs, if any, as far as its text tells: a bare name may be that of a column of
    /// the result if anything in the select list has that name.
    ///
    /// PostgreSQL may still refuse the statement. No keys are added where they might make a wrong statement right,
    /// except that the columns counted by [`Keyed::places`] are not known to exist.
    pub(super) fn guess(statement: &Statement<'_>) -> Option<Self> {
        let (order, list) = read(statement)?;
        let keys = keys(&order, |name| !list.may_give(name));
        let is_right = match list.is_distinct {
            true => keys.iter().all(|(_, item)| list.has(item.text)),
            false => true,
        };
        let places = order.iter().filter_map(|item| match item.what {
            What::Place(place) => Some(place),
            _ => None,
        });
        let places = places.chain(list.places.iter().copied());
        let places = places.max().unwrap_or_default();
        let is_right = is_right && (list.has_star || places <= list.items.len());
        let keyed = Keyed::with(statement, &list, keys).filter(|_| is_right)?;
        Some(Keyed { places, ..keyed })
    }

    /// Adds the keys that a statement needs beside the columns of its result, if any. PostgreSQL must have accepted the
    /// statement before.
    pub(super) fn beside(statement: &Statement<'_>, columns: &[Column]) -> Option<Self> {
        let (order, list) = read(statement)?;
        let is_other = |name: &str| columns.iter().all(|column| *column.name != *name);
        Keyed::with(statement, &list, keys(&order, is_other))
    }

    /// Returns whether a statement can have keys, if it needs some.
    pub(super) fn may_be(statement: &Statement<'_>) -> bool {
        read(statement).is_some()
    }

    fn with(
        statement: &Statement<'_>,
        list: &SelectList<'_>,
        keys: Vec<(usize, &Item<'_>)>,
    ) -> Option<Self> {
        // An expression with another value each time would make rows distinct that are the same.
        let is_steady = !list.is_distinct || keys.iter().all(|(_, item)| is_reference(item.text));
        if !(1..=MOST_KEYS).contains(&keys.len()) || !is_steady {
            return None;
        }
        let (before, after) = statement.text().split_at(list.end);
        let written = keys
            .iter()
            .zip(1..)
            .map(|((_, item), number)| format!(", ({}) AS {KEY}{number} ", item.text));
        let keyed = Keyed {
            text: format!("{before}{}{after}", written.collect::<String>()),
            items: keys.iter().map(|(number, _)| *number).collect(),
            places: 0,
        };
        Statement::check(&keyed.text).is_ok().then_some(keyed)
    }
}

fn read<'a>(statement: &Statement<'a>) -> Option<(Vec<Item<'a>>, SelectList<'a>)> {
    let text = statement.text();
    let order = items(text)?;
    // Whether a quote after a backslash ends a string depends on a setting.
    let is_doubtful = text.contains("\\'") || text.to_ascii_lowercase().contains(KEY);
    let list = SelectList::of(text).filter(|_| !is_doubtful)?;
    Some((order, list))
}

/// Finds the items that need a key, with their numbers; `is_other` says whether a name is not that of a column of the
/// result.
fn keys<'a, 'b>(
    order: &'b [Item<'a>],
    is_other: impl Fn(&str) -> bool,
) -> Vec<(usize, &'b Item<'a>)> {
    let numbered = order.iter().enumerate();
    let keys = numbered.filter(|(_, item)| match &item.what {
        What::Name(name) => is_other(name),
        What::Place(_) => false,
        What::Expression => true,
    });
    keys.collect()
}

/// A statement's select list, as far as its text tells it.
struct SelectList<'a> {
    /// The words of each item.
    items: Vec<Vec<&'a str>>,
    /// Whether rows that are the same in all columns are given once (`DISTINCT` without `ON`).
    is_distinct: bool,
    /// Whether it contains `*`, which stands for columns with unknown names.
    has_star: bool,
    /// Numbers by which the statement may mean columns of the list, except those in `ORDER BY`.
    places: Vec<usize>,
    /// Where the text goes on after the list, with `FROM`.
    end: usize,
}

impl<'a> SelectList<'a> {
    /// Finds the list between the only `SELECT` and the only `FROM` outside of all parentheses; `None` if it is not
    /// certain which these are.
    fn of(text: &'a str) -> Option<Self> {
        let mut open = Brackets::default();
        let mut list: Option<Vec<Vec<&str>>> = None;
        let (mut has_star, mut is_star, mut is_grouping) = (false, false, false);
        let (mut places, mut end) = (Vec::new(), None);
        let mut last = "";
        for token in tokens(text).filter(|token| !token.is_blank()) {
            let is_outside = open.is_none();
            let is_word = |word: &&str| is_outside && is(&token, word);
            let follows = |word: &&str| last.eq_ignore_ascii_case(word);
            open.pass(&token)?;
            let is_from = is_word(&"from") && !follows(&"distinct");
            let is_comma = is_outside && token.text == ",";
            has_star |= is_star && (is_from || is_comma);
            is_star = is_outside && end.is_none() && token.text == "*";
            is_grouping = is_word(&"group") || is_grouping && !GROUP_ENDS.iter().any(is_word);
            if is_grouping && BEFORE_PLACES.iter().any(follows) {
                places.extend(token.text.parse::<usize>());
            }
            match &mut list {
                _ if NO_SELECT.iter().any(is_word) => return None,
                Some(_) if is_word(&"select") => return None,
                None if is_word(&"select") => list = Some(vec![Vec::new()]),
                _ if is_from && (end.is_some() || follows(&".") || follows(&"as")) => return None,
                Some(_) if is_from => end = Some(token.at),
                Some(list) if end.is_none() && is_comma => list.push(Vec::new()),
                Some(list) if end.is_none() => list.last_mut()?.push(token.text),
                _ => {}
            }
            last = token.text;
        }
        let mut items = list.filter(|_| open.is_none())?;
        let first = items.first_mut()?;
        let is = |at: usize, word: &str| {
            first
                .get(at)
                .is_some_and(|it| it.eq_ignore_ascii_case(word))
        };
        let (is_distinct, on) = match (is(0, "distinct"), is(1, "on")) {
            (true, true) => (false, 2 + parenthesized(&first[2..])?),
            (is_distinct, _) => (is_distinct, usize::from(is_distinct)),
        };
        let before = first
            .drain(..on)
            .filter_map(|word| word.parse::<usize>().ok());
        places.extend(before);
        Some(SelectList {
            items,
            is_distinct,
            has_star,
            places,
            end: end?,
        })
        .filter(|list| list.items.iter().all(|item| !item.is_empty()))
    }

    /// Returns whether a column may have this name.
    fn may_give(&self, name: &str) -> bool {
        let is_it = |word: &&str| word.trim_matches('"').eq_ignore_ascii_case(name);
        self.has_star || self.items.iter().flatten().any(is_it)
    }

    /// Returns whether an expression is in the list, with or without a name of its own.
    fn has(&self, expression: &str) -> bool {
        let blank_free = tokens(expression).filter(|token| !token.is_blank());
        let expression: Vec<&str> = blank_free.map(|token| token.text).collect();
        self.items.iter().any(|item| {
            let Some((own, rest)) = item.split_at_checked(expression.len()) else {
                return false;
            };
            let is_label = match rest {
                [] => true,
                [one] => !AFTER_VALUES
                    .iter()
                    .any(|word| one.eq_ignore_ascii_case(word)),
                [first, _] => first.eq_ignore_ascii_case("as"),
                _ => false,
            };
            is_label && own.iter().zip(&expression).all(|(a, b)| is_same(a, b))
        })
    }
}

/// Returns whether two words are the same to PostgreSQL; those in quotes are case-sensitive.
fn is_same(word: &str, other: &str) -> bool {
    word == other || !word.starts_with('"') && word.eq_ignore_ascii_case(other)
}

/// Counts the words up to the end of the parentheses with which they begin.
fn parenthesized(words: &[&str]) -> Option<usize> {
    let mut depth = 0_usize;
    let ends = words.iter().position(|word| {
        match *word {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0
    });
    ends.map(|end| end + 1)
}

/// Returns whether an expression consists only of words and points, as the name of a column does.
fn is_reference(text: &str) -> bool {
    let mut words = tokens(text).filter(|token| !token.is_blank());
    words.all(|token| {
        let first = token.text.chars().next().unwrap_or_default();
        matches!(first, '.' | '"' | '_') || first.is_alphanumeric()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::read_only::{ColumnKind, Sorts};

    fn guess(text: &str) -> Option<Keyed> {
        Keyed::guess(&Statement::check(text).unwrap())
    }

    fn beside(text: &str, names: &[&str]) -> Option<Keyed> {
        let columns = names.iter().map(|name| Column {
            name: (*name).into(),
            type_name: "t".into(),
            kind: ColumnKind::Text,
            sorts: Sorts::Surely,
        });
        Keyed::beside(
            &Statement::check(text).unwrap(),
            &columns.collect::<Vec<_>>(),
        )
    }

    /// `<>` marks where the keys go.
    #[test]
    fn what_no_column_of_the_result_tells_is_selected_too() {
        for (text, keys, items) in [
            (
                "SELECT a <>FROM t u ORDER BY u.id",
                ", (u.id) AS mcp_key_1 ",
                &[0][..],
            ),
            (
                "SELECT a <>FROM t ORDER BY id DESC LIMIT 3",
                ", (id) AS mcp_key_1 ",
                &[0],
            ),
            (
                "select a, -- from b\n b c <>from t order by lower(a || ',') desc nulls last, a, b + 1",
                ", (lower(a || ',')) AS mcp_key_1 , (b + 1) AS mcp_key_2 ",
                &[0, 2],
            ),
            (
                "WITH w AS (SELECT a FROM t ORDER BY b) SELECT x, 2 <>FROM w ORDER BY 2, y",
                ", (y) AS mcp_key_1 ",
                &[1],
            ),
            (
                "SELECT a IS DISTINCT FROM b, extract(day FROM c) <>FROM t WHERE a IS NOT DISTINCT FROM 1 ORDER BY -a",
                ", (-a) AS mcp_key_1 ",
                &[0],
            ),
            (
                "SELECT a * b <>FROM t ORDER BY c",
                ", (c) AS mcp_key_1 ",
                &[0],
            ),
            (
                "SELECT *<>FROM t ORDER BY a, (SELECT 1 FROM b ORDER BY c)",
                ", ((SELECT 1 FROM b ORDER BY c)) AS mcp_key_1 ",
                &[1],
            ),
            (
                "SELECT DISTINCT u.a, U.id x <>FROM t u ORDER BY u . ID",
                ", (u . ID) AS mcp_key_1 ",
                &[0],
            ),
            (
                "SELECT DISTINCT ON (f(a), b) b <>FROM t ORDER BY a, u.c, b",
                ", (a) AS mcp_key_1 , (u.c) AS mcp_key_2 ",
                &[0, 1],
            ),
            (
                "SELECT a, count(*) <>FROM t GROUP BY 1, a / 10 HAVING count(*) IN (5, 6) ORDER BY count(*)",
                ", (count(*)) AS mcp_key_1 ",
                &[0],
            ),
            (
                "SELECT \"from\", E'from' <>FROM t ORDER BY t.\"a, (b\"",
                ", (t.\"a, (b\") AS mcp_key_1 ",
                &[0],
            ),
            (
                "SELECT $$ FROM $$ <>FROM t ORDER BY $x$), ($x$ || a",
                ", ($x$), ($x$ || a) AS mcp_key_1 ",
                &[0],
            ),
        ] {
            let keyed = guess(&text.replace("<>", ""));
            let expected = (text.replace("<>", keys), items.to_vec());
            let keyed = keyed.map(|keyed| (keyed.text, keyed.items));
            assert_eq!(keyed, Some(expected), "{text}");
        }
    }

    #[test]
    fn a_text_that_needs_no_key_or_does_not_tell_where_it_goes_is_left_alone() {
        for text in [
            "SELECT a FROM t",
            "SELECT a FROM t ORDER BY a, 1",
            "SELECT lower(a) FROM t ORDER BY A",
            "SELECT x AS \"Odd one\" FROM t ORDER BY \"Odd one\"",
            "SELECT * FROM t ORDER BY a",
            "SELECT t.*, b FROM t ORDER BY a",
            "SELECT DISTINCT ON (a) * FROM t ORDER BY a",
            "SELECT a FROM t UNION SELECT b FROM t ORDER BY a + 1",
            "SELECT a FROM t UNION (SELECT b FROM t) ORDER BY c",
            "(SELECT a FROM t) ORDER BY a + 1",
            "TABLE t ORDER BY a + 1",
            "VALUES (1), (2) ORDER BY column1 + 1",
            "SELECT 1 AS from ORDER BY 1 + 1",
            "SELECT 1 ORDER BY 1 + 1",
            "SELECT FROM t ORDER BY a + 1",
            "SELECT a, FROM t ORDER BY a + 1",
            "SELECT t.from FROM t ORDER BY a + 1",
            "SELECT a INTO b FROM t ORDER BY a + 1",
            "SELECT a) FROM (t ORDER BY a + 1",
            "SELECT (a] FROM t ORDER BY a + 1",
            "SELECT a FROM t ORDER BY (a + 1",
            "SELECT a FROM t ORDER BY a + 1) q; DROP TABLE t; --",
            "SELECT a FROM t ORDER BY a + 1, $1",
            "SELECT '\\' FROM t ORDER BY a + 1",
            "SELECT E'\\'' FROM t ORDER BY a + 1",
            "SELECT a AS mcp_KEY_1 FROM t ORDER BY a + 1",
            "SELECT a FROM t ORDER BY \"a\"\"b\"",
        ] {
            assert_eq!(guess(text), None, "{text}");
        }
        let wide: Vec<_> = (0..=MOST_KEYS)
            .map(|number| format!("-a{number}"))
            .collect();
        let text = format!("SELECT a FROM t ORDER BY {}", wide.join(", "));
        assert_eq!(guess(&text), None);
        let long = format!("SELECT a FROM t ORDER BY '{}' || a", "x".repeat(40_000));
        assert_eq!(guess(&long), None, "it would be too long");
    }

    #[test]
    fn a_key_never_makes_a_query_right_that_is_not() {
        for text in [
            "SELECT DISTINCT a FROM t u ORDER BY u.id",
            "SELECT DISTINCT a FROM t ORDER BY id",
            "SELECT DISTINCT u.id + 1 FROM t u ORDER BY u.id",
            "SELECT DISTINCT u.id ISNULL FROM t u ORDER BY u.id",
            "SELECT DISTINCT u.\"ID\" FROM t u ORDER BY u.\"id\"",
            "SELECT DISTINCT u.id COLLATE \"C\" FROM t u ORDER BY u.id",
            "SELECT a FROM t ORDER BY 2, t.b",
            "SELECT a FROM t GROUP BY 1, 2 ORDER BY t.a",
            "SELECT a FROM t GROUP BY ROLLUP (1, (2)) ORDER BY t.a",
            "SELECT DISTINCT ON (2) a FROM t ORDER BY t.b",
        ] {
            assert_eq!(guess(text), None, "{text}");
        }
        let keyed = guess("SELECT * FROM t GROUP BY ROLLUP (1, (7)) ORDER BY 3, t.a");
        assert_eq!(
            keyed.map(|keyed| keyed.places),
            Some(7),
            "if it has as many"
        );
    }

    #[test]
    fn what_is_selected_once_gets_no_key_that_may_differ_each_time() {
        let text = "SELECT DISTINCT random() FROM t ORDER BY random()";
        assert_eq!(guess(text), None);
        assert_eq!(beside(text, &["random"]), None);
        assert!(beside("SELECT DISTINCT * FROM t ORDER BY t.a", &["a"]).is_some());
    }

    #[test]
    fn the_columns_of_a_result_say_which_names_are_others() {
        let text = "SELECT lower(name) FROM t ORDER BY name";
        assert_eq!(beside(text, &["name"]), None);
        let keyed = beside(text, &["lower"]).unwrap();
        assert_eq!(
            keyed.text,
            "SELECT lower(name) , (name) AS mcp_key_1 FROM t ORDER BY name"
        );
    }

    proptest::proptest! {
        /// With any text, what has keys is the same text with pieces of it in parentheses.
        #[test]
        fn a_key_is_a_piece_of_the_text(
            list in r#"[a,*()'"$/ -]{1,12}"#,
            order in r#"[a,()\[\]'"$/ \n;-]{1,24}"#,
        ) {
            let text = format!("SELECT {list} FROM t ORDER BY {order}");
            if let Ok(statement) = Statement::check(&text)
                && let Some(keyed) = Keyed::guess(&statement)
            {
                let mut rest = keyed.text.clone();
                for (number, item) in items(statement.text()).unwrap().iter().enumerate() {
                    let at = keyed.items.iter().position(|key| *key == number);
                    if let Some(at) = at {
                        let key = format!(", ({}) AS {KEY}{} ", item.text, at + 1);
                        rest = rest.replacen(&key, "", 1);
                        let mut open = Brackets::default();
                        for token in tokens(item.text) {
                            open.pass(&token).unwrap();
                        }
                        proptest::prop_assert!(open.is_none());
                    }
                }
                proptest::prop_assert_eq!(&rest, statement.text());
            }
        }
    }
}
