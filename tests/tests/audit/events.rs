//! The lines for what happens outside calls: sessions that end, resources that are followed, databases that change.

use std::fs;

use end_to_end::{Request, Token, wait};
use rustix::process::Signal;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::world::{LIMIT, World, of, stop};

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
    // No request arrives at that time.
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
        // A rotation with an hour of grace ends nothing, and a tool that is taken away ends only its calls.
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
