//! `GET /health`: whether the databases answer, the token file is in force and the audit log is written.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use mcp_protocol::{Health, Object};
use session_pool::{LeaseError, Session, Sessions};
use tokio::{
    sync::Mutex,
    task::{JoinError, JoinSet},
    time,
};

use crate::{audit::Audit, door::Door};

/// How long an answer is reused, so that asking often costs nothing.
const FRESH: Duration = Duration::from_secs(1);

/// How long a database may take to answer, and how long a caller waits for the result.
const PATIENCE: Duration = Duration::from_secs(2);

// No token can have these ids: a token id never begins with a parenthesis.
const SESSION: &str = "(health)";
const FIRST_SESSION: &str = "(start)";

/// Checks the databases on a session of its own.
pub(crate) struct Check {
    session: Session,
    door: Option<Arc<Door>>,
    audit: Option<Arc<Audit>>,
    /// Held while the databases are asked: whoever asks meanwhile waits for the same answer.
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// The last result and when it was found.
    last: Option<(Instant, Health)>,
    databases: HashMap<Arc<str>, Asked>,
}

/// The state of the check of one database.
#[derive(Default)]
struct Asked {
    /// The last finding.
    is_up: bool,
    /// The question that is not answered yet. It goes on beyond [`PATIENCE`]: if connecting takes
    /// longer, as past a silent host, a new question would not get further either.
    running: JoinSet<Option<bool>>,
}

impl Asked {
    /// Records the outcome of a check, if it found anything out.
    fn note(&mut self, ended: Result<Option<bool>, JoinError>) {
        self.is_up = ended.unwrap_or(Some(false)).unwrap_or(self.is_up);
    }
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
            known: Mutex::default(),
        }
    }

    /// Answers 200 whatever the databases say: the server itself is well if it can answer.
    pub(crate) async fn run(&self) -> Health {
        let mut known = self.known.lock().await;
        if let Some((at, health)) = &known.last
            && at.elapsed() < FRESH
        {
            return health.clone();
        }
        let health = self.look(&mut known.databases).await;
        known.last = Some((Instant::now(), health.clone()));
        health
    }

    async fn look(&self, asked: &mut HashMap<Arc<str>, Asked>) -> Health {
        let answers = self.ask_all(asked).await;
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

    /// Asks all databases at once, and says in their order which of them answer; for one that takes
    /// longer it says what was found last.
    async fn ask_all(&self, asked: &mut HashMap<Arc<str>, Asked>) -> Vec<(Arc<str>, bool)> {
        let names = self.session.databases();
        asked.retain(|name, _| names.contains(name));
        for name in names.iter() {
            let one = asked.entry(name.clone()).or_default();
            // An answer that came after everybody had stopped waiting says how things were, not how they are.
            while let Some(ended) = one.running.try_join_next() {
                one.note(ended);
            }
            if one.running.is_empty() {
                let (session, name) = (self.session.clone(), name.clone());
                one.running.spawn(async move { ask(&session, &name).await });
            }
        }
        let until = time::Instant::now() + PATIENCE;
        let mut answers = Vec::new();
        for name in names.iter() {
            let one = asked.entry(name.clone()).or_default();
            if let Ok(Some(ended)) = time::timeout_at(until, one.running.join_next()).await {
                one.note(ended);
            }
            answers.push((name.clone(), one.is_up));
        }
        answers
    }
}

/// Checks every database once, so that the log reports one that cannot be reached; otherwise nobody might notice before
/// the first call.
pub(crate) async fn look_once(sessions: &Sessions) {
    let session = sessions.open(FIRST_SESSION, None);
    let mut asked = JoinSet::new();
    for name in session.databases().iter() {
        let (session, name) = (session.clone(), name.clone());
        asked.spawn(async move { ask(&session, &name).await });
    }
    asked.join_all().await;
    sessions.close(FIRST_SESSION);
}

/// Asks a database whether it is up; gives `None` if it has no connection to spare.
async fn ask(session: &Session, database: &str) -> Option<bool> {
    let lease = match session.lease(database).await {
        Ok(lease) => lease,
        Err(LeaseError::Busy { .. } | LeaseError::Full { .. } | LeaseError::QueueFull { .. }) => {
            return None;
        }
        Err(_) => return Some(false),
    };
    let Ok(answer) = time::timeout(PATIENCE, lease.simple_query("SELECT 1")).await else {
        tracing::warn!(
            database,
            "the database did not answer the health check within {} s, although it is connected; see whether it hangs, or what stands between",
            PATIENCE.as_secs()
        );
        return Some(false);
    };
    if answer.is_ok() {
        lease.give_back();
    }
    Some(answer.is_ok())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use session_pool::{Database, Limits, Tls};

    #[tokio::test]
    async fn what_came_when_nobody_waited_for_it_any_more_says_nothing_of_now() {
        // A port on which nothing listens.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let mut login = tokio_postgres::Config::new();
        login.host("127.0.0.1").port(port).user("u").dbname("d");
        let database = Database::new("shop", login, Tls::disabled());
        let sessions = Sessions::new([database], Limits::default());
        let check = Check::new(&sessions, None, None);
        let mut slow = Asked::default();
        let answered = slow.running.spawn(async { Some(true) });
        while !answered.is_finished() {
            tokio::task::yield_now().await;
        }
        let mut asked = HashMap::from([("shop".into(), slow)]);
        assert_eq!(check.ask_all(&mut asked).await, [("shop".into(), false)]);
    }
}
