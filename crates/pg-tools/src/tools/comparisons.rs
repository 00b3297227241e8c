//! Conditions as a plan has them, read as far as a column and the operator beside it.
//!
//! A verbose plan names every column with its table's alias, and puts parentheses around everything that it joins.

/// How a column is used in a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Equal,
    Range,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A name, without its quotes.
    Name(String),
    /// An operator.
    Operator(&'a str),
    /// A constant, a keyword, a parenthesis, or another sign.
    Other(&'a str),
}

/// A condition, as far as it is understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// Parts that `AND` joins.
    All(Vec<Condition>),
    /// Sides that `OR` joins.
    Any(Vec<Condition>),
    /// A comparison of columns; of none where it is not understood.
    Compares(Vec<Compared>),
}

/// A column with its table's alias, and what it is compared for.
pub(super) type Compared = (String, String, Use);

/// Deeper than this, a condition is not looked into.
const MOST_DEPTH: usize = 32;

/// Reads a condition of a plan.
pub(super) fn condition(text: &str) -> Condition {
    parse(&tokens(text), 0)
}

/// Reads a condition, in which PostgreSQL puts parentheses around everything that it joins.
fn parse(tokens: &[Token<'_>], depth: usize) -> Condition {
    if depth == MOST_DEPTH {
        return Condition::Compares(Vec::new());
    }
    for (word, join) in [
        ("OR", Condition::Any as fn(_) -> _),
        ("AND", Condition::All as fn(_) -> _),
    ] {
        let parts = split(tokens, word);
        if parts.len() > 1 {
            let parts = parts.into_iter().map(|part| parse(part, depth + 1));
            return join(parts.collect());
        }
    }
    match within(tokens) {
        Some(inner) => parse(inner, depth + 1),
        None => Condition::Compares(in_comparison(tokens)),
    }
}

/// Splits at a word that stands in no parentheses.
fn split<'t, 'a>(tokens: &'t [Token<'a>], word: &str) -> Vec<&'t [Token<'a>]> {
    let mut open = 0_usize;
    tokens
        .split(|token| {
            match token {
                Token::Other("(") => open += 1,
                Token::Other(")") => open = open.saturating_sub(1),
                _ => {}
            }
            open == 0 && *token == Token::Other(word)
        })
        .collect()
}

/// What is within parentheses that hold all of it.
fn within<'t, 'a>(tokens: &'t [Token<'a>]) -> Option<&'t [Token<'a>]> {
    let [Token::Other("("), inner @ .., Token::Other(")")] = tokens else {
        return None;
    };
    let mut open = 0_usize;
    for token in inner {
        match token {
            Token::Other("(") => open += 1,
            Token::Other(")") => open = open.checked_sub(1)?,
            _ => {}
        }
    }
    Some(inner)
}

/// Finds columns with the operator beside them, on either side of one comparison. Two columns of one table serve no
/// index when they are compared to each other.
fn in_comparison(tokens: &[Token<'_>]) -> Vec<Compared> {
    if tokens.first() == Some(&Token::Other("NOT")) {
        return Vec::new();
    }
    let found = beside_operators(tokens);
    let mentions = |alias: &str| {
        let names = tokens.windows(3).filter(|three| {
            matches!(three, [Token::Name(of), Token::Other("."), Token::Name(_)] if of == alias)
        });
        names.count()
    };
    let once = found.into_iter().filter(|(alias, ..)| mentions(alias) == 1);
    once.collect()
}

fn beside_operators(tokens: &[Token<'_>]) -> Vec<Compared> {
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        let [Token::Name(alias), Token::Other("."), Token::Name(column)] =
            &tokens[at..tokens.len().min(at + 3)]
        else {
            continue;
        };
        // An index on the column does not serve a function of it.
        let before = &tokens[..at];
        if let [.., Token::Name(_), Token::Other("(")] = before {
            continue;
        }
        let after = after_casts(&tokens[at + 3..]);
        let behind = before
            .iter()
            .rev()
            .find(|token| **token != Token::Other("("));
        let operator = [after, behind]
            .into_iter()
            .flatten()
            .find_map(|token| match token {
                Token::Operator(operator) => Some(*operator),
                _ => None,
            });
        let used = match operator {
            Some("=") => Use::Equal,
            Some("<" | "<=" | ">" | ">=") => Use::Range,
            _ => continue,
        };
        found.push((alias.clone(), column.clone(), used));
    }
    found
}

/// The first token that is neither a parenthesis that closes nor part of a cast.
fn after_casts<'t, 'a>(mut tokens: &'t [Token<'a>]) -> Option<&'t Token<'a>> {
    loop {
        tokens = match tokens {
            [Token::Other(")"), rest @ ..] => rest,
            // A type's name may have several words, and a length.
            [Token::Other("::"), rest @ ..] => {
                let end = rest.iter().position(|token| {
                    matches!(token, Token::Operator(_)) || *token == Token::Other(")")
                });
                &rest[end.unwrap_or(rest.len())..]
            }
            [first, ..] => return Some(first),
            [] => return None,
        };
    }
}

/// Splits a condition, or a key that is sorted by.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    const OPERATOR: &str = "=<>!~+-*/%^&|#@?`";
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let while_any = |is: &dyn Fn(char) -> bool| rest.find(|c| !is(c)).unwrap_or(rest.len());
        let length = match first {
            '\'' => quoted(rest, '\''),
            '"' => {
                let length = quoted(rest, '"');
                let inner = rest[1..length]
                    .strip_suffix('"')
                    .unwrap_or(&rest[1..length]);
                tokens.push(Token::Name(inner.replace("\"\"", "\"")));
                rest = &rest[length..];
                continue;
            }
            _ if first.is_alphabetic() || first == '_' => {
                let length = while_any(&|c| c.is_alphanumeric() || c == '_' || c == '$');
                let word = &rest[..length];
                // A name with capital letters would stand in quotes: this is AND, OR, ANY.
                let is_keyword = word.bytes().all(|byte| byte.is_ascii_uppercase());
                tokens.push(if is_keyword {
                    Token::Other(word)
                } else {
                    Token::Name(word.to_owned())
                });
                rest = &rest[length..];
                continue;
            }
            _ if first.is_ascii_digit() => while_any(&|c| c.is_ascii_digit() || c == '.'),
            ':' if rest.starts_with("::") => 2,
            _ if OPERATOR.contains(first) => {
                let length = while_any(&|c| OPERATOR.contains(c));
                tokens.push(Token::Operator(&rest[..length]));
                rest = &rest[length..];
                continue;
            }
            _ => first.len_utf8(),
        };
        if !first.is_whitespace() {
            tokens.push(Token::Other(&rest[..length]));
        }
        rest = &rest[length..];
    }
    tokens
}

/// The length of what stands in quotes, of which two are one.
fn quoted(text: &str, quote: char) -> usize {
    let mut rest = &text[1..];
    while let Some(at) = rest.find(quote) {
        rest = &rest[at + 1..];
        match rest.strip_prefix(quote) {
            Some(further) => rest = further,
            None => break,
        }
    }
    text.len() - rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_beside_their_operators() {
        use Use::{Equal, Range};
        for (text, expected) in [
            (
                "(page_views.path = '/product/7'::text)",
                vec![("page_views", "path", Equal)],
            ),
            (
                "((o.status = 'paid'::shop.order_status) AND (o.placed >= '2024-01-01'::date))",
                vec![("o", "status", Equal), ("o", "placed", Range)],
            ),
            (
                "(o.user_id = u.id)",
                vec![("o", "user_id", Equal), ("u", "id", Equal)],
            ),
            ("(5 < o.total)", vec![("o", "total", Range)]),
            (
                "((u.country)::text = 'DE'::text)",
                vec![("u", "country", Equal)],
            ),
            (
                "((u.name)::character varying(10) > 'a')",
                vec![("u", "name", Range)],
            ),
            (
                "(o.id = ANY ('{1,2}'::integer[]))",
                vec![("o", "id", Equal)],
            ),
            ("(\"o \"\"1\".\"Sum\" = 1)", vec![("o \"1", "Sum", Equal)]),
            ("(lower(u.email) = 'a.b = c'::text)", vec![]),
            ("(u.name ~~ '%x%'::text)", vec![]),
            (
                "(u.name = 'it''s o.id = 1'::text)",
                vec![("u", "name", Equal)],
            ),
            ("(NOT u.active)", vec![]),
            ("(NOT (u.id = 5))", vec![]),
            ("(u.a = u.b)", vec![]),
            ("((u.a + u.b) = 5)", vec![]),
            ("(u.deleted IS NULL)", vec![]),
            ("'", vec![]),
            ("\"", vec![]),
        ] {
            let mut found = Vec::new();
            flatten(&condition(text), &mut found);
            let found: Vec<_> = found
                .iter()
                .map(|(a, c, u)| (a.as_str(), c.as_str(), *u))
                .collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    fn flatten(condition: &Condition, found: &mut Vec<Compared>) {
        match condition {
            Condition::All(parts) | Condition::Any(parts) => {
                parts.iter().for_each(|part| flatten(part, found));
            }
            Condition::Compares(columns) => found.extend(columns.iter().cloned()),
        }
    }

    #[test]
    fn a_deep_condition_is_read_as_far_as_it_goes() {
        let deep = format!("{}o.a = 1{}", "(".repeat(100_000), ")".repeat(100_000));
        assert_eq!(condition(&deep), Condition::Compares(vec![]));
    }

    proptest::proptest! {
        #[test]
        fn no_condition_breaks_the_reading(text in "[a'\".=<:() 1é]{0,60}") {
            let _ = condition(&text);
        }
    }
}
