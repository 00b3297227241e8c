//! Messages that a running request sends before its answer.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Waker};

use bytes::Bytes;
use tokio::sync::Notify;

/// How many messages may wait for a slow reader. Beyond that, news is dropped and other messages
/// wait for room.
const CAPACITY: usize = 256;

/// A queue from a handler to the task that polls it, with no other task in between.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    // Held for a push or a pop.
    state: Mutex<State>,
    /// Notified when there may be room again.
    room: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Bytes>,
    closed: bool,
    /// What is told last if the reader's rights were changed.
    farewell: Option<Bytes>,
    waker: Option<Waker>,
    /// The last progress that was told, in whichever round of the request.
    progress: Option<f64>,
}

impl Outbox {
    /// Queues news, such as progress; drops it if too many messages are waiting.
    pub(crate) fn tell(&self, news: impl Into<Bytes>) {
        // Dropping it loses nothing: later news or the answer says more.
        let _told = self.push(&news.into());
    }

    /// Queues a message that must not be lost, once there is room for it.
    pub(crate) async fn send(&self, message: impl Into<Bytes>) {
        let message = message.into();
        loop {
            // From here on it is notified of room.
            let room = self.room.notified();
            if self.push(&message) {
                return;
            }
            room.await;
        }
    }

    /// Queues a message if there is room for it. A message that nobody will read needs no room.
    fn push(&self, message: &Bytes) -> bool {
        let waker = {
            let mut state = self.lock();
            if state.closed {
                return true;
            }
            if state.waiting.len() >= CAPACITY {
                return false;
            }
            state.waiting.push_back(message.clone());
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// Takes the next message, or has the task woken when there is one.
    pub(crate) fn poll_next(&self, context: &mut Context<'_>) -> Option<Bytes> {
        self.take(|state| state.waker = Some(context.waker().clone()))
    }

    /// Takes the next message.
    pub(crate) fn next(&self) -> Option<Bytes> {
        self.take(|_| ())
    }

    fn take(&self, if_none: impl FnOnce(&mut State)) -> Option<Bytes> {
        let mut state = self.lock();
        let was_full = state.waiting.len() >= CAPACITY;
        let message = state.waiting.pop_front();
        if message.is_none() {
            if_none(&mut state);
        }
        drop(state);
        if was_full {
            self.room.notify_waiters();
        }
        message
    }

    /// Records the request's progress; returns `false` if it is no greater than before.
    pub(crate) fn progresses(&self, progress: f64) -> bool {
        let mut state = self.lock();
        let is_further = state.progress.is_none_or(|last| progress > last) && progress.is_finite();
        if is_further {
            state.progress = Some(progress);
        }
        is_further
    }

    /// Drops the messages that wait and all that come: the client cannot read them.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.waiting.clear();
        drop(state);
        self.room.notify_waiters();
    }

    /// Keeps what is told last if the reader's rights were changed: what it was told of before may
    /// be out of date then, and nothing else tells it so.
    pub(crate) fn keep_farewell(&self, farewell: impl Into<Bytes>) {
        self.lock().farewell = Some(farewell.into());
    }

    /// Closes, but for the last message that was kept.
    pub(crate) fn close_with_farewell(&self) {
        let mut state = self.lock();
        let is_read = !state.closed;
        state.closed = true;
        state.waiting.clear();
        let farewell = state.farewell.take().filter(|_| is_read);
        state.waiting.extend(farewell);
        drop(state);
        self.room.notify_waiters();
    }

    /// Returns whether nobody reads the messages.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
