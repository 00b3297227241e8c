//! The Model Context Protocol for servers: JSON-RPC, every revision, Streamable HTTP and stdio.
//!
//! A server's owner implements two traits. [`Authenticate`] says who sent a request; [`Handler`] says what that
//! [`Principal`] can call and answers the calls. A [`Service`] applies the rules of the protocol around a handler, and
//! a transport ([`http::Server`] or [`stdio::serve`]) carries the messages; an HTTP service of your own can pass
//! requests on ([`http::Server::respond`]). No task is spawned for a request: its handler runs in the task of its
//! connection, and is dropped there when the client hangs up, cancels, or loses its rights. A handler that panics fails
//! its own request and nothing else.
//!
//! An echo server, over stdio and over HTTP:
//!
//! ```
//! use std::net::IpAddr;
//! use std::sync::Arc;
//!
//! use mcp_protocol::{
//!     Authenticate, CallError, Context, Credentials, Handler, Principal, Refusal, Schema,
//!     ServerInfo, Service, Tool, ToolCall, ToolResult, http, stdio,
//! };
//! use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
//! use tokio::net::TcpListener;
//!
//! #[derive(Clone)]
//! struct Guest;
//!
//! impl Principal for Guest {
//!     fn name(&self) -> &str {
//!         "guest"
//!     }
//!
//!     async fn revoked(&self) {
//!         std::future::pending().await
//!     }
//! }
//!
//! struct Password;
//!
//! impl Authenticate for Password {
//!     type Principal = Guest;
//!
//!     async fn authenticate(&self, sent: Credentials<'_>, _: IpAddr) -> Result<Guest, Refusal> {
//!         if sent.bearer()? == "s3cret" { Ok(Guest) } else { Err(Refusal::Unknown) }
//!     }
//! }
//!
//! struct Echo {
//!     info: ServerInfo,
//!     tools: Arc<[Tool]>,
//! }
//!
//! #[derive(serde::Deserialize)]
//! struct Text {
//!     text: String,
//! }
//!
//! impl Handler for Echo {
//!     type Principal = Guest;
//!
//!     fn server(&self) -> &ServerInfo {
//!         &self.info
//!     }
//!
//!     fn tools(&self, _: &Guest) -> Arc<[Tool]> {
//!         Arc::clone(&self.tools)
//!     }
//!
//!     async fn call_tool(&self, call: ToolCall, _: Context<Guest>) -> Result<ToolResult, CallError> {
//!         Ok(match call.arguments::<Text>() {
//!             Ok(arguments) => ToolResult::text(arguments.text),
//!             Err(error) => ToolResult::error(error.to_string()),
//!         })
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let schema = r#"{"type":"object","properties":{"text":{"type":"string"}},"required":["text"]}"#;
//! let echo = Tool::new("echo", "Repeats a text.", Schema::input(schema)?);
//! let info = ServerInfo { name: "echo".into(), version: "1.0".into(), ..Default::default() };
//! let service = Arc::new(Service::new(Echo { info, tools: Arc::new([echo]) }));
//!
//! // Over HTTP, until the third argument completes. This one completes at once.
//! let server = http::Server::new(Arc::clone(&service), Password, http::Options::default());
//! server.serve(TcpListener::bind("127.0.0.1:0").await?, async {}).await;
//!
//! // Over stdio, or any other pair of streams, until they end or the last argument completes.
//! let (client, server) = tokio::io::duplex(4096);
//! let (input, output) = tokio::io::split(server);
//! let (options, never) = (stdio::Options::default(), std::future::pending());
//! let serving = stdio::serve(input, output, service, Guest, options, never);
//! let talking = async {
//!     let mut client = BufReader::new(client);
//!     let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hello"}}}"#;
//!     client.write_all(format!("{call}\n").as_bytes()).await?;
//!     let mut answer = String::new();
//!     client.read_line(&mut answer).await?;
//!     assert_eq!(
//!         answer,
//!         "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"hello\"}]}}\n"
//!     );
//!     Ok::<(), std::io::Error>(()) // Dropping the client ends the server.
//! };
//! let (served, talked) = tokio::join!(serving, talking);
//! served?;
//! talked?;
//! # Ok(())
//! # }
//! ```

mod auth;
mod by_owner;
mod calls;
mod changes;
mod client;
mod context;
mod cursor;
mod described;
mod dispatch;
mod distinct;
mod era;
mod exchange;
mod followed;
mod handler;
pub mod http;
mod input;
mod jsonrpc;
mod lines;
mod listed;
mod listen;
mod lists;
mod methods;
mod model;
mod outbox;
mod params;
mod places;
mod revision;
mod rounds;
mod seal;
mod service;
mod session;
mod sessions;
pub mod stdio;
mod tasks;
mod within;

pub use auth::{Authenticate, Bearer, Credentials, Principal, Refusal};
pub use changes::Changes;
pub use client::ClientCapabilities;
pub use context::{AsTask, ClientSession, Context, LogLevel};
pub use handler::{
    CallError, CallRefusal, Called, CompletionCall, Handler, Health, Origin, PromptCall, Reference,
    ToolCall,
};
pub use input::{ElicitAction, InputRequest, InputRequired, InputResponse, Root};
pub use model::{
    Annotations, Block, Capabilities, Completion, Content, Icon, Json, JsonText, Object, Page,
    PageRequest, Prompt, PromptArgument, PromptMessage, PromptResult, Resource, ResourceContents,
    ResourceData, ResourceTemplate, Role, Schema, SchemaError, ServerInfo, Tool, ToolAnnotations,
    ToolResult,
};
pub use revision::Revision;
pub use service::{Service, ServiceOptions};
