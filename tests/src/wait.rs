//! Waiting for what announces itself by no event.

use std::time::{Duration, Instant};

/// Only a hang takes longer.
pub const HANG: Duration = Duration::from_secs(20);

/// What even a machine that is busy with everything else has to keep of what happens at once.
pub const WORST: Duration = Duration::from_millis(250);

/// Polls until `probe` gives a value, and answers it. Panics after `limit`, naming `what` was awaited.
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

/// Polls until `probe` holds, and answers how long that took.
pub fn until(what: &str, limit: Duration, mut probe: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    until_some(what, limit, || probe().then_some(()));
    began.elapsed()
}
