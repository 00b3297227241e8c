//! A connection with timeouts: it must not be silent, slow, or unread for longer than allowed.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::lone::Lone;
use super::options::Options;
use crate::places::Place;

/// How many bytes of a refused body are read and discarded before the connection is closed, so that the client sees the
/// reply instead of a reset.
const LINGER_BYTES: usize = 2 * 1024 * 1024;
/// How long that may take.
const LINGER_TIME: Duration = Duration::from_secs(2);

/// What a connection is doing, and until when it may do so.
#[derive(Debug)]
pub(super) struct Activity {
    header_timeout: Duration,
    idle_timeout: Duration,
    write_timeout: Duration,
    // Held for a few assignments.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Requests whose reply is not yet written.
    requests: usize,
    /// The head of the next request has begun to arrive.
    in_head: bool,
    /// HTTP/2 frames arrive at any time: only idleness is measured.
    multiplexed: bool,
    /// Whether it is time to check that the client is still there.
    probe_due: bool,
    /// When the connection must have made progress; `None` while requests run.
    deadline: Option<Instant>,
    /// Since when the client has not been reading.
    stalled: Option<Instant>,
    /// Since when the client has had no room for more of an HTTP/2 reply, by the request's number.
    full: HashMap<u64, Instant>,
    last: u64,
    /// The server is shutting down: closing does not wait for the client.
    hurried: bool,
    /// The places of requests whose replies have been handed over, but may not have been written.
    unwritten: Vec<Place>,
}

impl Activity {
    pub(super) fn new(options: &Options) -> Arc<Self> {
        Arc::new(Self {
            header_timeout: options.header_timeout,
            idle_timeout: options.idle_timeout,
            write_timeout: options.write_timeout,
            state: Mutex::new(State {
                requests: 0,
                in_head: true,
                multiplexed: false,
                probe_due: false,
                deadline: Some(Instant::now() + options.header_timeout),
                stalled: None,
                full: HashMap::new(),
                last: 0,
                hurried: false,
                unwritten: Vec::new(),
            }),
        })
    }

    /// Marks the connection as busy until the returned value is dropped.
    pub(super) fn begin(self: &Arc<Self>, multiplexed: bool) -> Busy {
        let mut state = self.lock();
        state.requests += 1;
        state.in_head = false;
        state.multiplexed = multiplexed;
        state.deadline = None;
        state.last += 1;
        Busy {
            activity: Arc::clone(self),
            number: state.last,
            multiplexed,
            place: None,
            request: None,
        }
    }

    /// Completes when the connection has exceeded one of its timeouts.
    pub(super) async fn overdue(&self) {
        // Checking now and then costs less than moving a timer with every request.
        let tick = self
            .header_timeout
            .min(self.idle_timeout)
            .min(self.write_timeout)
            / 4;
        let tick = tick.clamp(Duration::from_millis(5), Duration::from_secs(1));
        loop {
            tokio::time::sleep(tick).await;
            if self.is_overdue(Instant::now()) {
                return;
            }
            self.probe();
            // The stream is checked when its task runs, and this future is part of that task.
            tokio::task::yield_now().await;
        }
    }

    fn is_overdue(&self, now: Instant) -> bool {
        let state = self.lock();
        let late = state.deadline.is_some_and(|deadline| now >= deadline);
        let mut unread = state.stalled.iter().chain(state.full.values());
        late || unread.any(|since| now >= *since + self.write_timeout)
    }

    /// Has the stream check, at the next flush, whether a client that waits for a reply is still there.
    fn probe(&self) {
        let mut state = self.lock();
        state.probe_due = state.requests > 0;
    }

    /// Lets the connection close without waiting for its client.
    pub(super) fn hurry(&self) {
        self.lock().hurried = true;
    }

    fn received(&self) {
        let mut state = self.lock();
        if state.requests == 0 && !state.in_head && !state.multiplexed {
            state.in_head = true;
            state.deadline = Some(Instant::now() + self.header_timeout);
        }
    }

    fn wrote(&self, progress: bool) {
        let mut state = self.lock();
        if progress {
            state.stalled = None;
        } else {
            state.stalled.get_or_insert_with(Instant::now);
        }
    }

    /// Gives back the places of requests whose replies are written by now; returns whether to check for the client.
    fn flushed(&self) -> bool {
        let mut state = self.lock();
        state.unwritten.clear();
        std::mem::take(&mut state.probe_due)
    }

    /// Begins to wait for the client to close; returns whether there is time for that.
    fn lingers(&self) -> bool {
        let mut state = self.lock();
        state.requests = usize::MAX / 2; // No reply that ends late moves the deadline again.
        state.deadline = Some(Instant::now() + LINGER_TIME);
        !state.hurried
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request whose reply has not been handed over completely.
#[derive(Debug)]
pub(super) struct Busy {
    activity: Arc<Activity>,
    number: u64,
    multiplexed: bool,
    place: Option<Place>,
    /// The request's place among those of its principal.
    request: Option<Place>,
}

impl Busy {
    /// Holds a place until the reply is written or the connection ends, so that a client that does not read has no room
    /// for further requests.
    pub(super) fn hold(&mut self, place: Place) {
        self.place = Some(place);
    }

    /// The same for the request's place among those of its principal.
    pub(super) fn hold_request(&mut self, place: Place) {
        self.request = Some(place);
    }

    /// Returns whether other requests may run on the same connection.
    pub(super) fn is_multiplexed(&self) -> bool {
        self.multiplexed
    }

    /// Notes whether the client must make room before it can receive more of the reply. This is not tracked for clients
    /// of a trusted proxy, whose connection others share; they hold a place instead.
    pub(super) fn waits_for_room(&self, waits: bool) {
        if !self.multiplexed || self.place.is_some() {
            return;
        }
        let mut state = self.activity.lock();
        if waits {
            state.full.insert(self.number, Instant::now());
        } else {
            state.full.remove(&self.number);
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.activity.lock();
        // An HTTP/2 stream takes the end of a reply when the client has room for the rest, in another task than the one
        // that writes.
        if self.multiplexed {
            state.full.remove(&self.number);
        } else {
            let places = [self.place.take(), self.request.take()];
            state.unwritten.extend(places.into_iter().flatten());
        }
        state.requests -= 1;
        if state.requests == 0 {
            state.deadline = Some(Instant::now() + self.activity.idle_timeout);
        }
    }
}

/// A stream that reports to its [`Activity`] what it does, and closes without a reset.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    /// Returns whether the stream shows a sign of its client now.
    shows: fn(&S, Sign) -> bool,
    activity: Arc<Activity>,
    lone: Lone,
    closing: Closing,
}

/// What can be learned of a stream's client without reading.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sign {
    /// It has left, even if there are bytes to read: none are read while a request runs.
    Left,
    /// It has sent something.
    Sent,
}

#[derive(Debug)]
enum Closing {
    No,
    /// Our side is closed; the other side may send this many bytes before it closes, too.
    Lingering(usize),
}

impl<S> Watched<S> {
    pub(super) fn new(
        stream: S,
        shows: fn(&S, Sign) -> bool,
        activity: Arc<Activity>,
        lone: Lone,
    ) -> Self {
        Self {
            stream,
            shows,
            activity,
            lone,
            closing: Closing::No,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let watched = &mut *self;
        let before = buffer.filled().len();
        let read = Pin::new(&mut watched.stream).poll_read(context, buffer);
        if read.is_pending() {
            let has_more = || (watched.shows)(&watched.stream, Sign::Sent);
            watched.lone.wait(has_more);
        }
        ready!(read)?;
        if buffer.filled().len() > before {
            watched.activity.received();
            watched.lone.receives();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.activity.wrote(written.is_ready());
        self.lone.sends();
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, buffers);
        self.activity.wrote(written.is_ready());
        self.lone.sends();
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        if self.activity.flushed() && (self.shows)(&self.stream, Sign::Left) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.closing, Closing::No) {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            let bytes = if self.activity.lingers() {
                LINGER_BYTES
            } else {
                0
            };
            self.closing = Closing::Lingering(bytes);
        }
        let mut scratch = [0_u8; 4096];
        loop {
            let Closing::Lingering(left @ 1..) = self.closing else {
                return Poll::Ready(Ok(()));
            };
            let mut buffer = ReadBuf::new(&mut scratch);
            let read = ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer));
            let count = buffer.filled().len();
            if read.is_err() || count == 0 || count >= left {
                return Poll::Ready(Ok(()));
            }
            self.closing = Closing::Lingering(left - count);
        }
    }
}
