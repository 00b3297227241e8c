//! Which tools and databases a token has, and from where.

use std::time::Instant;

use end_to_end::wait::{self, HANG, WORST};
use end_to_end::{Answer, Request, Response, list_tools};
use serde_json::{Value, json};

use crate::world::{begin_sleeping, current_user, status, three_databases, tools};

#[test]
fn a_token_sees_and_calls_only_its_tools_in_every_revision() {
    let mut world = three_databases();
    world.setup.config["tools"] = json!({ "enabled": ["execute_write"] });
    let narrow = world.token(&["--tools", "count_rows,list_databases,execute_write"]);
    let reader = world.token(&[]);
    let writer = world.token(&["--access", "write"]);
    let server = world.setup.start();
    // A list of tools allows no more than the access level does.
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
    let mut world = three_databases();
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
        on(json!(database)).assert_refused("may not use a database");
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
    on(json!("other")).assert_refused("may not use a database");
}

#[test]
fn only_what_is_on_a_database_that_a_token_loses_ends() {
    let mut world = three_databases();
    let token = world.token(&[
        "--database",
        "shop",
        "--database",
        "other",
        "--database",
        "third",
    ]);
    let server = world.setup.start();
    let observer = world.observer();
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
    wait::until("both run", HANG, || observer.sleeping_of(&token) == 2);
    quick.send(&on_other("SELECT 1")).unwrap();
    assert_eq!(owned(), 2, "one is busy and one idle");

    world.edit(&token, &["--database", "shop", "--database", "third"]);
    let took = wait::until("its connections are closed", HANG, || owned() == 0);
    assert!(took < WORST, "took {took:?}");
    let told = lost.receive().unwrap();
    assert_eq!(told.status, 200, "{}", told.text());
    Answer::read(&told.json()).assert_refused("may not use database \"other\" any more");
    assert_eq!(observer.sleeping_of(&token), 1);
    let done = kept.receive().unwrap();
    assert!(done.text().contains("done"), "{}", done.text());
    let again = server.client().send(&on_other("SELECT 1")).unwrap();
    Answer::read(&again.json()).assert_refused("it may use shop, third");

    // Putting another database first takes nothing away.
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
fn a_token_is_used_from_its_addresses_only() {
    let mut world = three_databases();
    let token = world.token(&["--allow-from", "192.0.2.0/24,::1"]);
    let server = world.setup.start();
    assert_eq!(status(&server, &token), 403);
    world.edit(&token, &["--allow-from", "127.0.0.0/8"]);
    assert_eq!(status(&server, &token), 200);
    let mut sleeping = begin_sleeping(&world, &server, &token, 30);
    let observer = world.observer();
    world.edit(&token, &["--allow-from", "192.0.2.0/24"]);
    let edited = Instant::now();
    assert_eq!(status(&server, &token), 403);
    wait::until("the statement has ended", WORST, || {
        observer.sleeping_of(&token) == 0
    });
    assert!(edited.elapsed() < WORST, "{:?}", edited.elapsed());
    assert_eq!(sleeping.receive().unwrap().status, 403);
    // A header that anyone can send changes nothing.
    let forged = Request::json(&list_tools())
        .bearer(&token.secret)
        .header("X-Forwarded-For", "192.0.2.1")
        .header("Forwarded", "for=192.0.2.1");
    assert_eq!(server.client().send(&forged).unwrap().status, 403);
}
