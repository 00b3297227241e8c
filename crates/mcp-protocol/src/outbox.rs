//! Messages that a running request sends before its answer.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Waker};

use bytes::Bytes;

/// How many messages wait for a slow reader before further ones are left out: progress and logs
/// are news, not results.
const CAPACITY: usize = 256;

/// A queue from a handler to whoever polls it. No task stands between the two.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    // Held for a push or a pop.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Bytes>,
    closed: bool,
    waker: Option<Waker>,
    /// The last progress told, by whichever round of the request.
    progress: Option<f64>,
}

impl Outbox {
    /// Queues a message, unless nobody will read it or too many wait already.
    pub(crate) fn send(&self, message: impl Into<Bytes>) {
        let waker = {
            let mut state = self.lock();
            if state.closed || state.waiting.len() >= CAPACITY {
                return;
            }
            state.waiting.push_back(message.into());
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes the next message, or has the task woken at the next one.
    pub(crate) fn poll_next(&self, context: &mut Context<'_>) -> Option<Bytes> {
        let mut state = self.lock();
        let message = state.waiting.pop_front();
        if message.is_none() {
            state.waker = Some(context.waker().clone());
        }
        message
    }

    /// Takes the next message.
    pub(crate) fn next(&self) -> Option<Bytes> {
        self.lock().waiting.pop_front()
    }

    /// Notes how far the request is; `false` if that is no further than before.
    pub(crate) fn progresses(&self, progress: f64) -> bool {
        let mut state = self.lock();
        let is_further = state.progress.is_none_or(|last| progress > last) && progress.is_finite();
        if is_further {
            state.progress = Some(progress);
        }
        is_further
    }

    /// Drops what waits and what comes: the client cannot read it.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.waiting.clear();
    }

    /// Tells whether nobody reads the messages.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
