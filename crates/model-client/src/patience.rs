//! How long to wait before the next attempt, and when to give up.

use std::time::Duration;

use crate::Limits;

/// The remaining attempts of one call.
pub(crate) struct Patience {
    limits: Limits,
    tried: u32,
}

impl Patience {
    pub(crate) fn new(limits: Limits) -> Self {
        Patience { limits, tried: 0 }
    }

    /// Returns how long to wait before the next attempt, given what the server asked for; `None` to give up.
    pub(crate) fn next(&mut self, asked: Option<Duration>) -> Option<Duration> {
        if self.tried >= self.limits.retries {
            return None;
        }
        let doubled = self
            .limits
            .first_wait
            .saturating_mul(1 << self.tried.min(16));
        self.tried += 1;
        match asked {
            Some(wait) if wait > self.limits.longest_wait => None,
            Some(wait) => Some(wait),
            None => Some(doubled.min(self.limits.longest_wait)),
        }
    }
}

/// Parses `Retry-After` in seconds (RFC 9110, section 10.2.3), as models' servers send it. For a date, our own waits
/// apply.
pub(crate) fn asked(header: &str) -> Option<Duration> {
    let seconds: f64 = header.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        timeout: Duration::from_secs(30),
        connect_timeout: Duration::from_secs(5),
        answer_bytes: 1,
        retries: 3,
        first_wait: Duration::from_secs(1),
        longest_wait: Duration::from_secs(3),
        idle_timeout: Duration::from_secs(1),
    };

    #[test]
    fn waits_double_up_to_the_longest_and_end() {
        let mut patience = Patience::new(LIMITS);
        let waits: Vec<_> = std::iter::from_fn(|| patience.next(None))
            .map(|wait| wait.as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 3]);
    }

    #[test]
    fn a_server_is_waited_for_unless_it_asks_for_too_much() {
        let mut patience = Patience::new(LIMITS);
        assert_eq!(patience.next(asked("2")), Some(Duration::from_secs(2)));
        assert_eq!(patience.next(asked("3.5")), None);
    }

    #[test]
    fn retry_after_is_seconds_or_nothing() {
        for (header, milliseconds) in [
            ("0", Some(0)),
            (" 1 ", Some(1000)),
            ("0.5", Some(500)),
            ("-1", None),
            ("NaN", None),
            ("1e300", None),
            ("Wed, 21 Oct 2026 07:28:00 GMT", None),
            ("", None),
        ] {
            assert_eq!(
                asked(header),
                milliseconds.map(Duration::from_millis),
                "{header:?}"
            );
        }
    }
}
