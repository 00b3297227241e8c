//! The time by which tokens end; it never goes back.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use time::OffsetDateTime;

/// The latest time that was seen, since 1970.
#[derive(Default)]
pub(crate) struct Latest {
    seconds: AtomicI64,
    /// Whether the log was told that the clock is behind it.
    told: AtomicBool,
}

/// How far the clock may be set back without a message: time services correct it by small steps.
const UNTOLD_SECONDS: i64 = 60;

impl Latest {
    /// Takes the clock's time; gives it back, or the latest earlier time if that is later.
    pub(crate) fn of(&self, now: OffsetDateTime) -> OffsetDateTime {
        let seconds = now.unix_timestamp();
        // Written once a second at most, because all threads read it.
        let latest = match self.seconds.load(Ordering::Acquire) {
            latest if latest >= seconds => latest,
            _ => self.seconds.fetch_max(seconds, Ordering::AcqRel),
        };
        let behind = latest - seconds;
        if self.is_news(behind > UNTOLD_SECONDS) {
            tracing::warn!(
                "the clock was set back by {behind} s; tokens that had ended by then stay refused until it gets there again, or the server is started anew"
            );
        }
        OffsetDateTime::from_unix_timestamp(latest).map_or(now, |latest| latest.max(now))
    }

    /// Notes whether the clock is behind; says whether the log should be told.
    fn is_news(&self, is_behind: bool) -> bool {
        self.told.load(Ordering::Relaxed) != is_behind
            && self.told.swap(is_behind, Ordering::Relaxed) != is_behind
            && is_behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_back_and_a_clock_that_does_is_told_once() {
        let latest = Latest::default();
        let at = |seconds| OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(seconds);
        for (clock, taken, is_told) in [
            (10_000, 10_000, false),
            (9_990, 10_000, false),
            (9_000, 10_000, true),
            (9_001, 10_000, true),
            (10_001, 10_001, false),
            (9_000, 10_001, true),
        ] {
            assert_eq!(latest.of(at(clock)), at(taken), "{clock}");
            assert_eq!(latest.told.load(Ordering::Relaxed), is_told, "{clock}");
        }
    }
}
