//! How much a token may use at once, and per minute.

use std::time::{Duration, Instant};

use end_to_end::{
    Request, Token,
    wait::{self, HANG},
};
use serde_json::json;

use crate::world::{begin_sleeping, status, three_databases};

#[test]
fn rows_bytes_and_seconds_are_bounded_and_a_change_is_live() {
    let mut world = three_databases();
    let token = world.token(&[
        "--rows",
        "3",
        "--bytes",
        "2KiB",
        "--statement-timeout",
        "300ms",
    ]);
    let server = world.setup.start();
    let many = "SELECT g FROM generate_series(1, 50) g";
    let answer = server.call(
        &token,
        "query_database",
        json!({ "query": many, "limit": 40 }),
    );
    assert_eq!(answer.structured["row_count"], 3);
    assert_eq!(answer.structured["truncated"], true);
    let wide = server.query(
        &token,
        "SELECT repeat('x', 1000) FROM generate_series(1, 3)",
    );
    assert_eq!(wide.structured["row_count"], 2);
    server
        .query(&token, "SELECT repeat('x', 5000)")
        .assert_refused("a result may have 2048");
    let began = Instant::now();
    server
        .query(&token, "SELECT pg_sleep(20)")
        .assert_refused("57014");
    assert!(began.elapsed() < Duration::from_secs(5));
    world.edit(
        &token,
        &[
            "--rows",
            "default",
            "--statement-timeout",
            "5s",
            "--bytes",
            "default",
        ],
    );
    let answer = server.call(
        &token,
        "query_database",
        json!({ "query": many, "limit": 40 }),
    );
    assert_eq!(answer.structured["row_count"], 40);
    assert!(!server.query(&token, "SELECT pg_sleep(0.6)").is_error);
    // A policy narrows what the server allows; it does not widen it.
    world.edit(&token, &["--rows", "100000"]);
    let too_many = server.call(
        &token,
        "query_database",
        json!({ "query": many, "limit": 100_000 }),
    );
    assert!(too_many.is_error, "{}", too_many.text);
}

#[test]
fn calls_at_once_are_bounded() {
    let mut world = three_databases();
    let (token, other) = (world.token(&["--concurrent", "1"]), world.token(&[]));
    let server = world.setup.start();
    let mut sleeping = begin_sleeping(&world, &server, &token, 2);
    server
        .query(&token, "SELECT 1")
        .assert_refused("runs 1 calls already");
    assert!(!server.query(&other, "SELECT 1").is_error);
    assert!(sleeping.receive().unwrap().text().contains("done"));
    // An answered call makes room at once.
    assert!(!server.query(&token, "SELECT 1").is_error);
}

#[test]
fn connections_are_bounded_and_calls_wait_for_them() {
    let mut world = three_databases();
    let token = world.token(&["--connections", "1"]);
    let server = world.setup.start();
    let observer = world.observer();
    let mut sleeping = begin_sleeping(&world, &server, &token, 2);
    // It has to wait until the only connection is free.
    assert!(!server.query(&token, "SELECT 1").is_error);
    assert_eq!(observer.sleeping_of(&token), 0);
    assert!(sleeping.receive().unwrap().text().contains("done"));
    world.edit(&token, &["--connections", "2"]);
    let mut sleeping = begin_sleeping(&world, &server, &token, 2);
    assert!(!server.query(&token, "SELECT 1").is_error);
    assert_eq!(observer.sleeping_of(&token), 1);
    assert!(sleeping.receive().unwrap().text().contains("done"));
    world.edit(&token, &["--connections", "1"]);
    let mut sleeping = begin_sleeping(&world, &server, &token, 2);
    assert!(!server.query(&token, "SELECT 1").is_error);
    assert_eq!(observer.sleeping_of(&token), 0);
    assert!(sleeping.receive().unwrap().text().contains("done"));
}

#[test]
fn calls_a_minute_are_bounded_and_say_when_to_try_again() {
    let mut world = three_databases();
    world.setup.config["limits"] = json!({ "calls_per_minute": 2 });
    let (own, usual) = (world.token(&["--calls-per-minute", "4"]), world.token(&[]));
    let server = world.setup.start();
    for (token, limit) in [(&own, 4), (&usual, 2)] {
        for _ in 0..limit {
            assert!(!server.query(token, "SELECT 1").is_error);
        }
        server
            .query(token, "SELECT 1")
            .assert_refused(&format!("may make {limit} calls a minute; try again in "));
        // Listing the tools does not count as a call.
        assert_eq!(status(&server, token), 200);
        let read = json!({ "jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": { "uri": "pg://settings" } });
        assert!(server.post(token, &read).text().contains("calls a minute"));
    }
    world.edit(&own, &["--calls-per-minute", "6000"]);
    wait::until("the higher limit is in force", HANG, || {
        !server.query(&own, "SELECT 1").is_error
    });
}

#[test]
fn calls_are_counted_however_they_come() {
    let mut world = three_databases();
    world.setup.config["limits"] = json!({ "calls_per_minute": 3 });
    let tokens: Vec<_> = (0..3).map(|_| world.token(&[])).collect();
    let [batched, rotated, following] = &tokens[..] else {
        unreachable!("three were made")
    };
    let server = world.setup.start();
    let is_refused = |text: &str| text.contains("may make 3 calls a minute");
    let calls = json!([1, 2, 3, 4, 5].map(|id| {
        let mut call = end_to_end::call("query_database", json!({ "query": "SELECT 1" }));
        call["id"] = json!(id);
        call
    }));
    let request = Request::json(&calls)
        .bearer(&batched.secret)
        .header("MCP-Protocol-Version", "2025-03-26");
    let answers = server.client().send(&request).unwrap().json();
    let answers = answers.as_array().unwrap().iter();
    let refused = answers.filter(|answer| is_refused(&answer.to_string()));
    assert_eq!(refused.count(), 2);

    // The old secret and the new one count as one token.
    assert!(!server.query(rotated, "SELECT 1").is_error);
    let said = world.run(&["rotate", &rotated.id]);
    let new = Token::read(&said);
    for token in [rotated, &new] {
        assert!(!server.query(token, "SELECT 1").is_error);
    }
    for token in [rotated, &new] {
        let answer = server.query(token, "SELECT 1");
        assert!(is_refused(&answer.text), "{}", answer.text);
    }

    // Looking at a table counts as a call, and following it does so, too.
    let mut client = server.client();
    let mut ask = |session: &str, method: &str, params: serde_json::Value| {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let request = Request::json(&message).bearer(&following.secret);
        let request = match session {
            "" => request,
            id => request.header("Mcp-Session-Id", id),
        };
        client.send(&request).unwrap()
    };
    let begun = ask(
        "",
        "initialize",
        json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } }),
    );
    let session = begun.header("mcp-session-id").unwrap().to_owned();
    for (table, is_followed) in [
        ("users", true),
        ("orders", true),
        ("products", true),
        ("suppliers", false),
    ] {
        let uri = json!({ "uri": format!("pg://schema/shop/{table}") });
        let answer = ask(&session, "resources/subscribe", uri.clone()).text();
        assert_eq!(is_refused(&answer), !is_followed, "{table}: {answer}");
        // That makes room for another subscription, not for another call.
        let answer = ask(&session, "resources/unsubscribe", uri);
        assert!(answer.json()["result"].is_object(), "{}", answer.text());
    }
}

#[test]
fn bytes_are_bounded_whatever_a_result_is_of() {
    let mut world = three_databases();
    let token = world.token(&["--bytes", "2KiB"]);
    let server = world.setup.start();
    let long = "SELECT * FROM users WHERE name = repeat('x', 3000000)";
    let large = format!("SELECT 1 {}", "UNION ALL SELECT id FROM users ".repeat(30));
    for (query, format, is_whole) in [
        ("SELECT * FROM users", "text", true),
        (long, "text", false),
        (long, "json", false),
        (&large, "text", false),
        (&large, "json", false),
    ] {
        for analyze in [true, false] {
            let given = json!({ "query": query, "analyze": analyze, "format": format });
            let answer = server.call(&token, "execute_explain", given);
            assert!(!answer.is_error, "{}", answer.text);
            let (told, programs) = (answer.text.len(), answer.structured.to_string().len());
            // The plan and the findings in it may each have that many bytes, written as JSON.
            assert!(told < 5_000 && programs < 5_000, "{told}, {programs}");
            let is_cut = answer.text.contains("a result may have 2048 bytes");
            assert_eq!(is_cut, !is_whole, "{query:.60}: {}", answer.text);
            assert!(answer.text.contains(" on shop.users") || format == "json");
        }
    }
    let uri = json!({ "uri": "pg://settings" });
    let read = server.call(&token, "read_resource", uri.clone());
    read.assert_refused("a result may have 2048");
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": uri });
    let read = server.post(&token, &message).text();
    assert!(read.contains("a result may have 2048"), "{read:.300}");
    let uri = json!({ "uri": "pg://schema" });
    assert!(!server.call(&token, "read_resource", uri).is_error);
}
