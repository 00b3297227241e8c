//! Connections that are kept between leases, each with what its leases have left in it.
//!
//! A [`Line`] of leases shares one connection, in turns: temporary tables, settings and prepared
//! statements that one of them leaves are there for the next. When the connection is lost, all of
//! that is lost, and the line's next lease is told so: it never silently gets another connection
//! instead.

mod spot;
mod table;

use std::{
    fmt, ptr,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout},
};

use crate::{Lease, LeaseError, Session, session::SessionState};

pub(crate) use spot::Occupied;
use spot::Spot;
use table::Found;
pub(crate) use table::Kept;

/// Leases that share a connection, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its name within its session.
    pub name: Arc<str>,
    /// How long its connection may be idle before it is closed, if that is less than
    /// [`Limits::kept_idle_time`](crate::Limits::kept_idle_time).
    pub idle_time: Option<Duration>,
    /// Whether the line outlives its connection: the next lease is told of the loss
    /// ([`LeaseError::Lost`]), and the one after it begins the line anew. Otherwise the line ends
    /// with its connection, as if it had never been. A line that outlives its connection also ends
    /// when it has had none for [`Limits::kept_idle_time`](crate::Limits::kept_idle_time), unless
    /// it is tied ([`Session::tie`]).
    pub goes_on: bool,
}

/// How a line lost its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// It was idle for this long, which is as long as it may be.
    Idle(Duration),
    /// A lease was dropped half way, because its statement was cancelled or ran out of time; or
    /// PostgreSQL ended the connection.
    Broken,
    /// The session may have fewer connections than it had.
    Crowded,
    /// The pool of the connection was taken out of service.
    Outdated,
    /// The session ended that it was of, and another one took its place.
    Ended,
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
            Loss::Ended => out.write_str("what the token may do was changed"),
        }
    }
}

impl Session {
    /// Takes the connection of a line when its turn comes; gives `None` if none is kept.
    ///
    /// Dropping this future gives up the turn.
    ///
    /// # Errors
    /// See [`LeaseError`]: [`LeaseError::Turn`] when another lease of the line took too long, and
    /// [`LeaseError::Lost`] once after its connection was lost, be it to another database that the session
    /// may not use any more.
    ///
    /// # Panics
    /// As [`Session::lease`].
    pub async fn kept(&self, line: &Line, database: &str) -> Result<Option<Lease>, LeaseError> {
        let state = self.state();
        let key = (line.name.clone(), database.into());
        if self.is_closed() {
            return Err(LeaseError::Closed);
        }
        self.tell_of_withdrawn(line)?;
        let Some(slot) = state.kept.find(&key) else {
            return Ok(None);
        };
        let Some(turn) = self.turn(&slot).await? else {
            return Ok(None);
        };
        let spot = Spot::new(&state.kept, key, slot.number, turn);
        match spot.take(Instant::now()) {
            Ok(taken) => Ok(taken.ok()),
            Err(LeaseError::NotKept) => Ok(None),
            Err(lost) => Err(lost),
        }
    }

    /// Takes the connection of a line. If there is none, opens one, which is kept if the lease asks
    /// for that ([`Lease::stay`]).
    ///
    /// # Errors
    /// As [`Session::kept`]; [`LeaseError::KeptLimit`] or [`LeaseError::KeptFull`] when no more
    /// connections may be kept, and [`LeaseError::Pooled`] when none can be.
    ///
    /// # Panics
    /// As [`Session::lease`].
    pub async fn keep(&self, line: &Line, database: &str) -> Result<Lease, LeaseError> {
        let state = self.state();
        let key = (line.name.clone(), database.into());
        self.tell_of_withdrawn(line)?;
        let spot = loop {
            let slot = state.kept.enter(line, &key, self.idle_time(line))?;
            // The line may have ended while this lease waited; then it begins anew.
            let Some(turn) = self.turn(&slot).await? else {
                continue;
            };
            let spot = Spot::new(&state.kept, key.clone(), slot.number, turn);
            match spot.take(Instant::now()) {
                Ok(Ok(lease)) => return Ok(lease),
                Ok(Err(free)) => break free,
                Err(LeaseError::NotKept) => {}
                Err(lost) => return Err(lost),
            }
        };
        self.begin(spot, database).await
    }

    /// Opens the connection of a line that has none.
    async fn begin(&self, spot: Spot, database: &str) -> Result<Lease, LeaseError> {
        let state = self.state();
        let mut occupied = Occupied {
            spot,
            share: None,
            stays: false,
        };
        let (stake, connections) = self.stake(database)?;
        let (all, same) = (state.limits.kept, connections.saturating_sub(1));
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
        let usual = self.state().limits.kept_idle_time;
        line.idle_time.map_or(usual, |own| own.min(usual))
    }

    /// Says whether a line has its connection, be it in use or not.
    #[must_use]
    pub fn keeps(&self, name: &str, database: &str) -> bool {
        let table = self.state().kept.lock();
        let slot = table.slots.get(&(name.into(), database.into()));
        slot.is_some_and(|slot| slot.held.is_counted())
    }

    /// Names the database on which a line of this name keeps its connection.
    #[must_use]
    pub fn kept_on(&self, name: &str) -> Option<Arc<str>> {
        let table = self.state().kept.lock();
        let (_, database) = table.slots.keys().find(|(known, _)| **known == *name)?;
        Some(database.clone())
    }

    /// Ends a line and closes its connection; one that is in use is closed when it is given back.
    /// Says whether there was one.
    pub fn let_go(&self, name: &str) -> bool {
        self.state().kept.let_go(name)
    }

    /// Says whether a line of this name has had a connection, and has not ended or been forgotten.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        let table = self.state().kept.lock();
        let mut slots = table.slots.iter();
        slots.any(|((known, _), slot)| **known == *name && slot.has_begun)
    }

    /// Gives a value whose end is a line's: when it is dropped, the line is let go. Until then the line is not forgotten,
    /// however long ago it lost its connection.
    #[must_use]
    pub fn tie(&self, name: impl Into<Arc<str>>) -> Tie {
        let name = name.into();
        self.state().kept.tie(&name);
        Tie {
            session: self.downgrade(),
            name,
        }
    }

    /// Tells, once, what a line has lost on a database that the session may not use any more: the lease that is asked
    /// for on another one may have been meant for what was there.
    fn tell_of_withdrawn(&self, line: &Line) -> Result<(), LeaseError> {
        let kept = &self.state().kept;
        let mut lost = kept.lost_on(&line.name).into_iter();
        let withdrawn = lost.find(|database| self.generation(database).is_err());
        let loss = withdrawn.and_then(|database| kept.take_loss(&(line.name.clone(), database)));
        loss.map_or(Ok(()), |loss| Err(LeaseError::Lost(loss)))
    }

    /// Waits for the turn of a lease; nothing, when the line has ended meanwhile.
    async fn turn(&self, slot: &Found) -> Result<Option<OwnedSemaphorePermit>, LeaseError> {
        if let Ok(turn) = slot.turn.clone().try_acquire_owned() {
            return Ok(Some(turn));
        }
        let _queued = self.state().enqueue()?;
        let waited = self.state().limits.wait;
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
    session: Weak<SessionState>,
    name: Arc<str>,
}

impl Tie {
    /// Says whether the session has ended, with the line and all that was in it, and `present` is another one. A later
    /// session of the same id knows nothing of the line, so that it falls to who has the tie to tell of the loss. Calls
    /// of the session that has ended are not told: their answers may reach nobody.
    #[must_use]
    pub fn is_over_for(&self, present: &Session) -> bool {
        let is_its_own = ptr::eq(self.session.as_ptr(), present.state());
        let state = self.session.upgrade();
        !is_its_own && state.is_none_or(|state| state.is_closed())
    }
}

impl fmt::Debug for Tie {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Tie").finish_non_exhaustive()
    }
}

impl Drop for Tie {
    fn drop(&mut self) {
        if let Some(state) = self.session.upgrade() {
            state.kept.untie(&self.name);
        }
    }
}
