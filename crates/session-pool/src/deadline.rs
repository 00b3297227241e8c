//! Deadlines by the wall clock, earliest first.

use std::{collections::BTreeSet, time::SystemTime};

/// The deadlines of all open sessions that have one, and no others.
#[derive(Default)]
pub(crate) struct Deadlines(BTreeSet<(SystemTime, String)>);

impl Deadlines {
    /// Moves an id's deadline; says whether it is now the earliest.
    pub(crate) fn shift(
        &mut self,
        id: &str,
        from: Option<SystemTime>,
        to: Option<SystemTime>,
    ) -> bool {
        if let Some(at) = from {
            self.0.remove(&(at, id.to_owned()));
        }
        let Some(at) = to else {
            return false;
        };
        let is_earliest = self.earliest().is_none_or(|first| at < first);
        self.0.insert((at, id.to_owned()));
        is_earliest
    }

    /// Names an id whose deadline has come, if one has.
    pub(crate) fn due(&self, now: SystemTime) -> Option<&str> {
        let (at, id) = self.0.first()?;
        (*at <= now).then_some(id)
    }

    /// Tells the earliest.
    pub(crate) fn earliest(&self) -> Option<SystemTime> {
        self.0.first().map(|(at, _)| *at)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}
