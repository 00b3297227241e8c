//! In which order a query wants rows, and of which column the largest or smallest value.

use serde_json::Value;

use crate::tools::{
    comparisons::{Key, Token, tokens},
    expressions,
};

/// The fields of a plan that hold orders.
const ORDERS: [&str; 2] = ["Sort Key", "Group Key"];

/// How a plan writes that a key is sorted other than upwards with its NULLs at the end, and the reverse of each.
const DIRECTIONS: [[&str; 2]; 4] = [
    [" DESC NULLS LAST", " NULLS FIRST"],
    [" NULLS FIRST", " DESC NULLS LAST"],
    [" DESC", ""],
    ["", " DESC"],
];

/// Returns the keys, each with its table's alias, by which a node sorts or groups rows.
pub(super) fn order(node: &Value) -> Vec<(String, Key)> {
    let keys = |field: &&str| node[*field].as_array().into_iter().flatten();
    let orders = ORDERS.iter().map(keys);
    orders
        .flat_map(|keys| in_order(keys.filter_map(Value::as_str)))
        .collect()
}

/// Returns the column, with its table's alias, of which a node wants the largest or the smallest value, or both, and
/// nothing else. These are at the ends of an index.
pub(super) fn extreme(node: &Value) -> Option<(String, Key)> {
    let is_of_all_rows = node["Node Type"] == "Aggregate" && node["Strategy"] == "Plain";
    let outputs = node["Output"].as_array().filter(|_| is_of_all_rows)?;
    let columns: Option<Vec<_>> = outputs
        .iter()
        .map(|output| extreme_of(output.as_str()?, node))
        .collect();
    let mut columns = columns?;
    columns.dedup();
    columns.pop().filter(|_| columns.is_empty())
}

fn extreme_of(output: &str, node: &Value) -> Option<(String, Key)> {
    let tokens = tokens(output);
    let call = match &tokens[..] {
        // The part that one of several workers has seen.
        [Token::Other("PARTIAL"), call @ ..] => call,
        call => call,
    };
    let [
        Token::Name(function),
        Token::Other("("),
        column @ ..,
        Token::Other(")"),
    ] = call
    else {
        return None;
    };
    match column {
        _ if !matches!(&**function, "max" | "min") => None,
        [Token::Name(alias), Token::Other("."), Token::Name(column)] => {
            Some((alias.clone(), Key::Column(column.clone())))
        }
        // If a query reads only one table, the output of a plan names columns without its alias.
        [Token::Name(column)] => {
            let alias = node.pointer("/Plans/0/Alias")?.as_str()?;
            Some((alias.to_owned(), Key::Column(column.clone())))
        }
        _ => None,
    }
}

/// Returns the keys, each with its table's alias, of an index that has rows in this order, read forwards or backwards: up
/// to the first key that is not understood.
fn in_order<'a>(keys: impl Iterator<Item = &'a str>) -> Vec<(String, Key)> {
    let mut is_backwards = None;
    keys.map_while(|key| {
        let [direction, reverse] = DIRECTIONS.into_iter().find(|[end, _]| key.ends_with(end))?;
        let key = key.strip_suffix(direction)?;
        let is_backwards = *is_backwards.get_or_insert(direction == " DESC");
        let direction = if is_backwards { reverse } else { direction };
        let (alias, key) = sorted_by(key)?;
        let key = match direction {
            "" => key,
            _ => Key::Sql(format!("{}{direction}", key.in_sql())),
        };
        Some((alias, key))
    })
    .collect()
}

fn sorted_by(key: &str) -> Option<(String, Key)> {
    let tokens = tokens(key);
    if let [Token::Name(alias), Token::Other("."), Token::Name(column)] = &tokens[..] {
        return Some((alias.clone(), Key::Column(column.clone())));
    }
    let is_special = |token: &Token<'_>| matches!(token, Token::Other("COLLATE" | "USING"));
    if tokens.iter().any(is_special) {
        return None;
    }
    expressions::of_one_table(&tokens)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_largest_and_smallest_value_of_one_column_stand_at_the_ends_of_its_index() {
        for (outputs, expected) in [
            (vec!["max(o.a)"], Some("a")),
            (vec!["max(a)"], Some("a")),
            (vec!["PARTIAL min(o.\"Odd name\")"], Some("Odd name")),
            (vec!["max(o.a)", "min(o.a)"], Some("a")),
            (vec!["max(o.a)", "max(o.b)"], None),
            (vec!["max(o.a)", "count(*)"], None),
            (vec!["max((o.a + 1))"], None),
            (vec!["max(o.a) FILTER (WHERE (o.b > 1))"], None),
            (vec!["sum(o.a)"], None),
            (vec![], None),
        ] {
            for (strategy, expected) in [("Plain", expected), ("Hashed", None)] {
                let plan = json!({
                    "Node Type": "Aggregate", "Strategy": strategy, "Output": outputs,
                    "Plans": [{ "Node Type": "Seq Scan", "Alias": "o" }]
                });
                let expected = expected.map(|name| ("o".to_owned(), Key::Column(name.to_owned())));
                assert_eq!(extreme(&plan), expected, "{strategy} {outputs:?}");
            }
        }
    }

    #[test]
    fn an_order_is_that_of_an_index_as_far_as_it_is_understood() {
        for (keys, expected) in [
            (vec!["o.a", "o.b"], vec!["\"a\"", "\"b\""]),
            (vec!["o.a DESC", "o.b DESC"], vec!["\"a\"", "\"b\""]),
            (vec!["o.a", "o.b DESC"], vec!["\"a\"", "\"b\" DESC"]),
            // Read backwards.
            (vec!["o.a DESC", "o.b"], vec!["\"a\"", "\"b\" DESC"]),
            (
                vec!["o.a DESC", "o.b DESC NULLS LAST"],
                vec!["\"a\"", "\"b\" NULLS FIRST"],
            ),
            (
                vec!["o.a DESC NULLS LAST", "o.b"],
                vec!["\"a\" DESC NULLS LAST", "\"b\""],
            ),
            (vec!["o.a NULLS FIRST"], vec!["\"a\" NULLS FIRST"]),
            (
                vec!["o.a", "(lower(o.b)) DESC", "o.c"],
                vec!["\"a\"", "(lower(b)) DESC", "\"c\""],
            ),
            (vec!["o.a", "count(*)", "o.b"], vec!["\"a\""]),
            (vec!["o.a COLLATE \"C\"", "o.b"], vec![]),
            (vec!["o.a USING >"], vec![]),
            (vec!["o.\"Odd name\" DESC"], vec!["\"Odd name\""]),
        ] {
            let found = in_order(keys.iter().copied());
            let found: Vec<String> = found.iter().map(|(_, key)| key.in_sql()).collect();
            assert_eq!(found, expected, "{keys:?}");
        }
    }
}
