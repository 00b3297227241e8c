//! Why a query has no result, in words that help whoever wrote it.

use std::{error::Error as _, fmt::Write as _, time::Duration};

use session_pool::LeaseError;
use tokio_postgres::{
    Error,
    error::{DbError, ErrorPosition, SqlState},
};

/// The longest part of PostgreSQL's answer that is passed on, in bytes; it may quote its input.
const LONGEST: usize = 2_000;

/// Why a query has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The query may not be run; the text says what to write instead.
    #[error("{0}")]
    Refused(String),
    /// There is no connection to run it on.
    #[error(transparent)]
    NoConnection(#[from] LeaseError),
    /// The connection was lost before anything ran.
    #[error("the connection to the database was lost before the query ran")]
    NeverBegan(#[source] Error),
    /// The connection was lost while the query ran.
    #[error("the connection to the database was lost while the query ran")]
    Lost(#[source] Error),
    /// PostgreSQL refused it; the number is the length of what we put before the query.
    #[error("PostgreSQL refused the query")]
    Database(Box<DbError>, u32),
    /// PostgreSQL refused it for a name that is not there.
    #[error("{source}")]
    Misnamed {
        /// What PostgreSQL said.
        source: Box<ReadError>,
        /// The names that come nearest to the wrong one.
        nearest: Vec<String>,
    },
    /// PostgreSQL took it alone, but not as a query inside another.
    #[error("the statement is not a plain query")]
    NotAQuery(Box<DbError>),
    /// It ran for too long.
    #[error("the query did not finish within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// Its first row is larger than a whole result may be.
    #[error("the first row has {size} bytes; a result may have {limit}")]
    RowTooLarge {
        /// Bytes of the row.
        size: i32,
        /// Bytes that a result may have.
        limit: usize,
    },
    /// PostgreSQL wrote a row in a form that is not known.
    #[error("PostgreSQL wrote a row in an unknown form")]
    Unreadable,
}

impl ReadError {
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        ReadError::Refused(message.into())
    }

    /// Sorts an error that the beginning of a transaction met: PostgreSQL's own is about the role or
    /// the settings of the policy, and nothing has run.
    pub(crate) fn of_beginning(error: Error) -> Self {
        match error.as_db_error() {
            Some(db) if !error.is_closed() => ReadError::refused(format!(
                "PostgreSQL refused what the token's policy asks for: {} (SQLSTATE {}); the operator must grant the role, or change the token",
                short(db.message()),
                db.code().code()
            )),
            _ => ReadError::NeverBegan(error),
        }
    }

    /// Sorts an error that the statement itself met, `prefix` characters into what was sent.
    pub(crate) fn of_statement(error: Error, prefix: u32) -> Self {
        match error.as_db_error() {
            Some(db) => ReadError::Database(Box::new(db.clone()), prefix),
            None => ReadError::Lost(error),
        }
    }

    /// Sorts an error that came up when the statement was put inside ours.
    ///
    /// By then PostgreSQL has parsed the statement alone, so that a syntax error says that it is no
    /// query; and this is how it refuses a `WITH` that writes.
    pub(super) fn of_wrapping(error: Error, prefix: u32) -> Self {
        match error.as_db_error() {
            Some(db) if is_about_form(db) => ReadError::NotAQuery(Box::new(db.clone())),
            _ => ReadError::of_statement(error, prefix),
        }
    }

    /// Says whether PostgreSQL's own words are told, which may quote what the database holds.
    pub(crate) fn is_of_postgresql(&self) -> bool {
        match self {
            ReadError::Database(..)
            | ReadError::Misnamed { .. }
            | ReadError::NeverBegan(_)
            | ReadError::Lost(_) => true,
            ReadError::NoConnection(cause) => matches!(cause, LeaseError::Unreachable { .. }),
            _ => false,
        }
    }

    /// Says whether the query ran for too long.
    pub(crate) fn is_timeout(&self) -> bool {
        match self {
            ReadError::TimedOut(_) => true,
            ReadError::Database(db, _) => *db.code() == SqlState::QUERY_CANCELED,
            _ => false,
        }
    }

    /// Says what happened and what to do, for the model that wrote the query.
    pub(crate) fn explain(&self) -> String {
        match self {
            ReadError::Database(db, prefix) => explain_database(db, *prefix),
            ReadError::Misnamed { source, nearest } => {
                format!("{}\nNEAREST: {}", source.explain(), nearest.join(", "))
            }
            ReadError::NotAQuery(db) => format!(
                "ERROR: only one plain query is run here: SELECT, VALUES, TABLE, or WITH ending in one of them\n\
                 SQLSTATE: {}\n\
                 HINT: nothing can be changed with this tool; for SHOW x write SELECT current_setting('x')",
                db.code().code()
            ),
            ReadError::TimedOut(_) => format!(
                "ERROR: {self}\nSQLSTATE: {}\nHINT: ask for less: filter earlier, aggregate, or use an index",
                SqlState::QUERY_CANCELED.code()
            ),
            ReadError::RowTooLarge { .. } => {
                format!(
                    "ERROR: {self}\nHINT: select fewer columns, or parts of them with left() or substring()"
                )
            }
            ReadError::NoConnection(LeaseError::Unreachable { source, .. })
            | ReadError::NeverBegan(source)
            | ReadError::Lost(source) => format!("ERROR: {self}: {}", cause(source)),
            other => format!("ERROR: {other}"),
        }
    }
}

fn is_about_form(db: &DbError) -> bool {
    *db.code() == SqlState::SYNTAX_ERROR || *db.code() == SqlState::FEATURE_NOT_SUPPORTED
}

/// Gives where in the query PostgreSQL found the mistake, in characters from 1 on.
pub(super) fn position(db: &DbError, prefix: u32) -> Option<u32> {
    match db.position() {
        Some(ErrorPosition::Original(at)) => at.checked_sub(prefix).filter(|at| *at > 0),
        _ => None,
    }
}

fn explain_database(db: &DbError, prefix: u32) -> String {
    let mut text = format!(
        "ERROR: {}\nSQLSTATE: {}",
        short(db.message()),
        db.code().code()
    );
    if let Some(at) = position(db, prefix) {
        _ = write!(text, "\nPOSITION: {at}");
    }
    for (label, part) in [
        ("DETAIL", db.detail()),
        ("HINT", db.hint()),
        ("CONTEXT", db.where_()),
    ] {
        if let Some(part) = part {
            _ = write!(text, "\n{label}: {}", short(part));
        }
    }
    if *db.code() == SqlState::SYNTAX_ERROR && db.hint().is_none() {
        text.push_str("\nHINT: write one SQL query; a question in plain words is not understood");
    }
    text
}

/// Tells the cause of a lost or refused connection. It never holds a connection string.
fn cause(error: &Error) -> String {
    if let Some(db) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", short(db.message()), db.code().code());
    }
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn short(text: &str) -> &str {
    match text.char_indices().find(|(at, _)| *at >= LONGEST) {
        Some((at, _)) => &text[..at],
        None => text,
    }
}
