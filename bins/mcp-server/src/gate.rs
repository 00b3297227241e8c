//! Who is admitted: joins the token file and the sessions.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use mcp_protocol::{Authenticate, Credentials, Refusal};
use pg_tools::Agent;
use session_pool::Sessions;
use time::OffsetDateTime;
use token_store::{
    TokenFile,
    watch::{Stale, TokenWatch, WatchError},
};

use crate::{
    audit::Audit,
    door::{Door, Turned},
    guesses::Guesses,
    holders::Usual,
    throttle::Throttle,
};

/// How many lines per minute the log has at most about requests that are refused because the token
/// file cannot be read. Nobody knows yet whether their tokens are right.
const STALE_A_MINUTE: u32 = 10;

/// Admits whoever presents a token of the file, to the session of that token.
pub(crate) struct TokenGate {
    door: Arc<Door>,
    watch: TokenWatch,
    /// Locked briefly, and only when the token file cannot be read.
    stale_told: Mutex<Throttle>,
}

impl TokenGate {
    /// Follows a token file; `usual` is what a token has if its entry says nothing else, on the
    /// databases of `sessions`.
    pub(crate) fn open(
        file: TokenFile,
        sessions: Sessions,
        usual: Usual,
        guesses: Option<Guesses>,
        audit: Option<Arc<Audit>>,
    ) -> Result<Self, WatchError> {
        let door = Arc::new(Door::new(sessions, usual, guesses, audit));
        let (publisher, path) = (door.clone(), file.path().to_owned());
        let mut first = true;
        let watch = TokenWatch::start(file, move |update| {
            publisher.publish(update, &path, first);
            first = false;
        })?;
        Ok(TokenGate {
            door,
            watch,
            stale_told: Mutex::default(),
        })
    }

    async fn admit(&self, credentials: Credentials<'_>, peer: IpAddr) -> Result<Agent, Turned> {
        let presented = credentials.bearer()?;
        if let Err(stale) = self.watch.fresh().await {
            self.tell(stale);
            return Err(Refusal::Unavailable(
                "the token file has changed and cannot be read; try again in a moment",
            )
            .into());
        }
        self.door
            .admit(presented, peer, OffsetDateTime::now_utc())
            .await
    }

    fn tell(&self, stale: Stale) {
        let told = self.stale_told.lock();
        let mut told = told.unwrap_or_else(PoisonError::into_inner);
        if let Some(untold) = told.pass(STALE_A_MINUTE, Instant::now()) {
            tracing::error!(%stale, untold_before = untold, "requests are refused");
        }
    }

    /// A handle for the health check, the usage record and reloading.
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

/// Admits everybody to one session: for a loopback address without authentication.
pub(crate) struct OpenGate {
    pub(crate) agent: Agent,
}

impl Authenticate for OpenGate {
    type Principal = Agent;

    async fn authenticate(&self, _: Credentials<'_>, peer: IpAddr) -> Result<Agent, Refusal> {
        Ok(self.agent.clone().calling_from(peer))
    }
}
