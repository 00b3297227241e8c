//! PgBouncer stands between the server and PostgreSQL, and gives each transaction another connection.
#![allow(clippy::unwrap_used)]

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use end_to_end::{Database, Request, Setup, Sql, SqlError, Token, wait};
use serde_json::{Value, json};

/// A PgBouncer in transaction mode, with fewer connections to PostgreSQL than it has clients.
struct Pooler {
    process: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

fn program() -> PathBuf {
    let search = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&search).collect();
    folders.push("/usr/sbin".into());
    folders
        .into_iter()
        .map(|folder| folder.join("pgbouncer"))
        .find(|path| path.is_file())
        .expect("pgbouncer is missing; `./run test` installs it")
}

impl Pooler {
    fn start(database: &Database<'_>) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("mcp-pooler-")
            .tempdir_in("/tmp")
            .unwrap();
        // Started as root, it switches to another user, who has to reach the files.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let users = folder.path().join("users.txt");
        let reader = &database.reader;
        fs::write(
            &users,
            format!("\"{}\" \"{}\"\n", reader.role, reader.password),
        )
        .unwrap();
        let user = if rustix::process::geteuid().is_root() {
            "user = nobody\n"
        } else {
            ""
        };
        let config = folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n{name} = host={host} port={server} dbname={name}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n{user}\
             auth_type = scram-sha-256\nauth_file = {users}\npool_mode = transaction\n\
             default_pool_size = 3\nmax_client_conn = 100\n",
            name = database.name,
            host = database.postgres.host,
            server = database.postgres.port,
            users = users.display(),
        );
        fs::write(&config, text).unwrap();
        let process = Command::new(program())
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pooler = Self {
            process,
            port,
            _folder: folder,
        };
        wait::until("PgBouncer answers", Duration::from_secs(10), || {
            pooler.connect(database).is_ok()
        });
        pooler
    }

    /// Connects as another program that uses the pooler.
    fn connect(&self, database: &Database<'_>) -> Result<Sql, SqlError> {
        let reader = &database.reader;
        let mut config = tokio_postgres::Config::new();
        config
            .host("127.0.0.1")
            .port(self.port)
            .user(&reader.role)
            .password(&reader.password)
            .dbname(&database.name);
        Sql::connect(&config)
    }

    fn entry(&self, database: &Database<'_>) -> Value {
        let mut entry = database.entry("shop", &database.reader);
        entry["host"] = json!("127.0.0.1");
        entry["port"] = json!(self.port);
        entry
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn every_tool_works_through_a_pooler_in_transaction_mode() {
    for prepared_statements in [None, Some(0)] {
        let database = Database::fresh();
        let pooler = Pooler::start(&database);
        let mut setup = Setup::new([pooler.entry(&database)]);
        if let Some(count) = prepared_statements {
            setup.config["limits"] = json!({ "prepared_statements": count });
        }
        let tokens: Vec<Token> = (0..3).map(|_| setup.add_token()).collect();
        let server = setup.start();
        std::thread::scope(|scope| {
            for caller in 0..12 {
                let (server, token) = (&server, &tokens[caller % 3]);
                scope.spawn(move || {
                    for round in 0..15 {
                        let sql = format!("SELECT count(*), {} FROM shop.products", round % 3);
                        let answer = server.query(token, &sql);
                        assert_eq!(answer.value(), 200, "{}", answer.text);
                        let wrong = server.query(token, "SELECT 1/0");
                        assert!(wrong.text.contains("22012"), "{}", wrong.text);
                        for (tool, arguments) in [
                            (
                                "count_rows",
                                json!({ "table": "products", "schema": "shop" }),
                            ),
                            ("get_schema_info", json!({ "schema_name": "shop" })),
                            (
                                "execute_explain",
                                json!({ "query": "SELECT * FROM shop.products" }),
                            ),
                        ] {
                            let answer = server.call(token, tool, arguments);
                            assert!(!answer.is_error, "{tool}: {}", answer.text);
                        }
                    }
                });
            }
        });
        assert!(!server.log.to_string().contains("26000"), "{}", server.log);
    }
}

/// The pooler's connection has the statement that begins a transaction, but not the one that ends it.
#[test]
fn a_query_that_has_run_is_not_run_again_because_the_pooler_lost_what_was_to_follow() {
    let database = Database::fresh();
    let pooler = Pooler::start(&database);
    let mut setup = Setup::new([pooler.entry(&database)]);
    let slow = setup.add_token_with(&["--expiry", "never", "--statement-timeout", "3s"]);
    let other = setup.add_token();
    let server = setup.start();
    let begin = server.query(&slow, "SELECT 1");
    assert_eq!(begin.value(), 1, "{}", begin.text);
    database.superuser().run(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity \
         where datname = current_database() and pid <> pg_backend_pid()",
    );
    let failed = server.query(&other, "SELECT 1/0");
    assert!(failed.text.contains("22012"), "{}", failed.text);
    // Twice takes longer than a query may.
    let answer = server.query(&slow, "SELECT pg_sleep(2.7), 7 AS number");
    assert!(!answer.is_error, "{}", answer.text);
    assert_eq!(server.query(&slow, "SELECT 2").value(), 2);
}

#[test]
fn a_server_that_comes_after_another_finds_nothing_of_it_on_the_poolers_connections() {
    let database = Database::fresh();
    let reader = &database.reader.role;
    let grant = format!("grant update on shop.products to {reader}");
    database.superuser().run(&grant);
    let pooler = Pooler::start(&database);
    for _ in 0..2 {
        let mut setup = Setup::new([pooler.entry(&database)]);
        setup.config["tools"] = json!({ "enabled": ["execute_write"] });
        let writer = ["--expiry", "never", "--access", "write"];
        let tokens: Vec<Token> = (0..6).map(|_| setup.add_token_with(&writer)).collect();
        let server = setup.start();
        std::thread::scope(|scope| {
            for token in &tokens {
                let server = &server;
                scope.spawn(move || {
                    for number in 0..15 {
                        let query =
                            format!("SELECT name, {number} FROM shop.products ORDER BY 1, 2");
                        let query = json!({ "query": query });
                        let change = "UPDATE shop.products SET name = name WHERE id < 0";
                        for (tool, query) in [
                            ("execute_explain", query.clone()),
                            ("query_database", query),
                            ("execute_write", json!({ "query": change })),
                        ] {
                            let answer = server.call(token, tool, query);
                            assert!(!answer.is_error, "{tool}: {}", answer.text);
                        }
                    }
                });
            }
        });
    }
}

#[test]
fn what_a_call_sets_through_a_pooler_holds_for_that_call_alone() {
    const TIME_LIMIT: &str = "SELECT current_setting('statement_timeout') AS limit";
    let database = Database::fresh();
    let pooler = Pooler::start(&database);
    let mut setup = Setup::new([pooler.entry(&database)]);
    let short = setup.add_token_with(&["--expiry", "never", "--statement-timeout", "3s"]);
    let usual = setup.add_token();
    let server = setup.start();
    for _ in 0..10 {
        assert_eq!(server.query(&short, TIME_LIMIT).value(), "3s");
        assert_eq!(server.query(&usual, TIME_LIMIT).value(), "30s");
    }
    let other = pooler.connect(&database).unwrap();
    assert_eq!(other.value("SHOW statement_timeout"), "0");
}

#[test]
fn a_client_that_hangs_up_ends_its_statement_through_a_pooler() {
    let database = Database::fresh();
    let pooler = Pooler::start(&database);
    let mut setup = Setup::new([pooler.entry(&database)]);
    let token = setup.add_token();
    let server = setup.start();
    let observer = database.superuser();
    let running = || {
        let sql = "select count(*) from pg_stat_activity where datname = current_database() \
                   and query like '%pg_sleep%' and state = 'active' and pid <> pg_backend_pid()";
        observer.value(sql) == "1"
    };
    let mut client = server.client();
    client
        .send_only(&Request::query(&token, "SELECT pg_sleep(25)"))
        .unwrap();
    wait::until("the statement runs", Duration::from_secs(10), running);
    client.hang_up();
    wait::until("it is cancelled", Duration::from_secs(3), || !running());
    assert_eq!(server.query(&token, "SELECT 1").value(), 1);
}

#[test]
fn nothing_is_kept_behind_a_pooler_where_another_call_could_find_it() {
    let database = Database::fresh();
    let pooler = Pooler::start(&database);
    let mut setup = Setup::new([pooler.entry(&database)]);
    setup.config["tools"] = json!({ "enabled": ["execute_write", "open_session"] });
    let writer = setup.add_token_with(&["--expiry", "never", "--access", "write"]);
    let server = setup.start();
    let opened = server.call(&writer, "open_session", json!({}));
    assert!(opened.is_error, "{}", opened.text);
    assert!(
        opened.text.contains("through a connection pooler"),
        "{}",
        opened.text
    );
    assert_eq!(server.query(&writer, "SELECT 1").value(), 1);
}
