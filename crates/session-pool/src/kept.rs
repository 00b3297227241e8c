//! Connections that are kept between leases, each with what its leases have left in it.
//!
//! A [`Line`] of leases shares one connection: temporary tables, settings and prepared statements
//! that one of them leaves are there for the next. They take turns. When its connection is lost the
//! line has lost what was in it, which its next lease is told: it never gets another connection
//! instead.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use deadpool::managed::Object;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use crate::{
    End, Lease, LeaseError, Session,
    budget::{Share, Stake},
    connect::{Canceller, Connector},
    end::Ends,
    session::Shared,
};

/// Leases that share a connection, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it is called within its session.
    pub name: Arc<str>,
    /// How long its connection may be idle before it is closed, where that is less than
    /// [`Limits::kept_idle_time`](crate::Limits::kept_idle_time).
    pub idle_time: Option<Duration>,
    /// Whether a line that has lost its connection goes on: the next lease is told of the loss
    /// ([`LeaseError::Lost`]), and the line begins anew after it. Otherwise it ends with its
    /// connection, and is as if it had never been.
    pub goes_on: bool,
}

/// How a line lost its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// It was idle for as long as it may be.
    Idle(Duration),
    /// A lease was dropped half way, as when its statement is cancelled or runs out of time, or
    /// PostgreSQL ended the connection.
    Broken,
    /// The session may have fewer connections than before.
    Crowded,
    /// The connection's pool serves nobody any more.
    Outdated,
}

impl fmt::Display for Loss {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Loss::Idle(time) => write!(out, "it was not used for {} s", time.as_secs_f64()),
            Loss::Broken => out.write_str(
                "a call in it was cancelled, ran out of time, or lost the connection to PostgreSQL",
            ),
            Loss::Crowded => out.write_str("the token may have fewer connections than before"),
            Loss::Outdated => out.write_str("the database was configured anew"),
        }
    }
}

impl Session {
    /// Takes the connection of a line, when its turn comes; nothing, if none is kept.
    ///
    /// Dropping this future gives up the turn.
    ///
    /// # Errors
    /// See [`LeaseError`]: [`LeaseError::Turn`] when another lease of the line took too long, and
    /// [`LeaseError::Lost`] once after its connection was lost.
    pub async fn kept(&self, line: &Line, database: &str) -> Result<Option<Lease>, LeaseError> {
        let shared = self.shared();
        let key = (line.name.clone(), database.into());
        if self.is_closed() {
            return Err(LeaseError::Closed);
        }
        let Some(slot) = shared.kept.find(&key) else {
            return Ok(None);
        };
        let Some(turn) = self.turn(&slot).await? else {
            return Ok(None);
        };
        let spot = Spot::new(&shared.kept, key, slot.number, turn);
        match spot.take(Instant::now()) {
            Ok(taken) => Ok(taken.ok()),
            Err(LeaseError::NotKept) => Ok(None),
            Err(lost) => Err(lost),
        }
    }

    /// Takes the connection of a line, or one that becomes it if the lease says so
    /// ([`Lease::stay`]).
    ///
    /// # Errors
    /// As [`Session::kept`]; [`LeaseError::KeptLimit`] or [`LeaseError::KeptFull`] when no more
    /// connections may be kept, and [`LeaseError::Pooled`] when none can be.
    pub async fn keep(&self, line: &Line, database: &str) -> Result<Lease, LeaseError> {
        let shared = self.shared();
        let key = (line.name.clone(), database.into());
        let spot = loop {
            let slot = shared.kept.enter(line, &key, self.idle_time(line))?;
            // It may have ended while this one waited, and begins anew.
            let Some(turn) = self.turn(&slot).await? else {
                continue;
            };
            let spot = Spot::new(&shared.kept, key.clone(), slot.number, turn);
            match spot.take(Instant::now()) {
                Ok(Ok(lease)) => return Ok(lease),
                Ok(Err(free)) => break free,
                Err(LeaseError::NotKept) => {}
                Err(lost) => return Err(lost),
            }
        };
        let mut occupied = Occupied {
            spot,
            share: None,
            stays: false,
        };
        let (stake, connections) = self.stake(database)?;
        let (all, same) = (shared.limits.kept, connections.saturating_sub(1));
        if !occupied.spot.reserve(all, same) {
            return Err(LeaseError::KeptLimit {
                limit: all.min(same),
                database: database.to_owned(),
            });
        }
        occupied.share = stake.share();
        if occupied.share.is_none() {
            return Err(LeaseError::KeptFull {
                database: database.to_owned(),
            });
        }
        let mut lease = self.lease(database).await?;
        if !lease.is_direct() {
            lease.give_back();
            return Err(LeaseError::Pooled {
                database: database.to_owned(),
            });
        }
        lease.occupies(occupied);
        Ok(lease)
    }

    /// Says how long the connection of a line may be idle before it is closed.
    #[must_use]
    pub fn idle_time(&self, line: &Line) -> Duration {
        let usual = self.shared().limits.kept_idle_time;
        line.idle_time.map_or(usual, |own| own.min(usual))
    }

    /// Says whether a line has its connection, be it in use or not.
    #[must_use]
    pub fn keeps(&self, name: &str, database: &str) -> bool {
        let table = self.shared().kept.lock();
        let slot = table.slots.get(&(name.into(), database.into()));
        slot.is_some_and(|slot| slot.held.is_counted())
    }

    /// Names the database on which a line of this name keeps its connection.
    #[must_use]
    pub fn kept_on(&self, name: &str) -> Option<Arc<str>> {
        let table = self.shared().kept.lock();
        let (_, database) = table.slots.keys().find(|(known, _)| **known == *name)?;
        Some(database.clone())
    }

    /// Ends a line and closes its connection; one that is in use is closed when it is given back.
    /// Says whether there was one.
    pub fn let_go(&self, name: &str) -> bool {
        self.shared().kept.let_go(name)
    }

    /// Says whether a line of this name has had a connection, and has not ended.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        let table = self.shared().kept.lock();
        let mut slots = table.slots.iter();
        slots.any(|((known, _), slot)| **known == *name && slot.has_begun)
    }

    /// Gives a value whose end is a line's: when it is dropped, the line is let go.
    #[must_use]
    pub fn tie(&self, name: impl Into<Arc<str>>) -> Tie {
        Tie {
            session: self.downgrade(),
            name: name.into(),
        }
    }

    /// Waits for the turn of a lease; nothing, when the line has ended meanwhile.
    async fn turn(&self, slot: &Found) -> Result<Option<OwnedSemaphorePermit>, LeaseError> {
        if let Ok(turn) = slot.turn.clone().try_acquire_owned() {
            return Ok(Some(turn));
        }
        let _queued = self.shared().enqueue()?;
        let waited = self.shared().limits.wait;
        tokio::select! {
            biased;
            () = self.closed() => Err(LeaseError::Closed),
            turn = timeout(waited, slot.turn.clone().acquire_owned()) => match turn {
                Ok(turn) => Ok(turn.ok()),
                Err(_) => Err(LeaseError::Turn { waited }),
            },
        }
    }
}

/// Lets a line go when it is dropped.
pub struct Tie {
    session: Weak<Shared>,
    name: Arc<str>,
}

impl fmt::Debug for Tie {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Tie").finish_non_exhaustive()
    }
}

impl Drop for Tie {
    fn drop(&mut self) {
        if let Some(shared) = self.session.upgrade() {
            shared.kept.untie(&self.name);
        }
    }
}

/// A line's name, and that of its database.
type Key = (Arc<str>, Arc<str>);

/// The kept connections of one session.
pub(crate) struct Kept {
    /// The session's.
    id: Box<str>,
    ends: Ends,
    table: Mutex<Table>,
}

/// Held for a look-up or a change, never while waiting or closing.
#[derive(Default)]
struct Table {
    slots: HashMap<Key, Slot>,
    last: u64,
    is_over: bool,
}

struct Slot {
    /// Tells it from another one of the same name, before or after it.
    number: u64,
    idle_time: Duration,
    goes_on: bool,
    has_begun: bool,
    /// One permit.
    turn: Arc<Semaphore>,
    held: Held,
}

enum Held {
    /// No connection, and none was lost.
    Nothing,
    /// A lease has it, or is getting it.
    InUse,
    Connection(Box<Parked>),
    Lost(Loss),
}

impl Held {
    fn is_counted(&self) -> bool {
        matches!(self, Held::InUse | Held::Connection(_))
    }
}

/// A slot that was found.
struct Found {
    number: u64,
    turn: Arc<Semaphore>,
}

/// A connection that waits for its line's next lease. Dropping it closes it.
struct Parked {
    /// Taken only by `unpark` and `drop`.
    object: Option<Object<Connector>>,
    stake: Arc<Stake>,
    canceller: Arc<Canceller>,
    generation: u64,
    share: Option<Share>,
    since: Instant,
}

impl Parked {
    /// Says why its line has lost it, if it has.
    fn loss(&self, now: Instant, idle_time: Duration) -> Option<Loss> {
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
    pub(crate) fn new(id: &str, ends: Ends) -> Self {
        Kept {
            id: id.into(),
            ends,
            table: Mutex::default(),
        }
    }

    /// Tells that a line has lost its connection. Not to be called while holding the lock.
    fn tell(&self, (name, database): &Key, loss: Option<Loss>) {
        let end = End::Line {
            name,
            database,
            loss,
        };
        self.ends.tell(&self.id, end);
    }

    fn find(&self, key: &Key) -> Option<Found> {
        let table = self.lock();
        table.slots.get(key).map(Slot::found)
    }

    /// Finds a line's slot, or makes it.
    fn enter(&self, line: &Line, key: &Key, idle_time: Duration) -> Result<Found, LeaseError> {
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
        });
        Ok(slot.found())
    }

    fn let_go(&self, name: &str) -> bool {
        !self.take_out(name).is_empty()
    }

    /// Lets a line go that nobody has let go before.
    fn untie(&self, name: &str) {
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

    /// Closes what has been idle for too long, or is of no use for another reason.
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

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn slot(&mut self, key: &Key, number: u64) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(key)?;
        (slot.number == number).then_some(slot)
    }

    /// Forgets lines that have ended with their connection.
    fn tidy(&mut self) {
        self.slots.retain(|_, slot| {
            let is_over = !slot.goes_on && matches!(slot.held, Held::Lost(_));
            if is_over {
                slot.turn.close();
            }
            !is_over
        });
    }

    /// Forgets a line that has no connection, unless it has had one and goes on.
    fn leave(&mut self, key: &Key, number: u64) {
        if let Some(slot) = self.slot(key, number)
            && !(slot.goes_on && slot.has_begun)
        {
            slot.turn.close();
            self.slots.remove(key);
        }
    }
}

impl Slot {
    fn found(&self) -> Found {
        Found {
            number: self.number,
            turn: self.turn.clone(),
        }
    }
}

/// A slot whose turn somebody has.
struct Spot {
    kept: Arc<Kept>,
    key: Key,
    number: u64,
    _turn: OwnedSemaphorePermit,
}

impl Spot {
    fn new(kept: &Arc<Kept>, key: Key, number: u64, turn: OwnedSemaphorePermit) -> Self {
        Spot {
            kept: kept.clone(),
            key,
            number,
            _turn: turn,
        }
    }

    /// Counts a connection before it is there, if there may be another one: of all and of those on
    /// the same database.
    fn reserve(&self, all: usize, same: usize) -> bool {
        let mut table = self.kept.lock();
        let counted = table.slots.iter();
        let counted = counted.filter(|(_, slot)| slot.held.is_counted());
        let on_same = counted.clone().filter(|(key, _)| key.1 == self.key.1);
        if counted.clone().count() >= all || on_same.count() >= same {
            return false;
        }
        let slot = table.slot(&self.key, self.number);
        slot.map(|slot| slot.held = Held::InUse).is_some()
    }

    /// Takes the connection out; without one the slot is free for another.
    fn take(self, now: Instant) -> Result<Result<Lease, Spot>, LeaseError> {
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
        let (stake, canceller) = (parked.stake.clone(), parked.canceller.clone());
        let share = parked.share.take();
        let mut lease = Lease::new(object, stake, canceller, parked.generation);
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
    spot: Spot,
    share: Option<Share>,
    /// Whether there is something in the connection that the line's next lease is to find.
    pub(crate) stays: bool,
}

impl Occupied {
    /// Puts the connection back for the line's next lease.
    pub(crate) fn park(
        mut self,
        object: Object<Connector>,
        stake: Arc<Stake>,
        canceller: Arc<Canceller>,
        generation: u64,
    ) {
        let parked = Parked {
            object: Some(object),
            stake,
            canceller,
            generation,
            share: self.share.take(),
            since: Instant::now(),
        };
        let mut table = self.spot.kept.lock();
        let mut lost = None;
        let unwanted = match table.slot(&self.spot.key, self.spot.number) {
            Some(slot) => {
                slot.has_begun = true;
                lost = parked.loss(parked.since, slot.idle_time);
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
