//! Waiting for a lone client: the server spins briefly for its next request before the thread sleeps.
//!
//! A single client that sends its next request as soon as it has its answer finds the thread asleep each time. Waking
//! the thread takes longer than a small request does, and so does waking the client, whose processor has gone idle in
//! the meantime. Where other clients are active they need the time, and where there is only one processor the client
//! needs it.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

/// How long to spin for the next request, and the longest that the last one may have taken.
const MOMENT: Duration = Duration::from_micros(30);

/// Which of a server's connections was the last to receive something.
#[derive(Debug)]
pub(super) struct Latest {
    connections: AtomicU64,
    number: AtomicU64,
    /// Whether waiting can be of use: where there is one processor only, the client needs it.
    may_wait: bool,
}

impl Default for Latest {
    fn default() -> Self {
        Self {
            connections: AtomicU64::new(0),
            number: AtomicU64::new(0),
            may_wait: available_parallelism().is_ok_and(|count| count > NonZero::<usize>::MIN),
        }
    }
}

impl Latest {
    /// Notes that a connection received something; returns whether it was also the last to do so before.
    fn is_again(&self, number: u64) -> bool {
        let is_again = self.number.load(Ordering::Relaxed) == number;
        if !is_again {
            self.number.store(number, Ordering::Relaxed);
        }
        is_again
    }
}

/// One connection, and whether it may be the only active one.
#[derive(Debug)]
pub(super) struct Lone {
    latest: Arc<Latest>,
    number: u64,
    /// When it last received something, if no other connection has received anything since the time before.
    received: Option<Instant>,
    has_sent: bool,
}

impl Lone {
    pub(super) fn new(latest: Arc<Latest>) -> Self {
        let number = latest.connections.fetch_add(1, Ordering::Relaxed) + 1;
        Self {
            latest,
            number,
            received: None,
            has_sent: false,
        }
    }

    /// Makes one that is never waited for: nobody can ask its stream whether there is something to receive.
    pub(super) fn unseen() -> Self {
        Self::new(Arc::new(Latest {
            may_wait: false,
            ..Latest::default()
        }))
    }

    pub(super) fn receives(&mut self) {
        let is_alone = self.latest.is_again(self.number) && self.latest.may_wait;
        self.received = is_alone.then(Instant::now);
        self.has_sent = false;
    }

    pub(super) fn sends(&mut self) {
        self.has_sent = true;
    }

    /// Returns when there is something to receive, or after [`MOMENT`]. Returns at once unless the client is alone and
    /// its last request was answered within [`MOMENT`].
    pub(super) fn wait(&mut self, is_there: impl Fn() -> bool) {
        let Some(received) = self.received.take_if(|_| self.has_sent) else {
            return;
        };
        let answered = Instant::now();
        if answered.saturating_duration_since(received) > MOMENT {
            return;
        }
        while !is_there() && answered.elapsed() < MOMENT {
            std::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn connections() -> [Lone; 2] {
        let latest = Arc::new(Latest {
            may_wait: true,
            ..Latest::default()
        });
        [(); 2].map(|()| Lone::new(Arc::clone(&latest)))
    }

    /// Sends an answer that counts as immediate, however long this thread was stopped.
    fn answer_at_once(lone: &mut Lone) {
        lone.received = lone.received.map(|at| at + SECOND);
        lone.sends();
    }

    /// Returns whether `wait` looked for anything.
    fn waits(lone: &mut Lone) -> bool {
        let has_looked = Cell::new(false);
        lone.wait(|| {
            has_looked.set(true);
            true
        });
        has_looked.get()
    }

    #[test]
    fn a_client_that_is_alone_is_waited_for_once_an_answer() {
        let [mut lone, _] = connections();
        lone.receives();
        answer_at_once(&mut lone);
        assert!(!waits(&mut lone), "nobody knows yet that it is alone");
        lone.receives();
        assert!(!waits(&mut lone), "it has no answer yet");
        answer_at_once(&mut lone);
        assert!(waits(&mut lone));
        assert!(!waits(&mut lone), "it was waited for");
    }

    #[test]
    fn a_client_that_has_waited_for_its_answer_is_not_waited_for() {
        let [mut lone, _] = connections();
        lone.receives();
        lone.receives();
        lone.received = lone.received.map(|at| at - SECOND);
        lone.sends();
        assert!(!waits(&mut lone));
    }

    #[test]
    fn one_of_several_clients_is_not_waited_for() {
        let [mut one, mut other] = connections();
        for _ in 0..3 {
            for lone in [&mut one, &mut other] {
                lone.receives();
                answer_at_once(lone);
                assert!(!waits(lone));
            }
        }
    }

    #[test]
    fn one_that_cannot_be_seen_is_not_waited_for() {
        let mut lone = Lone::unseen();
        lone.receives();
        lone.receives();
        answer_at_once(&mut lone);
        assert!(!waits(&mut lone));
    }

    #[test]
    fn a_client_that_sends_nothing_more_is_given_up() {
        let [mut lone, _] = connections();
        lone.receives();
        lone.receives();
        answer_at_once(&mut lone);
        lone.wait(|| false);
    }
}
