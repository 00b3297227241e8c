//! Where a model is, and how much a call to it may use.

use std::{path::PathBuf, time::Duration};

use crate::Key;

/// A model, where it is served, and how much a call to it may use.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub(crate) model: String,
    pub(crate) url: Option<String>,
    pub(crate) key: Option<Key>,
    pub(crate) authorities: Option<PathBuf>,
    pub(crate) limits: Limits,
}

/// How much one call may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Time for the whole call: all attempts and the waits between them.
    pub timeout: Duration,
    /// Time to open a connection, including TLS.
    pub connect_timeout: Duration,
    /// The maximum size of a response in bytes.
    pub answer_bytes: usize,
    /// How often a call is retried when the server is busy, fails or cannot be reached.
    pub retries: u32,
    /// The first wait between two attempts if the server does not ask for one; it then doubles.
    pub first_wait: Duration,
    /// The longest wait between two attempts. If a server asks for more, the call gives up.
    pub longest_wait: Duration,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
}

impl Default for Limits {
    /// 30 s in total, 5 s to connect, 16 MiB per response, 2 retries, waits from 250 ms to 10 s, 60 s idle.
    fn default() -> Self {
        Limits {
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            answer_bytes: 16 << 20,
            retries: 2,
            first_wait: Duration::from_millis(250),
            longest_wait: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
        }
    }
}

impl Endpoint {
    /// Names a model, to be called at its provider's own address, without a key.
    #[must_use]
    pub fn new(model: impl Into<String>) -> Self {
        Endpoint {
            model: model.into(),
            url: None,
            key: None,
            authorities: None,
            limits: Limits::default(),
        }
    }

    /// Sets another URL: the part before what the provider's API appends, such as `https://models.example.com/v1`.
    #[must_use]
    pub fn with_url(self, url: impl Into<String>) -> Self {
        Endpoint {
            url: Some(url.into()),
            ..self
        }
    }

    /// Sets the key to send.
    #[must_use]
    pub fn with_key(self, key: Key) -> Self {
        Endpoint {
            key: Some(key),
            ..self
        }
    }

    /// Trusts the certificates in a PEM file instead of the system's.
    #[must_use]
    pub fn with_authorities(self, file: impl Into<PathBuf>) -> Self {
        Endpoint {
            authorities: Some(file.into()),
            ..self
        }
    }

    /// Sets how much a call may use.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Endpoint { limits, ..self }
    }
}
