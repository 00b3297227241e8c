//! Who calls, and what they may use.

use std::{collections::BTreeSet, sync::Arc};

use session_pool::Session;

use crate::tools::{Definition, Effect};

/// The holder of a token, with connections of its own.
#[derive(Clone, Debug)]
pub struct Agent {
    name: Arc<str>,
    session: Session,
    database: Arc<str>,
    databases: Arc<[Arc<str>]>,
    policy: Arc<Policy>,
}

/// What an agent may do beside reading the databases that it may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Whether it may change anything.
    pub access: Access,
    /// The only tools that it may use; `None` is all that are offered.
    pub tools: Option<BTreeSet<String>>,
}

/// Whether an agent may change anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// It reads.
    #[default]
    Read,
    /// It may use the tools that write, where the operator has switched them on.
    Write,
}

impl Agent {
    /// Takes the session that an agent's calls run on, and the name of the database that it is bound
    /// to. The agent is called as its session is.
    pub fn new(session: Session, database: impl Into<Arc<str>>) -> Self {
        let name = session.id().into();
        let database = database.into();
        Agent {
            name,
            session,
            databases: [database.clone()].into(),
            database,
            policy: Arc::default(),
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

    /// Lets the agent name other databases, too; its own stays the one that it uses unless it does.
    #[must_use]
    pub fn with_databases(mut self, others: impl IntoIterator<Item = impl Into<Arc<str>>>) -> Self {
        let own = self.database.clone();
        let others = others.into_iter().map(Into::into);
        let others = others.filter(|name| *name != own);
        self.databases = std::iter::once(own.clone()).chain(others).collect();
        self
    }

    /// Says what the agent may do.
    #[must_use]
    pub fn with_policy(self, policy: impl Into<Arc<Policy>>) -> Self {
        Agent {
            policy: policy.into(),
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

    /// The configured name of the database that the agent's calls run on.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// All databases that the agent may use, its own first.
    pub fn databases(&self) -> impl Iterator<Item = &str> {
        self.databases.iter().map(|name| &**name)
    }

    /// The same agent on another of the databases that it may use; `None` for any other name.
    #[must_use]
    pub fn on(&self, database: &str) -> Option<Self> {
        let name = self.databases.iter().find(|name| ***name == *database)?;
        Some(Agent {
            database: name.clone(),
            ..self.clone()
        })
    }

    /// Says whether the agent may use a tool. The only place that does: what it may not use is
    /// neither listed for it nor called.
    pub(crate) fn may_use(&self, tool: &Definition<'_>) -> bool {
        let listed = |tools: &BTreeSet<String>| tools.contains(tool.name);
        let may_have_the_effect = match tool.effect {
            Effect::Reads | Effect::Asks => true,
            Effect::Writes => self.policy.access == Access::Write,
        };
        may_have_the_effect && self.policy.tools.as_ref().is_none_or(listed)
    }
}
