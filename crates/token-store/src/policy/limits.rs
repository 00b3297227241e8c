//! How much a token may use.

use std::{fmt::Display, num::NonZeroU32};

use super::{ByteSize, InvalidPolicy, Span, invalid};

/// How much a token may use; `None` means the server's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Rows per result.
    pub rows: Option<NonZeroU32>,
    /// Bytes per result.
    pub bytes: Option<ByteSize>,
    /// Time per statement.
    pub statement_timeout: Option<Span>,
    /// Tool calls that run at once.
    pub concurrent: Option<NonZeroU32>,
    /// Tool calls per minute.
    pub calls_per_minute: Option<NonZeroU32>,
    /// Connections per database.
    pub connections: Option<NonZeroU32>,
}

/// One limit: its name in the file, and how to read and write it.
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

/// Makes the table row for a field.
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

/// All limits. The file's grammar, the command line and the help are generated from this table.
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
    /// The text is not a valid value of this limit.
    pub fn set(&self, limits: &mut Limits, text: Option<&str>) -> Result<(), InvalidPolicy> {
        // `str::parse` accepts a leading plus sign, which the file must not have.
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

    /// Returns the limit's value, whose text can be read back.
    pub(crate) fn value<'a>(&self, limits: &'a Limits) -> Option<&'a dyn Display> {
        (self.value)(limits)
    }
}
