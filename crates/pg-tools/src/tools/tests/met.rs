//! What may happen to a statement without its own doing, as it is reported to agents and to the audit log.

use super::{
    piped::{Piped, until},
    *,
};
use crate::bench::apart;

/// Does something with the process that runs a statement, once the statement runs.
async fn once_it_runs(owner: &tokio_postgres::Client, what: &str, mark: &str) {
    let sql = format!(
        "SELECT {what} FROM pg_stat_activity WHERE query LIKE '%{mark}%' AND wait_event = 'PgSleep' AND pid <> pg_backend_pid()"
    );
    until(async || !owner.query(&sql, &[]).await.unwrap().is_empty()).await;
}

#[tokio::test]
async fn a_query_that_somebody_cancels_has_not_run_for_too_long() {
    let (caller, owner) = (reader(), superuser(cluster()).await);
    let query = json!({ "query": "SELECT 'somebody cancels', pg_sleep(60)" });
    let cancel = once_it_runs(&owner, "pg_cancel_backend(pid)", "somebody cancels");
    let (failure, ()) = tokio::join!(caller.failed("query_database", query.clone()), cancel);
    assert!(failure.contains("SQLSTATE: 57014"), "{failure}");
    assert!(failure.contains("ask the operator"), "{failure}");
    assert!(!failure.contains("ask for less"), "{failure}");

    let mut piped = Piped::new(caller.agent.clone()).await;
    piped.call(1, "query_database", query).await;
    once_it_runs(&owner, "pg_cancel_backend(pid)", "somebody cancels").await;
    assert_eq!(piped.told.recv().await, Some(("database_error", 0)));
}

#[tokio::test]
async fn a_connection_that_an_administrator_ends_is_told_as_that_by_every_tool() {
    let (caller, owner) = super::writing::writer("terminated").await;
    for (tool, query) in [
        ("query_database", "SELECT 'ends it', pg_sleep(60)"),
        (
            "execute_write",
            "UPDATE terminated.t SET note = 'ends it' FROM (SELECT pg_sleep(60)) s WHERE id = 1",
        ),
    ] {
        let end = once_it_runs(&owner, "pg_terminate_backend(pid)", "ends it");
        let (failure, ()) = tokio::join!(caller.failed(tool, json!({ "query": query })), end);
        assert!(failure.contains("SQLSTATE: 57P01"), "{tool}: {failure}");
        assert!(failure.contains("run the same again"), "{tool}: {failure}");
        // The next one has another connection.
        let now = json!({ "query": "SELECT 1" });
        caller.done("query_database", now).await;
    }
    owner
        .batch_execute("DROP SCHEMA terminated CASCADE")
        .await
        .unwrap();
}

#[tokio::test]
async fn who_has_waited_for_a_lock_is_told_of_it() {
    let (mut caller, mut owner) = super::writing::writer("locked").await;
    let policy = crate::Policy {
        statement_timeout: Some(std::time::Duration::from_millis(200)),
        ..(**caller.agent.policy()).clone()
    };
    caller.agent = caller.agent.clone().with_policy(policy);
    let held = owner.transaction().await.unwrap();
    held.batch_execute("LOCK locked.t").await.unwrap();
    let query = json!({ "query": "UPDATE locked.t SET note = 'x' WHERE id = 1" });
    let failure = caller.failed("execute_write", query).await;
    assert!(failure.contains("SQLSTATE: 57014"), "{failure}");
    let locked = failure.lines().find(|line| line.starts_with("LOCKED: "));
    assert!(
        locked.is_some_and(|line| line.contains("locked.t")),
        "{failure}"
    );
    assert_eq!(failure.matches("HINT: ").count(), 1, "{failure}");
    held.batch_execute("DROP SCHEMA locked CASCADE")
        .await
        .unwrap();
    held.commit().await.unwrap();
}

#[tokio::test]
async fn what_others_stood_in_the_way_of_may_be_run_again() {
    let caller = reader();
    let owner = superuser(cluster()).await;
    owner
        .batch_execute(
            "CREATE SCHEMA amid; GRANT USAGE ON SCHEMA amid TO PUBLIC; \
             CREATE FUNCTION amid.fail(code text) RETURNS int LANGUAGE plpgsql AS \
             $$ BEGIN RAISE 'it failed' USING ERRCODE = code; END $$",
        )
        .await
        .unwrap();
    for (code, is_again) in [("40001", true), ("40P01", true), ("22012", false)] {
        let query = json!({ "query": format!("SELECT amid.fail('{code}')") });
        let failure = caller.failed("query_database", query).await;
        assert!(failure.contains(code), "{failure}");
        assert_eq!(
            failure.contains("run the same again"),
            is_again,
            "{failure}"
        );
    }
    owner
        .batch_execute("DROP SCHEMA amid CASCADE")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_change_on_a_standby_is_told_what_the_operator_can_do() {
    let mut standby = apart();
    standby.halt();
    let folder = standby.log_path().parent().unwrap().to_owned();
    let mut entries = std::fs::read_dir(folder).unwrap().map(|it| it.unwrap());
    let data = entries.find(|entry| entry.path().join("PG_VERSION").exists());
    std::fs::write(data.unwrap().path().join("standby.signal"), "").unwrap();
    standby.resume().unwrap();
    let (_sessions, agent) = crate::bench::agent_of(&standby, standby.superuser());
    let mut caller = reader();
    caller.agent = agent.with_policy(crate::Policy {
        access: crate::Access::Write,
        ..crate::Policy::default()
    });
    let now = json!({ "query": "SELECT 1" });
    caller.done("query_database", now).await;
    let query = json!({ "query": "UPDATE shop.users SET id = id WHERE id = 1" });
    let failure = caller.failed("execute_write", query).await;
    assert!(failure.contains("is a standby"), "{failure}");
    assert!(
        failure.contains("target_session_attrs=read-write"),
        "{failure}"
    );
}

#[tokio::test]
async fn a_query_that_waited_for_a_lock_is_told_of_it() {
    let (mut caller, owner) = writing::writer("waited").await;
    let policy = crate::Policy {
        access: crate::Access::Write,
        statement_timeout: Some(std::time::Duration::from_millis(300)),
        ..crate::Policy::default()
    };
    caller.agent = caller.agent.clone().with_policy(policy);
    let lock = "BEGIN; LOCK TABLE waited.t IN ACCESS EXCLUSIVE MODE";
    owner.batch_execute(lock).await.unwrap();
    for (tool, given) in [
        ("query_database", json!({"query": "SELECT * FROM waited.t"})),
        (
            "execute_explain",
            json!({"query": "SELECT * FROM waited.t"}),
        ),
        ("advise_indexes", json!({"query": "SELECT * FROM waited.t"})),
        ("count_rows", json!({"table": "t", "schema": "waited"})),
        ("execute_write", json!({"query": "DELETE FROM waited.t"})),
    ] {
        let failure = caller.failed(tool, given).await;
        assert!(failure.contains("SQLSTATE: 57014"), "{tool}: {failure}");
        assert!(
            failure.contains("LOCKED: ") && failure.contains("waited.t"),
            "{tool}: {failure}"
        );
        assert_eq!(failure.matches("HINT: ").count(), 1, "{failure}");
        assert!(!failure.contains("the table is large"), "{tool}: {failure}");
    }
    owner
        .batch_execute("ROLLBACK; DROP SCHEMA waited CASCADE")
        .await
        .unwrap();
    let slow = json!({"query": "SELECT pg_sleep(9)"});
    let failure = caller.failed("query_database", slow).await;
    assert!(
        failure.contains("57014") && !failure.contains("waited.t"),
        "{failure}"
    );
}

#[tokio::test]
async fn of_what_is_locked_nobody_is_told_more_than_he_may_read() {
    let owner = superuser(cluster()).await;
    for sql in [
        "CREATE SCHEMA shown CREATE TABLE open (id int) CREATE TABLE closed (id int)",
        "CREATE SCHEMA hidden CREATE TABLE open (id int)",
        "GRANT USAGE ON SCHEMA shown, hidden TO shop_reader",
        "GRANT SELECT ON shown.open, hidden.open TO shop_reader",
        "BEGIN",
        "LOCK TABLE shown.open, shown.closed, hidden.open IN ACCESS EXCLUSIVE MODE",
    ] {
        owner.batch_execute(sql).await.unwrap();
    }
    for (schemas, is_bound) in [(None, false), (Some(["shown".to_owned()].into()), true)] {
        let mut caller = reader();
        let policy = crate::Policy {
            statement_timeout: Some(std::time::Duration::from_millis(300)),
            schemas,
            ..crate::Policy::default()
        };
        caller.agent = caller.agent.clone().with_policy(policy);
        let query = json!({"query": "SELECT * FROM shown.open"});
        let failure = caller.failed("query_database", query).await;
        assert!(failure.contains("shown.open"), "{failure}");
        assert!(!failure.contains("shown.closed"), "{failure}");
        assert_eq!(!failure.contains("hidden.open"), is_bound, "{failure}");
    }
    owner
        .batch_execute("ROLLBACK; DROP SCHEMA shown, hidden CASCADE")
        .await
        .unwrap();
}
