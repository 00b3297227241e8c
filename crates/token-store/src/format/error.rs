//! What is wrong with a file, where, and what to do about it.

use std::fmt;

use crate::{
    policy::InvalidPolicy,
    token::{InvalidId, TokenId},
};

/// Why a file's content is refused. It is refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct FormatError {
    /// The line, counted from 1, if known.
    pub line: Option<u64>,
    /// The token's id, if known.
    pub token: Option<TokenId>,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a file's content. Each message names the fix, and none repeats a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The bytes are not UTF-8.
    #[error("the file is not UTF-8 text; restore it from a backup, or convert it")]
    NotUtf8,
    /// The text is not YAML.
    #[error("not valid YAML ({0}); mend the line, or restore the file from a backup")]
    Syntax(String),
    /// Reading the file would cost more than any list of tokens.
    #[error(
        "the YAML is refused ({0}); a token file is a plain list of tokens, without anchors, aliases, tags and deep nesting"
    )]
    Excess(String),
    /// A key occurs twice in one mapping.
    #[error("the same key stands twice in one mapping; delete one of the two")]
    DuplicateKey,
    /// There is no `tokens:` at the top level.
    #[error(
        "no token file: it has no `tokens:` at the top; name another file, or begin it with `tokens:`"
    )]
    NoTokens,
    /// A key at the top level is nearly, but not exactly, `tokens`.
    #[error(
        "a key at the top is nearly `tokens` and not it, so that nothing under it would count; call it `tokens:`, or delete it"
    )]
    NearlyTokens,
    /// `tokens:` holds neither a list nor a mapping.
    #[error("`tokens:` must hold a list of entries; write `tokens: []` for none")]
    TokensShape,
    /// An entry is not a mapping.
    #[error(
        "the entry is not a mapping; write `id:`, `hash:` and `created_at:` in it, or delete it"
    )]
    EntryShape,
    /// A required field is missing or empty.
    #[error("the field `{0}` is missing; {fix}", fix = if *.0 == "created_at" { "write when the token was made, as \"2025-10-30T10:15:30Z\"" } else { "delete the entry and add a new token" })]
    Missing(&'static str),
    /// A field holds a list or a mapping.
    #[error("the field `{0}` must be a plain text, not a list or a mapping")]
    NotText(&'static str),
    /// An id is invalid.
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// An entry of the map form has an `id` that differs from its key.
    #[error("the entry's key and its `id` differ; delete the `id` line")]
    TwoIds,
    /// The note is given under both of its names.
    #[error("the entry has a `note` and an `annotation`; delete the `annotation`")]
    TwoNotes,
    /// A hash is invalid.
    #[error(
        "the `hash` is not 64 hexadecimal digits; it is the SHA-256 of the token, never the token itself: delete the entry and add a new token"
    )]
    Hash,
    /// A database name is empty or has control characters, or a list of them is empty or has a duplicate.
    #[error(
        "the `database` is not a name, and no list of different names; write a configured database, or delete the line for the first one"
    )]
    Database,
    /// The databases are given under both of their names.
    #[error("the entry has a `database` and `databases`; delete one of the two")]
    TwoDatabases,
    /// A field of the policy is invalid.
    #[error(transparent)]
    Policy(#[from] InvalidPolicy),
    /// A time is invalid.
    #[error("the field `{0}` is no time; write it like \"2025-10-30T10:15:30Z\"{or}", or = if *.0 == "expires_at" { ", or null for never" } else { "" })]
    Time(&'static str),
    /// A time has no UTC offset, so it could be any moment within 26 hours.
    #[error(
        "the field `{0}` has no offset from UTC; end it with Z, as in \"2025-10-30T10:15:30Z\", or with an offset such as +02:00"
    )]
    NaiveTime(&'static str),
    /// An earlier entry has the same id.
    #[error("an earlier entry has the same id; change one of the two, or delete it")]
    DuplicateId,
    /// The same hash occurs earlier.
    #[error(
        "the same hash stands there before, as that of a token or of its `previous`; delete one of the two"
    )]
    DuplicateHash,
}

impl FormatError {
    pub(super) fn at(line: u64, problem: Problem) -> Self {
        Self {
            line: (line > 0).then_some(line),
            token: None,
            problem,
        }
    }
}

impl fmt::Display for FormatError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(out, "line {line}: ")?;
        }
        if let Some(token) = &self.token {
            write!(out, "{}: ", redact(token.as_str()))?;
        }
        self.problem.fmt(out)
    }
}

/// Masks what may be a token or a hash: 24 or more consecutive characters of base64 or hexadecimal.
pub(super) fn redact(text: &str) -> String {
    let secret = |character: char| character.is_ascii_alphanumeric() || "-_+/=".contains(character);
    let mut redacted = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c| !secret(c)).unwrap_or(rest.len());
        redacted.push_str(if end < 24 { &rest[..end] } else { "..." });
        rest = &rest[end..];
        let other = rest.find(secret).unwrap_or(rest.len());
        redacted.extend(
            rest[..other]
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c }),
        );
        rest = &rest[other..];
    }
    redacted
}
