//! A real PostgreSQL for the tests.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use private_postgres::{Cluster, Options, Programs, Search, sample};
use session_pool::{Database, Limits, Sessions, Tls};
use tokio_postgres::{Client, NoTls};

use crate::Agent;

/// One server with the sample shop for all tests of this program; it ends with the process.
pub(crate) fn cluster() -> &'static Cluster {
    static SERVER: OnceLock<(Cluster, tempfile::TempDir)> = OnceLock::new();
    let (cluster, _) = SERVER.get_or_init(|| {
        let search = Search {
            bin_dir: std::env::var_os("PG_BINDIR").map(Into::into),
            path: std::env::var_os("PATH"),
        };
        let programs = Programs::find(&search).unwrap_or_else(|error| panic!("{error}"));
        let root = tempfile::Builder::new()
            .prefix("pg-tools-")
            .tempdir_in("/tmp")
            .unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let cluster =
            Cluster::start(Options::throwaway(programs, root.path().join("cluster"))).unwrap();
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
        (cluster, root)
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
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let mut config: tokio_postgres::Config = cluster()
        .connection("postgres")
        .to_string()
        .parse()
        .unwrap();
    config.user(role);
    let sessions = Sessions::new(
        [Database::new("shop", config, Tls::disabled())],
        Limits::default(),
    );
    let id = format!("reader-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let session = sessions.open(&id, None);
    (sessions, Agent::new(session, "shop"))
}
