//! Conditions as a plan has them, read as far as a column and the operator beside it.
//!
//! A verbose plan names every column with its table's alias, and puts parentheses around everything that it joins.

/// How a column is used in a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Equal,
    Range,
    /// As a truth value, or asked whether it is null.
    Alone,
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

/// A column that is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Compared {
    /// What its table is called in the query.
    pub(super) alias: String,
    pub(super) column: String,
    pub(super) used: Use,
    pub(super) cast: Cast,
}

/// What is made of a column before it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cast {
    None,
    /// A `text`, as which PostgreSQL compares a `varchar` by itself: its index serves that, and that of another type not.
    Text,
    /// A value of which its index knows nothing.
    Other,
}

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
    if let Some(alone) = alone(tokens) {
        return vec![alone];
    }
    if tokens.first() == Some(&Token::Other("NOT")) {
        return Vec::new();
    }
    let mentions = |alias: &str| {
        let names = tokens.windows(3).filter(|three| {
            matches!(three, [Token::Name(of), Token::Other("."), Token::Name(_)] if of == alias)
        });
        names.count()
    };
    let found = (0..tokens.len()).filter_map(|at| beside_operator(tokens, at));
    found
        .filter(|compared| mentions(&compared.alias) == 1)
        .collect()
}

/// Reads a column that is compared with nothing.
fn alone(tokens: &[Token<'_>]) -> Option<Compared> {
    let tokens = match tokens {
        [Token::Other("NOT"), column @ ..] => column,
        [column @ .., Token::Other("IS"), Token::Other("NULL")]
        | [
            column @ ..,
            Token::Other("IS"),
            Token::Other("NOT"),
            Token::Other("NULL"),
        ] => column,
        column => column,
    };
    let [Token::Name(alias), Token::Other("."), Token::Name(column)] = tokens else {
        return None;
    };
    Some(Compared {
        alias: alias.clone(),
        column: column.clone(),
        used: Use::Alone,
        cast: Cast::None,
    })
}

/// Reads the column that stands at a place with an operator before or after it.
fn beside_operator(tokens: &[Token<'_>], at: usize) -> Option<Compared> {
    let (before, rest) = tokens.split_at(at);
    let [
        Token::Name(alias),
        Token::Other("."),
        Token::Name(column),
        after @ ..,
    ] = rest
    else {
        return None;
    };
    let opened = before.iter().rev();
    let opened = opened.take_while(|token| **token == Token::Other("("));
    let opened = opened.count();
    let before = before[..before.len() - opened].last();
    // An index on the column does not serve a function of it, nor what a keyword makes of it.
    if !matches!(before, None | Some(Token::Operator(_))) {
        return None;
    }
    let (cast, after) = after_casts(after, opened);
    let mut beside = [after, before].into_iter().flatten();
    let used = beside.find_map(|token| match token {
        Token::Operator(operator) => Some(*operator),
        _ => None,
    });
    Some(Compared {
        alias: alias.clone(),
        column: column.clone(),
        used: match used? {
            "=" => Use::Equal,
            "<" | "<=" | ">" | ">=" => Use::Range,
            _ => return None,
        },
        cast,
    })
}

/// Steps over the parentheses that were opened before a column and what it is cast to, and gives that and what follows.
fn after_casts<'t, 'a>(
    mut tokens: &'t [Token<'a>],
    mut opened: usize,
) -> (Cast, Option<&'t Token<'a>>) {
    let mut cast = Cast::None;
    loop {
        tokens = match tokens {
            [Token::Other(")"), rest @ ..] if opened > 0 => {
                opened -= 1;
                rest
            }
            [Token::Other("::"), rest @ ..] => {
                let (name, rest) = rest.split_at(length_of_type(rest));
                cast = match (cast, name) {
                    (Cast::None | Cast::Text, [Token::Name(name)]) if name == "text" => Cast::Text,
                    _ => Cast::Other,
                };
                rest
            }
            rest => return (cast, rest.first()),
        };
    }
}

/// The length of a type's name, which may have several words, and a length.
fn length_of_type(tokens: &[Token<'_>]) -> usize {
    let mut open = 0_usize;
    let end = tokens.iter().position(|token| {
        match token {
            Token::Other("(") => open += 1,
            Token::Other(")") if open == 0 => return true,
            Token::Other(")") => open -= 1,
            _ => {}
        }
        matches!(token, Token::Operator(_))
    });
    end.unwrap_or(tokens.len())
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
        use Use::{Alone, Equal, Range};
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
            ("(lower((u.email)::text) = 'a'::text)", vec![]),
            ("(COALESCE(o.total, 0) = 4)", vec![]),
            ("(EXTRACT(year FROM o.placed) = '2020'::numeric)", vec![]),
            ("((5 - o.total) > 3)", vec![]),
            ("((o.total % 14) = 3)", vec![]),
            ("((o.total)::numeric(5,2) = 3)", vec![("o", "total", Equal)]),
            ("(NOT u.active)", vec![("u", "active", Alone)]),
            ("u.active", vec![("u", "active", Alone)]),
            ("(NOT (u.id = 5))", vec![]),
            ("(u.a = u.b)", vec![]),
            ("((u.a + u.b) = 5)", vec![]),
            ("(u.deleted IS NULL)", vec![("u", "deleted", Alone)]),
            ("(u.deleted IS NOT NULL)", vec![("u", "deleted", Alone)]),
            ("((u.a IS NULL) IS TRUE)", vec![]),
            ("'", vec![]),
            ("\"", vec![]),
        ] {
            let mut found = Vec::new();
            flatten(&condition(text), &mut found);
            let found: Vec<_> = found
                .iter()
                .map(|found| (found.alias.as_str(), found.column.as_str(), found.used))
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
