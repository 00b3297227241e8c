//! Pages of results that are not ordered by any of their columns.

use proptest::{
    collection::vec,
    prelude::Strategy,
    sample::select,
    test_runner::{Config, TestRunner},
};

use super::*;

/// Pages through a query; returns its rows, and for each page whether its cursor holds a place in the order.
async fn all_pages(caller: &Caller, query: &str, limit: u64) -> (Vec<Value>, Vec<bool>) {
    let mut arguments = json!({"query": query, "limit": limit});
    let (mut rows, mut by_key) = (Vec::new(), Vec::new());
    loop {
        let (texts, structured) = caller.done("query_database", arguments.clone()).await;
        let texts = texts.concat();
        assert!(!texts.contains("have changed"), "{query}: {texts}");
        assert!(
            !texts.contains("mcp_key") && !structured.to_string().contains("mcp_key"),
            "{query}: {structured}"
        );
        rows.extend(structured["rows"].as_array().unwrap().clone());
        match page(&structured).1 {
            Some(next) => {
                by_key.push(next.contains('.'));
                arguments["cursor"] = json!(next);
            }
            None => break,
        }
        assert!(rows.len() < 1_000, "{query}");
    }
    (rows, by_key)
}

/// Checks that the pages of a query make up its result; returns for each whether its cursor holds a place in the order.
async fn whole_by_pages(caller: &Caller, query: &str) -> Vec<bool> {
    let (_, whole) = caller.done("query_database", json!({"query": query})).await;
    let (rows, by_key) = all_pages(caller, query, 3).await;
    assert_eq!(Value::from(rows), whole["rows"], "{query}");
    by_key
}

#[tokio::test]
async fn an_order_that_no_column_of_the_result_tells_is_paged_by_it() {
    schema(
        "keyed",
        "CREATE TABLE u (id int PRIMARY KEY, name text, score float8, data jsonb, at timestamptz, boss int); \
         INSERT INTO u SELECT g, (ARRAY['a', 'B', 'b', NULL, 'z, y'])[1 + g % 5], g * 7 % 11 / 8.0, jsonb_build_object('x', g % 4), \
             timestamptz '2024-03-30 20:00Z' + g * interval '13 minutes', nullif(g / 2, 0) FROM generate_series(1, 40) g; \
         CREATE TABLE o (id int PRIMARY KEY, user_id int NOT NULL, \"odd, (name\" int, \"limit\" int); \
         INSERT INTO o SELECT g, 1 + g * 7 % 40, g % 3, g % 5 FROM generate_series(1, 60) g",
    )
    .await;
    for caller in [forgetful_reader(), reader()] {
        for query in [
            "SELECT u.name FROM keyed.u ORDER BY u.id",
            "SELECT name, score FROM keyed.u ORDER BY id DESC",
            "SELECT * FROM keyed.u ORDER BY u.name, u.id",
            "SELECT u.name, o.id FROM keyed.u u JOIN keyed.o o ON o.user_id = u.id ORDER BY u.name DESC, o.id",
            "SELECT u.id, o.id FROM keyed.u u LEFT JOIN keyed.o o ON o.user_id = u.id ORDER BY o.id NULLS FIRST, u.id",
            "SELECT u.id, b.id FROM keyed.u u LEFT JOIN keyed.u b ON b.id = u.boss ORDER BY b.id, u.id DESC",
            "SELECT b.id, u.id FROM keyed.u u LEFT JOIN keyed.u b ON b.id = u.boss ORDER BY b.id DESC, u.id",
            "SELECT id FROM keyed.u ORDER BY lower(name), -id",
            "SELECT id FROM keyed.u ORDER BY name COLLATE \"C\" DESC NULLS LAST, id",
            "SELECT id FROM keyed.u ORDER BY coalesce(name, 'm') , (score + id) DESC",
            "SELECT id FROM keyed.u ORDER BY CASE WHEN id % 2 = 0 THEN score END, u.id",
            "SELECT id FROM keyed.u ORDER BY date_trunc('hour', at) DESC, u.id",
            "SELECT id FROM keyed.u ORDER BY data->>'x', data->'x' DESC, u.id",
            "SELECT name, count(*) AS n FROM keyed.u GROUP BY name ORDER BY count(*) DESC, lower(name), min(id)",
            "SELECT id FROM keyed.u ORDER BY row_number() OVER (PARTITION BY name ORDER BY score, id), keyed.u.id",
            "SELECT DISTINCT u.name, u.id FROM keyed.u ORDER BY u.name, u.id",
            "SELECT DISTINCT ON (name, score) id FROM keyed.u ORDER BY name, u.score DESC, u.id",
            "WITH w AS (SELECT id, name FROM keyed.u ORDER BY name) SELECT w.name FROM w ORDER BY w.id LIMIT 17",
            "SELECT name FROM keyed.u WHERE name IS DISTINCT FROM 'a' ORDER BY u.id OFFSET 3 -- from",
            "SELECT id FROM keyed.u ORDER BY (SELECT count(*) FROM keyed.o WHERE user_id = u.id) DESC, u.id",
            "SELECT id FROM keyed.u ORDER BY (name, id) IS NULL, array[id % 3, 1], u.id",
            "SELECT id, \"limit\" FROM keyed.o ORDER BY o.\"odd, (name\" , o.limit desc, /* , */ o.id limit 50",
            "SELECT id FROM keyed.u ORDER BY $x$), ($x$ || name, E'\\x41' || 'it''s, (' || u.id -- , (",
            "SELECT name AS id FROM keyed.u ORDER BY u.id",
            "SELECT id AS x, name AS x, id FROM keyed.u ORDER BY 2, 3",
            "SELECT id, id FROM keyed.u ORDER BY id",
        ] {
            let by_key = whole_by_pages(&caller, query).await;
            assert!(by_key.iter().all(|by_key| *by_key), "{query}: {by_key:?}");
        }
        // Which names are those of columns is known only with the result: the second page counts the rows before it.
        for query in [
            "SELECT upper(name), id AS x FROM keyed.u ORDER BY name, id",
            "SELECT DISTINCT * FROM keyed.u ORDER BY u.id",
        ] {
            let by_key = whole_by_pages(&caller, query).await;
            assert!(
                !by_key[0] && by_key[1..].iter().all(|by_key| *by_key),
                "{query}: {by_key:?}"
            );
        }
        // These go without keys, as they did before.
        for query in [
            "SELECT DISTINCT lower(name) FROM keyed.u ORDER BY lower(name)",
            "SELECT id FROM keyed.u ORDER BY row(name, id)",
            "SELECT id FROM keyed.u ORDER BY repeat('x', 300) || id",
            "SELECT id FROM keyed.u ORDER BY u.id USING >",
            "TABLE keyed.o ORDER BY id + 1",
        ] {
            let by_key = whole_by_pages(&caller, query).await;
            assert!(!by_key.contains(&true), "{query}: {by_key:?}");
        }
    }
}

#[tokio::test]
async fn a_row_before_a_page_shifts_nothing_in_any_order() {
    let owner = schema(
        "unmoved",
        "CREATE TABLE t AS SELECT g AS id, g % 7 AS sevenths FROM generate_series(1, 90) g",
    )
    .await;
    let caller = forgetful_reader();
    for query in [
        "SELECT x.sevenths, x.id FROM unmoved.t x ORDER BY x.id",
        "SELECT sevenths, x.id FROM unmoved.t x ORDER BY x.id + 1",
    ] {
        let mut arguments = json!({"query": query, "limit": 10});
        let mut seen: Vec<i64> = Vec::new();
        loop {
            let (texts, structured) = caller.done("query_database", arguments.clone()).await;
            assert!(!texts.concat().contains("have changed"), "{texts:?}");
            let rows = structured["rows"].as_array().unwrap();
            seen.extend(rows.iter().map(|row| row[1].as_i64().unwrap()));
            owner
                .batch_execute("INSERT INTO unmoved.t SELECT -g, 0 FROM generate_series(1, 7) g")
                .await
                .unwrap();
            match page(&structured).1 {
                Some(next) => arguments["cursor"] = json!(next),
                None => break,
            }
        }
        assert!(seen.into_iter().eq(1..=90), "{query}");
        owner
            .batch_execute("DELETE FROM unmoved.t WHERE id < 1")
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_query_is_told_of_its_own_text() {
    let caller = reader();
    for (query, part) in [
        ("SELECT id FROM users u ORDER BY u.nope", "POSITION: 33"),
        ("SELECT nope FROM users u ORDER BY u.id", "POSITION: 8"),
        (
            "SELECT id FROM users u ORDER BY lower(u.id, 1)",
            "POSITION: 33",
        ),
        (
            "SELECT id FROM users u WHERE 1 / (id - id) = 1 ORDER BY u.id + 1",
            "division by zero",
        ),
        ("SELECT id FROM users u ORDER BY u.id + 1)", "POSITION: 41"),
        ("SELECT id FROM users u ORDER BY (u.id", "POSITION: 38"),
        (
            "SELECT id FROM users u ORDER BY u.id) q; SELECT 1 --",
            "POSITION: 37",
        ),
        (
            "SELECT id FROM users u ORDER BY u.id UNION SELECT 1",
            "SQLSTATE: 42601",
        ),
        (
            "SELECT DISTINCT email FROM users u ORDER BY u.id",
            "SELECT DISTINCT",
        ),
        ("SELECT email FROM users u ORDER BY 2, u.id", "position 2"),
        ("SELECT * FROM users u ORDER BY 100, u.id", "position 100"),
        (
            "SELECT id INTO x FROM users u ORDER BY u.id + 1",
            "only one plain query",
        ),
        (
            "SELECT id FROM users u ORDER BY u.id + 1, pg_terminate_backend(1)",
            "pg_terminate_backend",
        ),
        ("SELECT id FROM users u ORDER BY U&\"id\"", "U& escapes"),
        ("SELECT id FROM users u ORDER BY $1", "parameters"),
    ] {
        let failure = caller
            .failed("query_database", json!({"query": query}))
            .await;
        assert!(failure.contains(part), "{query}: {failure}");
        assert!(!failure.contains("mcp_key"), "{query}: {failure}");
    }
}

#[tokio::test]
async fn what_a_result_is_ordered_by_stays_within_the_schemas_of_a_token() {
    schema("fenced", "CREATE TABLE t AS SELECT 1 AS id").await;
    let mut caller = forgetful_reader();
    let policy = crate::Policy {
        schemas: Some(["shop".to_owned()].into()),
        ..crate::Policy::default()
    };
    caller.agent = caller.agent.clone().with_policy(policy);
    let query = "SELECT email FROM shop.users u WHERE id <= 20 ORDER BY u.id";
    let (rows, by_key) = all_pages(&caller, query, 3).await;
    assert_eq!((rows.len(), by_key), (20, vec![true; 6]));
    let query = "SELECT email FROM shop.users u ORDER BY (SELECT id FROM fenced.t), u.id";
    let failure = caller
        .failed("query_database", json!({"query": query}))
        .await;
    assert!(failure.contains("may not use fenced.t"), "{failure}");
}

#[tokio::test]
async fn what_a_result_is_ordered_by_takes_nothing_from_its_size() {
    let caller = reader();
    // With the text of the order, each row would be twice as large as a result may be.
    let query = "SELECT g, repeat('y', 1000000) FROM generate_series(1, 3) g ORDER BY repeat('x', 1200000) || g";
    let (_, structured) = caller.done("query_database", json!({"query": query})).await;
    assert_eq!(page(&structured).0, ["1"]);
    let query =
        "SELECT g FROM generate_series(1, 100) g ORDER BY repeat('x', 100000) || (1000 + g)";
    let (_, structured) = caller
        .done("query_database", json!({"query": query, "limit": 90}))
        .await;
    assert_eq!(page(&structured).0.len(), 90);
}

/// Parts of queries, right and wrong ones.
const PREFIXES: &[&str] = &[
    "",
    "",
    "",
    "ALL ",
    "DISTINCT ",
    "DISTINCT ON (name) ",
    "DISTINCT ON (2) ",
];
const SELECTED: &[&str] = &[
    "id",
    "u.id",
    "u.name",
    "name AS n",
    "name id",
    "lower(name)",
    "count(*)",
    "*",
    "u.*",
    "1",
    "'from'",
    "id IS DISTINCT FROM 2",
    "extract(day FROM at)",
    "\"Odd, (\"",
    "(SELECT 1 ORDER BY 1)",
    "NULL AS x",
    "id AS name",
    "id * 2 AS d",
    "E'\\x41'",
    "id -- , from\n",
    "at /* from */",
];
const SOURCES: &[&str] = &[
    "FROM mixed.t u",
    "FROM mixed.t AS u LEFT JOIN mixed.t b ON b.id = u.boss",
    "FROM (SELECT * FROM mixed.t ORDER BY name) u",
    "FROM mixed.t u WHERE name IS DISTINCT FROM 'a'",
    "FROM mixed.t u GROUP BY 1",
    "FROM mixed.t u GROUP BY 1, 2",
    "FROM mixed.t u GROUP BY id, \"Odd, (\" HAVING count(*) < 9",
    "FROM mixed.t u UNION SELECT 1 FROM mixed.t",
];
const SORTED_BY: &[&str] = &[
    "id",
    "u.id",
    "name",
    "u.name",
    "1",
    "2",
    "5",
    "lower(name)",
    "-id",
    "u.\"Odd, (\"",
    "count(*)",
    "n",
    "x",
    "d",
    "(name)",
    "((2))",
    "coalesce(name, 'a, (')",
    "name COLLATE \"C\"",
    "'x' || id -- )\n",
    "/* ) */ u.id + 1",
    "(SELECT count(*) FROM mixed.t WHERE id < u.id)",
    "u.id)",
    "(u.id",
    "$$)$$ || name",
    "row(id)",
    "NULL",
    "b.id",
    "u.id USING >",
    "E'\\x41' || name",
    "mixed.t.id",
    "u",
    "at AT TIME ZONE 'UTC'",
    "id IN (1, 2)",
];
const DIRECTIONS: &[&str] = &["", "", "DESC", "ASC", "NULLS FIRST", "DESC NULLS LAST"];
const TAILS: &[&str] = &[
    "",
    "",
    ";",
    "LIMIT 7",
    "OFFSET 2",
    "-- x",
    "FETCH FIRST 3 ROWS ONLY",
];

fn mixed() -> impl Strategy<Value = (String, u64)> {
    let item = (select(SORTED_BY), select(DIRECTIONS));
    (
        select(PREFIXES),
        vec(select(SELECTED), 1..4),
        select(SOURCES),
        vec(item, 1..4),
        select(TAILS),
        1..6_u64,
    )
        .prop_map(|(prefix, selected, source, order, tail, limit)| {
            let order = order
                .iter()
                .map(|(item, direction)| format!("{item} {direction}"));
            let (selected, order) = (selected.join(", "), order.collect::<Vec<_>>().join(", "));
            let query = format!("SELECT {prefix}{selected} {source} ORDER BY {order} {tail}");
            (query, limit)
        })
}

/// Returns the result of a query, as its columns and its rows in some order, or its error. Which of equal rows are left
/// out is PostgreSQL's choice, and which names are nearest depends on what other tests have created.
async fn outcome(caller: &Caller, query: &str) -> Result<(Value, Vec<String>), String> {
    let found = caller.call("query_database", json!({"query": query})).await;
    let found = found.map_err(|error| match error.split_once("\nNEAREST: ") {
        Some((before, _)) => before.to_owned(),
        None => error,
    });
    let leaves_out = ["LIMIT", "OFFSET", "FETCH", "DISTINCT ON"];
    found.map(|(_, structured)| {
        let mut rows = row_texts(&structured);
        if leaves_out.iter().any(|word| query.contains(word)) {
            rows.fill(String::new());
        }
        rows.sort_unstable();
        (structured["columns"].clone(), rows)
    })
}

fn row_texts(structured: &Value) -> Vec<String> {
    let rows = structured["rows"].as_array().unwrap();
    rows.iter().map(Value::to_string).collect()
}

async fn check_mixed(caller: &Caller, query: &str, limit: u64) -> bool {
    // A text that contains this word is run as it was written.
    let as_written = outcome(caller, &format!("{query}\n-- mcp_key_")).await;
    let query = &format!("{query}\n-- mcp_kez_");
    let found = outcome(caller, query).await;
    assert_eq!(found, as_written, "{query}");
    let Ok((columns, all)) = found else {
        return false;
    };
    let mut arguments = json!({"query": query, "limit": limit});
    let (mut rows, mut is_sure) = (Vec::new(), true);
    loop {
        let (texts, structured) = caller.done("query_database", arguments.clone()).await;
        assert_eq!(structured["columns"], columns, "{query}");
        is_sure &= !texts.concat().contains("have changed");
        rows.extend(row_texts(&structured));
        match page(&structured).1 {
            Some(next) => {
                // If rows are counted, it is not certain which of equal rows are next.
                is_sure &= next.contains('.');
                arguments["cursor"] = json!(next);
            }
            None => break,
        }
    }
    if is_sure && !all.contains(&String::new()) {
        rows.sort_unstable();
        assert_eq!(rows, all, "{query}");
    }
    true
}

#[test]
fn keys_change_nothing_about_what_a_query_gives_or_is_told() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let caller = runtime.block_on(async {
        schema(
            "mixed",
            "CREATE TABLE t (id int PRIMARY KEY, name text, at timestamptz, boss int, \"Odd, (\" int); \
             INSERT INTO t SELECT g, (ARRAY['a', 'B', NULL, 'b'])[1 + g % 4], '2024-01-01Z', g / 2, g % 3 FROM generate_series(1, 14) g",
        )
        .await;
        forgetful_reader()
    });
    let config = Config {
        cases: 300,
        failure_persistence: None,
        ..Config::default()
    };
    let right = std::cell::Cell::new(0);
    let result = TestRunner::new(config).run(&mixed(), |(query, limit)| {
        if runtime.block_on(check_mixed(&caller, &query, limit)) {
            right.set(right.get() + 1);
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    assert!(right.get() > 20, "{} are right", right.get());
}
