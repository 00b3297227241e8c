//! The kept connections of one session, by line and database.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use deadpool::managed::Object;
use tokio::{sync::Semaphore, time::Instant};

use super::{Line, Loss};
use crate::{
    End, LeaseError,
    budget::{Share, Stake},
    connect::Connector,
    end::Ends,
    seats::Seat,
};

/// A line's name, and that of its database.
pub(super) type Key = (Arc<str>, Arc<str>);

/// The kept connections of one session.
pub(crate) struct Kept {
    /// The session's.
    id: Box<str>,
    ends: Ends,
    /// How long a line is remembered that has no connection any more.
    memory: Duration,
    table: Mutex<Table>,
}

/// Held for a look-up or a change, never while waiting or closing.
#[derive(Default)]
pub(super) struct Table {
    pub(super) slots: HashMap<Key, Slot>,
    /// How many ties each line has; those of none are not here.
    ties: HashMap<Arc<str>, usize>,
    last: u64,
    is_over: bool,
}

pub(super) struct Slot {
    /// Tells it from another one of the same name, before or after it.
    number: u64,
    pub(super) idle_time: Duration,
    goes_on: bool,
    pub(super) has_begun: bool,
    /// One permit.
    turn: Arc<Semaphore>,
    pub(super) held: Held,
    /// Since when it was seen to have no connection.
    bare_since: Option<Instant>,
}

pub(super) enum Held {
    /// No connection, and none was lost.
    Nothing,
    /// A lease has it, or is getting it.
    InUse,
    Connection(Box<Parked>),
    Lost(Loss),
}

impl Held {
    pub(super) fn is_counted(&self) -> bool {
        matches!(self, Held::InUse | Held::Connection(_))
    }
}

/// A slot that was found.
pub(super) struct Found {
    pub(super) number: u64,
    pub(super) turn: Arc<Semaphore>,
}

/// A connection that waits for its line's next lease. Dropping it closes it.
pub(super) struct Parked {
    /// Taken only by [`Spot::take`](super::Spot::take) and `drop`.
    pub(super) object: Option<Object<Connector>>,
    pub(super) seat: Option<Seat>,
    pub(super) stake: Arc<Stake>,
    pub(super) generation: u64,
    pub(super) share: Option<Share>,
    pub(super) since: Instant,
}

impl Parked {
    /// How many may be kept like it.
    pub(super) fn most(&self) -> usize {
        self.seat.as_ref().map_or(0, Seat::of).saturating_sub(1)
    }

    /// Says why its line has lost it, if it has.
    pub(super) fn loss(&self, now: Instant, idle_time: Duration) -> Option<Loss> {
        let is_idle = now.duration_since(self.since) >= idle_time;
        match &self.object {
            _ if is_idle => Some(Loss::Idle(idle_time)),
            Some(object) if object.client.is_closed() => Some(Loss::Broken),
            Some(object) if Object::pool(object).is_none_or(|pool| pool.is_closed()) => {
                Some(Loss::Outdated)
            }
            Some(_) => None,
            None => Some(Loss::Broken),
        }
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        // It must not go back into the pool as it is.
        if let Some(object) = self.object.take() {
            drop(Object::take(object));
        }
    }
}

impl Kept {
    pub(crate) fn new(id: &str, ends: Ends, memory: Duration) -> Self {
        Kept {
            id: id.into(),
            ends,
            memory,
            table: Mutex::default(),
        }
    }

    /// Tells that a line has lost its connection. Not to be called while holding the lock.
    pub(super) fn tell(&self, (name, database): &Key, loss: Option<Loss>) {
        let end = End::Line {
            name,
            database,
            loss,
        };
        self.ends.tell(&self.id, end);
    }

    pub(super) fn find(&self, key: &Key) -> Option<Found> {
        let table = self.lock();
        table.slots.get(key).map(Slot::found)
    }

    /// Names the databases on which a line has lost its connection without having been told.
    pub(super) fn lost_on(&self, name: &str) -> Vec<Arc<str>> {
        let table = self.lock();
        let lost = table
            .slots
            .iter()
            .filter(|((known, _), slot)| **known == *name && matches!(slot.held, Held::Lost(_)));
        lost.map(|((_, database), _)| database.clone()).collect()
    }

    /// Takes the loss out of which a line was not told.
    pub(super) fn take_loss(&self, key: &Key) -> Option<Loss> {
        let mut table = self.lock();
        let held = &mut table.slots.get_mut(key)?.held;
        let loss = match held {
            Held::Lost(loss) => *loss,
            _ => return None,
        };
        *held = Held::Nothing;
        Some(loss)
    }

    /// Finds a line's slot, or makes it.
    pub(super) fn enter(
        &self,
        line: &Line,
        key: &Key,
        idle_time: Duration,
    ) -> Result<Found, LeaseError> {
        let mut table = self.lock();
        if table.is_over {
            return Err(LeaseError::Closed);
        }
        table.last += 1;
        let number = table.last;
        let slot = table.slots.entry(key.clone()).or_insert_with(|| Slot {
            number,
            idle_time,
            goes_on: line.goes_on,
            has_begun: false,
            turn: Arc::new(Semaphore::new(1)),
            held: Held::Nothing,
            bare_since: None,
        });
        Ok(slot.found())
    }

    pub(super) fn let_go(&self, name: &str) -> bool {
        !self.take_out(name).is_empty()
    }

    /// Has a line remembered until it is untied.
    pub(super) fn tie(&self, name: &Arc<str>) {
        *self.lock().ties.entry(name.clone()).or_default() += 1;
    }

    /// Lets a line go that nobody has let go before.
    pub(super) fn untie(&self, name: &str) {
        self.lock().loosen(name);
        for (key, slot) in self.take_out(name) {
            let had_connection = slot.held.is_counted();
            drop(slot);
            if had_connection {
                self.tell(&key, None);
            }
        }
    }

    fn take_out(&self, name: &str) -> Vec<(Key, Slot)> {
        let gone: Vec<(Key, Slot)> = {
            let mut table = self.lock();
            let found = table.slots.extract_if(|(known, _), _| **known == *name);
            found.collect()
        };
        for (_, slot) in &gone {
            slot.turn.close();
        }
        gone
    }

    /// Closes all for good.
    pub(crate) fn end(&self) {
        let gone: Vec<Slot> = {
            let mut table = self.lock();
            table.is_over = true;
            table.slots.drain().map(|(_, slot)| slot).collect()
        };
        for slot in &gone {
            slot.turn.close();
        }
    }

    /// Closes what has been idle for too long, or is of no use for another reason, and forgets lines that have been
    /// without a connection for as long as they are remembered.
    pub(crate) fn expire(&self, now: Instant) {
        let mut gone = Vec::new();
        let mut table = self.lock();
        for (key, slot) in &mut table.slots {
            if let Held::Connection(parked) = &slot.held
                && let Some(loss) = parked.loss(now, slot.idle_time)
            {
                let lost = std::mem::replace(&mut slot.held, Held::Lost(loss));
                gone.push((key.clone(), loss, lost));
            }
        }
        table.tidy();
        table.forget(now, self.memory);
        drop(table);
        for (key, loss, connection) in gone {
            drop(connection);
            self.tell(&key, Some(loss));
        }
    }

    /// Closes idle ones on a database, the longest unused first, until no more than `most` are left.
    pub(crate) fn shrink(&self, database: &str, most: usize) {
        let mut gone = Vec::new();
        let mut table = self.lock();
        loop {
            let of_database = table
                .slots
                .iter_mut()
                .filter(|(key, _)| *key.1 == *database);
            let mut counted: Vec<(&Key, &mut Slot)> = of_database
                .filter(|(_, slot)| slot.held.is_counted())
                .collect();
            if counted.len() <= most {
                break;
            }
            let since = |slot: &Slot| match &slot.held {
                Held::Connection(parked) => Some(parked.since),
                _ => None,
            };
            counted.retain(|(_, slot)| since(slot).is_some());
            let oldest = counted.into_iter().min_by_key(|(_, slot)| since(slot));
            let Some((key, oldest)) = oldest else {
                break;
            };
            let lost = std::mem::replace(&mut oldest.held, Held::Lost(Loss::Crowded));
            gone.push((key.clone(), lost));
        }
        table.tidy();
        drop(table);
        for (key, connection) in gone {
            drop(connection);
            self.tell(&key, Some(Loss::Crowded));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().slots.is_empty()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Counts the connections that are kept to a database, or about to be.
    pub(super) fn counted_on(&self, database: &str) -> usize {
        let slots = self.slots.iter();
        slots
            .filter(|(key, slot)| *key.1 == *database && slot.held.is_counted())
            .count()
    }

    pub(super) fn slot(&mut self, key: &Key, number: u64) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(key)?;
        (slot.number == number).then_some(slot)
    }

    /// Forgets lines that have ended with their connection.
    pub(super) fn tidy(&mut self) {
        self.slots.retain(|_, slot| {
            let is_over = !slot.goes_on && matches!(slot.held, Held::Lost(_));
            if is_over {
                slot.turn.close();
            }
            !is_over
        });
    }

    /// Forgets lines that go on and have had no connection for so long, but for those that are tied.
    fn forget(&mut self, now: Instant, memory: Duration) {
        self.slots.retain(|(name, _), slot| {
            let is_bare = !slot.held.is_counted() && slot.turn.available_permits() > 0;
            if !is_bare || self.ties.contains_key(name) {
                return true;
            }
            let since = *slot.bare_since.get_or_insert(now);
            let is_over = now.duration_since(since) >= memory;
            if is_over {
                slot.turn.close();
            }
            !is_over
        });
    }

    /// Takes one tie from a line.
    fn loosen(&mut self, name: &str) {
        if let Some(ties) = self.ties.get_mut(name) {
            *ties -= 1;
            if *ties == 0 {
                self.ties.remove(name);
            }
        }
    }

    /// Forgets a line that has no connection, unless it has had one and goes on.
    pub(super) fn leave(&mut self, key: &Key, number: u64) {
        if let Some(slot) = self.slot(key, number)
            && !(slot.goes_on && slot.has_begun)
        {
            slot.turn.close();
            self.slots.remove(key);
        }
    }
}

impl Slot {
    /// Counts a connection before it is there.
    pub(super) fn begin(&mut self) {
        self.held = Held::InUse;
        self.bare_since = None;
    }

    fn found(&self) -> Found {
        Found {
            number: self.number,
            turn: self.turn.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: Duration = Duration::from_secs(300);

    #[test]
    fn a_loss_is_remembered_for_its_time_and_while_the_line_is_tied() {
        let kept = Kept::new("id", Ends::default(), MEMORY);
        let lose = |name: &str| {
            let line = Line {
                name: name.into(),
                idle_time: None,
                goes_on: true,
            };
            let key = (line.name.clone(), "main".into());
            assert!(kept.enter(&line, &key, MEMORY).is_ok());
            let mut table = kept.lock();
            let slot = table.slots.get_mut(&key).expect("it was entered");
            slot.begin();
            slot.has_begun = true;
            slot.held = Held::Lost(Loss::Broken);
        };
        let names = || {
            let table = kept.lock();
            let mut names: Vec<String> = table.slots.keys().map(|key| key.0.to_string()).collect();
            names.sort();
            names.join(" ")
        };
        lose("free");
        lose("tied");
        for _ in 0..2 {
            kept.tie(&"tied".into());
        }
        let began = Instant::now();
        for (after, known) in [
            (0, "free tied"),
            (299, "free tied"),
            (300, "tied"),
            (9_999, "tied"),
        ] {
            kept.expire(began + Duration::from_secs(after));
            assert_eq!(names(), known, "{after} s");
        }
        kept.lock().loosen("tied");
        kept.expire(began + MEMORY * 100);
        assert_eq!(names(), "tied", "by one of two");
        kept.untie("tied");
        assert_eq!(names(), "");
        assert!(kept.lock().ties.is_empty());
    }
}
