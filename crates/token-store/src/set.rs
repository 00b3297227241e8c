//! All tokens of a file as one immutable snapshot.

use std::{fmt, sync::Arc};

use time::OffsetDateTime;

use crate::{
    format::{self, FormatError, Value},
    index::Index,
    secret::{TokenHash, is_accepted},
    token::{Token, TokenId},
};

/// An immutable snapshot of all tokens. Share it as `Arc<TokenSet>`.
#[derive(Clone, Debug, Default)]
pub struct TokenSet {
    /// In order of creation.
    tokens: Vec<Arc<Token>>,
    /// Where the hashes of their secrets are; see [`hash_at`].
    by_hash: Index,
    /// Top-level fields of the file other than `tokens`.
    unknown: Vec<(Value, Value)>,
}

/// Why a presented token is not accepted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// No token of the set has this text.
    #[error("the token is unknown")]
    Unknown,
    /// The token was good until its `expires_at`; use the record for logs only.
    #[error("the token has expired")]
    Expired(Arc<Token>),
    /// The secret was replaced by a new one and is no longer accepted; use the record for logs only.
    #[error("the token was replaced by a new one")]
    Replaced(Arc<Token>),
}

/// A token that was accepted; it dereferences to its record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Accepted<'a> {
    /// The record.
    pub token: &'a Arc<Token>,
    /// When the presented secret is no longer accepted, if that is before the end of the token
    /// itself because it was replaced.
    pub replaced_from: Option<OffsetDateTime>,
}

impl std::ops::Deref for Accepted<'_> {
    type Target = Token;

    fn deref(&self) -> &Token {
        self.token
    }
}

/// Two tokens share something that must be unique.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Duplicate {
    /// The id of both.
    #[error("two tokens have the id {0}")]
    Id(TokenId),
    /// The ids of the two tokens with one hash; the same id twice if one token has it as its own
    /// and as its previous one.
    #[error("{}", same_hash(.0, .1))]
    Hash(TokenId, TokenId),
}

fn same_hash(one: &TokenId, other: &TokenId) -> String {
    if one == other {
        return format!("the token {one} has this secret already; give it another one");
    }
    format!("the tokens {one} and {other} have the same hash")
}

impl TokenSet {
    /// Makes a set.
    ///
    /// # Errors
    /// Two tokens have the same id or the same hash.
    pub fn new(tokens: Vec<Token>) -> Result<Self, Duplicate> {
        Self::with_unknown(tokens.into_iter().map(Arc::new).collect(), Vec::new())
    }

    pub(crate) fn with_unknown(
        mut tokens: Vec<Arc<Token>>,
        unknown: Vec<(Value, Value)>,
    ) -> Result<Self, Duplicate> {
        tokens.sort_by_key(|token| token.created_at);
        // A list that grew while it was read has memory left over.
        tokens.shrink_to_fit();
        check_ids(&tokens)?;
        Ok(Self {
            by_hash: index_hashes(&tokens)?,
            tokens,
            unknown,
        })
    }

    /// Reads a file's content: the list form, the map form or JSON.
    ///
    /// # Errors
    /// The content is not entirely valid; then none of it is used.
    pub fn parse(content: &[u8]) -> Result<Self, FormatError> {
        format::parse(content, &Self::default())
    }

    /// Reads a file's content as [`TokenSet::parse`] does, as the successor of this snapshot:
    /// tokens that have not changed are shared with it, so that two snapshots of many tokens take
    /// little more memory than one.
    ///
    /// # Errors
    /// As [`TokenSet::parse`].
    ///
    /// ```
    /// use std::sync::Arc;
    /// use token_store::{Secret, Token, TokenId, TokenSet};
    ///
    /// let secret = Secret::generate()?;
    /// let made = time::OffsetDateTime::UNIX_EPOCH;
    /// let before = TokenSet::new(vec![Token::new(TokenId::numbered(1), secret.hash(), made)])?;
    /// let after = before.parse_next(before.to_yaml().as_bytes())?;
    /// let hash = secret.hash();
    /// assert!(Arc::ptr_eq(before.get(&hash).unwrap(), after.get(&hash).unwrap()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn parse_next(&self, content: &[u8]) -> Result<Self, FormatError> {
        format::parse(content, self)
    }

    /// Writes the content of a file, in the list form. A time that a file cannot hold (before the
    /// year 0 or after 9999) is written as the nearest one that it can.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        format::write(&self.tokens, &self.unknown)
    }

    /// Names the top-level keys other than `tokens`, which this version does not know.
    pub fn unknown_keys(&self) -> impl Iterator<Item = &str> {
        self.unknown.iter().filter_map(|(key, _)| key.scalar())
    }

    /// Looks up a presented token: one SHA-256 and one map access, however many tokens there are.
    ///
    /// The time that this takes depends on the hash of the guess, which a guesser cannot choose, so
    /// it reveals nothing about any stored token.
    ///
    /// # Errors
    /// The token is unknown, or has expired or been replaced at `now`. An empty one, or one of more
    /// than [`Secret::MAX_BYTES`](crate::Secret::MAX_BYTES), is unknown.
    ///
    /// ```
    /// use time::{Duration, OffsetDateTime};
    /// use token_store::{Refusal, Secret, Token, TokenId, TokenSet};
    ///
    /// let now = OffsetDateTime::UNIX_EPOCH;
    /// let secret = Secret::generate()?;
    /// let mut token = Token::new(TokenId::numbered(1), secret.hash(), now);
    /// token.expires_at = Some(now + Duration::days(30));
    /// let set = TokenSet::new(vec![token])?;
    ///
    /// assert_eq!(set.authenticate(secret.expose(), now)?.id.as_str(), "token-1");
    /// assert!(matches!(set.authenticate("guess", now), Err(Refusal::Unknown)));
    /// let later = now + Duration::days(30);
    /// assert!(matches!(set.authenticate(secret.expose(), later), Err(Refusal::Expired(_))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn authenticate(
        &self,
        presented: &str,
        now: OffsetDateTime,
    ) -> Result<Accepted<'_>, Refusal> {
        if !is_accepted(presented) {
            return Err(Refusal::Unknown);
        }
        let hash = TokenHash::of(presented);
        let token = self.get(&hash).ok_or(Refusal::Unknown)?;
        if token.is_expired(now) {
            return Err(Refusal::Expired(Arc::clone(token)));
        }
        let previous = token.previous.as_ref();
        let replaced_from = previous
            .filter(|previous| previous.hash == hash)
            .map(|previous| previous.until);
        match replaced_from {
            Some(until) if now >= until => Err(Refusal::Replaced(Arc::clone(token))),
            replaced_from => Ok(Accepted {
                token,
                replaced_from,
            }),
        }
    }

    /// Finds a token by its current hash or its previous one.
    #[must_use]
    pub fn get(&self, hash: &TokenHash) -> Option<&Arc<Token>> {
        self.place(hash).map(|place| &self.tokens[place])
    }

    fn place(&self, hash: &TokenHash) -> Option<usize> {
        let found = self
            .by_hash
            .find(hash, |at| hash_at(&self.tokens, at) == Some(*hash));
        found.map(|at| at / HASHES)
    }

    /// Iterates over all tokens in order of creation.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Token>> {
        self.tokens.iter()
    }

    /// Counts the tokens, expired ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Says whether there are no tokens.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Compares with an older snapshot.
    #[must_use]
    pub fn changes_since(&self, old: &TokenSet) -> Changes {
        let (mut here, mut there) = (self.walk(), old.walk());
        let mut changes = Changes {
            removed: old
                .iter()
                .filter(|token| here.successor(token).is_none())
                .cloned()
                .collect(),
            ..Changes::default()
        };
        for token in &self.tokens {
            match there.predecessor(token) {
                None => changes.added.push(Arc::clone(token)),
                Some(before) if Arc::ptr_eq(before, token) || before == token => {}
                Some(before) => {
                    changes
                        .changed
                        .push((Arc::clone(before), Arc::clone(token)));
                }
            }
        }
        changes
    }

    /// Starts a series of look-ups, roughly in order of creation.
    pub(crate) fn walk(&self) -> Walk<'_> {
        Walk { set: self, next: 0 }
    }

    pub(crate) fn into_parts(self) -> (Vec<Arc<Token>>, Vec<(Value, Value)>) {
        (self.tokens, self.unknown)
    }
}

/// Equal if they have the same tokens with the same fields, in the same order.
impl PartialEq for TokenSet {
    fn eq(&self, other: &Self) -> bool {
        self.tokens == other.tokens && self.unknown == other.unknown
    }
}

/// Refuses an id that two tokens share.
fn check_ids(tokens: &[Arc<Token>]) -> Result<(), Duplicate> {
    // Ids made by this crate begin with the second of their creation, so they are usually sorted already.
    if tokens.is_sorted_by(|token, next| token.id < next.id) {
        return Ok(());
    }
    let mut seen = Index::with_room_for(tokens.len());
    for (place, token) in tokens.iter().enumerate() {
        let is_at = |other: usize| tokens[other].id == token.id;
        if seen.insert(&token.id, place, is_at).is_some() {
            return Err(Duplicate::Id(token.id.clone()));
        }
    }
    Ok(())
}

/// Indexes tokens by the hashes of their secrets; refuses a hash that occurs twice.
fn index_hashes(tokens: &[Arc<Token>]) -> Result<Index, Duplicate> {
    let count = tokens.iter().map(|token| token.hashes().count()).sum();
    let mut by_hash = Index::with_room_for(count);
    for (place, token) in tokens.iter().enumerate() {
        for (number, hash) in token.hashes().enumerate() {
            let is_at = |at: usize| hash_at(tokens, at) == Some(hash);
            if let Some(first) = by_hash.insert(&hash, place * HASHES + number, is_at) {
                let first = &tokens[first / HASHES];
                return Err(Duplicate::Hash(first.id.clone(), token.id.clone()));
            }
        }
    }
    Ok(by_hash)
}

/// How many secrets a token may have at once: the current and the previous one.
const HASHES: usize = 2;

/// Returns the hash at a place. Each token has [`HASHES`] consecutive places.
fn hash_at(tokens: &[Arc<Token>], at: usize) -> Option<TokenHash> {
    tokens[at / HASHES].hashes().nth(at % HASHES)
}

/// Looks up tokens in a set, trying first the one after the last hit: snapshots of one file share most tokens, in the
/// same order, so that neighbors are found without a search.
pub(crate) struct Walk<'a> {
    set: &'a TokenSet,
    next: usize,
}

impl<'a> Walk<'a> {
    /// Finds the token whose current hash this is.
    pub(crate) fn own(&mut self, hash: &TokenHash) -> Option<&'a Arc<Token>> {
        let found = self.any(hash)?;
        (found.hash == *hash).then_some(found)
    }

    /// Finds what a token of an older snapshot has become.
    fn successor(&mut self, old: &Token) -> Option<&'a Arc<Token>> {
        let found = self.any(&old.hash)?;
        (found.hash == old.hash || found.id == old.id).then_some(found)
    }

    /// Finds what a token of a newer snapshot was before; the inverse of `successor`.
    fn predecessor(&mut self, new: &Token) -> Option<&'a Arc<Token>> {
        self.own(&new.hash).or_else(|| {
            let before = self.own(&new.previous.as_ref()?.hash)?;
            (before.id == new.id).then_some(before)
        })
    }

    fn any(&mut self, hash: &TokenHash) -> Option<&'a Arc<Token>> {
        let tokens = &self.set.tokens;
        let is_next = tokens.get(self.next).is_some_and(|next| next.hash == *hash);
        let place = if is_next {
            self.next
        } else {
            self.set.place(hash)?
        };
        self.next = place + 1;
        Some(&tokens[place])
    }
}

/// Returns the known record if the token is unchanged, so that it is held only once; else a new one, sharing the known
/// policy if that is unchanged.
pub(crate) fn shared(known: Option<&Arc<Token>>, mut token: Token) -> Arc<Token> {
    match known {
        Some(known) if **known == token => return Arc::clone(known),
        Some(known) if known.policy == token.policy => token.policy = known.policy.clone(),
        _ => {}
    }
    Arc::new(token)
}

/// The differences between two snapshots.
///
/// A token counts as the same one if its hash is unchanged, or if it keeps its id and still accepts its former secret
/// as its previous one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Tokens that are new.
    pub added: Vec<Arc<Token>>,
    /// Tokens that are gone: whatever runs with them must end.
    pub removed: Vec<Arc<Token>>,
    /// Tokens with a changed field, as (old, new). A changed id, database or expiry affects what is running.
    pub changed: Vec<(Arc<Token>, Arc<Token>)>,
}

impl Changes {
    /// Says whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

/// Writes `2 added, 1 removed`, or `no change`.
impl fmt::Display for Changes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            (self.added.len(), "added"),
            (self.removed.len(), "removed"),
            (self.changed.len(), "changed"),
        ];
        let parts: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        out.write_str(if parts.is_empty() { "no change" } else { "" })?;
        out.write_str(&parts.join(", "))
    }
}
