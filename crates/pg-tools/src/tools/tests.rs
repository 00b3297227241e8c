//! Every tool on a real PostgreSQL with the sample shop.

mod bounds;
mod custom;
mod explain;
mod foreign;
mod in_doubt;
mod limits;
mod met;
mod names;
mod paging;
mod piped;
mod questions;
mod resources;
mod schema;
mod state;
mod writing;

use private_postgres::sample;
use serde_json::{Value, json};
use session_pool::Sessions;

use super::*;
use crate::{
    bench::{agent, cluster, superuser},
    client::Silent,
    shelf::Shelf,
};

struct Caller {
    sessions: Sessions,
    agent: Agent,
    shelf: Arc<Shelf>,
}

impl Caller {
    fn new(role: &str) -> Self {
        let (sessions, agent) = agent(role);
        Caller {
            sessions,
            agent,
            shelf: Arc::new(Shelf::new(everything()).unwrap()),
        }
    }

    async fn call(&self, tool: &str, arguments: Value) -> Result<(Vec<String>, Value), String> {
        let Value::Object(given) = arguments else {
            panic!("arguments are an object")
        };
        let tool = self.shelf.find(&self.agent, tool).unwrap();
        let promised = tool.tool.definition().output_schema;
        match tool.call(&self.agent, given, &Silent).await {
            Err(Failure::Told(text) | Failure::Quoted(text)) => Err(text),
            Err(Failure::Unanswered) => panic!("nothing can be asked"),
            Ok(found) => {
                let structured: Value = serde_json::from_str(found.structured.as_str()).unwrap();
                conform(&serde_json::from_str(promised).unwrap(), &structured, "");
                let texts = found.texts.into_iter().map(|text| match text {
                    Text::Said(text) => text,
                    Text::Data(text) => text.plain(),
                });
                Ok((texts.collect(), structured))
            }
        }
    }

    async fn done(&self, tool: &str, arguments: Value) -> (Vec<String>, Value) {
        self.call(tool, arguments.clone())
            .await
            .unwrap_or_else(|error| panic!("{tool} {arguments}: {error}"))
    }

    async fn failed(&self, tool: &str, arguments: Value) -> String {
        match self.call(tool, arguments.clone()).await {
            Ok((texts, _)) => panic!("{tool} {arguments}: answered {texts:?}"),
            Err(error) => error,
        }
    }
}

/// The settings with every opt-in tool switched on.
fn everything() -> Settings {
    let all = catalogue(&Means::new(Settings::default()));
    let opt_in = all.iter().map(|tool| tool.definition());
    let opt_in = opt_in.filter(|tool| tool.offer == Offer::OptIn);
    Settings {
        enabled: opt_in.map(|tool| tool.name.to_owned()).collect(),
        ..Settings::default()
    }
}

/// Checks a result against what its tool promised; every result of these tests goes through here.
fn conform(schema: &Value, value: &Value, place: &str) {
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => panic!("{place}: a schema without a type"),
    };
    let is = |name: &&str| match *name {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{place}: unknown type {other}"),
    };
    assert!(types.iter().any(is), "{place}: {value} is not of {types:?}");
    for name in schema["required"].as_array().into_iter().flatten() {
        let name = name.as_str().unwrap();
        assert!(
            value.get(name).is_some(),
            "{place}: {name} is missing in {value}"
        );
    }
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = value.get(name) {
            conform(inner, value, &format!("{place}/{name}"));
        }
    }
    if let Some(items) = schema.get("items") {
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            conform(items, item, &format!("{place}/{index}"));
        }
    }
}

fn reader() -> Caller {
    Caller::new(sample::SHOP_READER)
}

#[tokio::test]
async fn count_rows_counts_estimates_and_filters() {
    let caller = reader();
    for (arguments, count) in [
        (json!({"table": "users"}), 1000),
        (json!({"table": "users", "schema": "shop"}), 1000),
        (
            json!({"table": "users", "where": "id <= 10 -- comment"}),
            10,
        ),
        (
            json!({"table": "users", "where": "id IN (SELECT 1 UNION SELECT 2)"}),
            2,
        ),
    ] {
        let (_, structured) = caller.done("count_rows", arguments.clone()).await;
        assert_eq!(
            structured,
            json!({"count": count, "estimated": false, "unmeasured": []}),
            "{arguments}"
        );
    }
    let (texts, structured) = caller
        .done("count_rows", json!({"table": "users", "estimate": true}))
        .await;
    assert_eq!(structured["estimated"], true);
    assert_eq!(structured["unmeasured"], json!([]));
    assert!(texts[0].starts_with("about "), "{texts:?}");
    assert!(
        (900..=1100).contains(&structured["count"].as_i64().unwrap()),
        "{structured}"
    );
}

#[tokio::test]
async fn what_is_wrong_with_a_condition_is_told_in_its_own_places() {
    let caller = reader();
    for (condition, told) in [
        (
            "nmae = 'x'",
            "ERROR: column \"nmae\" does not exist\nSQLSTATE: 42703\nPOSITION: 1\n",
        ),
        ("id = 1 and\n 5", "POSITION: 13"),
        (
            "id > ",
            "ERROR: the condition ends too early\nSQLSTATE: 42601\nHINT: write one SQL condition, without WHERE",
        ),
        (
            "name = 'x",
            "ERROR: unterminated quoted string at or near \"'x\"\nSQLSTATE: 42601\nPOSITION: 8\n",
        ),
        (
            "id = 1; SELECT 1",
            "near \";\"\nSQLSTATE: 42601\nPOSITION: 7\n",
        ),
        (
            "id",
            "POSITION: 1\nHINT: a condition is true or false as a whole",
        ),
    ] {
        let arguments = json!({"table": "users", "where": condition});
        let failure = caller.failed("count_rows", arguments).await;
        assert!(failure.contains(told), "{condition}: {failure}");
        assert!(!failure.contains("ARRAY["), "{condition}: {failure}");
    }
    let nowhere = json!({"table": "usres", "where": "id = 1"});
    let failure = caller.failed("count_rows", nowhere).await;
    let told = "ERROR: relation \"usres\" does not exist\nSQLSTATE: 42P01\nNEAREST: users";
    assert!(failure.starts_with(told), "{failure}");
}

#[tokio::test]
async fn a_condition_cannot_leave_its_place() {
    let caller = reader();
    for condition in [
        "true) UNION ALL (SELECT 1",
        "true) OR (true",
        "true); DELETE FROM users; --",
        "true] = ARRAY[true",
        "1, 2",
        "pg_notify('a', 'b') IS NULL",
        "",
    ] {
        let arguments = json!({"table": "users", "where": condition});
        // An empty condition is none.
        let called = caller.call("count_rows", arguments).await;
        assert_eq!(
            called.is_ok(),
            condition.is_empty(),
            "{condition}: {called:?}"
        );
    }
    let failure = caller
        .failed("count_rows", json!({"table": "users\" --"}))
        .await;
    assert!(failure.contains("does not exist"), "{failure}");
}

#[tokio::test]
async fn what_an_encoding_does_not_have_is_told_with_what_to_do() {
    for (query, code, hint) in [
        (
            "SELECT convert_from('\\xff', 'UTF8')",
            "22021",
            "these bytes are no text in UTF-8",
        ),
        (
            "SELECT convert_to('€', 'LATIN1')",
            "22P05",
            "an encoding does not have this character",
        ),
    ] {
        let failure = reader()
            .failed("query_database", json!({ "query": query }))
            .await;
        for part in [format!("SQLSTATE: {code}"), format!("HINT: {hint}")] {
            assert!(failure.contains(&part), "{query}: {failure}");
        }
    }
}

#[tokio::test]
async fn an_estimate_without_statistics_is_told_to_be_a_guess() {
    let admin = superuser(cluster()).await;
    let sql = "CREATE TABLE shop.unheard (id int) PARTITION BY LIST (id);
        CREATE TABLE shop.\"Unheard 1\" PARTITION OF shop.unheard FOR VALUES IN (1) WITH (autovacuum_enabled = off);
        CREATE TABLE shop.unheard_2 PARTITION OF shop.unheard FOR VALUES IN (2) WITH (autovacuum_enabled = off);
        GRANT SELECT ON shop.unheard TO shop_reader";
    admin.batch_execute(sql).await.unwrap();
    let caller = reader();
    let given = json!({"table": "unheard", "estimate": true});
    let (texts, structured) = caller.done("count_rows", given.clone()).await;
    let both = json!(["shop.\"Unheard 1\"", "shop.unheard_2"]);
    assert_eq!(structured["unmeasured"], both);
    let text = texts.join("\n");
    assert!(text.contains("a guess with nothing behind it"), "{text}");
    assert!(
        text.contains("shop.\"Unheard 1\", shop.unheard_2"),
        "{text}"
    );

    admin.batch_execute("ANALYZE shop.unheard").await.unwrap();
    let (texts, structured) = caller.done("count_rows", given).await;
    assert_eq!(structured["unmeasured"], json!([]));
    assert!(!texts.join("\n").contains("guess"), "{texts:?}");
    admin
        .batch_execute("DROP TABLE shop.unheard")
        .await
        .unwrap();
}

#[tokio::test]
async fn the_schema_is_shown_with_all_its_parts() {
    let caller = reader();
    let (texts, structured) = caller
        .done("get_schema_info", json!({"table_name": "order_items"}))
        .await;
    let table = &structured["tables"][0];
    assert_eq!(
        (table["schema"].as_str(), table["kind"].as_str()),
        (Some("shop"), Some("table"))
    );
    assert_eq!(table["columns"][0]["name"], "order_id");
    let kinds: Vec<_> = table["constraints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["kind"].as_str().unwrap())
        .collect();
    assert!(
        kinds.contains(&"primary key") && kinds.contains(&"foreign key"),
        "{kinds:?}"
    );
    assert!(
        texts[0].contains("foreign key (product_id) -> shop.products(id)"),
        "{}",
        texts[0]
    );

    let (texts, structured) = caller
        .done("get_schema_info", json!({"table_name": "orders"}))
        .await;
    let status = structured["tables"][0]["columns"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["name"] == "status");
    assert_eq!(status.unwrap()["labels"][0], "placed");
    assert!(texts[0].contains("{placed, paid"), "{}", texts[0]);
}

#[tokio::test]
async fn the_schema_can_be_searched_shortened_and_is_never_stale() {
    let caller = reader();
    let names = |structured: &Value| -> Vec<String> {
        let tables = structured["tables"].as_array().unwrap();
        tables
            .iter()
            .map(|table| table["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let (_, structured) = caller
        .done("get_schema_info", json!({"search": "WAREHOUSE"}))
        .await;
    assert_eq!(names(&structured), ["stock"]);
    let (texts, _) = caller
        .done(
            "get_schema_info",
            json!({"table_name": "stock", "compact": true}),
        )
        .await;
    assert_eq!(
        texts[0],
        "shop.stock(product_id integer, warehouse text, quantity integer)"
    );
    let failure = caller
        .failed("get_schema_info", json!({"table_name": "fresh"}))
        .await;
    assert!(failure.contains("no table"), "{failure}");

    let owner = superuser(cluster()).await;
    owner
        .batch_execute(
            "CREATE SCHEMA fresh; CREATE TABLE fresh.fresh (id int GENERATED ALWAYS AS IDENTITY, \
             twice int GENERATED ALWAYS AS (3 * 2) STORED, hidden int, CHECK (hidden > 0), UNIQUE (id, twice)); \
             CREATE INDEX fresh_hidden ON fresh.fresh (id) WHERE hidden > 7; \
             CREATE TABLE fresh.secret (a int); \
             CREATE TABLE fresh.parts (a int) PARTITION BY LIST (a); \
             CREATE TABLE fresh.part_1 PARTITION OF fresh.parts FOR VALUES IN (1); \
             GRANT USAGE ON SCHEMA fresh TO shop_reader; GRANT SELECT (id, twice) ON fresh.fresh TO shop_reader; \
             GRANT SELECT ON fresh.parts, fresh.part_1 TO shop_reader",
        )
        .await
        .unwrap();
    let (texts, structured) = caller
        .done("get_schema_info", json!({"schema_name": "fresh"}))
        .await;
    assert_eq!(
        names(&structured),
        ["fresh", "parts"],
        "what may not be read is not shown, partitions are folded"
    );
    assert_eq!(
        structured["tables"][0]["columns"].as_array().unwrap().len(),
        2
    );
    assert_eq!(structured["tables"][1]["partitions"], 1);
    for part in [
        "identity always",
        "generated as (3 * 2)",
        "unique (id, twice)",
        "1 partitions",
    ] {
        assert!(texts[0].contains(part), "no {part} in {}", texts[0]);
    }
    assert!(!texts[0].contains("hidden"), "{}", texts[0]);
    owner
        .batch_execute("DROP SCHEMA fresh CASCADE")
        .await
        .unwrap();
}

#[tokio::test]
async fn many_tables_are_only_listed() {
    let caller = Caller::new(cluster().superuser());
    let owner = superuser(cluster()).await;
    let tables: String = (0..12)
        .map(|n| format!("CREATE TABLE many.t{n:02} (a int);"))
        .collect();
    owner
        .batch_execute(&format!("CREATE SCHEMA many; {tables}"))
        .await
        .unwrap();
    let (texts, structured) = caller.done("get_schema_info", json!({})).await;
    assert_eq!(structured["summary"], true);
    assert!(structured["tables"][0].get("columns").is_none());
    assert!(
        texts[1].contains("call again with table_name, schema_name (")
            && texts[1].contains("many: 12"),
        "{}",
        texts[1]
    );
    let (_, structured) = caller
        .done("get_schema_info", json!({"schema_name": "many"}))
        .await;
    assert_eq!(
        (
            &structured["summary"],
            structured["tables"].as_array().unwrap().len()
        ),
        (&json!(false), 12)
    );
    owner
        .batch_execute("DROP SCHEMA many CASCADE")
        .await
        .unwrap();
}

#[tokio::test]
async fn the_database_is_listed_with_its_state() {
    let (_, structured) = reader().done("list_databases", json!({})).await;
    let database = &structured["databases"][0];
    assert_eq!(
        (&database["name"], &database["reachable"]),
        (&json!("shop"), &json!(true))
    );
}

#[tokio::test]
async fn wrong_arguments_are_named() {
    let caller = reader();
    for (tool, arguments, part) in [
        ("query_database", json!({}), "query is missing"),
        (
            "query_database",
            json!({"query": 1}),
            "query must be a text",
        ),
        (
            "query_database",
            json!({"query": "SELECT 1", "limit": 0}),
            "limit must be a whole number from 1 to 1000",
        ),
        (
            "query_database",
            json!({"query": "SELECT 1", "offset": -1}),
            "offset must be",
        ),
        (
            "count_rows",
            json!({"table": "users", "estimate": "perhaps"}),
            "estimate must be true or false",
        ),
        (
            "execute_explain",
            json!({"query": "SELECT 1", "format": "xml"}),
            "format must be one of text, json",
        ),
        (
            "get_schema_info",
            json!({"schema": "shop"}),
            "unknown argument \"schema\"",
        ),
        ("list_databases", json!({"a": 1}), "unknown argument"),
    ] {
        let failure = caller.failed(tool, arguments.clone()).await;
        assert!(failure.contains(part), "{tool} {arguments}: {failure}");
    }
}

/// Calls `see` on a schema and on all schemas in it.
fn each_schema(schema: &Value, see: &mut impl FnMut(&Value)) {
    see(schema);
    let properties = schema.get("properties").and_then(Value::as_object);
    for inner in properties
        .into_iter()
        .flat_map(|map| map.values())
        .chain(schema.get("items"))
    {
        each_schema(inner, see);
    }
}

#[test]
fn input_schemas_use_only_what_is_checked() {
    for shelved in Shelf::new(everything()).unwrap().all() {
        let definition = shelved.tool.definition();
        let schema: Value = serde_json::from_str(definition.input_schema).unwrap();
        assert_eq!(schema["additionalProperties"], false, "{}", definition.name);
        each_schema(&schema, &mut |schema| {
            for keyword in schema.as_object().unwrap().keys() {
                assert!(
                    crate::schema::KEYWORDS.contains(&&**keyword),
                    "{}: {keyword}",
                    definition.name
                );
            }
        });
    }
}

#[tokio::test]
async fn results_keep_their_promise_however_odd_the_values() {
    let caller = reader();
    for (query, limit, rows) in [
        ("SELECT 1 AS a WHERE false", 5, json!([])),
        (
            "SELECT NULL::int, NULL::text, NULL::float8, NULL::bool",
            5,
            json!([[null, null, null, null]]),
        ),
        (
            "SELECT 'NaN'::float8, 'Infinity'::float4, '-Infinity'::float8, 'NaN'::numeric",
            5,
            json!([["NaN", "Infinity", "-Infinity", "NaN"]]),
        ),
        (
            "SELECT 9007199254740991, 9007199254740992, -9223372036854775808",
            5,
            json!([[
                9_007_199_254_740_991_i64,
                "9007199254740992",
                "-9223372036854775808"
            ]]),
        ),
        (
            "SELECT g FROM generate_series(1, 9) g ORDER BY g",
            2,
            json!([[1], [2]]),
        ),
        (
            "SELECT g FROM generate_series(1, 9) g",
            2,
            json!([[1], [2]]),
        ),
        ("SELECT FROM generate_series(1, 2)", 5, json!([[], []])),
        (
            "SELECT '{\"a\": 1}'::json, ARRAY[1, NULL], '\\x00'::bytea",
            5,
            json!([["{\"a\": 1}", "{1,NULL}", "\\x00"]]),
        ),
    ] {
        let (_, structured) = caller
            .done("query_database", json!({"query": query, "limit": limit}))
            .await;
        assert_eq!(structured["rows"], rows, "{query}");
        let explained = json!({"query": query, "format": "json"});
        caller.done("execute_explain", explained).await;
    }
    caller
        .done("count_rows", json!({"table": "users", "where": "false"}))
        .await;
    caller
        .done(
            "count_rows",
            json!({"table": "users", "where": "false", "estimate": true}),
        )
        .await;
    caller.done("get_schema_info", json!({})).await;
    caller
        .done(
            "get_schema_info",
            json!({"compact": true, "search": "order"}),
        )
        .await;
}

#[tokio::test]
async fn the_page_on_adding_a_tool_can_be_followed() {
    let page = include_str!("../../../../docs/adding-a-tool.md");
    let file = include_str!("example.rs");
    assert!(
        page.contains(&format!("```rust\n{file}```\n")),
        "the page shows another file"
    );
    let names = |settings| -> Vec<String> {
        let shelf = Shelf::new(settings).unwrap();
        shelf
            .all()
            .iter()
            .map(|shelved| shelved.tool.definition().name.to_owned())
            .collect()
    };
    let name = "largest_tables".to_owned();
    assert!(
        !names(Settings::default()).contains(&name),
        "it has to be switched on"
    );
    assert!(names(everything()).contains(&name));

    let caller = reader();
    let (texts, structured) = caller.done("largest_tables", json!({"limit": 3})).await;
    assert_eq!(structured["tables"][0]["name"], "page_views");
    assert_eq!(texts[0].lines().count(), 3);
    let failure = caller.failed("largest_tables", json!({"limit": 0})).await;
    assert!(
        failure.contains("limit must be a whole number from 1 to 100"),
        "{failure}"
    );
}

#[tokio::test]
async fn an_agent_sees_and_calls_only_what_its_policy_allows() {
    let mut caller = reader();
    let policy = crate::Policy {
        tools: Some(["count_rows".to_owned(), "largest_tables".to_owned()].into()),
        ..crate::Policy::default()
    };
    caller.agent = caller.agent.clone().with_policy(policy);
    let seen: Vec<_> = caller
        .shelf
        .of(&caller.agent, &[])
        .iter()
        .map(|shelved| shelved.tool.definition().name.to_owned())
        .collect();
    assert_eq!(seen, ["count_rows", "largest_tables"]);
    assert!(caller.shelf.find(&caller.agent, "query_database").is_none());
}

#[tokio::test]
async fn a_question_is_about_the_agents_schemas_only() {
    let mut caller = reader();
    let question = json!({"query": "how many users are there"});
    caller.done("query_database", question.clone()).await;
    let policy = crate::Policy {
        schemas: Some(["public".to_owned()].into()),
        ..crate::Policy::default()
    };
    caller.agent = caller.agent.clone().with_policy(policy);
    let failure = caller.failed("query_database", question).await;
    assert!(
        failure.contains("this token may read no tables"),
        "{failure}"
    );
}

#[tokio::test]
async fn only_databases_that_the_agent_may_use_can_be_named() {
    let mut caller = reader();
    let arguments = |database: &str| json!({"query": "SELECT 1", "database": database});
    caller.done("query_database", arguments("shop")).await;
    let failure = caller.failed("query_database", arguments("hr")).await;
    assert!(
        failure.contains("may not use a database \"hr\"; it may use shop"),
        "{failure}"
    );
    // This one is configured nowhere, so that it cannot be reached.
    caller.agent = caller.agent.clone().with_databases(["shop", "hr"]);
    let failure = caller.failed("query_database", arguments("hr")).await;
    assert!(
        failure.contains("no database named \"hr\" is configured"),
        "{failure}"
    );
    let (_, structured) = caller.done("list_databases", json!({})).await;
    let states: Vec<_> = structured["databases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            (
                one["name"].as_str().unwrap(),
                &one["current"],
                &one["reachable"],
            )
        })
        .collect();
    assert_eq!(
        states,
        [
            ("shop", &json!(true), &json!(true)),
            ("hr", &json!(false), &json!(false))
        ]
    );
}
