//! Selecting one token among many as people do: by its id, or by how its hash begins.

use std::{fmt, str::FromStr, sync::Arc};

use crate::token::{Token, TokenId};

/// The fewest digits of a hash that can name a token.
const MIN_DIGITS: usize = 8;
const MAX_DIGITS: usize = 64;

/// A whole token id, or the first 8 to 64 digits of a hash in either case, unless they are a whole
/// id. The hash of a secret that was replaced counts, too.
#[derive(Clone, PartialEq, Eq)]
pub struct Selector {
    text: String,
}

/// Why a selector does not name exactly one token.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SelectError {
    /// Digits of a hash, but too few to identify a token.
    #[error(
        "{0} digits of a hash are too few to name a token; give at least {MIN_DIGITS}, or the whole id"
    )]
    TooShort(usize),
    /// No token has this id or hash.
    #[error("no token has this id, or a hash that begins so; list all tokens to see what there is")]
    Unknown,
    /// Several tokens match, in order of creation.
    #[error("several tokens fit; give the whole id, or more digits of the hash")]
    Ambiguous(Vec<Arc<Token>>),
}

impl Selector {
    /// Returns the text. It may be a token that somebody gave in the wrong place, so do not put it
    /// into messages.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Finds the one token that matches.
    ///
    /// # Errors
    /// None matches, or several do.
    pub fn find<'a>(
        &self,
        tokens: impl Iterator<Item = &'a Arc<Token>>,
    ) -> Result<Arc<Token>, SelectError> {
        let fits = |token: &&Arc<Token>| self.is_id_of(token) || self.begins_hash_of(token);
        let mut found: Vec<_> = tokens.filter(fits).cloned().collect();
        // A whole id means itself. If a hash that begins with the same digits counted as well, no
        // id could name that token.
        if found.iter().any(|token| self.is_id_of(token)) {
            found.retain(|token| self.is_id_of(token));
        }
        match (found.len(), found.pop()) {
            (1, Some(token)) => Ok(token),
            (0, _) | (_, None) => Err(self.unknown()),
            (_, Some(last)) => {
                found.push(last);
                Err(SelectError::Ambiguous(found))
            }
        }
    }

    fn is_id_of(&self, token: &Token) -> bool {
        token.id.as_str() == self.text
    }

    fn begins_hash_of(&self, token: &Token) -> bool {
        (MIN_DIGITS..=MAX_DIGITS).contains(&self.text.len())
            && self.is_hexadecimal()
            && token
                .hashes()
                .any(|hash| hash.to_hex().starts_with(&self.text.to_ascii_lowercase()))
    }

    fn is_hexadecimal(&self) -> bool {
        self.text.bytes().all(|digit| digit.is_ascii_hexdigit())
    }

    fn unknown(&self) -> SelectError {
        let count = self.text.len();
        if count > 0 && count < MIN_DIGITS && self.is_hexadecimal() {
            return SelectError::TooShort(count);
        }
        SelectError::Unknown
    }
}

impl From<&TokenId> for Selector {
    fn from(id: &TokenId) -> Self {
        Self {
            text: id.as_str().to_owned(),
        }
    }
}

impl FromStr for Selector {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self {
            text: text.to_owned(),
        })
    }
}

/// Does not show the text, which may be a token given by mistake.
impl fmt::Debug for Selector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Selector(..)")
    }
}
