//! What a server's owner gets wrong stays with the request that it concerns.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::client::{Client, MODERN};
use common::{Holder, start_handler, within};
use mcp_protocol::http::Options;
use mcp_protocol::{
    AsTask, CallError, Capabilities, Context, Handler, Health, Schema, ServerInfo, Service,
    ServiceOptions, Tool, ToolCall, ToolResult, stdio,
};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

/// Panics before there is a future, and never knows how it is.
struct Clumsy {
    info: ServerInfo,
    tools: Arc<[Tool]>,
}

impl Clumsy {
    fn new() -> Self {
        let any = Schema::input(r#"{"type":"object"}"#).unwrap();
        Self {
            info: ServerInfo::default(),
            tools: Arc::new([Tool::new("stumble", "Panics.", any)]),
        }
    }
}

impl Handler for Clumsy {
    type Principal = Holder;

    fn server(&self) -> &ServerInfo {
        &self.info
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            tasks: true,
            ..Capabilities::default()
        }
    }

    fn tools(&self, principal: &Holder) -> Arc<[Tool]> {
        assert_ne!(principal.name, "bob", "as the test asked");
        Arc::clone(&self.tools)
    }

    fn call_tool(
        &self,
        _: ToolCall,
        context: Context<Holder>,
    ) -> impl Future<Output = Result<ToolResult, CallError>> + Send {
        let goes_on = context.go_on(AsTask::IfPossible);
        assert!(goes_on.is_err(), "as the test asked");
        std::future::ready(goes_on.map(|()| ToolResult::text("never")))
    }

    async fn health(&self) -> Health {
        std::future::pending().await
    }
}

fn call() -> Value {
    json!({ "name": "stumble", "arguments": {} })
}

#[tokio::test]
async fn a_handler_that_panics_before_its_future_exists_fails_its_request_over_http() {
    let server = start_handler(Clumsy::new(), Options::default(), ServiceOptions::default()).await;
    let reply = server.call("", "tools/call", call()).await;
    assert_eq!((reply.status, reply.code()), (500, -32603));
    let mut bob = Client::new(&server, MODERN);
    bob.token = "bob-token";
    let listed = bob.ask("tools/list", json!({})).await;
    assert_eq!(listed["error"]["code"], -32603);
}

#[tokio::test]
async fn a_task_that_panics_has_failed() {
    let server = start_handler(Clumsy::new(), Options::default(), ServiceOptions::default()).await;
    let mut client = Client::open(&server, MODERN).await;
    let begun = client.ask("tools/call", call()).await;
    let id = begun["result"]["taskId"].clone();
    within(async {
        loop {
            let task = client.ask("tasks/get", json!({ "taskId": id })).await;
            match task["result"]["status"].as_str().unwrap() {
                "working" => tokio::task::yield_now().await,
                status => return assert_eq!(status, "failed"),
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_handler_that_panics_before_its_future_exists_fails_its_request_over_stdio() {
    let (ours, theirs) = tokio::io::duplex(4096);
    let (reader, writer) = tokio::io::split(theirs);
    let alice = Holder {
        name: "alice",
        revoked: tokio::sync::watch::channel(false).0,
    };
    let service = Arc::new(Service::new(Clumsy::new()));
    let serving = stdio::serve(
        reader,
        writer,
        service,
        alice,
        stdio::Options::default(),
        std::future::pending(),
    );
    let serving = tokio::spawn(serving);
    let (output, mut input) = tokio::io::split(ours);
    let mut lines = BufReader::new(output).lines();
    for (id, method) in [(1, "tools/call"), (2, "ping")] {
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": call() });
        let line = format!("{request}\n");
        within(input.write_all(line.as_bytes())).await.unwrap();
        let answer = within(lines.next_line()).await.unwrap().unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["id"], id);
        assert_eq!(answer["error"].is_object(), id == 1, "{answer}");
    }
    assert!(!serving.is_finished());
}

#[tokio::test]
async fn who_cannot_say_in_time_how_it_is_or_who_asks_is_not_waited_for() {
    let limits = ServiceOptions {
        request_timeout: Duration::from_millis(50),
        ..ServiceOptions::default()
    };
    let server = start_handler(Clumsy::new(), Options::default(), limits).await;
    let health = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(server.raw(health).await.status, 503);
    let ping = common::post("", r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
    let stuck = ping.replace("alice-token", "stuck-token");
    assert_eq!(server.raw(&stuck).await.status, 503);
    assert_eq!(server.raw(&ping).await.status, 200);
}

#[tokio::test]
async fn times_and_numbers_without_end_are_taken() {
    let for_ever = Duration::MAX;
    let options = Options {
        header_timeout: for_ever,
        body_timeout: for_ever,
        idle_timeout: for_ever,
        write_timeout: for_ever,
        tls_handshake_timeout: for_ever,
        keep_alive_interval: for_ever,
        max_connections: usize::MAX,
        max_connections_per_peer: usize::MAX,
        ..Options::default()
    };
    let limits = ServiceOptions {
        page_size: usize::MAX,
        request_timeout: for_ever,
        input_timeout: for_ever,
        session_idle_timeout: for_ever,
        max_sessions_per_principal: usize::MAX,
        max_requests_per_principal: usize::MAX,
        follow_interval: for_ever,
        list_lifetime: for_ever,
        task_lifetime: for_ever,
        max_tasks_per_principal: usize::MAX,
        ..ServiceOptions::default()
    };
    let (fixture, _events) = common::Fixture::new();
    let server = start_handler(fixture, options, limits).await;
    for revision in common::client::REVISIONS {
        let mut client = Client::open(&server, revision).await;
        for streams in [true, false] {
            client.streams = streams;
            let steps = json!({ "name": "steps", "arguments": {} });
            let told = client.ask("tools/call", steps).await;
            assert!(told["result"].is_object(), "{revision}: {told}");
            let listed = client.ask("tools/list", json!({})).await;
            assert!(listed["result"]["tools"].is_array(), "{revision}: {listed}");
        }
    }
}
