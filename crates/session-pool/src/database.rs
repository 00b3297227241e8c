//! What a database is to a session, and what a session may use up.

use std::{fmt, sync::Arc, time::Duration};

use crate::{Tls, hosts};

/// Connections of one session to one database, whatever is asked for.
const MOST_CONNECTIONS: usize = 10_000;

/// A database that sessions may use.
#[derive(Clone)]
pub struct Database {
    /// The name by which a lease asks for it. Of several databases of one name the first is meant.
    pub name: String,
    /// Which description of that name this is: one that differs in anything has another number.
    pub generation: u64,
    /// Where it is and as whom to log in. TLS is `tls`'s business, not this value's, and so is the time for connecting
    /// `connect_timeout`'s. Its `application_name` is not used: connections are called `mcp/` and the session's id, so
    /// that whoever looks at `pg_stat_activity` sees whose they are.
    pub config: tokio_postgres::Config,
    /// Where it is, too: the same for each further host, in the order in which they are tried, or in any order of
    /// each session's where `config` says `load_balance_hosts=random`. Some may be reached by
    /// TCP and others by a Unix socket.
    pub fallbacks: Vec<tokio_postgres::Config>,
    /// Which of these servers is wanted.
    pub target: TargetSession,
    /// How the wire is protected. A Unix socket stays on this machine, and is never protected (as in libpq).
    pub tls: Tls,
    /// Time for opening a connection to one host, from the first packet to the first answer. Each host has it, also
    /// where one configuration names several.
    pub connect_timeout: Duration,
    /// Connections of one session at most. 0 counts as 1, and more than 10,000 as 10,000: room for them is made
    /// beforehand, some 50 bytes for each.
    pub max_connections: usize,
    /// Idle connections of one session that are kept whatever their age.
    pub min_idle: usize,
    /// How long a connection beyond those may be idle.
    pub idle_time: Duration,
}

impl Database {
    /// Describes a database with the usual limits: 4 connections, 60 s idle, 5 s to connect.
    pub fn new(name: impl Into<String>, config: tokio_postgres::Config, tls: Tls) -> Self {
        Database {
            name: name.into(),
            generation: 0,
            config,
            fallbacks: Vec::new(),
            target: TargetSession::Any,
            tls,
            connect_timeout: Duration::from_secs(5),
            max_connections: 4,
            min_idle: 0,
            idle_time: Duration::from_secs(60),
        }
    }
}

/// Which server of several is wanted, as libpq's `target_session_attrs` (PostgreSQL documentation,
/// section 34.1.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetSession {
    /// The first that lets one in.
    #[default]
    Any,
    /// One whose transactions may write.
    ReadWrite,
    /// One whose transactions may not.
    ReadOnly,
    /// One that is not a standby.
    Primary,
    /// One that is.
    Standby,
    /// A standby, or any if there is none.
    PreferStandby,
}

impl TargetSession {
    /// What is asked for, one after the other, until something is found.
    pub(crate) fn rounds(self) -> &'static [TargetSession] {
        match self {
            TargetSession::Any => &[TargetSession::Any],
            TargetSession::ReadWrite => &[TargetSession::ReadWrite],
            TargetSession::ReadOnly => &[TargetSession::ReadOnly],
            TargetSession::Primary => &[TargetSession::Primary],
            TargetSession::Standby => &[TargetSession::Standby],
            TargetSession::PreferStandby => &[TargetSession::Standby, TargetSession::Any],
        }
    }

    /// Says whether a server will do.
    pub(crate) fn takes(self, is_standby: bool, is_read_only: bool) -> bool {
        match self {
            TargetSession::Any | TargetSession::PreferStandby => true,
            TargetSession::ReadWrite => !is_read_only,
            TargetSession::ReadOnly => is_read_only,
            TargetSession::Primary => !is_standby,
            TargetSession::Standby => is_standby,
        }
    }
}

/// What every session is held to.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Leases of one session that may wait for one of its connections.
    pub waiting: usize,
    /// How long a lease waits for a connection to come free; [`Duration::MAX`] is for ever. Opening one may take longer,
    /// see [`Session::lease`](crate::Session::lease).
    pub wait: Duration,
    /// Connections to one PostgreSQL server at most, of all sessions together. `None` asks the
    /// server how many it takes, and leaves a tenth of them to others; where the role or the database may
    /// have fewer, that is the number.
    pub max_connections_total: Option<usize>,
    /// Bytes that PostgreSQL may answer to one exchange; a connection over it is closed.
    pub exchange_bytes: u64,
    /// Statements that one connection keeps prepared; fewer than 8 are as good as none.
    pub prepared_statements: usize,
    /// Connections that one session may keep for [lines](crate::Line) of leases, which is always one
    /// fewer on a database than it may have there. All sessions together keep half of the
    /// connections to one server at most.
    pub kept: usize,
    /// How long such a connection may be idle before it is closed, and how long its line is remembered after that.
    pub kept_idle_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            waiting: 64,
            wait: Duration::from_secs(5),
            max_connections_total: None,
            exchange_bytes: 16 << 20,
            prepared_statements: 32,
            kept: 4,
            kept_idle_time: Duration::from_secs(300),
        }
    }
}

/// What a session has of its own, beside what its databases say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The only databases that it may use; `None` is all that there are.
    pub databases: Option<Arc<[Arc<str>]>>,
    /// Connections to each database at most, where that is less than the database allows; 0 counts as 1.
    pub connections: Option<usize>,
    /// The role to log in as, in the place of the databases' own.
    pub login: Option<Arc<Login>>,
}

/// The credentials of a role.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The role.
    pub user: String,
    /// Its password, where PostgreSQL asks for one. There is no other that is tried instead.
    pub password: Option<String>,
}

impl fmt::Debug for Login {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Login")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl Database {
    /// Connections of one session at most, within reason.
    pub(crate) fn most_connections(&self) -> usize {
        self.max_connections.clamp(1, MOST_CONNECTIONS)
    }

    /// Describes each of the database's hosts as a login of a session's own sees them: with its credentials and
    /// none else.
    pub(crate) fn configs_for(&self, login: Option<&Login>) -> Vec<tokio_postgres::Config> {
        let given = std::iter::once(&self.config).chain(&self.fallbacks);
        let mut configs: Vec<_> = given.flat_map(hosts::one_by_one).collect();
        if let Some(login) = login {
            for config in &mut configs {
                config.user(&login.user);
                // An empty one answers when PostgreSQL asks although there should be none: it is refused.
                config.password(login.password.as_deref().unwrap_or_default());
            }
        }
        configs
    }
}
