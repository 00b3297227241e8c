//! What the stdio transport does with lines.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "../examples/conformance/fixtures.rs"]
mod fixtures;
#[path = "../examples/conformance/prompts.rs"]
mod prompts;
#[path = "../examples/conformance/resources.rs"]
mod resources;
#[path = "../examples/conformance/tools.rs"]
mod tools;

use std::sync::Arc;

use common::{Event, Fixture, Holder, within};
use mcp_protocol::stdio::{self, Options};
use mcp_protocol::{Handler, Service};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

struct Pipe {
    input: Option<WriteHalf<DuplexStream>>,
    output: tokio::io::Lines<BufReader<ReadHalf<DuplexStream>>>,
    events: mpsc::UnboundedReceiver<Event>,
    revoke: watch::Sender<bool>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<std::io::Result<()>>,
}

fn start(options: Options) -> Pipe {
    let (fixture, events) = Fixture::new();
    Pipe {
        events,
        ..start_handler(fixture, options)
    }
}

fn start_handler<H: Handler<Principal = Holder>>(handler: H, options: Options) -> Pipe {
    let (ours, theirs) = tokio::io::duplex(1024);
    let revoke = watch::Sender::new(false);
    let (reader, writer) = tokio::io::split(theirs);
    let principal = Holder {
        name: "alice",
        revoked: revoke.clone(),
    };
    let service = Arc::new(Service::new(handler));
    let (stop, mut stopped) = watch::channel(false);
    let shutdown = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
    let serving = stdio::serve(reader, writer, service, principal, options, shutdown);
    let serving = tokio::spawn(serving);
    let (output, input) = tokio::io::split(ours);
    let events = mpsc::unbounded_channel().1;
    Pipe {
        input: Some(input),
        output: BufReader::new(output).lines(),
        events,
        revoke,
        stop,
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
async fn a_request_that_is_too_long_is_told_so() {
    let mut pipe = start(Options {
        max_line_bytes: 1000,
        ..Options::default()
    });
    let call = json!({ "name": "echo", "arguments": { "text": "é".repeat(300_000) } });
    // Members in the order in which the official clients write them.
    pipe.send(&format!(
        r#"{{"method":"tools/call","params":{call},"jsonrpc":"2.0","id":1}}"#
    ))
    .await;
    pipe.call(2, "ping", json!({})).await;
    let refused = pipe.next().await.unwrap();
    assert_eq!(
        refused,
        json!({ "jsonrpc": "2.0", "id": 1, "error": {
            "code": -32600, "message": "the message is longer than 1000 bytes; send less at once"
        } })
    );
    assert_eq!(pipe.next().await.unwrap()["id"], 2);
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
async fn requests_of_a_batch_count_one_by_one() {
    let mut pipe = start(Options {
        max_requests: 3,
        ..Options::default()
    });
    pipe.call(0, "initialize", json!({ "protocolVersion": "2025-03-26" }))
        .await;
    pipe.next().await.unwrap();
    let wait = json!({ "name": "wait" });
    let call =
        |id: u32| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": wait });
    pipe.send(&json!([call(1), call(2)]).to_string()).await;
    pipe.send(&json!([call(3), call(4), call(5)]).to_string())
        .await;
    pipe.send(&call(6).to_string()).await;
    assert_eq!(
        pipe.next().await.unwrap()["id"],
        6,
        "the batches are not yet answered"
    );
    for id in 1..=3 {
        let params = json!({ "requestId": id });
        let note =
            json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params });
        pipe.send(&note.to_string()).await;
    }
    let answers = pipe.next().await.unwrap();
    let refused: Vec<_> = answers
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (&one["id"], &one["error"]["code"]))
        .collect();
    assert_eq!(
        refused,
        [(&json!(4), &json!(-32603)), (&json!(5), &json!(-32603))]
    );
}

#[tokio::test]
async fn a_request_of_a_batch_is_cancelled_alone() {
    let mut pipe = start(Options::default());
    pipe.call(0, "initialize", json!({ "protocolVersion": "2025-03-26" }))
        .await;
    pipe.next().await.unwrap();
    pipe.send(r#"[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"wait"}},{"jsonrpc":"2.0","id":2,"method":"ping"}]"#)
        .await;
    assert_eq!(within(pipe.events.recv()).await, Some(Event::Started));
    pipe.send(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#)
        .await;
    assert_eq!(within(pipe.events.recv()).await, Some(Event::Dropped));
    assert_eq!(
        pipe.next().await.unwrap(),
        json!([{ "jsonrpc": "2.0", "id": 2, "result": {} }])
    );
}

#[tokio::test]
async fn what_comes_at_once_is_taken_one_after_the_other() {
    let initialize = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-03-26"}}"#;
    let batch = r#"[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"wait"}},{"jsonrpc":"2.0","id":2,"method":"ping"}]"#;
    let cancelled =
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    let mut pipe = start(Options::default());
    pipe.send(&format!("{initialize}\n{batch}\n{cancelled}"))
        .await;
    assert_eq!(pipe.next().await.unwrap()["id"], 0);
    let answers = pipe.next().await.unwrap();
    assert_eq!(
        answers,
        json!([{ "jsonrpc": "2.0", "id": 2, "result": {} }])
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_not_heard_for_ever() {
    let mut pipe = start(Options::default());
    let refused = "[]\n";
    let input = pipe.input.as_mut().unwrap();
    let mut sent = 0;
    // The clock goes on when nothing else does.
    let second = std::time::Duration::from_secs(1);
    while let Ok(written) = tokio::time::timeout(second, input.write_all(refused.as_bytes())).await
    {
        written.unwrap();
        sent += 1;
        assert!(sent < 100_000, "answers are piled up");
    }
    for _ in 0..sent {
        assert_eq!(pipe.next().await.unwrap()["error"]["code"], -32600);
    }
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

/// So long that a test does not see its end.
fn long_drain() -> Options {
    Options {
        drain_timeout: std::time::Duration::from_secs(3_600),
        ..Options::default()
    }
}

#[tokio::test]
async fn answers_are_out_at_the_end_of_the_input_whatever_still_runs() {
    let mut pipe = start(long_drain());
    pipe.call(0, "tools/call", json!({ "name": "wait" })).await;
    // More than the pipe holds, so that some are still to be written when the input ends.
    let calls = 1..=60;
    for id in calls.clone() {
        pipe.call(id, "ping", json!({})).await;
    }
    pipe.close().await;
    for id in calls {
        assert_eq!(pipe.next().await.unwrap()["id"], id);
    }
    assert!(!pipe.serving.is_finished(), "one still runs");
}

#[tokio::test]
async fn what_ends_silently_ends_the_server_after_the_input() {
    let silent = r#"[{"jsonrpc":"2.0","method":"notifications/x"}]"#;
    // Which of the two it sees first is chance.
    for _ in 0..50 {
        let mut pipe = start(long_drain());
        pipe.call(0, "initialize", json!({ "protocolVersion": "2025-03-26" }))
            .await;
        pipe.next().await.unwrap();
        pipe.send(silent).await;
        pipe.close().await;
        within(pipe.serving).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn the_end_of_the_input_does_not_wait_for_ever() {
    let drain_timeout = std::time::Duration::from_millis(50);
    let mut pipe = start(Options {
        drain_timeout,
        ..Options::default()
    });
    pipe.call(0, "initialize", json!({ "protocolVersion": "2025-03-26" }))
        .await;
    pipe.next().await.unwrap();
    let call = |id: u32| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "wait" } });
    pipe.send(&call(1).to_string()).await;
    pipe.send(&json!([call(2), { "jsonrpc": "2.0", "id": 3, "method": "ping" }]).to_string())
        .await;
    pipe.close().await;
    let mut answers = [pipe.next().await.unwrap(), pipe.next().await.unwrap()];
    answers.sort_by_key(Value::is_array);
    for (answer, id) in [(&answers[0], 1), (&answers[1][0], 2)] {
        assert_eq!(
            (&answer["id"], &answer["error"]["code"]),
            (&json!(id), &json!(-32603))
        );
    }
    assert_eq!(answers[1][1]["id"], 3);
    assert_eq!(pipe.next().await, None);
    within(pipe.serving).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_stops_the_server_has_everything_answered_soon() {
    let call =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "wait" } });
    for is_closed in [false, true] {
        let mut pipe = start(Options::default());
        pipe.send(&call.to_string()).await;
        assert_eq!(within(pipe.events.recv()).await, Some(Event::Started));
        if is_closed {
            pipe.close().await;
        }
        let begun = tokio::time::Instant::now();
        pipe.stop.send_replace(true);
        let answer = pipe.next().await.unwrap();
        let told = answer["error"]["message"].as_str().unwrap();
        assert!(told.starts_with("the server stops"), "{answer}");
        assert_eq!(within(pipe.events.recv()).await, Some(Event::Dropped));
        assert_eq!(pipe.next().await, None);
        within(pipe.serving).await.unwrap().unwrap();
        let took = begun.elapsed();
        assert!(took < std::time::Duration::from_secs(2), "took {took:?}");
    }
}

#[tokio::test]
async fn who_does_not_read_does_not_hold_the_end_up() {
    let mut pipe = start(Options {
        drain_timeout: std::time::Duration::from_millis(50),
        ..Options::default()
    });
    pipe.call(1, "tools/call", json!({ "name": "flood" })).await;
    // From here on there is no room for another answer, and the end of the input stands behind a request.
    let mut first = [0; 1];
    within(tokio::io::AsyncReadExt::read_exact(
        pipe.output.get_mut(),
        &mut first,
    ))
    .await
    .unwrap();
    pipe.call(2, "ping", json!({})).await;
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

const LISTEN: &str = r#"{"jsonrpc":"2.0","id":"l","method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;

fn modern(id: u32, method: &str, params: Value) -> String {
    let mut params = params;
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {}
    });
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()
}

#[tokio::test]
async fn a_conversation_may_open_in_any_way() {
    let discover = || modern(1, "server/discover", json!({}));
    let modern_list = || modern(2, "tools/list", json!({}));
    let initialize = r#"{"jsonrpc":"2.0","id":3,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{}}}"#;
    let list = r#"{"jsonrpc":"2.0","id":4,"method":"tools/list"}"#;
    let bare_discover = r#"{"jsonrpc":"2.0","id":5,"method":"server/discover"}"#;
    for (what, lines) in [
        ("discover first", vec![discover(), modern_list()]),
        (
            "discover, then initialize",
            vec![discover(), initialize.to_owned(), list.to_owned()],
        ),
        (
            "initialize, then modern",
            vec![initialize.to_owned(), modern_list(), list.to_owned()],
        ),
        (
            "garbage first",
            vec!["garbage".to_owned(), discover(), initialize.to_owned()],
        ),
        ("tools first", vec![list.to_owned(), modern_list()]),
        (
            "discover without a claim",
            vec![bare_discover.to_owned(), initialize.to_owned()],
        ),
    ] {
        let mut pipe = start(Options::default());
        for line in lines {
            pipe.send(&line).await;
            if line == "garbage" {
                continue;
            }
            let request: Value = serde_json::from_str(&line).unwrap();
            let answer = pipe.next().await.unwrap();
            assert_eq!(answer["id"], request["id"], "{what}: {line}");
            let is_modern = request["params"].get("_meta").is_some();
            let has_type = answer["result"].get("resultType").is_some();
            assert_eq!(has_type, is_modern, "{what}: {line}: {answer}");
        }
    }
}

#[tokio::test]
async fn errors_of_the_modern_envelope_need_no_headers() {
    let mut pipe = start(Options::default());
    for (meta, code) in [
        (
            json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28" }),
            -32602,
        ),
        (
            json!({
                "io.modelcontextprotocol/protocolVersion": "v9",
                "io.modelcontextprotocol/clientCapabilities": {}
            }),
            -32022,
        ),
    ] {
        pipe.call(1, "tools/list", json!({ "_meta": meta })).await;
        assert_eq!(pipe.next().await.unwrap()["error"]["code"], code, "{meta}");
    }
}

#[tokio::test]
async fn listeners_share_the_pipe_and_are_dismissed_at_its_end() {
    let mut pipe = start(Options::default());
    pipe.send(LISTEN).await;
    let acknowledged = pipe.next().await.unwrap();
    assert_eq!(
        acknowledged["method"],
        "notifications/subscriptions/acknowledged"
    );
    pipe.send(&modern(2, "tools/list", json!({}))).await;
    assert_eq!(pipe.next().await.unwrap()["id"], 2);
    pipe.close().await;
    let told = pipe.next().await.unwrap();
    assert_eq!(told["method"], "notifications/cancelled");
    assert_eq!(told["params"], json!({ "requestId": "l" }));
    let last = pipe.next().await.unwrap();
    assert_eq!(last["id"], "l");
    assert_eq!(
        last["result"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
        "l"
    );
    within(pipe.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_batch_is_a_line_for_a_line() {
    for (revision, has_batches) in [("2025-03-26", true), ("2025-06-18", false)] {
        let mut pipe = start(Options::default());
        pipe.call(0, "initialize", json!({ "protocolVersion": revision }))
            .await;
        pipe.next().await.unwrap();
        pipe.send(r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","method":"notifications/x"},{"jsonrpc":"2.0","id":2,"method":"ping"}]"#).await;
        let answer = pipe.next().await.unwrap();
        if has_batches {
            let ids: Vec<_> = answer
                .as_array()
                .unwrap()
                .iter()
                .map(|one| &one["id"])
                .collect();
            assert_eq!(ids, [1, 2]);
        } else {
            assert_eq!(answer["error"]["code"], -32600);
        }
    }
}

#[tokio::test]
async fn a_handler_asks_over_the_pipe() {
    let fixtures = fixtures::Fixtures::new(Default::default()).unwrap();
    let mut pipe = start_handler(fixtures, Options::default());
    let capabilities = json!({ "sampling": {} });
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": capabilities });
    pipe.call(0, "initialize", params).await;
    pipe.next().await.unwrap();
    pipe.call(
        1,
        "tools/call",
        json!({ "name": "test_input_required_result_sampling" }),
    )
    .await;
    let asked = pipe.next().await.unwrap();
    assert_eq!(asked["method"], "sampling/createMessage");
    let message = json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": "Paris" } });
    let answer = json!({ "jsonrpc": "2.0", "id": asked["id"], "result": message });
    pipe.send(&answer.to_string()).await;
    assert_eq!(
        pipe.next().await.unwrap()["result"]["content"][0]["text"],
        "Paris"
    );
}

#[tokio::test]
async fn a_question_is_asked_however_much_was_told_before() {
    let mut pipe = start(Options::default());
    let capabilities = json!({ "elicitation": {} });
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": capabilities });
    pipe.call(0, "initialize", params).await;
    pipe.next().await.unwrap();
    pipe.call(1, "tools/call", json!({ "name": "chat" })).await;
    let asked = loop {
        let message = pipe.next().await.unwrap();
        if message["method"] != "notifications/message" {
            break message;
        }
    };
    assert_eq!(asked["method"], "elicitation/create");
    let result = json!({ "action": "accept", "content": { "name": "Ada" } });
    let answer = json!({ "jsonrpc": "2.0", "id": asked["id"], "result": result });
    pipe.send(&answer.to_string()).await;
    let answer = loop {
        let message = pipe.next().await.unwrap();
        if message["method"] != "notifications/message" {
            break message;
        }
    };
    assert_eq!(answer["result"]["content"][0]["text"], "Ada");
}

#[tokio::test]
async fn a_session_over_the_pipe_is_told_of_changes() {
    let fixtures = fixtures::Fixtures::new(Default::default()).unwrap();
    let mut pipe = start_handler(fixtures, Options::default());
    pipe.call(0, "initialize", json!({ "protocolVersion": "2025-11-25" }))
        .await;
    pipe.next().await.unwrap();
    pipe.call(
        1,
        "resources/subscribe",
        json!({ "uri": "test://watched-resource" }),
    )
    .await;
    pipe.next().await.unwrap();
    pipe.call(2, "tools/call", json!({ "name": "test_resource_update" }))
        .await;
    let mut seen = [pipe.next().await.unwrap(), pipe.next().await.unwrap()];
    seen.sort_by_key(|message| message.get("id").is_some());
    assert_eq!(seen[0]["method"], "notifications/resources/updated");
    assert_eq!(seen[1]["id"], 2);
}

#[tokio::test]
async fn a_conversation_is_a_session_that_lasts_as_long_as_the_pipe() {
    let mut pipe = start(Options::default());
    let initialize = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
    pipe.call(0, "initialize", initialize).await;
    pipe.next().await.unwrap();
    let mut told = Vec::new();
    for id in 1..3 {
        pipe.call(id, "tools/call", json!({ "name": "keep" })).await;
        let kept = pipe.next().await.unwrap();
        let text = kept["result"]["content"][0]["text"].as_str().unwrap();
        told.push(text.to_owned());
    }
    assert!(told[0].ends_with(" None"), "{}", told[0]);
    assert_eq!(told[0], told[1]);
    assert!(pipe.events.try_recv().is_err(), "it is kept");
    pipe.close().await;
    assert_eq!(within(pipe.events.recv()).await, Some(Event::Dropped));
}
