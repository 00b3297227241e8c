//! What ends without anybody having ended it, and who is told of it.

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
    /// The whole session: its deadline came.
    Deadline,
    /// The whole session: it was opened with another login, for which a new one begins.
    Login,
    /// The connection that was kept for a line, with what leases had left in it.
    Line {
        /// The line's name.
        name: &'a str,
        /// The database that it was on.
        database: &'a str,
        /// Why. `None` when the value that the line was tied to was dropped
        /// ([`Session::tie`](crate::Session::tie)).
        loss: Option<Loss>,
    },
}

type Told = Box<dyn Fn(&str, End<'_>) + Send + Sync>;

/// The callback for ends, if there is one; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Ends(Arc<OnceLock<Told>>);

impl Ends {
    pub(crate) fn are_told_to(&self, told: impl Fn(&str, End<'_>) + Send + Sync + 'static) {
        // The first callback stays.
        let _taken = self.0.set(Box::new(told));
    }

    /// Tells of an end. A panic of the callback must not keep other sessions from ending.
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
