//! Rows that were read ahead for whoever pages through a result.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{Policy, read_only::Rows};

/// How much is held for an agent that pages through a result.
#[derive(Clone, Copy, Debug)]
pub struct Paging {
    /// Bytes of an agent's rows; the oldest make room.
    pub held_bytes: usize,
    /// For how long they are good.
    pub held_time: Duration,
}

impl Default for Paging {
    /// 4 MiB and one minute.
    fn default() -> Self {
        Paging {
            held_bytes: 4 << 20,
            held_time: Duration::from_secs(60),
        }
    }
}

/// The rows that are held, for each agent its own.
pub(super) struct Held {
    limits: Paging,
    /// By the agents' names. Locked for a look-up or a pass over the table, never while waiting.
    batches: Mutex<HashMap<String, VecDeque<Batch>>>,
}

/// What was read of a result.
struct Batch {
    key: Key,
    first: u64,
    rows: Arc<Rows>,
    bytes: usize,
    since: Instant,
}

/// Whose result it is, but for the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// What the agent might do when the rows were read: an agent that may do other things keeps its
    /// name, but might not get the same rows.
    pub(super) policy: Arc<Policy>,
    pub(super) database: String,
    /// Of the database, which may have been configured anew since.
    pub(super) generation: u64,
    pub(super) query: String,
}

impl Held {
    pub(super) fn new(limits: Paging) -> Self {
        Held {
            limits,
            batches: Mutex::default(),
        }
    }

    /// Gives at most `limit` rows of a result from the row `offset` on, if the first of them is held.
    pub(super) fn page(
        &self,
        agent: &str,
        key: &Key,
        offset: u64,
        limit: usize,
        now: Instant,
    ) -> Option<Rows> {
        let rows;
        let start;
        {
            let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
            self.forget_old(&mut batches, now);
            let batch = batches
                .get(agent)?
                .iter()
                .find(|batch| batch.key == *key && batch.has(offset))?;
            rows = batch.rows.clone();
            start = usize::try_from(offset - batch.first).ok()?;
        }
        Some(rows.part(start, limit))
    }

    /// Holds rows of a result, the first of which is its row `first`.
    pub(super) fn hold(&self, agent: &str, key: Key, first: u64, rows: Arc<Rows>, now: Instant) {
        let bytes = rows.bytes() + key.query.len();
        if bytes > self.limits.held_bytes {
            return;
        }
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        self.forget_old(&mut batches, now);
        let own = batches.entry(agent.to_owned()).or_default();
        own.retain(|batch| batch.key != key);
        own.push_back(Batch {
            key,
            first,
            rows,
            bytes,
            since: now,
        });
        while own.iter().map(|batch| batch.bytes).sum::<usize>() > self.limits.held_bytes {
            own.pop_front();
        }
    }

    fn forget_old(&self, batches: &mut HashMap<String, VecDeque<Batch>>, now: Instant) {
        batches.retain(|_, own| {
            own.retain(|batch| now.saturating_duration_since(batch.since) < self.limits.held_time);
            !own.is_empty()
        });
    }
}

impl Batch {
    fn has(&self, offset: u64) -> bool {
        let end = self.first + self.rows.count() as u64;
        (self.first..end).contains(&offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read_only::Gathered;

    const LIMITS: Paging = Paging {
        held_bytes: 1_000,
        held_time: Duration::from_secs(60),
    };

    fn key(query: &str) -> Key {
        Key {
            policy: Arc::default(),
            database: "shop".into(),
            generation: 0,
            query: query.into(),
        }
    }

    fn rows(count: usize) -> Arc<Rows> {
        let mut gathered = Gathered::default();
        for value in (0..count).map(|n| format!("{n:16}")) {
            gathered.push_values([Some(&*value)]);
        }
        Arc::new(gathered.finish(None).expect("it is UTF-8"))
    }

    fn values(page: Option<Rows>) -> Option<Vec<String>> {
        page.map(|page| {
            let values = page.rows().flatten().flatten();
            values.map(|value| value.trim().to_owned()).collect()
        })
    }

    #[test]
    fn an_agent_finds_its_own_rows_as_often_as_it_likes_while_they_are_good() {
        let (held, now) = (Held::new(LIMITS), Instant::now());
        held.hold("a", key("q"), 100, rows(5), now);
        for _ in 0..2 {
            let page = held.page("a", &key("q"), 102, 2, now);
            assert_eq!(values(page).unwrap_or_default(), ["2", "3"]);
        }
        for (agent, query, offset, seconds) in [
            ("b", "q", 102, 0),
            ("a", "r", 102, 0),
            ("a", "q", 99, 0),
            ("a", "q", 105, 0),
            ("a", "q", 102, 60),
        ] {
            let then = now + Duration::from_secs(seconds);
            assert!(
                held.page(agent, &key(query), offset, 2, then).is_none(),
                "{agent} {query} {offset} {seconds}"
            );
        }
    }

    #[test]
    fn the_oldest_rows_make_room_and_too_many_are_not_held() {
        let (held, now) = (Held::new(LIMITS), Instant::now());
        for query in ["first", "second", "third"] {
            held.hold("a", key(query), 0, rows(16), now);
        }
        held.hold("a", key("huge"), 0, rows(1_000), now);
        let is_held = |query| held.page("a", &key(query), 0, 1, now).is_some();
        assert_eq!(
            ["first", "second", "third", "huge"].map(is_held),
            [false, true, true, false]
        );
    }
}
