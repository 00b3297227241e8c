//! The methods, over HTTP without a session.
#![allow(clippy::unwrap_used)]

mod common;

use common::{post, read_reply, start, start_with};
use mcp_protocol::ServiceOptions;
use mcp_protocol::http::Options;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

const LEGACY: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

fn at(revision: &str) -> String {
    format!("MCP-Protocol-Version: {revision}\r\n")
}

#[tokio::test]
async fn initialize_answers_with_the_revision_asked_for() {
    let server = start(Options::default()).await;
    for asked in LEGACY {
        let params = json!({ "protocolVersion": asked, "capabilities": {}, "clientInfo": {} });
        let result = &server.call("", "initialize", params).await.json()["result"];
        assert_eq!(result["protocolVersion"], asked);
        assert_eq!(
            result["serverInfo"],
            json!({ "name": "fixture", "version": "1.0" })
        );
        assert_eq!(result["instructions"], "Use echo.");
        assert_eq!(
            result["capabilities"],
            json!({ "tools": {}, "logging": {} })
        );
    }
}

#[tokio::test]
async fn what_two_readers_could_read_differently_is_refused() {
    let server = start(Options::default()).await;
    let call = |params: &str| {
        let whole = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo",{params}}}}}"#
        );
        let server = &server;
        async move { server.post("", &whole).await }
    };
    let good = call(r#""arguments":{"text":"a","other":{"text":"b"}}"#).await;
    assert_eq!(good.json()["result"]["content"][0]["text"], "a");
    for params in [
        r#""arguments":{"text":"a","text":"b"}"#,
        r#""arguments":{"text":"a","t\u0065xt":"b"}"#,
        r#""arguments":{"text":"a","other":[{"b":1,"b":1}]}"#,
        r#""arguments":{"text":"a"},"arguments":{"text":"b"}"#,
        r#""arguments":{"text":"a"},"n\u0061me":"wait""#,
    ] {
        let refused = call(params).await;
        assert_eq!(refused.code(), -32602, "{params}: {refused:?}");
    }
    let two_methods = r#"{"jsonrpc":"2.0","id":1,"method":"ping","m\u0065thod":"tools/list"}"#;
    assert_eq!(server.post("", two_methods).await.code(), -32600);
}

#[tokio::test]
async fn a_tool_is_listed_with_the_fields_of_each_revision() {
    let server = start(Options::default()).await;
    let fields = |revision: String| {
        let server = &server;
        async move {
            let reply = server.call(&revision, "tools/list", json!({})).await.json();
            let echo = reply["result"]["tools"][0].as_object().unwrap().clone();
            echo.keys().cloned().collect::<Vec<_>>().join(" ")
        }
    };
    let oldest = "name description inputSchema";
    let newest = "name title description inputSchema outputSchema annotations";
    assert_eq!(fields(String::new()).await, oldest, "without a header");
    assert_eq!(fields(at("2024-11-05")).await, oldest);
    assert_eq!(
        fields(at("2025-03-26")).await,
        format!("{oldest} annotations")
    );
    assert_eq!(fields(at("2025-06-18")).await, newest);
    assert_eq!(fields(at("2025-11-25")).await, newest);
}

#[tokio::test]
async fn structured_results_exist_since_2025_06_18() {
    let server = start(Options::default()).await;
    for revision in LEGACY {
        let call = json!({ "name": "echo", "arguments": { "text": "hi" } });
        let result = server.call(&at(revision), "tools/call", call).await.json()["result"].clone();
        assert_eq!(
            result["content"],
            json!([{ "type": "text", "text": "hi" }]),
            "{revision}"
        );
        let structured = (revision >= "2025-06-18").then(|| json!({ "text": "hi" }));
        assert_eq!(
            result.get("structuredContent"),
            structured.as_ref(),
            "{revision}"
        );
    }
}

#[tokio::test]
async fn a_tool_that_fails_is_a_result_and_not_an_error() {
    let server = start(Options::default()).await;
    let reply = server
        .call("", "tools/call", json!({ "name": "echo" }))
        .await
        .json();
    assert_eq!(reply["result"]["isError"], true);
}

#[tokio::test]
async fn what_a_method_cannot_take_is_an_error_over_status_200() {
    let server = start(Options::default()).await;
    for (method, params, code) in [
        ("nothing/here", json!({}), -32601),
        ("server/discover", json!({}), -32601),
        ("resources/list", json!({}), -32601),
        ("tools/call", json!({}), -32602),
        ("tools/call", json!({ "name": 7 }), -32602),
        ("tools/call", json!({ "name": "nobody" }), -32602),
        (
            "tools/call",
            json!({ "name": "echo", "arguments": [] }),
            -32602,
        ),
        ("tools/call", json!({ "name": "echo", "_meta": 7 }), -32602),
        (
            "tools/call",
            json!({ "name": "echo", "_meta": { "progressToken": 1.5 } }),
            -32602,
        ),
        ("tools/list", json!({ "cursor": "x" }), -32602),
        ("initialize", json!({}), -32602),
    ] {
        let reply = server.call("", method, params.clone()).await;
        assert_eq!(
            (reply.status, reply.code()),
            (200, code),
            "{method} {params}"
        );
        assert_eq!(reply.json()["id"], 1);
    }
}

#[tokio::test]
async fn notifications_are_taken_without_an_answer() {
    let server = start(Options::default()).await;
    for method in [
        "notifications/initialized",
        "notifications/cancelled",
        "notifications/x",
    ] {
        let note = json!({ "jsonrpc": "2.0", "method": method });
        let reply = server.post("", &note.to_string()).await;
        assert_eq!((reply.status, reply.body.as_str()), (202, ""), "{method}");
    }
}

#[tokio::test]
async fn absent_params_are_empty_ones() {
    let server = start(Options::default()).await;
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":null}"#,
    ] {
        assert!(
            server.post("", body).await.json()["result"]["tools"].is_array(),
            "{body}"
        );
    }
}

#[tokio::test]
async fn lists_come_in_pages() {
    let limits = ServiceOptions {
        page_size: 4,
        ..ServiceOptions::default()
    };
    let server = start_with(Options::default(), limits).await;
    let names = |page: &Value| {
        let tools = page["result"]["tools"].as_array().unwrap();
        tools
            .iter()
            .map(|tool| tool["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let first = server.call("", "tools/list", json!({})).await.json();
    assert_eq!(names(&first), ["echo", "wait", "panic", "resign"]);
    let cursor = &first["result"]["nextCursor"];
    let second = server
        .call("", "tools/list", json!({ "cursor": cursor }))
        .await
        .json();
    assert_eq!(names(&second), ["steps", "chat", "keep", "flood"]);
    assert_eq!(second["result"].get("nextCursor"), None);
}

#[tokio::test]
async fn progress_makes_a_stream_for_those_who_take_one() {
    let server = start(Options::default()).await;
    let call = json!({ "name": "steps", "_meta": { "progressToken": "p" } });
    let both =
        "Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2025-06-18\r\n";
    let reply = server.call(both, "tools/call", call.clone()).await;
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    assert_eq!(reply.header("x-accel-buffering"), Some("no"));
    let events = reply.events();
    assert_eq!(events.len(), 3, "{events:?}");
    assert_eq!(
        events[0]["params"],
        json!({ "progressToken": "p", "progress": 1.0, "total": 2.0, "message": "half" })
    );
    assert_eq!(events[2]["result"]["content"][0]["text"], "done");

    for accept in ["", "Accept: */*\r\n", "Accept: application/json\r\n"] {
        let reply = server.call(accept, "tools/call", call.clone()).await;
        assert_eq!(
            reply.header("content-type"),
            Some("application/json"),
            "{accept:?}"
        );
        assert_eq!(reply.json()["result"]["content"][0]["text"], "done");
    }
}

#[tokio::test]
async fn nothing_is_streamed_that_was_not_asked_for() {
    let server = start(Options::default()).await;
    let both = "Accept: application/json, text/event-stream\r\n";
    let reply = server
        .call(both, "tools/call", json!({ "name": "steps" }))
        .await;
    assert_eq!(reply.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn two_requests_of_one_connection_keep_their_order() {
    let server = start(Options::default()).await;
    let mut stream = server.connect().await;
    let ping = |id: u32| {
        post(
            "",
            &json!({ "jsonrpc": "2.0", "id": id, "method": "ping" }).to_string(),
        )
    };
    stream
        .write_all(format!("{}{}", ping(1), ping(2)).as_bytes())
        .await
        .unwrap();
    assert_eq!(read_reply(&mut stream).await.json()["id"], 1);
}
