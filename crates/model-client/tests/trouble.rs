//! Servers that fail, are slow, or misbehave.
#![allow(clippy::unwrap_used)]

mod stub;

use std::{
    net::TcpListener,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use model_client::{Embedder, Embeddings, Endpoint, Key, Limits, ModelError, Purpose, SetUpError};
use serde_json::json;
use stub::{Said, Stub};

const LIMITS: Limits = Limits {
    timeout: Duration::from_secs(20),
    connect_timeout: Duration::from_secs(5),
    answer_bytes: 100_000,
    retries: 2,
    first_wait: Duration::from_millis(1),
    longest_wait: Duration::from_secs(2),
    idle_timeout: Duration::from_secs(60),
};

fn embedder(url: String, limits: Limits) -> Embedder {
    let endpoint = Endpoint::new("some-model")
        .with_url(url)
        .with_key(Key::new("sk-canary").unwrap())
        .with_limits(limits);
    Embedder::new(Embeddings::OpenAi, endpoint, None).unwrap()
}

async fn failure(stub: &Stub, limits: Limits) -> ModelError {
    let embedder = embedder(stub.url("/v1"), limits);
    let error = embedder.embed(&["a"], Purpose::Query).await.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("canary"), "the key is shown: {shown}");
    assert!(!shown.contains('\n'), "{shown}");
    error
}

fn whole() -> Said {
    Said::ok(json!({"data": [{"index": 0, "embedding": [1.0]}]}))
}

#[tokio::test]
async fn refusals_say_what_to_do_and_only_passing_ones_are_tried_again() {
    for (status, body, attempts, needle) in [
        (
            401,
            json!({"error": {"message": "Incorrect API key provided: sk-canary"}}),
            1,
            "refused the key (HTTP 401)",
        ),
        (403, json!({}), 1, "refused the key (HTTP 403)"),
        (
            404,
            json!({"error": "model \"some-model\" not found, try pulling it first"}),
            1,
            "try pulling it first",
        ),
        (
            400,
            json!({"error": {"message": "too many tokens for sk-canary\nin all"}}),
            1,
            "too many tokens for (the key) in all",
        ),
        (
            422,
            json!({"detail": "wrong input_type"}),
            1,
            "(HTTP 422): wrong input_type",
        ),
        (413, json!("large"), 1, "refused the request (HTTP 413)"),
        (301, json!({}), 1, "redirects to another address"),
        (307, json!({}), 1, "redirects to another address"),
        (501, json!({}), 1, "failed (HTTP 501)"),
        (
            429,
            json!({"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}),
            3,
            "(HTTP 429); try again later",
        ),
        (
            529,
            json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
            3,
            "(HTTP 529); try again later",
        ),
        (500, json!({"message": "oh"}), 3, "failed (HTTP 500)"),
        (503, json!({}), 3, "failed (HTTP 503)"),
    ] {
        let answer = body.clone();
        let headers = move || vec![("Location", "http://127.0.0.1:1/".to_owned())];
        let stub = Stub::start(move |_| Said::Json(status, headers(), answer.clone()));
        let error = failure(&stub, LIMITS).await;
        let is_for_the_log = attempts == 3;
        let said = body
            .pointer("/error/message")
            .and_then(|said| said.as_str());
        if let Some(said) = said.filter(|_| is_for_the_log) {
            assert!(format!("{error:?}").contains(said), "{error:?}");
            assert!(!error.to_string().contains(said), "{error}");
        }
        let error = error.to_string();
        assert!(error.contains(needle), "{status}: {error}");
        assert_eq!(stub.seen().len(), attempts, "{status}");
    }
}

#[tokio::test]
async fn a_server_that_recovers_is_waited_for() {
    for status in [429, 500, 502, 503, 504, 529] {
        let count = AtomicUsize::new(0);
        let stub = Stub::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
            0 => Said::Json(status, vec![("Retry-After", "0".into())], json!({})),
            1 => Said::Json(status, Vec::new(), json!({})),
            _ => whole(),
        });
        let embedder = embedder(stub.url(""), LIMITS);
        let vectors = embedder.embed(&["a"], Purpose::Query).await.unwrap();
        assert_eq!(
            (vectors, stub.seen().len()),
            (vec![vec![1.0]], 3),
            "{status}"
        );
    }
}

#[tokio::test]
async fn the_wait_is_the_servers_and_bounded() {
    let busy = |wait: &'static str| {
        let count = AtomicUsize::new(0);
        Stub::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
            0 => Said::Json(429, vec![("Retry-After", wait.into())], json!({})),
            _ => whole(),
        })
    };
    let (stub, began) = (busy("1"), Instant::now());
    let patient = embedder(stub.url(""), LIMITS);
    patient.embed(&["a"], Purpose::Query).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));

    let (stub, began) = (busy("3600"), Instant::now());
    let error = failure(&stub, LIMITS).await.to_string();
    assert!(error.contains("asks to wait 3600 s"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(stub.seen().len(), 1);
}

#[tokio::test]
async fn what_is_not_the_promised_json_is_named() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    let huge = format!(
        "{head}Content-Length: 200000\r\n\r\n{}",
        " ".repeat(200_000)
    );
    for (bytes, needle) in [
        (huge, "more than 100000 bytes"),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi".into(),
            "answered with text/html and not with JSON",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".into(),
            "no content type",
        ),
        (
            format!("{head}Content-Length: 3\r\n\r\n{{]}}"),
            "not what its interface promises",
        ),
        (
            format!("{head}Content-Length: 2\r\n\r\n\u{7f}\u{7f}"),
            "not what its interface promises",
        ),
    ] {
        let answer = bytes.clone();
        let stub = Stub::start(move |_| Said::Bytes(answer.clone().into_bytes()));
        let error = failure(&stub, LIMITS).await.to_string();
        assert!(error.contains(needle), "{bytes:.90}: {error}");
        assert_eq!(stub.seen().len(), 1, "another attempt changes nothing");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_asked_for_again() {
    for broken in [
        "",
        "HTTP/1.1 200 OK\r\nContent-",
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{\"data\":",
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{",
        "SSH-2.0-OpenSSH_9.2\r\n",
    ] {
        let stub = Stub::start(move |_| Said::Bytes(broken.as_bytes().to_vec()));
        let error = failure(&stub, LIMITS).await;
        assert!(
            matches!(error, ModelError::Unreachable { .. }),
            "{broken:?}: {error}"
        );
        assert_eq!(stub.seen().len(), 3, "{broken:?}");
    }
}

#[tokio::test]
async fn a_connection_that_died_while_idle_is_replaced() {
    let stub = Stub::start(|_| {
        let body = r#"{"data": [{"index": 0, "embedding": [1.0]}]}"#;
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length:";
        // Promises to keep the connection open, and closes it.
        Said::Bytes(format!("{head} {}\r\n\r\n{body}", body.len()).into_bytes())
    });
    let embedder = embedder(stub.url(""), LIMITS);
    for _ in 0..5 {
        embedder.embed(&["a"], Purpose::Query).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_left_in_time() {
    let stub = Stub::start(|_| Said::Nothing);
    let timeout = Duration::from_millis(50);
    let error = failure(&stub, Limits { timeout, ..LIMITS }).await;
    assert!(
        matches!(error, ModelError::TimedOut { after, .. } if after == timeout),
        "{error}"
    );
    tokio::task::spawn_blocking(move || stub.wait_until_abandoned())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_dropped_call_hangs_up() {
    let stub = Stub::start(|_| Said::Nothing);
    let embedder = embedder(stub.url(""), LIMITS);
    {
        let texts = ["a"];
        let call = embedder.embed(&texts, Purpose::Query);
        tokio::pin!(call);
        tokio::select! {
            _ = &mut call => panic!("nobody answered"),
            () = async {
                while stub.seen().is_empty() {
                    tokio::task::yield_now().await;
                }
            } => {}
        }
    }
    tokio::task::spawn_blocking(move || stub.wait_until_abandoned())
        .await
        .unwrap();
}

#[tokio::test]
async fn nobody_listening_is_told_and_where_is_for_the_log() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let embedder = embedder(format!("http://{free}/v1"), LIMITS);
    let error = embedder.embed(&["a"], Purpose::Query).await.unwrap_err();
    let text = error.to_string();
    assert!(!text.contains(&free.to_string()), "{text}");
    assert!(
        format!("{error:?}").contains(&free.to_string()),
        "{error:?}"
    );
    assert!(text.contains("refused"), "{text}");
}

#[test]
fn a_provider_that_needs_a_key_is_not_set_up_without_one() {
    let endpoint = || Endpoint::new("some-model");
    for kind in [Embeddings::OpenAi, Embeddings::Voyage] {
        let made = Embedder::new(kind, endpoint(), None);
        assert!(matches!(made, Err(SetUpError::NoKey { .. })), "{kind:?}");
    }
    // A self-hosted server may not require a key.
    let own = endpoint().with_url("http://localhost:9/v1");
    assert!(Embedder::new(Embeddings::OpenAi, own, None).is_ok());
    assert!(Embedder::new(Embeddings::Ollama, endpoint(), None).is_ok());
}
