//! A future that is polled again at once when it has woken itself.
//!
//! hyper wakes its own task twice for every request that has a body: when the body is requested, and when it has
//! arrived. The runtime puts such a task behind all others and wakes another thread to take it from there, which costs
//! more than the rest of a small request.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// How many times in a row it is polled before other tasks get their turn.
const TURNS: usize = 8;

/// Wraps a future so that its task is woken only when the future is not being polled.
pub(super) struct AtOnce<F> {
    future: F,
    relay: Arc<Relay>,
    waker: Waker,
}

/// Receives the future's wake-ups and passes them on to its task.
#[derive(Default)]
struct Relay {
    task: AtomicWaker,
    state: AtomicU8,
}

/// Waiting to be woken.
const WAITING: u8 = 0;
/// Being polled.
const POLLED: u8 = 1;
/// Woken, and not polled since.
const WOKEN: u8 = 2;

impl<F> AtOnce<F> {
    pub(super) fn new(future: F) -> Self {
        let relay = Arc::new(Relay::default());
        let waker = Waker::from(Arc::clone(&relay));
        Self {
            future,
            relay,
            waker,
        }
    }
}

impl<F> AtOnce<Pin<&mut F>> {
    /// Returns the future itself.
    pub(super) fn inner(&mut self) -> Pin<&mut F> {
        self.future.as_mut()
    }
}

impl<F: Future + Unpin> Future for AtOnce<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self {
            future,
            relay,
            waker,
        } = self.get_mut();
        relay.task.register(context.waker());
        for _ in 0..TURNS {
            relay.state.store(POLLED, Ordering::SeqCst);
            let polled = Pin::new(&mut *future).poll(&mut Context::from_waker(waker));
            if polled.is_ready() {
                return polled;
            }
            let woken =
                relay
                    .state
                    .compare_exchange(POLLED, WAITING, Ordering::SeqCst, Ordering::SeqCst);
            if woken.is_ok() {
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(WOKEN, Ordering::SeqCst) == WAITING {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Counts how often a task was woken.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Polls a future that wakes itself `wakes` times; returns whether it ended and how often its task was woken.
    fn polled(wakes: usize) -> (bool, usize) {
        let mut left = wakes;
        let future = std::future::poll_fn(|context| {
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        });
        let task = Arc::new(Task::default());
        let waker = Waker::from(Arc::clone(&task));
        let ended = Pin::new(&mut AtOnce::new(future)).poll(&mut Context::from_waker(&waker));
        (ended.is_ready(), task.0.load(Ordering::SeqCst))
    }

    #[test]
    fn one_that_wakes_itself_goes_on_without_its_task() {
        assert_eq!(polled(0), (true, 0));
        assert_eq!(polled(TURNS - 1), (true, 0));
    }

    #[test]
    fn one_that_does_so_again_and_again_lets_others_have_their_turn() {
        assert_eq!(polled(TURNS), (false, 1));
    }

    #[test]
    fn one_that_waits_is_woken_by_others_once() {
        let kept = Arc::new(AtomicWaker::new());
        let theirs = Arc::clone(&kept);
        let mut future = AtOnce::new(std::future::poll_fn(move |context| {
            theirs.register(context.waker());
            Poll::<()>::Pending
        }));
        let task = Arc::new(Task::default());
        let waker = Waker::from(Arc::clone(&task));
        for turn in 1..4 {
            let polled = Pin::new(&mut future).poll(&mut Context::from_waker(&waker));
            assert!(polled.is_pending());
            assert_eq!(task.0.load(Ordering::SeqCst), turn - 1);
            let woken = kept.take().map(|waker| {
                waker.wake_by_ref();
                waker.wake();
            });
            assert!(woken.is_some());
            assert_eq!(task.0.load(Ordering::SeqCst), turn);
        }
    }
}
