//! The service runs, with a PostgreSQL and a token file of its own.
#![allow(clippy::unwrap_used)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use private_postgres::{Cluster, Options, Programs, Search, sample};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use time::OffsetDateTime;
use token_store::{EditError, NewToken, Policy, Secret, TokenFile, TokenId};

/// Long enough for a machine that is busy with everything else.
const SOON: Duration = Duration::from_secs(20);

/// A product of the sample, and how many of it are in stock.
const SKU: &str = "LAM-0010";

/// One server for all tests of this program, with the sample shop; it ends with the process.
fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let search = Search {
            bin_dir: std::env::var_os("PG_BINDIR").map(Into::into),
            path: std::env::var_os("PATH"),
        };
        let programs = Programs::find(&search).unwrap_or_else(|error| panic!("{error}"));
        let cluster = Cluster::start(Options::for_tests(programs, "embedding-")).unwrap();
        sql(&cluster, sample::SHOP);
        cluster
    })
}

/// Runs statements as the superuser, and gives the first value of the last one.
fn sql(cluster: &Cluster, text: &str) -> Option<String> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let config = cluster.connection("postgres").to_string();
        let (client, connection) = tokio_postgres::connect(&config, tokio_postgres::NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        let messages = client.simple_query(text).await.unwrap();
        messages.iter().rev().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
    })
}

/// Waits until a query gives a value.
fn until(query: &str, value: &str) {
    let began = Instant::now();
    while sql(cluster(), query).as_deref() != Some(value) {
        assert!(began.elapsed() < SOON, "{query} is not {value}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn connections_of(id: &TokenId) -> String {
    format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mcp/{id}'")
}

/// The tokens of one service.
struct Tokens {
    folder: TempDir,
}

impl Tokens {
    fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
        }
    }

    fn file(&self) -> TokenFile {
        TokenFile::new(self.folder.path().join("tokens.yaml"))
    }

    fn add(&self, policy: &[(&str, &str)]) -> (Secret, TokenId) {
        let secret = Secret::generate().unwrap();
        let mut new = NewToken::default();
        for (field, text) in policy {
            new.policy.set(field, Some(text)).unwrap();
        }
        let now = OffsetDateTime::now_utc();
        let added = self
            .file()
            .edit(|draft| Ok::<_, EditError>(draft.create(&secret, new, now)?));
        (secret, added.unwrap().value.id.clone())
    }

    fn remove(&self, id: &TokenId) {
        let removed = self
            .file()
            .edit(|draft| Ok::<_, EditError>(draft.remove(id).is_some()));
        assert!(removed.unwrap().value);
    }

    fn change(&self, id: &TokenId, change: impl FnOnce(&mut Policy)) {
        let changed = self.file().edit(|draft| {
            let changed = draft.change(id, |token| {
                let mut policy = token.policy.read();
                change(&mut policy);
                token.policy = (&policy).into();
            });
            Ok::<_, EditError>(changed.is_some())
        });
        assert!(changed.unwrap().value);
    }

    /// The service, which logs in as a role.
    fn command(&self, role: &str) -> Command {
        let mut config = cluster().connection("postgres");
        config.user = role.to_owned();
        let mut command = Command::new(env!("CARGO_BIN_EXE_embedding"));
        command
            .env("SHOP_DATABASE", config.to_string())
            .env("SHOP_TOKENS", self.file().path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// A running service.
struct Service {
    child: Child,
    address: String,
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended.
        let _killed = self.child.kill();
        let _ended = self.child.wait();
    }
}

struct Reply {
    status: u16,
    body: Value,
}

impl Reply {
    /// The text of a tool's result.
    fn text(&self) -> &str {
        let text = self.body["result"]["content"][0]["text"].as_str();
        text.unwrap_or_else(|| panic!("{} {}", self.status, self.body))
    }

    fn tools(&self) -> Vec<&str> {
        let tools = self.body["result"]["tools"].as_array();
        let tools = tools.unwrap_or_else(|| panic!("{} {}", self.status, self.body));
        tools
            .iter()
            .map(|tool| tool["name"].as_str().unwrap())
            .collect()
    }
}

impl Service {
    fn start(tokens: &Tokens) -> Self {
        Self::start_as(sample::SHOP_READER, tokens)
    }

    fn start_as(role: &str, tokens: &Tokens) -> Self {
        let mut child = tokens.command(role).arg("127.0.0.1:0").spawn().unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("serving on http://").unwrap();
        Self {
            child,
            address: address.to_owned(),
        }
    }

    fn post(&self, path: &str, host: &str, secret: &str, body: &str) -> Reply {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAuthorization: Bearer {secret}\r\n\
             Content-Type: application/json\r\nAccept: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        Reply {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            body: serde_json::from_str(body).unwrap_or(Value::Null),
        }
    }

    fn ask(&self, path: &str, secret: &Secret, method: &str, params: Value) -> Reply {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        self.post(path, "localhost", secret.expose(), &request.to_string())
    }

    fn tools(&self, path: &str, secret: &Secret) -> Reply {
        self.ask(path, secret, "tools/list", json!({}))
    }

    fn free_stock(&self, path: &str, secret: &Secret) -> Reply {
        let params = json!({ "name": "free_stock", "arguments": { "sku": SKU } });
        self.ask(path, secret, "tools/call", params)
    }

    fn query(&self, secret: &Secret, query: &str) -> Reply {
        let params = json!({ "name": "query_database", "arguments": { "query": query } });
        self.ask("/sql/mcp", secret, "tools/call", params)
    }
}

/// What a client begins with.
fn hello() -> Value {
    json!({ "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": { "name": "test", "version": "1" } })
}

/// Waits for a program's end, and says whether it ended well.
fn ends_well(child: &mut Child) -> bool {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.success();
        }
        assert!(began.elapsed() < SOON, "it goes on");
        thread::sleep(Duration::from_millis(20));
    }
}

/// How many of the product are in stock.
fn stocked() -> i64 {
    let query = format!(
        "SELECT sum(quantity) FROM shop.stock JOIN shop.products ON id = product_id WHERE sku = '{SKU}'"
    );
    sql(cluster(), &query).unwrap().parse().unwrap()
}

#[test]
fn an_own_tool_asks_the_tokens_own_connection_and_what_the_service_knows() {
    let tokens = Tokens::new();
    let service = Service::start(&tokens);
    // The file is followed: there was none at the start.
    let (ada, ada_id) = tokens.add(&[]);
    let (bob, bob_id) = tokens.add(&[]);
    assert_eq!(service.tools("/mcp", &ada).tools(), ["free_stock"]);
    let free = stocked();
    for (secret, id) in [(&ada, &ada_id), (&bob, &bob_id)] {
        until(&connections_of(id), "0");
        let told = format!("{free} of {SKU} are free");
        assert_eq!(service.free_stock("/mcp", secret).text(), told);
        until(&connections_of(id), "1");
    }
    let reserve = |secret| service.post(&format!("/reserve/{SKU}"), "localhost", secret, "");
    assert_eq!(reserve("guess").status, 401);
    assert_eq!(reserve(ada.expose()).status, 204);
    for path in ["/mcp", "/sql/mcp"] {
        let told = format!("{} of {SKU} are free", free - 1);
        assert_eq!(service.free_stock(path, &ada).text(), told);
    }
    let missing = json!({ "name": "free_stock", "arguments": { "sku": "none" } });
    let missing = service.ask("/mcp", &ada, "tools/call", missing);
    assert_eq!(missing.text(), "there is no such product");

    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let status = |path, host, secret| service.post(path, host, secret, list).status;
    for path in ["/mcp", "/sql/mcp"] {
        assert_eq!(status(path, "localhost", "guess"), 401);
        assert_eq!(status(path, "elsewhere.example", ada.expose()), 403);
    }
    assert_eq!(status("/mcp/more", "localhost", ada.expose()), 404);
}

#[test]
fn what_a_removed_token_runs_ends_and_so_do_its_connections() {
    let tokens = Tokens::new();
    let service = Service::start(&tokens);
    let ends = |end: &dyn Fn(&TokenId), status: u16| {
        let (secret, id) = tokens.add(&[]);
        let running = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mcp/{id}' AND state = 'active'"
        );
        let reply = thread::scope(|scope| {
            let asking = scope.spawn(|| service.query(&secret, "SELECT pg_sleep(25)"));
            until(&running, "1");
            end(&id);
            asking.join().unwrap()
        });
        assert_eq!(reply.status, status, "{}", reply.body);
        until(&connections_of(&id), "0");
        service.free_stock("/mcp", &secret).status
    };
    assert_eq!(ends(&|id| tokens.remove(id), 401), 401);
    // Who has its token yet is told to send the request again.
    let change =
        |id: &TokenId| tokens.change(id, |policy| policy.limits.rows = None.or(1.try_into().ok()));
    assert_eq!(ends(&change, 503), 200);
}

#[test]
fn a_rotated_tokens_old_secret_ends_with_its_time() {
    let tokens = Tokens::new();
    let service = Service::start(&tokens);
    let (old, id) = tokens.add(&[]);
    let new = Secret::generate().unwrap();
    let until = OffsetDateTime::now_utc() + Duration::from_secs(3);
    let rotated = tokens
        .file()
        .edit(|draft| Ok::<_, EditError>(draft.rotate(&id, &new, Some(until))?));
    assert!(rotated.unwrap().value.is_some());
    let reply = service.query(&old, "SELECT pg_sleep(25)");
    assert_eq!(reply.status, 503, "{}", reply.body);
    assert_eq!(service.free_stock("/mcp", &old).status, 401);
    assert_eq!(service.free_stock("/mcp", &new).status, 200);
}

#[test]
fn the_tools_for_postgresql_stand_beside_the_own_one_and_heed_the_tokens_entry() {
    let tokens = Tokens::new();
    let service = Service::start(&tokens);
    let (all, _) = tokens.add(&[]);
    let met = service.ask("/sql/mcp", &all, "initialize", hello());
    assert_eq!(met.body["result"]["serverInfo"]["name"], "shop-service");
    let seen = service.tools("/sql/mcp", &all);
    assert_eq!(seen.tools().first(), Some(&"query_database"));
    assert_eq!(seen.tools().last(), Some(&"free_stock"));
    let counted = service.query(&all, "SELECT count(*) AS n FROM shop.users");
    assert!(counted.text().contains('n'), "{}", counted.body);

    let (few, _) = tokens.add(&[("tools", "count_rows")]);
    assert_eq!(service.tools("/sql/mcp", &few).tools(), ["count_rows"]);
    assert_eq!(service.tools("/mcp", &few).tools(), Vec::<&str>::new());

    let (bound, _) = tokens.add(&[("schemas", "shop")]);
    assert!(
        !service
            .tools("/sql/mcp", &bound)
            .tools()
            .contains(&"free_stock")
    );
    assert!(service.tools("/mcp", &bound).tools().is_empty());
    let refused = service.query(&bound, "SELECT * FROM pg_stat_activity");
    assert_eq!(refused.body["result"]["isError"], true, "{}", refused.body);

    let (slow, _) = tokens.add(&[("limits.calls_per_minute", "1"), ("limits.rows", "2")]);
    let cut = service.query(&slow, "SELECT * FROM shop.users");
    let cut = cut.body["result"]["content"][1]["text"].as_str();
    assert!(
        cut.unwrap()
            .starts_with("(2 rows, the most that this token gets at once, and there are more"),
        "{cut:?}"
    );
    let refused = service.free_stock("/sql/mcp", &slow);
    assert!(
        refused.text().contains("1 calls a minute"),
        "{}",
        refused.text()
    );

    let (elsewhere, _) = tokens.add(&[("allow_from", "192.0.2.0/24")]);
    assert_eq!(service.tools("/mcp", &elsewhere).status, 403);
    let (own_login, _) = tokens.add(&[("role.user", "somebody")]);
    assert_eq!(service.tools("/sql/mcp", &own_login).status, 403);
}

#[test]
fn a_role_that_can_do_more_than_read_runs_no_query() {
    let tokens = Tokens::new();
    let service = Service::start_as(cluster().superuser(), &tokens);
    let (secret, _) = tokens.add(&[]);
    let refused = service.query(&secret, "SELECT 1");
    assert_eq!(refused.body["result"]["isError"], true, "{}", refused.body);
    assert!(refused.text().contains("SUPERUSER"), "{}", refused.text());
}

#[test]
fn ctrl_c_ends_the_service_and_what_it_runs() {
    let tokens = Tokens::new();
    let mut service = Service::start(&tokens);
    let (secret, id) = tokens.add(&[]);
    assert_eq!(service.free_stock("/mcp", &secret).status, 200);
    let process = Pid::from_child(&service.child);
    kill_process(process, Signal::INT).unwrap();
    assert!(ends_well(&mut service.child));
    until(&connections_of(&id), "0");
}

/// A service over standard input and output.
struct Pipes {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Drop for Pipes {
    fn drop(&mut self) {
        // It may have ended.
        let _killed = self.child.kill();
        let _ended = self.child.wait();
    }
}

impl Pipes {
    fn open(tokens: &Tokens, secret: &str) -> Self {
        let mut command = tokens.command(sample::SHOP_READER);
        command.env("SHOP_TOKEN", secret).stdin(Stdio::piped());
        let mut child = command.spawn().unwrap();
        Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        writeln!(self.input, "{request}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

#[test]
fn over_stdio_the_own_tool_serves_until_the_token_is_removed() {
    let tokens = Tokens::new();
    let (secret, id) = tokens.add(&[]);
    let mut pipes = Pipes::open(&tokens, secret.expose());
    let met = pipes.ask("initialize", hello());
    assert_eq!(met["result"]["serverInfo"]["name"], "shop-service");
    let call = json!({ "name": "free_stock", "arguments": { "sku": SKU } });
    let answer = pipes.ask("tools/call", call);
    let free = json!({ "free": stocked() });
    assert_eq!(answer["result"]["structuredContent"], free, "{answer}");
    // Its input stays open.
    tokens.remove(&id);
    assert!(ends_well(&mut pipes.child));
    until(&connections_of(&id), "0");

    let mut refused = Pipes::open(&tokens, secret.expose());
    assert!(!ends_well(&mut refused.child));
    let mut log = String::new();
    let mut stderr = refused.child.stderr.take().unwrap();
    stderr.read_to_string(&mut log).unwrap();
    assert!(
        log.contains("the bearer token is unknown or was removed"),
        "{log}"
    );
}
