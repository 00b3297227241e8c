//! Who may come in: the tokens of a file, each with connections of its own.

use std::{
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock},
    time::{Instant, SystemTime},
};

use mcp_protocol::Refusal;
use session_pool::{Session, Sessions, Terms};
use time::OffsetDateTime;
use token_store::{
    Policy, Refusal as TokenRefusal, Role, Token, TokenFile, TokenSet,
    watch::{TokenWatch, Update, WatchError},
};

/// Lets in whoever presents a token of the file.
pub(crate) struct Door {
    inner: Arc<Inner>,
    watch: TokenWatch,
}

struct Inner {
    /// Held for reading while a session is opened: whoever was let in by an old set has a session by the
    /// time a new set is in force, so that it is found and closed.
    tokens: RwLock<Arc<TokenSet>>,
    sessions: Sessions,
}

/// Who was let in.
pub(crate) struct Admitted {
    pub(crate) token: Arc<Token>,
    pub(crate) policy: Policy,
    /// The token's own connections.
    pub(crate) session: Session,
    /// When what was presented ends, where the token goes on: it was rotated.
    pub(crate) ends: Option<Instant>,
}

impl Admitted {
    /// What MCP calls the holder, and keeps for it. An id alone may be given again once its token was removed.
    pub(crate) fn name(&self) -> Arc<str> {
        format!("{}.{}", self.token.id, self.token.hash.prefix()).into()
    }
}

impl Door {
    pub(crate) fn open(file: TokenFile, sessions: Sessions) -> Result<Self, WatchError> {
        let inner = Arc::new(Inner {
            tokens: RwLock::default(),
            sessions,
        });
        let publisher = Arc::clone(&inner);
        let watch = TokenWatch::start(file, move |update| publisher.publish(update))?;
        Ok(Self { inner, watch })
    }

    pub(crate) async fn admit(&self, presented: &str, peer: IpAddr) -> Result<Admitted, Refusal> {
        if let Err(stale) = self.watch.fresh().await {
            tracing::error!(%stale, "a request is refused");
            return Err(Refusal::Unavailable("tokens cannot be checked now"));
        }
        self.inner.admit(presented, peer, OffsetDateTime::now_utc())
    }

    /// Says why a session has ended.
    pub(crate) fn why_ended(&self, session: &Session) -> Refusal {
        let tokens = self.inner.tokens();
        let id = session.id();
        match tokens.iter().find(|token| token.id.as_str() == id) {
            None => Refusal::Unknown,
            Some(token) if token.is_expired(OffsetDateTime::now_utc()) => Refusal::Expired,
            Some(_) => Refusal::Unavailable("the token was changed; send the request again"),
        }
    }
}

impl Inner {
    fn admit(
        &self,
        presented: &str,
        peer: IpAddr,
        now: OffsetDateTime,
    ) -> Result<Admitted, Refusal> {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        let accepted = tokens
            .authenticate(presented, now)
            .map_err(|refusal| match refusal {
                TokenRefusal::Unknown => Refusal::Unknown,
                TokenRefusal::Expired(_) | TokenRefusal::Replaced(_) => Refusal::Expired,
            })?;
        let policy = accepted.policy.read();
        if let Some(networks) = &policy.allow_from
            && !networks.contains(peer)
        {
            return Err(Refusal::Forbidden("the token is not for this address"));
        }
        // Rather refused than let in as somebody else.
        if let Some(Role::Login(_)) = policy.role {
            return Err(Refusal::Forbidden("this service logs in as one role only"));
        }
        let terms = Terms {
            databases: Some(self.databases_of(accepted.token)),
            connections: policy.limits.connections.map(|most| most.get() as usize),
            login: None,
        };
        let deadline = accepted.expires_at.map(SystemTime::from);
        let id = accepted.id.as_str();
        Ok(Admitted {
            session: self.sessions.open_on(id, deadline, &terms),
            ends: accepted.replaced_from.map(|until| {
                let left = std::time::Duration::try_from(until - now);
                Instant::now() + left.unwrap_or_default()
            }),
            token: Arc::clone(accepted.token),
            policy,
        })
    }

    /// Names the databases that a token may use, its own first.
    fn databases_of(&self, token: &Token) -> Arc<[Arc<str>]> {
        match &token.databases {
            Some(names) => names.iter().map(Arc::from).collect(),
            None => self.sessions.databases().iter().take(1).cloned().collect(),
        }
    }

    /// Puts a new state of the file in force. Before it returns, what lost its rights has ended.
    fn publish(&self, update: Update) {
        let (tokens, changes) = match update {
            Update::Loaded { set, changes, .. } => (set, changes),
            Update::Missing { changes } => (Arc::default(), changes),
            Update::Failed(error) => {
                tracing::error!(%error, "the tokens from before stay in force");
                return;
            }
        };
        *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = tokens;
        let changed = changes.changed.iter().map(|(before, _)| before);
        for token in changes.removed.iter().chain(changed) {
            self.sessions.close(token.id.as_str());
        }
    }

    fn tokens(&self) -> Arc<TokenSet> {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&tokens)
    }
}
