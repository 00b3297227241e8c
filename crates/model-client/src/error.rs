//! Why a model call failed. No message holds a key.

use std::time::Duration;

use crate::key::KeyError;

/// Why a client cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// The URL is unusable.
    #[error("the URL cannot be used: {reason}")]
    Url {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The provider requires a key.
    #[error("{provider} asks for a key and there is none")]
    NoKey {
        /// The provider.
        provider: &'static str,
    },
    /// The key is invalid.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// There are no certificates to trust.
    #[error(transparent)]
    Untrusted(#[from] authorities::Untrusted),
    /// rustls refused the settings.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

/// Why a call failed.
///
/// Its text is for the person who asked, and names the fix where there is one. Hosts, and what a busy or failed server
/// says (perhaps about its customer's account), are for the operator's log: they appear only in `Debug`.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// There was no connection, or it was lost before the response was complete.
    #[error("{provider} cannot be reached: {reason}")]
    Unreachable {
        /// The provider.
        provider: &'static str,
        /// Host and port.
        host: String,
        /// The reason, without a host.
        reason: String,
        /// The full cause, including the hosts that a certificate is for.
        cause: String,
    },
    /// All attempts together took too long.
    #[error("{provider} did not answer within {} ms", .after.as_millis())]
    TimedOut {
        /// The provider.
        provider: &'static str,
        /// How long the call waited.
        after: Duration,
    },
    /// The server refused the key (401, 403).
    #[error(
        "{provider} refused the key (HTTP {status}); the operator must give one that may use the model {model}"
    )]
    KeyRefused {
        /// The provider.
        provider: &'static str,
        /// 401 or 403.
        status: u16,
        /// The requested model.
        model: String,
    },
    /// The server has no such model or path (404).
    #[error("{provider} does not know the model {model}, or its URL is wrong (HTTP 404){message}")]
    Unknown {
        /// The provider.
        provider: &'static str,
        /// The requested model.
        model: String,
        /// What the server said, preceded by a colon; may be empty.
        message: String,
    },
    /// The server accepts no more requests for now (429, 529).
    #[error("{provider} takes no more requests for now (HTTP {status}{}); try again later", asked(.wait))]
    Busy {
        /// The provider.
        provider: &'static str,
        /// The HTTP status.
        status: u16,
        /// How long the server asked to wait, if it did.
        wait: Option<Duration>,
        /// What the server said, preceded by a colon; may be empty.
        message: String,
    },
    /// The server failed (5xx).
    #[error("{provider} failed (HTTP {status})")]
    Failed {
        /// The provider.
        provider: &'static str,
        /// The HTTP status.
        status: u16,
        /// What the server said, preceded by a colon; may be empty.
        message: String,
    },
    /// The server refused the request (4xx).
    #[error("{provider} refused the request (HTTP {status}){message}")]
    Refused {
        /// The provider.
        provider: &'static str,
        /// The HTTP status.
        status: u16,
        /// What the server said, preceded by a colon; may be empty.
        message: String,
    },
    /// The server redirected elsewhere (3xx), where the key must not go.
    #[error(
        "{provider} redirects to another address (HTTP {status}), which is not followed; configure that URL itself"
    )]
    Redirected {
        /// The provider.
        provider: &'static str,
        /// The HTTP status.
        status: u16,
    },
    /// The response is larger than allowed.
    #[error("the answer of {provider} has more than {limit} bytes")]
    TooLarge {
        /// The provider.
        provider: &'static str,
        /// The limit in bytes.
        limit: usize,
    },
    /// The response is not JSON: something else may be listening there.
    #[error("{provider} answered with {found} and not with JSON; is its URL right?")]
    NotJson {
        /// The provider.
        provider: &'static str,
        /// The content type.
        found: String,
    },
    /// The response is JSON of an unexpected form.
    #[error("the answer of {provider} is not what its interface promises: {reason}")]
    Unreadable {
        /// The provider.
        provider: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A vector does not have the configured number of dimensions.
    #[error(
        "the model {model} gave a vector of {found} dimensions where {expected} are configured; correct the number, or the model"
    )]
    Dimensions {
        /// The model.
        model: String,
        /// The configured number of dimensions.
        expected: usize,
        /// The number of dimensions received.
        found: usize,
    },
    /// The model declined to answer.
    #[error("the model {model} declined to answer")]
    Declined {
        /// The model.
        model: String,
    },
}

fn asked(wait: &Option<Duration>) -> String {
    wait.map_or_else(String::new, |wait| {
        format!(", and asks to wait {} s", wait.as_secs())
    })
}
