//! The circumstances of a call.

use std::any::Any;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::changes::Changes;
use crate::client::ClientCapabilities;
use crate::handler::CallError;
use crate::input::{InputRequest, InputRequired, InputResponse, Inputs};
use crate::jsonrpc::{self, Id};
use crate::outbox::Outbox;
use crate::revision::Revision;
use crate::session::Session;

/// The circumstances of a call: who calls, in which revision, and the means to tell the client
/// something on the way.
#[derive(Clone, Debug)]
pub struct Context<P> {
    call: Arc<Circumstances<P>>,
}

#[derive(Debug)]
pub(crate) struct Circumstances<P> {
    pub(crate) principal: P,
    pub(crate) revision: Revision,
    pub(crate) client: ClientCapabilities,
    pub(crate) client_name: Option<Arc<str>>,
    pub(crate) session: Option<Arc<Session>>,
    pub(crate) request: Id,
    pub(crate) progress_token: Option<Id>,
    /// The level that this one request asked for; a session has its own.
    pub(crate) log_level: Option<LogLevel>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) changes: Changes,
    pub(crate) inputs: Inputs,
    /// The keys of the answers that the handler has read.
    pub(crate) read: Mutex<BTreeSet<String>>,
    pub(crate) as_task: bool,
}

/// What happens to a call that wants to go on as a task where the client cannot follow tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsTask {
    /// The call is answered when it is done.
    IfPossible,
    /// The call is refused.
    Always,
}

impl<P> Context<P> {
    pub(crate) fn new(call: Arc<Circumstances<P>>) -> Self {
        Self { call }
    }

    /// Returns the principal that the call is made for.
    pub fn principal(&self) -> &P {
        &self.call.principal
    }

    /// Returns the revision that the client speaks.
    pub fn revision(&self) -> Revision {
        self.call.revision
    }

    /// Returns what the client can be asked for.
    pub fn client(&self) -> ClientCapabilities {
        self.call.client
    }

    /// Gives the client's name for itself, as `name/version`, if it has one. Nobody has checked it.
    pub fn client_name(&self) -> Option<&Arc<str>> {
        self.call.client_name.as_ref()
    }

    /// Gives the session that the call is made in: over HTTP what `initialize` began, over standard
    /// input everything after it. Revision 2026-07-28 has no sessions.
    pub fn session(&self) -> Option<ClientSession> {
        self.call.session.clone().map(ClientSession)
    }

    /// Returns the identifier that the client gave its request: a string or a number that it chose itself.
    pub fn request_id(&self) -> Cow<'_, str> {
        self.call.request.words()
    }

    /// Gives the means to announce changes.
    pub fn changes(&self) -> &Changes {
        &self.call.changes
    }

    /// Returns the answer to a question, by a key that the handler chooses.
    ///
    /// While there is no answer this is an error, which the handler returns (`?`): the client is
    /// asked, and the handler is called again with the answer. So put nothing that should happen
    /// once before the last question. Earlier answers are kept; several questions in a row are
    /// asked one after the other.
    ///
    /// # Errors
    ///
    /// [`CallError::InputRequired`] while the answer is missing. If that is returned and the client does not declare
    /// that it can be asked, the request is refused; [`Context::client`] tells beforehand. [`CallError::Unanswered`]
    /// when the client was asked and did not answer.
    pub fn ask(&self, key: &str, request: InputRequest) -> Result<InputResponse, CallError> {
        let [response] = self.ask_all([(key, request)])?;
        Ok(response)
    }

    /// Returns the answers to several questions, which are asked together; see [`Context::ask`].
    ///
    /// # Errors
    ///
    /// [`CallError::InputRequired`] while any of the answers is missing, and [`CallError::Unanswered`] when one of the
    /// questions was asked and not answered.
    pub fn ask_all<const N: usize>(
        &self,
        requests: [(&str, InputRequest); N],
    ) -> Result<[InputResponse; N], CallError> {
        let mut missing = InputRequired {
            state: self.call.inputs.state.clone(),
            ..InputRequired::new()
        };
        let mut responses = Vec::with_capacity(N);
        for (key, request) in requests {
            if let Some(failure) = self.call.inputs.unanswered.get(key) {
                return Err(CallError::Unanswered {
                    code: failure.code,
                    message: failure.message.to_string(),
                });
            }
            match self.answer(key, &request) {
                Some(response) => responses.push(response),
                None => missing = missing.ask(key, request),
            }
        }
        responses
            .try_into()
            .map_err(|_| CallError::InputRequired(Box::new(missing)))
    }

    /// Gives the answer to a question if there is one that fits; never asks.
    pub fn answer(&self, key: &str, request: &InputRequest) -> Option<InputResponse> {
        let answer = self.call.inputs.answers.get(key)?;
        let response = request.read(answer)?;
        self.call
            .read
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key.to_owned());
        Some(response)
    }

    /// Gives what the handler left with [`InputRequired::state`](crate::InputRequired::state) in
    /// its last round.
    pub fn state(&self) -> Option<&str> {
        self.call.inputs.state.as_deref()
    }

    /// Lets a call go on as a task (the extension `io.modelcontextprotocol/tasks`): the client gets
    /// the task at once, and fetches the result when it is there. Only tool calls can, and the
    /// server must offer [`Capabilities::tasks`](crate::Capabilities::tasks).
    ///
    /// # Errors
    ///
    /// [`CallError::GoesOn`] when the call is to continue as a task. The handler returns it (`?`) and is then called
    /// again, as a task.
    pub fn go_on(&self, as_task: AsTask) -> Result<(), CallError> {
        match as_task {
            _ if self.call.as_task => Ok(()),
            AsTask::IfPossible if !self.call.client.tasks => Ok(()),
            AsTask::IfPossible | AsTask::Always => Err(CallError::GoesOn),
        }
    }

    /// Tells the client how far the call is, if it asked for that. Does not wait. A value that is
    /// not greater than the last one is not sent, as the protocol demands.
    pub fn progress(&self, progress: f64, total: Option<f64>, message: Option<&str>) {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Params<'a> {
            progress_token: &'a Id,
            progress: f64,
            #[serde(skip_serializing_if = "Option::is_none")]
            total: Option<f64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            message: Option<&'a str>,
        }
        let Some(progress_token) = &self.call.progress_token else {
            return;
        };
        if !self.call.outbox.progresses(progress) {
            return;
        }
        let message = message.filter(|_| self.call.revision >= Revision::V2025_03_26);
        let params = Params {
            progress_token,
            progress,
            total,
            message,
        };
        self.call.outbox.tell(jsonrpc::write_notification(
            "notifications/progress",
            &params,
        ));
    }

    /// Sends a log message to the client, if it asked for messages of this level. Does not wait.
    pub fn log(&self, level: LogLevel, logger: Option<&str>, data: &Value) {
        #[derive(Serialize)]
        struct Params<'a> {
            level: LogLevel,
            #[serde(skip_serializing_if = "Option::is_none")]
            logger: Option<&'a str>,
            data: &'a Value,
        }
        let session_level = || {
            self.call
                .session
                .as_ref()
                .map(|session| session.log_level())
        };
        let lowest = self.call.log_level.or_else(session_level);
        if lowest.is_some_and(|lowest| level >= lowest) {
            let params = Params {
                level,
                logger,
                data,
            };
            self.call.outbox.tell(jsonrpc::write_notification(
                "notifications/message",
                &params,
            ));
        }
    }
}

/// The session of a client, for handlers that keep something from one call to the next.
#[derive(Clone, Debug)]
pub struct ClientSession(Arc<Session>);

impl ClientSession {
    /// Its unique identifier, which is never used again. Clients know it (`Mcp-Session-Id`).
    pub fn id(&self) -> &str {
        self.0.id.as_str()
    }

    /// How long it may be without a request before it ends. `None` over standard input, where it
    /// lasts as long as the connection.
    pub fn idle_timeout(&self) -> Option<Duration> {
        self.0.idle_timeout()
    }

    /// Completes when the session has ended. An idle session is ended only when somebody asks for
    /// it or another session begins, so this may take longer than the idle time.
    pub async fn ended(&self) {
        self.0.ended().await;
    }

    /// Keeps a value until the session ends, and drops it then, or at once if it has ended. Tie
    /// what you keep for a session to its end by a value that releases it in `Drop`.
    pub fn attach(&self, value: impl Any + Send + Sync) {
        self.0.attach(Box::new(value));
    }

    /// Drops what is attached of which `is_over` says so, and says whether there was any.
    pub fn detach(&self, is_over: impl FnMut(&(dyn Any + Send + Sync)) -> bool) -> bool {
        self.0.detach(is_over)
    }
}

/// The severity of a log message (RFC 5424, section 6.2.1); later ones compare as greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // The levels are RFC 5424's.
pub enum LogLevel {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}
