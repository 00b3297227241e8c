//! All layers together: the configuration that the two programs run on.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use networks::{Network, Networks};
use serde_json::{Map, Value as Tree};

use crate::{
    database::{self, Database, SslMode},
    file,
    keys::{DATABASE_KEYS, SERVER_KEYS, nearest},
    models::{self, Embedding, Llm},
    pgpass,
    problems::Problems,
    settings::{Place, Settings},
    value::Value,
};

/// The name of the configuration file that is looked for beside the binary.
pub const CONFIG_FILE_NAME: &str = "pgedge-postgres-mcp.yaml";
/// The name of the token file beside the binary, unless another one is configured.
pub const TOKEN_FILE_NAME: &str = "pgedge-postgres-mcp-tokens.yaml";

/// Where a configuration comes from. The library does not read the environment by itself.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The folder of the running binary.
    pub program_folder: PathBuf,
    /// The environment variables.
    pub environment: BTreeMap<String, String>,
    /// `-config`: the file must exist. Without it [`CONFIG_FILE_NAME`] beside the binary is read if it exists.
    pub config_file: Option<PathBuf>,
    /// `-token-file`.
    pub token_file: Option<PathBuf>,
    /// `-http`.
    pub http: bool,
    /// `-addr`.
    pub address: Option<String>,
    /// `-tls`.
    pub tls: bool,
    /// `-cert`.
    pub cert_file: Option<PathBuf>,
    /// `-key`.
    pub key_file: Option<PathBuf>,
    /// `-no-auth`.
    pub no_auth: bool,
    /// `-audit-file`.
    pub audit_file: Option<PathBuf>,
    /// `-metrics-addr`.
    pub metrics_address: Option<String>,
}

impl Sources {
    /// The file to read, which need not exist unless it was named.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        match &self.config_file {
            Some(path) => path.clone(),
            None => self.program_folder.join(CONFIG_FILE_NAME),
        }
    }
}

/// A complete configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file that was read, if there was one.
    pub file: Option<PathBuf>,
    /// How HTTP is served.
    pub http: Http,
    /// The token file.
    pub token_file: PathBuf,
    /// The databases in the order of the file; the first is the default.
    pub databases: Vec<Database>,
    /// How much a call may use.
    pub limits: Limits,
    /// Which tools are offered.
    pub tools: Tools,
    /// The model that generates text, if any.
    pub llm: Option<Llm>,
    /// The embedding model, if any.
    pub embedding: Option<Embedding>,
    /// The audit log, if any.
    pub audit: Option<Audit>,
    /// How metrics are served, if they are.
    pub metrics: Option<Metrics>,
    /// Problems to fix although they do not prevent a start.
    pub warnings: Vec<String>,
    settings: Settings,
}

/// How HTTP is served.
#[derive(Clone, Debug)]
pub struct Http {
    /// Whether to serve over HTTP (else over stdio).
    pub enabled: bool,
    /// `host:port`; an empty host is every interface.
    pub address: String,
    /// Serve over TLS with these files.
    pub tls: Option<Tls>,
    /// Whether a token is required.
    pub auth_enabled: bool,
    /// How wrong tokens are answered.
    pub guessing: Guessing,
    /// Host names accepted in a `Host` header in addition to those of loopback.
    pub allowed_hosts: Vec<String>,
    /// Origins of web pages that may send requests.
    pub allowed_origins: Vec<String>,
    /// The trusted proxies, if any.
    pub proxies: Option<Proxies>,
    /// The largest request body in bytes.
    pub max_body_bytes: usize,
    /// The maximum number of open client connections.
    pub max_connections: usize,
    /// The maximum number of open connections from one address (IPv6: one /64 network); behind a trusted proxy, of
    /// concurrent requests.
    pub max_connections_per_client: usize,
    /// Time to receive a request's headers.
    pub header_timeout: Duration,
    /// Time to receive a request's body.
    pub body_timeout: Duration,
    /// How long a client may go without reading its response.
    pub write_timeout: Duration,
    /// How long a connection stays open without a request.
    pub idle_timeout: Duration,
    /// How long running requests may continue once the server is told to stop.
    pub drain_timeout: Duration,
    /// Time for a TLS handshake.
    pub handshake_timeout: Duration,
    /// How long an MCP session may go without a request before it ends.
    pub session_idle_timeout: Duration,
    /// The maximum number of MCP sessions per token.
    pub max_sessions_per_token: usize,
}

/// Proxies that are trusted to report whose requests they forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxies {
    /// The networks that they connect from.
    pub networks: Networks,
    /// Whether they use `Forwarded` (RFC 7239) instead of `X-Forwarded-For`.
    pub by_forwarded: bool,
}

/// The files of a TLS identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Certificates in PEM, the server's own first.
    pub cert_file: PathBuf,
    /// Private key in PEM.
    pub key_file: PathBuf,
    /// Further certificates of the chain in PEM.
    pub chain_file: Option<PathBuf>,
}

/// How wrong tokens are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guessing {
    /// Whether responses get slower and then become 429; if not, all wrong tokens are answered the same way.
    pub slowed: bool,
    /// The time that a wrong token adds to what its address owes.
    pub penalty: Duration,
    /// How much an address may owe before it gets 429.
    pub tolerance: Duration,
    /// The most that an address can owe.
    pub longest: Duration,
    /// How many addresses are remembered.
    pub addresses: usize,
    /// How many delayed responses are held back at once.
    pub held: usize,
}

/// The audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// The file.
    pub file: PathBuf,
    /// Whether it records the text of statements.
    pub texts: bool,
    /// How much of each text it records, in bytes.
    pub statement_bytes: usize,
    /// Whether calls are refused when their line cannot be written.
    pub refuses: bool,
    /// How many lines may wait to be written.
    pub queue_lines: usize,
    /// The maximum number of lines about refused tokens per minute.
    pub refused_tokens_per_minute: u32,
}

/// How metrics are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// `host:port`; an empty host is every interface.
    pub address: String,
    /// Whether other machines may access it.
    pub allow_remote: bool,
    /// The maximum number of open connections.
    pub max_connections: usize,
    /// How many tokens have metrics of their own.
    pub most_tokens: usize,
}

/// Which tools are offered.
#[derive(Clone, Debug)]
pub struct Tools {
    /// The opt-in tools that are enabled.
    pub enabled: Vec<String>,
    /// The file of custom tools.
    pub file: Option<PathBuf>,
}

/// How much a call may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Time per statement.
    pub statement_timeout: Duration,
    /// Bytes per result.
    pub result_bytes: usize,
    /// Concurrent requests per token.
    pub running_calls: usize,
    /// Bytes of responses that one token's clients have not read yet.
    pub unread_bytes: usize,
    /// The same for all tokens together.
    pub unread_bytes_total: usize,
    /// Tool calls per token and minute; `None` means no limit.
    pub calls_per_minute: Option<u32>,
    /// Calls per token that may wait for a connection.
    pub waiting_calls: usize,
    /// How long such a call waits.
    pub connection_wait: Duration,
    /// Bytes of rows read ahead for one token.
    pub held_bytes: usize,
    /// Bytes of rows read ahead for all tokens together.
    pub held_bytes_total: usize,
    /// Bytes of the schema description that a model gets with a question.
    pub schema_bytes: usize,
    /// How long rows read ahead are kept.
    pub held_time: Duration,
    /// The maximum number of rows that one statement may change.
    pub written_rows: u64,
    /// The interval at which a followed table is checked.
    pub follow_interval: Duration,
    /// Connections to one PostgreSQL server for all tokens together; `None` means as many as the server allows.
    pub max_connections_total: Option<usize>,
    /// How many prepared statements a connection keeps; below 8, none.
    pub prepared_statements: usize,
    /// Connections per token that may be kept for sessions.
    pub kept_connections: usize,
    /// How long a kept connection may be idle.
    pub kept_idle_time: Duration,
}

impl Config {
    /// Reads all layers: flags override the environment, which overrides the file, which overrides the defaults.
    ///
    /// # Errors
    /// Every problem at once, each with its place and its fix.
    pub fn load(sources: &Sources) -> Result<Config, Problems> {
        let mut problems = Problems::default();
        let (file, mut tree) = read_file(sources, &mut problems);
        let named = file
            .as_deref()
            .map(|path| path.display().to_string())
            .unwrap_or_default();
        let list = tree.remove("databases");

        let mut settings = Settings::new(SERVER_KEYS).beside("databases");
        settings.lay_tree(
            &tree,
            &Place {
                file: &named,
                inside: "",
            },
            &mut problems,
        );
        settings.lay_environment(&sources.environment, &mut problems);
        lay_flags(&mut settings, sources);
        refuse_idle_flags(&settings, sources, &mut problems);

        let mut databases = databases(list.as_ref(), &named, sources, &mut problems);
        let mut warnings = fill_passwords(&mut databases, &sources.environment);
        let http = http(&settings, &mut problems);
        let llm = models::llm(&settings, &sources.environment, &mut problems);
        let embedding = models::embedding(&settings, &sources.environment, &mut problems);
        warnings.extend(databases.iter().filter_map(unused_roots));
        warnings.extend(unused_identity(&settings));
        warnings.extend(misspelt_variables(&sources.environment));
        if sources.address.is_some() && !http.enabled {
            warnings.push("-addr has no effect without HTTP; add -http".into());
        }
        warnings.extend(models::warnings(llm.as_ref(), embedding.as_ref()));
        let config = Config {
            file,
            http,
            token_file: settings.text("http.auth.token_file").map_or_else(
                || sources.program_folder.join(TOKEN_FILE_NAME),
                PathBuf::from,
            ),
            databases,
            limits: limits(&settings),
            tools: Tools {
                enabled: settings.texts("tools.enabled"),
                file: settings.text("tools.file").map(PathBuf::from),
            },
            llm,
            embedding,
            audit: audit(&settings),
            metrics: metrics(&settings, &mut problems),
            warnings,
            settings,
        };
        problems.into_result(config)
    }

    /// Lists the keys whose values differ in another configuration, except `databases`.
    #[must_use]
    pub fn changed_keys(&self, other: &Config) -> Vec<&'static str> {
        self.settings.differing(&other.settings)
    }

    /// Finds a configured database by its name.
    #[must_use]
    pub fn database(&self, name: &str) -> Option<&Database> {
        self.databases.iter().find(|database| database.name == name)
    }
}

fn read_file(sources: &Sources, problems: &mut Problems) -> (Option<PathBuf>, Map<String, Tree>) {
    let path = sources.file();
    if sources.config_file.is_none() && !path.exists() {
        return (None, Map::new());
    }
    let tree = file::read(&path).unwrap_or_else(|message| {
        problems.add(path.display().to_string(), message);
        Map::new()
    });
    (Some(path), tree)
}

/// Reads `databases:`. Without any, the environment may describe one.
fn databases(
    list: Option<&Tree>,
    file: &str,
    sources: &Sources,
    problems: &mut Problems,
) -> Vec<Database> {
    let environment = &sources.environment;
    match list {
        None | Some(Tree::Null) => database::from_environment(environment, problems)
            .into_iter()
            .collect(),
        Some(list) => database::read_list(list, file, environment, problems),
    }
}

fn limits(settings: &Settings) -> Limits {
    Limits {
        statement_timeout: settings.span("limits.statement_timeout"),
        result_bytes: size(settings.count("limits.result_bytes")),
        running_calls: size(settings.count("limits.running_calls")),
        unread_bytes: size(settings.count("limits.unread_bytes")),
        unread_bytes_total: size(settings.count("limits.unread_bytes_total")),
        calls_per_minute: u32::try_from(settings.count("limits.calls_per_minute"))
            .ok()
            .filter(|calls| *calls > 0),
        waiting_calls: size(settings.count("limits.waiting_calls")),
        connection_wait: settings.span("limits.connection_wait"),
        held_bytes: size(settings.count("limits.held_bytes")),
        held_bytes_total: size(settings.count("limits.held_bytes_total")),
        schema_bytes: size(settings.count("limits.schema_bytes")),
        held_time: settings.span("limits.held_time"),
        written_rows: settings.count("limits.written_rows"),
        follow_interval: settings.span("limits.follow_interval"),
        max_connections_total: match settings.count("limits.max_connections_total") {
            0 => None,
            most => Some(size(most)),
        },
        prepared_statements: size(settings.count("limits.prepared_statements")),
        kept_connections: size(settings.count("limits.kept_connections")),
        kept_idle_time: settings.span("limits.kept_idle_time"),
    }
}

fn lay_flags(settings: &mut Settings, sources: &Sources) {
    if sources.http {
        settings.set("http.enabled", Value::Switch(true));
    }
    if sources.tls {
        settings.set("http.tls.enabled", Value::Switch(true));
    }
    if sources.no_auth {
        settings.set("http.auth.enabled", Value::Switch(false));
    }
    if let Some(address) = &sources.address {
        settings.set("http.address", Value::Text(address.clone()));
    }
    if let Some(address) = &sources.metrics_address {
        settings.set("metrics.address", Value::Text(address.clone()));
    }
    for (path, given) in [
        ("audit.file", &sources.audit_file),
        ("http.tls.cert_file", &sources.cert_file),
        ("http.tls.key_file", &sources.key_file),
        ("http.auth.token_file", &sources.token_file),
    ] {
        if let Some(given) = given {
            settings.set(path, Value::Text(given.to_string_lossy().into_owned()));
        }
    }
}

/// Warns of variables that look like a misspelling of a known one. Others with the same prefix may belong to other
/// programs.
fn misspelt_variables(environment: &BTreeMap<String, String>) -> Vec<String> {
    let keys = SERVER_KEYS.iter().chain(DATABASE_KEYS);
    let known: Vec<&str> = keys.filter_map(|key| key.variable).collect();
    let told = |name: &String| {
        let meant = nearest(name, known.iter().copied()).filter(|meant| meant != name)?;
        let name = name.escape_debug();
        Some(format!(
            "the variable {name} is not known and has no effect; did you mean {meant}?"
        ))
    };
    let names = environment.keys();
    names
        .filter(|name| name.starts_with("PGEDGE_"))
        .filter_map(told)
        .collect()
}

/// Warns of a certificate in the file that the server does not use.
fn unused_identity(settings: &Settings) -> Option<String> {
    let keys = ["http.tls.cert_file", "http.tls.key_file"];
    let named = keys.into_iter().find(|key| settings.text(key).is_some())?;
    let is_plain = settings.switch("http.enabled") && !settings.switch("http.tls.enabled");
    is_plain.then(|| {
        format!("{named} has no effect without TLS; set http.tls.enabled: true, or tokens travel unencrypted")
    })
}

/// Refuses a certificate on the command line of a server that would not use it: its traffic would not be encrypted.
fn refuse_idle_flags(settings: &Settings, sources: &Sources, problems: &mut Problems) {
    let given = [("-cert", &sources.cert_file), ("-key", &sources.key_file)];
    let is_on = settings.switch("http.tls.enabled");
    for (flag, _) in given.iter().filter(|(_, file)| file.is_some() && !is_on) {
        problems.add(
            *flag,
            "has no effect without TLS; add -tls, or set http.tls.enabled: true",
        );
    }
}

fn http(settings: &Settings, problems: &mut Problems) -> Http {
    let address = address(settings, "http.address", problems).unwrap_or_default();
    let enabled = settings.switch("http.enabled");
    if settings.switch("http.tls.enabled") && !enabled {
        problems.add(
            "http.tls.enabled",
            "needs HTTP; add -http or set http.enabled: true",
        );
    }
    Http {
        enabled,
        address,
        tls: tls(settings, problems),
        auth_enabled: settings.switch("http.auth.enabled"),
        guessing: Guessing {
            slowed: settings.switch("http.auth.guessing.slowed"),
            penalty: settings.span("http.auth.guessing.penalty"),
            tolerance: settings.span("http.auth.guessing.tolerance"),
            longest: settings.span("http.auth.guessing.longest"),
            addresses: size(settings.count("http.auth.guessing.addresses")),
            held: size(settings.count("http.auth.guessing.held")),
        },
        allowed_hosts: settings.texts("http.allowed_hosts"),
        allowed_origins: settings.texts("http.allowed_origins"),
        proxies: proxies(settings, problems),
        max_body_bytes: size(settings.count("http.max_body_bytes")),
        max_connections: size(settings.count("http.max_connections")),
        max_connections_per_client: size(settings.count("http.max_connections_per_client")),
        header_timeout: settings.span("http.header_timeout"),
        body_timeout: settings.span("http.body_timeout"),
        write_timeout: settings.span("http.write_timeout"),
        idle_timeout: settings.span("http.idle_timeout"),
        drain_timeout: settings.span("http.drain_timeout"),
        handshake_timeout: settings.span("http.tls.handshake_timeout"),
        session_idle_timeout: settings.span("http.session_idle_timeout"),
        max_sessions_per_token: size(settings.count("http.max_sessions_per_token")),
    }
}

/// Reads an address to listen on.
fn address(settings: &Settings, path: &str, problems: &mut Problems) -> Option<String> {
    let address = settings.text(path)?;
    let port = address
        .rsplit_once(':')
        .map(|(_, port)| port.parse::<u16>());
    if !matches!(port, Some(Ok(_))) {
        problems.add(
            path,
            format!(
                "must be HOST:PORT or :PORT, such as localhost:8080, not \"{}\"",
                address.escape_debug()
            ),
        );
    }
    Some(address.to_owned())
}

/// Reads which proxies are trusted. An invalid entry is reported by itself rather than as an error of the list.
fn proxies(settings: &Settings, problems: &mut Problems) -> Option<Proxies> {
    const PATH: &str = "http.trusted_proxies";
    let texts = settings.texts(PATH);
    if texts.is_empty() {
        return None;
    }
    let before = problems.0.len();
    for text in &texts {
        match text.parse::<Network>() {
            Err(error) => problems.add(PATH, format!("\"{}\": {error}", text.escape_debug())),
            Ok(network) if network.prefix() == 0 => problems.add(
                PATH,
                format!(
                    "{network} is everybody; name the addresses that your proxies connect from"
                ),
            ),
            Ok(_) => {}
        }
    }
    let networks = Networks::read(texts.iter().map(String::as_str));
    if let Err(wrong) = &networks
        && problems.0.len() == before
    {
        problems.add(PATH, format!("must hold different networks ({wrong})"));
    }
    Some(Proxies {
        networks: networks.ok()?,
        by_forwarded: settings.text("http.forwarded_header") == Some("Forwarded"),
    })
}

fn audit(settings: &Settings) -> Option<Audit> {
    let per_minute = settings.count("audit.refused_tokens_per_minute");
    Some(Audit {
        file: settings.text("audit.file").map(PathBuf::from)?,
        texts: settings.text("audit.statements") == Some("text"),
        statement_bytes: size(settings.count("audit.statement_bytes")),
        refuses: settings.text("audit.when_full") == Some("refuse"),
        queue_lines: size(settings.count("audit.queue_lines")),
        refused_tokens_per_minute: u32::try_from(per_minute).unwrap_or(u32::MAX),
    })
}

fn metrics(settings: &Settings, problems: &mut Problems) -> Option<Metrics> {
    let most_tokens = size(settings.count("metrics.most_tokens"));
    Some(Metrics {
        address: address(settings, "metrics.address", problems)?,
        allow_remote: settings.switch("metrics.allow_remote"),
        max_connections: size(settings.count("metrics.max_connections")),
        most_tokens: if settings.switch("metrics.per_token") {
            most_tokens
        } else {
            0
        },
    })
}

fn tls(settings: &Settings, problems: &mut Problems) -> Option<Tls> {
    if !settings.switch("http.tls.enabled") {
        return None;
    }
    let mut required = |path: &str, flag: &str| {
        let file = settings.text(path).map(PathBuf::from);
        if file.is_none() && !settings.is_mistaken(path) {
            problems.add(
                path,
                format!("is missing; with TLS on, name the PEM file with {flag} FILE"),
            );
        }
        file
    };
    let (cert_file, key_file) = (
        required("http.tls.cert_file", "-cert"),
        required("http.tls.key_file", "-key"),
    );
    Some(Tls {
        cert_file: cert_file?,
        key_file: key_file?,
        chain_file: settings.text("http.tls.chain_file").map(PathBuf::from),
    })
}

/// Takes passwords missing from the configuration from the password file; returns warnings about why it could not be
/// used.
fn fill_passwords(
    databases: &mut [Database],
    environment: &BTreeMap<String, String>,
) -> Vec<String> {
    let set = |variable| environment.get(variable).filter(|text| !text.is_empty());
    let path = match (set("PGPASSFILE"), set("HOME")) {
        (Some(file), _) => PathBuf::from(file),
        (None, Some(home)) => Path::new(home).join(".pgpass"),
        (None, None) => return Vec::new(),
    };
    let mut warnings = Vec::new();
    let is_missing = set("PGPASSFILE").is_some() && matches!(path.try_exists(), Ok(false));
    if is_missing && databases.iter().any(|database| database.password.is_none()) {
        let path = path.display();
        warnings.push(format!(
            "{path}: PGPASSFILE names it, and it does not exist"
        ));
    }
    for database in databases
        .iter_mut()
        .filter(|database| database.password.is_none())
    {
        if let Err(message) = pgpass::fill(&path, database) {
            warnings.push(format!("{}: {message}", path.display()));
        }
    }
    warnings.dedup();
    warnings
}

fn size(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// Warns of trusted certificates that are configured but not used.
fn unused_roots(database: &Database) -> Option<String> {
    let is_unused = matches!(database.sslmode, SslMode::Disable | SslMode::Prefer);
    (is_unused && database.sslrootcert.is_some()).then(|| {
        format!(
            "the database \"{}\" has sslrootcert, which only sslmode require, verify-ca and verify-full use; add sslmode: verify-full",
            database.name
        )
    })
}
