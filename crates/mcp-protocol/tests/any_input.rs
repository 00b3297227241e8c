//! Whatever is sent, something sensible comes back and the server goes on.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Running, read_reply, start};
use mcp_protocol::http::Options;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::io::AsyncWriteExt;
use tokio::runtime::Runtime;

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

/// Messages to start from when damaging some.
const MESSAGES: [&str; 8] = [
    PING,
    r#"{"jsonrpc":"2.0","id":"a","method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{"elicitation":{}}}}"#,
    r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"echo","arguments":{"text":"x"},"_meta":{"progressToken":0}}}"#,
    r#"{"jsonrpc":"2.0","id":3,"method":"tools/list","params":{"cursor":"dG9vbHM6MQ","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#,
    r#"{"jsonrpc":"2.0","id":4,"method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true}}}"#,
    r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3}}"#,
    r#"[{"jsonrpc":"2.0","id":5,"method":"ping"},{"jsonrpc":"2.0","id":6,"result":{}}]"#,
    r#"{"jsonrpc":"2.0","id":7,"error":{"code":-1,"message":"no"}}"#,
];

/// A message with some bytes replaced, removed and inserted.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let edit = (
        any::<prop::sample::Index>(),
        0..3_u8,
        prop::sample::select(&b"{}[]\",:0\\\x00\xffen."[..]),
    );
    let message = prop::sample::select(&MESSAGES[..]);
    (message, prop::collection::vec(edit, 0..4)).prop_map(|(message, edits)| {
        let mut bytes = message.as_bytes().to_vec();
        for (place, kind, byte) in edits {
            let place = place.index(bytes.len() + 1);
            match kind {
                0 if place < bytes.len() => bytes[place] = byte,
                1 if place < bytes.len() => drop(bytes.remove(place)),
                _ => bytes.insert(place, byte),
            }
        }
        bytes
    })
}

async fn post_bytes(server: &Running, headers: &str, body: &[u8]) -> common::Reply {
    let mut stream = server.connect().await;
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer alice-token\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    read_reply(&mut stream).await
}

#[test]
fn no_body_is_a_fault_of_the_server() {
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(start(Options::default()));
    let headers = prop::sample::select(
        &[
            "",
            "Accept: application/json, text/event-stream\r\n",
            "MCP-Protocol-Version: 2025-03-26\r\n",
            "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/list\r\n",
            "Mcp-Session-Id: 0\r\n",
        ][..],
    );
    let body = prop_oneof![4 => damaged(), 1 => prop::collection::vec(any::<u8>(), 0..200)];
    TestRunner::new(Config {
        cases: 1000,
        failure_persistence: None,
        ..Config::default()
    })
    .run(&(headers, body), |(headers, body)| {
        let listens = String::from_utf8_lossy(&body).contains("subscriptions/listen");
        prop_assume!(!listens || headers.is_empty()); // A stream that is opened stays.
        let reply = runtime.block_on(post_bytes(&server, headers, &body));
        prop_assert!((200..500).contains(&reply.status), "{reply:?}");
        if !reply.body.is_empty() && reply.header("content-type") == Some("application/json") {
            prop_assert!(serde_json::from_str::<serde_json::Value>(&reply.body).is_ok());
        }
        Ok(())
    })
    .unwrap();
}

#[tokio::test]
async fn requests_that_are_no_http_are_refused_and_harm_nobody() {
    let short = std::time::Duration::from_millis(200);
    let options = Options {
        body_timeout: short,
        header_timeout: short,
        ..Options::default()
    };
    let server = start(options).await;
    let good = "Host: localhost\r\nAuthorization: Bearer alice-token\r\nContent-Type: application/json\r\n";
    let ping = |extra: &str| {
        format!(
            "POST /mcp HTTP/1.1\r\n{good}{extra}Content-Length: {}\r\n\r\n{PING}",
            PING.len()
        )
    };
    let chunked = |extra: &str, chunks: &str| {
        format!("POST /mcp HTTP/1.1\r\n{good}{extra}Transfer-Encoding: chunked\r\n\r\n{chunks}")
    };
    let many_headers = "X: y\r\n".repeat(200);
    let long_header = format!("X: {}\r\n", "y".repeat(200_000));
    for (what, request, allowed) in [
        (
            "two different lengths",
            ping("Content-Length: 3\r\n"),
            &[400_u16][..],
        ),
        (
            "a length with a sign",
            ping("").replace("Length: ", "Length: +"),
            &[400],
        ),
        (
            "a list of lengths",
            ping("").replace("Length: 40", "Length: 40, 40"),
            &[400],
        ),
        ("a folded header", ping("X: a\r\n b\r\n"), &[400]),
        ("a space before the colon", ping("X : a\r\n"), &[400]),
        ("a NUL in a value", ping("X: a\0b\r\n"), &[400]),
        ("too many headers", ping(&many_headers), &[431]),
        ("a header without end", ping(&long_header), &[431]),
        (
            "an unknown coding",
            chunked("", "").replace("chunked", "xchunked"),
            &[400, 501],
        ),
        (
            "a chunk size with a prefix",
            chunked("", "0x3\r\nabc\r\n0\r\n\r\n"),
            &[400],
        ),
        (
            "a chunk size beyond all limits",
            chunked("", "fffffffffffffffff\r\n"),
            &[400],
        ),
        ("a huge chunk", chunked("", "ffffffff\r\nx"), &[408, 413]),
        (
            "an unknown version",
            ping("").replace("HTTP/1.1", "HTTP/3.7"),
            &[400, 0],
        ),
        ("no version", "GET /mcp\r\n\r\n".to_owned(), &[400, 0]),
        (
            "another protocol",
            "\x16\x03\x01\x02\x00\x01\x00\x01".to_owned() + "\r\n\r\n",
            &[400, 0],
        ),
        (
            "CONNECT",
            "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\n".to_owned(),
            &[404],
        ),
        ("TRACE", ping("").replace("POST", "TRACE"), &[405]),
        (
            "a path that climbs",
            ping("").replace("/mcp", "/mcp/../mcp"),
            &[404],
        ),
        (
            "an encoded path",
            ping("").replace("/mcp", "/%6dcp"),
            &[404],
        ),
        (
            "the token in the URL",
            "POST /mcp?token=alice-token HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            &[401],
        ),
        (
            "both framings",
            chunked("Content-Length: 5\r\n", "0\r\n\r\n"),
            &[400],
        ),
    ] {
        let mut stream = server.connect().await;
        // The server may refuse before it has read everything.
        let _sent = stream.write_all(request.as_bytes()).await;
        let reply = read_reply(&mut stream).await;
        assert!(
            allowed.contains(&reply.status),
            "{what}: {} {}",
            reply.status,
            reply.head
        );
        assert_eq!(server.post("", PING).await.status, 200, "after {what}");
    }
}

#[tokio::test]
async fn a_smuggled_request_is_never_answered() {
    let server = start(Options::default()).await;
    let inner = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let request = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer alice-token\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n\
         0\r\n\r\n{inner}",
        5 + inner.len()
    );
    let mut stream = server.connect().await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let replies = common::read_to_end(&mut stream).await;
    assert_eq!(replies.matches("HTTP/1.1 ").count(), 1, "{replies}");
    assert!(!replies.contains("\"status\":\"ok\""), "{replies}");
}
