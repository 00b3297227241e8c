//! Who calls, and what they may use.

use std::sync::Arc;

use session_pool::Session;

/// The holder of a token, with connections of its own.
#[derive(Clone, Debug)]
pub struct Agent {
    session: Session,
    database: Arc<str>,
}

impl Agent {
    /// Names the session that an agent's calls run on, and the database that it is bound to.
    pub fn new(session: Session, database: impl Into<Arc<str>>) -> Self {
        Agent {
            session,
            database: database.into(),
        }
    }

    /// The agent's own connections.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The configured name of the database that the agent is bound to.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }
}
