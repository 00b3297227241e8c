//! Indexes that may help a query, read from its plan.
//!
//! The conditions of a verbose plan name every column with its table. Here they are only read as far
//! as a column and the operator beside it; whether an index helps is for PostgreSQL to say.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::tools::identifier;

/// The longest index that is thought of, in columns.
const MOST_COLUMNS: usize = 4;

/// How many indexes are tried.
pub(super) const MOST_CANDIDATES: usize = 16;

/// An index that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    pub(super) schema: String,
    pub(super) table: String,
    pub(super) columns: Vec<String>,
}

impl Candidate {
    /// Writes `CREATE INDEX`, with a word after it.
    pub(super) fn statement(&self, word: &str) -> String {
        let columns: Vec<_> = self.columns.iter().map(|name| identifier(name)).collect();
        format!(
            "CREATE INDEX{word} ON {}.{} ({})",
            identifier(&self.schema),
            identifier(&self.table),
            columns.join(", ")
        )
    }
}

/// What a query does with the columns of one table.
#[derive(Debug, Default)]
struct Uses {
    schema: String,
    table: String,
    /// Compared for equality.
    equal: Vec<String>,
    /// Compared as smaller or larger.
    range: Vec<String>,
    /// Sorted or grouped by.
    order: Vec<String>,
}

/// How a column is used in a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Equal,
    Range,
    Order,
}

/// Where conditions and orders stand in a plan.
const CONDITIONS: [&str; 6] = [
    "Filter",
    "Index Cond",
    "Recheck Cond",
    "Hash Cond",
    "Merge Cond",
    "Join Filter",
];
const ORDERS: [&str; 2] = ["Sort Key", "Group Key"];

/// Thinks of indexes: of single columns, of those that are compared for equality together and then
/// one that is not, and of those followed by an order.
pub(super) fn of(plan: &Value) -> Vec<Candidate> {
    let mut tables = BTreeMap::new();
    find_tables(plan, &mut tables);
    find_uses(plan, &mut tables);
    let mut found = Vec::new();
    for uses in tables.values() {
        for columns in lists(uses) {
            let candidate = Candidate {
                schema: uses.schema.clone(),
                table: uses.table.clone(),
                columns,
            };
            if !found.contains(&candidate) {
                found.push(candidate);
            }
        }
    }
    found.truncate(MOST_CANDIDATES);
    found
}

fn lists(uses: &Uses) -> Vec<Vec<String>> {
    let followed_by = |more: &[String]| {
        let mut columns = uses.equal.clone();
        columns.extend(
            more.iter()
                .filter(|name| !uses.equal.contains(name))
                .cloned(),
        );
        columns.truncate(MOST_COLUMNS);
        columns
    };
    let mut lists = Vec::new();
    if !uses.equal.is_empty() || !uses.range.is_empty() {
        lists.push(followed_by(&uses.range[..uses.range.len().min(1)]));
    }
    if !uses.order.is_empty() {
        lists.push(followed_by(&uses.order));
    }
    let single = uses.equal.iter().chain(&uses.range);
    lists.extend(single.map(|name| vec![name.clone()]));
    lists
}

fn visit<'a>(node: &'a Value, see: &mut impl FnMut(&'a Value)) {
    see(node);
    for below in node["Plans"].as_array().into_iter().flatten() {
        visit(below, see);
    }
}

/// Finds which table each alias stands for.
fn find_tables(plan: &Value, tables: &mut BTreeMap<String, Uses>) {
    visit(plan, &mut |node| {
        let text = |field: &str| node[field].as_str().map(str::to_owned);
        if let (Some(schema), Some(table), Some(alias)) =
            (text("Schema"), text("Relation Name"), text("Alias"))
        {
            let uses = Uses {
                schema,
                table,
                ..Uses::default()
            };
            tables.entry(alias).or_insert(uses);
        }
    });
}

fn find_uses(plan: &Value, tables: &mut BTreeMap<String, Uses>) {
    let mut note = |alias: &str, column: &str, used: Use| {
        let Some(uses) = tables.get_mut(alias) else {
            return;
        };
        let list = match used {
            Use::Equal => &mut uses.equal,
            Use::Range => &mut uses.range,
            Use::Order => &mut uses.order,
        };
        if !list.iter().any(|known| known == column) {
            list.push(column.to_owned());
        }
    };
    visit(plan, &mut |node| {
        for field in CONDITIONS {
            for (alias, column, used) in in_condition(node[field].as_str().unwrap_or_default()) {
                note(&alias, &column, used);
            }
        }
        for field in ORDERS {
            for key in node[field].as_array().into_iter().flatten() {
                let tokens = tokens(key.as_str().unwrap_or_default());
                if let [
                    Token::Name(alias),
                    Token::Other("."),
                    Token::Name(column),
                    ..,
                ] = &tokens[..]
                {
                    note(alias, column, Use::Order);
                }
            }
        }
    });
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token<'a> {
    /// A name, without its quotes.
    Name(String),
    /// An operator.
    Operator(&'a str),
    /// A constant, a keyword, a parenthesis, or another sign.
    Other(&'a str),
}

/// Finds columns with the operator beside them, on either side.
fn in_condition(text: &str) -> Vec<(String, String, Use)> {
    let tokens = tokens(text);
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

fn tokens(text: &str) -> Vec<Token<'_>> {
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
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_found_beside_their_operators() {
        use Use::{Equal, Range};
        for (condition, expected) in [
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
            ("(u.deleted IS NULL)", vec![]),
            ("'", vec![]),
            ("\"", vec![]),
        ] {
            let found = in_condition(condition);
            let found: Vec<_> = found
                .iter()
                .map(|(a, c, u)| (a.as_str(), c.as_str(), *u))
                .collect();
            assert_eq!(found, expected, "{condition}");
        }
    }

    #[test]
    fn equality_comes_before_ranges_and_orders() {
        let plan = json!({
            "Node Type": "Sort", "Sort Key": ["o.placed DESC"],
            "Plans": [{
                "Node Type": "Seq Scan", "Schema": "shop", "Relation Name": "orders", "Alias": "o",
                "Filter": "((o.total > 5) AND (o.status = 'paid'::text))"
            }]
        });
        let columns: Vec<_> = of(&plan)
            .into_iter()
            .map(|candidate| candidate.columns.join(","))
            .collect();
        assert_eq!(
            columns,
            ["status,total", "status,placed", "status", "total"]
        );
        assert_eq!(
            of(&plan)[0].statement(" CONCURRENTLY"),
            "CREATE INDEX CONCURRENTLY ON \"shop\".\"orders\" (\"status\", \"total\")"
        );
    }

    proptest::proptest! {
        #[test]
        fn no_condition_breaks_the_reading(text in "[a'\".=<:() 1é]{0,60}") {
            let _ = in_condition(&text);
        }
    }
}
