//! What the HTTP endpoint does to clients that are silent, slow, deaf or too many.
#![allow(clippy::unwrap_used)]

mod common;

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use common::{
    Event, Running, post, read_reply, read_to_end, read_until, start, start_with, within,
};
use futures_util::FutureExt;
use http_body_util::{BodyExt, Full};
use hyper::Response;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mcp_protocol::ServiceOptions;
use mcp_protocol::http::{ForwardedHeader, Options, Proxies};
use networks::Networks;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinHandle;

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
const WAIT: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"wait"}}"#;
const FLOOD: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"flood"}}"#;

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
async fn requests_that_still_arrive_take_up_what_their_principal_may_have() {
    let one = ServiceOptions {
        max_requests_per_principal: 1,
        ..ServiceOptions::default()
    };
    let room_for_one = ServiceOptions {
        max_unread_bytes_per_principal: 150_000,
        ..ServiceOptions::default()
    };
    let filler = "x".repeat(100_000);
    let large =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"x":"{filler}"}}}}"#);
    for (options, body) in [(one, PING), (room_for_one, &*large)] {
        let server = start_with(Options::default(), options).await;
        let request = post("", body);
        let (begin, end) = request.split_at(request.len() - 1);
        let (mut first, mut second) = (server.connect().await, server.connect().await);
        for stream in [&mut first, &mut second] {
            stream.write_all(begin.as_bytes()).await.unwrap();
        }
        let (refused, other) = tokio::select! {
            refused = read_reply(&mut first) => (refused, &mut second),
            refused = read_reply(&mut second) => (refused, &mut first),
        };
        assert_eq!(refused.status, 429, "{refused:?}");
        let bobs = request.replace("alice-token", "bob-token");
        assert_eq!(server.raw(&bobs).await.status, 200);
        other.write_all(end.as_bytes()).await.unwrap();
        assert_eq!(read_reply(other).await.status, 200);
        assert_eq!(server.raw(&request).await.status, 200);
    }
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
    stream.write_all(post("", FLOOD).as_bytes()).await.unwrap();
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

/// Each client behind the proxy may have two requests at once.
fn two_behind_a_proxy() -> Options {
    Options {
        max_connections_per_peer: 2,
        proxies: Some(Proxies {
            networks: Networks::read(["127.0.0.0/8"]).unwrap(),
            header: ForwardedHeader::XForwardedFor,
        }),
        http2: true,
        ..Options::default()
    }
}

/// Room for any number of answers that are not read.
fn roomy() -> ServiceOptions {
    ServiceOptions {
        max_unread_bytes_per_principal: usize::MAX,
        max_unread_bytes: usize::MAX,
        ..ServiceOptions::default()
    }
}

#[tokio::test]
async fn a_client_behind_a_proxy_that_does_not_read_keeps_its_places() {
    let server = start_with(two_behind_a_proxy(), roomy()).await;
    let from = |client: &str, body: &str| post(&format!("X-Forwarded-For: {client}\r\n"), body);
    let mut deaf = Vec::new();
    for _ in 0..2 {
        let mut stream = server.connect().await;
        let request = from("192.0.2.1\r\nConnection: close", FLOOD);
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.readable().await.unwrap();
        deaf.push(stream);
    }
    for (client, status) in [("192.0.2.1", 429), ("192.0.2.2", 200)] {
        let reply = server.raw(&from(client, PING)).await;
        assert_eq!(reply.status, status, "{client}: {reply:?}");
    }
    let mut reading = deaf.remove(0);
    within(async {
        tokio::io::copy(&mut reading, &mut tokio::io::sink())
            .await
            .unwrap();
        while server.raw(&from("192.0.2.1", PING)).await.status != 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// A connection that has many streams.
async fn streams(server: &Running) -> (SendRequest<Full<Bytes>>, JoinHandle<hyper::Result<()>>) {
    let stream = TokioIo::new(server.connect().await);
    let opened = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
    let (client, connection) = opened.await.unwrap();
    (client, tokio::spawn(connection))
}

async fn send(
    to: &mut SendRequest<Full<Bytes>>,
    from: &str,
    body: &'static str,
) -> Response<Incoming> {
    let request = hyper::Request::post("http://localhost/mcp")
        .header("authorization", "Bearer alice-token")
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("x-forwarded-for", from)
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    within(to.send_request(request)).await.unwrap()
}

/// Clients take a hundred for what they may, until they are told.
#[tokio::test]
async fn a_hundred_requests_at_once_on_a_new_connection_are_all_answered() {
    let server = start(Options {
        http2: true,
        ..Options::default()
    })
    .await;
    let stream = TokioIo::new(server.connect().await);
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    builder.initial_max_send_streams(100);
    let (client, connection) = builder.handshake(stream).await.unwrap();
    let asked = (0..100).map(|_| {
        let mut client = client.clone();
        async move { send(&mut client, "", PING).await.status() }
    });
    let mut asked = pin!(futures_util::future::join_all(asked));
    // All of them are on their way before the connection has read anything.
    assert!(asked.as_mut().now_or_never().is_none());
    tokio::spawn(connection);
    let statuses = within(asked).await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
}

#[tokio::test]
async fn nor_does_one_that_does_not_read_a_stream_of_many() {
    let server = start_with(two_behind_a_proxy(), roomy()).await;
    let (mut proxy, _connection) = streams(&server).await;
    let mut deaf = Vec::new();
    for _ in 0..2 {
        deaf.push(send(&mut proxy, "192.0.2.1", FLOOD).await);
    }
    assert_eq!(send(&mut proxy, "192.0.2.1", PING).await.status(), 429);
    assert_eq!(send(&mut proxy, "192.0.2.2", PING).await.status(), 200);
    let mut reading = deaf.remove(0).into_body();
    let mut bytes = 0;
    within(async {
        while let Some(frame) = reading.frame().await {
            bytes += frame.unwrap().into_data().unwrap().len();
        }
        while send(&mut proxy, "192.0.2.1", PING).await.status() != 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(bytes > 64 << 20, "{bytes}");
}

#[tokio::test]
async fn an_answer_that_is_not_read_counts_among_what_its_principal_runs() {
    let two = ServiceOptions {
        max_requests_per_principal: 2,
        ..roomy()
    };
    let http2 = Options {
        http2: true,
        ..Options::default()
    };
    let server = start_with(http2, two).await;
    let mut deaf = server.connect().await;
    let request = post("Connection: close\r\n", FLOOD);
    deaf.write_all(request.as_bytes()).await.unwrap();
    deaf.readable().await.unwrap();
    let (mut client, _connection) = streams(&server).await;
    let unread = send(&mut client, "", FLOOD).await;
    assert_eq!(server.raw(&post("", PING)).await.status, 429);
    within(async {
        tokio::io::copy(&mut deaf, &mut tokio::io::sink())
            .await
            .unwrap();
        while server.raw(&post("", PING)).await.status != 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let _again = send(&mut client, "", FLOOD).await;
    assert_eq!(send(&mut client, "", PING).await.status(), 429);
    // Whoever hangs up has no answers to read.
    drop(unread);
    within(async {
        while send(&mut client, "", PING).await.status() != 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Has alice leave a long answer unread and ask for another one, which she gets only when she has read the first.
async fn leaves_one_unread(limits: ServiceOptions) {
    let http2 = Options {
        http2: true,
        ..Options::default()
    };
    let server = start_with(http2, limits).await;
    let (mut client, _connection) = streams(&server).await;
    let unread = send(&mut client, "", FLOOD).await;
    assert_eq!(unread.status(), 200);
    let refused = send(&mut client, "", FLOOD).await;
    assert_eq!(refused.status(), 429);
    let told = within(refused.into_body().collect()).await.unwrap();
    let told = String::from_utf8(told.to_bytes().into()).unwrap();
    assert!(told.contains("others that you have not read"), "{told}");
    let short = send(&mut client, "", PING).await;
    assert_eq!(short.status(), 200, "a short answer");
    drop(unread);
    within(async {
        while send(&mut client, "", FLOOD).await.status() != 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn answers_that_are_not_read_take_no_more_memory_than_their_principal_may() {
    leaves_one_unread(ServiceOptions {
        max_unread_bytes_per_principal: 1,
        ..roomy()
    })
    .await;
}

#[tokio::test]
async fn nor_than_all_of_them_may() {
    leaves_one_unread(ServiceOptions {
        max_unread_bytes: 1,
        ..roomy()
    })
    .await;
}

#[tokio::test]
async fn a_client_that_does_not_read_one_of_its_streams_is_closed() {
    let mut server = start(Options {
        http2: true,
        write_timeout: Duration::from_millis(200),
        keep_alive_interval: Duration::from_millis(50),
        ..Options::default()
    })
    .await;
    let (mut client, connection) = streams(&server).await;
    // One that runs, and is read, does not keep the other.
    let running = send(&mut client, "192.0.2.1", WAIT).await;
    assert_eq!(server.event().await, Event::Started);
    let reading = tokio::spawn(running.into_body().collect());
    let early = tokio::time::timeout(Duration::from_millis(600), server.events.recv()).await;
    assert!(early.is_err(), "dropped while it was read");
    let _deaf = send(&mut client, "192.0.2.1", FLOOD).await;
    assert_eq!(server.event().await, Event::Dropped);
    assert!(within(reading).await.unwrap().is_err());
    drop(within(connection).await);
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
async fn what_does_not_end_is_told_so_after_the_drain_time() {
    let mut server = start(short()).await;
    let batch = format!(r#"[{{"jsonrpc":"2.0","id":2,"method":"ping"}},{WAIT}]"#);
    let mut connections = Vec::new();
    for (headers, body) in [
        ("", WAIT),
        ("Accept: application/json, text/event-stream\r\n", WAIT),
        ("MCP-Protocol-Version: 2025-03-26\r\n", batch.as_str()),
    ] {
        let mut stream = server.connect().await;
        let request = post(headers, body);
        stream.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(server.event().await, Event::Started);
        connections.push(stream);
    }
    server.stop.send_replace(true);
    let [object, events, array] = &mut connections[..] else {
        panic!("three connections");
    };
    let stopped = json!(-32603);
    let reply = read_reply(object).await;
    assert_eq!((reply.status, &reply.json()["id"]), (503, &json!(1)));
    assert_eq!(reply.json()["error"]["code"], stopped);
    let reply = read_reply(events).await;
    assert_eq!((reply.status, reply.events().len()), (503, 0), "{reply:?}");
    assert_eq!(reply.json()["error"]["code"], stopped);
    let reply = read_reply(array).await;
    let answers = reply.json();
    assert_eq!(
        (reply.status, answers[0].get("result")),
        (200, Some(&json!({})))
    );
    assert_eq!(answers[1]["error"]["code"], stopped);
    within(server.serving).await.unwrap();
    for _ in 0..3 {
        assert_eq!(within(server.events.recv()).await, Some(Event::Dropped));
    }
}

#[tokio::test]
async fn a_stream_that_does_not_end_is_told_so_after_the_drain_time() {
    let mut server = start(short()).await;
    let mut stream = server.connect().await;
    let call = r#"{"jsonrpc":"2.0","id":"s","method":"tools/call","params":{"name":"wait","_meta":{"progressToken":1}}}"#;
    let headers = "Accept: application/json, text/event-stream\r\n";
    stream
        .write_all(post(headers, call).as_bytes())
        .await
        .unwrap();
    assert_eq!(server.event().await, Event::Started);
    server.stop.send_replace(true);
    let events = read_reply(&mut stream).await.events();
    assert_eq!(events[0]["method"], "notifications/progress");
    assert_eq!(
        (&events[1]["id"], &events[1]["error"]["code"]),
        (&json!("s"), &json!(-32603))
    );
    assert_eq!(events.len(), 2);
    within(server.serving).await.unwrap();
    assert_eq!(within(server.events.recv()).await, Some(Event::Dropped));
}

#[tokio::test]
async fn who_does_not_read_what_did_not_end_does_not_hold_the_server_up() {
    let server = start(Options {
        write_timeout: Duration::from_secs(600),
        ..short()
    })
    .await;
    let mut stream = server.connect().await;
    stream.write_all(post("", FLOOD).as_bytes()).await.unwrap();
    let mut first = [0; 1];
    within(tokio::io::AsyncReadExt::read_exact(&mut stream, &mut first))
        .await
        .unwrap();
    server.stop.send_replace(true);
    within(server.serving).await.unwrap();
}

#[tokio::test]
async fn streams_of_one_connection_that_do_not_end_are_told_so_after_the_drain_time() {
    let mut server = start(Options {
        http2: true,
        ..short()
    })
    .await;
    let (mut client, connection) = streams(&server).await;
    let mut first = client.clone();
    let (waiting, running) = tokio::join!(send(&mut first, "192.0.2.1", WAIT), async {
        assert_eq!(server.event().await, Event::Started);
        let running = send(&mut client, "192.0.2.1", PING).await;
        server.stop.send_replace(true);
        running
    });
    assert_eq!(
        (waiting.status().as_u16(), running.status().as_u16()),
        (503, 200)
    );
    within(server.serving).await.unwrap();
    drop(within(connection).await);
}
