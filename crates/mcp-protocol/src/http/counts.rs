//! Counters of connections and replies.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Status codes have three digits; the first is 1 to 5.
const FIRST: u16 = 100;
const CODES: usize = 500;

/// The counters of a server: the connections that it accepted, and its replies by their status.
#[derive(Debug)]
pub struct Counts {
    replies: Box<[AtomicU64]>,
    open: AtomicU64,
    refused: AtomicU64,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            replies: (0..CODES).map(|_| AtomicU64::new(0)).collect(),
            open: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }
}

impl Counts {
    /// Gives how many replies there were so far, by their status; a status without replies is left out.
    pub fn replies(&self) -> impl Iterator<Item = (u16, u64)> {
        let counted = self
            .replies
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        (FIRST..).zip(counted).filter(|(_, count)| *count > 0)
    }

    /// Returns how many connections are open.
    pub fn open_connections(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Says how many connections were closed at once because their peer had too many.
    pub fn refused_connections(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    pub(super) fn reply(&self, status: u16) {
        let place = status.checked_sub(FIRST).map(usize::from);
        if let Some(count) = place.and_then(|place| self.replies.get(place)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn open(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(self))
    }
}

/// An open connection, counted until this is dropped.
pub(super) struct Open(Arc<Counts>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
