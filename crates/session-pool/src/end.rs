//! What ends without anybody's having ended it, and who is told.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
};

use crate::Loss;

/// What ended of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End<'a> {
    /// All of it: its deadline came.
    Deadline,
    /// All of it: it was opened with another login, which takes another session.
    Login,
    /// The connection that was kept for a line, with what leases had left in it.
    Line {
        /// The line's name.
        name: &'a str,
        /// The database that it was on.
        database: &'a str,
        /// Why; nothing, when what the line was tied to ended ([`Session::tie`](crate::Session::tie)).
        loss: Option<Loss>,
    },
}

type Told = Box<dyn Fn(&str, End<'_>) + Send + Sync>;

/// Whoever is told, if somebody wants to be; clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Ends(Arc<OnceLock<Told>>);

impl Ends {
    pub(crate) fn are_told_to(&self, told: impl Fn(&str, End<'_>) + Send + Sync + 'static) {
        // Whoever came first stays.
        let _taken = self.0.set(Box::new(told));
    }

    /// Tells of an end. What ends other sessions, too, is not to be stopped by a panic of whoever is told.
    pub(crate) fn tell(&self, id: &str, end: End<'_>) {
        let Some(told) = self.0.get() else {
            return;
        };
        if catch_unwind(AssertUnwindSafe(|| told(id, end))).is_err() {
            tracing::error!(
                "what Sessions::tell_ends was given panicked; the next end is told, too"
            );
        }
    }
}

impl fmt::Debug for Ends {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Ends")
            .field(&self.0.get().is_some())
            .finish()
    }
}
