//! SQL that was meant for another database, and other mistakes of models: the error says how to go on.

use super::*;

#[tokio::test]
async fn what_another_database_understands_is_told_in_postgresqls_words() {
    let caller = reader();
    for (query, hint) in [
        ("SHOW TABLES", "get_schema_info shows tables"),
        ("show databases;", "get_schema_info shows tables"),
        ("SHOW COLUMNS FROM users", "get_schema_info shows tables"),
        ("DESCRIBE users", "get_schema_info shows tables"),
        ("\\d users", "get_schema_info shows tables"),
        ("PRAGMA table_info(users)", "get_schema_info shows tables"),
        ("SELECT * FROM `users`", "not in backticks"),
        ("SELECT `name` FROM users LIMIT 2", "not in backticks"),
        ("SELECT id FROM users WHERE name = \"Ada\"", "single quotes"),
        ("SELECT IFNULL(name, 'x') FROM users", "coalesce(a, b)"),
        ("SELECT round(1.5::float8, 1)", "round(x::numeric, digits)"),
        ("SELECT TOP 5 * FROM users", "LIMIT at the end"),
        ("SELECT now() - INTERVAL 7 DAY", "interval '7 days'"),
        ("SELECT * FROM Order", "stands in double quotes"),
        (
            "SELECT * FROM users WHERE id = :id",
            "the values themselves",
        ),
        ("SELECT name FROM sys.tables", "get_schema_info lists"),
        ("SELECT id FROM users FOR UPDATE", "leave out FOR UPDATE"),
        (
            "SELECT x.name FROM users u",
            "a table of FROM, or its alias",
        ),
        ("SELECT date_trunc(month, now())", "in single quotes"),
        ("SELECT '14/01/2026'::date", "write dates as 2026-01-31"),
        ("DELETE FROM users", "execute_write where that is listed"),
    ] {
        let failure = caller
            .failed("query_database", json!({ "query": query }))
            .await;
        let hints = failure.lines().filter(|line| line.starts_with("HINT: "));
        assert!(
            hints.into_iter().any(|line| line.contains(hint)),
            "{query}: {failure}"
        );
    }
}

#[tokio::test]
async fn sql_with_a_slip_is_not_told_what_it_might_ask_as_a_question() {
    let caller = reader();
    for query in ["SELECT * FROM users, LIMIT 1", "SHOW TABLES FROM users"] {
        let failure = caller
            .failed("query_database", json!({ "query": query }))
            .await;
        for noise in ["NEAREST", "to begin with", "the question is not understood"] {
            assert!(!failure.contains(noise), "{query}: {failure}");
        }
    }
}

#[tokio::test]
async fn an_enum_is_told_with_what_it_can_be() {
    let query = json!({"query": "SELECT id FROM orders WHERE status = 'Shipped'"});
    for tool in ["query_database", "execute_explain"] {
        let failure = reader().failed(tool, query.clone()).await;
        assert!(
            failure.contains("\nONE OF: 'placed', 'paid', "),
            "{failure}"
        );
    }
}

#[tokio::test]
async fn of_an_enum_with_many_labels_the_first_are_told() {
    let admin = superuser(cluster()).await;
    let labels: Vec<String> = (1..=40).map(|number| format!("'n{number}'")).collect();
    let labels = labels.join(", ");
    let sql = format!("CREATE TYPE shop.many AS ENUM ({labels})");
    admin.batch_execute(&sql).await.unwrap();
    let query = json!({"query": "SELECT 'x'::shop.many"});
    let failure = reader().failed("query_database", query).await;
    assert!(failure.contains("'n29', 'n30', .."), "{failure}");
    assert!(!failure.contains("n31"), "{failure}");
    admin.batch_execute("DROP TYPE shop.many").await.unwrap();
}

#[tokio::test]
async fn who_lacks_a_right_is_told_where_the_others_are_shown() {
    let admin = superuser(cluster()).await;
    let sql = "CREATE TABLE shop.wages (id int, wage int); GRANT SELECT (id) ON shop.wages TO shop_reader";
    admin.batch_execute(sql).await.unwrap();
    let failure = reader()
        .failed(
            "query_database",
            json!({"query": "SELECT * FROM shop.wages"}),
        )
        .await;
    assert!(
        failure.contains("42501\nHINT: get_schema_info shows the tables and columns"),
        "{failure}"
    );
    admin.batch_execute("DROP TABLE shop.wages").await.unwrap();
}

#[tokio::test]
async fn a_query_in_a_fence_is_run_and_one_behind_explain_is_explained() {
    let caller = reader();
    let fenced = json!({"query": "```sql\nSELECT count(*) FROM users;\n```"});
    let (_, found) = caller.done("query_database", fenced).await;
    assert_eq!(found["rows"], json!([[1000]]));
    let explained = json!({"query": "EXPLAIN (ANALYZE, BUFFERS) SELECT * FROM users WHERE id = 7"});
    for tool in ["execute_explain", "advise_indexes"] {
        caller.done(tool, explained.clone()).await;
    }
}

#[tokio::test]
async fn the_name_in_a_fence_is_found() {
    let fenced = json!({"query": "```sql\nSELECT * FROM userz\n```"});
    let failure = reader().failed("query_database", fenced).await;
    assert!(failure.contains("NEAREST: users"), "{failure}");
}
