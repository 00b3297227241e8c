//! How many connections one PostgreSQL server is asked for, by all sessions together.
//!
//! A connection has a [`Place`] for as long as it lives, and there are as many places as the budget
//! has. A caller that finds none free has an idle connection closed, the one whose pool has been
//! unused for longest, and waits for its place. When a busy connection is given back while others
//! wait, it is either kept for the next call of its own session or closed for another's, so that
//! sessions that want more than there is get equal shares:
//!
//! - within a pool, the first to come is the first to be served;
//! - a place that comes free goes to the pool that has waited longest among those without any
//!   connection, then to the one that has waited longest;
//! - a pool gives up a connection that it could use itself only to one that holds fewer, and not
//!   before it has had some use of it, for opening one costs more than most calls.
//!
//! So a caller that waits without a connection moves up with every call that ends, and a session
//! with many callers delays the others by one call at a time.
//!
//! A connection that is kept for a [`Line`](crate::Line) is not closed for others; at most half of
//! the places are for such connections.
//!
//! The lock of a budget is held for a few lines. A lease that finds an idle connection in its own
//! pool while nobody waits does not take it at all. No pool's own lock is taken while it is held:
//! closing a pool drops its connections under the pool's lock, and they give their places back to
//! the budget.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use deadpool::managed::{Object, WeakPool};
use tokio::sync::oneshot;

use crate::{
    BudgetCensus,
    connect::{Connection, Connector},
    seats::Seats,
};

/// How many connections may be opened before the server has said how many it accepts.
const PROVISIONAL: usize = 4;

/// How long a pool whose own callers still use a new connection may keep it while others wait: a
/// few times what opening one costs. A waiter waits longer by this much for each pool before it.
const TENURE: Duration = Duration::from_millis(20);

/// The places of one PostgreSQL server.
pub(crate) struct Budget {
    began: Instant,
    /// Whether the size was given, so that the server is not asked for it.
    is_fixed: bool,
    stakes: AtomicU64,
    /// How many wait for a place. Written under the lock.
    waiting: AtomicUsize,
    state: Mutex<State>,
}

struct State {
    /// How many places there are; `None` until the server was asked.
    size: Option<usize>,
    /// Whether the server may accept another number by now than it said.
    is_doubted: bool,
    is_being_asked: bool,
    taken: usize,
    /// How many of them are for connections that are kept, and so cannot be closed for others.
    kept: usize,
    /// The pools that hold a place or wait for one.
    holders: HashMap<u64, Holder>,
    /// The pools that wait, in turn.
    turns: VecDeque<u64>,
    waiters: u64,
}

struct Holder {
    stake: Arc<Stake>,
    places: usize,
    waiters: VecDeque<Waiter>,
}

struct Waiter {
    number: u64,
    to: oneshot::Sender<Grant>,
}

/// What a waiter gets.
pub(crate) enum Grant {
    /// The right to open a connection.
    Place(Place),
    /// A connection of its own pool that somebody has just given back.
    Connection(Box<Connection>),
}

/// One pool's part in a budget.
pub(crate) struct Stake {
    budget: Arc<Budget>,
    id: u64,
    pool: OnceLock<(WeakPool<Connector>, Arc<Seats>)>,
    /// When a connection was last given back, in microseconds since the budget was made.
    last_used: AtomicU64,
}

/// The right to ask the server how many connections it accepts. Dropped without an answer, it
/// passes to the next connection that is opened.
pub(crate) struct Question<'a>(&'a Budget);

impl Question<'_> {
    /// Sets the budget's size.
    pub(crate) fn answer(self, size: usize) {
        let mut state = self.0.lock();
        state.size = Some(size.max(1));
        state.is_doubted = false;
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_being_asked = false;
        self.0.serve(&mut state);
    }
}

/// The right to have one connection open; dropped when the connection is closed.
pub(crate) struct Place(Option<Arc<Stake>>);

/// The right to keep a connection from others; dropped when the connection is closed.
pub(crate) struct Share(Arc<Budget>);

impl Drop for Share {
    fn drop(&mut self) {
        self.0.lock().kept -= 1;
    }
}

impl Budget {
    /// A budget of `size` connections, or of as many as the server turns out to take.
    pub(crate) fn new(size: Option<usize>) -> Arc<Self> {
        Arc::new(Budget {
            began: Instant::now(),
            is_fixed: size.is_some(),
            stakes: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            state: Mutex::new(State {
                size: size.map(|size| size.max(1)),
                is_doubted: false,
                is_being_asked: false,
                taken: 0,
                kept: 0,
                holders: HashMap::new(),
                turns: VecDeque::new(),
                waiters: 0,
            }),
        })
    }

    /// Counts the places.
    pub(crate) fn census(&self) -> BudgetCensus {
        let state = self.lock();
        BudgetCensus {
            databases: Vec::new(),
            size: state.size,
            taken: state.taken,
            kept: state.kept,
            waiting: self.waiting.load(Ordering::Relaxed),
        }
    }

    /// Gives the question to the one caller that is to ask the server how many connections it accepts.
    pub(crate) fn question(&self) -> Option<Question<'_>> {
        let mut state = self.lock();
        if state.size.is_some() && !state.is_doubted || state.is_being_asked {
            return None;
        }
        state.is_being_asked = true;
        Some(Question(self))
    }

    /// Has the server asked again how many connections it accepts.
    pub(crate) fn doubt(&self) {
        self.lock().is_doubted = !self.is_fixed;
    }

    /// Closes the idle connection whose pool was not used for the longest time.
    pub(crate) fn reclaim(&self) {
        let mut idle: Vec<Arc<Stake>> = {
            let state = self.lock();
            let holders = state.holders.values().filter(|one| one.places > 0);
            holders.map(|holder| holder.stake.clone()).collect()
        };
        // Outside of the lock from here on, as closing a connection gives its place back. Somebody
        // may have taken the first one meanwhile.
        idle.retain(|stake| stake.has_idle());
        idle.sort_by_key(|stake| stake.last_used.load(Ordering::Relaxed));
        _ = idle.iter().find_map(|stake| stake.take_idle());
    }

    /// Closes all idle connections.
    fn close_idle(&self) {
        let stakes: Vec<Arc<Stake>> = {
            let state = self.lock();
            let holders = state.holders.values().filter(|one| one.places > 0);
            holders.map(|holder| holder.stake.clone()).collect()
        };
        // Outside of the lock: closing gives the place back.
        for stake in stakes {
            while stake.take_idle().is_some() {}
        }
    }

    fn is_awaited(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Hands out what places there are.
    fn serve(&self, state: &mut State) {
        while state.taken < state.size.unwrap_or(PROVISIONAL) {
            let Some((holder, waiter)) = state.next() else {
                break;
            };
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            holder.places += 1;
            let place = Place(Some(holder.stake.clone()));
            if let Err(Grant::Place(mut place)) = waiter.to.send(Grant::Place(place)) {
                // The waiter has just gone. The place is disarmed, as dropping it would take the
                // lock again.
                holder.places -= 1;
                place.0 = None;
            } else {
                state.taken += 1;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes the waiter out whose turn it is.
    fn next(&mut self) -> Option<(&mut Holder, Waiter)> {
        let has_none = |id: &u64| self.holders.get(id).is_some_and(|one| one.places == 0);
        let at = self.turns.iter().position(has_none).unwrap_or(0);
        let id = self.turns.remove(at)?;
        let holder = self.holders.get_mut(&id)?;
        let waiter = holder.waiters.pop_front()?;
        if !holder.waiters.is_empty() {
            self.turns.push_back(id);
        }
        Some((holder, waiter))
    }

    fn holder(&mut self, stake: &Arc<Stake>) -> &mut Holder {
        self.holders.entry(stake.id).or_insert_with(|| Holder {
            stake: stake.clone(),
            places: 0,
            waiters: VecDeque::new(),
        })
    }

    /// Forgets a pool that neither holds nor waits.
    fn tidy(&mut self, id: u64) {
        let Some(holder) = self.holders.get(&id) else {
            return;
        };
        if holder.waiters.is_empty() {
            self.turns.retain(|turn| *turn != id);
            if holder.places == 0 {
                self.holders.remove(&id);
            }
        }
    }
}

impl Stake {
    pub(crate) fn new(budget: &Arc<Budget>) -> Arc<Self> {
        Arc::new(Stake {
            budget: budget.clone(),
            id: budget.stakes.fetch_add(1, Ordering::Relaxed),
            pool: OnceLock::new(),
            last_used: AtomicU64::new(0),
        })
    }

    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Says which pool's it is, once.
    pub(crate) fn belongs_to(&self, pool: WeakPool<Connector>, seats: Arc<Seats>) {
        _ = self.pool.set((pool, seats));
    }

    /// Waits for a place, or for a connection that the pool has already.
    ///
    /// Dropping the future gives up the turn.
    pub(crate) async fn grant(self: &Arc<Self>) -> Option<Grant> {
        let (mut turn, granted) = match self.enter() {
            Ok(place) => return Some(Grant::Place(place)),
            Err(waiting) => waiting,
        };
        self.budget.reclaim();
        let grant = granted.await.ok();
        turn.is_over = grant.is_some();
        grant
    }

    fn enter(self: &Arc<Self>) -> Result<Place, (Turn<'_>, oneshot::Receiver<Grant>)> {
        let mut state = self.budget.lock();
        if state.turns.is_empty() && state.taken < state.size.unwrap_or(PROVISIONAL) {
            state.taken += 1;
            state.holder(self).places += 1;
            return Ok(Place(Some(self.clone())));
        }
        state.waiters += 1;
        let number = state.waiters;
        let (to, granted) = oneshot::channel();
        let holder = state.holder(self);
        holder.waiters.push_back(Waiter { number, to });
        if holder.waiters.len() == 1 {
            state.turns.push_back(self.id);
        }
        self.budget.waiting.fetch_add(1, Ordering::SeqCst);
        let turn = Turn {
            stake: self,
            number,
            is_over: false,
        };
        Err((turn, granted))
    }

    /// Takes the right to keep a connection, unless half of all are kept.
    pub(crate) fn share(&self) -> Option<Share> {
        let mut state = self.budget.lock();
        if state.kept >= state.size.unwrap_or(PROVISIONAL) / 2 {
            return None;
        }
        state.kept += 1;
        Some(Share(self.budget.clone()))
    }

    /// Puts a connection back into its pool, or gives it up when others wait for its place.
    pub(crate) fn give_back(self: &Arc<Self>, object: Object<Connector>) {
        let now = self.budget.began.elapsed().as_micros();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        self.last_used.store(now, Ordering::Relaxed);
        // A caller that begins to wait meanwhile did not see this connection among the idle ones,
        // and one that waited in its own pool when that was decided may have left before the
        // connection came.
        let _watch = self.watch();
        if !self.budget.is_awaited() {
            drop(object);
            return;
        }
        let unwanted = self.settle(object);
        // Outside of the lock, which is taken when its place comes free.
        drop(unwanted);
    }

    /// Watches a lease being taken or given back. Either may leave a connection idle in the pool,
    /// for example when the caller it was given back for has just gone; whoever waits for a place
    /// must not miss that.
    pub(crate) fn watch(&self) -> impl Drop + '_ {
        Watch(self)
    }

    /// Gives a connection to whoever needs it most. What it answers is to be dropped.
    fn settle(&self, object: Object<Connector>) -> Unwanted {
        match self.decide(object.opened.elapsed() >= TENURE) {
            Fate::Kept => Unwanted::ByOthers(object),
            Fate::Closed => Unwanted::ByAll(Object::take(object)),
            Fate::HandedOver => self.hand_over(Object::take(object)),
        }
    }

    /// Decides who needs a connection most; `is_paid_off` is one that was used for long enough.
    fn decide(&self, is_paid_off: bool) -> Fate {
        let mut state = self.budget.lock();
        let Some(holder) = state.holders.get(&self.id) else {
            return Fate::Closed;
        };
        let own = holder.places;
        let (waits_for_a_place, waits_for_a_connection) =
            (!holder.waiters.is_empty(), self.is_awaited());
        let is_poorer = |id: &u64| {
            let other = state.holders.get(id);
            *id != self.id && other.is_some_and(|other| other.places < own)
        };
        let may_keep = waits_for_a_place || waits_for_a_connection;
        if !may_keep || (is_paid_off && state.turns.iter().any(is_poorer)) {
            if waits_for_a_place {
                state.turns.retain(|turn| *turn != self.id);
                state.turns.push_back(self.id);
            }
            return Fate::Closed;
        }
        if waits_for_a_place {
            return Fate::HandedOver;
        }
        Fate::Kept
    }

    /// Hands a connection to the pool's own first waiter for a place, if there still is one.
    fn hand_over(&self, mut connection: Box<Connection>) -> Unwanted {
        let mut state = self.budget.lock();
        state.turns.retain(|turn| *turn != self.id);
        let Some(holder) = state.holders.get_mut(&self.id) else {
            return Unwanted::ByAll(connection);
        };
        while let Some(waiter) = holder.waiters.pop_front() {
            self.budget.waiting.fetch_sub(1, Ordering::SeqCst);
            match waiter.to.send(Grant::Connection(connection)) {
                Err(Grant::Connection(back)) => connection = back,
                _ => {
                    if !holder.waiters.is_empty() {
                        state.turns.push_back(self.id);
                    }
                    return Unwanted::Taken;
                }
            }
        }
        Unwanted::ByAll(connection)
    }

    fn pool(&self) -> Option<deadpool::managed::Pool<Connector>> {
        let (pool, _) = self.pool.get()?;
        pool.upgrade()
    }

    /// Counts those who want one of the pool's own connections.
    fn arriving(&self) -> usize {
        self.pool.get().map_or(0, |(_, seats)| seats.arriving())
    }

    /// Says whether there is an idle connection that nobody is about to take.
    fn has_idle(&self) -> bool {
        let available = self.pool().map_or(0, |pool| pool.status().available);
        available > self.arriving()
    }

    /// Says whether somebody waits for one of the pool's own connections.
    fn is_awaited(&self) -> bool {
        self.arriving() > 0
    }

    /// Takes an idle connection out of the pool.
    pub(crate) fn take_idle(&self) -> Option<Box<Connection>> {
        let mut is_taken = false;
        let taken = self
            .pool()?
            .retain(|_, _| std::mem::replace(&mut is_taken, true));
        taken.removed.into_iter().next()
    }
}

/// Who is to have a connection that was given back.
enum Fate {
    /// Its own pool.
    Kept,
    /// Nobody.
    Closed,
    /// Who waits for a place of its own pool.
    HandedOver,
}

/// What becomes of a connection that was given back.
#[allow(dead_code)] // the values are there to be dropped
enum Unwanted {
    /// It goes into its pool.
    ByOthers(Object<Connector>),
    /// It is closed.
    ByAll(Box<Connection>),
    /// Somebody has it.
    Taken,
}

struct Watch<'a>(&'a Stake);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let budget = &self.0.budget;
        if budget.is_awaited() && self.0.has_idle() {
            budget.reclaim();
        }
    }
}

/// A turn in the queue; leaving gives it up.
struct Turn<'a> {
    stake: &'a Arc<Stake>,
    number: u64,
    is_over: bool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let budget = &self.stake.budget;
        let mut state = budget.lock();
        let waiters = &mut state.holder(self.stake).waiters;
        let before = waiters.len();
        waiters.retain(|waiter| waiter.number != self.number);
        budget
            .waiting
            .fetch_sub(before - waiters.len(), Ordering::SeqCst);
        state.tidy(self.stake.id);
    }
}

impl Place {
    /// Closes all idle connections to its server.
    pub(crate) fn close_idle(&self) {
        if let Some(stake) = &self.0 {
            stake.budget.close_idle();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(stake) = self.0.take() else {
            return;
        };
        let budget = &stake.budget;
        let mut state = budget.lock();
        state.taken -= 1;
        state.holder(&stake).places -= 1;
        budget.serve(&mut state);
        state.tidy(stake.id);
    }
}
