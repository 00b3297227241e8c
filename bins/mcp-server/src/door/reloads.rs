//! Which readings of the token file have a line in the log.

use std::time::Instant;

use token_store::Changes;

use crate::throttle::Throttle;

/// How many lines per minute the log has at most about a token file that cannot be read: where the
/// system is short of something, it may fail and be read again all the time.
const FAILURES_A_MINUTE: u32 = 10;

/// What the log says about reading the token file.
#[derive(Default)]
pub(super) struct Reloads {
    failures: Throttle,
    /// Whether the last reading failed without a line.
    failed_silently: bool,
}

impl Reloads {
    /// Says whether a failure has a line: if so, how many failures had none before it.
    pub(super) fn fail(&mut self, now: Instant) -> Option<u64> {
        let told = self.failures.pass(FAILURES_A_MINUTE, now);
        self.failed_silently = told.is_none();
        told
    }

    /// Says whether a success has a line. It has none if it only ends a failure that had none.
    pub(super) fn succeed(&mut self, changes: &Changes) -> bool {
        !std::mem::take(&mut self.failed_silently) || !changes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use time::OffsetDateTime;
    use token_store::{Token, TokenHash, TokenId, TokenSet};

    use super::*;

    #[test]
    fn a_file_that_fails_and_is_read_again_all_the_time_does_not_fill_the_log() {
        let (mut reloads, start) = (Reloads::default(), Instant::now());
        let nothing = Changes::default();
        let mut lines = 0;
        for _ in 0..100 {
            lines += usize::from(reloads.fail(start).is_some());
            lines += usize::from(reloads.succeed(&nothing));
        }
        assert_eq!(lines, 20, "each failure with a line has one for its end");
        assert!(reloads.succeed(&nothing), "nothing had failed before");
        assert_eq!(reloads.fail(start + Duration::from_secs(6)), Some(90));
    }

    #[test]
    fn other_tokens_always_have_a_line() {
        let (mut reloads, now) = (Reloads::default(), Instant::now());
        while reloads.fail(now).is_some() {}
        let set = TokenSet::new(vec![Token::new(
            TokenId::numbered(1),
            TokenHash::of("one"),
            OffsetDateTime::UNIX_EPOCH,
        )]);
        let changes = set.map(|set| set.changes_since(&TokenSet::default()));
        assert!(changes.is_ok_and(|changes| reloads.succeed(&changes)));
    }
}
