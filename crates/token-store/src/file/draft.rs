//! The tokens of a file while they are being changed.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use time::OffsetDateTime;

use crate::{
    format::{Value, instant},
    policy::{Names, Policy},
    secret::{Secret, TokenHash, is_accepted},
    set::{Duplicate, TokenSet},
    token::{Previous, Token, TokenId},
};

/// How far its number may be ahead of the present second before an id counts as not made here.
const MAX_IDS_AHEAD: u64 = 1_000_000;

/// What a new token is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewToken {
    /// A human-written description.
    pub note: String,
    /// The configured databases to bind it to.
    pub databases: Option<Names>,
    /// When it stops being accepted: it is refused from this moment on.
    pub expires_at: Option<OffsetDateTime>,
    /// What it may do and how much it may use.
    pub policy: Policy,
}

/// Why a draft refuses what it is given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DraftError {
    /// Another token already has this id or hash.
    #[error(transparent)]
    Duplicate(#[from] Duplicate),
    /// The secret is empty, or too long to be accepted ever.
    #[error("the secret is not one that is ever accepted; give one of 1 to {max} bytes, such as `Secret::generate` makes", max = Secret::MAX_BYTES)]
    Secret,
    /// The file cannot hold this time.
    #[error(
        "the `{field}` of {id} cannot be kept; give a time that is in the years 0 to 9999 in UTC"
    )]
    Time {
        /// The token.
        id: TokenId,
        /// The field, such as `expires_at`.
        field: &'static str,
    },
}

/// The tokens of a file while [`crate::TokenFile::edit`] holds its lock.
#[derive(Debug)]
pub struct Draft {
    tokens: Vec<Arc<Token>>,
    unknown: Vec<(Value, Value)>,
    changed: bool,
    /// Made when the first token is added, and anew after a change that frees an id or a hash.
    taken: Option<Taken>,
}

impl Draft {
    pub(super) fn new(set: TokenSet) -> Self {
        let (tokens, unknown) = set.into_parts();
        Self {
            tokens,
            unknown,
            changed: false,
            taken: None,
        }
    }

    /// Iterates over the tokens in order of creation, followed by those added to this draft.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Token>> {
        self.tokens.iter()
    }

    /// Adds a token for `secret` with a new id, made from the second of `now`. Its times are truncated to whole
    /// seconds.
    ///
    /// # Errors
    /// The secret is empty or longer than [`Secret::MAX_BYTES`], a token with it exists already, or a time, in UTC, is
    /// before the year 0 or after 9999.
    pub fn create(
        &mut self,
        secret: &Secret,
        new: NewToken,
        now: OffsetDateTime,
    ) -> Result<Arc<Token>, DraftError> {
        expect_usable(secret)?;
        let now = to_whole_seconds(now);
        let mut token = Token::new(self.free_id(now), secret.hash(), now);
        token.note = new.note.into();
        token.databases = new.databases;
        token.expires_at = new.expires_at.map(to_whole_seconds);
        token.policy = (&new.policy).into();
        self.insert(token)
    }

    /// Adds a record that was made elsewhere, converting its times to UTC.
    ///
    /// # Errors
    /// Its id or a hash of it exists already, or one of its times, in UTC, is before the year 0 or after 9999.
    pub fn insert(&mut self, mut token: Token) -> Result<Arc<Token>, DraftError> {
        move_to_utc(&mut token);
        expect_times(&token)?;
        let taken = self.taken();
        if taken.ids.contains_key(&token.id) {
            return Err(Duplicate::Id(token.id).into());
        }
        let place_of = |hash| taken.hashes.get(&hash).copied();
        let known = token.hashes().find_map(place_of);
        if let Some(place) = known {
            let old = self.tokens[place].id.clone();
            return Err(Duplicate::Hash(old, token.id).into());
        }
        let token = Arc::new(token);
        let place = self.tokens.len();
        self.taken().add(&token, place);
        self.tokens.push(Arc::clone(&token));
        self.changed = true;
        Ok(token)
    }

    /// Changes a token and returns it as it is then; `None` when there is no token with this id.
    ///
    /// Its times are moved to UTC. If another token has its id or its hash, or the file cannot hold
    /// one of its times, that is found when the draft is written.
    pub fn change(&mut self, id: &TokenId, change: impl FnOnce(&mut Token)) -> Option<Arc<Token>> {
        let place = match &self.taken {
            Some(taken) => taken.ids.get(id).copied(),
            None => self.tokens.iter().position(|token| token.id == *id),
        };
        let token = &mut self.tokens[place?];
        let mut changed = Token::clone(token);
        change(&mut changed);
        move_to_utc(&mut changed);
        changed.expires_at = changed.expires_at.map(to_whole_seconds);
        if changed != **token {
            if changed.id != token.id || !changed.hashes().eq(token.hashes()) {
                self.taken = None;
            }
            *token = Arc::new(changed);
            self.changed = true;
        }
        Some(Arc::clone(token))
    }

    /// Gives a token a new secret, and accepts the one that it had until `until`, or until the token expires if that is
    /// earlier, also when it is prolonged later; `None` when there is no such token.
    ///
    /// Only the last secret lives on: one that was replaced before ends at once. If another token
    /// has the secret, that is found when the draft is written.
    ///
    /// # Errors
    /// The secret is empty or longer than [`Secret::MAX_BYTES`], or `until`, in UTC, is before the year 0 or after
    /// 9999.
    pub fn rotate(
        &mut self,
        id: &TokenId,
        secret: &Secret,
        until: Option<OffsetDateTime>,
    ) -> Result<Option<Arc<Token>>, DraftError> {
        expect_usable(secret)?;
        if let Some(until) = until {
            expect_time(id, "previous.until", until)?;
        }
        Ok(self.change(id, |token| {
            let old = std::mem::replace(&mut token.hash, secret.hash());
            token.previous = until.map(|until| {
                let until = token.expires_at.map_or(until, |end| end.min(until));
                Box::new(Previous {
                    hash: old,
                    until: to_whole_seconds(until),
                })
            });
        }))
    }

    /// Removes a token by its id.
    pub fn remove(&mut self, id: &TokenId) -> Option<Arc<Token>> {
        self.remove_where(|token| token.id == *id).pop()
    }

    /// Removes all tokens that satisfy `condition` and returns them.
    pub fn remove_where(&mut self, condition: impl Fn(&Token) -> bool) -> Vec<Arc<Token>> {
        let (removed, kept) = std::mem::take(&mut self.tokens)
            .into_iter()
            .partition(|token| condition(token));
        self.tokens = kept;
        if !removed.is_empty() {
            self.changed = true;
            self.taken = None;
        }
        removed
    }

    pub(super) fn finish(self) -> Result<(TokenSet, bool), DraftError> {
        self.tokens
            .iter()
            .try_for_each(|token| expect_times(token))?;
        let set = TokenSet::with_unknown(self.tokens, self.unknown)?;
        Ok((set, self.changed))
    }

    /// Numbers a token by its second, or by the next number if that or a later one is used.
    fn free_id(&mut self, now: OffsetDateTime) -> TokenId {
        let used = &self.taken().numbers;
        let second = u64::try_from(now.unix_timestamp()).unwrap_or(0);
        let mut ours = used.range(second..second.saturating_add(MAX_IDS_AHEAD));
        let mut number = ours.next_back().map_or(second, |last| last + 1);
        while used.contains(&number) {
            number = number.saturating_add(1);
        }
        TokenId::numbered(number)
    }

    fn taken(&mut self) -> &mut Taken {
        self.taken.get_or_insert_with(|| Taken::by(&self.tokens))
    }
}

/// The ids and hashes in use, which no new token may have, each with the place of the first token that has it.
#[derive(Debug, Default)]
struct Taken {
    ids: HashMap<TokenId, usize>,
    /// The numbers in the ids.
    numbers: BTreeSet<u64>,
    hashes: HashMap<TokenHash, usize>,
}

impl Taken {
    fn by(tokens: &[Arc<Token>]) -> Self {
        let mut taken = Self {
            ids: HashMap::with_capacity(tokens.len() + 1),
            hashes: HashMap::with_capacity(tokens.len() + 1),
            ..Self::default()
        };
        for (place, token) in tokens.iter().enumerate() {
            taken.add(token, place);
        }
        taken
    }

    fn add(&mut self, token: &Token, place: usize) {
        self.ids.entry(token.id.clone()).or_insert(place);
        self.numbers.extend(token.id.number());
        for hash in token.hashes() {
            self.hashes.entry(hash).or_insert(place);
        }
    }
}

fn expect_usable(secret: &Secret) -> Result<(), DraftError> {
    let is_usable = is_accepted(secret.expose());
    is_usable.then_some(()).ok_or(DraftError::Secret)
}

/// Truncates to whole seconds, as the file shows no fractions.
fn to_whole_seconds(instant: OffsetDateTime) -> OffsetDateTime {
    let utc = instant::in_utc(instant).unwrap_or(instant);
    utc.replace_nanosecond(0).unwrap_or(utc)
}

/// Converts all times of a token to UTC, except those that the file cannot hold.
fn move_to_utc(token: &mut Token) {
    let until = token.previous.as_mut().map(|previous| &mut previous.until);
    let rest = token.expires_at.as_mut().into_iter().chain(until);
    for time in std::iter::once(&mut token.created_at).chain(rest) {
        *time = instant::in_utc(*time).unwrap_or(*time);
    }
}

/// Refuses a token with a time that the file cannot hold.
fn expect_times(token: &Token) -> Result<(), DraftError> {
    let until = token.previous.as_ref().map(|previous| previous.until);
    let times = [
        ("created_at", Some(token.created_at)),
        ("expires_at", token.expires_at),
        ("previous.until", until),
    ];
    let mut given = times
        .iter()
        .filter_map(|(field, time)| Some((*field, (*time)?)));
    given.try_for_each(|(field, time)| expect_time(&token.id, field, time))
}

fn expect_time(id: &TokenId, field: &'static str, time: OffsetDateTime) -> Result<(), DraftError> {
    let refused = || DraftError::Time {
        id: id.clone(),
        field,
    };
    instant::in_utc(time).map(|_| ()).ok_or_else(refused)
}
