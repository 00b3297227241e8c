//! One connection for one exchange.

use std::{
    io,
    ops::Deref,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use deadpool::managed::Object;
use tokio::runtime::Handle;
use tokio_postgres::{Client, Error};

use crate::{
    budget::Stake,
    cancel::Remains,
    connect::{Connection, Connector},
    exchange::{DateStyle, Exchange, Parameter, Step},
    kept::{Loss, Occupied},
    refusal::Refusal,
    seats::Seat,
    statements::{Standing, Statements},
};

/// What makes a connection as good as new, to be sent as one simple query.
///
/// It ends an open transaction and undoes what survives one: advisory locks, listeners, settings,
/// the role, cursors, temporary tables and sequence state. It leaves prepared statements alone, for
/// the client library keeps some of its own.
pub const SCRUB: &str = "ROLLBACK; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; CLOSE ALL; UNLISTEN *; \
     SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES";

/// The same for a lease whose connection is kept with what is in it.
const TIDY: &str = "ROLLBACK; CLOSE ALL; UNLISTEN *; SELECT pg_catalog.pg_advisory_unlock_all()";

const HAS_CONNECTION: &str = "a lease has its connection until it is given back";

/// Why a lease has no connection.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The session was closed or has expired.
    #[error("the session is closed: its token was removed or has expired")]
    Closed,
    /// No database of that name is configured.
    #[error("no database named \"{0}\" is configured")]
    UnknownDatabase(String),
    /// The session may no longer use that database.
    #[error("this token may not use database \"{0}\" any more")]
    Withdrawn(String),
    /// All connections of the session were busy for as long as one may wait.
    #[error("all connections of this token were busy for {} ms; try again, or run fewer calls at once", waited.as_millis())]
    Busy {
        /// How long the lease waited.
        waited: Duration,
    },
    /// All connections to the server that may be open, for all sessions together, were busy for as
    /// long as one may wait.
    #[error("all connections to database \"{database}\" were busy with other tokens or programs for {} ms; try again in a few seconds", waited.as_millis())]
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
        source: Refusal,
    },
    /// All hosts answer, and none is of the kind that is wanted
    /// ([`TargetSession`](crate::TargetSession)).
    #[error("no host of database \"{database}\" is of the kind that target_session_attrs asks for")]
    Unsuitable {
        /// The database's configured name.
        database: String,
    },
    /// No further connection may be kept for this session.
    #[error("{}", kept_limit(*.limit, database))]
    KeptLimit {
        /// The database's configured name.
        database: String,
        /// How many may be kept.
        limit: usize,
    },
    /// All sessions together keep as many connections as they may.
    #[error(
        "half of all connections to database \"{database}\" are kept for sessions, and no more may be; try again later, or do without a session"
    )]
    KeptFull {
        /// The database's configured name.
        database: String,
    },
    /// A pooler stands between here and PostgreSQL, and may give the connection to others in between.
    #[error(
        "database \"{database}\" is reached through a connection pooler, where nothing can be kept from one call to the next; the operator must name PostgreSQL itself"
    )]
    Pooled {
        /// The database's configured name.
        database: String,
    },
    /// Another lease of the same line had its connection for as long as one may wait.
    #[error("another call in the same session has run for {} ms; try again when it has ended", waited.as_millis())]
    Turn {
        /// How long the lease waited.
        waited: Duration,
    },
    /// The line has lost its connection, with all that was in it.
    #[error("what was in the session is gone: {0}")]
    Lost(Loss),
    /// There is no such line, or it has ended.
    #[error("the session is not open")]
    NotKept,
    /// PostgreSQL did not answer in time, on the last of its hosts.
    #[error("database \"{database}\" did not answer within {} ms", waited.as_millis())]
    Silent {
        /// The database's configured name.
        database: String,
        /// How long connecting took, over all hosts.
        waited: Duration,
    },
}

/// One connection of a session, for one exchange.
///
/// Give it back with [`Lease::scrub`], or with [`Lease::give_back`] after sending [`SCRUB`].
/// Dropped without that, as when a future is abandoned half way, its statement is cancelled in
/// PostgreSQL and the connection is closed: a late cancel request must not hit somebody else's
/// statement, and nobody knows what state the connection was left in.
pub struct Lease {
    /// Taken only by `give_back` and `drop`, as is the seat.
    object: Option<Object<Connector>>,
    seat: Option<Seat>,
    stake: Arc<Stake>,
    /// The generation of the database's description by which the connection was opened.
    generation: u64,
    runtime: Handle,
    /// The line that the lease is one of.
    line: Option<Occupied>,
}

fn kept_limit(limit: usize, database: &str) -> String {
    let connections = match limit {
        0 => {
            return format!(
                "this token may keep no connection to database \"{database}\" for a session; the operator must allow it 2 connections or more, and one of them to be kept"
            );
        }
        1 => "1 connection",
        _ => &format!("{limit} connections"),
    };
    format!(
        "this token may keep {connections} to database \"{database}\" for sessions; close one of them, or wait until it has been idle for long enough"
    )
}

impl Lease {
    pub(crate) fn new(
        object: Object<Connector>,
        seat: Seat,
        stake: Arc<Stake>,
        generation: u64,
    ) -> Self {
        Lease {
            object: Some(object),
            seat: Some(seat),
            stake,
            generation,
            runtime: Handle::current(),
            line: None,
        }
    }

    /// Says whether one process serves the connection all the time, with no pooler in between.
    pub(crate) fn is_direct(&self) -> bool {
        self.connection().is_direct
    }

    /// Makes this a lease of a line.
    pub(crate) fn occupies(&mut self, line: Occupied) {
        self.line = Some(line);
    }

    /// Has the connection kept, with what is in it, when it is given back, for the line's next
    /// lease. Has an effect on leases of [`Session::keep`](crate::Session::keep) only.
    ///
    /// From then on none of our own statements is prepared on it: with another search path or
    /// temporary tables, the names in them could mean something else.
    pub fn stay(&mut self) {
        if let (Some(line), Some(object)) = (&mut self.line, &mut self.object)
            && !line.stays
        {
            line.stay();
            object.means.statements.retire();
        }
    }

    /// Says whether the connection is kept when it is given back.
    #[must_use]
    pub fn stays(&self) -> bool {
        self.line.as_ref().is_some_and(|line| line.stays)
    }

    /// Gives the [`generation`](crate::Database::generation) of the database's description by which
    /// the connection was opened.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Gives the number of the host that serves the connection, from 0, among all that the
    /// database's description names. What one of them says of itself (functions, roles, the numbers
    /// of types) need not be true of another.
    #[must_use]
    pub fn host(&self) -> usize {
        self.connection().host
    }

    /// Says whether its database was replaced or removed since the connection was leased, so that
    /// it will be closed when it is given back. Whoever holds a lease for longer than a call should
    /// give it back then.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        let object = self.object.as_ref().expect(HAS_CONNECTION);
        Object::pool(object).is_none_or(|pool| pool.is_closed())
    }

    /// Puts the connection back for the session's next exchange, as it is.
    ///
    /// The caller vouches that [`SCRUB`] was the last thing it ran, and that it ended well.
    pub fn give_back(mut self) {
        // A connection that was left half way is closed instead.
        if self.connection().means.lender.is_abandoned() {
            return;
        }
        let (Some(object), Some(seat)) = (self.object.take(), self.seat.take()) else {
            return;
        };
        match self.line.take() {
            Some(line) if line.stays => {
                line.park(object, seat, self.stake.clone(), self.generation);
            }
            line => {
                drop(line);
                if seat.is_owed() {
                    drop(Object::take(object));
                } else {
                    self.stake.give_back(object);
                }
                // After the connection, so that whoever gets the seat finds it.
                drop(seat);
            }
        }
    }

    /// Makes settings that last (`settings` is one `SET` after another), unless they were made
    /// before and nothing since can have changed them: anything done on the connection, except by
    /// [`Lease::exchange`], might have. Says whether the settings hold.
    ///
    /// They are not made behind a pooler, which might give them to others, nor on a connection that
    /// is kept with what its user set; they must be made in each transaction there.
    ///
    /// # Errors
    /// PostgreSQL's, or the connection is lost.
    pub async fn set(&mut self, settings: &str) -> Result<bool, Error> {
        let object = self.object.as_mut().expect(HAS_CONNECTION);
        if !object.is_direct || self.line.is_some() {
            return Ok(false);
        }
        if object.was_used.swap(false, Ordering::Relaxed) {
            object.set = None;
        }
        if object.set.as_deref() != Some(settings) {
            object.set = None;
            let settings_and_style = [settings, "; ", DateStyle::QUESTION].concat();
            let answer = object.client.simple_query(&settings_and_style).await?;
            for (setting, value) in DateStyle::read(&answer) {
                object.means.statements.heed(setting, value);
            }
            object.set = Some(settings.into());
        }
        Ok(true)
    }

    /// Sends statements to be run in one round trip. A row with more bytes than `largest_row` ends
    /// the exchange, and the connection with it.
    ///
    /// Waits until requests that were made by other means are answered. The statements must not
    /// change the session beyond their transaction, or [`Lease::scrub`] must follow.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] when a step cannot be sent: a text that is run has a NUL in it, a statement has
    /// more than 65,535 parameters, or a message more than 2 GiB. None of the steps was sent then, and the lease is as it
    /// was. Anything else when the connection is lost.
    pub async fn exchange(
        &mut self,
        steps: &[Step<'_>],
        largest_row: usize,
    ) -> io::Result<Exchange<'_>> {
        let object = self.object.as_mut().expect(HAS_CONNECTION);
        object.means.exchange(steps, largest_row).await
    }

    /// Counts that a text was sent, and says whether it has come often on this connection. Then it
    /// is worth sending with parameters instead of values, because [`Lease::exchange`] will have it
    /// prepared.
    pub fn recurs(&mut self, text: &str) -> bool {
        self.statements().recurs(text)
    }

    /// Has [`Lease::recurs`] say no to a text from now on, because it failed with parameters where
    /// it ran with values.
    pub fn avoid(&mut self, text: &str) {
        self.statements().avoid(text);
    }

    /// Says whether statements can be vouched for on this connection.
    #[must_use]
    pub fn may_vouch(&self) -> bool {
        self.connection().means.statements.may_vouch()
    }

    /// Says what is known of a statement that is judged by another one.
    #[must_use]
    pub fn standing(&self, text: &str, parameters: &[Parameter<'_>], judge: &str) -> Standing {
        let types = parameters.iter().map(|parameter| parameter.type_oid);
        let statements = &self.connection().means.statements;
        statements.standing(text, types, judge)
    }

    /// Notes that a statement was judged by another one, in an exchange in which PostgreSQL cannot
    /// have parsed the statement again since. This holds until a step other than [`Step::Plan`]
    /// allows PostgreSQL to do so.
    pub fn vouch(&mut self, text: &str, parameters: &[Parameter<'_>], judge: &str) {
        let types = parameters.iter().map(|parameter| parameter.type_oid);
        self.statements().vouch(text, types, judge);
    }

    fn statements(&mut self) -> &mut Statements {
        let object = self.object.as_mut().expect(HAS_CONNECTION);
        &mut object.means.statements
    }

    fn connection(&self) -> &Connection {
        self.object.as_ref().expect(HAS_CONNECTION)
    }

    /// Runs [`SCRUB`] and puts the connection back. A connection that stays with its line only
    /// loses its transaction, advisory locks, listeners and cursors.
    ///
    /// # Errors
    /// PostgreSQL's; the connection is closed then.
    pub async fn scrub(self) -> Result<(), Error> {
        self.batch_execute(if self.stays() { TIDY } else { SCRUB })
            .await?;
        self.give_back();
        Ok(())
    }
}

impl Deref for Lease {
    type Target = Client;

    fn deref(&self) -> &Client {
        let connection = self.connection();
        connection.was_used.store(true, Ordering::Relaxed);
        &connection.client
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(object) = self.object.take() else {
            return;
        };
        let connection = Object::take(object);
        let (client, lender) = (&connection.client, &connection.means.lender);
        if client.is_closed() && !lender.is_abandoned() {
            return;
        }
        let token = client.cancel_token();
        let process = lender.process();
        let (stream, _) = lender.cut();
        let place = connection.place.clone();
        let remains = Remains::new(stream, process, place, self.seat.take());
        connection.canceller.cancel(token, remains, &self.runtime);
    }
}
