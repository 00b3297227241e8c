//! One dispatcher for all transports and revisions.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::auth::Principal;
use crate::calls;
use crate::client::{self, ClientCapabilities};
use crate::era::{self, Era};
use crate::handler::{CallError, CallRefusal, Called, Handler, Origin};
use crate::jsonrpc::{self, Failure, INTERNAL_ERROR, METHOD_NOT_FOUND, Request};
use crate::listen::Filter;
use crate::methods::{self, LISTEN, Method};
use crate::model::{Discovery, Empty, Project, ReadResult, Reply};
use crate::outbox::Outbox;
use crate::params::{self, Params};
use crate::places::Place;
use crate::revision::Revision;
use crate::rounds::{self, Asking, Outcome};
use crate::service::{Arrival, Channel, Scope, Service, no_session};
use crate::session::Session;
use crate::within::within;

/// The outcome of a performed request.
#[derive(Debug)]
pub(crate) struct Done {
    /// The response; `None` if the request was cancelled.
    pub(crate) message: Option<Vec<u8>>,
    /// The session that the request opened.
    pub(crate) session: Option<Arc<Session>>,
    /// The place that the request takes among those of its principal.
    pub(crate) place: Option<Place>,
}

impl From<Vec<u8>> for Done {
    fn from(message: Vec<u8>) -> Self {
        Self {
            message: Some(message),
            session: None,
            place: None,
        }
    }
}

impl<H: Handler> Service<H> {
    /// Performs a request: classifies it, finds its scope, and runs its method in that scope.
    pub(crate) async fn perform(
        self: &Arc<Self>,
        request: &Request,
        principal: H::Principal,
        arrival: &Arrival,
        outbox: Arc<Outbox>,
    ) -> Result<Done, Failure> {
        let place = self.requests.enter(principal.name());
        let params = Params::read(request.params.as_deref())?;
        let refused = |why| {
            // The client and its session are looked up later.
            let from = Origin {
                principal: &principal,
                client_name: None,
                session: None,
                request: request.id.words(),
            };
            self.tell_refused(request, &params, from, why);
        };
        let place = place.ok_or_else(|| {
            refused(CallRefusal::TooManyRequests);
            too_many_requests()
        })?;
        // A stream of changes is open for long, and counts among the streams instead.
        let mut place = (request.method != LISTEN).then_some(place);
        let scope = self.scope(request, &params, &principal, arrival);
        let scope = scope.inspect_err(|_| refused(CallRefusal::WrongRequest))?;
        let scope = scope.of(principal);
        let session = scope.session.clone();
        // Named in one place only: it is large, and each place that names it would reserve room for it.
        let mut served = pin!(self.serve(request, &params, scope, arrival, outbox));
        let done = if let Some(session) = session {
            let (_running, cancelled) = session.begin(&request.id);
            tokio::select! {
                biased;
                Ok(()) = cancelled => return Ok(Done { message: None, session: None, place: None }),
                () = session.ended() => Err(no_session()),
                done = &mut served => done,
            }
        } else {
            served.await
        }?;
        let length = done.message.as_ref().map_or(0, Vec::len);
        if place.as_mut().is_some_and(|place| !place.keep(length)) {
            return Err(too_much_unread());
        }
        Ok(Done { place, ..done })
    }

    /// Finds the rules by which a request is served.
    fn scope(
        &self,
        request: &Request,
        params: &Params<'_>,
        principal: &H::Principal,
        arrival: &Arrival,
    ) -> Result<Scope<()>, Failure> {
        let headers = arrival.channel.headers();
        let meta = params.meta().map_err(|failure| match headers {
            Some(headers) if era::is_modern(headers) => failure.status(400),
            _ => failure,
        })?;
        match era::classify(meta.protocol_version, &request.method, headers)? {
            Era::Modern => {
                let claims = era::check(request, params, &meta, headers)?;
                Ok(Scope {
                    principal: (),
                    revision: claims.revision,
                    client: claims.client,
                    client_name: claims.client_name,
                    session: None,
                })
            }
            Era::Legacy(named) => {
                let session = match &arrival.channel {
                    _ if request.method == "initialize" => None,
                    Channel::Http(headers) => self.session(headers, principal)?,
                    Channel::Stdio(conversation) => conversation.session(),
                };
                let revision = session.as_ref().map(|session| session.revision).or(named);
                Ok(Scope {
                    principal: (),
                    revision: revision.unwrap_or(Revision::V2024_11_05),
                    client: session
                        .as_ref()
                        .map(|session| session.client)
                        .unwrap_or_default(),
                    client_name: match &session {
                        Some(session) => session.client_name.clone(),
                        None => headers.and_then(client::program),
                    },
                    session,
                })
            }
        }
    }

    /// Tells the handler of a request that is refused before its method runs.
    pub(crate) fn tell_refused(
        &self,
        request: &Request,
        params: &Params<'_>,
        from: Origin<'_, H::Principal>,
        why: CallRefusal,
    ) {
        let text = |name, given| params::required::<String>(name, given).unwrap_or_default();
        let refused = |called: Called<'_>| self.handler.call_refused(called, why, from.clone());
        match methods::named(&request.method).map(|entry| entry.method) {
            Some(Method::CallTool) => refused(Called::Tool(&text("name", params.name))),
            Some(Method::ReadResource) => refused(Called::Resource(&text("uri", params.uri))),
            Some(Method::Subscribe) => refused(Called::Follow(&text("uri", params.uri), 0)),
            Some(Method::Complete) => refused(Called::Completion),
            Some(Method::Listen) => {
                let wanted: Option<Filter> =
                    params::optional_object("notifications", params.notifications)
                        .ok()
                        .flatten();
                let wanted = wanted.unwrap_or_default();
                self.refuse_to_follow(wanted.uris(), why, from);
            }
            _ => {}
        }
    }

    /// The same for a request whose scope is known.
    pub(crate) fn refuse(&self, asking: &Asking<'_, H::Principal>, why: CallRefusal) {
        self.tell_refused(asking.request, asking.params, asking.origin(), why);
    }

    /// Runs the method of a request within its scope.
    async fn serve(
        self: &Arc<Self>,
        request: &Request,
        params: &Params<'_>,
        scope: Scope<H::Principal>,
        arrival: &Arrival,
        outbox: Arc<Outbox>,
    ) -> Result<Done, Failure> {
        let (handler, offered, revision) =
            (&self.handler, self.handler.capabilities(), scope.revision);
        let entry = methods::named(&request.method);
        let entry = entry.filter(|entry| entry.is_served(revision, &offered));
        let Some(entry) = entry else {
            return Err(unknown(&request.method, revision));
        };
        let mut asking = Asking::new(request, params, scope, outbox);
        match entry.method {
            Method::Initialize => return self.initialize(&asking, &arrival.channel),
            Method::Ping => Ok(self.write(&asking, &Empty, None)),
            Method::Discover => {
                let discovery = Discovery {
                    server: handler.server(),
                    capabilities: offered,
                };
                Ok(self.write(&asking, &discovery, Some(self.options.list_lifetime)))
            }
            // In a box: it is the largest future of all, and every request would reserve room for it.
            Method::Listen => Box::pin(self.listen(&asking, arrival)).await,
            Method::ListTools => self.list_tools(&asking),
            Method::CallTool => self.call_tool(asking, arrival.channel.headers()).await,
            Method::ListResources => self.list_resources(&asking).await,
            Method::ListTemplates => self.list_templates(&asking).await,
            Method::ReadResource => {
                let uri: String = params::required("uri", params.uri)
                    .inspect_err(|_| self.refuse(&asking, CallRefusal::WrongArguments))?;
                let read = |context| handler.read_resource(uri.clone(), context);
                let outcome = self.rounds(&mut asking, read).await?;
                self.finish(&asking, outcome.map(ReadResult), Some(Duration::ZERO))
            }
            Method::Subscribe => {
                self.subscribe(&asking).await?;
                Ok(self.write(&asking, &Empty, None))
            }
            Method::Unsubscribe => {
                self.unsubscribe(&asking)?;
                Ok(self.write(&asking, &Empty, None))
            }
            Method::ListPrompts => self.list_prompts(&asking),
            Method::GetPrompt => {
                let prompts = handler.prompts(&asking.scope.principal);
                let call = calls::prompt(params, &prompts)?;
                let get = |context| handler.get_prompt(call.clone(), context);
                let outcome = self.rounds(&mut asking, get).await?;
                self.finish(&asking, outcome, None)
            }
            Method::Complete => {
                let prompts = handler.prompts(&asking.scope.principal);
                let call = calls::completion(params, &prompts)
                    .inspect_err(|_| self.refuse(&asking, CallRefusal::WrongArguments))?;
                let context = self.context(&asking)?;
                let completion = self
                    .call(Box::pin(handler.complete(call, context)), revision)
                    .await?;
                Ok(self.write(&asking, &completion, None))
            }
            Method::SetLogLevel => {
                let level = params::required("level", params.level)?;
                if let Some(session) = &asking.scope.session {
                    session.set_log_level(level);
                }
                Ok(self.write(&asking, &Empty, None))
            }
            Method::GetTask => self.get_task(&asking),
            Method::UpdateTask => self.update_task(&asking),
            Method::CancelTask => self.cancel_task(&asking),
        }
        .map(Done::from)
    }

    fn initialize(
        &self,
        asking: &Asking<'_, H::Principal>,
        channel: &Channel,
    ) -> Result<Done, Failure> {
        let params = asking.params;
        let asked: String = params::required("protocolVersion", params.protocol_version)?;
        let declared: Option<Value> = params::optional("capabilities", params.capabilities)?;
        let revision = Revision::negotiate(&asked);
        let client = ClientCapabilities::read(&declared.unwrap_or_default(), revision);
        let client_name = client::name(params.client_info);
        let now = Instant::now();
        let owner = asking.scope.principal.name();
        let session = Session::new(owner, revision, client, client_name, now);
        match channel {
            Channel::Http(_) => self.sessions.enter(Arc::clone(&session), now),
            Channel::Stdio(conversation) => conversation.enter(Arc::clone(&session)),
        }
        let handshake = self.described.handshake(revision).as_str();
        let message = jsonrpc::write_result(&asking.request.id, |out| {
            out.reserve(handshake.len() + 1);
            out.extend_from_slice(handshake.as_bytes());
        });
        Ok(Done {
            message: Some(message),
            session: Some(session),
            place: None,
        })
    }

    /// Makes the session of a request follow a resource.
    async fn subscribe(&self, asking: &Asking<'_, H::Principal>) -> Result<(), Failure> {
        let uri: String = params::required("uri", asking.params.uri)
            .inspect_err(|_| self.refuse(asking, CallRefusal::WrongArguments))?;
        let session = asking.scope.session.as_ref().ok_or_else(session_needed)?;
        if !session.followed.has_room_for(&uri) {
            let (called, why) = (Called::Follow(&uri, 0), CallRefusal::TooManyRequests);
            self.handler.call_refused(called, why, asking.origin());
            return Err(too_many_subscriptions());
        }
        let following = self.handler.follow_resource(&uri, self.context(asking)?);
        let version = self
            .call(Box::pin(following), asking.scope.revision)
            .await?;
        // Others may have been added in between.
        let is_followed = session.followed.add(uri, version);
        is_followed.then_some(()).ok_or_else(too_many_subscriptions)
    }

    /// Makes the session of a request stop following a resource.
    fn unsubscribe(&self, asking: &Asking<'_, H::Principal>) -> Result<(), Failure> {
        let uri: String = params::required("uri", asking.params.uri)?;
        let session = asking.scope.session.as_ref().ok_or_else(session_needed)?;
        session.followed.remove(&uri);
        self.handler.unfollow_resource(&uri, self.context(asking)?);
        Ok(())
    }

    /// Runs one handler call that can neither ask nor continue as a task.
    pub(crate) async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, CallError>> + Unpin,
        revision: Revision,
    ) -> Result<T, Failure> {
        self.limited(call)
            .await?
            .map_err(|error| rounds::failure(error, revision))
    }

    /// Runs one call of the handler within its time limit.
    ///
    /// Calls are boxed: they may be large, and every request would reserve room for each kind of them.
    pub(crate) async fn limited<T>(
        &self,
        call: impl Future<Output = Result<T, CallError>> + Unpin,
    ) -> Result<Result<T, CallError>, Failure> {
        let limit = self.request_timeout();
        within(limit, call).await.ok_or_else(|| {
            Failure::new(
                INTERNAL_ERROR,
                format!("the request took longer than {} s", limit.as_secs_f64()),
            )
        })
    }

    /// Writes the result of a call that ran in rounds.
    pub(crate) fn finish<T: Project>(
        &self,
        asking: &Asking<'_, H::Principal>,
        outcome: Outcome<T>,
        keep_for: Option<Duration>,
    ) -> Result<Vec<u8>, Failure> {
        match outcome {
            Outcome::Complete(result) => Ok(self.write(asking, &result, keep_for)),
            Outcome::InputRequired(asked) => {
                let mut reply = self.reply(&asked, asking.scope.revision, None);
                reply.result_type = "input_required";
                Ok(jsonrpc::write_result(&asking.request.id, |out| {
                    reply.write(out)
                }))
            }
            Outcome::GoesOn => Err(Failure::new(
                INTERNAL_ERROR,
                "only calls of tools can go on as tasks",
            )),
        }
    }

    /// Writes a complete result for the client's revision.
    pub(crate) fn write<T: Project>(
        &self,
        asking: &Asking<'_, H::Principal>,
        result: &T,
        keep_for: Option<Duration>,
    ) -> Vec<u8> {
        let reply = self.reply(result, asking.scope.revision, keep_for);
        jsonrpc::write_result(&asking.request.id, |out| reply.write(out))
    }

    pub(crate) fn reply<'a, T>(
        &'a self,
        body: &'a T,
        revision: Revision,
        keep_for: Option<Duration>,
    ) -> Reply<'a, T> {
        let server = self.described.server(revision);
        Reply {
            body,
            revision,
            server,
            result_type: "complete",
            subscription: None,
            keep_for,
        }
    }
}

fn unknown(method: &str, revision: Revision) -> Failure {
    let message = if revision.is_modern() && method == "initialize" {
        format!(
            "{revision} has no `initialize`; served without it: {:?}",
            Revision::modern_names()
        )
    } else {
        format!("unknown method `{method}`")
    };
    // Until 2025-11-25 such an error is sent as a successful result.
    Failure::new(METHOD_NOT_FOUND, message).status(if revision.is_modern() { 404 } else { 200 })
}

fn too_many_requests() -> Failure {
    Failure::new(
        INTERNAL_ERROR,
        "too many requests run at once; wait for one to end, and read its answer",
    )
    .status(429)
}

fn too_much_unread() -> Failure {
    Failure::new(
        INTERNAL_ERROR,
        "the request was performed, but its answer is not kept: others that you have not read yet take too much memory; read them, and ask for less at once",
    )
    .status(429)
}

fn too_many_subscriptions() -> Failure {
    Failure::invalid_params("this session follows too many resources, or too long addresses")
}

fn session_needed() -> Failure {
    Failure::malformed("this needs a session; send `initialize` first").status(200)
}
