//! What a token's own limits cut off is reported with the limit.

use std::time::Duration;

use super::*;

fn narrow() -> Caller {
    let mut caller = reader();
    let policy = crate::Policy {
        rows: Some(5),
        result_bytes: Some(2_048),
        statement_timeout: Some(Duration::from_millis(200)),
        ..crate::Policy::default()
    };
    caller.agent = caller.agent.clone().with_policy(policy);
    caller
}

#[tokio::test]
async fn a_page_that_a_token_may_not_have_in_whole_says_so() {
    let caller = narrow();
    let whole = json!({"query": "SELECT id FROM users ORDER BY id LIMIT 20"});
    let (texts, _) = caller.done("query_database", whole).await;
    let told = texts.last().unwrap();
    assert!(
        told.starts_with("(5 rows, the most that this token gets at once, and there are more: "),
        "{told}"
    );
    let asked_for = json!({"query": "SELECT id FROM users ORDER BY id", "limit": 3});
    let (texts, _) = caller.done("query_database", asked_for).await;
    let told = texts.last().unwrap();
    assert!(told.starts_with("(3 rows, and there are more: "), "{told}");
}

#[tokio::test]
async fn a_result_that_is_cut_off_for_its_bytes_says_how_many_it_may_have() {
    let wide = json!({"query": "SELECT repeat('x', 900) FROM users"});
    let (texts, _) = narrow().done("query_database", wide).await;
    let told = texts.last().unwrap();
    assert!(
        told.contains("left out because a result may have 2048 bytes"),
        "{told}"
    );
}

#[tokio::test]
async fn a_statement_that_runs_out_of_time_is_told_how_much_it_had() {
    let caller = narrow();
    for (tool, query) in [
        ("query_database", "SELECT pg_sleep(60)"),
        ("execute_explain", "SELECT pg_sleep(60)"),
    ] {
        let failure = caller.failed(tool, json!({ "query": query })).await;
        assert!(
            failure.contains("\nLIMIT: 200ms for one statement\nHINT: ask for less"),
            "{tool}: {failure}"
        );
    }
}
