//! Whether a database accepts its configured role, as far as the log was told.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::{connect::ConnectError, refusal::Refusal};

/// How long a host that was silent is tried after all others.
const SILENT_TIME: Duration = Duration::from_secs(30);

/// How often the log is told at most that a server has no connection to spare.
const FULL_TOLD: Duration = Duration::from_secs(60);

/// Tells the log once when a database cannot be reached, and once when it can be again. This is for
/// whoever runs the server; callers learn from their own calls.
#[derive(Debug)]
pub(crate) struct Reachability {
    database: String,
    is_down: AtomicBool,
    /// Locked for a few lines, and not by a lease that finds an idle connection.
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    /// When the hosts, by their numbers, were last found silent.
    silent: HashMap<usize, Instant>,
    full: Option<Instant>,
}

impl Reachability {
    pub(crate) fn of(database: &str) -> Self {
        Reachability {
            database: database.to_owned(),
            is_down: AtomicBool::new(false),
            told: Mutex::default(),
        }
    }

    /// Notes how an attempt to connect ended; says whether this is the first success after failures.
    pub(crate) fn note<T>(&self, attempt: &Result<T, ConnectError>) -> bool {
        let database = &self.database;
        match attempt {
            Ok(_) if self.is_news(false) => {
                tracing::info!(database, "the database can be reached again");
                return true;
            }
            // It may well be there.
            Ok(_) | Err(ConnectError::Full) => {}
            Err(reason) if self.is_news(true) => {
                let remedy = match reason {
                    ConnectError::Refused(refusal) => Some(refusal.remedy()),
                    _ => None,
                };
                tracing::warn!(database, %reason, remedy, "the database cannot be reached");
            }
            Err(_) => {}
        }
        false
    }

    /// Notes that a server has no connection to spare.
    pub(crate) fn note_full(&self, reason: &Refusal, now: Instant) {
        let mut told = self.told();
        if told.full.is_none_or(|at| now - at >= FULL_TOLD) {
            told.full = Some(now);
            drop(told);
            let database = &self.database;
            tracing::warn!(
                database, %reason,
                "PostgreSQL has no connection to spare; allow the role more (CONNECTION LIMIT), or lower limits.max_connections_total"
            );
        }
    }

    /// Notes whether one of several hosts was silent when it was asked.
    pub(crate) fn note_host(&self, number: usize, is_silent: bool, now: Instant) {
        let mut told = self.told();
        let was_silent = match is_silent {
            true => told.silent.insert(number, now).is_some(),
            false => told.silent.remove(&number).is_some(),
        };
        drop(told);
        if was_silent != is_silent {
            let (database, host) = (&self.database, number + 1);
            match is_silent {
                true => tracing::warn!(
                    database,
                    host,
                    "a host does not answer; the others are asked before it for {} s",
                    SILENT_TIME.as_secs()
                ),
                false => tracing::info!(database, host, "a host answers again"),
            }
        }
    }

    /// Says whether a host was silent recently.
    pub(crate) fn is_silent(&self, number: usize, now: Instant) -> bool {
        let silent = self.told().silent.get(&number).copied();
        silent.is_some_and(|at| now - at < SILENT_TIME)
    }

    fn is_news(&self, is_down: bool) -> bool {
        self.is_down.load(Ordering::Relaxed) != is_down
            && self.is_down.swap(is_down, Ordering::Relaxed) != is_down
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_news_once() {
        let reachability = Reachability::of("main");
        let told = [false, true, true, false, false, true].map(|down| reachability.is_news(down));
        assert_eq!(told, [false, true, false, true, false, true]);
    }

    #[test]
    fn a_host_is_silent_until_it_answers_or_half_a_minute_has_passed() {
        let (reachability, start) = (Reachability::of("main"), Instant::now());
        reachability.note_host(1, true, start);
        let later = |seconds| start + Duration::from_secs(seconds);
        let silent = |seconds| [0, 1].map(|number| reachability.is_silent(number, later(seconds)));
        assert_eq!(silent(29), [false, true]);
        assert_eq!(silent(30), [false, false]);
        reachability.note_host(1, true, later(30));
        assert_eq!(silent(31), [false, true]);
        reachability.note_host(1, false, later(31));
        assert_eq!(silent(31), [false, false]);
    }
}
