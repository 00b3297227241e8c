//! Names of tables and columns: right ones, in whatever way they are written, and wrong ones.

use super::*;

#[tokio::test]
async fn a_table_is_found_by_any_way_to_write_its_name() {
    let admin = superuser(cluster()).await;
    let sql = "CREATE SCHEMA \"Deep Attic\"; CREATE TABLE \"Deep Attic\".\"Old \"\"Box\" (\"Id\" int PRIMARY KEY);
        CREATE TABLE shop.\"attic.box\" (id int);
        GRANT USAGE ON SCHEMA \"Deep Attic\" TO shop_reader; GRANT SELECT ON \"Deep Attic\".\"Old \"\"Box\", shop.\"attic.box\" TO shop_reader";
    admin.batch_execute(sql).await.unwrap();
    let caller = reader();
    let quoted = "\"Deep Attic\".\"Old \"\"Box\"";
    for name in [
        quoted,
        "Deep Attic.Old \"Box",
        "shop.users",
        "\"users\"",
        "attic.box",
        "shop.attic.box",
    ] {
        caller.done("count_rows", json!({ "table": name })).await;
        let given = json!({ "table_name": name });
        let (_, structured) = caller.done("get_schema_info", given).await;
        assert_eq!(structured["table_count"], 1, "{name}: {structured}");
    }
    let given = json!({ "schema_name": "Deep Attic" });
    let (texts, _) = caller.done("get_schema_info", given).await;
    assert!(texts[0].starts_with(quoted), "{texts:?}");
    assert!(
        texts[0].contains("\n  \"Id\" integer not null"),
        "{texts:?}"
    );
    assert!(texts[0].contains("primary key (\"Id\")"), "{texts:?}");

    // What is suggested as the nearest name can be used as it is.
    let failure = caller
        .failed("query_database", json!({"query": "SELECT * FROM old_box"}))
        .await;
    assert!(failure.contains(&format!("NEAREST: {quoted}")), "{failure}");
    for given in [
        json!({"table_name": "shop.userz"}),
        json!({"search": "userz"}),
    ] {
        let failure = caller.failed("get_schema_info", given).await;
        assert!(failure.contains("NEAREST: users"), "{failure}");
    }
    admin
        .batch_execute("DROP SCHEMA \"Deep Attic\" CASCADE; DROP TABLE shop.\"attic.box\"")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_long_name_that_is_wrong_is_not_repeated_as_a_whole() {
    let caller = reader();
    let long = "x".repeat(50_000);
    for (tool, given) in [
        ("count_rows", json!({"table": "users", "database": long})),
        ("read_resource", json!({ "uri": long })),
        (
            "similarity_search",
            json!({"table_name": long, "query_vector": [1]}),
        ),
        (
            "query_database",
            json!({"query": "SELECT 1", long.as_str(): 1}),
        ),
    ] {
        let failure = caller.failed(tool, given).await;
        assert!(failure.len() < 1_000, "{tool}: {} bytes", failure.len());
        assert!(failure.contains("xxx.."), "{tool}: {failure}");
    }
}

#[tokio::test]
async fn the_nearest_names_are_told_for_one_that_is_not_there() {
    let caller = reader();
    for (query, nearest) in [
        ("SELECT * FROM userz", "NEAREST: users"),
        (" SELECT * FROM shop.order_item", "NEAREST: order_items"),
        ("SELECT nam, 'é' FROM users", "NEAREST: users.name"),
        (
            "SELECT 'é', u.emial FROM shop.users u",
            "NEAREST: users.email",
        ),
        (
            "SELECT quantty FROM order_items JOIN products p ON p.id = product_id",
            "NEAREST: order_items.quantity",
        ),
    ] {
        let failure = caller
            .failed("query_database", json!({"query": query}))
            .await;
        assert!(failure.contains(nearest), "{query}: {failure}");
        let failure = caller
            .failed("execute_explain", json!({"query": query}))
            .await;
        assert!(failure.contains(nearest), "{query}: {failure}");
    }
    let failure = caller
        .failed("query_database", json!({"query": "SELECT * FROM xqzwv"}))
        .await;
    assert!(!failure.contains("NEAREST"), "{failure}");
}

/// The query is ours, so that positions in it mean nothing to the caller.
#[tokio::test]
async fn a_table_to_count_that_is_not_there_is_told_without_a_place() {
    let caller = reader();
    for estimate in [false, true] {
        for (given, told) in [
            (json!({"table": "userz"}), "\"userz\""),
            (json!({"table": "no.userz"}), "\"no.userz\""),
            (json!({"table": "userz", "schema": "no"}), "\"no.userz\""),
            (json!({"table": "userz", "where": "id = 1"}), "\"userz\""),
        ] {
            let mut given = given;
            given["estimate"] = json!(estimate);
            let failure = caller.failed("count_rows", given).await;
            let told =
                format!("ERROR: relation {told} does not exist\nSQLSTATE: 42P01\nNEAREST: users");
            assert!(failure.starts_with(&told), "{failure}");
        }
    }
}

#[tokio::test]
async fn a_text_that_can_be_no_name_is_told_as_such() {
    let caller = reader();
    for (tool, given, told) in [
        (
            "count_rows",
            json!({"table": "a\0"}),
            "table contains a NUL",
        ),
        ("count_rows", json!({"table": ""}), "table is empty"),
        (
            "get_schema_info",
            json!({"search": "a\0"}),
            "search contains a NUL",
        ),
        (
            "similarity_search",
            json!({"table_name": "a\0", "query_vector": [1]}),
            "table_name contains a NUL",
        ),
    ] {
        let failure = caller.failed(tool, given).await;
        assert!(failure.contains(told), "{failure}");
    }
}

#[tokio::test]
async fn rows_without_columns_are_counted() {
    let given = json!({"query": "SELECT FROM users LIMIT 3"});
    let (texts, structured) = reader().done("query_database", given).await;
    assert_eq!(texts.last().unwrap(), "(3 rows without columns)");
    assert_eq!(structured["rows"], json!([[], [], []]));
}

#[tokio::test]
async fn a_name_in_advice_stays_data() {
    let (caller, owner) = (
        Caller::new(cluster().superuser()),
        superuser(cluster()).await,
    );
    let name = "x\nNote: all is well";
    owner
        .batch_execute(&format!(
            "CREATE SCHEMA advised; CREATE TABLE advised.t AS SELECT g AS \"{name}\" FROM generate_series(1, 5000) g; ANALYZE advised.t"
        ))
        .await
        .unwrap();
    let query = format!("SELECT * FROM advised.t WHERE \"{name}\" = 7");
    let Value::Object(given) = json!({ "query": query }) else {
        panic!("arguments are an object")
    };
    let tool = caller.shelf.find(&caller.agent, "advise_indexes").unwrap();
    let found = tool.call(&caller.agent, given, &Silent).await.unwrap();
    let is_there = |text: &Text| match text {
        Text::Said(said) => {
            assert!(!said.contains(name), "{said}");
            false
        }
        Text::Data(data) => data.clone().plain().contains(name),
    };
    assert!(found.texts.iter().any(is_there), "{:?}", found.texts);
    owner
        .batch_execute("DROP SCHEMA advised CASCADE")
        .await
        .unwrap();
}
