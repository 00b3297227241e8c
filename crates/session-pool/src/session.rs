//! One id's own connections.

use std::{
    collections::HashMap,
    fmt,
    hash::RandomState,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use deadpool::{
    Runtime,
    managed::{self, PoolConfig, TimeoutType, Timeouts},
};
use tokio::{sync::watch, time::Instant};
use tokio_util::task::TaskTracker;

use crate::{
    Database, Lease, LeaseError, Limits, Login, Terms,
    budget::{Budget, Stake},
    connect::{Canceller, ConnectError, Connector, PATIENCE},
    kept::Kept,
    sessions::Inner,
    wire::Wire,
};

type Pool = managed::Pool<Connector>;
type PoolError = managed::PoolError<ConnectError>;

/// A handle on one id's connections; clones are the same session.
///
/// Opened with [`Sessions::open`](crate::Sessions::open). Dropping it closes nothing: idle
/// connections go by their own time.
#[derive(Clone)]
pub struct Session(Arc<Shared>);

pub(crate) struct Shared {
    id: String,
    databases: Arc<[Database]>,
    /// The budget of each database's server.
    budgets: Arc<[Arc<Budget>]>,
    pub(crate) limits: Limits,
    /// The connections that are kept for certain leases.
    pub(crate) kept: Arc<Kept>,
    /// The key of the names of prepared statements.
    names: RandomState,
    cancels: TaskTracker,
    login: Option<Arc<Login>>,
    /// Connections to each database at most. A pool that is made reads it under the lock of `pools`.
    connections: AtomicUsize,
    ended: watch::Sender<bool>,
    waiting: AtomicUsize,
    /// The pools that have been used. Guards nothing else, and is held for a look-up only.
    pools: Mutex<HashMap<usize, DatabasePool>>,
}

#[derive(Clone)]
struct DatabasePool {
    pool: Pool,
    stake: Arc<Stake>,
    canceller: Arc<Canceller>,
}

/// The end of a session, seen from its connections.
#[derive(Clone)]
pub(crate) struct Ending(watch::Receiver<bool>);

impl Ending {
    /// Waits for the end of the session.
    pub(crate) async fn ended(mut self) {
        // An error means that the session itself has gone, which is an end too.
        _ = self.0.wait_for(|ended| *ended).await;
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
    pub(crate) fn new(id: &str, terms: &Terms, common: &Inner) -> Self {
        Session(Arc::new(Shared {
            id: id.to_owned(),
            databases: common.databases.clone(),
            budgets: common.budgets.clone(),
            limits: common.limits,
            kept: Arc::default(),
            names: common.names.clone(),
            cancels: common.cancels.clone(),
            login: terms.login.clone(),
            connections: AtomicUsize::new(most(terms)),
            ended: watch::Sender::new(false),
            waiting: AtomicUsize::new(0),
            pools: Mutex::new(HashMap::new()),
        }))
    }

    /// Names whose session it is.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// Says whether the session has lost its rights.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        *self.0.ended.borrow()
    }

    /// Waits until the session loses its rights.
    pub async fn closed(&self) {
        Ending(self.0.ended.subscribe()).ended().await;
    }

    /// Takes a connection to a database for one exchange.
    ///
    /// Dropping this future gives up the place in the queue; a connection that was being opened is
    /// closed.
    ///
    /// # Errors
    /// See [`LeaseError`]; none of them waits longer than the limits say.
    pub async fn lease(&self, database: &str) -> Result<Lease, LeaseError> {
        let DatabasePool {
            pool,
            stake,
            canceller,
        } = self.pool(database)?;
        let _queued = self.queue(&pool)?;
        let _watch = stake.watch();
        let until = Instant::now() + self.0.limits.wait;
        tokio::select! {
            biased;
            () = self.closed() => Err(LeaseError::Closed),
            taken = PATIENCE.scope(until, pool.get()) => match taken {
                Ok(_) if self.is_closed() => Err(LeaseError::Closed),
                Ok(object) => Ok(Lease::new(object, stake.clone(), canceller)),
                Err(error) => Err(self.refusal(database, error)),
            }
        }
    }

    fn pool(&self, database: &str) -> Result<DatabasePool, LeaseError> {
        let shared = &*self.0;
        let Some(index) = shared
            .databases
            .iter()
            .position(|known| known.name == database)
        else {
            return Err(LeaseError::UnknownDatabase(database.to_owned()));
        };
        let mut pools = shared.lock();
        // Under the lock, so that closing cannot miss a pool that is just being made.
        if self.is_closed() {
            return Err(LeaseError::Closed);
        }
        if let Some(pool) = pools.get(&index) {
            return Ok(pool.clone());
        }
        let pool = self.build(&shared.databases[index], &shared.budgets[index])?;
        pools.insert(index, pool.clone());
        Ok(pool)
    }

    fn build(&self, database: &Database, budget: &Arc<Budget>) -> Result<DatabasePool, LeaseError> {
        let wire = Wire::new(database.tls.clone(), self.0.limits.exchange_bytes);
        let canceller = Arc::new(Canceller::new(
            &database.config,
            wire.clone(),
            self.0.cancels.clone(),
        ));
        let mut configs = database.configs_for(self.0.login.as_deref());
        for config in &mut configs {
            config.application_name(format!("mcp/{}", self.0.id));
            config.connect_timeout(database.connect_timeout);
            wire.route(config, canceller.uses_socket());
        }
        let stake = Stake::new(budget);
        let connector = Connector {
            configs,
            target: database.target,
            connect_timeout: database.connect_timeout,
            stake: stake.clone(),
            wire,
            names: self.0.names.clone(),
            prepared_statements: self.0.limits.prepared_statements,
            ending: Ending(self.0.ended.subscribe()),
            canceller: canceller.clone(),
        };
        let pool = Pool::builder(connector)
            .config(PoolConfig {
                max_size: self.most_connections(database),
                timeouts: Timeouts {
                    wait: Some(self.0.limits.wait),
                    // The connector has limits of its own.
                    create: None,
                    recycle: None,
                },
                ..PoolConfig::default()
            })
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|_| LeaseError::Closed)?;
        stake.belongs_to(pool.weak());
        Ok(DatabasePool {
            pool,
            stake,
            canceller,
        })
    }

    fn most_connections(&self, database: &Database) -> usize {
        let own = self.0.connections.load(Ordering::Acquire);
        database.max_connections.min(own)
    }

    /// Puts terms in force that differ in numbers only; says whether that was possible. Connections
    /// beyond a lower number are closed when they come back.
    pub(crate) fn adapt(&self, terms: &Terms) -> bool {
        if self.0.login != terms.login {
            return false;
        }
        let pools = self.0.lock();
        self.0.connections.store(most(terms), Ordering::Release);
        for (index, pool) in pools.iter() {
            let size = self.most_connections(&self.0.databases[*index]);
            if pool.pool.status().max_size != size {
                pool.pool.resize(size);
            }
            let database = &self.0.databases[*index].name;
            self.0.kept.shrink(database, size.saturating_sub(1));
        }
        true
    }

    /// Takes a place in the queue for a connection, when one has to queue.
    fn queue(&self, pool: &Pool) -> Result<Option<Place<'_>>, LeaseError> {
        let status = pool.status();
        // A connection that is only being opened is somebody's already, though no part of the size.
        let taken = status.size + status.waiting - status.available;
        if taken < status.max_size {
            return Ok(None);
        }
        self.0.enqueue().map(Some)
    }

    fn refusal(&self, database: &str, error: PoolError) -> LeaseError {
        let timeout = self
            .0
            .databases
            .iter()
            .find(|known| known.name == database)
            .map_or(Duration::ZERO, |known| known.connect_timeout);
        match error {
            PoolError::Closed => LeaseError::Closed,
            PoolError::Timeout(TimeoutType::Wait) => LeaseError::Busy {
                waited: self.0.limits.wait,
            },
            PoolError::Backend(ConnectError::Refused(source)) => LeaseError::Unreachable {
                database: database.to_owned(),
                source,
            },
            PoolError::Backend(ConnectError::Unsuitable) => LeaseError::Unsuitable {
                database: database.to_owned(),
            },
            PoolError::Backend(ConnectError::Full) => LeaseError::Full {
                database: database.to_owned(),
                waited: self.0.limits.wait,
            },
            _ => LeaseError::Silent {
                database: database.to_owned(),
                waited: timeout,
            },
        }
    }

    /// Ends the session: refuses leases, closes idle connections, cancels and closes busy ones.
    pub(crate) fn end(&self) {
        let pools: Vec<DatabasePool> = {
            let mut pools = self.0.lock();
            pools.drain().map(|(_, pool)| pool).collect()
        };
        // Idle connections close here; what is still open when the signal comes is busy.
        for DatabasePool { pool, .. } in &pools {
            pool.close();
        }
        self.0.kept.end();
        self.0.ended.send_replace(true);
    }

    /// Closes connections that have been idle for too long.
    pub(crate) fn close_idle(&self) {
        let pools: Vec<(usize, Pool)> = self
            .0
            .lock()
            .iter()
            .map(|(index, pool)| (*index, pool.pool.clone()))
            .collect();
        self.0.kept.expire(Instant::now());
        for (index, pool) in pools {
            let database = &self.0.databases[index];
            let mut left = pool.status().size;
            pool.retain(|_, metrics| {
                let keep = left <= database.min_idle || metrics.last_used() < database.idle_time;
                left -= usize::from(!keep);
                keep
            });
        }
    }

    /// Says whether nobody else holds the session and it has no connection left.
    pub(crate) fn is_unused(&self) -> bool {
        Arc::strong_count(&self.0) == 1
            && self.0.kept.is_empty()
            && self
                .0
                .lock()
                .values()
                .all(|pool| pool.pool.status().size == 0)
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0
    }

    /// Gives the stake of a database's pool, and how many connections that may have.
    pub(crate) fn stake(&self, database: &str) -> Result<(Arc<Stake>, usize), LeaseError> {
        let pool = self.pool(database)?;
        Ok((pool.stake, pool.pool.status().max_size))
    }

    pub(crate) fn downgrade(&self) -> Weak<Shared> {
        Arc::downgrade(&self.0)
    }

    pub(crate) fn is_same(&self, other: &Weak<Shared>) -> bool {
        std::ptr::eq(Arc::as_ptr(&self.0), other.as_ptr())
    }
}

fn most(terms: &Terms) -> usize {
    terms.connections.unwrap_or(usize::MAX).max(1)
}

impl Shared {
    /// Takes a place among those that wait.
    pub(crate) fn enqueue(&self) -> Result<Place<'_>, LeaseError> {
        let limit = self.limits.waiting;
        if self.waiting.fetch_add(1, Ordering::AcqRel) >= limit {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            return Err(LeaseError::QueueFull { limit });
        }
        Ok(Place(&self.waiting))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<usize, DatabasePool>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the queue; leaving gives it back.
pub(crate) struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
