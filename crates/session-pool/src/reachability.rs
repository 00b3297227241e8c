//! Whether a database lets its configured role in, as the log knows it.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::connect::ConnectError;

/// Tells the log once when a database cannot be reached, and once when it can again. What calls come to is told to their
/// callers; this is for whoever runs the server.
#[derive(Debug)]
pub(crate) struct Reachability {
    database: String,
    is_down: AtomicBool,
}

impl Reachability {
    pub(crate) fn of(database: &str) -> Self {
        Reachability {
            database: database.to_owned(),
            is_down: AtomicBool::new(false),
        }
    }

    /// Notes how an attempt to connect ended.
    pub(crate) fn note<T>(&self, attempt: &Result<T, ConnectError>) {
        let database = &self.database;
        match attempt {
            Ok(_) if self.is_news(false) => {
                tracing::info!(database, "the database can be reached again");
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
    }

    fn is_news(&self, is_down: bool) -> bool {
        self.is_down.load(Ordering::Relaxed) != is_down
            && self.is_down.swap(is_down, Ordering::Relaxed) != is_down
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
}
