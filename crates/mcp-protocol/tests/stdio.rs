//! What the stdio transport does with lines.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{Event, Fixture, Holder, within};
use mcp_protocol::Service;
use mcp_protocol::stdio::{self, Options};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

struct Pipe {
    input: Option<WriteHalf<DuplexStream>>,
    output: tokio::io::Lines<BufReader<ReadHalf<DuplexStream>>>,
    events: mpsc::UnboundedReceiver<Event>,
    revoke: watch::Sender<bool>,
    serving: JoinHandle<std::io::Result<()>>,
}

fn start(options: Options) -> Pipe {
    let (ours, theirs) = tokio::io::duplex(1024);
    let (fixture, events) = Fixture::new();
    let (revoke, revoked) = watch::channel(false);
    let (reader, writer) = tokio::io::split(theirs);
    let principal = Holder {
        name: "alice",
        revoked,
    };
    let serving = tokio::spawn(stdio::serve(
        reader,
        writer,
        Arc::new(Service::new(fixture)),
        principal,
        options,
    ));
    let (output, input) = tokio::io::split(ours);
    Pipe {
        input: Some(input),
        output: BufReader::new(output).lines(),
        events,
        revoke,
        serving,
    }
}

impl Pipe {
    async fn send(&mut self, line: &str) {
        let input = self.input.as_mut().expect("the input is open");
        within(input.write_all(format!("{line}\n").as_bytes()))
            .await
            .unwrap();
    }

    async fn call(&mut self, id: u32, method: &str, params: Value) {
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.send(&request.to_string()).await;
    }

    async fn next(&mut self) -> Option<Value> {
        let line = within(self.output.next_line()).await.unwrap()?;
        Some(serde_json::from_str(&line).unwrap_or_else(|_| panic!("not a message: {line}")))
    }

    async fn close(&mut self) {
        let mut input = self.input.take().expect("the input is open");
        input.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn initialize_sets_the_revision_of_what_follows() {
    for (asked, has_title) in [
        ("2024-11-05", false),
        ("2025-06-18", true),
        ("2026-07-28", true),
    ] {
        let mut pipe = start(Options::default());
        pipe.call(
            0,
            "initialize",
            json!({ "protocolVersion": asked, "capabilities": {} }),
        )
        .await;
        let answer = pipe.next().await.unwrap();
        let expected = if asked == "2026-07-28" {
            "2025-11-25"
        } else {
            asked
        };
        assert_eq!(answer["result"]["protocolVersion"], expected);
        pipe.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)
            .await;
        pipe.call(1, "tools/list", json!({})).await;
        let tools = pipe.next().await.unwrap();
        assert_eq!(tools["id"], 1);
        assert_eq!(
            tools["result"]["tools"][0].get("title").is_some(),
            has_title,
            "{asked}"
        );
    }
}

#[tokio::test]
async fn lines_that_are_no_messages_do_not_end_the_conversation() {
    let mut pipe = start(Options {
        max_line_bytes: 1000,
        ..Options::default()
    });
    for line in [
        "garbage",
        "",
        "\r",
        "[",
        "\u{fffd}",
        "7",
        r#"{"jsonrpc":"2.0","id":9}"#,
    ] {
        pipe.send(line).await;
    }
    pipe.send(&"x".repeat(5000)).await;
    pipe.send("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\r")
        .await;
    let refused = pipe.next().await.unwrap();
    assert_eq!(
        (&refused["id"], &refused["error"]["code"]),
        (&json!(9), &json!(-32600))
    );
    assert_eq!(
        pipe.next().await.unwrap(),
        json!({ "jsonrpc": "2.0", "id": 1, "result": {} })
    );
}

#[tokio::test]
async fn a_large_message_passes_both_ways() {
    let mut pipe = start(Options::default());
    let text = "é".repeat(300_000);
    let call = json!({ "name": "echo", "arguments": { "text": text } });
    pipe.call(1, "tools/call", call).await;
    assert_eq!(
        pipe.next().await.unwrap()["result"]["content"][0]["text"],
        text
    );
}

#[tokio::test]
async fn requests_run_beside_each_other() {
    let mut pipe = start(Options::default());
    pipe.call(1, "tools/call", json!({ "name": "wait" })).await;
    pipe.call(2, "ping", json!({})).await;
    assert_eq!(pipe.next().await.unwrap()["id"], 2);
}

#[tokio::test]
async fn a_cancelled_request_is_dropped_and_never_answered() {
    let mut pipe = start(Options::default());
    pipe.call(1, "tools/call", json!({ "name": "wait" })).await;
    assert_eq!(within(pipe.events.recv()).await, Some(Event::Started));
    for id in [json!("1"), json!(2), json!(1)] {
        let note = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id } });
        pipe.send(&note.to_string()).await;
    }
    assert_eq!(within(pipe.events.recv()).await, Some(Event::Dropped));
    pipe.call(3, "ping", json!({})).await;
    assert_eq!(pipe.next().await.unwrap()["id"], 3);
}

#[tokio::test]
async fn progress_comes_before_the_answer() {
    let mut pipe = start(Options::default());
    pipe.call(
        1,
        "tools/call",
        json!({ "name": "steps", "_meta": { "progressToken": 0 } }),
    )
    .await;
    let mut progress = Vec::new();
    loop {
        let message = pipe.next().await.unwrap();
        if message["id"] == 1 {
            break;
        }
        assert_eq!(message["params"]["progressToken"], 0);
        progress.push(message["params"]["progress"].as_f64().unwrap());
    }
    assert_eq!(progress, [1.0, 2.0]);
}

#[tokio::test]
async fn too_many_requests_are_refused_one_by_one() {
    let mut pipe = start(Options {
        max_requests: 1,
        ..Options::default()
    });
    pipe.call(1, "tools/call", json!({ "name": "wait" })).await;
    pipe.call(2, "ping", json!({})).await;
    let refused = pipe.next().await.unwrap();
    assert_eq!(
        (&refused["id"], &refused["error"]["code"]),
        (&json!(2), &json!(-32603))
    );
}

#[tokio::test]
async fn the_end_of_the_input_lets_answers_out_and_ends_the_server() {
    let mut pipe = start(Options::default());
    for id in 0..50 {
        pipe.call(id, "ping", json!({})).await;
    }
    pipe.close().await;
    for _ in 0..50 {
        assert!(pipe.next().await.is_some());
    }
    assert_eq!(pipe.next().await, None);
    within(pipe.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_end_of_the_input_does_not_wait_for_ever() {
    let drain_timeout = std::time::Duration::from_millis(50);
    let mut pipe = start(Options {
        drain_timeout,
        ..Options::default()
    });
    pipe.call(1, "tools/call", json!({ "name": "wait" })).await;
    pipe.close().await;
    within(pipe.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_revoked_principal_is_served_no_longer() {
    let mut pipe = start(Options::default());
    pipe.call(1, "tools/call", json!({ "name": "wait" })).await;
    assert_eq!(within(pipe.events.recv()).await, Some(Event::Started));
    pipe.revoke.send_replace(true);
    assert_eq!(within(pipe.events.recv()).await, Some(Event::Dropped));
    within(pipe.serving).await.unwrap().unwrap();
}
