//! All sessions, and who owns each.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::by_owner::ByOwner;
use crate::session::{RandomId, Session};

/// How often in an idle time-out sessions of principals that do not come any more are looked for.
const SWEEPS: u32 = 8;

/// All sessions. A session is found only by the principal that opened it.
#[derive(Debug)]
pub(crate) struct Sessions {
    idle_timeout: Duration,
    per_principal: usize,
    table: ByOwner<Entry>,
}

/// A session, with copies of what is looked up first.
#[derive(Debug)]
struct Entry {
    id: RandomId,
    /// When it was last known to be in use; it may have been used since.
    seen: Instant,
    session: Arc<Session>,
}

impl Sessions {
    pub(crate) fn new(idle_timeout: Duration, per_principal: usize) -> Self {
        Self {
            idle_timeout,
            per_principal,
            table: ByOwner::new(),
        }
    }

    /// Enters a session. Clients seldom end their own: now and then idle sessions are removed, and
    /// if a principal has too many, the one that was unused for longest is.
    pub(crate) fn enter(&self, session: Arc<Session>, now: Instant) {
        session.end_after(self.idle_timeout);
        let is_idle = |other: &Entry| !self.is_fresh(&other.session, now);
        let interval = self.idle_timeout / SWEEPS;
        let idle = self.table.sweep(interval, now, is_idle);
        let (owner, entry) = (Arc::clone(&session), Entry::new(session));
        let outgoing = self.table.change(owner.owner(), |own| {
            let one_too_many = own.len() >= self.per_principal;
            let outgoing = one_too_many.then(|| take_oldest(own, now)).flatten();
            own.push(entry);
            outgoing
        });
        for entry in idle.into_iter().chain(outgoing) {
            entry.session.end();
        }
    }

    /// Finds a session of `owner`. An unknown session, an idle one and another principal's are
    /// treated alike.
    pub(crate) fn find(&self, id: &str, owner: &str) -> Option<Arc<Session>> {
        let session = self.table.look(owner, |own| {
            let entry = own.iter().find(|entry| entry.id.as_str() == id)?;
            Some(Arc::clone(&entry.session))
        })?;
        let now = Instant::now();
        if !self.is_fresh(&session, now) {
            self.remove(&session);
            session.end();
            return None;
        }
        session.use_at(now);
        Some(session)
    }

    /// Ends a session of `owner`; returns whether there was one.
    pub(crate) fn end(&self, id: &str, owner: &str) -> bool {
        let Some(session) = self.find(id, owner) else {
            return false;
        };
        self.remove(&session);
        session.end();
        true
    }

    /// Ends all sessions of `owner`.
    pub(crate) fn end_all(&self, owner: &str) {
        for entry in self.table.take(owner) {
            entry.session.end();
        }
    }

    fn remove(&self, session: &Session) {
        self.table.change(session.owner(), |own| {
            own.retain(|entry| entry.id != session.id);
        });
    }

    fn is_fresh(&self, session: &Session, now: Instant) -> bool {
        now.saturating_duration_since(session.last_used()) < self.idle_timeout
            || session.is_in_use()
    }
}

impl Entry {
    fn new(session: Arc<Session>) -> Self {
        Self {
            id: session.id,
            seen: session.last_used(),
            session,
        }
    }
}

/// Takes out the session that was unused for longest; one with a running request only if all have
/// one. What was seen of a session may be out of date, and is looked up again only for a session
/// that may be the one.
fn take_oldest(own: &mut Vec<Entry>, now: Instant) -> Option<Entry> {
    loop {
        let oldest = (0..own.len()).min_by_key(|at| own[*at].seen)?;
        let session = &own[oldest].session;
        let used = match session.is_in_use() {
            true => now,
            false => session.last_used(),
        };
        if own[oldest].seen == used {
            return Some(own.swap_remove(oldest));
        }
        own[oldest].seen = used;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::client::ClientCapabilities;
    use crate::jsonrpc::Id;
    use crate::revision::Revision;

    fn session(owner: &str) -> Arc<Session> {
        Session::new(
            owner,
            Revision::V2025_11_25,
            ClientCapabilities::default(),
            None,
            Instant::now(),
        )
    }

    fn sessions() -> Sessions {
        Sessions::new(Duration::from_secs(60), 2)
    }

    #[tokio::test]
    async fn a_session_is_found_by_its_owner_only() {
        let sessions = sessions();
        let alices = session("alice");
        sessions.enter(Arc::clone(&alices), Instant::now());
        assert!(sessions.find(alices.id.as_str(), "alice").is_some());
        assert!(sessions.find(alices.id.as_str(), "bob").is_none());
        assert!(!sessions.end(alices.id.as_str(), "bob"));
        assert!(sessions.end(alices.id.as_str(), "alice"));
        assert!(sessions.find(alices.id.as_str(), "alice").is_none());
        alices.ended().await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_attached_goes_with_the_session() {
        let sessions = sessions();
        let (ended, idle) = (session("alice"), session("alice"));
        let value = Arc::new(());
        for one in [&ended, &idle] {
            sessions.enter(Arc::clone(one), Instant::now());
            assert_eq!(one.idle_timeout(), Some(Duration::from_secs(60)));
            one.attach(Box::new(Arc::clone(&value)));
        }
        assert_eq!(Arc::strong_count(&value), 3);
        assert!(!idle.detach(|value| value.is::<u8>()));
        idle.attach(Box::new(7_u8));
        assert!(idle.detach(|value| value.is::<u8>()));
        assert!(!idle.detach(|value| value.is::<u8>()), "it has gone");
        assert_eq!(Arc::strong_count(&value), 3);
        sessions.end(ended.id.as_str(), "alice");
        assert_eq!(Arc::strong_count(&value), 2);
        ended.attach(Box::new(Arc::clone(&value)));
        assert_eq!(Arc::strong_count(&value), 2, "it has ended");
        tokio::time::advance(Duration::from_secs(61)).await;
        assert!(sessions.find(idle.id.as_str(), "alice").is_none());
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
        sessions.enter(Arc::clone(&idle), Instant::now());
        sessions.enter(Arc::clone(&used), Instant::now());
        tokio::time::advance(Duration::from_secs(40)).await;
        assert!(sessions.find(used.id.as_str(), "alice").is_some());
        tokio::time::advance(Duration::from_secs(40)).await;
        assert!(sessions.find(idle.id.as_str(), "alice").is_none());
        assert!(sessions.find(used.id.as_str(), "alice").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_in_which_a_request_runs_is_not_idle() {
        let sessions = sessions();
        let busy = session("alice");
        sessions.enter(Arc::clone(&busy), Instant::now());
        let (running, _cancelled) = busy.begin(&Id::Number(1.into()));
        tokio::time::advance(Duration::from_secs(100)).await;
        // Two more are one too many.
        for _ in 0..2 {
            sessions.enter(session("alice"), Instant::now());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        drop(running);
        tokio::time::advance(Duration::from_secs(59)).await;
        let found = sessions.find(busy.id.as_str(), "alice");
        assert!(found.is_some(), "it was used until the request ended");
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_come_any_more_is_forgotten() {
        let sessions = sessions();
        for owner in 0..100 {
            sessions.enter(session(&format!("guest-{owner}")), Instant::now());
        }
        tokio::time::advance(Duration::from_secs(61)).await;
        let alices = session("alice");
        sessions.enter(Arc::clone(&alices), Instant::now());
        let mut left = 0;
        sessions.table.for_each(|_| left += 1);
        assert_eq!(left, 1);
        assert!(sessions.end(alices.id.as_str(), "alice"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_unused_session_makes_room_for_one_too_many() {
        let sessions = sessions();
        let (first, second, bobs) = (session("alice"), session("alice"), session("bob"));
        for one in [&first, &bobs, &second] {
            sessions.enter(Arc::clone(one), Instant::now());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!(sessions.find(first.id.as_str(), "alice").is_some());
        tokio::time::advance(Duration::from_secs(1)).await;
        sessions.enter(session("alice"), Instant::now());
        assert!(sessions.find(first.id.as_str(), "alice").is_some());
        assert!(sessions.find(second.id.as_str(), "alice").is_none());
        assert!(sessions.find(bobs.id.as_str(), "bob").is_some());
    }
}
