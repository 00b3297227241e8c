//! Certificates are checked.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use model_client::{Embedder, Embeddings, Endpoint, Limits, ModelError, Purpose, SetUpError};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

/// Serves one vector to clients that trust its certificate; returns its port and the certificate's file.
async fn serve() -> (u16, tempfile::NamedTempFile) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(tcp).await else {
                continue;
            };
            let mut request = Vec::new();
            while !request.ends_with(b"}") && stream.read_buf(&mut request).await.unwrap() > 0 {}
            let body = r#"{"embeddings": [[1.0]]}"#;
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\n";
            let answer = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    (port, file)
}

fn endpoint(host: &str, port: u16) -> Endpoint {
    Endpoint::new("m")
        .with_url(format!("https://{host}:{port}"))
        .with_limits(Limits {
            retries: 0,
            ..Limits::default()
        })
}

#[tokio::test]
async fn only_a_trusted_certificate_for_the_host_is_taken() {
    let (port, file) = serve().await;
    let trusting = |host: &str| endpoint(host, port).with_authorities(file.path());
    let ask = async |endpoint: Endpoint| {
        let embedder = Embedder::new(Embeddings::Ollama, endpoint, None).unwrap();
        embedder.embed(&["a"], Purpose::Query).await
    };
    assert_eq!(ask(trusting("localhost")).await.unwrap(), [[1.0]]);
    for (endpoint, needle) in [
        (trusting("127.0.0.1"), "certificate is for another host"),
        (endpoint("localhost", port), "certificate"),
    ] {
        let error = ask(endpoint).await.unwrap_err();
        assert!(matches!(error, ModelError::Unreachable { .. }), "{error}");
        let shown = error.to_string();
        assert!(shown.contains(needle), "{shown}");
        for host in ["localhost", "127.0.0.1"] {
            assert!(!shown.contains(host), "{shown}");
        }
    }
    // The operator's log contains both hosts.
    let error = ask(trusting("127.0.0.1")).await.unwrap_err();
    let logged = format!("{error:?}");
    assert!(
        logged.contains("127.0.0.1") && logged.contains("localhost"),
        "{logged}"
    );
}

#[test]
fn a_file_without_certificates_is_named() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    let made = |path: &std::path::Path| {
        let endpoint = endpoint("localhost", 1).with_authorities(path);
        Embedder::new(Embeddings::Ollama, endpoint, None).map(|_| ())
    };
    let error = made(empty.path()).unwrap_err();
    assert!(matches!(error, SetUpError::Untrusted(_)), "{error}");
    let error = made("/nowhere.pem".as_ref()).unwrap_err();
    assert!(error.to_string().contains("/nowhere.pem"), "{error}");
    // This may be a key that was put there by mistake and has lost its line breaks.
    let one_line = "-----BEGIN PRIVATE KEY-----Y2FuYXJ5-----END PRIVATE KEY-----";
    std::fs::write(empty.path(), one_line).unwrap();
    let told = made(empty.path()).unwrap_err().to_string();
    // The bytes of "Y2F" as a list.
    assert!(!told.contains("89, 50, 70"), "{told}");
    assert!(told.contains("must be PEM"), "{told}");
}

#[test]
fn a_pipe_or_an_endless_file_is_no_file_of_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    for path in [pipe.as_path(), "/dev/zero".as_ref(), folder.path()] {
        let endpoint = endpoint("localhost", 1).with_authorities(path);
        let (tell, told) = std::sync::mpsc::channel();
        // In a thread, as a client that blocks on a pipe would do so even after the test has failed.
        std::thread::spawn(move || {
            let made = Embedder::new(Embeddings::Ollama, endpoint, None).map(|_| ());
            let _ = tell.send(made.unwrap_err().to_string());
        });
        let told = told.recv_timeout(std::time::Duration::from_secs(20));
        let told = told.unwrap_or_else(|_| panic!("{} is waited for", path.display()));
        assert!(told.contains("not a regular file"), "{told}");
        assert!(told.contains(&path.display().to_string()), "{told}");
    }
}
