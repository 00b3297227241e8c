//! How many connections of one pool may be in use at once.
//!
//! A deadpool pool cannot be told to open fewer connections than before. So it has room for all
//! that its database allows, and the seats say how much of that may be used, which may change at
//! any time.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Semaphore;

/// The seats of one pool, given in the order in which they were asked for.
pub(crate) struct Seats {
    free: Semaphore,
    count: Mutex<Count>,
    /// Callers that wait for a seat, or have one and are about to get their connection.
    arriving: AtomicUsize,
}

/// Held for a few lines, never while waiting.
struct Count {
    most: usize,
    /// Seats that are to be taken away as soon as they are given back.
    owed: usize,
}

/// The right to use a connection; dropped when the connection was given back or has ended.
pub(crate) struct Seat(Arc<Seats>);

/// A caller that wants a connection.
pub(crate) struct Arrival<'a>(&'a Seats);

impl Seats {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Seats {
            free: Semaphore::new(most),
            count: Mutex::new(Count { most, owed: 0 }),
            arriving: AtomicUsize::new(0),
        })
    }

    /// Changes the number of seats. Those that are taken stay until they are given back.
    pub(crate) fn resize(&self, most: usize) {
        let mut count = self.lock();
        if most > count.most {
            let more = most - count.most;
            let kept = more.min(count.owed);
            count.owed -= kept;
            self.free.add_permits(more - kept);
        } else {
            let fewer = count.most - most;
            count.owed += fewer - self.free.forget_permits(fewer);
        }
        count.most = most;
    }

    /// The number of seats.
    pub(crate) fn most(&self) -> usize {
        self.lock().most
    }

    /// Says whether no seat is taken.
    pub(crate) fn are_free(&self) -> bool {
        let count = self.lock();
        count.owed == 0 && self.free.available_permits() == count.most
    }

    /// Counts a caller that wants a connection, until it has one.
    pub(crate) fn arrive(&self) -> Arrival<'_> {
        self.arriving.fetch_add(1, Ordering::SeqCst);
        Arrival(self)
    }

    /// Counts the callers that want a connection.
    pub(crate) fn arriving(&self) -> usize {
        self.arriving.load(Ordering::SeqCst)
    }

    /// Takes a seat if one is free and nobody waits for it.
    pub(crate) fn try_take(self: &Arc<Self>) -> Option<Seat> {
        self.free.try_acquire().ok()?.forget();
        Some(Seat(self.clone()))
    }

    /// Waits for a seat. Dropping the future gives up the turn.
    pub(crate) async fn take(self: &Arc<Self>) -> Seat {
        if let Ok(permit) = self.free.acquire().await {
            permit.forget();
        }
        Seat(self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Says whether its connection is one more than there may be now.
    pub(crate) fn is_owed(&self) -> bool {
        self.0.lock().owed > 0
    }

    /// How many seats its pool has.
    pub(crate) fn of(&self) -> usize {
        self.0.most()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut count = self.0.lock();
        match count.owed {
            0 => self.0.free.add_permits(1),
            _ => count.owed -= 1,
        }
    }
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        self.0.arriving.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn there_are_never_more_than_there_may_be_however_often_that_changes() {
        let seats = Seats::new(4);
        let taken = [seats.take().await, seats.take().await];
        for most in [1, 4, 1, 3, 1, 4, 1] {
            seats.resize(most);
        }
        assert!(seats.try_take().is_none());
        let [first, second] = taken;
        assert!(first.is_owed(), "one of two, and there is one seat");
        drop(first);
        assert!(seats.try_take().is_none() && !second.is_owed());
        assert!(!seats.are_free());
        drop(second);
        assert_eq!(seats.free.available_permits(), 1);
        assert!(seats.are_free());
        seats.resize(3);
        assert_eq!((seats.free.available_permits(), seats.most()), (3, 3));
    }
}
