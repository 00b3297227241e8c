//! TLS and HTTP/2 at the endpoint.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{Event, post, read_reply, start, within};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mcp_protocol::http::Options;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

struct Tls {
    server: Arc<ServerConfig>,
    client: TlsConnector,
}

fn tls(alpn: &[&[u8]]) -> Tls {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = certified.cert.der().clone();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let alpn: Vec<Vec<u8>> = alpn.iter().map(|name| name.to_vec()).collect();
    let mut server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    server.alpn_protocols = alpn.clone();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let mut client = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = alpn;
    Tls {
        server: Arc::new(server),
        client: TlsConnector::from(Arc::new(client)),
    }
}

async fn connect(connector: &TlsConnector, stream: TcpStream) -> TlsStream<TcpStream> {
    let name = ServerName::try_from("localhost").unwrap();
    within(connector.connect(name, stream)).await.unwrap()
}

#[tokio::test]
async fn requests_are_served_over_tls() {
    let tls = tls(&[b"http/1.1"]);
    let server = start(Options {
        tls: Some(tls.server),
        ..Options::default()
    })
    .await;
    let mut stream = connect(&tls.client, server.connect().await).await;
    stream.write_all(post("", PING).as_bytes()).await.unwrap();
    assert_eq!(read_reply(&mut stream).await.status, 200);
}

#[tokio::test]
async fn a_stuck_handshake_holds_nobody_up_and_is_closed() {
    let tls = tls(&[b"http/1.1"]);
    let handshake = std::time::Duration::from_millis(100);
    let options = Options {
        tls: Some(tls.server),
        tls_handshake_timeout: handshake,
        ..Options::default()
    };
    let server = start(options).await;
    let mut stuck = server.connect().await;
    let mut plain = server.connect().await;
    plain.write_all(post("", PING).as_bytes()).await.unwrap();
    let mut stream = connect(&tls.client, server.connect().await).await;
    stream.write_all(post("", PING).as_bytes()).await.unwrap();
    assert_eq!(read_reply(&mut stream).await.status, 200);
    assert_eq!(common::read_to_end(&mut stuck).await, "");
    let told = common::read_to_end(&mut plain).await;
    assert!(!told.contains("200"), "{told}");
}

#[tokio::test]
async fn plain_http_is_told_to_speak_tls() {
    let server = start(Options {
        tls: Some(tls(&[b"http/1.1"]).server),
        ..Options::default()
    })
    .await;
    let mut stream = server.connect().await;
    stream.write_all(post("", PING).as_bytes()).await.unwrap();
    let reply = read_reply(&mut stream).await;
    assert_eq!(reply.status, 400);
    assert!(reply.body.contains("https://"), "{reply:?}");
    assert_eq!(common::read_to_end(&mut stream).await, "");
}

#[tokio::test]
async fn http_2_is_served_where_it_is_on() {
    let tls = tls(&[b"h2", b"http/1.1"]);
    let server = start(Options {
        http2: true,
        tls: Some(tls.server),
        ..Options::default()
    })
    .await;
    let stream = connect(&tls.client, server.connect().await).await;
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = |uri: &str| {
        hyper::Request::post(uri)
            .header("authorization", "Bearer alice-token")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(PING)))
            .unwrap()
    };
    let reply = within(client.send_request(request("https://localhost/mcp")))
        .await
        .unwrap();
    assert_eq!(reply.status(), 200);
    let body = reply.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(&body[..], br#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    let evil = within(client.send_request(request("https://evil.com/mcp")))
        .await
        .unwrap();
    assert_eq!(evil.status(), 403);
}

#[tokio::test]
async fn a_reset_stream_drops_its_handler_and_leaves_the_others() {
    let mut server = start(Options {
        http2: true,
        ..Options::default()
    })
    .await;
    let stream = server.connect().await;
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = |body: &'static str| {
        hyper::Request::post("http://localhost/mcp")
            .header("authorization", "Bearer alice-token")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .unwrap()
    };
    let wait = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"wait"}}"#;
    let waiting = tokio::spawn(client.send_request(request(wait)));
    assert_eq!(server.event().await, Event::Started);
    waiting.abort();
    assert_eq!(server.event().await, Event::Dropped);
    let reply = within(client.send_request(request(PING))).await.unwrap();
    assert_eq!(reply.status(), 200);
}

#[tokio::test]
async fn http_2_is_refused_where_it_is_off() {
    let server = start(Options::default()).await;
    let mut stream = server.connect().await;
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    let answer = common::read_to_end(&mut stream).await;
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
}
