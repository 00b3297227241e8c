//! Who may come in: the token file and the sessions, joined.

use std::{
    net::IpAddr,
    path::Path,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
    },
    time::SystemTime,
};

use mcp_protocol::{Authenticate, Credentials, Refusal};
use pg_tools::Agent;
use session_pool::Sessions;
use time::OffsetDateTime;
use token_store::{
    Changes, Refusal as TokenRefusal, Token, TokenFile, TokenSet,
    watch::{TokenWatch, Update, WatchError},
};

use crate::announce;

/// Lets in whoever presents a token of the file, onto the session of that token.
pub(crate) struct TokenGate {
    door: Arc<Door>,
    watch: TokenWatch,
}

impl TokenGate {
    /// Follows a token file; `default` is the database of tokens that are bound to none.
    pub(crate) fn open(
        file: TokenFile,
        sessions: Sessions,
        default: &str,
    ) -> Result<Self, WatchError> {
        let door = Arc::new(Door {
            state: RwLock::default(),
            sessions,
            default: default.into(),
            latest: AtomicI64::new(i64::MIN),
        });
        let (publisher, path) = (door.clone(), file.path().to_owned());
        let mut first = true;
        let watch = TokenWatch::start(file, move |update| {
            publisher.publish(update, &path, first);
            first = false;
        })?;
        Ok(TokenGate { door, watch })
    }

    /// A handle for the health check.
    pub(crate) fn door(&self) -> Arc<Door> {
        self.door.clone()
    }
}

impl Authenticate for TokenGate {
    type Principal = Agent;

    async fn authenticate(
        &self,
        credentials: Credentials<'_>,
        _: IpAddr,
    ) -> Result<Agent, Refusal> {
        let presented = credentials.bearer()?;
        if let Err(stale) = self.watch.fresh().await {
            tracing::error!(%stale, "requests are refused");
            return Err(Refusal::Unavailable(
                "the token file has changed and cannot be read; try again in a moment",
            ));
        }
        self.door.admit(presented, OffsetDateTime::now_utc())
    }
}

/// The tokens in force and the sessions that they have.
pub(crate) struct Door {
    /// Held for reading while a session is opened, so that publishing a new set waits for it and then
    /// finds that session to close.
    state: RwLock<State>,
    sessions: Sessions,
    default: Arc<str>,
    /// The latest time that was seen, in seconds: a clock set back revives no token.
    latest: AtomicI64,
}

#[derive(Default)]
struct State {
    tokens: Arc<TokenSet>,
    /// Why the file that is there now is not in force.
    failure: Option<String>,
}

impl Door {
    fn admit(&self, presented: &str, now: OffsetDateTime) -> Result<Agent, Refusal> {
        let latest = self
            .latest
            .fetch_max(now.unix_timestamp(), Ordering::AcqRel);
        let now = OffsetDateTime::from_unix_timestamp(latest).map_or(now, |latest| latest.max(now));
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let token = state
            .tokens
            .authenticate(presented, now)
            .map_err(|refusal| match refusal {
                TokenRefusal::Unknown => Refusal::Unknown,
                TokenRefusal::Expired(_) => Refusal::Expired,
            })?;
        let session = self.sessions.open(token.id.as_str(), deadline(token));
        let database = token
            .database
            .as_deref()
            .map_or_else(|| self.default.clone(), Arc::from);
        // An id may be given again once its token was removed; a hash is not.
        let name = format!("{}.{}", token.id, token.hash.prefix());
        Ok(Agent::new(session, database).named(name))
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
                for warning in warnings {
                    announce!("[AUTH] WARNING: {warning}");
                }
                if !first {
                    announce!("[AUTH] Reloaded {path} ({})", told(&changes));
                }
            }
            Update::Missing { changes } => {
                self.replace(Arc::default(), &changes);
                announce!(
                    "[AUTH] {path} does not exist: no token is accepted until it does ({})",
                    told(&changes)
                );
            }
            Update::Failed(error) => {
                let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
                state.failure = Some(error.to_string());
                announce!(
                    "[AUTH] Failed to reload {path}: {error}; the tokens from before stay in force"
                );
            }
        }
    }

    fn replace(&self, tokens: Arc<TokenSet>, changes: &Changes) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = State {
            tokens,
            failure: None,
        };
        for token in &changes.removed {
            self.sessions.close(token.id.as_str());
        }
        for (before, now) in &changes.changed {
            if before.id != now.id || before.database != now.database {
                self.sessions.close(before.id.as_str());
            } else {
                self.sessions.move_deadline(now.id.as_str(), deadline(now));
            }
        }
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

fn deadline(token: &Token) -> Option<SystemTime> {
    token.expires_at.map(SystemTime::from)
}

/// Names what changed, as `1 added: token-1; 2 removed: token-2, token-3`.
fn told(changes: &Changes) -> String {
    const MOST: usize = 5;
    let changed: Vec<Arc<Token>> = changes.changed.iter().map(|(_, now)| now.clone()).collect();
    let parts: Vec<String> = [
        (&changes.added, "added"),
        (&changes.removed, "removed"),
        (&changed, "changed"),
    ]
    .into_iter()
    .filter(|(tokens, _)| !tokens.is_empty())
    .map(|(tokens, what)| {
        let names: Vec<&str> = tokens
            .iter()
            .take(MOST)
            .map(|token| token.id.as_str())
            .collect();
        let more = if tokens.len() > MOST { ", ..." } else { "" };
        format!("{} {what}: {}{more}", tokens.len(), names.join(", "))
    })
    .collect();
    if parts.is_empty() {
        "no change".to_owned()
    } else {
        parts.join("; ")
    }
}

/// Lets everybody in, onto one session: for a loopback address without authentication.
pub(crate) struct OpenGate {
    pub(crate) agent: Agent,
}

impl Authenticate for OpenGate {
    type Principal = Agent;

    async fn authenticate(&self, _: Credentials<'_>, _: IpAddr) -> Result<Agent, Refusal> {
        Ok(self.agent.clone())
    }
}
