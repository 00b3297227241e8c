//! The resources that somebody follows, each with what it was like when it was last looked at.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many resources one session or stream may follow.
pub(crate) const MOST: usize = 1000;

/// The resources that somebody follows.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    /// The last known version of each. Held for one look-up or assignment.
    versions: Mutex<HashMap<String, Option<String>>>,
}

impl Followed {
    /// Says whether one may be followed, as there is room for it or as it is followed already.
    pub(crate) fn has_room_for(&self, uri: &str) -> bool {
        let versions = self.lock();
        versions.len() < MOST || versions.contains_key(uri)
    }

    /// Follows one more, which has this version; says whether there was room for it.
    pub(crate) fn add(&self, uri: String, version: Option<String>) -> bool {
        let mut versions = self.lock();
        let fits = versions.len() < MOST || versions.contains_key(&uri);
        if fits {
            versions.insert(uri, version);
        }
        fits
    }

    pub(crate) fn remove(&self, uri: &str) {
        self.lock().remove(uri);
    }

    pub(crate) fn contains(&self, uri: &str) -> bool {
        self.lock().contains_key(uri)
    }

    pub(crate) fn uris(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// Takes a version that was just seen; says whether it is another one than before.
    pub(crate) fn has_changed(&self, uri: &str, seen: String) -> bool {
        match self.lock().get_mut(uri) {
            // It is followed no more.
            None => false,
            Some(known) => {
                let changed = known.as_ref().is_some_and(|known| *known != seen);
                *known = Some(seen);
                changed
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Option<String>>> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
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
}
