//! Databases that are configured anew while sessions use them, and such that a session loses.

use tokio::net::TcpListener;

use super::*;

/// The database `main`, which is another one in each generation.
fn main_database(generation: u64) -> Database {
    let mut config = socket_config();
    config.dbname(if generation == 0 {
        "postgres"
    } else {
        "template1"
    });
    Database {
        generation,
        ..database(config)
    }
}

fn side_database() -> Database {
    Database::new("side", socket_config(), Tls::disabled())
}

async fn current(lease: &Lease) -> String {
    lease
        .query_one("SELECT current_database()::text", &[])
        .await
        .unwrap()
        .get(0)
}

/// Waits until a backend has ended, and says how long that took.
async fn ended(observer: &Client, pid: i32) -> Duration {
    let begin = Instant::now();
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1";
    while observer
        .query_one(sql, &[&pid])
        .await
        .unwrap()
        .get::<_, i64>(0)
        > 0
    {
        assert!(begin.elapsed() < Duration::from_secs(5), "{pid} stays");
    }
    begin.elapsed()
}

fn names(names: &[&str]) -> Arc<[Arc<str>]> {
    names.iter().map(|name| Arc::from(*name)).collect()
}

#[tokio::test]
async fn what_runs_ends_in_peace_and_what_begins_is_on_the_new_database() {
    let observer = observer().await;
    let sessions = Sessions::new([main_database(0)], Limits::default());
    let session = sessions.open("replaced", None);
    let (busy, idle) = (
        session.lease("main").await.unwrap(),
        session.lease("main").await.unwrap(),
    );
    let (busy_pid, idle_pid) = (pid(&busy).await, pid(&idle).await);
    idle.scrub().await.unwrap();
    assert_eq!(session.generation("main").unwrap(), 0);

    sessions.replace([main_database(1)]);
    assert_eq!(session.generation("main").unwrap(), 1);
    ended(&observer, idle_pid).await;
    let new = session.lease("main").await.unwrap();
    assert_eq!(current(&new).await, "template1");
    assert_eq!((busy.generation(), busy.is_outdated()), (0, true));
    assert_eq!((new.generation(), new.is_outdated()), (1, false));
    assert_eq!(current(&busy).await, "postgres");
    busy.scrub().await.unwrap();
    ended(&observer, busy_pid).await;
    let new_pid = pid(&new).await;
    new.scrub().await.unwrap();
    let again = session.lease("main").await.unwrap();
    assert_eq!(pid(&again).await, new_pid);
}

#[tokio::test]
async fn a_database_that_is_described_as_before_keeps_its_connections() {
    let sessions = Sessions::new([main_database(0), side_database()], Limits::default());
    let session = sessions.open("unchanged", None);
    let lease = session.lease("side").await.unwrap();
    let before = pid(&lease).await;
    lease.scrub().await.unwrap();
    sessions.replace([side_database(), main_database(1)]);
    let lease = session.lease("side").await.unwrap();
    assert_eq!(pid(&lease).await, before);
    assert_eq!(sessions.databases(), names(&["side", "main"]));
    assert_eq!(session.databases(), names(&["side", "main"]));
    assert_eq!(sessions.open("later", None).databases().len(), 2);
}

#[tokio::test]
async fn a_database_that_is_named_no_more_is_unknown_and_what_runs_on_it_ends() {
    let observer = observer().await;
    let sessions = Sessions::new([main_database(0), side_database()], Limits::default());
    let session = sessions.open("removed", None);
    let side = session.lease("side").await.unwrap();
    let outdated = session.lease("main").await.unwrap();
    sessions.replace([main_database(1), side_database()]);
    let main = session.lease("main").await.unwrap();
    let pids = [pid(&outdated).await, pid(&main).await];
    let running = tokio::spawn(async move {
        let sleep = "SELECT pg_sleep(25)";
        let both = tokio::join!(main.batch_execute(sleep), outdated.batch_execute(sleep));
        (both.0.is_err(), both.1.is_err())
    });
    for pid in pids {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND state = 'active'";
        while observer
            .query_one(sql, &[&pid])
            .await
            .unwrap()
            .get::<_, i64>(0)
            == 0
        {}
    }

    sessions.replace([side_database()]);
    for pid in pids {
        let took = ended(&observer, pid).await;
        assert!(took < AT_ONCE, "took {took:?}");
    }
    assert_eq!(running.await.unwrap(), (true, true));
    let error = session.lease("main").await.err().unwrap();
    assert!(matches!(error, LeaseError::UnknownDatabase(_)), "{error}");
    assert_eq!(current(&side).await, "postgres");
    sessions.replace([side_database(), main_database(2)]);
    assert_eq!(session.lease("main").await.unwrap().generation(), 2);
}

#[tokio::test]
async fn who_waits_for_an_old_connection_gets_a_new_one() {
    let narrow = |generation| Database {
        max_connections: 1,
        ..main_database(generation)
    };
    let limits = Limits {
        wait: Duration::from_secs(20),
        ..Limits::default()
    };
    let sessions = Sessions::new([narrow(0)], limits);
    let session = sessions.open("waits", None);
    let busy = session.lease("main").await.unwrap();
    let mut waiting = Box::pin(session.lease("main"));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    sessions.replace([narrow(1)]);
    let moved = waiting.await.unwrap();
    assert_eq!((busy.generation(), moved.generation()), (0, 1));
    assert_eq!(current(&busy).await, "postgres");
}

#[tokio::test]
async fn a_server_that_does_not_answer_holds_nobody_up_who_may_go_elsewhere() {
    let hole = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = Config::new();
    config
        .host("127.0.0.1")
        .port(hole.local_addr().unwrap().port())
        .user("reader")
        .dbname("postgres");
    let silent = Database {
        connect_timeout: Duration::from_secs(20),
        ..database(config)
    };
    let sessions = Sessions::new([silent], Limits::default());
    let session = sessions.open("moves", None);
    let lease =
        tokio::spawn(async move { session.lease("main").await.map(|one| one.generation()) });
    let _connecting = hole.accept().await.unwrap();
    let begin = Instant::now();
    sessions.replace([main_database(1)]);
    assert_eq!(lease.await.unwrap().unwrap(), 1);
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn old_and_new_connections_to_a_server_share_its_budget() {
    let limits = Limits {
        max_connections_total: Some(1),
        wait: Duration::from_millis(300),
        ..Limits::default()
    };
    let elsewhere = Database {
        generation: 1,
        ..database(tcp_config("localhost"))
    };
    let sessions = Sessions::new([main_database(0)], limits);
    let session = sessions.open("budget", None);
    let old = session.lease("main").await.unwrap();
    for databases in [[main_database(2)], [elsewhere], [main_database(3)]] {
        let is_elsewhere = databases[0].generation == 1;
        sessions.replace(databases);
        match session.lease("main").await {
            Ok(lease) => assert!(is_elsewhere, "{}", lease.generation()),
            Err(error) => assert!(
                !is_elsewhere && matches!(error, LeaseError::Full { .. }),
                "{error}"
            ),
        }
    }
    let (given_back, taken) = tokio::join!(old.scrub(), session.lease("main"));
    given_back.unwrap();
    assert_eq!(taken.unwrap().generation(), 3);
}

#[tokio::test]
async fn a_session_that_is_confined_loses_the_others_and_nothing_else() {
    let observer = observer().await;
    let sessions = Sessions::new([main_database(0), side_database()], Limits::default());
    let session = sessions.open("confined", None);
    let (outdated, side) = (
        session.lease("main").await.unwrap(),
        session.lease("side").await.unwrap(),
    );
    sessions.replace([main_database(1), side_database()]);
    let (busy, idle) = (
        session.lease("main").await.unwrap(),
        session.lease("main").await.unwrap(),
    );
    let mut pids = vec![pid(&outdated).await, pid(&busy).await, pid(&idle).await];
    idle.scrub().await.unwrap();
    let running = tokio::spawn(async move { side.batch_execute("SELECT pg_sleep(0.5)").await });

    sessions.confine("confined", names(&["side"]));
    for pid in pids.drain(..) {
        let took = ended(&observer, pid).await;
        assert!(took < AT_ONCE, "took {took:?}");
    }
    assert!(busy.query_one("SELECT 1", &[]).await.is_err());
    assert!(outdated.query_one("SELECT 1", &[]).await.is_err());
    let error = session.lease("main").await.err().unwrap();
    assert!(matches!(error, LeaseError::Withdrawn(_)), "{error}");
    assert!(session.generation("main").is_err());
    assert_eq!(session.databases(), names(&["side"]));
    running.await.unwrap().unwrap();
    assert!(!session.is_closed());

    let wide = Terms {
        databases: Some(names(&["side", "main", "nowhere"])),
        ..Terms::default()
    };
    let same = sessions.open_on("confined", None, &wide);
    session.lease("main").await.unwrap();
    let error = same.lease("nowhere").await.err().unwrap();
    assert!(matches!(error, LeaseError::UnknownDatabase(_)), "{error}");
}

#[tokio::test]
async fn a_session_that_nobody_holds_stays_for_what_runs_on_an_old_database() {
    let sessions = Sessions::new([main_database(0)], Limits::default());
    let lease = sessions.open("held", None).lease("main").await.unwrap();
    sessions.replace([main_database(1)]);
    // Longer than it takes until unused sessions are looked for.
    lease.batch_execute("SELECT pg_sleep(2.2)").await.unwrap();
    lease.scrub().await.unwrap();
}

#[tokio::test]
async fn closing_a_session_ends_what_runs_on_an_old_database_too() {
    let observer = observer().await;
    let sessions = Sessions::new([main_database(0)], Limits::default());
    let session = sessions.open("closed-anew", None);
    let lease = session.lease("main").await.unwrap();
    let running = tokio::spawn(async move { lease.batch_execute("SELECT pg_sleep(25)").await });
    super::running(&observer, "closed-anew", "pg_sleep").await;
    sessions.replace([main_database(1)]);
    sessions.close("closed-anew");
    assert!(gone(&observer, "closed-anew").await < AT_ONCE);
    assert!(running.await.unwrap().is_err());
    let error = session.lease("main").await.err().unwrap();
    assert!(matches!(error, LeaseError::Closed), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_often_databases_change_no_call_fails_and_no_place_is_lost() {
    const PLACES: usize = 4;
    let limits = Limits {
        max_connections_total: Some(PLACES),
        wait: Duration::from_secs(20),
        ..Limits::default()
    };
    let sessions = Sessions::new([main_database(0)], limits);
    // The databases take turns.
    let described = |generation: u64| Database {
        generation,
        ..main_database(generation % 2)
    };
    let callers: Vec<_> = (0..6)
        .map(|number| {
            let session = sessions.open(&format!("often-{}", number % 3), None);
            tokio::spawn(async move {
                let mut calls = 0;
                while session.generation("main").unwrap() < 60 {
                    let lease = session.lease("main").await.unwrap();
                    let expected = ["postgres", "template1"][(lease.generation() % 2) as usize];
                    assert_eq!(current(&lease).await, expected);
                    lease.scrub().await.unwrap();
                    calls += 1;
                }
                calls
            })
        })
        .collect();
    let other = sessions.open("often-other", None);
    for generation in 1..=60 {
        sessions.replace([described(generation)]);
        let lease = other.lease("main").await.unwrap();
        assert_eq!(lease.generation(), generation);
        lease.scrub().await.unwrap();
    }
    for caller in callers {
        assert!(caller.await.unwrap() > 0);
    }
    let all = (0..PLACES).map(|_| other.lease("main"));
    let all = futures_util::future::join_all(all).await;
    assert!(all.iter().all(Result::is_ok), "a place is lost");
}
