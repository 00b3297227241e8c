//! HTTP requests.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use end_to_end::{Database, Request, Server, Setup, Token};
use serde_json::{Value, json};

fn start() -> (Setup, Server, Token) {
    let database = Database::fresh();
    let mut setup = Setup::new([database.entry("shop", &database.reader)]);
    setup.config["http"]["header_timeout"] = json!("1s");
    setup.config["http"]["body_timeout"] = json!("1s");
    let token = setup.add_token();
    let server = setup.start();
    (setup, server, token)
}

fn ping() -> Request {
    Request::json(&json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }))
}

fn is_well(server: &Server, token: &Token) {
    let response = server.client().send(&ping().bearer(&token.secret)).unwrap();
    assert_eq!(response.status, 200, "{}", response.text());
}

#[test]
fn every_wrong_request_gets_its_status() {
    let (_setup, server, token) = start();
    let good = || ping().bearer(&token.secret);
    let post = |body: &str| {
        Request::new("POST", "/mcp/v1")
            .header("Content-Type", "application/json")
            .bearer(&token.secret)
            .body(body)
    };
    let large = format!("\"{}\"", "x".repeat(1 << 20));
    for (name, request, status) in [
        ("a ping", good(), 200),
        (
            "a ping at the other path",
            Request::new("POST", "/mcp")
                .header("Content-Type", "application/json")
                .bearer(&token.secret)
                .body(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#),
            200,
        ),
        ("no token", ping(), 401),
        (
            "an unknown token",
            ping().bearer("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
            401,
        ),
        (
            "an empty token",
            ping().header("Authorization", "Bearer "),
            401,
        ),
        (
            "another scheme",
            ping().header("Authorization", "Basic dTpw"),
            401,
        ),
        ("a token of 100 kB", ping().bearer(&"a".repeat(10_000)), 401),
        (
            "a token in the address",
            Request::new("POST", &format!("/mcp/v1?token={}", token.secret))
                .header("Content-Type", "application/json")
                .body("{}"),
            401,
        ),
        ("a foreign Host", good().header("Host", "evil.example"), 403),
        (
            "a foreign Origin",
            good().header("Origin", "http://evil.example"),
            403,
        ),
        ("Origin null", good().header("Origin", "null"), 403),
        (
            "another path",
            Request::new("POST", "/").bearer(&token.secret),
            404,
        ),
        (
            "a path below",
            Request::new("POST", "/mcp/v1/x").bearer(&token.secret),
            404,
        ),
        (
            "OAuth metadata",
            Request::new("GET", "/.well-known/oauth-protected-resource"),
            404,
        ),
        ("OAuth registration", Request::new("POST", "/register"), 404),
        (
            "PUT",
            Request::new("PUT", "/mcp/v1").bearer(&token.secret),
            405,
        ),
        (
            "a form",
            Request::new("POST", "/mcp/v1")
                .header("Content-Type", "application/x-www-form-urlencoded")
                .bearer(&token.secret)
                .body("a=b"),
            415,
        ),
        (
            "text",
            Request::new("POST", "/mcp/v1")
                .header("Content-Type", "text/plain")
                .bearer(&token.secret)
                .body("{}"),
            415,
        ),
        ("over 1 MiB", post(&large), 413),
        (
            "a notification",
            post(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#),
            202,
        ),
    ] {
        let response = server
            .client()
            .send(&request)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(response.status, status, "{name}: {}", response.text());
        if status >= 400 {
            let body = response.json();
            let message = body["error"]["message"].as_str().or(body["error"].as_str());
            assert!(
                message.is_some_and(|message| !message.is_empty()),
                "{name}: no message in {body}"
            );
        }
        is_well(&server, &token);
    }
}

#[test]
fn every_wrong_message_gets_its_code() {
    let (_setup, server, token) = start();
    let call = |arguments: Value| {
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "query_database", "arguments": arguments } }).to_string()
    };
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"a":{}1{}}}}}"#,
        "[".repeat(5_000),
        "]".repeat(5_000)
    );
    for (body, code) in [
        ("{".to_owned(), -32700),
        ("not json".into(), -32700),
        ("".into(), -32700),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"} trailing".into(), -32700),
        (nested, -32600),
        (deep, -32600),
        ("1".into(), -32600),
        ("null".into(), -32600),
        ("{}".into(), -32600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#.into(), -32600),
        (r#"{"jsonrpc":"2.0","id":1}"#.into(), -32600),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#.into(), -32600),
        (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#.into(), -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":7}"#.into(), -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"no/such"}"#.into(), -32601),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#.into(), -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"no_such_tool"}}"#.into(), -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"query_database","arguments":[1]}}"#.into(), -32602),
    ] {
        let request = Request::new("POST", "/mcp/v1")
            .header("Content-Type", "application/json")
            .bearer(&token.secret)
            .body(body.clone());
        let response = server.client().send(&request).unwrap();
        let shown = &body[..body.len().min(120)];
        assert!(response.status < 500, "{shown}: {}", response.status);
        assert_eq!(response.json()["error"]["code"], code, "{shown}: {}", response.text());
        is_well(&server, &token);
    }
    for arguments in [
        json!({}),
        json!({ "query": 7 }),
        json!({ "query": null }),
        json!({ "query": "SELECT 1", "limit": 0 }),
        json!({ "query": "SELECT 1", "limit": 1001 }),
        json!({ "query": "SELECT 1", "limit": "many" }),
        json!({ "query": "SELECT 1", "offset": -1 }),
        json!({ "query": "SELECT 1", "sql": "SELECT 2" }),
        json!({ "query": "x".repeat(100_000) }),
        json!({ "query": "SELECT '\u{0}'" }),
    ] {
        let request = Request::new("POST", "/mcp/v1")
            .header("Content-Type", "application/json")
            .bearer(&token.secret);
        let response = server
            .client()
            .send(&request.body(call(arguments.clone())))
            .unwrap();
        let answer = end_to_end::Answer::read(&response.json());
        assert!(
            answer.is_error && answer.text.starts_with("ERROR: "),
            "{arguments}: {}",
            answer.text
        );
    }
}

/// Sends bytes on a new connection, and returns what came back until the server closed it or a second passed.
fn raw(server: &Server, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    // The server may refuse, and close, before it has read everything.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut part) {
        answer.extend_from_slice(&part[..length]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn bytes_that_could_smuggle_a_request_are_refused() {
    let (_setup, server, token) = start();
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let head = format!(
        "Authorization: Bearer {}\r\nContent-Type: application/json\r\n",
        token.secret
    );
    let length = body.len();
    for (name, bytes) in [
        (
            "two lengths",
            format!(
                "POST /mcp/v1 HTTP/1.1\r\nHost: localhost\r\n{head}Content-Length: {length}\r\nContent-Length: 1\r\n\r\n{body}"
            ),
        ),
        (
            "a signed length",
            format!(
                "POST /mcp/v1 HTTP/1.1\r\nHost: localhost\r\n{head}Content-Length: +{length}\r\n\r\n{body}"
            ),
        ),
        (
            "an unknown coding",
            format!(
                "POST /mcp/v1 HTTP/1.1\r\nHost: localhost\r\n{head}Transfer-Encoding: xchunked\r\n\r\n{body}"
            ),
        ),
        (
            "two Hosts",
            format!(
                "POST /mcp/v1 HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n{head}Content-Length: {length}\r\n\r\n{body}"
            ),
        ),
        (
            "no Host",
            format!("POST /mcp/v1 HTTP/1.1\r\n{head}Content-Length: {length}\r\n\r\n{body}"),
        ),
        (
            "another authority",
            format!(
                "POST http://evil.example/mcp/v1 HTTP/1.1\r\nHost: localhost\r\n{head}Content-Length: {length}\r\n\r\n{body}"
            ),
        ),
        (
            "two tokens",
            format!(
                "POST /mcp/v1 HTTP/1.1\r\nHost: localhost\r\n{head}Authorization: Bearer x\r\nContent-Length: {length}\r\n\r\n{body}"
            ),
        ),
        (
            "a folded header",
            format!(
                "POST /mcp/v1 HTTP/1.1\r\nHost: localhost\r\nX-A: 1\r\n folded\r\n{head}Content-Length: {length}\r\n\r\n{body}"
            ),
        ),
        (
            "a blank before the colon",
            format!(
                "POST /mcp/v1 HTTP/1.1\r\nHost : localhost\r\n{head}Content-Length: {length}\r\n\r\n{body}"
            ),
        ),
        (
            "lower case",
            format!(
                "post /mcp/v1 HTTP/1.1\r\nHost: localhost\r\n{head}Content-Length: {length}\r\n\r\n{body}"
            ),
        ),
        (
            "a header of 1 MB",
            format!(
                "POST /mcp/v1 HTTP/1.1\r\nHost: localhost\r\nX-Large: {}\r\n{head}\r\n",
                "x".repeat(1 << 20)
            ),
        ),
        (
            "1,000 headers",
            format!(
                "POST /mcp/v1 HTTP/1.1\r\nHost: localhost\r\n{}{head}Content-Length: {length}\r\n\r\n{body}",
                "X-A: 1\r\n".repeat(1_000)
            ),
        ),
        (
            "a wrong chunk",
            format!(
                "POST /mcp/v1 HTTP/1.1\r\nHost: localhost\r\n{head}Transfer-Encoding: chunked\r\n\r\n0x28\r\n{body}\r\n0\r\n\r\n"
            ),
        ),
        ("no HTTP", "\x16\x03\x01 hello\r\n\r\n".to_owned()),
        ("nothing but line breaks", "\r\n".repeat(10_000)),
    ] {
        let answer = raw(&server, bytes.as_bytes());
        assert!(
            !answer.contains("HTTP/1.1 200") && !answer.contains("HTTP/1.1 5"),
            "{name}: {answer}"
        );
        is_well(&server, &token);
    }
}

/// RFC 9112, section 6.1: the transfer coding counts, and what follows on the connection is never read.
#[test]
fn a_request_with_both_kinds_of_length_is_the_last_of_its_connection() {
    let (_setup, server, token) = start();
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let request = format!(
        "POST /mcp/v1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        token.secret,
        body.len()
    );
    let answer = raw(&server, request.repeat(2).as_bytes());
    assert!(answer.matches("HTTP/1.1 ").count() == 1, "{answer}");
    assert!(
        answer.contains("connection: close") || answer.contains(" 400 "),
        "{answer}"
    );
}

#[test]
fn who_sends_too_slowly_is_not_waited_for() {
    let (_setup, server, token) = start();
    for (name, bytes) in [
        ("nothing", String::new()),
        ("half a request line", "POST /mcp".into()),
        (
            "half of the headers",
            "POST /mcp/v1 HTTP/1.1\r\nHost: localhost\r\nX-A: ".into(),
        ),
        (
            "half of the body",
            format!(
                "POST /mcp/v1 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAuthorization: Bearer {}\r\nContent-Length: 100\r\n\r\n{{",
                token.secret
            ),
        ),
    ] {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        let began = Instant::now();
        let mut answer = String::new();
        let closed = stream.read_to_string(&mut answer);
        assert!(
            closed.is_ok(),
            "{name}: still open after {:?}",
            began.elapsed()
        );
        assert!(!answer.contains("200 OK"), "{name}: {answer}");
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{name}: took {:?}",
            began.elapsed()
        );
    }
    is_well(&server, &token);
}

#[test]
fn many_idle_connections_keep_nobody_out() {
    let (_setup, server, token) = start();
    let idle: Vec<TcpStream> = (0..200)
        .map(|_| TcpStream::connect(server.address()).unwrap())
        .collect();
    let began = Instant::now();
    is_well(&server, &token);
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "took {:?}",
        began.elapsed()
    );
    drop(idle);
}
