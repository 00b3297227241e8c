//! What a statement changes besides the rows that it counts: through foreign keys such as `ON DELETE CASCADE`, through
//! triggers and rules, and when a row moves to another partition.
//!
//! For its statistics, PostgreSQL counts what a connection has changed. It reports the counts between transactions, but
//! not after each, so that only what they grow by within one is meaningful. They do not include what deferred triggers
//! change at the end of the transaction, nor rows of foreign tables; a `TRUNCATE` counts nothing and takes back what
//! its transaction had counted for the table; and they stay 0 if the operator has turned `track_counts` off.

use session_pool::Lease;

use super::{Most, Written, first};
use crate::read_only::ReadError;

/// Rows inserted, updated and deleted in tables that are not PostgreSQL's own.
const CHANGES: &str = "SELECT /* of pg-tools */ COALESCE(pg_catalog.sum( \
       pg_catalog.pg_stat_get_xact_tuples_inserted(oid) + pg_catalog.pg_stat_get_xact_tuples_updated(oid) \
       + pg_catalog.pg_stat_get_xact_tuples_deleted(oid)), 0)::pg_catalog.int8 \
     FROM pg_catalog.pg_class WHERE relkind = 'r' AND oid >= 16384";

/// Returns how many changes the connection has counted. A time limit, or somebody who cancels, may end this as well as
/// the statement, and is told as for that.
pub(super) async fn changes(lease: &Lease) -> Result<i64, ReadError> {
    let rows = lease.query_typed(CHANGES, &[]).await;
    let rows = rows.map_err(|error| ReadError::of_statement(error, 0))?;
    rows.first().map_or(Ok(0), first)
}

impl Written {
    /// Notes what was changed besides, from the counts before and after; more than `most` is refused.
    ///
    /// A statement that counts no row of its own may have had another done in its place: by a rule (`DO INSTEAD`), or
    /// by a trigger that puts the row elsewhere. Those rows have to be as few as its own.
    pub(super) fn beside(self, before: i64, after: i64, most: Most) -> Result<Self, ReadError> {
        let counted = u64::try_from(after - before).unwrap_or(0);
        let besides = counted.saturating_sub(self.affected);
        if besides > most.besides {
            return Err(ReadError::refused(format!(
                "the statement changes {besides} rows besides its own, by foreign keys (such as ON DELETE CASCADE), triggers or rules, and {} are allowed, \
                 so nothing was changed; narrow it, or have the operator raise limits.written_rows, and limits.rows of the token if it has one",
                most.besides
            )));
        }
        if self.affected == 0 && besides > most.rows {
            return Err(ReadError::TooManyRows(most.rows));
        }
        Ok(Written { besides, ..self })
    }
}
