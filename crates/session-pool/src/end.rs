//! Sessions that end without having been closed, and who is told of them.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

/// Why a session ended that nobody closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// Its deadline came.
    Deadline,
    /// It was opened with another login, which takes another session.
    Login,
}

type Told = Box<dyn Fn(&str, End) + Send + Sync>;

/// Whoever is told, if somebody wants to be; clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Ends(Arc<OnceLock<Told>>);

impl Ends {
    pub(crate) fn are_told_to(&self, told: impl Fn(&str, End) + Send + Sync + 'static) {
        // Whoever came first stays.
        let _taken = self.0.set(Box::new(told));
    }

    pub(crate) fn tell(&self, id: &str, end: End) {
        if let Some(told) = self.0.get() {
            told(id, end);
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
