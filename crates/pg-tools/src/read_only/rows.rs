//! A result taken apart, for whoever pages through it.

use super::{Cut, Rows};

/// What a value takes beside its bytes.
const OVERHEAD: usize = std::mem::size_of::<Option<String>>();

impl Rows {
    /// Copies at most `limit` rows from the one at `start` on; the cut says whether there are more.
    pub(crate) fn part(&self, start: usize, limit: usize) -> Rows {
        let rest = self.rows.get(start..).unwrap_or_default();
        let cut = if rest.len() > limit {
            Some(Cut::Limit)
        } else {
            self.cut
        };
        Rows {
            columns: self.columns.clone(),
            rows: rest.iter().take(limit).cloned().collect(),
            cut,
        }
    }

    /// Gives about how much memory the values take.
    pub(crate) fn bytes(&self) -> usize {
        let value = |value: &Option<String>| OVERHEAD + value.as_ref().map_or(0, String::len);
        self.rows.iter().flatten().map(value).sum()
    }
}
