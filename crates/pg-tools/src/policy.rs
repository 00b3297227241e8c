//! What a token allows.

use std::{collections::BTreeSet, time::Duration};

use crate::Pace;

/// What an agent may do, apart from which databases it may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Whether it may change anything.
    pub access: Access,
    /// The only tools that it may use; `None` is all that are offered.
    pub tools: Option<BTreeSet<String>>,
    /// The only schemas whose tables it may use; `None` means all that its role may.
    pub schemas: Option<BTreeSet<String>>,
    /// The role that its statements run as.
    pub role: Role,
    /// The most rows of one result, if that is less than a tool allows.
    pub rows: Option<u32>,
    /// The most bytes of one result, if that is less than the toolbox allows.
    pub result_bytes: Option<usize>,
    /// The time for one statement, if that is less than the toolbox allows.
    pub statement_timeout: Option<Duration>,
    /// How often it may call.
    pub pace: Pace,
}

/// The role that an agent's statements run as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// The role with which the database is configured.
    #[default]
    Configured,
    /// The role of this name, as which the session logs in.
    Login(String),
    /// The role of this name, which every transaction takes on first and no statement can leave.
    Set(String),
}

impl Role {
    /// Returns what distinguishes agents on one database that run as different roles.
    pub(crate) fn key(&self) -> (u8, &str) {
        match self {
            Role::Configured => (0, ""),
            Role::Login(name) => (1, name),
            Role::Set(name) => (2, name),
        }
    }
}

/// Whether an agent may change anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// It may read only.
    #[default]
    Read,
    /// It may use the tools that write, where the operator has switched them on.
    Write,
}
