//! The holder of one token.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pg_tools::{Agent, Bounds, Meter, Standing};
use session_pool::{Session, Terms};
use time::OffsetDateTime;
use token_store::{Networks, Token, TokenId, Usage};

use crate::entry::may_come_from;

/// Who has one token, as its entry says.
#[derive(Clone)]
pub(crate) struct Holder {
    /// The entry that this was made of.
    pub(super) token: Arc<Token>,
    pub(super) standing: Arc<Standing>,
    /// The only addresses that it may be used from.
    pub(super) allow_from: Option<Networks>,
    /// The terms of its session.
    pub(crate) terms: Terms,
    pub(super) deeds: Arc<Deeds>,
    /// Whether its password is in a file, which may change at any time.
    pub(super) has_password_file: bool,
    /// Whether its password may have changed.
    pub(super) is_outdated: bool,
}

/// What a holder did. It outlives changes of the entry.
#[derive(Default)]
pub(super) struct Deeds {
    pub(super) meter: Arc<Meter>,
    pub(super) bounds: Bounds,
    /// Whether it has counts of its own.
    pub(super) is_told_apart: bool,
    last: Mutex<Option<Visit>>,
}

impl Deeds {
    pub(super) fn new(is_told_apart: bool) -> Self {
        Deeds {
            is_told_apart,
            ..Deeds::default()
        }
    }
}

/// That a holder came.
#[derive(Clone, Copy)]
struct Visit {
    at: OffsetDateTime,
    from: IpAddr,
    /// Whether it is not in the file yet.
    is_news: bool,
}

impl Holder {
    /// Says whether the holder may come from an address.
    pub(crate) fn may_come_from(&self, peer: IpAddr) -> bool {
        may_come_from(self.allow_from.as_ref(), peer)
    }

    /// Notes that the holder came.
    pub(crate) fn came(&self, now: OffsetDateTime, from: IpAddr) {
        *self.last() = Some(Visit {
            at: now,
            from: from.to_canonical(),
            is_news: true,
        });
    }

    /// Makes the agent that acts for the holder, on its session.
    pub(crate) fn agent(&self, session: Session) -> Agent {
        Agent::of(Arc::clone(&self.standing), session).following_session_beyond_calls()
    }

    /// Takes what has happened since the last time: the holder came, or a call went on that began before.
    pub(super) fn news(&self) -> Option<(TokenId, Usage)> {
        let Visit { at, from, is_news } = {
            let mut last = self.last();
            let told = Visit {
                is_news: false,
                ..(*last)?
            };
            last.replace(told)?
        };
        let (calls, rows) = self.deeds.meter.take();
        if !is_news && (calls, rows) == (0, 0) {
            return None;
        }
        let client = self.deeds.meter.client();
        let at = at.replace_nanosecond(0).unwrap_or(at);
        let usage = Usage {
            at,
            address: Some(from),
            client: client.as_deref().unwrap_or_default().to_owned(),
            calls,
            rows,
        };
        Some((self.token.id.clone(), usage))
    }

    fn last(&self) -> MutexGuard<'_, Option<Visit>> {
        let last = &self.deeds.last;
        last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
