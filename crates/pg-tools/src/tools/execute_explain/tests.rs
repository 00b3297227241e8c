//! Plans with indexes that are not there, by hypopg on a real PostgreSQL.

use serde_json::{Value, json};

use crate::{
    Settings,
    bench::{cluster, imagining_cluster, superuser},
    tools::trial::Trial,
};

const SLOW: &str = "SELECT count(*) FROM page_views v WHERE path = '/product/7'";

async fn trial() -> Trial {
    Trial::new(
        imagining_cluster().await,
        "shop_reader",
        Settings::default(),
    )
}

fn with(query: &str, indexes: Value) -> Value {
    json!({"query": query, "hypothetical_indexes": indexes})
}

#[tokio::test]
async fn a_query_is_planned_as_if_indexes_were_there() {
    let trial = trial().await;
    for method in ["btree", "hash"] {
        let indexes = json!([
            {"table": "page_views", "columns": ["path"], "using": method},
            {"table": "shop.page_views", "columns": ["id", "path"]},
        ]);
        let (text, structured) = trial.done("execute_explain", with(SLOW, indexes)).await;
        let found = &structured["hypothetical"];
        let (cost, without) = (&found["cost"], &found["cost_without"]);
        assert!(cost.as_f64() < without.as_f64(), "{text}");
        assert_eq!(*cost, structured["plan"]["Plan"]["Total Cost"], "{text}");
        let statement =
            format!("CREATE INDEX ON \"shop\".\"page_views\" USING {method} (\"path\")");
        assert_eq!(found["indexes"][0]["statement"], statement, "{text}");
        assert_eq!(found["indexes"][0]["used"], true, "{text}");
        assert_eq!(found["indexes"][1]["used"], false, "{text}");
        assert!(
            text.contains(&format!("- {statement}: used, about")),
            "{text}"
        );
    }
    let left = json!({"query": "SELECT count(*) FROM imagined.hypopg_list_indexes"});
    let (text, _) = trial.done("query_database", left).await;
    assert!(text.contains("\n0"), "{text}");
    let (_, structured) = trial
        .done("execute_explain", json!({"query": SLOW, "analyze": false}))
        .await;
    assert!(structured.get("hypothetical").is_none());
}

#[tokio::test]
async fn the_partitioned_table_of_which_a_query_reads_partitions_may_have_one() {
    let admin = superuser(imagining_cluster().await).await;
    let sql = "CREATE SCHEMA shares; GRANT USAGE ON SCHEMA shares TO shop_reader;
        CREATE TABLE shares.parts (id int, place int) PARTITION BY HASH (id);
        CREATE TABLE shares.parts_0 PARTITION OF shares.parts FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        CREATE TABLE shares.parts_1 PARTITION OF shares.parts FOR VALUES WITH (MODULUS 2, REMAINDER 1);
        INSERT INTO shares.parts SELECT i, i FROM generate_series(1, 20000) i; ANALYZE shares.parts;
        GRANT SELECT ON ALL TABLES IN SCHEMA shares TO shop_reader";
    admin.batch_execute(sql).await.unwrap();
    let trial = trial().await;
    let query = "SELECT * FROM shares.parts WHERE place = 7";
    let given = with(
        query,
        json!([{"table": "shares.parts", "columns": ["place"]}]),
    );
    let (text, structured) = trial.done("execute_explain", given).await;
    assert_eq!(
        structured["hypothetical"]["indexes"][0]["used"], true,
        "{text}"
    );
}

#[tokio::test]
async fn what_cannot_be_imagined_is_told() {
    let trial = trial().await;
    let joined = "SELECT count(*) FROM users u JOIN orders o ON o.user_id = u.id";
    let columns = |columns: Value| with(SLOW, json!([{"table": "page_views", "columns": columns}]));
    let mut measured = columns(json!(["path"]));
    measured["analyze"] = true.into();
    for (given, told) in [
        (
            with(joined, json!([{"table": "products", "columns": ["id"]}])),
            "\"products\" must be one of the tables that the query reads: shop.orders, shop.users",
        ),
        (columns(json!(["nowhere"])), "nowhere"),
        (
            columns(json!([])),
            "columns must be a list from 1 to 32 items",
        ),
        (columns(json!(["path\") WHERE (true"])), "path"),
        (
            with(
                SLOW,
                json!([{"table": "page_views", "columns": ["path"], "using": "gin"}]),
            ),
            "using must be",
        ),
        (with(SLOW, json!(["page_views"])), "an object"),
        (with(SLOW, json!(vec![0; 11])), "at most 10 items"),
        (measured, "leave analyze out"),
    ] {
        let failure = trial.failed("execute_explain", given.clone()).await;
        assert!(failure.contains(told), "{given}: {failure}");
    }
    let bare = Trial::new(cluster(), "shop_reader", Settings::default());
    let failure = bare
        .failed("execute_explain", columns(json!(["path"])))
        .await;
    assert!(failure.contains("CREATE EXTENSION hypopg"), "{failure}");
}
