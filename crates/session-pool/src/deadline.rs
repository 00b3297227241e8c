//! Deadlines by the wall clock, earliest first.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Weak, time::SystemTime};

use crate::session::Shared;

/// A deadline and the session that it ends.
pub(crate) struct Due {
    pub(crate) at: SystemTime,
    pub(crate) id: String,
    pub(crate) session: Weak<Shared>,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

/// All deadlines that are still to come.
#[derive(Default)]
pub(crate) struct Deadlines(BinaryHeap<Reverse<Due>>);

impl Deadlines {
    /// Adds one; says whether it is now the earliest.
    pub(crate) fn add(&mut self, due: Due) -> bool {
        let earliest = self.0.peek().is_none_or(|Reverse(first)| due.at < first.at);
        self.0.push(Reverse(due));
        earliest
    }

    /// Takes one that has come, if one has.
    pub(crate) fn take_due(&mut self, now: SystemTime) -> Option<Due> {
        if self.earliest()? <= now {
            self.0.pop().map(|Reverse(due)| due)
        } else {
            None
        }
    }

    /// Tells the earliest.
    pub(crate) fn earliest(&self) -> Option<SystemTime> {
        self.0.peek().map(|Reverse(due)| due.at)
    }
}
