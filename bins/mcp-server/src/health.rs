//! `GET /health`: whether the databases answer and the token file is in force.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mcp_protocol::{Health, Object};
use session_pool::{Session, Sessions};
use tokio::sync::Mutex;

use crate::{audit::Audit, gate::Door};

/// How long an answer is good for, so that asking often costs nothing.
const FRESH: Duration = Duration::from_secs(1);

/// How long a database may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// No token can have this id, as no id of a token begins with a parenthesis.
const SESSION: &str = "(health)";

/// Asks the databases on a session of its own.
pub(crate) struct Check {
    session: Session,
    door: Option<Arc<Door>>,
    audit: Option<Arc<Audit>>,
    /// The last answer. Whoever asks meanwhile waits for the one that is being found out.
    last: Mutex<Option<(Instant, Health)>>,
}

impl Check {
    pub(crate) fn new(
        sessions: &Sessions,
        door: Option<Arc<Door>>,
        audit: Option<Arc<Audit>>,
    ) -> Self {
        Check {
            session: sessions.open(SESSION, None),
            door,
            audit,
            last: Mutex::default(),
        }
    }

    /// Answers 200 whatever it finds: the server itself is well when it can answer.
    pub(crate) async fn run(&self) -> Health {
        let mut last = self.last.lock().await;
        if let Some((at, health)) = &*last
            && at.elapsed() < FRESH
        {
            return health.clone();
        }
        let health = self.look().await;
        *last = Some((Instant::now(), health.clone()));
        health
    }

    async fn look(&self) -> Health {
        let answers = self.ask_all().await;
        let mut databases = Object::new();
        for (name, up) in &answers {
            databases.insert(name.to_string(), if *up { "up" } else { "down" }.into());
        }
        let tokens = self.door.as_ref().map(|door| door.failure().is_none());
        let audit = self.audit.as_ref().map(|audit| !audit.is_failing());
        let well =
            answers.iter().all(|(_, up)| *up) && tokens != Some(false) && audit != Some(false);
        let mut body = Object::new();
        body.insert("status".into(), if well { "ok" } else { "degraded" }.into());
        body.insert("server".into(), "mcp-server".into());
        body.insert("version".into(), env!("CARGO_PKG_VERSION").into());
        body.insert("databases".into(), databases.into());
        if let Some(tokens) = tokens {
            let state = if tokens {
                "in force"
            } else {
                "unreadable; the tokens from before are in force"
            };
            body.insert("token_file".into(), state.into());
        }
        if let Some(audit) = audit {
            let state = if audit {
                "written"
            } else {
                "cannot be written"
            };
            body.insert("audit_log".into(), state.into());
        }
        Health { status: 200, body }
    }

    /// Asks all databases at once, and says in their order which of them answer.
    async fn ask_all(&self) -> Vec<(Arc<str>, bool)> {
        let names = self.session.databases();
        let mut asking = tokio::task::JoinSet::new();
        for (place, name) in names.iter().enumerate() {
            let (session, name) = (self.session.clone(), name.clone());
            asking.spawn(async move {
                let answer = tokio::time::timeout(PATIENCE, ask(&session, &name)).await;
                (place, name, answer.unwrap_or(false))
            });
        }
        let mut answers = asking.join_all().await;
        answers.sort_by_key(|(place, ..)| *place);
        let answers = answers.into_iter();
        answers.map(|(_, name, up)| (name, up)).collect()
    }
}

async fn ask(session: &Session, database: &str) -> bool {
    let Ok(lease) = session.lease(database).await else {
        return false;
    };
    let answers = lease.simple_query("SELECT 1").await.is_ok();
    if answers {
        lease.give_back();
    }
    answers
}
