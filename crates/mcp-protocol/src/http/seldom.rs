//! A message that the log gets only now and then, however often its cause occurs.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the log gets it at most.
const EVERY: Duration = Duration::from_secs(10);

/// When it was last logged.
#[derive(Debug, Default)]
pub(super) struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    /// Says whether the log may get it again, and counts that as done.
    pub(super) fn is_due(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| last.elapsed() >= EVERY);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }
}
