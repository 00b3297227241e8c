//! Measures what a request allocates and what a session keeps, with a counting allocator.
//!
//! The server's parts are in this process: the HTTP endpoint on a loopback socket, the protocol, the tools, the
//! sessions and a PostgreSQL. The gate is this program's own and does what mcp-server's does for a token whose entry
//! was seen before, without mcp-server's check of the token file, its log and its record of use. Only the server's
//! threads are counted, so neither this client nor PostgreSQL is.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    time::Duration,
};

use bench::{
    counting::{Count, Counting, count_this_thread, counted},
    world,
};
use mcp_protocol::{Authenticate, Credentials, Refusal, Service, http};
use pg_tools::{Agent, Bounds, Settings, Standing, Toolbox};
use session_pool::{Database, LeaseError, Limits, Session, Sessions, Terms, Tls};
use time::OffsetDateTime;
use token_store::TokenSet;
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const REQUESTS: u64 = 200;

fn main() {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let built = builder
        .worker_threads(2)
        .enable_all()
        .on_thread_start(count_this_thread)
        .build();
    let runtime = built.expect("a runtime");
    let cluster = runtime.block_on(world::start());
    let database = world::database(&cluster);
    requests(&runtime, database.clone());
    sessions(&runtime, &database);
}

/// Makes the arguments of the call with a number.
type Query = fn(u64) -> String;

const QUERIES: [(&str, Query); 5] = [
    ("one row, a new text", |number| {
        format!("{COLUMNS}, {number} as new_{number} from users where id = {number}")
    }),
    ("one row, the same with another number", |number| {
        format!("{COLUMNS} from users where id = {number}")
    }),
    ("one row, the same", |_| {
        format!("{COLUMNS} from users where id = 7")
    }),
    ("1,000 rows, a new text", |number| {
        format!(
            "{COLUMNS}, {number} as new_{number} from users where id between {number} and {number} + 999"
        )
    }),
    ("1,000 rows, the same", |_| {
        format!("{COLUMNS} from users where id between 7 and 1006")
    }),
];

const COLUMNS: &str = "select id, name, email, country, score, created_at";

fn requests(runtime: &Runtime, database: Database) {
    let (tokens, secrets) = world::tokens(1_000, 1);
    let address = runtime.block_on(async { serve(database, tokens) });
    let mut client = Client::open(address, secrets[0].expose());
    println!("| request | allocations | bytes asked for | bytes answered |");
    println!("| --- | ---: | ---: | ---: |");
    row(&mut client, "tools/list", |_| {
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#.to_owned()
    });
    for (name, query) in QUERIES {
        row(&mut client, name, |number| {
            let query = query(number);
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"query_database","arguments":{{"query":"{query}","limit":1000}}}}}}"#
            )
        });
    }
}

#[allow(clippy::cast_precision_loss)]
fn row(client: &mut Client, name: &str, body: impl Fn(u64) -> String) {
    // Warm up: what is allocated once, and the growth of buffers, belongs to no single request.
    for number in 1..=REQUESTS {
        client.call(&body(number));
    }
    let before = counted();
    let mut answered = 0;
    for number in REQUESTS + 1..=2 * REQUESTS {
        answered += client.call(&body(number));
    }
    let Count {
        allocations, bytes, ..
    } = counted() - before;
    let each = |number: f64| number / REQUESTS as f64;
    println!(
        "| {name} | {:.1} | {:.0} | {:.0} |",
        each(allocations as f64),
        each(bytes as f64),
        each(answered as f64)
    );
}

/// Serves on a loopback socket until the runtime ends.
fn serve(database: Database, tokens: TokenSet) -> SocketAddr {
    let gate = Gate {
        tokens,
        sessions: Sessions::new([database], Limits::default()),
        standing: Arc::new(Standing {
            name: "token-1.0123456789ab".into(),
            databases: [world::DATABASE.into()].into(),
            policy: Arc::default(),
            meter: Arc::default(),
            bounds: Bounds::default(),
        }),
        terms: Terms::default(),
    };
    let toolbox = Toolbox::new(Settings::default()).expect("the usual tools");
    let service = Arc::new(Service::new(toolbox));
    let options = http::Options {
        http2: true,
        ..http::Options::default()
    };
    let server = http::Server::new(service, gate, options);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a socket");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        server.serve(listener, std::future::pending()).await;
    });
    address
}

struct Gate {
    tokens: TokenSet,
    sessions: Sessions,
    standing: Arc<Standing>,
    terms: Terms,
}

impl Authenticate for Gate {
    type Principal = Agent;

    async fn authenticate(
        &self,
        credentials: Credentials<'_>,
        _: IpAddr,
    ) -> Result<Agent, Refusal> {
        let now = OffsetDateTime::now_utc();
        let accepted = self.tokens.authenticate(credentials.bearer()?, now);
        let accepted = accepted.map_err(|_| Refusal::Unknown)?;
        let session = self
            .sessions
            .open_on(accepted.token.id.as_str(), None, &self.terms);
        Ok(Agent::of(self.standing.clone(), session))
    }
}

/// A client without a runtime.
struct Client {
    stream: TcpStream,
    head: String,
    buffer: Vec<u8>,
}

impl Client {
    fn open(address: SocketAddr, token: &str) -> Self {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        let patience = Some(Duration::from_secs(20));
        stream.set_read_timeout(patience).expect("a socket");
        let head = format!(
            "POST /mcp/v1 HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2025-11-25\r\n\
             Authorization: Bearer {token}\r\nContent-Length: "
        );
        Client {
            stream,
            head,
            buffer: vec![0; 1 << 20],
        }
    }

    /// Calls, and returns the length of the response's body in bytes.
    fn call(&mut self, body: &str) -> usize {
        let request = format!("{}{}\r\n\r\n{body}", self.head, body.len());
        self.stream.write_all(request.as_bytes()).expect("sent");
        let mut length = 0;
        let body = loop {
            let read = self.stream.read(&mut self.buffer[length..]);
            length += read.expect("an answer");
            if let Some(body) = bench::body(&self.buffer[..length]).expect("an answer") {
                break body;
            }
        };
        let answer = String::from_utf8_lossy(&body);
        assert!(
            answer.contains(r#""result":"#) && !answer.contains(r#""isError":true"#),
            "{answer}"
        );
        body.len()
    }
}

/// Measures what an idle session keeps.
fn sessions(runtime: &Runtime, database: &Database) {
    let mut nowhere = tokio_postgres::Config::new();
    nowhere.host("127.0.0.1").port(closed_port());
    nowhere.user("app").dbname(world::DATABASE);
    let nowhere = Database::new(world::DATABASE, nowhere, Tls::disabled());
    println!("\n| a session with | bytes |\n| --- | ---: |");
    let row = |what, database: &Database, count, lease| {
        let database = database.clone();
        let measured = runtime.spawn(async move { kept(database, count, lease).await });
        let bytes = runtime.block_on(measured).expect("no panic");
        println!("| {what} | {bytes} |");
    };
    row("no pool", &nowhere, 1_000, false);
    row("a pool without a connection", &nowhere, 1_000, true);
    row("a pool with one idle connection", database, 100, true);
}

/// Returns the bytes that each of several sessions keeps, after a lease or without one.
async fn kept(database: Database, count: usize, lease: bool) -> i64 {
    let sessions = Sessions::new(
        [database],
        Limits {
            max_connections_total: Some(count),
            ..Limits::default()
        },
    );
    // The first session allocates what all share.
    let _first = use_one(&sessions, "token-0", lease).await;
    let before = counted();
    let mut all = Vec::with_capacity(count);
    let own = counted() - before;
    for number in 1..count {
        all.push(use_one(&sessions, &format!("token-{number}"), lease).await);
    }
    let grown = (counted() - before).in_use - own.in_use;
    grown / i64::try_from(all.len()).expect("few")
}

async fn use_one(sessions: &Sessions, id: &str, lease: bool) -> Session {
    let session = sessions.open(id, None);
    if lease {
        match session.lease(world::DATABASE).await {
            Ok(lease) => lease.give_back(),
            Err(LeaseError::Unreachable { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    session
}

/// A port on which, most likely, nothing listens.
fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}
