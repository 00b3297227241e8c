//! The turn of one lease of a line, from the slot that it was given to the connection that it leaves.

use std::sync::Arc;

use deadpool::managed::Object;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::{
    Loss,
    table::{Held, Kept, Key, Parked, Slot},
};
use crate::{
    Lease, LeaseError,
    budget::{Share, Stake},
    connect::Connector,
    seats::Seat,
};

/// A slot whose turn somebody has.
pub(super) struct Spot {
    kept: Arc<Kept>,
    key: Key,
    number: u64,
    _turn: OwnedSemaphorePermit,
}

impl Spot {
    pub(super) fn new(kept: &Arc<Kept>, key: Key, number: u64, turn: OwnedSemaphorePermit) -> Self {
        Spot {
            kept: kept.clone(),
            key,
            number,
            _turn: turn,
        }
    }

    /// Counts a connection before it is there, if there may be another one: of all and of those on
    /// the same database.
    pub(super) fn reserve(&self, all: usize, same: usize) -> bool {
        let mut table = self.kept.lock();
        let counted = table.slots.values().filter(|slot| slot.held.is_counted());
        if counted.count() >= all || table.counted_on(&self.key.1) >= same {
            return false;
        }
        let slot = table.slot(&self.key, self.number);
        slot.map(Slot::begin).is_some()
    }

    /// Takes the connection out; without one the slot is free for another.
    pub(super) fn take(self, now: Instant) -> Result<Result<Lease, Spot>, LeaseError> {
        let mut table = self.kept.lock();
        let Some(slot) = table.slot(&self.key, self.number) else {
            return Err(LeaseError::NotKept);
        };
        let idle_time = slot.idle_time;
        let mut parked = match std::mem::replace(&mut slot.held, Held::Nothing) {
            Held::Connection(parked) => parked,
            Held::Lost(loss) => return Err(LeaseError::Lost(loss)),
            Held::Nothing | Held::InUse => {
                drop(table);
                return Ok(Err(self));
            }
        };
        if let Some(loss) = parked.loss(now, idle_time) {
            table.leave(&self.key, self.number);
            drop(table);
            drop(parked);
            self.kept.tell(&self.key, Some(loss));
            return Err(LeaseError::Lost(loss));
        }
        slot.held = Held::InUse;
        drop(table);
        let object = parked.object.take().expect("it was looked at");
        let seat = parked
            .seat
            .take()
            .expect("it has one as long as it has its connection");
        let stake = parked.stake.clone();
        let share = parked.share.take();
        let mut lease = Lease::new(object, seat, stake, parked.generation);
        lease.occupies(Occupied {
            spot: self,
            share,
            stays: true,
        });
        Ok(Ok(lease))
    }
}

/// What a lease has of the line that it is one of. Dropped without [`Occupied::park`], the line has
/// lost its connection.
pub(crate) struct Occupied {
    pub(super) spot: Spot,
    pub(super) share: Option<Share>,
    /// Whether there is something in the connection that the line's next lease is to find.
    pub(crate) stays: bool,
}

impl Occupied {
    /// Has the connection kept when it is given back. The line has begun with that, and is told should it be lost.
    pub(crate) fn stay(&mut self) {
        self.stays = true;
        let mut table = self.spot.kept.lock();
        if let Some(slot) = table.slot(&self.spot.key, self.spot.number) {
            slot.has_begun = true;
        }
    }

    /// Puts the connection back for the line's next lease.
    pub(crate) fn park(
        mut self,
        object: Object<Connector>,
        seat: Seat,
        stake: Arc<Stake>,
        generation: u64,
    ) {
        let parked = Parked {
            object: Some(object),
            seat: Some(seat),
            stake,
            generation,
            share: self.share.take(),
            since: Instant::now(),
        };
        // As many of its database as there may be beside one for other calls.
        let most = parked.most();
        let mut table = self.spot.kept.lock();
        let is_crowded = table.counted_on(&self.spot.key.1) > most;
        let mut lost = None;
        let unwanted = match table.slot(&self.spot.key, self.spot.number) {
            Some(slot) => {
                lost = is_crowded
                    .then_some(Loss::Crowded)
                    .or_else(|| parked.loss(parked.since, slot.idle_time));
                if let Some(loss) = lost {
                    slot.held = Held::Lost(loss);
                    table.tidy();
                    Some(parked)
                } else {
                    slot.held = Held::Connection(Box::new(parked));
                    None
                }
            }
            None => Some(parked),
        };
        drop(table);
        // Outside of the lock.
        drop(unwanted);
        if let Some(loss) = lost {
            self.spot.kept.tell(&self.spot.key, Some(loss));
        }
    }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        let mut table = self.spot.kept.lock();
        let Some(slot) = table.slot(&self.spot.key, self.spot.number) else {
            return;
        };
        let is_lost = match slot.held {
            // It was parked, or was to be.
            Held::Connection(_) | Held::Lost(_) => return,
            Held::InUse if self.stays => {
                slot.held = Held::Lost(Loss::Broken);
                true
            }
            _ => {
                slot.held = Held::Nothing;
                false
            }
        };
        table.leave(&self.spot.key, self.spot.number);
        drop(table);
        if is_lost {
            self.spot.kept.tell(&self.spot.key, Some(Loss::Broken));
        }
    }
}
