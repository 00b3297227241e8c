//! A session: what the handshake of an older revision agreed on, and what runs under it.

use std::any::Any;
use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::client::ClientCapabilities;
use crate::context::LogLevel;
use crate::followed::Followed;
use crate::jsonrpc::{self, Id, Response};
use crate::outbox::Outbox;
use crate::revision::Revision;
use crate::within::within;

/// A client's answer to a request of the server: a result or an error.
pub(crate) type Outcome = Result<Box<RawValue>, Box<RawValue>>;

/// What a handshake agreed on, and what runs under it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: RandomId,
    /// The name of the principal that owns it.
    owner: String,
    pub(crate) revision: Revision,
    pub(crate) client: ClientCapabilities,
    pub(crate) client_name: Option<Arc<str>>,
    /// The resources that the client subscribed to.
    pub(crate) followed: Arc<Followed>,
    // Held for one look-up or assignment.
    state: Mutex<State>,
    last_used: Moment,
    has_ended: AtomicBool,
    end: Notify,
    /// How long it may be without a request before it ends, if that is limited.
    idle_timeout: OnceLock<Duration>,
    /// Values that are dropped with the session; `None` when it has ended. Held for one look.
    attached: Mutex<Option<Vec<Attached>>>,
}

/// A value whose meaning the handler knows.
type Attached = Box<dyn Any + Send + Sync>;

#[derive(Debug)]
struct State {
    log_level: LogLevel,
    /// Each with a number that tells it from an earlier request of the same identifier. Clients
    /// must not use an identifier twice (2025-11-25, basic, Requests), and some do.
    running: HashMap<Id, (u64, oneshot::Sender<()>)>,
    last_begun: u64,
    asked: HashMap<u64, oneshot::Sender<Outcome>>,
    last_asked: u64,
    has_stream: bool,
}

/// A time that can be changed without a lock.
#[derive(Debug)]
struct Moment {
    begin: Instant,
    nanoseconds: AtomicU64,
}

impl Moment {
    fn new(now: Instant) -> Self {
        Self {
            begin: now,
            nanoseconds: AtomicU64::new(0),
        }
    }

    fn set(&self, now: Instant) {
        let after = now.saturating_duration_since(self.begin).as_nanos();
        let after = u64::try_from(after).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_max(after, Ordering::Relaxed);
    }

    fn time(&self) -> Instant {
        self.begin + Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed))
    }
}

impl Session {
    pub(crate) fn new(
        owner: &str,
        revision: Revision,
        client: ClientCapabilities,
        client_name: Option<Arc<str>>,
        now: Instant,
    ) -> Arc<Self> {
        Arc::new(Self {
            id: RandomId::new(),
            owner: owner.to_owned(),
            revision,
            client,
            client_name,
            followed: Arc::default(),
            state: Mutex::new(State {
                log_level: LogLevel::Info,
                running: HashMap::new(),
                last_begun: 0,
                asked: HashMap::new(),
                last_asked: 0,
                has_stream: false,
            }),
            last_used: Moment::new(now),
            has_ended: AtomicBool::new(false),
            end: Notify::new(),
            idle_timeout: OnceLock::new(),
            attached: Mutex::new(Some(Vec::new())),
        })
    }

    pub(crate) fn log_level(&self) -> LogLevel {
        self.lock().log_level
    }

    pub(crate) fn set_log_level(&self, level: LogLevel) {
        self.lock().log_level = level;
    }

    /// Registers a running request, so that it can be cancelled until the guard is dropped.
    pub(crate) fn begin(self: &Arc<Self>, id: &Id) -> (Running, oneshot::Receiver<()>) {
        let (cancel, cancelled) = oneshot::channel();
        let number = {
            let mut state = self.lock();
            state.last_begun += 1;
            let number = state.last_begun;
            let _earlier = state.running.insert(id.clone(), (number, cancel));
            number
        };
        (
            Running {
                session: Arc::clone(self),
                id: id.clone(),
                number,
            },
            cancelled,
        )
    }

    /// Cancels a running request; one that is not running is ignored.
    pub(crate) fn cancel(&self, id: &Id) {
        let cancel = self.lock().running.remove(id);
        if let Some((_, cancel)) = cancel {
            // The request may have ended just now.
            let _sent = cancel.send(());
        }
    }

    /// Sends a request to the client and waits for its answer.
    pub(crate) async fn ask(
        &self,
        outbox: &Outbox,
        method: &str,
        params: &Value,
        limit: Duration,
    ) -> Option<Outcome> {
        let (answer, answered) = oneshot::channel();
        let id = {
            let mut state = self.lock();
            state.last_asked += 1;
            let id = state.last_asked;
            state.asked.insert(id, answer);
            id
        };
        let _asked = Asked { session: self, id };
        let request = jsonrpc::write_request(&Id::Number(id.into()), method, params);
        let exchange = async {
            outbox.send(request).await;
            answered.await
        };
        within(limit, pin!(exchange)).await?.ok()
    }

    /// Takes the client's answer to a request; says whether one was waiting for it.
    pub(crate) fn settle(&self, response: Response) -> bool {
        let Id::Number(id) = &response.id else {
            return false;
        };
        let asked = id.as_u64().and_then(|id| self.lock().asked.remove(&id));
        asked.is_some_and(|asked| asked.send(response.outcome).is_ok())
    }

    /// Takes the session's only place for a stream of unsolicited messages, until the guard is dropped.
    pub(crate) fn open_stream(self: &Arc<Self>) -> Option<OpenStream> {
        let mut state = self.lock();
        let free = !std::mem::replace(&mut state.has_stream, true);
        drop(state);
        free.then(|| OpenStream(Arc::clone(self)))
    }

    /// Ends the session: what runs under it is dropped, its stream ends, and the values that were
    /// attached to it are dropped.
    pub(crate) fn end(&self) {
        self.has_ended.store(true, Ordering::SeqCst);
        self.end.notify_waiters();
        let attached = self.attached().take();
        drop(attached);
    }

    /// Keeps a value until the session ends; drops it at once if it has ended.
    pub(crate) fn attach(&self, value: Attached) {
        let mut attached = self.attached();
        if let Some(attached) = &mut *attached {
            attached.push(value);
        }
    }

    /// Drops the values of which `is_over` says so; tells whether there was one.
    pub(crate) fn detach(&self, mut is_over: impl FnMut(&(dyn Any + Send + Sync)) -> bool) -> bool {
        let gone: Vec<Attached> = match &mut *self.attached() {
            Some(attached) => attached.extract_if(.., |value| is_over(&**value)).collect(),
            None => Vec::new(),
        };
        // Dropped outside of the lock.
        !gone.is_empty()
    }

    /// Names the principal that it belongs to.
    pub(crate) fn owner(&self) -> &str {
        &self.owner
    }

    pub(crate) fn last_used(&self) -> Instant {
        self.last_used.time()
    }

    /// Says whether a request runs under it.
    pub(crate) fn is_in_use(&self) -> bool {
        !self.lock().running.is_empty()
    }

    /// Notes that it was used.
    pub(crate) fn use_at(&self, now: Instant) {
        self.last_used.set(now);
    }

    /// Makes it end when it was unused for this long.
    pub(crate) fn end_after(&self, idle: Duration) {
        self.idle_timeout.get_or_init(|| idle);
    }

    pub(crate) fn idle_timeout(&self) -> Option<Duration> {
        self.idle_timeout.get().copied()
    }

    fn attached(&self) -> MutexGuard<'_, Option<Vec<Attached>>> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Completes when the session has ended.
    pub(crate) async fn ended(&self) {
        // From here on it is notified of an end.
        let end = self.end.notified();
        if !self.has_ended.load(Ordering::SeqCst) {
            end.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that runs under a session.
pub(crate) struct Running {
    session: Arc<Session>,
    id: Id,
    number: u64,
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.session.lock();
        let entry = state.running.get(&self.id);
        if entry.is_some_and(|(number, _)| *number == self.number) {
            state.running.remove(&self.id);
        }
        drop(state);
        self.session.use_at(Instant::now());
    }
}

/// A request to the client that has not been answered yet.
struct Asked<'a> {
    session: &'a Session,
    id: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.session.lock().asked.remove(&self.id);
    }
}

/// The one stream of a session.
#[derive(Debug)]
pub(crate) struct OpenStream(Arc<Session>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.lock().has_stream = false;
    }
}

/// An identifier of 128 random bits, in hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RandomId([u8; 32]);

impl RandomId {
    pub(crate) fn new() -> Self {
        let bytes: [u8; 16] = rand::random();
        let mut digits = [0; 32];
        for (two, byte) in digits.chunks_exact_mut(2).zip(bytes) {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            two[0] = DIGITS[usize::from(byte >> 4)];
            two[1] = DIGITS[usize::from(byte & 0xf)];
        }
        Self(digits)
    }

    pub(crate) fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("digits are ASCII")
    }
}
