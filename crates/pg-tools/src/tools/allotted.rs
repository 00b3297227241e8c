//! The time that a call has for all its statements together.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, timeout_at};

use crate::{
    Agent,
    read_only::{GRACE, ReadError, Reader},
};

/// What is left of the time of a call, whose statements together may take as long as one statement may.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allotted {
    whole: Duration,
    end: Instant,
}

impl Allotted {
    /// Starts the clock.
    pub(crate) fn begin(agent: &Agent, reader: &Reader) -> Self {
        let whole = agent.limits(reader.limits).statement_timeout;
        Allotted {
            whole,
            end: Instant::now() + whole,
        }
    }

    /// Returns the time of the whole call, in words.
    pub(crate) fn in_words(&self) -> String {
        format!("{} s", self.whole.as_secs_f64())
    }

    /// Returns what is left of the time; `None` if it is less than a millisecond, PostgreSQL's smallest limit.
    pub(crate) fn left(&self) -> Option<Duration> {
        let left = self.end.saturating_duration_since(Instant::now());
        (left >= Duration::from_millis(1)).then_some(left)
    }

    /// Awaits what should end by itself within `part` of the time, and not much longer than the whole. What takes
    /// longer is cancelled.
    pub(crate) async fn wait<T>(
        &self,
        part: Duration,
        asked: impl Future<Output = Result<T, ReadError>>,
    ) -> Result<T, ReadError> {
        let end = self.end.min(Instant::now() + part) + GRACE;
        let asked = timeout_at(end, asked).await;
        asked.unwrap_or(Err(ReadError::Unanswered(part)))
    }
}
