//! Logs that a database does not answer: for each only now and then, however often it happens.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::ReadError;

/// The shortest time between two log lines about the same database and the same kind of silence.
const EVERY: Duration = Duration::from_secs(60);

/// When each kind of silence was last logged, by database.
#[derive(Debug, Default)]
pub(super) struct Silences {
    /// Locked for a look-up, and only after an error.
    told: Mutex<HashMap<(String, &'static str), Instant>>,
}

impl Silences {
    /// Logs an error which says that a database did not answer, unless that was logged less than [`EVERY`] ago.
    pub(super) fn note(&self, database: &str, error: &ReadError, now: Instant) {
        let what = match error {
            ReadError::Unanswered(_) => {
                "PostgreSQL has neither answered nor ended a query at its time limit; its server may be stopped or overloaded, or the network hang"
            }
            ReadError::InDoubt(_) => "it is not known whether a change was kept",
            _ => return,
        };
        if self.is_due(database, what, now) {
            tracing::warn!(database, %error, "{what}; further ones may have no line for 60 s");
        }
    }

    /// Returns whether it may be logged now, and counts it as logged if so.
    fn is_due(&self, database: &str, what: &'static str, now: Instant) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| now.saturating_duration_since(*at) < EVERY);
        let key = (database.to_owned(), what);
        let is_due = !told.contains_key(&key);
        if is_due {
            told.insert(key, now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_database_is_told_of_once_in_a_while() {
        let (silences, start) = (Silences::default(), Instant::now());
        let is_due = |database, what, seconds| {
            silences.is_due(database, what, start + Duration::from_secs(seconds))
        };
        assert!(is_due("shop", "silent", 0));
        assert!(!is_due("shop", "silent", 59));
        assert!(is_due("shop", "in doubt", 59));
        assert!(is_due("stock", "silent", 59));
        assert!(is_due("shop", "silent", 60));
        assert!(!is_due("shop", "silent", 61));
    }
}
