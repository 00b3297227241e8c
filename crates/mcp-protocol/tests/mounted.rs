//! A server as a part of somebody else's.
#![allow(clippy::unwrap_used)]

mod common;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use common::{Event, Fixture, Tokens, post, read_reply, within};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use mcp_protocol::Service;
use mcp_protocol::http::{Options, Server};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

/// Serves `/own` itself, and leaves all else to the server.
async fn start() -> (
    SocketAddr,
    watch::Sender<bool>,
    mpsc::UnboundedReceiver<Event>,
) {
    let (fixture, events) = Fixture::new();
    let service = Arc::new(Service::new(fixture));
    let server = Server::new(service, Tokens::default(), Options::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (close, closing) = watch::channel(false);
    tokio::spawn(async move {
        loop {
            let (stream, peer) = listener.accept().await.unwrap();
            let (server, closing) = (server.clone(), closing.clone());
            let respond = service_fn(move |request: Request<Incoming>| {
                let (server, closing) = (server.clone(), closing.clone());
                async move {
                    Ok::<_, Infallible>(if request.uri().path() == "/own" {
                        Response::new(Full::new(Bytes::from_static(b"own")).boxed_unsync())
                    } else {
                        let reply = server.respond(request, peer.ip(), closing).await;
                        reply.map(BodyExt::boxed_unsync)
                    })
                }
            });
            let serving = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), respond);
            tokio::spawn(serving);
        }
    });
    (address, close, events)
}

#[tokio::test]
async fn a_mounted_server_answers_beside_others_and_keeps_to_its_rules() {
    let (address, _close, mut events) = start().await;
    let ask = async |request: &str| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        read_reply(&mut stream).await
    };
    let own = ask("GET /own HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!((own.status, own.body.as_str()), (200, "own"));
    let health = ask("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!((health.status, &health.json()["tools"]), (200, &json!(8)));
    let call = |name: &str| {
        let params = json!({ "name": name, "arguments": { "text": "hello" } });
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
        post("", &call.to_string())
    };
    let echoed = ask(&call("echo")).await;
    assert_eq!(echoed.json()["result"]["content"][0]["text"], "hello");
    let wrong = ask(&call("echo").replace("alice-token", "wrong")).await;
    assert_eq!(wrong.status, 401);
    let rebound = ask(&call("echo").replace("Host: localhost", "Host: evil.example")).await;
    assert_eq!(rebound.status, 403);
    // Whoever serves the connection drops the request when its client leaves.
    let mut leaving = TcpStream::connect(address).await.unwrap();
    leaving.write_all(call("wait").as_bytes()).await.unwrap();
    assert_eq!(within(events.recv()).await, Some(Event::Started));
    drop(leaving);
    assert_eq!(within(events.recv()).await, Some(Event::Dropped));
}
