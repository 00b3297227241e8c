//! A handler behind the protocol's rules.

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use hyper::header::HeaderMap;
use tokio::sync::watch;

use crate::auth::Principal;
use crate::changes::Changes;
use crate::client::ClientCapabilities;
use crate::described::Described;
use crate::era::SESSION_ID;
use crate::exchange::{Answer, Exchange, Step};
use crate::handler::Handler;
use crate::jsonrpc::{self, Failure, Id, Notification, Request, Response};
use crate::listed::Listed;
use crate::outbox::Outbox;
use crate::params::Params;
use crate::places::{Place, Places, Room};
use crate::revision::Revision;
use crate::seal::Sealer;
use crate::session::Session;
use crate::sessions::Sessions;
use crate::tasks::Tasks;

/// The longest time that options may name: a longer one cannot be added to every clock.
pub(crate) const LONGEST_TIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A [`Handler`] behind the protocol's rules; the transports [`http`](crate::http) and
/// [`stdio`](crate::stdio) share one.
pub struct Service<H> {
    pub(crate) handler: H,
    pub(crate) options: ServiceOptions,
    /// In milliseconds: the option's value, until it is changed.
    request_timeout: AtomicU64,
    pub(crate) described: Described,
    pub(crate) listed: Listed,
    pub(crate) changes: Changes,
    pub(crate) sessions: Sessions,
    pub(crate) sealer: Sealer,
    pub(crate) tasks: Tasks,
    /// The running requests, by their principals' names.
    pub(crate) requests: Places<String>,
    /// The open streams of changes, by their principals' names.
    pub(crate) listeners: Places<String>,
}

impl<H> fmt::Debug for Service<H> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Service")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// The limits on every transport. A time of more than a year counts as a year.
#[derive(Clone, Debug)]
pub struct ServiceOptions {
    /// How many tools, resources or prompts one page of a list has; the next ones need a cursor.
    pub page_size: usize,
    /// How long a handler may take to answer one request.
    pub request_timeout: Duration,
    /// How long a client may take to answer what a handler asks it.
    pub input_timeout: Duration,
    /// How many times the handler may be called for one request or task while it asks questions.
    pub max_rounds: usize,
    /// How many messages a batch may hold; only 2024-11-05 and 2025-03-26 have batches.
    pub max_batch: usize,
    /// How long a session of an older revision may be without a request before it ends.
    pub session_idle_timeout: Duration,
    /// How many sessions a principal may have; one more ends the one that was unused for longest.
    pub max_sessions_per_principal: usize,
    /// How many requests a principal may have that run, are still arriving, or have an answer that
    /// the client has not read yet; further ones are refused.
    pub max_requests_per_principal: usize,
    /// How many bytes a principal may have in answers that are not read yet and in requests that
    /// are still arriving. Beyond that, an answer of more than 64 KiB is replaced by an error. A
    /// single answer may have any length.
    pub max_unread_bytes_per_principal: usize,
    /// The same for all principals together.
    pub max_unread_bytes: usize,
    /// How many streams of changes (`subscriptions/listen`) a principal may have open.
    pub max_streams_per_principal: usize,
    /// How often a resource that a client follows is checked for changes.
    pub follow_interval: Duration,
    /// How long clients may cache lists and descriptions (`ttlMs`).
    pub list_lifetime: Duration,
    /// How long a task and its result are kept.
    pub task_lifetime: Duration,
    /// How many tasks a principal may have; one more removes its oldest task that has ended.
    pub max_tasks_per_principal: usize,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        Self {
            page_size: 500,
            request_timeout: Duration::from_secs(120),
            input_timeout: Duration::from_secs(300),
            max_rounds: 16,
            max_batch: 20,
            session_idle_timeout: Duration::from_secs(30 * 60),
            max_sessions_per_principal: 64,
            max_requests_per_principal: 256,
            max_unread_bytes_per_principal: 256 << 20,
            max_unread_bytes: 512 << 20,
            max_streams_per_principal: 32,
            follow_interval: Duration::from_secs(5),
            list_lifetime: Duration::from_secs(60),
            task_lifetime: Duration::from_secs(60 * 60),
            max_tasks_per_principal: 64,
        }
    }
}

impl ServiceOptions {
    /// The same options, with times that clocks can add.
    fn bounded(mut self) -> Self {
        for time in [
            &mut self.request_timeout,
            &mut self.input_timeout,
            &mut self.session_idle_timeout,
            &mut self.follow_interval,
            &mut self.list_lifetime,
            &mut self.task_lifetime,
        ] {
            *time = (*time).min(LONGEST_TIME);
        }
        self
    }
}

/// How a request arrived.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) channel: Channel,
    /// Becomes true when the transport wants its long-lived streams to end.
    pub(crate) closing: Option<watch::Receiver<bool>>,
}

#[derive(Debug)]
pub(crate) enum Channel {
    Http(HeaderMap),
    Stdio(Conversation),
}

/// The session of a client over stdio, once there is one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conversation(Arc<Mutex<Option<Arc<Session>>>>);

impl Conversation {
    pub(crate) fn session(&self) -> Option<Arc<Session>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn enter(&self, session: Arc<Session>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
    }
}

impl Channel {
    pub(crate) fn headers(&self) -> Option<&HeaderMap> {
        match self {
            Self::Http(headers) => Some(headers),
            Self::Stdio(_) => None,
        }
    }
}

/// For whom a request is served, and under which rules.
#[derive(Debug)]
pub(crate) struct Scope<P> {
    pub(crate) principal: P,
    pub(crate) revision: Revision,
    pub(crate) client: ClientCapabilities,
    pub(crate) client_name: Option<Arc<str>>,
    pub(crate) session: Option<Arc<Session>>,
}

impl Scope<()> {
    /// The same, for a principal.
    pub(crate) fn of<P>(self, principal: P) -> Scope<P> {
        Scope {
            principal,
            revision: self.revision,
            client: self.client,
            client_name: self.client_name,
            session: self.session,
        }
    }
}

impl<H: Handler> Service<H> {
    /// Serves `handler` within the default limits.
    pub fn new(handler: H) -> Self {
        Self::with_options(handler, ServiceOptions::default())
    }

    /// Serves `handler` within `options`.
    pub fn with_options(handler: H, options: ServiceOptions) -> Self {
        let options = options.bounded();
        let mut key = [0; 32];
        getrandom::fill(&mut key).expect("the operating system has random bytes");
        Self {
            described: Described::new(handler.server(), handler.capabilities()),
            handler,
            listed: Listed::default(),
            changes: Changes::new(),
            sessions: Sessions::new(
                options.session_idle_timeout,
                options.max_sessions_per_principal,
            ),
            // A client that carries a state may be asking its user in the meantime.
            sealer: Sealer::new(key, 2 * options.input_timeout),
            tasks: Tasks::new(options.task_lifetime, options.max_tasks_per_principal),
            requests: Places::with_room(
                options.max_requests_per_principal,
                Room::new(
                    options.max_unread_bytes_per_principal,
                    options.max_unread_bytes,
                ),
            ),
            listeners: Places::new(options.max_streams_per_principal),
            request_timeout: AtomicU64::new(milliseconds(options.request_timeout)),
            options,
        }
    }

    /// Gives requests that begin from now on another time limit
    /// ([`request_timeout`](ServiceOptions::request_timeout)).
    pub fn set_request_timeout(&self, timeout: Duration) {
        self.request_timeout
            .store(milliseconds(timeout.min(LONGEST_TIME)), Ordering::Relaxed);
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout.load(Ordering::Relaxed))
    }

    /// Cancels all tasks. Tasks run beside the transports; without this they end with the runtime.
    pub fn cancel_tasks(&self) {
        self.tasks.cancel_all();
    }

    /// Ends the sessions and tasks of a principal that has gone for good, by its name. Without this they stay until they
    /// have not been used for long, or have reached their age.
    pub fn forget(&self, principal: &str) {
        self.sessions.end_all(principal);
        self.tasks.remove_all(principal);
    }

    /// Gives the means to announce changes.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Gives a request that is still arriving its place among those of its principal, with room for
    /// so many bytes, if there is one.
    pub(crate) fn claim(&self, principal: &H::Principal, bytes: usize) -> Option<Place> {
        let mut place = self.requests.enter(principal.name())?;
        place.keep(bytes).then_some(place)
    }

    /// Starts a request. Nothing runs until the exchange is polled.
    pub(crate) fn start(
        self: &Arc<Self>,
        request: Request,
        principal: H::Principal,
        arrival: Arrival,
    ) -> Exchange {
        let outbox = Arc::new(Outbox::default());
        let service = Arc::clone(self);
        let sender = Arc::clone(&outbox);
        let id = Some(request.id.clone());
        let answer = Box::pin(async move {
            let performed = service.perform(&request, principal, &arrival, sender);
            match caught(performed, &request.method).await {
                Ok(done) => Answer {
                    message: done.message.map(Into::into),
                    status: 200,
                    session: done.session,
                    place: done.place,
                },
                Err(failure) => Answer {
                    message: Some(jsonrpc::write_failure(Some(&request.id), &failure).into()),
                    status: failure.status,
                    session: None,
                    place: None,
                },
            }
        });
        Exchange::new(outbox, id, answer)
    }

    /// Refuses a batch if the revision has none, or if it is empty or too long.
    pub(crate) fn check_batch(
        &self,
        revision: Option<Revision>,
        length: usize,
    ) -> Result<(), Failure> {
        if revision.is_none_or(|revision| revision > Revision::V2025_03_26) {
            return Err(Failure::malformed(
                "only 2024-11-05 and 2025-03-26 have batches: name one in MCP-Protocol-Version or `initialize`",
            ));
        }
        if !(1..=self.options.max_batch).contains(&length) {
            let most = self.options.max_batch;
            return Err(Failure::malformed(format!(
                "a batch holds 1 to {most} messages"
            )));
        }
        Ok(())
    }

    /// Runs one request of a batch until it is answered or stopped; it can send nothing else.
    pub(crate) async fn answer_in_batch(
        self: &Arc<Self>,
        request: Request,
        principal: H::Principal,
        arrival: Arrival,
        stop: impl Future<Output = ()> + Send,
    ) -> Answer {
        if request.method == "initialize" {
            let failure = Failure::malformed("`initialize` does not belong in a batch");
            return Answer {
                message: Some(jsonrpc::write_failure(Some(&request.id), &failure).into()),
                status: failure.status,
                session: None,
                place: None,
            };
        }
        let mut exchange = self.start(request, principal, arrival);
        exchange.answer_only();
        let mut stop = pin!(stop);
        loop {
            if let Step::Done(answer) = exchange.step_or_stop(stop.as_mut()).await {
                return answer;
            }
        }
    }

    /// Finds the session that the headers name; `None` if they name none.
    pub(crate) fn session(
        &self,
        headers: &HeaderMap,
        principal: &H::Principal,
    ) -> Result<Option<Arc<Session>>, Failure> {
        let mut ids = headers.get_all(SESSION_ID).iter();
        let Some(id) = ids.next() else {
            return Ok(None);
        };
        if ids.next().is_some() {
            return Err(Failure::malformed("Mcp-Session-Id must be sent once"));
        }
        let session = id
            .to_str()
            .ok()
            .and_then(|id| self.sessions.find(id, principal.name()));
        session.map(Some).ok_or_else(no_session)
    }

    /// Handles a client's notification.
    pub(crate) fn notice(session: &Session, note: &Notification) {
        if let Some(id) = cancelled(note) {
            session.cancel(&id);
        }
    }

    /// Handles a client's answer to a request from the server.
    pub(crate) fn settle(session: Option<&Session>, response: Response) -> Result<(), Failure> {
        if session.is_some_and(|session| session.settle(response)) {
            Ok(())
        } else {
            Err(Failure::malformed("this answers no request of the server"))
        }
    }
}

/// Turns a panic of the handler into a failure of its request.
pub(crate) fn caught<T>(
    work: impl Future<Output = Result<T, Failure>>,
    method: &str,
) -> impl Future<Output = Result<T, Failure>> {
    let work = AssertUnwindSafe(work).catch_unwind();
    work.map(move |ended| {
        ended.unwrap_or_else(|_panic| {
            tracing::error!(method, "a handler panicked");
            Err(Failure::internal())
        })
    })
}

fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Returns the identifier of the request that a notification cancels.
pub(crate) fn cancelled(note: &Notification) -> Option<Id> {
    if note.method != "notifications/cancelled" {
        return None;
    }
    let params = Params::read(note.params.as_deref()).ok()?;
    params.request_id.and_then(Id::read)
}

/// The failure for a session that is unknown, has ended, or belongs to another principal.
pub(crate) fn no_session() -> Failure {
    Failure::malformed("there is no such session; send `initialize` again").status(404)
}
