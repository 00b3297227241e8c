//! Exchanges that a lease holds by itself, beside what the client library does.

use session_pool::{Answer, Complaint, Parameter, Standing, Step, Value};

use super::*;

/// What came of an exchange.
#[derive(Debug, Default)]
struct Outcome {
    columns: Vec<String>,
    rows: Vec<Vec<Option<String>>>,
    refused: Option<(usize, Complaint, bool)>,
    in_transaction: bool,
}

async fn exchange(lease: &mut Lease, steps: &[Step<'_>]) -> std::io::Result<Outcome> {
    let mut exchange = lease.exchange(steps, usize::MAX).await?;
    let mut outcome = Outcome::default();
    loop {
        match exchange.next().await? {
            Answer::Columns(columns) => {
                outcome.columns = columns
                    .iter()
                    .map(|column| column.name.to_string())
                    .collect();
            }
            Answer::Row(row) => {
                let text = |value: Value<'_>| {
                    String::from_utf8(value.text().unwrap().into_owned()).unwrap()
                };
                let values = row.values().map(|value| value.unwrap().map(text));
                outcome.rows.push(values.collect());
            }
            Answer::Oversized { .. } => panic!("no row is larger than everything"),
            Answer::Refused {
                step,
                complaint,
                is_stale,
            } => outcome.refused = Some((step, complaint, is_stale)),
            Answer::Ready { in_transaction } => {
                outcome.in_transaction = in_transaction;
                return Ok(outcome);
            }
        }
    }
}

/// The values of a query's only row.
async fn row(lease: &mut Lease, text: &str) -> Vec<Option<String>> {
    let outcome = exchange(lease, &[Step::Query(text, &[])]).await.unwrap();
    assert!(outcome.refused.is_none(), "{text}: {:?}", outcome.refused);
    outcome.rows.into_iter().next().unwrap()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[tokio::test]
async fn an_exchange_runs_its_steps_in_order_and_gives_texts() {
    let session = alone("steps");
    let mut lease = session.lease("main").await.unwrap();
    let outcome = exchange(
        &mut lease,
        &[
            Step::Run("BEGIN READ ONLY"),
            Step::Check("SELECT 1 AS alone"),
            Step::Query(
                "SELECT 1.50 AS a, NULL AS b, '' AS c, true AS d, now() = now() AS e",
                &[],
            ),
            Step::Run("SELECT pg_catalog.pg_advisory_unlock_all()"),
            Step::Run("ROLLBACK"),
        ],
    )
    .await
    .unwrap();
    assert_eq!(outcome.columns, ["a", "b", "c", "d", "e"]);
    let expected = [some("1.50"), None, some(""), some("t"), some("t")];
    assert_eq!(outcome.rows, [expected]);
    assert!(outcome.refused.is_none() && !outcome.in_transaction);
}

#[tokio::test]
async fn a_step_that_fails_skips_the_others_and_leaves_the_connection_usable() {
    let session = alone("fails");
    let mut lease = session.lease("main").await.unwrap();
    for (steps, failed, code) in [
        (
            [
                Step::Query("SELECT 1/0", &[]),
                Step::Run("CREATE TABLE no ()"),
            ],
            1,
            "22012",
        ),
        (
            [Step::Check("SELEKT"), Step::Query("SELECT 1", &[])],
            1,
            "42601",
        ),
        (
            [
                Step::Check("SELECT 1; SELECT 2"),
                Step::Query("SELECT 1", &[]),
            ],
            1,
            "42601",
        ),
        (
            [Step::Check("SELECT 1"), Step::Query("SELECT nothing", &[])],
            2,
            "42703",
        ),
    ] {
        let steps = [&[Step::Run("BEGIN")], &steps[..]].concat();
        let outcome = exchange(&mut lease, &steps).await.unwrap();
        let (step, complaint, is_stale) = outcome.refused.unwrap();
        assert_eq!((step, complaint.code().code()), (failed, code));
        assert!(outcome.in_transaction && !is_stale);
        let outcome = exchange(&mut lease, &[Step::Run("ROLLBACK")])
            .await
            .unwrap();
        assert!(!outcome.in_transaction);
    }
    let table = "SELECT count(*) FROM pg_class WHERE relname = 'no'";
    assert_eq!(row(&mut lease, table).await, [some("0")]);
}

#[tokio::test]
async fn a_repeated_statement_is_prepared_and_never_answers_from_the_past() {
    let observer = observer().await;
    let ddl = async |sql: &str| observer.batch_execute(sql).await.unwrap();
    ddl("CREATE TABLE changing (a int); INSERT INTO changing VALUES (1)").await;
    let session = alone("repeated");
    let mut lease = session.lease("main").await.unwrap();
    let query = "SELECT * FROM changing";
    let prepared =
        "SELECT count(*) FROM pg_prepared_statements WHERE statement = 'SELECT * FROM changing'";
    let mut counts = Vec::new();
    for _ in 0..3 {
        assert_eq!(row(&mut lease, query).await, [some("1")]);
        counts.push(
            lease
                .query_one(prepared, &[])
                .await
                .unwrap()
                .get::<_, i64>(0),
        );
    }
    assert_eq!(counts, [0, 1, 1]);

    ddl("ALTER TABLE changing ADD b text DEFAULT 'x'").await;
    let outcome = exchange(&mut lease, &[Step::Query(query, &[])])
        .await
        .unwrap();
    let (_, complaint, is_stale) = outcome.refused.unwrap();
    assert_eq!((complaint.code().code(), is_stale), ("0A000", true));
    for _ in 0..3 {
        assert_eq!(row(&mut lease, query).await, [some("1"), some("x")]);
    }

    ddl("DROP TABLE changing; CREATE TABLE changing (a int, b text); INSERT INTO changing VALUES (2)").await;
    assert_eq!(row(&mut lease, query).await, [some("2"), None]);
    ddl("CREATE SCHEMA other; CREATE TABLE other.changing AS SELECT 3 AS a, 'o' AS b").await;
    lease
        .batch_execute("SET search_path = other")
        .await
        .unwrap();
    assert_eq!(row(&mut lease, query).await, [some("3"), some("o")]);
    ddl("DROP TABLE other.changing, changing").await;
    let outcome = exchange(&mut lease, &[Step::Query(query, &[])])
        .await
        .unwrap();
    let (_, complaint, is_stale) = outcome.refused.unwrap();
    assert_eq!((complaint.code().code(), is_stale), ("42P01", false));
}

#[tokio::test]
async fn statements_that_postgresql_lost_are_run_without_names() {
    let session = alone("lost");
    let mut lease = session.lease("main").await.unwrap();
    let steps = [
        Step::Run("BEGIN"),
        Step::Query("SELECT 7", &[]),
        Step::Run("ROLLBACK"),
    ];
    exchange(&mut lease, &steps).await.unwrap();
    lease.batch_execute("DEALLOCATE ALL").await.unwrap();
    let outcome = exchange(&mut lease, &steps).await.unwrap();
    let (step, complaint, is_stale) = outcome.refused.unwrap();
    assert_eq!(
        (step, complaint.code().code(), is_stale),
        (0, "26000", true)
    );
    for _ in 0..3 {
        let outcome = exchange(&mut lease, &steps).await.unwrap();
        assert_eq!(outcome.rows, [[some("7")]]);
    }
}

#[tokio::test]
async fn a_statement_in_the_place_of_one_of_ours_ends_the_exchange() {
    let session = alone("replaced");
    let mut lease = session.lease("main").await.unwrap();
    let steps = [Step::Run("BEGIN"), Step::Run("ROLLBACK")];
    for _ in 0..2 {
        exchange(&mut lease, &steps).await.unwrap();
    }
    let named = "SELECT name FROM pg_prepared_statements WHERE statement = 'BEGIN'";
    let name = row(&mut lease, named).await.remove(0).unwrap();
    let process = "SELECT pg_backend_pid()";
    let before = row(&mut lease, process).await;
    let replace = format!("DEALLOCATE {name}; PREPARE {name} AS SELECT 1");
    lease.batch_execute(&replace).await.unwrap();
    let Err(error) = exchange(&mut lease, &steps).await else {
        panic!("another statement ran in the place of BEGIN");
    };
    assert!(error.to_string().contains("the place of"), "{error}");
    lease.give_back();
    let mut lease = session.lease("main").await.unwrap();
    assert_ne!(row(&mut lease, process).await, before);
}

#[tokio::test]
async fn the_number_of_prepared_statements_has_a_limit() {
    let limits = Limits {
        prepared_statements: 8,
        ..Limits::default()
    };
    let sessions = Sessions::new([database(socket_config())], limits);
    let session = sessions.open("many", None);
    let mut lease = session.lease("main").await.unwrap();
    for number in 0..40 {
        for _ in 0..2 {
            let value = number.to_string();
            assert_eq!(
                row(&mut lease, &format!("SELECT {value}")).await,
                [Some(value)]
            );
        }
    }
    let count: i64 = lease
        .query_one(
            "SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'q%'",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    // One more that was pushed out goes with the next exchange.
    assert!((8..=9).contains(&count), "{count} are prepared");
}

#[tokio::test]
async fn exchanges_and_the_client_library_take_turns() {
    let session = alone("turns");
    let mut lease = session.lease("main").await.unwrap();
    for number in 0..50 {
        // Dropping a prepared statement makes the library close it, whenever it gets to that.
        let prepared = lease.prepare("SELECT 1").await.unwrap();
        drop(prepared);
        let query = format!("SELECT {number}, pg_backend_pid() > 0");
        assert_eq!(
            row(&mut lease, &query).await,
            [Some(number.to_string()), some("t")]
        );
        let (one, two) = tokio::join!(
            lease.query_one("SELECT 1", &[]),
            lease.query_one("SELECT 2", &[])
        );
        assert_eq!(
            (one.unwrap().get::<_, i32>(0), two.unwrap().get::<_, i32>(0)),
            (1, 2)
        );
    }
}

#[tokio::test]
async fn a_large_answer_comes_whole_over_tls() {
    let tls = Tls::new(Verification::Host, Some(&server().authority)).unwrap();
    let mut config = tcp_config("localhost");
    config.hostaddr("127.0.0.1".parse().unwrap());
    let sessions = Sessions::new([Database::new("main", config, tls)], Limits::default());
    let session = sessions.open("large", None);
    let mut lease = session.lease("main").await.unwrap();
    let query = "SELECT g, repeat('é', 500) FROM generate_series(1, 5000) g";
    let outcome = exchange(&mut lease, &[Step::Query(query, &[])])
        .await
        .unwrap();
    assert_eq!(outcome.rows.len(), 5_000);
    for (index, row) in outcome.rows.iter().enumerate() {
        assert_eq!(row[0], Some((index + 1).to_string()));
        assert_eq!(row[1].as_ref().unwrap().len(), 1_000);
    }
}

#[tokio::test]
async fn a_row_that_is_too_large_ends_the_connection_and_not_the_session() {
    let session = alone("oversized");
    let mut lease = session.lease("main").await.unwrap();
    let first = pid(&lease).await;
    let steps = [Step::Query("SELECT repeat('x', 1000000)", &[])];
    let mut exchange = lease.exchange(&steps, 1_000).await.unwrap();
    assert!(matches!(exchange.next().await.unwrap(), Answer::Columns(_)));
    let Answer::Oversized { bytes } = exchange.next().await.unwrap() else {
        panic!("it is larger");
    };
    assert_eq!(bytes, 1_000_000);
    assert!(exchange.next().await.is_err());
    // Giving it back does not help.
    lease.give_back();
    assert_ne!(pid(&session.lease("main").await.unwrap()).await, first);
}

#[tokio::test]
async fn an_exchange_that_is_dropped_is_cancelled_in_postgresql() {
    let session = alone("dropped-exchange");
    let mut lease = session.lease("main").await.unwrap();
    let observer = observer().await;
    let steps = [Step::Query("SELECT pg_sleep(60)", &[])];
    let call = tokio::spawn(async move { exchange(&mut lease, &steps).await });
    running(&observer, "dropped-exchange", "pg_sleep").await;
    call.abort();
    assert!(gone(&observer, "dropped-exchange").await < Duration::from_secs(1));
}

#[tokio::test]
async fn closing_a_session_ends_its_exchanges_at_once() {
    let sessions = sessions();
    let session = sessions.open("closed-exchange", None);
    let mut lease = session.lease("main").await.unwrap();
    let observer = observer().await;
    let steps = [Step::Query("SELECT pg_sleep(60)", &[])];
    let call = tokio::spawn(async move { exchange(&mut lease, &steps).await });
    running(&observer, "closed-exchange", "pg_sleep").await;
    sessions.close("closed-exchange");
    let took = gone(&observer, "closed-exchange").await;
    assert!(took < AT_ONCE, "took {took:?}");
    assert!(call.await.unwrap().is_err());
}

#[tokio::test]
async fn the_end_of_an_idle_connection_is_noticed_after_an_exchange() {
    let session = alone("idle-end");
    let observer = observer().await;
    let mut lease = session.lease("main").await.unwrap();
    let Some(first) = &row(&mut lease, "SELECT pg_backend_pid()").await[0] else {
        panic!("a backend has a number");
    };
    lease.give_back();
    observer
        .batch_execute(&format!("SELECT pg_terminate_backend({first})"))
        .await
        .unwrap();
    gone(&observer, "idle-end").await;
    let mut outcomes = Vec::new();
    for _ in 0..2 {
        let mut lease = session.lease("main").await.unwrap();
        outcomes.push(
            exchange(&mut lease, &[Step::Query("SELECT 1", &[])])
                .await
                .is_ok(),
        );
    }
    assert!(outcomes[1], "a dead connection came back");
}

#[tokio::test]
async fn a_value_is_a_parameter_whatever_it_says() {
    let session = alone("values");
    let mut lease = session.lease("main").await.unwrap();
    let query = "SELECT $1, pg_catalog.pg_typeof($1), $2";
    for (number, text) in [("7", "'); SELECT 1 --"), ("-8", ""), ("9", "$1")] {
        let parameters = [(23, number), (25, text)].map(|(type_oid, text)| Parameter {
            type_oid,
            text: text.into(),
        });
        let steps = [Step::Query(query, &parameters)];
        let outcome = exchange(&mut lease, &steps).await.unwrap();
        assert!(outcome.refused.is_none(), "{:?}", outcome.refused);
        assert_eq!(outcome.rows, [[some(number), some("integer"), some(text)]]);
    }
    let wrong = [Parameter {
        type_oid: 23,
        text: "seven".into(),
    }];
    let steps = [Step::Query("SELECT $1", &wrong)];
    let outcome = exchange(&mut lease, &steps).await.unwrap();
    let (step, complaint, _) = outcome.refused.unwrap();
    assert_eq!((step, complaint.code().code()), (0, "22P02"));
}

#[tokio::test]
async fn columns_are_told_each_time_and_are_those_of_the_rows() {
    let session = alone("described");
    let observer = observer().await;
    observer
        .batch_execute("DROP TABLE IF EXISTS described; CREATE TABLE described (a int, b text); INSERT INTO described VALUES (1, 'x')")
        .await
        .unwrap();
    let mut lease = session.lease("main").await.unwrap();
    let steps = [
        Step::Query("SELECT * FROM described", &[]),
        Step::Run("SELECT 1"),
    ];
    let mut changes = [
        "ALTER TABLE described RENAME b TO c",
        "ALTER TABLE described ADD d int",
        "ALTER TABLE described DROP d",
        "DELETE FROM described",
        "ALTER TABLE described DROP c",
    ]
    .into_iter();
    for columns in [
        &["a", "b"][..],
        &["a", "c"],
        &["a", "c", "d"],
        &["a", "c"],
        &["a", "c"],
        &["a"],
    ] {
        for time in 0..5 {
            let mut outcome = exchange(&mut lease, &steps).await.unwrap();
            if let Some((step, _, is_stale)) = outcome.refused {
                assert_eq!((time, step, is_stale), (0, 0, true), "{columns:?}");
                outcome = exchange(&mut lease, &steps).await.unwrap();
            }
            assert_eq!(outcome.columns, columns, "{time}");
            let mut widths = outcome.rows.iter().map(Vec::len);
            assert!(widths.all(|width| width == columns.len()));
        }
        if let Some(change) = changes.next() {
            observer.batch_execute(change).await.unwrap();
        }
    }
}

/// Fails with `step` where a table is not locked.
const IS_LOCKED: &str = "SELECT 1 / pg_catalog.count(*) FROM pg_catalog.pg_locks l \
     WHERE l.pid = pg_catalog.pg_backend_pid() AND l.relation = 'public.locked'::pg_catalog.regclass";

#[tokio::test]
async fn what_is_locked_is_looked_at_before_it_is_planned_and_then_run() {
    let session = alone("locked");
    let observer = observer().await;
    observer
        .batch_execute(
            "CREATE TABLE locked (a int, b text); CREATE VIEW over_locked AS SELECT a, b FROM locked; \
             INSERT INTO locked VALUES (1, 'x')",
        )
        .await
        .unwrap();
    let mut lease = session.lease("main").await.unwrap();
    let one = [Parameter {
        type_oid: 23,
        text: "1".into(),
    }];
    for (between, text, parameters) in [
        (Step::Run(IS_LOCKED), "SELECT a, b FROM locked", &[][..]),
        (Step::Run(IS_LOCKED), "SELECT a, b FROM over_locked", &[]),
        (
            Step::Run(IS_LOCKED),
            "SELECT a, b FROM over_locked WHERE a = $1",
            &one,
        ),
        // What is parsed in between without a name takes the place of a statement without one.
        (
            Step::Frame(IS_LOCKED),
            "SELECT a, b FROM locked WHERE a < 2",
            &[],
        ),
        (
            Step::Parse("SELECT 2"),
            "SELECT a, b FROM locked WHERE a < 3",
            &[],
        ),
        (
            Step::Query("SELECT 3 AS a, '' AS b", &[]),
            "SELECT a, b FROM locked WHERE a < 4",
            &[],
        ),
    ] {
        for time in 0..5 {
            let steps = [
                Step::Run("BEGIN READ ONLY"),
                Step::Check("SELECT 1"),
                Step::Lock(text, parameters),
                between,
                Step::Query(text, parameters),
                Step::Run("ROLLBACK"),
            ];
            let outcome = exchange(&mut lease, &steps).await.unwrap();
            assert!(
                outcome.refused.is_none(),
                "{text} {time}: {:?}",
                outcome.refused
            );
            assert_eq!(outcome.columns, ["a", "b"], "{text} {time}");
            assert_eq!(
                outcome.rows.last(),
                Some(&vec![some("1"), some("x")]),
                "{text} {time}"
            );
            assert!(!outcome.in_transaction);
        }
    }
    // Planning it fails, but what looks at it fails before.
    for (looks, text, refused) in [
        ("SELECT 1", "SELECT a / (1 / 0) FROM locked", (3, "22012")),
        (
            "SELECT 1 / 0",
            "SELECT a / (1 / 0) FROM locked",
            (2, "22012"),
        ),
        ("SELECT 1", "SELECT nothing FROM locked", (1, "42703")),
    ] {
        for time in 0..5 {
            let steps = [
                Step::Run("BEGIN READ ONLY"),
                Step::Lock(text, &[]),
                Step::Run(looks),
                Step::Query(text, &[]),
            ];
            let outcome = exchange(&mut lease, &steps).await.unwrap();
            let (step, complaint, is_stale) = outcome.refused.unwrap();
            assert_eq!((step, complaint.code().code()), refused, "{text} {time}");
            assert!(!is_stale);
            exchange(&mut lease, &[Step::Run("ROLLBACK")])
                .await
                .unwrap();
        }
    }
    observer
        .batch_execute("DROP TABLE locked CASCADE")
        .await
        .unwrap();
}

#[tokio::test]
async fn what_is_locked_and_has_other_columns_now_is_stale() {
    let session = alone("locked and changed");
    let observer = observer().await;
    observer
        .batch_execute("CREATE TABLE locked_and_changed (a int)")
        .await
        .unwrap();
    let mut lease = session.lease("main").await.unwrap();
    let text = "SELECT * FROM locked_and_changed";
    let steps = [
        Step::Run("BEGIN READ ONLY"),
        Step::Lock(text, &[]),
        Step::Run("SELECT 1"),
        Step::Query(text, &[]),
        Step::Run("ROLLBACK"),
    ];
    for _ in 0..4 {
        let outcome = exchange(&mut lease, &steps).await.unwrap();
        assert_eq!(outcome.columns, ["a"]);
    }
    observer
        .batch_execute("ALTER TABLE locked_and_changed ADD b int")
        .await
        .unwrap();
    let outcome = exchange(&mut lease, &steps).await.unwrap();
    let (step, _, is_stale) = outcome.refused.unwrap();
    assert_eq!((step, is_stale), (1, true));
    exchange(&mut lease, &[Step::Run("ROLLBACK")])
        .await
        .unwrap();
    for _ in 0..4 {
        let outcome = exchange(&mut lease, &steps).await.unwrap();
        assert!(outcome.refused.is_none());
        assert_eq!(outcome.columns, ["a", "b"]);
    }
}

#[tokio::test]
async fn what_is_planned_ahead_is_run_with_the_settings_of_its_run() {
    let session = alone("planned");
    let mut lease = session.lease("main").await.unwrap();
    let one = [Parameter {
        type_oid: 23,
        text: "1".into(),
    }];
    let text = "SELECT current_setting('my.name') AS a, $1::int AS b";
    for time in 0..5 {
        for is_locked in [false, true] {
            let lock = is_locked.then_some(Step::Lock(text, &one));
            let steps: Vec<Step<'_>> = [Step::Run("BEGIN READ ONLY")]
                .into_iter()
                .chain(lock)
                .chain([
                    Step::Run("SET LOCAL my.name = planned"),
                    Step::Plan(text, &one),
                    Step::Run("SET LOCAL my.name = run"),
                    // Neither takes its place.
                    Step::Frame("SELECT 2"),
                    Step::Query(text, &one),
                    Step::Run("ROLLBACK"),
                ])
                .collect();
            let outcome = exchange(&mut lease, &steps).await.unwrap();
            assert!(outcome.refused.is_none(), "{time}: {:?}", outcome.refused);
            assert_eq!(outcome.columns, ["a", "b"], "{time}");
            assert_eq!(outcome.rows, [[some("run"), some("1")]], "{time}");
        }
    }
    let steps = [
        Step::Run("BEGIN"),
        Step::Plan("SELECT 1 / 0", &[]),
        Step::Query("SELECT 1 / 0", &[]),
    ];
    let (step, complaint, _) = exchange(&mut lease, &steps).await.unwrap().refused.unwrap();
    assert_eq!((step, complaint.code().code()), (1, "22012"));
}

#[tokio::test]
async fn who_vouches_for_a_statement_does_so_until_it_can_be_parsed_anew() {
    let session = alone("vouched");
    let mut lease = session.lease("main").await.unwrap();
    let text = "SELECT 1 AS vouched";
    let planned = [
        Step::Run("BEGIN READ ONLY"),
        Step::Plan(text, &[]),
        Step::Query(text, &[]),
        Step::Run("ROLLBACK"),
    ];
    lease.vouch(text, &[], "judge");
    assert_eq!(lease.standing(text, &[], "judge"), Standing::Unknown);
    for _ in 0..3 {
        exchange(&mut lease, &planned).await.unwrap();
    }
    assert_eq!(lease.standing(text, &[], "judge"), Standing::Prepared);
    let locked = [
        Step::Run("BEGIN READ ONLY"),
        Step::Lock(text, &[]),
        Step::Run("ROLLBACK"),
    ];
    let run = [Step::Query(text, &[])];
    for parses_anew in [&locked[..], &run] {
        lease.vouch(text, &[], "judge");
        exchange(&mut lease, &planned).await.unwrap();
        assert_eq!(lease.standing(text, &[], "judge"), Standing::Vouched);
        assert_eq!(lease.standing(text, &[], "another"), Standing::Prepared);
        let other = [Parameter {
            type_oid: 23,
            text: "1".into(),
        }];
        assert_eq!(lease.standing(text, &other, "judge"), Standing::Unknown);
        exchange(&mut lease, parses_anew).await.unwrap();
        assert_eq!(lease.standing(text, &[], "judge"), Standing::Prepared);
    }
}

#[tokio::test]
async fn settings_last_until_something_else_is_done_on_the_connection() {
    const SETTING: &str = "SELECT current_setting('statement_timeout')";
    const SET: &str = "SET statement_timeout = 9000; SET work_mem = '99MB'";
    let session = alone("settings");
    let mut lease = session.lease("main").await.unwrap();
    assert!(lease.set(SET).await.unwrap());
    assert_eq!(row(&mut lease, SETTING).await, [some("9s")]);
    assert_eq!(row(&mut lease, "SHOW work_mem").await, [some("99MB")]);

    // Not made once more: a change that nobody may make this way is still there.
    row(
        &mut lease,
        "SELECT set_config('statement_timeout', '8s', false)",
    )
    .await;
    assert!(lease.set(SET).await.unwrap());
    assert_eq!(row(&mut lease, SETTING).await, [some("8s")]);
    lease.give_back();
    let mut lease = session.lease("main").await.unwrap();
    assert!(lease.set(SET).await.unwrap());
    assert_eq!(row(&mut lease, SETTING).await, [some("8s")]);

    // Others, and after whatever else was done.
    assert!(lease.set("SET statement_timeout = 7000").await.unwrap());
    assert_eq!(row(&mut lease, SETTING).await, [some("7s")]);
    lease.batch_execute("RESET ALL").await.unwrap();
    assert_eq!(row(&mut lease, SETTING).await, [some("0")]);
    assert!(lease.set("SET statement_timeout = 7000").await.unwrap());
    assert_eq!(row(&mut lease, SETTING).await, [some("7s")]);
    lease.scrub().await.unwrap();
    let mut lease = session.lease("main").await.unwrap();
    assert_eq!(row(&mut lease, SETTING).await, [some("0")]);
    assert!(lease.set("SET statement_timeout = 7000").await.unwrap());
    assert_eq!(row(&mut lease, SETTING).await, [some("7s")]);

    // What PostgreSQL refuses holds no more than what it was not asked for.
    assert!(
        lease
            .set("SET statement_timeout = 6000; SET work_mem = 'x'")
            .await
            .is_err()
    );
    assert!(lease.set("SET statement_timeout = 7000").await.unwrap());
    assert_eq!(row(&mut lease, SETTING).await, [some("7s")]);
    lease.scrub().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_sent_costs_the_connection_nothing() {
    let session = alone("unsendable");
    let mut lease = session.lease("main").await.unwrap();
    let many = vec![
        Parameter {
            type_oid: 23,
            text: "1".into(),
        };
        70_000
    ];
    let steps = |last| [Step::Run("BEGIN"), Step::Query("SELECT 1", &[]), last];
    for last in [
        Step::Query("SELECT '\0'", &[]),
        Step::Query("SELECT 2", &many),
    ] {
        // What comes twice is to be prepared.
        for _ in 0..2 {
            let error = exchange(&mut lease, &steps(last)).await.unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{error}");
        }
        for _ in 0..2 {
            let outcome = exchange(&mut lease, &steps(Step::Run("ROLLBACK"))).await;
            let outcome = outcome.unwrap();
            assert!(outcome.refused.is_none(), "{:?}", outcome.refused);
            assert_eq!(outcome.rows, [[some("1")]]);
        }
    }
    lease.scrub().await.unwrap();
}
