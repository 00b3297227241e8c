//! A time limit that costs nothing for what is ready at once.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::task::unconstrained;
use tokio::time::sleep;

/// Waits for a future; `None` if it takes longer than `limit`.
///
/// Most of what a request waits for is ready at once, and then no timer is set. The caller pins the future: an async
/// function that pins its argument keeps room for it twice, and requests are moved with all their room.
pub(crate) async fn within<T>(
    limit: Duration,
    mut future: impl Future<Output = T> + Unpin,
) -> Option<T> {
    let mut timer = pin!(None);
    poll_fn(|context| {
        if let done @ Poll::Ready(_) = Pin::new(&mut future).poll(context) {
            return done.map(Some);
        }
        if timer.is_none() {
            // The timer is looked at even if the future uses up its task's budget.
            timer.set(Some(unconstrained(sleep(limit))));
        }
        let timer = timer.as_mut().as_pin_mut().expect("it was just set");
        timer.poll(context).map(|()| None)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_gives_what_is_there_in_time() {
        let limit = Duration::from_secs(2);
        let after = |seconds| async move {
            sleep(Duration::from_secs(seconds)).await;
            seconds
        };
        assert_eq!(within(limit, pin!(after(1))).await, Some(1));
        assert_eq!(within(limit, pin!(after(3))).await, None);
        assert_eq!(within(Duration::ZERO, pin!(async { 7 })).await, Some(7));
    }

    #[tokio::test]
    async fn it_ends_in_time_what_never_lets_go_of_its_turn() {
        let greedy = async {
            loop {
                tokio::task::consume_budget().await;
            }
        };
        assert_eq!(
            within(Duration::from_millis(20), pin!(greedy)).await,
            None::<()>
        );
    }

    #[test]
    fn what_is_there_at_once_needs_no_timer() {
        // Outside a runtime a timer would panic.
        let there =
            futures_util::FutureExt::now_or_never(within(Duration::ZERO, pin!(async { 7 })));
        assert_eq!(there, Some(Some(7)));
    }
}
