//! Which era a message belongs to, and what the newest revision demands of its envelope.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "../examples/conformance/fixtures.rs"]
mod fixtures;
#[path = "../examples/conformance/prompts.rs"]
mod prompts;
#[path = "../examples/conformance/resources.rs"]
mod resources;
#[path = "../examples/conformance/tools.rs"]
mod tools;

use common::client::{Client, MODERN};
use common::{Reply, Running, start_handler};
use fixtures::Fixtures;
use mcp_protocol::ServiceOptions;
use mcp_protocol::http::Options;
use serde_json::{Value, json};

async fn start() -> Running {
    let fixtures = Fixtures::new(Default::default()).unwrap();
    start_handler(fixtures, Options::default(), ServiceOptions::default()).await
}

/// What a message claims in its body; `absent` leaves `_meta` out.
#[derive(Clone, Copy, Debug)]
enum Claim {
    Absent,
    Empty,
    Version(&'static str),
    Odd,
    VersionOnly,
    CapabilitiesOnly,
}

impl Claim {
    fn meta(self) -> Option<Value> {
        const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
        const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
        match self {
            Self::Absent => None,
            Self::Empty => Some(json!({})),
            Self::Version(version) => Some(json!({ VERSION: version, CAPABILITIES: {} })),
            Self::Odd => Some(json!({ VERSION: null, CAPABILITIES: {} })),
            Self::VersionOnly => Some(json!({ VERSION: MODERN })),
            Self::CapabilitiesOnly => Some(json!({ CAPABILITIES: {} })),
        }
    }
}

async fn send(server: &Running, headers: &str, claim: Claim, method: &str, params: Value) -> Reply {
    let mut params = params;
    if let Some(meta) = claim.meta() {
        params["_meta"] = meta;
    }
    server.call(headers, method, params).await
}

#[tokio::test]
async fn every_row_of_the_table_of_eras_is_answered_as_it_says() {
    use Claim::{Absent, CapabilitiesOnly, Empty, Odd, Version, VersionOnly};
    let server = start().await;
    let version = |name: &str| format!("MCP-Protocol-Version: {name}\r\n");
    let method = |name: &str| format!("Mcp-Method: {name}\r\n");
    let modern = version(MODERN);
    let full = |name: &str| modern.clone() + &method(name);
    let v999 = version("v999.0.0");
    let handshake = json!({ "protocolVersion": "2025-06-18", "capabilities": {} });
    let none = json!({});
    let tool = json!({ "name": "test_simple_text" });
    let call = full("tools/call");
    #[rustfmt::skip]
    let table = [
        // The body claims: modern, whatever the method.
        (full("tools/list"), Version(MODERN), "tools/list", &none, 200, None),
        (full("initialize"), Version(MODERN), "initialize", &handshake, 404, Some(-32601)),
        (full("ping"), Version(MODERN), "ping", &none, 404, Some(-32601)),
        (full("logging/setLevel"), Version(MODERN), "logging/setLevel", &none, 404, Some(-32601)),
        (full("resources/subscribe"), Version(MODERN), "resources/subscribe", &none, 404, Some(-32601)),
        (full("resources/unsubscribe"), Version(MODERN), "resources/unsubscribe", &none, 404, Some(-32601)),
        (full("tasks/list"), Version(MODERN), "tasks/list", &none, 404, Some(-32601)),
        (full("no/such"), Version(MODERN), "no/such", &none, 404, Some(-32601)),
        (String::new(), Version(MODERN), "tools/list", &none, 400, Some(-32020)),
        (version("2025-06-18") + &method("tools/list"), Version(MODERN), "tools/list", &none, 400, Some(-32020)),
        // The order: a missing key beats a mismatch beats an unknown revision.
        (full("tools/list"), Odd, "tools/list", &none, 400, Some(-32602)),
        (full("tools/list"), VersionOnly, "tools/list", &none, 400, Some(-32602)),
        (version("2025-06-18"), VersionOnly, "tools/list", &none, 400, Some(-32602)),
        (modern.clone(), Version("v999.0.0"), "tools/list", &none, 400, Some(-32020)),
        (v999.clone() + &method("tools/list"), Version("v999.0.0"), "tools/list", &none, 400, Some(-32022)),
        (v999.clone(), Version("v999.0.0"), "tools/list", &none, 400, Some(-32022)),
        (version("2025-06-18"), Version("2025-06-18"), "tools/list", &none, 400, Some(-32022)),
        // The header claims and the body does not.
        (full("tools/list"), Absent, "tools/list", &none, 400, Some(-32602)),
        (full("tools/list"), Empty, "tools/list", &none, 400, Some(-32602)),
        (full("tools/list"), CapabilitiesOnly, "tools/list", &none, 400, Some(-32602)),
        (modern.clone(), Absent, "initialize", &handshake, 400, Some(-32020)),
        (v999.clone(), Absent, "tools/list", &none, 400, Some(-32022)),
        (v999 + "Mcp-Session-Id: x\r\n", Absent, "tools/list", &none, 400, Some(-32600)),
        // Nobody claims: legacy.
        (String::new(), Absent, "initialize", &handshake, 200, None),
        (version("2025-06-18"), Absent, "initialize", &handshake, 200, None),
        (String::new(), Absent, "tools/list", &none, 200, None),
        (String::new(), CapabilitiesOnly, "tools/list", &none, 200, None),
        (version("2025-11-25"), Absent, "tools/call", &tool, 200, None),
        (version("2025-11-25") + &method("wrong"), Absent, "ping", &none, 200, None),
        ("Mcp-Session-Id: x\r\n".to_owned(), Absent, "tools/list", &none, 404, Some(-32600)),
        (version("2025-11-25"), Absent, "server/discover", &none, 200, Some(-32601)),
        // The routing headers.
        (modern.clone(), Version(MODERN), "tools/list", &none, 400, Some(-32020)),
        (full("TOOLS/LIST"), Version(MODERN), "tools/list", &none, 400, Some(-32020)),
        (full("tools/list") + &method("tools/list"), Version(MODERN), "tools/list", &none, 400, Some(-32020)),
        (modern.clone() + "mcp-method:   tools/list  \r\n", Version(MODERN), "tools/list", &none, 200, None),
        (call.clone(), Version(MODERN), "tools/call", &tool, 400, Some(-32020)),
        (call.clone() + "Mcp-Name: other\r\n", Version(MODERN), "tools/call", &tool, 400, Some(-32020)),
        (call.clone() + "Mcp-Name: \u{e9}\r\n", Version(MODERN), "tools/call", &tool, 400, Some(-32020)),
        (call.clone() + "Mcp-Name:  test_simple_text \r\n", Version(MODERN), "tools/call", &tool, 200, None),
        (call.clone() + "Mcp-Name: =?base64?dGVzdF9zaW1wbGVfdGV4dA==?=\r\n", Version(MODERN), "tools/call", &tool, 200, None),
        (call + "Mcp-Session-Id: x\r\nMcp-Name: test_simple_text\r\n", Version(MODERN), "tools/call", &tool, 200, None),
    ];
    for (headers, claim, method, params, status, code) in table {
        let reply = send(&server, &headers, claim, method, params.clone()).await;
        let seen = reply.json()["error"]["code"].as_i64();
        assert_eq!(
            (reply.status, seen),
            (status, code),
            "{headers:?} {claim:?} {method}"
        );
        let minted = reply.header("mcp-session-id").is_some();
        assert_eq!(
            minted,
            method == "initialize" && status == 200,
            "{headers:?} {method}"
        );
        if code == Some(-32022) {
            let data = &reply.json()["error"]["data"];
            assert_eq!(data["supported"], json!([MODERN]), "{headers:?}");
            assert!(data["requested"].is_string(), "{headers:?}");
        }
    }
}

#[tokio::test]
async fn notifications_of_either_era_are_taken_silently() {
    let server = start().await;
    let version = format!("MCP-Protocol-Version: {MODERN}\r\n");
    for headers in ["", &version, &format!("{version}Mcp-Session-Id: x\r\n")] {
        let note =
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
        assert_eq!(server.post(headers, note).await.status, 202, "{headers:?}");
    }
}

#[tokio::test]
async fn responses_and_batches_without_a_session_are_refused() {
    let server = start().await;
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
        r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
    ] {
        let reply = server.post("", body).await;
        assert_eq!((reply.status, reply.code()), (400, -32600), "{body}");
    }
}

#[tokio::test]
async fn the_verbs_of_sessions_do_not_exist_for_modern_clients() {
    let server = start().await;
    for verb in ["GET", "DELETE"] {
        let request = |headers: &str| {
            format!(
                "{verb} /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer alice-token\r\n{headers}\r\n"
            )
        };
        let modern = server
            .raw(&request(&format!("MCP-Protocol-Version: {MODERN}\r\n")))
            .await;
        assert_eq!(
            (modern.status, modern.header("allow")),
            (405, Some("POST")),
            "{verb}"
        );
        let unknown = server.raw(&request("Mcp-Session-Id: x\r\n")).await;
        assert_eq!(unknown.status, 404, "{verb}");
        let bare = server.raw(&request("")).await;
        assert_eq!(bare.status, if verb == "GET" { 405 } else { 400 }, "{verb}");
    }
}

#[tokio::test]
async fn both_eras_are_served_interleaved() {
    let server = start().await;
    let mut legacy = Client::open(&server, "2025-06-18").await;
    let mut modern = Client::open(&server, MODERN).await;
    for _ in 0..3 {
        let old = legacy.ask("tools/list", json!({})).await;
        let new = modern.ask("tools/list", json!({})).await;
        assert_eq!(old["result"].get("resultType"), None);
        assert_eq!(old["result"].get("ttlMs"), None);
        assert_eq!(old["result"].get("_meta"), None);
        assert_eq!(new["result"]["resultType"], "complete");
        assert_eq!(new["result"]["cacheScope"], "private");
        assert_eq!(
            new["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["name"],
            "conformance-fixtures"
        );
    }
}

#[tokio::test]
async fn a_missing_capability_is_named_with_status_400() {
    let server = start().await;
    let mut client = Client::open(&server, MODERN).await;
    client.capabilities = json!({});
    for (tool, required) in [
        ("test_missing_capability", json!({ "sampling": {} })),
        ("test_streaming_elicitation", json!({ "elicitation": {} })),
        (
            "test_input_required_result_list_roots",
            json!({ "roots": {} }),
        ),
        (
            "failing_job",
            json!({ "extensions": { "io.modelcontextprotocol/tasks": {} } }),
        ),
    ] {
        let request = client.request("tools/call", json!({ "name": tool }));
        let reply = client.send(&request).await;
        assert_eq!((reply.status, reply.code()), (400, -32021), "{tool}");
        assert_eq!(
            reply.json()["error"]["data"]["requiredCapabilities"],
            required,
            "{tool}"
        );
    }
}

#[tokio::test]
async fn marked_arguments_must_be_repeated_in_headers() {
    let server = start().await;
    let mut client = Client::open(&server, MODERN).await;
    let call = json!({ "name": "test_custom_header", "arguments": { "value": "Hello" } });
    let request = client.request("tools/call", call);
    let without = client.request("tools/call", json!({ "name": "test_custom_header" }));
    for (header, request, code) in [
        ("Mcp-Param-Value: Hello\r\n", &request, None),
        ("mcp-param-value: =?base64?SGVsbG8=?=\r\n", &request, None),
        ("Mcp-Param-Value: hello\r\n", &request, Some(-32020)),
        (
            "Mcp-Param-Value: =?base64?SGVsbG8?=\r\n",
            &request,
            Some(-32020),
        ),
        ("", &request, Some(-32020)),
        ("", &without, None),
        ("Mcp-Param-Value: Hello\r\n", &without, Some(-32020)),
    ] {
        let reply = server
            .raw(&client.http("POST", header, Some(request)))
            .await;
        assert_eq!(reply.json()["error"]["code"].as_i64(), code, "{header:?}");
        assert_eq!(
            reply.status,
            if code.is_some() { 400 } else { 200 },
            "{header:?}"
        );
    }
}
