//! One token's record.

use std::{fmt, str::FromStr};

use time::OffsetDateTime;

use crate::{
    format::Value,
    policy::{KeptPolicy, Names},
    secret::TokenHash,
};

/// A token's name in lists, logs and other programs: 1 to 59 of `A-Z a-z 0-9 . _ -`, starting with a letter or digit.
///
/// Even with a prefix such as `mcp/` it fits PostgreSQL's limit of 63 bytes for a name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenId(Box<str>);

impl TokenId {
    /// The maximum length of an id, in characters.
    pub const MAX_LENGTH: usize = 59;

    /// Returns the id of a token made in this second since 1970: `token-1730283330`.
    #[must_use]
    pub fn numbered(number: u64) -> Self {
        Self(format!("token-{number}").into())
    }

    /// Returns the number of an id such as `token-1730283330`.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        let digits = self.0.strip_prefix("token-")?;
        digits.parse().ok()
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TokenId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let valid = text.len() <= Self::MAX_LENGTH
            && text.bytes().all(inner)
            && text.starts_with(|first: char| first.is_ascii_alphanumeric());
        valid.then(|| Self(text.into())).ok_or(InvalidId)
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.0)
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// A text is not a token id. It is not repeated, because it may be a secret in the wrong place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a token id is 1 to {max} letters, digits, `.`, `_` or `-` and begins with a letter or digit",
    max = TokenId::MAX_LENGTH
)]
pub struct InvalidId;

/// A secret that was replaced and is still accepted for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Previous {
    /// The hash of its text, unique in its file.
    pub hash: TokenHash,
    /// When it stops being accepted, in UTC. It is refused from this moment on.
    pub until: OffsetDateTime,
}

/// The record of a token. The token's text is not in it and cannot be computed from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// Its name, unique in its file.
    pub id: TokenId,
    /// The hash of its text, unique in its file.
    pub hash: TokenHash,
    /// A human-written description; may hold any characters.
    pub note: Box<str>,
    /// The configured databases that it may use, its own first; if empty, it may use the first
    /// configured one.
    pub databases: Option<Names>,
    /// When it was created, in UTC.
    pub created_at: OffsetDateTime,
    /// When it stops being accepted, in UTC: it is refused from this moment on. `None` means it never expires.
    pub expires_at: Option<OffsetDateTime>,
    /// The secret that it had before it was rotated, which is accepted until its own end.
    pub previous: Option<Box<Previous>>,
    /// What it may do and how much it may use.
    pub policy: KeptPolicy,
    /// Fields of its entry that this version does not know, kept for the next write.
    pub(crate) unknown: Box<[(Value, Value)]>,
}

impl Token {
    /// Makes a record with no note, no database, no expiry and no policy.
    #[must_use]
    pub fn new(id: TokenId, hash: TokenHash, created_at: OffsetDateTime) -> Self {
        Self {
            id,
            hash,
            note: Box::default(),
            databases: None,
            created_at,
            expires_at: None,
            previous: None,
            policy: KeptPolicy::default(),
            unknown: Box::default(),
        }
    }

    /// Says whether the token has expired: true from `expires_at` on.
    #[must_use]
    pub fn is_expired(&self, now: OffsetDateTime) -> bool {
        self.expires_at.is_some_and(|end| now >= end)
    }

    /// Says whether it was removed when a full disk left no room to remove its entry
    /// ([`TokenFile::spoil`](crate::TokenFile::spoil)): it is no longer accepted.
    #[must_use]
    pub fn is_spoiled(&self) -> bool {
        self.hash.is_nobodys()
    }

    /// Returns the name of its own database; `None` is the first configured one.
    #[must_use]
    pub fn database(&self) -> Option<&str> {
        self.databases.as_ref().map(Names::first)
    }

    /// Names the fields of its entry that this version does not know. One of them may be a misspelled limit.
    pub fn unknown_fields(&self) -> impl Iterator<Item = &str> {
        self.unknown.iter().filter_map(|(key, _)| key.scalar())
    }

    /// Says whether everything that this version knows of both is the same.
    pub(crate) fn is_known_alike(&self, other: &Self) -> bool {
        let Self {
            id,
            hash,
            note,
            databases,
            created_at,
            expires_at,
            previous,
            policy,
            unknown: _,
        } = self;
        (*id == other.id && *hash == other.hash && *note == other.note)
            && (*databases == other.databases && *policy == other.policy)
            && (*created_at == other.created_at && *expires_at == other.expires_at)
            && *previous == other.previous
    }

    /// Iterates over the hashes of all its secrets.
    pub fn hashes(&self) -> impl Iterator<Item = TokenHash> {
        let previous = self.previous.as_ref().map(|previous| previous.hash);
        std::iter::once(self.hash).chain(previous)
    }
}
