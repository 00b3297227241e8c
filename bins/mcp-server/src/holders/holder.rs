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

/// The holder of one token, made from its entry.
#[derive(Clone)]
pub(crate) struct Holder {
    /// The entry that this was made from.
    pub(super) token: Arc<Token>,
    pub(super) standing: Arc<Standing>,
    /// The networks that it may be used from; `None` is any.
    pub(super) allow_from: Option<Networks>,
    /// The terms of its session.
    pub(crate) terms: Terms,
    pub(super) deeds: Arc<Deeds>,
    /// Whether its password is in a file, which may change at any time.
    pub(super) has_password_file: bool,
    /// Whether its password may have changed.
    pub(super) is_outdated: bool,
}

/// What a holder has done. It outlives changes of the entry.
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

/// The last request of a holder.
#[derive(Clone, Copy)]
struct Visit {
    at: OffsetDateTime,
    from: IpAddr,
    /// Whether it has yet to be written to the usage file.
    is_news: bool,
}

impl Holder {
    /// Says whether the token may be used from an address.
    pub(crate) fn may_come_from(&self, peer: IpAddr) -> bool {
        may_come_from(self.allow_from.as_ref(), peer)
    }

    /// Records a request of the holder.
    pub(crate) fn came(&self, now: OffsetDateTime, from: IpAddr) {
        *self.last() = Some(Visit {
            at: now,
            from: from.to_canonical(),
            is_news: true,
        });
    }

    /// Makes the holder's agent, on its session.
    pub(crate) fn agent(&self, session: Session) -> Agent {
        Agent::of(Arc::clone(&self.standing), session).following_session_beyond_calls()
    }

    /// Takes the usage since the last time, if there was any: a request came, or an earlier call went on.
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
