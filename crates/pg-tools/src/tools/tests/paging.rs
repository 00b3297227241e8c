//! Results in pages.

use super::*;

/// The first column of a page, and the cursor of the next one.
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
    assert!(page(&structured).0.is_empty(), "nothing of another agent's");
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
