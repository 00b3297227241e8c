//! A database that tokens may be bound to, as plain data.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use serde_json::Value as Tree;
use zeroize::Zeroizing;

use crate::{
    hosts::{self, Host, TargetSession},
    keys::DATABASE_KEYS,
    problems::Problems,
    settings::{Place, Settings},
    url,
    value::Value,
};

/// A password. Never shown; wiped on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// Wraps a password.
    #[must_use]
    pub fn new(text: String) -> Self {
        Password(Zeroizing::new(text))
    }

    /// Returns the text, for opening a connection.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Password(..)")
    }
}

/// How far TLS is required, as in libpq.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    /// Never.
    Disable,
    /// If the server offers it. `allow` is read as this.
    Prefer,
    /// Always, without verifying the server.
    Require,
    /// Always, with a certificate that a trusted authority signed.
    VerifyCa,
    /// Always, with such a certificate that is valid for this host.
    VerifyFull,
}

impl SslMode {
    /// Reads libpq's word for it.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "disable" => SslMode::Disable,
            "allow" | "prefer" => SslMode::Prefer,
            "require" => SslMode::Require,
            "verify-ca" => SslMode::VerifyCa,
            "verify-full" => SslMode::VerifyFull,
            _ => return None,
        })
    }
}

/// Whether a login must be protected against a man in the middle by channel binding, as in libpq.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChannelBinding {
    /// Never use it.
    Disable,
    /// Use it if the server supports it.
    #[default]
    Prefer,
    /// Do not log in without it.
    Require,
}

impl ChannelBinding {
    /// Reads libpq's word for it.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "disable" => ChannelBinding::Disable,
            "prefer" => ChannelBinding::Prefer,
            "require" => ChannelBinding::Require,
            _ => return None,
        })
    }
}

/// One configured database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// The name that tokens are bound to.
    pub name: String,
    /// Host name, address, or the folder of a Unix socket. If there are several hosts, the first one.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The hosts to try after it, in this order.
    pub other_hosts: Vec<Host>,
    /// Which kind of server is wanted.
    pub target_session_attrs: TargetSession,
    /// The database's name in PostgreSQL.
    pub database: String,
    /// The role to log in as.
    pub user: String,
    /// The password for `host`, if known.
    pub password: Option<Password>,
    /// How far TLS is required.
    pub sslmode: SslMode,
    /// A PEM file of certificates to trust.
    pub sslrootcert: Option<PathBuf>,
    /// Whether a login must use channel binding.
    pub channel_binding: ChannelBinding,
    /// Time to open a connection, per host.
    pub connect_timeout: Duration,
    /// The maximum number of connections per token.
    pub pool_max_conns: usize,
    /// Idle connections per token that are kept open.
    pub pool_min_conns: usize,
    /// How long a connection beyond those may be idle.
    pub pool_max_conn_idle_time: Duration,
    /// The role that the operator accepts although it may do more than read.
    pub allow_dangerous_role: Option<String>,
    /// Functions with side effects that queries may call all the same.
    pub allow_functions: Vec<String>,
}

impl Database {
    /// The host that is tried first.
    #[must_use]
    pub fn first_host(&self) -> Host {
        Host {
            name: self.host.clone(),
            port: self.port,
            password: self.password.clone(),
        }
    }

    /// Makes a database from a connection URL (`postgres://user:password@host:port/name?sslmode=..`).
    ///
    /// # Errors
    /// What is wrong with the URL, without quoting it.
    pub fn from_url(name: &str, text: &str) -> Result<Self, String> {
        let mut settings = Settings::new(DATABASE_KEYS);
        for (path, value) in url::parse(text)? {
            settings.set(path, value);
        }
        settings.set("name", Value::Text(name.to_owned()));
        let mut problems = Problems::default();
        build(&settings, &|path| path.to_owned(), &mut problems).ok_or_else(|| {
            problems
                .0
                .first()
                .map_or_else(String::new, ToString::to_string)
        })
    }
}

/// Reads the list under `databases:`; the first entry's keys may come from the environment.
pub(crate) fn read_list(
    list: &Tree,
    file: &str,
    environment: &BTreeMap<String, String>,
    problems: &mut Problems,
) -> Vec<Database> {
    let entries = match list {
        Tree::Null => return Vec::new(),
        Tree::Array(entries) => entries.as_slice(),
        _ => {
            problems.add(
                format!("{file}: databases"),
                "must be a list; begin each entry with `- name:`",
            );
            return Vec::new();
        }
    };
    let mut databases: Vec<Database> = Vec::new();
    let mut names = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let inside = place_of(index, entry);
        let place = Place {
            file,
            inside: &inside,
        };
        let Tree::Object(map) = entry else {
            problems.add(
                format!("{file}: {inside}"),
                "must be a map with `name`, `user` and so on",
            );
            continue;
        };
        let mut settings = Settings::new(DATABASE_KEYS);
        settings.lay_tree(map, &place, problems);
        if index == 0 {
            settings.lay_environment(environment, problems);
        }
        let name = settings.text("name").map(str::to_owned);
        if name.is_some() && names.contains(&name) {
            problems.add(
                place.of("name"),
                "is used by an entry before; names are unique",
            );
        }
        names.push(name);
        let own = |path: &str| own_variable(path, environment).filter(|_| index == 0);
        let told = |path: &str| own(path).map_or_else(|| place.of(path), str::to_owned);
        databases.extend(build(&settings, &told, problems));
    }
    databases
}

fn place_of(index: usize, entry: &Tree) -> String {
    let name = entry.get("name").and_then(Tree::as_str);
    match name.filter(|name| !is_connection_string(name)) {
        Some(name) => format!("databases[{index}] ({})", name.escape_debug()),
        None => format!("databases[{index}]"),
    }
}

/// Says whether a text looks like a connection string, which may hold a password.
fn is_connection_string(text: &str) -> bool {
    text.contains("://") || text.contains("password=")
}

/// Makes the database that the standard variables describe, if they do.
pub(crate) fn from_environment(
    environment: &BTreeMap<String, String>,
    problems: &mut Problems,
) -> Option<Database> {
    let set = |variable| environment.get(variable).filter(|text| !text.is_empty());
    if let Some(text) = set("DATABASE_URL") {
        return Database::from_url("default", text)
            .map_err(|message| problems.add("DATABASE_URL", message))
            .ok();
    }
    const DESCRIBING: [&str; 6] = [
        "PGHOST",
        "PGDATABASE",
        "PGUSER",
        "PGEDGE_DB_HOST",
        "PGEDGE_DB_NAME",
        "PGEDGE_DB_USER",
    ];
    if !DESCRIBING.iter().any(|variable| set(variable).is_some()) {
        return None;
    }
    let mut settings = Settings::new(DATABASE_KEYS);
    settings.set("name", Value::Text("default".into()));
    settings.lay_variables(|key| standard_variable(key.path), environment, problems);
    settings.lay_environment(environment, problems);
    if settings.text("user").is_none()
        && let Some(user) = set("USER")
    {
        settings.set("user", Value::Text(user.clone()));
    }
    build(&settings, &|path| variable_of(path, environment), problems)
}

/// libpq's variables and the keys that they set.
const STANDARD: [(&str, &str); 9] = [
    ("PGHOST", "host"),
    ("PGPORT", "port"),
    ("PGDATABASE", "database"),
    ("PGUSER", "user"),
    ("PGPASSWORD", "password"),
    ("PGSSLMODE", "sslmode"),
    ("PGSSLROOTCERT", "sslrootcert"),
    ("PGCHANNELBINDING", "channel_binding"),
    ("PGTARGETSESSIONATTRS", "target_session_attrs"),
];

/// Returns the variable that sets a key, for messages about the environment: ours if it is set, else libpq's.
fn variable_of(path: &str, environment: &BTreeMap<String, String>) -> String {
    let named = own_variable(path, environment).or(standard_variable(path));
    named.unwrap_or(path).to_owned()
}

/// Our variable for a key, if it is set.
fn own_variable(path: &str, environment: &BTreeMap<String, String>) -> Option<&'static str> {
    let key = DATABASE_KEYS.iter().find(|key| key.path == path)?;
    key.variable.filter(|variable| {
        let text = environment.get(*variable);
        text.is_some_and(|text| !text.is_empty())
    })
}

fn standard_variable(path: &str) -> Option<&'static str> {
    let found = STANDARD.iter().find(|(_, key)| *key == path);
    found.map(|(variable, _)| *variable)
}

fn build(
    settings: &Settings,
    place: &dyn Fn(&str) -> String,
    problems: &mut Problems,
) -> Option<Database> {
    for path in ["name", "host", "database", "user"] {
        if settings.text(path).is_some_and(is_connection_string) {
            problems.add(
                place(path),
                "is a connection string, which only DATABASE_URL takes; write its parts as host, port, database, user and password",
            );
        }
    }
    let mut required = |path: &str, fix: &str| {
        let found = settings.text(path).map(str::to_owned);
        if found.is_none() && !settings.is_mistaken(path) {
            problems.add(place(path), format!("is missing; {fix}"));
        }
        found
    };
    let name = required("name", "give each database a name of its own");
    let user = required("user", "name the role to log in as");
    let (name, user) = (name?, user?);
    let most = settings.count("pool_max_conns");
    if settings.count("pool_min_conns") > most {
        problems.add(
            place("pool_min_conns"),
            format!("must not be larger than pool_max_conns ({most})"),
        );
    }
    let (sslmode, sslrootcert) = trust(settings, place, problems)?;
    let port = u16::try_from(settings.count("port")).unwrap_or(5432);
    let hosts = hosts::read(settings.text("host").unwrap_or("localhost"), port);
    let mut hosts = hosts
        .map_err(|message| problems.add(place("host"), message))
        .ok()?
        .into_iter();
    let first = hosts.next()?;
    let password = settings.text("password");
    let password = password.map(|text| Password::new(text.to_owned()));
    Some(Database {
        name,
        host: first.name,
        port: first.port,
        other_hosts: hosts
            .map(|host| Host {
                password: password.clone(),
                ..host
            })
            .collect(),
        target_session_attrs: settings
            .text("target_session_attrs")
            .and_then(TargetSession::from_word)
            .unwrap_or_default(),
        database: settings.text("database").unwrap_or(&user).to_owned(),
        user,
        password,
        sslmode,
        sslrootcert,
        channel_binding: settings
            .text("channel_binding")
            .and_then(ChannelBinding::from_word)
            .unwrap_or_default(),
        connect_timeout: settings.span("connect_timeout"),
        pool_max_conns: usize::try_from(most).unwrap_or(usize::MAX),
        pool_min_conns: usize::try_from(settings.count("pool_min_conns")).unwrap_or(0),
        pool_max_conn_idle_time: settings.span("pool_max_conn_idle_time"),
        allow_dangerous_role: settings.text("allow_dangerous_role").map(str::to_owned),
        allow_functions: settings.texts("allow_functions"),
    })
}

/// Reads how far TLS is required, and whose certificates are trusted.
fn trust(
    settings: &Settings,
    place: &dyn Fn(&str) -> String,
    problems: &mut Problems,
) -> Option<(SslMode, Option<PathBuf>)> {
    let mode = settings.text("sslmode").and_then(SslMode::from_word);
    let mode = mode.unwrap_or(SslMode::Prefer);
    match (mode, settings.text("sslrootcert")) {
        (SslMode::VerifyFull, Some("system")) => Some((mode, None)),
        (_, Some("system")) => {
            problems.add(
                place("sslrootcert"),
                "`system` needs sslmode verify-full, for anybody can have a certificate of such an authority",
            );
            None
        }
        // As in libpq, naming authorities means that they are to be checked.
        (SslMode::Require, Some(path)) => Some((SslMode::VerifyCa, Some(path.into()))),
        (_, path) => Some((mode, path.map(PathBuf::from))),
    }
}
