//! Who calls, and what they may use.

use std::sync::Arc;

use session_pool::Session;

/// The holder of a token, with connections of its own.
#[derive(Clone, Debug)]
pub struct Agent {
    name: Arc<str>,
    session: Session,
    database: Arc<str>,
}

impl Agent {
    /// Takes the session that an agent's calls run on, and the name of the database that it is bound
    /// to. The agent is called as its session is.
    pub fn new(session: Session, database: impl Into<Arc<str>>) -> Self {
        let name = session.id().into();
        Agent {
            name,
            session,
            database: database.into(),
        }
    }

    /// Calls the agent otherwise. What a client has begun belongs to the name: give a name that no
    /// later holder of the same session id has.
    #[must_use]
    pub fn named(self, name: impl Into<Arc<str>>) -> Self {
        Agent {
            name: name.into(),
            ..self
        }
    }

    /// What the agent is called in logs, and whose a client's handshake is.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
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
