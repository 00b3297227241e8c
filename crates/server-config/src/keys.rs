//! The table of all keys: what each takes, its default, its variable and its purpose.

use crate::{hosts::TARGET_SESSIONS, value::Kind};

/// One key of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The dotted path in the file.
    pub path: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Its value if nothing sets it, as it would be written; empty if there is none.
    pub default: &'static str,
    /// The environment variable that sets it, if any.
    pub variable: Option<&'static str>,
    /// Its purpose, in one line.
    pub help: &'static str,
}

const fn key(
    path: &'static str,
    kind: Kind,
    default: &'static str,
    variable: Option<&'static str>,
    help: &'static str,
) -> Key {
    Key {
        path,
        kind,
        default,
        variable,
        help,
    }
}

/// The words that `sslmode` takes, as libpq spells them.
pub const SSL_MODES: &[&str] = &[
    "disable",
    "allow",
    "prefer",
    "require",
    "verify-ca",
    "verify-full",
];

/// The words that `channel_binding` takes, as libpq spells them.
pub const CHANNEL_BINDINGS: &[&str] = &["disable", "prefer", "require"];

/// Whose API a text model may have.
pub const LLM_PROVIDERS: &[&str] = &["anthropic", "openai", "ollama"];

/// Whose API an embedding model may have.
pub const EMBEDDING_PROVIDERS: &[&str] = &["openai", "voyage", "ollama"];

/// What an audit log may record of statements.
pub const STATEMENTS: &[&str] = &["fingerprint", "text"];

/// What may happen when an audit log cannot be written.
pub const WHEN_FULL: &[&str] = &["go_on", "refuse"];

/// The headers in which trusted proxies may report whose requests they forward.
pub const FORWARDED_HEADERS: &[&str] = &["X-Forwarded-For", "Forwarded"];

/// The keys that occur once per file.
#[rustfmt::skip]
pub const SERVER_KEYS: &[Key] = &[
    key("http.enabled", Kind::Switch, "false", Some("PGEDGE_HTTP_ENABLED"), "serve HTTP; without it the server speaks MCP over stdio"),
    key("http.address", Kind::Text, ":8080", Some("PGEDGE_HTTP_ADDRESS"), "the address to listen on; `:8080` is every interface"),
    key("http.tls.enabled", Kind::Switch, "false", Some("PGEDGE_TLS_ENABLED"), "serve HTTPS"),
    key("http.tls.cert_file", Kind::Text, "", Some("PGEDGE_TLS_CERT_FILE"), "the certificate chain, PEM; read again when it changes"),
    key("http.tls.key_file", Kind::Text, "", Some("PGEDGE_TLS_KEY_FILE"), "the private key, PEM; read again when it changes"),
    key("http.tls.chain_file", Kind::Text, "", Some("PGEDGE_TLS_CHAIN_FILE"), "further certificates of the chain, PEM, when `cert_file` holds only the first"),
    key("http.tls.handshake_timeout", Kind::Span, "10s", None, "time for a TLS handshake"),
    key("http.auth.enabled", Kind::Switch, "true", Some("PGEDGE_AUTH_ENABLED"), "ask for a token; off only on a loopback address"),
    key("http.auth.token_file", Kind::Text, "", Some("PGEDGE_AUTH_TOKEN_FILE"), "the token file; default: `pgedge-postgres-mcp-tokens.yaml` beside the binary"),
    key("http.auth.guessing.slowed", Kind::Switch, "true", Some("PGEDGE_AUTH_GUESSING_SLOWED"), "answer wrong tokens late, and then with 429; a right one is never held up"),
    key("http.auth.guessing.penalty", Kind::Span, "5s", None, "what a wrong token costs its address (IPv6: its /64 network); the same one again costs a second"),
    key("http.auth.guessing.tolerance", Kind::Span, "15s", None, "how much an address may owe until its wrong tokens are answered with 429 and `Retry-After`"),
    key("http.auth.guessing.longest", Kind::Span, "10m", None, "how much an address can owe"),
    key("http.auth.guessing.addresses", Kind::Count(1, 1_000_000), "65536", None, "addresses that are remembered, and tokens that were removed; one more address pushes out the one that has been quiet for longest"),
    key("http.auth.guessing.held", Kind::Count(0, 100_000), "256", None, "answers that are held back at once; further ones are 429 at once"),
    key("http.allowed_hosts", Kind::Texts, "", Some("PGEDGE_HTTP_ALLOWED_HOSTS"), "names beside loopback's that a `Host` header may have"),
    key("http.allowed_origins", Kind::Texts, "", Some("PGEDGE_HTTP_ALLOWED_ORIGINS"), "origins of web pages that may call, such as `https://app.example.com`"),
    key("http.trusted_proxies", Kind::Texts, "", Some("PGEDGE_HTTP_TRUSTED_PROXIES"), "addresses or networks of proxies, such as `10.0.0.0/8`, that are believed whose requests they pass on; without it nobody is"),
    key("http.forwarded_header", Kind::Choice(FORWARDED_HEADERS), "X-Forwarded-For", Some("PGEDGE_HTTP_FORWARDED_HEADER"), "the one header in which they say it"),
    key("http.max_body_bytes", Kind::Count(1_024, 1 << 30), "1048576", None, "the largest request body; a larger one gets 413"),
    key("http.max_connections", Kind::Count(1, 1_000_000), "1024", None, "open client connections at once"),
    key("http.max_connections_per_client", Kind::Count(1, 1_000_000), "256", None, "open connections at once from one address (IPv6: from one /64 network); behind a trusted proxy, requests that run at once"),
    key("http.header_timeout", Kind::Span, "10s", None, "time for a request's headers"),
    key("http.body_timeout", Kind::Span, "10s", None, "time for a request's whole body"),
    key("http.write_timeout", Kind::Span, "30s", None, "how long a client may refuse to read its answer"),
    key("http.idle_timeout", Kind::Span, "60s", None, "how long a client's connection stays open without a request"),
    key("http.drain_timeout", Kind::Span, "10s", None, "how long running requests may go on once the server is told to stop; then they are answered with 503"),
    key("http.session_idle_timeout", Kind::Span, "30m", None, "after how long without a request an MCP session (`Mcp-Session-Id`) ends"),
    key("http.max_sessions_per_token", Kind::Count(1, 100_000), "64", None, "MCP sessions of one token; one more ends its longest unused one"),
    key("limits.statement_timeout", Kind::Span, "30s", None, "time for one statement; it is cancelled after that"),
    key("limits.result_bytes", Kind::Count(1_024, 1 << 30), "1048576", None, "the largest result; rows past it are cut off and `truncated` is set"),
    key("limits.running_calls", Kind::Count(1, 100_000), "256", None, "requests of one token at once that arrive or run, or whose answer is not read yet"),
    key("limits.unread_bytes", Kind::Count(0, 1 << 36), "268435456", None, "answers of one token that are not read yet and requests that still arrive, in bytes; in place of a further one of more than 64 KiB comes an error"),
    key("limits.unread_bytes_total", Kind::Count(0, 1 << 36), "536870912", None, "the same for all tokens together; a token that has read all of its answers gets its next one all the same"),
    key("limits.calls_per_minute", Kind::Count(0, 4_294_967_295), "0", None, "calls of tools of one token a minute, as far as its entry says nothing; 0 is any number"),
    key("limits.waiting_calls", Kind::Count(1, 100_000), "256", None, "calls of one token that may wait for one of its connections"),
    key("limits.connection_wait", Kind::Span, "5s", None, "how long a call waits for a connection"),
    key("limits.held_bytes", Kind::Count(0, 1 << 30), "4194304", None, "rows read ahead for a token that pages through a result, in bytes; 0 keeps none"),
    key("limits.held_bytes_total", Kind::Count(0, 1 << 36), "67108864", None, "rows read ahead for all tokens together, in bytes; the oldest make room"),
    key("limits.held_time", Kind::Span, "60s", None, "how long those rows are good"),
    key("limits.written_rows", Kind::Count(1, 1_000_000_000), "1000", None, "rows that one statement of a tool that writes may change, and as many besides by foreign keys and triggers"),
    key("limits.follow_interval", Kind::Span, "5s", None, "how often it is looked, on the token's own connection, whether a table that a client follows has changed"),
    key("limits.schema_bytes", Kind::Count(1_024, 1 << 24), "65536", None, "the largest description of the tables that a model gets with a question; the nearest tables come first"),
    key("limits.max_connections_total", Kind::Count(1, 100_000), "", None, "connections to one PostgreSQL server at most, of all tokens together; default: what the server takes, less a tenth"),
    key("limits.prepared_statements", Kind::Count(0, 10_000), "32", None, "statements that a connection keeps prepared; with fewer than 8 none is"),
    key("limits.kept_connections", Kind::Count(0, 10_000), "4", None, "connections of one token that may be kept for sessions with what is in them; always one fewer than the token may have to that database"),
    key("limits.kept_idle_time", Kind::Span, "5m", None, "how long a kept connection may be idle before it is closed, and what is in it gone"),
    key("audit.file", Kind::Text, "", Some("PGEDGE_AUDIT_FILE"), "the audit log, a line for each call; without it there is none"),
    key("audit.statements", Kind::Choice(STATEMENTS), "fingerprint", Some("PGEDGE_AUDIT_STATEMENTS"), "what it says of a statement: a digest that has no values in it, or also the text"),
    key("audit.statement_bytes", Kind::Count(64, 65_536), "4096", None, "how much of a text it holds"),
    key("audit.when_full", Kind::Choice(WHEN_FULL), "go_on", Some("PGEDGE_AUDIT_WHEN_FULL"), "what happens to calls whose line cannot be written: they go on, and the lines are counted as lost, or they are refused before they run"),
    key("audit.queue_lines", Kind::Count(16, 1_000_000), "10000", None, "lines that may wait to be written"),
    key("audit.refused_tokens_per_minute", Kind::Count(1, 1_000_000), "60", None, "lines about refused tokens a minute; further ones are counted in the next"),
    key("metrics.address", Kind::Text, "", Some("PGEDGE_METRICS_ADDRESS"), "the address to serve metrics for Prometheus on, such as `localhost:9187`; without it there are none"),
    key("metrics.allow_remote", Kind::Switch, "false", Some("PGEDGE_METRICS_ALLOW_REMOTE"), "allow an address that other machines reach; whoever reaches it reads the metrics"),
    key("metrics.max_connections", Kind::Count(1, 1_000), "8", None, "open connections to it at once"),
    key("metrics.per_token", Kind::Switch, "false", None, "also calls, rows and bytes of each token, by its id"),
    key("metrics.most_tokens", Kind::Count(1, 100_000), "100", None, "tokens that have metrics of their own; those that come later are `other` together"),
    key("tools.enabled", Kind::Texts, "", Some("PGEDGE_TOOLS_ENABLED"), "opt-in tools that are switched on, by name"),
    key("tools.file", Kind::Text, "", Some("PGEDGE_TOOLS_FILE"), "a file of custom tools; read again when it changes"),
    key("llm.provider", Kind::Choice(LLM_PROVIDERS), "", Some("PGEDGE_LLM_PROVIDER"), "whose interface the model that answers texts has; `openai` is that of many servers; without it there is no such model"),
    key("llm.model", Kind::Text, "", Some("PGEDGE_LLM_MODEL"), "the model's name; required with a provider"),
    key("llm.url", Kind::Text, "", Some("PGEDGE_LLM_URL"), "its address, such as `https://models.example.com/v1`; default: the provider's own, for ollama `http://localhost:11434`"),
    key("llm.key_env", Kind::Text, "", None, "the variable that holds the key; default: `ANTHROPIC_API_KEY` or `OPENAI_API_KEY`, when `url` is not given"),
    key("llm.key_file", Kind::Text, "", None, "a file that holds the key, instead of a variable"),
    key("llm.ca_file", Kind::Text, "", None, "certificates to trust, PEM; default: the system's"),
    key("llm.timeout", Kind::Span, "60s", None, "time for a call with all its attempts"),
    key("llm.connect_timeout", Kind::Span, "5s", None, "time for opening a connection"),
    key("llm.answer_bytes", Kind::Count(1_024, 1 << 30), "16777216", None, "the largest answer of the server"),
    key("llm.retries", Kind::Count(0, 10), "2", None, "further attempts when the server is busy, fails or cannot be reached"),
    key("llm.longest_wait", Kind::Span, "10s", None, "the longest wait between two attempts; a server that asks for more is not waited for"),
    key("llm.idle_timeout", Kind::Span, "60s", None, "how long an unused connection is kept"),
    key("llm.max_tokens", Kind::Count(16, 1_000_000), "2048", None, "tokens that an answer may have"),
    key("embedding.provider", Kind::Choice(EMBEDDING_PROVIDERS), "", Some("PGEDGE_EMBEDDING_PROVIDER"), "whose interface the model that makes vectors has; `openai` is that of many servers; without it there is no such model"),
    key("embedding.model", Kind::Text, "", Some("PGEDGE_EMBEDDING_MODEL"), "the model's name; required with a provider"),
    key("embedding.url", Kind::Text, "", Some("PGEDGE_EMBEDDING_URL"), "its address, such as `https://models.example.com/v1`; default: the provider's own, for ollama `http://localhost:11434`"),
    key("embedding.key_env", Kind::Text, "", None, "the variable that holds the key; default: `OPENAI_API_KEY` or `VOYAGE_API_KEY`, when `url` is not given"),
    key("embedding.key_file", Kind::Text, "", None, "a file that holds the key, instead of a variable"),
    key("embedding.ca_file", Kind::Text, "", None, "certificates to trust, PEM; default: the system's"),
    key("embedding.timeout", Kind::Span, "30s", None, "time for a call with all its attempts"),
    key("embedding.connect_timeout", Kind::Span, "5s", None, "time for opening a connection"),
    key("embedding.answer_bytes", Kind::Count(1_024, 1 << 30), "16777216", None, "the largest answer of the server"),
    key("embedding.retries", Kind::Count(0, 10), "2", None, "further attempts when the server is busy, fails or cannot be reached"),
    key("embedding.longest_wait", Kind::Span, "10s", None, "the longest wait between two attempts; a server that asks for more is not waited for"),
    key("embedding.idle_timeout", Kind::Span, "60s", None, "how long an unused connection is kept"),
    key("embedding.dimensions", Kind::Count(1, 65_535), "", None, "dimensions that its vectors must have; default: what the model makes"),
];

/// The keys of an entry of `databases:`.
#[rustfmt::skip]
pub const DATABASE_KEYS: &[Key] = &[
    key("name", Kind::Text, "", None, "the name that tokens are bound to; required, unique"),
    key("host", Kind::Text, "localhost", Some("PGEDGE_DB_HOST"), "host name, address, or the folder of a Unix socket; or several hosts, as `db1,db2:5433`, that are tried in this order"),
    key("port", Kind::Count(1, 65_535), "5432", Some("PGEDGE_DB_PORT"), "port"),
    key("database", Kind::Text, "", Some("PGEDGE_DB_NAME"), "the database's name; default: the user's name"),
    key("user", Kind::Text, "", Some("PGEDGE_DB_USER"), "the role to log in as; required"),
    key("password", Kind::Secret, "", Some("PGEDGE_DB_PASSWORD"), "the password; without it `~/.pgpass` is asked"),
    key("sslmode", Kind::Choice(SSL_MODES), "prefer", Some("PGEDGE_DB_SSLMODE"), "as in libpq"),
    key("sslrootcert", Kind::Text, "", None, "certificates to trust, PEM; default, and with verify-full also `system`: the system's"),
    key("channel_binding", Kind::Choice(CHANNEL_BINDINGS), "prefer", Some("PGEDGE_DB_CHANNEL_BINDING"), "as in libpq; `require` gives the password to nobody, and logs in to none but the server at the other end of TLS that knows it"),
    key("target_session_attrs", Kind::Choice(TARGET_SESSIONS), "any", Some("PGEDGE_DB_TARGET_SESSION_ATTRS"), "which of several hosts is wanted, as in libpq"),
    key("connect_timeout", Kind::Span, "5s", None, "time for opening a connection, on each host"),
    key("pool_max_conns", Kind::Count(1, 10_000), "4", None, "connections of one token to this database at most"),
    key("pool_min_conns", Kind::Count(0, 10_000), "0", None, "idle connections of one token that are kept"),
    key("pool_max_conn_idle_time", Kind::Span, "60s", None, "how long a connection beyond those stays idle before it is closed"),
    key("allow_dangerous_role", Kind::Text, "", None, "the role's own name, to accept that it may do more than read when the server listens beyond loopback or trusts a proxy"),
    key("allow_functions", Kind::Texts, "", None, "functions with side effects that queries may call nevertheless"),
];

/// The types that a custom tool's parameter can have, as in JSON Schema.
pub const PARAMETER_TYPES: &[&str] = &["string", "integer", "number", "boolean", "array"];

/// The keys of an entry of `tools:` in the file of custom tools, except `parameters`.
#[rustfmt::skip]
pub const TOOL_KEYS: &[Key] = &[
    key("name", Kind::Text, "", None, "the name that it is called by: letters, digits, `_`, `.`, `-`; required, unique"),
    key("title", Kind::Text, "", None, "the name that people read; default: the name"),
    key("description", Kind::Text, "", None, "what it does, for the model; required"),
    key("database", Kind::Text, "", None, "the database that it runs on; default: the first. Tokens that may not use that one do not see the tool"),
    key("sql", Kind::Text, "", None, "one statement, with `$1` for the first parameter; required"),
    key("read_only", Kind::Switch, "true", None, "whether it only reads; one that does not is for tokens that may write"),
    key("max_rows", Kind::Count(1, 10_000), "100", None, "rows that it gives or, when it writes, changes at most"),
];

/// The keys of an entry of a custom tool's `parameters`, in the order of `$1`, `$2` and so on.
#[rustfmt::skip]
pub const PARAMETER_KEYS: &[Key] = &[
    key("name", Kind::Text, "", None, "the name of the argument; required"),
    key("type", Kind::Choice(PARAMETER_TYPES), "string", None, "its type in JSON; PostgreSQL reads it as the type that the SQL wants"),
    key("description", Kind::Text, "", None, "what it is, for the model"),
    key("required", Kind::Switch, "true", None, "whether it must be given; what is not given is NULL"),
];

/// Finds the key that was probably meant, if one is similar.
#[must_use]
pub fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (strsim::damerau_levenshtein(wrong, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_passes_its_own_kind() {
        for key in SERVER_KEYS
            .iter()
            .chain(DATABASE_KEYS)
            .chain(TOOL_KEYS)
            .chain(PARAMETER_KEYS)
            .filter(|key| !key.default.is_empty())
        {
            assert!(key.kind.read_text(key.default).is_some(), "{}", key.path);
        }
    }

    #[test]
    fn the_nearest_key_is_named_only_when_it_is_near() {
        let known = || ["address", "enabled", "token_file"].into_iter();
        assert_eq!(nearest("adress", known()), Some("address"));
        assert_eq!(nearest("tokenfile", known()), Some("token_file"));
        assert_eq!(nearest("colour", known()), None);
    }
}
