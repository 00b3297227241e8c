//! Rows that were read ahead for whoever pages through a result.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    Policy,
    read_only::{Place, Rows, fingerprint_of},
};

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
    /// The place that the rows follow.
    offset: u64,
    last_row: u32,
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

    /// Gives at most `limit` rows of a result behind a place, if the first of them is held and the row
    /// before is the place's.
    pub(super) fn page(
        &self,
        agent: &str,
        key: &Key,
        place: &Place,
        limit: usize,
        now: Instant,
    ) -> Option<Rows> {
        let (rows, start);
        {
            let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
            self.forget_old(&mut batches, now);
            let batch = batches.get(agent)?.iter().find(|batch| batch.key == *key)?;
            start = batch.start(place)?;
            rows = batch.rows.clone();
        }
        Some(rows.part(start, limit))
    }

    /// Holds rows of a result, which follow a place.
    pub(super) fn hold(&self, agent: &str, key: Key, place: &Place, rows: Arc<Rows>, now: Instant) {
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
            offset: place.offset,
            last_row: place.last_row,
            rows,
            bytes,
            since: now,
        });
        while own.iter().map(|batch| batch.bytes).sum::<usize>() > self.limits.held_bytes {
            own.pop_front();
        }
    }

    /// Lets go of what is held of a query, which has been run anew from the beginning.
    pub(super) fn forget(&self, agent: &str, database: &str, query: &str) {
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = batches.get_mut(agent) {
            own.retain(|batch| (&*batch.key.database, &*batch.key.query) != (database, query));
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
    /// Finds the row that follows a place. Another row may come before it than the place's: then the
    /// place is one of another run.
    fn start(&self, place: &Place) -> Option<usize> {
        let start = usize::try_from(place.offset.checked_sub(self.offset)?).ok()?;
        let before = match start.checked_sub(1) {
            Some(before) => fingerprint_of(&self.rows.row(before)?),
            None => self.last_row,
        };
        (start < self.rows.count() && before == place.last_row).then_some(start)
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

    /// The place behind `offset` rows, the last of which says `before`.
    fn place(offset: u64, before: usize) -> Place {
        Place {
            offset,
            last_row: fingerprint_of(&[Some(&format!("{before:16}"))]),
            edge: None,
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
        held.hold("a", key("q"), &place(100, 9), rows(5), now);
        for _ in 0..2 {
            let page = held.page("a", &key("q"), &place(102, 1), 2, now);
            assert_eq!(values(page).unwrap_or_default(), ["2", "3"]);
            let page = held.page("a", &key("q"), &place(100, 9), 1, now);
            assert_eq!(values(page).unwrap_or_default(), ["0"]);
        }
        for (agent, query, offset, before, seconds) in [
            ("b", "q", 102, 1, 0),
            ("a", "r", 102, 1, 0),
            ("a", "q", 99, 9, 0),
            ("a", "q", 100, 8, 0),
            ("a", "q", 102, 2, 0),
            ("a", "q", 105, 4, 0),
            ("a", "q", 102, 1, 60),
        ] {
            let then = now + Duration::from_secs(seconds);
            assert!(
                held.page(agent, &key(query), &place(offset, before), 2, then)
                    .is_none(),
                "{agent} {query} {offset} {before} {seconds}"
            );
        }
    }

    #[test]
    fn the_oldest_rows_make_room_and_too_many_are_not_held() {
        let (held, now) = (Held::new(LIMITS), Instant::now());
        for query in ["first", "second", "third"] {
            held.hold("a", key(query), &place(1, 0), rows(16), now);
        }
        held.hold("a", key("huge"), &place(1, 0), rows(1_000), now);
        let is_held = |query| held.page("a", &key(query), &place(1, 0), 1, now).is_some();
        assert_eq!(
            ["first", "second", "third", "huge"].map(is_held),
            [false, true, true, false]
        );
    }
}
