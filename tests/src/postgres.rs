use std::path::Path;
use std::sync::OnceLock;

use private_postgres::{Cluster, Identity, Network, Options, Programs, Search};
use tokio_postgres::Config;

use crate::certificate::Pair;
use crate::sql::Sql;

/// The prefix of every private server's folder, by which the leftovers of killed test runs are recognised.
const FOLDER_PREFIX: &str = "mcp-end-to-end-";

/// A PostgreSQL server of the tests.
pub struct Postgres {
    /// How a superuser connects, without a database.
    superuser: Config,
    /// The host that a role with a password connects to.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// The private cluster; `None` when `MCP_TEST_DATABASE_URL` names a server.
    cluster: Option<Cluster>,
}

impl Postgres {
    /// The server that all tests of this process share: the one that `MCP_TEST_DATABASE_URL` names (for a superuser),
    /// else a private one. A server is never used just because it answers on some port.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(|| match std::env::var("MCP_TEST_DATABASE_URL") {
            Ok(url) => Self::named(&url),
            Err(_) => Self::start(&[]),
        })
    }

    /// A private server that a test may stop and start.
    pub fn private() -> Self {
        Self::start(&[])
    }

    /// A private server with further settings.
    pub fn with_settings(settings: &[(&str, &str)]) -> Self {
        Self::start(settings)
    }

    /// The server with pgvector that all tests of this process share.
    pub fn with_vector() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(|| {
            let folder = std::env::var_os("PG_VECTOR_BINDIR").unwrap_or_else(|| {
                panic!(
                    "PG_VECTOR_BINDIR does not name PostgreSQL's programs with pgvector; `./run test` sets it, \
                     and so does: export PG_VECTOR_BINDIR=$(env -u PG_BINDIR scripts/setup-postgres.sh --vector)"
                )
            });
            let search = Search {
                bin_dir: Some(folder.into()),
                path: None,
            };
            let programs = Programs::find(&search).unwrap_or_else(|error| panic!("{error}"));
            let options = options_of(programs);
            Self::of(Cluster::start(options).unwrap_or_else(|error| panic!("{error}")))
        })
    }

    /// A private server that offers TLS, and takes TCP connections only with it.
    pub fn with_tls(pair: &Pair) -> Self {
        let mut options = options();
        options.tls = Some(Identity {
            certificate: pair.certificate.clone(),
            key: pair.key.clone(),
        });
        let server = Self::of(Cluster::start(options).unwrap_or_else(|error| panic!("{error}")));
        let sql = server.superuser("postgres");
        // The file belongs to PostgreSQL's own user; only the server itself is sure to reach it.
        sql.run(
            "create temporary table hba (line text);
             insert into hba values ('local all all trust'), ('hostssl all all 127.0.0.1/32 scram-sha-256');
             do $$ begin execute format('copy hba to %L', current_setting('hba_file')); end $$;
             select pg_reload_conf()",
        );
        server
    }

    fn start(settings: &[(&str, &str)]) -> Self {
        let mut options = options();
        for (name, value) in settings {
            options = options.setting(name, value);
        }
        Self::of(Cluster::start(options).unwrap_or_else(|error| panic!("{error}")))
    }

    fn of(cluster: Cluster) -> Self {
        Self {
            superuser: cluster
                .connection("")
                .to_string()
                .parse()
                .expect("we wrote it"),
            host: "127.0.0.1".into(),
            port: cluster.port(),
            cluster: Some(cluster),
        }
    }

    fn named(url: &str) -> Self {
        let superuser: Config = url
            .parse()
            .expect("MCP_TEST_DATABASE_URL is a connection string");
        let host = match superuser.get_hosts() {
            [tokio_postgres::config::Host::Tcp(host)] => host.clone(),
            [tokio_postgres::config::Host::Unix(folder)] => folder.to_string_lossy().into_owned(),
            _ => panic!("MCP_TEST_DATABASE_URL must name one host"),
        };
        let port = superuser.get_ports().first().copied().unwrap_or(5432);
        Self {
            superuser,
            host,
            port,
            cluster: None,
        }
    }

    /// Connects as the superuser.
    pub fn superuser(&self, database: &str) -> Sql {
        Sql::connect(&self.superuser_config(database)).unwrap_or_else(|error| panic!("{error}"))
    }

    /// How the superuser connects.
    pub fn superuser_config(&self, database: &str) -> Config {
        let mut config = self.superuser.clone();
        config.dbname(database);
        config
    }

    /// The folder of the Unix socket, for private servers.
    pub fn socket_dir(&self) -> &Path {
        self.cluster
            .as_ref()
            .expect("the server is private")
            .socket_dir()
    }

    /// Stops the server, which closes every session.
    pub fn halt(&mut self) {
        self.cluster.as_mut().expect("the server is private").halt();
    }

    /// Starts the server again, on the same port.
    pub fn resume(&mut self) {
        let cluster = self.cluster.as_mut().expect("the server is private");
        cluster.resume().unwrap_or_else(|error| panic!("{error}"));
    }

    /// Starts the server again as a standby that has lost its primary: it is read-only.
    pub fn become_standby(&mut self) {
        let data = self.superuser("postgres").value("show data_directory");
        self.halt();
        let signal = Path::new(&data).join("standby.signal");
        std::fs::write(signal, "").expect("the folder is ours");
        self.resume();
    }

    /// Whether databases have to be dropped after use: a private server is deleted as a whole.
    pub(crate) fn is_lent(&self) -> bool {
        self.cluster.is_none()
    }
}

/// PostgreSQL's programs. Without them the tests fail: skipping them would be green and prove nothing.
pub fn programs() -> Programs {
    let search = Search {
        bin_dir: std::env::var_os("PG_BINDIR").map(Into::into),
        path: std::env::var_os("PATH"),
    };
    Programs::find(&search)
        .unwrap_or_else(|error| panic!("{error}\n(`./run test` sets up what tests need)"))
}

fn options() -> Options {
    options_of(programs())
}

fn options_of(programs: Programs) -> Options {
    let mut options = Options::for_tests(programs, FOLDER_PREFIX)
        .setting("max_connections", "300")
        .setting("max_prepared_transactions", "10");
    options.network = Network::Loopback;
    options
}
