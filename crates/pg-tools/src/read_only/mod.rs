//! Runs one query so that it can only read, whatever it says.
//!
//! Five walls, one behind the other:
//!
//! 1. the text itself ([`statement`]): bounded, with no escapes that hide names;
//! 2. the names in it ([`guard`]): no function whose effects a rollback does not undo;
//! 3. PostgreSQL's grammar ([`exchange`]): the text stands alone as one statement and inside
//!    `SELECT .. FROM ( .. )`, which nothing but a plain query does;
//! 4. a `READ ONLY` transaction;
//! 5. which is always rolled back, and the connection scrubbed.
//!
//! The role that the connection logs in as is the wall behind them all ([`posture`]).

mod exchange;
mod failure;
mod guard;
mod posture;
mod record;
mod statement;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod typename;

use std::time::Duration;

#[cfg(test)]
pub(crate) use exchange::Column;
pub(crate) use exchange::{ColumnKind, Cut, Page, Rows};
pub(crate) use failure::ReadError;
pub use guard::{DangerousRoles, Guards};
use session_pool::Session;

/// What one query may use up.
#[derive(Clone, Copy, Debug)]
pub struct QueryLimits {
    /// Time for the statement; PostgreSQL cancels it after that.
    pub statement_timeout: Duration,
    /// Bytes of the result's values; rows past it are cut off.
    pub result_bytes: usize,
}

impl Default for QueryLimits {
    /// 30 seconds and 1 MiB.
    fn default() -> Self {
        QueryLimits {
            statement_timeout: Duration::from_secs(30),
            result_bytes: 1 << 20,
        }
    }
}

/// Runs one query on a database of a session.
///
/// When this future is dropped the statement is cancelled in PostgreSQL.
///
/// # Errors
/// See [`ReadError`]. Nothing has changed in the database, with or without one.
pub(crate) async fn read(
    session: &Session,
    database: &str,
    text: &str,
    page: Page,
    guards: &Guards,
    limits: QueryLimits,
) -> Result<Rows, ReadError> {
    let statement = statement::Statement::check(text)?;
    let mut lease = session.lease(database).await?;
    let guard = match guards.fresh(database) {
        Some(guard) => guard,
        None => guards.load(database, &lease).await?,
    };
    guard.check(&statement)?;
    match exchange::run(lease, &statement, page, limits).await {
        // The connection was dead before anything ran, as after a restart of the server.
        Err(ReadError::NeverBegan(_)) => {
            lease = session.lease(database).await?;
            exchange::run(lease, &statement, page, limits).await
        }
        result => result,
    }
}
