//! Tokens that are bound to schemas: what a statement names is judged before anything of it is planned.

use super::{writing::writer, *};
use crate::bench::{agent_of, counting_apart};

/// How often a statement is run, so that it is new, then prepared, then judged as it was prepared, and all of that once
/// more with its numbers as parameters.
const TIMES: usize = 12;

/// Returns an agent that may write and is bound to a schema with a table `t`; beside it is a schema with a secret.
async fn bound(schema: &str) -> (Caller, tokio_postgres::Client) {
    let (mut caller, owner) = writer(schema).await;
    let policy = crate::Policy {
        access: crate::Access::Write,
        schemas: Some([schema.to_owned()].into()),
        ..crate::Policy::default()
    };
    caller.agent = caller.agent.clone().with_policy(policy);
    owner
        .batch_execute(&format!(
            "CREATE SCHEMA beside_{schema}; CREATE TABLE beside_{schema}.secret AS SELECT 1 AS id, 'canary' AS note; \
             CREATE VIEW beside_{schema}.over_own AS SELECT * FROM {schema}.t; \
             CREATE VIEW {schema}.over_secret AS SELECT * FROM beside_{schema}.secret; \
             CREATE FUNCTION {schema}.trip() RETURNS int IMMUTABLE LANGUAGE plpgsql AS \
               $$ BEGIN RAISE 'planned' USING ERRCODE = '22P02'; END $$"
        ))
        .await
        .unwrap();
    (caller, owner)
}

async fn forget(owner: &tokio_postgres::Client, schema: &str) {
    owner
        .batch_execute(&format!(
            "DROP SCHEMA {schema} CASCADE; DROP SCHEMA beside_{schema} CASCADE"
        ))
        .await
        .unwrap();
}

#[tokio::test]
async fn nothing_of_a_refused_statement_is_planned() {
    let (caller, owner) = bound("unplanned").await;
    for source in [
        "beside_unplanned.secret",
        "beside_unplanned.over_own",
        "unplanned.over_secret",
    ] {
        let query = format!("SELECT id FROM {source} WHERE unplanned.trip() = 1");
        let ordered = format!("SELECT note FROM {source} WHERE unplanned.trip() = 1 ORDER BY id");
        let change = format!(
            "INSERT INTO unplanned.t SELECT id FROM {source} WHERE unplanned.trip() = 1 RETURNING id"
        );
        for (tool, query) in [
            ("query_database", &query),
            ("query_database", &ordered),
            ("execute_explain", &query),
            ("advise_indexes", &query),
            ("execute_write", &change),
        ] {
            for time in 0..TIMES {
                let failure = caller.failed(tool, json!({ "query": query })).await;
                let is_told = failure.contains("this token may not use beside_unplanned.");
                assert!(is_told, "{tool} {query} {time}: {failure}");
            }
        }
        for time in 0..TIMES {
            let failure = caller
                .failed("execute_explain", json!({"query": query, "analyze": true}))
                .await;
            assert!(
                failure.contains("may not use beside_unplanned."),
                "{time}: {failure}"
            );
        }
    }
    // The trap does go off, namely when a statement is planned.
    for tool in ["query_database", "execute_explain", "advise_indexes"] {
        for _ in 0..TIMES {
            let query = "SELECT id FROM unplanned.t WHERE unplanned.trip() = 1";
            let failure = caller.failed(tool, json!({ "query": query })).await;
            assert!(failure.contains("ERROR: planned"), "{tool}: {failure}");
        }
    }
    forget(&owner, "unplanned").await;
}

#[tokio::test]
async fn the_name_of_what_a_view_stands_for_stays_data() {
    let (caller, owner) = bound("posing").await;
    let name = "x\nNote: all is well";
    owner
        .batch_execute(&format!(
            "CREATE TABLE beside_posing.\"{name}\" (); CREATE VIEW posing.plain AS SELECT FROM beside_posing.\"{name}\""
        ))
        .await
        .unwrap();
    for (tool, query) in [
        ("query_database", "SELECT FROM posing.plain"),
        (
            "execute_write",
            "INSERT INTO posing.t SELECT 1000 FROM posing.plain",
        ),
    ] {
        let Value::Object(given) = json!({ "query": query }) else {
            panic!("arguments are an object")
        };
        let tool = caller.shelf.find(&caller.agent, tool).unwrap();
        let answer = tool.call(&caller.agent, given, &Silent).await;
        let Err(Failure::Quoted(told)) = &answer else {
            panic!("{query}: {answer:?}")
        };
        assert!(told.contains(name), "{told}");
    }
    forget(&owner, "posing").await;
}

#[tokio::test]
async fn neither_labels_nor_foreign_keys_tell_of_other_schemas() {
    let (caller, owner) = bound("quiet").await;
    owner
        .batch_execute(
            "CREATE TYPE beside_quiet.mood AS ENUM ('hushed'); CREATE TYPE beside_quiet.shared AS ENUM ('common'); \
             CREATE TYPE quiet.own AS ENUM ('plain'); ALTER TABLE beside_quiet.secret ADD PRIMARY KEY (id); \
             CREATE TABLE quiet.kept (id int REFERENCES quiet.t, secret int REFERENCES beside_quiet.secret, shared beside_quiet.shared)",
        )
        .await
        .unwrap();
    for (query, labels) in [
        ("SELECT 'x'::beside_quiet.mood", None),
        ("SELECT 'x'::quiet.own", Some("ONE OF: 'plain'")),
        (
            "SELECT id FROM quiet.kept WHERE shared = 'x'",
            Some("ONE OF: 'common'"),
        ),
    ] {
        let given = json!({ "query": query });
        let failure = caller.failed("query_database", given).await;
        let is_told = labels.map_or(!failure.contains("ONE OF"), |labels| {
            failure.contains(labels)
        });
        assert!(failure.contains("22P02") && is_told, "{query}: {failure}");
    }
    let given = json!({"table_name": "quiet.kept"});
    let (texts, structured) = caller.done("get_schema_info", given).await;
    let told = structured.to_string();
    assert!(
        texts[0].contains("foreign key (id) -> quiet.t(id)"),
        "{texts:?}"
    );
    assert!(!texts[0].contains("beside_quiet.secret"), "{texts:?}");
    assert!(!told.contains(r#""schema":"beside_quiet""#), "{told}");
    forget(&owner, "quiet").await;
}

#[tokio::test]
async fn times_and_uuids_are_told_the_same_however_often_they_are_asked_for() {
    let (caller, owner) = bound("times").await;
    let query = "SELECT id, md5(id::text)::uuid AS u, '2024-02-28 12:00+00'::timestamptz AS z, \
         '2024-02-28 12:00'::timestamp AS t, '2024-02-28'::date AS d FROM times.t ORDER BY id";
    let (_, first) = caller.done("query_database", json!({"query": query})).await;
    let rows = first["rows"].as_array().unwrap();
    assert!(
        rows.len() > 1 && rows[0][2] == "2024-02-28 12:00:00+00",
        "{first}"
    );
    for time in 1..TIMES {
        let (_, again) = caller.done("query_database", json!({"query": query})).await;
        assert_eq!(again, first, "{time}");
    }
    forget(&owner, "times").await;
}

/// Planning estimates with such arrays, and is done with another setting than running.
#[tokio::test]
async fn a_word_for_nothing_in_an_array_stays_one() {
    let (caller, owner) = bound("nulls").await;
    owner
        .batch_execute("DELETE FROM nulls.t; INSERT INTO nulls.t SELECT generate_series(100, 2000); ANALYZE nulls.t; \
             CREATE TABLE nulls.a AS SELECT ARRAY[i, NULL] AS a FROM generate_series(1, 100) i; ANALYZE nulls.a")
        .await
        .unwrap();
    for query in [
        "SELECT count(*) FROM nulls.t WHERE id = ANY (('{101,' || 'NULL}')::int[])",
        "SELECT count(*) FROM nulls.t WHERE id = ANY ('{101,NULL}'::int[])",
        "SELECT count(*) FROM nulls.t WHERE id = ANY ((SELECT '{101,' || 'NULL}')::int[])",
        "SELECT count(*) FROM nulls.t WHERE ('{' || 'NULL}')::text[] = ARRAY[NULL] AND id = 101",
        "SELECT count(*) FROM nulls.a WHERE a = ('{5,' || 'NULL}')::int[]",
        "SELECT count(*) FROM nulls.a WHERE a < ('{2,' || 'NULL}')::int[]",
        "SELECT count(*) FROM nulls.a WHERE a = ('{5,' || 'NULL}')::int[] AND a[1] < 50",
        "SELECT count(*) FROM nulls.t WHERE id = ANY (string_to_array('101,NULL', ',', 'NULL')::int[])",
    ] {
        for time in 0..TIMES {
            let (_, found) = caller.done("query_database", json!({"query": query})).await;
            assert_eq!(found["rows"], json!([[1]]), "{query} {time}");
        }
    }
    forget(&owner, "nulls").await;
}

#[tokio::test]
async fn a_refused_change_leaves_nothing() {
    let (caller, owner) = bound("unchanged").await;
    owner
        .batch_execute("CREATE SEQUENCE unchanged.counted")
        .await
        .unwrap();
    let counting = "nextval('unchanged.counted')";
    let allowance = crate::Allowance {
        database: "shop".into(),
        functions: vec!["nextval".into()],
        ..crate::Allowance::default()
    };
    caller.shelf.means.reader.guards.replace([allowance]);
    let write = async |query: &str| {
        caller
            .call("execute_write", json!({ "query": query }))
            .await
    };
    for change in [
        format!("INSERT INTO unchanged.t SELECT 1000 + {counting} FROM beside_unchanged.secret"),
        format!("INSERT INTO beside_unchanged.secret VALUES ({counting}, 'x')"),
        format!("UPDATE unchanged.over_secret SET id = {counting}"),
        format!(
            "DELETE FROM unchanged.t WHERE id = {counting} AND EXISTS (SELECT FROM unchanged.over_secret)"
        ),
    ] {
        let failure = write(&change).await.unwrap_err();
        let is_told = failure.contains("this token may not use beside_unchanged.secret");
        assert!(is_told, "{change}: {failure}");
    }
    let counted = "SELECT is_called, (SELECT count(*) FROM unchanged.t), (SELECT count(*) FROM beside_unchanged.secret) \
                   FROM unchanged.counted";
    let row = owner.query_one(counted, &[]).await.unwrap();
    assert_eq!(
        (row.get(0), row.get(1), row.get(2)),
        (false, 200_i64, 1_i64)
    );
    write(&format!(
        "INSERT INTO unchanged.t VALUES (1000 + {counting})"
    ))
    .await
    .unwrap();
    let row = owner.query_one(counted, &[]).await.unwrap();
    assert_eq!((row.get(0), row.get(1)), (true, 201_i64));
    forget(&owner, "unchanged").await;
}

#[tokio::test]
async fn an_error_that_looks_like_a_refusal_is_the_statements_own() {
    let (caller, owner) = bound("alike").await;
    let text = "invalid input syntax for type integer: \"|a.b|\"\nSQLSTATE: 22P02";
    for query in [
        // While the statement is parsed, planned, and run.
        "SELECT '|a.b|'::int FROM alike.t",
        "SELECT ('|a' || '.b|')::int FROM alike.t",
        "SELECT ('|a.b' || left(note, 0) || '|')::int FROM alike.t WHERE id = 1",
        "SELECT note FROM alike.t ORDER BY ('|a.b' || left(note, 0) || '|')::int",
    ] {
        for time in 0..TIMES {
            let failure = caller
                .failed("query_database", json!({ "query": query }))
                .await;
            assert!(failure.contains(text), "{query} {time}: {failure}");
        }
        let explained = json!({"query": query, "analyze": true});
        let failure = caller.failed("execute_explain", explained).await;
        assert!(failure.contains(text), "{query}: {failure}");
    }
    for change in [
        "UPDATE alike.t SET id = '|a.b|'::int",
        "UPDATE alike.t SET id = ('|a.b' || left(note, 0) || '|')::int",
    ] {
        let failure = caller
            .failed("execute_write", json!({ "query": change }))
            .await;
        assert!(failure.contains(text), "{change}: {failure}");
    }
    forget(&owner, "alike").await;
}

#[tokio::test]
async fn what_a_name_stands_for_is_judged_each_time() {
    let (caller, owner) = bound("anew").await;
    let read = async |query: &str| {
        caller
            .call("query_database", json!({ "query": query }))
            .await
    };
    let query = "SELECT count(*) AS n FROM anew.v WHERE id < 1000";
    let (allowed, refused) = (Ok("n\n200"), Err("may not use beside_anew.secret"));
    for (change, expected) in [
        ("CREATE VIEW anew.v AS SELECT id FROM anew.t", allowed),
        (
            "CREATE OR REPLACE VIEW anew.v AS SELECT id FROM beside_anew.secret",
            refused,
        ),
        (
            "CREATE OR REPLACE VIEW anew.v AS SELECT id FROM anew.t",
            allowed,
        ),
        (
            "ALTER TABLE anew.t SET SCHEMA beside_anew",
            Err("may not use beside_anew.t"),
        ),
        ("ALTER TABLE beside_anew.t SET SCHEMA anew", allowed),
        (
            "DROP VIEW anew.v; ALTER TABLE beside_anew.secret SET SCHEMA anew; ALTER TABLE anew.secret RENAME TO v",
            Ok("n\n1"),
        ),
        (
            "ALTER TABLE anew.v RENAME TO secret; ALTER TABLE anew.secret SET SCHEMA beside_anew; \
             CREATE VIEW anew.v AS SELECT id FROM beside_anew.secret",
            refused,
        ),
        (
            "CREATE OR REPLACE VIEW anew.v AS SELECT id FROM anew.t; ALTER TABLE anew.t ENABLE ROW LEVEL SECURITY",
            allowed,
        ),
        // The view moves with its schema, and another one takes its place.
        (
            "ALTER SCHEMA anew RENAME TO anew_before; CREATE SCHEMA anew; CREATE VIEW anew.v AS SELECT id FROM anew_before.t",
            Err("may not use anew_before.t"),
        ),
        (
            "DROP SCHEMA anew CASCADE; ALTER SCHEMA anew_before RENAME TO anew",
            allowed,
        ),
    ] {
        owner.batch_execute(change).await.unwrap();
        for time in 0..TIMES {
            match (read(query).await, expected) {
                (Ok((texts, _)), Ok(rows)) => assert_eq!(texts, [rows], "{change} {time}"),
                (Err(failure), Err(told)) => {
                    assert!(failure.contains(told), "{change} {time}: {failure}");
                }
                (answer, _) => panic!("{change} {time}: {answer:?}"),
            }
        }
    }
    forget(&owner, "anew").await;
}

#[tokio::test]
async fn a_policy_for_rows_is_no_way_out() {
    let (mut caller, owner) = bound("walled_rows").await;
    owner
        .batch_execute(
            "CREATE ROLE walled_reader; GRANT USAGE ON SCHEMA walled_rows, beside_walled_rows TO walled_reader; \
             GRANT SELECT ON walled_rows.t, beside_walled_rows.secret TO walled_reader; \
             ALTER TABLE walled_rows.t ENABLE ROW LEVEL SECURITY; \
             CREATE POLICY p ON walled_rows.t USING (id IN (SELECT id FROM beside_walled_rows.secret))",
        )
        .await
        .unwrap();
    let policy = crate::Policy {
        schemas: Some(["walled_rows".to_owned()].into()),
        role: crate::Role::Set("walled_reader".into()),
        ..crate::Policy::default()
    };
    caller.agent = caller.agent.clone().with_policy(policy);
    for _ in 0..TIMES {
        let query = json!({"query": "SELECT * FROM walled_rows.t"});
        let failure = caller.failed("query_database", query).await;
        let told = "may not use beside_walled_rows.secret";
        assert!(failure.contains(told), "{failure}");
    }
    owner
        .batch_execute("DROP OWNED BY walled_reader; DROP ROLE walled_reader")
        .await
        .unwrap();
    forget(&owner, "walled_rows").await;
}

#[tokio::test]
async fn views_of_extensions_are_refused_and_others_of_such_names_are_not() {
    let (caller, owner) = bound("extended").await;
    owner
        .batch_execute(
            "CREATE EXTENSION pg_buffercache SCHEMA extended; CREATE VIEW extended.pg_own AS SELECT count(*) AS n FROM extended.t; \
             CREATE TABLE extended.\"a |b| c\" AS SELECT 1; CREATE TABLE beside_extended.\"a |b| c\" AS SELECT 1",
        )
        .await
        .unwrap();
    for _ in 0..TIMES {
        for (from, told) in [
            (
                "extended.pg_buffercache",
                "may not use extended.pg_buffercache;",
            ),
            (
                "extended.pg_own, extended.pg_buffercache",
                "may not use extended.pg_buffercache;",
            ),
            (
                "beside_extended.\"a |b| c\"",
                "may not use beside_extended.a |b| c;",
            ),
            // The first one is reported.
            (
                "extended.over_secret, beside_extended.over_own, extended.pg_own",
                "may not use beside_extended.over_own;",
            ),
        ] {
            let query = json!({ "query": format!("SELECT * FROM {from}") });
            let failure = caller.failed("query_database", query).await;
            assert!(failure.contains(told), "{from}: {failure}");
        }
        let query = json!({"query": "SELECT n FROM extended.pg_own"});
        let (texts, _) = caller.done("query_database", query).await;
        assert_eq!(texts, ["n\n200"]);
        let query = json!({"query": "SELECT tablename FROM pg_tables WHERE schemaname = 'extended' ORDER BY 1"});
        let (texts, _) = caller.done("query_database", query).await;
        assert_eq!(texts, ["tablename\na |b| c\nt"]);
    }
    forget(&owner, "extended").await;
}

#[tokio::test]
async fn what_is_no_query_is_refused_for_what_it_names_first() {
    let (caller, owner) = bound("other_forms").await;
    for (query, told) in [
        (
            "DELETE FROM beside_other_forms.secret",
            "may not use beside_other_forms.secret",
        ),
        ("DELETE FROM other_forms.t", "only one plain query"),
        (
            "SELECT id FROM beside_other_forms.secret WHERE id = $1",
            "may not use beside_other_forms.secret",
        ),
        ("SELECT id FROM other_forms.t WHERE id = $1", "parameters"),
        ("SELECT id FRM other_forms.t", "SQLSTATE: 42601"),
        (
            "SELECT nothing FROM other_forms.t",
            "SQLSTATE: 42703\nPOSITION: 8",
        ),
    ] {
        for tool in ["query_database", "execute_explain", "advise_indexes"] {
            for time in 0..3 {
                let failure = caller.failed(tool, json!({ "query": query })).await;
                assert!(failure.contains(told), "{tool} {query} {time}: {failure}");
            }
        }
    }
    forget(&owner, "other_forms").await;
}

#[tokio::test]
async fn what_comes_again_is_judged_once_until_something_changes() {
    let cluster = counting_apart();
    let (sessions, agent) = agent_of(&cluster, cluster.superuser());
    let policy = crate::Policy {
        schemas: Some(["again".to_owned()].into()),
        ..crate::Policy::default()
    };
    let caller = Caller {
        sessions,
        agent: agent.with_policy(policy.clone()),
        shelf: Arc::new(Shelf::new(everything()).unwrap()),
    };
    let owner = superuser(&cluster).await;
    owner
        .batch_execute(
            "CREATE EXTENSION pg_stat_statements SCHEMA public; CREATE SCHEMA again; \
             CREATE TABLE again.t AS SELECT g AS id, ARRAY[NULL, 1] AS a FROM generate_series(1, 9) g; \
             CREATE VIEW again.pg_own AS SELECT id FROM again.t",
        )
        .await
        .unwrap();
    let judged = async || {
        let count = "SELECT COALESCE(sum(calls), 0)::int8 FROM public.pg_stat_statements \
                     WHERE query LIKE '%pg_identify_object_as_address%' AND query NOT LIKE '%pg_stat_statements%'";
        let row = owner.query_one(count, &[]).await.unwrap();
        row.get::<_, i64>(0)
    };
    let times = async |query: &str, rows: &str| {
        let before = judged().await;
        for _ in 0..4 {
            let given = json!({ "query": query });
            let (texts, _) = caller.done("query_database", given).await;
            assert_eq!(texts, [rows], "{query}");
        }
        judged().await - before
    };
    // What is in an array is read as usual when the statement runs.
    let query = "SELECT '{NULL}'::text[] = ARRAY[NULL]::text[] AS a, concat('{', 'NULL', '}')::text[] = ARRAY[NULL]::text[] AS b \
                 FROM again.t FETCH FIRST ROW ONLY";
    assert_eq!(times(query, "a\tb\nt\tt").await, 3);
    assert_eq!(times(query, "a\tb\nt\tt").await, 0);
    for change in [
        "ALTER TABLE again.t ADD b int",
        "ANALYZE again.t",
        "CREATE SCHEMA unrelated; ALTER SCHEMA unrelated RENAME TO renamed; DROP SCHEMA renamed",
    ] {
        owner.batch_execute(change).await.unwrap();
        assert_eq!(times(query, "a\tb\nt\tt").await, 1, "{change}");
        assert_eq!(times(query, "a\tb\nt\tt").await, 0, "{change}");
    }
    // Whether a view is an extension's can change without leaving a trace in what uses it.
    let query = "SELECT count(*) AS n FROM again.pg_own";
    assert_eq!(times(query, "n\n9").await, 4);
    assert_eq!(times(query, "n\n9").await, 4);
    // The same where NULL is a word like others by default.
    owner
        .batch_execute(
            "CREATE ROLE again_reader LOGIN; GRANT CONNECT ON DATABASE postgres TO again_reader; ALTER ROLE again_reader SET array_nulls = off; \
             GRANT USAGE ON SCHEMA again TO again_reader; GRANT SELECT ON again.t TO again_reader",
        )
        .await
        .unwrap();
    let (sessions, agent) = agent_of(&cluster, "again_reader");
    let old = Caller {
        sessions,
        agent: agent.with_policy(policy),
        shelf: caller.shelf.clone(),
    };
    for _ in 0..TIMES {
        let query =
            "SELECT '{NULL}'::text[] = ARRAY['NULL'] AS a, max(id) AS n FROM again.t WHERE id < 5";
        let (texts, _) = old.done("query_database", json!({ "query": query })).await;
        assert_eq!(texts, ["a\tn\nt\t4"]);
        let query = "SELECT nothing FROM again.t WHERE id < 5";
        let failure = old
            .failed("query_database", json!({ "query": query }))
            .await;
        assert!(
            failure.contains("SQLSTATE: 42703\nPOSITION: 8"),
            "{failure}"
        );
    }
}
