//! Sessions against a real PostgreSQL: who sees what, and who waits for what.
#![allow(clippy::unwrap_used)]

mod ending;
mod exchanges;
mod forms;
mod kept;
mod replacing;
mod tls;

use std::{
    fs,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use private_postgres::{Cluster, Identity, Network, Options, Programs, Search};
use session_pool::{
    Database, End, Lease, LeaseError, Limits, Login, Session, Sessions, Terms, Tls, Verification,
};
use tokio_postgres::{Client, Config, NoTls, error::SqlState};

const PASSWORD: &str = "correct horse";

/// What closing keeps even on a machine that is busy with everything else. How long it takes as a rule is
/// for the end-to-end tests, which look at medians.
const AT_ONCE: Duration = Duration::from_millis(300);

struct Server {
    cluster: Cluster,
    root: std::path::PathBuf,
    authority: std::path::PathBuf,
}

/// One server for all tests of this program; it ends with the process.
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let search = Search {
            bin_dir: std::env::var_os("PG_BINDIR").map(Into::into),
            path: std::env::var_os("PATH"),
        };
        let programs = Programs::find(&search).unwrap_or_else(|error| panic!("{error}"));
        let (identity, authority) = identity();
        let mut options = Options::for_tests(programs, "session-pool-");
        let root = options.folder.clone();
        options.network = Network::Loopback;
        options.tls = Some(identity);
        let cluster = Cluster::start(options).unwrap();
        let path = root.join("authority.pem");
        fs::write(&path, authority).unwrap();
        let server = Server {
            cluster,
            root,
            authority: path,
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    let script = format!("CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'");
                    connect(&server).await.batch_execute(&script).await.unwrap();
                });
            });
        });
        server
    })
}

/// A certificate for localhost, and the authority that signed it.
fn identity() -> (Identity, String) {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .signed_by(&key, &authority)
        .unwrap();
    (
        Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        },
        authority.pem(),
    )
}

async fn connect(server: &Server) -> Client {
    let (client, connection) =
        tokio_postgres::connect(&server.cluster.connection("postgres").to_string(), NoTls)
            .await
            .unwrap();
    tokio::spawn(connection);
    client
}

/// Somebody who sees all sessions of the server.
async fn observer() -> Client {
    connect(server()).await
}

fn socket_config() -> Config {
    server()
        .cluster
        .connection("postgres")
        .to_string()
        .parse()
        .unwrap()
}

fn tcp_config(host: &str) -> Config {
    let mut config = Config::new();
    config
        .host(host)
        .port(server().cluster.port())
        .user("reader")
        .password(PASSWORD)
        .dbname("postgres");
    config
}

fn database(config: Config) -> Database {
    Database::new("main", config, Tls::disabled())
}

fn sessions() -> Sessions {
    Sessions::new([database(socket_config())], Limits::default())
}

/// A session of sessions that last as long as the test.
fn alone(id: &str) -> Session {
    let sessions = sessions();
    let session = sessions.open(id, None);
    tokio::spawn(async move {
        let _sessions = sessions;
        std::future::pending::<()>().await
    });
    session
}

async fn pid(lease: &Lease) -> i32 {
    lease
        .query_one("SELECT pg_backend_pid()", &[])
        .await
        .unwrap()
        .get(0)
}

/// Waits until PostgreSQL has no backend of that session any more, and says how long that took.
async fn gone(observer: &Client, id: &str) -> Duration {
    let begin = Instant::now();
    let name = format!("mcp/{id}");
    loop {
        let count: i64 = observer
            .query_one(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1",
                &[&name],
            )
            .await
            .unwrap()
            .get(0);
        if count == 0 {
            return begin.elapsed();
        }
        assert!(
            begin.elapsed() < Duration::from_secs(5),
            "{count} connections of {id} are still there"
        );
    }
}

/// Waits until a backend of that session runs a statement with this text in it.
async fn running(observer: &Client, id: &str, text: &str) {
    let begin = Instant::now();
    let name = format!("mcp/{id}");
    let pattern = format!("%{text}%");
    loop {
        let count: i64 = observer
            .query_one(
                "SELECT count(*) FROM pg_stat_activity \
                 WHERE application_name = $1 AND query LIKE $2 AND state = 'active'",
                &[&name, &pattern],
            )
            .await
            .unwrap()
            .get(0);
        if count > 0 {
            return;
        }
        assert!(
            begin.elapsed() < Duration::from_secs(5),
            "{id} never ran {text}"
        );
    }
}

#[tokio::test]
async fn what_one_session_leaves_behind_no_other_sees() {
    let sessions = sessions();
    let (one, other) = (sessions.open("mine", None), sessions.open("yours", None));
    let mine = one.lease("main").await.unwrap();
    mine.batch_execute(
        "CREATE TEMP TABLE secret AS SELECT 1 AS a; SET my.variable = 'x'; \
         SELECT pg_advisory_lock(4711); PREPARE statement AS SELECT 1",
    )
    .await
    .unwrap();
    let yours = other.lease("main").await.unwrap();
    assert_ne!(pid(&mine).await, pid(&yours).await);
    for (question, answer) in [
        ("SELECT to_regclass('pg_temp.secret') IS NULL", true),
        ("SELECT current_setting('my.variable', true) IS NULL", true),
        (
            "SELECT NOT EXISTS (SELECT FROM pg_prepared_statements WHERE name = 'statement')",
            true,
        ),
        ("SELECT pg_try_advisory_lock(4711)", false),
    ] {
        let row = yours.query_one(question, &[]).await.unwrap();
        assert_eq!(row.get::<_, bool>(0), answer, "{question}");
    }
    let named = yours
        .query_one("SELECT current_setting('application_name')", &[])
        .await
        .unwrap();
    assert_eq!(named.get::<_, String>(0), "mcp/yours");
}

#[tokio::test]
async fn a_scrubbed_connection_is_used_again_and_clean() {
    let session = alone("scrubbed");
    let lease = session.lease("main").await.unwrap();
    let first = pid(&lease).await;
    lease
        .batch_execute(
            "BEGIN; SELECT pg_advisory_lock(4712); LISTEN news; SET work_mem = '1MB'; CREATE TEMP TABLE t()",
        )
        .await
        .unwrap();
    lease.scrub().await.unwrap();
    let lease = session.lease("main").await.unwrap();
    assert_eq!(pid(&lease).await, first);
    let left = lease
        .query_one(
            "SELECT (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) \
                  + (SELECT count(*) FROM pg_listening_channels()) \
                  + (SELECT count(*) FROM pg_settings WHERE name = 'work_mem' AND source = 'session') \
                  + (to_regclass('pg_temp.t') IS NOT NULL)::int",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(left.get::<_, i64>(0), 0);
}

#[tokio::test]
async fn a_dropped_lease_cancels_its_statement_and_is_replaced() {
    let mut only = database(socket_config());
    only.max_connections = 1;
    let sessions = Sessions::new([only], Limits::default());
    let session = sessions.open("dropped", None);
    let observer = observer().await;
    let lease = session.lease("main").await.unwrap();
    let first = pid(&lease).await;
    let call = tokio::spawn(async move { lease.batch_execute("SELECT pg_sleep(60)").await });
    running(&observer, "dropped", "pg_sleep").await;
    call.abort();
    let next = session.lease("main").await.unwrap();
    assert_ne!(pid(&next).await, first);
    drop(next);
    assert!(gone(&observer, "dropped").await < Duration::from_secs(1));
}

#[tokio::test]
async fn waiting_has_a_limit_in_time_and_in_number() {
    let mut only = database(socket_config());
    only.max_connections = 1;
    let limits = Limits {
        waiting: 2,
        wait: Duration::from_millis(200),
        ..Limits::default()
    };
    let sessions = Sessions::new([only], limits);
    let session = sessions.open("queueing", None);
    let _held = session.lease("main").await.unwrap();
    let answers = futures_util::future::join_all((0..3).map(|_| session.lease("main"))).await;
    let count = |wanted: fn(&LeaseError) -> bool| {
        answers
            .iter()
            .filter(|answer| answer.as_ref().is_err_and(wanted))
            .count()
    };
    assert_eq!(
        count(|error| matches!(error, LeaseError::QueueFull { limit: 2 })),
        1
    );
    assert_eq!(count(|error| matches!(error, LeaseError::Busy { .. })), 2);
}

/// Who comes while another takes the last connection waits as well, and counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_is_counted_however_close_he_comes_behind_another() {
    let mut only = database(socket_config());
    only.max_connections = 1;
    let sessions = Sessions::new([only], Limits::default());
    let session = sessions.open("counted", None);
    for round in 0..200 {
        let arrived = Arc::new(AtomicU64::new(0));
        let go_on = tokio::sync::watch::Sender::new(false);
        let mut leases = tokio::task::JoinSet::new();
        for _ in 0..2 {
            let (session, arrived) = (session.clone(), Arc::clone(&arrived));
            let mut may_go_on = go_on.subscribe();
            leases.spawn(async move {
                // Both threads are to come at one moment, for which a wake-up is too late.
                arrived.fetch_add(1, Ordering::SeqCst);
                while arrived.load(Ordering::SeqCst) < 2 {
                    std::hint::spin_loop();
                }
                let lease = session.lease("main").await.unwrap();
                may_go_on.wait_for(|may| *may).await.unwrap();
                lease.give_back();
            });
        }
        let begun = Instant::now();
        while sessions.census().waiting < 1 {
            let patience = begun.elapsed() < Duration::from_secs(2);
            assert!(patience, "nobody waits in round {round}");
            tokio::task::yield_now().await;
        }
        go_on.send_replace(true);
        leases.join_all().await;
    }
}

#[tokio::test]
async fn limits_without_measure_are_as_good_as_none() {
    for max_connections in [0, 1, usize::MAX] {
        let database = Database {
            max_connections,
            connect_timeout: Duration::MAX,
            idle_time: Duration::MAX,
            ..database(socket_config())
        };
        let limits = Limits {
            waiting: usize::MAX,
            wait: Duration::MAX,
            max_connections_total: Some(usize::MAX),
            exchange_bytes: u64::MAX,
            kept: usize::MAX,
            kept_idle_time: Duration::MAX,
            prepared_statements: usize::MAX,
        };
        let sessions = Sessions::new([database], limits);
        let session = sessions.open("unlimited", None);
        let mut lease = session.lease("main").await.unwrap();
        assert!(!lease.recurs("SELECT 1"));
        lease.scrub().await.unwrap();
    }
}

#[tokio::test]
async fn of_databases_of_one_name_there_is_the_first() {
    let named = |generation| Database {
        generation,
        ..database(socket_config())
    };
    let sessions = Sessions::new([named(1), named(2)], Limits::default());
    let session = sessions.open("same", None);
    for generation in [1, 3] {
        let (listed, counted) = (sessions.databases(), sessions.census().databases);
        assert_eq!((listed.len(), session.databases().len()), (1, 1));
        assert_eq!(counted.len(), 1);
        assert_eq!(session.generation("main").unwrap(), generation);
        sessions.replace([named(3), named(4)]);
    }
}

#[tokio::test]
async fn an_answer_without_end_breaks_the_connection_and_not_the_server() {
    for config in [socket_config(), tcp_config("127.0.0.1")] {
        let limits = Limits {
            exchange_bytes: 1 << 20,
            ..Limits::default()
        };
        let sessions = Sessions::new([database(config)], limits);
        let session = sessions.open("metered", None);
        for bomb in [
            "SELECT repeat('x', 50000000)",
            "SELECT repeat('x', 50000000)::int",
        ] {
            let lease = session.lease("main").await.unwrap();
            let error = lease.query(bomb, &[]).await.unwrap_err();
            assert!(error.as_db_error().is_none(), "{error}");
        }
        let lease = session.lease("main").await.unwrap();
        assert_eq!(
            lease
                .query_one("SELECT 1", &[])
                .await
                .unwrap()
                .get::<_, i32>(0),
            1
        );
    }
}

#[tokio::test]
async fn a_silent_database_keeps_nobody_else_waiting() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = Config::new();
    config
        .host("127.0.0.1")
        .port(silent.local_addr().unwrap().port())
        .user("x")
        .dbname("x");
    let mut hole = Database::new("hole", config, Tls::disabled());
    hole.connect_timeout = Duration::from_millis(500);
    let limits = Limits {
        // Of each server: what waits for the silent one takes no place of the other.
        max_connections_total: Some(1),
        ..Limits::default()
    };
    let sessions = Sessions::new([database(socket_config()), hole], limits);
    let (stuck, free) = (sessions.open("stuck", None), sessions.open("free", None));
    let waiting = tokio::spawn(async move { (stuck.lease("hole").await.err(), Instant::now()) });
    tokio::task::yield_now().await;
    let begin = Instant::now();
    free.lease("main").await.unwrap().scrub().await.unwrap();
    let done = Instant::now();
    let (error, given_up) = waiting.await.unwrap();
    assert!(
        matches!(error, Some(LeaseError::Silent { .. })),
        "{error:?}"
    );
    assert!(
        done < given_up,
        "the free session waited {:?}",
        begin.elapsed()
    );
}

/// Hosts that accept and say nothing.
async fn silent_hosts<const COUNT: usize>() -> [tokio::net::TcpListener; COUNT] {
    let bound = (0..COUNT).map(|_| tokio::net::TcpListener::bind("127.0.0.1:0"));
    let bound = futures_util::future::try_join_all(bound).await.unwrap();
    bound.try_into().unwrap()
}

#[tokio::test]
async fn a_silent_host_leaves_the_next_its_time_also_in_one_configuration() {
    let [silent] = silent_hosts().await;
    let mut config = Config::new();
    config
        .host("127.0.0.1")
        .port(silent.local_addr().unwrap().port())
        .host_path(server().cluster.socket_dir())
        .port(server().cluster.port())
        .user("reader")
        .dbname("postgres");
    let mut database = database(config);
    database.connect_timeout = Duration::from_millis(500);
    let sessions = Sessions::new([database], Limits::default());
    let lease = sessions.open("second", None).lease("main").await;
    assert!(lease.is_ok(), "{:?}", lease.err());
}

#[tokio::test]
async fn how_long_hosts_did_not_answer_is_said_as_it_was() {
    let silent = silent_hosts::<3>().await;
    let mut configs = silent.iter().map(|host| {
        let mut config = Config::new();
        let port = host.local_addr().unwrap().port();
        config.host("127.0.0.1").port(port).user("x").dbname("x");
        config
    });
    let mut database = database(configs.next().unwrap());
    database.fallbacks = configs.collect();
    database.connect_timeout = Duration::from_millis(100);
    let sessions = Sessions::new([database], Limits::default());
    let begin = Instant::now();
    let Err(LeaseError::Silent { waited, .. }) = sessions.open("all", None).lease("main").await
    else {
        panic!("nobody answered");
    };
    assert!(waited >= Duration::from_millis(300), "{waited:?}");
    assert!(waited <= begin.elapsed());
}

#[tokio::test]
async fn what_cannot_be_reached_or_is_not_configured_is_said() {
    let mut nowhere = Config::new();
    nowhere.host_path("/nowhere").user("x").dbname("x");
    let mut wrong = tcp_config("127.0.0.1");
    wrong.password("wrong");
    let sessions = Sessions::new(
        [
            Database::new("nowhere", nowhere, Tls::disabled()),
            Database::new("wrong", wrong, Tls::disabled()),
        ],
        Limits::default(),
    );
    let session = sessions.open("lost", None);
    let Err(LeaseError::Unreachable { source, .. }) = session.lease("wrong").await else {
        panic!("a wrong password was taken");
    };
    assert_eq!(source.code(), Some(&SqlState::INVALID_PASSWORD));
    assert!(matches!(
        session.lease("nowhere").await,
        Err(LeaseError::Unreachable { .. })
    ));
    assert!(matches!(
        session.lease("other").await,
        Err(LeaseError::UnknownDatabase(_))
    ));
}

#[tokio::test]
async fn what_a_host_says_of_the_login_is_told_although_the_next_one_is_down() {
    let (mut wrong, mut down) = (tcp_config("127.0.0.1"), Config::new());
    wrong.password("wrong");
    down.host_path("/nowhere").user("reader").dbname("postgres");
    for (first, second) in [(wrong.clone(), down.clone()), (down, wrong)] {
        let mut database = database(first);
        database.fallbacks = vec![second];
        let sessions = Sessions::new([database], Limits::default());
        let lease = sessions.open("wrong", None).lease("main").await;
        let Err(LeaseError::Unreachable { source, .. }) = lease else {
            panic!("a wrong password was taken");
        };
        assert_eq!(source.code(), Some(&SqlState::INVALID_PASSWORD));
    }
}

#[tokio::test]
async fn idle_connections_go_after_their_time_but_the_least_stay() {
    let mut short = database(socket_config());
    (short.idle_time, short.min_idle) = (Duration::from_millis(100), 1);
    let sessions = Sessions::new([short], Limits::default());
    let session = sessions.open("idle", None);
    let (a, b) = (
        session.lease("main").await.unwrap(),
        session.lease("main").await.unwrap(),
    );
    a.scrub().await.unwrap();
    b.scrub().await.unwrap();
    let observer = observer().await;
    let begin = Instant::now();
    loop {
        let count: i64 = observer
            .query_one(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mcp/idle'",
                &[],
            )
            .await
            .unwrap()
            .get(0);
        if count == 1 {
            break;
        }
        assert!(
            count == 2 && begin.elapsed() < Duration::from_secs(5),
            "{count} connections"
        );
    }
}

#[tokio::test]
async fn a_connection_that_the_server_ended_is_not_handed_out() {
    let session = alone("ended");
    let lease = session.lease("main").await.unwrap();
    let first = pid(&lease).await;
    lease.scrub().await.unwrap();
    let observer = observer().await;
    observer
        .execute("SELECT pg_terminate_backend($1)", &[&first])
        .await
        .unwrap();
    gone(&observer, "ended").await;
    // The end may still be on its way to this process: a lease may fail once, never twice.
    let mut outcomes = Vec::new();
    for _ in 0..2 {
        let lease = session.lease("main").await.unwrap();
        outcomes.push(lease.batch_execute("SELECT 1").await.is_ok());
    }
    assert!(outcomes[1], "a dead connection came back");
}

#[tokio::test]
async fn a_connection_whose_reset_fails_is_not_used_again() {
    let mut only = database(socket_config());
    only.max_connections = 1;
    let sessions = Sessions::new([only], Limits::default());
    let session = sessions.open("unreset", None);
    let lease = session.lease("main").await.unwrap();
    let first = pid(&lease).await;
    let observer = observer().await;
    observer
        .execute("SELECT pg_terminate_backend($1)", &[&first])
        .await
        .unwrap();
    gone(&observer, "unreset").await;
    assert!(lease.scrub().await.is_err());
    let lease = session.lease("main").await.unwrap();
    assert_ne!(pid(&lease).await, first);
}

fn tcp_sessions() -> Sessions {
    tcp_sessions_with(Limits::default())
}

fn tcp_sessions_with(limits: Limits) -> Sessions {
    let mut config = Config::new();
    config
        .host("127.0.0.1")
        .port(server().cluster.port())
        .user("postgres")
        .password("of the configured role")
        .dbname("postgres");
    // The host that answers is the second one.
    let mut database = Database::new("db", config.clone(), Tls::disabled());
    database.config = {
        let mut nobody = Config::new();
        nobody
            .host("127.0.0.1")
            .port(1)
            .user("postgres")
            .dbname("postgres");
        nobody
    };
    database.fallbacks = vec![config];
    Sessions::new([database], limits)
}

fn as_reader(password: Option<&str>) -> Terms {
    Terms {
        login: Some(Arc::new(Login {
            user: "reader".into(),
            password: password.map(str::to_owned),
        })),
        ..Terms::default()
    }
}

#[tokio::test]
async fn a_session_logs_in_with_its_own_credentials_and_no_others() {
    let sessions = tcp_sessions();
    let own = sessions.open_on("own", None, &as_reader(Some(PASSWORD)));
    let lease = own.lease("db").await.unwrap();
    let row = lease
        .query_one("SELECT session_user::text", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, String>(0), "reader");
    for password in [None, Some("wrong"), Some("of the configured role")] {
        let terms = as_reader(password);
        assert!(!format!("{terms:?}").contains("of the"), "{terms:?}");
        let session = sessions.open_on("other", None, &terms);
        assert!(
            matches!(
                session.lease("db").await,
                Err(LeaseError::Unreachable { .. })
            ),
            "{password:?}"
        );
    }
}

/// Counts the leases that a session gets without giving one back.
async fn at_once(session: &Session) -> usize {
    let mut held = Vec::new();
    let error = loop {
        match session.lease("db").await {
            Ok(lease) => held.push(lease),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, LeaseError::Busy { .. }), "{error}");
    let count = held.len();
    for lease in held {
        lease.scrub().await.unwrap();
    }
    count
}

#[tokio::test]
async fn another_login_ends_the_session_and_another_number_does_not() {
    let sessions = tcp_sessions_with(Limits {
        wait: Duration::from_millis(100),
        ..Limits::default()
    });
    let terms = |connections| Terms {
        connections: Some(connections),
        ..as_reader(Some(PASSWORD))
    };
    let session = sessions.open_on("one", None, &terms(1));
    let lease = session.lease("db").await.unwrap();
    for connections in [2, 1, 3] {
        let again = sessions.open_on("one", None, &terms(connections));
        assert!(!again.is_closed() && !session.is_closed());
    }
    let second = session.lease("db").await.unwrap();
    lease.scrub().await.unwrap();
    second.scrub().await.unwrap();
    // However often it changes, and whatever is open.
    for connections in [1, 4, 1, 4, 1, 3] {
        sessions.open_on("one", None, &terms(connections));
        assert_eq!(at_once(&session).await, connections);
    }
    // A deadline that is moved leaves the terms as they are.
    sessions.move_deadline("one", Some(SystemTime::now() + Duration::from_secs(60)));
    assert!(!session.is_closed());
    let other = sessions.open_on("one", None, &Terms::default());
    assert!(session.is_closed() && !other.is_closed());
}
