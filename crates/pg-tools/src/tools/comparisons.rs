//! Conditions of a plan, parsed as far as columns and the operators beside them.
//!
//! A verbose plan names every column with its table's alias, and puts parentheses around everything that it combines.

use super::expressions;
use crate::quoting::identifier;

/// How a column is used in a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Equal,
    Range,
    /// As a truth value, or tested for NULL.
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
    /// Parts joined by `AND`.
    All(Vec<Condition>),
    /// Sides joined by `OR`.
    Any(Vec<Condition>),
    /// A comparison of columns or expressions; empty if it is not understood.
    Compares(Vec<Compared>),
}

/// What an index can hold of a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Column(String),
    /// Anything else, as `CREATE INDEX` has it: an expression in parentheses, or a key with its direction.
    Sql(String),
}

impl Key {
    pub(super) fn column(&self) -> Option<&str> {
        match self {
            Key::Column(name) => Some(name),
            Key::Sql(_) => None,
        }
    }

    /// Writes it as `CREATE INDEX` has it.
    pub(super) fn in_sql(&self) -> String {
        match self {
            Key::Column(name) => identifier(name),
            Key::Sql(sql) => sql.clone(),
        }
    }
}

/// A column, or an expression of columns, that is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Compared {
    /// The alias of its table in the query.
    pub(super) alias: String,
    pub(super) key: Key,
    pub(super) used: Use,
    /// Of a column.
    pub(super) cast: Cast,
}

/// What a column is cast to before it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cast {
    None,
    /// To `text`, as PostgreSQL does by itself to compare a `varchar`. An index of a `varchar` serves this, one of
    /// another type does not.
    Text,
    /// To another type, for which an index on the column is of no use.
    Other,
}

/// The depth at which a condition is not looked into any more.
const MOST_DEPTH: usize = 32;

/// Reads a condition of a plan.
pub(super) fn condition(text: &str) -> Condition {
    parse(&tokens(text), 0)
}

/// Parses a condition, in which PostgreSQL puts parentheses around everything that it combines.
fn parse(tokens: &[Token<'_>], depth: usize) -> Condition {
    if depth == MOST_DEPTH {
        return Condition::Compares(Vec::new());
    }
    for (word, join) in [
        ("OR", Condition::Any as fn(_) -> _),
        ("AND", Condition::All as fn(_) -> _),
    ] {
        let parts = split(tokens, |token| *token == Token::Other(word));
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

/// Splits at certain tokens outside of all parentheses.
fn split<'t, 'a>(
    tokens: &'t [Token<'a>],
    is_between: impl Fn(&Token<'a>) -> bool,
) -> Vec<&'t [Token<'a>]> {
    let mut open = 0_usize;
    tokens
        .split(|token| {
            match token {
                Token::Other("(") => open += 1,
                Token::Other(")") => open = open.saturating_sub(1),
                _ => {}
            }
            open == 0 && is_between(token)
        })
        .collect()
}

/// Returns what is within parentheses that enclose all tokens.
pub(super) fn within<'t, 'a>(tokens: &'t [Token<'a>]) -> Option<&'t [Token<'a>]> {
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

/// Finds the columns of one comparison that have an operator beside them, on either side, and the expressions. Two
/// columns of the same table that are compared to each other are left out, as no index serves that.
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
    let columns = found.filter(|compared| mentions(&compared.alias) == 1);
    columns.chain(compared_expressions(tokens)).collect()
}

/// Finds those of the two sides of a comparison that are no columns, but expressions of them.
fn compared_expressions(tokens: &[Token<'_>]) -> Vec<Compared> {
    let sides = split(tokens, |token| matches!(token, Token::Operator(_)));
    let [left, right] = sides[..] else {
        return Vec::new();
    };
    let Token::Operator(operator) = tokens[left.len()] else {
        return Vec::new();
    };
    let Some(used) = use_by(operator) else {
        return Vec::new();
    };
    let of_side = |side: &[Token<'_>], other: &[Token<'_>]| {
        let (alias, key) = expressions::of_one_table(side)?;
        let is_compared_with_itself = other
            .iter()
            .any(|token| *token == Token::Name(alias.clone()));
        let is_column = is_column(side) || is_compared_with_itself;
        (!is_column).then_some(Compared {
            alias,
            key,
            used,
            cast: Cast::None,
        })
    };
    let found = [of_side(left, right), of_side(right, left)];
    found.into_iter().flatten().collect()
}

/// Returns whether a side of a comparison is a column, which an index on the column serves.
fn is_column(side: &[Token<'_>]) -> bool {
    let opened = side.iter().take_while(|token| **token == Token::Other("("));
    let opened = opened.count();
    let [
        Token::Name(_),
        Token::Other("."),
        Token::Name(_),
        after @ ..,
    ] = &side[opened..]
    else {
        return false;
    };
    matches!(after_casts(after, opened), (Cast::None | Cast::Text, None))
}

/// Reads a column that is not compared with anything.
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
        key: Key::Column(column.clone()),
        used: Use::Alone,
        cast: Cast::None,
    })
}

/// Reads the column at a position, if it has an operator before or after it.
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
    // An index on the column serves neither a function of it nor what a keyword makes of it.
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
        key: Key::Column(column.clone()),
        used: use_by(used?)?,
        cast,
    })
}

/// Returns how an operator uses what is beside it, if an index serves that.
fn use_by(operator: &str) -> Option<Use> {
    match operator {
        "=" => Some(Use::Equal),
        "<" | "<=" | ">" | ">=" => Some(Use::Range),
        _ => None,
    }
}

/// Skips the parentheses that were opened before a column, and its casts; returns the cast and the token that follows.
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

/// Returns the number of tokens of a type's name, which may have several words and a size.
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

/// Splits a condition, or a sort key, into tokens.
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
                // A name with capital letters would be in quotes, so that this is AND, OR, ANY.
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

/// Returns the length of a text in quotes, in which a doubled quote is one quote.
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
                vec![
                    ("u", "name", Range),
                    ("u", "((name)::character varying(10))", Range),
                ],
            ),
            (
                "(o.id = ANY ('{1,2}'::integer[]))",
                vec![("o", "id", Equal)],
            ),
            ("(\"o \"\"1\".\"Sum\" = 1)", vec![("o \"1", "Sum", Equal)]),
            (
                "(lower(u.email) = 'a.b = c'::text)",
                vec![("u", "(lower(email))", Equal)],
            ),
            ("(u.name ~~ '%x%'::text)", vec![]),
            (
                "(u.name = 'it''s o.id = 1'::text)",
                vec![("u", "name", Equal)],
            ),
            (
                "('a'::text >= lower((u.email)::text))",
                vec![("u", "(lower((email)::text))", Range)],
            ),
            ("(lower(u.email) = lower(u.name))", vec![]),
            (
                "(lower(u.email) = lower(o.email))",
                vec![
                    ("u", "(lower(email))", Equal),
                    ("o", "(lower(email))", Equal),
                ],
            ),
            (
                "(u.id = (o.id + 1))",
                vec![("u", "id", Equal), ("o", "(id + 1)", Equal)],
            ),
            ("(sum(o.total) <> 5)", vec![]),
            (
                "(COALESCE(o.total, 0) = 4)",
                vec![("o", "(COALESCE(total, 0))", Equal)],
            ),
            (
                "(EXTRACT(year FROM o.placed) = ANY ('{2020}'::numeric[]))",
                vec![("o", "(EXTRACT(year FROM placed))", Equal)],
            ),
            ("((5 - o.total) > 3)", vec![("o", "(5 - total)", Range)]),
            ("((o.total % 14) = 3)", vec![("o", "(total % 14)", Equal)]),
            (
                "((o.total)::numeric(5,2) = 3)",
                vec![
                    ("o", "total", Equal),
                    ("o", "((total)::numeric(5, 2))", Equal),
                ],
            ),
            ("(NOT u.active)", vec![("u", "active", Alone)]),
            ("u.active", vec![("u", "active", Alone)]),
            ("(NOT (u.id = 5))", vec![]),
            ("(u.a = u.b)", vec![]),
            ("((u.a + u.b) = 5)", vec![("u", "(a + b)", Equal)]),
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
                .map(|found| {
                    let key = &found.key;
                    let key = key.column().map_or_else(|| key.in_sql(), str::to_owned);
                    (found.alias.as_str(), key, found.used)
                })
                .collect();
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(alias, key, used)| (alias, key.to_owned(), used))
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
