//! The content of a token file: what is accepted, and what is written.
//!
//! [`scan`] is the fast path for files as [`write`] writes them; everything else goes to the YAML parser in [`yaml`].
//! Both give the same tokens.

mod entry;
mod error;
mod flow;
pub(crate) mod instant;
mod policy;
mod scan;
mod write;
mod yaml;

pub use entry::entry_fields;
pub use error::{FormatError, Problem};
pub(crate) use write::write;

use crate::set::TokenSet;

/// A YAML value of unknown meaning that is kept for the next write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    /// A number or boolean as it was spelled.
    Plain(String),
    Text(String),
    List(Vec<Value>),
    Map(Vec<(Value, Value)>),
}

impl Value {
    /// Returns a text, or a number or boolean as it was spelled.
    pub(crate) fn scalar(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Plain(text) => Some(text),
            Self::Null | Self::List(_) | Self::Map(_) => None,
        }
    }
}

/// Reads a whole file's content; unchanged tokens are shared with the older set.
pub(crate) fn parse(content: &[u8], old: &TokenSet) -> Result<TokenSet, FormatError> {
    let text = str::from_utf8(content).map_err(|error| {
        let before = &content[..error.valid_up_to()];
        FormatError::at(line_after(before), Problem::NotUtf8)
    })?;
    // A file with a duplicate also goes to the slower parser, which knows the line numbers.
    if let Some(set) = scan::scan(text, old) {
        return Ok(set);
    }
    yaml::parse(text, old)
}

fn line_after(before: &[u8]) -> u64 {
    before.iter().filter(|byte| **byte == b'\n').count() as u64 + 1
}

/// The two readers separately, so that a test can compare them.
#[doc(hidden)]
pub mod readers {
    use super::{FormatError, TokenSet, scan, yaml};

    /// Reads with the scanner alone; `None` if the text is not in the writer's own form.
    #[must_use]
    pub fn scanner(text: &str) -> Option<TokenSet> {
        scan::scan(text, &TokenSet::default())
    }

    /// Reads with the YAML parser alone.
    ///
    /// # Errors
    /// As [`TokenSet::parse`].
    pub fn parser(text: &str) -> Result<TokenSet, FormatError> {
        yaml::parse(text, &TokenSet::default())
    }
}
