//! The audit log: what is in it, what never is, and what becomes of it when its file cannot be written.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use end_to_end::{
    Client, Conversation, Database, Request, Server, Setup, Token, binaries::Said, call, wait,
};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Only a hang takes longer.
const LIMIT: Duration = Duration::from_secs(20);

struct World {
    database: Database<'static>,
    setup: Setup,
    token: Token,
}

impl World {
    fn new(audit: Value) -> Self {
        let database = Database::fresh();
        let mut setup = Setup::new([database.entry("shop", &database.reader)]);
        setup.config["audit"] = audit;
        setup.config["audit"]["file"] = json!(setup.path().join("audit.jsonl"));
        let token = setup.add_token();
        World {
            database,
            setup,
            token,
        }
    }

    fn file(&self) -> PathBuf {
        self.setup.path().join("audit.jsonl")
    }

    fn lines(&self) -> Vec<Value> {
        lines(&self.file())
    }

    fn verify(&self, arguments: &[&str]) -> Said {
        self.setup
            .mcp_token(&[&["audit", "verify"], arguments].concat())
    }

    fn assert_verified(&self) -> Said {
        let said = self.verify(&[]);
        assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
        said
    }
}

fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

fn of<'a>(lines: &'a [Value], event: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["event"] == event).collect()
}

/// Ends the server as an operator does; gives the hash that it told.
fn stop(mut server: Server) -> String {
    server.signal(Signal::TERM);
    assert!(server.wait(LIMIT).unwrap().success());
    let told = server.log.wait_for("audit.jsonl ends with line");
    told.rsplit(' ').next().unwrap().to_owned()
}

#[test]
fn every_call_has_its_line_and_so_has_every_token_that_is_refused() {
    let mut world = World::new(json!({}));
    let other = world.setup.add_token();
    let brief = world
        .setup
        .add_token_with(&["--expiry", "never", "--tools", "query_database"]);
    let server = world.setup.start();
    let token = &world.token;
    assert!(
        !server
            .query(token, "SELECT id, name FROM products ORDER BY id LIMIT 3")
            .is_error
    );
    assert!(server.query(token, "SELECT * FROM nowhere").is_error);
    assert!(
        server
            .query(token, "SELECT pg_sleep(1), pg_terminate_backend(1)")
            .is_error
    );
    assert!(
        server
            .call(token, "query_database", json!({ "query": 7 }))
            .is_error
    );
    assert!(
        !server
            .call(token, "count_rows", json!({ "table": "products" }))
            .is_error
    );
    let unknown = server.post(token, &call("drop_everything", json!({})));
    assert!(unknown.json()["error"].is_object());
    let hidden = server.post(&brief, &call("count_rows", json!({ "table": "products" })));
    assert!(hidden.json()["error"].is_object());
    let read = json!({ "jsonrpc": "2.0", "id": "r-1", "method": "resources/read", "params": { "uri": "pg://settings" } });
    assert!(server.post(token, &read).json()["result"].is_object());
    let wrong = Request::json(&call("query_database", json!({}))).bearer("not-a-token");
    assert_eq!(server.client().send(&wrong).unwrap().status, 401);
    let none = Request::json(&call("query_database", json!({})));
    assert_eq!(server.client().send(&none).unwrap().status, 401);
    server.query(&other, "SELECT 1");
    world.setup.remove_token(&other);
    server.log.wait_for("1 removed");
    let hash = stop(server);

    let lines = world.lines();
    let events: Vec<&str> = lines
        .iter()
        .map(|line| line["event"].as_str().unwrap())
        .collect();
    assert_eq!(events[..2], ["opened", "start"]);
    assert_eq!(events.last(), Some(&"stop"));
    let calls = of(&lines, "call");
    let seen: Vec<_> = calls
        .iter()
        .map(|line| {
            (
                line["tool"].as_str().unwrap(),
                line["outcome"].as_str().unwrap(),
                line["sqlstate"].as_str(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("query_database", "ok", None),
            ("query_database", "database_error", Some("42P01")),
            ("query_database", "refused", None),
            ("query_database", "wrong_arguments", None),
            ("count_rows", "ok", None),
            ("drop_everything", "unknown", None),
            ("count_rows", "unknown", None),
            ("query_database", "ok", None),
        ]
    );
    let first = calls[0];
    assert_eq!(first["token"], json!(token.id));
    assert_eq!(
        (&first["peer"], &first["database"]),
        (&json!("127.0.0.1"), &json!("shop"))
    );
    assert_eq!(
        (&first["rows"], &first["request"]),
        (&json!(3), &json!("1"))
    );
    assert!(first["bytes"].as_u64().unwrap() > 20 && first["ms"].as_f64().unwrap() > 0.0);
    assert_eq!(first["statement"].as_str().unwrap().len(), 32);
    assert!(first.get("text").is_none());
    assert_eq!(calls[6]["token"], json!(brief.id));
    for call in &calls {
        assert_eq!(call["request"], json!("1"), "{call}");
    }
    let resources = of(&lines, "resource");
    assert_eq!(
        (&resources[0]["uri"], &resources[0]["request"]),
        (&json!("pg://settings"), &json!("r-1"))
    );
    let refused = of(&lines, "token_refused");
    assert_eq!(
        refused.len(),
        1,
        "a client that has no token yet refuses none"
    );
    assert_eq!(
        (&refused[0]["reason"], &refused[0]["peer"]),
        (&json!("unknown"), &json!("127.0.0.1"))
    );
    assert_eq!(of(&lines, "tokens_removed")[0]["tokens"], json!([other.id]));
    assert_eq!(of(&lines, "session_ended")[0]["token"], json!(other.id));
    let said = world.assert_verified();
    assert!(
        said.stdout.contains(&format!("Ends with the hash: {hash}")),
        "{}",
        said.stdout
    );
    assert_eq!(world.verify(&["--expect", &hash]).code, 0);
    let said = world.verify(&["--json", "-expect", &hash]);
    let told: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(
        (&told["hash"], &told["first"], &told["lost"]),
        (&json!(hash), &json!(1), &json!(0))
    );
    assert_eq!(told["lines"], json!(lines.len()));
    assert_eq!(
        fs::metadata(world.file()).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn a_session_and_a_client_are_told_apart_and_the_line_can_be_shown_anywhere() {
    let world = World::new(json!({}));
    let server = world.setup.start();
    let initialize = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": { "name": "agent\u{1b}[2J\u{202e}\"x", "version": "7" } } });
    let mut client = server.client();
    let answer = client
        .send(&Request::of(&world.token, &initialize))
        .unwrap();
    let session = answer.header("mcp-session-id").unwrap().to_owned();
    let query = Request::query(&world.token, "SELECT 1");
    let unknown = Request::of(&world.token, &call("drop_everything", json!({})));
    for request in [query, unknown] {
        let request = request.header("Mcp-Session-Id", &session);
        assert_eq!(client.send(&request).unwrap().status, 200);
    }
    stop(server);
    let lines = world.lines();
    let calls = of(&lines, "call");
    assert_eq!(calls.len(), 2);
    for line in calls {
        assert_eq!(line["client"], json!("agent\u{1b}[2J\u{202e}\"x/7"));
        assert_eq!(line["session"], json!(session[..16]));
    }
    let bytes = fs::read(world.file()).unwrap();
    let shown = |byte: &u8| (b' '..=b'~').contains(byte) || *byte == b'\n';
    assert!(
        bytes.iter().all(shown),
        "{}",
        String::from_utf8_lossy(&bytes)
    );
    world.assert_verified();
}

#[test]
fn over_standard_input_calls_have_lines_too() {
    let mut world = World::new(json!({ "statements": "text" }));
    world.setup.config["http"]["enabled"] = json!(false);
    let mut conversation = Conversation::start(&world.setup);
    conversation.initialize("2025-11-25", &json!({}));
    let query = json!({ "name": "query_database", "arguments": { "query": "SELECT 'x' AS y" } });
    conversation.ask(2, "tools/call", query);
    assert!(conversation.end().success());
    let lines = world.lines();
    let line = of(&lines, "call")[0];
    assert_eq!(
        (&line["token"], &line["text"]),
        (&json!("(stdio)"), &json!("SELECT 'x' AS y"))
    );
    world.assert_verified();
}

#[test]
fn nothing_secret_is_in_the_log() {
    const LITERAL: &str = "canary-literal-5150";
    const NUMBER: &str = "73519846";
    const HEADER: &str = "canary-header-5150";
    const NOTE: &str = "canary-note-5150";
    const WRONG: &str = "canary-wrong-token-5150";
    const COMMENT: &str = "canary-comment-5150";
    let mut world = World::new(json!({}));
    let noted = world
        .setup
        .add_token_with(&["--expiry", "never", "--note", NOTE]);
    let server = world.setup.start();
    let token = &noted;
    for sql in [
        format!("SELECT * FROM users WHERE email = '{LITERAL}' OR id = {NUMBER} -- {COMMENT}"),
        format!("SELECT '{LITERAL}'::integer"),
        format!("SELECT $${LITERAL}$$ FROM nowhere"),
        format!("SELECT '{LITERAL}"),
        format!("show me users called {LITERAL}"),
        format!("SELECT {NUMBER} / 0"),
    ] {
        server.query(token, &sql);
    }
    server.call(
        token,
        "count_rows",
        json!({ "table": "users", "where": format!("email = '{LITERAL}'") }),
    );
    server.call(
        token,
        "query_database",
        json!({ "query": "SELECT 1", "limit": LITERAL }),
    );
    let query = Request::query(token, "SELECT 1").header("X-Canary", HEADER);
    assert_eq!(server.client().send(&query).unwrap().status, 200);
    let wrong = Request::json(&call("query_database", json!({}))).bearer(WRONG);
    assert_eq!(server.client().send(&wrong).unwrap().status, 401);
    let password = world.setup.config["databases"][0]["password"]
        .as_str()
        .unwrap()
        .to_owned();
    stop(server);
    let text = fs::read_to_string(world.file()).unwrap();
    assert_eq!(of(&world.lines(), "call").len(), 9);
    for canary in [
        LITERAL,
        NUMBER,
        HEADER,
        NOTE,
        WRONG,
        COMMENT,
        &password,
        &noted.secret,
    ] {
        assert!(
            !canary.is_empty() && !text.contains(canary),
            "{canary} is in\n{text}"
        );
    }
    world.assert_verified();
    drop(world.database);
}

#[test]
fn statements_that_differ_in_values_have_one_fingerprint_and_texts_are_cut() {
    let world = World::new(json!({ "statements": "text", "statement_bytes": 64 }));
    let server = world.setup.start();
    server.query(&world.token, "SELECT name FROM users WHERE id = 1");
    server.query(&world.token, "select name from users where id = 22");
    server.query(&world.token, &format!("SELECT 1 AS {}", "a".repeat(200)));
    stop(server);
    let lines = world.lines();
    let calls = of(&lines, "call");
    assert_eq!(calls[0]["statement"], calls[1]["statement"]);
    assert_ne!(calls[0]["statement"], calls[2]["statement"]);
    assert_eq!(
        calls[1]["text"],
        json!("select name from users where id = 22")
    );
    assert_eq!(calls[2]["text"].as_str().unwrap().chars().count(), 65);
}

#[test]
fn a_client_that_hangs_up_and_a_token_that_is_removed_are_told() {
    let mut world = World::new(json!({}));
    let other = world.setup.add_token();
    let server = world.setup.start();
    let sleeping = |token: &Token| {
        let mut client = server.client();
        client
            .send_only(&Request::query(token, "SELECT pg_sleep(60)"))
            .unwrap();
        let admin = world.database.superuser();
        let sql = format!(
            "select count(*) from pg_stat_activity where application_name = 'mcp/{}' and state = 'active'",
            token.id
        );
        wait::until("the statement runs", LIMIT, || admin.value(&sql) == "1");
        client
    };
    let mut gone = sleeping(&world.token);
    let mut removed = sleeping(&other);
    gone.hang_up();
    world.setup.remove_token(&other);
    assert_eq!(removed.receive().unwrap().status, 401);
    wait::until("both are told", LIMIT, || {
        of(&world.lines(), "call").len() == 2
    });
    stop(server);
    let lines = world.lines();
    let mut seen: Vec<_> = of(&lines, "call")
        .iter()
        .map(|line| {
            (
                line["token"].clone().to_string(),
                line["outcome"].clone().to_string(),
            )
        })
        .collect();
    seen.sort();
    let mut expected = vec![
        (json!(world.token.id).to_string(), "\"dropped\"".to_owned()),
        (json!(other.id).to_string(), "\"revoked\"".to_owned()),
    ];
    expected.sort();
    assert_eq!(seen, expected);
}

/// What the log says of ended sessions: whose, and why.
fn ended(lines: &[Value]) -> Vec<(&str, &str)> {
    of(lines, "session_ended")
        .iter()
        .map(|line| {
            (
                line["token"].as_str().unwrap(),
                line["reason"].as_str().unwrap(),
            )
        })
        .collect()
}

#[test]
fn a_token_that_expires_with_connections_is_told_once_and_at_its_hour() {
    let mut world = World::new(json!({}));
    let busy = world.setup.add_token_with(&["--expiry", "1h"]);
    let idle = world.setup.add_token_with(&["--expiry", "1h"]);
    let never_used = world.setup.add_token_with(&["--expiry", "1h"]);
    let server = world.setup.start();
    let hour = OffsetDateTime::now_utc().unix_timestamp() + 4;
    for token in [&busy, &idle, &never_used] {
        world.setup.expire_at(token, hour.cast_unsigned());
        server.log.wait_for(&format!("1 changed: {}", token.id));
    }
    server.query(&idle, "SELECT 1");
    let mut running = server.client();
    running
        .send_only(&Request::query(&busy, "SELECT pg_sleep(60)"))
        .unwrap();
    // Nobody asks anything at that time.
    wait::until("both ends are told", LIMIT, || {
        ended(&world.lines()).len() == 2
    });
    assert_eq!(running.receive().unwrap().status, 401);
    for token in [&busy, &idle, &never_used] {
        let late = server.client().send(&Request::query(token, "SELECT 1"));
        assert_eq!(late.unwrap().status, 401);
        world.setup.remove_token(token);
        server.log.wait_for(&format!("1 removed: {}", token.id));
    }
    stop(server);
    let lines = world.lines();
    let mut told = ended(&lines);
    told.sort_unstable();
    let mut expected = [(&*busy.id, "expired"), (&*idle.id, "expired")];
    expected.sort_unstable();
    assert_eq!(told, expected, "each once, and no other");
    for line in of(&lines, "session_ended") {
        let at = line["time"].as_str().unwrap();
        let at = OffsetDateTime::parse(at, &Rfc3339).unwrap();
        let late = (at - OffsetDateTime::from_unix_timestamp(hour).unwrap()).whole_milliseconds();
        assert!((0..500).contains(&late), "{late} ms late");
    }
    let refused = of(&lines, "token_refused");
    assert!(refused.iter().all(|line| line["reason"] == "expired"));
    world.assert_verified();
}

#[test]
fn why_a_session_ended_is_told() {
    let mut world = World::new(json!({}));
    let removed = world.setup.add_token();
    let narrowed = world.setup.add_token();
    let rotated = world.setup.add_token();
    let own = world.database.role("own", "nosuperuser noinherit");
    world.database.superuser().run(&format!(
        "grant connect on database {} to {}",
        world.database.name, own.role
    ));
    let password = world.setup.file("password", "canary-wrong\n");
    let logging_in = world.setup.add_token_with(&[
        "--expiry",
        "never",
        "--role",
        &own.role,
        "--role-password-file",
        password.to_str().unwrap(),
    ]);
    let mut server = world.setup.start();
    server.keep_secret(&own.password);
    for token in [&removed, &narrowed, &rotated, &logging_in] {
        server.query(token, "SELECT 1");
    }
    world.setup.remove_token(&removed);
    server.log.wait_for(&format!("1 removed: {}", removed.id));
    for arguments in [
        &["edit", &narrowed.id, "--schemas", "shop"][..],
        // A secret that is good for an hour more takes nothing from anybody, and a tool only its calls.
        &["rotate", &rotated.id, "--grace", "1h"],
        &["edit", &rotated.id, "--tools", "query_database"],
    ] {
        assert_eq!(world.setup.mcp_token(arguments).code, 0);
        server.log.wait_for(&format!("1 changed: {}", arguments[1]));
    }
    world.setup.file("password", &format!("{}\n", own.password));
    server.signal(Signal::HUP);
    server.log.wait_for("no database changed");
    assert!(!server.query(&logging_in, "SELECT 1").is_error);
    stop(server);
    let lines = world.lines();
    assert_eq!(
        ended(&lines),
        [
            (&*removed.id, "removed"),
            (&*narrowed.id, "changed"),
            (&*logging_in.id, "credentials"),
        ]
    );
}

#[test]
fn who_follows_what_is_told() {
    const USERS: &str = "pg://schema/shop/users";
    let mut world = World::new(json!({}));
    let narrow = world
        .setup
        .add_token_with(&["--expiry", "never", "--tools", "query_database"]);
    let server = world.setup.start();
    let open = |token: &Token| {
        let initialize = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": { "name": "follower", "version": "1" } } });
        let answer = server.client().send(&Request::of(token, &initialize));
        answer.unwrap().header("mcp-session-id").unwrap().to_owned()
    };
    let (own, other) = (open(&world.token), open(&narrow));
    let about = |(token, session): (&Token, &str), method: &str, uri: &str| {
        let request = json!({ "jsonrpc": "2.0", "id": method, "method": format!("resources/{method}"), "params": { "uri": uri } });
        let request = Request::of(token, &request).header("Mcp-Session-Id", session);
        server.client().send(&request).unwrap().json()
    };
    let (own, other) = ((&world.token, &*own), (&narrow, &*other));
    assert!(about(own, "subscribe", USERS)["result"].is_object());
    assert!(about(own, "subscribe", "pg://nothing")["error"].is_object());
    assert!(about(own, "unsubscribe", USERS)["result"].is_object());
    assert!(about(other, "subscribe", USERS)["error"].is_object());
    assert!(about(other, "read", USERS)["error"].is_object());
    let listen = json!({ "jsonrpc": "2.0", "id": "listen", "method": "subscriptions/listen", "params": {
        "notifications": { "resourceSubscriptions": [USERS] }, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": { "name": "newest", "version": "1" },
            "io.modelcontextprotocol/clientCapabilities": {} } } });
    let listen = Request::json(&listen)
        .bearer(&world.token.secret)
        .header("Accept", "application/json, text/event-stream")
        .header("MCP-Protocol-Version", "2026-07-28")
        .header("Mcp-Method", "subscriptions/listen");
    let mut listening = server.client();
    listening.send_only(&listen).unwrap();
    wait::until("the stream is told", LIMIT, || {
        of(&world.lines(), "follow").len() == 4
    });
    listening.hang_up();
    stop(server);
    let lines = world.lines();
    let told: Vec<_> = lines
        .iter()
        .filter(|line| line.get("uri").is_some())
        .map(|line| {
            ["event", "token", "client", "uri", "outcome", "request"]
                .map(|name| line[name].as_str().unwrap())
        })
        .collect();
    let (token, narrow) = (&*world.token.id, &*narrow.id);
    assert_eq!(
        told,
        [
            ["follow", token, "follower/1", USERS, "ok", "subscribe"],
            [
                "follow",
                token,
                "follower/1",
                "pg://nothing",
                "unknown",
                "subscribe"
            ],
            ["unfollow", token, "follower/1", USERS, "ok", "unsubscribe"],
            [
                "follow",
                narrow,
                "follower/1",
                USERS,
                "unknown",
                "subscribe"
            ],
            ["resource", narrow, "follower/1", USERS, "unknown", "read"],
            ["follow", token, "newest/1", USERS, "ok", "listen"],
        ]
    );
    assert_eq!(of(&lines, "follow")[0]["database"], json!("shop"));
    world.assert_verified();
}

#[test]
fn whatever_is_refused_as_too_much_at_once_is_told() {
    let mut world = World::new(json!({}));
    world.setup.config["limits"] = json!({ "running_calls": 1 });
    let server = world.setup.start();
    let token = &world.token;
    let mut busy = server.client();
    busy.send_only(&Request::query(token, "SELECT pg_sleep(60)"))
        .unwrap();
    let admin = world.database.superuser();
    wait::until("the statement runs", LIMIT, || {
        admin.value("select count(*) from pg_stat_activity where query ~ 'pg_sleep' and state = 'active' and pid <> pg_backend_pid()") == "1"
    });
    let meta = json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {} });
    let table = "pg://schema/{schema}/{table}";
    for (method, params) in [
        (
            "tools/call",
            json!({ "name": "query_database", "arguments": {} }),
        ),
        ("resources/read", json!({ "uri": "pg://settings" })),
        ("resources/subscribe", json!({ "uri": "pg://schema" })),
        (
            "completion/complete",
            json!({ "ref": { "type": "ref/resource", "uri": table }, "argument": { "name": "schema", "value": "" } }),
        ),
        (
            "subscriptions/listen",
            json!({ "_meta": meta, "notifications": { "resourceSubscriptions": ["pg://schema/a/b", "pg://schema/a/c"] } }),
        ),
        ("tools/list", json!({})),
    ] {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let refused = server.post(token, &request).json();
        let message = refused["error"]["message"].as_str().unwrap();
        assert!(message.contains("too many requests"), "{method}: {refused}");
    }
    busy.hang_up();
    stop(server);
    let lines = world.lines();
    let told: Vec<_> = lines
        .iter()
        .filter(|line| line["outcome"] == "too_fast")
        .map(|line| {
            let name = line.get("tool").or(line.get("uri")).unwrap();
            (line["event"].as_str().unwrap(), name.as_str().unwrap())
        })
        .collect();
    assert_eq!(
        told,
        [
            ("call", "query_database"),
            ("resource", "pg://settings"),
            ("follow", "pg://schema"),
            ("completion", table),
            ("follow", "pg://schema/a/b and 1 more"),
        ]
    );
}

#[test]
fn a_change_of_the_databases_is_told_without_what_is_secret() {
    let mut world = World::new(json!({}));
    let server = world.setup.start();
    let password = world.setup.config["databases"][0]["password"].clone();
    let mut other = world.database.entry("other", &world.database.reader);
    world.setup.config["databases"][0]["pool_max_conns"] = json!(3);
    other["password"] = json!("canary-password-5150");
    let databases = world.setup.config["databases"].as_array_mut().unwrap();
    databases.push(other);
    world.setup.config_file();
    server.log.wait_for("Reloaded");
    let databases = world.setup.config["databases"].as_array_mut().unwrap();
    databases.pop();
    world.setup.config_file();
    wait::until("it is read again", LIMIT, || {
        server.log.count("Reloaded") == 2
    });
    stop(server);
    let lines = world.lines();
    let told = of(&lines, "databases_changed");
    assert_eq!(told.len(), 2);
    assert_eq!(
        (&told[0]["added"], &told[0]["changed"]),
        (&json!(["other"]), &json!(["shop"]))
    );
    assert_eq!(told[1]["removed"], json!(["other"]));
    assert!(told[1].get("added").is_none() && told[1].get("changed").is_none());
    let text = fs::read_to_string(world.file()).unwrap();
    for secret in ["canary-password-5150", password.as_str().unwrap()] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
fn a_server_that_is_killed_in_the_middle_of_calls_leaves_a_log_that_goes_on() {
    let world = World::new(json!({}));
    for round in 0..3 {
        let mut server = world.setup.start();
        let answered = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| hammer(server.client(), &world.token, &answered));
            }
            wait::until("calls are answered", LIMIT, || {
                answered.load(Ordering::Relaxed) > 300
            });
            server.signal(Signal::KILL);
        });
        server.wait(LIMIT).unwrap();
        let said = world.verify(&[]);
        let is_torn = said.stderr.contains("cut off after");
        assert!(said.code == 0 || is_torn, "{round}: {}", said.stderr);
        assert!(of(&whole_lines(&world.file()), "call").len() > 100 * (round + 1));
    }
    let server = world.setup.start();
    server.query(&world.token, "SELECT 1");
    stop(server);
    world.assert_verified();
}

/// Sends up to 1,000 calls, until there is nobody left who answers.
fn hammer(mut client: Client, token: &Token, answered: &AtomicUsize) {
    let request = Request::query(token, "SELECT 1");
    for _ in 0..1_000 {
        if client.send(&request).is_err() {
            return;
        }
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

fn whole_lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap();
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    lines.collect()
}

#[test]
fn a_line_that_was_altered_removed_moved_or_cut_is_named() {
    let world = World::new(json!({}));
    let server = world.setup.start();
    for number in 0..5 {
        server.query(&world.token, &format!("SELECT {number}"));
    }
    let hash = stop(server);
    let text = fs::read_to_string(world.file()).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let without = |at: usize| [&lines[..at], &lines[at + 1..]].concat().concat();
    let swapped = {
        let mut lines = lines.clone();
        lines.swap(3, 4);
        lines.concat()
    };
    for (wrong, line, told) in [
        (text.replacen("\"rows\":1", "\"rows\":2", 1), 3, "altered"),
        (without(3), 4, "missing"),
        (swapped, 4, "missing"),
        (
            text.clone() + lines[4],
            lines.len() + 1,
            "moved or repeated",
        ),
        (text.trim_end().to_owned(), lines.len(), "cut off"),
        (lines[1..].concat(), 1, "does not begin"),
        (String::new(), 1, "empty"),
        (
            format!("{text}hello\n"),
            lines.len() + 1,
            "no line of an audit log",
        ),
    ] {
        fs::write(world.file(), wrong).unwrap();
        let said = world.verify(&[]);
        assert_eq!(said.code, 1, "{told}: {}", said.stdout);
        let place = format!("line {line}: ");
        assert!(
            said.stderr.contains(&place) && said.stderr.contains(told),
            "{told}: {}",
            said.stderr
        );
    }
    fs::write(world.file(), lines[..lines.len() - 1].concat()).unwrap();
    assert_eq!(
        world.verify(&[]).code,
        0,
        "nothing in the file shows that its end is missing"
    );
    let said = world.verify(&["--expect", &hash]);
    assert!(
        said.code == 1 && said.stderr.contains("cut off at the end"),
        "{}",
        said.stderr
    );
}

#[test]
fn a_rotated_log_goes_on_in_a_new_file() {
    let world = World::new(json!({}));
    let server = world.setup.start();
    server.query(&world.token, "SELECT 1");
    let old = world.setup.path().join("audit.1");
    fs::rename(world.file(), &old).unwrap();
    server.query(&world.token, "SELECT 2");
    server.signal(Signal::HUP);
    let told = server
        .log
        .wait_for("is a new file; the one before ends with line");
    server.query(&world.token, "SELECT 3");
    let hash = stop(server);
    assert_eq!(of(&lines(&old), "call").len(), 2);
    assert_eq!(of(&world.lines(), "call").len(), 1);
    let (old, new) = (old.to_str().unwrap(), world.file());
    let new = new.to_str().unwrap();
    let said = world.verify(&[old, new, "--expect", &hash]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    let between = told.rsplit(' ').next().unwrap();
    assert_eq!(said.stdout.matches(between).count(), 2, "{}", said.stdout);
    assert_eq!(world.verify(&[new, old]).code, 1, "in the wrong order");
}

#[test]
fn a_log_that_is_rotated_under_load_loses_nothing() {
    const CALLERS: usize = 4;
    const CALLS: usize = 500;
    let world = World::new(json!({}));
    let server = world.setup.start();
    let answered = AtomicUsize::new(0);
    let mut old: Vec<String> = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                let mut client = server.client();
                let request = Request::query(&world.token, "SELECT 1");
                for _ in 0..CALLS {
                    assert_eq!(client.send(&request).unwrap().status, 200);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for rotation in 1..=4 {
            wait::until("calls are answered", LIMIT, || {
                answered.load(Ordering::Relaxed) > rotation * CALLERS * CALLS / 5
            });
            let name = world.setup.path().join(format!("audit.{rotation}"));
            fs::rename(world.file(), &name).unwrap();
            old.push(name.to_str().unwrap().to_owned());
            // Whoever asks twice gets one new file.
            server.signal(Signal::HUP);
            server.signal(Signal::HUP);
            wait::until("there is a new file", LIMIT, || {
                server.log.count("is a new file") == rotation
            });
        }
    });
    let hash = stop(server);
    let current = world.file();
    let mut files: Vec<&str> = old.iter().map(String::as_str).collect();
    files.push(current.to_str().unwrap());
    let said = world.verify(&[&files[..], &["--expect", &hash]].concat());
    assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
    assert!(!said.stdout.contains("lost"), "{}", said.stdout);
    let calls: Vec<usize> = files
        .iter()
        .map(|file| of(&lines(Path::new(file)), "call").len())
        .collect();
    assert_eq!(calls.iter().sum::<usize>(), CALLERS * CALLS, "{calls:?}");
    assert!(calls.iter().all(|calls| *calls > 0), "{calls:?}");
}

/// Lets the files of a process grow no further than to so many bytes, as a full disk does.
fn limit(server: &Server, most: Option<u64>) {
    let pid = Pid::from_raw(i32::try_from(server.pid()).unwrap());
    let maximum = getrlimit(Resource::Fsize).maximum;
    let current = most.or(maximum);
    prlimit(pid, Resource::Fsize, Rlimit { current, maximum }).unwrap();
}

fn health(server: &Server) -> Value {
    server
        .client()
        .send(&Request::new("GET", "/health"))
        .unwrap()
        .json()
}

#[test]
fn a_full_disk_loses_lines_loudly_and_calls_go_on() {
    let world = World::new(json!({ "queue_lines": 16 }));
    let server = world.setup.start();
    server.query(&world.token, "SELECT 1");
    wait::until("the line is there", LIMIT, || {
        of(&world.lines(), "call").len() == 1
    });
    assert_eq!(health(&server)["audit_log"], json!("written"));
    limit(
        &server,
        Some(fs::metadata(world.file()).unwrap().len() + 100),
    );
    for _ in 0..40 {
        assert!(!server.query(&world.token, "SELECT 1").is_error);
    }
    let told = server.log.wait_for("cannot be written: File too large");
    assert!(told.contains("make room for it"), "{told}");
    wait::until("health tells of it", LIMIT, || {
        let health = health(&server);
        health["status"] == "degraded" && health["audit_log"] == "cannot be written"
    });
    limit(&server, None);
    server.log.wait_for("is written again");
    server.query(&world.token, "SELECT 1");
    stop(server);
    let lines = world.lines();
    let lost: u64 = of(&lines, "lost")
        .iter()
        .map(|line| line["lines"].as_u64().unwrap())
        .sum();
    assert!(lost > 0);
    assert_eq!(of(&lines, "call").len() as u64 + lost, 42);
    let said = world.assert_verified();
    assert!(
        said.stdout.contains(&format!("lost: {lost}")),
        "{}",
        said.stdout
    );
}

#[test]
fn a_full_disk_refuses_calls_before_they_run_where_that_is_wanted() {
    let world = World::new(json!({ "when_full": "refuse" }));
    let server = world.setup.start();
    server.query(&world.token, "SELECT 1");
    wait::until("the line is there", LIMIT, || {
        of(&world.lines(), "call").len() == 1
    });
    limit(
        &server,
        Some(fs::metadata(world.file()).unwrap().len() + 100),
    );
    let refused = wait::until_some("calls are refused", LIMIT, || {
        let answer = server.query(&world.token, "SELECT 1");
        answer.is_error.then_some(answer)
    });
    assert!(
        refused.text.contains("cannot write its audit log"),
        "{}",
        refused.text
    );
    let read = json!({ "jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": { "uri": "pg://settings" } });
    let read = server.post(&world.token, &read).json();
    assert!(
        read["error"]["message"]
            .as_str()
            .unwrap()
            .contains("audit log"),
        "{read}"
    );
    limit(&server, None);
    wait::until("calls run again", LIMIT, || {
        !server.query(&world.token, "SELECT 1").is_error
    });
    stop(server);
    assert!(of(&world.lines(), "lost").is_empty());
    world.assert_verified();
}

#[test]
fn where_calls_are_refused_without_a_line_none_runs_without_one() {
    const CALLERS: usize = 4;
    const CALLS: usize = 200;
    let world = World::new(json!({ "when_full": "refuse", "queue_lines": 16 }));
    let server = world.setup.start();
    let (done, ran) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                for _ in 0..CALLS {
                    let answer = server.query(&world.token, "SELECT 1");
                    let is_refused = answer.text.contains("cannot write its audit log");
                    assert_eq!(answer.is_error, is_refused, "{}", answer.text);
                    ran.fetch_add(usize::from(!is_refused), Ordering::Relaxed);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // The disk is full and has room again, in the middle of lines.
        for part in 1..10 {
            wait::until("calls are answered", LIMIT, || {
                done.load(Ordering::Relaxed) > part * CALLERS * CALLS / 10
            });
            let room = (part % 2 == 1)
                .then(|| fs::metadata(world.file()).unwrap().len() + 37 * part as u64);
            limit(&server, room);
        }
        limit(&server, None);
    });
    wait::until("calls run again", LIMIT, || {
        let answer = server.query(&world.token, "SELECT 2");
        ran.fetch_add(usize::from(!answer.is_error), Ordering::Relaxed);
        !answer.is_error
    });
    stop(server);
    let lines = world.lines();
    assert!(of(&lines, "lost").is_empty());
    let ran = ran.into_inner();
    assert!(ran > 1 && ran < CALLERS * CALLS, "{ran}");
    assert_eq!(of(&lines, "call").len(), ran);
    world.assert_verified();
}

#[test]
fn a_log_that_cannot_be_opened_stops_the_start_and_says_what_to_do() {
    let world = World::new(json!({}));
    let refused = |told: &[&str]| {
        let command = world.setup.command("mcp-server", &[]);
        let log = Server::try_start(command, Vec::new()).err().unwrap();
        assert!(told.iter().all(|told| log.contains(told)), "{log}");
    };
    fs::create_dir(world.file()).unwrap();
    refused(&["audit.file", "cannot be opened", "name another file"]);
    fs::remove_dir(world.file()).unwrap();
    fs::write(world.file(), "my notes\n").unwrap();
    fs::set_permissions(world.file(), fs::Permissions::from_mode(0o600)).unwrap();
    refused(&["does not end as an audit log does", "move it away"]);
    fs::set_permissions(world.file(), fs::Permissions::from_mode(0o622)).unwrap();
    refused(&["chmod 600"]);
    fs::remove_file(world.file()).unwrap();
    let _first = world.setup.start();
    refused(&["another server writes", "a file of its own"]);
}
