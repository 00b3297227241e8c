//! Plans, and the findings about them.

use super::*;

#[tokio::test]
async fn an_explained_query_is_planned_measured_and_judged() {
    let caller = reader();
    let slow = json!({"query": "WITH v AS (SELECT * FROM page_views WHERE path = '/product/7') SELECT count(*) FROM v;"});
    let (texts, structured) = caller.done("execute_explain", slow).await;
    assert!(
        texts[0].contains("Seq Scan on shop.page_views"),
        "{}",
        texts[0]
    );
    assert!(texts[0].contains("Execution time"), "{}", texts[0]);
    let finding = structured["findings"][0]["finding"].as_str().unwrap();
    assert!(
        finding.contains("sequential scan of shop.page_views"),
        "{structured:#}"
    );
    assert!(
        structured["findings"][0]["next_step"]
            .as_str()
            .unwrap()
            .contains("CREATE INDEX ON shop.page_views")
    );

    let planned = json!({"query": "VALUES (1)", "analyze": false, "format": "json"});
    let (texts, structured) = caller.done("execute_explain", planned).await;
    assert!(
        texts[0].starts_with('{') && texts[1].contains("analyze true"),
        "{texts:?}"
    );
    assert!(structured["plan"].get("Execution Time").is_none());
}

#[tokio::test]
async fn a_plan_names_tables_as_sql_would_and_leaves_out_what_nodes_put_out() {
    let admin = superuser(cluster()).await;
    let sql = "CREATE SCHEMA \"Cold Cellar\"; CREATE TABLE \"Cold Cellar\".\"Vat\" AS SELECT i FROM generate_series(1, 5000) i;
        ANALYZE \"Cold Cellar\".\"Vat\"; GRANT USAGE ON SCHEMA \"Cold Cellar\" TO shop_reader;
        GRANT SELECT ON \"Cold Cellar\".\"Vat\" TO shop_reader";
    admin.batch_execute(sql).await.unwrap();
    let caller = reader();
    let query = json!({"query": "SELECT * FROM \"Cold Cellar\".\"Vat\" WHERE i = 7"});
    let (texts, structured) = caller.done("execute_explain", query).await;
    let name = "\"Cold Cellar\".\"Vat\"";
    assert!(
        texts[0].contains(&format!("Seq Scan on {name}")),
        "{texts:?}"
    );
    let step = structured["findings"][0]["next_step"].to_string();
    let step = step.replace("\\\"", "\"");
    assert!(step.contains(&format!("CREATE INDEX ON {name}")), "{step}");
    assert_eq!(structured["plan"]["Plan"]["Schema"], "Cold Cellar");
    assert_eq!(structured["plan"]["Plan"]["Output"], Value::Null);
}

#[tokio::test]
async fn a_plan_tells_joins_aliases_and_subplans_apart_as_postgresql_does() {
    let caller = reader();
    let text = async |query: &str| {
        let given = json!({ "query": query, "analyze": false });
        caller.done("execute_explain", given).await.0.remove(0)
    };
    for (query, expected) in [
        (
            "SELECT * FROM users u WHERE NOT EXISTS (SELECT FROM orders o WHERE o.user_id = u.id)",
            &["Anti Join", "on shop.orders o", "on shop.users u"][..],
        ),
        (
            "SELECT * FROM users u WHERE EXISTS (SELECT FROM orders o WHERE o.user_id = u.id AND o.id > u.id)",
            &["Semi Join"],
        ),
        (
            "SELECT * FROM users u LEFT JOIN generate_series(1, 3) g ON g = u.id",
            &["Hash Left Join", "Function Scan on generate_series g"],
        ),
        (
            "WITH few AS MATERIALIZED (SELECT role, count(*) FROM users GROUP BY role) SELECT * FROM few a JOIN few b USING (count)",
            &[
                "CTE few: HashAggregate",
                "CTE Scan on few a",
                "CTE Scan on few b",
            ],
        ),
        (
            "SELECT (SELECT max(id) FROM users), (SELECT count(*) FROM orders o WHERE o.user_id = u.id) FROM users u ORDER BY id DESC LIMIT 3",
            &[
                "InitPlan 1",
                "SubPlan",
                "Index Only Scan Backward using users_pkey on shop.users u (",
            ],
        ),
        (
            "SELECT count(*) FROM (VALUES (1), (2)) AS v (i)",
            &["Values Scan on \"*VALUES*\""],
        ),
        ("SELECT count(*) FROM users", &["Seq Scan on shop.users ("]),
        (
            "SELECT count(*) FROM generate_series(1, 3)",
            &["Function Scan on generate_series ("],
        ),
    ] {
        let text = text(query).await;
        for expected in expected {
            assert!(text.contains(expected), "{expected}: {text}");
        }
    }
}

#[tokio::test]
async fn scans_of_the_partitions_of_one_table_are_one_finding() {
    let admin = superuser(cluster()).await;
    let sql = "CREATE SCHEMA days; GRANT USAGE ON SCHEMA days TO shop_reader; \
        CREATE TABLE days.day (day int, who int) PARTITION BY RANGE (day)";
    admin.batch_execute(sql).await.unwrap();
    for day in 0..20 {
        let sql = format!(
            "CREATE TABLE days.day_{day} PARTITION OF days.day FOR VALUES FROM ({day}) TO ({})",
            day + 1
        );
        admin.batch_execute(&sql).await.unwrap();
    }
    let sql = "INSERT INTO days.day SELECT n % 20, n FROM pg_catalog.generate_series(1, 10000) n; \
        ANALYZE days.day; GRANT SELECT ON ALL TABLES IN SCHEMA days TO shop_reader";
    admin.batch_execute(sql).await.unwrap();
    let caller = reader();
    let query =
        "SELECT a.day FROM days.day a JOIN days.day b USING (day) WHERE a.who = 7 AND b.who < 100";
    let (_, structured) = caller
        .done("execute_explain", json!({ "query": query }))
        .await;
    let findings = structured["findings"].as_array().unwrap();
    let told: Vec<&str> = findings
        .iter()
        .map(|found| found["finding"].as_str().unwrap())
        .collect();
    let scans: Vec<_> = told
        .iter()
        .filter(|told| {
            told.contains("The sequential scans of 20 partitions of days.day read 10000 rows")
        })
        .collect();
    assert_eq!((scans.len(), told.len()), (2, 2), "{told:?}");
    let step = findings[0]["next_step"].as_str().unwrap();
    assert!(step.contains("CREATE INDEX ON days.day (...)"), "{step}");
    // The planner takes conditions for independent of each other.
    let wrong = "SELECT * FROM days.day WHERE who % 2 = 0 AND who % 4 = 0 AND who >= 0";
    let (_, structured) = caller
        .done("execute_explain", json!({ "query": wrong }))
        .await;
    let found = structured["findings"][0]["finding"].as_str().unwrap();
    assert_eq!(
        structured["findings"].as_array().unwrap().len(),
        1,
        "{structured}"
    );
    assert!(
        found.starts_with("The scans of 5 partitions of days.day were planned for "),
        "{found}"
    );
    let step = &structured["findings"][0]["next_step"];
    assert!(
        step.as_str()
            .unwrap()
            .contains("CREATE STATISTICS name ON (expression) FROM each partition of days.day, then ANALYZE days.day;"),
        "{step}"
    );
    let one = json!({ "query": "SELECT * FROM days.day_3 WHERE who = 7" });
    let (_, structured) = caller.done("execute_explain", one).await;
    assert_eq!(structured["findings"], json!([]));
}

#[tokio::test]
async fn an_index_on_columns_is_advised_where_it_serves_the_condition() {
    let caller = reader();
    for (condition, steps) in [
        (
            "path = '/product/7'",
            &["An index on the columns of that condition"][..],
        ),
        (
            "path = '/product/7' OR milliseconds > 418 AND user_id IS NULL",
            &["An index on the columns of that condition"],
        ),
        (
            "upper(path) = '/CHECKOUT'",
            &["No index on a column serves an expression"],
        ),
        (
            "milliseconds::text = '419'",
            &["What is cast to text there has to be a varchar"],
        ),
        (
            "id::numeric = 5.0",
            &["No index on a column serves an expression"],
        ),
        (
            "milliseconds + 0 = 419",
            &["No index on a column serves an expression"],
        ),
        (
            "viewed_at::date = '2025-06-03'",
            &["No index on a column serves an expression"],
        ),
        (
            "path LIKE '%/product/71'",
            &["No plain index", "gin_trgm_ops"],
        ),
        (
            "string_to_array(path, '/') @> '{product,71}'",
            &["No B-tree", "USING gin"],
        ),
        (
            "(SELECT u.id FROM users u WHERE u.id = page_views.user_id) = 7",
            &["No index serves a subquery"],
        ),
        (
            "milliseconds = 419 AND upper(path) = '/CART'",
            &[
                "No index on a column serves an expression",
                "CREATE INDEX ON shop.page_views (milliseconds)",
            ],
        ),
        (
            "path = '/product/7' OR upper(path) = '/CHECKOUT'",
            &["No index on a column serves an expression"],
        ),
    ] {
        let query = format!("SELECT * FROM page_views WHERE {condition}");
        let (texts, structured) = caller
            .done("execute_explain", json!({ "query": query }))
            .await;
        let findings = structured["findings"].as_array().unwrap().iter();
        let mut scans = findings.filter(|found| found["finding"].to_string().contains("threw"));
        let step = scans.next().unwrap()["next_step"].to_string();
        for expected in steps {
            assert!(step.contains(expected), "{condition}: {}", texts.join("\n"));
        }
        let says_both = step.contains("An index on the columns") && step.contains("No ");
        assert!(!says_both, "{condition}: {step}");
    }
}

#[tokio::test]
async fn statistics_are_advised_of_what_was_guessed() {
    let caller = reader();
    for (condition, expected) in [
        (
            "upper(path) = '/CART'",
            "CREATE STATISTICS name ON (expression) FROM shop.page_views",
        ),
        (
            "milliseconds % 2 = 0 AND milliseconds % 4 = 0",
            "CREATE STATISTICS name ON (expression) FROM shop.page_views",
        ),
        (
            "id <= 1000 AND viewed_at <= '2025-06-03 18:40+00'",
            "Run ANALYZE shop.page_views",
        ),
    ] {
        let query = format!("SELECT * FROM page_views WHERE {condition}");
        let (texts, structured) = caller
            .done("execute_explain", json!({ "query": query }))
            .await;
        let found = &structured["findings"][0];
        let finding = found["finding"].as_str().unwrap();
        assert!(
            finding.contains("was planned for"),
            "{condition}: {texts:?}"
        );
        let step = found["next_step"].as_str().unwrap();
        assert!(step.contains(expected), "{condition}: {step}");
    }
}

#[tokio::test]
async fn only_a_plain_query_is_explained() {
    let caller = Caller::new(cluster().superuser());
    for query in [
        "CREATE TABLE shop.explained AS SELECT 1",
        "SELECT 1 INTO shop.explained",
        "WITH d AS (DELETE FROM shop.users RETURNING *) SELECT * FROM d",
        "DELETE FROM shop.users",
        "ANALYZE SELECT 1",
        "(ANALYZE) SELECT 1",
        "EXPLAIN EXPLAIN SELECT 1",
        "EXPLAIN DELETE FROM shop.users",
        "EXPLAIN (ANALYZE) CREATE TABLE shop.explained AS SELECT 1",
        "EXECUTE x",
        "SELECT 1; SELECT 2",
        "SELECT pg_notify('a', 'b')",
        "SELECT $1",
    ] {
        caller
            .failed("execute_explain", json!({"query": query}))
            .await;
    }
    let watcher = superuser(cluster()).await;
    let row = watcher
        .query_one(
            "SELECT to_regclass('shop.explained') IS NULL, count(*) FROM shop.users",
            &[],
        )
        .await
        .unwrap();
    assert_eq!((row.get::<_, bool>(0), row.get::<_, i64>(1)), (true, 1000));
}

#[tokio::test]
async fn a_spill_and_a_wrong_guess_are_found() {
    let caller = reader();
    let spill = json!({"query": "SELECT a.g, repeat('x', 200) AS t FROM generate_series(1, 60000) a(g) ORDER BY 2, 1 DESC"});
    let (texts, _) = caller.done("execute_explain", spill).await;
    assert!(
        texts[1].contains("did not fit into work_mem"),
        "{}",
        texts[1]
    );
    let wrong = json!({"query": "SELECT * FROM page_views WHERE id % 14 = 3 AND id % 7 = 3"});
    let (texts, _) = caller.done("execute_explain", wrong).await;
    assert!(texts[1].contains("was planned for"), "{}", texts.join("\n"));
}

#[tokio::test]
async fn with_the_work_mem_that_is_advised_nothing_goes_to_disk() {
    let caller = reader();
    let admin = superuser(cluster()).await;
    let settings = "SET search_path = shop; SET max_parallel_workers_per_gather = 0";
    admin.batch_execute(settings).await.unwrap();
    for query in [
        "SELECT g FROM generate_series(1, 200000) g ORDER BY hashint4(g)",
        "SELECT repeat('x', 70) FROM generate_series(1, 100000) g ORDER BY hashint4(g)",
        "SELECT repeat('x', 300) FROM generate_series(1, 50000) g ORDER BY hashint4(g)",
        "SELECT path, id FROM page_views a CROSS JOIN generate_series(1, 3) g ORDER BY milliseconds, path",
        "SELECT DISTINCT repeat('x', 60) || id * g FROM page_views a CROSS JOIN generate_series(1, 3) g",
    ] {
        let (texts, structured) = caller
            .done("execute_explain", json!({ "query": query }))
            .await;
        let findings = structured["findings"].as_array().unwrap();
        let steps = findings
            .iter()
            .map(|found| found["next_step"].as_str().unwrap());
        let work_mem = steps
            .filter_map(|step| step.split_once("a work_mem of "))
            .filter_map(|(_, step)| step.split_once(" MB"))
            .map(|(megabytes, _)| megabytes.parse::<u32>().unwrap())
            .max();
        let work_mem = work_mem.unwrap_or_else(|| panic!("{query}: {}", texts.join("\n")));
        assert!(work_mem < 128, "{query}: {work_mem}");
        let sql = format!("SET work_mem = '{work_mem}MB'");
        admin.batch_execute(&sql).await.unwrap();
        let explain = format!("EXPLAIN (ANALYZE) {query}");
        let lines = admin.query(&explain, &[]).await.unwrap();
        let lines: Vec<String> = lines.iter().map(|line| line.get(0)).collect();
        let is_on_disk =
            |line: &String| line.contains("Disk Usage") || line.contains("Sort Method: external");
        assert!(!lines.iter().any(is_on_disk), "{query}: {lines:#?}");
    }
}

#[tokio::test]
async fn a_scan_that_was_stopped_before_its_end_is_no_wrong_guess() {
    let caller = reader();
    for stopped in [
        "SELECT * FROM page_views LIMIT 3",
        "SELECT * FROM page_views ORDER BY id LIMIT 3",
        "SELECT EXISTS (SELECT FROM page_views)",
        "SELECT count(*) FROM (SELECT FROM page_views LIMIT 3) few",
    ] {
        let (texts, _) = caller
            .done("execute_explain", json!({ "query": stopped }))
            .await;
        assert!(texts[1].contains("none"), "{}", texts.join("\n"));
    }
    // A sort reads its input to the end, however few rows are wanted of it.
    let whole =
        json!({"query": "SELECT * FROM page_views WHERE id % 1 <> 0 ORDER BY path LIMIT 3"});
    let (texts, _) = caller.done("execute_explain", whole).await;
    assert!(texts[1].contains("and gave 0"), "{}", texts.join("\n"));
}

#[tokio::test]
async fn a_join_that_wastes_its_pairs_or_is_guessed_wrongly_is_found() {
    let caller = reader();
    let wasted = json!({"query": "SELECT count(*) FROM users a JOIN users b ON a.id + b.id < 20"});
    let (texts, _) = caller.done("execute_explain", wasted).await;
    assert!(texts[1].contains("pairs of rows"), "{}", texts.join("\n"));
    let wrong = json!({"query": "SELECT count(*) FROM users a JOIN users b ON a.id % 2 = b.id % 2 AND a.id / 2 % 1 = b.id % 1"});
    let (texts, _) = caller.done("execute_explain", wrong).await;
    assert!(
        texts[1].contains("although its inputs were guessed well"),
        "{}",
        texts.join("\n")
    );
    let fed = json!({"query": "SELECT count(*) FROM users u JOIN orders o ON o.user_id = u.id WHERE u.id % 14 = 3 AND u.id % 7 = 3"});
    let (texts, _) = caller.done("execute_explain", fed).await;
    assert!(
        texts[1].contains("of its inputs, Seq Scan on shop.users was planned for 1 and gave 72")
            && !texts[1].contains("guessed well")
            && texts[1].contains("CREATE STATISTICS name ON (expression) FROM shop.users"),
        "{}",
        texts.join("\n")
    );
    let fine = json!({"query": "SELECT count(*) FROM orders"});
    let (texts, _) = caller.done("execute_explain", fine).await;
    assert_eq!(texts[1], "Findings: none");
}

#[tokio::test]
async fn a_plan_that_is_too_large_is_told() {
    let caller = reader();
    let query = "SELECT * FROM users WHERE name = repeat('x', 4000000)";
    let condition = "name = repeat('x', 4000000)";
    for (tool, given) in [
        ("execute_explain", json!({"query": query})),
        ("execute_explain", json!({"query": query, "analyze": false})),
        (
            "count_rows",
            json!({"table": "users", "where": condition, "estimate": true}),
        ),
        ("advise_indexes", json!({"query": query})),
    ] {
        let failure = caller.failed(tool, given.clone()).await;
        assert!(
            failure.starts_with("ERROR: the plan has 400")
                && failure.contains("limits.result_bytes"),
            "{given}: {failure}"
        );
    }
}
