//! A real PostgreSQL for the tests.

use std::sync::{
    OnceLock,
    atomic::{AtomicU32, Ordering},
};

use private_postgres::{Cluster, Options, Programs, Search, sample};
use session_pool::{Database, Limits, Sessions, Tls};
use tokio_postgres::{Client, NoTls};

use crate::Agent;

/// One server with the sample shop for all tests of this program; it ends with the process.
///
/// A role that sets `synchronous_commit = on` has its commits wait for a standby that never comes.
pub(crate) fn cluster() -> &'static Cluster {
    static SERVER: OnceLock<Cluster> = OnceLock::new();
    SERVER.get_or_init(|| start(installed(), &[("synchronous_standby_names", "nobody")]))
}

/// Like [`cluster`], with pg_stat_statements counting, and with autovacuum off, so that nothing is repaired meanwhile.
pub(crate) fn counting_cluster() -> &'static Cluster {
    static SERVER: OnceLock<Cluster> = OnceLock::new();
    SERVER.get_or_init(|| {
        start(
            installed(),
            &[
                ("shared_preload_libraries", "pg_stat_statements"),
                ("max_prepared_transactions", "5"),
                ("autovacuum", "off"),
            ],
        )
    })
}

/// Like [`cluster`], with pg_stat_statements counting only what one test runs.
pub(crate) fn counting_apart() -> Cluster {
    start(
        installed(),
        &[("shared_preload_libraries", "pg_stat_statements")],
    )
}

/// Like [`cluster`], for one test alone.
pub(crate) fn apart() -> Cluster {
    start(installed(), &[])
}

/// Like [`cluster`], with programs that have pgvector.
pub(crate) fn vector_cluster() -> &'static Cluster {
    static SERVER: OnceLock<Cluster> = OnceLock::new();
    SERVER.get_or_init(|| {
        let folder = std::env::var_os("PG_VECTOR_BINDIR").unwrap_or_else(|| {
            panic!(
                "PG_VECTOR_BINDIR does not name PostgreSQL's programs with pgvector; `./run test` sets it, \
                 and so does: export PG_VECTOR_BINDIR=$(env -u PG_BINDIR scripts/setup-postgres.sh --vector)"
            )
        });
        let programs = find(Search {
            bin_dir: Some(folder.into()),
            path: None,
        });
        start(programs, &[])
    })
}

fn installed() -> Programs {
    find(Search {
        bin_dir: std::env::var_os("PG_BINDIR").map(Into::into),
        path: std::env::var_os("PATH"),
    })
}

fn find(search: Search) -> Programs {
    Programs::find(&search).unwrap_or_else(|error| panic!("{error}"))
}

fn start(programs: Programs, settings: &[(&str, &str)]) -> Cluster {
    let mut options = Options::for_tests(programs, "pg-tools-");
    for (name, value) in settings {
        options = options.setting(name, value);
    }
    let cluster = Cluster::start(options).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                superuser(&cluster)
                    .await
                    .batch_execute(sample::SHOP)
                    .await
                    .unwrap();
            });
        });
    });
    cluster
}

/// A connection that sees and may do everything.
pub(crate) async fn superuser(cluster: &Cluster) -> Client {
    let (client, connection) =
        tokio_postgres::connect(&cluster.connection("postgres").to_string(), NoTls)
            .await
            .unwrap();
    tokio::spawn(connection);
    client
}

/// An agent with a session of its own, logged in as a role.
pub(crate) fn agent(role: &str) -> (Sessions, Agent) {
    agent_of(cluster(), role)
}

/// An agent of a certain server.
pub(crate) fn agent_of(cluster: &Cluster, role: &str) -> (Sessions, Agent) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let mut config: tokio_postgres::Config =
        cluster.connection("postgres").to_string().parse().unwrap();
    config.user(role);
    let sessions = Sessions::new(
        [Database::new("shop", config, Tls::disabled())],
        Limits::default(),
    );
    let id = format!("reader-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let session = sessions.open(&id, None);
    (sessions, Agent::new(session, "shop"))
}
