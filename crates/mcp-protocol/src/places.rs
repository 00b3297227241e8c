//! A limited number of places for each of many.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::{HashMap, fast::RandomState};

/// In how many tables the keys are, so that two that come at once seldom meet in one.
const TABLES: usize = 64;
/// How many keys a table has before it forgets those that hold no place.
const FEW: usize = 16;

/// How many places each key has taken.
#[derive(Debug)]
pub(crate) struct Places<K> {
    limit: usize,
    hasher: RandomState,
    // Each is held for one look-up.
    tables: [Mutex<Table<K>>; TABLES],
}

#[derive(Debug)]
struct Table<K> {
    taken: HashMap<K, Arc<AtomicUsize>>,
    /// With so many keys, those that hold no place are forgotten.
    most: usize,
}

impl<K: Eq + Hash> Places<K> {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            hasher: RandomState::default(),
            tables: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Takes a place for `key`, if one is left.
    pub(crate) fn enter<Q>(&self, key: &Q) -> Option<Place>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        #[allow(clippy::cast_possible_truncation)] // Any part of it will do.
        let at = self.hasher.hash_one(key) as usize % TABLES;
        let table = self.tables[at].lock();
        let mut table = table.unwrap_or_else(PoisonError::into_inner);
        let count = table.count(key);
        // It only becomes less without the lock.
        if count.load(Ordering::Acquire) >= self.limit {
            return None;
        }
        count.fetch_add(1, Ordering::AcqRel);
        Some(Place {
            taken: Arc::clone(count),
            places: 1,
        })
    }
}

impl<K: Eq + Hash> Table<K> {
    fn count<Q>(&mut self, key: &Q) -> &Arc<AtomicUsize>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        if !self.taken.contains_key(key) {
            if self.taken.len() >= self.most {
                self.taken
                    .retain(|_, count| count.load(Ordering::Acquire) > 0);
                self.most = FEW.max(2 * self.taken.len());
            }
            self.taken.insert(key.to_owned(), Arc::default());
        }
        &self.taken[key]
    }
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self {
            taken: HashMap::default(),
            most: FEW,
        }
    }
}

/// A place, or several of one key, given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    taken: Arc<AtomicUsize>,
    places: usize,
}

impl Place {
    /// Adds a place of the same key.
    pub(crate) fn with(mut self, mut other: Self) -> Self {
        debug_assert!(Arc::ptr_eq(&self.taken, &other.taken), "of one key");
        self.places += std::mem::take(&mut other.places);
        self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.places, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_place_is_free_again_once_it_is_dropped() {
        let places = Places::<String>::new(2);
        let first = places.enter("a");
        let _second = places.enter("a");
        assert!(places.enter("a").is_none());
        assert!(places.enter("b").is_some());
        drop(first);
        assert!(places.enter("a").is_some());
    }

    #[test]
    fn places_are_joined_and_given_back_together() {
        let places = Places::<String>::new(2);
        let both = places.enter("a").unwrap().with(places.enter("a").unwrap());
        assert!(places.enter("a").is_none());
        drop(both);
        let both = [places.enter("a"), places.enter("a")];
        assert!(both.iter().all(Option::is_some) && places.enter("a").is_none());
    }

    #[test]
    fn keys_without_a_place_are_forgotten_and_others_never() {
        let places = Places::<u32>::new(1);
        let held: Vec<_> = (0..5_000).map(|key| places.enter(&key)).collect();
        for key in 5_000..100_000 {
            assert!(places.enter(&key).is_some(), "{key}");
        }
        let known = || -> usize {
            let tables = places.tables.iter();
            tables.map(|table| table.lock().unwrap().taken.len()).sum()
        };
        assert!((5_000..15_000).contains(&known()), "{}", known());
        assert!((0..5_000).all(|key| places.enter(&key).is_none()));
        drop(held);
        assert!((0..5_000).all(|key| places.enter(&key).is_some()));
    }
}
