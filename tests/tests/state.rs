//! What a call leaves in PostgreSQL is there for the next call of its session, and for nobody else.
#![allow(clippy::unwrap_used)]

use end_to_end::{
    Answer, Client, Request, Response, Server, Sql, Token, World, call,
    wait::{self, HANG, WORST},
};
use serde_json::{Value, json};

fn world() -> World {
    let mut world = World::serving(|database| [database.entry("shop", &database.owner)]);
    world.setup.config["tools"] =
        json!({ "enabled": ["execute_write", "open_session", "close_session"] });
    world
}

fn writer(world: &mut World) -> Token {
    world.token(&["--access", "write"])
}

fn is_there(observer: &Sql, pid: i64) -> bool {
    let sql = format!("select count(*) from pg_stat_activity where pid = {pid}");
    observer.value(&sql) == "1"
}

/// A client of a revision until 2025, in a session of the protocol.
struct Old<'a> {
    server: &'a Server,
    token: &'a Token,
    id: String,
}

impl<'a> Old<'a> {
    fn begin(server: &'a Server, token: &'a Token) -> Self {
        let initialize = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } } });
        let request = Request::json(&initialize)
            .bearer(&token.secret)
            .header("Accept", "application/json, text/event-stream");
        let response = server.client().send(&request).unwrap();
        let id = response.header("mcp-session-id").unwrap().to_owned();
        Self { server, token, id }
    }

    fn request(&self, request: Request) -> Request {
        request
            .bearer(&self.token.secret)
            .header("MCP-Protocol-Version", "2025-06-18")
            .header("Mcp-Session-Id", &self.id)
    }

    fn call(&self, tool: &str, arguments: Value) -> Answer {
        let request = self.request(Request::json(&call(tool, arguments)));
        Answer::read(&self.server.client().send(&request).unwrap().json())
    }

    fn write(&self, query: &str) -> Answer {
        let answer = self.call("execute_write", json!({ "query": query }));
        assert!(!answer.is_error, "{query}: {}", answer.text);
        answer
    }

    fn read(&self, query: &str) -> Answer {
        self.call("query_database", json!({ "query": query }))
    }

    fn pid(&self) -> i64 {
        let answer = self.read("SELECT pg_backend_pid() AS p");
        answer.value().as_i64().unwrap()
    }

    fn end(&self) {
        let request = self.request(Request::new("DELETE", "/mcp/v1"));
        let status = self.server.client().send(&request).unwrap().status;
        assert!((200..300).contains(&status), "{status}");
    }
}

/// A call in the revision that has no sessions.
fn modern(token: &Token, tool: &str, arguments: Value) -> Request {
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": tool, "arguments": arguments, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": { "name": "t", "version": "1" },
            "io.modelcontextprotocol/clientCapabilities": {},
        } } });
    Request::json(&message)
        .bearer(&token.secret)
        .header("MCP-Protocol-Version", "2026-07-28")
        .header("Mcp-Method", "tools/call")
        .header("Mcp-Name", tool)
        .header("Accept", "application/json, text/event-stream")
}

fn answer(response: &Response) -> Answer {
    Answer::read(&response.json())
}

fn send(server: &Server, token: &Token, tool: &str, arguments: Value) -> Answer {
    answer(
        &server
            .client()
            .send(&modern(token, tool, arguments))
            .unwrap(),
    )
}

fn open(server: &Server, token: &Token) -> Answer {
    send(server, token, "open_session", json!({}))
}

fn name(opened: &Answer) -> String {
    assert!(!opened.is_error, "{}", opened.text);
    opened.structured["session"].as_str().unwrap().to_owned()
}

fn within(server: &Server, token: &Token, session: &str, tool: &str, query: &str) -> Answer {
    send(
        server,
        token,
        tool,
        json!({ "query": query, "session": session }),
    )
}

#[test]
fn a_session_of_the_protocol_has_what_its_calls_left_until_it_is_deleted() {
    let mut world = world();
    let token = writer(&mut world);
    let server = world.setup.start();
    let observer = world.observer();
    let (one, other) = (Old::begin(&server, &token), Old::begin(&server, &token));
    one.write("CREATE TEMP TABLE mine AS SELECT 7 AS n");
    one.write("SET my.name = 'x'");
    one.write("PREPARE p AS SELECT n FROM mine");
    let query = "SELECT n, current_setting('my.name') AS s FROM mine";
    assert_eq!(one.read(query).text, "n\ts\n7\tx");
    assert_eq!(one.write("EXECUTE p").structured["rows"], json!([[7]]));
    other.read("SELECT n FROM mine").assert_refused("42P01");
    server
        .query(&token, "SELECT n FROM mine")
        .assert_refused("42P01");
    let clean = other.read("SELECT current_setting('my.name', true) IS NULL AS s");
    assert_eq!(clean.value(), &json!(true));

    let pid = one.pid();
    assert_eq!(one.pid(), pid);
    other.write("CREATE TEMP TABLE mine AS SELECT 8 AS n");
    assert_ne!(other.pid(), pid);
    one.end();
    let took = wait::until("its connection is closed", HANG, || {
        !is_there(&observer, pid)
    });
    assert!(took < WORST, "it took {took:?}");
    assert_eq!(other.read("SELECT n FROM mine").value(), &json!(8));
}

#[test]
fn a_session_by_its_name_is_for_its_token_and_for_calls_that_give_it() {
    let mut world = world();
    let (token, stranger) = (writer(&mut world), writer(&mut world));
    let reader = world.setup.add_token();
    let server = world.setup.start();
    let session = name(&open(&server, &token));
    let call = |tool: &str, query: &str| within(&server, &token, &session, tool, query);
    assert!(!call("execute_write", "CREATE TEMP TABLE mine AS SELECT 7 AS n").is_error);
    assert_eq!(
        call("query_database", "SELECT n FROM mine").value(),
        &json!(7)
    );
    let counted = json!({ "table": "mine", "session": session });
    assert_eq!(
        send(&server, &token, "count_rows", counted).structured["count"],
        json!(1)
    );
    let outside = send(
        &server,
        &token,
        "query_database",
        json!({ "query": "SELECT n FROM mine" }),
    );
    outside.assert_refused("42P01");
    send(
        &server,
        &token,
        "execute_write",
        json!({ "query": "SET my.name = 'x'" }),
    )
    .assert_refused("open_session");
    let foreign = within(&server, &stranger, &session, "query_database", "SELECT 1");
    let unknown = within(
        &server,
        &stranger,
        "session-00",
        "query_database",
        "SELECT 1",
    );
    foreign.assert_refused("this session is not open");
    assert_eq!(foreign.text, unknown.text);
    within(&server, &reader, &session, "query_database", "SELECT 1")
        .assert_refused("this session is not open");
    let message = server
        .client()
        .send(&modern(&reader, "open_session", json!({})))
        .unwrap();
    assert!(
        message.text().contains("unknown tool"),
        "{}",
        message.text()
    );
    let closed = send(
        &server,
        &token,
        "close_session",
        json!({ "session": session }),
    );
    assert_eq!(closed.structured["closed"], json!(true));
    call("query_database", "SELECT 1").assert_refused("this session is not open");
}

#[test]
fn a_revoked_token_loses_its_kept_connections_at_once() {
    let mut world = world();
    let token = writer(&mut world);
    let server = world.setup.start();
    let observer = world.observer();
    let session = name(&open(&server, &token));
    let busy = name(&open(&server, &token));
    let old = Old::begin(&server, &token);
    old.write("SET my.name = 'x'");
    let mut client = server.client();
    let sleep = json!({ "query": "SELECT pg_sleep(60)", "session": busy });
    client
        .send_only(&modern(&token, "query_database", sleep))
        .unwrap();
    wait::until("it runs", HANG, || observer.sleeping_of(&token) == 1);
    assert_eq!(observer.connections_of(&token), 3);
    world.setup.remove_token(&token);
    let took = wait::until("all are closed", HANG, || {
        observer.connections_of(&token) == 0
    });
    assert!(took < WORST, "it took {took:?}");
    let response = server.client().send(&modern(
        &token,
        "query_database",
        json!({ "query": "SELECT 1", "session": session }),
    ));
    assert_eq!(response.unwrap().status, 401);
}

#[test]
fn a_token_whose_rights_were_changed_is_told_what_its_session_has_lost() {
    let mut world = world();
    let token = writer(&mut world);
    let server = world.setup.start();
    let old = Old::begin(&server, &token);
    let (take, give) = (["--access", "read"], ["--access", "write"]);
    for changes in [&[["--schemas", "shop"]][..], &[take, give]] {
        old.write("CREATE TEMP TABLE users AS SELECT 1 AS n");
        assert_eq!(old.read("SELECT count(*) FROM users").value(), &json!(1));
        for change in changes {
            world.edit(&token, change);
        }
        // It was meant for the table of the session, which stands before the one of the shop.
        old.call("execute_write", json!({ "query": "DELETE FROM users" }))
            .assert_refused("what was in the session is gone");
        let count = old.read("SELECT count(*) FROM users");
        assert!(count.value().as_i64() > Some(1), "who was told goes on");
    }
    old.write("CREATE TEMP TABLE users AS SELECT 1 AS n");
    world.edit(&token, &take);
    old.read("SELECT count(*) FROM users")
        .assert_refused("what was in the session is gone");
}

#[test]
fn an_idle_session_ends_and_says_so() {
    let mut world = world();
    world.setup.config["limits"] = json!({ "kept_idle_time": "500ms" });
    let token = writer(&mut world);
    let server = world.setup.start();
    let observer = world.observer();
    let opened = open(&server, &token);
    assert_eq!(opened.structured["idle_seconds"], json!(0.5));
    let session = name(&opened);
    let old = Old::begin(&server, &token);
    old.write("CREATE TEMP TABLE mine AS SELECT 1 AS n");
    wait::until("both are closed", HANG, || {
        observer.connections_of(&token) == 0
    });
    within(&server, &token, &session, "query_database", "SELECT 1")
        .assert_refused("was idle for too long");
    old.read("SELECT n FROM mine")
        .assert_refused("it was not used for 0.5 s");
    old.read("SELECT n FROM mine").assert_refused("42P01");
    old.write("CREATE TEMP TABLE mine AS SELECT 2 AS n");
    assert_eq!(old.read("SELECT n FROM mine").value(), &json!(2));
}

#[test]
fn a_session_of_the_protocol_that_ends_idle_takes_its_connection_with_it() {
    let mut world = world();
    world.setup.config["http"]["session_idle_timeout"] = json!("500ms");
    let token = writer(&mut world);
    let server = world.setup.start();
    let observer = world.observer();
    let old = Old::begin(&server, &token);
    old.write("CREATE TEMP TABLE mine AS SELECT 1 AS n");
    let pid_is_kept = || observer.connections_of(&token) > 0;
    wait::until("it is closed", HANG, || !pid_is_kept());
}

#[test]
fn a_call_that_does_not_end_well_takes_the_session_with_it() {
    let mut world = world();
    world.setup.config["limits"] = json!({ "statement_timeout": "400ms" });
    let token = writer(&mut world);
    let server = world.setup.start();
    let observer = world.observer();
    let old = Old::begin(&server, &token);
    let endless = "SELECT pg_sleep(60)";

    // The statement times out.
    old.write("CREATE TEMP TABLE mine AS SELECT 1 AS n");
    old.read(endless).assert_refused("57014");
    old.read("SELECT n FROM mine")
        .assert_refused("what was in the session is gone");
    old.read("SELECT n FROM mine").assert_refused("42P01");

    // PostgreSQL ends the connection.
    old.write("CREATE TEMP TABLE mine AS SELECT 1 AS n");
    let pid = old.pid();
    observer.run(&format!("select pg_terminate_backend({pid})"));
    wait::until("it is gone", HANG, || !is_there(&observer, pid));
    old.read("SELECT n FROM mine")
        .assert_refused("what was in the session is gone");
}

#[test]
fn a_client_that_hangs_up_takes_the_session_with_it() {
    let mut world = world();
    let token = writer(&mut world);
    let server = world.setup.start();
    let observer = world.observer();
    let session = name(&open(&server, &token));
    let mut client: Client = server.client();
    let sleep = json!({ "query": "SELECT pg_sleep(60)", "session": session });
    client
        .send_only(&modern(&token, "query_database", sleep))
        .unwrap();
    wait::until("it sleeps", HANG, || observer.sleeping_of(&token) == 1);
    client.hang_up();
    wait::until("it is closed", HANG, || {
        observer.connections_of(&token) == 0
    });
    within(&server, &token, &session, "query_database", "SELECT 1")
        .assert_refused("this session is not open");
}

#[test]
fn kept_connections_leave_room_for_other_calls_and_tokens() {
    let mut world = world();
    world.setup.config["limits"] =
        json!({ "max_connections_total": 6, "kept_connections": 2, "connection_wait": "2s" });
    let tokens = [writer(&mut world), writer(&mut world), writer(&mut world)];
    let server = world.setup.start();
    let sessions: Vec<String> = [0, 0, 1]
        .map(|token: usize| name(&open(&server, &tokens[token])))
        .into();
    open(&server, &tokens[0]).assert_refused("may keep 2 connections");
    // Half of six.
    open(&server, &tokens[2]).assert_refused("half of all connections");
    send(
        &server,
        &tokens[2],
        "execute_write",
        json!({ "query": "SET my.name = 'x'" }),
    )
    .assert_refused("open_session");
    std::thread::scope(|scope| {
        for token in &tokens {
            for _ in 0..4 {
                let server = &server;
                scope.spawn(move || {
                    for _ in 0..10 {
                        let query = "SELECT pg_sleep(0.005), 1 AS n";
                        let answer =
                            send(server, token, "query_database", json!({ "query": query }));
                        assert!(!answer.is_error, "{}", answer.text);
                    }
                });
            }
        }
    });
    let closed = json!({ "session": sessions[0] });
    assert!(!send(&server, &tokens[0], "close_session", closed).is_error);
    name(&open(&server, &tokens[2]));
    let query = "SELECT 1 AS n";
    assert!(!within(&server, &tokens[0], &sessions[1], "query_database", query).is_error);
    assert!(!within(&server, &tokens[1], &sessions[2], "query_database", query).is_error);
}

#[test]
fn the_audit_log_tells_which_session_a_call_is_in_and_what_becomes_of_it() {
    let mut world = world();
    let file = world.setup.path().join("audit.jsonl");
    world.setup.config["audit"] = json!({ "file": file });
    let token = writer(&mut world);
    let server = world.setup.start();
    let closed = name(&open(&server, &token));
    let lost = name(&open(&server, &token));
    send(
        &server,
        &token,
        "close_session",
        json!({ "session": closed }),
    );
    let pid = within(
        &server,
        &token,
        &lost,
        "query_database",
        "SELECT pg_backend_pid() AS p",
    );
    let terminate = format!("select pg_terminate_backend({})", pid.value());
    world.observer().run(&terminate);
    let old = Old::begin(&server, &token);
    old.write("CREATE TEMP TABLE mine (a int)");
    old.end();
    let lines = || -> Vec<Value> {
        let text = std::fs::read_to_string(&file).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    };
    let of = |event: &str| -> Vec<Vec<String>> {
        let names: &[&str] = match event {
            "call" => &["tool", "session"],
            _ => &["token", "session", "database", "reason"],
        };
        let of_line = |line: &Value| {
            names
                .iter()
                .map(|name| line[*name].as_str().unwrap().to_owned())
                .collect()
        };
        let lines = lines();
        let lines = lines.iter().filter(|line| line["event"] == event);
        lines.map(of_line).collect()
    };
    wait::until("both losses are told", HANG, || of("state_lost").len() == 2);
    let (closed, lost, old) = (&closed[..16], &lost[..16], &old.id[..16]);
    let mut told = of("state_lost");
    told.sort_by_key(|line| line[3].clone());
    assert_eq!(
        told,
        [
            [&*token.id, lost, "shop", "broken"],
            [&*token.id, old, "shop", "session_over"],
        ]
    );
    assert_eq!(
        of("call"),
        [
            ["open_session", closed],
            ["open_session", lost],
            ["close_session", closed],
            ["query_database", lost],
            ["execute_write", old],
        ]
    );
}
