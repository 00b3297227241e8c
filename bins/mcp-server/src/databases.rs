//! The configured databases, in session-pool's terms.

use anyhow::Context;
use pg_tools::{DangerousRoles, Guards};
use server_config::{Config, Database as Configured, SslMode, TargetSession as Wanted};
use session_pool::{Database, Limits, TargetSession, Tls, Verification};

/// How much larger than a result an answer of PostgreSQL may be: quoting doubles a value at worst,
/// and rows carry some bytes of their own.
const ANSWER_OVER_RESULT: u64 = 4;

/// Describes each configured database.
pub(crate) fn describe(config: &Config) -> anyhow::Result<Vec<Database>> {
    config.databases.iter().map(describe_one).collect()
}

fn describe_one(configured: &Configured) -> anyhow::Result<Database> {
    let tls = tls(configured)?;
    let login = login(configured, &configured.host, configured.port);
    let mut database = Database::new(&configured.name, login, tls);
    database.fallbacks = configured
        .other_hosts
        .iter()
        .map(|host| self::login(configured, &host.name, host.port))
        .collect();
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

fn login(configured: &Configured, host: &str, port: u16) -> tokio_postgres::Config {
    let mut login = tokio_postgres::Config::new();
    login
        .host(host)
        .port(port)
        .user(&configured.user)
        .dbname(&configured.database)
        .keepalives_idle(std::time::Duration::from_secs(30))
        .tcp_user_timeout(std::time::Duration::from_secs(30));
    if let Some(password) = &configured.password {
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

/// Says what queries may do on each database. Roles that can do more than read are served without
/// more ado only to callers on this machine.
pub(crate) fn guards(config: &Config, only_loopback: bool) -> Guards {
    config
        .databases
        .iter()
        .fold(Guards::default(), |guards, database| {
            let dangerous = if only_loopback {
                DangerousRoles::Warn
            } else {
                DangerousRoles::RefuseExcept(database.allow_dangerous_role.clone())
            };
            guards.allow(
                &database.name,
                database.allow_functions.iter().cloned(),
                dangerous,
            )
        })
}
