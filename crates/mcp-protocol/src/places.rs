//! A limited number of places for each key, and limited room for what is kept in them.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::{HashMap, fast::RandomState};

/// How many tables the keys are spread over, so that two that come at once seldom meet in one.
const TABLES: usize = 64;
/// How many keys a table may have before it forgets those that hold no place.
const FEW: usize = 16;

/// The largest size, in bytes, that is not counted: the number of places limits how many of these
/// there are.
const SHORT: usize = 64 << 10;

/// How many places each key has taken, and how many bytes are kept in them.
#[derive(Debug)]
pub(crate) struct Places<K> {
    limit: usize,
    room: Arc<Room>,
    hasher: RandomState,
    // Each is held for one look-up.
    tables: [Mutex<Table<K>>; TABLES],
}

/// Room for what is kept in places, in bytes.
#[derive(Debug)]
pub(crate) struct Room {
    for_each: usize,
    for_all: usize,
    used: AtomicUsize,
}

impl Room {
    /// Has this much room for each key, and for all keys together.
    pub(crate) fn new(for_each: usize, for_all: usize) -> Self {
        Self {
            for_each,
            for_all,
            used: AtomicUsize::new(0),
        }
    }
}

#[derive(Debug)]
struct Table<K> {
    taken: HashMap<K, Arc<Taken>>,
    /// With this many keys, those that hold no place are forgotten.
    most: usize,
}

/// What one key has taken.
#[derive(Debug)]
struct Taken {
    places: AtomicUsize,
    /// Counted bytes that it keeps.
    bytes: AtomicUsize,
    room: Arc<Room>,
}

impl<K: Eq + Hash> Places<K> {
    pub(crate) fn new(limit: usize) -> Self {
        Self::with_room(limit, Room::new(usize::MAX, usize::MAX))
    }

    pub(crate) fn with_room(limit: usize, room: Room) -> Self {
        Self {
            limit,
            room: Arc::new(room),
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
        let taken = table.of(key, &self.room);
        // Without the lock the number can only become smaller.
        if taken.places.load(Ordering::Acquire) >= self.limit {
            return None;
        }
        taken.places.fetch_add(1, Ordering::AcqRel);
        Some(Place {
            taken: Arc::clone(taken),
            places: 1,
            bytes: 0,
        })
    }
}

impl<K: Eq + Hash> Table<K> {
    fn of<Q>(&mut self, key: &Q, room: &Arc<Room>) -> &Arc<Taken>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        if !self.taken.contains_key(key) {
            if self.taken.len() >= self.most {
                self.taken
                    .retain(|_, taken| taken.places.load(Ordering::Acquire) > 0);
                self.most = FEW.max(2 * self.taken.len());
            }
            let taken = Taken {
                places: AtomicUsize::new(0),
                bytes: AtomicUsize::new(0),
                room: Arc::clone(room),
            };
            self.taken.insert(key.to_owned(), Arc::new(taken));
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

/// One place, or several of one key, given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    taken: Arc<Taken>,
    places: usize,
    /// The bytes that are kept in it and counted.
    bytes: usize,
}

impl Place {
    /// Takes room for what is to be kept in the place; says whether there was any. A key that keeps
    /// nothing yet always gets some, however much the others keep.
    pub(crate) fn keep(&mut self, bytes: usize) -> bool {
        if bytes <= SHORT {
            return true;
        }
        let Taken {
            bytes: own, room, ..
        } = &*self.taken;
        // Added before it is compared: of several at once, each sees those before it.
        let before = own.fetch_add(bytes, Ordering::AcqRel);
        let all = room.used.fetch_add(bytes, Ordering::AcqRel) + bytes;
        self.bytes += bytes;
        before == 0 || before + bytes <= room.for_each && all <= room.for_all
    }

    /// Joins another place of the same key to this one.
    pub(crate) fn with(mut self, mut other: Self) -> Self {
        debug_assert!(Arc::ptr_eq(&self.taken, &other.taken), "of one key");
        self.places += std::mem::take(&mut other.places);
        self.bytes += std::mem::take(&mut other.bytes);
        self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.taken.room.used.fetch_sub(self.bytes, Ordering::AcqRel);
            self.taken.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        }
        self.taken.places.fetch_sub(self.places, Ordering::AcqRel);
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
    fn room_is_taken_until_the_place_is_dropped() {
        const LONG: usize = SHORT + 1;
        let places = Places::<String>::with_room(9, Room::new(2 * LONG, 3 * LONG));
        let keep = |key, bytes| {
            let mut place = places.enter(key).unwrap();
            place.keep(bytes).then_some(place)
        };
        let first = keep("a", LONG).unwrap();
        let _second = keep("a", LONG).unwrap();
        assert!(keep("a", LONG).is_none(), "more than one key may");
        assert!(keep("a", SHORT).is_some());
        let _other = keep("b", LONG).unwrap();
        assert!(keep("b", LONG).is_none(), "more than all may");
        let third = keep("c", 5 * LONG).expect("it has nothing yet");
        assert!(keep("c", LONG).is_none());
        drop((first, third));
        assert!(keep("a", LONG).is_some());
    }

    #[test]
    fn room_of_places_that_are_joined_is_given_back_with_them() {
        const LONG: usize = SHORT + 1;
        let places = Places::<String>::with_room(9, Room::new(LONG, LONG));
        let mut first = places.enter("a").unwrap();
        assert!(first.keep(LONG));
        let both = places.enter("a").unwrap().with(first);
        assert!(!places.enter("a").unwrap().keep(LONG));
        drop(both);
        assert!(places.enter("a").unwrap().keep(LONG));
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
