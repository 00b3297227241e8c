//! Indexes that may help a query, read from its plan.
//!
//! The conditions of a verbose plan name every column with its table. Here they are only read as far
//! as a column and the operator beside it; whether an index helps is for PostgreSQL to say.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    quoting::identifier,
    tools::partitions::{Wholes, alias_of_whole},
};

/// The longest index that is thought of, in columns.
const MOST_COLUMNS: usize = 4;

/// How many indexes are tried.
pub(super) const MOST_CANDIDATES: usize = 16;

/// An index that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    pub(super) schema: String,
    pub(super) table: String,
    /// Whether the table is a partitioned one, for which PostgreSQL builds no index `CONCURRENTLY`.
    pub(super) is_partitioned: bool,
    pub(super) columns: Vec<String>,
}

impl Candidate {
    /// The statement that makes it.
    pub(super) fn statement(&self) -> String {
        self.written("")
    }

    /// The statement that makes it while others write to the table, where there is one.
    pub(super) fn advised(&self) -> String {
        self.written(if self.is_partitioned {
            ""
        } else {
            " CONCURRENTLY"
        })
    }

    fn written(&self, word: &str) -> String {
        create_index(word, (&self.schema, &self.table), "", &self.columns)
    }
}

/// Writes the statement that makes an index of a table, behind its schema; `word` follows `INDEX`, and `using` the table.
pub(super) fn create_index(
    word: &str,
    (schema, table): (&str, &str),
    using: &str,
    columns: &[String],
) -> String {
    let columns: Vec<_> = columns.iter().map(|name| identifier(name)).collect();
    format!(
        "CREATE INDEX{word} ON {}.{}{using} ({})",
        identifier(schema),
        identifier(table),
        columns.join(", ")
    )
}

/// Indexes that help together: one, or one for each side of an `OR`, none of which serves it alone.
pub(super) type Together = Vec<Candidate>;

/// How many indexes are thought of together at most.
pub(super) const MOST_TOGETHER: usize = 3;

/// What a query does with the columns of one table.
#[derive(Clone, Debug, Default)]
struct Uses {
    schema: String,
    table: String,
    is_partitioned: bool,
    /// Compared for equality.
    equal: Vec<String>,
    /// Compared as smaller or larger.
    range: Vec<String>,
    /// Sorted or grouped by.
    order: Vec<String>,
    /// For each `OR` of which every side compares columns: what an index for each side begins with.
    sides: Vec<Vec<Vec<String>>>,
}

/// How a column is used in a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Equal,
    Range,
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

/// Thinks of indexes: of those that are compared for equality together and then one that is not, of those for the
/// sides of an `OR`, of the first followed by an order, and of single columns.
pub(super) fn of(plan: &Value, wholes: &Wholes) -> Vec<Together> {
    let mut tables = BTreeMap::new();
    find_tables(plan, wholes, &mut tables);
    find_uses(plan, &mut tables);
    let mut found = Vec::new();
    for uses in tables.values() {
        let of_table = |columns: Vec<String>| Candidate {
            schema: uses.schema.clone(),
            table: uses.table.clone(),
            is_partitioned: uses.is_partitioned,
            columns,
        };
        for lists in lists(uses) {
            let together: Together = lists.into_iter().map(of_table).collect();
            if !found.contains(&together) {
                found.push(together);
            }
        }
    }
    found.truncate(MOST_CANDIDATES);
    found
}

fn lists(uses: &Uses) -> Vec<Vec<Vec<String>>> {
    let mut lists = Vec::new();
    if !uses.equal.is_empty() || !uses.range.is_empty() {
        lists.push(vec![followed_by(&uses.equal, first(&uses.range))]);
    }
    lists.extend(uses.sides.iter().cloned());
    if !uses.order.is_empty() {
        lists.push(vec![followed_by(&uses.equal, &uses.order)]);
    }
    let single = uses.equal.iter().chain(&uses.range);
    lists.extend(single.map(|name| vec![vec![name.clone()]]));
    lists
}

fn first(names: &[String]) -> &[String] {
    &names[..names.len().min(1)]
}

/// The columns of an index: some, and more of them that are not among those.
fn followed_by(some: &[String], more: &[String]) -> Vec<String> {
    let more = more.iter().filter(|name| !some.contains(name));
    some.iter()
        .chain(more)
        .take(MOST_COLUMNS)
        .cloned()
        .collect()
}

fn visit<'a>(node: &'a Value, see: &mut impl FnMut(&'a Value)) {
    see(node);
    for below in node["Plans"].as_array().into_iter().flatten() {
        visit(below, see);
    }
}

/// Finds which table each alias stands for.
fn find_tables(plan: &Value, wholes: &Wholes, tables: &mut BTreeMap<String, Uses>) {
    visit(plan, &mut |node| {
        let text = |field: &str| node[field].as_str().map(str::to_owned);
        if let (Some(schema), Some(table), Some(alias)) =
            (text("Schema"), text("Relation Name"), text("Alias"))
        {
            let whole = wholes.of_partition(&schema, &table);
            let is_partitioned = whole.is_some();
            let (schema, table) = whole.cloned().unwrap_or((schema, table));
            let uses = Uses {
                schema,
                table,
                is_partitioned,
                ..Uses::default()
            };
            if let Some(alias) = alias_of_whole(&alias).filter(|_| is_partitioned) {
                let alias = alias.to_owned();
                tables.entry(alias).or_insert_with(|| uses.clone());
            }
            tables.entry(alias).or_insert(uses);
        }
    });
}

fn find_uses(plan: &Value, tables: &mut BTreeMap<String, Uses>) {
    visit(plan, &mut |node| {
        for field in CONDITIONS {
            note(&condition(node[field].as_str().unwrap_or_default()), tables);
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
                    && let Some(uses) = tables.get_mut(alias)
                {
                    add(&mut uses.order, column);
                }
            }
        }
    });
}

/// Notes what a condition does with the columns of each table.
fn note(condition: &Condition, tables: &mut BTreeMap<String, Uses>) {
    match condition {
        Condition::All(parts) => parts.iter().for_each(|part| note(part, tables)),
        Condition::Compares(columns) => {
            for (alias, column, used) in columns {
                if let Some(uses) = tables.get_mut(alias) {
                    uses.compared(column, *used);
                }
            }
        }
        Condition::Any(sides) => {
            for (alias, uses) in tables {
                note_sides(sides, alias, uses);
            }
        }
    }
}

/// Notes an `OR`, if each of its sides compares columns of the table. One whose sides compare one and the same
/// column is as good as a list of values.
fn note_sides(sides: &[Condition], alias: &str, uses: &mut Uses) {
    let of_sides: Vec<Side> = sides.iter().map(|side| Side::of(side, alias)).collect();
    let mut indexes: Vec<Vec<String>> = of_sides
        .iter()
        .map(|side| followed_by(&side.equal, first(&side.range)))
        .collect();
    if indexes.iter().any(Vec::is_empty) {
        return;
    }
    indexes.sort();
    indexes.dedup();
    if let [index] = &indexes[..]
        && let [column] = &index[..]
    {
        let is_equal = of_sides.iter().all(|side| side.range.is_empty());
        uses.compared(column, if is_equal { Use::Equal } else { Use::Range });
    } else if indexes.len() <= MOST_TOGETHER && !uses.sides.contains(&indexes) {
        uses.sides.push(indexes);
    }
}

/// The columns of a table that one side of an `OR` compares.
#[derive(Default)]
struct Side {
    equal: Vec<String>,
    range: Vec<String>,
}

impl Side {
    fn of(condition: &Condition, alias: &str) -> Self {
        let mut side = Side::default();
        side.take(condition, alias);
        side
    }

    fn take(&mut self, condition: &Condition, alias: &str) {
        match condition {
            Condition::All(parts) => parts.iter().for_each(|part| self.take(part, alias)),
            // An `OR` within a side has no part in its index.
            Condition::Any(_) => {}
            Condition::Compares(columns) => {
                for (_, column, used) in columns.iter().filter(|(of, ..)| of == alias) {
                    let list = match used {
                        Use::Equal => &mut self.equal,
                        Use::Range => &mut self.range,
                    };
                    add(list, column);
                }
            }
        }
    }
}

impl Uses {
    fn compared(&mut self, column: &str, used: Use) {
        let list = match used {
            Use::Equal => &mut self.equal,
            Use::Range => &mut self.range,
        };
        add(list, column);
    }
}

fn add(list: &mut Vec<String>, name: &str) {
    if !list.iter().any(|known| known == name) {
        list.push(name.to_owned());
    }
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

/// A condition, as far as it is understood.
#[derive(Debug, PartialEq, Eq)]
enum Condition {
    /// Parts that `AND` joins.
    All(Vec<Condition>),
    /// Sides that `OR` joins.
    Any(Vec<Condition>),
    /// A comparison of columns; of none where it is not understood.
    Compares(Vec<Compared>),
}

/// A column with its table's alias, and what it is compared for.
type Compared = (String, String, Use);

/// Deeper than this, a condition is not looked into.
const MOST_DEPTH: usize = 32;

fn condition(text: &str) -> Condition {
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
            ("(NOT (u.id = 5))", vec![]),
            ("(u.a = u.b)", vec![]),
            ("((u.a + u.b) = 5)", vec![]),
            ("(u.deleted IS NULL)", vec![]),
            ("'", vec![]),
            ("\"", vec![]),
        ] {
            let mut found = Vec::new();
            flatten(&super::condition(condition), &mut found);
            let found: Vec<_> = found
                .iter()
                .map(|(a, c, u)| (a.as_str(), c.as_str(), *u))
                .collect();
            assert_eq!(found, expected, "{condition}");
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
    fn an_or_has_an_index_for_each_side_or_none() {
        for (filter, expected) in [
            ("((o.a = 5) OR (o.b = 3))", vec!["a & b"]),
            ("((o.a = 5) OR (o.b > 3) OR (o.a = 7))", vec!["a & b"]),
            ("((o.a = 5) OR ((o.b = 3) AND (o.c = 1)))", vec!["a & b,c"]),
            ("((o.a = 5) OR (o.a = 6))", vec!["a"]),
            ("((o.a < 5) OR (o.a > 6))", vec!["a"]),
            (
                "(((o.a = 5) OR (o.b = 3)) AND (o.c = 'x'::text))",
                vec!["c", "a & b"],
            ),
            (
                "((o.c = 1) AND ((o.a = 5) OR (o.a = 6)))",
                vec!["c,a", "c", "a"],
            ),
            // One side that no index serves has all rows read.
            ("((o.a = 5) OR (lower(o.b) = 'x'::text))", vec![]),
            ("((o.a = 5) OR (o.b ~~ '%x%'::text))", vec![]),
            ("((o.a = 1) OR (o.b = 1) OR (o.c = 1) OR (o.d = 1))", vec![]),
        ] {
            let plan = json!({
                "Node Type": "Seq Scan", "Schema": "shop", "Relation Name": "orders", "Alias": "o", "Filter": filter
            });
            let columns: Vec<String> = of(&plan, &Wholes::default()).iter().map(shown).collect();
            assert_eq!(columns, expected, "{filter}");
        }
    }

    #[test]
    fn a_deep_condition_is_read_as_far_as_it_goes() {
        let deep = format!("{}o.a = 1{}", "(".repeat(100_000), ")".repeat(100_000));
        assert_eq!(condition(&deep), Condition::Compares(vec![]));
    }

    fn shown(together: &Together) -> String {
        let each = together.iter().map(|index| index.columns.join(","));
        each.collect::<Vec<_>>().join(" & ")
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
        let columns: Vec<String> = of(&plan, &Wholes::default()).iter().map(shown).collect();
        assert_eq!(
            columns,
            ["status,total", "status,placed", "status", "total"]
        );
        assert_eq!(
            of(&plan, &Wholes::default())[0][0].advised(),
            "CREATE INDEX CONCURRENTLY ON \"shop\".\"orders\" (\"status\", \"total\")"
        );
    }

    proptest::proptest! {
        #[test]
        fn no_condition_breaks_the_reading(text in "[a'\".=<:() 1é]{0,60}") {
            let _ = condition(&text);
        }
    }
}
