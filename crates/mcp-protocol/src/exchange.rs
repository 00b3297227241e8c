//! A running request: the messages that it sends, then its response.

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

/// How long sending the answers of stopped requests may take.
pub(crate) const LAST_WORDS: Duration = Duration::from_millis(500);

/// A running request. Polling it runs the handler; dropping it cancels the handler.
pub(crate) struct Exchange {
    outbox: Arc<Outbox>,
    /// The request to answer; `None` for a stream that no request asked for.
    id: Option<Id>,
    state: State,
}

/// The running future, boxed from the beginning because it is large.
pub(crate) type Running = Pin<Box<dyn Future<Output = Answer> + Send>>;

enum State {
    Running(Running),
    Answered(Answer),
    Over,
}

/// The end of a request.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The response, one JSON object; `None` if the request was cancelled.
    pub(crate) message: Option<Bytes>,
    /// The HTTP status that goes with it.
    pub(crate) status: u16,
    /// The session that the request opened.
    pub(crate) session: Option<Arc<Session>>,
    /// The place that the request takes among those of its principal, held until its answer is
    /// written, so that a client that does not read its answers cannot have ever more of them kept.
    pub(crate) place: Option<Place>,
}

/// How the rights to a request have ended.
#[derive(Debug)]
pub(crate) struct Lost {
    /// The answer.
    pub(crate) failure: Failure,
    /// Whether the same principal has other rights now.
    pub(crate) has_others: bool,
}

/// What a running request does next.
#[derive(Debug)]
pub(crate) enum Step {
    /// It sends a message before its answer.
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

    /// Leaves out all messages before the answer, for clients that accept nothing else.
    pub(crate) fn answer_only(&self) {
        self.outbox.close();
    }

    /// Drops the handler if it still runs, and answers that the server stops.
    pub(crate) fn stop(&mut self) {
        if let State::Running(_) = self.state {
            self.fail(&stopped());
        }
    }

    /// Drops the handler and every message that was to be sent, and answers that the rights to the
    /// request have ended.
    pub(crate) fn revoke(&mut self, lost: &Lost) {
        if let State::Running(_) | State::Answered(_) = self.state {
            if lost.has_others {
                self.outbox.close_with_farewell();
            } else {
                self.outbox.close();
            }
            self.fail(&lost.failure);
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
            // What was sent before the answer is written before the answer.
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

    /// Waits for the next step. If `stop` completes first, the request is stopped.
    pub(crate) async fn step_or_stop(&mut self, stop: impl Future<Output = ()> + Unpin) -> Step {
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

/// The answer to a request whose time is up because the server stops.
fn stopped() -> Failure {
    Failure::new(
        INTERNAL_ERROR,
        "the server stops, and this was not done in time; send it again, and look first where it may have changed something",
    )
    .status(503)
}
