//! Who sends a request: the traits that a server's owner implements, and the refusals that clients
//! are told.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

/// Decides who sent a request, before a byte of its body is read.
pub trait Authenticate: Send + Sync + 'static {
    /// The holder of accepted credentials.
    type Principal: Principal;

    /// Accepts the credentials of one request from `peer`, or says why not. `peer` is the client's
    /// address; if a trusted proxy passed the request on, it is the address that called the proxy.
    fn authenticate(
        &self,
        credentials: Credentials<'_>,
        peer: IpAddr,
    ) -> impl Future<Output = Result<Self::Principal, Refusal>> + Send;

    /// Says why a principal that was accepted from `peer` has lost its rights. Requests of it that
    /// are not answered yet are answered with that. With [`Refusal::Unavailable`], streams of
    /// changes end with the news that the list of tools may have changed.
    fn lost(&self, _principal: &Self::Principal, _peer: IpAddr) -> Refusal {
        Refusal::Unknown
    }
}

impl<A: Authenticate> Authenticate for Arc<A> {
    type Principal = A::Principal;

    fn authenticate(
        &self,
        credentials: Credentials<'_>,
        peer: IpAddr,
    ) -> impl Future<Output = Result<Self::Principal, Refusal>> + Send {
        A::authenticate(self, credentials, peer)
    }

    fn lost(&self, principal: &Self::Principal, peer: IpAddr) -> Refusal {
        A::lost(self, principal, peer)
    }
}

/// The holder of accepted credentials; cloned for each request, so it should be cheap to clone.
pub trait Principal: Clone + Send + Sync + 'static {
    /// Names the holder in logs; never the secret itself. Sessions, cursors and request states are
    /// bound to this name, so two holders must never share one.
    fn name(&self) -> &str;

    /// Completes when the holder has lost its rights. What still runs for it then is dropped: a
    /// request whose status line is not yet sent is answered with what [`Authenticate::lost`] says,
    /// and a stream ends.
    fn revoked(&self) -> impl Future<Output = ()> + Send;

    /// Says whether the holder has lost its rights already. Every request asks; implement it if
    /// there is a cheaper way to know than polling [`revoked`](Principal::revoked).
    fn is_revoked(&self) -> bool {
        self.revoked().now_or_never().is_some()
    }
}

/// What the `Authorization` header of a request held (RFC 6750, section 2.1).
#[derive(Clone, Copy, Debug)]
pub enum Credentials<'a> {
    /// There was no such header.
    None,
    /// There were several such headers, another scheme than `Bearer`, or characters that no token has.
    Malformed,
    /// The token's text.
    Bearer(Bearer<'a>),
}

/// A presented token; its `Debug` output does not show it.
#[derive(Clone, Copy)]
pub struct Bearer<'a>(pub(crate) &'a str);

impl<'a> Bearer<'a> {
    /// Returns the token's text.
    pub fn expose(self) -> &'a str {
        self.0
    }
}

impl fmt::Debug for Bearer<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Bearer(..)")
    }
}

impl<'a> Credentials<'a> {
    /// Returns the token's text, or the refusal that fits its absence.
    pub fn bearer(self) -> Result<&'a str, Refusal> {
        match self {
            Self::None => Err(Refusal::Missing),
            Self::Malformed => Err(Refusal::Malformed),
            Self::Bearer(token) => Ok(token.0),
        }
    }
}

/// Why credentials were not accepted. Over HTTP the client is told its `Display` text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// None were sent: 401.
    Missing,
    /// They do not have the expected form: 401.
    Malformed,
    /// Nobody holds them, or nobody does any more: 401.
    Unknown,
    /// They have expired: 401.
    Expired,
    /// The peer failed too often: 429 with `Retry-After`.
    TooManyFailures {
        /// How long the peer should wait; sent in whole seconds, rounded up, at least 1.
        retry_after: Duration,
    },
    /// They are valid, but not for this request: 403. The text is shown to the client.
    Forbidden(&'static str),
    /// They cannot be checked now, or what they allow has just changed: 503. The text is shown to
    /// the client.
    Unavailable(&'static str),
}

impl Refusal {
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Missing | Self::Malformed | Self::Unknown | Self::Expired => 401,
            Self::Forbidden(_) => 403,
            Self::TooManyFailures { .. } => 429,
            Self::Unavailable(_) => 503,
        }
    }

    /// Says the reason to the person who configured the client.
    pub(crate) fn message(&self) -> &'static str {
        match self {
            Self::Missing => {
                "unauthorized: the bearer token is missing; send `Authorization: Bearer <token>`"
            }
            Self::Malformed => {
                "unauthorized: the credentials are malformed; send exactly one `Authorization: Bearer <token>`"
            }
            Self::Unknown => "unauthorized: the bearer token is unknown or was removed",
            Self::Expired => "unauthorized: the bearer token has expired",
            Self::TooManyFailures { .. } => {
                "too many failed attempts from this address; wait and retry"
            }
            Self::Forbidden(reason) | Self::Unavailable(reason) => reason,
        }
    }
}

/// Says the reason to the person who configured the client.
impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.message())
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_a_client_is_told() {
        let expired = Refusal::Expired.to_string();
        assert_eq!(expired, "unauthorized: the bearer token has expired");
        let forbidden = Refusal::Forbidden("not on Sundays").to_string();
        assert_eq!(forbidden, "not on Sundays");
    }
}
