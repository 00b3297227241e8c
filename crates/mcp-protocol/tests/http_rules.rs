//! What the HTTP endpoint accepts and refuses, seen from raw sockets.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::{Event, post, read_reply, read_to_end, read_until, start, within};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mcp_protocol::http::{AllowedHosts, Options};
use serde_json::json;
use tokio::io::AsyncWriteExt;

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

#[tokio::test]
async fn each_check_answers_with_its_status() {
    let server = start(Options {
        allowed_hosts: AllowedHosts::LoopbackAnd(vec!["mcp.example.com".to_owned()]),
        ..Options::default()
    })
    .await;
    let request = |start: &str, headers: &str| {
        format!(
            "{start} HTTP/1.1\r\n{headers}Content-Length: {}\r\n\r\n{PING}",
            PING.len()
        )
    };
    let auth = "Authorization: Bearer alice-token\r\n";
    let json = "Content-Type: application/json\r\n";
    let host = "Host: localhost\r\n";
    let table = [
        (
            "a good request",
            "POST /mcp/v1",
            format!("{host}{auth}{json}"),
            200,
        ),
        (
            "the short path",
            "POST /mcp",
            format!("{host}{auth}{json}"),
            200,
        ),
        (
            "a configured host",
            "POST /mcp",
            format!("Host: mcp.example.com:443\r\n{auth}{json}"),
            200,
        ),
        ("no Host", "POST /mcp", format!("{auth}{json}"), 400),
        (
            "two Hosts",
            "POST /mcp",
            format!("{host}{host}{auth}{json}"),
            400,
        ),
        (
            "a foreign Host",
            "POST /mcp",
            format!("Host: evil.example.com\r\n{auth}{json}"),
            403,
        ),
        (
            "a foreign Host without a token",
            "POST /mcp",
            "Host: evil.com\r\n".to_owned(),
            403,
        ),
        (
            "a foreign Host elsewhere",
            "GET /health",
            "Host: evil.com\r\n".to_owned(),
            403,
        ),
        (
            "a foreign Origin",
            "POST /mcp",
            format!("{host}Origin: http://evil.com\r\n{auth}{json}"),
            403,
        ),
        (
            "a null Origin",
            "POST /mcp",
            format!("{host}Origin: null\r\n{auth}{json}"),
            403,
        ),
        (
            "its own Origin",
            "POST /mcp",
            format!("{host}Origin: http://localhost\r\n{auth}{json}"),
            200,
        ),
        (
            "a target on another host",
            "POST http://evil.com/mcp",
            format!("{host}{auth}{json}"),
            400,
        ),
        (
            "another path",
            "POST /other",
            format!("{host}{auth}{json}"),
            404,
        ),
        (
            "another path without a token",
            "POST /register",
            host.to_owned(),
            404,
        ),
        ("no token", "POST /mcp", format!("{host}{json}"), 401),
        (
            "no token and a wrong method",
            "PUT /mcp",
            host.to_owned(),
            401,
        ),
        ("PUT", "PUT /mcp", format!("{host}{auth}{json}"), 405),
        (
            "a method in lower case",
            "post /mcp",
            format!("{host}{auth}{json}"),
            405,
        ),
        (
            "POST to health",
            "POST /health",
            format!("{host}{json}"),
            405,
        ),
        (
            "a compressed body",
            "POST /mcp",
            format!("{host}{auth}{json}Content-Encoding: gzip\r\n"),
            415,
        ),
        (
            "a body as it is",
            "POST /mcp",
            format!("{host}{auth}{json}Content-Encoding: identity\r\n"),
            200,
        ),
        ("no Content-Type", "POST /mcp", format!("{host}{auth}"), 415),
        (
            "a form",
            "POST /mcp",
            format!("{host}{auth}Content-Type: text/plain\r\n"),
            415,
        ),
        (
            "a charset",
            "POST /mcp",
            format!("{host}{auth}Content-Type: Application/JSON; charset=utf-8\r\n"),
            200,
        ),
        (
            "Accept: */*",
            "POST /mcp",
            format!("{host}{auth}{json}Accept: */*\r\n"),
            200,
        ),
        (
            "Accept: both",
            "POST /mcp",
            format!("{host}{auth}{json}Accept: application/json, text/event-stream\r\n"),
            200,
        ),
        (
            "Accept: JSON",
            "POST /mcp",
            format!("{host}{auth}{json}Accept: application/json\r\n"),
            200,
        ),
        (
            "Accept: streams",
            "POST /mcp",
            format!("{host}{auth}{json}Accept: text/event-stream\r\n"),
            200,
        ),
        (
            "Accept: HTML",
            "POST /mcp",
            format!("{host}{auth}{json}Accept: text/html\r\n"),
            406,
        ),
        (
            "an unknown revision",
            "POST /mcp",
            format!("{host}{auth}{json}MCP-Protocol-Version: 1999-01-01\r\n"),
            400,
        ),
        (
            "an early revision",
            "POST /mcp",
            format!("{host}{auth}{json}MCP-Protocol-Version: 2025-03-26\r\n"),
            200,
        ),
    ];
    for (what, start, headers, status) in table {
        let reply = server.raw(&request(start, &headers)).await;
        assert_eq!(reply.status, status, "{what}: {reply:?}");
        if status >= 400 {
            assert_eq!(
                reply.header("content-type"),
                Some("application/json"),
                "{what}"
            );
            let error = reply.json();
            assert!(error["error"]["message"].is_string(), "{what}: {error}");
        }
        assert_eq!(reply.header("allow").is_some(), status == 405, "{what}");
        assert_eq!(
            reply.header("www-authenticate").is_some(),
            status == 401,
            "{what}"
        );
    }
}

#[tokio::test]
async fn head_is_refused_without_a_body() {
    let server = start(Options::default()).await;
    let mut stream = server.connect().await;
    let head = "HEAD /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer alice-token\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let reply = read_to_end(&mut stream).await;
    assert!(reply.starts_with("HTTP/1.1 405 "), "{reply}");
    assert!(reply.ends_with("\r\n\r\n"), "{reply}");
}

#[tokio::test]
async fn head_has_no_body_over_http_2_either() {
    let server = start(Options {
        http2: true,
        ..Options::default()
    })
    .await;
    let stream = TokioIo::new(server.connect().await);
    let opened = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
    let (mut client, connection) = opened.await.unwrap();
    tokio::spawn(connection);
    for (path, status) in [("health", 200), ("mcp", 405), ("nowhere", 404)] {
        let request = hyper::Request::head(format!("http://localhost/{path}"))
            .header("authorization", "Bearer alice-token")
            .body(Empty::<Bytes>::new())
            .unwrap();
        let reply = within(client.send_request(request)).await.unwrap();
        assert_eq!(reply.status(), status, "{path}");
        assert!(reply.headers()["content-length"] != "0", "{path}");
        let body = within(reply.into_body().collect())
            .await
            .unwrap()
            .to_bytes();
        assert!(body.is_empty(), "{path}: {body:?}");
    }
}

#[tokio::test]
async fn a_reply_is_not_sent_in_a_form_that_is_not_taken() {
    let server = start(Options::default()).await;
    for (accept, status) in [
        ("application/json", 200),
        ("application/json;q=0.1", 200),
        ("application/json;q=0", 406),
        ("*/*; q=0.000", 406),
        ("text/event-stream, application/json;q=0", 200),
    ] {
        let reply = server.post(&format!("Accept: {accept}\r\n"), PING).await;
        assert_eq!(reply.status, status, "{accept}");
    }
    let initialize = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
    let opened = server.post("", initialize).await;
    let session = opened.header("mcp-session-id").unwrap();
    let get = format!(
        "GET /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer alice-token\r\nAccept: application/json\r\nMcp-Session-Id: {session}\r\n\r\n"
    );
    assert_eq!(server.raw(&get).await.status, 406);
}

#[tokio::test]
async fn a_refused_token_is_told_why() {
    let server = start(Options::default()).await;
    for (authorization, status, word) in [
        ("", 401, "missing"),
        ("Authorization: Bearer expired-token\r\n", 401, "expired"),
        ("Authorization: Bearer nobody\r\n", 401, "unknown"),
        ("Authorization: Bearer\r\n", 401, "malformed"),
        ("Authorization: Bearer a b\r\n", 401, "malformed"),
        ("Authorization: Basic YTpi\r\n", 401, "malformed"),
        (
            "Authorization: Bearer alice-token\r\nAuthorization: Bearer alice-token\r\n",
            401,
            "malformed",
        ),
        ("Authorization: Bearer \u{e9}\r\n", 401, "malformed"),
        ("Authorization: Bearer busy-token\r\n", 429, "too many"),
        ("Authorization: Bearer down-token\r\n", 503, "retry"),
    ] {
        let head = "POST /mcp/v1 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
        let reply = server
            .raw(&format!(
                "{head}{authorization}Content-Length: {}\r\n\r\n{PING}",
                PING.len()
            ))
            .await;
        assert_eq!(reply.status, status, "{authorization:?}: {reply:?}");
        assert!(
            reply.message().contains(word),
            "{authorization:?}: {reply:?}"
        );
        assert_eq!(reply.code(), -32600);
        assert!(reply.json().get("id").is_none());
        let challenge = reply.header("www-authenticate");
        assert_eq!(challenge.is_some(), status == 401, "{authorization:?}");
        if let Some(challenge) = challenge {
            assert!(
                challenge.starts_with("Bearer realm=\"fixture\""),
                "{challenge}"
            );
            assert_eq!(
                challenge.contains("error=\"invalid_token\""),
                word != "missing"
            );
        }
    }
    let reply = server
        .raw("POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer busy-token\r\n\r\n")
        .await;
    assert_eq!(reply.header("retry-after"), Some("2"));
}

#[tokio::test]
async fn the_scheme_of_a_token_has_no_case() {
    let server = start(Options::default()).await;
    for scheme in ["bearer", "BEARER", "Bearer  "] {
        let reply = server
            .raw(&format!(
                "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: {scheme} alice-token\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{PING}",
                PING.len()
            ))
            .await;
        assert_eq!(reply.status, 200, "{scheme}");
    }
}

#[tokio::test]
async fn a_refused_token_is_answered_before_the_body_arrives() {
    let server = start(Options::default()).await;
    let reply = server
        .raw("POST /mcp/v1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
        .await;
    assert_eq!(reply.status, 401);
}

#[tokio::test]
async fn a_client_reads_its_refusal_although_it_is_still_sending() {
    let server = start(Options::default()).await;
    let mut stream = server.connect().await;
    let head = "POST /mcp/v1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1500000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..15 {
        stream.write_all(&[b' '; 100_000]).await.unwrap();
    }
    assert_eq!(read_reply(&mut stream).await.status, 401);
}

#[tokio::test]
async fn discovery_of_an_authorization_server_finds_a_plain_404() {
    let server = start(Options::default()).await;
    for path in [
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/register",
        "/",
        "/mcp/",
        "/mcp/v2",
    ] {
        for method in ["GET", "POST"] {
            let reply = server
                .raw(&format!(
                    "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
                ))
                .await;
            assert_eq!(reply.status, 404, "{method} {path}");
            assert_eq!(reply.header("www-authenticate"), None, "{method} {path}");
            assert!(reply.json()["error"].is_object());
        }
    }
}

#[tokio::test]
async fn health_needs_no_token() {
    let server = start(Options::default()).await;
    let reply = server
        .raw("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    assert_eq!(
        (reply.status, reply.json()),
        (200, json!({ "status": "ok", "tools": 8 }))
    );
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_is_answered_with_cors_headers() {
    let origin = "https://app.example.com";
    let server = start(Options {
        allowed_origins: vec![origin.to_owned()],
        ..Options::default()
    })
    .await;
    let preflight = server
        .raw(&format!(
            "OPTIONS /mcp HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\
             Access-Control-Request-Method: POST\r\n\r\n"
        ))
        .await;
    assert_eq!(preflight.status, 204);
    assert_eq!(
        preflight.header("access-control-allow-origin"),
        Some(origin)
    );
    assert_eq!(preflight.header("vary"), Some("Origin"));
    assert!(
        preflight
            .header("access-control-allow-headers")
            .unwrap()
            .contains("authorization")
    );
    assert_eq!(preflight.header("access-control-allow-credentials"), None);

    let reply = server.post(&format!("Origin: {origin}\r\n"), PING).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("access-control-allow-origin"), Some(origin));
    let refused = server
        .raw(&format!(
            "POST /mcp HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\r\n"
        ))
        .await;
    assert_eq!(refused.status, 401);
    assert_eq!(refused.header("access-control-allow-origin"), Some(origin));

    let foreign = server
        .raw(
            "OPTIONS /mcp HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.com\r\n\
             Access-Control-Request-Method: POST\r\n\r\n",
        )
        .await;
    assert_eq!(foreign.status, 403);
    assert_eq!(foreign.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn bodies_that_are_no_message_are_refused() {
    let server = start(Options::default()).await;
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"a":{}{}}}}}"#,
        "[".repeat(5000),
        "]".repeat(5000)
    );
    for (body, code) in [
        ("{", -32700),
        ("", -32700),
        ("\u{feff}{}", -32700),
        ("nonsense", -32700),
        ("7", -32600),
        ("[]", -32600),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600),
        (deep.as_str(), -32600),
    ] {
        let reply = server.post("", body).await;
        assert_eq!((reply.status, reply.code()), (400, code), "{body:.60}");
        assert!(reply.json().get("id").is_none(), "{body:.60}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_however_it_is_framed() {
    let server = start(Options {
        max_body_bytes: 1000,
        ..Options::default()
    })
    .await;
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"a":"{}"}}}}"#,
        "x".repeat(1000)
    );
    assert_eq!(server.post("", &body).await.status, 413);

    let chunked = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer alice-token\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    assert_eq!(server.raw(&chunked).await.status, 413);

    let small = chunked.replace(&"x".repeat(1000), "").replace(
        &format!("{:x}\r\n", body.len()),
        &format!("{:x}\r\n", body.len() - 1000),
    );
    assert_eq!(server.raw(&small).await.status, 200);
}

/// RFC 9112, section 9.3: what is left of a body would be read as the next request.
#[tokio::test]
async fn a_connection_is_usable_after_a_refusal_or_announced_to_close() {
    let server = start(Options {
        max_body_bytes: 1000,
        ..Options::default()
    })
    .await;
    let long = "x".repeat(2000);
    let huge = "x".repeat(1 << 20);
    let strange = |request: String| request.replace("alice-token", "nobodys");
    let nowhere = |request: String| request.replace("/mcp/v1", "/nowhere");
    for (name, request, status, is_left_open) in [
        ("a small body", strange(post("", PING)), 401, true),
        ("no endpoint", nowhere(post("", PING)), 404, true),
        ("a long body", post("", &long), 413, true),
        ("a huge body", post("", &huge), 413, false),
        (
            "half a body",
            post("", &long).replace("xx", "x"),
            413,
            false,
        ),
        (
            "no body yet",
            strange(post("", PING)).replace(PING, ""),
            401,
            false,
        ),
        (
            "a body that is held back",
            strange(post("Expect: 100-continue\r\n", PING)).replace(PING, ""),
            401,
            false,
        ),
    ] {
        let mut stream = server.connect().await;
        let (mut reading, mut writing) = stream.split();
        let sent = writing.write_all(request.as_bytes());
        let (sent, reply) = tokio::join!(sent, read_reply(&mut reading));
        sent.unwrap();
        assert_eq!(reply.status, status, "{name}");
        let closes = reply.head.to_lowercase().contains("\r\nconnection: close");
        assert_eq!(!closes, is_left_open, "{name}: {}", reply.head);
        if is_left_open {
            stream.write_all(post("", PING).as_bytes()).await.unwrap();
            assert_eq!(read_reply(&mut stream).await.status, 200, "{name}");
        }
    }
}

/// RFC 9112, sections 6.1 and 7: another server may see another request in what follows.
#[tokio::test]
async fn a_body_of_another_coding_is_refused_and_ends_its_connection() {
    let server = start(Options::default()).await;
    for (version, codings, status) in [
        ("1.1", "Transfer-Encoding: chunked, chunked\r\n", 400),
        (
            "1.1",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            400,
        ),
        ("1.1", "Transfer-Encoding: gzip, chunked\r\n", 501),
        (
            "1.1",
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
            501,
        ),
        ("1.1", "Transfer-Encoding: identity\r\n", 400),
        ("1.1", "Transfer-Encoding: chunked, gzip\r\n", 400),
        ("1.0", "Transfer-Encoding: chunked\r\n", 400),
    ] {
        let request = format!(
            "POST /mcp HTTP/{version}\r\nHost: localhost\r\nAuthorization: Bearer alice-token\r\n\
             Content-Type: application/json\r\n{codings}\r\n{:x}\r\n{PING}\r\n0\r\n\r\n",
            PING.len()
        );
        let mut stream = server.connect().await;
        stream
            .write_all(request.repeat(2).as_bytes())
            .await
            .unwrap();
        let said = read_to_end(&mut stream).await;
        let begins = format!("HTTP/1.1 {status} ");
        assert!(said.starts_with(&begins), "{codings}: {said}");
        assert_eq!(said.matches("HTTP/1.").count(), 1, "{codings}: {said}");
    }
}

#[tokio::test]
async fn a_body_in_many_pieces_is_put_together() {
    let server = start(Options::default()).await;
    let mut stream = server.connect().await;
    let head = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer alice-token\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    for byte in PING.bytes() {
        stream
            .write_all(&[b'1', b'\r', b'\n', byte, b'\r', b'\n'])
            .await
            .unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    assert_eq!(read_reply(&mut stream).await.json()["result"], json!({}));
}

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let server = start(Options::default()).await;
    let mut stream = server.connect().await;
    for _ in 0..3 {
        stream.write_all(post("", PING).as_bytes()).await.unwrap();
        assert_eq!(read_reply(&mut stream).await.status, 200);
    }
}

#[tokio::test]
async fn hanging_up_drops_the_handler() {
    let mut server = start(Options::default()).await;
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"wait"}}"#;
    let mut stream = server.connect().await;
    stream.write_all(post("", call).as_bytes()).await.unwrap();
    assert_eq!(server.event().await, Event::Started);
    drop(stream);
    assert_eq!(server.event().await, Event::Dropped);
}

#[tokio::test]
async fn revocation_ends_a_running_request_with_401() {
    let mut server = start(Options::default()).await;
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"wait"}}"#;
    let mut stream = server.connect().await;
    stream.write_all(post("", call).as_bytes()).await.unwrap();
    assert_eq!(server.event().await, Event::Started);
    server.tokens.bob.send_replace(true);
    server.tokens.alice.send_replace(true);
    assert_eq!(server.event().await, Event::Dropped);
    let reply = read_reply(&mut stream).await;
    assert_eq!(reply.status, 401);
    assert!(
        reply
            .header("www-authenticate")
            .unwrap()
            .contains("invalid_token")
    );
    assert!(reply.message().contains("may be done or not"), "{reply:?}");
}

#[tokio::test]
async fn an_answer_that_is_ready_when_the_rights_end_is_not_sent() {
    let server = start(Options::default()).await;
    let reply = server
        .call("", "tools/call", json!({ "name": "resign" }))
        .await;
    assert_eq!(reply.status, 401, "{reply:?}");
    assert!(reply.message().contains("may be done or not"), "{reply:?}");
}

#[tokio::test]
async fn a_request_that_runs_for_long_becomes_a_stream_for_those_who_take_one() {
    let keep_alive_interval = std::time::Duration::from_millis(50);
    let mut server = start(Options {
        keep_alive_interval,
        ..Options::default()
    })
    .await;
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"wait"}}"#;
    let mut plain = server.connect().await;
    plain.write_all(post("", call).as_bytes()).await.unwrap();
    assert_eq!(server.event().await, Event::Started);
    let mut stream = server.connect().await;
    stream
        .write_all(post("Accept: text/event-stream\r\n", call).as_bytes())
        .await
        .unwrap();
    let text = read_until(&mut stream, ": alive").await;
    assert!(text.contains("text/event-stream"), "{text}");
    let mut nothing = [0; 1];
    assert!(
        plain.try_read(&mut nothing).is_err(),
        "nothing is sent to the other"
    );
}

#[tokio::test]
async fn revocation_ends_a_stream() {
    let mut server = start(Options::default()).await;
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"wait","_meta":{"progressToken":0}}}"#;
    let mut stream = server.connect().await;
    stream
        .write_all(post("Accept: text/event-stream\r\n", call).as_bytes())
        .await
        .unwrap();
    read_until(&mut stream, "notifications/progress").await;
    assert_eq!(server.event().await, Event::Started);
    server.tokens.alice.send_replace(true);
    assert_eq!(server.event().await, Event::Dropped);
    let rest = read_until(&mut stream, "0\r\n\r\n").await;
    // Whoever waits for the answer has it.
    assert!(rest.contains(r#""id":1,"error":"#), "{rest}");
    assert!(rest.contains("may be done or not"), "{rest}");
}

#[tokio::test]
async fn a_panic_is_an_internal_error_and_the_connection_lives_on() {
    let server = start(Options::default()).await;
    let mut stream = server.connect().await;
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"panic"}}"#;
    stream.write_all(post("", call).as_bytes()).await.unwrap();
    let reply = read_reply(&mut stream).await;
    assert_eq!((reply.status, reply.code()), (500, -32603));
    assert!(!reply.body.contains("as the test asked"));
    stream.write_all(post("", PING).as_bytes()).await.unwrap();
    assert_eq!(read_reply(&mut stream).await.status, 200);
}

#[tokio::test]
async fn shutdown_lets_a_running_request_end() {
    let mut server = start(Options::default()).await;
    let mut idle = server.connect().await;
    idle.write_all(post("", PING).as_bytes()).await.unwrap();
    read_reply(&mut idle).await;
    let mut busy = server.connect().await;
    let (head, tail) = PING.split_at(10);
    busy.write_all(post("", PING).strip_suffix(tail).unwrap().as_bytes())
        .await
        .unwrap();
    let mut waiting = server.connect().await;
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"wait"}}"#;
    waiting.write_all(post("", call).as_bytes()).await.unwrap();
    assert_eq!(server.event().await, Event::Started);

    server.stop.send_replace(true);
    assert_eq!(
        read_to_end(&mut idle).await,
        "",
        "an idle connection is closed"
    );
    busy.write_all(tail.as_bytes()).await.unwrap();
    assert_eq!(read_reply(&mut busy).await.status, 200, "after {head}");
    drop(waiting);
    common::within(server.serving).await.unwrap();
}
