//! Assembles the server and runs it until it is told to stop.

use std::{io::IsTerminal, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use mcp_protocol::{
    Authenticate, Service, ServiceOptions,
    http::{AllowedHosts, ForwardedHeader, Options, Proxies, Server},
    stdio,
};
use pg_tools::{Agent, Toolbox};
use server_config::{Config, Sources};
use time::OffsetDateTime;
use token_store::TokenFile;
use tokio::task::JoinSet;

use crate::{
    announce,
    audit::{self, Audit},
    beside::Beside,
    descriptors,
    gate::{OpenGate, TokenGate},
    guesses::Guesses,
    health::Check,
    listen::Listeners,
    parts::{Parts, usual},
    record::Record,
    signals::Signals,
    tls::{self, Certificates},
};

// No token can have these ids: a token id never begins with a parenthesis.
const STDIO_SESSION: &str = "(stdio)";
const ANONYMOUS_SESSION: &str = "(anonymous)";
const NO_TLS: &str = "TLS cannot be set up";

/// Serves HTTP or stdio as configured, and follows changes of the configuration.
pub(crate) async fn run(
    config: &Config,
    sources: &Sources,
    signals: Signals,
) -> anyhow::Result<()> {
    let sources = Some(sources.clone());
    if config.http.enabled {
        let listeners = Listeners::bind(&config.http.address, "-addr").await?;
        http(config, sources, listeners, signals, || ()).await
    } else {
        audit::beside(config, "stdio", async |audit| {
            over_stdio(config, sources, audit, signals).await
        })
        .await
    }
}

/// Has the C library keep a few MiB of freed memory, of which the next result is made. If this
/// memory were given back to the system, new pages would be needed each time, at up to half of the
/// CPU time of a large result.
///
/// The library learns how much to keep from the largest block that was freed (glibc: mallopt(3),
/// `M_MMAP_THRESHOLD`). No page of this block is touched, so it costs no memory; on other libraries
/// this has no effect.
fn keep_freed_memory() {
    const LARGEST: usize = 4 << 20;
    drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGEST)));
}

async fn over_stdio(
    config: &Config,
    sources: Option<Sources>,
    audit: Option<Arc<Audit>>,
    mut signals: Signals,
) -> anyhow::Result<()> {
    keep_freed_memory();
    let parts = Parts::of(config, true, audit.clone())?;
    let beside = Beside::of(config, sources, &parts, audit).await?;
    let agent = parts.anybody(STDIO_SESSION);
    if std::io::stdin().is_terminal() {
        announce!("Speaking MCP over standard input and output; -http serves HTTP instead");
    }
    let Parts {
        sessions, toolbox, ..
    } = parts;
    let service = service(config, toolbox);
    let options = stdio::Options {
        max_line_bytes: config.http.max_body_bytes,
        ..stdio::Options::default()
    };
    let serving = stdio::serve(
        tokio::io::stdin(),
        tokio::io::stdout(),
        service.clone(),
        agent,
        options,
        signals.stop(),
    );
    let served = beside.run(config, &service, serving).await;
    sessions.finish().await;
    served?.context("standard input or output failed; the client may be gone")
}

/// Serves HTTP on bound sockets; calls `ready` once requests are answered. Without `sources` the configuration is not
/// followed.
pub(crate) async fn http(
    config: &Config,
    sources: Option<Sources>,
    listeners: Listeners,
    signals: Signals,
    ready: impl FnOnce(),
) -> anyhow::Result<()> {
    keep_freed_memory();
    let only_loopback = listeners.only_loopback();
    if !config.http.auth_enabled && !only_loopback {
        bail!(
            "without authentication the server listens on a loopback address only; name one (-addr localhost:8080), or leave authentication on (http.auth.enabled, -no-auth)"
        );
    }
    if !only_loopback && config.http.tls.is_none() {
        announce!(
            "WARNING: tokens travel unencrypted; use -tls -cert FILE -key FILE, or a proxy that speaks TLS"
        );
    }
    audit::beside(config, "http", async |audit| {
        over_http(config, sources, audit, listeners, signals, ready).await
    })
    .await
}

async fn over_http(
    config: &Config,
    sources: Option<Sources>,
    audit: Option<Arc<Audit>>,
    listeners: Listeners,
    signals: Signals,
    ready: impl FnOnce(),
) -> anyhow::Result<()> {
    // A trusted proxy calls for other machines, wherever it is itself.
    let only_loopback = listeners.only_loopback() && config.http.proxies.is_none();
    let certificates = certificates(config)?;
    let options = options(config, certificates.clone())?;
    let parts = Parts::of(config, only_loopback, audit.clone())?;
    let beside = Beside::of(config, sources, &parts, audit.clone()).await?;
    let beside = beside.with_certificates(certificates);
    let sessions = parts.sessions.clone();
    let served = if config.http.auth_enabled {
        let file = TokenFile::new(&config.token_file);
        tidy(&file)?;
        let gate = TokenGate::open(
            file,
            sessions.clone(),
            usual(config, &parts.toolbox),
            Guesses::new(config.http.guessing),
            audit.clone(),
        )?;
        let door = gate.door();
        let record = Record::new(door.clone(), &config.token_file);
        let mut keeping = JoinSet::new();
        keeping.spawn(record.clone().keep());
        let check = Check::new(&sessions, Some(door.clone()), audit);
        let service = with_check(config, parts.toolbox, check);
        door.leads_to(&service);
        let server = Server::new(service.clone(), gate, options);
        let beside = beside.with_door(door).counting(server.counts());
        let listening = listen(listeners, server, scheme(config), signals, ready);
        let served = beside.run(config, &service, listening).await;
        keeping.shutdown().await;
        record.write().await;
        served
    } else {
        let agent = parts.anybody(ANONYMOUS_SESSION);
        let service = with_check(config, parts.toolbox, Check::new(&sessions, None, audit));
        let server = Server::new(service.clone(), OpenGate { agent }, options);
        let beside = beside.counting(server.counts());
        let listening = listen(listeners, server, scheme(config), signals, ready);
        beside.run(config, &service, listening).await
    };
    sessions.finish().await;
    served
}

fn scheme(config: &Config) -> &'static str {
    if config.http.tls.is_some() {
        "https"
    } else {
        "http"
    }
}

fn certificates(config: &Config) -> anyhow::Result<Option<Arc<Certificates>>> {
    let files = config.http.tls.clone();
    let certificates = files.map(Certificates::load).transpose();
    Ok(certificates.context(NO_TLS)?.map(Arc::new))
}

fn options(config: &Config, certificates: Option<Arc<Certificates>>) -> anyhow::Result<Options> {
    let http = &config.http;
    let options = Options {
        allowed_hosts: AllowedHosts::LoopbackAnd(http.allowed_hosts.clone()),
        allowed_origins: http.allowed_origins.clone(),
        proxies: http.proxies.clone().map(|proxies| Proxies {
            networks: proxies.networks,
            header: match proxies.by_forwarded {
                true => ForwardedHeader::Forwarded,
                false => ForwardedHeader::XForwardedFor,
            },
        }),
        max_body_bytes: http.max_body_bytes,
        header_timeout: http.header_timeout,
        body_timeout: http.body_timeout,
        write_timeout: http.write_timeout,
        idle_timeout: http.idle_timeout,
        drain_timeout: http.drain_timeout,
        tls_handshake_timeout: http.handshake_timeout,
        max_connections: descriptors::make_room(config),
        max_connections_per_peer: http.max_connections_per_client,
        tls: certificates
            .map(tls::server_config)
            .transpose()
            .context(NO_TLS)?,
        http2: true,
        ..Options::default()
    };
    let problems: Vec<String> = options.problems().iter().map(ToString::to_string).collect();
    if problems.is_empty() {
        Ok(options)
    } else {
        bail!("{}", problems.join("\n"))
    }
}

/// Counts the tokens, and removes those that have expired, from the file too.
fn tidy(file: &TokenFile) -> anyhow::Result<()> {
    let path = file.path().display();
    // Its message already includes its cause, so the chain would repeat it.
    let loaded = file.load().map_err(|error| anyhow::anyhow!("{error}"))?;
    let count = loaded.set.len();
    announce!("Loaded {count} API token(s) from {path}");
    match file.remove_expired(OffsetDateTime::now_utc()) {
        Ok(removed) if removed.value.is_empty() => {}
        Ok(removed) => announce!("Removed {} expired token(s)", removed.value.len()),
        // For example on a read-only mount; an expired token is refused all the same.
        Err(error) => announce!("WARNING: expired tokens stay in the file: {error}"),
    }
    Ok(())
}

fn with_check(config: &Config, toolbox: Toolbox, check: Check) -> Arc<Service<Toolbox>> {
    let check = Arc::new(check);
    let toolbox = toolbox.with_health(move || {
        let check = check.clone();
        async move { check.run().await }
    });
    service(config, toolbox)
}

fn service(config: &Config, toolbox: Toolbox) -> Arc<Service<Toolbox>> {
    let options = ServiceOptions {
        request_timeout: request_timeout(config),
        session_idle_timeout: config.http.session_idle_timeout,
        max_sessions_per_principal: config.http.max_sessions_per_token,
        max_requests_per_principal: config.limits.running_calls,
        max_unread_bytes_per_principal: config.limits.unread_bytes,
        max_unread_bytes: config.limits.unread_bytes_total,
        follow_interval: config.limits.follow_interval,
        ..ServiceOptions::default()
    };
    Arc::new(Service::with_options(toolbox, options))
}

/// Gives a call time for everything that it may wait for, one after the other, and a little more.
pub(crate) fn request_timeout(config: &Config) -> Duration {
    let connecting = config
        .databases
        .iter()
        .map(|database| {
            let hosts = u32::try_from(1 + database.other_hosts.len()).unwrap_or(u32::MAX);
            database.connect_timeout.saturating_mul(hosts)
        })
        .max();
    let embedding = config.embedding.as_ref().map(|made| made.model.timeout);
    // If the model's query fails, the model is asked a second time.
    let answering = config.llm.as_ref().map(|llm| 2 * llm.model.timeout);
    config.limits.statement_timeout
        + embedding.unwrap_or_default()
        + answering.unwrap_or_default()
        + config.limits.connection_wait
        + 2 * connecting.unwrap_or_default()
        + Duration::from_secs(10)
}

/// Answers requests until a signal comes, then lets running ones finish until a second signal
/// comes.
async fn listen<A: Authenticate<Principal = Agent>>(
    listeners: Listeners,
    server: Server<Toolbox, A>,
    scheme: &str,
    mut signals: Signals,
    ready: impl FnOnce(),
) {
    for address in listeners.addresses() {
        announce!(
            "mcp-server {} listening on {scheme}://{address}/mcp/v1",
            env!("CARGO_PKG_VERSION")
        );
    }
    let stop = tokio::sync::watch::Sender::new(false);
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
    ready();
    signals.stop().await;
    announce!("Stopping; running requests may end, a second signal stops at once");
    stop.send_replace(true);
    tokio::select! {
        () = async { while serving.join_next().await.is_some() {} } => {}
        () = signals.stop() => serving.shutdown().await,
    }
}
