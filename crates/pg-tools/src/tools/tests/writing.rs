//! Statements that change rows.

use super::*;

/// Returns an agent that may write, on tables of its own.
pub(super) async fn writer(schema: &str) -> (Caller, tokio_postgres::Client) {
    let mut caller = Caller::new(cluster().superuser());
    let policy = crate::Policy {
        access: crate::Access::Write,
        ..crate::Policy::default()
    };
    caller.agent = caller.agent.clone().with_policy(policy);
    let owner = superuser(cluster()).await;
    owner
        .batch_execute(&format!(
            "CREATE SCHEMA {schema}; CREATE TABLE {schema}.t (id int PRIMARY KEY, note text); \
             INSERT INTO {schema}.t SELECT g, 'n' || g FROM generate_series(1, 200) g"
        ))
        .await
        .unwrap();
    (caller, owner)
}

#[tokio::test]
async fn only_who_may_write_sees_the_tool_that_does() {
    let caller = reader();
    assert!(caller.shelf.find(&caller.agent, "execute_write").is_none());
    let (caller, owner) = writer("seen").await;
    assert!(caller.shelf.find(&caller.agent, "execute_write").is_some());
    owner
        .batch_execute("DROP SCHEMA seen CASCADE")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_change_is_kept_and_counted() {
    let (caller, owner) = writer("kept").await;
    for (query, affected, rows) in [
        (
            "INSERT INTO kept.t VALUES (1000, NULL), (1001, 'x')",
            2,
            None,
        ),
        (
            "UPDATE kept.t SET note = 'y' WHERE id >= 1000 RETURNING id, note; -- done",
            2,
            Some(json!([[1000, "y"], [1001, "y"]])),
        ),
        (
            "WITH old AS (SELECT 1001 AS id) DELETE FROM kept.t USING old WHERE t.id = old.id",
            1,
            None,
        ),
        (
            "DELETE FROM kept.t WHERE false RETURNING *",
            0,
            Some(json!([])),
        ),
        (
            "INSERT INTO kept.t VALUES (1, 'z') ON CONFLICT (id) DO UPDATE SET note = 'z'",
            1,
            None,
        ),
    ] {
        let (texts, structured) = caller.done("execute_write", json!({"query": query})).await;
        assert_eq!(structured["affected_rows"], affected, "{query}");
        assert_eq!(structured.get("rows"), rows.as_ref(), "{query}");
        let counted = match affected {
            1 => "1 row affected".to_owned(),
            _ => format!("{affected} rows affected"),
        };
        assert_eq!(texts[0], counted);
    }
    let row = owner
        .query_one(
            "SELECT count(*), (SELECT note FROM kept.t WHERE id = 1) FROM kept.t",
            &[],
        )
        .await
        .unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, &str>(1)), (201, "z"));
    owner
        .batch_execute("DROP SCHEMA kept CASCADE")
        .await
        .unwrap();
}

#[tokio::test]
async fn settings_that_a_change_makes_hold_for_nobody_after_it() {
    let (mut caller, owner) = writer("meddled").await;
    let settings = "SELECT current_setting('statement_timeout'), current_setting('client_connection_check_interval'), \
         current_setting('transaction_read_only'), current_setting('DateStyle')";
    let usual = json!([["30s", "1s", "on", "ISO, MDY"]]);
    owner
        .batch_execute(
            "CREATE FUNCTION meddled.meddle() RETURNS text LANGUAGE sql VOLATILE AS $$ \
             SELECT set_config('statement_timeout', '0', false) || set_config('datestyle', 'German', false) \
             || set_config('client_connection_check_interval', '0', false) $$",
        )
        .await
        .unwrap();
    let change = "UPDATE meddled.t SET note = meddled.meddle() WHERE id = 1";
    let meddle = "SELECT meddled.meddle()";
    for _ in 0..3 {
        for (tool, query) in [("execute_write", change), ("query_database", meddle)] {
            caller.done(tool, json!({"query": query})).await;
            let read = caller
                .done("query_database", json!({"query": settings}))
                .await;
            assert_eq!(read.1["rows"], usual, "{tool}");
        }
    }
    // A token's own limit, and then none again, on the connections that already exist.
    for (own, shown) in [(Some(1_500), "1500ms"), (None, "30s")] {
        let policy = crate::Policy {
            access: crate::Access::Write,
            statement_timeout: own.map(std::time::Duration::from_millis),
            ..crate::Policy::default()
        };
        caller.agent = caller.agent.clone().with_policy(policy);
        for _ in 0..2 {
            let read = caller
                .done("query_database", json!({"query": settings}))
                .await;
            assert_eq!(read.1["rows"][0][0], shown);
        }
    }
    owner
        .batch_execute("DROP SCHEMA meddled CASCADE")
        .await
        .unwrap();
}

/// Operators have functions that run whatever text they are given, and rely on the transaction for safety.
#[tokio::test]
async fn a_function_that_runs_texts_puts_no_statement_in_the_place_of_ours() {
    let caller = reader();
    let owner = superuser(cluster()).await;
    owner
        .batch_execute(
            "CREATE SCHEMA texts; GRANT USAGE ON SCHEMA texts TO PUBLIC; \
             CREATE TABLE texts.t (id int); GRANT ALL ON texts.t TO PUBLIC; \
             CREATE SEQUENCE texts.s; GRANT ALL ON texts.s TO PUBLIC; \
             CREATE FUNCTION texts.run(texts text) RETURNS void LANGUAGE plpgsql \
               AS $$ BEGIN EXECUTE texts; END $$; \
             CREATE FUNCTION texts.replace(beginning text, other text DEFAULT 'SELECT 1') RETURNS bigint LANGUAGE plpgsql AS $$ \
             DECLARE one name; number bigint := 0; BEGIN \
               FOR one IN SELECT name FROM pg_prepared_statements WHERE starts_with(statement, beginning) LOOP \
                 EXECUTE format('DEALLOCATE %I', one); EXECUTE format('PREPARE %I AS %s', one, other); \
                 number := number + 1; \
               END LOOP; RETURN number; END $$",
        )
        .await
        .unwrap();
    let read = async |query: &str| {
        let read = caller.call("query_database", json!({"query": query})).await;
        read.map(|(_, structured)| structured["rows"].clone())
    };
    // After this, whatever is run with every call is prepared.
    for _ in 0..3 {
        assert_eq!(read("SELECT 1").await, Ok(json!([[1]])));
    }
    let process = async || read("SELECT pg_backend_pid()").await.unwrap();
    // A number that was taken from a sequence stays taken, whatever is rolled back.
    let draws = "SELECT texts.run('SELECT next' || 'val(''texts.s'')')";
    for other in [
        "SELECT 1",
        "INSERT INTO texts.t VALUES (0)",
        "SELECT texts.run(''SET transaction_read_only = off'')",
        "SELECT texts.run(''SET default_transaction_read_only = off'')",
    ] {
        read("SELECT 1").await.unwrap();
        let before = process().await;
        let replaced = read(&format!("SELECT texts.replace('BEGIN', '{other}')")).await;
        assert_eq!(replaced, Ok(json!([[1]])), "{other}");
        let told = read(draws).await.unwrap_err();
        assert!(told.contains("read-only transaction"), "{other}: {told}");
        assert_ne!(process().await, before, "{other}");
    }
    // The transaction that this leaves open ends with its connection, and so does what is set in it.
    let before = process().await;
    assert_eq!(process().await, before);
    let replaced = read("SELECT texts.replace('ROLLBACK')").await.unwrap_err();
    assert!(replaced.contains("the place of"), "{replaced}");
    assert_ne!(process().await, before);
    for text in [
        "SET default_transaction_read_only = off",
        "SET statement_timeout = 0",
    ] {
        process().await;
        let set = format!("SELECT texts.run('{text}'), texts.replace('ROLL')");
        read(&set).await.unwrap_err();
    }
    let limit = read("SELECT current_setting('statement_timeout')").await;
    assert_eq!(limit, Ok(json!([["30s"]])));
    let wrote = read("SELECT texts.run('INSERT INTO texts.t VALUES (1)')").await;
    let told = wrote.unwrap_err();
    assert!(told.contains("read-only transaction"), "{told}");
    // What follows a failed statement runs after its transaction.
    for (ours, other) in [
        (
            "SELECT pg_catalog.pg_adv",
            "SELECT texts.run(''SET default_transaction_read_only = off'')",
        ),
        ("PREPARE", "INSERT INTO texts.t VALUES (2)"),
    ] {
        let replaced = read(&format!("SELECT texts.replace('{ours}', '{other}')")).await;
        assert_eq!(replaced, Ok(json!([[1]])), "{ours}");
        let failed = read("SELECT 1 / 0").await.unwrap_err();
        assert!(failed.contains("22012"), "{ours}: {failed}");
    }
    let left = "SELECT (SELECT count(*) FROM texts.t), (SELECT is_called FROM texts.s)";
    let left = owner.query_one(left, &[]).await.unwrap();
    assert_eq!((left.get::<_, i64>(0), left.get::<_, bool>(1)), (0, false));
    owner
        .batch_execute("DROP SCHEMA texts CASCADE")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_change_of_too_many_rows_or_of_another_kind_changes_nothing() {
    let (caller, owner) = writer("unchanged").await;
    let state = "SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM unchanged.t t";
    let before: String = owner.query_one(state, &[]).await.unwrap().get(0);
    for (query, part) in [
        ("UPDATE unchanged.t SET note = 'x'", "more than 100 rows"),
        ("DELETE FROM unchanged.t RETURNING *", "more than 100 rows"),
        ("INSERT INTO unchanged.t VALUES (1, 'x')", "23505"),
        (
            "UPDATE unchanged.t SET nte = 'x' WHERE id = 1",
            "NEAREST: t.note",
        ),
        (
            "UPDATE unchanged.t SET note = $1 WHERE id = 1",
            "parameters",
        ),
        (
            "DELETE FROM unchanged.t WHERE id = 1; DELETE FROM unchanged.t",
            "multiple commands",
        ),
        (
            "DELETE FROM unchanged.t WHERE id = 1) SELECT 1; --",
            "42601",
        ),
        (
            "WITH d AS (DELETE FROM unchanged.t WHERE id = 1 RETURNING *) SELECT * FROM d",
            "only one INSERT",
        ),
        ("SELECT 1", "only one INSERT"),
        ("TRUNCATE unchanged.t", "only one INSERT"),
        ("DROP TABLE unchanged.t", "only one INSERT"),
        ("CREATE TABLE unchanged.u AS SELECT 1", "only one INSERT"),
        ("COMMIT", "only one INSERT"),
        ("SET ROLE postgres", "only one INSERT"),
        ("COPY unchanged.t FROM PROGRAM 'true'", "only one INSERT"),
        (
            "DO $$BEGIN DELETE FROM unchanged.t; END$$",
            "only one INSERT",
        ),
        (
            "DELETE FROM unchanged.t WHERE pg_terminate_backend(1)",
            "may not appear",
        ),
    ] {
        let failure = caller
            .failed("execute_write", json!({"query": query}))
            .await;
        assert!(failure.contains(part), "{query}: {failure}");
    }
    let after: String = owner.query_one(state, &[]).await.unwrap().get(0);
    assert_eq!(before, after);
    let arguments = json!({"query": "UPDATE unchanged.t SET note = note || 'x'", "max_rows": 200});
    let (_, structured) = caller.done("execute_write", arguments).await;
    assert_eq!(structured["affected_rows"], 200);
    // The connection is as good as new, and what reads still only reads.
    caller
        .failed(
            "query_database",
            json!({"query": "WITH d AS (DELETE FROM unchanged.t RETURNING *) SELECT * FROM d"}),
        )
        .await;
    owner
        .batch_execute("DROP SCHEMA unchanged CASCADE")
        .await
        .unwrap();
}

#[tokio::test]
async fn what_foreign_keys_and_triggers_change_besides_is_counted_and_limited() {
    let (caller, owner) = writer("besides").await;
    let tables = "CREATE TABLE besides.leaf (t int REFERENCES besides.t ON DELETE CASCADE);
        INSERT INTO besides.leaf SELECT 1 + g / 600 FROM generate_series(0, 1799) g;
        INSERT INTO besides.leaf VALUES (10), (11), (11);
        CREATE TABLE besides.cut (part int) PARTITION BY LIST (part);
        CREATE TABLE besides.one PARTITION OF besides.cut FOR VALUES IN (1);
        CREATE TABLE besides.two PARTITION OF besides.cut FOR VALUES IN (2);
        INSERT INTO besides.cut VALUES (1), (1);
        CREATE TABLE besides.log (note text);
        CREATE FUNCTION besides.tell() RETURNS trigger LANGUAGE plpgsql AS
          $$ BEGIN INSERT INTO besides.log VALUES (NEW.note), (OLD.note); RETURN NULL; END $$;
        CREATE TRIGGER told AFTER UPDATE ON besides.t FOR EACH ROW EXECUTE FUNCTION besides.tell()";
    owner.batch_execute(tables).await.unwrap();
    let by = "by foreign keys, triggers, rules or moves between partitions";
    for (query, affected, besides) in [
        ("INSERT INTO besides.t VALUES (1000), (1001)", 2, None),
        ("DELETE FROM besides.t WHERE id = 1", 1, Some(600)),
        // What the connection changed before does not count, although it may not be reported yet.
        ("DELETE FROM besides.t WHERE id >= 1000", 2, None),
        (
            "DELETE FROM besides.t WHERE id IN (10, 11) RETURNING id",
            2,
            Some(3),
        ),
        ("UPDATE besides.t SET note = 'x' WHERE id = 12", 1, Some(2)),
        (
            "INSERT INTO besides.t VALUES (12) ON CONFLICT DO NOTHING",
            0,
            None,
        ),
    ] {
        let given = json!({ "query": query });
        let (texts, structured) = caller.done("execute_write", given).await;
        assert_eq!(structured["affected_rows"], affected, "{query}");
        assert_eq!(
            structured.get("besides"),
            besides.map(Value::from).as_ref(),
            "{query}"
        );
        let told = besides.map(|besides| format!("(and {besides} besides, {by})"));
        let is_told = told.map_or(!texts[0].contains(by), |told| texts[0].contains(&told));
        assert!(is_told, "{query}: {texts:?}");
    }
    let query = "DELETE FROM besides.t WHERE id IN (2, 3)";
    let failure = caller
        .failed("execute_write", json!({ "query": query }))
        .await;
    for part in [
        "changes 1200 rows besides its own",
        "1000 are allowed",
        "limits.written_rows",
    ] {
        assert!(failure.contains(part), "{failure}");
    }
    let left = owner
        .query_one("SELECT count(*) FROM besides.leaf", &[])
        .await;
    assert_eq!(left.unwrap().get::<_, i64>(0), 1_200);
    owner
        .batch_execute("DROP SCHEMA besides CASCADE")
        .await
        .unwrap();
}

/// Of these, PostgreSQL counts no row as the statement's own.
#[tokio::test]
async fn what_is_changed_in_place_of_a_statement_is_held_to_its_limit() {
    let (caller, owner) = writer("stead").await;
    let tables = "CREATE VIEW stead.kept AS SELECT * FROM stead.t;
        CREATE RULE marks AS ON DELETE TO stead.kept DO INSTEAD UPDATE stead.t SET note = 'gone' WHERE id = OLD.id;
        CREATE TABLE stead.whole (id int);
        CREATE TABLE stead.part () INHERITS (stead.whole);
        CREATE FUNCTION stead.lead() RETURNS trigger LANGUAGE plpgsql AS
          $$ BEGIN INSERT INTO stead.part VALUES (NEW.id); RETURN NULL; END $$;
        CREATE TRIGGER leads BEFORE INSERT ON stead.whole FOR EACH ROW EXECUTE FUNCTION stead.lead()";
    owner.batch_execute(tables).await.unwrap();
    for query in [
        "DELETE FROM stead.kept WHERE id <= 3",
        "INSERT INTO stead.whole VALUES (1), (2), (3)",
    ] {
        let given = |most: u64| json!({ "query": query, "max_rows": most });
        let failure = caller.failed("execute_write", given(2)).await;
        assert!(failure.contains("changes more than 2 rows"), "{failure}");
        let (texts, structured) = caller.done("execute_write", given(3)).await;
        assert_eq!(structured["besides"], 3, "{texts:?}");
        let is_told = texts[0].contains("triggers, rules or moves");
        assert!(is_told, "{texts:?}");
    }
    let changed = "SELECT count(*) FILTER (WHERE note = 'gone') + (SELECT count(*) FROM stead.whole) FROM stead.t";
    let changed = owner.query_one(changed, &[]).await.unwrap();
    assert_eq!(changed.get::<_, i64>(0), 6);
    owner
        .batch_execute("DROP SCHEMA stead CASCADE")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_dropped_change_changes_nothing() {
    let (caller, owner) = writer("dropped").await;
    let arguments = json!({"query": "UPDATE dropped.t SET note = 'x' FROM (SELECT pg_sleep(99)) s WHERE id = 1"});
    let active = async || -> i64 {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(99)) s%' AND state = 'active' AND pid <> pg_backend_pid()";
        owner.query_one(sql, &[]).await.unwrap().get(0)
    };
    {
        let mut call = std::pin::pin!(caller.call("execute_write", arguments));
        while active().await == 0 {
            tokio::select! {
                done = &mut call => panic!("the call ended: {done:?}"),
                () = tokio::time::sleep(std::time::Duration::from_millis(5)) => {}
            }
        }
    }
    let begin = std::time::Instant::now();
    while active().await > 0 {
        assert!(
            begin.elapsed() < std::time::Duration::from_secs(2),
            "still running"
        );
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let note: String = owner
        .query_one("SELECT note FROM dropped.t WHERE id = 1", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(note, "n1");
    owner
        .batch_execute("DROP SCHEMA dropped CASCADE")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_query_that_only_the_tokens_role_can_read_is_no_change_either() {
    let owner = superuser(cluster()).await;
    owner
        .batch_execute(
            "CREATE ROLE entrusted; CREATE ROLE entrusting LOGIN NOINHERIT IN ROLE entrusted; \
             GRANT CONNECT ON DATABASE postgres TO entrusting; \
             CREATE SCHEMA entrusted AUTHORIZATION entrusted; \
             CREATE TABLE entrusted.t AS SELECT 1 AS id; ALTER TABLE entrusted.t OWNER TO entrusted",
        )
        .await
        .unwrap();
    let mut caller = Caller::new("entrusting");
    let policy = crate::Policy {
        access: crate::Access::Write,
        role: crate::Role::Set("entrusted".into()),
        ..crate::Policy::default()
    };
    caller.agent = caller.agent.clone().with_policy(policy);
    let query = |query| json!({ "query": query });
    let failure = caller
        .failed("execute_write", query("SELECT id FROM entrusted.t"))
        .await;
    assert!(failure.contains("only one INSERT"), "{failure}");
    let (_, structured) = caller
        .done("execute_write", query("UPDATE entrusted.t SET id = 2"))
        .await;
    assert_eq!(structured["affected_rows"], 1);
}
