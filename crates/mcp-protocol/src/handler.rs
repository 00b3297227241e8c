//! The trait that a server's owner implements to answer calls.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::auth::Principal;
use crate::context::Context;
use crate::input::InputRequired;
use crate::model::{
    Capabilities, Completion, Object, Page, PageRequest, Prompt, PromptResult, Resource,
    ResourceContents, ResourceTemplate, ServerInfo, Tool, ToolResult,
};

/// A call that was refused before the handler was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Called<'a> {
    /// A tool, by the name that the client gave; empty if it gave none.
    Tool(&'a str),
    /// A resource to be read.
    Resource(&'a str),
    /// Resources, to be told of their changes: the first of them, and how many more there are.
    Follow(&'a str, usize),
    /// A completion.
    Completion,
}

/// Who made a call that was refused, as far as that is known by then.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Origin<'a, P> {
    /// For whom the call is made.
    pub principal: &'a P,
    /// What the client calls itself; see [`Context::client_name`].
    pub client_name: Option<&'a str>,
    /// The identifier of the client's session.
    pub session: Option<&'a str>,
    /// The identifier that the client gave the request.
    pub request: Cow<'a, str>,
}

/// Why a call is refused before the handler is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallRefusal {
    /// The principal has no such tool.
    UnknownTool,
    /// The principal has no such resources; see [`Handler::may_follow`].
    UnknownResources,
    /// The arguments are not an object, or differ from those that the headers name.
    WrongArguments,
    /// Something else in the request is wrong: what it says of its client, its session, or a state
    /// that is not its own.
    WrongRequest,
    /// Too many requests of the principal are running, or it follows too many resources.
    TooManyRequests,
}

/// Answers what clients ask, in the terms of the newest revision; clients of older revisions are
/// served from the same answers.
///
/// Every returned future may be dropped wherever it waits: the client cancelled or hung up, the
/// principal lost its rights, or time ran out. So clean up in `Drop`.
pub trait Handler: Send + Sync + 'static {
    /// The holder of credentials for whom calls are made.
    type Principal: Principal;

    /// Describes the server; asked once, when it is put behind a [`Service`](crate::Service).
    fn server(&self) -> &ServerInfo;

    /// Says what is offered, now and later.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// Lists the tools that `principal` may see, in a stable order. Only these can be called.
    fn tools(&self, principal: &Self::Principal) -> Arc<[Tool]>;

    /// Calls a tool that [`Handler::tools`] lists. Return what the model could put right (a bad
    /// argument, an error of the tool's own) as a [`ToolResult`] with `is_error`, not as a
    /// [`CallError`].
    fn call_tool(
        &self,
        call: ToolCall,
        context: Context<Self::Principal>,
    ) -> impl Future<Output = Result<ToolResult, CallError>> + Send;

    /// Is told of a call that is refused before the method that would answer it is called. The
    /// client is told, too.
    fn call_refused(
        &self,
        _called: Called<'_>,
        _why: CallRefusal,
        _from: Origin<'_, Self::Principal>,
    ) {
    }

    /// Lists one page of the resources that the principal may see.
    fn list_resources(
        &self,
        _page: PageRequest,
        _context: Context<Self::Principal>,
    ) -> impl Future<Output = Result<Page<Resource>, CallError>> + Send {
        async { Ok(Page::whole(Vec::new())) }
    }

    /// Lists one page of the resource templates that the principal may see.
    fn list_resource_templates(
        &self,
        _page: PageRequest,
        _context: Context<Self::Principal>,
    ) -> impl Future<Output = Result<Page<ResourceTemplate>, CallError>> + Send {
        async { Ok(Page::whole(Vec::new())) }
    }

    /// Reads a resource, listed or not; an unknown one is [`CallError::NotFound`].
    fn read_resource(
        &self,
        uri: String,
        _context: Context<Self::Principal>,
    ) -> impl Future<Output = Result<Vec<ResourceContents>, CallError>> + Send {
        async { Err(CallError::NotFound(uri)) }
    }

    /// Gives a short text that changes whenever the contents of the resource do, or `None` if that
    /// cannot be told now. It is asked every [`ServiceOptions::follow_interval`] while a client of
    /// `principal` follows the resource. Announce other changes that you know of through
    /// [`Changes`](crate::Changes).
    ///
    /// [`ServiceOptions::follow_interval`]: crate::ServiceOptions::follow_interval
    fn resource_version(
        &self,
        _uri: &str,
        _principal: &Self::Principal,
    ) -> impl Future<Output = Option<String>> + Send {
        async { None }
    }

    /// Says, without looking it up, whether the principal can have such a resource. For a stream,
    /// the resources that it cannot have are left out and told to [`Handler::call_refused`]
    /// together, so that a request with many names that cost nothing is not reported many times.
    fn may_follow(&self, _uri: &str, _principal: &Self::Principal) -> bool {
        true
    }

    /// Begins to follow a resource for a client that has asked to be told of its changes, and gives
    /// what [`Handler::resource_version`] gives. An error refuses it: a subscription is answered
    /// with the error, and a stream goes on without the resource.
    fn follow_resource(
        &self,
        uri: &str,
        context: Context<Self::Principal>,
    ) -> impl Future<Output = Result<Option<String>, CallError>> + Send {
        async move { Ok(self.resource_version(uri, context.principal()).await) }
    }

    /// Is told that a client asks to follow a resource no longer, whether it followed it or not. It
    /// is not called when a stream or a session ends, and with it everything that was followed
    /// there.
    fn unfollow_resource(&self, _uri: &str, _context: Context<Self::Principal>) {}

    /// Lists the prompts that `principal` may see, in a stable order. Only these can be asked for.
    fn prompts(&self, _principal: &Self::Principal) -> Arc<[Prompt]> {
        Arc::new([])
    }

    /// Fills in a prompt that [`Handler::prompts`] lists; its required arguments are given.
    fn get_prompt(
        &self,
        call: PromptCall,
        _context: Context<Self::Principal>,
    ) -> impl Future<Output = Result<PromptResult, CallError>> + Send {
        async move {
            Err(CallError::InvalidParams(format!(
                "unknown prompt `{}`",
                call.name
            )))
        }
    }

    /// Suggests values for an argument of a prompt or of a resource template.
    fn complete(
        &self,
        _call: CompletionCall,
        _context: Context<Self::Principal>,
    ) -> impl Future<Output = Result<Completion, CallError>> + Send {
        async { Ok(Completion::default()) }
    }

    /// Says how the server is, to anyone who asks at the health path, without credentials.
    fn health(&self) -> impl Future<Output = Health> + Send {
        async { Health::up() }
    }
}

/// A call of a tool.
#[derive(Clone, Debug)]
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

/// A request for a prompt.
#[derive(Clone, Debug)]
pub struct PromptCall {
    /// The prompt's name, as [`Handler::prompts`] gives it.
    pub name: String,
    /// The texts for its gaps.
    pub arguments: BTreeMap<String, String>,
}

/// A request for completions.
#[derive(Clone, Debug)]
pub struct CompletionCall {
    /// What the argument belongs to.
    pub reference: Reference,
    /// The argument's name.
    pub argument: String,
    /// What was typed of it so far.
    pub value: String,
    /// Arguments whose values are already known (since 2025-06-18).
    pub known: BTreeMap<String, String>,
}

/// What a completed argument belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type")]
pub enum Reference {
    /// A prompt.
    #[serde(rename = "ref/prompt")]
    Prompt {
        /// The prompt's name.
        name: String,
    },
    /// A resource template.
    #[serde(rename = "ref/resource")]
    Template {
        /// The template's URI.
        uri: String,
    },
}

/// Why a call has no result; the client reads it as a JSON-RPC error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The request does not make sense: -32602. The text is shown to the client.
    #[error("invalid parameters: {0}")]
    InvalidParams(String),
    /// There is no such resource: -32602, or -32002 until 2025-11-25.
    #[error("there is no resource `{0}`")]
    NotFound(String),
    /// Not an error: the call waits for the client's side. [`Context::ask`] makes this.
    #[error("the call waits for input")]
    InputRequired(Box<InputRequired>),
    /// The client was asked and gave no answer, or could not be reached. [`Context::ask`] makes
    /// this. A handler that can do without the answer goes on instead of returning it.
    #[error("{message}")]
    Unanswered {
        /// The code: -32603, or -32600 when the client could not be reached.
        code: i64,
        /// What the client reads.
        message: String,
    },
    /// Not an error: the call goes on as a task. [`Context::go_on`] makes this.
    #[error("the call goes on as a task")]
    GoesOn,
    /// The server failed: -32603. The cause is logged; the client reads "internal error".
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An application-defined error, with a code outside -32768 to -32000.
    #[error("{message}")]
    Other {
        /// The code.
        code: i64,
        /// What the client reads.
        message: String,
        /// Details for programs.
        data: Option<serde_json::Value>,
    },
}

/// The answer at the health path.
#[derive(Clone, Debug)]
pub struct Health {
    /// The HTTP status: 200 if all is well, 503 if not.
    pub status: u16,
    /// The JSON object in the body; anybody can read it.
    pub body: Object,
}

impl Health {
    /// Reports that all is well.
    pub fn up() -> Self {
        Self {
            status: 200,
            body: Object::from_iter([("status".to_owned(), "ok".into())]),
        }
    }
}
