//! Who may come in: the token file and the sessions, joined.

use std::{
    net::IpAddr,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::{Instant, SystemTime},
};

use mcp_protocol::{Authenticate, Credentials, Refusal};
use pg_tools::Agent;
use session_pool::Sessions;
use time::OffsetDateTime;
use token_store::{
    Accepted, Changes, Refusal as TokenRefusal, Token, TokenFile, TokenHash, TokenId, TokenSet,
    watch::{TokenWatch, Update, WatchError},
};

use crate::{
    announce,
    audit::Audit,
    changed::{counted, takes_something, told},
    guesses::Guesses,
    holders::{Holder, Holders, Usual, may_come_from},
    metrics::Loads,
    pace::Pace,
};

/// How often a token whose entry changes meanwhile is looked up again.
const ATTEMPTS: usize = 5;

/// Lines of the server's log about refused tokens.
const REFUSALS_A_MINUTE: u32 = 10;

/// Lets in whoever presents a token of the file, onto the session of that token.
pub(crate) struct TokenGate {
    door: Arc<Door>,
    watch: TokenWatch,
}

impl TokenGate {
    /// Follows a token file; `usual` is what tokens have whose entries say nothing, on the databases
    /// that `sessions` has.
    pub(crate) fn open(
        file: TokenFile,
        sessions: Sessions,
        usual: Usual,
        guesses: Option<Guesses>,
        audit: Option<Arc<Audit>>,
    ) -> Result<Self, WatchError> {
        let door = Arc::new(Door {
            audit,
            guesses,
            refusals: Default::default(),
            told: Mutex::default(),
            loads: Loads::new(),
            state: RwLock::default(),
            holders: Holders::new(usual, sessions.databases()),
            sessions,
            latest: Latest::default(),
        });
        let (publisher, path) = (door.clone(), file.path().to_owned());
        let mut first = true;
        let watch = TokenWatch::start(file, move |update| {
            publisher.publish(update, &path, first);
            first = false;
        })?;
        Ok(TokenGate { door, watch })
    }

    async fn admit(&self, credentials: Credentials<'_>, peer: IpAddr) -> Result<Agent, Turned> {
        let presented = credentials.bearer()?;
        if let Err(stale) = self.watch.fresh().await {
            tracing::error!(%stale, "requests are refused");
            return Err(Refusal::Unavailable(
                "the token file has changed and cannot be read; try again in a moment",
            )
            .into());
        }
        self.door
            .admit(presented, peer, OffsetDateTime::now_utc())
            .await
    }

    /// A handle for the health check and for the record of who came.
    pub(crate) fn door(&self) -> Arc<Door> {
        self.door.clone()
    }
}

impl Authenticate for TokenGate {
    type Principal = Agent;

    async fn authenticate(
        &self,
        credentials: Credentials<'_>,
        peer: IpAddr,
    ) -> Result<Agent, Refusal> {
        match self.admit(credentials, peer).await {
            Ok(agent) => Ok(agent),
            Err(turned) => Err(self.door.turn_away(turned, credentials, peer).await),
        }
    }

    fn lost(&self, agent: &Agent, peer: IpAddr) -> Refusal {
        self.door.lost(agent, peer, OffsetDateTime::now_utc())
    }
}

/// Who is not let in, and whose token it is that was presented, if that is known.
struct Turned {
    refusal: Refusal,
    id: Option<TokenId>,
}

impl From<Refusal> for Turned {
    fn from(refusal: Refusal) -> Self {
        Turned { refusal, id: None }
    }
}

/// The tokens in force and the sessions that they have.
pub(crate) struct Door {
    audit: Option<Arc<Audit>>,
    guesses: Option<Guesses>,
    /// Requests that were not let in, in the order of [`REASONS`].
    refusals: [AtomicU64; REASONS.len()],
    /// Locked for a computation, and only when a token is refused.
    told: Mutex<Pace>,
    loads: Arc<Loads>,
    /// Held for reading while a session is opened, so that publishing a new set waits for it and then
    /// finds that session to close.
    state: RwLock<State>,
    holders: Holders,
    sessions: Sessions,
    /// The latest time that was seen: a clock set back revives no token.
    latest: Latest,
}

/// The latest time that was seen, from 1970 on.
#[derive(Default)]
struct Latest {
    seconds: AtomicI64,
    /// Whether the log knows that the clock is behind it.
    told: AtomicBool,
}

/// How far a clock may be set back without a word, as by those who keep it right.
const UNTOLD_SECONDS: i64 = 60;

impl Latest {
    /// Takes what the clock says; gives that, or the latest time before if that is later.
    fn of(&self, now: OffsetDateTime) -> OffsetDateTime {
        let seconds = now.unix_timestamp();
        // Written once a second, for all threads read it.
        let latest = match self.seconds.load(Ordering::Acquire) {
            latest if latest >= seconds => latest,
            _ => self.seconds.fetch_max(seconds, Ordering::AcqRel),
        };
        let behind = latest - seconds;
        if self.is_news(behind > UNTOLD_SECONDS) {
            tracing::warn!(
                "the clock was set back by {behind} s; tokens that had ended by then stay refused until it gets there again, or the server is started anew"
            );
        }
        OffsetDateTime::from_unix_timestamp(latest).map_or(now, |latest| latest.max(now))
    }

    /// Notes whether the clock is behind; says whether that is to be told.
    fn is_news(&self, is_behind: bool) -> bool {
        self.told.load(Ordering::Relaxed) != is_behind
            && self.told.swap(is_behind, Ordering::Relaxed) != is_behind
            && is_behind
    }
}

#[derive(Default)]
struct State {
    tokens: Arc<TokenSet>,
    /// Why the file that is there now is not in force.
    failure: Option<String>,
}

/// What became of a look at the door.
enum Look {
    Admitted(Agent),
    /// The token is used for the first time since its entry was read.
    Unprepared(Arc<Token>),
}

impl Door {
    async fn admit(
        &self,
        presented: &str,
        peer: IpAddr,
        now: OffsetDateTime,
    ) -> Result<Agent, Turned> {
        let now = self.latest.of(now);
        for _ in 0..ATTEMPTS {
            match self.look(presented, peer, now)? {
                Look::Admitted(agent) => return Ok(agent),
                // A password may have to be read, for which nobody else should wait.
                Look::Unprepared(token) => self.holders.prepare(token).await?,
            }
        }
        Err(
            Refusal::Unavailable("the token's entry changes all the time; try again in a moment")
                .into(),
        )
    }

    /// Tells of somebody who is not let in, and says how to answer: later, to who guesses.
    async fn turn_away(
        &self,
        turned: Turned,
        credentials: Credentials<'_>,
        peer: IpAddr,
    ) -> Refusal {
        let Turned { mut refusal, id } = turned;
        let guess = match (&self.guesses, &refusal, credentials) {
            (Some(guesses), Refusal::Unknown, Credentials::Bearer(token)) => {
                let token = TokenHash::of(token.expose());
                Some(guesses.answer(peer, &token, Instant::now()))
            }
            _ => None,
        };
        if let Some(guess) = &guess {
            refusal = guess.refusal.clone();
        }
        // Before anybody waits, as who guesses may hang up.
        self.tell(&refusal, id.as_ref(), peer);
        if let Some(guess) = guess.filter(|guess| !guess.delay.is_zero()) {
            tokio::time::sleep(guess.delay).await;
        }
        refusal
    }

    fn tell(&self, refusal: &Refusal, id: Option<&TokenId>, peer: IpAddr) {
        let reason = reason(refusal);
        self.refusals[reason].fetch_add(1, Ordering::Relaxed);
        // Clients ask without a token first; that refuses none.
        let is_of_a_token = !matches!(refusal, Refusal::Missing | Refusal::Unavailable(_));
        if !is_of_a_token {
            return;
        }
        let reason = REASONS[reason];
        if let Some(audit) = &self.audit {
            audit.token_refused(reason, id, peer);
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(untold) = told.pass(REFUSALS_A_MINUTE, Instant::now()) {
            let token = id.map(tracing::field::display);
            let peer = peer.to_canonical();
            tracing::warn!(reason, token, %peer, untold_before = untold, "a token was refused");
        }
    }

    fn look(&self, presented: &str, peer: IpAddr, now: OffsetDateTime) -> Result<Look, Turned> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let accepted =
            state
                .tokens
                .authenticate(presented, now)
                .map_err(|refusal| match refusal {
                    TokenRefusal::Unknown => Refusal::Unknown.into(),
                    TokenRefusal::Expired(token) | TokenRefusal::Replaced(token) => Turned {
                        refusal: Refusal::Expired,
                        id: Some(token.id.clone()),
                    },
                })?;
        let holder = self.holders.of(accepted.token);
        let is_let_in = match &holder {
            Some(holder) => holder.may_come_from(peer),
            None => is_from_its_addresses(&accepted, peer),
        };
        if !is_let_in {
            return Err(Turned {
                refusal: ELSEWHERE,
                id: Some(accepted.id.clone()),
            });
        }
        let Some(holder) = holder else {
            return Ok(Look::Unprepared(Arc::clone(accepted.token)));
        };
        holder.came(now, peer);
        Ok(Look::Admitted(self.agent(&holder, &accepted, peer, now)))
    }

    /// Says why an agent has lost its rights, by what is in force now.
    fn lost(&self, agent: &Agent, peer: IpAddr, now: OffsetDateTime) -> Refusal {
        let tokens = self.tokens();
        let id = agent.session().id();
        match tokens.iter().find(|token| token.id.as_str() == id) {
            None => Refusal::Unknown,
            Some(token) if token.is_expired(now) || !has_secret_of(token, agent, now) => {
                Refusal::Expired
            }
            Some(token) if !is_from_its_addresses(token, peer) => ELSEWHERE,
            Some(_) => Refusal::Unavailable(
                "what this token may do was changed while the request ran, which ended it; send it again, and look first whether it was done if it changes something",
            ),
        }
    }

    fn agent(
        &self,
        holder: &Holder,
        accepted: &Accepted<'_>,
        peer: IpAddr,
        now: OffsetDateTime,
    ) -> Agent {
        let id = accepted.id.as_str();
        let session = self.sessions.open_on(id, deadline(accepted), &holder.terms);
        let ends = accepted.replaced_from.map(|until| {
            let left = until - now;
            Instant::now() + std::time::Duration::try_from(left).unwrap_or_default()
        });
        let previous = accepted.previous.as_ref();
        let hash = match previous.filter(|_| accepted.replaced_from.is_some()) {
            Some(old) => &old.hash,
            None => &accepted.hash,
        };
        let agent = holder.agent(session).with_secret(hash.number());
        agent.calling_from(peer).ending_at(ends)
    }

    /// Puts a new state of the file in force; ends what lost its rights before it returns.
    fn publish(&self, update: Update, path: &Path, first: bool) {
        let path = path.display();
        match update {
            Update::Loaded {
                set,
                changes,
                warnings,
            } => {
                self.replace(set, &changes);
                self.loads.succeeded();
                // What was there before the start is no change.
                if let Some(audit) = self.audit.as_ref().filter(|_| !first) {
                    audit.tokens_changed(&changes);
                }
                for warning in warnings {
                    announce!("[AUTH] WARNING: {warning}");
                }
                if !first {
                    announce!("[AUTH] Reloaded {path} ({})", told(&changes));
                }
            }
            Update::Missing { changes } => {
                self.replace(Arc::default(), &changes);
                if let Some(audit) = &self.audit {
                    audit.tokens_changed(&changes);
                }
                announce!(
                    "[AUTH] {path} does not exist: no token is accepted until it does; `mcp-token add` makes one ({})",
                    told(&changes)
                );
            }
            Update::Failed(error) => {
                // Nobody waits for this lock while the line is written.
                self.state
                    .write()
                    .unwrap_or_else(PoisonError::into_inner)
                    .failure = Some(error.to_string());
                self.loads.failed();
                announce!(
                    "[AUTH] Failed to reload {path}: {error}; the tokens from before stay in force"
                );
            }
        }
    }

    fn replace(&self, tokens: Arc<TokenSet>, changes: &Changes) {
        self.warn(changes);
        if let Some(guesses) = &self.guesses {
            let changed = changes.changed.iter().map(|(before, _)| before);
            let before = changes.removed.iter().chain(changed);
            guesses.remember_gone(before.flat_map(|token| token.hashes()));
        }
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = State {
            tokens,
            failure: None,
        };
        for token in &changes.removed {
            self.holders.forget(&token.id);
            self.end(&token.id, "removed");
        }
        let wall = OffsetDateTime::now_utc();
        for (before, now) in &changes.changed {
            if before.id != now.id {
                self.holders.forget(&before.id);
            }
            self.holders.confine(now, wall);
            if before.id != now.id || takes_something(before, now) {
                self.end(&before.id, "changed");
            } else {
                self.sessions.move_deadline(now.id.as_str(), deadline(now));
                // With the lock, so that it is not of databases that are being replaced.
                let _state = self.state.read().unwrap_or_else(PoisonError::into_inner);
                let databases = self.holders.databases_of(now);
                self.sessions.confine(now.id.as_str(), databases);
            }
        }
    }

    /// Ends what a token has running.
    fn end(&self, id: &TokenId, why: &str) {
        let had_one = self.sessions.close(id.as_str());
        if let Some(audit) = self.audit.as_ref().filter(|_| had_one) {
            audit.session_ended(id.as_str(), why);
        }
    }

    /// Has other databases put in the place of those before by `replace`, while nobody is admitted.
    /// What runs on a database that its token may not use any more, as it was only the default one,
    /// ends.
    pub(crate) fn reconfigure(&self, databases: Arc<[Arc<str>]>, replace: impl FnOnce()) {
        let state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        replace();
        for (id, databases) in self.holders.reconfigure(databases) {
            self.sessions.confine(id.as_str(), databases);
        }
        let tokens = Arc::clone(&state.tokens);
        drop(state);
        let lacking = |token: &&Arc<Token>| !self.holders.unconfigured(token).is_empty();
        let lacking: Vec<Arc<Token>> = tokens.iter().filter(lacking).cloned().collect();
        if !lacking.is_empty() {
            announce!(
                "[AUTH] WARNING: {}",
                counted(&lacking, "with a database that is not configured")
            );
        }
    }

    /// Tells of entries that ask for what the server does not have: they are in force, and narrow.
    fn warn(&self, changes: &Changes) {
        let changed = changes.changed.iter().map(|(_, now)| now);
        for token in changes.added.iter().chain(changed) {
            for lacking in self.holders.lacking(token) {
                announce!("[AUTH] WARNING: {}: {lacking}", token.id);
            }
        }
    }

    /// How many requests were not let in, by the reason.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.refusals.iter();
        REASONS
            .into_iter()
            .zip(counts.map(|count| count.load(Ordering::Relaxed)))
    }

    /// When the token file was read.
    pub(crate) fn loads(&self) -> &Loads {
        &self.loads
    }

    /// The tokens in force.
    pub(crate) fn tokens(&self) -> Arc<TokenSet> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&state.tokens)
    }

    /// Who came, and what they did.
    pub(crate) fn holders(&self) -> &Holders {
        &self.holders
    }

    /// Says why the token file that is there now is not in force, if it is not.
    pub(crate) fn failure(&self) -> Option<String> {
        self.state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .failure
            .clone()
    }
}

/// What a token is refused with that is used from an address which is none of its own.
const ELSEWHERE: Refusal =
    Refusal::Forbidden("forbidden: this token may not be used from this address");

fn is_from_its_addresses(token: &Token, peer: IpAddr) -> bool {
    may_come_from(token.policy.read().allow_from.as_ref(), peer)
}

/// Why somebody is not let in, in a word.
const REASONS: [&str; 7] = [
    "missing",
    "malformed",
    "unknown",
    "expired",
    "guessing",
    "address",
    "unavailable",
];

/// Finds the reason among [`REASONS`].
fn reason(refusal: &Refusal) -> usize {
    match refusal {
        Refusal::Missing => 0,
        Refusal::Malformed => 1,
        Refusal::Unknown => 2,
        Refusal::Expired => 3,
        Refusal::TooManyFailures { .. } => 4,
        Refusal::Forbidden(_) => 5,
        Refusal::Unavailable(_) => 6,
    }
}

fn deadline(token: &Token) -> Option<SystemTime> {
    token.expires_at.map(SystemTime::from)
}

/// Says whether an agent's secret is one that the token has.
fn has_secret_of(token: &Token, agent: &Agent, now: OffsetDateTime) -> bool {
    let old = token.previous.as_ref().filter(|old| now < old.until);
    let mut hashes = std::iter::once(&token.hash).chain(old.map(|old| &old.hash));
    let is_its = |secret| hashes.any(|hash| hash.number() == secret);
    agent.secret().is_none_or(is_its)
}

/// Lets everybody in, onto one session: for a loopback address without authentication.
pub(crate) struct OpenGate {
    pub(crate) agent: Agent,
}

impl Authenticate for OpenGate {
    type Principal = Agent;

    async fn authenticate(&self, _: Credentials<'_>, peer: IpAddr) -> Result<Agent, Refusal> {
        Ok(self.agent.clone().calling_from(peer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_back_and_a_clock_that_does_is_told_once() {
        let latest = Latest::default();
        let at = |seconds| OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(seconds);
        for (clock, taken, is_told) in [
            (10_000, 10_000, false),
            (9_990, 10_000, false),
            (9_000, 10_000, true),
            (9_001, 10_000, true),
            (10_001, 10_001, false),
            (9_000, 10_001, true),
        ] {
            assert_eq!(latest.of(at(clock)), at(taken), "{clock}");
            assert_eq!(latest.told.load(Ordering::Relaxed), is_told, "{clock}");
        }
    }
}
