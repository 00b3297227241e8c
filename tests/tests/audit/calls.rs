//! The lines for calls and for refused tokens, and what none of them may hold.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use end_to_end::{Conversation, Request, Token, call, wait};
use serde_json::{Value, json};

use crate::world::{LIMIT, World, of, stop};

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
        wait::until("the statement runs", LIMIT, || {
            admin.sleeping_of(token) == 1
        });
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

#[test]
fn calls_whose_request_is_wrong_have_their_lines_too() {
    let world = World::new(json!({}));
    let server = world.setup.start();
    let token = &world.token;
    let meta = json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {} });
    let query = json!({ "name": "query_database", "arguments": { "query": "SELECT 1" } });
    let with = |field: &str, value: Value| {
        let mut params = query.clone();
        params[field] = value;
        params
    };
    for (method, params) in [
        ("tools/call", json!({ "arguments": {} })),
        ("tools/call", json!({ "name": 5 })),
        ("tools/call", with("_meta", json!({ "progressToken": {} }))),
        ("resources/read", json!({})),
        (
            "completion/complete",
            json!({ "ref": { "type": "ref/nothing" } }),
        ),
    ] {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let refused = server.post(token, &request).json();
        assert!(refused["error"].is_object(), "{method}: {refused}");
    }
    let mut forged = with("requestState", json!("of somebody else"));
    forged["_meta"] = meta;
    let call = |params: &Value| json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    let modern = Request::of(token, &call(&forged))
        .header("MCP-Protocol-Version", "2026-07-28")
        .header("Mcp-Method", "tools/call");
    let named = modern.clone().header("Mcp-Name", "query_database");
    let misnamed = modern.header("Mcp-Name", "count_rows");
    let homeless = Request::of(token, &call(&query)).header("Mcp-Session-Id", "of-nobody");
    for request in [named, misnamed, homeless] {
        let refused = server.client().send(&request).unwrap().json();
        assert!(refused["error"].is_object(), "{refused}");
    }
    stop(server);
    let lines = world.lines();
    let told = lines.iter().filter_map(|line| {
        let name = line.get("tool").or(line.get("uri"))?;
        Some((
            line["event"].as_str()?,
            name.as_str()?,
            line["outcome"].as_str()?,
        ))
    });
    let query = ("call", "query_database", "refused");
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            ("call", "", "wrong_arguments"),
            ("call", "", "wrong_arguments"),
            query,
            ("resource", "", "wrong_arguments"),
            (
                "completion",
                "pg://schema/{schema}/{table}",
                "wrong_arguments"
            ),
            query,
            query,
            query,
        ]
    );
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
