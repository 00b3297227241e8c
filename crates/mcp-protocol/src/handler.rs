//! What a server's owner implements to be called.

use std::future::Future;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::auth::Principal;
use crate::context::Context;
use crate::model::{Capabilities, Object, ServerInfo, Tool, ToolResult};

/// Answers what clients ask, in the terms of the newest revision; older ones are served from the
/// same answers.
///
/// Every returned future may be dropped at any point at which it waits: the client cancelled or hung
/// up, the principal lost its rights, time ran out. Clean-up belongs into `Drop`.
pub trait Handler: Send + Sync + 'static {
    /// For whom calls are made.
    type Principal: Principal;

    /// Describes the server.
    fn server(&self) -> &ServerInfo;

    /// Names what is offered.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// Lists the tools that `principal` may see, in an order that stays. Only these can be called.
    fn tools(&self, principal: &Self::Principal) -> Arc<[Tool]>;

    /// Calls a tool that [`Handler::tools`] lists. What the model could mend (a bad argument, an
    /// error of the tool's own) is a [`ToolResult`] with `is_error`, not a [`CallError`].
    fn call_tool(
        &self,
        call: ToolCall,
        context: Context<Self::Principal>,
    ) -> impl Future<Output = Result<ToolResult, CallError>> + Send;

    /// Tells how the server is, to anyone who asks at the health path, without credentials.
    fn health(&self) -> impl Future<Output = Health> + Send {
        async { Health::up() }
    }
}

/// The call of a tool.
#[derive(Debug)]
pub struct ToolCall {
    /// The tool's name, as [`Handler::tools`] gives it.
    pub name: String,
    /// The arguments: the text of a JSON object, `{}` if the client sent none.
    pub arguments: Box<RawValue>,
}

impl ToolCall {
    /// Reads the arguments into a type; the error's text is fit for the model.
    pub fn arguments<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.arguments.get())
    }
}

/// Why a call has no result: the client reads it as a JSON-RPC error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The request does not make sense: -32602. The text is shown to the client.
    #[error("invalid parameters: {0}")]
    InvalidParams(String),
    /// The server failed: -32603. The cause is logged; the client reads "internal error".
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An error of the application's own, with a code outside of -32768 to -32000.
    #[error("{message}")]
    Other {
        /// The code.
        code: i64,
        /// What the client reads.
        message: String,
        /// More for programs.
        data: Option<serde_json::Value>,
    },
}

/// The answer at the health path.
#[derive(Clone, Debug)]
pub struct Health {
    /// The HTTP status: 200 if all is well, 503 if not.
    pub status: u16,
    /// The JSON object in the body; everybody can read it.
    pub body: Object,
}

impl Health {
    /// Says that all is well.
    pub fn up() -> Self {
        Self {
            status: 200,
            body: Object::from_iter([("status".to_owned(), "ok".into())]),
        }
    }
}
