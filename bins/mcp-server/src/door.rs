//! The tokens in force, and who is admitted with them.

mod publish;
mod reloads;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak},
    time::{Instant, SystemTime},
};

use mcp_protocol::{Credentials, Refusal, Service};
use pg_tools::{Agent, Toolbox};
use session_pool::Sessions;
use time::OffsetDateTime;
use token_store::{Accepted, Refusal as TokenRefusal, Token, TokenHash, TokenId, TokenSet};

use self::reloads::Reloads;
use crate::{
    audit::Audit,
    entry::may_come_from,
    guesses::Guesses,
    holders::{Holder, Holders, Usual},
    latest::Latest,
    metrics::Loads,
    refusals::Refusals,
};

/// How often a token whose entry changes while it is looked up is looked up again.
const ATTEMPTS: usize = 5;

/// Why somebody is refused, and whose token was presented, if that is known.
pub(crate) struct Turned {
    refusal: Refusal,
    id: Option<TokenId>,
}

impl From<Refusal> for Turned {
    fn from(refusal: Refusal) -> Self {
        Turned { refusal, id: None }
    }
}

/// The tokens in force and their sessions.
pub(crate) struct Door {
    audit: Option<Arc<Audit>>,
    guesses: Option<Guesses>,
    refusals: Refusals,
    loads: Arc<Loads>,
    /// Which readings of the token file have a line in the log. Locked briefly.
    reloads: Mutex<Reloads>,
    /// Held for reading while a session is opened, so that publishing a new set waits for that, and
    /// then finds the session to close.
    state: RwLock<State>,
    holders: Holders,
    sessions: Sessions,
    /// Has what the tokens' clients have begun; empty until it is served. Its health check holds this door.
    service: OnceLock<Weak<Service<Toolbox>>>,
    /// The latest time that was seen: setting the clock back revives no token.
    latest: Latest,
}

#[derive(Default)]
struct State {
    tokens: Arc<TokenSet>,
    /// Why the present file is not in force, if it is not.
    failure: Option<String>,
}

/// The outcome of looking up a presented token.
enum Look {
    Admitted(Agent),
    /// The token has no holder for its present entry yet; make it, then look again.
    Unprepared(Arc<Token>),
}

impl Door {
    pub(crate) fn new(
        sessions: Sessions,
        usual: Usual,
        guesses: Option<Guesses>,
        audit: Option<Arc<Audit>>,
    ) -> Self {
        Door {
            audit,
            guesses,
            refusals: Refusals::default(),
            loads: Loads::new(),
            reloads: Mutex::default(),
            state: RwLock::default(),
            holders: Holders::new(usual, sessions.databases()),
            sessions,
            service: OnceLock::new(),
            latest: Latest::default(),
        }
    }

    /// From now on clients are told when their tools change, and what they have begun ends with their tokens.
    pub(crate) fn leads_to(&self, service: &Arc<Service<Toolbox>>) {
        self.service.get_or_init(|| Arc::downgrade(service));
    }

    fn service(&self) -> Option<Arc<Service<Toolbox>>> {
        self.service.get()?.upgrade()
    }

    /// Checks whether a token is in force and may be used from an address.
    pub(crate) async fn admit(
        &self,
        presented: &str,
        peer: IpAddr,
        now: OffsetDateTime,
    ) -> Result<Agent, Turned> {
        let now = self.latest.of(now);
        for _ in 0..ATTEMPTS {
            match self.look(presented, peer, now)? {
                Look::Admitted(agent) => return Ok(agent),
                // A password may have to be read, and nobody else should wait for that.
                Look::Unprepared(token) => self.prepare(token).await?,
            }
        }
        Err(
            Refusal::Unavailable("the token's entry changes all the time; try again in a moment")
                .into(),
        )
    }

    /// Makes the holder of a token. If the token was removed meanwhile, its removal found no holder
    /// to forget, so the holder is forgotten here.
    async fn prepare(&self, token: Arc<Token>) -> Result<(), Refusal> {
        self.holders.prepare(Arc::clone(&token)).await?;
        let tokens = self.tokens();
        let is_there = |token: &Token| tokens.iter().any(|other| other.id == token.id);
        if tokens.get(&token.hash).is_none() && !is_there(&token) {
            self.holders.forget(&token.id);
        }
        Ok(())
    }

    /// Reports that somebody was refused, and says how to answer: later and later to those who guess.
    pub(crate) async fn turn_away(
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
        // Before the wait, because somebody who guesses may hang up.
        self.refusals
            .tell(&refusal, id.as_ref(), peer, self.audit.as_deref());
        if let Some(guess) = guess.filter(|guess| !guess.delay.is_zero()) {
            tokio::time::sleep(guess.delay).await;
        }
        refusal
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

    /// Says why an agent has lost its rights, according to the tokens in force now.
    pub(crate) fn lost(&self, agent: &Agent, peer: IpAddr, now: OffsetDateTime) -> Refusal {
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

    /// The requests that were refused.
    pub(crate) fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// When the token file was loaded, and how often that failed.
    pub(crate) fn loads(&self) -> &Loads {
        &self.loads
    }

    /// The tokens in force.
    pub(crate) fn tokens(&self) -> Arc<TokenSet> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&state.tokens)
    }

    /// The holders of tokens, and what they have done.
    pub(crate) fn holders(&self) -> &Holders {
        &self.holders
    }

    /// Says why the present token file is not in force, if it is not.
    pub(crate) fn failure(&self) -> Option<String> {
        self.state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .failure
            .clone()
    }
}

/// The refusal of a token that is used from an address which it does not allow.
const ELSEWHERE: Refusal =
    Refusal::Forbidden("forbidden: this token may not be used from this address");

fn is_from_its_addresses(token: &Token, peer: IpAddr) -> bool {
    may_come_from(token.policy.read().allow_from.as_ref(), peer)
}

fn deadline(token: &Token) -> Option<SystemTime> {
    token.expires_at.map(SystemTime::from)
}

/// Says whether the token still has the secret that the agent was authenticated with.
fn has_secret_of(token: &Token, agent: &Agent, now: OffsetDateTime) -> bool {
    let old = token.previous.as_ref().filter(|old| now < old.until);
    let mut hashes = std::iter::once(&token.hash).chain(old.map(|old| &old.hash));
    let is_its = |secret| hashes.any(|hash| hash.number() == secret);
    agent.secret().is_none_or(is_its)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use session_pool::Limits;
    use token_store::watch::Update;

    use super::*;

    #[tokio::test]
    async fn a_token_that_is_removed_while_its_holder_is_made_leaves_none_behind() {
        let usual = Usual {
            tools: None,
            calls_per_minute: None,
            proxies: None,
            most_told_apart: 0,
        };
        let door = Door::new(Sessions::new([], Limits::default()), usual, None, None);
        let made = OffsetDateTime::UNIX_EPOCH;
        let token = |number, secret| {
            let token = Token::new(TokenId::numbered(number), TokenHash::of(secret), made);
            Arc::new(token)
        };
        let (there, gone) = (token(1, "there"), token(2, "gone"));
        let set = Arc::new(TokenSet::new(vec![Token::clone(&there)]).unwrap());
        let update = Update::Loaded {
            changes: set.changes_since(&TokenSet::default()),
            set,
            warnings: Vec::new(),
        };
        door.publish(update, Path::new("tokens.yaml"), true);
        for token in [&there, &gone] {
            door.prepare(Arc::clone(token)).await.unwrap();
        }
        assert!(door.holders.of(&there).is_some());
        assert!(door.holders.of(&gone).is_none());
    }
}
