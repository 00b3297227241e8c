//! Whatever is asked of whatever schema, reading it ends, and an answer is one SELECT.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use plain_question::{Column, ForeignKey, Kind, Schema, Table, nearest_first, translate};
use proptest::prelude::*;

/// Names and values that would do harm if they were not quoted.
const ODD: [&str; 6] = [
    "a\"b",
    "it's",
    "x; DROP TABLE y",
    "back\\slash",
    "-- cut",
    "ünï",
];

fn schema() -> Schema {
    let column = |name: &str, kind: Kind, values: &[&str]| Column {
        name: name.into(),
        kind,
        is_nullable: name.len().is_multiple_of(2),
        values: values.iter().map(|value| (*value).to_owned()).collect(),
        ..Column::default()
    };
    let users = Table {
        schema: "sh\"op".into(),
        name: "users".into(),
        columns: vec![
            column("id", Kind::Number, &[]),
            column("name", Kind::Text, &ODD),
            column("active", Kind::Boolean, &[]),
            column("country", Kind::Text, &["NO", "SE"]),
            column("joined_at", Kind::Date, &[]),
            column("deleted_at", Kind::Date, &[]),
        ],
        primary_key: vec!["id".into()],
        ..Table::default()
    };
    let orders = Table {
        schema: "sh\"op".into(),
        name: "orders".into(),
        columns: vec![
            column("id", Kind::Number, &[]),
            column("user_id", Kind::Number, &[]),
            column("price", Kind::Number, &[]),
            column("status", Kind::Enum, &["paid", "shipped"]),
            column("placed_on", Kind::Date, &[]),
        ],
        primary_key: vec!["id".into()],
        foreign_keys: vec![ForeignKey {
            columns: vec!["user_id".into()],
            schema: "sh\"op".into(),
            table: "users".into(),
            targets: vec!["id".into()],
        }],
        ..Table::default()
    };
    Schema {
        tables: vec![users, orders],
    }
}

/// Words that the grammar and the schema know, so that many sentences mean something.
const WORDS: [&str; 66] = [
    "show",
    "me",
    "all",
    "list",
    "how many",
    "average",
    "total",
    "top",
    "the",
    "cheapest",
    "newest",
    "users",
    "user",
    "orders",
    "order",
    "active",
    "inactive",
    "paid",
    "shipped",
    "deleted",
    "price",
    "status",
    "country",
    "name",
    "with",
    "without",
    "in",
    "from",
    "of",
    "by",
    "per",
    "and",
    "or",
    "not",
    "who",
    "are",
    "that",
    "more than",
    "between",
    "5",
    "100",
    "2024",
    "last week",
    "since March 2024",
    "today",
    "NO",
    "SE",
    "placed",
    "joined",
    "month",
    "each",
    "sorted by",
    "descending",
    "most",
    "has",
    "no",
    "'it''s'",
    "different",
    "except",
    "named",
    "starts with",
    "not containing",
    "median",
    "minimum and maximum",
    "in each",
    "limit 3",
];

/// Parts in an order that often makes sense.
const PARTS: [&[&str]; 4] = [
    &[
        "show me",
        "list",
        "how many",
        "average price of",
        "median and highest price of",
        "the newest",
        "names of",
        "the 5 newest",
        "top 3",
        "",
    ],
    &[
        "",
        "active",
        "inactive",
        "paid",
        "paid or shipped",
        "deleted",
        "cheapest",
    ],
    &["users", "orders", "order", "user 7"],
    &[
        "",
        "with price over 100",
        "over $1,000",
        "from NO",
        "in SE or NO",
        "of user 7",
        "last week",
        "per month",
        "by country",
        "by price",
        "without orders",
        "with more than 2 orders",
        "from active users",
        "named \"it's\"",
        "named 'back\\slash'",
        "whose name is \"x; DROP TABLE y\"",
        "sorted by price descending",
        "that are not shipped",
        "with a\"b",
        "whose name does not contain 'it''s 100%_\\'",
        "with a name starting with \"back\\slash';--\"",
        "in each country",
        "of each user",
        "limit 3",
    ],
];

fn sentence() -> impl Strategy<Value = String> {
    let [opening, state, noun, tail] = PARTS.map(prop::sample::select);
    let tails = prop::collection::vec(tail, 0..3);
    (opening, state, noun, tails).prop_map(|(opening, state, noun, tails)| {
        format!("{opening} {state} {noun} {}", tails.join(" "))
    })
}

fn question() -> impl Strategy<Value = String> {
    prop_oneof![words(), sentence()]
}

fn words() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        8 => prop::sample::select(&WORDS[..]).prop_map(str::to_owned),
        1 => prop::sample::select(&ODD[..]).prop_map(str::to_owned),
        1 => prop::sample::select(&ODD[..]).prop_map(|odd| format!("\"{odd}\"")),
        1 => "\\PC{0,6}",
    ];
    prop::collection::vec(word, 0..12).prop_map(|words| words.join(" "))
}

/// The words that may stand outside quotes.
const SQL_WORDS: &str = "SELECT DISTINCT AS FROM JOIN LEFT ON WHERE AND IN NOT IS NULL TRUE BETWEEN EXISTS GROUP BY ORDER DESC \
    NULLS LAST LIMIT FETCH FIRST ROWS WITH TIES CASE WHEN THEN ELSE END DATE E t c p0 p1 count avg sum min max date_trunc \
    make_date extract year month current_date now interval int ILIKE percentile_cont WITHIN OVER PARTITION rank";

/// Removes quoted names and texts; `None` where a quote has no end.
fn without_quoted(sql: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = sql;
    while let Some(at) = rest.find(['"', '\'']) {
        let quote = &rest[at..=at];
        let is_escaped = quote == "'" && rest[..at].ends_with('E');
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        loop {
            let end = rest.find([quote.chars().next()?, '\\'])?;
            let is_backslash = rest[end..].starts_with('\\');
            let skipped = if is_backslash && is_escaped {
                2
            } else if is_backslash {
                1
            } else if rest[end + 1..].starts_with(quote) {
                2
            } else {
                rest = &rest[end + 1..];
                break;
            };
            rest = rest.get(end + skipped..)?;
        }
        out.push(' ');
    }
    out.push_str(rest);
    Some(out)
}

fn assert_one_select(question: &str, sql: &str) {
    let bare = without_quoted(sql).unwrap_or_else(|| panic!("{question}: open quote in {sql}"));
    assert!(bare.starts_with("SELECT "), "{question}: {sql}");
    for word in bare.split(|character: char| !(character.is_alphanumeric() || character == '_')) {
        let is_number = word.chars().all(|digit| digit.is_ascii_digit());
        let is_known = SQL_WORDS.split_whitespace().any(|known| known == word);
        assert!(is_number || is_known, "{question}: {word:?} in {sql}");
    }
    let is_sign = |sign: char| {
        sign.is_alphanumeric() || sign.is_whitespace() || "_.,()*<>=-+:".contains(sign)
    };
    assert!(bare.chars().all(is_sign), "{question}: {bare}");
    assert!(
        !bare.contains("--") && !bare.contains("/*"),
        "{question}: {bare}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn an_answer_is_one_select_with_everything_quoted(question in question()) {
        let schema = schema();
        match translate(&question, &schema) {
            Ok(answer) => assert_one_select(&question, &answer.sql),
            Err(unsure) => {
                if let Some(sql) = &unsure.suggestion {
                    assert_one_select(&question, sql);
                }
            }
        }
    }

    #[test]
    fn any_text_has_an_end(text in "\\PC{0,200}") {
        let _ = translate(&text, &schema());
    }
}

#[test]
fn the_check_finds_what_it_looks_for() {
    for sql in [
        "DELETE FROM x",
        "SELECT 1; SELECT 2",
        "SELECT 'open",
        "SELECT 'a\\' OR evil",
        "SELECT pg_sleep(1)",
        "SELECT 1 -- x",
    ] {
        let checked = std::panic::catch_unwind(|| assert_one_select("?", sql));
        assert!(checked.is_err(), "{sql}");
    }
    assert_one_select(
        "?",
        "SELECT t.* FROM \"a\"\"b\" AS t WHERE t.\"x\" = E'\\\\''' AND 1 < 2",
    );
}

#[test]
fn a_long_list_of_what_has_several_meanings_has_an_end() {
    let mut schema = schema();
    let names = ["first_name", "last_name", "middle_name", "nick_name"];
    let columns = names.map(|name| Column {
        name: name.into(),
        kind: Kind::Text,
        ..Column::default()
    });
    schema.tables[0].columns.extend(columns);
    for list in [
        ["name"; 30].join(" and "),
        ["name"; 30].join(", "),
        format!("how many users by {}", ["name"; 25].join(" and ")),
    ] {
        assert!(translate(&list, &schema).is_err(), "{list}");
    }
}

/// Tables whose names, columns and values are made of the same few words, and refer to each other.
fn tangled_schema(tables: usize) -> Schema {
    const NAMES: [&str; 9] = [
        "name", "status", "active", "country", "price", "order", "user", "city", "paid",
    ];
    const KINDS: [Kind; 5] = [
        Kind::Text,
        Kind::Number,
        Kind::Date,
        Kind::Boolean,
        Kind::Enum,
    ];
    let word = |number: usize| NAMES[number % NAMES.len()];
    let table_name = |table: usize| format!("user_order_{}", table % tables);
    let column = |table: usize, number: usize| Column {
        name: format!("{}_{}", word(number), word(7 * number + table)),
        kind: KINDS[number % KINDS.len()],
        values: (0..20)
            .map(|value| format!("{} {}", word(value), word(value / 9 + number)))
            .collect(),
        comment: Some(format!(
            "Also called: {}, {} {}",
            word(number),
            word(number + 1),
            word(number)
        )),
        ..Column::default()
    };
    let table = |table: usize| {
        let columns: Vec<_> = (0..50).map(|number| column(table, number)).collect();
        let foreign_keys = columns.iter().take(20).enumerate().map(|(at, column)| {
            let names = vec![column.name.clone()];
            ForeignKey {
                columns: names.clone(),
                schema: "public".into(),
                table: table_name(3 * table + at),
                targets: names,
            }
        });
        Table {
            schema: "public".into(),
            name: table_name(table),
            foreign_keys: foreign_keys.collect(),
            columns,
            ..Table::default()
        }
    };
    Schema {
        tables: (0..tables).map(table).collect(),
    }
}

#[test]
fn no_question_of_a_large_schema_takes_long() {
    let schema = tangled_schema(200);
    let began = Instant::now();
    for question in [
        ["name"; 30].join(" and "),
        ["active paid name status country"; 12].join(" "),
        "show me all active paid users from country with price over 100 and total less than 20"
            .into(),
    ] {
        assert!(translate(&question, &schema).is_err(), "{question}");
    }
    // This took minutes when only each table's share of the work was bounded.
    assert!(began.elapsed() < Duration::from_secs(40));
}

#[test]
fn what_is_near_to_a_text_of_any_length_is_found_soon() {
    let schema = tangled_schema(200);
    let began = Instant::now();
    let text = "statuses of countries ".repeat(3_000);
    assert_eq!(nearest_first(&text, &schema).len(), 200);
    assert!(began.elapsed() < Duration::from_secs(40));
}
