//! A small server and a raw client for the tests.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub)] // Each test binary uses its own part.

pub mod client;
pub mod schema;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mcp_protocol::http::{Options, Server};
use mcp_protocol::{
    AsTask, Authenticate, CallError, Capabilities, Changes, Context, Credentials, Handler, Health,
    InputRequest, InputResponse, LogLevel, Principal, Refusal, Schema, ServerInfo, Service,
    ServiceOptions, Tool, ToolCall, ToolResult,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// No event of these tests takes this long unless something is broken.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A holder of a token, and the switch that takes its rights away.
#[derive(Clone, Debug)]
pub struct Holder {
    pub name: &'static str,
    pub revoked: watch::Sender<bool>,
}

impl Principal for Holder {
    fn name(&self) -> &str {
        self.name
    }

    async fn revoked(&self) {
        let mut revoked = self.revoked.subscribe();
        if revoked.wait_for(|revoked| *revoked).await.is_err() {
            std::future::pending().await
        }
    }
}

/// Knows two tokens, `alice-token` and `bob-token`, and one that has expired.
pub struct Tokens {
    pub alice: watch::Sender<bool>,
    pub bob: watch::Sender<bool>,
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            alice: watch::channel(false).0,
            bob: watch::channel(false).0,
        }
    }
}

impl Authenticate for Tokens {
    type Principal = Holder;

    async fn authenticate(
        &self,
        credentials: Credentials<'_>,
        _peer: IpAddr,
    ) -> Result<Holder, Refusal> {
        match credentials.bearer()? {
            "alice-token" => Ok(Holder {
                name: "alice",
                revoked: self.alice.clone(),
            }),
            "bob-token" => Ok(Holder {
                name: "bob",
                revoked: self.bob.clone(),
            }),
            "expired-token" => Err(Refusal::Expired),
            "busy-token" => Err(Refusal::TooManyFailures {
                retry_after: Duration::from_millis(1500),
            }),
            "stuck-token" => std::future::pending().await,
            "down-token" => Err(Refusal::Unavailable("the token file is being read; retry")),
            _ => Err(Refusal::Unknown),
        }
    }
}

/// What the waiting tool tells a test.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    Started,
    Dropped,
}

/// Echoes, waits, fails and reports.
pub struct Fixture {
    pub info: ServerInfo,
    pub tools: Arc<[Tool]>,
    pub events: mpsc::UnboundedSender<Event>,
}

impl Fixture {
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (events, seen) = mpsc::unbounded_channel();
        let any = || Schema::input(r#"{"type":"object"}"#).unwrap();
        let text = r#"{
            "type": "object",
            "properties": { "text": { "type": "string" } },
            "required": ["text"]
        }"#;
        let mut echo = Tool::new("echo", "Repeats a text.", Schema::input(text).unwrap());
        echo.title = Some("Echo".into());
        echo.output_schema = Some(Schema::output(text).unwrap());
        echo.annotations.read_only_hint = Some(true);
        let tools = vec![
            echo,
            Tool::new("wait", "Waits for ever.", any()),
            Tool::new("panic", "Panics.", any()),
            Tool::new(
                "resign",
                "Takes its caller's rights away, then answers.",
                any(),
            ),
            Tool::new("steps", "Tells its progress and logs.", any()),
            Tool::new("chat", "Logs a lot, then asks for a name.", any()),
            Tool::new("keep", "Keeps something for its session.", any()),
            Tool::new("flood", "Returns more than any socket buffers.", any()),
        ];
        let info = ServerInfo {
            name: "fixture".to_owned(),
            version: "1.0".to_owned(),
            instructions: Some("Use echo.".to_owned()),
            ..ServerInfo::default()
        };
        (
            Self {
                info,
                tools: tools.into(),
                events,
            },
            seen,
        )
    }
}

struct Dropped(mpsc::UnboundedSender<Event>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(Event::Dropped);
    }
}

impl Handler for Fixture {
    type Principal = Holder;

    fn server(&self) -> &ServerInfo {
        &self.info
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            logging: true,
            tasks: true,
            ..Capabilities::default()
        }
    }

    fn tools(&self, _: &Holder) -> Arc<[Tool]> {
        Arc::clone(&self.tools)
    }

    async fn call_tool(
        &self,
        call: ToolCall,
        context: Context<Holder>,
    ) -> Result<ToolResult, CallError> {
        match call.name.as_str() {
            "echo" => {
                let arguments: Value = call.arguments().unwrap();
                let Some(text) = arguments["text"].as_str() else {
                    return Ok(ToolResult::error("`text` is missing"));
                };
                let structured = serde_json::value::to_raw_value(&json!({ "text": text })).unwrap();
                Ok(ToolResult::text(text).structured(structured))
            }
            "wait" => {
                context.go_on(AsTask::IfPossible)?;
                let _dropped = Dropped(self.events.clone());
                let _ = self.events.send(Event::Started);
                context.progress(1.0, None, None);
                std::future::pending().await
            }
            "chat" => {
                for line in 0..1000 {
                    context.log(LogLevel::Info, None, &json!(line));
                }
                let schema = r#"{"type":"object","properties":{"name":{"type":"string"}}}"#;
                let name = InputRequest::Form {
                    message: "Your name?".to_owned(),
                    schema: Schema::input(schema).unwrap(),
                };
                let InputResponse::Elicited { content, .. } = context.ask("name", name)? else {
                    return Ok(ToolResult::error("this is no form"));
                };
                Ok(ToolResult::text(content["name"].as_str().unwrap()))
            }
            "keep" => Ok(ToolResult::text(match context.session() {
                Some(session) => {
                    session.attach(Dropped(self.events.clone()));
                    let limit = session.idle_timeout().map(|limit| limit.as_secs());
                    format!("{} {limit:?}", session.id())
                }
                None => "none".into(),
            })),
            "panic" => panic!("as the test asked"),
            "resign" => {
                context.principal().revoked.send_replace(true);
                Ok(ToolResult::text("too late"))
            }
            "flood" => Ok(ToolResult::text("x".repeat(64 * 1024 * 1024))),
            _ => {
                context.progress(1.0, Some(2.0), Some("half"));
                context.log(LogLevel::Info, Some("steps"), &json!("between"));
                context.progress(2.0, Some(2.0), None);
                context.progress(1.5, Some(2.0), Some("backwards"));
                Ok(ToolResult::text("done"))
            }
        }
    }

    async fn health(&self) -> Health {
        let mut health = Health::up();
        health
            .body
            .insert("tools".to_owned(), self.tools.len().into());
        health
    }
}

/// A server on a port of its own.
pub struct Running {
    pub address: SocketAddr,
    pub tokens: Arc<Tokens>,
    pub changes: Changes,
    pub events: mpsc::UnboundedReceiver<Event>,
    pub stop: watch::Sender<bool>,
    pub serving: JoinHandle<()>,
    pub set_request_timeout: Box<dyn Fn(Duration) + Send + Sync>,
    pub cancel_tasks: Box<dyn Fn() + Send + Sync>,
    pub forget: Box<dyn Fn(&str) + Send + Sync>,
}

pub async fn start(options: Options) -> Running {
    start_with(options, ServiceOptions::default()).await
}

pub async fn start_with(options: Options, service_options: ServiceOptions) -> Running {
    let (fixture, events) = Fixture::new();
    let mut running = start_handler(fixture, options, service_options).await;
    running.events = events;
    running
}

/// Starts a server around any handler; only the [`Fixture`] tells events.
pub async fn start_handler<H: Handler<Principal = Holder>>(
    handler: H,
    options: Options,
    service_options: ServiceOptions,
) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tokens = Arc::new(Tokens::default());
    let service = Arc::new(Service::with_options(handler, service_options));
    let changes = service.changes().clone();
    let (tasks, principals) = (Arc::clone(&service), Arc::clone(&service));
    let server = Server::new(Arc::clone(&service), Arc::clone(&tokens), options);
    let (stop, mut stopped) = watch::channel(false);
    let serving = tokio::spawn(async move {
        let shutdown = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
        server.serve(listener, shutdown).await;
    });
    let events = mpsc::unbounded_channel().1;
    Running {
        address,
        tokens,
        changes,
        events,
        stop,
        serving,
        set_request_timeout: Box::new(move |timeout| service.set_request_timeout(timeout)),
        cancel_tasks: Box::new(move || tasks.cancel_tasks()),
        forget: Box::new(move |name| principals.forget(name)),
    }
}

impl Running {
    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends raw bytes and reads until the server closes, or one whole reply is there.
    pub async fn raw(&self, request: &str) -> Reply {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        read_reply(&mut stream).await
    }

    /// Posts a body with extra header lines, as Alice.
    pub async fn post(&self, headers: &str, body: &str) -> Reply {
        self.raw(&post(headers, body)).await
    }

    /// Calls a method without a session.
    pub async fn call(&self, headers: &str, method: &str, params: Value) -> Reply {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        self.post(headers, &body.to_string()).await
    }

    pub async fn event(&mut self) -> Event {
        within(self.events.recv()).await.expect("the fixture lives")
    }
}

/// Makes the text of a request as a plain client would, with Alice's token.
pub fn post(headers: &str, body: &str) -> String {
    format!(
        "POST /mcp/v1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer alice-token\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("this takes far too long")
}

/// A reply as it came over the wire.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub fn code(&self) -> i64 {
        self.json()["error"]["code"]
            .as_i64()
            .unwrap_or_else(|| panic!("no error: {self:?}"))
    }

    pub fn message(&self) -> String {
        self.json()["error"]["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Gives the messages of an event stream.
    pub fn events(&self) -> Vec<Value> {
        self.body
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .map(|data| serde_json::from_str(data).unwrap())
            .collect()
    }
}

/// Reads the next reply of a connection; a closed connection without one is status 0.
pub async fn read_reply<S: tokio::io::AsyncRead + Unpin>(stream: &mut S) -> Reply {
    within(async {
        let mut bytes = Vec::new();
        loop {
            if let Some(reply) = whole_reply(&bytes) {
                return reply;
            }
            let mut part = [0; 4096];
            let count = stream.read(&mut part).await.unwrap_or(0);
            if count == 0 {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                return Reply {
                    status: 0,
                    head: String::new(),
                    body: text,
                };
            }
            bytes.extend_from_slice(&part[..count]);
        }
    })
    .await
}

fn whole_reply(bytes: &[u8]) -> Option<Reply> {
    let text = String::from_utf8_lossy(bytes);
    let (head, rest) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let mut reply = Reply {
        status,
        head: head.to_owned(),
        body: String::new(),
    };
    reply.body = if reply.header("transfer-encoding") == Some("chunked") {
        rest.ends_with("0\r\n\r\n").then(|| unchunk(rest))?
    } else {
        let length: usize = reply.header("content-length").unwrap_or("0").parse().ok()?;
        rest.get(..length)?.to_owned()
    };
    Some(reply)
}

fn unchunk(mut chunks: &str) -> String {
    let mut body = String::new();
    while let Some((size, rest)) = chunks.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        body.push_str(&rest[..size]);
        chunks = &rest[size + 2..];
    }
    body
}

/// Reads until a stream has sent `needle`.
pub async fn read_until(stream: &mut TcpStream, needle: &str) -> String {
    within(async {
        let mut text = String::new();
        while !text.contains(needle) {
            let mut part = [0; 4096];
            let count = stream.read(&mut part).await.unwrap();
            assert!(count > 0, "closed before {needle:?} came; got {text:?}");
            text.push_str(&String::from_utf8_lossy(&part[..count]));
        }
        text
    })
    .await
}

/// Waits until the other side has closed; gives what it still sent.
pub async fn read_to_end(stream: &mut TcpStream) -> String {
    within(async {
        let mut bytes = Vec::new();
        let _reset_counts_too = stream.read_to_end(&mut bytes).await;
        String::from_utf8_lossy(&bytes).into_owned()
    })
    .await
}
