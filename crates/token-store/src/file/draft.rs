//! The tokens of a file while they are being changed.

use std::{collections::HashSet, sync::Arc};

use time::OffsetDateTime;

use crate::{
    format::Value,
    policy::{Names, Policy},
    secret::Secret,
    set::{Duplicate, TokenSet},
    token::{Previous, Token, TokenId},
};

/// How far ahead of its second an id may be before it is taken for one that was not made here.
const MAX_IDS_AHEAD: u64 = 1_000_000;

/// What is asked of a new token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewToken {
    /// What a person wrote about it.
    pub note: String,
    /// The configured databases to bind it to.
    pub databases: Option<Names>,
    /// The first moment at which it is no longer accepted.
    pub expires_at: Option<OffsetDateTime>,
    /// What it may do and use up.
    pub policy: Policy,
}

/// The tokens of a file while [`crate::TokenFile::edit`] holds its lock.
#[derive(Debug)]
pub struct Draft {
    tokens: Vec<Arc<Token>>,
    unknown: Vec<(Value, Value)>,
    changed: bool,
}

impl Draft {
    pub(super) fn new(set: TokenSet) -> Self {
        let (tokens, unknown) = set.into_parts();
        Self {
            tokens,
            unknown,
            changed: false,
        }
    }

    /// Goes through the tokens in order of creation.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Token>> {
        self.tokens.iter()
    }

    /// Adds a token for `secret` under an id of its own, made from the second of `now`.
    ///
    /// # Errors
    /// A token for this secret is there already.
    pub fn create(
        &mut self,
        secret: &Secret,
        new: NewToken,
        now: OffsetDateTime,
    ) -> Result<Arc<Token>, Duplicate> {
        let now = to_whole_seconds(now);
        let mut token = Token::new(self.free_id(now), secret.hash(), now);
        token.note = new.note.into();
        token.databases = new.databases;
        token.expires_at = new.expires_at.map(to_whole_seconds);
        token.policy = (&new.policy).into();
        self.insert(token)
    }

    /// Adds a record that was made elsewhere.
    ///
    /// # Errors
    /// Its id or its hash is there already.
    pub fn insert(&mut self, token: Token) -> Result<Arc<Token>, Duplicate> {
        for old in &self.tokens {
            if old.id == token.id {
                return Err(Duplicate::Id(token.id));
            }
            if token
                .hashes()
                .any(|hash| old.hashes().any(|other| other == hash))
            {
                return Err(Duplicate::Hash(old.id.clone(), token.id));
            }
        }
        let token = Arc::new(token);
        self.tokens.push(Arc::clone(&token));
        self.changed = true;
        Ok(token)
    }

    /// Changes a token and returns it as it then is; nothing when there is none with this id.
    ///
    /// An id or a hash that another token has is found when the draft is written.
    pub fn change(&mut self, id: &TokenId, change: impl FnOnce(&mut Token)) -> Option<Arc<Token>> {
        let token = self.tokens.iter_mut().find(|token| token.id == *id)?;
        let mut changed = Token::clone(token);
        change(&mut changed);
        changed.expires_at = changed.expires_at.map(to_whole_seconds);
        if changed != **token {
            *token = Arc::new(changed);
            self.changed = true;
        }
        Some(Arc::clone(token))
    }

    /// Gives a token a new secret; the one that it had is accepted until `until`. Nothing when there is no such token.
    ///
    /// Only the last secret lives on: one that was replaced before ends at once.
    pub fn rotate(
        &mut self,
        id: &TokenId,
        secret: &Secret,
        until: Option<OffsetDateTime>,
    ) -> Option<Arc<Token>> {
        self.change(id, |token| {
            let old = std::mem::replace(&mut token.hash, secret.hash());
            token.previous = until.map(|until| {
                Box::new(Previous {
                    hash: old,
                    until: to_whole_seconds(until),
                })
            });
        })
    }

    /// Removes a token by its id.
    pub fn remove(&mut self, id: &TokenId) -> Option<Arc<Token>> {
        self.remove_where(|token| token.id == *id).pop()
    }

    /// Removes all tokens that `condition` picks.
    pub fn remove_where(&mut self, condition: impl Fn(&Token) -> bool) -> Vec<Arc<Token>> {
        let (removed, kept) = std::mem::take(&mut self.tokens)
            .into_iter()
            .partition(|token| condition(token));
        self.tokens = kept;
        self.changed |= !removed.is_empty();
        removed
    }

    pub(super) fn finish(self) -> Result<(TokenSet, bool), Duplicate> {
        let set = TokenSet::with_unknown(self.tokens, self.unknown)?;
        Ok((set, self.changed))
    }

    /// Numbers a token by its second, or by the next number after all that are used.
    fn free_id(&self, now: OffsetDateTime) -> TokenId {
        let second = u64::try_from(now.unix_timestamp()).unwrap_or(0);
        let ours = second..second.saturating_add(MAX_IDS_AHEAD);
        let used: HashSet<u64> = self
            .tokens
            .iter()
            .filter_map(|token| token.id.number())
            .collect();
        let last = used
            .iter()
            .copied()
            .filter(|number| ours.contains(number))
            .max();
        let mut number = last.map_or(second, |last| last + 1);
        while used.contains(&number) {
            number = number.saturating_add(1);
        }
        TokenId::numbered(number)
    }
}

/// Cuts the fraction of a second off: the file shows whole seconds.
fn to_whole_seconds(instant: OffsetDateTime) -> OffsetDateTime {
    let utc = instant.to_offset(time::UtcOffset::UTC);
    utc.replace_nanosecond(0).unwrap_or(utc)
}
