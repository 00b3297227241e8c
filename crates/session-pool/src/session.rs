//! One id's own connections.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use deadpool::{
    Runtime,
    managed::{self, Object, PoolConfig, TimeoutType, Timeouts},
};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};
use tokio_postgres::{Config, config::LoadBalanceHosts};

use crate::{
    Database, Lease, LeaseError, Limits, Login, Terms,
    budget::Stake,
    cancel::{Canceller, Cancels},
    census::{self, Counting},
    connect::{ConnectError, Connector, Host, PATIENCE},
    directory::{Configured, Directory},
    hosts::socket_path,
    kept::Kept,
    reachability::Reachability,
    seats::{Seat, Seats},
    sessions::Inner,
    wire::Wire,
};

type Pool = managed::Pool<Connector>;
type PoolError = managed::PoolError<ConnectError>;

/// A handle on one id's connections; clones are the same session.
///
/// Opened with [`Sessions::open`](crate::Sessions::open). Dropping it closes nothing: idle
/// connections are closed when their time is over. [`Sessions`](crate::Sessions) closes it, at its
/// deadline, on command, and when the last clone of `Sessions` is dropped.
#[derive(Clone)]
pub struct Session(Arc<SessionState>);

pub(crate) struct SessionState {
    id: String,
    pub(crate) limits: Limits,
    /// The connections that are kept for certain leases.
    pub(crate) kept: Arc<Kept>,
    /// The key of the names of prepared statements.
    names: RandomState,
    cancels: Cancels,
    login: Option<Arc<Login>>,
    /// Connections to each database at most. Whoever makes a pool reads it under the lock of `pools`.
    connections: AtomicUsize,
    /// Whether the session has ended; also notified when pools are taken out of service.
    ended: watch::Sender<bool>,
    waiting: AtomicUsize,
    /// Held for a look-up or a change, never while waiting.
    pools: Mutex<Pools>,
}

/// The databases that the session may use, and its pools on those that it has used.
struct Pools {
    directory: Arc<Directory>,
    /// The only databases of these that the session may use.
    allowed: Option<Arc<[Arc<str>]>>,
    serving: Vec<Arc<DatabasePool>>,
    retired: Vec<Retired>,
    has_ended: bool,
}

struct DatabasePool {
    configured: Arc<Configured>,
    pool: Pool,
    seats: Arc<Seats>,
    stake: Arc<Stake>,
    /// Whether what runs on it is to be cancelled.
    is_cut: Arc<AtomicBool>,
}

impl DatabasePool {
    /// Takes a connection; before that a seat, unless there is one already, if one comes free in time.
    async fn get(
        &self,
        seat: Option<Seat>,
        until: Instant,
    ) -> Result<(Object<Connector>, Seat), PoolError> {
        let seat = match seat {
            Some(seat) => seat,
            None => timeout_at(until, self.seats.take())
                .await
                .map_err(|_| PoolError::Timeout(TimeoutType::Wait))?,
        };
        Ok((self.pool.get().await?, seat))
    }

    /// Closes connections that have been idle for too long, as long as more than `most` are open.
    fn close_idle(&self, most: usize, is_too_long: impl Fn(Duration) -> bool) {
        let mut left = self.pool.status().size;
        self.pool.retain(|_, metrics| {
            let keep = left <= most || !is_too_long(metrics.last_used());
            left -= usize::from(!keep);
            keep
        });
    }
}

/// A pool that serves nobody any more. What still runs on its connections may run to its end.
struct Retired {
    database: String,
    is_cut: Arc<AtomicBool>,
    /// Each of its connections holds it.
    stake: Weak<Stake>,
}

impl Retired {
    fn is_in_use(&self) -> bool {
        self.stake.strong_count() > 0
    }
}

impl Pools {
    /// Finds a database that the session may use.
    fn find(&self, database: &str) -> Result<&Arc<Configured>, LeaseError> {
        let known = self.directory.find(database);
        let known = known.ok_or_else(|| LeaseError::UnknownDatabase(database.to_owned()))?;
        if self.has_ended {
            return Err(LeaseError::Closed);
        }
        match &self.allowed {
            Some(allowed) if !allowed.iter().any(|name| **name == *database) => {
                Err(LeaseError::Withdrawn(database.to_owned()))
            }
            _ => Ok(known),
        }
    }

    /// Takes out of service the pools whose databases are no longer the same. Pools on databases
    /// that the session may no longer use at all are cut off.
    fn sort_out(&mut self) -> Vec<Arc<DatabasePool>> {
        let stays = |pool: &Arc<DatabasePool>| {
            let now = self.find(&pool.configured.database.name);
            now.is_ok_and(|now| Arc::ptr_eq(now, &pool.configured))
        };
        let (serving, outgoing) = self.serving.iter().cloned().partition(stays);
        self.serving = serving;
        self.tidy();
        self.retired
            .extend(outgoing.iter().map(|pool: &Arc<DatabasePool>| Retired {
                database: pool.configured.database.name.clone(),
                is_cut: pool.is_cut.clone(),
                stake: Arc::downgrade(&pool.stake),
            }));
        for retired in &self.retired {
            if self.find(&retired.database).is_err() {
                retired.is_cut.store(true, Ordering::Release);
            }
        }
        outgoing
    }

    /// Forgets the pools that have no connection left.
    fn tidy(&mut self) {
        self.retired.retain(Retired::is_in_use);
    }
}

/// Pools that were taken out of service, and pools that may have fewer connections now. Dropping
/// this closes what is too many; do not drop it while holding a lock.
pub(crate) struct Outgoing {
    session: Session,
    pools: Vec<Arc<DatabasePool>>,
    /// Pools that stay, and may have more connections than they are allowed now.
    resized: Vec<Arc<DatabasePool>>,
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        for pool in self.resized.drain(..) {
            let most = pool.seats.most();
            let database = &pool.configured.database.name;
            let kept = &self.session.0.kept;
            kept.shrink(database, most.saturating_sub(1));
            pool.close_idle(most, |_| true);
        }
        // Idle connections close here; what is still open when the signal comes is busy.
        for pool in self.pools.drain(..) {
            pool.pool.close();
        }
        self.session.0.kept.expire(Instant::now());
        self.session.0.ended.send_modify(|_| {});
    }
}

/// How a connection learns of the end of its session, or of the session's use of its database.
#[derive(Clone)]
pub(crate) struct Ending {
    session: watch::Receiver<bool>,
    is_cut: Arc<AtomicBool>,
}

impl Ending {
    /// Waits for the end.
    pub(crate) async fn ended(mut self) {
        let is_cut = || self.is_cut.load(Ordering::Acquire);
        // An error means that the session itself has gone, which is an end too.
        _ = self.session.wait_for(|ended| *ended || is_cut()).await;
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Session")
            .field("id", &self.0.id)
            .field("closed", &self.is_closed())
            .finish()
    }
}

impl Session {
    pub(crate) fn new(id: &str, terms: &Terms, directory: Arc<Directory>, common: &Inner) -> Self {
        Session(Arc::new(SessionState {
            id: id.to_owned(),
            limits: common.limits,
            kept: Arc::new(Kept::new(
                id,
                common.ends.clone(),
                common.limits.kept_idle_time,
            )),
            names: common.names.clone(),
            cancels: common.cancels.clone(),
            login: terms.login.clone(),
            connections: AtomicUsize::new(most(terms)),
            ended: watch::Sender::new(false),
            waiting: AtomicUsize::new(0),
            pools: Mutex::new(Pools {
                directory,
                allowed: terms.databases.clone(),
                serving: Vec::new(),
                retired: Vec::new(),
                has_ended: false,
            }),
        }))
    }

    /// Gives the session's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// Says whether the session has lost its rights.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Waits until the session loses its rights.
    pub async fn closed(&self) {
        // An error would mean that the session is gone, which cannot be while there is a handle.
        _ = self.0.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Names the databases that the session may use now, in their order.
    #[must_use]
    pub fn databases(&self) -> Arc<[Arc<str>]> {
        let pools = self.0.lock();
        pools
            .allowed
            .as_ref()
            .unwrap_or(&pools.directory.names)
            .clone()
    }

    /// Gives the [`generation`](Database::generation) of the description by which a database is
    /// reached now.
    ///
    /// # Errors
    /// The session may not use it, or there is none of that name.
    pub fn generation(&self, database: &str) -> Result<u64, LeaseError> {
        let pools = self.0.lock();
        Ok(pools.find(database)?.database.generation)
    }

    /// Takes a connection to a database for one exchange.
    ///
    /// Waits for [`Limits::wait`] at most until a connection is free or may be opened. Opening one
    /// takes [`Database::connect_timeout`] at most for each host of the database, twice that for
    /// [`TargetSession::PreferStandby`](crate::TargetSession::PreferStandby). If the database is
    /// replaced meanwhile, all of this begins anew.
    ///
    /// Dropping this future gives up the place in the queue; a connection that was being opened is
    /// closed.
    ///
    /// # Errors
    /// See [`LeaseError`].
    ///
    /// # Panics
    /// Outside of a tokio runtime, or in one without its IO and time drivers (`enable_all`).
    pub async fn lease(&self, database: &str) -> Result<Lease, LeaseError> {
        loop {
            let from = self.pool(database)?;
            if let Some(lease) = self.take(&from).await? {
                return Ok(lease);
            }
        }
    }

    /// Takes a connection of a pool; gives `None` if the pool is taken out of service meanwhile.
    async fn take(&self, from: &DatabasePool) -> Result<Option<Lease>, LeaseError> {
        let DatabasePool {
            configured,
            pool,
            seats,
            stake,
            ..
        } = from;
        let _arrival = seats.arrive();
        let seat = seats.try_take();
        let _queued = match seat {
            Some(_) => None,
            None => Some(self.0.enqueue()?),
        };
        let _watch = stake.watch();
        let begun = Instant::now();
        let until = after(begun, self.0.limits.wait);
        tokio::select! {
            biased;
            () = self.out_of_service(pool) => Ok(None),
            taken = PATIENCE.scope(until, from.get(seat, until)) => match taken {
                // Whatever the result is: the connection may have been cut while it was being opened.
                _ if pool.is_closed() => Ok(None),
                Ok((object, seat)) => {
                    let generation = configured.database.generation;
                    Ok(Some(Lease::new(object, seat, stake.clone(), generation)))
                }
                Err(error) => Err(refusal(&configured.database, error, begun.elapsed())),
            }
        }
    }

    /// Waits until a pool serves nobody any more.
    async fn out_of_service(&self, pool: &Pool) {
        let mut ended = self.0.ended.subscribe();
        _ = ended.wait_for(|ended| *ended || pool.is_closed()).await;
    }

    fn pool(&self, database: &str) -> Result<Arc<DatabasePool>, LeaseError> {
        let mut pools = self.0.lock();
        // Serving pools are only on databases that the session may use.
        let of_database = |pool: &&Arc<DatabasePool>| pool.configured.database.name == database;
        if let Some(pool) = pools.serving.iter().find(of_database) {
            return Ok(pool.clone());
        }
        // Under the lock, so that closing cannot miss a pool that is just being made.
        let configured = pools.find(database)?.clone();
        let pool = Arc::new(self.build(configured)?);
        pools.serving.push(pool.clone());
        Ok(pool)
    }

    fn build(&self, configured: Arc<Configured>) -> Result<DatabasePool, LeaseError> {
        let database = &configured.database;
        let is_cut = Arc::<AtomicBool>::default();
        let stake = Stake::new(&configured.budget);
        let pool = Pool::builder(self.connector(&configured, &stake, &is_cut))
            .config(PoolConfig {
                max_size: database.most_connections(),
                // A caller with a seat need not wait for the pool, and the connector has time limits of its own.
                timeouts: Timeouts::default(),
                ..PoolConfig::default()
            })
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|_| LeaseError::Closed)?;
        let seats = Seats::new(self.most_connections(database));
        stake.belongs_to(pool.weak(), seats.clone());
        Ok(DatabasePool {
            configured,
            pool,
            seats,
            stake,
            is_cut,
        })
    }

    fn connector(
        &self,
        configured: &Configured,
        stake: &Arc<Stake>,
        is_cut: &Arc<AtomicBool>,
    ) -> Connector {
        let database = &configured.database;
        let wire = Wire::new(database.tls.clone(), self.0.limits.exchange_bytes);
        Connector {
            hosts: self.hosts(configured, &wire),
            resolver: configured.resolver.clone(),
            target: database.target,
            connect_timeout: database.connect_timeout,
            stake: stake.clone(),
            wire,
            names: self.0.names.clone(),
            prepared_statements: self.0.limits.prepared_statements,
            ending: Ending {
                session: self.0.ended.subscribe(),
                is_cut: is_cut.clone(),
            },
            has_own_login: self.0.login.is_some(),
            reachability: match &self.0.login {
                None => configured.reachability.clone(),
                // Where a session logs in with its own role, a refusal says nothing about other sessions.
                Some(_) => Arc::new(Reachability::of(&format!(
                    "{} for {}",
                    database.name, self.0.id
                ))),
            },
        }
    }

    /// Describes the hosts of a database in the order in which they are tried.
    fn hosts(&self, configured: &Configured, wire: &Wire) -> Vec<Host> {
        let database = &configured.database;
        let host = |(number, mut config): (usize, Config)| {
            config.application_name(format!("mcp/{}", self.0.id));
            config.connect_timeout(database.connect_timeout);
            let socket = socket_path(&config).is_some();
            wire.route(&mut config, socket);
            let config = Arc::new(config);
            let cancels = self.0.cancels.clone();
            let resolver = configured.resolver.clone();
            let canceller = Canceller::new(config.clone(), resolver, wire.clone(), cancels);
            Host {
                number,
                config,
                canceller: Arc::new(canceller),
            }
        };
        let configs = database.configs_for(self.0.login.as_deref());
        let mut hosts: Vec<Host> = configs.into_iter().enumerate().map(host).collect();
        if database.config.get_load_balance_hosts() == LoadBalanceHosts::Random {
            let chance = RandomState::new();
            hosts.sort_by_cached_key(|host| chance.hash_one(host.number));
        }
        hosts
    }

    fn most_connections(&self, database: &Database) -> usize {
        let own = self.0.connections.load(Ordering::Acquire);
        database.most_connections().min(own)
    }

    /// Puts other terms in force, and gives the pools on databases that are not among them. Gives
    /// `None` if the terms have another login, which needs a new session. Connections beyond a
    /// lower number are closed when they are given back.
    pub(crate) fn adapt(&self, terms: &Terms) -> Option<Outgoing> {
        if self.0.login != terms.login {
            return None;
        }
        let mut pools = self.0.lock();
        pools.allowed.clone_from(&terms.databases);
        let outgoing = pools.sort_out();
        self.0.connections.store(most(terms), Ordering::Release);
        for pool in &pools.serving {
            let most = self.most_connections(&pool.configured.database);
            pool.seats.resize(most);
        }
        Some(Outgoing {
            session: self.clone(),
            pools: outgoing,
            resized: pools.serving.clone(),
        })
    }

    /// Puts other databases in the place of the earlier ones, and gives the pools on those.
    pub(crate) fn adopt(&self, directory: &Arc<Directory>) -> Outgoing {
        let mut pools = self.0.lock();
        pools.directory = directory.clone();
        Outgoing {
            session: self.clone(),
            pools: pools.sort_out(),
            resized: Vec::new(),
        }
    }

    /// Ends the session: refuses leases, closes idle connections, cancels and closes busy ones.
    pub(crate) fn end(&self) {
        // Told at the end; but whoever gets an error from what follows is to find the reason.
        self.0.ended.send_if_modified(|ended| {
            *ended = true;
            false
        });
        let serving = {
            let mut pools = self.0.lock();
            pools.has_ended = true;
            std::mem::take(&mut pools.serving)
        };
        // Before the pools, so that no line seems to have lost its connection for another reason.
        self.0.kept.end();
        // Idle connections close here; what is still open when the signal comes is busy.
        for pool in &serving {
            pool.pool.close();
        }
        self.0.ended.send_modify(|_| {});
    }

    /// Closes connections that have been idle for too long.
    pub(crate) fn close_idle(&self) {
        let serving = {
            let mut pools = self.0.lock();
            pools.tidy();
            pools.serving.clone()
        };
        self.0.kept.expire(Instant::now());
        for pool in serving {
            let database = &pool.configured.database;
            pool.close_idle(database.min_idle, |idle| idle >= database.idle_time);
        }
    }

    /// Adds its connections to the count, and says how many leases wait for one.
    pub(crate) fn count(&self, counting: &mut Counting) -> usize {
        for pool in &self.0.lock().serving {
            let status = pool.pool.status();
            let idle = status.available.min(status.size);
            census::add(counting, &pool.configured.database.name, status.size, idle);
        }
        self.0.waiting.load(Ordering::Relaxed)
    }

    /// Says whether nobody else holds the session and it has neither a connection nor a statement
    /// that is still ending.
    pub(crate) fn is_unused(&self) -> bool {
        if Arc::strong_count(&self.0) > 1 || !self.0.kept.is_empty() {
            return false;
        }
        let pools = self.0.lock();
        let is_empty =
            |pool: &Arc<DatabasePool>| pool.pool.status().size == 0 && pool.seats.are_free();
        pools.serving.iter().all(is_empty) && !pools.retired.iter().any(Retired::is_in_use)
    }

    pub(crate) fn state(&self) -> &SessionState {
        &self.0
    }

    /// Gives the stake of a database's pool, and the number of connections that the pool may have.
    pub(crate) fn stake(&self, database: &str) -> Result<(Arc<Stake>, usize), LeaseError> {
        let pool = self.pool(database)?;
        Ok((pool.stake.clone(), pool.seats.most()))
    }

    pub(crate) fn downgrade(&self) -> Weak<SessionState> {
        Arc::downgrade(&self.0)
    }
}

/// Says why a lease got no connection after waiting for `waited`.
fn refusal(database: &Database, error: PoolError, waited: Duration) -> LeaseError {
    let database = database.name.clone();
    match error {
        PoolError::Timeout(TimeoutType::Wait) => LeaseError::Busy { waited },
        PoolError::Backend(ConnectError::Refused(source)) => {
            LeaseError::Unreachable { database, source }
        }
        PoolError::Backend(ConnectError::Unsuitable) => LeaseError::Unsuitable { database },
        PoolError::Backend(ConnectError::Full) => LeaseError::Full { database, waited },
        PoolError::Backend(ConnectError::Silent { waited }) => {
            LeaseError::Silent { database, waited }
        }
        // The pool has neither hooks nor time-outs of its own.
        _ => LeaseError::Closed,
    }
}

/// Adds a time, or, if the sum is too large, so long a time that nobody will see it pass.
fn after(now: Instant, time: Duration) -> Instant {
    const DECADES: Duration = Duration::from_secs(30 * 365 * 86_400);
    now.checked_add(time).unwrap_or_else(|| now + DECADES)
}

fn most(terms: &Terms) -> usize {
    terms.connections.unwrap_or(usize::MAX).max(1)
}

impl SessionState {
    pub(crate) fn is_closed(&self) -> bool {
        *self.ended.borrow()
    }

    /// Takes a place among those that wait.
    pub(crate) fn enqueue(&self) -> Result<Queued<'_>, LeaseError> {
        let limit = self.limits.waiting;
        if self.waiting.fetch_add(1, Ordering::AcqRel) >= limit {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            return Err(LeaseError::QueueFull { limit });
        }
        Ok(Queued(&self.waiting))
    }

    fn lock(&self) -> MutexGuard<'_, Pools> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the queue; leaving gives it back.
pub(crate) struct Queued<'a>(&'a AtomicUsize);

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
