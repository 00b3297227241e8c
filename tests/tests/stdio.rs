//! Without `-http` the server speaks MCP over standard input and output.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use end_to_end::{Answer, Conversation, Database, Setup, call, wait};
use serde_json::{Value, json};

fn setup(database: &Database<'_>) -> Setup {
    let mut setup = Setup::new([database.entry("shop", &database.reader)]);
    setup.config["http"] = json!({ "enabled": false });
    setup
}

fn begin(setup: &Setup) -> Conversation {
    let mut server = Conversation::start(setup);
    server.initialize("2025-06-18", &json!({}));
    server
}

fn query(server: &mut Conversation, id: u32, sql: &str) {
    server.request(
        id,
        "tools/call",
        called("query_database", json!({ "query": sql })),
    );
}

fn called(tool: &str, arguments: Value) -> Value {
    call(tool, arguments)["params"].take()
}

#[test]
fn a_query_is_answered_without_a_token() {
    let database = Database::fresh();
    let setup = setup(&database);
    let mut server = begin(&setup);
    query(&mut server, 1, "SELECT count(*) FROM users");
    let answer = Answer::read(&server.receive());
    assert_eq!(answer.value(), 1000);
}

#[test]
fn a_garbage_line_ends_nothing() {
    let database = Database::fresh();
    let setup = setup(&database);
    let mut server = begin(&setup);
    server.send("this is not json");
    query(&mut server, 1, "SELECT 1");
    // The garbage may be answered by an error, which has no id, or by nothing.
    let mut message = server.receive();
    if message["id"].is_null() {
        assert_eq!(message["error"]["code"], -32700, "{message}");
        message = server.receive();
    }
    assert_eq!(Answer::read(&message).value(), 1);
}

#[test]
fn requests_run_at_the_same_time() {
    let database = Database::fresh();
    let setup = setup(&database);
    let mut server = begin(&setup);
    query(&mut server, 1, "SELECT pg_sleep(2), 'slow'");
    query(&mut server, 2, "SELECT 'quick'");
    assert_eq!(server.receive()["id"], 2);
    assert_eq!(server.receive()["id"], 1);
}

#[test]
fn a_cancelled_request_is_cancelled_in_postgresql() {
    let database = Database::fresh();
    let observer = database.superuser();
    let setup = setup(&database);
    let mut server = begin(&setup);
    query(&mut server, 7, "SELECT pg_sleep(25)");
    let running = || {
        let sql = "select count(*) from pg_stat_activity where datname = current_database() and state = 'active' and query like '%pg_sleep(25)%' and pid <> pg_backend_pid()";
        observer.value(sql) == "1"
    };
    wait::until("the statement runs", Duration::from_secs(10), running);
    server.send(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#);
    let took = wait::until(
        "the statement is cancelled",
        Duration::from_secs(10),
        || !running(),
    );
    assert!(took < Duration::from_secs(1), "took {took:?}");
}

#[test]
fn the_end_of_input_ends_the_server() {
    let database = Database::fresh();
    let setup = setup(&database);
    let mut server = begin(&setup);
    query(&mut server, 1, "SELECT 1");
    server.receive();
    assert_eq!(server.end().code(), Some(0));
}

#[test]
fn a_stopped_server_answers_what_runs_and_cancels_its_statement() {
    let database = Database::fresh();
    let observer = database.superuser();
    let setup = setup(&database);
    let mut server = begin(&setup);
    query(&mut server, 1, "SELECT pg_sleep(25)");
    let running = || {
        let sql = "select count(*) from pg_stat_activity where datname = current_database() and state = 'active' and query like '%pg_sleep(25)%' and pid <> pg_backend_pid()";
        observer.value(sql) == "1"
    };
    wait::until("the statement runs", Duration::from_secs(10), running);
    let begun = Instant::now();
    server.terminate();
    let answer = server.receive();
    let told = answer["error"]["message"].as_str().unwrap();
    assert!(told.starts_with("the server stops"), "{answer}");
    assert_eq!(server.wait().code(), Some(0));
    // Clients kill a server two seconds after telling it to stop.
    assert!(begun.elapsed() < Duration::from_secs(2));
    wait::until("it is cancelled", Duration::from_secs(1), || !running());
}

const USERS: &str = "pg://schema/shop/users";
const ORDERS: &str = "pg://schema/shop/orders";

#[test]
fn a_change_of_a_table_is_told_to_who_subscribed_to_it() {
    let database = Database::fresh();
    let owner = database.superuser();
    let mut setup = setup(&database);
    setup.config["limits"] = json!({ "follow_interval": "20ms" });
    let mut server = begin(&setup);
    let answer = server.ask(1, "resources/subscribe", json!({ "uri": USERS }));
    assert_eq!(answer["result"], json!({}));
    owner.run(
        "ALTER TABLE shop.orders ADD COLUMN other int; ALTER TABLE shop.users ADD COLUMN fresh int",
    );
    let told = server.receive();
    assert_eq!(
        (&told["method"], &told["params"]["uri"]),
        (&json!("notifications/resources/updated"), &json!(USERS))
    );
    let read = server.ask(2, "resources/read", json!({ "uri": USERS }));
    assert!(
        read["result"]["contents"][0]["text"]
            .as_str()
            .unwrap()
            .contains("\"fresh\""),
        "{read}"
    );
    server.ask(3, "resources/subscribe", json!({ "uri": ORDERS }));
    server.ask(4, "resources/unsubscribe", json!({ "uri": USERS }));
    owner
        .run("ALTER TABLE shop.users DROP COLUMN fresh; ALTER TABLE shop.orders DROP COLUMN other");
    // A notification of the first change would come with that of the second, or before it.
    assert_eq!(server.receive()["params"]["uri"], ORDERS);
    server.ask(5, "ping", json!({}));
}

#[test]
fn a_stream_of_the_newest_revision_tells_it_too() {
    let database = Database::fresh();
    let owner = database.superuser();
    let mut setup = setup(&database);
    setup.config["limits"] = json!({ "follow_interval": "20ms" });
    let mut server = Conversation::start(&setup);
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {}
    });
    let params = json!({ "notifications": { "resourceSubscriptions": [USERS, "pg://schema"] }, "_meta": meta });
    server.request(1, "subscriptions/listen", params);
    assert_eq!(
        server.receive()["method"],
        "notifications/subscriptions/acknowledged"
    );
    // Nothing is told of a table that the role may not read.
    owner.run("CREATE TABLE shop.fresh (a int); GRANT SELECT ON shop.fresh TO PUBLIC");
    assert_eq!(server.receive()["params"]["uri"], "pg://schema");
}

#[test]
fn a_prompt_needs_its_required_arguments_and_a_table_is_completed() {
    let database = Database::fresh();
    let setup = setup(&database);
    let mut server = begin(&setup);
    let names = server.ask(1, "prompts/list", json!({}));
    assert_eq!(names["result"]["prompts"].as_array().unwrap().len(), 4);
    for arguments in [json!({}), json!({ "requirements": " " })] {
        let params = json!({ "name": "design-schema", "arguments": arguments });
        assert_eq!(
            server.ask(2, "prompts/get", params)["error"]["code"],
            -32602
        );
    }
    let params = json!({ "name": "design-schema", "arguments": { "requirements": "a library" } });
    let text = server.ask(3, "prompts/get", params);
    let text = text["result"]["messages"][0]["content"]["text"]
        .as_str()
        .unwrap();
    assert!(text.contains("for this: a library"), "{text}");

    let params = json!({
        "ref": { "type": "ref/resource", "uri": "pg://schema/{schema}/{table}" },
        "argument": { "name": "table", "value": "us" },
        "context": { "arguments": { "schema": "shop" } }
    });
    let completed = server.ask(4, "completion/complete", params);
    assert_eq!(
        completed["result"]["completion"]["values"],
        json!(["users"])
    );
    let unknown = server.ask(5, "resources/read", json!({ "uri": "pg://nothing" }));
    assert_eq!(unknown["error"]["code"], -32002);
}

fn custom_tool(name: &str, sql: &str) -> String {
    format!(
        "tools:\n  - name: {name}\n    description: A custom tool.\n    sql: {sql}\n    parameters: [{{name: id, type: integer}}]\n"
    )
}

#[test]
fn custom_tools_are_offered_and_exchanged_when_their_file_changes() {
    let database = Database::fresh();
    let mut setup = setup(&database);
    let file = setup.file(
        "tools.yaml",
        &custom_tool("first", "SELECT name FROM users WHERE id = $1"),
    );
    setup.config["tools"] = json!({ "file": file });
    let mut server = begin(&setup);
    let names = |server: &mut Conversation, id| -> Vec<String> {
        let listed = server.ask(id, "tools/list", json!({}));
        let listed = listed["result"]["tools"].as_array().unwrap();
        listed
            .iter()
            .filter(|tool| tool["description"] == "A custom tool.")
            .map(|tool| tool["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&mut server, 1), ["first"]);
    let called = json!({ "name": "first", "arguments": { "id": 1 } });
    let answer = Answer::read(&server.ask(2, "tools/call", called));
    assert!(
        !answer.is_error && answer.text.starts_with("name\n"),
        "{}",
        answer.text
    );

    setup.file(
        "tools.yaml",
        &custom_tool("wrong", "SELECT nam FROM users WHERE id = $1"),
    );
    server.log.wait_for("the custom tools from before stay");
    assert_eq!(names(&mut server, 4), ["first"]);
    setup.file(
        "tools.yaml",
        &custom_tool("second", "SELECT email FROM users WHERE id = $1"),
    );
    assert_eq!(
        server.receive()["method"],
        "notifications/tools/list_changed"
    );
    assert_eq!(names(&mut server, 5), ["second"]);
}

#[test]
fn a_wrong_custom_tool_stops_the_start() {
    let database = Database::fresh();
    let mut setup = setup(&database);
    let file = setup.file(
        "tools.yaml",
        &custom_tool("wrong", "SELECT nam FROM users WHERE id = $1"),
    );
    setup.config["tools"] = json!({ "file": file });
    let said = end_to_end::binaries::run(setup.command("mcp-server", &[]));
    assert_eq!(said.code, 1, "{}", said.stderr);
    for part in ["tools.yaml", "tool \"wrong\"", "42703"] {
        assert!(said.stderr.contains(part), "no {part:?} in {}", said.stderr);
    }
}

#[test]
fn the_documented_custom_tool_works_on_the_shop() {
    let page = include_str!("../../docs/configuration.md");
    let example = page
        .split("```yaml\n")
        .find(|block| block.starts_with("tools:"))
        .and_then(|block| block.split("```").next())
        .unwrap();
    let database = Database::fresh();
    let mut setup = setup(&database);
    setup.config["tools"] = json!({ "file": setup.file("tools.yaml", example) });
    let mut server = begin(&setup);
    let customer = database
        .superuser()
        .value("select user_id from shop.orders where status = 'delivered' limit 1");
    let customer: i64 = customer.parse().unwrap();
    let arguments = json!({ "customer": customer, "status": "delivered" });
    let called = json!({ "name": "orders_of_customer", "arguments": arguments });
    let answer = Answer::read(&server.ask(1, "tools/call", called));
    assert_eq!(
        answer.structured["rows"][0][1], "delivered",
        "{}",
        answer.text
    );
}
