//! One dispatch for every transport and every revision.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::value::RawValue;

use crate::context::{Circumstances, Context};
use crate::cursor;
use crate::exchange::{Answer, Exchange};
use crate::handler::{CallError, Handler, ToolCall};
use crate::jsonrpc::{self, Failure, INTERNAL_ERROR, METHOD_NOT_FOUND, Request};
use crate::model::{At, Handshake, Project, ToolList};
use crate::outbox::Outbox;
use crate::params::{self, Params};
use crate::revision::Revision;

/// A [`Handler`] behind the protocol's rules; the transports [`http`](crate::http) and
/// [`stdio`](crate::stdio) share one.
#[derive(Debug)]
pub struct Service<H> {
    pub(crate) handler: H,
    options: ServiceOptions,
}

/// The limits that hold on every transport.
#[derive(Clone, Debug)]
pub struct ServiceOptions {
    /// How many tools, resources or prompts one page of a list holds; further ones need a cursor.
    pub page_size: usize,
    /// How long a handler may take to answer one request.
    pub request_timeout: Duration,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        Self {
            page_size: 500,
            request_timeout: Duration::from_secs(120),
        }
    }
}

/// The side of a request that its body does not tell.
#[derive(Debug)]
pub(crate) struct Scope<P> {
    pub(crate) principal: P,
    pub(crate) revision: Revision,
}

impl<H: Handler> Service<H> {
    /// Serves `handler` within the default limits.
    pub fn new(handler: H) -> Self {
        Self::with_options(handler, ServiceOptions::default())
    }

    /// Serves `handler` within `options`.
    pub fn with_options(handler: H, options: ServiceOptions) -> Self {
        Self { handler, options }
    }

    /// Starts a request; nothing runs until the exchange is polled.
    pub(crate) fn start(
        self: &Arc<Self>,
        request: Request,
        scope: Scope<H::Principal>,
    ) -> Exchange {
        let outbox = Arc::new(Outbox::default());
        let service = Arc::clone(self);
        let sender = Arc::clone(&outbox);
        Exchange::new(outbox, async move {
            let limit = service.options.request_timeout;
            let work = AssertUnwindSafe(service.perform(&request, scope, sender)).catch_unwind();
            let outcome = match tokio::time::timeout(limit, work).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_panic)) => {
                    tracing::error!(method = %request.method, "a handler panicked");
                    Err(Failure::internal())
                }
                Err(_elapsed) => Err(Failure::new(
                    INTERNAL_ERROR,
                    format!("the request took longer than {} s", limit.as_secs_f64()),
                )),
            };
            match outcome {
                Ok(message) => Answer {
                    message: message.into(),
                    status: 200,
                },
                Err(failure) => Answer {
                    message: jsonrpc::write_failure(Some(&request.id), &failure).into(),
                    status: failure.status,
                },
            }
        })
    }

    async fn perform(
        &self,
        request: &Request,
        scope: Scope<H::Principal>,
        outbox: Arc<Outbox>,
    ) -> Result<Vec<u8>, Failure> {
        let params = Params::read(request.params.as_deref())?;
        let revision = scope.revision;
        match request.method.as_str() {
            "initialize" => {
                let asked: String = params::required("protocolVersion", params.protocol_version)?;
                let (server, capabilities) = (self.handler.server(), self.handler.capabilities());
                Ok(write(
                    request,
                    Revision::negotiate(&asked),
                    &Handshake {
                        server,
                        capabilities,
                    },
                ))
            }
            "ping" => Ok(jsonrpc::write_result(&request.id, &serde_json::Map::new())),
            "tools/list" if self.handler.capabilities().tools => {
                let tools = self.handler.tools(&scope.principal);
                let (page, next_cursor) =
                    cursor::page(&tools, &params, "tools", self.options.page_size)?;
                Ok(write(
                    request,
                    revision,
                    &ToolList {
                        tools: page,
                        next_cursor,
                    },
                ))
            }
            "tools/call" if self.handler.capabilities().tools => {
                let result = self.call_tool(&params, scope, outbox).await?;
                Ok(write(request, revision, &result))
            }
            unknown => Err(Failure::new(
                METHOD_NOT_FOUND,
                format!("unknown method `{unknown}`"),
            )),
        }
    }

    async fn call_tool(
        &self,
        params: &Params<'_>,
        scope: Scope<H::Principal>,
        outbox: Arc<Outbox>,
    ) -> Result<crate::model::ToolResult, Failure> {
        let name: String = params::required("name", params.name)?;
        if !self
            .handler
            .tools(&scope.principal)
            .iter()
            .any(|tool| tool.name == name)
        {
            return Err(Failure::invalid_params(format!("unknown tool `{name}`")));
        }
        let arguments = arguments(params)?;
        let context = self.context(params, scope, outbox)?;
        Ok(self
            .handler
            .call_tool(ToolCall { name, arguments }, context)
            .await?)
    }

    fn context(
        &self,
        params: &Params<'_>,
        scope: Scope<H::Principal>,
        outbox: Arc<Outbox>,
    ) -> Result<Context<H::Principal>, Failure> {
        let meta = params.meta()?;
        Ok(Context::new(Circumstances {
            principal: scope.principal,
            revision: scope.revision,
            progress_token: meta.progress_token()?,
            log_level: meta.log_level()?,
            outbox,
            progress: Mutex::new(f64::NEG_INFINITY),
        }))
    }
}

fn write(request: &Request, revision: Revision, result: &impl Project) -> Vec<u8> {
    jsonrpc::write_result(&request.id, &At(result, revision))
}

/// Takes the arguments of a call as they are: an object, or nothing, which is an empty one.
fn arguments(params: &Params<'_>) -> Result<Box<RawValue>, Failure> {
    match params.arguments {
        None => Ok(RawValue::from_string("{}".to_owned()).expect("an empty object is JSON")),
        Some(raw) if raw.get().starts_with('{') => Ok(raw.to_owned()),
        Some(_) => Err(Failure::invalid_params("`arguments` must be an object")),
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::InvalidParams(message) => Self::invalid_params(message),
            CallError::Internal(cause) => {
                tracing::error!(cause = &*cause as &dyn std::error::Error, "a call failed");
                Self::internal().status(200)
            }
            CallError::Other {
                code,
                message,
                data,
            } => {
                let failure = Self::new(code, message);
                match data {
                    Some(data) => failure.data(data),
                    None => failure,
                }
            }
        }
    }
}
