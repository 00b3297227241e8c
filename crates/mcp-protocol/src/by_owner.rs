//! What principals have: found by its owner only, without waiting for other owners.

use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use foldhash::{HashMap, fast::RandomState};
use tokio::time::Instant;

/// How many tables the owners are spread over, so that two that come at once seldom meet in one.
const TABLES: usize = 64;

/// What each owner has: a few things of one kind.
#[derive(Debug)]
pub(crate) struct ByOwner<T> {
    hasher: RandomState,
    // Each is held for a look-up among one owner's things, and now and then for a pass over the whole table.
    tables: [RwLock<Table<T>>; TABLES],
    /// When it was last swept. Held to find out whether it is time to sweep.
    swept: Mutex<Instant>,
}

type Table<T> = HashMap<String, Vec<T>>;

impl<T> ByOwner<T> {
    pub(crate) fn new() -> Self {
        Self {
            hasher: RandomState::default(),
            tables: std::array::from_fn(|_| RwLock::default()),
            swept: Mutex::new(Instant::now()),
        }
    }

    /// Looks at what `owner` has.
    pub(crate) fn look<R>(&self, owner: &str, look: impl FnOnce(&[T]) -> R) -> R {
        let table = read(self.table(owner));
        look(table.get(owner).map_or(&[], Vec::as_slice))
    }

    /// Changes what `owner` has.
    pub(crate) fn change<R>(&self, owner: &str, change: impl FnOnce(&mut Vec<T>) -> R) -> R {
        let mut table = write(self.table(owner));
        if !table.contains_key(owner) {
            table.insert(owner.to_owned(), Vec::new());
        }
        let own = table.get_mut(owner).expect("it was just entered");
        let result = change(own);
        if own.is_empty() {
            table.remove(owner);
        }
        result
    }

    /// Takes out what `owner` has.
    pub(crate) fn take(&self, owner: &str) -> Vec<T> {
        write(self.table(owner)).remove(owner).unwrap_or_default()
    }

    /// Takes out what is stale, also what belongs to owners that do not come any more, unless that
    /// was done less than `interval` ago.
    pub(crate) fn sweep(
        &self,
        interval: Duration,
        now: Instant,
        mut is_stale: impl FnMut(&T) -> bool,
    ) -> Vec<T> {
        let mut stale = Vec::new();
        if self.is_due(interval, now) {
            for table in &self.tables {
                write(table).retain(|_, own| {
                    stale.extend(own.extract_if(.., |one| is_stale(one)));
                    !own.is_empty()
                });
            }
        }
        stale
    }

    /// Says whether it is time to sweep; of several that ask at once, one is told so.
    fn is_due(&self, interval: Duration, now: Instant) -> bool {
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = now.saturating_duration_since(*swept) >= interval;
        if is_due {
            *swept = now;
        }
        is_due
    }

    /// Visits the things of all owners.
    pub(crate) fn for_each(&self, mut look: impl FnMut(&T)) {
        for table in &self.tables {
            read(table).values().flatten().for_each(&mut look);
        }
    }

    fn table(&self, owner: &str) -> &RwLock<Table<T>> {
        #[allow(clippy::cast_possible_truncation)] // Any part of it will do.
        let at = self.hasher.hash_one(owner) as usize % TABLES;
        &self.tables[at]
    }
}

fn read<T>(table: &RwLock<Table<T>>) -> RwLockReadGuard<'_, Table<T>> {
    table.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(table: &RwLock<Table<T>>) -> RwLockWriteGuard<'_, Table<T>> {
    table.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(1);

    fn all(table: &ByOwner<u32>) -> Vec<u32> {
        let mut all = Vec::new();
        table.for_each(|one| all.push(*one));
        all.sort_unstable();
        all
    }

    #[test]
    fn an_owner_has_its_own_only_and_is_forgotten_without_any() {
        let table = ByOwner::new();
        for (owner, one) in [("alice", 1), ("bob", 2), ("alice", 3)] {
            table.change(owner, |own| own.push(one));
        }
        assert_eq!(table.look("alice", <[u32]>::to_vec), [1, 3]);
        assert_eq!(table.look("carol", <[u32]>::to_vec), [0; 0]);
        table.change("alice", Vec::clear);
        assert_eq!(all(&table), [2]);
        table.change("carol", |own| own.push(4));
        assert_eq!(table.take("carol"), [4]);
        assert_eq!(table.take("carol"), [0; 0]);
        let owners: usize = table.tables.iter().map(|one| read(one).len()).sum();
        assert_eq!(owners, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_stale_goes_now_and_then() {
        let table = ByOwner::new();
        table.change("alice", |own| own.extend([1, 2, 3]));
        let odd = |one: &u32| one % 2 == 1;
        assert!(
            table.sweep(INTERVAL, Instant::now(), odd).is_empty(),
            "too early"
        );
        tokio::time::advance(INTERVAL).await;
        assert_eq!(table.sweep(INTERVAL, Instant::now(), odd), [1, 3]);
        assert_eq!(all(&table), [2]);
        table.change("alice", |own| own.push(5));
        assert!(
            table.sweep(INTERVAL, Instant::now(), odd).is_empty(),
            "too early"
        );
    }
}
