//! What a token's entry says holds from the moment it is saved: each limit, each wall, and each way out of them that was tried.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use end_to_end::{
    Answer, Client, Database, Request, Response, Server, Setup, Sql, Token,
    wait::{self, HANG, WORST},
};
use rustix::process::Signal;
use serde_json::{Value, json};
use time::OffsetDateTime;
use token_store::{EditError, Secret, TokenFile};

struct World {
    database: Database<'static>,
    setup: Setup,
}

impl World {
    fn new() -> Self {
        let database = Database::fresh();
        let entries = [
            database.entry("shop", &database.reader),
            database.entry("other", &database.owner),
            database.entry("third", &database.owner),
        ];
        let setup = Setup::new(entries);
        Self { database, setup }
    }

    fn token(&mut self, options: &[&str]) -> Token {
        self.setup
            .add_token_with(&[&["--expiry", "never"], options].concat())
    }

    fn edit(&self, token: &Token, options: &[&str]) {
        self.run(&[&["edit", &token.id], options].concat());
    }

    fn run(&self, words: &[&str]) -> String {
        let said = self.setup.mcp_token(words);
        assert_eq!(said.code, 0, "{}", said.stderr);
        said.stdout
    }
}

fn sleep_for(token: &Token, seconds: u32) -> Request {
    Request::query(token, &format!("SELECT pg_sleep({seconds}), 'done'"))
}

/// Counts in the world's own database: ids are made from the second, so that another test may have the same.
fn asleep(observer: &Sql, token: &Token) -> usize {
    let sql = format!(
        "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'mcp/{}' and state = 'active' and wait_event = 'PgSleep'",
        token.id
    );
    observer.value(&sql).parse().unwrap()
}

/// Begins a statement that takes long, and waits until PostgreSQL runs it.
fn begin_sleeping(world: &World, server: &Server, token: &Token, seconds: u32) -> Client {
    let observer = world.database.superuser();
    let before = asleep(&observer, token);
    let mut client = server.client();
    client.send_only(&sleep_for(token, seconds)).unwrap();
    wait::until("the statement runs", HANG, || {
        asleep(&observer, token) > before
    });
    client
}

fn status(server: &Server, token: &Token) -> u16 {
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    server.post(token, &list).status
}

fn tools(server: &Server, token: &Token) -> Vec<String> {
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    let listed = server.post(token, &list).json();
    let tools = listed["result"]["tools"].as_array().unwrap().iter();
    tools
        .map(|tool| tool["name"].as_str().unwrap().to_owned())
        .collect()
}

fn refused(answer: &Answer, why: &str) {
    assert!(answer.is_error, "{}", answer.text);
    assert!(answer.text.contains(why), "{}", answer.text);
}

fn current_user(server: &Server, token: &Token) -> Answer {
    server.query(token, "SELECT current_user::text AS u")
}

/// Makes sure that a statement is refused, and that what it was after is not told.
fn refuses(server: &Server, token: &Token, hostile: &str) {
    let answer = server.query(token, hostile);
    assert!(answer.is_error, "{hostile}: {}", answer.text);
    assert!(
        !answer.text.contains("canary"),
        "{hostile}: {}",
        answer.text
    );
}

#[test]
fn a_token_sees_and_calls_only_its_tools_in_every_revision() {
    let mut world = World::new();
    world.setup.config["tools"] = json!({ "enabled": ["execute_write"] });
    let narrow = world.token(&["--tools", "count_rows,list_databases,execute_write"]);
    let reader = world.token(&[]);
    let writer = world.token(&["--access", "write"]);
    let server = world.setup.start();
    // A list allows no more than the access does.
    assert_eq!(tools(&server, &narrow), ["count_rows", "list_databases"]);
    assert!(!tools(&server, &reader).contains(&"execute_write".to_owned()));
    assert!(tools(&server, &writer).contains(&"execute_write".to_owned()));
    let call = |tool: &str, revision: Option<&str>| -> Response {
        let mut params = json!({ "name": tool, "arguments": { "query": "SELECT 1" } });
        if revision == Some("2026-07-28") {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": { "name": "t", "version": "1" },
                "io.modelcontextprotocol/clientCapabilities": {},
            });
        }
        let message =
            json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
        let mut request = Request::json(&message).bearer(&narrow.secret);
        if let Some(revision) = revision {
            request = request
                .header("MCP-Protocol-Version", revision)
                .header("Mcp-Method", "tools/call")
                .header("Mcp-Name", tool)
                .header("Accept", "application/json, text/event-stream");
        }
        server.client().send(&request).unwrap()
    };
    for revision in [
        None,
        Some("2025-03-26"),
        Some("2025-06-18"),
        Some("2025-11-25"),
        Some("2026-07-28"),
    ] {
        for tool in ["query_database", "execute_write", "get_schema_info"] {
            let text = call(tool, revision).text();
            assert!(
                text.contains("unknown tool"),
                "{tool} in {revision:?}: {text}"
            );
        }
    }
    let resources = server.post(
        &narrow,
        &json!({ "jsonrpc": "2.0", "id": 1, "method": "resources/list" }),
    );
    assert_eq!(resources.json()["result"]["resources"], json!([]));
    let read = server.post(&narrow, &json!({ "jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": { "uri": "pg://settings" } }));
    assert!(read.json()["error"].is_object(), "{}", read.text());
}

#[test]
fn a_token_uses_only_its_databases() {
    let mut world = World::new();
    let token = world.token(&["--database", "other", "--database", "shop"]);
    let server = world.setup.start();
    let on = |database: Value| {
        let mut arguments = json!({ "query": "SELECT current_user::text" });
        if !database.is_null() {
            arguments["database"] = database;
        }
        server.call(&token, "query_database", arguments)
    };
    let (owner, reader) = (&world.database.owner.role, &world.database.reader.role);
    assert!(on(Value::Null).text.contains(owner));
    assert!(on(json!("shop")).text.contains(reader));
    for database in ["third", "nowhere", "postgres"] {
        refused(&on(json!(database)), "may not use a database");
    }
    let listed = server.call(&token, "list_databases", json!({}));
    let names: Vec<_> = listed.structured["databases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["name"].clone())
        .collect();
    assert_eq!(names, [json!("other"), json!("shop")]);
    world.edit(&token, &["--database", "shop"]);
    assert!(on(Value::Null).text.contains(reader));
    refused(&on(json!("other")), "may not use a database");
}

#[test]
fn only_what_is_on_a_database_that_a_token_loses_ends() {
    let mut world = World::new();
    let token = world.token(&[
        "--database",
        "shop",
        "--database",
        "other",
        "--database",
        "third",
    ]);
    let server = world.setup.start();
    let observer = world.database.superuser();
    let owned = || {
        let (id, owner) = (&token.id, &world.database.owner.role);
        let sql = format!(
            "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'mcp/{id}' and usename = '{owner}'"
        );
        observer.value(&sql).parse::<usize>().unwrap()
    };
    let on_other = |sql: &str| {
        let arguments = json!({ "query": sql, "database": "other" });
        Request::of(&token, &end_to_end::call("query_database", arguments))
    };
    let mut kept = begin_sleeping(&world, &server, &token, 3);
    let (mut lost, mut quick) = (server.client(), server.client());
    lost.send_only(&on_other("SELECT pg_sleep(25)")).unwrap();
    wait::until("both run", HANG, || asleep(&observer, &token) == 2);
    quick.send(&on_other("SELECT 1")).unwrap();
    assert_eq!(owned(), 2, "one is busy and one idle");

    world.edit(&token, &["--database", "shop", "--database", "third"]);
    let took = wait::until("its connections are closed", HANG, || owned() == 0);
    assert!(took < WORST, "took {took:?}");
    let told = lost.receive().unwrap();
    assert_eq!(told.status, 200, "{}", told.text());
    refused(
        &Answer::read(&told.json()),
        "may not use database \"other\" any more",
    );
    assert_eq!(asleep(&observer, &token), 1);
    let done = kept.receive().unwrap();
    assert!(done.text().contains("done"), "{}", done.text());
    let again = server.client().send(&on_other("SELECT 1")).unwrap();
    refused(&Answer::read(&again.json()), "it may use shop, third");

    // Another one in the first place takes nothing away.
    let mut kept = begin_sleeping(&world, &server, &token, 2);
    world.edit(&token, &["--database", "third", "--database", "shop"]);
    assert!(
        current_user(&server, &token)
            .text
            .contains(&world.database.owner.role)
    );
    let done = kept.receive().unwrap();
    assert!(done.text().contains("done"), "{}", done.text());
}

#[test]
fn rows_bytes_and_seconds_are_bounded_and_a_change_is_live() {
    let mut world = World::new();
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
    refused(
        &server.query(&token, "SELECT repeat('x', 5000)"),
        "a result may have 2048",
    );
    let began = Instant::now();
    refused(&server.query(&token, "SELECT pg_sleep(20)"), "57014");
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
    let mut world = World::new();
    let (token, other) = (world.token(&["--concurrent", "1"]), world.token(&[]));
    let server = world.setup.start();
    let mut sleeping = begin_sleeping(&world, &server, &token, 2);
    refused(&server.query(&token, "SELECT 1"), "runs 1 calls already");
    assert!(!server.query(&other, "SELECT 1").is_error);
    assert!(sleeping.receive().unwrap().text().contains("done"));
    // An answered call makes room at once.
    assert!(!server.query(&token, "SELECT 1").is_error);
}

#[test]
fn connections_are_bounded_and_calls_wait_for_them() {
    let mut world = World::new();
    let token = world.token(&["--connections", "1"]);
    let server = world.setup.start();
    let observer = world.database.superuser();
    let mut sleeping = begin_sleeping(&world, &server, &token, 2);
    // It has to wait until the only connection is free.
    assert!(!server.query(&token, "SELECT 1").is_error);
    assert_eq!(asleep(&observer, &token), 0);
    assert!(sleeping.receive().unwrap().text().contains("done"));
    world.edit(&token, &["--connections", "2"]);
    let mut sleeping = begin_sleeping(&world, &server, &token, 2);
    assert!(!server.query(&token, "SELECT 1").is_error);
    assert_eq!(asleep(&observer, &token), 1);
    assert!(sleeping.receive().unwrap().text().contains("done"));
    world.edit(&token, &["--connections", "1"]);
    let mut sleeping = begin_sleeping(&world, &server, &token, 2);
    assert!(!server.query(&token, "SELECT 1").is_error);
    assert_eq!(asleep(&observer, &token), 0);
    assert!(sleeping.receive().unwrap().text().contains("done"));
}

#[test]
fn calls_a_minute_are_bounded_and_say_when_to_try_again() {
    let mut world = World::new();
    world.setup.config["limits"] = json!({ "calls_per_minute": 2 });
    let (own, usual) = (world.token(&["--calls-per-minute", "4"]), world.token(&[]));
    let server = world.setup.start();
    for (token, limit) in [(&own, 4), (&usual, 2)] {
        for _ in 0..limit {
            assert!(!server.query(token, "SELECT 1").is_error);
        }
        refused(
            &server.query(token, "SELECT 1"),
            &format!("may make {limit} calls a minute; try again in "),
        );
        // Listing is no call.
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
fn a_token_is_used_from_its_addresses_only() {
    let mut world = World::new();
    let token = world.token(&["--allow-from", "192.0.2.0/24,::1"]);
    let server = world.setup.start();
    assert_eq!(status(&server, &token), 403);
    world.edit(&token, &["--allow-from", "127.0.0.0/8"]);
    assert_eq!(status(&server, &token), 200);
    let mut sleeping = begin_sleeping(&world, &server, &token, 30);
    let observer = world.database.superuser();
    world.edit(&token, &["--allow-from", "192.0.2.0/24"]);
    let edited = Instant::now();
    assert_eq!(status(&server, &token), 403);
    wait::until("the statement has ended", WORST, || {
        asleep(&observer, &token) == 0
    });
    assert!(edited.elapsed() < WORST, "{:?}", edited.elapsed());
    assert_eq!(sleeping.receive().unwrap().status, 403);
    // Not a header that anyone can send.
    let forged = Request::json(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }))
        .bearer(&token.secret)
        .header("X-Forwarded-For", "192.0.2.1")
        .header("Forwarded", "for=192.0.2.1");
    assert_eq!(server.client().send(&forged).unwrap().status, 403);
}

#[test]
fn what_gives_leaves_running_calls_alone_and_what_takes_ends_them() {
    let mut world = World::new();
    let token = world.token(&["--tools", "query_database", "--access", "write"]);
    let server = world.setup.start();
    let observer = world.database.superuser();
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
            asleep(&observer, &token) == 0
        });
        // 401 would have clients take the token for lost.
        let ended = sleeping.receive().unwrap();
        assert_eq!(ended.status, 503, "{change:?}");
        assert_eq!(ended.header("retry-after"), Some("1"));
        assert!(ended.text().contains("send it again"), "{}", ended.text());
        assert_eq!(status(&server, &token), 200);
    }
}

#[test]
fn a_tool_that_is_taken_ends_its_own_calls_only() {
    let mut world = World::new();
    let token = world.token(&[]);
    let server = world.setup.start();
    let observer = world.database.superuser();
    let mut sleeping = begin_sleeping(&world, &server, &token, 3);
    world.edit(&token, &["--tools", "query_database,count_rows"]);
    world.edit(&token, &["--tools", "query_database"]);
    assert_eq!(tools(&server, &token), ["query_database"]);
    assert!(sleeping.receive().unwrap().text().contains("done"));

    let mut sleeping = begin_sleeping(&world, &server, &token, 30);
    world.edit(&token, &["--tools", "count_rows"]);
    let took = wait::until("the statement has ended", HANG, || {
        asleep(&observer, &token) == 0
    });
    assert!(took < WORST, "{took:?}");
    let ended = sleeping.receive().unwrap();
    assert_eq!(ended.status, 200);
    assert_eq!(ended.json()["result"]["isError"], true);
    assert!(ended.text().contains("may not use this tool any more"));
    // Given back, it is there for calls of now.
    world.edit(&token, &["--tools", "default", "--schemas", "shop"]);
    assert!(!server.query(&token, "SELECT 1").is_error);
}

#[test]
fn an_address_that_is_taken_ends_what_runs_from_it_only() {
    let mut world = World::new();
    let token = world.token(&[]);
    let server = world.setup.start();
    let observer = world.database.superuser();
    let mut here = begin_sleeping(&world, &server, &token, 4);
    let mut there = server.client().calling_from("127.0.0.2");
    there.send_only(&sleep_for(&token, 30)).unwrap();
    wait::until("both run", HANG, || asleep(&observer, &token) == 2);
    world.edit(&token, &["--allow-from", "127.0.0.1"]);
    let took = wait::until("one has ended", HANG, || asleep(&observer, &token) == 1);
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
    let mut world = World::new();
    let old = world.token(&[]);
    let mut server = world.setup.start();
    let observer = world.database.superuser();
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

    // The end of the old secret by its time, while a statement runs with each.
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
        asleep(&observer, &old) == 1
    });
    assert_eq!(status(&server, &old), 401);
    assert!(with_new.receive().unwrap().text().contains("done"));
    assert_eq!(status(&server, &new), 200);

    // What began before a rotation has the end of its secret, too, and a second rotation ends the first one alone.
    let rotate = |until: OffsetDateTime| {
        let secret = Secret::generate().unwrap();
        let rotated = TokenFile::new(world.setup.token_file()).edit(|draft| {
            draft.rotate(&old.id.parse().unwrap(), &secret, Some(until));
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
    let mut with_third = begin_sleeping(&world, &server, &third, 4);
    assert_eq!(with_first.receive().unwrap().status, 401);
    assert_eq!(asleep(&observer, &old), 2);
    assert_eq!(with_second.receive().unwrap().status, 401);
    assert!(with_third.receive().unwrap().text().contains("done"));
}

#[test]
fn a_set_role_cannot_be_left_by_any_statement() {
    let mut world = World::new();
    let admin = world.database.superuser();
    let (analyst, login) = (
        format!("{}_analyst", world.database.name),
        world.database.reader.role.clone(),
    );
    admin.run(&format!(
        "create role {analyst} nologin; grant {analyst} to {login};
         grant usage on schema shop to {analyst};
         create table shop.plain as select 7 as a; grant select on shop.plain to {analyst};
         create table shop.hidden as select 'canary' as secret; grant select on shop.hidden to {login}"
    ));
    let token = world.token(&["--set-role", &analyst]);
    let server = world.setup.start();
    for _ in 0..2 {
        assert!(current_user(&server, &token).text.contains(&analyst));
    }
    assert!(!server.query(&token, "SELECT a FROM shop.plain").is_error);
    refused(&server.query(&token, "SELECT * FROM shop.hidden"), "42501");
    for hostile in [
        "SELECT set_config('role', 'none', false)",
        "SELECT pg_catalog.set_config('role', session_user, true), * FROM shop.hidden",
        "SELECT \"set_config\"('role', 'none', true)",
        "SELECT SET_CONFIG ('role', 'none', true)",
        "WITH x AS MATERIALIZED (SELECT set_config('role','none',true)) SELECT * FROM x, shop.hidden",
        "SELECT query_to_xml('select set_config(''role'', ''none'', true)', true, true, '')",
        "SELECT U&\"set\\005fconfig\"('role', 'none', true)",
        "RESET ROLE",
        "SET ROLE NONE",
        "SET LOCAL ROLE NONE",
        "SET SESSION AUTHORIZATION DEFAULT",
        "RESET ALL",
        "DISCARD ALL",
        "ROLLBACK; SELECT * FROM shop.hidden",
        "COMMIT",
        "SELECT 1; RESET ROLE",
        "DO $$ BEGIN RESET ROLE; END $$",
        "EXPLAIN ANALYZE SELECT * FROM shop.hidden",
        "SELECT * FROM pg_options_to_table(ARRAY['role=none']), shop.hidden",
        "SELECT 1 FROM shop.hidden WHERE current_setting('role') = 'none'",
    ] {
        refuses(&server, &token, hostile);
        assert!(
            current_user(&server, &token).text.contains(&analyst),
            "{hostile}"
        );
    }
    for (tool, arguments) in [
        ("count_rows", json!({ "table": "hidden", "schema": "shop" })),
        (
            "execute_explain",
            json!({ "query": "SELECT * FROM shop.hidden" }),
        ),
    ] {
        let answer = server.call(&token, tool, arguments);
        assert!(answer.is_error, "{tool}: {}", answer.text);
    }
    let schema = server.call(&token, "get_schema_info", json!({}));
    assert!(!schema.text.contains("hidden"), "{}", schema.text);

    // What is not there, or not granted, is an error and never the role that is logged in.
    for missing in ["no_such_role", world.database.owner.role.as_str()] {
        world.edit(&token, &["--set-role", missing]);
        let answer = current_user(&server, &token);
        assert!(
            answer.is_error && !answer.text.contains(&login),
            "{}",
            answer.text
        );
    }
    admin.run(&format!("revoke {analyst} from {login}"));
    world.edit(&token, &["--set-role", &analyst]);
    refused(&current_user(&server, &token), "42501");
    admin.run(&format!("drop table shop.hidden, shop.plain; revoke all on schema shop from {analyst}; drop role {analyst}"));
}

#[test]
fn a_token_with_a_list_of_schemas_reads_no_table_of_another() {
    let mut world = World::new();
    let admin = world.database.superuser();
    let reader = world.database.reader.role.clone();
    admin.run(&format!(
        "create schema secret; grant usage on schema secret, public to {reader};
         create table secret.t as select 'canary' as word, 1 as a; analyze secret.t;
         create view public.over_secret as select * from secret.t;
         create view public.over_shop as select count(*) as n from shop.orders;
         create table public.own as select 1 as a;
         create table public.parent (a int) partition by list (a);
         create table public.part partition of public.parent for values in (1);
         grant select on secret.t, public.over_secret, public.over_shop, public.own, public.parent to {reader};
         grant select on secret.t to {reader}"
    ));
    let token = world.token(&["--schemas", "public,shop"]);
    let free = world.token(&[]);
    let server = world.setup.start();
    assert!(
        server
            .query(&free, "SELECT * FROM secret.t")
            .text
            .contains("canary")
    );
    for allowed in [
        "SELECT * FROM own",
        "SELECT * FROM public.own, shop.orders LIMIT 1",
        "SELECT * FROM over_shop",
        "SELECT * FROM parent",
        "SELECT 1",
        "SELECT relname FROM pg_class LIMIT 1",
        "SELECT table_name FROM information_schema.tables LIMIT 1",
        "WITH secret AS (SELECT 1 AS t) SELECT t FROM secret",
        "SELECT 'secret.t'",
    ] {
        let answer = server.query(&token, allowed);
        assert!(!answer.is_error, "{allowed}: {}", answer.text);
    }
    for hostile in [
        "SELECT * FROM secret.t",
        "TABLE secret.t",
        "SELECT * FROM \"secret\".\"t\"",
        "SELECT (SELECT word FROM secret.t)",
        "SELECT 1 WHERE EXISTS (SELECT FROM secret.t WHERE word LIKE 'c%')",
        "WITH x AS (SELECT * FROM secret.t) SELECT 1",
        "SELECT 1 FROM own LEFT JOIN secret.t USING (a)",
        "SELECT 1 FROM secret.t WHERE false",
        "SELECT CAST((SELECT word FROM secret.t) AS int)",
        "SELECT 1 / (SELECT 0 FROM secret.t)",
        "SELECT * FROM over_secret",
        "SELECT (r).word FROM (SELECT t AS r FROM secret.t t) q",
        "SELECT 1 UNION ALL SELECT a FROM secret.t",
        "SELECT most_common_vals, histogram_bounds FROM pg_stats",
        "SELECT * FROM pg_catalog.pg_stats_ext",
        "SELECT query FROM pg_stat_activity",
        "SELECT query_to_xml('select * from secret.t', true, true, '')",
        "SELECT set_config('mcp.schemas', '', true)",
        "SELECT 1; SELECT * FROM secret.t",
    ] {
        refuses(&server, &token, hostile);
    }
    refused(
        &server.query(&token, "SELECT * FROM secret.t"),
        "may not use secret.t; it may use the schemas public, shop",
    );
    for (tool, arguments) in [
        ("count_rows", json!({ "table": "t", "schema": "secret" })),
        (
            "count_rows",
            json!({ "table": "t", "schema": "secret", "estimate": true }),
        ),
        (
            "execute_explain",
            json!({ "query": "SELECT * FROM secret.t" }),
        ),
    ] {
        let answer = server.call(&token, tool, arguments);
        assert!(answer.is_error, "{tool}: {}", answer.text);
    }
    for (arguments, there) in [
        (json!({}), true),
        (json!({ "schema_name": "secret" }), false),
    ] {
        let answer = server.call(&token, "get_schema_info", arguments);
        assert!(!answer.text.contains("secret.t"), "{}", answer.text);
        assert_eq!(answer.text.contains("orders"), there, "{}", answer.text);
    }
    let read = |uri: &str| {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": { "uri": uri } });
        server.post(&token, &message).text()
    };
    assert!(read("pg://schema").contains("orders") && !read("pg://schema").contains("secret.t"));
    assert!(!read("pg://schema/secret/t").contains("word"));
    assert!(
        read("pg://schema/shop/orders").contains("placed")
            || read("pg://schema/shop/orders").contains("column")
    );
}

#[test]
fn show_effective_tells_what_a_token_can_and_can_not_do() {
    let mut world = World::new();
    world.setup.config["tools"] = json!({ "enabled": ["execute_write"] });
    let admin = world.database.superuser();
    let reader = world.database.reader.role.clone();
    admin.run(&format!("create table public.own as select 1 as a; create table shop.hidden as select 1 as a; grant usage on schema public to {reader}; grant select on public.own to {reader}"));
    let token = world.token(&[
        "--tools",
        "query_database,count_rows",
        "--schemas",
        "shop,misspelt",
        "--rows",
        "7",
        "--concurrent",
        "1000",
        "--allow-from",
        "10.0.0.0/8",
        "--database",
        "shop",
    ]);
    let words = ["show", &token.id, "--effective"];
    let text = world.run(&words);
    for expected in [
        "Policy: access read; tools query_database, count_rows",
        "Tools: query_database, count_rows\n",
        "Tools that it can NOT use: get_schema_info, ",
        "Databases that it can NOT use: other, third\n",
        "rows 7; bytes 1048576; statement_timeout_ms 30000; concurrent 256; calls_per_minute unlimited; connections 4",
        "It can NOT be used but from 10.0.0.0/8",
        "shop.orders",
        "  It uses the schemas: shop\n",
        "  Schemas that it can NOT use: public\n",
        "  Schemas that it names and that do not exist: misspelt\n",
        "  It can NOT change any rows\n",
        "  It can NOT read 2 tables: public.own, shop.hidden\n",
    ] {
        assert!(text.contains(expected), "{expected} is not in:\n{text}");
    }
    assert!(text.contains(&format!("as {reader}:")), "{text}");
    let json: Value =
        serde_json::from_str(&world.run(&[&words[..], &["--json"]].concat())).unwrap();
    assert_eq!(json["id"], token.id.as_str());
    assert_eq!(json["effective"]["limits"]["rows"], 7);
    assert_eq!(
        json["effective"]["databases"][0]["refused"],
        json!(["public.own", "shop.hidden"])
    );
    assert_eq!(
        json["effective"]["databases"][0]["schemas_missing"],
        json!(["misspelt"])
    );
    let owner = &world.database.owner;
    let password = world.setup.file("owner.password", &owner.password);
    let wide = ["--role", &owner.role, "--role-password-file"];
    world.edit(&token, &[&wide[..], &[password.to_str().unwrap()]].concat());
    world.edit(&token, &["--schemas", "default", "--tools", "default"]);
    world.edit(&token, &["--access", "write"]);
    admin.run("drop table public.own, shop.hidden");
    let text = world.run(&words);
    for expected in [
        "  There is no table that it can NOT read\n",
        "and not all statements of this token are read-only\n",
    ] {
        assert!(text.contains(expected), "{expected} is not in:\n{text}");
    }
    world.edit(&token, &["--set-role", "no_such_role"]);
    let text = world.run(&words);
    assert!(
        text.contains("Database shop can NOT be used: ERROR: the role \"no_such_role\""),
        "{text}"
    );
    world.setup.expire_at(&token, 1_700_000_000);
    let text = world.run(&words);
    assert!(
        text.contains("It has expired and can NOT be used at all"),
        "{text}"
    );
    let said = world.setup.mcp_token(&["show", "nobody", "--effective"]);
    assert_eq!(said.code, 1, "{}", said.stderr);
    assert!(
        said.stderr.contains("no token has this id"),
        "{}",
        said.stderr
    );
}

#[test]
fn a_role_of_a_tokens_own_is_made_with_no_more_rights_than_it_needs() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    let admin = world.database.role("admin", "superuser");
    let words = [
        "add",
        "--expiry",
        "90d",
        "--schemas",
        "shop",
        "--connections",
        "2",
        "--database",
        "shop",
        "--create-role",
    ];
    let apply = |world: &World, password: &str| {
        let mut command = world
            .setup
            .command("mcp-token", &[&words[..], &["--apply"]].concat());
        command
            .env("PGUSER", &admin.role)
            .env("PGPASSWORD", password);
        end_to_end::binaries::run(command)
    };
    let failed = apply(&world, "wrong");
    assert_eq!(failed.code, 1);
    assert!(
        failed.stderr.contains("the token was removed again"),
        "{}",
        failed.stderr
    );
    assert!(world.run(&["list"]).contains("Total tokens: 0"));
    let roles = std::path::PathBuf::from(format!("{}.roles", world.setup.token_file().display()));
    assert_eq!(std::fs::read_dir(&roles).unwrap().count(), 0);

    let said = apply(&world, &admin.password);
    assert_eq!(said.code, 0, "{}", said.stderr);
    let token = Token::read(&said.stdout);
    let role = format!("mcp_{}", token.id.replace('-', "_"));
    let file = roles.join(format!("{role}.password"));
    let password = std::fs::read_to_string(&file).unwrap();
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(!said.stdout.contains(password.trim()));
    let observer = world.database.superuser();
    let attributes = format!(
        "select concat_ws(' ', rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls, rolinherit, rolconnlimit, rolvaliduntil > now() + interval '89 days', rolvaliduntil < now() + interval '91 days') from pg_roles where rolname = '{role}'"
    );
    assert_eq!(observer.value(&attributes), "f f f f f f 2 t t");
    let stored = format!(
        "select rolpassword like 'SCRAM-SHA-256$%' from pg_authid where rolname = '{role}'"
    );
    assert_eq!(observer.value(&stored), "t");
    let mut server = world.setup.start();
    server.keep_secret(password.trim());
    assert!(current_user(&server, &token).text.contains(&role));
    assert!(
        !server
            .query(&token, "SELECT * FROM orders LIMIT 1")
            .is_error
    );
    let rights = format!(
        "select count(*) from information_schema.role_table_grants where grantee = '{role}' and privilege_type <> 'SELECT'"
    );
    assert_eq!(observer.value(&rights), "0");

    // Printed, the same holds for another token, and nothing is made.
    let printed = world.run(&[&words[..], &["--access", "write", "--json"]].concat());
    let printed: Value = serde_json::from_str(&printed).unwrap();
    let sql = printed["create_role"].as_str().unwrap();
    let other = printed["policy"]["role"]["user"].as_str().unwrap();
    assert_ne!(other, role);
    for expected in [
        format!("CREATE ROLE {other} LOGIN NOSUPERUSER"),
        "CONNECTION LIMIT 2 VALID UNTIL '".into(),
        format!(
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA \"shop\" TO {other};"
        ),
        "PASSWORD 'SCRAM-SHA-256$".into(),
    ] {
        assert!(sql.contains(&expected), "{expected} is not in:\n{sql}");
    }
    let exists = format!("select count(*) from pg_roles where rolname = '{other}'");
    assert_eq!(observer.value(&exists), "0");
    let script = world.setup.file("role.sql", sql);
    let done = std::process::Command::new("psql")
        .args([
            "-X",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            &world.database.postgres.host,
            "-p",
            &world.database.postgres.port.to_string(),
        ])
        .args(["-d", "postgres", "-f", script.to_str().unwrap()])
        .env("PGUSER", &admin.role)
        .env("PGPASSWORD", &admin.password)
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    assert_eq!(observer.value(&exists), "1");
    drop(server);
    for role in [role.as_str(), other] {
        observer.run(&format!("drop owned by {role}; drop role {role}"));
    }
}

#[test]
fn a_token_logs_in_with_credentials_of_its_own_or_not_at_all() {
    let mut world = World::new();
    let own = world.database.role("own", "");
    let (name, role) = (&world.database.name, &own.role);
    let admin = world.database.superuser();
    admin.run(&format!("grant connect on database {name} to {role}"));
    let password = world
        .setup
        .file("own.password", &format!("{}\n", own.password));
    let password = password.to_str().unwrap().to_owned();
    let token = world.token(&["--role", &own.role, "--role-password-file", &password]);
    let mut server = world.setup.start();
    server.keep_secret(&own.password);
    assert!(current_user(&server, &token).text.contains(&own.role));
    let session = server.query(&token, "SELECT session_user::text");
    assert!(session.text.contains(&own.role));
    for (change, code) in [
        (["--role-password-file", "/nowhere/password"], 503),
        (["--role-password-env", "NOT_SET_ANYWHERE"], 503),
    ] {
        world.edit(&token, &change);
        let query = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
        let response = server.post(&token, &query);
        assert_eq!(response.status, code, "{}", response.text());
        assert!(!response.text().contains("nowhere"), "{}", response.text());
    }
    // Without a password there is none, not that of the configured role.
    world.edit(&token, &["--role-password-env", "default"]);
    let answer = current_user(&server, &token);
    assert!(
        answer.is_error && answer.text.contains("28P01"),
        "{}",
        answer.text
    );
    world.edit(&token, &["--role", "default"]);
    assert!(
        current_user(&server, &token)
            .text
            .contains(&world.database.reader.role)
    );
}

#[test]
fn the_last_use_is_kept_beside_the_token_file() {
    let mut world = World::new();
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
