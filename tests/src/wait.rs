//! Polling for what no event announces.

use std::time::{Duration, Instant};

/// A limit for waiting that only a hang exceeds.
pub const HANG: Duration = Duration::from_secs(20);

/// How long something that happens at once may take, even on a busy machine.
pub const WORST: Duration = Duration::from_millis(250);

/// Polls until `probe` returns a value, and returns it. Panics after `limit`, naming `what` was awaited.
pub fn until_some<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {limit:?} until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Polls until `probe` holds, and returns how long that took. Panics after `limit`.
pub fn until(what: &str, limit: Duration, mut probe: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    until_some(what, limit, || probe().then_some(()));
    began.elapsed()
}
