//! Why a query has no result, in words that help its author.

use std::{error::Error as _, fmt::Write as _, io, time::Duration};

use session_pool::{Complaint, LeaseError};
use tokio_postgres::{
    Error,
    error::{ErrorPosition, SqlState},
};

use crate::render::row_count;

/// How many bytes of each part of PostgreSQL's error are passed on; it may quote its input.
const LONGEST: usize = 2_000;

/// Classes of errors that may be due to the form of a query: an unsupported feature, the protocol, syntax, names and
/// types, and limits such as that of columns.
const ABOUT_FORM: [&str; 4] = ["0A", "08", "42", "54"];

/// Classes of errors that are due to what others do at the same time.
const ABOUT_OTHERS: [&str; 2] = ["40", "57"];

/// Codes with which a standby refuses to begin a transaction that writes.
const STANDBY: [&str; 2] = ["0A000", "25006"];

/// Codes of an operator or a function that does not exist, and of one that is ambiguous.
const OPERATORS: [&str; 2] = ["42883", "42725"];

/// What to do about errors whose own text does not say so, by the beginning of their code.
const REMEDIES: [(&str, &str); 10] = [
    ("22007", TIMES),
    ("22008", TIMES),
    ("22021", ENCODING),
    ("22P05", NO_SUCH_CHARACTER),
    ("25006", READS),
    ("40001", AGAIN),
    ("42501", NO_RIGHT),
    ("40P01", AGAIN),
    ("57014", LESS),
    (
        "57P",
        "PostgreSQL ended the connection, as for a restart, and undid what the statement had done: run the same again in a moment",
    ),
];

/// What to do about a connection that was lost before a COMMIT was sent: PostgreSQL undoes what has no COMMIT.
const WENT_AWAY: &str = "nothing was changed: PostgreSQL went away, as for a restart, or the way to it was cut; run the same again in a moment, and tell the operator if it stays so";

/// What to do about a date that is invalid, or has its month in another position.
const TIMES: &str = "write dates as 2026-01-31, times as 2026-01-31 13:00:00+00";

/// What to do about a query that locks rows, or calls a function that changes some.
const READS: &str =
    "queries only read here: leave out FOR UPDATE, FOR SHARE and whatever changes rows";

const AGAIN: &str = "what others did at the same time stood in the way, and nothing was changed: run the same again, and ask for less if it happens again";

/// What to do about bytes that are not text, as a database with the encoding SQL_ASCII accepts them.
const ENCODING: &str = "these bytes are no text in UTF-8; where the database has the encoding SQL_ASCII, convert_to(column, 'SQL_ASCII') gives them as they are, \
    and convert_from(convert(convert_to(column, 'SQL_ASCII'), 'LATIN1', 'UTF8'), 'UTF8') as text, if they are in LATIN1";

/// What to do about a character that one of two encodings lacks: most often the database's lacks one that was sent; or
/// UTF-8 lacks one, because a value has bytes to which the database's encoding gives no meaning.
const NO_SUCH_CHARACTER: &str = "an encoding does not have this character: where it is the database's, no value and no name in it has it, so leave it out; \
    where a value that is read holds such bytes, convert_to(column, getdatabaseencoding()) gives them as they are";

/// What to do about a table or a column that the role may not read (`SELECT *` reads all columns).
const NO_RIGHT: &str = "get_schema_info shows the tables and columns that this token may read; name these, or ask the operator for the right";

/// What to do about a query that takes too long.
const LESS: &str = "ask for less: filter earlier, aggregate, or use an index; if it waited for a lock that another held, try again later";

const CANCELLED: &str = "somebody who may do so cancelled it (pg_cancel_backend): ask the operator before you run it again";

/// What to write, if PostgreSQL reports a syntax error.
const QUERY: &str = "one SQL query";
const CONDITION: &str = "one SQL condition, without WHERE";

/// What is wrong with `$1` in a query.
pub(super) const PARAMETERS: &str =
    "the query has parameters such as $1; write the values themselves";

/// A part of a query, and the text around it.
pub(crate) struct Part<'a> {
    pub(crate) before: &'a str,
    pub(crate) text: &'a str,
    pub(crate) after: &'a str,
}

impl Part<'_> {
    /// Returns the whole query.
    pub(crate) fn whole(&self) -> String {
        [self.before, self.text, self.after].concat()
    }
}

/// Why a query has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The query may not be run; the text says what to write instead.
    #[error("{0}")]
    Refused(String),
    /// It uses a relation that the agent may not use, maybe behind a view, so that the name is not always the caller's.
    #[error(
        "this token may not use {relation}; it may use the schemas {schemas}, and views over these, but nothing that tells of others' statements or sequences"
    )]
    OutOfBounds {
        /// The relation, with its schema.
        relation: String,
        /// What the agent may use.
        schemas: String,
    },
    /// It changes more rows than it may.
    #[error("the statement changes more than {}, so nothing was changed", row_count(*.0))]
    TooManyRows(u64),
    /// There is no connection to run it on.
    #[error(transparent)]
    NoConnection(#[from] LeaseError),
    /// The connection was lost before anything ran.
    #[error("the connection to the database was lost before the query ran")]
    NeverBegan(#[source] Cause),
    /// The connection was lost while the query ran.
    #[error("the connection to the database was lost while the query ran")]
    Lost(#[source] Cause),
    /// It is unknown whether a change was committed; the text says why.
    #[error("it is not known whether the change was kept: COMMIT was sent, and {0}")]
    InDoubt(String),
    /// PostgreSQL refused it; the number is how many characters we put before the query.
    #[error("PostgreSQL refused the query")]
    Database(Box<Complaint>, u32),
    /// PostgreSQL refused it, and there is more help than what it said.
    #[error("{source}")]
    Helped {
        /// What PostgreSQL said.
        source: Box<ReadError>,
        /// The nearest names, or what to do, in lines.
        help: String,
    },
    /// PostgreSQL ended it at its time limit.
    #[error("{source}")]
    OutOfTime {
        /// What PostgreSQL said.
        source: Box<ReadError>,
        /// The time limit.
        limit: Duration,
        /// The tables that others have locked against reading.
        locked: Vec<String>,
    },
    /// PostgreSQL accepted it alone, but not as a query inside another.
    #[error("the statement is not a plain query")]
    NotAQuery(Box<Complaint>),
    /// PostgreSQL should have ended it after this time at the latest, and has not.
    #[error("PostgreSQL has neither answered nor ended the query, which had {} ms", .0.as_millis())]
    Unanswered(Duration),
    /// Its first row is larger than a whole result may be.
    #[error("the first row has {size} bytes; a result may have {limit}")]
    RowTooLarge {
        /// Bytes of the row.
        size: usize,
        /// Bytes that a result may have.
        limit: usize,
    },
    /// PostgreSQL sent a row in an unknown form.
    #[error("PostgreSQL wrote a row in an unknown form")]
    Unreadable,
}

/// Why a connection was lost, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Cause(String);

impl From<Error> for Cause {
    fn from(error: Error) -> Self {
        Cause(told(&error))
    }
}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Self {
        Cause(error.to_string())
    }
}

impl From<Complaint> for Cause {
    fn from(complaint: Complaint) -> Self {
        let (message, code) = (short(complaint.message()), complaint.code().code());
        Cause(format!("{message} (SQLSTATE {code})"))
    }
}

impl ReadError {
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        ReadError::Refused(message.into())
    }

    /// Returns the error for a connection that was unusable from the start.
    pub(crate) fn never_began(cause: impl Into<Cause>) -> Self {
        ReadError::NeverBegan(cause.into())
    }

    /// Returns the error for a connection that was lost midway.
    pub(crate) fn lost(cause: impl Into<Cause>) -> Self {
        ReadError::Lost(cause.into())
    }

    /// Classifies an error at the beginning of a transaction.
    pub(crate) fn of_beginning(error: Error) -> Self {
        match error.as_db_error() {
            Some(db) if !error.is_closed() => ReadError::of_first_step(db.into()),
            _ => ReadError::never_began(error),
        }
    }

    /// Classifies what PostgreSQL said about the beginning of a transaction, when nothing has run yet: it is about the
    /// role or the settings of the policy, unless the server or the connection is ending, or the server is a standby.
    pub(super) fn of_first_step(complaint: Complaint) -> Self {
        let code = complaint.code().code();
        if ["08", "57"].iter().any(|class| code.starts_with(class)) {
            return ReadError::never_began(complaint);
        }
        if STANDBY.contains(&code) {
            return ReadError::refused(format!(
                "this server is a standby, which only reads: {} (SQLSTATE {code}); the operator must name the primary, or all hosts with target_session_attrs=read-write",
                short(complaint.message())
            ));
        }
        ReadError::refused(format!(
            "PostgreSQL refused what the token's policy asks for: {} (SQLSTATE {code}); the operator must grant the role, or change the token",
            short(complaint.message())
        ))
    }

    /// Classifies an error of the statement itself, which begins `prefix` characters into what was sent.
    pub(crate) fn of_statement(error: Error, prefix: u32) -> Self {
        match error.as_db_error() {
            Some(db) => ReadError::of_complaint(db.into(), prefix),
            None => ReadError::lost(error),
        }
    }

    /// Classifies an error of the statement inside ours, which begins `prefix` characters into what was sent.
    pub(super) fn of_wrapping(error: Error, prefix: u32) -> Self {
        match error.as_db_error() {
            Some(db) => ReadError::of_form(db.into(), prefix),
            None => ReadError::lost(error),
        }
    }

    /// Returns the error for what PostgreSQL said about the statement, which begins `prefix` characters into what was
    /// sent.
    pub(crate) fn of_complaint(complaint: Complaint, prefix: u32) -> Self {
        ReadError::Database(Box::new(complaint), prefix)
    }

    /// Classifies what PostgreSQL said about the statement inside ours.
    ///
    /// By then PostgreSQL has parsed the statement alone, so that a syntax error means that it is not a query; a `WITH`
    /// that writes is refused as an unsupported feature. We send no values for a statement's own parameters, so that
    /// one which has some violates the protocol.
    pub(super) fn of_form(complaint: Complaint, prefix: u32) -> Self {
        match complaint.code() {
            code if *code == SqlState::PROTOCOL_VIOLATION => ReadError::refused(PARAMETERS),
            code if *code == SqlState::SYNTAX_ERROR || *code == SqlState::FEATURE_NOT_SUPPORTED => {
                ReadError::NotAQuery(Box::new(complaint))
            }
            _ => ReadError::of_complaint(complaint, prefix),
        }
    }

    /// Returns whether PostgreSQL's parser rejected the text, so that it is not SQL at all.
    ///
    /// SQLSTATE 42601 alone does not say so: it is also given for statements that parse but make no sense. The name of
    /// the routine that reports it does, in whatever language the message is.
    pub(crate) fn is_not_sql(&self) -> bool {
        match self {
            ReadError::Database(db, 0) => {
                *db.code() == SqlState::SYNTAX_ERROR && db.routine() == Some("scanner_yyerror")
            }
            ReadError::Helped { source, .. } => source.is_not_sql(),
            _ => false,
        }
    }

    /// Returns whether another query may do better, so that its author can fix it.
    pub(crate) fn is_about_the_query(&self) -> bool {
        match self {
            ReadError::Refused(_)
            | ReadError::OutOfBounds { .. }
            | ReadError::NotAQuery(_)
            | ReadError::RowTooLarge { .. }
            | ReadError::TooManyRows(_) => true,
            ReadError::Database(db, _) => {
                let code = db.code().code();
                !ABOUT_OTHERS.iter().any(|class| code.starts_with(class))
            }
            ReadError::Helped { source, .. } => source.is_about_the_query(),
            _ => false,
        }
    }

    /// Returns whether the error contains PostgreSQL's own words, which may quote what the database holds, or a name.
    pub(crate) fn is_of_postgresql(&self) -> bool {
        match self {
            ReadError::Database(..)
            | ReadError::OutOfBounds { .. }
            | ReadError::Helped { .. }
            | ReadError::OutOfTime { .. }
            | ReadError::NeverBegan(_)
            | ReadError::Lost(_) => true,
            ReadError::NoConnection(cause) => matches!(cause, LeaseError::Unreachable { .. }),
            _ => false,
        }
    }

    /// Returns whether PostgreSQL could not process a value (SQLSTATE class 22).
    pub(super) fn is_about_values(&self) -> bool {
        matches!(self, ReadError::Database(db, _) if db.code().code().starts_with("22"))
    }

    /// Returns whether PostgreSQL has no operator for the types that it found, or several.
    pub(super) fn is_about_operators(&self) -> bool {
        matches!(self, ReadError::Database(db, _) if OPERATORS.contains(&db.code().code()))
    }

    /// Returns whether the form in which the query was sent may be the reason that there is no result: it did not run,
    /// or what it returned was too large.
    pub(super) fn may_be_of_the_form(&self) -> bool {
        match self {
            ReadError::Refused(_)
            | ReadError::OutOfBounds { .. }
            | ReadError::NotAQuery(_)
            | ReadError::RowTooLarge { .. } => true,
            ReadError::Database(db, _) => {
                let code = db.code().code();
                db.position().is_some() || ABOUT_FORM.iter().any(|class| code.starts_with(class))
            }
            _ => false,
        }
    }

    /// Returns PostgreSQL's code (SQLSTATE) of the error, if it has one.
    pub(crate) fn sqlstate(&self) -> Option<[u8; 5]> {
        match self {
            ReadError::Database(db, _) | ReadError::NotAQuery(db) => {
                db.code().code().as_bytes().try_into().ok()
            }
            ReadError::Helped { source, .. } | ReadError::OutOfTime { source, .. } => {
                source.sqlstate()
            }
            _ => None,
        }
    }

    /// Returns whether the query was cancelled, by a time limit or by somebody, or is being cancelled.
    pub(crate) fn is_cancelled(&self) -> bool {
        match self {
            ReadError::Unanswered(_) | ReadError::OutOfTime { .. } => true,
            ReadError::Database(db, _) => *db.code() == SqlState::QUERY_CANCELED,
            _ => false,
        }
    }

    /// Returns whether PostgreSQL ended the query because it ran for too long.
    pub(crate) fn is_timeout(&self) -> bool {
        match self {
            ReadError::Database(db, _) => {
                *db.code() == SqlState::QUERY_CANCELED && !is_cancelled_by_somebody(db)
            }
            ReadError::OutOfTime { .. } => true,
            _ => false,
        }
    }

    /// Says what happened and what to do, for the model that wrote the query.
    pub(crate) fn explain(&self) -> String {
        match self {
            ReadError::Database(db, prefix) => {
                explain_database(db, short(db.message()), position(db, *prefix), QUERY)
            }
            ReadError::Helped { source, help } => format!("{}\n{help}", source.explain()),
            ReadError::OutOfTime {
                source,
                limit,
                locked,
            } => {
                let told = match &**source {
                    ReadError::Database(db, prefix) => {
                        described(db, short(db.message()), position(db, *prefix), QUERY)
                    }
                    other => other.explain(),
                };
                format!(
                    "{told}\nLIMIT: {limit:?} for one statement\n{}",
                    in_time(locked)
                )
            }
            ReadError::NotAQuery(db) => format!(
                "ERROR: only one plain query is run here: SELECT, VALUES, TABLE, or WITH ending in one of them\n\
                 SQLSTATE: {}\n\
                 HINT: nothing can be changed with this tool, but with execute_write where that is listed; for SHOW x write SELECT current_setting('x'), for EXPLAIN call execute_explain",
                db.code().code()
            ),
            ReadError::Unanswered(_) => format!(
                "ERROR: {self}\nHINT: the connection hangs, or the database's server was stopped or has too much to do, and nothing was changed: try again in a moment, and tell the operator if it stays so"
            ),
            ReadError::InDoubt(_) => format!(
                "ERROR: {self}\nHINT: look with a query whether it is there before you try again, or it may be made twice"
            ),
            ReadError::RowTooLarge { .. } => {
                format!(
                    "ERROR: {self}\nHINT: select fewer columns, or parts of them with left() or substring()"
                )
            }
            ReadError::NoConnection(LeaseError::Lost(_)) => format!(
                "ERROR: {self}\nHINT: nothing was run; make temporary tables, settings and prepared statements again. A session of open_session has ended with it: open a new one"
            ),
            ReadError::NoConnection(LeaseError::NotKept) => format!("ERROR: {}", not_open()),
            ReadError::NoConnection(LeaseError::Unreachable { source, .. }) => {
                let (told, remedy) = (source.to_string(), source.remedy());
                format!(
                    "ERROR: {self}: {}\nHINT: whoever runs this server should {remedy}",
                    short(&told)
                )
            }
            ReadError::NeverBegan(cause) | ReadError::Lost(cause) => {
                format!("ERROR: {self}: {cause}\nHINT: {WENT_AWAY}")
            }
            ReadError::TooManyRows(_) => format!(
                "ERROR: {self}; narrow it, or allow more with max_rows, as far as the operator does"
            ),
            other => format!("ERROR: {other}"),
        }
    }

    /// Says what happened and what to do, for the model that wrote a condition, without the text around the condition.
    pub(crate) fn explain_in(&self, part: &Part<'_>) -> String {
        match self {
            ReadError::Helped { source, help } => {
                format!("{}\n{help}", source.explain_in(part))
            }
            ReadError::Database(db, prefix) => {
                let before = u32::try_from(part.before.chars().count()).unwrap_or(u32::MAX);
                let length = part.text.chars().count();
                let at = position(db, prefix.saturating_add(before));
                let is_behind = at.is_some_and(|at| at as usize > length);
                if is_behind && *db.code() == SqlState::SYNTAX_ERROR {
                    return explain_database(db, "the condition ends too early", None, CONDITION);
                }
                // The text around it may be wrong as well, as with a table that does not exist.
                let at = at.filter(|_| !is_behind);
                let message = db.message().replace(part.after, "");
                let told = explain_database(db, short(&message), at, CONDITION);
                // In our text the condition stands beside a boolean, and it has another type.
                let is_no_boolean = *db.code() == SqlState::DATATYPE_MISMATCH
                    && db.routine() == Some("select_common_type");
                if is_no_boolean {
                    told + "\nHINT: a condition is true or false as a whole, such as price > 10"
                } else {
                    told
                }
            }
            other => other.explain(),
        }
    }
}

/// Says what to do after a timeout. Asking for less is of no use if others hold a lock.
fn in_time(locked: &[String]) -> String {
    if locked.is_empty() {
        return format!("HINT: {LESS}");
    }
    format!(
        "LOCKED: {}\nHINT: other sessions have locked these tables against everybody, and whatever reads them waits: try again later, or ask the operator who holds the locks (pg_locks, pg_stat_activity)",
        locked.join(", ")
    )
}

/// Says that a session is not open, whether it once was or never existed.
pub(crate) fn not_open() -> String {
    "this session is not open: there is none by that name, or it was closed, was idle for too long, or a call in it was cancelled, ran out of time or lost the connection; then what was in it is gone\n\
     HINT: open a new one with open_session"
        .into()
}

/// Returns where in the query PostgreSQL found the mistake, in characters counted from 1.
pub(super) fn position(db: &Complaint, prefix: u32) -> Option<u32> {
    match db.position() {
        Some(ErrorPosition::Original(at)) => at.checked_sub(prefix).filter(|at| *at > 0),
        _ => None,
    }
}

/// Returns whether somebody cancelled a query. Only the message tells that from a time limit, so that it is taken for
/// one if the message is not in English.
fn is_cancelled_by_somebody(db: &Complaint) -> bool {
    *db.code() == SqlState::QUERY_CANCELED && db.message().ends_with("due to user request")
}

fn remedy(db: &Complaint) -> Option<&'static str> {
    if is_cancelled_by_somebody(db) {
        return Some(CANCELLED);
    }
    let mut remedies = REMEDIES.iter();
    let found = remedies.find(|(beginning, _)| db.code().code().starts_with(beginning));
    found.map(|(_, remedy)| *remedy)
}

/// Writes what PostgreSQL said, and what to do about it.
fn explain_database(db: &Complaint, message: &str, at: Option<u32>, asked_for: &str) -> String {
    let text = described(db, message, at, asked_for);
    match remedy(db) {
        Some(remedy) => format!("{text}\nHINT: {remedy}"),
        None => text,
    }
}

/// Writes what PostgreSQL said.
fn described(db: &Complaint, message: &str, at: Option<u32>, asked_for: &str) -> String {
    let mut text = format!("ERROR: {message}\nSQLSTATE: {}", db.code().code());
    if let Some(at) = at {
        _ = write!(text, "\nPOSITION: {at}");
    }
    for (label, part) in [
        ("DETAIL", db.detail()),
        ("HINT", db.hint()),
        ("CONTEXT", db.context()),
    ] {
        if let Some(part) = part {
            _ = write!(text, "\n{label}: {}", short(part));
        }
    }
    if *db.code() == SqlState::SYNTAX_ERROR && db.hint().is_none() {
        _ = write!(text, "\nHINT: write {asked_for}");
    }
    text
}

/// Returns the cause of a lost or refused connection. It never contains a connection string.
fn told(error: &Error) -> String {
    if let Some(db) = error.as_db_error() {
        return Cause::from(Complaint::from(db)).0;
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
