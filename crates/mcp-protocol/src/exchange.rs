//! A request on its way: the messages that it sends, then its answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use crate::jsonrpc::{self, Failure, INTERNAL_ERROR, Id};
use crate::outbox::Outbox;
use crate::places::Place;
use crate::session::Session;

/// How long it may take to send the answers of requests that were stopped.
pub(crate) const LAST_WORDS: Duration = Duration::from_millis(500);

/// A running request. Whoever polls it runs the handler; dropping it cancels the handler.
pub(crate) struct Exchange {
    outbox: Arc<Outbox>,
    /// What is answered; of a stream that nobody asked for nothing is.
    id: Option<Id>,
    state: State,
}

/// What runs, in a box from the beginning: it is large.
pub(crate) type Running = Pin<Box<dyn Future<Output = Answer> + Send>>;

enum State {
    Running(Running),
    Answered(Answer),
    Over,
}

/// The end of a request.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The response, one JSON object; a cancelled request has none.
    pub(crate) message: Option<Bytes>,
    /// The HTTP status that goes with it.
    pub(crate) status: u16,
    /// The session that the request opened.
    pub(crate) session: Option<Arc<Session>>,
    /// What the request holds among those of its principal until its answer is written, so that who does not read answers
    /// has no room for more of them.
    pub(crate) place: Option<Place>,
}

/// What a running request does next.
#[derive(Debug)]
pub(crate) enum Step {
    /// It sends a message.
    Sent(Bytes),
    /// It is answered; nothing follows.
    Done(Answer),
}

impl Exchange {
    pub(crate) fn new(outbox: Arc<Outbox>, id: Option<Id>, answer: Running) -> Self {
        Self {
            outbox,
            id,
            state: State::Running(answer),
        }
    }

    /// Leaves out all messages before the answer, for clients that take nothing else.
    pub(crate) fn answer_only(&self) {
        self.outbox.close();
    }

    /// Drops the handler if it still runs: the request is answered that the server stops.
    pub(crate) fn stop(&mut self) {
        if let State::Running(_) = self.state {
            self.fail(&stopped());
        }
    }

    /// Drops the handler, and all that was to be told: the rights to it have ended, which is the answer.
    pub(crate) fn revoke(&mut self, lost: &Failure) {
        if let State::Running(_) | State::Answered(_) = self.state {
            self.outbox.close();
            self.fail(lost);
        }
    }

    fn fail(&mut self, failure: &Failure) {
        let message = |id| jsonrpc::write_failure(Some(id), failure).into();
        self.state = State::Answered(Answer {
            message: self.id.as_ref().map(message),
            status: failure.status,
            session: None,
            place: None,
        });
    }

    /// Runs the request until its next step.
    pub(crate) fn poll_step(&mut self, context: &mut Context<'_>) -> Poll<Step> {
        if let State::Running(answer) = &mut self.state
            && let Poll::Ready(answer) = answer.as_mut().poll(context)
        {
            self.state = State::Answered(answer);
        }
        match std::mem::replace(&mut self.state, State::Over) {
            State::Running(answer) => {
                self.state = State::Running(answer);
                self.outbox
                    .poll_next(context)
                    .map_or(Poll::Pending, |message| Poll::Ready(Step::Sent(message)))
            }
            // What was sent before the answer goes before the answer.
            State::Answered(answer) => Poll::Ready(match self.outbox.next() {
                Some(message) => {
                    self.state = State::Answered(answer);
                    Step::Sent(message)
                }
                None => Step::Done(answer),
            }),
            State::Over => Poll::Pending,
        }
    }

    /// Waits for the next step, or until `stop` completes and the request is stopped.
    pub(crate) async fn step_or_stop(&mut self, stop: impl Future<Output = ()>) -> Step {
        tokio::select! {
            biased;
            step = self.step() => return step,
            () = stop => {}
        }
        self.stop();
        self.step().await
    }

    /// Waits for the next step.
    pub(crate) async fn step(&mut self) -> Step {
        std::future::poll_fn(|context| self.poll_step(context)).await
    }
}

/// What is said of a request that has no more time when the server stops.
fn stopped() -> Failure {
    Failure::new(
        INTERNAL_ERROR,
        "the server stops, and this was not done in time; send it again, and look first where it may have changed something",
    )
    .status(503)
}
