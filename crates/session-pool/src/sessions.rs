//! All sessions, by id.

use std::{
    hash::RandomState,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak, atomic::Ordering},
    time::{Duration, SystemTime},
};

use foldhash::HashMap;
use tokio::{sync::Notify, time::MissedTickBehavior};

use crate::{
    Census, Database, End, Limits, Session, Terms,
    cancel::Cancels,
    census::{self, Counting},
    deadline::Deadlines,
    directory::{Budgets, Directory},
    end::Ends,
    session::Outgoing,
};

/// How often we look at the wall clock, which may be set while we wait for a deadline; idle
/// connections are looked for at the same time.
const TICK: Duration = Duration::from_secs(1);

/// A wall clock.
type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// All sessions; clones share them.
///
/// A task ends sessions at their deadlines; it runs on the runtime on which [`Sessions::new`] was
/// called. No session outlives that task: when the last clone is dropped, or that runtime ends, all
/// sessions end as by [`Sessions::close_all`], even if somebody still has a handle on one. After
/// the end of the runtime no session can be opened: [`Sessions::open`] gives closed ones.
#[derive(Clone)]
pub struct Sessions {
    inner: Arc<Inner>,
}

/// What all sessions have in common.
pub(crate) struct Inner {
    pub(crate) limits: Limits,
    clock: Clock,
    /// The key of the hash that names prepared statements: on all connections a name means the same
    /// text.
    pub(crate) names: RandomState,
    pub(crate) cancels: Cancels,
    pub(crate) ends: Ends,
    /// Held for a few lines, never while waiting. Looking up an unchanged session only reads, so
    /// that look-ups do not wait for each other.
    table: RwLock<Table>,
    /// Wakes the keeper when an earlier deadline has come in.
    earlier: Arc<Notify>,
}

struct Table {
    /// The same for all sessions in `open`.
    directory: Arc<Directory>,
    budgets: Budgets,
    open: HashMap<String, Entry>,
    deadlines: Deadlines,
    /// Whether nobody watches deadlines any more.
    is_over: bool,
}

struct Entry {
    session: Session,
    deadline: Option<SystemTime>,
    terms: Terms,
}

impl Table {
    /// Finds the session of an id, if its deadline and terms are these already.
    fn find(&self, id: &str, deadline: Option<SystemTime>, terms: &Terms) -> Option<Session> {
        let entry = self.open.get(id)?;
        let is_the_same = entry.deadline == deadline && entry.terms == *terms;
        is_the_same.then(|| entry.session.clone())
    }

    /// Puts terms in force on the session of an id. A session with another login is taken out, to
    /// be ended.
    fn adapt(&mut self, id: &str, terms: &Terms) -> (Option<Entry>, Option<Outgoing>) {
        let Some(entry) = self.open.get_mut(id).filter(|entry| entry.terms != *terms) else {
            return (None, None);
        };
        entry.terms.clone_from(terms);
        match entry.session.adapt(terms) {
            None => (self.take(id), None),
            outgoing => (None, outgoing),
        }
    }

    /// Gives the session of an id, or a new one without a deadline.
    fn enter(&mut self, id: &str, terms: &Terms, common: &Inner) -> Session {
        if let Some(entry) = self.open.get(id) {
            return entry.session.clone();
        }
        let entry = Entry {
            session: Session::new(id, terms, self.directory.clone(), common),
            deadline: None,
            terms: terms.clone(),
        };
        let session = entry.session.clone();
        self.open.insert(id.to_owned(), entry);
        session
    }

    /// Moves the deadline of an id's session, if it has one; says whether it is now the earliest of all.
    fn shift(&mut self, id: &str, deadline: Option<SystemTime>) -> bool {
        let Some(entry) = self
            .open
            .get_mut(id)
            .filter(|entry| entry.deadline != deadline)
        else {
            return false;
        };
        let before = std::mem::replace(&mut entry.deadline, deadline);
        self.deadlines.shift(id, before, deadline)
    }

    /// Takes the session of an id out, with its deadline.
    fn take(&mut self, id: &str) -> Option<Entry> {
        let entry = self.open.remove(id)?;
        self.deadlines.shift(id, entry.deadline, None);
        Some(entry)
    }

    /// Takes a session out whose deadline has come, if one has.
    fn take_due(&mut self, now: SystemTime) -> Option<(String, Entry)> {
        let id = self.deadlines.due(now)?.to_owned();
        let entry = self.take(&id)?;
        Some((id, entry))
    }

    /// Takes the session of an id out, if nobody uses it.
    fn take_unused(&mut self, id: &str) -> Option<Entry> {
        let is_unused = self.open.get(id)?.session.is_unused();
        is_unused.then(|| self.take(id))?
    }
}

impl Sessions {
    /// Starts without any session. Of databases of the same name there is only the first.
    ///
    /// # Panics
    /// Outside of a tokio runtime, or in one without its time driver (`enable_time`).
    pub fn new(databases: impl IntoIterator<Item = Database>, limits: Limits) -> Self {
        Self::with_clock(databases, limits, SystemTime::now)
    }

    /// Starts with the caller's own clock. If it panics, the system's clock is used instead.
    ///
    /// # Panics
    /// As [`Sessions::new`].
    pub fn with_clock(
        databases: impl IntoIterator<Item = Database>,
        limits: Limits,
        clock: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) -> Self {
        let mut budgets = Budgets::new(limits.max_connections_total);
        let inner = Arc::new(Inner {
            table: RwLock::new(Table {
                directory: Arc::new(Directory::new(databases, &mut budgets)),
                budgets,
                open: HashMap::default(),
                deadlines: Deadlines::default(),
                is_over: false,
            }),
            limits,
            clock: Arc::new(clock),
            names: RandomState::new(),
            cancels: Cancels::default(),
            ends: Ends::default(),
            earlier: Arc::default(),
        });
        let keeper = Keeper(Arc::downgrade(&inner));
        tokio::spawn(keeper.keep(inner.earlier.clone()));
        Sessions { inner }
    }

    /// Has `told` called when something of a session ends that nobody has closed or let go: once
    /// for each end, with the session's id, when its leases are refused and its connections are
    /// being closed. It must not wait. If it panics, that is logged, and it is called for the next
    /// end all the same. Only the first callback that is given is ever called.
    pub fn tell_ends(&self, told: impl Fn(&str, End<'_>) + Send + Sync + 'static) {
        self.inner.ends.are_told_to(told);
    }

    /// Gives the session of an id, or a new one.
    ///
    /// The session is closed at `deadline`. If that has passed already, the session that exists is
    /// ended, and a closed one is returned. A later call with another deadline moves it. This costs
    /// a look-up only; [`Session::lease`] opens the connections.
    pub fn open(&self, id: &str, deadline: Option<SystemTime>) -> Session {
        self.open_on(id, deadline, &Terms::default())
    }

    /// Gives the session of an id as [`Sessions::open`] does, on terms of its own.
    ///
    /// If the session exists with other terms, a new number of connections is in force at once, and
    /// so are other databases: what runs on one that is no longer among them is cancelled. A new
    /// login ends the session, and another one begins.
    pub fn open_on(&self, id: &str, deadline: Option<SystemTime>, terms: &Terms) -> Session {
        let found = self.inner.read().find(id, deadline, terms);
        if let Some(session) = found {
            return session;
        }
        if self.inner.is_over(deadline) {
            // Somebody who was admitted just before the deadline must not open anything after it.
            let session = self.inner.end_at_deadline(id);
            return session.unwrap_or_else(|| self.inner.ended(id, terms));
        }
        let mut table = self.inner.lock();
        if table.is_over {
            drop(table);
            return self.inner.ended(id, terms);
        }
        let (former, outgoing) = table.adapt(id, terms);
        let session = table.enter(id, terms, &self.inner);
        let is_earliest = table.shift(id, deadline);
        drop(table);
        drop(outgoing);
        if let Some(Entry { session, .. }) = former {
            session.end();
            self.inner.ends.tell(id, End::Login);
        }
        if is_earliest {
            self.inner.earlier.notify_one();
        }
        session
    }

    /// Moves the deadline of an id's session, if it has one.
    pub fn move_deadline(&self, id: &str, deadline: Option<SystemTime>) {
        if self.inner.is_over(deadline) {
            self.inner.end_at_deadline(id);
        } else if self.inner.lock().shift(id, deadline) {
            self.inner.earlier.notify_one();
        }
    }

    /// Restricts an id's session, if it has one, to these databases: its statements on others are
    /// cancelled and its connections to them closed. Everything else goes on.
    pub fn confine(&self, id: &str, databases: Arc<[Arc<str>]>) {
        // Dropped after the lock was given back.
        let _outgoing;
        let mut table = self.inner.lock();
        if let Some(entry) = table.open.get_mut(id) {
            entry.terms.databases = Some(databases);
            _outgoing = entry.session.adapt(&entry.terms);
        }
    }

    /// Replaces the databases that sessions may use.
    ///
    /// When this returns, no call begins on an earlier database. A database with the same name and
    /// the same [`generation`](Database::generation) is the same, and its connections stay. One
    /// with another generation gets new connections: idle old ones are closed at once, busy ones
    /// when they are given back, and callers that wait for one wait for a new one instead. What
    /// runs on a database that is no longer named is cancelled. Servers keep their budgets. Of
    /// several databases with the same name only the first counts.
    pub fn replace(&self, databases: impl IntoIterator<Item = Database>) {
        // Dropped after the lock was given back.
        let _outgoing: Vec<Outgoing>;
        let mut table = self.inner.lock();
        let Table {
            directory,
            budgets,
            open,
            ..
        } = &mut *table;
        *directory = Arc::new(directory.replaced_by(databases, budgets));
        _outgoing = open
            .values()
            .map(|entry| entry.session.adopt(directory))
            .collect();
    }

    /// Closes the session of an id, if it has one: refuses its handles from now on, cancels its
    /// statements and closes its connections. Says whether there was one.
    pub fn close(&self, id: &str) -> bool {
        let entry = self.inner.lock().take(id);
        let Some(Entry { session, .. }) = entry else {
            return false;
        };
        session.end();
        true
    }

    /// Closes all sessions.
    pub fn close_all(&self) {
        self.inner.close_all(false);
    }

    /// Closes all sessions and waits until their statements have been cancelled, about a second at
    /// most. Call it before the runtime ends.
    pub async fn finish(&self) {
        self.close_all();
        self.inner.cancels.tasks.close();
        self.inner.cancels.tasks.wait().await;
    }

    /// Counts sessions, connections and budgets. It holds no lock for longer than a look-up does.
    #[must_use]
    pub fn census(&self) -> Census {
        let table = self.inner.read();
        let sessions: Vec<Session> = table
            .open
            .values()
            .map(|entry| entry.session.clone())
            .collect();
        let directory = table.directory.clone();
        drop(table);
        let mut counting = Counting::new();
        let waiting = sessions
            .iter()
            .map(|session| session.count(&mut counting))
            .sum();
        Census {
            sessions: sessions.len(),
            waiting,
            cancels: self.inner.cancels.count.load(Ordering::Relaxed),
            databases: census::in_order(counting, &directory.names),
            budgets: directory.budgets(),
        }
    }

    /// Names the databases that sessions may use now, in the order given.
    #[must_use]
    pub fn databases(&self) -> Arc<[Arc<str>]> {
        self.inner.read().directory.names.clone()
    }
}

/// Watches the deadlines. When it is dropped, as with its runtime, all sessions end.
struct Keeper(Weak<Inner>);

impl Keeper {
    /// Ends sessions at their deadlines and closes idle connections, until all handles are gone.
    async fn keep(self, earlier: Arc<Notify>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let Some(strong) = self.0.upgrade() else {
                return;
            };
            strong.end_due();
            let pause = strong.until_next();
            drop(strong);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = earlier.notified() => {}
                _ = tick.tick() => {
                    if let Some(strong) = self.0.upgrade() {
                        strong.close_idle();
                    }
                }
            }
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(inner) = self.0.upgrade() {
            inner.close_all(true);
        }
    }
}

impl Inner {
    /// Says whether a deadline has come.
    fn is_over(&self, deadline: Option<SystemTime>) -> bool {
        deadline.is_some_and(|at| at <= self.now())
    }

    fn now(&self) -> SystemTime {
        catch_unwind(AssertUnwindSafe(|| (self.clock)())).unwrap_or_else(|_| {
            tracing::error!("the clock of Sessions::with_clock panicked; the system's stands in");
            SystemTime::now()
        })
    }

    /// Closes all sessions; for good, if there are to be no others.
    fn close_all(&self, for_good: bool) {
        let mut table = self.lock();
        table.is_over |= for_good;
        table.deadlines = Deadlines::default();
        let entries: Vec<Entry> = table.open.drain().map(|(_, entry)| entry).collect();
        drop(table);
        for Entry { session, .. } in entries {
            session.end();
        }
    }

    /// Makes a session that has ended.
    fn ended(&self, id: &str, terms: &Terms) -> Session {
        let session = Session::new(id, terms, self.read().directory.clone(), self);
        session.end();
        session
    }

    /// Ends the session of an id, if it has one, because its deadline has come.
    fn end_at_deadline(&self, id: &str) -> Option<Session> {
        let Entry { session, .. } = self.lock().take(id)?;
        session.end();
        self.ends.tell(id, End::Deadline);
        Some(session)
    }

    fn end_due(&self) {
        let now = self.now();
        let due = || self.lock().take_due(now);
        while let Some((id, Entry { session, .. })) = due() {
            session.end();
            self.ends.tell(&id, End::Deadline);
        }
    }

    /// Waits for the next deadline, but never longer than a tick.
    fn until_next(&self) -> Duration {
        let earliest = self.read().deadlines.earliest();
        earliest
            .map(|at| at.duration_since(self.now()).unwrap_or_default())
            .map_or(TICK, |left| left.min(TICK))
    }

    fn close_idle(&self) {
        let sessions: Vec<Session> = self
            .read()
            .open
            .values()
            .map(|entry| entry.session.clone())
            .collect();
        for session in sessions {
            session.close_idle();
        }
        let unused: Vec<String> = self
            .read()
            .open
            .iter()
            .filter(|(_, entry)| entry.session.is_unused())
            .map(|(id, _)| id.clone())
            .collect();
        // One by one, each looked at again, because requests go on in between.
        for id in unused {
            let taken = self.lock().take_unused(&id);
            drop(taken);
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close_all(true);
        self.earlier.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_deadline_goes_with_its_session() {
        let sessions = Sessions::new([], Limits::default());
        let later = |seconds| Some(SystemTime::now() + Duration::from_secs(seconds));
        let deadlines = || sessions.inner.read().deadlines.len();
        for count in 0..100 {
            drop(sessions.open("unused", later(3_600 + count)));
            assert_eq!(deadlines(), 1, "moved");
            sessions.inner.close_idle();
            assert_eq!(deadlines(), 0, "taken out");
        }
        let other = Terms {
            login: Some(Arc::new(crate::Login {
                user: "other".into(),
                password: None,
            })),
            ..Terms::default()
        };
        for end in [
            (|sessions: &Sessions, _: &Terms| _ = sessions.close("x")) as fn(&Sessions, &Terms),
            |sessions, _| sessions.close_all(),
            |sessions, _| sessions.move_deadline("x", None),
            |sessions, _| sessions.move_deadline("x", Some(SystemTime::UNIX_EPOCH)),
            |sessions, other| _ = sessions.open_on("x", None, other),
        ] {
            let _session = sessions.open("x", later(3_600));
            end(&sessions, &other);
            assert_eq!(deadlines(), 0, "ended");
        }
    }
}
