//! What a change of a token's entry does to running calls, and what use of the token leaves beside its file.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use end_to_end::wait::{self, HANG, WORST};
use end_to_end::{Request, Server, Token};
use rustix::process::Signal;
use serde_json::{Value, json};
use time::OffsetDateTime;
use token_store::{EditError, Secret, TokenFile};

use crate::world::{begin_sleeping, sleep_for, status, three_databases, tools};

#[test]
fn what_gives_leaves_running_calls_alone_and_what_takes_ends_them() {
    let mut world = three_databases();
    let token = world.token(&["--tools", "query_database", "--access", "write"]);
    let server = world.setup.start();
    let observer = world.observer();
    let mut sleeping = begin_sleeping(&world, &server, &token, 3);
    for change in [
        ["--rows", "5"],
        ["--tools", "query_database,count_rows"],
        ["--note", "x"],
        ["--statement-timeout", "20s"],
        ["--connections", "2"],
    ] {
        world.edit(&token, &change);
        assert_eq!(status(&server, &token), 200);
    }
    assert!(sleeping.receive().unwrap().text().contains("done"));
    for change in [["--access", "read"], ["--schemas", "shop"]] {
        world.edit(&token, &["--tools", "query_database,count_rows"]);
        let mut sleeping = begin_sleeping(&world, &server, &token, 30);
        world.edit(&token, &change);
        wait::until("the statement has ended", WORST, || {
            observer.sleeping_of(&token) == 0
        });
        // On 401 clients would give the token up.
        let ended = sleeping.receive().unwrap();
        assert_eq!(ended.status, 503, "{change:?}");
        assert_eq!(ended.header("retry-after"), Some("1"));
        assert!(ended.text().contains("send it again"), "{}", ended.text());
        assert_eq!(status(&server, &token), 200);
    }
}

/// Sends a request, and reads the lines of the stream that answers it.
fn lines_of(server: &Server, request: &Request) -> impl Iterator<Item = String> + use<> {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream
        .write_all(&request.to_bytes(server.address()))
        .unwrap();
    stream.set_read_timeout(Some(HANG)).unwrap();
    BufReader::new(stream).lines().map_while(Result::ok)
}

/// Asks, in the newest revision, to be told of other tools.
fn listen(token: &Token) -> Request {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {}
    });
    let listen = json!({ "jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen",
        "params": { "notifications": { "toolsListChanged": true }, "_meta": meta } });
    Request::json(&listen)
        .bearer(&token.secret)
        .header("MCP-Protocol-Version", "2026-07-28")
        .header("Mcp-Method", "subscriptions/listen")
}

#[test]
fn who_follows_the_list_of_tools_is_told_of_other_ones() {
    let mut world = three_databases();
    let token = world.token(&["--tools", "query_database"]);
    let server = world.setup.start();
    let mut told = lines_of(&server, &listen(&token));
    let mut next = |method| told.by_ref().take(10).any(|line| line.contains(method));
    assert!(next("notifications/subscriptions/acknowledged"));
    for (change, names) in [
        (
            "query_database,count_rows",
            &["query_database", "count_rows"][..],
        ),
        ("count_rows", &["count_rows"]),
    ] {
        world.edit(&token, &["--tools", change]);
        assert!(next("notifications/tools/list_changed"), "{change}");
        let mut listed = tools(&server, &token);
        listed.sort_by_key(|name| *name != "query_database");
        assert_eq!(listed, names);
    }
}

#[test]
fn a_stream_that_a_change_of_rights_ends_tells_of_other_tools_first() {
    let mut world = three_databases();
    let token = world.token(&["--access", "write"]);
    let server = world.setup.start();
    let initialize = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": { "name": "test", "version": "1" } } });
    let opened = server.post(&token, &initialize);
    let session = opened.header("mcp-session-id").unwrap();
    let get = Request::new("GET", "/mcp/v1")
        .bearer(&token.secret)
        .header("Accept", "text/event-stream")
        .header("Mcp-Session-Id", session);
    let changes = [
        ("--access", "read", true),
        ("--schemas", "shop", true),
        ("--set-role", "nobody_there", true),
        ("--allow-from", "192.0.2.1", false),
    ];
    for (option, value, is_told) in changes {
        let streams = [listen(&token), get.clone()].map(|request| {
            let mut lines = lines_of(&server, &request.header("Connection", "close"));
            let begins = |line: &String| line.contains("acknowledged") || line == ": open";
            assert!(lines.by_ref().any(|line| begins(&line)));
            lines
        });
        world.edit(&token, &[option, value]);
        for lines in streams {
            // It has all been said once the stream has ended.
            let rest: Vec<String> = lines.collect();
            let times = rest
                .iter()
                .filter(|line| line.contains("tools/list_changed"));
            assert_eq!(times.count(), usize::from(is_told), "{option}: {rest:?}");
        }
    }
}

#[test]
fn a_tool_that_is_taken_ends_its_own_calls_only() {
    let mut world = three_databases();
    let token = world.token(&[]);
    let server = world.setup.start();
    let observer = world.observer();
    let mut sleeping = begin_sleeping(&world, &server, &token, 3);
    world.edit(&token, &["--tools", "query_database,count_rows"]);
    world.edit(&token, &["--tools", "query_database"]);
    assert_eq!(tools(&server, &token), ["query_database"]);
    assert!(sleeping.receive().unwrap().text().contains("done"));

    let mut sleeping = begin_sleeping(&world, &server, &token, 30);
    world.edit(&token, &["--tools", "count_rows"]);
    let took = wait::until("the statement has ended", HANG, || {
        observer.sleeping_of(&token) == 0
    });
    assert!(took < WORST, "{took:?}");
    let ended = sleeping.receive().unwrap();
    assert_eq!(ended.status, 200);
    assert_eq!(ended.json()["result"]["isError"], true);
    assert!(ended.text().contains("may not use this tool any more"));
    // Once the tool is allowed again, new calls can use it.
    world.edit(&token, &["--tools", "default", "--schemas", "shop"]);
    assert!(!server.query(&token, "SELECT 1").is_error);
}

#[test]
fn an_address_that_is_taken_ends_what_runs_from_it_only() {
    let mut world = three_databases();
    let token = world.token(&[]);
    let server = world.setup.start();
    let observer = world.observer();
    let mut here = begin_sleeping(&world, &server, &token, 4);
    let mut there = server.client().calling_from("127.0.0.2");
    there.send_only(&sleep_for(&token, 30)).unwrap();
    wait::until("both run", HANG, || observer.sleeping_of(&token) == 2);
    world.edit(&token, &["--allow-from", "127.0.0.1"]);
    let took = wait::until("one has ended", HANG, || observer.sleeping_of(&token) == 1);
    assert!(took < WORST, "{took:?}");
    let ended = there.receive().unwrap();
    assert_eq!(ended.status, 403, "{}", ended.text());
    assert!(here.receive().unwrap().text().contains("done"));
    world.edit(
        &token,
        &["--allow-from", "127.0.0.0/8", "--set-role", "default"],
    );
    let again = server
        .client()
        .calling_from("127.0.0.2")
        .send(&sleep_for(&token, 0));
    assert_eq!(again.unwrap().status, 200);
}

#[test]
fn a_rotation_interrupts_nobody_until_the_old_secret_ends() {
    let mut world = three_databases();
    let old = world.token(&[]);
    let mut server = world.setup.start();
    let observer = world.observer();
    let mut sleeping = begin_sleeping(&world, &server, &old, 2);
    let new = Token {
        secret: world
            .run(&["rotate", &old.id, "--grace", "1h"])
            .lines()
            .find_map(|line| line.strip_prefix("Token: ").map(str::to_owned))
            .unwrap(),
        ..old.clone()
    };
    server.keep_secret(&new.secret);
    for token in [&old, &new] {
        assert!(!server.query(token, "SELECT 1").is_error);
    }
    assert!(sleeping.receive().unwrap().text().contains("done"));

    // The old secret expires while a statement runs with each secret.
    let mut with_old = begin_sleeping(&world, &server, &old, 30);
    let mut with_new = begin_sleeping(&world, &server, &new, 6);
    let until = OffsetDateTime::now_utc() + time::Duration::seconds(3);
    TokenFile::new(world.setup.token_file())
        .edit(|draft| {
            let id = old.id.parse().unwrap();
            draft
                .change(&id, |token| token.previous.as_mut().unwrap().until = until)
                .unwrap();
            Ok::<_, EditError>(())
        })
        .unwrap();
    let ended = with_old.receive().unwrap();
    assert_eq!(ended.status, 401);
    assert!(ended.text().contains("expired"), "{}", ended.text());
    assert!(OffsetDateTime::now_utc() < until + time::Duration::seconds(2));
    wait::until("its statement has ended", WORST, || {
        observer.sleeping_of(&old) == 1
    });
    assert_eq!(status(&server, &old), 401);
    assert!(with_new.receive().unwrap().text().contains("done"));
    assert_eq!(status(&server, &new), 200);

    // A call that began before a rotation ends with its secret, too. A second rotation ends the first secret at once,
    // and only that.
    let rotate = |until: OffsetDateTime| {
        let secret = Secret::generate().unwrap();
        let rotated = TokenFile::new(world.setup.token_file()).edit(|draft| {
            draft.rotate(&old.id.parse().unwrap(), &secret, Some(until))?;
            Ok::<_, EditError>(())
        });
        rotated.unwrap();
        Token {
            secret: secret.expose().to_owned(),
            ..old.clone()
        }
    };
    let hour = OffsetDateTime::now_utc() + time::Duration::hours(1);
    let mut with_first = begin_sleeping(&world, &server, &new, 30);
    let second = rotate(hour);
    let mut with_second = begin_sleeping(&world, &server, &second, 30);
    let third = rotate(OffsetDateTime::now_utc() + time::Duration::seconds(3));
    assert_eq!(with_first.receive().unwrap().status, 401);
    wait::until("its statement has ended", WORST, || {
        observer.sleeping_of(&old) == 1
    });
    let mut with_third = begin_sleeping(&world, &server, &third, 4);
    assert_eq!(observer.sleeping_of(&old), 2);
    assert_eq!(with_second.receive().unwrap().status, 401);
    assert!(with_third.receive().unwrap().text().contains("done"));
}

#[test]
fn the_last_use_is_kept_beside_the_token_file() {
    let mut world = three_databases();
    let (used, unused) = (world.token(&[]), world.token(&[]));
    let before = std::fs::read(world.setup.token_file()).unwrap();
    for round in 1..=2 {
        let mut server = world.setup.start();
        let three = "SELECT g FROM generate_series(1, 3) g";
        assert!(!server.query(&used, three).is_error);
        let named = Request::query(&used, three).header("User-Agent", "reports/2.1");
        assert_eq!(server.client().send(&named).unwrap().status, 200);
        server.signal(Signal::TERM);
        assert!(server.wait(HANG).unwrap().success());
        let listed: Value = serde_json::from_str(&world.run(&["list", "--json"])).unwrap();
        let last = |token: &Token| {
            let tokens = listed["tokens"].as_array().unwrap();
            let found = tokens.iter().find(|row| row["id"] == token.id.as_str());
            found.unwrap()["last_used"].clone()
        };
        assert_eq!(last(&used)["address"], "127.0.0.1");
        assert_eq!(last(&used)["client"], "reports/2.1");
        assert_eq!(last(&used)["calls"], 2 * round);
        assert_eq!(last(&used)["rows"], 6 * round);
        assert_eq!(last(&unused), Value::Null);
    }
    assert_eq!(std::fs::read(world.setup.token_file()).unwrap(), before);
    // A broken file is no reason not to serve.
    let usage = format!("{}.usage", world.setup.token_file().display());
    std::fs::remove_file(&usage).unwrap();
    std::fs::create_dir(&usage).unwrap();
    let mut server = world.setup.start();
    assert!(!server.query(&used, "SELECT 1").is_error);
    server.signal(Signal::TERM);
    assert!(server.wait(HANG).unwrap().success());
}
