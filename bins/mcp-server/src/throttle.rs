//! Limits the lines about what may happen all the time, such as refused tokens, which cost nothing to whoever causes them.

use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

/// The lines that were written recently.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    /// When the allowance will be whole again.
    whole_at: Option<Instant>,
    /// Refusals without a line since then.
    untold: u64,
}

impl Throttle {
    /// Says whether a refusal may have a line: if so, how many refusals had none before it.
    pub(crate) fn pass(&mut self, per_minute: u32, now: Instant) -> Option<u64> {
        let each = MINUTE / per_minute.max(1);
        let lacks = self
            .whole_at
            .map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        if lacks + each > MINUTE {
            self.untold += 1;
            return None;
        }
        self.whole_at = Some(now + lacks + each);
        Some(std::mem::take(&mut self.untold))
    }

    /// How many have had no line since the last one that had one.
    pub(crate) fn untold(&self) -> u64 {
        self.untold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_about_refused_tokens_are_so_many_a_minute_and_the_rest_is_counted() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        for _ in 0..60 {
            assert_eq!(throttle.pass(60, start), Some(0));
        }
        for _ in 0..7 {
            assert_eq!(throttle.pass(60, start), None);
        }
        assert_eq!(throttle.pass(60, start + Duration::from_secs(1)), Some(7));
        assert_eq!(throttle.pass(60, start + Duration::from_secs(1)), None);
        assert_eq!(throttle.pass(60, start + MINUTE), Some(1));
    }
}
