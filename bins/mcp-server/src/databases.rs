//! Converts the configured databases and limits into session-pool's types.

use std::{fmt, sync::Arc};

use anyhow::Context;
use pg_tools::{Allowance, DangerousRoles};
use server_config::{
    ChannelBinding, Config, Database as Configured, Host, SslMode, TargetSession as Wanted,
    read_regular,
};
use session_pool::{Database, Limits, TargetSession, Tls, Verification};
use tokio_postgres::config::ChannelBinding as Binding;

/// How much larger than a result PostgreSQL's answer may be: quoting at most doubles a value, and
/// rows carry some bytes of their own.
const ANSWER_OVER_RESULT: u64 = 4;

/// Enough for the certificates of some thousand authorities.
const MOST_ROOTS: u64 = 8 << 20;

/// The configured databases, each with its generation, the number of its description.
#[derive(Clone)]
pub(crate) struct Databases {
    all: Vec<Known>,
    /// The last generation that was given out.
    generation: u64,
}

#[derive(Clone)]
struct Known {
    configured: Configured,
    /// The content of the file of trusted certificates.
    roots: Option<Vec<u8>>,
    described: Database,
}

/// What differs between the databases of two configurations, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Differences {
    pub(crate) added: Vec<String>,
    pub(crate) changed: Vec<String>,
    pub(crate) removed: Vec<String>,
    /// Whether the same databases are listed in another order.
    pub(crate) reordered: bool,
}

impl Differences {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Differences::default()
    }
}

impl Databases {
    /// Describes the databases of a configuration.
    pub(crate) fn of(config: &Config) -> anyhow::Result<Self> {
        let none = Databases {
            all: Vec::new(),
            generation: 0,
        };
        none.numbered(config, 0).map(|(databases, _)| databases)
    }

    /// Describes the databases of a changed configuration. A database that stays as it was keeps
    /// its number, and any other gets a new one.
    pub(crate) fn replaced_by(&self, config: &Config) -> anyhow::Result<(Self, Differences)> {
        self.numbered(config, self.generation + 1)
    }

    fn numbered(&self, config: &Config, generation: u64) -> anyhow::Result<(Self, Differences)> {
        let mut differences = Differences::default();
        let mut all = Vec::new();
        for configured in &config.databases {
            let roots = configured.sslrootcert.as_ref();
            let roots = roots.and_then(|path| read_regular(path, MOST_ROOTS).ok());
            let before = self.find(&configured.name);
            let is_same = |known: &&Known| known.configured == *configured && known.roots == roots;
            if let Some(same) = before.filter(is_same) {
                all.push(same.clone());
                continue;
            }
            let kind = match before {
                Some(_) => &mut differences.changed,
                None => &mut differences.added,
            };
            kind.push(configured.name.clone());
            all.push(Known {
                configured: configured.clone(),
                roots,
                described: Database {
                    generation,
                    ..describe(configured)?
                },
            });
        }
        let removed = self.all.iter().map(|known| &known.configured.name);
        differences.removed = removed
            .filter(|name| config.database(name).is_none())
            .cloned()
            .collect();
        let databases = Databases { all, generation };
        let are_the_same = differences.added.is_empty() && differences.removed.is_empty();
        differences.reordered = are_the_same && databases.names() != self.names();
        Ok((databases, differences))
    }

    fn find(&self, name: &str) -> Option<&Known> {
        self.all.iter().find(|known| known.configured.name == name)
    }

    /// The databases as session-pool describes them.
    pub(crate) fn described(&self) -> impl Iterator<Item = Database> {
        self.all.iter().map(|known| known.described.clone())
    }

    /// The databases by name; a caller that needs no token may use all of them, and uses the first
    /// one by default.
    pub(crate) fn names(&self) -> Arc<[Arc<str>]> {
        let names = self.all.iter().map(|known| known.configured.name.as_str());
        names.map(Arc::from).collect()
    }

    /// The name of the first database, or an empty one if there is none.
    pub(crate) fn first(&self) -> Arc<str> {
        let first = self.all.first().map(|known| known.configured.name.as_str());
        first.unwrap_or_default().into()
    }

    /// Says what queries may do on each database. Roles that can do more than read are served
    /// without further settings only to callers on this machine.
    pub(crate) fn allowances(&self, only_loopback: bool) -> impl Iterator<Item = Allowance> {
        self.all.iter().map(move |known| Allowance {
            database: known.configured.name.clone(),
            generation: known.described.generation,
            functions: known.configured.allow_functions.clone(),
            dangerous: if only_loopback {
                DangerousRoles::Warn
            } else {
                DangerousRoles::RefuseExcept(known.configured.allow_dangerous_role.clone())
            },
        })
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = [
            (&self.added, "added"),
            (&self.changed, "changed"),
            (&self.removed, "removed"),
        ]
        .into_iter()
        .filter(|(names, _)| !names.is_empty())
        .map(|(names, what)| format!("{what}: {}", names.join(", ").escape_debug()))
        .collect();
        match (parts.as_slice(), self.reordered) {
            ([], false) => out.write_str("no database changed"),
            ([], true) => out.write_str("databases in another order"),
            (parts, _) => write!(out, "databases {}", parts.join("; ")),
        }
    }
}

fn describe(configured: &Configured) -> anyhow::Result<Database> {
    let tls = tls(configured)?;
    let mut database = Database::new(
        &configured.name,
        login(configured, &configured.first_host()),
        tls,
    );
    let others = configured.other_hosts.iter();
    database.fallbacks = others.map(|host| login(configured, host)).collect();
    database.target = match configured.target_session_attrs {
        Wanted::Any => TargetSession::Any,
        Wanted::ReadWrite => TargetSession::ReadWrite,
        Wanted::ReadOnly => TargetSession::ReadOnly,
        Wanted::Primary => TargetSession::Primary,
        Wanted::Standby => TargetSession::Standby,
        Wanted::PreferStandby => TargetSession::PreferStandby,
    };
    database.connect_timeout = configured.connect_timeout;
    database.max_connections = configured.pool_max_conns;
    database.min_idle = configured.pool_min_conns;
    database.idle_time = configured.pool_max_conn_idle_time;
    Ok(database)
}

fn login(configured: &Configured, host: &Host) -> tokio_postgres::Config {
    let mut login = tokio_postgres::Config::new();
    login
        .host(&host.name)
        .port(host.port)
        .user(&configured.user)
        .dbname(&configured.database)
        .channel_binding(match configured.channel_binding {
            ChannelBinding::Disable => Binding::Disable,
            ChannelBinding::Prefer => Binding::Prefer,
            ChannelBinding::Require => Binding::Require,
        })
        .keepalives_idle(std::time::Duration::from_secs(30))
        .tcp_user_timeout(std::time::Duration::from_secs(30));
    if let Some(password) = &host.password {
        login.password(password.expose());
    }
    login
}

fn tls(configured: &Configured) -> anyhow::Result<Tls> {
    let verification = match configured.sslmode {
        SslMode::Disable => None,
        SslMode::Prefer => Some(Verification::Opportunistic),
        SslMode::Require => Some(Verification::Encrypted),
        SslMode::VerifyCa => Some(Verification::Authority),
        SslMode::VerifyFull => Some(Verification::Host),
    };
    match verification {
        None => Ok(Tls::disabled()),
        Some(verification) => Tls::new(verification, configured.sslrootcert.as_deref())
            .with_context(|| format!("database \"{}\"", configured.name)),
    }
}

/// Turns the configured limits into those of a session.
pub(crate) fn limits(config: &Config) -> Limits {
    Limits {
        waiting: config.limits.waiting_calls,
        wait: config.limits.connection_wait,
        max_connections_total: config.limits.max_connections_total,
        exchange_bytes: (config.limits.result_bytes as u64)
            .saturating_mul(ANSWER_OVER_RESULT)
            .max(1 << 20),
        prepared_statements: config.limits.prepared_statements,
        kept: config.limits.kept_connections,
        kept_idle_time: config.limits.kept_idle_time,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use server_config::Sources;

    fn load(folder: &std::path::Path, databases: &str) -> Config {
        let file = folder.join("config.yaml");
        std::fs::write(&file, format!("databases: {databases}\n")).unwrap();
        let sources = Sources {
            config_file: Some(file),
            ..Sources::default()
        };
        Config::load(&sources).unwrap()
    }

    fn generations(databases: &Databases) -> Vec<(String, u64)> {
        let described = databases.described();
        described.map(|one| (one.name, one.generation)).collect()
    }

    fn numbered(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
        let expected = expected.iter();
        expected.map(|(name, n)| ((*name).to_owned(), *n)).collect()
    }

    #[test]
    fn a_description_keeps_its_number_until_anything_in_it_is_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let load = |databases: &str| load(folder.path(), databases);
        let first = Databases::of(&load("[{name: a, user: u}, {name: b, user: u}]")).unwrap();
        assert_eq!(generations(&first), numbered(&[("a", 0), ("b", 0)]));
        for changed in [
            "host: h",
            "port: 5433",
            "database: d",
            "user: v",
            "password: p",
            "sslmode: disable",
            "channel_binding: require",
            "target_session_attrs: primary",
            "connect_timeout: 1s",
            "pool_max_conns: 5",
            "pool_min_conns: 1",
            "pool_max_conn_idle_time: 1s",
            "allow_dangerous_role: u",
            "allow_functions: [f]",
        ] {
            let user = if changed.starts_with("user") {
                ""
            } else {
                ", user: u"
            };
            let changed = format!("[{{name: a{user}, {changed}}}, {{name: b, user: u}}]");
            let (next, differences) = first.replaced_by(&load(&changed)).unwrap();
            assert_eq!(
                generations(&next),
                numbered(&[("a", 1), ("b", 0)]),
                "{changed}"
            );
            assert_eq!(differences.to_string(), "databases changed: a");
        }
        let (next, told) = first
            .replaced_by(&load("[{name: b, user: u}, {name: c, user: u}]"))
            .unwrap();
        assert_eq!(generations(&next), numbered(&[("b", 0), ("c", 1)]));
        assert_eq!(told.to_string(), "databases added: c; removed: a");
        // A database that comes back gets a new generation.
        let (last, _) = next.replaced_by(&load("[{name: a, user: u}]")).unwrap();
        assert_eq!(generations(&last), numbered(&[("a", 2)]));
        let (same, told) = last.replaced_by(&load("[{name: a, user: u}]")).unwrap();
        assert_eq!(generations(&same), numbered(&[("a", 2)]));
        assert_eq!(told.to_string(), "no database changed");
        let (_, told) = first
            .replaced_by(&load("[{name: b, user: u}, {name: a, user: u}]"))
            .unwrap();
        assert_eq!(told.to_string(), "databases in another order");
    }

    #[test]
    fn a_file_of_certificates_that_holds_others_makes_another_description() {
        let folder = tempfile::tempdir().unwrap();
        let roots = folder.path().join("roots.pem");
        let make = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let config = || {
            let path = roots.display();
            load(
                folder.path(),
                &format!("[{{name: a, user: u, sslmode: verify-full, sslrootcert: \"{path}\"}}]"),
            )
        };
        std::fs::write(&roots, make().cert.pem()).unwrap();
        let first = Databases::of(&config()).unwrap();
        let (same, _) = first.replaced_by(&config()).unwrap();
        assert_eq!(generations(&same), numbered(&[("a", 0)]));
        std::fs::write(&roots, make().cert.pem()).unwrap();
        let (other, _) = same.replaced_by(&config()).unwrap();
        assert_eq!(generations(&other), numbered(&[("a", 2)]));
        std::fs::write(&roots, "nothing").unwrap();
        assert!(other.replaced_by(&config()).is_err());
    }
}
