//! Reading from a real PostgreSQL.

use std::time::{Duration, Instant};

use private_postgres::sample;
use session_pool::Sessions;

use super::*;
use crate::{
    Policy, Role,
    bench::{self, agent, cluster, superuser},
    render,
};

/// A reader of the shop, with a session of its own.
struct Reader {
    sessions: Sessions,
    agent: Agent,
    reader: super::Reader,
}

impl Reader {
    fn new(role: &str) -> Self {
        let (sessions, agent) = agent(role);
        let reader = super::Reader::new(Arc::default(), QueryLimits::default());
        Reader {
            sessions,
            agent,
            reader,
        }
    }

    async fn page(&self, text: &str, limit: u32, offset: u64) -> Result<Rows, ReadError> {
        self.reader
            .query(
                &self.agent,
                text,
                Page {
                    limit,
                    offset,
                    is_shown: true,
                },
            )
            .await
    }

    async fn read(&self, text: &str) -> Result<Rows, ReadError> {
        self.page(text, 100, 0).await
    }

    async fn text(&self, query: &str) -> String {
        match self.read(query).await {
            Ok(rows) => render::rows(&rows).text.plain(),
            Err(error) => panic!("{query}: {}", error.explain()),
        }
    }

    async fn failure(&self, query: &str) -> String {
        match self.read(query).await {
            Ok(rows) => panic!("{query}: answered {}", render::rows(&rows).text.plain()),
            Err(error) => error.explain(),
        }
    }
}

fn reader() -> Reader {
    Reader::new(sample::SHOP_READER)
}

fn allowance(functions: &[&str], dangerous: DangerousRoles) -> Allowance {
    Allowance {
        database: "shop".into(),
        functions: functions.iter().map(|name| (*name).to_owned()).collect(),
        dangerous,
        ..Allowance::default()
    }
}

fn guards(functions: &[&str], dangerous: DangerousRoles) -> Arc<Guards> {
    Arc::new(Guards::new([allowance(functions, dangerous)]))
}

/// PostgreSQL's scanner is not interrupted by a time limit, nor by a cancel request.
#[tokio::test]
async fn no_text_keeps_postgresql_reading_for_long() {
    let reader = reader();
    let run = |part: &str, length: usize| part.repeat(length / part.len());
    for text in [
        format!("SELECT 1 ORDER BY {}", run("+", 60_000)),
        format!("SELECT 1 {}", run("/**/", 60_000)),
        format!("{}{}", run("/*", 40_000), run("*/", 20_000)),
        format!("SELECT {}", (run("*+", 998) + " ").repeat(60)),
        format!("SELECT {}", (run("/**/", 996) + "\n").repeat(60)),
    ] {
        let began = Instant::now();
        let _whatever = reader.read(&text).await;
        let took = began.elapsed();
        assert!(took < Duration::from_secs(3), "{text:.30}: {took:?}");
    }
}

#[tokio::test]
async fn every_type_is_shown_as_psql_shows_it() {
    let reader = reader();
    for (expression, type_name, shown) in [
        ("true", "boolean", "t"),
        ("1::int2", "smallint", "1"),
        ("2147483648", "bigint", "2147483648"),
        ("1.10::numeric", "numeric", "1.10"),
        ("0.1::float4", "real", "0.1"),
        ("'NaN'::float8", "double precision", "NaN"),
        ("'a'::char(3)", "character", "a  "),
        ("'é'::varchar", "character varying", "é"),
        ("'\\x00ff'::bytea", "bytea", "\\x00ff"),
        ("date '2024-02-29'", "date", "2024-02-29"),
        (
            "timestamp '2024-02-29 12:00'",
            "timestamp without time zone",
            "2024-02-29 12:00:00",
        ),
        (
            "timestamptz '2024-02-29 12:00+00' AT TIME ZONE 'UTC'",
            "timestamp without time zone",
            "2024-02-29 12:00:00",
        ),
        ("time '12:00'", "time without time zone", "12:00:00"),
        ("interval '1 year 2 days'", "interval", "1 year 2 days"),
        ("'127.0.0.1'::inet", "inet", "127.0.0.1"),
        ("'10.0.0.0/8'::cidr", "cidr", "10.0.0.0/8"),
        ("'{\"a\": 1}'::jsonb", "jsonb", "{\"a\": 1}"),
        ("'{\"a\":  1}'::json", "json", "{\"a\":  1}"),
        ("ARRAY[1,NULL,3]", "integer[]", "{1,NULL,3}"),
        ("ARRAY['a b','']", "text[]", "{\"a b\",\"\"}"),
        ("ROW(1,'x y',NULL)", "record", "(1,\"x y\",)"),
        ("int4range(1,5)", "int4range", "[1,5)"),
        ("point(1,2)", "point", "(1,2)"),
        ("B'101'", "bit", "101"),
        ("'a b'::tsvector", "tsvector", "'a' 'b'"),
        ("xmlelement(name a)", "xml", "<a/>"),
        (
            "'00000000-0000-0000-0000-000000000001'::uuid",
            "uuid",
            "00000000-0000-0000-0000-000000000001",
        ),
        ("'pg_class'::regclass", "regclass", "pg_class"),
        ("'placed'::shop.order_status", "order_status", "placed"),
        ("NULL::int", "integer", "NULL"),
        ("''", "text", ""),
    ] {
        let rows = reader
            .read(&format!("SELECT {expression} AS v"))
            .await
            .map_err(|e| e.explain());
        let rows = rows.unwrap_or_else(|error| panic!("{expression}: {error}"));
        assert_eq!(rows.columns[0].type_name, type_name, "{expression}");
        assert_eq!(
            render::rows(&rows).text.plain(),
            format!("v\n{shown}"),
            "{expression}"
        );
    }
}

#[tokio::test]
async fn plain_queries_of_every_form_are_answered() {
    let reader = reader();
    for (query, expected) in [
        ("SELECT 1 AS a", "a\n1"),
        ("select 1 as a;", "a\n1"),
        ("SELECT 1 AS a -- a comment", "a\n1"),
        ("/* first */ SELECT 1 AS a; -- last", "a\n1"),
        ("(SELECT 1 AS a)", "a\n1"),
        (
            "VALUES (1, 'x'), (2, NULL)",
            "column1\tcolumn2\n1\tx\n2\tNULL",
        ),
        ("WITH w AS (SELECT 1 AS a) SELECT * FROM w", "a\n1"),
        (
            "WITH RECURSIVE w(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM w WHERE n<3) TABLE w",
            "n\n1\n2\n3",
        ),
        ("SELECT 1 AS a, 2 AS a", "a\ta\n1\t2"),
        ("SELECT 1 AS q, 2 AS r, 3 AS page", "q\tr\tpage\n1\t2\t3"),
        ("SELECT q FROM (SELECT 1 AS q) q", "q\n1"),
        ("SELECT 1 UNION SELECT 2 ORDER BY 1 DESC", "?column?\n2\n1"),
        ("SELECT 'it''s; -- not' AS a", "a\nit's; -- not"),
        ("SELECT $$a;b$$ AS a", "a\na;b"),
        (
            "SELECT g FROM generate_series(1, 3) g ORDER BY g DESC LIMIT 2",
            "g\n3\n2",
        ),
        ("SELECT count(*) FROM users WHERE active", "count\n*"),
        ("SELECT FROM generate_series(1, 2)", "\n\n"),
        ("SELECT E'a\\tb\\nc' AS a", "a\na\\tb\\nc"),
    ] {
        let text = reader.text(query).await;
        match expected.strip_suffix('*') {
            Some(begin) => assert!(text.starts_with(begin), "{query}: {text}"),
            None => assert_eq!(text, expected, "{query}"),
        }
    }
}

#[tokio::test]
async fn what_is_no_plain_query_is_refused_and_changes_nothing() {
    let reader = Reader::new(cluster().superuser());
    let watcher = superuser(cluster()).await;
    let state =
        "SELECT md5(string_agg(t, '')) FROM (SELECT u::text AS t FROM shop.users u ORDER BY 1) x";
    let before: String = watcher.query_one(state, &[]).await.unwrap().get(0);
    for query in [
        "INSERT INTO shop.users SELECT * FROM shop.users",
        "UPDATE shop.users SET active = false",
        "DELETE FROM shop.users RETURNING *",
        "WITH d AS (DELETE FROM shop.users RETURNING *) SELECT * FROM d",
        "SELECT * INTO shop.copy FROM shop.users",
        "CREATE TABLE shop.copy AS SELECT 1",
        "EXPLAIN ANALYZE CREATE TABLE shop.copy AS SELECT 1",
        "COPY shop.users TO PROGRAM 'cat'",
        "COPY (SELECT 1) TO STDOUT",
        "DO $$BEGIN DELETE FROM shop.users; END$$",
        "SET ROLE postgres",
        "SHOW work_mem",
        "BEGIN",
        "COMMIT",
        "ROLLBACK; DELETE FROM shop.users",
        "SELECT 1; DELETE FROM shop.users",
        "SELECT 1) q; DELETE FROM shop.users; --",
        "SELECT 1) q, (SELECT 2",
        "SELECT 1) q LIMIT 1 OFFSET 0) page; COMMIT; --",
        "SELECT * FROM shop.users FOR UPDATE",
        "PREPARE x AS SELECT 1",
        "EXECUTE x",
        "LISTEN a",
        "NOTIFY a",
        "LOCK shop.users",
        "VACUUM",
        "DISCARD ALL",
        "SELECT nextval('shop.nothing')",
        "SELECT pg_terminate_backend(1)",
        "SELECT PG_Terminate_Backend(pid) FROM pg_stat_activity",
        "SELECT \"pg_terminate_backend\"(1)",
        "SELECT pg_catalog . pg_advisory_lock(1)",
        "SELECT pg_notify('a', 'b')",
        "SELECT lo_from_bytea(0, 'x')",
        "SELECT lo_export(1, '/tmp/x')",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT set_config('role', 'postgres', false)",
        "SELECT query_to_xml('DELETE FROM shop.users', true, true, '')",
        "SELECT ts_stat('SELECT 1')",
        "SELECT U&\"pg\\005fnotify\"('a', 'b')",
        "SELECT $1",
    ] {
        let failure = reader.failure(query).await;
        assert!(failure.starts_with("ERROR: "), "{query}: {failure}");
    }
    let after: String = watcher.query_one(state, &[]).await.unwrap().get(0);
    assert_eq!(before, after);
    let copies: i64 = watcher
        .query_one("SELECT count(*) FROM pg_class WHERE relname = 'copy'", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(copies, 0);
}

#[tokio::test]
async fn a_mistake_is_told_with_its_position_code_and_hint() {
    let reader = reader();
    for (query, parts) in [
        (
            "SELECT nam FROM users",
            &[
                "column \"nam\" does not exist",
                "SQLSTATE: 42703",
                "POSITION: 8",
                "HINT: ",
            ][..],
        ),
        (
            "Show me all active users",
            &["SQLSTATE: 42601", "POSITION: 9", "one SQL query"],
        ),
        (
            "SELECT é, nam FROM users",
            &["SQLSTATE: 42703", "POSITION: 8"],
        ),
        ("SELECT 1/0", &["division by zero", "SQLSTATE: 22012"]),
        (
            "SELECT * FROM users u, nowhere n",
            &["\"nowhere\" does not exist", "POSITION: 24"],
        ),
        (
            "DELETE FROM users",
            &["only one plain query", "SQLSTATE: 42601"],
        ),
        (
            "SELECT 1; SELECT 2",
            &["multiple commands", "SQLSTATE: 42601"],
        ),
        (
            "SELECT * FROM shop.users WHERE id = $1",
            &["parameters such as $1"],
        ),
        ("SHOW work_mem", &["current_setting"]),
        (
            "SELECT rolpassword FROM pg_authid",
            &["permission denied", "SQLSTATE: 42501"],
        ),
        ("SELECT generate_series(1,3)/0", &["division by zero"]),
        (
            "SELECT 'x'::int FROM users",
            &["invalid input syntax", "POSITION: 8"],
        ),
    ] {
        let failure = reader.failure(query).await;
        for part in parts {
            assert!(failure.contains(part), "{query}: no {part} in\n{failure}");
        }
    }
}

#[tokio::test]
async fn pages_say_whether_there_is_more() {
    let reader = reader();
    let query = "SELECT g FROM generate_series(1, 5) g ORDER BY g";
    for (limit, offset, count, cut) in [
        (5, 0, 5, None),
        (4, 0, 4, Some(Cut::Limit)),
        (4, 4, 1, None),
        (4, 5, 0, None),
        (1, u64::from(u32::MAX), 0, None),
    ] {
        let rows = reader
            .page(query, limit, offset)
            .await
            .map_err(|e| e.explain())
            .unwrap();
        assert_eq!(
            (rows.count(), rows.cut),
            (count, cut),
            "{limit} from {offset}"
        );
    }
}

#[tokio::test]
async fn a_large_result_is_cut_and_a_large_row_is_told() {
    let mut reader = reader();
    reader.reader.limits.result_bytes = 10_000;
    let rows = reader
        .read("SELECT repeat('x', 3000) FROM generate_series(1, 50)")
        .await;
    let rows = rows.map_err(|e| e.explain()).unwrap();
    assert_eq!((rows.count(), rows.cut), (3, Some(Cut::Bytes)));
    let failure = reader.failure("SELECT repeat('x', 100000000)").await;
    assert!(
        failure.contains("the first row has 100000000 bytes"),
        "{failure}"
    );
    let failure = reader.failure("SELECT repeat('x', 50000000)::int").await;
    assert!(failure.contains("lost"), "{failure:.300}");
    assert_eq!(reader.text("SELECT 1 AS a").await, "a\n1");
}

/// The first runs send values as text and later ones in other forms; rows are rendered in pieces.
#[tokio::test]
async fn a_result_is_shown_the_same_however_it_came() {
    const MANY: &str = "SELECT i, md5(i::text)::uuid AS id, '2024-01-01'::timestamptz + i * interval '1.5 s' AS at, \
         '2024-01-01'::date + i AS on, CASE WHEN i % 3 > 0 THEN repeat('é\t\"', i % 40) END AS said, i / 7.0::float8 AS share \
         FROM generate_series(1, 1000) i";
    let mut reader = reader();
    for (query, limit, bytes) in [
        ("SELECT 1 WHERE false", 10, 1 << 20),
        ("SELECT FROM generate_series(1, 3)", 10, 1 << 20),
        ("SELECT now()::date - now()::date AS nothing", 10, 1 << 20),
        (MANY, 1_000, 1 << 20),
        (MANY, 999, 1 << 20),
        (MANY, 1_000, 30_000),
        (MANY, 1, 150),
        (
            "SELECT gen_random_uuid() IS NULL AS a, NULL::uuid AS b, 'infinity'::timestamptz AS c",
            5,
            100,
        ),
        (
            "SELECT o.placed_at, o.placed_at::date AS on FROM orders o ORDER BY o.id",
            500,
            1 << 20,
        ),
    ] {
        reader.reader.limits.result_bytes = bytes;
        let mut shown = Vec::new();
        for _ in 0..5 {
            let mut rows = reader.page(query, limit, 0).await.unwrap();
            let now = render::rows(&rows);
            let written = rows.written.take().expect("it is to be shown");
            let written = written.finish(rows.cut.is_some());
            assert_eq!(written.text, now.text, "{query}");
            assert_eq!(written.structured, now.structured, "{query}");
            shown.push((written.text, written.structured));
        }
        for again in &shown[1..] {
            assert!(*again == shown[0], "{query} {limit} {bytes}");
        }
    }
}

#[tokio::test]
async fn a_statement_has_its_time_whatever_it_says() {
    let mut reader = reader();
    reader.reader.limits.statement_timeout = Duration::from_millis(300);
    let pid = "SELECT pg_backend_pid() AS pid";
    let first = reader.text(pid).await;
    let begin = Instant::now();
    let failure = reader.failure("SELECT pg_sleep(30)").await;
    assert!(failure.contains("57014"), "{failure}");
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert_ne!(
        reader.text(pid).await,
        first,
        "a connection on which something was cancelled is not used again"
    );
}

#[tokio::test]
async fn a_query_that_postgresql_does_not_end_in_time_is_told_as_that() {
    let mut reader = reader();
    // PostgreSQL has been told the limit of now; a shorter one is in force here.
    reader.text("SELECT 1").await;
    reader.reader.limits.statement_timeout = Duration::from_millis(100);
    let failure = reader.failure("SELECT pg_sleep(30)").await;
    assert!(failure.contains("neither answered nor ended"), "{failure}");
    assert!(!failure.contains("ask for less"), "{failure}");
}

#[tokio::test]
async fn a_database_that_hangs_before_a_query_is_told_as_that() {
    let cluster = bench::apart();
    let (sessions, agent) = bench::agent_of(&cluster, sample::SHOP_READER);
    let limited = |seconds| {
        let limits = QueryLimits {
            statement_timeout: Duration::from_secs_f64(seconds),
            ..QueryLimits::default()
        };
        super::Reader::new(Arc::default(), limits)
    };
    let mut reader = Reader {
        sessions,
        agent,
        reader: limited(60.0),
    };
    let mut owner = superuser(&cluster).await;
    // The denied functions are read from the one, and what the role may do from the other.
    for catalogue in ["pg_proc", "pg_authid"] {
        // This leaves a connection with a longer limit, and a reader that knows nothing of its database.
        reader.reader = limited(60.0);
        reader.text("SELECT 1").await;
        reader.reader = limited(0.1);
        let held = owner.transaction().await.unwrap();
        let lock = format!("LOCK pg_catalog.{catalogue}");
        held.batch_execute(&lock).await.unwrap();
        let asked = tokio::time::timeout(Duration::from_secs(20), reader.failure("SELECT 1"));
        let failure = asked
            .await
            .unwrap_or_else(|_| panic!("{catalogue}: it is still asked"));
        assert!(failure.contains("neither answered nor ended"), "{failure}");
        held.rollback().await.unwrap();
    }
}

#[tokio::test]
async fn a_call_leaves_the_connection_clean_and_open_for_the_next() {
    let reader = reader();
    let pid = "SELECT pg_backend_pid() AS pid";
    let first = reader.text(pid).await;
    reader.failure("SELECT 1/0").await;
    reader.text("SELECT count(*) FROM users").await;
    assert_eq!(
        reader.text(pid).await,
        first,
        "an error or a result costs no connection"
    );
    let mode = "SELECT current_setting('transaction_read_only') AS a, current_setting('statement_timeout') AS b";
    assert_eq!(reader.text(mode).await, "a\tb\non\t30s");
}

#[tokio::test]
async fn a_dropped_call_is_cancelled_in_postgresql() {
    let reader = reader();
    let watcher = superuser(cluster()).await;
    let name = format!("mcp/{}", reader.agent.session().id());
    let active = || async {
        let row = watcher
            .query_one(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND query LIKE '%pg_sleep(99)%'",
                &[&name],
            )
            .await
            .unwrap();
        row.get::<_, i64>(0)
    };
    {
        let mut call = std::pin::pin!(reader.read("SELECT pg_sleep(99)"));
        while active().await == 0 {
            tokio::select! {
                _ = &mut call => panic!("the call ended"),
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
            }
        }
    }
    let begin = Instant::now();
    while active().await > 0 {
        assert!(begin.elapsed() < Duration::from_secs(1), "still running");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_closed_session_answers_nothing_more() {
    let reader = reader();
    reader.text("SELECT 1").await;
    reader.sessions.close(reader.agent.session().id());
    assert!(
        reader
            .failure("SELECT 1")
            .await
            .contains("the session is closed")
    );
}

#[tokio::test]
async fn a_dangerous_role_is_served_only_when_it_may_be() {
    let owner = cluster().superuser().to_owned();
    for (policy, served) in [
        (DangerousRoles::Warn, true),
        (DangerousRoles::RefuseExcept(None), false),
        (DangerousRoles::RefuseExcept(Some("somebody".into())), false),
        (DangerousRoles::RefuseExcept(Some(owner.clone())), true),
    ] {
        let mut reader = Reader::new(&owner);
        reader.reader.guards = guards(&[], policy.clone());
        assert_eq!(reader.read("SELECT 1").await.is_ok(), served, "{policy:?}");
    }
    let mut plain = reader();
    plain.reader.guards = guards(&[], DangerousRoles::RefuseExcept(None));
    assert!(plain.read("SELECT 1").await.is_ok());
}

#[tokio::test]
async fn a_plain_role_of_an_agents_own_says_nothing_of_the_configured_one() {
    let mut plain = reader();
    plain.reader.guards = guards(&[], DangerousRoles::RefuseExcept(None));
    let own = Policy {
        role: Role::Login(sample::SHOP_READER.into()),
        ..Policy::default()
    };
    plain.agent = plain.agent.with_policy(own);
    assert!(plain.read("SELECT 1").await.is_ok());
    let Reader {
        sessions: _configured,
        agent,
        ..
    } = Reader::new(cluster().superuser());
    plain.agent = agent;
    let failure = plain.failure("SELECT 1").await;
    assert!(failure.contains("can do more than read"), "{failure}");
}

#[tokio::test]
async fn the_operator_can_allow_a_function() {
    let mut reader = reader();
    let query = "SELECT pg_try_advisory_lock(77) AS a";
    assert!(reader.failure(query).await.contains("allow_functions"));
    reader.reader.guards = guards(&["PG_try_advisory_lock"], DangerousRoles::Warn);
    assert_eq!(reader.text(query).await, "a\nt");
    let held: i64 = superuser(cluster())
        .await
        .query_one(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 77",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    assert_eq!(held, 0, "the scrub gives back what a rollback does not");
}

/// PostGIS has such functions, as ST_FindExtent.
#[tokio::test]
async fn what_an_extension_runs_as_text_is_refused_however_it_is_declared() {
    let watcher = superuser(cluster()).await;
    watcher
        .batch_execute(
            "CREATE FUNCTION shop.runs_text(text) RETURNS text LANGUAGE plpgsql STABLE AS \
             'DECLARE t text; BEGIN EXECUTE $1 INTO t; RETURN t; END'; \
             CREATE FUNCTION shop.runs_none(text) RETURNS text LANGUAGE plpgsql STABLE AS 'BEGIN RETURN $1; END'; \
             ALTER EXTENSION plpgsql ADD FUNCTION shop.runs_text(text); \
             ALTER EXTENSION plpgsql ADD FUNCTION shop.runs_none(text)",
        )
        .await
        .unwrap();
    let reader = reader();
    let refused = reader.failure("SELECT shop.runs_text('SELECT 1')").await;
    assert!(refused.contains("runs_text"), "{refused}");
    assert_eq!(reader.text("SELECT shop.runs_none('x') AS a").await, "a\nx");
    watcher
        .batch_execute(
            "ALTER EXTENSION plpgsql DROP FUNCTION shop.runs_text(text); \
             ALTER EXTENSION plpgsql DROP FUNCTION shop.runs_none(text)",
        )
        .await
        .unwrap();
}

#[tokio::test]
async fn what_postgresql_notes_is_no_part_of_an_answer() {
    let noisy = "SELECT length(to_tsvector(repeat(repeat('x', 2100) || ' ', 40000))) AS a";
    assert_eq!(reader().text(noisy).await, "a\n0");
}

#[tokio::test]
async fn names_of_sampling_methods_are_no_functions() {
    let reader = reader();
    reader
        .text("SELECT count(*) FROM users TABLESAMPLE system (50)")
        .await;
    reader
        .text("SELECT random() < 2 AS system, now() IS NOT NULL AS bernoulli")
        .await;
}

/// Returns the shop in another database of the same server.
fn moved(dbname: &str, generation: u64) -> session_pool::Database {
    let mut config: tokio_postgres::Config =
        cluster().connection(dbname).to_string().parse().unwrap();
    config.user(cluster().superuser());
    session_pool::Database {
        generation,
        ..session_pool::Database::new("shop", config, session_pool::Tls::disabled())
    }
}

#[tokio::test]
async fn a_database_that_was_configured_anew_is_judged_and_guarded_anew() {
    let mut reader = Reader::new(cluster().superuser());
    let lock = "SELECT pg_try_advisory_lock(78)";
    reader.reader.guards = guards(&["pg_try_advisory_lock"], DangerousRoles::Warn);
    reader.text(lock).await;
    let on_old = reader.agent.session().lease("shop").await.unwrap();

    let strict = Allowance {
        generation: 1,
        ..allowance(&[], DangerousRoles::Warn)
    };
    reader.reader.guards.replace([strict.clone()]);
    // A call that leased its connection just before finds what was in force then.
    let guards = &reader.reader.guards;
    assert!(guards.fresh("shop", &on_old).is_some());
    assert!(
        guards
            .admit(&reader.agent, &on_old, Duration::from_secs(30))
            .await
            .is_ok()
    );
    reader.sessions.replace([moved("template1", 1)]);
    let refused = reader.failure(lock).await;
    assert!(refused.contains("allow_functions"), "{refused}");
    assert_eq!(
        reader.text("SELECT current_database() AS d").await,
        "d\ntemplate1"
    );
    // A call on an older connection does not bring the older list back.
    let timeout = reader.reader.limits.statement_timeout;
    guards.load("shop", &on_old, timeout).await.unwrap();
    let on_new = reader.agent.session().lease("shop").await.unwrap();
    assert_eq!(on_new.generation(), 1);
    assert!(guards.fresh("shop", &on_new).is_some());

    let refusing = Allowance {
        generation: 2,
        dangerous: DangerousRoles::RefuseExcept(None),
        ..strict
    };
    reader.reader.guards.replace([refusing]);
    reader.sessions.replace([moved("postgres", 2)]);
    let refused = reader.failure("SELECT 1").await;
    assert!(refused.contains("can do more than read"), "{refused}");
}

#[tokio::test]
async fn what_nobody_spoke_of_is_not_served_once_somebody_said_what_is() {
    let reader = Reader::new(cluster().superuser());
    reader.text("SELECT 1").await;
    reader.reader.guards.replace([]);
    reader.reader.guards.replace([]);
    reader.sessions.replace([moved("template1", 3)]);
    let refused = reader.failure("SELECT 1").await;
    assert!(refused.contains("can do more than read"), "{refused}");
}

#[tokio::test]
async fn a_query_whose_database_is_taken_away_says_so() {
    let reader = reader();
    let name = reader.agent.session().id().to_owned();
    let observer = superuser(cluster()).await;
    let (failure, ()) = tokio::join!(reader.failure("SELECT pg_sleep(20)"), async {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mcp/' || $1 AND state = 'active'";
        while observer
            .query_one(sql, &[&name])
            .await
            .unwrap()
            .get::<_, i64>(0)
            == 0
        {}
        reader.sessions.confine(&name, Arc::new([]));
    });
    assert!(
        failure.contains("may not use database \"shop\" any more"),
        "{failure}"
    );
}

/// Queries that are run with one number after the other in place of `#`.
const ASKED_AGAIN: [&str; 42] = [
    "SELECT id, email FROM shop.users WHERE id = #",
    "SELECT count(*) FROM shop.page_views WHERE id BETWEEN # AND 300",
    "SELECT id FROM shop.users WHERE id IN (#, 2, NULL, #) ORDER BY id DESC LIMIT 3",
    "SELECT #",
    "SELECT # AS n, -#, +#, # + 1, # / 2, # % 3, 2 ^ #, @ -#, # # 5, #::text || 'x', 'a#'",
    "SELECT #::int2, #::oid, #::regclass, #::bit(8), #::float4, #::money, #::bool",
    "SELECT pg_typeof(#), pg_typeof(-#), pg_typeof(ARRAY[#]), pg_typeof(NULLIF(#, 1))",
    "SELECT 1/#",
    "SELECT 5 WHERE # > 2",
    "SELECT CASE WHEN # = 1 THEN 'one' WHEN # < 4 THEN 'few' END",
    "SELECT CASE # WHEN 1 THEN 2.5 ELSE # END",
    "SELECT # UNION SELECT 1.5 UNION ALL SELECT NULL",
    "VALUES (#, 'a'), (2, NULL)",
    "SELECT * FROM generate_series(1, #) AS g(n)",
    "SELECT sum(n) OVER (ORDER BY n ROWS BETWEEN # PRECEDING AND CURRENT ROW) FROM generate_series(1, 9) n",
    "SELECT lag(n, #) OVER w, ntile(#) OVER w FROM generate_series(1, 9) n WINDOW w AS (ORDER BY n)",
    "SELECT (ARRAY[1,2,3,4,5,6,7,8,9])[#], (ARRAY[1,2,3])[1:#]",
    "SELECT '[1,2,3,4]'::jsonb -> #, '{\"a\":1}'::jsonb - #, jsonb_build_array(#, 'a')",
    "SELECT substring('abcdefghij' FROM # FOR 2), left('abc', #), repeat('ab', #), lpad('x', #, '.')",
    "SELECT round(2.71828, #), trunc(99.999, #), round(#), power(#, 2), sqrt(#), mod(#, 3)",
    "SELECT date '2024-01-31' + #, date '2024-01-31' - #, make_date(2024, #, 1)",
    "SELECT interval '1 day' * #, # * interval '2 hours', make_interval(days => #)",
    "SELECT 1.5::numeric(#, 2)",
    "SELECT CAST('abcdefgh' AS varchar(#)), 'abc'::char(#)",
    "SELECT current_timestamp(#) IS NOT NULL",
    "SELECT country, count(*) FROM shop.users WHERE id > # GROUP BY 1 ORDER BY 1",
    "SELECT id % # AS k, count(*) FROM shop.users GROUP BY k ORDER BY k",
    "SELECT id % # , count(*) FROM shop.users GROUP BY id % # ORDER BY 1",
    "SELECT id + #, id FROM shop.users ORDER BY # DESC",
    "SELECT DISTINCT ON (#) id, country FROM shop.users ORDER BY 1",
    "SELECT a.id FROM shop.users a JOIN shop.orders b ON b.user_id = a.id AND a.id = # ORDER BY b.id",
    "SELECT id FROM shop.users ORDER BY id LIMIT # OFFSET #",
    "SELECT id FROM shop.users ORDER BY id FETCH FIRST # ROWS ONLY",
    "SELECT (SELECT max(id) FROM shop.orders WHERE user_id = #), EXISTS (SELECT FROM shop.users WHERE id = #)",
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < #) SELECT sum(n) FROM t",
    "SELECT # -- 7\n, 8 /* # */ , $$#$$, $x$ # $x$, \"t#\".id FROM shop.users \"t#\" WHERE id=#",
    "SELECT nam FROM shop.users WHERE id = #",
    "SELECT id FROM shop.users WHERE email = #",
    "SELECT id FROM shop.users WHERE id = # AND country = nowhere(#)",
    "SELECT id FROM shop.users WHERE id = # 5",
    "SELECT 'x'::int + #",
    "SELECT $1 + #",
];

/// Returns the result of a query, or its error, as text.
async fn outcome(reader: &Reader, query: &str) -> String {
    match reader.read(query).await {
        Ok(rows) => render::rows(&rows).structured.as_str().to_owned(),
        Err(error) => error.explain(),
    }
}

#[tokio::test]
async fn what_is_asked_again_with_other_numbers_is_answered_as_if_it_were_new() {
    let (known, new) = (reader(), reader());
    for (index, query) in ASKED_AGAIN.into_iter().enumerate() {
        for number in [3, 1, 4, 2, 7, 0, 3, 5, 2, 12, 6, 1, 3] {
            let query = query.replace('#', &number.to_string());
            // A unique comment makes each of them a new statement.
            let unlike = format!("{query} -- {index} {number}");
            let expected = outcome(&new, &unlike).await;
            assert_eq!(outcome(&known, &query).await, expected, "{query}");
        }
    }
}

#[tokio::test]
async fn what_is_asked_again_with_other_numbers_is_prepared_once() {
    let reader = reader();
    for id in 1..=20 {
        let query = format!("SELECT email FROM shop.users WHERE id = {id}");
        reader.text(&query).await;
    }
    let prepared = reader
        .text("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%shop.users WHERE id = $_%' AND statement NOT LIKE '%pg_prepared%'")
        .await;
    assert_eq!(prepared, "count\n1");
}
