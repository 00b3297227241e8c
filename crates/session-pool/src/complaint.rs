//! What PostgreSQL says when it refuses something.

use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::ErrorResponseBody;
use tokio_postgres::error::{DbError, ErrorPosition, SqlState};

/// An error that PostgreSQL reported, field by field (PostgreSQL documentation, section 55.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    code: SqlState,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
    position: Option<ErrorPosition>,
    context: Option<String>,
    routine: Option<String>,
}

impl Complaint {
    /// Reads what PostgreSQL sent. Bytes that are not UTF-8, which messages before a login may
    /// have, are replaced.
    pub(crate) fn read(body: &ErrorResponseBody) -> Self {
        let mut complaint = Complaint {
            code: SqlState::INTERNAL_ERROR,
            message: String::new(),
            detail: None,
            hint: None,
            position: None,
            context: None,
            routine: None,
        };
        let mut fields = body.fields();
        let (mut internal_at, mut internal_query) = (None, None);
        while let Ok(Some(field)) = fields.next() {
            let value = || String::from_utf8_lossy(field.value_bytes()).into_owned();
            match field.type_() {
                b'C' => complaint.code = SqlState::from_code(&value()),
                b'M' => complaint.message = value(),
                b'D' => complaint.detail = Some(value()),
                b'H' => complaint.hint = Some(value()),
                b'W' => complaint.context = Some(value()),
                b'R' => complaint.routine = Some(value()),
                b'P' => complaint.position = value().parse().ok().map(ErrorPosition::Original),
                b'p' => internal_at = value().parse().ok(),
                b'q' => internal_query = Some(value()),
                _ => {}
            }
        }
        if let (Some(position), Some(query)) = (internal_at, internal_query) {
            complaint.position = Some(ErrorPosition::Internal { position, query });
        }
        complaint
    }

    /// The SQLSTATE.
    #[must_use]
    pub fn code(&self) -> &SqlState {
        &self.code
    }

    /// What is wrong, in one line.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// More about what is wrong.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Where in the statement, in characters, counted from 1.
    #[must_use]
    pub fn position(&self) -> Option<&ErrorPosition> {
        self.position.as_ref()
    }

    /// What PostgreSQL was doing: a call stack of functions.
    #[must_use]
    pub fn context(&self) -> Option<&str> {
        self.context.as_deref()
    }

    /// Which function of PostgreSQL's source reported it; unlike the message, this is never translated.
    #[must_use]
    pub fn routine(&self) -> Option<&str> {
        self.routine.as_deref()
    }
}

impl From<&DbError> for Complaint {
    fn from(error: &DbError) -> Self {
        Complaint {
            code: error.code().clone(),
            message: error.message().to_owned(),
            detail: error.detail().map(str::to_owned),
            hint: error.hint().map(str::to_owned),
            position: error.position().cloned(),
            context: error.where_().map(str::to_owned),
            routine: error.routine().map(str::to_owned),
        }
    }
}
