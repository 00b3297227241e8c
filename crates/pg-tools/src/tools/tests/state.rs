//! What calls leave for later calls, and every attempt to get past the protections with it.

use std::time::{Duration, Instant};

use super::*;
use crate::{Access, Policy, client::Talking, tools::tests::writing::writer};

/// An agent that may write, calling from a program whose calls belong together.
struct Talk {
    caller: Caller,
    owner: tokio_postgres::Client,
    client: Talking,
}

impl Talk {
    async fn new(schema: &str) -> Self {
        let (caller, owner) = writer(schema).await;
        Talk {
            caller,
            owner,
            client: Talking::new("one"),
        }
    }

    async fn call(&self, tool: &str, given: Value) -> Result<(String, Value), String> {
        self.call_from(&self.client, tool, given).await
    }

    async fn call_from(
        &self,
        client: &dyn crate::client::Client,
        tool: &str,
        given: Value,
    ) -> Result<(String, Value), String> {
        let Value::Object(given) = given else {
            panic!("arguments are an object")
        };
        let tool = self.caller.shelf.find(&self.caller.agent, tool).unwrap();
        match tool.call(&self.caller.agent, given, client).await {
            Err(Failure::Told(text) | Failure::Quoted(text)) => Err(text),
            Err(Failure::Unanswered) => panic!("nothing can be asked"),
            Ok(found) => {
                let structured: Value = serde_json::from_str(found.structured.as_str()).unwrap();
                let promised = tool.tool.definition().output_schema;
                conform(&serde_json::from_str(promised).unwrap(), &structured, "");
                let texts = found.texts.into_iter().map(|text| match text {
                    Text::Said(text) => text,
                    Text::Data(text) => text.plain(),
                });
                Ok((texts.collect::<Vec<_>>().join("\n"), structured))
            }
        }
    }

    async fn write(&self, query: &str) -> String {
        let done = self.call("execute_write", json!({ "query": query })).await;
        done.unwrap_or_else(|error| panic!("{query}: {error}")).0
    }

    async fn refused(&self, query: &str) -> String {
        match self.call("execute_write", json!({ "query": query })).await {
            Ok((text, _)) => panic!("{query}: did {text}"),
            Err(error) => error,
        }
    }

    async fn read(&self, query: &str) -> String {
        let read = self.call("query_database", json!({ "query": query })).await;
        read.unwrap_or_else(|error| panic!("{query}: {error}")).0
    }

    async fn unread(&self, query: &str) -> String {
        match self.call("query_database", json!({ "query": query })).await {
            Ok((text, _)) => panic!("{query}: gave {text}"),
            Err(error) => error,
        }
    }

    /// Counts the agent's backends.
    async fn backends(&self) -> i64 {
        let name = format!("mcp/{}", self.caller.agent.session().id());
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";
        self.owner.query_one(sql, &[&name]).await.unwrap().get(0)
    }

    async fn value(&self, sql: &str) -> String {
        let sql = format!("SELECT ({sql})::text");
        self.owner.query_one(&sql, &[]).await.unwrap().get(0)
    }
}

#[tokio::test]
async fn what_a_prepared_change_changes_besides_is_counted_and_limited() {
    let talk = Talk::new("executed").await;
    let tables = "CREATE TABLE executed.leaf (t int REFERENCES executed.t ON DELETE CASCADE);
        INSERT INTO executed.leaf SELECT 1 FROM generate_series(1, 5);
        INSERT INTO executed.leaf SELECT 2 FROM generate_series(1, 1001)";
    talk.owner.batch_execute(tables).await.unwrap();
    talk.write("PREPARE gone (int) AS DELETE FROM executed.t WHERE id = $1")
        .await;
    let done = talk.write("EXECUTE gone(1)").await;
    assert_eq!(
        done,
        "DELETE 1 (and 5 besides, by foreign keys, triggers, rules or moves between partitions)"
    );
    let refused = talk.refused("EXECUTE gone(2)").await;
    assert!(refused.contains("1001 rows besides"), "{refused}");
    let left = talk.value("SELECT count(*) FROM executed.leaf").await;
    assert_eq!(left, "1001");
}

#[tokio::test]
async fn what_a_call_leaves_is_there_for_the_next_of_its_conversation_alone() {
    let talk = Talk::new("leaves").await;
    let said = talk.write("CREATE TEMP TABLE a AS SELECT 1 AS n").await;
    assert!(
        said.starts_with("SELECT 1\n(kept for the calls of this session, until"),
        "{said}"
    );
    assert_eq!(talk.write("SET my.name = 'x'").await, "SET");
    assert_eq!(
        talk.write("PREPARE p (int) AS SELECT $1 + 1 AS two").await,
        "PREPARE"
    );
    assert_eq!(
        talk.write("INSERT INTO a VALUES (2)").await,
        "1 row affected"
    );
    let both = "SELECT current_setting('my.name', true) AS s, (SELECT sum(n) FROM a) AS n";
    assert_eq!(talk.read(both).await, "s\tn\nx\t3");
    let done = talk.write("EXECUTE p(1)").await;
    assert_eq!(done, "SELECT 1\ntwo\n2");
    let counted = talk
        .call("count_rows", json!({ "table": "a" }))
        .await
        .unwrap();
    assert_eq!(counted.1["count"], 2);
    let plan = json!({ "query": "SELECT * FROM a", "analyze": false });
    talk.call("execute_explain", plan).await.unwrap();

    // Others: another conversation, a call in none, and the same one with its other tools.
    for client in [&Talking::new("two") as &dyn crate::client::Client, &Silent] {
        let query = json!({ "query": "SELECT * FROM a" });
        let failed = talk
            .call_from(client, "query_database", query)
            .await
            .unwrap_err();
        assert!(failed.contains("42P01"), "{failed}");
        let query = json!({ "query": "SELECT current_setting('my.name', true) IS NULL AS s" });
        let read = talk
            .call_from(client, "query_database", query)
            .await
            .unwrap();
        assert_eq!(read.0, "s\nt");
    }
    assert_eq!(talk.write("DEALLOCATE p").await, "DEALLOCATE");
    assert!(talk.refused("EXECUTE p(1)").await.contains("26000"));
    assert_eq!(talk.write("RESET my.name").await, "RESET");
    assert_eq!(
        talk.read("SELECT current_setting('my.name') AS s").await,
        "s\n"
    );
    assert_eq!(talk.write("DROP TABLE pg_temp.a").await, "DROP TABLE");
    assert!(talk.unread("SELECT * FROM a").await.contains("42P01"));
}

#[tokio::test]
async fn a_conversation_that_leaves_nothing_keeps_no_connection_and_one_that_ends_closes_it() {
    let talk = Talk::new("lazy").await;
    let keeps = || {
        talk.caller
            .agent
            .session()
            .kept_on("protocol's one")
            .is_some()
    };
    talk.read("SELECT 1").await;
    talk.write("UPDATE lazy.t SET note = 'y' WHERE id = 1")
        .await;
    talk.refused("CREATE TEMP TABLE a AS SELECT 1/0").await;
    talk.refused("PREPARE p AS SELECT nothing").await;
    talk.refused("EXECUTE p").await;
    assert!(!keeps() && talk.client.held.lock().unwrap().is_empty());
    talk.write("SET my.name = 'x'").await;
    talk.write("SET my.name = 'y'").await;
    assert!(keeps());
    let held = std::mem::take(&mut *talk.client.held.lock().unwrap());
    assert_eq!(held.len(), 1, "it is tied once");
    let before = talk.backends().await;
    drop(held);
    assert!(!keeps());
    let begin = Instant::now();
    while talk.backends().await >= before {
        assert!(begin.elapsed() < Duration::from_millis(100), "it stays");
    }
}

#[tokio::test]
async fn without_a_session_nothing_is_left_and_the_error_says_how_to_have_one() {
    let talk = Talk::new("no_session").await;
    for query in [
        "CREATE TEMP TABLE a (b int)",
        "SET my.name = 'x'",
        "SET search_path = shop",
        "RESET my.name",
        "PREPARE p AS SELECT 1",
        "EXECUTE p",
        "DEALLOCATE p",
        "DROP TABLE pg_temp.a",
    ] {
        let given = json!({ "query": query });
        let failed = talk
            .call_from(&Silent, "execute_write", given)
            .await
            .unwrap_err();
        assert!(failed.contains("open_session"), "{query}: {failed}");
        let failed = talk.unread(query).await;
        assert!(failed.contains("only one plain query"), "{query}: {failed}");
    }
}

/// What a call of an ended session is answered may reach nobody, so that the next one has to be told.
#[tokio::test]
async fn who_calls_in_a_later_session_is_told_that_the_earlier_one_has_ended() {
    let mut talk = Talk::new("unheard").await;
    talk.write("CREATE TEMP TABLE a AS SELECT 7 AS n").await;
    let (policy, id) = {
        let agent = &talk.caller.agent;
        (agent.policy().clone(), agent.session().id().to_owned())
    };
    talk.caller.sessions.close(&id);
    let unheard = talk.unread("SELECT n FROM a").await;
    assert!(!unheard.contains("42P01"), "{unheard}");
    let session = talk.caller.sessions.open(&id, None);
    talk.caller.agent = Agent::new(session, "shop").with_policy((*policy).clone());
    let told = talk.unread("SELECT n FROM a").await;
    assert!(told.contains("what was in the session is gone"), "{told}");
    let once = talk.unread("SELECT n FROM a").await;
    assert!(once.contains("42P01"), "{once}");
}

#[tokio::test]
async fn a_session_by_its_name_is_the_tokens_own_and_ends_when_it_is_closed() {
    let talk = Talk::new("by_name").await;
    let (said, opened) = talk.call("open_session", json!({})).await.unwrap();
    let name = opened["session"].as_str().unwrap();
    assert!(
        said.contains(name) && said.contains("idle for 300 s"),
        "{said}"
    );
    assert_eq!(opened["idle_seconds"], 300.0);
    let within = |query: &str| json!({ "query": query, "session": name });
    let call = async |tool: &str, query: &str| talk.call_from(&Silent, tool, within(query)).await;
    call("execute_write", "CREATE TEMP TABLE a AS SELECT 7 AS n")
        .await
        .unwrap();
    assert_eq!(
        call("query_database", "SELECT n FROM a").await.unwrap().0,
        "n\n7"
    );
    // The conversation that it was opened in is another one.
    assert!(talk.unread("SELECT n FROM a").await.contains("42P01"));
    let wrong = json!({ "query": "SELECT 1", "session": name, "database": "other" });
    let failed = talk.call("query_database", wrong).await.unwrap_err();
    assert!(failed.contains("leave database out"), "{failed}");

    // Nobody else can use it, and an unknown one looks the same; so does the name of a conversation's line.
    let other = Talk::new("by_name_2").await;
    let mut told = Vec::new();
    for name in [name, "session-0", "one", "protocol's one", ""] {
        if name.is_empty() {
            continue;
        }
        let given = json!({ "query": "SELECT 1", "session": name });
        told.push(other.call("query_database", given).await.unwrap_err());
        let closed = other
            .call("close_session", json!({ "session": name }))
            .await;
        told.push(closed.unwrap_err());
    }
    assert!(told[0].contains("this session is not open"), "{}", told[0]);
    assert!(told.iter().all(|text| *text == told[0]), "{told:?}");

    talk.call("close_session", json!({ "session": name }))
        .await
        .unwrap();
    let failed = call("query_database", "SELECT 1").await.unwrap_err();
    assert_eq!(failed, told[0]);
}

#[tokio::test]
async fn no_more_sessions_are_opened_than_leave_a_connection_for_other_calls() {
    let talk = Talk::new("many_sessions").await;
    let mut names = Vec::new();
    for _ in 0..3 {
        let (_, opened) = talk.call("open_session", json!({})).await.unwrap();
        names.push(opened["session"].as_str().unwrap().to_owned());
    }
    let failed = talk.call("open_session", json!({})).await.unwrap_err();
    assert!(failed.contains("may keep 3 connections"), "{failed}");
    assert!(
        talk.refused("SET my.name = 'x'")
            .await
            .contains("may keep 3 connections")
    );
    talk.read("SELECT 1").await;
    talk.call("close_session", json!({ "session": names[0] }))
        .await
        .unwrap();
    talk.write("SET my.name = 'x'").await;
}

#[tokio::test]
async fn who_only_reads_has_no_session() {
    let mut talk = Talk::new("readers").await;
    let (_, opened) = talk.call("open_session", json!({})).await.unwrap();
    talk.caller.agent = talk.caller.agent.clone().with_policy(Policy::default());
    for tool in ["open_session", "close_session", "execute_write"] {
        assert!(talk.caller.shelf.find(&talk.caller.agent, tool).is_none());
    }
    let given = json!({ "query": "SELECT 1", "session": opened["session"] });
    let failed = talk.call("query_database", given).await.unwrap_err();
    assert!(failed.contains("this session is not open"), "{failed}");
}

#[tokio::test]
async fn a_call_that_runs_out_of_time_takes_the_state_with_it_and_the_next_says_so() {
    let mut talk = Talk::new("out_of_time").await;
    let policy = Policy {
        access: Access::Write,
        statement_timeout: Some(Duration::from_millis(300)),
        ..Policy::default()
    };
    talk.caller.agent = talk.caller.agent.clone().with_policy(policy);
    let late = "UPDATE out_of_time.t SET note = (SELECT pg_sleep(30)::text) WHERE id = 1";
    for tool in ["query_database", "execute_write"] {
        talk.write("CREATE TEMP TABLE a (b int)").await;
        let query = if tool == "execute_write" {
            late
        } else {
            "SELECT pg_sleep(30)"
        };
        let failed = talk
            .call(tool, json!({ "query": query }))
            .await
            .unwrap_err();
        assert!(failed.contains("57014"), "{failed}");
        let told = talk.unread("SELECT * FROM a").await;
        assert!(
            told.contains("what was in the session is gone: a call in it"),
            "{told}"
        );
        // It was told once; what is created from now on is new.
        assert!(talk.unread("SELECT * FROM a").await.contains("42P01"));
    }
    let (_, opened) = talk.call("open_session", json!({})).await.unwrap();
    let within = |query: &str| json!({ "query": query, "session": opened["session"] });
    let failed = talk
        .call("query_database", within("SELECT pg_sleep(30)"))
        .await;
    assert!(failed.unwrap_err().contains("57014"));
    for _ in 0..2 {
        let failed = talk
            .call("query_database", within("SELECT 1"))
            .await
            .unwrap_err();
        assert!(failed.contains("this session is not open"), "{failed}");
    }
}

#[tokio::test]
async fn an_error_leaves_the_state_as_it_was() {
    let talk = Talk::new("mistakes").await;
    talk.write("CREATE TEMP TABLE a AS SELECT 1 AS n").await;
    talk.unread("SELECT 1/0 FROM a").await;
    talk.unread("SELECT pg_notify('a', 'b')").await;
    talk.refused("INSERT INTO a VALUES ('x')").await;
    talk.refused("UPDATE mistakes.t SET note = 'x'").await;
    talk.refused("CREATE TEMP TABLE a (b int)").await;
    talk.refused("DROP TABLE mistakes.t").await;
    assert_eq!(talk.read("SELECT n FROM a").await, "n\n1");
}

#[tokio::test]
async fn a_session_is_no_way_around_reading_only() {
    let talk = Talk::new("around").await;
    let state = "SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM around.t t";
    let before = talk.value(state).await;
    talk.write("PREPARE gone AS DELETE FROM around.t").await;
    talk.write("PREPARE some_gone AS DELETE FROM around.t WHERE id < 100 RETURNING id")
        .await;
    talk.write("CREATE TEMP TABLE mine AS SELECT 1 AS n").await;
    for query in [
        "EXECUTE gone",
        "SELECT * FROM (EXECUTE gone) q",
        "EXPLAIN ANALYZE EXECUTE gone",
        "INSERT INTO mine VALUES (1)",
        "WITH d AS (DELETE FROM mine RETURNING n) SELECT * FROM d",
    ] {
        assert!(talk.unread(query).await.starts_with("ERROR"), "{query}");
    }
    let plan = json!({ "query": "EXECUTE gone" });
    talk.call("execute_explain", plan).await.unwrap_err();
    // What changes rows is held to its limit, too.
    for query in [
        "EXECUTE gone",
        "CREATE TEMP TABLE b AS SELECT generate_series(1, 101)",
    ] {
        assert!(
            talk.refused(query).await.contains("more than 100 rows"),
            "{query}"
        );
    }
    let few = json!({ "query": "EXECUTE some_gone", "max_rows": 10 });
    let failed = talk.call("execute_write", few).await.unwrap_err();
    assert!(failed.contains("more than 10 rows"), "{failed}");
    for query in [
        "PREPARE r AS WITH d AS (DELETE FROM around.t RETURNING *) SELECT count(*) FROM d",
        "PREPARE r AS SELECT 1) q; DELETE FROM around.t; --",
        "PREPARE r AS SELECT * INTO around.u FROM around.t",
        "PREPARE r AS TRUNCATE around.t",
        "CREATE TEMP TABLE r AS WITH d AS (DELETE FROM around.t RETURNING *) SELECT count(*) FROM d",
        "CREATE TEMP TABLE around.r (a int)",
        "CREATE TEMP TABLE r (a int REFERENCES around.t)",
        "CREATE TEMP TABLE r (a int); DELETE FROM around.t",
        "CREATE TEMP TABLE r (a int DEFAULT pg_terminate_backend(1))",
        "EXECUTE gone; SELECT 1",
        "SET my.name = 'x'; DELETE FROM around.t",
        "SET ROLE postgres",
        "SET SESSION AUTHORIZATION postgres",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        "PREPARE r AS SELECT set_config('role', 'postgres', false)",
        "DISCARD ALL",
        "LISTEN a",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    ] {
        talk.refused(query).await;
    }
    // There is nothing that could be run in place of one of our own statements.
    for _ in 0..3 {
        let ours = "SELECT count(*) AS n FROM pg_prepared_statements WHERE NOT from_sql";
        assert_eq!(talk.read(ours).await, "n\n0");
    }
    // Nothing is left of a prepared statement that was refused.
    assert!(talk.refused("EXECUTE r").await.contains("26000"));
    assert_eq!(talk.value(state).await, before);
    assert_eq!(
        talk.value("SELECT to_regclass('around.u') IS NULL").await,
        "true"
    );
    let mode = "SELECT current_setting('transaction_read_only') AS a, current_setting('statement_timeout') AS b";
    assert_eq!(talk.read(mode).await, "a\tb\non\t30s");
    assert_eq!(talk.read("SELECT n FROM mine").await, "n\n1");
    // What is changed within the limit is kept.
    let done = talk
        .call("execute_write", json!({ "query": "EXECUTE some_gone" }))
        .await
        .unwrap();
    assert_eq!(
        (&done.1["affected_rows"], &done.1["row_count"]),
        (&json!(99), &json!(99))
    );
    assert_eq!(talk.value("SELECT count(*) FROM around.t").await, "101");
}

#[tokio::test]
async fn nothing_in_a_session_changes_what_tools_tell_or_refuse() {
    let talk = Talk::new("shadows").await;
    let owner = "CREATE TYPE shadows.mood AS ENUM ('good'); \
         CREATE TABLE shadows.pg_class (a int); \
         CREATE FUNCTION shadows.lower(text) RETURNS text LANGUAGE sql AS $$SELECT 'wrong'$$; \
         CREATE TABLE shadows.text (a int)";
    talk.owner.batch_execute(owner).await.unwrap();
    let schema = json!({ "schema_name": "shadows" });
    let before = talk.call("get_schema_info", schema.clone()).await.unwrap();
    for name in [
        "pg_class",
        "pg_proc",
        "pg_type",
        "pg_namespace",
        "pg_roles",
        "pg_locks",
        "pg_attribute",
        "pg_database",
        "pg_db_role_setting",
        "text",
        "oid",
        "regclass",
        "name",
        "int8",
        "json",
        "bool",
    ] {
        talk.write(&format!("CREATE TEMP TABLE {name} (relname int, a int)"))
            .await;
    }
    talk.write("SET search_path = shadows, shop, public").await;
    for path in [
        "shadows, pg_catalog",
        "pg_temp, shadows",
        "'pg_catalog'",
        "shadows, \"pg_catalog\"",
    ] {
        let refused = talk.refused(&format!("SET search_path = {path}")).await;
        assert!(refused.contains("begin with pg_"), "{refused}");
    }
    // The lists are loaded again, on the session's own connection, and contain what they did before.
    let fresh = Arc::new(Shelf::new(everything()).unwrap());
    let talk = Talk {
        caller: Caller {
            shelf: fresh,
            ..talk.caller
        },
        ..talk
    };
    for query in [
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_notify('a', 'b')",
        "SELECT lo_export(1, '/tmp/x')",
        "SELECT query_to_xml('SELECT 1', true, true, '')",
    ] {
        let failed = talk.unread(query).await;
        assert!(failed.contains("may not appear"), "{query}: {failed}");
    }
    assert!(
        talk.refused("PREPARE p AS SELECT pg_notify('a', 'b')")
            .await
            .contains("may not appear")
    );
    let typed = talk
        .call(
            "query_database",
            json!({ "query": "SELECT 'good'::shadows.mood AS m" }),
        )
        .await
        .unwrap();
    assert_eq!(typed.1["columns"][0]["type"], "mood");
    let after = talk.call("get_schema_info", schema).await.unwrap();
    assert_eq!(before, after);
    // A custom setting of the operator's stays, also for roles that it was not set for.
    talk.owner
        .batch_execute("ALTER ROLE shop_reader SET tenant.id = '7'")
        .await
        .unwrap();
    let refused = talk.refused("SET tenant.ID = '8'").await;
    assert!(refused.contains("was set by the operator"), "{refused}");
    talk.owner
        .batch_execute("ALTER ROLE shop_reader RESET tenant.id; DROP SCHEMA shadows CASCADE")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_temporary_table_changes_nothing_in_what_queries_of_others_may_name() {
    let talk = Talk::new("shared").await;
    for name in ["internal", "trigger", "event_trigger"] {
        talk.write(&format!("CREATE TEMP TABLE {name} (id int)"))
            .await;
    }
    // The list is loaded again, by a call on the connection that has these.
    talk.caller.shelf.means.reader.guards.replace([]);
    talk.read("SELECT 1").await;
    let others = "SELECT 'system', count(*) FROM shared.t TABLESAMPLE bernoulli (100)";
    let (_, answer) = talk
        .caller
        .done("query_database", json!({ "query": others }))
        .await;
    assert_eq!(answer["rows"], json!([["system", 200]]));
    talk.owner
        .batch_execute("DROP SCHEMA shared CASCADE")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_setting_is_changed_by_set_alone() {
    let talk = Talk::new("settles").await;
    talk.write("CREATE TEMP TABLE names AS SELECT 'work_mem' AS name")
        .await;
    let settings = "SELECT string_agg(current_setting(s), ' ') FROM unnest(ARRAY['work_mem', 'application_name', 'role', 'search_path', 'client_encoding']) s";
    let before = talk.read(settings).await;
    for hostile in [
        // An update of this view runs set_config, by one of PostgreSQL's rules.
        "UPDATE pg_settings SET setting = '1GB' WHERE name = 'work_mem'",
        "UPDATE pg_catalog.\"pg_settings\" s SET setting = '1GB' FROM names n WHERE s.name = n.name",
        "update PG_SETTINGS set setting = 'mcp/another' where name = 'application_name'",
        "UPDATE pg_settings SET setting = 'settles, pg_catalog' WHERE name = 'search_path'",
        "UPDATE pg_settings SET setting = 'SJIS' WHERE name = 'client_encoding'",
        "UPDATE pg_settings SET setting = 'none' WHERE name = 'role'",
        "PREPARE p AS UPDATE pg_settings SET setting = '1GB' WHERE name = 'work_mem'",
        "INSERT INTO names SELECT set_config('work_mem', '1GB', false)",
    ] {
        talk.refused(hostile).await;
        assert_eq!(talk.read(settings).await, before, "{hostile}");
    }
    // A setting of an extension may let anybody do what was not to be done.
    let refused = talk.refused("SET PlPgSQL.check_asserts = off").await;
    assert!(refused.contains("of the extension plpgsql"), "{refused}");
    for own in ["my.name", "hnsw.ef_search", "pg_trgm.similarity_threshold"] {
        talk.write(&format!("SET {own} = 1")).await;
    }
    // They can be read, and kept.
    talk.read("SELECT setting FROM pg_settings").await;
    talk.write("CREATE TEMP TABLE kept AS SELECT name FROM pg_settings LIMIT 2")
        .await;
    talk.write("INSERT INTO kept SELECT name FROM pg_settings LIMIT 2")
        .await;
    // No other view of PostgreSQL's has a rule for changes.
    let rules = "SELECT count(*) FROM pg_rewrite r WHERE r.ev_type <> '1' AND r.ev_class < 16384 AND r.ev_class <> 'pg_settings'::regclass";
    assert_eq!(talk.read(rules).await, "count\n0");
}

#[tokio::test]
async fn a_temporary_table_hides_another_at_once_and_a_dropped_one_no_more() {
    let talk = Talk::new("hides").await;
    talk.write("SET search_path = hides").await;
    let query = "SELECT count(*) AS n FROM t";
    for _ in 0..3 {
        assert_eq!(talk.read(query).await, "n\n200");
    }
    talk.write("CREATE TEMP TABLE other (a int)").await;
    talk.write("CREATE TEMP TABLE t (a int)").await;
    assert_eq!(talk.read(query).await, "n\n0");
    talk.write("DROP TABLE pg_temp.t").await;
    assert_eq!(talk.read(query).await, "n\n200");
}

#[tokio::test]
async fn a_role_and_a_list_of_schemas_hold_in_a_session() {
    let mut talk = Talk::new("walled").await;
    let owner = "CREATE SCHEMA forbidden; CREATE TABLE forbidden.secret AS SELECT 'canary' AS s; \
         CREATE ROLE walled_writer; GRANT TEMP ON DATABASE postgres TO walled_writer; GRANT USAGE ON SCHEMA walled, forbidden TO walled_writer; \
         CREATE VIEW walled.over AS SELECT * FROM forbidden.secret; \
         GRANT ALL ON walled.t, walled.over, forbidden.secret TO walled_writer";
    talk.owner.batch_execute(owner).await.unwrap();
    let policy = Policy {
        access: Access::Write,
        role: crate::Role::Set("walled_writer".into()),
        schemas: Some(["walled".to_owned()].into()),
        ..Policy::default()
    };
    talk.caller.agent = talk.caller.agent.clone().with_policy(policy);
    talk.write("CREATE TEMP TABLE secret AS SELECT 'mine' AS s")
        .await;
    talk.write("INSERT INTO secret SELECT note FROM walled.t LIMIT 1")
        .await;
    // The statement that judges others is not misled either.
    for name in [
        "text",
        "pg_locks",
        "pg_class",
        "pg_namespace",
        "pg_database",
    ] {
        talk.write(&format!("CREATE TEMP TABLE {name} (a int)"))
            .await;
    }
    talk.write("SET search_path = forbidden, walled").await;
    assert!(talk.read("SELECT s FROM secret").await.contains("mine"));
    for query in [
        "CREATE TEMP TABLE b AS SELECT * FROM forbidden.secret",
        // What a view stands for is not looked up when such a statement is parsed.
        "CREATE TEMP TABLE b AS SELECT * FROM walled.over",
        "create temporary table if not exists \"b\"as table walled.over",
        "CREATE TEMP TABLE b (c) AS SELECT s FROM walled.over",
        "CREATE TEMP TABLE b ON COMMIT PRESERVE ROWS AS SELECT * FROM walled.over",
        "CREATE TEMP TABLE b AS SELECT * FROM walled.over WITH NO DATA",
        "CREATE TEMP TABLE b (LIKE forbidden.secret INCLUDING ALL)",
        "INSERT INTO secret SELECT s FROM forbidden.secret",
        "PREPARE p AS SELECT s FROM secret",
        "EXECUTE p",
        "SET mcp.schemas = '{forbidden}'",
        "RESET mcp.schemas",
        "SET role = none",
    ] {
        let failed = talk.refused(query).await;
        assert!(!failed.contains("canary"), "{query}: {failed}");
    }
    talk.write("DROP TABLE pg_temp.secret").await;
    let failed = talk.unread("SELECT s FROM secret").await;
    assert!(failed.contains("may not use forbidden.secret"), "{failed}");
    assert_eq!(
        talk.read("SELECT current_user AS u").await,
        "u\nwalled_writer"
    );
    talk.owner
        .batch_execute("DROP SCHEMA forbidden CASCADE; DROP SCHEMA walled CASCADE; DROP OWNED BY walled_writer")
        .await
        .unwrap();
}

#[tokio::test]
async fn pages_of_one_session_are_not_another_ones() {
    let talk = Talk::new("paged").await;
    talk.write("CREATE TEMP TABLE a AS SELECT generate_series(1, 50) AS n")
        .await;
    let query = "SELECT n FROM a ORDER BY n";
    let page = |cursor: Option<&Value>| json!({ "query": query, "limit": 10, "cursor": cursor });
    let (_, first) = talk.call("query_database", page(None)).await.unwrap();
    let next = &first["next_cursor"];
    let (_, second) = talk.call("query_database", page(Some(next))).await.unwrap();
    assert_eq!(second["rows"][0], json!([11]));
    let other = Talking::new("two");
    let make = json!({ "query": "CREATE TEMP TABLE a AS SELECT generate_series(101, 150) AS n" });
    talk.call_from(&other, "execute_write", make).await.unwrap();
    let failed = talk
        .call_from(&other, "query_database", page(Some(next)))
        .await
        .unwrap_err();
    assert!(
        failed.contains("cursor is not one of this query"),
        "{failed}"
    );
}

#[tokio::test]
async fn calls_in_one_session_take_turns() {
    let talk = Talk::new("turns").await;
    talk.write("CREATE TEMP TABLE a (n int)").await;
    let inserts = (0..8).map(|n| {
        let given = json!({ "query": format!("INSERT INTO a VALUES ({n})") });
        talk.call("execute_write", given)
    });
    for done in futures_util::future::join_all(inserts).await {
        done.unwrap();
    }
    assert_eq!(talk.read("SELECT count(*) AS n FROM a").await, "n\n8");
}
