//! Requests that were refused: counted by the reason, and logged.

use std::{
    net::IpAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use mcp_protocol::Refusal;
use token_store::TokenId;

use crate::{audit::Audit, throttle::Throttle};

/// How many lines per minute the server's log has about refused tokens at most.
const REFUSALS_A_MINUTE: u32 = 10;

/// The refusals so far.
#[derive(Default)]
pub(crate) struct Refusals {
    /// In the order of [`REASONS`].
    counts: [AtomicU64; REASONS.len()],
    /// Locked briefly, and only when a token is refused.
    told: Mutex<Throttle>,
}

impl Refusals {
    /// Counts a refusal. If a token was refused, it is also logged, with the token's id if that is
    /// known.
    pub(crate) fn tell(
        &self,
        refusal: &Refusal,
        id: Option<&TokenId>,
        peer: IpAddr,
        audit: Option<&Audit>,
    ) {
        let reason = reason(refusal);
        self.counts[reason].fetch_add(1, Ordering::Relaxed);
        // Clients ask without a token first; no token is refused then.
        let is_of_a_token = !matches!(refusal, Refusal::Missing | Refusal::Unavailable(_));
        if !is_of_a_token {
            return;
        }
        let reason = REASONS[reason];
        if let Some(audit) = audit {
            audit.token_refused(reason, id, peer);
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(untold) = told.pass(REFUSALS_A_MINUTE, Instant::now()) {
            let token = id.map(tracing::field::display);
            let peer = peer.to_canonical();
            tracing::warn!(reason, token, %peer, untold_before = untold, "a token was refused");
        }
    }

    /// How many requests were refused, by the reason.
    pub(crate) fn counted(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.counts.iter();
        REASONS
            .into_iter()
            .zip(counts.map(|count| count.load(Ordering::Relaxed)))
    }
}

/// The reason of a refusal, in one word.
const REASONS: [&str; 7] = [
    "missing",
    "malformed",
    "unknown",
    "expired",
    "guessing",
    "address",
    "unavailable",
];

/// Finds the reason among [`REASONS`].
fn reason(refusal: &Refusal) -> usize {
    match refusal {
        Refusal::Missing => 0,
        Refusal::Malformed => 1,
        Refusal::Unknown => 2,
        Refusal::Expired => 3,
        Refusal::TooManyFailures { .. } => 4,
        Refusal::Forbidden(_) => 5,
        Refusal::Unavailable(_) => 6,
    }
}
