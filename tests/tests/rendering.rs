//! What a query's answer looks like: every type as `psql` shows it.
#![allow(clippy::unwrap_used)]

use end_to_end::{Database, Server, Setup, Sql, Token};
use serde_json::{Value, json};

fn start(database: &Database<'_>) -> (Setup, Server, Token) {
    let mut setup = Setup::new([database.entry("shop", &database.reader)]);
    let token = setup.add_token();
    let server = setup.start();
    (setup, server, token)
}

/// One value of every type that PostgreSQL comes with, and of some that are composed of them.
#[rustfmt::skip]
const VALUES: &[&str] = &[
    "true", "false", "NULL::bool", "32767::int2", "(-2147483648)::int4", "9223372036854775807::int8",
    "1.5::float4", "1e-300::float8", "'NaN'::float8", "'-Infinity'::float8", "0.1::float8 + 0.2", "(-0.0)::float8",
    "12345678901234567890.123456789::numeric", "'NaN'::numeric", "1.50::numeric(10,2)", "'$1,234.56'::money",
    "''", "'a'::\"char\"", "'ab'::char(5)", "'text'::varchar(10)", "'name'::name", "E'tab\\tand\\nline'", "'ünïcödé 日本 🐘'",
    "'\\xDEADBEEF'::bytea", "''::bytea",
    "'2024-02-29'::date", "'infinity'::date", "'0044-03-15 BC'::date",
    "'12:34:56.789'::time", "'12:34:56+02'::timetz", "'2024-02-29 12:34:56.789'::timestamp",
    "'2024-02-29 12:34:56+02'::timestamptz", "'-infinity'::timestamptz",
    "'1 year 2 mons 3 days 04:05:06.789'::interval", "'-1 day'::interval",
    "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid",
    "'{\"a\": [1, null, \"x\"]}'::json", "'{\"b\":1,\"a\":2}'::jsonb", "'null'::jsonb", "'$.a[*]'::jsonpath",
    "'192.168.0.1/24'::inet", "'::1'::inet", "'10.0.0.0/8'::cidr", "'08:00:2b:01:02:03'::macaddr", "'08:00:2b:01:02:03:04:05'::macaddr8",
    "B'1010'", "B'101'::bit varying", "'(1,2)'::point", "'{1,2,3}'::line", "'[(0,0),(1,1)]'::lseg", "'(1,1),(0,0)'::box",
    "'[(0,0),(1,1),(2,0)]'::path", "'((0,0),(1,1),(2,0))'::polygon", "'<(0,0),5>'::circle",
    "'fat & rat'::tsquery", "'a fat cat'::tsvector",
    "'[1,10)'::int4range", "'empty'::int8range", "'[2024-01-01,)'::daterange", "'{[1,3),[5,7)}'::int4multirange",
    "ARRAY[1, NULL, 3]", "ARRAY[[1, 2], [3, 4]]", "'{}'::int[]", "ARRAY['a,b', 'c\"d', '', 'NULL', NULL]", "ARRAY['2024-01-01'::date]", "'[0:1]={1,2}'::int[]",
    "ROW(1, 'a,b', NULL, '')", "ROW(ROW(1, 2), 'x')", "'delivered'::shop.order_status", "ARRAY['paid', 'placed']::shop.order_status[]",
    "'pg_class'::regclass", "'int4'::regtype", "'now'::regproc", "'public'::regnamespace", "42::oid", "'0/16B3748'::pg_lsn", "'(0,1)'::tid", "'3'::xid", "'10:20:10,14'::pg_snapshot",
];

#[test]
fn every_type_is_shown_as_psql_shows_it() {
    let database = Database::fresh();
    let (_setup, server, token) = start(&database);
    let psql = Sql::connect(&database.config(&database.reader)).unwrap();
    for value in VALUES {
        let sql = format!("SELECT {value} AS value");
        let shown = psql
            .rows(&sql)
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
            .remove(0)
            .remove(0);
        let answer = server.query(&token, &sql);
        assert!(!answer.is_error, "{sql}: {}", answer.text);
        let text = answer
            .text
            .split_once('\n')
            .map(|(_, text)| text)
            .unwrap_or_default();
        let expected = shown
            .as_deref()
            .unwrap_or("NULL")
            .replace('\t', "\\t")
            .replace('\n', "\\n");
        assert_eq!(text, expected, "{sql}");
        let structured = match answer.value() {
            Value::Null => None,
            Value::Bool(value) => Some(if *value { "t" } else { "f" }.to_owned()),
            Value::String(value) => Some(value.clone()),
            number => Some(number.to_string()),
        };
        match (structured, shown) {
            // A number may be written differently in JSON, but must be the same number.
            (Some(read), Some(shown)) if read != shown => {
                assert_eq!(
                    read.parse::<f64>().ok(),
                    shown.parse::<f64>().ok(),
                    "{sql}: {read} for {shown}"
                );
            }
            (read, shown) => assert_eq!(read.is_some(), shown.is_some(), "{sql}"),
        }
    }
}

#[test]
fn null_is_told_from_an_empty_text() {
    let database = Database::fresh();
    let (_setup, server, token) = start(&database);
    let answer = server.query(&token, "SELECT NULL::text AS a, '' AS b, 'NULL' AS c");
    assert_eq!(answer.structured["rows"], json!([[null, "", "NULL"]]));
    assert_eq!(answer.text, "a\tb\tc\nNULL\t\t'NULL'");
}

#[test]
fn columns_have_names_and_types() {
    let database = Database::fresh();
    let (_setup, server, token) = start(&database);
    let answer = server.query(
        &token,
        "SELECT id, name, active, prefs, joined FROM users WHERE id = 1",
    );
    let columns: Vec<(String, String)> = answer.structured["columns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| {
            (
                column["name"].as_str().unwrap().into(),
                column["type"].as_str().unwrap().into(),
            )
        })
        .collect();
    let expected = [
        ("id", "integer"),
        ("name", "text"),
        ("active", "boolean"),
        ("prefs", "jsonb"),
        ("joined", "date"),
    ];
    assert_eq!(
        columns,
        expected.map(|(name, kind)| (name.to_owned(), kind.to_owned()))
    );
}

#[test]
fn pages_follow_each_other_and_say_whether_there_is_more() {
    let database = Database::fresh();
    let (_setup, server, token) = start(&database);
    let mut ids = Vec::new();
    for offset in (0..1000).step_by(300) {
        let arguments =
            json!({ "query": "SELECT id FROM users ORDER BY id", "limit": 300, "offset": offset });
        let answer = server.call(&token, "query_database", arguments);
        let rows = answer.structured["rows"].as_array().unwrap();
        assert_eq!(answer.structured["row_count"], rows.len());
        assert_eq!(
            answer.structured["truncated"],
            offset + 300 < 1000,
            "at offset {offset}"
        );
        ids.extend(rows.iter().map(|row| row[0].as_i64().unwrap()));
    }
    assert_eq!(ids, (1..=1000).collect::<Vec<i64>>());
}

#[test]
fn a_hundred_rows_come_when_no_limit_is_given_and_1000_at_most() {
    let database = Database::fresh();
    let (_setup, server, token) = start(&database);
    assert_eq!(
        server.query(&token, "SELECT * FROM page_views").structured["row_count"],
        100
    );
    let arguments = json!({ "query": "SELECT * FROM page_views", "limit": 1000 });
    assert_eq!(
        server.call(&token, "query_database", arguments).structured["row_count"],
        1000
    );
}

#[test]
fn an_error_has_postgresqls_message_code_position_and_hint() {
    let database = Database::fresh();
    let (_setup, server, token) = start(&database);
    for (sql, parts) in [
        (
            "SELECT nam FROM users",
            &[
                "column \"nam\" does not exist",
                "42703",
                "POSITION: 8",
                "users.name",
            ][..],
        ),
        ("SELECT 1 / 0", &["division by zero", "22012"]),
        (
            "SELECT * FROM nowhere",
            &[
                "relation \"nowhere\" does not exist",
                "42P01",
                "POSITION: 15",
            ],
        ),
        ("SELECT 'ü', oops", &["42703", "POSITION: 13"]),
        (
            "SELECT id FROM users WHERE id = 'x'",
            &["22P02", "invalid input syntax", "POSITION: 33"],
        ),
        ("SELEC 1", &["42601", "POSITION: 1"]),
        ("SELECT (id FROM users", &["42601"]),
        ("SELECT error_function()", &["42883", "HINT"]),
    ] {
        let answer = server.query(&token, sql);
        assert!(answer.is_error, "{sql}: {}", answer.text);
        for part in parts {
            assert!(
                answer.text.contains(part),
                "{sql}: {part:?} is not in {}",
                answer.text
            );
        }
    }
}
