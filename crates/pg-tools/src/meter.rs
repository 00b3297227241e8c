//! How much an agent calls, and how much it may.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

const MINUTE: Duration = Duration::from_secs(60);

/// How often an agent may call, and how many calls may run at once; `None` means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// Calls that may run at once.
    pub concurrent: Option<u32>,
    /// Calls per minute. That many may come at once; after them only as many as this rate allows.
    pub calls_per_minute: Option<u32>,
}

/// The calls of one agent, whichever handle they come from. Keep one for as long as the agent has
/// its rights.
#[derive(Debug, Default)]
pub struct Meter {
    /// When the allowance of calls will be full again. Locked for a computation only.
    whole_at: Mutex<Option<Instant>>,
    running: AtomicU32,
    calls: AtomicU64,
    rows: AtomicU64,
    bytes: AtomicU64,
    /// How many of the calls and of the rows were taken already.
    taken: (AtomicU64, AtomicU64),
    /// What the client of the last call calls itself. Locked for an assignment only.
    client: Mutex<Option<Arc<str>>>,
}

/// The totals of an agent's calls since its meter was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Calls that began.
    pub calls: u64,
    /// Rows that they returned.
    pub rows: u64,
    /// Bytes of their answers.
    pub bytes: u64,
}

/// Why a call may not begin now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TooFast {
    /// Too many are running.
    #[error(
        "this token runs {0} calls already, as many as it may at once; wait for one to end, then try again"
    )]
    Running(u32),
    /// Too many came within a minute.
    #[error("this token may make {limit} calls a minute; try again in {} s", .wait.as_millis().div_ceil(1_000))]
    Often {
        /// Calls a minute.
        limit: u32,
        /// How long until the next one may begin.
        wait: Duration,
    },
}

/// A running call; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Running {
    meter: Arc<Meter>,
}

impl Meter {
    /// Returns what was counted since it was last taken: the calls, and the rows that they returned.
    pub fn take(&self) -> (u64, u64) {
        let take = |counted: &AtomicU64, taken: &AtomicU64| {
            let counted = counted.load(Ordering::Acquire);
            counted.saturating_sub(taken.swap(counted, Ordering::AcqRel))
        };
        (
            take(&self.calls, &self.taken.0),
            take(&self.rows, &self.taken.1),
        )
    }

    /// Returns all that was counted.
    pub fn totals(&self) -> Totals {
        Totals {
            calls: self.calls.load(Ordering::Relaxed),
            rows: self.rows.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    /// Returns what the client of the last call calls itself, if it does; nobody has checked it.
    pub fn client(&self) -> Option<Arc<str>> {
        self.last_client().clone()
    }

    /// Keeps what the client of a call calls itself.
    pub(crate) fn note_client(&self, client: Option<&Arc<str>>) {
        let mut last = self.last_client();
        if last.as_ref() != client {
            *last = client.cloned();
        }
    }

    fn last_client(&self) -> MutexGuard<'_, Option<Arc<str>>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a call, if it may begin at `now`.
    pub(crate) fn begin(self: &Arc<Self>, pace: Pace, now: Instant) -> Result<Running, TooFast> {
        self.running.fetch_add(1, Ordering::AcqRel);
        // Counted first, so that no more calls than the limit get through when many come at once.
        let running = Running {
            meter: Arc::clone(self),
        };
        if let Some(most) = pace.concurrent
            && self.running.load(Ordering::Acquire) > most
        {
            return Err(TooFast::Running(most));
        }
        if let Some(limit) = pace.calls_per_minute {
            self.pass(limit, now)?;
        }
        self.calls.fetch_add(1, Ordering::AcqRel);
        Ok(running)
    }

    /// Takes a call from a token bucket, which holds the calls of one minute and refills steadily. The bucket is kept
    /// as the moment at which it will be full.
    fn pass(&self, limit: u32, now: Instant) -> Result<(), TooFast> {
        let each = MINUTE / limit.max(1);
        let mut whole_at = self.whole_at.lock().unwrap_or_else(PoisonError::into_inner);
        // After the limit was lowered the bucket may lack more than it can hold.
        let lacks = whole_at
            .map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
            .min(MINUTE);
        let after = lacks + each;
        if let Some(wait) = after.checked_sub(MINUTE).filter(|wait| !wait.is_zero()) {
            return Err(TooFast::Often { limit, wait });
        }
        *whole_at = Some(now + after);
        Ok(())
    }

    pub(crate) fn add_rows(&self, rows: usize) {
        self.rows.fetch_add(rows as u64, Ordering::AcqRel);
    }

    pub(crate) fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.meter.running.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn paced(concurrent: Option<u32>, calls_per_minute: Option<u32>) -> Pace {
        Pace {
            concurrent,
            calls_per_minute,
        }
    }

    #[test]
    fn a_minutes_calls_may_come_at_once_and_then_one_by_one() {
        let (meter, start) = (Arc::new(Meter::default()), Instant::now());
        let pace = paced(None, Some(6));
        for _ in 0..6 {
            meter.begin(pace, start).unwrap();
        }
        let refused = meter.begin(pace, start).unwrap_err();
        let wait = Duration::from_secs(10);
        assert_eq!(refused, TooFast::Often { limit: 6, wait });
        assert!(refused.to_string().ends_with("try again in 10 s"));
        assert!(
            meter
                .begin(pace, start + wait - Duration::from_millis(1))
                .is_err()
        );
        meter.begin(pace, start + wait).unwrap();
        assert!(meter.begin(pace, start + wait).is_err());
        for _ in 0..6 {
            meter.begin(pace, start + 10 * MINUTE).unwrap();
        }
        assert!(meter.begin(pace, start + 10 * MINUTE).is_err());
        assert_eq!(meter.take().0, 13);
        assert_eq!(meter.take(), (0, 0));
        assert_eq!(meter.totals().calls, 13, "it goes on");
    }

    #[test]
    fn a_lower_limit_counts_at_once_and_a_higher_one_waits_no_longer() {
        let (meter, start) = (Arc::new(Meter::default()), Instant::now());
        for _ in 0..60 {
            meter.begin(paced(None, Some(60)), start).unwrap();
        }
        assert!(meter.begin(paced(None, Some(1)), start).is_err());
        meter
            .begin(paced(None, Some(u32::MAX)), start + Duration::from_secs(1))
            .unwrap();
        meter.begin(paced(None, None), start).unwrap();
    }

    #[test]
    fn no_more_run_at_once_than_may_and_an_end_makes_room() {
        let (meter, now) = (Arc::new(Meter::default()), Instant::now());
        let pace = paced(Some(2), None);
        let first = meter.begin(pace, now).unwrap();
        let _second = meter.begin(pace, now).unwrap();
        assert_eq!(meter.begin(pace, now).unwrap_err(), TooFast::Running(2));
        drop(first);
        let _third = meter.begin(pace, now).unwrap();
        assert!(meter.begin(pace, now).is_err());
    }
}
