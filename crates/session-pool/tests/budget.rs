//! Many sessions within few connections.
#![allow(clippy::unwrap_used)]

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use private_postgres::{Cluster, Options, Programs, Search};
use session_pool::{Database, Lease, LeaseError, Limits, Line, Session, Sessions, Tls};
use tokio_postgres::{Client, Config, NoTls};

/// How many sessions take turns; `BUDGET_SESSIONS` makes it more.
fn many() -> usize {
    number("BUDGET_SESSIONS", 300)
}

/// What PostgreSQL itself lets roles have that are no superusers. `BUDGET_CONNECTIONS` makes it more for
/// those that take turns; other tests want nine:
/// `BUDGET_SESSIONS=10000 BUDGET_CONNECTIONS=50 cargo test -p session-pool --test budget in_turn`.
fn free() -> usize {
    number("BUDGET_CONNECTIONS", 9)
}

fn number(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |text| text.parse().unwrap())
}

/// A server that refuses more than [`free`] connections; it ends with the process.
fn server() -> &'static Cluster {
    static SERVER: OnceLock<Cluster> = OnceLock::new();
    SERVER.get_or_init(|| {
        let search = Search {
            bin_dir: std::env::var_os("PG_BINDIR").map(Into::into),
            path: std::env::var_os("PATH"),
        };
        let programs = Programs::find(&search).unwrap_or_else(|error| panic!("{error}"));
        let options = Options::for_tests(programs, "session-pool-")
            .setting("superuser_reserved_connections", "20")
            .setting("max_connections", &(free() + 20).to_string());
        let cluster = Cluster::start(options).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    let admin = connect(&cluster).await;
                    admin
                        .batch_execute("CREATE ROLE reader LOGIN")
                        .await
                        .unwrap();
                });
            });
        });
        cluster
    })
}

async fn connect(cluster: &Cluster) -> Client {
    let url = cluster.connection("postgres").to_string();
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A test with the server to itself: each takes all connections there are.
async fn alone() -> (tokio::sync::MutexGuard<'static, ()>, Client) {
    static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let guard = ALONE.lock().await;
    let observer = connect(server()).await;
    // The one before has dropped its connections; PostgreSQL is still ending them.
    let begin = Instant::now();
    while backends(&observer, "%").await > 0 {
        assert!(begin.elapsed() < Duration::from_secs(5), "connections stay");
    }
    (guard, observer)
}

async fn backends(observer: &Client, id: &str) -> i64 {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'mcp/' || $1";
    observer.query_one(sql, &[&id]).await.unwrap().get(0)
}

fn database() -> Database {
    let mut config = Config::new();
    config
        .host_path(server().socket_dir())
        .port(server().port())
        .user("reader")
        .dbname("postgres");
    Database::new("main", config, Tls::disabled())
}

fn sessions(budget: Option<usize>, limits: Limits) -> Sessions {
    let limits = Limits {
        max_connections_total: budget,
        ..limits
    };
    Sessions::new([database()], limits)
}

/// One call: nothing may be there of another session, and something is left in this one.
async fn call(session: &Session) -> Result<(), LeaseError> {
    let lease = session.lease("main").await?;
    let row = lease
        .query_one(
            "SELECT current_setting('application_name'), coalesce(current_setting('my.owner', true), ''), \
                    to_regclass('pg_temp.secret') IS NULL",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(row.get::<_, String>(0), format!("mcp/{}", session.id()));
    assert_eq!(
        row.get::<_, String>(1),
        "",
        "{} sees another's",
        session.id()
    );
    assert!(row.get::<_, bool>(2), "{} sees another's", session.id());
    let leave = format!(
        "CREATE TEMP TABLE secret (); SET my.owner = '{}'",
        session.id()
    );
    lease.batch_execute(&leave).await.unwrap();
    lease.scrub().await.unwrap();
    Ok(())
}

async fn sleep(lease: &Lease, seconds: f64) {
    let sql = format!("SELECT pg_sleep({seconds})");
    lease.batch_execute(&sql).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_in_turn_share_nothing_but_the_places_of_their_connections() {
    let (_alone, observer) = alone().await;
    let sessions = sessions(Some(free()), Limits::default());
    let all: Vec<Session> = (0..many())
        .map(|number| sessions.open(&format!("turn-{number}"), None))
        .collect();
    // About twice as many at once as there are places.
    for chunk in all.chunks(2 * free() + 2) {
        let answers = join_all(chunk.iter().map(call)).await;
        for answer in answers {
            answer.unwrap();
        }
        let open = backends(&observer, "%").await;
        // PostgreSQL counts one that is ending until it has ended.
        assert!((1..=free() as i64).contains(&open), "{open} connections");
    }
    // The sessions that were used last have kept theirs.
    let last = format!("turn-{}", many() - 1);
    assert_eq!(backends(&observer, &last).await, 1);
    assert_eq!(backends(&observer, "turn-0").await, 0);
    sessions.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_idle_connection_of_the_session_unused_for_longest_goes_first() {
    let (_alone, observer) = alone().await;
    let sessions = sessions(Some(3), Limits::default());
    for id in ["a", "b", "c", "a", "d"] {
        call(&sessions.open(id, None)).await.unwrap();
    }
    let begin = Instant::now();
    while backends(&observer, "b").await > 0 {
        assert!(begin.elapsed() < Duration::from_secs(5), "b keeps its own");
    }
    for id in ["a", "c", "d"] {
        assert_eq!(backends(&observer, id).await, 1, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_with_many_callers_starves_nobody() {
    let (_alone, _) = alone().await;
    let limits = Limits {
        wait: Duration::from_secs(20),
        ..Limits::default()
    };
    let sessions = sessions(Some(4), limits);
    let greedy = sessions.open("greedy", None);
    let callers: Vec<_> = (0..40)
        .map(|_| {
            let greedy = greedy.clone();
            tokio::spawn(async move {
                loop {
                    let lease = greedy.lease("main").await.unwrap();
                    sleep(&lease, 0.02).await;
                    lease.scrub().await.unwrap();
                }
            })
        })
        .collect();
    let modest: Vec<Session> = (0..8)
        .map(|number| sessions.open(&format!("modest-{number}"), None))
        .collect();
    for _ in 0..5 {
        let times = join_all(modest.iter().map(|session| async {
            let begin = Instant::now();
            call(session).await.unwrap();
            begin.elapsed()
        }))
        .await;
        let slowest = times.into_iter().max().unwrap();
        assert!(slowest < Duration::from_secs(3), "waited {slowest:?}");
    }
    // And the greedy one goes on.
    let lease = greedy.lease("main").await.unwrap();
    sleep(&lease, 0.0).await;
    for caller in callers {
        assert!(!caller.is_finished(), "a caller of the greedy one failed");
        caller.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sessions_that_want_everything_have_half_each_and_keep_it() {
    let (_alone, observer) = alone().await;
    let sessions = sessions(Some(4), Limits::default());
    let pair = [sessions.open("one", None), sessions.open("two", None)];
    let callers: Vec<_> = pair
        .iter()
        .flat_map(|session| std::iter::repeat_n(session.clone(), 8))
        .map(|session| {
            tokio::spawn(async move {
                let mut pids = std::collections::BTreeSet::new();
                for _ in 0..25 {
                    let lease = session.lease("main").await.unwrap();
                    let row = lease.query_one("SELECT pg_backend_pid()", &[]);
                    pids.insert(row.await.unwrap().get::<_, i32>(0));
                    sleep(&lease, 0.01).await;
                    lease.scrub().await.unwrap();
                }
                pids
            })
        })
        .collect();
    let mut pids = std::collections::BTreeSet::new();
    let mut shares = Vec::new();
    for caller in callers {
        while !caller.is_finished() {
            shares.push((
                backends(&observer, "one").await,
                backends(&observer, "two").await,
            ));
        }
        pids.extend(caller.await.unwrap());
    }
    let even = shares.iter().filter(|share| **share == (2, 2)).count();
    assert!(
        even * 2 > shares.len(),
        "{even} of {} were even",
        shares.len()
    );
    // 400 calls; a connection is opened when the shares change, not for each of them.
    assert!(pids.len() < 40, "{} connections were opened", pids.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_another_session_ends_with_advice() {
    let (_alone, _) = alone().await;
    let limits = Limits {
        wait: Duration::from_millis(300),
        ..Limits::default()
    };
    let sessions = sessions(Some(2), limits);
    let held = [
        sessions.open("first", None).lease("main").await.unwrap(),
        sessions.open("second", None).lease("main").await.unwrap(),
    ];
    let third = sessions.open("third", None);
    let begin = Instant::now();
    let error = third.lease("main").await.err().unwrap();
    assert!(matches!(error, LeaseError::Full { .. }), "{error}");
    assert!(error.to_string().contains("try again"), "{error}");
    let waited = begin.elapsed();
    assert!(
        (Duration::from_millis(300)..Duration::from_secs(2)).contains(&waited),
        "{waited:?}"
    );
    let [first, _second] = held;
    let waiting = tokio::spawn(async move { call(&third).await });
    first.scrub().await.unwrap();
    waiting.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_callers_of_a_session_wait_for_a_place_than_for_a_connection() {
    let (_alone, _) = alone().await;
    let limits = Limits {
        waiting: 1,
        wait: Duration::from_millis(300),
        ..Limits::default()
    };
    let sessions = sessions(Some(1), limits);
    let _held = sessions.open("holder", None).lease("main").await.unwrap();
    let crowd = sessions.open("crowd", None);
    // A place for each of the pool's connections, one in the queue, and one too many.
    let most = database().max_connections + 2;
    let answers = join_all((0..most).map(|_| crowd.lease("main"))).await;
    let too_many = |error: &LeaseError| matches!(error, LeaseError::QueueFull { limit: 1 });
    let refused = answers
        .iter()
        .filter(|answer| answer.as_ref().is_err_and(too_many));
    assert_eq!(refused.count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_is_asked_how_many_connections_it_takes() {
    let (_alone, observer) = alone().await;
    let sessions = sessions(None, Limits::default());
    let leases = join_all((0..free()).map(|number| {
        let session = sessions.open(&format!("asks-{number}"), None);
        async move { session.lease("main").await }
    }));
    let holding = tokio::spawn(leases);
    // Nine are free, and two of them are left to others.
    let begin = Instant::now();
    while backends(&observer, "asks-%").await < 7 {
        assert!(begin.elapsed() < Duration::from_secs(5), "fewer than seven");
    }
    let leases = holding.await.unwrap();
    assert_eq!(leases.iter().filter(|lease| lease.is_ok()).count(), 7);
    for refused in leases.iter().filter_map(|lease| lease.as_ref().err()) {
        assert!(matches!(refused, LeaseError::Full { .. }), "{refused}");
    }
}

/// A login that the role `limited` has at most three times.
async fn limited(observer: &Client) -> Database {
    let role = "DO $$ BEGIN CREATE ROLE limited LOGIN; EXCEPTION WHEN duplicate_object THEN END $$; \
                ALTER ROLE limited CONNECTION LIMIT 3";
    observer.batch_execute(role).await.unwrap();
    let mut database = database();
    database.config.user("limited");
    database
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_is_asked_for_no_more_connections_than_it_may_have() {
    let (_alone, observer) = alone().await;
    let sessions = Sessions::new([limited(&observer).await], Limits::default());
    call(&sessions.open("first", None)).await.unwrap();
    assert_eq!(sessions.census().budgets[0].size, Some(3));
    let many: Vec<Session> = (0..5)
        .map(|number| sessions.open(&format!("limited-{number}"), None))
        .collect();
    for ended in join_all((0..50).map(|turn| call(&many[turn % many.len()]))).await {
        ended.unwrap();
    }
    // It is asked again when it has refused one.
    let fewer = "ALTER ROLE limited CONNECTION LIMIT 1";
    observer.batch_execute(fewer).await.unwrap();
    sessions.close_all();
    let others: Vec<Session> = (0..3)
        .map(|number| sessions.open(&format!("fewer-{number}"), None))
        .collect();
    for ended in join_all((0..15).map(|turn| call(&others[turn % others.len()]))).await {
        ended.unwrap();
    }
    assert_eq!(sessions.census().budgets[0].size, Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_the_server_refuses_takes_what_its_session_gives_back() {
    let (_alone, observer) = alone().await;
    let login = limited(&observer).await;
    let fewer = "ALTER ROLE limited CONNECTION LIMIT 1";
    observer.batch_execute(fewer).await.unwrap();
    let limits = Limits {
        max_connections_total: Some(3),
        ..Limits::default()
    };
    let sessions = Sessions::new([login], limits);
    let session = sessions.open("alone", None);
    let first = session.lease("main").await.unwrap();
    let second = tokio::spawn(async move { call(&session).await });
    while sessions.census().budgets[0].taken < 2 {
        tokio::task::yield_now().await;
    }
    first.scrub().await.unwrap();
    second.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_waits_for_a_full_server_as_long_as_it_may() {
    let (_alone, observer) = alone().await;
    let login = limited(&observer).await;
    let limits = Limits {
        wait: Duration::from_secs(5),
        ..Limits::default()
    };
    let taker = Sessions::new([login.clone()], Limits::default());
    let sessions = Sessions::new([login], limits);
    let taking = taker.open("taker", None);
    let taken = join_all((0..3).map(|_| taking.lease("main"))).await;
    assert!(taken.iter().all(Result::is_ok));
    let (begin, waiting) = (Instant::now(), sessions.open("waiting", None));
    let (ended, ()) = tokio::join!(call(&waiting), async {
        // Longer than half of the time, in which nothing happens that could be awaited.
        tokio::time::sleep(Duration::from_secs(3)).await;
        taker.close_all();
    });
    ended.unwrap();
    let took = begin.elapsed();
    assert!(took < Duration::from_millis(4_500), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_host_is_waited_for_although_the_next_one_is_down() {
    let (_alone, observer) = alone().await;
    let mut login = limited(&observer).await;
    let taker = Sessions::new([login.clone()], Limits::default());
    let taking = taker.open("taker", None);
    let taken = join_all((0..3).map(|_| taking.lease("main"))).await;
    assert!(taken.iter().all(Result::is_ok));
    let mut down = Config::new();
    down.host_path("/nowhere")
        .user("limited")
        .dbname("postgres");
    login.fallbacks = vec![down];
    let limits = Limits {
        wait: Duration::from_millis(50),
        ..Limits::default()
    };
    let sessions = Sessions::new([login], limits);
    let refused = sessions.open("waiting", None).lease("main").await.err();
    assert!(
        matches!(refused, Some(LeaseError::Full { .. })),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_connections_others_hold_is_asked_again() {
    let (_alone, _) = alone().await;
    let sessions = sessions(Some(100), Limits::default());
    let config = database().config;
    let mut others = Vec::new();
    for _ in 0..free() {
        let (client, connection) = config.connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        others.push(client);
    }
    let session = sessions.open("patient", None);
    let waiting = tokio::spawn(async move { call(&session).await });
    tokio::task::yield_now().await;
    drop(others);
    waiting.await.unwrap().unwrap();
}

/// Numbers that are the same in every run (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_abandoned_or_closed_no_place_is_lost() {
    const BUDGET: usize = 5;
    let (_alone, observer) = alone().await;
    let limits = Limits {
        wait: Duration::from_secs(30),
        ..Limits::default()
    };
    let sessions = sessions(Some(BUDGET), limits);
    let mut dice = Dice(0x5eed);
    let mut running = Vec::new();
    for step in 0..400 {
        let session = sessions.open(&format!("chaos-{}", dice.below(12)), None);
        match dice.below(10) {
            0 => _ = sessions.close(session.id()),
            1..=3 => {
                // A caller that goes away, wherever it is just then.
                let task = tokio::spawn(async move {
                    if let Ok(lease) = session.lease("main").await {
                        _ = lease.batch_execute("SELECT pg_sleep(0.01)").await;
                    }
                });
                tokio::time::sleep(Duration::from_micros(dice.below(8_000))).await;
                task.abort();
            }
            _ => running.push(tokio::spawn(async move {
                match session.lease("main").await {
                    Ok(lease) if lease.batch_execute("SELECT 1").await.is_ok() => {
                        _ = lease.scrub().await;
                    }
                    Ok(_) | Err(LeaseError::Closed) => {}
                    Err(error) => panic!("step {step}: {error:?}"),
                }
            })),
        }
    }
    for task in running {
        task.await.unwrap();
    }
    let held = join_all((0..BUDGET).map(|number| {
        let session = sessions.open(&format!("after-{number}"), None);
        async move { session.lease("main").await.unwrap() }
    }))
    .await;
    assert_eq!(held.len(), BUDGET);
    assert_eq!(backends(&observer, "after-%").await, BUDGET as i64);
    drop(held);
    sessions.finish().await;
    let begin = Instant::now();
    while backends(&observer, "%").await > 0 {
        assert!(begin.elapsed() < Duration::from_secs(5), "connections stay");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_of_the_places_stay_for_calls_whatever_is_kept() {
    let (_alone, observer) = alone().await;
    let sessions = sessions(Some(4), Limits::default());
    let line = Line {
        name: "line".into(),
        idle_time: None,
        goes_on: true,
    };
    let mut keepers = Vec::new();
    for id in ["keeps-1", "keeps-2"] {
        let session = sessions.open(id, None);
        let mut lease = session.keep(&line, "main").await.unwrap();
        lease.batch_execute("SET my.owner = 'me'").await.unwrap();
        lease.stay();
        lease.scrub().await.unwrap();
        keepers.push(session);
    }
    let late = sessions.open("late", None);
    let refused = late.keep(&line, "main").await;
    assert!(matches!(refused, Err(LeaseError::KeptFull { .. })));
    let others: Vec<Session> = (0..20)
        .map(|number| sessions.open(&format!("calls-{number}"), None))
        .collect();
    for answer in join_all(others.iter().map(call)).await {
        answer.unwrap();
    }
    // None of them was closed for another's call.
    for session in &keepers {
        assert_eq!(backends(&observer, session.id()).await, 1);
        let lease = session.kept(&line, "main").await.unwrap().unwrap();
        let owner = lease.query_one("SHOW my.owner", &[]).await.unwrap();
        assert_eq!(owner.get::<_, String>(0), "me");
        lease.scrub().await.unwrap();
    }
    keepers[0].let_go("line");
    assert!(late.keep(&line, "main").await.is_ok());
}
