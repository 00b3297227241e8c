//! What a token may use up.

use std::{fmt::Display, num::NonZeroU32};

use super::{ByteSize, InvalidPolicy, Span, invalid};

/// What a token may use up; `None` is the server's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Rows of one result.
    pub rows: Option<NonZeroU32>,
    /// Bytes of one result.
    pub bytes: Option<ByteSize>,
    /// Time for one statement.
    pub statement_timeout: Option<Span>,
    /// Calls of tools that run at once.
    pub concurrent: Option<NonZeroU32>,
    /// Calls of tools a minute.
    pub calls_per_minute: Option<NonZeroU32>,
    /// Connections to each database.
    pub connections: Option<NonZeroU32>,
}

/// One limit: its name in the file, and how it is read and written.
#[derive(Debug)]
pub struct Limit {
    /// The name in the file.
    pub name: &'static str,
    /// What it limits, in the plural or with its unit.
    pub what: &'static str,
    /// The dotted path, for messages.
    path: &'static str,
    must: &'static str,
    read: fn(&mut Limits, Option<&str>) -> Option<()>,
    value: fn(&Limits) -> Option<&dyn Display>,
}

const COUNT: &str =
    "must be a whole number from 1 to 4294967295; delete it for the server's default";
const SIZE: &str = "must be a size from 1 to 1GiB, such as 65536, 256KiB or 1MiB; delete it for the server's default";
const SPAN: &str = "must be a span of time above zero, in ms, s, m and h, such as 500ms, 10s or 1m30s; delete it for the server's default";

/// Makes the table's row of a field.
macro_rules! limit {
    ($field:ident, $must:ident, $what:literal) => {
        Limit {
            name: stringify!($field),
            what: $what,
            path: concat!("limits.", stringify!($field)),
            must: $must,
            read: |limits, text| {
                limits.$field = text.map(str::parse).transpose().ok()?;
                Some(())
            },
            value: |limits| limits.$field.as_ref().map(|limit| limit as &dyn Display),
        }
    };
}

/// Every limit there is: the file's grammar, the command line and the help are made from this table.
pub static LIMITS: [Limit; 6] = [
    limit!(rows, COUNT, "rows of one result"),
    limit!(bytes, SIZE, "bytes of one result, such as 256KiB"),
    limit!(
        statement_timeout,
        SPAN,
        "time for one statement, such as 10s"
    ),
    limit!(concurrent, COUNT, "calls that run at once"),
    limit!(calls_per_minute, COUNT, "calls in a minute"),
    limit!(connections, COUNT, "connections to each database"),
];

impl Limit {
    /// Sets the limit, or gives it the default again with `None`.
    ///
    /// # Errors
    /// The text is no such limit.
    pub fn set(&self, limits: &mut Limits, text: Option<&str>) -> Result<(), InvalidPolicy> {
        // `str::parse` takes a leading plus sign, which the file must not have.
        let plain = text.is_none_or(|text| !text.starts_with('+'));
        let mut changed = *limits;
        let read = plain.then(|| (self.read)(&mut changed, text)).flatten();
        read.ok_or(invalid(self.path, self.must))?;
        *limits = changed;
        Ok(())
    }

    /// Writes the limit as it is read; `None` when it is not set.
    #[must_use]
    pub fn text(&self, limits: &Limits) -> Option<String> {
        self.value(limits).map(ToString::to_string)
    }

    /// Returns the limit, which is written as it is read.
    pub(crate) fn value<'a>(&self, limits: &'a Limits) -> Option<&'a dyn Display> {
        (self.value)(limits)
    }
}
