//! Results in pages.

mod keys;

use proptest::{
    collection::vec,
    option,
    prelude::{Just, Strategy},
    sample::select,
    test_runner::{Config, TestRunner},
};

use super::*;
use crate::bench::agent_of;

/// Returns a caller for whom nothing is held, so that every page is a run of its own.
fn forgetful_reader() -> Caller {
    forgetful(sample::SHOP_READER)
}

fn forgetful(role: &str) -> Caller {
    let (sessions, agent) = agent_of(cluster(), role);
    let settings = Settings {
        paging: Paging {
            held_bytes: 0,
            ..Paging::default()
        },
        ..Settings::default()
    };
    Caller {
        sessions,
        agent,
        shelf: Arc::new(Shelf::new(settings).unwrap()),
    }
}

/// Returns the first column of a page, and the cursor of the next one.
fn page(structured: &Value) -> (Vec<String>, Option<String>) {
    let rows = structured["rows"].as_array().unwrap();
    let first = rows.iter().map(|row| match &row[0] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    let next = structured.get("next_cursor");
    assert!(
        next.is_none() || structured["truncated"] == true,
        "{structured}"
    );
    (
        first.collect(),
        next.map(|next| next.as_str().unwrap().to_owned()),
    )
}

/// Reads a result of at most 1,000 rows page by page, of which none may tell that rows have changed.
async fn rows_of_pages(caller: &Caller, query: &str, limit: usize) -> Value {
    let mut rows = Vec::new();
    let mut arguments = json!({"query": query, "limit": limit});
    loop {
        let (texts, structured) = caller.done("query_database", arguments.clone()).await;
        assert!(
            !texts.concat().contains("have changed"),
            "{query}: {texts:?}"
        );
        rows.extend(structured["rows"].as_array().unwrap().clone());
        assert!(rows.len() <= 1_000, "{query}: there is no end");
        match page(&structured).1 {
            Some(next) => arguments["cursor"] = json!(next),
            None => return rows.into(),
        }
    }
}

#[tokio::test]
async fn a_query_that_is_begun_anew_gives_no_rows_of_the_run_before() {
    let owner = superuser(cluster()).await;
    let sql =
        "CREATE TABLE shop.turned AS SELECT i AS id, 'old' AS state FROM generate_series(1, 50) i;
        GRANT SELECT ON shop.turned TO shop_reader";
    owner.batch_execute(sql).await.unwrap();
    let caller = reader();
    let pages = async || {
        let mut given =
            json!({"query": "SELECT state, id FROM shop.turned ORDER BY id", "limit": 10});
        let (mut seen, mut count) = (Vec::new(), 0);
        while count < 3 {
            let (_, structured) = caller.done("query_database", given.clone()).await;
            let (states, next) = page(&structured);
            seen.extend(states);
            given["cursor"] = next.unwrap().into();
            count += 1;
        }
        seen
    };
    assert_eq!(pages().await, ["old"; 30]);
    // The last row of the first page stays as it is.
    let change = "UPDATE shop.turned SET state = 'new' WHERE id > 10";
    owner.batch_execute(change).await.unwrap();
    let seen = pages().await;
    assert_eq!(seen[..10], ["old"; 10]);
    assert_eq!(seen[10..], ["new"; 20]);
    owner.batch_execute("DROP TABLE shop.turned").await.unwrap();
}

#[tokio::test]
async fn pages_follow_each_other_by_cursor_to_the_last_row() {
    let caller = reader();
    let query = "SELECT id, path FROM page_views WHERE id <= 25000 ORDER BY id";
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let mut arguments = json!({"query": query, "limit": 1000});
        if let Some(cursor) = &cursor {
            arguments["cursor"] = json!(cursor);
        }
        let (texts, structured) = caller.done("query_database", arguments).await;
        let (ids, next) = page(&structured);
        seen.extend(ids);
        match next {
            Some(next) => {
                assert!(texts[1].contains(&format!("cursor {next}")), "{}", texts[1]);
                cursor = Some(next);
            }
            None => break,
        }
    }
    let expected: Vec<String> = (1..=25_000).map(|id: i64| id.to_string()).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn rows_read_ahead_are_not_given_to_an_agent_that_may_no_longer_read_them() {
    let mut caller = reader();
    let query = "SELECT id FROM shop.page_views WHERE id <= 100 ORDER BY id";
    let mut arguments = json!({"query": query, "limit": 10});
    for _ in 0..2 {
        let (_, structured) = caller.done("query_database", arguments.clone()).await;
        arguments["cursor"] = structured["next_cursor"].clone();
    }
    caller.done("query_database", arguments.clone()).await;
    let policy = crate::Policy {
        schemas: Some(["public".to_owned()].into()),
        ..crate::Policy::default()
    };
    caller.agent = caller.agent.clone().with_policy(policy);
    let failure = caller.failed("query_database", arguments).await;
    assert!(failure.contains("may not use shop.page_views"), "{failure}");
}

#[tokio::test]
async fn a_second_page_reads_ahead_and_tells_of_changes_before_it() {
    let caller = reader();
    let owner = superuser(cluster()).await;
    owner
        .batch_execute(
            "CREATE SCHEMA paging; CREATE TABLE paging.t AS SELECT g AS id FROM generate_series(1, 9) g; \
             GRANT USAGE ON SCHEMA paging TO shop_reader; GRANT SELECT ON paging.t TO shop_reader",
        )
        .await
        .unwrap();
    let query = "SELECT id FROM paging.t ORDER BY id";
    let ask = async |cursor: Option<String>| {
        let mut arguments = json!({"query": query, "limit": 2});
        if let Some(cursor) = cursor {
            arguments["cursor"] = json!(cursor);
        }
        let (texts, structured) = caller.done("query_database", arguments).await;
        (page(&structured), texts)
    };
    let ((ids, first), _) = ask(None).await;
    assert_eq!(ids, ["1", "2"]);
    let ((ids, second), _) = ask(first.clone()).await;
    assert_eq!(ids, ["3", "4"]);
    owner
        .batch_execute("DELETE FROM paging.t WHERE id <> 9")
        .await
        .unwrap();
    let ((ids, _), texts) = ask(second).await;
    assert_eq!(ids, ["5", "6"], "from what was read ahead");
    assert_eq!(texts.len(), 2);
    let ((ids, _), _) = ask(first.clone()).await;
    assert_eq!(ids, ["3", "4"], "a page can be had again");

    let another = reader();
    let arguments = json!({"query": query, "limit": 2, "cursor": first});
    let (texts, structured) = another.done("query_database", arguments).await;
    assert_eq!(page(&structured).0, ["9"], "nothing of another agent's");
    assert!(texts.last().unwrap().contains("have changed"), "{texts:?}");
    owner
        .batch_execute("DROP SCHEMA paging CASCADE")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_cursor_is_for_its_query_and_for_rows_with_an_order() {
    let caller = reader();
    let arguments = json!({"query": "SELECT id FROM users", "limit": 1});
    let (texts, structured) = caller.done("query_database", arguments).await;
    assert!(structured.get("next_cursor").is_none());
    assert!(
        texts[1].contains("add ORDER BY") && texts[1].contains("offset 1"),
        "{}",
        texts[1]
    );

    let arguments = json!({"query": "SELECT id FROM users ORDER BY id", "limit": 1});
    let (_, structured) = caller.done("query_database", arguments).await;
    let cursor = structured["next_cursor"].as_str().unwrap();
    for (arguments, part) in [
        (
            json!({"query": "SELECT id FROM users ORDER BY 1", "cursor": cursor}),
            "not one of this query",
        ),
        (
            json!({"query": "SELECT id FROM users ORDER BY id", "cursor": "x"}),
            "not one of this query",
        ),
        (
            json!({"query": "SELECT id FROM users ORDER BY id", "cursor": cursor, "offset": 1}),
            "leave offset out",
        ),
    ] {
        let failure = caller.failed("query_database", arguments.clone()).await;
        assert!(failure.contains(part), "{arguments}: {failure}");
    }
}

#[tokio::test]
async fn rows_as_large_as_a_result_are_paged_one_by_one() {
    let caller = reader();
    let query = "SELECT g, repeat('x', 600000) FROM generate_series(1, 3) g ORDER BY g";
    let (mut seen, mut arguments) = (Vec::new(), json!({"query": query}));
    loop {
        let (_, structured) = caller.done("query_database", arguments.clone()).await;
        let (ids, next) = page(&structured);
        assert_eq!(ids.len(), 1);
        seen.extend(ids);
        match next {
            Some(next) => arguments["cursor"] = json!(next),
            None => break,
        }
    }
    assert_eq!(seen, ["1", "2", "3"]);
}

/// Creates a schema for one test, which the reader may use.
async fn schema(name: &str, objects: &str) -> tokio_postgres::Client {
    let owner = superuser(cluster()).await;
    owner
        .batch_execute(&format!(
            "CREATE SCHEMA {name}; SET search_path = {name}; {objects}; \
             GRANT USAGE ON SCHEMA {name} TO shop_reader; GRANT SELECT ON ALL TABLES IN SCHEMA {name} TO shop_reader"
        ))
        .await
        .unwrap();
    owner
}

#[tokio::test]
async fn rows_that_are_added_or_removed_before_a_page_do_not_shift_it() {
    let owner = schema(
        "moved",
        "CREATE TABLE t AS SELECT g AS id, g / 10 AS tens FROM generate_series(1, 200) g",
    )
    .await;
    for (query, all) in [
        ("SELECT id FROM moved.t ORDER BY id", 1..=200),
        ("SELECT id, tens FROM moved.t ORDER BY tens, 1", 1..=200),
    ] {
        let caller = forgetful_reader();
        let (mut seen, mut arguments) = (Vec::new(), json!({"query": query, "limit": 33}));
        loop {
            let (texts, structured) = caller.done("query_database", arguments.clone()).await;
            assert!(!texts.concat().contains("have changed"), "{texts:?}");
            let (ids, next) = page(&structured);
            let first: i32 = ids[0].parse().unwrap();
            seen.extend(ids);
            // All of these come before the page, and none of them is the row before the next one.
            owner
                .batch_execute(&format!(
                    "INSERT INTO moved.t SELECT -g, -g FROM generate_series(1, 7) g; DELETE FROM moved.t WHERE id = {first}"
                ))
                .await
                .unwrap();
            match next {
                Some(next) => arguments["cursor"] = json!(next),
                None => break,
            }
        }
        assert_eq!(
            seen,
            all.map(|id| id.to_string()).collect::<Vec<_>>(),
            "{query}"
        );
        owner
            .batch_execute(
                "TRUNCATE moved.t; INSERT INTO moved.t SELECT g, g / 10 FROM generate_series(1, 200) g",
            )
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn nulls_that_no_table_has_are_not_lost() {
    schema(
        "outer_nulls",
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 7); \
         CREATE TABLE u (t_id int, n int NOT NULL); INSERT INTO u SELECT CASE WHEN g % 2 = 0 THEN g END, g FROM generate_series(1, 9) g; \
         CREATE VIEW v AS SELECT t.id, u.n FROM u LEFT JOIN t ON t.id = u.t_id; \
         CREATE TABLE parent (id int NOT NULL, n int NOT NULL); CREATE TABLE child () INHERITS (parent); \
         ALTER TABLE child ALTER id DROP NOT NULL; \
         INSERT INTO parent SELECT g, g FROM generate_series(1, 6) g; INSERT INTO child VALUES (NULL, 10), (3, 11)",
    )
    .await;
    let caller = forgetful_reader();
    for query in [
        "SELECT t.id, n FROM outer_nulls.u LEFT JOIN outer_nulls.t ON t.id = u.t_id ORDER BY id, n",
        "SELECT t.id, n FROM outer_nulls.t RIGHT JOIN outer_nulls.u ON t.id = u.t_id ORDER BY 1, 2",
        "SELECT id, n FROM outer_nulls.t FULL JOIN outer_nulls.u ON t.id = u.t_id ORDER BY id DESC NULLS LAST, n",
        "SELECT id, n FROM outer_nulls.v ORDER BY id, n",
        "SELECT id FROM outer_nulls.t UNION ALL SELECT NULL ORDER BY id",
        "SELECT id FROM outer_nulls.t UNION ALL SELECT NULL ORDER BY id DESC",
        "SELECT id, count(*) FROM outer_nulls.t GROUP BY ROLLUP (id) ORDER BY id",
        "SELECT id, count(*) FROM outer_nulls.t GROUP BY GROUPING SETS ((id), ()) ORDER BY id",
        "SELECT id, n FROM outer_nulls.parent ORDER BY id, n",
        "WITH w AS (SELECT * FROM outer_nulls.t) SELECT w.id, n FROM outer_nulls.u LEFT JOIN w ON w.id = u.t_id ORDER BY id, n",
    ] {
        let whole = caller
            .done("query_database", json!({"query": query}))
            .await
            .1;
        let rows = rows_of_pages(&caller, query, 2).await;
        assert_eq!(rows, whole["rows"], "{query}");
    }
}

#[tokio::test]
async fn values_that_settings_round_or_write_in_another_way_are_not_compared() {
    schema(
        "settings",
        "CREATE TABLE t AS SELECT g AS id, 1 + g * 1e-9::float8 AS f, timestamptz '2024-10-26 23:50Z' + g * interval '1 minute' AS at \
           FROM generate_series(1, 90) g; \
         CREATE ROLE rounding LOGIN IN ROLE shop_reader; GRANT CONNECT ON DATABASE postgres TO rounding; \
         ALTER ROLE rounding SET extra_float_digits = -9; ALTER ROLE rounding SET datestyle = 'German, DMY'; \
         ALTER ROLE rounding SET timezone = 'Asia/Kolkata'",
    )
    .await;
    let caller = forgetful("rounding");
    for query in [
        "SELECT id, f FROM settings.t ORDER BY f",
        "SELECT id, f FROM settings.t ORDER BY f DESC",
        "SELECT id, at FROM settings.t ORDER BY at",
    ] {
        let rows = rows_of_pages(&caller, query, 7).await;
        let id = |row: &Value| row[0].as_u64().unwrap();
        let mut seen: Vec<u64> = rows.as_array().unwrap().iter().map(id).collect();
        if query.ends_with("DESC") {
            seen.reverse();
        }
        assert!(seen.into_iter().eq(1..=90), "{query}");
    }
}

#[tokio::test]
async fn held_rows_are_of_the_run_that_a_cursor_follows() {
    let owner = schema(
        "runs",
        "CREATE TABLE t AS SELECT g AS id FROM generate_series(10, 30) g",
    )
    .await;
    let caller = reader();
    let ask = async |cursor: Option<String>| {
        let mut arguments = json!({"query": "SELECT id FROM runs.t ORDER BY id", "limit": 2});
        if let Some(cursor) = cursor {
            arguments["cursor"] = json!(cursor);
        }
        page(&caller.done("query_database", arguments).await.1)
    };
    let (_, next) = ask(None).await;
    ask(next).await;
    owner
        .batch_execute("INSERT INTO runs.t VALUES (1), (2)")
        .await
        .unwrap();
    let (ids, next) = ask(None).await;
    assert_eq!(ids, ["1", "2"]);
    assert_eq!(
        ask(next).await.0,
        ["10", "11"],
        "not what an older run has there"
    );
}

#[tokio::test]
async fn many_equal_rows_are_counted_and_a_change_among_them_is_told() {
    let owner = schema(
        "equals",
        "CREATE TABLE t AS SELECT g AS id, 1 AS same FROM generate_series(1, 100) g; CREATE INDEX ON t (same)",
    )
    .await;
    let caller = forgetful_reader();
    let ask = async |cursor: &Option<String>| {
        let mut arguments =
            json!({"query": "SELECT id, same FROM equals.t ORDER BY same", "limit": 40});
        if let Some(cursor) = cursor {
            arguments["cursor"] = json!(cursor);
        }
        let (texts, structured) = caller.done("query_database", arguments).await;
        (page(&structured), texts.concat())
    };
    let ((first, next), told) = ask(&None).await;
    assert!(told.contains("end it with a unique column"), "{told}");
    let ((second, last), told) = ask(&next).await;
    let mut both: Vec<_> = first.iter().chain(&second).collect();
    both.sort_unstable();
    both.dedup();
    assert!(
        both.len() == 80 || told.contains("their order has"),
        "{both:?} {told}"
    );
    owner
        .batch_execute(&format!("DELETE FROM equals.t WHERE id = {}", first[0]))
        .await
        .unwrap();
    for cursor in [next, last] {
        let (_, told) = ask(&cursor).await;
        assert!(told.contains("have changed"), "{told}");
    }
}

#[tokio::test]
async fn a_cursor_of_somebodys_own_making_gives_no_more_than_rows_of_the_query() {
    let caller = forgetful_reader();
    let query = "SELECT id, email FROM users WHERE id <= 50 ORDER BY email";
    let arguments = json!({"query": query, "limit": 10});
    let (_, structured) = caller.done("query_database", arguments).await;
    let (_, next) = page(&structured);
    for value in [
        Some("x' OR true --"),
        Some("\\' UNION SELECT 1, usename FROM pg_user --"),
        Some("$1"),
        None,
    ] {
        let forged = query_database::forged(&next.clone().unwrap(), value);
        let arguments = json!({"query": query, "limit": 100, "cursor": forged});
        let (texts, structured) = caller.done("query_database", arguments).await;
        assert!(texts.concat().contains("have changed"), "{texts:?}");
        let (ids, _) = page(&structured);
        assert!(
            ids.iter().all(|id| id.parse::<u32>().unwrap() <= 50),
            "{ids:?}"
        );
    }
    let query = "SELECT id FROM users ORDER BY id";
    let arguments = json!({"query": query, "limit": 10});
    let (_, structured) = caller.done("query_database", arguments).await;
    let forged = query_database::forged(&page(&structured).1.unwrap(), Some("no number"));
    let arguments = json!({"query": query, "limit": 10, "cursor": forged});
    let (_, structured) = caller.done("query_database", arguments).await;
    assert_eq!(page(&structured).0[0], "11", "it is as good as an offset");
}

/// Types, and values of each; some are equal and written in several ways.
const VALUES: &[(&str, &[&str])] = &[
    ("int", &["1", "2", "-3"]),
    ("bigint", &["9223372036854775807", "0"]),
    ("numeric", &["1.0", "1.00", "NaN", "-7", "1e30"]),
    ("float8", &["0", "-0", "NaN", "0.1", "-Infinity", "1e300"]),
    ("real", &["0.1", "3.4e38"]),
    ("text", &["a", "B", "b", "", "it''s \\ \u{e9}"]),
    ("text COLLATE \"C\"", &["a", "B", "b", "\u{e9}", "z"]),
    ("text COLLATE sorts.ignoring", &["a", "A", "b", "B", "c"]),
    ("bpchar(3)", &["a", "ab", "a  ", "b"]),
    ("name", &["a", "B", "b"]),
    ("sorts.short", &["x", "y", "Y"]),
    ("sorts.mood", &["sad", "ok", "happy"]),
    ("bool", &["t", "f"]),
    (
        "uuid",
        &[
            "11111111-1111-1111-1111-111111111111",
            "22222222-2222-2222-2222-222222222222",
        ],
    ),
    ("bytea", &["\\x00", "\\xff00", "\\x5c27"]),
    (
        "date",
        &["2024-01-31", "infinity", "-infinity", "0044-03-15 BC"],
    ),
    (
        "timestamp",
        &["2024-01-31 10:00:00.000001", "2024-01-31 10:00:00"],
    ),
    (
        "timestamptz",
        &[
            "2024-10-27 00:30:00+00",
            "2024-10-27 01:30:00+00",
            "infinity",
        ],
    ),
    ("time", &["10:00", "24:00"]),
    ("timetz", &["10:00+00", "12:00+02", "10:00+02"]),
    (
        "interval",
        &["1 day", "24:00:00", "1 mon", "30 days", "-1 day 2:03:04"],
    ),
    ("inet", &["10.0.0.1", "10.0.0.0/8", "::1"]),
    ("int[]", &["{}", "{1,NULL}", "{1,2}"]),
    ("text[]", &["{a}", "{\"b c\",NULL}", "{\"\\\"\"}"]),
    ("jsonb", &["1.0", "1.00", "null", "{\"a\": [1]}", "\"x\""]),
    ("int4range", &["[1,5)", "empty", "(,3)", "[1,5]"]),
    ("money", &["1", "2.50"]),
];

/// A query over a small table of random columns, in a random order.
#[derive(Clone, Debug)]
struct Ordered {
    rows: Vec<Vec<String>>,
    keys: Vec<Sorted>,
    pages: Vec<u64>,
}

#[derive(Clone, Debug)]
struct Sorted {
    form: Form,
    direction: &'static str,
    nulls: &'static str,
}

/// How a column is named in the order.
#[derive(Clone, Copy, Debug)]
enum Form {
    Number,
    Name,
    OfTable,
    Expression,
}

fn ordered() -> impl Strategy<Value = Ordered> {
    let columns = vec(select(VALUES), 1..=3);
    let key = (
        select(&[Form::Number, Form::Name, Form::OfTable, Form::Expression]),
        select(&["", "ASC", "DESC"]),
        select(&["", "NULLS FIRST", "NULLS LAST"]),
    );
    (columns, 1..60_usize, vec(1..12_u64, 1..4)).prop_flat_map(move |(columns, count, pages)| {
        let rows: Vec<_> = (0..count)
            .map(|_| {
                let values: Vec<_> = columns
                    .iter()
                    .map(|(of_type, values)| {
                        let of_type = *of_type;
                        let value = option::weighted(0.8, select(*values));
                        value.prop_map(move |value| match value {
                            Some(value) => {
                                let (name, collation) =
                                    of_type.split_once(' ').unwrap_or((of_type, ""));
                                format!("E'{}'::{name} {collation}", value.replace('\\', "\\\\"))
                            }
                            None => format!("NULL::{of_type}"),
                        })
                    })
                    .collect();
                values
            })
            .collect();
        let keys = vec(key.clone(), columns.len());
        (rows, keys, Just(pages)).prop_map(|(rows, keys, pages)| Ordered {
            rows,
            keys: keys
                .into_iter()
                .map(|(form, direction, nulls)| Sorted {
                    form,
                    direction,
                    nulls,
                })
                .collect(),
            pages,
        })
    })
}

impl Ordered {
    /// Every row has its own number, and its place in the order, which equal rows share.
    fn query(&self) -> String {
        let order = |names: &dyn Fn(usize, &Sorted) -> String| {
            let keys = self.keys.iter().enumerate();
            let keys =
                keys.map(|(at, key)| format!("{} {} {}", names(at, key), key.direction, key.nulls));
            keys.collect::<Vec<_>>().join(", ")
        };
        let inside = order(&|at, _| format!("k{at}"));
        let outside = order(&|at, key| match key.form {
            Form::Number => (at + 3).to_string(),
            Form::Name => format!("K{at}"),
            Form::OfTable => format!("t . k{at}"),
            Form::Expression => format!("coalesce(k{at}, NULL)"),
        });
        let rows = self.rows.iter().enumerate();
        let rows = rows.map(|(number, row)| format!("({number}, {})", row.join(", ")));
        let names: Vec<_> = (0..self.keys.len()).map(|at| format!("k{at}")).collect();
        let names = names.join(", ");
        format!(
            "SELECT * FROM (SELECT n, dense_rank() OVER (ORDER BY {inside}) AS place, {names} \
             FROM (VALUES {}) t(n, {names}) ORDER BY n * 17 % 23 OFFSET 0) t ORDER BY {outside}",
            rows.collect::<Vec<_>>().join(", ")
        )
    }

    async fn check(&self, caller: &Caller) {
        let query = self.query();
        let whole = json!({"query": &query, "limit": 1000});
        let whole = caller.done("query_database", whole).await.1;
        let mut arguments = json!({"query": &query});
        let (mut rows, mut is_sure) = (Vec::new(), true);
        for limit in self.pages.iter().cycle() {
            arguments["limit"] = json!(limit);
            let (texts, structured) = caller.done("query_database", arguments.clone()).await;
            rows.extend(structured["rows"].as_array().unwrap().clone());
            assert!(rows.len() <= self.rows.len(), "{query}");
            is_sure &= !texts.concat().contains("have changed");
            match page(&structured).1 {
                Some(next) => arguments["cursor"] = json!(next),
                None => break,
            }
        }
        let column = |rows: &[Value], at: usize| -> Vec<u64> {
            rows.iter().map(|row| row[at].as_u64().unwrap()).collect()
        };
        let all = whole["rows"].as_array().unwrap();
        assert_eq!(column(&rows, 1), column(all, 1), "{query}");
        // If equal values are written in several ways, or too many rows are equal, nothing tells which of them were
        // given out when PostgreSQL sorts them again.
        let mut equal = all.chunk_by(|a, b| a[1] == b[1]);
        let keys = |row: &Value| row.as_array().unwrap()[2..].to_vec();
        let is_plain = equal
            .all(|rows| rows.len() <= 32 && rows.iter().all(|row| keys(row) == keys(&rows[0])));
        let is_known = whole["columns"]
            .as_array()
            .unwrap()
            .iter()
            .all(|column| column["type"] != "money");
        if is_plain && is_known {
            let mut numbers = column(&rows, 0);
            numbers.sort_unstable();
            assert!(
                is_sure && numbers.into_iter().eq(0..rows.len() as u64),
                "{query}"
            );
        }
    }
}

#[test]
fn the_pages_of_any_order_are_together_the_whole_result() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let caller = runtime.block_on(async {
        schema(
            "sorts",
            "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy'); CREATE DOMAIN short AS text; \
             CREATE COLLATION ignoring (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
        )
        .await;
        forgetful_reader()
    });
    let config = Config {
        cases: 150,
        failure_persistence: None,
        ..Config::default()
    };
    let result = TestRunner::new(config).run(&ordered(), |case| {
        runtime.block_on(case.check(&caller));
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[tokio::test]
async fn values_that_postgresql_cannot_compare_with_texts_are_paged_by_counting() {
    // For `=` and `>` PostgreSQL takes no domain over an enumeration to be one; `ORDER BY` does.
    schema(
        "domains",
        "CREATE TYPE tide AS ENUM ('ebb', 'slack', 'flood'); CREATE DOMAIN tidal AS tide; \
         CREATE TABLE shores (id int PRIMARY KEY, tide tidal); \
         INSERT INTO shores SELECT g, (enum_range(NULL::tide))[1 + g % 3] FROM generate_series(1, 20) g",
    )
    .await;
    let caller = forgetful_reader();
    for query in [
        "SELECT id, tide FROM domains.shores ORDER BY tide, id",
        "SELECT s.id FROM domains.shores s ORDER BY s.tide DESC, s.id",
    ] {
        let whole = json!({"query": query, "limit": 100});
        let (_, whole) = caller.done("query_database", whole).await;
        let rows = rows_of_pages(&caller, query, 3).await;
        assert_eq!(rows, whole["rows"], "{query}");
    }
}

#[tokio::test]
async fn an_order_is_the_same_whatever_numbers_a_query_has_and_however_often_it_comes() {
    let caller = reader();
    for (query, first) in [
        (
            "SELECT count(*), min(id) FROM users WHERE id > {} GROUP BY id / 10 ORDER BY id / 10",
            1,
        ),
        (
            "SELECT email, id FROM users u WHERE id > {} ORDER BY u.id - 3 * 2",
            1,
        ),
    ] {
        for number in 10..22 {
            let query = query.replace("{}", &number.to_string());
            let arguments = json!({"query": query, "limit": 2});
            let (_, structured) = caller.done("query_database", arguments).await;
            assert_eq!(structured["rows"][0][first], number + 1, "{query}");
            assert!(page(&structured).1.unwrap().contains('.'), "{query}");
        }
    }
}

#[tokio::test]
async fn an_order_by_chance_is_told_to_be_none() {
    let caller = forgetful_reader();
    for query in [
        "SELECT id FROM users ORDER BY random()",
        "SELECT id, random() AS r FROM users ORDER BY random()",
    ] {
        let mut arguments = json!({"query": query, "limit": 5});
        let (_, structured) = caller.done("query_database", arguments.clone()).await;
        arguments["cursor"] = structured["next_cursor"].clone();
        let (texts, _) = caller.done("query_database", arguments).await;
        assert!(
            texts.concat().contains("have changed"),
            "{query}: {texts:?}"
        );
    }
}

#[tokio::test]
async fn rows_read_ahead_are_not_given_once_the_database_was_configured_anew() {
    let caller = reader();
    let query = "SELECT g, current_database() AS d FROM generate_series(1, 100) g ORDER BY g";
    let mut arguments = json!({"query": query, "limit": 10});
    let on = |structured: &Value| structured["rows"][0][1].as_str().unwrap().to_owned();
    for _ in 0..3 {
        let (_, structured) = caller.done("query_database", arguments.clone()).await;
        assert_eq!(on(&structured), "postgres");
        arguments["cursor"] = structured["next_cursor"].clone();
    }
    let mut config: tokio_postgres::Config = cluster()
        .connection("template1")
        .to_string()
        .parse()
        .unwrap();
    config.user(sample::SHOP_READER);
    caller.sessions.replace([session_pool::Database {
        generation: 1,
        ..session_pool::Database::new("shop", config, session_pool::Tls::disabled())
    }]);
    let (texts, structured) = caller.done("query_database", arguments).await;
    assert_eq!(on(&structured), "template1");
    assert!(texts.concat().contains("have changed since"), "{texts:?}");
}
