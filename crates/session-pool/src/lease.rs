//! One connection for one exchange.

use std::{ops::Deref, sync::Arc, time::Duration};

use deadpool::managed::Object;
use tokio::runtime::Handle;
use tokio_postgres::{Client, Error};

use crate::{
    budget::Stake,
    connect::{Canceller, Connection, Connector},
};

const HAS_CONNECTION: &str = "a lease has its connection until it is given back";

/// What makes a connection as good as new, as one simple query.
///
/// It ends an open transaction and undoes what survives one: advisory locks, listeners, settings,
/// the role, cursors, temporary tables and sequence state. It leaves prepared statements alone, for
/// the client library keeps some of its own.
pub const SCRUB: &str = "ROLLBACK; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; CLOSE ALL; UNLISTEN *; \
     SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES";

/// Why there is no connection to be had.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The session was closed or has expired.
    #[error("the session is closed: its token was removed or has expired")]
    Closed,
    /// No database of that name is configured.
    #[error("no database named \"{0}\" is configured")]
    UnknownDatabase(String),
    /// All connections of the session were busy for as long as one may wait.
    #[error("all connections of this token were busy for {} ms; try again, or run fewer calls at once", waited.as_millis())]
    Busy {
        /// How long the lease waited.
        waited: Duration,
    },
    /// All connections that may be open together, for all sessions, were busy for as long as one
    /// may wait.
    #[error("all connections to database \"{database}\" were busy with other tokens for {} ms; try again in a few seconds", waited.as_millis())]
    Full {
        /// The database's configured name.
        database: String,
        /// How long the lease waited.
        waited: Duration,
    },
    /// Too many leases of the session are waiting already.
    #[error("{limit} calls of this token are waiting for a connection already; try again later")]
    QueueFull {
        /// How many may wait.
        limit: usize,
    },
    /// PostgreSQL could not be reached or refused the login.
    #[error("database \"{database}\" cannot be reached")]
    Unreachable {
        /// The database's configured name.
        database: String,
        /// What went wrong.
        source: Error,
    },
    /// PostgreSQL did not answer in time.
    #[error("database \"{database}\" did not answer within {} ms", waited.as_millis())]
    Silent {
        /// The database's configured name.
        database: String,
        /// How long the lease waited.
        waited: Duration,
    },
}

/// One connection of a session, for one exchange.
///
/// Give it back with [`Lease::scrub`], or with [`Lease::give_back`] after sending [`SCRUB`].
/// Dropped without that, as when a future is abandoned half way, its statement is cancelled in
/// PostgreSQL and the connection is closed: a late cancel request must not hit an innocent
/// statement, and what the connection was left in is not known.
pub struct Lease {
    /// Taken only by `give_back` and `drop`.
    object: Option<Object<Connector>>,
    stake: Arc<Stake>,
    canceller: Arc<Canceller>,
    runtime: Handle,
}

impl Lease {
    pub(crate) fn new(
        object: Object<Connector>,
        stake: Arc<Stake>,
        canceller: Arc<Canceller>,
    ) -> Self {
        Lease {
            object: Some(object),
            stake,
            canceller,
            runtime: Handle::current(),
        }
    }

    /// Puts the connection back for the session's next exchange, as it is.
    ///
    /// The caller vouches that [`SCRUB`] was the last thing it ran, and that it ended well.
    pub fn give_back(mut self) {
        if let Some(object) = self.object.take() {
            self.stake.give_back(object);
        }
    }

    fn connection(&self) -> &Connection {
        self.object.as_ref().expect(HAS_CONNECTION)
    }

    /// Runs [`SCRUB`] and puts the connection back.
    ///
    /// # Errors
    /// PostgreSQL's; the connection is closed then.
    pub async fn scrub(self) -> Result<(), Error> {
        self.batch_execute(SCRUB).await?;
        self.give_back();
        Ok(())
    }
}

impl Deref for Lease {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.connection().client
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(object) = self.object.take() else {
            return;
        };
        // Leaves the pool, so that it can be replaced at once.
        let connection = Object::take(object);
        if connection.client.is_closed() {
            return;
        }
        let token = connection.client.cancel_token();
        self.canceller.cancel(token, connection, &self.runtime);
    }
}
