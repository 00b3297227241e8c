//! One message through the protocol to a handler that does next to nothing, and back, in memory: over
//! the HTTP endpoint, and over stdio, which is the dispatch without HTTP. A time holds two wake-ups of
//! tasks, the server's and the client's.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use criterion::{Criterion, criterion_group, criterion_main};
use mcp_protocol::{
    Authenticate, CallError, Context, Credentials, Handler, Principal, Refusal, Schema, ServerInfo,
    Service, Tool, ToolCall, ToolResult, http, stdio,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    runtime::Runtime,
};

const LEGACY: &str = "2025-11-25";
const MODERN: &str = "2026-07-28";
/// A method, its parameters, and what the header `Mcp-Name` says of it; 2026-07-28 has no `ping`.
const METHODS: [(&str, &str, Option<&str>, &[&str]); 3] = [
    ("ping", "", None, &[LEGACY]),
    ("tools/list", "", None, &[LEGACY, MODERN]),
    (
        "tools/call",
        r#""name":"echo","arguments":{"text":"hello"}"#,
        Some("echo"),
        &[LEGACY, MODERN],
    ),
];

fn dispatch(criterion: &mut Criterion) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().build().expect("a runtime");
    let service = Arc::new(Service::new(Echo::new()));
    for transport in [Transport::Http, Transport::Stdio] {
        let mut group = criterion.benchmark_group(format!("dispatch, {transport:?}"));
        for (method, params, name, revisions) in METHODS {
            for revision in revisions {
                let mut client = runtime.block_on(transport.open(&service, revision));
                let message = message(revision, method, params);
                let request = transport.request(revision, method, name, &message);
                group.bench_function(format!("{method}, {revision}"), |bencher| {
                    bencher.iter(|| client.call(&runtime, &request));
                });
            }
        }
        group.finish();
    }
}

fn message(revision: &str, method: &str, params: &str) -> String {
    let meta = format!(
        r#""_meta":{{"io.modelcontextprotocol/protocolVersion":"{revision}","io.modelcontextprotocol/clientCapabilities":{{}}}}"#
    );
    let params = match (revision, params) {
        (LEGACY, _) => params.to_owned(),
        (_, "") => meta,
        _ => format!("{params},{meta}"),
    };
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}}}}}"#)
}

#[derive(Clone, Copy, Debug)]
enum Transport {
    Http,
    Stdio,
}

impl Transport {
    async fn open(self, service: &Arc<Service<Echo>>, revision: &str) -> Client {
        let (client, server) = tokio::io::duplex(64 << 10);
        let service = Arc::clone(service);
        tokio::spawn(async move {
            match self {
                Transport::Http => {
                    let server_of = http::Server::new(service, Everybody, http::Options::default());
                    let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
                    let never = std::future::pending();
                    server_of.serve_stream(server, peer, never).await;
                }
                Transport::Stdio => {
                    let (input, output) = tokio::io::split(server);
                    let options = stdio::Options::default();
                    let served = stdio::serve(
                        input,
                        output,
                        service,
                        Guest,
                        options,
                        std::future::pending(),
                    )
                    .await;
                    served.expect("a conversation");
                }
            }
        });
        let mut client = Client {
            transport: self,
            stream: client,
            buffer: vec![0; 64 << 10],
        };
        if matches!(self, Transport::Stdio) && revision == LEGACY {
            let hello = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}"#;
            client.exchange(&format!("{hello}\n")).await;
            let hello = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n";
            client
                .stream
                .write_all(hello.as_bytes())
                .await
                .expect("sent");
        }
        client
    }

    fn request(self, revision: &str, method: &str, name: Option<&str>, message: &str) -> String {
        if matches!(self, Transport::Stdio) {
            return format!("{message}\n");
        }
        let routing = match (revision, name) {
            (LEGACY, _) => String::new(),
            (_, None) => format!("Mcp-Method: {method}\r\n"),
            (_, Some(name)) => format!("Mcp-Method: {method}\r\nMcp-Name: {name}\r\n"),
        };
        format!(
            "POST /mcp/v1 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: {revision}\r\n\
             {routing}Authorization: Bearer secret\r\nContent-Length: {}\r\n\r\n{message}",
            message.len()
        )
    }
}

struct Client {
    transport: Transport,
    stream: DuplexStream,
    buffer: Vec<u8>,
}

impl Client {
    fn call(&mut self, runtime: &Runtime, request: &str) {
        let length = runtime.block_on(self.exchange(request));
        let answer = &self.buffer[..length];
        assert!(
            answer.windows(9).any(|part| part == br#""result":"#),
            "{}",
            String::from_utf8_lossy(answer)
        );
    }

    /// Sends a request; gives how long the answer is that then stands in the buffer.
    async fn exchange(&mut self, request: &str) -> usize {
        self.stream
            .write_all(request.as_bytes())
            .await
            .expect("sent");
        let mut length = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[length..]).await;
            let read = read.expect("an answer");
            assert!(read > 0, "the server hung up");
            length += read;
            let answer = &self.buffer[..length];
            let is_whole = match self.transport {
                Transport::Stdio => answer.ends_with(b"\n"),
                Transport::Http => bench::body(answer).expect("an answer").is_some(),
            };
            if is_whole {
                return length;
            }
        }
    }
}

#[derive(Clone)]
struct Guest;

impl Principal for Guest {
    fn name(&self) -> &'static str {
        "guest"
    }

    async fn revoked(&self) {
        std::future::pending().await
    }
}

struct Everybody;

impl Authenticate for Everybody {
    type Principal = Guest;

    async fn authenticate(&self, sent: Credentials<'_>, _: IpAddr) -> Result<Guest, Refusal> {
        sent.bearer().map(|_| Guest)
    }
}

struct Echo {
    info: ServerInfo,
    tools: Arc<[Tool]>,
}

impl Echo {
    fn new() -> Self {
        let schema =
            r#"{"type":"object","properties":{"text":{"type":"string"}},"required":["text"]}"#;
        let schema = Schema::input(schema).expect("a schema");
        Echo {
            info: ServerInfo {
                name: "echo".into(),
                version: "1.0".into(),
                ..ServerInfo::default()
            },
            tools: Arc::new([Tool::new("echo", "Repeats a text.", schema)]),
        }
    }
}

#[derive(serde::Deserialize)]
struct Text {
    text: String,
}

impl Handler for Echo {
    type Principal = Guest;

    fn server(&self) -> &ServerInfo {
        &self.info
    }

    fn tools(&self, _: &Guest) -> Arc<[Tool]> {
        Arc::clone(&self.tools)
    }

    async fn call_tool(&self, call: ToolCall, _: Context<Guest>) -> Result<ToolResult, CallError> {
        Ok(match call.arguments::<Text>() {
            Ok(arguments) => ToolResult::text(arguments.text),
            Err(error) => ToolResult::error(error.to_string()),
        })
    }
}

criterion_group!(benches, dispatch);
criterion_main!(benches);
