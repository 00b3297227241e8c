//! Advice on a real PostgreSQL, with hypopg and without it.

use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::{
    Policy, Role, Settings,
    bench::{cluster, counting_cluster, superuser},
    tools::trial::Trial,
};

const SLOW: &str = "SELECT count(*) FROM page_views WHERE path = '/product/7'";

fn trial(cluster: &private_postgres::Cluster) -> Trial {
    let settings = Settings {
        enabled: vec!["advise_indexes".into()],
        ..Settings::default()
    };
    Trial::new(cluster, "shop_reader", settings)
}

/// Returns a server with hypopg, which the set-up of the tests installs; without it they fail.
async fn imaginative() -> &'static private_postgres::Cluster {
    static MADE: OnceCell<()> = OnceCell::const_new();
    MADE.get_or_init(|| async {
        let admin = superuser(counting_cluster()).await;
        let sql = "CREATE SCHEMA imagined; CREATE EXTENSION hypopg SCHEMA imagined; GRANT USAGE ON SCHEMA imagined TO shop_reader; GRANT SELECT ON imagined.hypopg_list_indexes TO shop_reader";
        let made = admin.batch_execute(sql).await;
        made.unwrap_or_else(|error| {
            panic!("PostgreSQL has no hypopg ({error:?}); `./run test` installs it, and so does: apt-get install postgresql-15-hypopg")
        });
    })
    .await;
    counting_cluster()
}

#[tokio::test]
async fn an_unusual_order_gets_an_index_only_where_it_can_be_tried() {
    for (order, tried, guessed) in [
        ("viewed_at DESC", r#""viewed_at""#, Some(r#""viewed_at""#)),
        (
            "viewed_at DESC NULLS LAST",
            r#""viewed_at" DESC NULLS LAST"#,
            None,
        ),
        ("lower(path)", "(lower(path))", None),
        (
            "viewed_at, path DESC",
            r#""viewed_at", "path" DESC"#,
            Some(r#""viewed_at""#),
        ),
    ] {
        for (cluster, keys) in [(imaginative().await, Some(tried)), (cluster(), guessed)] {
            let query = format!("SELECT * FROM page_views ORDER BY {order} LIMIT 5");
            let given = json!({ "query": query });
            let (text, structured) = trial(cluster).done("advise_indexes", given).await;
            let expected = keys.map(|keys| {
                format!("CREATE INDEX CONCURRENTLY ON \"shop\".\"page_views\" ({keys})")
            });
            let first = structured["advice"][0]["statement"].as_str();
            assert_eq!(first, expected.as_deref(), "{order}: {text}");
            let is_told = text.contains("ORDER BY x DESC NULLS LAST");
            assert_eq!(is_told, keys.is_none(), "{order}: {text}");
        }
    }
}

#[tokio::test]
async fn the_largest_and_smallest_value_get_an_index_whose_ends_they_are() {
    let of_user = "SELECT max(viewed_at) FROM page_views WHERE user_id = 7";
    for (cluster, of_user_advised) in [
        (imaginative().await, r#""user_id", "viewed_at""#),
        // One user has few rows, so that either is as good a guess.
        (cluster(), r#""user_id""#),
    ] {
        let trial = trial(cluster);
        for (query, columns) in [
            (
                "SELECT max(viewed_at) FROM page_views",
                Some(r#""viewed_at""#),
            ),
            (
                "SELECT min(viewed_at), max(viewed_at) FROM page_views",
                Some(r#""viewed_at""#),
            ),
            (of_user, Some(of_user_advised)),
            ("SELECT max(viewed_at), count(*) FROM page_views", None),
            ("SELECT max(viewed_at), max(path) FROM page_views", None),
        ] {
            let given = json!({ "query": query });
            let (text, structured) = trial.done("advise_indexes", given).await;
            let expected = columns.map(|columns| {
                format!("CREATE INDEX CONCURRENTLY ON \"shop\".\"page_views\" ({columns})")
            });
            let advice = structured["advice"].as_array().unwrap();
            let advised = advice.iter().map(|one| one["statement"].as_str().unwrap());
            let advised: Vec<&str> = advised.collect();
            assert_eq!(
                advised,
                Vec::from_iter(expected.as_deref()),
                "{query}: {text}"
            );
        }
    }
}

#[tokio::test]
async fn an_expression_gets_an_index_if_postgresql_accepts_it_in_one() {
    let of_path = r#"CREATE INDEX CONCURRENTLY ON "shop"."page_views" ((lower(path)))"#;
    let of_user = r#"CREATE INDEX CONCURRENTLY ON "shop"."page_views" ("user_id")"#;
    let with_user = r#"CREATE INDEX CONCURRENTLY ON "shop"."page_views" ("user_id", ("substring"(path, 2, 9)))"#;
    for (condition, tried, guessed) in [
        ("lower(path) = '/product/7'", Some(of_path), None),
        (
            "user_id = 7 AND substring(path, 2, 9) = 'product/7'",
            Some(with_user),
            Some(of_user),
        ),
        // Only stable: it depends on the time zone.
        ("viewed_at::date = '2024-03-01'", None, None),
        (
            "user_id = 7 AND viewed_at::date = '2024-03-01'",
            Some(of_user),
            Some(of_user),
        ),
    ] {
        for (cluster, expected) in [(imaginative().await, tried), (cluster(), guessed)] {
            let given = json!({ "query": format!("SELECT * FROM page_views WHERE {condition}") });
            let (text, structured) = trial(cluster).done("advise_indexes", given).await;
            let first = structured["advice"][0]["statement"].as_str();
            assert_eq!(first, expected, "{condition}: {text}");
        }
    }
}

#[tokio::test]
async fn an_index_is_tried_without_being_built() {
    let trial = trial(imaginative().await);
    let (text, structured) = trial.done("advise_indexes", json!({"query": SLOW})).await;
    assert_eq!(structured["method"], "hypopg");
    let first = &structured["advice"][0];
    let statement = "CREATE INDEX CONCURRENTLY ON \"shop\".\"page_views\" (\"path\")";
    assert_eq!(first["statement"], statement, "{text}");
    let (now, after) = (
        structured["cost"].as_f64().unwrap(),
        first["cost_after"].as_f64().unwrap(),
    );
    assert!(after < now / 2.0, "{text}");
    assert!(first["size_bytes"].as_i64().unwrap() > 100_000, "{text}");
    assert_eq!(structured["advice"].as_array().unwrap().len(), 1, "{text}");

    // What was promised comes true when the index is built.
    let admin = superuser(counting_cluster()).await;
    admin
        .batch_execute(
            "BEGIN; CREATE INDEX promised ON shop.page_views (path); ANALYZE shop.page_views",
        )
        .await
        .unwrap();
    let plan = admin
        .query(
            &format!("EXPLAIN {}", SLOW.replace("page_views", "shop.page_views")),
            &[],
        )
        .await
        .unwrap();
    let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    admin.batch_execute("ROLLBACK").await.unwrap();
    let real = plan[0]
        .split("..")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .unwrap();
    let real: f64 = real.parse().unwrap();
    assert!(
        (after / real).max(real / after) < 1.5,
        "{after} was promised, {real} came: {plan:?}"
    );
}

#[tokio::test]
async fn a_join_gets_the_index_that_helps_it() {
    let trial = trial(imaginative().await);
    let query = "SELECT o.id FROM users u JOIN orders o ON o.user_id = u.id WHERE u.email = (SELECT email FROM users WHERE id = 7)";
    let (text, structured) = trial
        .done("advise_indexes", json!({ "query": query }))
        .await;
    assert_eq!(
        structured["advice"][0]["statement"],
        "CREATE INDEX CONCURRENTLY ON \"shop\".\"orders\" (\"user_id\")",
        "{text}"
    );
    for query in [
        "SELECT * FROM users WHERE id = 7",
        "SELECT 1",
        "SELECT count(*) FROM page_views",
    ] {
        let (text, structured) = trial
            .done("advise_indexes", json!({ "query": query }))
            .await;
        assert_eq!(structured["advice"], json!([]), "{query}: {text}");
    }
}

const EITHER: &str = "SELECT * FROM page_views WHERE path = '/product/7' OR user_id = 7";

#[tokio::test]
async fn an_or_gets_an_index_for_each_of_its_sides_or_none() {
    let each = ["path", "user_id"]
        .map(|name| format!("CREATE INDEX CONCURRENTLY ON \"shop\".\"page_views\" (\"{name}\")"));
    for cluster in [imaginative().await, cluster()] {
        let trial = trial(cluster);
        let given = json!({ "query": EITHER });
        let (text, structured) = trial.done("advise_indexes", given).await;
        let advice = structured["advice"].as_array().unwrap();
        assert_eq!(advice.len(), 2, "{text}");
        for (index, other) in [(0, 1), (1, 0)] {
            assert_eq!(advice[index]["statement"], each[index], "{text}");
            assert_eq!(
                advice[index]["together_with"],
                json!([each[other]]),
                "{text}"
            );
        }
        assert!(text.contains("none helps alone"), "{text}");
        // No index serves a pattern that may begin with anything, nor columns that are compared to each other.
        for query in [
            "SELECT * FROM page_views WHERE user_id = 7 OR path LIKE '%x'",
            "SELECT * FROM page_views WHERE user_id = id",
        ] {
            let given = json!({ "query": query });
            let (text, structured) = trial.done("advise_indexes", given).await;
            assert_eq!(structured["advice"], json!([]), "{query}: {text}");
        }
    }
}

/// A table of 20 partitions, each of which is a twentieth of the cost of a query on it.
const EVENTS: &str = "CREATE SCHEMA events; GRANT USAGE ON SCHEMA events TO shop_reader; \
    CREATE TABLE events.event (id int, day int, who int, what text) PARTITION BY RANGE (day); \
    SELECT pg_catalog.format('CREATE TABLE events.event_%s PARTITION OF events.event FOR VALUES FROM (%s) TO (%s)', n, n, n + 1) \
      FROM pg_catalog.generate_series(0, 19) n";

async fn add_events(cluster: &private_postgres::Cluster) {
    let admin = superuser(cluster).await;
    let (table, partitions) = EVENTS.rsplit_once("; ").unwrap();
    admin.batch_execute(table).await.unwrap();
    for row in admin.query(partitions, &[]).await.unwrap() {
        admin.batch_execute(row.get(0)).await.unwrap();
    }
    let fill = "INSERT INTO events.event SELECT n, n % 20, n % 5000, 'what ' || n FROM pg_catalog.generate_series(1, 40000) n; \
         ANALYZE events.event; GRANT SELECT ON ALL TABLES IN SCHEMA events TO shop_reader";
    admin.batch_execute(fill).await.unwrap();
}

#[tokio::test]
async fn a_partitioned_table_gets_one_index_and_not_one_for_each_partition() {
    let tried = imaginative().await;
    for cluster in [tried, cluster()] {
        add_events(cluster).await;
        let trial = trial(cluster);
        let statement = async |query: &str| {
            let given = json!({ "query": query });
            let (text, structured) = trial.done("advise_indexes", given).await;
            let advice = structured["advice"].as_array().unwrap().clone();
            assert!(advice.len() <= 1, "{query}: {text}");
            let waits = text.contains("Writes to a partitioned table wait");
            let first = advice.first().map(|first| first["statement"].clone());
            (first.unwrap_or_default(), waits)
        };
        for (query, index, is_partitioned) in [
            (
                "SELECT * FROM events.event WHERE who = 7",
                "CREATE INDEX ON \"events\".\"event\" (\"who\")",
                true,
            ),
            (
                "SELECT * FROM events.event_3 WHERE who = 7",
                "CREATE INDEX CONCURRENTLY ON \"events\".\"event_3\" (\"who\")",
                false,
            ),
        ] {
            assert_eq!(statement(query).await, (json!(index), is_partitioned));
        }
        let most = "SELECT * FROM events.event WHERE who > 7";
        assert_eq!(statement(most).await, (json!(null), false));
        if std::ptr::eq(cluster, tried) {
            let sorted = "SELECT * FROM events.event ORDER BY id LIMIT 5";
            let index = "CREATE INDEX ON \"events\".\"event\" (\"id\")";
            assert_eq!(statement(sorted).await, (json!(index), true));
        }
    }
}

#[tokio::test]
async fn a_name_that_is_not_there_is_told_with_the_nearest() {
    let trial = trial(cluster());
    let given = json!({ "query": "SELECT * FROM page_view WHERE id = 7" });
    let failure = trial.failed("advise_indexes", given).await;
    assert!(failure.contains("NEAREST: page_views"), "{failure}");
}

#[tokio::test]
async fn all_trials_together_have_the_time_of_one_statement() {
    let admin = superuser(imaginative().await).await;
    let slow = "CREATE FUNCTION imagined.slower() RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN \
         PERFORM pg_sleep(0.4); RETURN 'x'; END $$";
    admin.batch_execute(slow).await.unwrap();
    let limit = std::time::Duration::from_millis(1_200);
    let policy = Policy {
        statement_timeout: Some(limit),
        ..Policy::default()
    };
    let trial = trial(counting_cluster()).with_policy(policy);
    let query =
        "SELECT count(*) FROM page_views WHERE path = imagined.slower() AND user_id = 7 AND id > 5";
    let began = std::time::Instant::now();
    let outcome = trial
        .call("advise_indexes", json!({ "query": query }))
        .await;
    let took = began.elapsed();
    assert!(took < 2 * limit, "{took:?}: {outcome:?}");
    let failure = outcome.unwrap_err();
    assert!(
        failure.contains("the 1.2 s of the call were up"),
        "{failure}"
    );
}

#[tokio::test]
async fn no_time_for_a_trial_is_told_and_taken_for_no_answer() {
    let admin = superuser(imaginative().await).await;
    let slow = "CREATE FUNCTION imagined.slow() RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN \
         PERFORM pg_sleep(60) FROM imagined.hypopg_list_indexes; RETURN 'x'; END $$";
    admin.batch_execute(slow).await.unwrap();
    let policy = Policy {
        statement_timeout: Some(std::time::Duration::from_millis(500)),
        ..Policy::default()
    };
    let trial = trial(counting_cluster()).with_policy(policy);
    let query = "SELECT count(*) FROM page_views WHERE path = imagined.slow()";
    let told = trial
        .failed("advise_indexes", json!({"query": query}))
        .await;
    assert!(told.contains("57014"), "{told}");
}

#[tokio::test]
async fn nothing_imagined_is_left_behind() {
    let trial = trial(imaginative().await);
    trial.done("advise_indexes", json!({"query": SLOW})).await;
    // A failure between imagining and planning must leave nothing either.
    trial
        .failed(
            "advise_indexes",
            json!({"query": "SELECT 1 / 0 FROM nowhere"}),
        )
        .await;
    let left = json!({"query": "SELECT count(*) FROM imagined.hypopg_list_indexes"});
    let (text, _) = trial.done("query_database", left).await;
    assert!(text.contains("count\n0"), "{text}");
}

#[tokio::test]
async fn the_query_is_guarded_as_everywhere() {
    for cluster in [imaginative().await, cluster()] {
        let trial = trial(cluster);
        for query in [
            "DELETE FROM users",
            "SELECT 1; DROP TABLE users",
            "CREATE TABLE x AS SELECT 1",
            "SELECT pg_notify('a', 'b')",
            "WITH gone AS (DELETE FROM users RETURNING 1) SELECT * FROM gone",
            "EXPLAIN EXPLAIN SELECT 1",
            "EXPLAIN ANALYZE DELETE FROM users",
            "SELECT $1",
            "",
        ] {
            trial
                .failed("advise_indexes", json!({ "query": query }))
                .await;
        }
    }
    // Nor may a query imagine by itself.
    let trial = trial(imaginative().await);
    let own = json!({"query": "SELECT * FROM imagined.hypopg_create_index('CREATE INDEX ON shop.users (name)')"});
    let failure = trial.failed("query_database", own).await;
    assert!(failure.contains("hypopg_create_index"), "{failure}");
}

#[tokio::test]
async fn a_role_that_cannot_be_taken_is_told_as_with_any_other_tool() {
    let admin = superuser(cluster()).await;
    let sql = "CREATE ROLE never_granted; GRANT USAGE ON SCHEMA shop TO never_granted";
    admin.batch_execute(sql).await.unwrap();
    let policy = Policy {
        role: Role::Set("never_granted".into()),
        ..Policy::default()
    };
    let trial = trial(cluster()).with_policy(policy);
    let given = json!({"query": SLOW});
    for tool in ["query_database", "advise_indexes"] {
        let failure = trial.failed(tool, given.clone()).await;
        assert!(
            failure.contains("what the token's policy asks for"),
            "{tool}: {failure}"
        );
    }
}

#[tokio::test]
async fn without_hypopg_the_plan_is_read_and_that_is_said() {
    let trial = trial(cluster());
    let (text, structured) = trial.done("advise_indexes", json!({"query": SLOW})).await;
    assert_eq!(structured["method"], "plan");
    let expected = json!([{
        "statement": "CREATE INDEX CONCURRENTLY ON \"shop\".\"page_views\" (\"path\")",
        "cost_after": null, "saved_percent": null, "size_bytes": null, "together_with": [],
    }]);
    assert_eq!(structured["advice"], expected, "{text}");
    assert!(text.contains("hypopg is not installed"), "{text}");
    for query in [
        "SELECT * FROM users WHERE id = 7",
        "SELECT count(*) FROM page_views",
        "SELECT * FROM users WHERE name > ''",
    ] {
        let (text, structured) = trial
            .done("advise_indexes", json!({ "query": query }))
            .await;
        assert_eq!(structured["advice"], json!([]), "{query}: {text}");
        assert!(text.contains("an expression such as lower(name)"), "{text}");
    }
}

#[tokio::test]
async fn without_hypopg_the_first_rows_of_a_large_table_ask_for_an_index_in_their_order() {
    let trial = trial(cluster());
    for (query, expected) in [
        (
            "SELECT * FROM page_views ORDER BY path DESC LIMIT 10",
            Some("(\"path\")"),
        ),
        (
            "SELECT * FROM page_views WHERE user_id IS NULL ORDER BY path LIMIT 10",
            Some("(\"path\")"),
        ),
        ("SELECT * FROM page_views ORDER BY path", None),
        ("SELECT * FROM page_views ORDER BY path LIMIT 1000000", None),
        (
            "SELECT * FROM page_views ORDER BY lower(path) LIMIT 10",
            None,
        ),
        (
            "SELECT path, count(*) FROM page_views GROUP BY path ORDER BY count(*) LIMIT 2",
            None,
        ),
    ] {
        let given = json!({ "query": query });
        let (text, structured) = trial.done("advise_indexes", given).await;
        let advised = structured["advice"][0]["statement"].as_str();
        let columns =
            advised.and_then(|statement| statement.split(" ON \"shop\".\"page_views\" ").nth(1));
        assert_eq!(columns, expected, "{query}: {text}");
    }
}

fn with(query: &str, indexes: Value) -> Value {
    json!({"query": query, "indexes": indexes})
}

#[tokio::test]
async fn indexes_that_are_given_are_tried_together() {
    let trial = trial(imaginative().await);
    for method in ["btree", "hash"] {
        let indexes = json!([
            {"table": "page_views", "columns": ["path"], "using": method},
            {"table": "shop.page_views", "columns": ["id", "path"]},
        ]);
        let (text, structured) = trial.done("advise_indexes", with(SLOW, indexes)).await;
        let (first, second) = (&structured["advice"][0], &structured["advice"][1]);
        assert!(
            first["cost_after"].as_f64() < structured["cost"].as_f64(),
            "{text}"
        );
        let statement =
            format!("CREATE INDEX ON \"shop\".\"page_views\" USING {method} (\"path\")");
        assert_eq!(first["statement"], statement, "{text}");
        assert_eq!(
            (&first["used"], &second["used"]),
            (&json!(true), &json!(false)),
            "{text}"
        );
        assert_eq!(second["together_with"], json!([statement]), "{text}");
        assert!(
            text.contains(&format!("- {statement}: used, about")),
            "{text}"
        );
    }
    let left = json!({"query": "SELECT count(*) FROM imagined.hypopg_list_indexes"});
    let (text, _) = trial.done("query_database", left).await;
    assert!(text.contains("\n0"), "{text}");
}

#[tokio::test]
async fn the_partitioned_table_of_which_a_query_reads_partitions_may_be_given() {
    let cluster = imaginative().await;
    let sql = "CREATE SCHEMA shares; GRANT USAGE ON SCHEMA shares TO shop_reader;
        CREATE TABLE shares.parts (id int, place int) PARTITION BY HASH (id);
        CREATE TABLE shares.parts_0 PARTITION OF shares.parts FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        CREATE TABLE shares.parts_1 PARTITION OF shares.parts FOR VALUES WITH (MODULUS 2, REMAINDER 1);
        INSERT INTO shares.parts SELECT i, i FROM generate_series(1, 20000) i; ANALYZE shares.parts;
        GRANT SELECT ON ALL TABLES IN SCHEMA shares TO shop_reader";
    superuser(cluster).await.batch_execute(sql).await.unwrap();
    let query = "SELECT * FROM shares.parts WHERE place = 7";
    let given = with(
        query,
        json!([{"table": "shares.parts", "columns": ["place"]}]),
    );
    let (text, structured) = trial(cluster).done("advise_indexes", given).await;
    assert_eq!(structured["advice"][0]["used"], true, "{text}");
}

#[tokio::test]
async fn what_cannot_be_tried_is_told() {
    let trial_with = trial(imaginative().await);
    let joined = "SELECT count(*) FROM users u JOIN orders o ON o.user_id = u.id";
    let columns = |columns: Value| with(SLOW, json!([{"table": "page_views", "columns": columns}]));
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
    ] {
        let failure = trial_with.failed("advise_indexes", given.clone()).await;
        assert!(failure.contains(told), "{given}: {failure}");
    }
    let bare = trial(cluster());
    let failure = bare
        .failed("advise_indexes", columns(json!(["path"])))
        .await;
    assert!(failure.contains("CREATE EXTENSION hypopg"), "{failure}");
}
