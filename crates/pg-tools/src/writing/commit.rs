//! Commits what a transaction changed, and reports it as changed only once PostgreSQL has.
//!
//! A `COMMIT` that is on its way cannot be taken back, and until PostgreSQL has answered its result is unknown: the
//! answer may be lost, and where a standby has to confirm it may not come for hours. A client that is told meanwhile
//! that nothing was changed would make the change twice.

use session_pool::Lease;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::{
    Error,
    error::{DbError, Severity},
};

use super::Written;
use crate::{
    Agent,
    read_only::{GRACE, ReadError},
};

/// Codes with which PostgreSQL, or something between here and PostgreSQL, says that it does not know the result either:
/// those about the connection (class 08), and `statement_completion_unknown`.
const NO_VERDICT: [&str; 2] = ["08", "40003"];

/// Commits what was written, and waits for the answer until `latest`, but for [`GRACE`] at least: PostgreSQL's time
/// limit for a statement does not apply to a commit.
///
/// If this is dropped midway, the account of the call says what it says of any commit without an answer.
pub(super) async fn commit(
    agent: &Agent,
    lease: &Lease,
    written: Written,
    latest: Instant,
) -> Result<Written, ReadError> {
    let latest = latest.max(Instant::now() + GRACE);
    agent.note_commit(written.affected);
    let committed = match timeout_at(latest, lease.batch_execute("COMMIT")).await {
        Ok(Ok(())) => Ok(written),
        Ok(Err(error)) => Err(refused(error)),
        Err(_) => Err(ReadError::InDoubt(
            "PostgreSQL has not answered in time".into(),
        )),
    };
    if !matches!(committed, Err(ReadError::InDoubt(_))) {
        agent.note_answer(committed.is_ok());
    }
    committed
}

/// Classifies what came instead of the confirmation: an error, with which PostgreSQL has undone everything and goes on,
/// or the end of the connection, which tells nothing.
///
/// To cancel a commit that waits for a standby causes a warning and no error, as the commit is done by then
/// (`SyncRepWaitForLSN` in PostgreSQL's source).
fn refused(error: Error) -> ReadError {
    match error.as_db_error() {
        Some(db) if is_verdict(db) => ReadError::of_statement(error, 0),
        Some(db) => ReadError::InDoubt(format!(
            "the connection was ended (SQLSTATE {})",
            db.code().code()
        )),
        None => ReadError::InDoubt("the connection was lost".into()),
    }
}

fn is_verdict(db: &DbError) -> bool {
    let code = db.code().code();
    db.parsed_severity() == Some(Severity::Error)
        && !NO_VERDICT.iter().any(|class| code.starts_with(class))
}
