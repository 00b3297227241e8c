//! What the HTTP endpoint does to clients that are silent, slow, deaf or too many.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Event, post, read_reply, read_to_end, read_until, start, start_with, within};
use mcp_protocol::ServiceOptions;
use mcp_protocol::http::{ForwardedHeader, Options, Proxies};
use networks::Networks;
use tokio::io::AsyncWriteExt;

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

fn short() -> Options {
    let short = Duration::from_millis(100);
    Options {
        header_timeout: short,
        body_timeout: short,
        idle_timeout: short,
        write_timeout: short,
        tls_handshake_timeout: short,
        drain_timeout: short,
        ..Options::default()
    }
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let server = start(short()).await;
    assert_eq!(read_to_end(&mut server.connect().await).await, "");
}

#[tokio::test]
async fn a_slow_head_is_closed_however_steadily_it_drips() {
    let server = start(short()).await;
    let (mut reader, mut writer) = server.connect().await.into_split();
    let drip = async {
        writer.write_all(b"POST /mcp HTTP/1.1\r\n").await.unwrap();
        while writer.write_all(b"X: y\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let closed = async {
        let mut bytes = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut bytes).await;
    };
    within(async { tokio::join!(drip, closed) }).await;
}

#[tokio::test]
async fn a_slow_body_is_answered_with_408() {
    let server = start(short()).await;
    let mut stream = server.connect().await;
    let request = post("", PING);
    stream
        .write_all(&request.as_bytes()[..request.len() - 1])
        .await
        .unwrap();
    assert_eq!(read_reply(&mut stream).await.status, 408);
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_last_reply() {
    let server = start(short()).await;
    let mut stream = server.connect().await;
    stream.write_all(post("", PING).as_bytes()).await.unwrap();
    assert_eq!(read_reply(&mut stream).await.status, 200);
    assert_eq!(read_to_end(&mut stream).await, "");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed() {
    // Nothing but its deafness closes this connection in time.
    let server = start(Options {
        write_timeout: Duration::from_millis(100),
        drain_timeout: Duration::from_secs(600),
        ..Options::default()
    })
    .await;
    let mut stream = server.connect().await;
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"flood"}}"#;
    stream.write_all(post("", call).as_bytes()).await.unwrap();
    stream.readable().await.unwrap();
    server.stop.send_replace(true);
    within(server.serving).await.unwrap();
}

#[tokio::test]
async fn a_running_request_is_not_idle() {
    let mut server = start(short()).await;
    let mut stream = server.connect().await;
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"wait"}}"#;
    stream.write_all(post("", call).as_bytes()).await.unwrap();
    assert_eq!(server.event().await, Event::Started);
    let early = tokio::time::timeout(Duration::from_millis(500), server.events.recv()).await;
    assert!(early.is_err(), "dropped as if it were idle");
}

#[tokio::test]
async fn a_handler_that_takes_too_long_is_dropped_with_an_error() {
    let limits = ServiceOptions {
        request_timeout: Duration::from_millis(50),
        ..ServiceOptions::default()
    };
    let mut server = start_with(Options::default(), limits).await;
    for told in ["longer than 0.05 s", "longer than 0.07 s"] {
        let reply = server
            .call("", "tools/call", serde_json::json!({ "name": "wait" }))
            .await;
        assert_eq!((reply.status, reply.code()), (200, -32603));
        assert!(reply.message().contains(told), "{reply:?}");
        assert_eq!(server.event().await, Event::Started);
        assert_eq!(server.event().await, Event::Dropped);
        (server.set_request_timeout)(Duration::from_millis(70));
    }
}

#[tokio::test]
async fn connections_of_one_peer_are_capped() {
    let server = start(Options {
        max_connections_per_peer: 2,
        ..Options::default()
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = server.connect().await;
        stream.write_all(post("", PING).as_bytes()).await.unwrap();
        assert_eq!(read_reply(&mut stream).await.status, 200);
        held.push(stream);
    }
    assert_eq!(
        read_to_end(&mut server.connect().await).await,
        "",
        "the third is closed at once"
    );
    drop(held.pop());
    within(async {
        while server.post("", PING).await.status != 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_trusted_proxy_is_not_capped_and_its_clients_are_by_their_requests() {
    let networks = Networks::read(["127.0.0.0/8"]).unwrap();
    let mut server = start(Options {
        max_connections_per_peer: 2,
        proxies: Some(Proxies {
            networks,
            header: ForwardedHeader::XForwardedFor,
        }),
        keep_alive_interval: Duration::from_millis(50),
        ..Options::default()
    })
    .await;
    let wait = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"wait"}}"#;
    let from = |client: &str, body: &str| post(&format!("X-Forwarded-For: {client}\r\n"), body);
    let mut running = Vec::new();
    for client in [
        "192.0.2.1\r\nAccept: application/json, text/event-stream",
        "192.0.2.1\r\nAccept: application/json, text/event-stream",
        "2001:db8::1",
        "2001:db8::2",
    ] {
        let mut stream = server.connect().await;
        let request = from(client, wait);
        stream.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(server.event().await, Event::Started);
        if client.contains("stream") {
            read_until(&mut stream, ": open").await;
        }
        running.push(stream);
    }
    for (client, status) in [
        ("192.0.2.1", 429),
        ("2001:db8::ffff:2", 429),
        ("192.0.2.2", 200),
        ("2001:db8:0:1::1", 200),
        ("127.0.0.2", 400),
    ] {
        for _ in 0..3 {
            let reply = server.raw(&from(client, PING)).await;
            assert_eq!(reply.status, status, "{client}: {reply:?}");
        }
    }
    let unnamed = server.post("", PING).await;
    assert_eq!(unnamed.status, 400);
    assert!(unnamed.message().contains("X-Forwarded-For"), "{unnamed:?}");
    let other = server.post("Forwarded: for=192.0.2.2\r\n", PING).await;
    assert_eq!(other.status, 400, "{other:?}");
    // What needs no client works without one.
    let health = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(server.raw(health).await.status, 200);

    drop(running.remove(0));
    assert_eq!(server.event().await, Event::Dropped);
    within(async {
        while server.raw(&from("192.0.2.1", PING)).await.status != 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn connections_beyond_the_cap_wait_for_a_free_place() {
    let server = start(Options {
        max_connections: 1,
        ..Options::default()
    })
    .await;
    let mut first = server.connect().await;
    first.write_all(post("", PING).as_bytes()).await.unwrap();
    assert_eq!(read_reply(&mut first).await.status, 200);
    let mut second = server.connect().await;
    second.write_all(post("", PING).as_bytes()).await.unwrap();
    drop(first);
    assert_eq!(read_reply(&mut second).await.status, 200);
}

#[tokio::test]
async fn what_does_not_end_is_closed_after_the_drain_time() {
    let mut server = start(short()).await;
    let mut stream = server.connect().await;
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"wait"}}"#;
    stream.write_all(post("", call).as_bytes()).await.unwrap();
    assert_eq!(server.event().await, Event::Started);
    server.stop.send_replace(true);
    within(server.serving).await.unwrap();
    assert_eq!(
        common::within(server.events.recv()).await,
        Some(Event::Dropped)
    );
}
