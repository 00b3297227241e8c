//! A limited number of places for each of many.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// In how many tables the keys are, so that two that come at once seldom meet in one.
const TABLES: usize = 64;

/// How many places each key has taken.
#[derive(Debug)]
pub(crate) struct Places<K> {
    limit: usize,
    hasher: RandomState,
    // Each is held for one look-up.
    tables: [Mutex<HashMap<K, usize>>; TABLES],
}

impl<K: Clone + Eq + Hash> Places<K> {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            hasher: RandomState::new(),
            tables: std::array::from_fn(|_| Mutex::default()),
        })
    }

    /// Takes a place for `key`, if one is left.
    pub(crate) fn enter(self: &Arc<Self>, key: K) -> Option<Place<K>> {
        let mut taken = self.table(&key);
        let count = taken.entry(key.clone()).or_default();
        if *count >= self.limit {
            return None;
        }
        *count += 1;
        Some(Place {
            key,
            places: Arc::clone(self),
        })
    }

    fn table(&self, key: &K) -> MutexGuard<'_, HashMap<K, usize>> {
        #[allow(clippy::cast_possible_truncation)] // Any part of it will do.
        let at = self.hasher.hash_one(key) as usize % TABLES;
        let table = self.tables[at].lock();
        table.unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place that is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Place<K: Clone + Eq + Hash> {
    key: K,
    places: Arc<Places<K>>,
}

impl<K: Clone + Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.places.table(&self.key);
        if let Some(count) = taken.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_once_it_is_dropped() {
        let places = Places::new(2);
        let first = places.enter("a");
        let _second = places.enter("a");
        assert!(places.enter("a").is_none());
        assert!(places.enter("b").is_some());
        drop(first);
        assert!(places.enter("a").is_some());
    }
}
