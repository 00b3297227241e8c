//! Why a model gave nothing. No message holds a key.

use std::time::Duration;

use crate::key::KeyError;

/// Why a client cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// The address is not one.
    #[error("the URL cannot be used: {reason}")]
    Url {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The provider takes no request without a key.
    #[error("{provider} asks for a key and there is none")]
    NoKey {
        /// Who asks.
        provider: &'static str,
    },
    /// The key is none.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// There is nothing to trust.
    #[error(transparent)]
    Untrusted(#[from] authorities::Untrusted),
    /// rustls refused the settings.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

/// Why a call gave nothing.
///
/// Its text is for whoever asked, and names the fix where there is one. Hosts, and what a server says
/// of its customer's account when it is busy, are for the operator's log: they are in `Debug` alone.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// No connection, or it was lost before the answer was whole.
    #[error("{provider} cannot be reached: {reason}")]
    Unreachable {
        /// Who was called.
        provider: &'static str,
        /// Host and port.
        host: String,
        /// Why, without a host.
        reason: String,
        /// What was found, with the hosts that a certificate is for.
        cause: String,
    },
    /// All attempts together took too long.
    #[error("{provider} did not answer within {} ms", .after.as_millis())]
    TimedOut {
        /// Who was called.
        provider: &'static str,
        /// How long the call waited.
        after: Duration,
    },
    /// The server does not take the key (401, 403).
    #[error(
        "{provider} refused the key (HTTP {status}); the operator must give one that may use the model {model}"
    )]
    KeyRefused {
        /// Who was called.
        provider: &'static str,
        /// 401 or 403.
        status: u16,
        /// The model that was asked for.
        model: String,
    },
    /// The server has no such model or path (404).
    #[error("{provider} does not know the model {model}, or its URL is wrong (HTTP 404){message}")]
    Unknown {
        /// Who was called.
        provider: &'static str,
        /// The model that was asked for.
        model: String,
        /// What it said, behind a colon; may be empty.
        message: String,
    },
    /// The server takes no more requests for now (429, 529).
    #[error("{provider} takes no more requests for now (HTTP {status}{}); try again later", asked(.wait))]
    Busy {
        /// Who was called.
        provider: &'static str,
        /// The HTTP status.
        status: u16,
        /// How long it asked to wait, if it did.
        wait: Option<Duration>,
        /// What it said, behind a colon; may be empty.
        message: String,
    },
    /// The server failed (5xx).
    #[error("{provider} failed (HTTP {status})")]
    Failed {
        /// Who was called.
        provider: &'static str,
        /// The HTTP status.
        status: u16,
        /// What it said, behind a colon; may be empty.
        message: String,
    },
    /// The server did not take the request (4xx).
    #[error("{provider} refused the request (HTTP {status}){message}")]
    Refused {
        /// Who was called.
        provider: &'static str,
        /// The HTTP status.
        status: u16,
        /// What it said, behind a colon; may be empty.
        message: String,
    },
    /// The server pointed elsewhere (3xx), where the key must not go.
    #[error(
        "{provider} redirects to another address (HTTP {status}), which is not followed; configure that URL itself"
    )]
    Redirected {
        /// Who was called.
        provider: &'static str,
        /// The HTTP status.
        status: u16,
    },
    /// The answer is larger than it may be.
    #[error("the answer of {provider} has more than {limit} bytes")]
    TooLarge {
        /// Who was called.
        provider: &'static str,
        /// Bytes that it may have.
        limit: usize,
    },
    /// The answer is not JSON: something else listens there.
    #[error("{provider} answered with {found} and not with JSON; is its URL right?")]
    NotJson {
        /// Who was called.
        provider: &'static str,
        /// The content type.
        found: String,
    },
    /// The answer is JSON of another form.
    #[error("the answer of {provider} is not what its interface promises: {reason}")]
    Unreadable {
        /// Who was called.
        provider: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A vector has another number of dimensions than was configured.
    #[error(
        "the model {model} gave a vector of {found} dimensions where {expected} are configured; correct the number, or the model"
    )]
    Dimensions {
        /// The model.
        model: String,
        /// Dimensions that were configured.
        expected: usize,
        /// Dimensions that came.
        found: usize,
    },
    /// The model would not answer.
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
