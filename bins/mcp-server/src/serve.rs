//! Puts the parts together and serves until it is told to stop.

use std::sync::Arc;

use anyhow::{Context, bail};
use mcp_protocol::{
    Authenticate, Service,
    http::{AllowedHosts, Options, Server},
    stdio,
};
use pg_tools::{Agent, QueryLimits, Toolbox};
use server_config::Config;
use session_pool::Sessions;
use time::OffsetDateTime;
use token_store::TokenFile;
use tokio::task::JoinSet;

use crate::{
    announce, databases,
    gate::{OpenGate, TokenGate},
    health::Check,
    listen::Listeners,
    signals::Signals,
    tls,
};

// No token can have these ids, as no id of a token begins with a parenthesis.
const STDIO_SESSION: &str = "(stdio)";
const ANONYMOUS_SESSION: &str = "(anonymous)";

/// Serves as the configuration says.
pub(crate) async fn run(config: &Config, signals: Signals) -> anyhow::Result<()> {
    for warning in &config.warnings {
        announce!("WARNING: {warning}");
    }
    let Some(first) = config.databases.first() else {
        bail!(
            "no database is configured; add an entry to `databases:` in {}, or set DATABASE_URL or PGHOST, PGUSER and so on",
            config
                .file
                .as_ref()
                .map_or(server_config::CONFIG_FILE_NAME.into(), |file| file
                    .display()
                    .to_string())
        );
    };
    let sessions = Sessions::new(databases::describe(config)?, databases::limits(config));
    let served = if config.http.enabled {
        over_http(config, &sessions, &first.name, signals).await
    } else {
        over_stdio(config, &sessions, &first.name, signals).await
    };
    sessions.finish().await;
    served
}

fn toolbox(config: &Config, only_loopback: bool) -> Toolbox {
    let limits = QueryLimits {
        statement_timeout: config.limits.statement_timeout,
        result_bytes: config.limits.result_bytes,
    };
    Toolbox::new(databases::guards(config, only_loopback), limits)
}

async fn over_stdio(
    config: &Config,
    sessions: &Sessions,
    default: &str,
    mut signals: Signals,
) -> anyhow::Result<()> {
    let service = Arc::new(Service::new(toolbox(config, true)));
    let agent = Agent::new(sessions.open(STDIO_SESSION, None), default);
    let options = stdio::Options {
        max_line_bytes: config.http.max_body_bytes,
        ..stdio::Options::default()
    };
    let serving = stdio::serve(
        tokio::io::stdin(),
        tokio::io::stdout(),
        service,
        agent,
        options,
    );
    tokio::select! {
        served = serving => Ok(served?),
        () = signals.stop() => Ok(()),
    }
}

async fn over_http(
    config: &Config,
    sessions: &Sessions,
    default: &str,
    signals: Signals,
) -> anyhow::Result<()> {
    let listeners = Listeners::bind(&config.http.address).await?;
    let only_loopback = listeners.only_loopback();
    let options = options(config)?;
    if !only_loopback && config.http.tls.is_none() {
        announce!(
            "WARNING: tokens travel unencrypted; use -tls -cert FILE -key FILE, or a proxy that speaks TLS"
        );
    }
    let toolbox = toolbox(config, only_loopback);
    if config.http.auth_enabled {
        let file = TokenFile::new(&config.token_file);
        tidy(&file)?;
        let gate = TokenGate::open(file, sessions.clone(), default)?;
        let check = Check::new(sessions, Some(gate.door()));
        listen(
            listeners,
            with_check(toolbox, check),
            gate,
            options,
            signals,
        )
        .await
    } else if only_loopback {
        let agent = Agent::new(sessions.open(ANONYMOUS_SESSION, None), default);
        let check = Check::new(sessions, None);
        listen(
            listeners,
            with_check(toolbox, check),
            OpenGate { agent },
            options,
            signals,
        )
        .await
    } else {
        bail!(
            "without authentication the server listens on a loopback address only; use -addr localhost:8080, or leave -no-auth off"
        )
    }
}

fn options(config: &Config) -> anyhow::Result<Options> {
    let http = &config.http;
    Ok(Options {
        allowed_hosts: AllowedHosts::LoopbackAnd(http.allowed_hosts.clone()),
        allowed_origins: http.allowed_origins.clone(),
        max_body_bytes: http.max_body_bytes,
        header_timeout: http.header_timeout,
        body_timeout: http.body_timeout,
        max_connections: http.max_connections,
        max_connections_per_peer: http.max_connections_per_client,
        tls: http
            .tls
            .as_ref()
            .map(tls::server_config)
            .transpose()
            .context("TLS cannot be set up")?,
        ..Options::default()
    })
}

/// Says how many tokens there are, and removes those that have expired, from the file too.
fn tidy(file: &TokenFile) -> anyhow::Result<()> {
    let path = file.path().display();
    let count = file.load()?.set.len();
    announce!("Loaded {count} API token(s) from {path}");
    match file.remove_expired(OffsetDateTime::now_utc()) {
        Ok(removed) if removed.value.is_empty() => {}
        Ok(removed) => announce!("Removed {} expired token(s)", removed.value.len()),
        // As from a read-only mount; an expired token is refused all the same.
        Err(error) => announce!("WARNING: expired tokens stay in the file: {error}"),
    }
    Ok(())
}

fn with_check(toolbox: Toolbox, check: Check) -> Toolbox {
    let check = Arc::new(check);
    toolbox.with_health(move || {
        let check = check.clone();
        async move { check.run().await }
    })
}

async fn listen<A: Authenticate<Principal = Agent>>(
    listeners: Listeners,
    toolbox: Toolbox,
    gate: A,
    options: Options,
    mut signals: Signals,
) -> anyhow::Result<()> {
    let scheme = if options.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let server = Server::new(Arc::new(Service::new(toolbox)), gate, options);
    let (stop, _) = tokio::sync::watch::channel(false);
    for address in listeners.addresses() {
        announce!(
            "mcp-server {} listening on {scheme}://{address}/mcp/v1",
            env!("CARGO_PKG_VERSION")
        );
    }
    let mut serving = JoinSet::new();
    for socket in listeners.sockets {
        let (server, mut stopped) = (server.clone(), stop.subscribe());
        serving.spawn(async move {
            server
                .serve(
                    socket,
                    async move { _ = stopped.wait_for(|stop| *stop).await },
                )
                .await;
        });
    }
    signals.stop().await;
    announce!("Stopping; running requests may end, a second signal stops at once");
    stop.send_replace(true);
    tokio::select! {
        () = async { while serving.join_next().await.is_some() {} } => {}
        () = signals.stop() => {}
    }
    Ok(())
}
