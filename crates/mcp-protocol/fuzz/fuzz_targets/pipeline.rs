//! The request pipeline, from bytes of a connection to bytes of a reply: it never panics, never
//! hangs, and never answers with a fault of the server.
//!
//! `scripts/fuzz.sh SECONDS` runs it.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mcp_protocol::{
    Authenticate, CallError, Capabilities, Context, Credentials, Handler, Principal, Refusal,
    Schema, ServerInfo, Service, Tool, ToolCall, ToolResult, http, stdio,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[derive(Clone)]
struct Anyone;

impl Principal for Anyone {
    fn name(&self) -> &str {
        "anyone"
    }

    async fn revoked(&self) {
        std::future::pending().await
    }
}

struct Open;

impl Authenticate for Open {
    type Principal = Anyone;

    async fn authenticate(&self, _: Credentials<'_>, _: IpAddr) -> Result<Anyone, Refusal> {
        Ok(Anyone)
    }
}

struct Echo {
    info: ServerInfo,
    tools: Arc<[Tool]>,
}

impl Handler for Echo {
    type Principal = Anyone;

    fn server(&self) -> &ServerInfo {
        &self.info
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            tools: true,
            resources: true,
            resource_subscriptions: true,
            prompts: true,
            completions: true,
            logging: true,
            list_changed: true,
            tasks: true,
        }
    }

    fn tools(&self, _: &Anyone) -> Arc<[Tool]> {
        Arc::clone(&self.tools)
    }

    async fn call_tool(&self, call: ToolCall, _: Context<Anyone>) -> Result<ToolResult, CallError> {
        Ok(ToolResult::text(call.arguments.get()).structured(call.arguments))
    }
}

fn service() -> Arc<Service<Echo>> {
    let schema = r#"{"type":"object","properties":{"a":{"type":"string","x-mcp-header":"A"}}}"#;
    let schema = Schema::input(schema).expect("the schema is valid");
    let tools = Arc::new([Tool::new("echo", "Echoes.", schema)]);
    let info = ServerInfo { name: "fuzz".into(), version: "0".into(), ..ServerInfo::default() };
    Arc::new(Service::new(Echo { info, tools }))
}

/// Sends bytes over HTTP and gives what comes back.
async fn over_http(bytes: &[u8]) -> Vec<u8> {
    static SERVER: LazyLock<http::Server<Echo, Open>> = LazyLock::new(|| {
        let short = Duration::from_millis(200);
        let options =
            http::Options { body_timeout: short, header_timeout: short, ..Default::default() };
        http::Server::new(service(), Open, options)
    });
    let (mut client, server) = tokio::io::duplex(1 << 20);
    let talk = async {
        // The server may close before it has read everything.
        let _sent = client.write_all(bytes).await;
        let _closed = client.shutdown().await;
        let mut replies = Vec::new();
        let _read = client.read_to_end(&mut replies).await;
        replies
    };
    let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let serve = SERVER.serve_stream(server, peer, std::future::pending());
    let ((), replies) = tokio::join!(serve, talk);
    replies
}

/// Sends bytes over stdio and gives what comes back.
async fn over_stdio(bytes: &[u8]) -> Vec<u8> {
    let mut output = Vec::new();
    let (options, never) = (stdio::Options::default(), std::future::pending());
    let served = stdio::serve(bytes, &mut output, service(), Anyone, options, never).await;
    served.expect("memory can be read and written");
    output
}

fuzz_target!(|bytes: &[u8]| {
    // Time that nothing uses passes at once, so that no run waits for a limit.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime can be made");
    let limit = Duration::from_secs(5);
    let (replies, lines) = runtime
        .block_on(async {
            let both = async { (over_http(bytes).await, over_stdio(bytes).await) };
            tokio::time::timeout(limit, both).await
        })
        .expect("no input makes the server hang");
    // A coding that is not understood is no failure of the server's.
    let has_failed =
        replies.starts_with(b"HTTP/1.1 5") && !replies.starts_with(b"HTTP/1.1 501");
    assert!(!has_failed, "{}", String::from_utf8_lossy(&replies));
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        assert!(serde_json::from_slice::<serde_json::Value>(line).is_ok());
    }
});
