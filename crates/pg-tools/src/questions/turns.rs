//! Work on questions is done in turns: one at a time for each agent.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::Semaphore;

/// The turns of all agents.
#[derive(Default)]
pub(super) struct Turns {
    /// By agent name; only of agents that work or wait. Locked for look-ups and insertions only.
    taken: Mutex<HashMap<String, Weak<Semaphore>>>,
}

impl Turns {
    /// Does work where it keeps nobody else waiting, once the agent's previous work has ended. Work that has begun goes
    /// on even if nobody waits for it any more, and keeps its turn until it ends.
    ///
    /// # Errors
    /// The work panics.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        agent: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, tokio::task::JoinError> {
        let turn = self.of(agent).acquire_owned().await;
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        })
        .await
    }

    fn of(&self, agent: &str) -> Arc<Semaphore> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = taken.get(agent).and_then(Weak::upgrade) {
            return turn;
        }
        taken.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(Semaphore::new(1));
        taken.insert(agent.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    #[tokio::test]
    async fn work_that_nobody_waits_for_keeps_its_turn_from_its_own_agent_only() {
        let turns = Turns::default();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (end, ends) = mpsc::channel::<()>();
        {
            let left = turns.work("one", move || {
                begun.send(()).unwrap();
                ends.recv()
            });
            let mut left = Box::pin(left);
            tokio::select! {
                _ = &mut left => panic!("it has not been told to end"),
                begun = has_begun => begun.unwrap(),
            }
        }
        let mut next = Box::pin(turns.work("one", || 2));
        assert!(futures_util::poll!(&mut next).is_pending());
        assert_eq!(turns.work("other", || 3).await.unwrap(), 3);
        assert!(futures_util::poll!(&mut next).is_pending());
        end.send(()).unwrap();
        assert_eq!(next.await.unwrap(), 2);
        assert_eq!(turns.taken.lock().unwrap().len(), 2);
        // The entry of a turn may remain for a moment after the turn has passed on.
        let forgotten = async {
            while turns.taken.lock().unwrap().len() > 1 {
                turns.work("third", || ()).await.unwrap();
            }
        };
        let forgotten = tokio::time::timeout(Duration::from_secs(10), forgotten).await;
        assert!(forgotten.is_ok(), "who is done is forgotten");
    }
}
