//! All sessions, and whose each is.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

use tokio::time::Instant;

use crate::session::Session;

/// How often in an idle time-out it is looked for sessions of principals that do not come any more.
const SWEEPS: u32 = 8;

/// All sessions. A session is found only by the principal that opened it.
#[derive(Debug)]
pub(crate) struct Sessions {
    idle_timeout: Duration,
    per_principal: usize,
    // Held for a look among one principal's own; now and then for a pass over all.
    table: RwLock<Table>,
}

#[derive(Debug)]
struct Table {
    by_owner: HashMap<String, Vec<Arc<Session>>>,
    /// When it was last looked for principals that do not come any more.
    swept: Instant,
}

impl Sessions {
    pub(crate) fn new(idle_timeout: Duration, per_principal: usize) -> Self {
        Self {
            idle_timeout,
            per_principal,
            table: RwLock::new(Table {
                by_owner: HashMap::new(),
                swept: Instant::now(),
            }),
        }
    }

    /// Enters a session. Clients seldom end theirs: now and then idle ones make room, and where a
    /// principal has too many, its longest unused one does.
    pub(crate) fn enter(&self, session: Arc<Session>) {
        session.end_after(self.idle_timeout);
        let now = Instant::now();
        let mut outgoing = Vec::new();
        {
            let mut table = self.write();
            if now - table.swept >= self.idle_timeout / SWEEPS {
                table.swept = now;
                table.by_owner.retain(|_, own| {
                    outgoing.extend(own.extract_if(.., |other| !self.is_fresh(other, now)));
                    !own.is_empty()
                });
            }
            let own = table
                .by_owner
                .entry(session.owner().to_owned())
                .or_default();
            if own.len() >= self.per_principal {
                let oldest = (0..own.len()).min_by_key(|at| own[*at].last_used());
                outgoing.extend(oldest.map(|oldest| own.swap_remove(oldest)));
            }
            own.push(session);
        }
        for session in outgoing {
            session.end();
        }
    }

    /// Finds a session of `owner`; an unknown one, an idle one and another principal's are alike.
    pub(crate) fn find(&self, id: &str, owner: &str) -> Option<Arc<Session>> {
        let session = self.look_up(id, owner)?;
        let now = Instant::now();
        if !self.is_fresh(&session, now) {
            self.remove(&session);
            session.end();
            return None;
        }
        session.use_at(now);
        Some(session)
    }

    /// Ends a session of `owner`; tells whether there was one.
    pub(crate) fn end(&self, id: &str, owner: &str) -> bool {
        let Some(session) = self.find(id, owner) else {
            return false;
        };
        self.remove(&session);
        session.end();
        true
    }

    fn look_up(&self, id: &str, owner: &str) -> Option<Arc<Session>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let own = table.by_owner.get(owner)?;
        own.iter().find(|session| session.id == id).cloned()
    }

    fn remove(&self, session: &Arc<Session>) {
        let mut table = self.write();
        let Some(own) = table.by_owner.get_mut(session.owner()) else {
            return;
        };
        own.retain(|other| !Arc::ptr_eq(other, session));
        if own.is_empty() {
            table.by_owner.remove(session.owner());
        }
    }

    fn is_fresh(&self, session: &Session, now: Instant) -> bool {
        now.saturating_duration_since(session.last_used()) < self.idle_timeout
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::client::ClientCapabilities;
    use crate::revision::Revision;

    fn session(owner: &str) -> Arc<Session> {
        Session::new(
            owner,
            Revision::V2025_11_25,
            ClientCapabilities::default(),
            None,
        )
    }

    fn sessions() -> Sessions {
        Sessions::new(Duration::from_secs(60), 2)
    }

    #[tokio::test]
    async fn a_session_is_found_by_its_owner_only() {
        let sessions = sessions();
        let alices = session("alice");
        sessions.enter(Arc::clone(&alices));
        assert!(sessions.find(&alices.id, "alice").is_some());
        assert!(sessions.find(&alices.id, "bob").is_none());
        assert!(!sessions.end(&alices.id, "bob"));
        assert!(sessions.end(&alices.id, "alice"));
        assert!(sessions.find(&alices.id, "alice").is_none());
        alices.ended().await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_attached_goes_with_the_session() {
        let sessions = sessions();
        let (ended, idle) = (session("alice"), session("alice"));
        let value = Arc::new(());
        for one in [&ended, &idle] {
            sessions.enter(Arc::clone(one));
            assert_eq!(one.idle_timeout(), Some(Duration::from_secs(60)));
            one.attach(Box::new(Arc::clone(&value)));
        }
        assert_eq!(Arc::strong_count(&value), 3);
        sessions.end(&ended.id, "alice");
        assert_eq!(Arc::strong_count(&value), 2);
        ended.attach(Box::new(Arc::clone(&value)));
        assert_eq!(Arc::strong_count(&value), 2, "it has ended");
        tokio::time::advance(Duration::from_secs(61)).await;
        assert!(sessions.find(&idle.id, "alice").is_none());
        assert_eq!(Arc::strong_count(&value), 1);
        let conversation = session("bob");
        assert_eq!(conversation.idle_timeout(), None);
        conversation.attach(Box::new(Arc::clone(&value)));
        drop(conversation);
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_session_ends_and_a_used_one_stays() {
        let sessions = sessions();
        let (idle, used) = (session("alice"), session("alice"));
        sessions.enter(Arc::clone(&idle));
        sessions.enter(Arc::clone(&used));
        tokio::time::advance(Duration::from_secs(40)).await;
        assert!(sessions.find(&used.id, "alice").is_some());
        tokio::time::advance(Duration::from_secs(40)).await;
        assert!(sessions.find(&idle.id, "alice").is_none());
        assert!(sessions.find(&used.id, "alice").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_come_any_more_is_forgotten() {
        let sessions = sessions();
        for owner in 0..100 {
            sessions.enter(session(&format!("guest-{owner}")));
        }
        tokio::time::advance(Duration::from_secs(61)).await;
        let alices = session("alice");
        sessions.enter(Arc::clone(&alices));
        assert_eq!(sessions.write().by_owner.len(), 1);
        assert!(sessions.end(&alices.id, "alice"));
        assert!(sessions.write().by_owner.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_unused_session_makes_room_for_one_too_many() {
        let sessions = sessions();
        let (first, second, bobs) = (session("alice"), session("alice"), session("bob"));
        for one in [&first, &bobs, &second] {
            sessions.enter(Arc::clone(one));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!(sessions.find(&first.id, "alice").is_some());
        tokio::time::advance(Duration::from_secs(1)).await;
        sessions.enter(session("alice"));
        assert!(sessions.find(&first.id, "alice").is_some());
        assert!(sessions.find(&second.id, "alice").is_none());
        assert!(sessions.find(&bobs.id, "bob").is_some());
    }
}
