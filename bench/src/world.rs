//! Fixtures for the benchmarks that run the server's parts in their own process.

use private_postgres::{Cluster, Options, Programs, Search};
use session_pool::{Database, Tls};
use time::OffsetDateTime;
use token_store::{Secret, Token, TokenId, TokenSet};
use tokio_postgres::{Config, NoTls};

/// The name of the database of [`start`].
pub const DATABASE: &str = "bench";

/// Starts a private PostgreSQL with the table of the benchmarks.
///
/// # Panics
/// If PostgreSQL cannot be started; the message says what to do.
pub async fn start() -> Cluster {
    let search = Search {
        bin_dir: std::env::var_os("PG_BINDIR").map(Into::into),
        path: std::env::var_os("PATH"),
    };
    let programs = Programs::find(&search).unwrap_or_else(|error| panic!("{error}"));
    let options = Options::for_tests(programs, "bench-").setting("max_connections", "300");
    let cluster = Cluster::start(options).unwrap_or_else(|error| panic!("{error}"));
    let schema = include_str!("../schema.sql").split_once("\\c bench");
    let (first, rest) = schema.expect("it makes a database and goes there");
    run(&cluster, "postgres", first).await;
    run(&cluster, DATABASE, rest).await;
    cluster
}

async fn run(cluster: &Cluster, database: &str, script: &str) {
    let address = cluster.connection(database).to_string();
    let connected = tokio_postgres::connect(&address, NoTls).await;
    let (client, connection) = connected.expect("it has just started");
    let running = tokio::spawn(connection);
    // One by one, as some statements cannot run in a transaction.
    for statement in script.split_terminator(";\n") {
        let ran = client.batch_execute(statement).await;
        ran.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    drop(client);
    _ = running.await;
}

/// Describes the database, as a role that may read.
#[must_use]
pub fn database(cluster: &Cluster) -> Database {
    let mut config = Config::new();
    config
        .host_path(cluster.socket_dir())
        .port(cluster.port())
        .user("app")
        .dbname(DATABASE);
    Database::new(DATABASE, config, Tls::disabled())
}

/// Makes a set, and up to `some` of its secrets, taken from all over it.
#[must_use]
#[allow(clippy::missing_panics_doc)]
pub fn tokens(count: u64, some: u64) -> (TokenSet, Vec<Secret>) {
    let now = OffsetDateTime::UNIX_EPOCH;
    let mut secrets = Vec::new();
    let tokens = (1..=count).map(|number| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        let secret = Secret::from_random_bytes(&bytes);
        let token = Token::new(TokenId::numbered(number), secret.hash(), now);
        if number % count.div_ceil(some) == 0 {
            secrets.push(secret);
        }
        token
    });
    let tokens = tokens.collect();
    (TokenSet::new(tokens).expect("all different"), secrets)
}
