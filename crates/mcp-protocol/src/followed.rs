//! The resources that somebody follows, each with the version that was last seen.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many resources one session or stream may follow.
pub(crate) const MOST: usize = 1000;
/// How many bytes their addresses may have together: clients choose them, and they are kept.
pub(crate) const MOST_BYTES: usize = 128 * 1024;

/// The resources that a session or stream follows.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    /// Held for one look-up or assignment.
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// The last known version of each.
    versions: HashMap<String, Option<String>>,
    /// The length of all addresses, in bytes.
    bytes: usize,
}

impl Table {
    fn has_room_for(&self, uri: &str) -> bool {
        self.versions.contains_key(uri)
            || self.versions.len() < MOST && self.bytes + uri.len() <= MOST_BYTES
    }
}

/// Returns whether one session or stream may follow all of these.
pub(crate) fn can_be_followed<'u>(uris: impl ExactSizeIterator<Item = &'u String>) -> bool {
    uris.len() <= MOST && uris.map(String::len).sum::<usize>() <= MOST_BYTES
}

impl Followed {
    /// Says whether one more may be followed: there is room for it, or it is followed already.
    pub(crate) fn has_room_for(&self, uri: &str) -> bool {
        self.lock().has_room_for(uri)
    }

    /// Follows one more, whose version this is; says whether there was room for it.
    pub(crate) fn add(&self, uri: String, version: Option<String>) -> bool {
        let mut table = self.lock();
        let fits = table.has_room_for(&uri);
        if fits {
            let bytes = uri.len();
            if table.versions.insert(uri, version).is_none() {
                table.bytes += bytes;
            }
        }
        fits
    }

    pub(crate) fn remove(&self, uri: &str) {
        let mut table = self.lock();
        if table.versions.remove(uri).is_some() {
            table.bytes -= uri.len();
        }
    }

    pub(crate) fn contains(&self, uri: &str) -> bool {
        self.lock().versions.contains_key(uri)
    }

    pub(crate) fn uris(&self) -> Vec<String> {
        self.lock().versions.keys().cloned().collect()
    }

    /// Takes note of a version that was just seen; says whether it is a new one.
    pub(crate) fn has_changed(&self, uri: &str, seen: String) -> bool {
        match self.lock().versions.get_mut(uri) {
            // It is no longer followed.
            None => false,
            Some(known) => {
                let changed = known.as_ref().is_some_and(|known| *known != seen);
                *known = Some(seen);
                changed
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_once_and_only_of_what_is_followed() {
        let followed = Followed::default();
        assert!(followed.add("a".into(), Some("1".into())) && followed.add("b".into(), None));
        for (uri, version, changed) in [
            ("a", "1", false),
            ("a", "2", true),
            ("a", "2", false),
            ("b", "1", false),
            ("b", "2", true),
            ("c", "1", false),
        ] {
            assert_eq!(
                followed.has_changed(uri, version.into()),
                changed,
                "{uri} {version}"
            );
        }
        followed.remove("a");
        assert!(!followed.has_changed("a", "3".into()) && !followed.contains("a"));
    }

    #[test]
    fn there_is_room_for_so_many_and_no_more() {
        let followed = Followed::default();
        assert!((0..MOST).all(|n| followed.add(n.to_string(), None)));
        assert!(!followed.has_room_for("one more") && !followed.add("one more".into(), None));
        assert!(followed.has_room_for("0"));
        assert!(followed.add("0".into(), None), "it is followed already");
    }

    #[test]
    fn long_addresses_leave_room_for_fewer() {
        let followed = Followed::default();
        let long = |name: &str| name.repeat(MOST_BYTES / 2);
        for _ in 0..3 {
            assert!(followed.add(long("a"), None), "it counts once");
        }
        assert!(followed.add(long("b"), None));
        assert!(!followed.has_room_for("c") && !followed.add("c".into(), None));
        assert!(followed.has_room_for(&long("a")));
        followed.remove("c");
        followed.remove(&long("a"));
        assert!(followed.add(long("c"), None));
        assert!(can_be_followed([long("a"), long("b")].iter()));
        assert!(!can_be_followed([long("a"), long("b"), "c".into()].iter()));
    }
}
