//! The settings of the HTTP transport.

use std::sync::Arc;
use std::time::Duration;

use networks::Authority;
use tokio::sync::Semaphore;

use super::forwarded::Proxies;
use crate::service::LONGEST_TIME;

/// The settings of the HTTP transport. Everything that waits or grows has its limit here. A time of
/// more than a year counts as a year.
#[derive(Clone, Debug)]
pub struct Options {
    /// The paths of the MCP endpoint.
    pub paths: Vec<String>,
    /// The path that answers `GET` with [`Handler::health`](crate::Handler::health), to anyone.
    pub health_path: Option<String>,
    /// Which `Host` headers are accepted; this protects against DNS rebinding.
    pub allowed_hosts: AllowedHosts,
    /// Origins of web pages that may call, such as `https://example.com:8443`, in addition to pages
    /// of the endpoint's own origin. They are answered with CORS headers. A request without
    /// `Origin` does not come from a page.
    pub allowed_origins: Vec<String>,
    /// The longest request body in bytes; longer ones are answered with 413.
    pub max_body_bytes: usize,
    /// How long a client may take to send the head of a request.
    pub header_timeout: Duration,
    /// How long a client may take to send a whole body; a later one is answered with 408.
    pub body_timeout: Duration,
    /// How long a connection stays open without a request.
    pub idle_timeout: Duration,
    /// How long a client may leave unread what is written to it.
    pub write_timeout: Duration,
    /// How long a TLS handshake may take.
    pub tls_handshake_timeout: Duration,
    /// How long running requests may go on after the shutdown signal.
    pub drain_timeout: Duration,
    /// How often a stream that has nothing to say shows that it is alive. A request that runs for
    /// longer than this becomes a stream, if its client accepts one.
    pub keep_alive_interval: Duration,
    /// How many connections may be open at once, at least one; further ones wait in the listener's queue.
    pub max_connections: usize,
    /// How many connections from one address (IPv6: from one /64 network) may be open at once;
    /// further ones are closed at once. A trusted proxy may have any number; for its clients this
    /// limits how many requests run at once, and further ones are answered with 429.
    pub max_connections_per_peer: usize,
    /// Proxies that are trusted to say whose requests they pass on. Without any, a connection's own
    /// address is its client's, and headers about it are ignored.
    pub proxies: Option<Proxies>,
    /// How many requests one HTTP/2 connection may have at once.
    pub max_concurrent_streams: u32,
    /// Serves HTTP/2 too, with prior knowledge or by ALPN.
    pub http2: bool,
    /// Serves TLS. Name `http/1.1` (and `h2`) in its `alpn_protocols`. To reload certificates, give
    /// it a resolver that does.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            paths: vec!["/mcp/v1".to_owned(), "/mcp".to_owned()],
            health_path: Some("/health".to_owned()),
            allowed_hosts: AllowedHosts::default(),
            allowed_origins: Vec::new(),
            max_body_bytes: 1024 * 1024,
            header_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(30),
            tls_handshake_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(10),
            keep_alive_interval: Duration::from_secs(15),
            max_connections: 1024,
            max_connections_per_peer: 256,
            proxies: None,
            // As many as clients send before they are told their limit (RFC 9113, section 6.5.2).
            max_concurrent_streams: 100,
            http2: false,
            tls: None,
        }
    }
}

/// Which `Host` headers are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedHosts {
    /// The names of the loopback interface, and these: `name` for any port, or `name:port`.
    LoopbackAnd(Vec<String>),
    /// All names. Only for servers that no browser can reach, or that always authenticate.
    Any,
}

impl Default for AllowedHosts {
    fn default() -> Self {
        Self::LoopbackAnd(Vec::new())
    }
}

/// Entries of [`Options`] that could never match, or with which nothing would be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// An allowed host is not a host name.
    #[error("allowed host `{0}` is no host name; write `name` or `name:port`, without a scheme")]
    Host(String),
    /// An allowed origin is not an origin.
    #[error(
        "allowed origin `{0}` is no origin; write `https://name` or `https://name:port`, without a path"
    )]
    Origin(String),
    /// A path does not begin with a slash.
    #[error("path `{0}` must begin with `/`")]
    Path(String),
    /// A limit or an interval is zero.
    #[error("`{0}` must not be zero")]
    Zero(&'static str),
}

impl Options {
    /// The same options, with times that clocks can add.
    pub(super) fn bounded(mut self) -> Self {
        for time in [
            &mut self.header_timeout,
            &mut self.body_timeout,
            &mut self.idle_timeout,
            &mut self.write_timeout,
            &mut self.tls_handshake_timeout,
            &mut self.drain_timeout,
            &mut self.keep_alive_interval,
        ] {
            *time = (*time).min(LONGEST_TIME);
        }
        self.keep_alive_interval = self.keep_alive_interval.max(Duration::from_millis(1));
        self.max_connections = self.max_connections.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// Finds every entry that could never match, or with which nothing would be served.
    pub fn problems(&self) -> Vec<OptionsError> {
        let hosts: &[String] = match &self.allowed_hosts {
            AllowedHosts::LoopbackAnd(names) => names,
            AllowedHosts::Any => &[],
        };
        let is_host = |host: &&String| Authority::parse(host).is_some();
        let is_origin = |origin: &&String| Authority::of_origin(origin).is_some();
        let bad_hosts = hosts.iter().filter(|host| !is_host(host)).cloned();
        let origins = self.allowed_origins.iter();
        let bad_origins = origins.filter(|origin| !is_origin(origin)).cloned();
        let paths = self.paths.iter().chain(&self.health_path);
        let bad_paths = paths.filter(|path| !path.starts_with('/')).cloned();
        let zeros = [
            ("max_connections", self.max_connections == 0),
            ("keep_alive_interval", self.keep_alive_interval.is_zero()),
        ];
        let zeros = zeros.into_iter().filter(|(_, is_zero)| *is_zero);
        bad_hosts
            .map(OptionsError::Host)
            .chain(bad_origins.map(OptionsError::Origin))
            .chain(bad_paths.map(OptionsError::Path))
            .chain(zeros.map(|(name, _)| OptionsError::Zero(name)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_that_match_nothing_are_found() {
        assert_eq!(Options::default().problems(), []);
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let options = Options {
            allowed_hosts: AllowedHosts::LoopbackAnd(names(&[
                "good.example.com",
                "https://bad.example.com",
            ])),
            allowed_origins: names(&[
                "https://good.example.com:8443",
                "bad.example.com",
                "https://bad.example.com/",
            ]),
            paths: names(&["/mcp", "mcp"]),
            max_connections: 0,
            keep_alive_interval: Duration::ZERO,
            ..Options::default()
        };
        let problems: Vec<_> = options.problems().iter().map(ToString::to_string).collect();
        assert_eq!(problems.len(), 6, "{problems:#?}");
        assert!(problems.iter().all(|problem| {
            ["mcp", "bad", "zero"]
                .iter()
                .any(|word| problem.contains(word))
        }));
    }
}
