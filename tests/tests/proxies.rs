//! Behind a proxy, a client's address is the one that the proxy gives, and none that the client makes up.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use end_to_end::{
    Answer, Client, Request, Response, Server, Token, World, binaries::run, call, connect_from,
    list_tools, wait,
};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Where the proxy connects from. Others of these tests call from 127.0.0.1 and so on.
const PROXY: &str = "127.0.0.2";
const ALICE: &str = "127.0.0.3";
const BOB: &str = "127.0.0.4";

/// What a proxy does with its client's address.
#[derive(Clone, Copy)]
enum Says {
    /// Adds it to `X-Forwarded-For`, as most do.
    XForwardedFor,
    /// Adds it to `Forwarded`.
    Forwarded,
    /// Passes headers on as they come, as a proxy does without configuration.
    Nothing,
}

/// Passes requests on, one for each connection.
struct Proxy {
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
}

impl Proxy {
    fn start(source: &str, to: SocketAddr, says: Says) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stopped = Arc::new(AtomicBool::new(false));
        let (source, stop): (IpAddr, _) = (source.parse().unwrap(), Arc::clone(&stopped));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::Acquire) {
                    return;
                }
                // A client that hangs up here does not matter.
                std::thread::spawn(move || pass_on(&stream?, source, to, says));
            }
        });
        Proxy { address, stopped }
    }

    fn before(server: &Server, says: Says) -> Self {
        Self::start(PROXY, server.address(), says)
    }

    fn client(&self, from: &str) -> Client {
        Client::new(self.address).calling_from(from)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        let _woken = TcpStream::connect(self.address);
    }
}

fn pass_on(client: &TcpStream, source: IpAddr, to: SocketAddr, says: Says) -> io::Result<()> {
    let mut from_client = BufReader::new(client);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if from_client.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let server = connect_from(source, to)?;
    let head = added(&head, client.peer_addr()?.ip(), says);
    (&server).write_all(head.as_bytes())?;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let passed = io::copy(&mut from_client, &mut &server);
            // A client that goes away is passed on, too.
            passed.and_then(|_| server.shutdown(Shutdown::Both))
        });
        io::copy(&mut &server, &mut &*client)?;
        client.shutdown(Shutdown::Both)
    })
}

/// Rewrites a head: the client's address is appended to what came in the same header.
fn added(head: &str, client: IpAddr, says: Says) -> String {
    let (name, said) = match says {
        Says::XForwardedFor => ("x-forwarded-for", client.to_string()),
        Says::Forwarded => ("forwarded", format!("for=\"{client}:1234\";proto=http")),
        Says::Nothing => ("", String::new()),
    };
    let mut lines: Vec<&str> = head.trim_end().split("\r\n").collect();
    let mut list = Vec::new();
    lines.retain(|line| match line.split_once(':') {
        Some((header, value)) if header.eq_ignore_ascii_case(name) => {
            list.push(value.trim());
            false
        }
        _ => true,
    });
    list.push(&said);
    let said = format!("{name}: {}", list.join(", "));
    if !name.is_empty() {
        lines.push(&said);
    }
    lines.push("Connection: close");
    lines.join("\r\n") + "\r\n\r\n"
}

fn behind_the_proxy() -> World {
    with("trusted_proxies", json!([PROXY]))
}

/// A world behind the proxy, with one key of `http:` set.
fn with(key: &str, value: Value) -> World {
    let mut world = World::serving(|database| [database.entry("shop", &database.reader)]);
    world.setup.config["http"]["trusted_proxies"] = json!([PROXY]);
    world.setup.config["http"][key] = value;
    world
}

fn send(client: &mut Client, token: &Token, headers: &[(&str, &str)]) -> Response {
    let headers = headers.iter();
    let request = headers.fold(
        Request::of(token, &list_tools()),
        |request, (name, value)| request.header(name, value),
    );
    client.send(&request).unwrap()
}

#[test]
fn a_token_is_used_from_the_addresses_of_clients_whatever_they_say() {
    let mut world = behind_the_proxy();
    let token = world.token(&["--allow-from", BOB]);
    let server = world.setup.start();
    let proxy = Proxy::before(&server, Says::XForwardedFor);
    assert_eq!(send(&mut proxy.client(BOB), &token, &[]).status, 200);
    let forged: [&[(&str, &str)]; 7] = [
        &[],
        &[("X-Forwarded-For", BOB)],
        &[("X-Forwarded-For", BOB), ("x-forwarded-for", BOB)],
        &[("X-Forwarded-For", "127.0.0.4, 127.0.0.2")],
        &[("X-Forwarded-For", "\"")],
        &[("Forwarded", "for=127.0.0.4")],
        &[("X-Real-IP", BOB), ("True-Client-IP", BOB)],
    ];
    for headers in forged {
        let through = send(&mut proxy.client(ALICE), &token, headers);
        assert_eq!(through.status, 403, "{headers:?}: {}", through.text());
        // A caller that is no trusted proxy speaks only for itself, whatever it sends.
        let direct = send(&mut server.client(), &token, headers);
        assert_eq!(direct.status, 403, "{headers:?}: {}", direct.text());
        let own = Client::new(server.address()).calling_from(BOB);
        let direct = send(&mut { own }, &token, headers);
        assert_eq!(direct.status, 200, "{headers:?}: {}", direct.text());
    }
}

#[test]
fn the_one_header_that_is_configured_is_believed() {
    let mut world = with("forwarded_header", json!("Forwarded"));
    let token = world.token(&["--allow-from", BOB]);
    let server = world.setup.start();
    let proxy = Proxy::before(&server, Says::Forwarded);
    assert_eq!(send(&mut proxy.client(BOB), &token, &[]).status, 200);
    for (forged, expected) in [
        (("X-Forwarded-For", BOB), 403),
        (("Forwarded", "for=127.0.0.4"), 403),
        (("Forwarded", "for=127.0.0.4;host=\""), 400),
    ] {
        let through = send(&mut proxy.client(ALICE), &token, &[forged]);
        assert_eq!(through.status, expected, "{forged:?}: {}", through.text());
    }
    // The other header arrives as the client sent it.
    let other = Proxy::before(&server, Says::XForwardedFor);
    let through = send(&mut other.client(BOB), &token, &[]);
    assert_eq!(through.status, 400, "{}", through.text());
    assert!(through.text().contains("Forwarded"), "{}", through.text());
}

#[test]
fn a_proxy_that_does_not_say_who_calls_is_told_so() {
    let mut world = behind_the_proxy();
    let token = world.setup.add_token();
    let from_proxy = world.token(&["--allow-from", PROXY]);
    let server = world.setup.start();
    server.log.wait_for("has trusted proxies only");
    let proxy = Proxy::before(&server, Says::Nothing);
    for token in [&token, &from_proxy] {
        for (header, told) in [
            (("X-Other", "1"), "has to send X-Forwarded-For"),
            (
                ("X-Forwarded-For", "unknown"),
                "is not its client's address",
            ),
            (
                ("X-Forwarded-For", PROXY),
                "trust no network that has clients in it",
            ),
        ] {
            let through = send(&mut proxy.client(ALICE), token, &[header]);
            assert_eq!(through.status, 400, "{header:?}");
            assert!(through.text().contains(told), "{}", through.text());
        }
    }
    // The health check needs no known client.
    let health = proxy.client(ALICE).send(&Request::new("GET", "/health"));
    assert_eq!(health.unwrap().status, 200);
}

#[test]
fn who_guesses_behind_a_proxy_slows_nobody_else() {
    let world = behind_the_proxy();
    let server = world.setup.start();
    let proxy = Proxy::before(&server, Says::XForwardedFor);
    let guess = |from: &str, number: u32| {
        let began = Instant::now();
        let request = Request::json(&list_tools()).bearer(&format!("wrong-{number}"));
        let forged = request.header("X-Forwarded-For", &format!("192.0.2.{number}"));
        let status = proxy.client(from).send(&forged).unwrap().status;
        (status, began.elapsed())
    };
    let statuses: Vec<u16> = (1..=5).map(|number| guess(ALICE, number).0).collect();
    assert_eq!(statuses, [401, 401, 401, 429, 429]);
    let (status, took) = guess(BOB, 6);
    assert_eq!(status, 401);
    assert!(took < Duration::from_millis(100), "{took:?}");
}

#[test]
fn what_is_told_of_a_client_names_its_address() {
    let mut world = with("trusted_proxies", json!([PROXY, "127.0.0.5"]));
    let audit = world.setup.path().join("audit.jsonl");
    world.setup.config["audit"] = json!({ "file": audit });
    let token = world.setup.add_token();
    let mut server = world.setup.start();
    let inner = Proxy::before(&server, Says::XForwardedFor);
    let outer = Proxy::start("127.0.0.5", inner.address, Says::XForwardedFor);
    let query = Request::query(&token, "SELECT 1").header("X-Forwarded-For", "192.0.2.1");
    let answer = outer.client(BOB).send(&query).unwrap();
    assert!(!Answer::read(&answer.json()).is_error, "{}", answer.text());
    let wrong = Request::json(&list_tools()).bearer("not-a-token");
    assert_eq!(outer.client(ALICE).send(&wrong).unwrap().status, 401);
    server.signal(Signal::TERM);
    assert!(server.wait(wait::HANG).unwrap().success());

    let log = fs::read_to_string(&audit).unwrap();
    let peer_of = |event: &str| {
        let mut lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
        let line: Value = lines.find(|line: &Value| line["event"] == event).unwrap();
        line["peer"].clone()
    };
    assert_eq!(peer_of("call"), json!(BOB));
    assert_eq!(peer_of("token_refused"), json!(ALICE));
    let shown = world.setup.mcp_token(&["show", &token.id]).stdout;
    assert!(shown.contains(BOB), "the last use: {shown}");
}

#[test]
fn a_client_behind_a_proxy_runs_as_many_requests_as_others_have_connections() {
    let mut world = with("max_connections_per_client", json!(1));
    let token = world.setup.add_token();
    let server = world.setup.start();
    let proxy = Proxy::before(&server, Says::XForwardedFor);
    let sleep = call("query_database", json!({ "query": "SELECT pg_sleep(30)" }));
    let mut sleeping = proxy.client(ALICE);
    sleeping.send_only(&Request::of(&token, &sleep)).unwrap();
    let observer = world.database.superuser();
    let running = "select count(*) from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'";
    wait::until("the statement runs", wait::HANG, || {
        observer.value(running) == "1"
    });
    let status = |from: &str| send(&mut proxy.client(from), &token, &[]).status;
    assert_eq!(status(ALICE), 429);
    assert_eq!(status(BOB), 200);
    sleeping.hang_up();
    wait::until("its place is free", wait::HANG, || status(ALICE) == 200);
}

#[test]
fn a_server_behind_a_proxy_is_as_careful_as_one_that_others_reach() {
    let mut world = behind_the_proxy();
    let mighty = world.database.role("mighty", "superuser");
    world.setup.config["databases"] = json!([world.database.entry("shop", &mighty)]);
    let token = world.setup.add_token();
    let server = world.setup.start();
    let direct = server.query(&token, "SELECT 1");
    assert!(
        direct.is_error && direct.text.contains("allow_dangerous_role"),
        "{direct:?}"
    );

    for (key, value, told) in [
        (
            "auth",
            json!({ "enabled": false }),
            "http.trusted_proxies: without authentication the server serves this machine only",
        ),
        (
            "trusted_proxies",
            json!(["0.0.0.0/0"]),
            "http.trusted_proxies: 0.0.0.0/0 is everybody",
        ),
    ] {
        let world = with(key, value);
        let said = run(world.setup.command("mcp-server", &[]));
        assert_eq!(said.code, 1, "{}", said.stderr);
        assert!(said.stderr.contains(told), "{}", said.stderr);
    }
}
