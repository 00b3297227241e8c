//! Connections that are kept with what is in them.

use session_pool::{End, Line, Loss, Session, Step};

use super::*;

const MAKE: &str =
    "CREATE TEMP TABLE mine AS SELECT 1 AS a; SET my.variable = 'x'; PREPARE p AS SELECT 1";

fn line(name: &str) -> Line {
    Line {
        name: name.into(),
        idle_time: None,
        goes_on: true,
    }
}

fn passing(name: &str) -> Line {
    Line {
        goes_on: false,
        ..line(name)
    }
}

/// Leaves something in a line's connection, and names its backend.
async fn make(session: &Session, line: &Line) -> i32 {
    let mut lease = session.keep(line, "main").await.unwrap();
    lease.batch_execute(MAKE).await.unwrap();
    lease.stay();
    let pid = pid(&lease).await;
    lease.scrub().await.unwrap();
    pid
}

/// Says whether all that `MAKE` makes is there.
async fn is_whole(lease: &Lease) -> bool {
    const WHOLE: &str = "SELECT to_regclass('pg_temp.mine') IS NOT NULL \
         AND current_setting('my.variable', true) IS NOT DISTINCT FROM 'x' \
         AND EXISTS (SELECT FROM pg_prepared_statements WHERE name = 'p')";
    lease.query_one(WHOLE, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_line_finds_what_it_left_and_nobody_else_does() {
    let session = alone("line");
    let made = make(&session, &line("a")).await;
    assert!(session.keeps("a", "main") && !session.keeps("b", "main"));
    assert_eq!(session.kept_on("a").as_deref(), Some("main"));
    let lease = session.kept(&line("a"), "main").await.unwrap().unwrap();
    assert!(is_whole(&lease).await && lease.stays());
    let other = session.lease("main").await.unwrap();
    assert!(!is_whole(&other).await && pid(&other).await != made);
    assert!(session.kept(&line("b"), "main").await.unwrap().is_none());
    lease.scrub().await.unwrap();
    let again = session.keep(&line("a"), "main").await.unwrap();
    assert_eq!(pid(&again).await, made);
    assert!(is_whole(&again).await);
}

#[tokio::test]
async fn what_is_tidied_is_the_transaction_and_its_locks() {
    let session = alone("tidied");
    make(&session, &line("a")).await;
    let lease = session.keep(&line("a"), "main").await.unwrap();
    let hold = "BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT 1; SELECT pg_advisory_lock(4715); LISTEN news; COMMIT; BEGIN";
    lease.batch_execute(hold).await.unwrap();
    lease.scrub().await.unwrap();
    let lease = session.keep(&line("a"), "main").await.unwrap();
    let left = "SELECT (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) \
         + (SELECT count(*) FROM pg_listening_channels()) + (SELECT count(*) FROM pg_cursors WHERE is_holdable)";
    let left: i64 = lease.query_one(left, &[]).await.unwrap().get(0);
    assert_eq!(left, 0);
    assert!(is_whole(&lease).await);
}

#[tokio::test]
async fn nothing_of_ours_stays_prepared_where_others_may_prepare() {
    let session = alone("unprepared");
    let mut lease = session.keep(&line("a"), "main").await.unwrap();
    let steps = [Step::Run("BEGIN"), Step::Run("ROLLBACK")];
    for stay in [false, true, true] {
        let mut exchange = lease.exchange(&steps, usize::MAX).await.unwrap();
        while !matches!(
            exchange.next().await.unwrap(),
            session_pool::Answer::Ready { .. }
        ) {}
        let prepared =
            "SELECT count(*) FROM pg_prepared_statements WHERE statement IN ('BEGIN', 'ROLLBACK')";
        let prepared: i64 = lease.query_one(prepared, &[]).await.unwrap().get(0);
        assert_eq!(prepared, if stay { 0 } else { 2 });
        lease.stay();
    }
}

#[tokio::test]
async fn what_a_line_has_set_is_not_set_otherwise() {
    const SETTING: &str = "SELECT current_setting('statement_timeout')";
    let session = alone("lineset");
    let mut lease = session.keep(&line("a"), "main").await.unwrap();
    for stays in [false, true] {
        lease
            .batch_execute("SET statement_timeout = 5000")
            .await
            .unwrap();
        assert!(!lease.set("SET statement_timeout = 7000").await.unwrap());
        let setting: String = lease.query_one(SETTING, &[]).await.unwrap().get(0);
        assert_eq!((stays, setting.as_str()), (lease.stays(), "5s"));
        lease.stay();
    }
    lease.scrub().await.unwrap();
}

#[tokio::test]
async fn a_lease_that_leaves_nothing_keeps_nothing() {
    let session = alone("nothing");
    for line in [line("a"), passing("b")] {
        let lease = session.keep(&line, "main").await.unwrap();
        assert!(session.keeps(&line.name, "main"));
        lease.batch_execute(MAKE).await.unwrap();
        lease.batch_execute("DEALLOCATE p").await.unwrap();
        lease.scrub().await.unwrap();
        assert!(!session.keeps(&line.name, "main") && !session.knows(&line.name));
        assert!(session.kept(&line, "main").await.unwrap().is_none());
        let lease = session.lease("main").await.unwrap();
        assert!(!is_whole(&lease).await);
        lease.give_back();
    }
}

#[tokio::test]
async fn leases_of_a_line_take_turns_and_wait_no_longer_than_they_may() {
    let limits = Limits {
        wait: Duration::from_millis(100),
        ..Limits::default()
    };
    let sessions = Sessions::new([database(socket_config())], limits);
    let session = sessions.open("turns", None);
    make(&session, &line("a")).await;
    let first = session.keep(&line("a"), "main").await.unwrap();
    let refused = session.kept(&line("a"), "main").await;
    assert!(matches!(refused, Err(LeaseError::Turn { .. })));
    let next = line("a");
    let waiting = async { session.kept(&next, "main").await.unwrap().unwrap() };
    let ((), second) = tokio::join!(async { first.scrub().await.unwrap() }, waiting);
    assert!(is_whole(&second).await);
}

#[tokio::test]
async fn a_lost_connection_is_told_once_and_never_replaced_in_silence() {
    let observer = observer().await;
    let session = alone("lost");
    for how in ["dropped", "cancelled", "ended"] {
        let backend = make(&session, &line("a")).await;
        let lease = session.keep(&line("a"), "main").await.unwrap();
        match how {
            "dropped" => drop(lease),
            "cancelled" => {
                let sleep = lease.batch_execute("SELECT pg_sleep(60)");
                let begun = running(&observer, "lost", "pg_sleep");
                tokio::select! {
                    _ = sleep => panic!("it ended"),
                    () = begun => {}
                }
                drop(lease);
            }
            _ => {
                lease.scrub().await.unwrap();
                let end = "SELECT pg_terminate_backend($1)";
                observer.execute(end, &[&backend]).await.unwrap();
                gone(&observer, "lost").await;
            }
        }
        let told = session.kept(&line("a"), "main").await;
        assert!(
            matches!(told, Err(LeaseError::Lost(Loss::Broken))),
            "{how}: {:?}",
            told.err()
        );
        assert!(session.kept(&line("a"), "main").await.unwrap().is_none());
        gone(&observer, "lost").await;
    }
}

#[tokio::test]
async fn what_the_first_lease_of_a_line_left_and_lost_is_told() {
    let session = alone("first");
    let mut first = session.keep(&line("a"), "main").await.unwrap();
    first.batch_execute(MAKE).await.unwrap();
    first.stay();
    drop(first);
    let told = session.keep(&line("a"), "main").await.map(drop);
    assert!(
        matches!(told, Err(LeaseError::Lost(Loss::Broken))),
        "{told:?}"
    );
    let again = session.keep(&line("a"), "main").await.unwrap();
    assert!(!is_whole(&again).await);
}

#[tokio::test]
async fn a_line_that_does_not_go_on_ends_with_its_connection() {
    let session = alone("passing");
    make(&session, &passing("a")).await;
    let lease = session.kept(&passing("a"), "main").await.unwrap().unwrap();
    drop(lease);
    assert!(!session.knows("a"));
    assert!(session.kept(&passing("a"), "main").await.unwrap().is_none());
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_its_line_is_told() {
    let observer = observer().await;
    let sessions = sessions();
    let session = sessions.open("idle-line", None);
    let idle_time = Duration::from_millis(300);
    let short = Line {
        idle_time: Some(idle_time),
        ..line("a")
    };
    make(&session, &short).await;
    make(
        &session,
        &Line {
            idle_time: Some(idle_time),
            ..passing("b")
        },
    )
    .await;
    // Idle for a moment only, both are there.
    assert!(session.keeps("a", "main") && session.keeps("b", "main"));
    gone(&observer, "idle-line").await;
    let told = session.kept(&short, "main").await;
    assert!(matches!(told, Err(LeaseError::Lost(Loss::Idle(time))) if time == idle_time));
    assert!(!session.knows("b"));
}

#[tokio::test]
async fn a_line_that_is_let_go_is_closed_at_once_also_by_its_tie() {
    let observer = observer().await;
    let session = alone("let-go");
    for tied in [false, true] {
        make(&session, &line("a")).await;
        let tie = session.tie("a");
        if tied {
            drop(tie);
        } else {
            assert!(session.let_go("a"));
        }
        let took = gone(&observer, "let-go").await;
        assert!(took < AT_ONCE, "took {took:?}");
        assert!(!session.knows("a") && !session.let_go("a"));
    }
    // One that is in use is closed when it comes back.
    make(&session, &line("a")).await;
    let lease = session.keep(&line("a"), "main").await.unwrap();
    session.let_go("a");
    lease.scrub().await.unwrap();
    gone(&observer, "let-go").await;
}

#[tokio::test]
async fn the_end_of_a_session_closes_what_it_keeps() {
    let observer = observer().await;
    let sessions = sessions();
    let session = sessions.open("kept-end", None);
    make(&session, &line("a")).await;
    make(&session, &line("b")).await;
    let busy = session.keep(&line("b"), "main").await.unwrap();
    let statement = tokio::spawn(async move { busy.batch_execute("SELECT pg_sleep(60)").await });
    running(&observer, "kept-end", "pg_sleep").await;
    sessions.close("kept-end");
    let took = gone(&observer, "kept-end").await;
    assert!(took < AT_ONCE, "took {took:?}");
    assert!(statement.await.unwrap().is_err());
    assert!(matches!(
        session.keep(&line("a"), "main").await,
        Err(LeaseError::Closed)
    ));
    assert!(matches!(
        session.kept(&line("a"), "main").await,
        Err(LeaseError::Closed)
    ));
    // Whoever comes with the same id later finds nothing of it.
    let later = sessions.open("kept-end", None);
    assert!(later.kept(&line("a"), "main").await.unwrap().is_none());
}

#[tokio::test]
async fn one_connection_is_always_left_for_other_leases() {
    let mut few = database(socket_config());
    few.max_connections = 3;
    let limits = Limits {
        kept: 2,
        ..Limits::default()
    };
    let sessions = Sessions::new([few.clone()], limits);
    let session = sessions.open("few", None);
    make(&session, &line("a")).await;
    make(&session, &line("b")).await;
    let refused = session.keep(&line("c"), "main").await;
    assert!(matches!(
        refused,
        Err(LeaseError::KeptLimit { limit: 2, .. })
    ));
    assert!(session.lease("main").await.is_ok());
    // With fewer connections the longest unused one goes.
    let terms = Terms {
        connections: Some(2),
        ..Terms::default()
    };
    sessions.open_on("few", None, &terms);
    let told = session.kept(&line("a"), "main").await;
    assert!(matches!(told, Err(LeaseError::Lost(Loss::Crowded))));
    assert!(session.keeps("b", "main"));
    assert!(session.lease("main").await.is_ok());
    few.max_connections = 1;
    let sessions = Sessions::new([few], Limits::default());
    let refused = sessions.open("one", None).keep(&line("a"), "main").await;
    let Err(none @ LeaseError::KeptLimit { limit: 0, .. }) = refused else {
        panic!("one connection is not to be kept");
    };
    // There is none to close or to wait for.
    let said = none.to_string();
    assert!(said.contains("the operator must allow it 2"), "{said}");
    assert!(!said.contains("close one"), "{said}");
}

#[tokio::test]
async fn a_turn_that_is_given_up_leaves_the_line_as_it_was() {
    let mut only = database(socket_config());
    only.max_connections = 2;
    let sessions = Sessions::new([only], Limits::default());
    let session = sessions.open("given-up", None);
    let taken = (
        session.lease("main").await.unwrap(),
        session.lease("main").await.unwrap(),
    );
    let a = line("a");
    {
        let mut waits = std::pin::pin!(session.keep(&a, "main"));
        tokio::select! {
            biased;
            _ = &mut waits => panic!("there was none"),
            () = tokio::task::yield_now() => {}
        }
    }
    assert!(!session.keeps("a", "main"));
    drop(taken);
    make(&session, &a).await;
}

fn few(text: &str, rows: u32) -> Step<'_> {
    let rows = rows.try_into().unwrap();
    Step::Few { text, rows }
}

#[tokio::test]
async fn the_first_rows_and_what_was_done_are_told() {
    let session = alone("few-rows");
    let mut lease = session.lease("main").await.unwrap();
    for (text, rows, got, done) in [
        ("SELECT g FROM generate_series(1, 5) g", 3, 3, None),
        (
            "SELECT g FROM generate_series(1, 2) g",
            3,
            2,
            Some("SELECT 2"),
        ),
        ("SET my.x = 1", 3, 0, Some("SET")),
    ] {
        let mut exchange = lease
            .exchange(&[few(text, rows)], usize::MAX)
            .await
            .unwrap();
        let mut count = 0;
        loop {
            match exchange.next().await.unwrap() {
                session_pool::Answer::Row(_) => count += 1,
                session_pool::Answer::Ready { .. } => break,
                _ => {}
            }
        }
        assert_eq!((count, exchange.done()), (got, done), "{text}");
    }
}

#[tokio::test]
async fn a_statement_about_a_name_that_is_not_there_costs_the_connection_nothing() {
    let session = alone("few-names");
    let mut lease = session.lease("main").await.unwrap();
    let prepared = "SELECT count(*) FROM pg_prepared_statements WHERE statement = 'ROLLBACK'";
    let missing = few("EXECUTE nothing", 1);
    for step in [missing, Step::Run("ROLLBACK")] {
        let mut exchange = lease.exchange(&[step], usize::MAX).await.unwrap();
        loop {
            match exchange.next().await.unwrap() {
                session_pool::Answer::Refused { is_stale, .. } => assert!(!is_stale),
                session_pool::Answer::Ready { .. } => break,
                _ => {}
            }
        }
    }
    let prepared: i64 = lease.query_one(prepared, &[]).await.unwrap().get(0);
    assert_eq!(
        prepared, 1,
        "what comes with every exchange is prepared still"
    );
}

#[tokio::test]
async fn a_database_that_is_configured_anew_or_taken_away_ends_what_is_kept_on_it() {
    let observer = observer().await;
    let anew = |generation| Database {
        generation,
        ..database(socket_config())
    };
    let sessions = Sessions::new([anew(0)], Limits::default());
    let session = sessions.open("anew", None);
    make(&session, &line("a")).await;
    make(&session, &line("b")).await;
    let busy = session.keep(&line("b"), "main").await.unwrap();
    sessions.replace([anew(1)]);
    assert!(is_whole(&busy).await, "what runs may end in peace");
    busy.scrub().await.unwrap();
    let took = gone(&observer, "anew").await;
    assert!(took < Duration::from_millis(500), "took {took:?}");
    for name in ["a", "b"] {
        let told = session.kept(&line(name), "main").await;
        assert!(
            matches!(told, Err(LeaseError::Lost(Loss::Outdated))),
            "{name}"
        );
    }
    make(&session, &line("a")).await;
    sessions.confine("anew", [].into());
    let took = gone(&observer, "anew").await;
    assert!(took < AT_ONCE, "took {took:?}");
    let told = session.kept(&line("a"), "main").await;
    assert!(matches!(told, Err(LeaseError::Lost(_))));
    let refused = session.keep(&line("a"), "main").await;
    assert!(matches!(refused, Err(LeaseError::Withdrawn(_))));
}

#[tokio::test]
async fn what_a_line_loses_with_its_database_is_told_on_another_one() {
    let named = |name: &str| Database::new(name, socket_config(), Tls::disabled());
    let sessions = Sessions::new([named("main"), named("other")], Limits::default());
    let session = sessions.open("elsewhere", None);
    let line = &line("a");
    for keep in [false, true] {
        make(&session, line).await;
        assert!(session.kept(line, "other").await.unwrap().is_none());
        sessions.confine("elsewhere", ["other".into()].into());
        let told = if keep {
            session.keep(line, "other").await.map(drop)
        } else {
            session.kept(line, "other").await.map(drop)
        };
        assert!(
            matches!(told, Err(LeaseError::Lost(Loss::Outdated))),
            "{told:?}"
        );
        assert!(session.kept(line, "other").await.unwrap().is_none());
        sessions.confine("elsewhere", ["main".into(), "other".into()].into());
        assert!(session.kept(line, "main").await.unwrap().is_none(), "told");
    }
}

#[tokio::test]
async fn what_a_line_loses_is_told_once_and_why() {
    let limits = Limits {
        kept: 10,
        ..Limits::default()
    };
    let mut many = database(socket_config());
    many.max_connections = 8;
    let sessions = Sessions::new([many], limits);
    let (ends, told) = std::sync::mpsc::channel();
    sessions.tell_ends(move |id, end| {
        let End::Line {
            name,
            database,
            loss,
        } = end
        else {
            panic!("{id}: {end:?}");
        };
        let line = format!("{id} {name} {database}");
        ends.send((line, loss)).unwrap();
    });
    let session = sessions.open("told", None);
    let idle = Line {
        idle_time: Some(Duration::from_millis(1)),
        ..passing("idle")
    };
    make(&session, &idle).await;
    let told_idle = tokio::task::spawn_blocking(move || {
        let first = told.recv_timeout(Duration::from_secs(10)).unwrap();
        (first, told)
    });
    let (first, told) = told_idle.await.unwrap();
    let lost = |name: &str, loss| (format!("told {name} main"), loss);
    assert_eq!(
        first,
        lost("idle", Some(Loss::Idle(Duration::from_millis(1))))
    );
    for name in ["broken", "let go", "untied", "old", "left"] {
        make(&session, &line(name)).await;
    }
    drop(session.keep(&line("broken"), "main").await.unwrap());
    // Its own lease is told as well, which is no second loss.
    let again = session.keep(&line("broken"), "main").await;
    assert!(matches!(again, Err(LeaseError::Lost(Loss::Broken))));
    session.let_go("let go");
    let tie = session.tie("untied");
    drop(session.tie("never there"));
    drop(tie);
    let terms = Terms {
        connections: Some(2),
        ..Terms::default()
    };
    sessions.open_on("told", None, &terms);
    sessions.close("told");
    let told: Vec<_> = told.try_iter().collect();
    assert_eq!(
        told,
        [
            lost("broken", Some(Loss::Broken)),
            lost("untied", None),
            lost("old", Some(Loss::Crowded)),
        ]
    );
}

#[tokio::test]
async fn lost_lines_are_forgotten_and_their_session_with_them() {
    let limits = Limits {
        kept_idle_time: Duration::from_millis(100),
        ..Limits::default()
    };
    let sessions = Sessions::new([database(socket_config())], limits);
    let session = sessions.open("forgotten", None);
    for name in ["a", "b", "c", "d", "e", "f"] {
        let mut lease = session.keep(&line(name), "main").await.unwrap();
        lease.stay();
        drop(lease);
        assert!(session.knows(name));
    }
    drop(session);
    let forgotten = async {
        while sessions.census().sessions > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), forgotten)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_in_a_line_that_ends_finds_the_session_closed() {
    for _ in 0..40 {
        let sessions = sessions();
        let session = sessions.open("waits", None);
        make(&session, &line("a")).await;
        let first = session.keep(&line("a"), "main").await.unwrap();
        let waiting = tokio::spawn(async move {
            let told = session.kept(&line("a"), "main").await;
            (told.map(|lease| lease.is_some()), session.is_closed())
        });
        while sessions.census().waiting == 0 {
            tokio::task::yield_now().await;
        }
        sessions.close("waits");
        let (told, is_closed) = waiting.await.unwrap();
        assert!(is_closed, "it was told {told:?}");
        drop(first);
    }
}

#[tokio::test]
async fn a_tie_tells_of_the_end_of_its_session_and_of_nothing_else() {
    let sessions = sessions();
    let session = sessions.open("tied", None);
    let tie = session.tie("a");
    make(&session, &line("a")).await;
    drop(session.keep(&line("a"), "main").await.unwrap());
    let other = sessions.open("other", None);
    assert!(!tie.is_over_for(&other), "only the connection was lost");
    sessions.close("tied");
    let next = sessions.open("tied", None);
    assert!(tie.is_over_for(&next) && !next.tie("a").is_over_for(&next));
    assert!(!tie.is_over_for(&session), "whose calls have ended with it");
}
