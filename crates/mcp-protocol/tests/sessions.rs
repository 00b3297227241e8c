//! Sessions of the revisions that have a handshake.
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

use std::time::Duration;

use common::client::{Client, REVISIONS};
use common::{Event, Running, start_handler};
use fixtures::Fixtures;
use mcp_protocol::ServiceOptions;
use mcp_protocol::http::Options;
use serde_json::{Value, json};

async fn start_with(options: ServiceOptions) -> Running {
    let fixtures = Fixtures::new(Default::default()).unwrap();
    start_handler(fixtures, Options::default(), options).await
}

async fn start() -> Running {
    start_with(ServiceOptions::default()).await
}

fn legacy() -> &'static [&'static str] {
    &REVISIONS[..4]
}

#[tokio::test]
async fn a_handshake_opens_a_session_that_remembers_the_revision() {
    let server = start().await;
    for &revision in legacy() {
        let mut client = Client::open(&server, revision).await;
        let id = client.session.clone().unwrap();
        assert!(
            id.len() >= 32 && id.bytes().all(|byte| byte.is_ascii_graphic()),
            "{id}"
        );
        let tools = client.ask("tools/list", json!({})).await;
        assert!(tools["result"]["tools"][0].get("title").is_none());
        let structured = client
            .ask("tools/call", json!({ "name": "test_structured" }))
            .await;
        let has_structure = structured["result"].get("structuredContent").is_some();
        assert_eq!(has_structure, revision >= "2025-06-18", "{revision}");
    }
}

#[tokio::test]
async fn a_request_names_one_session_or_none() {
    let server = start().await;
    let client = Client::open(&server, "2025-11-25").await;
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
    for second in [client.session.clone().unwrap(), "another".to_owned()] {
        let request = client.http(
            "POST",
            &format!("Mcp-Session-Id: {second}\r\n"),
            Some(&ping),
        );
        let reply = server.raw(&request).await;
        assert_eq!((reply.status, reply.code()), (400, -32600), "{second}");
    }
}

#[tokio::test]
async fn another_principal_finds_no_session() {
    let server = start().await;
    let mut alice = Client::open(&server, "2025-11-25").await;
    let mut bob = Client::new(&server, "2025-11-25");
    bob.token = "bob-token";
    bob.session = alice.session.clone();
    for (what, request) in [
        (
            "a request",
            bob.http(
                "POST",
                "",
                Some(&json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" })),
            ),
        ),
        (
            "a notification",
            bob.http(
                "POST",
                "",
                Some(&json!({ "jsonrpc": "2.0", "method": "notifications/x" })),
            ),
        ),
        (
            "an answer",
            bob.http(
                "POST",
                "",
                Some(&json!({ "jsonrpc": "2.0", "id": 1, "result": {} })),
            ),
        ),
        (
            "a batch",
            bob.http(
                "POST",
                "",
                Some(&json!([{ "jsonrpc": "2.0", "id": 1, "method": "ping" }])),
            ),
        ),
        ("GET", bob.http("GET", "", None)),
        ("DELETE", bob.http("DELETE", "", None)),
    ] {
        let foreign = server.raw(&request).await;
        let unknown = server
            .raw(&request.replace(&alice.session.clone().unwrap(), "0123456789abcdef"))
            .await;
        assert_eq!((foreign.status, unknown.status), (404, 404), "{what}");
        assert_eq!(foreign.body, unknown.body, "{what}");
    }
    assert_eq!(alice.ask("ping", json!({})).await["result"], json!({}));
}

#[tokio::test]
async fn delete_ends_a_session_and_its_stream() {
    let server = start().await;
    let client = Client::open(&server, "2025-11-25").await;
    let mut stream = client.stream(&client.http("GET", "", None)).await;
    assert_eq!(stream.head().status, 200);
    assert_eq!(
        server.raw(&client.http("DELETE", "", None)).await.status,
        200
    );
    assert_eq!(stream.next().await, None);
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
    assert_eq!(client.send(&ping).await.status, 404);
    assert_eq!(
        server.raw(&client.http("DELETE", "", None)).await.status,
        404
    );
}

#[tokio::test]
async fn who_is_forgotten_loses_its_sessions_and_nobody_else_does() {
    let server = start().await;
    let alice = Client::open(&server, "2025-11-25").await;
    let mut bob = Client::new(&server, "2025-11-25");
    bob.token = "bob-token";
    bob.initialize().await;
    (server.forget)("alice");
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
    assert_eq!(alice.send(&ping).await.status, 404);
    assert_eq!(bob.send(&ping).await.status, 200);
}

#[tokio::test]
async fn what_a_handler_keeps_for_a_session_goes_when_that_ends() {
    let mut server = common::start(Options::default()).await;
    let keep = json!({ "name": "keep", "arguments": {} });
    for &revision in legacy() {
        let mut client = Client::open(&server, revision).await;
        let kept = client.ask("tools/call", keep.clone()).await;
        let told = format!("{} Some(1800)", client.session.clone().unwrap());
        assert_eq!(kept["result"]["content"][0]["text"], told, "{revision}");
        let delete = client.http("DELETE", "", None);
        assert!(server.events.try_recv().is_err(), "it is kept");
        server.raw(&delete).await;
        assert_eq!(server.event().await, Event::Dropped);
    }
    let mut client = Client::new(&server, "2025-11-25");
    let kept = client.ask("tools/call", keep).await;
    assert_eq!(kept["result"]["content"][0]["text"], "none");
}

#[tokio::test]
async fn a_session_has_one_stream_which_tells_what_changed() {
    let server = start().await;
    let mut client = Client::open(&server, "2025-11-25").await;
    let watched = json!({ "uri": "test://watched-resource" });
    assert_eq!(
        client.ask("resources/subscribe", watched.clone()).await["result"],
        json!({})
    );
    let mut stream = client.stream(&client.http("GET", "", None)).await;
    let second = server.raw(&client.http("GET", "", None)).await;
    assert_eq!(second.status, 409);

    server.changes.resource("test://another");
    server.changes.resource("test://watched-resource");
    server.changes.tools();
    let updated = stream.next().await.unwrap();
    assert_eq!(updated["method"], "notifications/resources/updated");
    assert_eq!(updated["params"], watched);
    assert_eq!(
        stream.next().await.unwrap()["method"],
        "notifications/tools/list_changed"
    );

    client.ask("resources/unsubscribe", watched).await;
    server.changes.resource("test://watched-resource");
    server.changes.prompts();
    assert_eq!(
        stream.next().await.unwrap()["method"],
        "notifications/prompts/list_changed"
    );
}

#[tokio::test]
async fn a_stream_ends_with_its_principal_and_with_the_server() {
    let server = start().await;
    let alice = Client::open(&server, "2025-11-25").await;
    let mut bob = Client::new(&server, "2025-11-25");
    bob.token = "bob-token";
    bob.initialize().await;
    let mut alices = alice.stream(&alice.http("GET", "", None)).await;
    let mut bobs = bob.stream(&bob.http("GET", "", None)).await;
    server.tokens.alice.send_replace(true);
    assert_eq!(alices.next().await, None);
    server.changes.tools();
    assert_eq!(
        bobs.next().await.unwrap()["method"],
        "notifications/tools/list_changed"
    );
    server.stop.send_replace(true);
    assert_eq!(bobs.next().await, None);
}

#[tokio::test]
async fn a_cancelled_request_is_dropped_and_answered_with_an_empty_stream() {
    let mut server = common::start(Options::default()).await;
    let (client, call) = {
        let mut client = Client::open(&server, "2025-11-25").await;
        let call = client.request("tools/call", json!({ "name": "wait" }));
        (client.session.clone(), call)
    };
    let mut socket = server.connect().await;
    let session = client.unwrap();
    let headers = format!("Accept: text/event-stream\r\nMcp-Session-Id: {session}\r\n");
    let request = common::post(&headers, &call.to_string());
    tokio::io::AsyncWriteExt::write_all(&mut socket, request.as_bytes())
        .await
        .unwrap();
    assert_eq!(server.event().await, Event::Started);
    let note = json!({
        "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": call["id"] }
    });
    let headers = format!("Mcp-Session-Id: {session}\r\n");
    assert_eq!(server.post(&headers, &note.to_string()).await.status, 202);
    assert_eq!(server.event().await, Event::Dropped);
    let reply = common::read_reply(&mut socket).await;
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (200, Some("text/event-stream"))
    );
    assert_eq!(reply.events(), Vec::<Value>::new());
}

#[tokio::test]
async fn a_request_can_be_cancelled_after_an_earlier_one_of_its_identifier_has_ended() {
    let mut server = common::start(Options::default()).await;
    let (session, call) = {
        let mut client = Client::open(&server, "2025-11-25").await;
        let call = client.request("tools/call", json!({ "name": "wait" }));
        (client.session.clone().unwrap(), call)
    };
    let headers = format!("Accept: text/event-stream\r\nMcp-Session-Id: {session}\r\n");
    let request = common::post(&headers, &call.to_string());
    let mut sockets = Vec::new();
    for _ in 0..2 {
        let mut socket = server.connect().await;
        tokio::io::AsyncWriteExt::write_all(&mut socket, request.as_bytes())
            .await
            .unwrap();
        assert_eq!(server.event().await, Event::Started);
        sockets.push(socket);
    }
    drop(sockets.remove(0));
    assert_eq!(server.event().await, Event::Dropped);
    let note = json!({
        "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": call["id"] }
    });
    let headers = format!("Mcp-Session-Id: {session}\r\n");
    assert_eq!(server.post(&headers, &note.to_string()).await.status, 202);
    assert_eq!(server.event().await, Event::Dropped);
}

#[tokio::test]
async fn the_level_of_a_session_filters_its_log() {
    let server = start().await;
    let mut client = Client::open(&server, "2025-06-18").await;
    let call = json!({ "name": "test_tool_with_logging" });
    assert_eq!(
        client.exchange("tools/call", call.clone()).await.len(),
        4,
        "info is the default"
    );
    let refused = client
        .ask("logging/setLevel", json!({ "level": "loud" }))
        .await;
    assert_eq!(refused["error"]["code"], -32602);
    assert_eq!(
        client
            .ask("logging/setLevel", json!({ "level": "error" }))
            .await["result"],
        json!({})
    );
    assert_eq!(client.exchange("tools/call", call).await.len(), 1);
}

#[tokio::test]
async fn a_handler_asks_through_the_stream_of_its_request() {
    let server = start().await;
    for (revision, tool, said) in [
        ("2024-11-05", "test_input_required_result_sampling", "Paris"),
        (
            "2025-03-26",
            "test_input_required_result_list_roots",
            "1 folders",
        ),
        (
            "2025-06-18",
            "test_input_required_result_elicitation",
            "Ada",
        ),
        (
            "2025-11-25",
            "test_input_required_result_multi_round",
            "Ada",
        ),
        (
            "2025-11-25",
            "test_input_required_result_multiple_inputs",
            "1 folders",
        ),
        (
            "2025-11-25",
            "test_input_required_result_request_state",
            "state-ok",
        ),
    ] {
        let mut client = Client::open(&server, revision).await;
        let answer = client.ask("tools/call", json!({ "name": tool })).await;
        let text = answer["result"]["content"][0]["text"]
            .as_str()
            .unwrap_or_default();
        assert!(text.contains(said), "{revision} {tool}: {answer}");
    }
}

#[tokio::test]
async fn a_client_that_cannot_be_asked_is_told() {
    let server = start().await;
    let call = json!({ "name": "test_input_required_result_elicitation" });
    let mut undeclared = Client::new(&server, "2025-11-25");
    undeclared.capabilities = json!({});
    undeclared.initialize().await;
    let mut sessionless = Client::new(&server, "2025-11-25");
    let mut deaf = Client::open(&server, "2025-11-25").await;
    deaf.streams = false;
    let mut early = Client::open(&server, "2025-03-26").await; // It has no elicitation.
    for client in [&mut undeclared, &mut sessionless, &mut deaf, &mut early] {
        let answer = client.ask("tools/call", call.clone()).await;
        assert_eq!(answer["error"]["code"], -32600, "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_answer_is_waited_for_no_longer_than_allowed() {
    let input_timeout = Duration::from_millis(50);
    let server = start_with(ServiceOptions {
        input_timeout,
        ..ServiceOptions::default()
    })
    .await;
    let mut client = Client::open(&server, "2025-11-25").await;
    let call = client.request(
        "tools/call",
        json!({ "name": "test_sampling", "arguments": { "prompt": "?" } }),
    );
    let mut stream = client.stream(&client.http("POST", "", Some(&call))).await;
    assert_eq!(
        stream.next().await.unwrap()["method"],
        "sampling/createMessage"
    );
    assert_eq!(stream.next().await.unwrap()["error"]["code"], -32603);
    let late = json!({ "jsonrpc": "2.0", "id": 1, "result": {} });
    assert_eq!(client.send(&late).await.status, 400);
}

#[tokio::test]
async fn a_batch_is_answered_in_one_array_by_the_revisions_that_have_batches() {
    let server = start().await;
    let batch = json!([
        { "jsonrpc": "2.0", "id": "a", "method": "ping" },
        { "jsonrpc": "2.0", "method": "notifications/initialized" },
        { "jsonrpc": "2.0", "id": 2, "method": "no/such" },
        { "jsonrpc": "2.0", "id": 3, "method": "initialize", "params": { "protocolVersion": "2025-03-26" } },
        { "jsonrpc": "2.0", "id": 4 },
        7,
        { "jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": { "name": "test_simple_text" } },
    ]);
    for &revision in legacy() {
        let client = Client::open(&server, revision).await;
        let reply = client.send(&batch).await;
        if revision > "2025-03-26" {
            assert_eq!((reply.status, reply.code()), (400, -32600), "{revision}");
            continue;
        }
        assert_eq!(reply.status, 200, "{reply:?}");
        let answers = reply.json();
        let seen: Vec<_> = answers
            .as_array()
            .unwrap()
            .iter()
            .map(|answer| (answer["id"].clone(), answer["error"]["code"].as_i64()))
            .collect();
        assert_eq!(
            seen,
            [
                (json!("a"), None),
                (json!(2), Some(-32601)),
                (json!(3), Some(-32600)),
                (json!(4), Some(-32600)),
                (Value::Null, Some(-32600)),
                (json!(5), None),
            ]
        );
        let silent = json!([{ "jsonrpc": "2.0", "method": "notifications/initialized" }]);
        let reply = client.send(&silent).await;
        assert_eq!((reply.status, reply.body.as_str()), (202, ""));
        let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
        for (length, status) in [(0, 400), (20, 200), (21, 400)] {
            let batch = Value::Array(vec![ping.clone(); length]);
            assert_eq!(
                client.send(&batch).await.status,
                status,
                "{length} messages"
            );
        }
    }
}

#[tokio::test]
async fn sessions_of_one_principal_are_limited() {
    let limits = ServiceOptions {
        max_sessions_per_principal: 3,
        ..ServiceOptions::default()
    };
    let server = start_with(limits).await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(Client::open(&server, "2025-11-25").await);
    }
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
    let mut statuses = Vec::new();
    for client in &clients {
        statuses.push(client.send(&ping).await.status);
    }
    assert_eq!(statuses, [404, 200, 200, 200]);
}

#[tokio::test]
async fn an_idle_session_ends() {
    let session_idle_timeout = Duration::from_millis(1);
    let server = start_with(ServiceOptions {
        session_idle_timeout,
        ..ServiceOptions::default()
    })
    .await;
    let client = Client::open(&server, "2025-11-25").await;
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
    // A request before its time would only keep it.
    tokio::time::sleep(2 * session_idle_timeout).await;
    assert_eq!(client.send(&ping).await.status, 404);
}

#[tokio::test]
async fn a_revision_that_nobody_knows_is_refused_whatever_names_it() {
    let server = start().await;
    let client = Client::open(&server, "2025-11-25").await;
    let unknown = "MCP-Protocol-Version: 1999-01-01\r\n";
    let note = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    for request in [
        client.http("POST", unknown, Some(&note)),
        client.http("GET", unknown, None),
        client.http("DELETE", unknown, None),
    ] {
        let reply = server.raw(&request).await;
        assert_eq!(reply.status, 400, "{request}");
        assert!(reply.message().contains("1999-01-01"), "{reply:?}");
    }
    assert_eq!(client.send(&note).await.status, 202);
}

#[tokio::test]
async fn what_cannot_be_completed_is_told() {
    let server = start().await;
    for revision in REVISIONS {
        let mut client = Client::open(&server, revision).await;
        let complete = json!({ "ref": { "type": "ref/prompt", "name": "nobody" }, "argument": { "name": "a", "value": "" } });
        let answer = client.ask("completion/complete", complete).await;
        assert_eq!(answer["error"]["code"], -32602, "{revision}: {answer}");
    }
}

#[tokio::test]
async fn a_resource_that_is_not_there_has_the_code_of_its_era() {
    let server = start().await;
    for revision in REVISIONS {
        let mut client = Client::open(&server, revision).await;
        let answer = client
            .ask("resources/read", json!({ "uri": "test://nothing" }))
            .await;
        let code = if revision == "2026-07-28" {
            -32602
        } else {
            -32002
        };
        assert_eq!(answer["error"]["code"], code, "{revision}");
        assert_eq!(
            answer["error"]["data"]["uri"], "test://nothing",
            "{revision}"
        );
    }
}
