//! A database as sessions see it, and the limits of a session.

use std::{fmt, sync::Arc, time::Duration};

use crate::{Tls, hosts};

/// Connections of one session to one database at most, whatever is configured.
const MOST_CONNECTIONS: usize = 10_000;

/// A database that sessions may use.
#[derive(Clone)]
pub struct Database {
    /// The name by which a lease asks for it. Of several databases with the same name only the
    /// first counts.
    pub name: String,
    /// The number of this description: two descriptions of the same name that differ in anything
    /// have different numbers.
    pub generation: u64,
    /// The first host, and the login. Its TLS settings are not used, as `tls` has them, and neither
    /// is its time-out, as `connect_timeout` has it. Its `application_name` is not used either:
    /// connections are called `mcp/` and the session's id, so that `pg_stat_activity` shows whose
    /// they are.
    pub config: tokio_postgres::Config,
    /// The same for each further host. Hosts are tried in this order, or in a random one for each
    /// session where `config` says `load_balance_hosts=random`. Some may be reached by TCP and
    /// others by a Unix socket.
    pub fallbacks: Vec<tokio_postgres::Config>,
    /// Which of the hosts will do.
    pub target: TargetSession,
    /// How connections are encrypted. Those over a Unix socket never are (as in libpq), because
    /// they stay on this machine.
    pub tls: Tls,
    /// Time for opening a connection to one host, from the first packet to the first answer. Every
    /// host gets all of it, also where one `config` names several.
    pub connect_timeout: Duration,
    /// Connections of one session at most. 0 counts as 1, and more than 10,000 as 10,000. Memory
    /// for them is reserved beforehand: about 50 bytes for each.
    pub max_connections: usize,
    /// Idle connections of one session that are never closed for their age.
    pub min_idle: usize,
    /// How long a connection beyond `min_idle` may be idle.
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
    /// The first that accepts the login.
    #[default]
    Any,
    /// One whose transactions may write.
    ReadWrite,
    /// One whose transactions may only read.
    ReadOnly,
    /// One that is not a standby.
    Primary,
    /// One that is a standby.
    Standby,
    /// A standby, or any server if there is none.
    PreferStandby,
}

impl TargetSession {
    /// The kinds to look for, each on all hosts before the next.
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

    /// Says whether a server is of this kind.
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

/// The limits of every session.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Leases of one session that may wait for one of its connections.
    pub waiting: usize,
    /// How long a lease waits for a connection to come free; [`Duration::MAX`] means for ever.
    /// Opening a connection may take longer, see [`Session::lease`](crate::Session::lease).
    pub wait: Duration,
    /// Connections to one PostgreSQL server at most, of all sessions together. With `None` the
    /// server is asked how many it accepts, and a tenth of them is left to others; a lower limit of
    /// the role or of the database counts instead.
    pub max_connections_total: Option<usize>,
    /// Bytes that PostgreSQL may answer to one exchange at most; a connection on which it answers
    /// more is closed.
    pub exchange_bytes: u64,
    /// Statements that one connection keeps prepared; below 8 none are.
    pub prepared_statements: usize,
    /// Connections that one session may keep for [lines](crate::Line) of leases. On each database
    /// one of its connections is never kept. All sessions together keep at most half of the
    /// connections to one server.
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

/// What one session has of its own, in addition to what its databases say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The only databases that it may use; `None` is all that there are.
    pub databases: Option<Arc<[Arc<str>]>>,
    /// Connections to each database at most, where that is less than the database allows; 0 counts as 1.
    pub connections: Option<usize>,
    /// The role to log in as, instead of the databases' own.
    pub login: Option<Arc<Login>>,
}

/// The credentials of a role.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The role.
    pub user: String,
    /// Its password, if PostgreSQL asks for one. No other password is tried instead.
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
    /// Connections of one session at most, bounded by [`MOST_CONNECTIONS`].
    pub(crate) fn most_connections(&self) -> usize {
        self.max_connections.clamp(1, MOST_CONNECTIONS)
    }

    /// Describes each of the database's hosts, with the credentials of a session's own login if it
    /// has one and with no others.
    pub(crate) fn configs_for(&self, login: Option<&Login>) -> Vec<tokio_postgres::Config> {
        let given = std::iter::once(&self.config).chain(&self.fallbacks);
        let mut configs: Vec<_> = given.flat_map(hosts::one_by_one).collect();
        if let Some(login) = login {
            for config in &mut configs {
                config.user(&login.user);
                // Without a password the configured one would be sent. An empty one is refused if
                // PostgreSQL asks for one.
                config.password(login.password.as_deref().unwrap_or_default());
            }
        }
        configs
    }
}
