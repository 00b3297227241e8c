//! Calls that may ask the client's side, in rounds: from 2026-07-28 on by replies and repeated
//! requests, until 2025-11-25 by requests of the server.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use hyper::header::HeaderMap;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::auth::Principal;
use crate::calls;
use crate::client::Lacking;
use crate::context::{Circumstances, Context};
use crate::era;
use crate::handler::{CallError, CallRefusal, Handler, Origin, ToolCall};
use crate::input::{InputRequest, InputRequired, Inputs};
use crate::jsonrpc::{
    Failure, INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, MISSING_CAPABILITY,
    RESOURCE_NOT_FOUND, Request,
};
use crate::model::{Fields, Project};
use crate::outbox::Outbox;
use crate::params::{self, Params};
use crate::revision::Revision;
use crate::seal::Purpose;
use crate::service::{Scope, Service};

/// A request that calls the handler, perhaps several times.
pub(crate) struct Asking<'a, P> {
    pub(crate) request: &'a Request,
    pub(crate) params: &'a Params<'a>,
    pub(crate) scope: Scope<P>,
    pub(crate) outbox: Arc<Outbox>,
}

/// The result of a request's rounds, as far as this request goes.
#[derive(Debug)]
pub(crate) enum Outcome<T> {
    Complete(T),
    InputRequired(Asked),
    /// The handler wants to continue as a task.
    GoesOn,
}

impl<T> Outcome<T> {
    pub(crate) fn map<U>(self, wrap: impl FnOnce(T) -> U) -> Outcome<U> {
        match self {
            Self::Complete(result) => Outcome::Complete(wrap(result)),
            Self::InputRequired(asked) => Outcome::InputRequired(asked),
            Self::GoesOn => Outcome::GoesOn,
        }
    }
}

/// The result that asks the client for answers and to repeat its request.
#[derive(Debug)]
pub(crate) struct Asked {
    requests: Vec<(String, InputRequest)>,
    state: Option<String>,
}

impl Project for Asked {
    fn project(&self, fields: &mut Fields<'_>) {
        let requests = InputRequests(&self.requests, fields.revision);
        fields.optional(
            "inputRequests",
            (!self.requests.is_empty()).then_some(requests),
        );
        fields.optional("requestState", self.state.as_ref());
    }
}

/// Questions as a map by their keys.
pub(crate) struct InputRequests<'a>(pub(crate) &'a [(String, InputRequest)], pub(crate) Revision);

impl Serialize for InputRequests<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(requests, revision) = *self;
        serializer.collect_map(requests.iter().map(|(key, request)| {
            let params = request.params(key, revision);
            (
                key,
                serde_json::json!({ "method": request.method(), "params": params }),
            )
        }))
    }
}

impl<'a, P: Principal> Asking<'a, P> {
    pub(crate) fn new(
        request: &'a Request,
        params: &'a Params<'a>,
        scope: Scope<P>,
        outbox: Arc<Outbox>,
    ) -> Self {
        Self {
            request,
            params,
            scope,
            outbox,
        }
    }

    /// Returns who made the request.
    pub(crate) fn origin(&self) -> Origin<'_, P> {
        Origin {
            principal: &self.scope.principal,
            client_name: self.scope.client_name.as_deref(),
            session: self
                .scope
                .session
                .as_ref()
                .map(|session| session.id.as_str()),
            request: self.request.id.words(),
        }
    }

    /// Says which request a state that the client carries is good for.
    fn purpose(&self) -> Purpose<'_> {
        let text = |raw: Option<&'a RawValue>| raw.map_or("", RawValue::get);
        Purpose {
            principal: self.scope.principal.name(),
            method: &self.request.method,
            name: text(self.params.name.or(self.params.uri)),
            arguments: text(self.params.arguments),
        }
    }
}

impl<H: Handler> Service<H> {
    /// Calls a tool, here or as a task.
    pub(crate) async fn call_tool(
        self: &Arc<Self>,
        mut asking: Asking<'_, H::Principal>,
        headers: Option<&HeaderMap>,
    ) -> Result<Vec<u8>, Failure> {
        let params = asking.params;
        let name: String = params::required("name", params.name)
            .inspect_err(|_| self.refuse(&asking, CallRefusal::WrongArguments))?;
        let tools = self.handler.tools(&asking.scope.principal);
        let tool = tools.iter().find(|tool| tool.name == name);
        let refused = |why| self.refuse(&asking, why);
        let tool = tool.ok_or_else(|| {
            refused(CallRefusal::UnknownTool);
            let known = tools.iter().map(|tool| &*tool.name);
            Failure::invalid_params(calls::unknown("tool", &name, known))
        })?;
        let arguments = calls::arguments(params).and_then(|arguments| {
            if let Some(headers) = headers.filter(|_| asking.scope.revision.is_modern()) {
                let named = tool.input_schema.header_parameters();
                era::check_parameters(named, &arguments, headers)?;
            }
            Ok(arguments)
        });
        let arguments = arguments.inspect_err(|_| refused(CallRefusal::WrongArguments))?;
        let call = ToolCall { name, arguments };
        let outcome = self
            .rounds(&mut asking, |context| {
                self.handler.call_tool(call.clone(), context)
            })
            .await?;
        match outcome {
            Outcome::GoesOn => self.start_task(&asking, call),
            outcome => self.finish(&asking, outcome, None),
        }
    }

    /// Calls the handler until it needs no more answers, or until the client must bring them.
    pub(crate) async fn rounds<T, F>(
        &self,
        asking: &mut Asking<'_, H::Principal>,
        mut call: impl FnMut(Context<H::Principal>) -> F,
    ) -> Result<Outcome<T>, Failure>
    where
        F: Future<Output = Result<T, CallError>> + Send,
    {
        let mut inputs = self
            .inputs(asking)
            .inspect_err(|_| self.refuse(asking, CallRefusal::WrongRequest))?;
        for _ in 0..self.options.max_rounds {
            let circumstances = self.circumstances(asking, inputs)?;
            let context = Context::new(Arc::clone(&circumstances));
            let required = match self.limited(Box::pin(call(context))).await? {
                Ok(result) => return Ok(Outcome::Complete(result)),
                Err(CallError::InputRequired(required)) => *required,
                Err(CallError::GoesOn) if asking.scope.client.tasks => return Ok(Outcome::GoesOn),
                Err(CallError::GoesOn) => {
                    return Err(lacking(Lacking::Tasks, asking.scope.revision));
                }
                Err(error) => return Err(failure(error, asking.scope.revision)),
            };
            for (_, request) in &required.requests {
                if let Some(missing) = request.lacking(asking.scope.client) {
                    return Err(lacking(missing, asking.scope.revision));
                }
            }
            let answers = read_answers(&circumstances);
            if asking.scope.revision.is_modern() {
                return Ok(Outcome::InputRequired(
                    self.hand_out(asking, required, answers),
                ));
            }
            let unanswered = circumstances.inputs.unanswered.clone();
            inputs = Inputs {
                answers,
                unanswered,
                state: required.state,
            };
            self.ask(asking, required.requests, &mut inputs).await;
        }
        Err(Failure::new(
            INTERNAL_ERROR,
            "the call asks again and again",
        ))
    }

    /// Makes the context of a call that cannot ask.
    pub(crate) fn context(
        &self,
        asking: &Asking<'_, H::Principal>,
    ) -> Result<Context<H::Principal>, Failure> {
        self.circumstances(asking, Inputs::default())
            .map(Context::new)
    }

    fn circumstances(
        &self,
        asking: &Asking<'_, H::Principal>,
        inputs: Inputs,
    ) -> Result<Arc<Circumstances<H::Principal>>, Failure> {
        let wrong = |_: &Failure| self.refuse(asking, CallRefusal::WrongRequest);
        let meta = asking.params.meta()?;
        let scope = &asking.scope;
        Ok(Arc::new(Circumstances {
            principal: scope.principal.clone(),
            revision: scope.revision,
            client: scope.client,
            client_name: scope.client_name.clone(),
            session: scope.session.clone(),
            request: asking.request.id.clone(),
            progress_token: meta.progress_token().inspect_err(wrong)?,
            log_level: meta.log_level().inspect_err(wrong)?,
            outbox: Arc::clone(&asking.outbox),
            changes: self.changes.clone(),
            inputs,
            read: Mutex::default(),
            as_task: false,
        }))
    }

    /// Reads the answers that a repeated request brings, and its state.
    pub(crate) fn inputs(&self, asking: &Asking<'_, H::Principal>) -> Result<Inputs, Failure> {
        if !asking.scope.revision.is_modern() {
            return Ok(Inputs::default());
        }
        let state: Option<String> = params::optional("requestState", asking.params.request_state)?;
        let mut inputs = match state {
            None => Inputs::default(),
            Some(state) => self
                .sealer
                .open(&state, &asking.purpose(), SystemTime::now())
                .ok_or_else(|| {
                    Failure::invalid_params(
                        "`requestState` is not one of this request, or is too old; start again without it",
                    )
                })?,
        };
        let brought: Option<BTreeMap<String, Box<RawValue>>> =
            params::optional("inputResponses", asking.params.input_responses)?;
        inputs.answers.extend(brought.into_iter().flatten());
        Ok(inputs)
    }

    /// Makes the result that asks the client for answers.
    fn hand_out(
        &self,
        asking: &Asking<'_, H::Principal>,
        required: InputRequired,
        answers: BTreeMap<String, Box<RawValue>>,
    ) -> Asked {
        let InputRequired { requests, state } = required;
        let inputs = Inputs {
            answers,
            state,
            ..Inputs::default()
        };
        let nothing_to_carry = inputs.state.is_none() && inputs.answers.is_empty();
        let state = (!nothing_to_carry || requests.is_empty()).then(|| {
            self.sealer
                .seal(&inputs, &asking.purpose(), SystemTime::now())
        });
        Asked { requests, state }
    }

    /// Asks a client of an older revision, which has a session and reads a stream; adds the outcome
    /// of each question.
    async fn ask(
        &self,
        asking: &Asking<'_, H::Principal>,
        requests: Vec<(String, InputRequest)>,
        inputs: &mut Inputs,
    ) {
        let all = requests.into_iter().map(|(key, request)| async move {
            let answer = self.ask_one(asking, &key, &request).await;
            (key, answer)
        });
        for (key, answer) in futures_util::future::join_all(all).await {
            match answer {
                Ok(answer) => {
                    inputs.answers.insert(key, answer);
                }
                Err(failure) => {
                    inputs.unanswered.insert(key, failure);
                }
            }
        }
    }

    async fn ask_one(
        &self,
        asking: &Asking<'_, H::Principal>,
        key: &str,
        request: &InputRequest,
    ) -> Result<Box<RawValue>, Failure> {
        #[derive(Deserialize)]
        struct Refused {
            message: String,
        }
        let session = asking.scope.session.as_deref();
        let reached = session.filter(|_| !asking.outbox.is_closed());
        let session = reached.ok_or_else(|| {
            Failure::new(
                INVALID_REQUEST,
                "the call asks the client, which needs a session and a stream",
            )
        })?;
        let (method, params) = (request.method(), request.params(key, session.revision));
        let limit = self.options.input_timeout;
        match session.ask(&asking.outbox, method, &params, limit).await {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(refusal)) => {
                let reason = serde_json::from_str::<Refused>(refusal.get())
                    .map_or_else(|_| "no reason given".to_owned(), |refused| refused.message);
                let message = format!("the client refused `{method}`: {reason}");
                Err(Failure::new(INTERNAL_ERROR, message))
            }
            None => Err(Failure::new(
                INTERNAL_ERROR,
                format!("the client did not answer `{method}`"),
            )),
        }
    }
}

/// Gives the answers that the handler has used, as it will use them again in its next round.
pub(crate) fn read_answers<P>(call: &Circumstances<P>) -> BTreeMap<String, Box<RawValue>> {
    let read = call.read.lock().unwrap_or_else(PoisonError::into_inner);
    let answers = call
        .inputs
        .answers
        .iter()
        .filter(|(key, _)| read.contains(*key));
    answers
        .map(|(key, answer)| (key.clone(), answer.clone()))
        .collect()
}

/// Refuses a request whose client would have to declare further capabilities.
pub(crate) fn lacking(lacking: Lacking, revision: Revision) -> Failure {
    let required = lacking.declaration();
    let message = format!("the client does not declare what this needs: {required}");
    if revision.is_modern() {
        let data = serde_json::json!({ "requiredCapabilities": required });
        Failure::new(MISSING_CAPABILITY, message)
            .data(data)
            .status(400)
    } else {
        Failure::new(INVALID_REQUEST, message)
    }
}

/// Converts the error of a call into what the client is told.
pub(crate) fn failure(error: CallError, revision: Revision) -> Failure {
    match error {
        CallError::InvalidParams(message) => Failure::invalid_params(message),
        CallError::NotFound(uri) => {
            let code = if revision.is_modern() {
                INVALID_PARAMS
            } else {
                RESOURCE_NOT_FOUND
            };
            Failure::new(code, format!("there is no resource `{uri}`"))
                .data(serde_json::json!({ "uri": uri }))
        }
        CallError::Internal(cause) => {
            tracing::error!(cause = &*cause as &dyn std::error::Error, "a call failed");
            Failure::internal().status(200)
        }
        CallError::InputRequired(_) => {
            Failure::new(INTERNAL_ERROR, "this request cannot ask the client")
        }
        CallError::Unanswered { code, message } => Failure::new(code, message),
        CallError::GoesOn => Failure::new(INTERNAL_ERROR, "this request cannot go on as a task"),
        CallError::Other {
            code,
            message,
            data,
        } => {
            let failure = Failure::new(code, message);
            match data {
                Some(data) => failure.data(data),
                None => failure,
            }
        }
    }
}
