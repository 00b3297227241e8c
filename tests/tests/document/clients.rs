//! The document's programs that use a token: curl, Python, Node.js, Go.

use end_to_end::{Client, Server, unfenced};
use serde_json::{Value, json};

use crate::world::{DOCUMENT_FILE, DOCUMENT_TOKEN, World};

const CURL_TOOLS_LIST: &str = r#"curl -X POST http://localhost:8080/mcp/v1 \
-H "Authorization: Bearer O9ms9jqTfUdy-DIjvpFWeqd_yH_NEj7me0mgOnOjGdQ=" \
-H "Content-Type: application/json" \
-d '{
"jsonrpc": "2.0",
"id": 1,
"method": "tools/list",
"params": {}
}'"#;

const CURL_INITIALIZE: &str = r#"curl -X POST https://localhost:8080/mcp/v1 \
-H "Authorization: Bearer YOUR_TOKEN_HERE" \
-H "Content-Type: application/json" \
-d '{
"jsonrpc": "2.0",
"id": 1,
"method": "initialize",
"params": {
"protocolVersion": "2024-11-05",
"capabilities": {},
"clientInfo": {
"name": "my-client",
"version": "1.0.0"
}
}
}'"#;

const CURL_QUERY: &str = r#"curl -X POST https://localhost:8080/mcp/v1 \
-H "Authorization: Bearer YOUR_TOKEN_HERE" \
-H "Content-Type: application/json" \
-d '{
"jsonrpc": "2.0",
"id": 2,
"method": "tools/call",
"params": {
"name": "query_database",
"arguments": {
"query": "Show me all active users"
}
}
}'"#;

const PYTHON: &str = r#"
import requests
token = "O9ms9jqTfUdy-DIjvpFWeqd_yH_NEj7me0mgOnOjGdQ="
url = "https://localhost:8080/mcp/v1"
headers = {
"Authorization": f"Bearer {token}",
"Content-Type": "application/json"
}
payload = {
"jsonrpc": "2.0",
"id": 1,
"method": "tools/list",
"params": {}
}
response = requests.post(url, json=payload, headers=headers)
print(response.json())
"#;

const NODE: &str = r#"
const token = "O9ms9jqTfUdy-DIjvpFWeqd_yH_NEj7me0mgOnOjGdQ=";
const url = "https://localhost:8080/mcp/v1";
const response = await fetch(url, {
method: "POST",
headers: {
"Authorization": `Bearer ${token}`,
"Content-Type": "application/json"
},
body: JSON.stringify({
jsonrpc: "2.0",
id: 1,
method: "tools/list",
params: {}
})
});
const data = await response.json();
console.log(data);
"#;

/// What Go's net/http puts on the wire for the document's program; encoding/json sorts the keys of a map.
const GO: &str = "POST /mcp/v1 HTTP/1.1\r\n\
Host: localhost:8080\r\n\
User-Agent: Go-http-client/1.1\r\n\
Content-Length: 58\r\n\
Authorization: Bearer O9ms9jqTfUdy-DIjvpFWeqd_yH_NEj7me0mgOnOjGdQ=\r\n\
Content-Type: application/json\r\n\
Accept-Encoding: gzip\r\n\
\r\n\
{\"id\":1,\"jsonrpc\":\"2.0\",\"method\":\"tools/list\",\"params\":{}}";

fn over_http() -> (World, Server) {
    let world = World::new();
    world.write_token_file(DOCUMENT_FILE);
    let server = world.serve("./bin/pgedge-postgres-mcp -http -addr localhost:0");
    (world, server)
}

fn over_https() -> (World, Server) {
    let world = World::new();
    world.write_token_file(DOCUMENT_FILE);
    let server = world.serve("./bin/pgedge-postgres-mcp -http -tls -cert cert.pem -key key.pem");
    (world, server)
}

fn curl(world: &World, server: &Server, line: &str) -> Value {
    let line = world.filled(line, server, DOCUMENT_TOKEN);
    let said = world.run(&format!("{line} --silent --show-error"));
    assert_eq!(said.code, 0, "{line}\n{}", said.stderr);
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {}", said.stdout))
}

fn tool_names(message: &Value) -> Vec<&str> {
    let tools = message["result"]["tools"]
        .as_array()
        .unwrap_or_else(|| panic!("no tools in {message}"));
    tools
        .iter()
        .filter_map(|tool| tool["name"].as_str())
        .collect()
}

#[test]
fn curl_lists_the_tools() {
    let (world, server) = over_http();
    let answer = curl(&world, &server, CURL_TOOLS_LIST);
    assert_eq!(
        (&answer["jsonrpc"], &answer["id"]),
        (&json!("2.0"), &json!(1))
    );
    assert!(tool_names(&answer).contains(&"query_database"), "{answer}");
}

#[test]
fn curl_initializes_a_connection() {
    let (world, server) = over_https();
    let answer = curl(&world, &server, CURL_INITIALIZE);
    assert_eq!(answer["id"], 1);
    assert_eq!(
        answer["result"]["protocolVersion"], "2024-11-05",
        "{answer}"
    );
    assert!(
        answer["result"]["capabilities"]["tools"].is_object(),
        "{answer}"
    );
    assert!(
        answer["result"]["serverInfo"]["name"].is_string(),
        "{answer}"
    );
}

#[test]
fn curl_asks_a_question_and_gets_an_answer_that_helps() {
    let (world, server) = over_https();
    let answer = curl(&world, &server, CURL_QUERY);
    assert_eq!(answer["id"], 2);
    let result = &answer["result"];
    let text = result["content"][0]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer}"));
    // A question that is not SQL is answered by an error that says what to write.
    assert_eq!(result["isError"], true, "{answer}");
    assert!(text.contains("write one SQL query"), "{text}");
}

#[test]
fn curl_runs_sql_and_gets_the_active_users() {
    let (world, server) = over_https();
    let sql = "SELECT id, name, email FROM users WHERE active ORDER BY id";
    let answer = curl(
        &world,
        &server,
        &CURL_QUERY.replace("Show me all active users", sql),
    );
    let result = &answer["result"];
    let text = result["content"][0]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer}"));
    let text = unfenced(text);
    assert!(text.starts_with("id\tname\temail\n1\t"), "{text}");
    let rows = text
        .lines()
        .filter(|line| line.contains("@northpass.example"))
        .count();
    assert_eq!(rows, 100, "{text}");
    let note = result["content"][1]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("no word about more rows: {answer}"));
    assert!(note.contains("cursor 64-"), "{note}");
}

#[test]
fn python_requests_lists_the_tools() {
    let (world, server) = over_https();
    let program = world.filled(PYTHON, &server, DOCUMENT_TOKEN);
    std::fs::write(world.path("client.py"), program).unwrap();
    let python = std::env::var("END_TO_END_PYTHON").unwrap_or_else(|_| "python3".into());
    let said = world.run(&format!("'{python}' client.py"));
    assert_eq!(
        said.code, 0,
        "{}\n(`./run test` sets up Python with requests)",
        said.stderr
    );
    assert!(said.stdout.contains("'query_database'"), "{}", said.stdout);
}

#[test]
fn node_fetch_lists_the_tools() {
    let (world, server) = over_https();
    let program = world.filled(NODE, &server, DOCUMENT_TOKEN);
    // Top-level `await` needs a module.
    std::fs::write(
        world.path("client.mjs"),
        format!("{program}\nconsole.log(JSON.stringify(data));\n"),
    )
    .unwrap();
    let said = world.run("node client.mjs");
    assert_eq!(said.code, 0, "{}", said.stderr);
    let last = said.stdout.lines().last().unwrap();
    let answer: Value = serde_json::from_str(last).unwrap();
    assert!(
        tool_names(&answer).contains(&"query_database"),
        "{}",
        said.stdout
    );
}

#[test]
fn the_bytes_that_gos_client_sends_list_the_tools() {
    let (world, server) = over_https();
    let bytes = world.filled(GO, &server, DOCUMENT_TOKEN);
    let response = Client::with_tls(server.address(), &world.pair.certificate)
        .exchange(bytes.as_bytes())
        .unwrap();
    assert_eq!(response.status, 200, "{}", response.text());
    assert!(tool_names(&response.json()).contains(&"query_database"));
}

#[test]
fn a_token_also_works_from_the_environment_of_a_client() {
    let (world, server) = over_http();
    let line = CURL_TOOLS_LIST.replace(DOCUMENT_TOKEN, "$MCP_TOKEN");
    let answer = curl(
        &world,
        &server,
        &format!("MCP_TOKEN='{DOCUMENT_TOKEN}'; {line}"),
    );
    assert!(tool_names(&answer).contains(&"query_database"), "{answer}");
}
