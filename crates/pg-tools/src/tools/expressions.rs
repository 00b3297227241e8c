//! Expressions of a plan's conditions, as an index could hold them.

use super::comparisons::{Key, Token, within};
use crate::quoting::written;

/// Functions whose names are written in quotes, because SQL has a syntax of its own for them without.
const QUOTED: [&str; 6] = [
    "normalize",
    "overlay",
    "position",
    "substring",
    "treat",
    "trim",
];

/// Keywords that are written like functions.
const LIKE_FUNCTIONS: [&str; 5] = ["COALESCE", "EXTRACT", "GREATEST", "LEAST", "NULLIF"];

/// Returns the alias of the only table whose columns an expression mentions, and the expression as a key of an index.
/// Returns `None` if there is no such table, or if the expression refers to another part of the plan.
pub(super) fn of_one_table(tokens: &[Token<'_>]) -> Option<(String, Key)> {
    let tokens = within(tokens).unwrap_or(tokens);
    let is_elsewhere = |token: &Token<'_>| match token {
        Token::Name(name) => matches!(&**name, "SubPlan" | "InitPlan"),
        other => *other == Token::Other("$"),
    };
    if tokens.iter().any(is_elsewhere) {
        return None;
    }
    let mut aliases = (0..tokens.len()).filter_map(|at| alias_at(tokens, at));
    let alias = aliases.next()?;
    let is_only = aliases.all(|other| other == alias);
    is_only.then(|| (alias.to_owned(), Key::Sql(format!("({})", in_sql(tokens)))))
}

/// Returns the alias at a position, if a column of its table follows.
fn alias_at<'t>(tokens: &'t [Token<'_>], at: usize) -> Option<&'t str> {
    let (before, rest) = tokens.split_at(at);
    let [
        Token::Name(alias),
        Token::Other("."),
        Token::Name(_),
        after @ ..,
    ] = rest
    else {
        return None;
    };
    // A function or a type of a schema looks alike.
    let is_function = after.first() == Some(&Token::Other("("));
    let is_type = before.last() == Some(&Token::Other("::"));
    (!is_function && !is_type).then_some(alias)
}

/// Writes an expression for SQL, its columns without their table's alias.
fn in_sql(tokens: &[Token<'_>]) -> String {
    let mut sql = String::new();
    let mut before = None;
    let mut at = 0;
    while at < tokens.len() {
        if alias_at(tokens, at).is_some() {
            at += 2;
        }
        let (token, after) = (&tokens[at], tokens.get(at + 1));
        if before.is_some_and(|before| is_spaced(before, token)) {
            sql.push(' ');
        }
        match token {
            Token::Name(name) => {
                let is_function = after == Some(&Token::Other("("));
                if is_function && QUOTED.contains(&&**name) {
                    sql.extend(["\"", name, "\""]);
                } else {
                    sql.push_str(&written(name));
                }
            }
            Token::Operator(text) | Token::Other(text) => sql.push_str(text),
        }
        before = Some(token);
        at += 1;
    }
    sql
}

/// Returns whether there is a space between two tokens.
fn is_spaced(before: &Token<'_>, after: &Token<'_>) -> bool {
    let is_called = match before {
        Token::Name(_) => true,
        Token::Operator(_) => false,
        Token::Other(word) => LIKE_FUNCTIONS.contains(word),
    };
    // A text with a backslash is written E'..'.
    let opens = matches!(before, Token::Other("(" | "[" | "." | "::" | "E"));
    let closes = matches!(after, Token::Other(")" | "]" | "[" | "," | "." | "::"));
    let is_call = is_called && *after == Token::Other("(");
    !(opens || closes || is_call)
}

#[cfg(test)]
mod tests {
    use super::{super::comparisons::tokens, *};

    #[test]
    fn an_expression_of_one_table_is_written_without_its_alias() {
        for (text, expected) in [
            ("lower((u.email)::text)", Some("lower((email)::text)")),
            ("(u.placed)::date", Some("(placed)::date")),
            ("(u.a + u.b)", Some("a + b")),
            ("COALESCE(u.total, 0)", Some("COALESCE(total, 0)")),
            (
                "EXTRACT(year FROM u.placed)",
                Some("EXTRACT(year FROM placed)"),
            ),
            (
                "\"substring\"(u.\"Name\", 1, 2)",
                Some("\"substring\"(\"Name\", 1, 2)"),
            ),
            ("shop.rank(u.x)", Some("shop.rank(x)")),
            ("(u.total)::numeric(5,2)", Some("(total)::numeric(5, 2)")),
            (
                "(u.name)::character varying(10)",
                Some("(name)::character varying(10)"),
            ),
            ("(u.doc ->> 'a.b'::text)", Some("doc ->> 'a.b'::text")),
            (
                "CASE WHEN (u.a = 'x'::shop.kind) THEN 1 ELSE u.b END",
                Some("CASE WHEN (a = 'x'::shop.kind) THEN 1 ELSE b END"),
            ),
            ("(u.a || E'\\\\'::text)", Some("a || E'\\\\'::text")),
            ("(u.a + o.b)", None),
            ("(u.a + (SubPlan 1))", None),
            ("(u.a + $0)", None),
            ("lower('a'::text)", None),
            ("now()", None),
        ] {
            let found = of_one_table(&tokens(text));
            let expected = expected.map(|sql| ("u".to_owned(), Key::Sql(format!("({sql})"))));
            assert_eq!(found, expected, "{text}");
        }
    }
}
