//! Every kind of message that goes out, against the official schema of each revision.
//!
//! `scripts/check-official.sh` says where the schemas are, and runs this.
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

use common::client::{Client, MODERN, REVISIONS};
use common::schema::Official;
use std::sync::Arc;

use common::{Holder, Running, start_handler, within};
use fixtures::Fixtures;
use mcp_protocol::http::Options;
use mcp_protocol::{Service, ServiceOptions, stdio};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::watch;

async fn start() -> Running {
    let fixtures = Fixtures::new(Default::default()).unwrap();
    let page_size = 5; // Lists have several pages.
    start_handler(
        fixtures,
        Options::default(),
        ServiceOptions {
            page_size,
            ..Default::default()
        },
    )
    .await
}

/// Checks one message of the server, the response to `method` or one before it.
fn check(official: &Official, method: &str, message: &Value) {
    if message.get("error").is_some() {
        let error = if official.has("JSONRPCErrorResponse") {
            "JSONRPCErrorResponse"
        } else {
            "JSONRPCError"
        };
        return official.check(error, message);
    }
    if let Some(sent) = message["method"].as_str() {
        return official.check(official.of_method(sent), message);
    }
    let result = match method {
        "initialize" => "InitializeResult",
        "server/discover" => "DiscoverResult",
        "subscriptions/listen" => "SubscriptionsListenResult",
        "tools/list" => "ListToolsResult",
        "tools/call" => "CallToolResult",
        "resources/list" => "ListResourcesResult",
        "resources/templates/list" => "ListResourceTemplatesResult",
        "resources/read" => "ReadResourceResult",
        "prompts/list" => "ListPromptsResult",
        "prompts/get" => "GetPromptResult",
        "completion/complete" => "CompleteResult",
        // What the extension adds to a result is its own; the revision's schema has the envelope.
        "tasks/get" | "tasks/update" | "tasks/cancel" => "Result",
        _ => "EmptyResult",
    };
    let result = match message["result"]["resultType"].as_str() {
        Some("input_required") => "InputRequiredResult",
        Some("task") => "Result",
        _ => result,
    };
    let whole = if official.has("JSONRPCResultResponse") {
        "JSONRPCResultResponse"
    } else {
        "JSONRPCResponse"
    };
    official.check(whole, message);
    official.check(result, &message["result"]);
}

/// What is asked of every revision; some of it is an error in some of them.
fn questions() -> Vec<(&'static str, Value)> {
    let mut questions = vec![
        ("server/discover", json!({})),
        ("ping", json!({})),
        ("no/such", json!({})),
        ("tools/call", json!({ "name": "nobody" })),
        (
            "tools/call",
            json!({ "name": "greet", "arguments": { "name": "é\n\u{1f600}" } }),
        ),
        (
            "tools/call",
            json!({ "name": "test_tool_with_progress", "_meta": { "progressToken": 0 } }),
        ),
        (
            "tools/call",
            json!({
                "name": "test_tool_with_logging", "_meta": { "io.modelcontextprotocol/logLevel": "info" }
            }),
        ),
        (
            "tools/call",
            json!({ "name": "test_sampling", "arguments": { "prompt": "?" } }),
        ),
        (
            "tools/call",
            json!({ "name": "test_elicitation", "arguments": { "message": "?" } }),
        ),
        ("resources/read", json!({ "uri": "test://static-text" })),
        ("resources/read", json!({ "uri": "test://static-binary" })),
        ("resources/read", json!({ "uri": "test://template/1/data" })),
        ("resources/read", json!({ "uri": "test://nothing" })),
        (
            "resources/subscribe",
            json!({ "uri": "test://watched-resource" }),
        ),
        (
            "resources/unsubscribe",
            json!({ "uri": "test://watched-resource" }),
        ),
        ("logging/setLevel", json!({ "level": "debug" })),
        ("prompts/get", json!({ "name": "test_simple_prompt" })),
        ("prompts/get", json!({ "name": "test_prompt_with_image" })),
        (
            "prompts/get",
            json!({
                "name": "test_prompt_with_embedded_resource", "arguments": { "resourceUri": "test://x" }
            }),
        ),
        (
            "prompts/get",
            json!({ "name": "test_prompt_with_arguments" }),
        ),
        (
            "prompts/get",
            json!({ "name": "test_input_required_result_prompt" }),
        ),
        (
            "completion/complete",
            json!({
                "ref": { "type": "ref/prompt", "name": "test_prompt_with_arguments" },
                "argument": { "name": "arg1", "value": "pa" }
            }),
        ),
        (
            "completion/complete",
            json!({
                "ref": { "type": "ref/prompt", "name": "nobody" }, "argument": { "name": "a", "value": "" }
            }),
        ),
    ];
    let tools = [
        "test_simple_text",
        "test_image_content",
        "test_audio_content",
        "test_embedded_resource",
        "test_multiple_content_types",
        "test_resource_link",
        "test_structured",
        "test_error_handling",
        "test_elicitation_sep1034_defaults",
        "test_elicitation_sep1330_enums",
        "test_panic",
        "test_input_required_result_multiple_inputs",
        "test_input_required_result_multi_round",
        "test_input_required_result_request_state",
        "test_input_required_result_list_roots",
    ];
    questions.extend(tools.map(|name| ("tools/call", json!({ "name": name }))));
    questions
}

#[tokio::test]
async fn what_goes_out_is_valid_as_objects_and_as_streams() {
    let server = start().await;
    for revision in REVISIONS {
        let official = Official::read(revision);
        let mut client = Client::new(&server, revision);
        if revision != MODERN {
            check(&official, "initialize", &client.initialize().await);
        }
        let mut kinds = (0, 0);
        for streams in [false, true] {
            client.streams = streams;
            for (method, params) in questions() {
                for message in client.exchange(method, params).await {
                    check(&official, method, &message);
                    match (message.get("method"), message.get("error")) {
                        (Some(_), _) => kinds.0 += 1,
                        (None, None) => kinds.1 += 1,
                        (None, Some(_)) => {}
                    }
                }
            }
        }
        // Enough of them were messages on a stream, and results.
        assert!(kinds.0 >= 6 && kinds.1 >= 40, "{revision}: {kinds:?}");
    }
}

#[tokio::test]
async fn lists_are_valid_page_by_page() {
    let server = start().await;
    for revision in REVISIONS {
        let official = Official::read(revision);
        let mut client = Client::open(&server, revision).await;
        for (method, field, count) in [
            ("tools/list", "tools", 39),
            ("resources/list", "resources", 3),
            ("resources/templates/list", "resourceTemplates", 1),
            ("prompts/list", "prompts", 5),
        ] {
            let (mut params, mut seen) = (json!({}), 0);
            loop {
                let page = client.ask(method, params).await;
                check(&official, method, &page);
                seen += page["result"][field].as_array().unwrap().len();
                let Some(cursor) = page["result"].get("nextCursor") else {
                    break;
                };
                params = json!({ "cursor": cursor });
            }
            assert_eq!(seen, count, "{revision} {method}");
        }
    }
}

#[tokio::test]
async fn changes_are_valid_on_both_kinds_of_streams() {
    let server = start().await;
    let tell_all = || {
        server.changes.tools();
        server.changes.prompts();
        server.changes.resources();
        server.changes.resource("test://watched-resource");
    };
    for revision in ["2025-03-26", "2025-06-18", "2025-11-25"] {
        let official = Official::read(revision);
        let mut client = Client::open(&server, revision).await;
        client
            .ask(
                "resources/subscribe",
                json!({ "uri": "test://watched-resource" }),
            )
            .await;
        let mut stream = client.stream(&client.http("GET", "", None)).await;
        tell_all();
        for _ in 0..4 {
            check(&official, "", &stream.next().await.unwrap());
        }
    }
    let official = Official::read(MODERN);
    let mut client = Client::open(&server, MODERN).await;
    let wanted = json!({
        "toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true,
        "resourceSubscriptions": ["test://watched-resource"]
    });
    let request = client.request("subscriptions/listen", json!({ "notifications": wanted }));
    let mut stream = client
        .stream(&client.http("POST", "", Some(&request)))
        .await;
    check(&official, "", &stream.next().await.unwrap());
    tell_all();
    for _ in 0..4 {
        check(&official, "", &stream.next().await.unwrap());
    }
    server.stop.send_replace(true);
    check(
        &official,
        "subscriptions/listen",
        &stream.next().await.unwrap(),
    );
}

#[tokio::test]
async fn tasks_are_valid_at_every_stage() {
    let server = start().await;
    let official = Official::read(MODERN);
    let mut client = Client::open(&server, MODERN).await;
    for name in ["slow_compute", "protocol_error_job", "confirm_delete"] {
        let call =
            json!({ "name": name, "arguments": { "seconds": 0, "label": "x", "filename": "x" } });
        let started = client.ask("tools/call", call).await;
        check(&official, "tools/call", &started);
        let id = json!({ "taskId": started["result"]["taskId"] });
        assert!(id["taskId"].is_string(), "{name} is no task: {started}");
        for method in ["tasks/get", "tasks/cancel", "tasks/get"] {
            check(&official, method, &client.ask(method, id.clone()).await);
        }
    }
}

#[tokio::test]
async fn what_is_told_over_standard_output_is_valid() {
    let official = Official::read(MODERN);
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let (reader, writer) = tokio::io::split(theirs);
    let principal = Holder {
        name: "alice",
        revoked: watch::Sender::new(false),
    };
    let fixtures = Fixtures::new(Default::default()).unwrap();
    let service = Arc::new(Service::new(fixtures));
    let serving = tokio::spawn(stdio::serve(
        reader,
        writer,
        service,
        principal,
        stdio::Options::default(),
        std::future::pending(),
    ));
    let (output, mut input) = tokio::io::split(ours);
    let server = start().await; // Only to write the request as the revision wants it.
    let mut client = Client::new(&server, MODERN);
    let wanted = json!({ "notifications": { "toolsListChanged": true } });
    let line = format!("{}\n", client.request("subscriptions/listen", wanted));
    input.write_all(line.as_bytes()).await.unwrap();
    input.shutdown().await.unwrap();
    let mut lines = BufReader::new(output).lines();
    let mut methods = Vec::new();
    while let Some(line) = within(lines.next_line()).await.unwrap() {
        let message: Value = serde_json::from_str(&line).unwrap();
        check(&official, "subscriptions/listen", &message);
        methods.push(
            message["method"]
                .as_str()
                .unwrap_or("the result")
                .to_owned(),
        );
    }
    assert_eq!(
        methods,
        [
            "notifications/subscriptions/acknowledged",
            "notifications/cancelled",
            "the result"
        ]
    );
    within(serving).await.unwrap().unwrap();
}
