//! Streams, rounds and tasks of 2026-07-28.
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

use common::client::{Client, MODERN, Stream};
use common::{Event, Running, start_handler, within};
use fixtures::Fixtures;
use mcp_protocol::ServiceOptions;
use mcp_protocol::http::Options;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

async fn start() -> Running {
    start_with(ServiceOptions::default()).await
}

async fn start_with(options: ServiceOptions) -> Running {
    let fixtures = Fixtures::new(Default::default()).unwrap();
    start_handler(fixtures, Options::default(), options).await
}

async fn listen(client: &mut Client<'_>, wanted: Value) -> (Value, Stream) {
    let request = client.request("subscriptions/listen", json!({ "notifications": wanted }));
    let stream = client
        .stream(&client.http("POST", "", Some(&request)))
        .await;
    (request["id"].clone(), stream)
}

#[tokio::test]
async fn a_listener_is_acknowledged_and_told_what_it_asked_for_only() {
    let server = start().await;
    let mut client = Client::open(&server, MODERN).await;
    let (id, mut stream) = listen(
        &mut client,
        json!({ "toolsListChanged": true, "resourceSubscriptions": ["test://watched-resource"] }),
    )
    .await;
    assert!(stream.is_events());
    let first = stream.next().await.unwrap();
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(first["params"]["_meta"][SUBSCRIPTION], id);
    assert_eq!(
        first["params"]["notifications"],
        json!({ "toolsListChanged": true, "resourceSubscriptions": ["test://watched-resource"] })
    );
    server.changes.prompts();
    server.changes.resources();
    server.changes.resource("test://another");
    server.changes.resource("test://watched-resource");
    server.changes.tools();
    let updated = stream.next().await.unwrap();
    assert_eq!(updated["params"]["uri"], "test://watched-resource");
    assert_eq!(updated["params"]["_meta"][SUBSCRIPTION], id);
    assert_eq!(
        stream.next().await.unwrap()["method"],
        "notifications/tools/list_changed"
    );
}

#[tokio::test]
async fn a_listener_is_dismissed_with_a_result_when_the_server_stops() {
    let server = start().await;
    let mut client = Client::open(&server, MODERN).await;
    let (id, mut stream) = listen(&mut client, json!({ "toolsListChanged": true })).await;
    stream.next().await.unwrap();
    server.stop.send_replace(true);
    let last = stream.next().await.unwrap();
    assert_eq!(last["id"], id);
    assert_eq!(last["result"]["resultType"], "complete");
    assert_eq!(last["result"]["_meta"][SUBSCRIPTION], id);
    assert_eq!(stream.next().await, None);
    within(server.serving).await.unwrap();
}

#[tokio::test]
async fn a_listener_whose_rights_end_is_told_so() {
    let server = start().await;
    let mut client = Client::open(&server, MODERN).await;
    let (id, mut stream) = listen(&mut client, json!({})).await;
    assert_eq!(
        stream.next().await.unwrap()["params"]["notifications"],
        json!({})
    );
    server.tokens.alice.send_replace(true);
    let last = stream.next().await.unwrap();
    assert_eq!(last["id"], id);
    assert!(
        last["error"]["message"]
            .as_str()
            .unwrap()
            .contains("was removed"),
        "{last}"
    );
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn listeners_take_no_place_of_a_running_request() {
    let options = ServiceOptions {
        max_requests_per_principal: 1,
        ..ServiceOptions::default()
    };
    let server = start_with(options).await;
    let mut client = Client::open(&server, MODERN).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let (_, mut stream) = listen(&mut client, json!({})).await;
        stream.next().await.unwrap();
        open.push(stream);
    }
    let tools = client.ask("tools/list", json!({})).await;
    assert!(tools["result"]["tools"].is_array(), "{tools}");
}

#[tokio::test]
async fn streams_of_one_principal_are_limited_and_given_back() {
    let limits = ServiceOptions {
        max_streams_per_principal: 1,
        ..ServiceOptions::default()
    };
    let server = start_with(limits).await;
    let mut client = Client::open(&server, MODERN).await;
    let (_, mut first) = listen(&mut client, json!({})).await;
    first.next().await.unwrap();
    let (_, second) = listen(&mut client, json!({})).await;
    assert_eq!(second.head().status, 429);
    drop(first);
    within(async {
        loop {
            let (_, again) = listen(&mut client, json!({})).await;
            if again.head().status == 200 {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn closing_the_stream_of_a_request_cancels_it() {
    let mut server = common::start(Options::default()).await;
    let request = {
        let mut client = Client::open(&server, MODERN).await;
        client.capabilities = json!({});
        let meta = json!({ "progressToken": 7 });
        let call = client.request("tools/call", json!({ "name": "wait", "_meta": meta }));
        client.http("POST", "", Some(&call))
    };
    let mut socket = server.connect().await;
    socket.write_all(request.as_bytes()).await.unwrap();
    common::read_until(&mut socket, "\"progressToken\":7").await;
    assert_eq!(server.event().await, Event::Started);
    drop(socket);
    assert_eq!(server.event().await, Event::Dropped);
}

#[tokio::test]
async fn nothing_is_logged_unless_the_request_asks_for_it() {
    let server = start().await;
    let mut client = Client::open(&server, MODERN).await;
    for (level, messages) in [
        (None, 1),
        (Some("error"), 1),
        (Some("info"), 2),
        (Some("debug"), 2),
    ] {
        let mut call = json!({ "name": "test_logging_tool" });
        if let Some(level) = level {
            call["_meta"] = json!({ "io.modelcontextprotocol/logLevel": level });
        }
        assert_eq!(
            client.exchange("tools/call", call).await.len(),
            messages,
            "{level:?}"
        );
    }
    let call = json!({ "name": "greet", "_meta": { "io.modelcontextprotocol/logLevel": "loud" } });
    assert_eq!(
        client.ask("tools/call", call).await["error"]["code"],
        -32602
    );
}

#[tokio::test]
async fn a_handler_asks_through_repeated_requests() {
    let server = start().await;
    let mut client = Client::open(&server, MODERN).await;
    for (method, name, said) in [
        (
            "tools/call",
            "test_input_required_result_elicitation",
            "Ada",
        ),
        ("tools/call", "test_input_required_result_sampling", "Paris"),
        (
            "tools/call",
            "test_input_required_result_list_roots",
            "1 folders",
        ),
        (
            "tools/call",
            "test_input_required_result_request_state",
            "state-ok",
        ),
        (
            "tools/call",
            "test_input_required_result_multiple_inputs",
            "Paris",
        ),
        (
            "tools/call",
            "test_input_required_result_multi_round",
            "Ada",
        ),
        ("prompts/get", "test_input_required_result_prompt", "Ada"),
    ] {
        let answer = client.ask(method, json!({ "name": name })).await;
        assert_eq!(
            answer["result"]["resultType"], "complete",
            "{name}: {answer}"
        );
        assert!(answer.to_string().contains(said), "{name}: {answer}");
    }
}

#[tokio::test]
async fn a_state_is_refused_outside_of_its_request() {
    let server = start().await;
    let mut alice = Client::open(&server, MODERN).await;
    let tool = "test_input_required_result_request_state";
    let first = alice.request("tools/call", json!({ "name": tool }));
    let state = alice.send(&first).await.json()["result"]["requestState"].clone();
    let answers = json!({ "confirm": { "action": "accept", "content": { "ok": true } } });
    let again = |name: &str, state: &Value| json!({ "name": name, "requestState": state, "inputResponses": answers });
    let tampered = json!(format!("{}A", state.as_str().unwrap()));
    let with_arguments = {
        let mut params = again(tool, &state);
        params["arguments"] = json!({ "x": 1 });
        params
    };
    for (what, token, params, code) in [
        ("its request", "alice-token", again(tool, &state), None),
        (
            "a changed state",
            "alice-token",
            again(tool, &tampered),
            Some(-32602),
        ),
        (
            "another tool",
            "alice-token",
            again("test_input_required_result_tampered_state", &state),
            Some(-32602),
        ),
        (
            "other arguments",
            "alice-token",
            with_arguments,
            Some(-32602),
        ),
        (
            "another principal",
            "bob-token",
            again(tool, &state),
            Some(-32602),
        ),
    ] {
        alice.token = token;
        let request = alice.request("tools/call", params);
        let answer = alice.send(&request).await.json();
        assert_eq!(answer["error"]["code"].as_i64(), code, "{what}: {answer}");
    }
}

#[tokio::test]
async fn answers_that_do_not_fit_are_asked_for_again() {
    let server = start().await;
    let mut client = Client::open(&server, MODERN).await;
    for answers in [
        json!({}),
        json!({ "other": { "action": "accept" } }),
        json!({ "user_name": 12345 }),
        json!({ "user_name": { "action": "maybe" } }),
        json!(null),
    ] {
        let params = json!({
            "name": "test_input_required_result_elicitation", "inputResponses": answers
        });
        let request = client.request("tools/call", params);
        let answer = client.send(&request).await.json();
        assert_eq!(
            answer["result"]["resultType"], "input_required",
            "{answers}: {answer}"
        );
    }
}

/// Asks for a task until its status is `status`.
async fn settled(client: &mut Client<'_>, id: &Value, status: &str) -> Value {
    within(async {
        loop {
            let task = client.ask("tasks/get", json!({ "taskId": id })).await["result"].clone();
            if task["status"] == status {
                return task;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

async fn start_task(client: &mut Client<'_>, name: &str, arguments: Value) -> Value {
    let request = client.request(
        "tools/call",
        json!({ "name": name, "arguments": arguments }),
    );
    let result = client.send(&request).await.json()["result"].clone();
    assert_eq!(
        (&result["resultType"], &result["status"]),
        (&json!("task"), &json!("working"))
    );
    result["taskId"].clone()
}

#[tokio::test]
async fn a_call_goes_on_as_a_task() {
    let server = start().await;
    let mut client = Client::open(&server, MODERN).await;
    let id = start_task(
        &mut client,
        "slow_compute",
        json!({ "seconds": 0, "label": "x" }),
    )
    .await;
    let task = settled(&mut client, &id, "completed").await;
    assert_eq!(task["result"]["content"][0]["text"], "computed x for 0 s");
    assert_eq!(task["resultType"], "complete");

    let id = start_task(&mut client, "protocol_error_job", json!({})).await;
    let task = settled(&mut client, &id, "failed").await;
    assert_eq!(
        task["error"],
        json!({ "code": -32603, "message": "internal error" })
    );
    assert_eq!(task.get("result"), None);
}

#[tokio::test]
async fn tasks_end_with_their_service() {
    let server = start().await;
    let mut client = Client::open(&server, MODERN).await;
    let id = start_task(&mut client, "multi_input", json!({})).await;
    settled(&mut client, &id, "input_required").await;
    (server.cancel_tasks)();
    settled(&mut client, &id, "cancelled").await;
}

#[tokio::test]
async fn a_task_waits_for_answers() {
    let server = start().await;
    let mut client = Client::open(&server, MODERN).await;
    let id = start_task(&mut client, "multi_input", json!({})).await;
    let task = settled(&mut client, &id, "input_required").await;
    assert_eq!(task["inputRequests"].as_object().unwrap().len(), 2);
    for key in ["first", "second"] {
        let answers = json!({ key: { "action": "accept", "content": { "name": key } } });
        let update = json!({ "taskId": id, "inputResponses": answers });
        assert_eq!(
            client.ask("tasks/update", update).await["result"]["resultType"],
            "complete"
        );
    }
    let task = settled(&mut client, &id, "completed").await;
    let text = task["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("first") && text.contains("second"), "{text}");
}

#[tokio::test]
async fn a_cancelled_task_stays_cancelled_and_can_be_cancelled_again() {
    let server = start().await;
    let mut client = Client::open(&server, MODERN).await;
    let id = start_task(&mut client, "slow_compute", json!({ "seconds": 60 })).await;
    for _ in 0..2 {
        let cancelled = client.ask("tasks/cancel", json!({ "taskId": id })).await;
        assert_eq!(cancelled["result"]["resultType"], "complete");
    }
    settled(&mut client, &id, "cancelled").await;
}

#[tokio::test]
async fn a_task_is_dropped_when_its_principal_loses_its_rights() {
    let mut server = common::start(Options::default()).await;
    {
        let mut client = Client::open(&server, MODERN).await;
        start_task(&mut client, "wait", json!({})).await;
    }
    assert_eq!(server.event().await, Event::Started);
    server.tokens.alice.send_replace(true);
    assert_eq!(server.event().await, Event::Dropped);
}

#[tokio::test]
async fn who_is_forgotten_loses_its_tasks_and_nobody_else_does() {
    let server = start().await;
    let mut alice = Client::open(&server, MODERN).await;
    let mut bob = Client::new(&server, MODERN);
    bob.token = "bob-token";
    let gone = start_task(&mut alice, "slow_compute", json!({ "seconds": 60 })).await;
    let stays = start_task(&mut bob, "slow_compute", json!({ "seconds": 60 })).await;
    (server.forget)("alice");
    let answer = alice.ask("tasks/get", json!({ "taskId": gone })).await;
    assert_eq!(answer["error"]["code"], -32602);
    settled(&mut bob, &stays, "working").await;
}

#[tokio::test]
async fn a_task_is_found_by_its_owner_only() {
    let server = start().await;
    let mut alice = Client::open(&server, MODERN).await;
    let id = start_task(&mut alice, "slow_compute", json!({ "seconds": 60 })).await;
    let mut bob = Client::new(&server, MODERN);
    bob.token = "bob-token";
    for method in ["tasks/get", "tasks/cancel"] {
        let answer = bob.ask(method, json!({ "taskId": id })).await;
        assert_eq!(answer["error"]["code"], -32602, "{method}");
    }
    settled(&mut alice, &id, "working").await;
}

#[tokio::test]
async fn running_tasks_of_one_principal_are_limited() {
    let limits = ServiceOptions {
        max_tasks_per_principal: 1,
        ..ServiceOptions::default()
    };
    let server = start_with(limits).await;
    let mut client = Client::open(&server, MODERN).await;
    let id = start_task(&mut client, "slow_compute", json!({ "seconds": 60 })).await;
    let call = json!({ "name": "slow_compute", "arguments": { "seconds": 60 } });
    assert_eq!(
        client.ask("tools/call", call).await["error"]["code"],
        -32603
    );
    client.ask("tasks/cancel", json!({ "taskId": id })).await;
    start_task(&mut client, "slow_compute", json!({ "seconds": 60 })).await;
}
