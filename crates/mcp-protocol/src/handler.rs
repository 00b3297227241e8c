//! What a server's owner implements to be called.

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

/// What a client called that the handler was not asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Called<'a> {
    /// A tool, by the name that the client gave; empty, where it gave none.
    Tool(&'a str),
    /// A resource, to read it.
    Resource(&'a str),
    /// Resources, to be told of their changes: one of them, and how many more.
    Follow(&'a str, usize),
    /// A completion.
    Completion,
}

/// Whose call does not get as far as the handler, as far as that is known by then.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Origin<'a, P> {
    /// For whom the call is made.
    pub principal: &'a P,
    /// What the client calls itself; see [`Context::client_name`].
    pub client_name: Option<&'a str>,
    /// The identifier of its session.
    pub session: Option<&'a str>,
    /// The identifier that the client gave its request.
    pub request: Cow<'a, str>,
}

/// Why a call does not get as far as the handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallRefusal {
    /// There is no such tool for the principal.
    UnknownTool,
    /// There are no such resources for the principal, see [`Handler::may_follow`].
    UnknownResources,
    /// The arguments are no object, or are not those that the headers name.
    WrongArguments,
    /// What the request says beside them is wrong: of its client, its session, or a state that is not its own.
    WrongRequest,
    /// Too many requests of the principal run, or it follows too many resources.
    TooManyRequests,
}

/// Answers what clients ask, in the terms of the newest revision; older ones are served from the
/// same answers.
///
/// Every returned future may be dropped at any point at which it waits: the client cancelled or hung
/// up, the principal lost its rights, time ran out. Clean-up belongs into `Drop`.
pub trait Handler: Send + Sync + 'static {
    /// For whom calls are made.
    type Principal: Principal;

    /// Describes the server; asked once, when it is put behind a [`Service`](crate::Service).
    fn server(&self) -> &ServerInfo;

    /// Names what is offered, now and later.
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

    /// Is told of a call that does not get as far as the method of this trait that would answer it; the
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

    /// Lists one page of the templates of resources that the principal may see.
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

    /// Gives a short text that is another one whenever a resource holds something else, and `None`
    /// where that cannot be told now. It is asked every [`ServiceOptions::follow_interval`] while a
    /// client of `principal` follows the resource; what else is known of changes goes through
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

    /// Says, without asking for it, whether there can be such a resource for the principal. Those of a
    /// stream that there are not are told to [`Handler::call_refused`] together, and left out, so that
    /// one request does not have as much told as it has names that cost nothing.
    fn may_follow(&self, _uri: &str, _principal: &Self::Principal) -> bool {
        true
    }

    /// Begins to follow a resource for a client, which has asked to be told of its changes, and gives
    /// what [`Handler::resource_version`] gives. An error refuses it: a subscription is answered with
    /// the error, a stream goes on without the resource.
    fn follow_resource(
        &self,
        uri: &str,
        context: Context<Self::Principal>,
    ) -> impl Future<Output = Result<Option<String>, CallError>> + Send {
        async move { Ok(self.resource_version(uri, context.principal()).await) }
    }

    /// Is told that a client asks to follow a resource no more, whether it did or not. That a stream or
    /// a session ends, and with it all that was followed in it, is not told.
    fn unfollow_resource(&self, _uri: &str, _context: Context<Self::Principal>) {}

    /// Lists the prompts that `principal` may see, in an order that stays. Only these can be got.
    fn prompts(&self, _principal: &Self::Principal) -> Arc<[Prompt]> {
        Arc::new([])
    }

    /// Fills in a prompt that [`Handler::prompts`] lists; its required arguments are there.
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

    /// Completes an argument of a prompt or of a template.
    fn complete(
        &self,
        _call: CompletionCall,
        _context: Context<Self::Principal>,
    ) -> impl Future<Output = Result<Completion, CallError>> + Send {
        async { Ok(Completion::default()) }
    }

    /// Tells how the server is, to anyone who asks at the health path, without credentials.
    fn health(&self) -> impl Future<Output = Health> + Send {
        async { Health::up() }
    }
}

/// The call of a tool.
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

/// The request for a prompt.
#[derive(Clone, Debug)]
pub struct PromptCall {
    /// The prompt's name, as [`Handler::prompts`] gives it.
    pub name: String,
    /// What fills its gaps.
    pub arguments: BTreeMap<String, String>,
}

/// The request for completions.
#[derive(Clone, Debug)]
pub struct CompletionCall {
    /// What the argument belongs to.
    pub reference: Reference,
    /// The argument's name.
    pub argument: String,
    /// What is typed of it so far.
    pub value: String,
    /// Arguments that are known already (since 2025-06-18).
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
    /// A template of resources.
    #[serde(rename = "ref/resource")]
    Template {
        /// The template's URI.
        uri: String,
    },
}

/// Why a call has no result: the client reads it as a JSON-RPC error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The request does not make sense: -32602. The text is shown to the client.
    #[error("invalid parameters: {0}")]
    InvalidParams(String),
    /// There is no such resource: -32602, until 2025-11-25 -32002.
    #[error("there is no resource `{0}`")]
    NotFound(String),
    /// No error: the call waits for the client's side; [`Context::ask`] makes this.
    #[error("the call waits for input")]
    InputRequired(Box<InputRequired>),
    /// The client was asked and gave no answer, or could not be reached; [`Context::ask`] makes this.
    /// A handler that can do without the answer goes on instead of returning it.
    #[error("{message}")]
    Unanswered {
        /// The code: -32603, or -32600 when the client could not be reached.
        code: i64,
        /// What the client reads.
        message: String,
    },
    /// No error: the call goes on as a task; [`Context::go_on`] makes this.
    #[error("the call goes on as a task")]
    GoesOn,
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
