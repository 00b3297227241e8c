//! Rows that were read ahead for agents that page through a result.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{task::AbortHandle, time::Instant};

use crate::{
    Policy,
    read_only::{Place, Rows, fingerprint_of},
};

/// The most results of which one agent's rows are held.
const MOST_RESULTS: usize = 64;

/// How much is held for agents that page through results.
#[derive(Clone, Copy, Debug)]
pub struct Paging {
    /// Bytes of one agent's rows; beyond that its oldest are dropped.
    pub held_bytes: usize,
    /// Bytes of the rows of all agents; beyond that the oldest are dropped, whichever agent's they are.
    pub held_bytes_total: usize,
    /// How long rows are held.
    pub held_time: Duration,
}

impl Default for Paging {
    /// 4 MiB, 64 MiB and one minute.
    fn default() -> Self {
        Paging {
            held_bytes: 4 << 20,
            held_bytes_total: 64 << 20,
            held_time: Duration::from_secs(60),
        }
    }
}

/// The rows that are held, for each agent its own.
pub(super) struct Held {
    limits: Paging,
    /// Locked for a few steps only, however much is held, as all agents share it.
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    /// By number, so that the oldest come first.
    batches: BTreeMap<u64, Batch>,
    /// The numbers of each agent's batches, by the agent's name.
    by_agent: HashMap<Arc<str>, Vec<u64>>,
    /// The bytes of all batches.
    bytes: usize,
    last: u64,
    /// The task that drops old batches if no more calls come.
    sweeper: Option<AbortHandle>,
}

/// The rows that were read ahead of one result.
struct Batch {
    agent: Arc<str>,
    key: Key,
    /// The place that the rows follow.
    offset: u64,
    last_row: u32,
    rows: Arc<Rows>,
    bytes: usize,
    since: Instant,
}

/// What identifies a result, apart from the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// What the agent was allowed to do when the rows were read: if that changes, it keeps its name, but might not get
    /// the same rows.
    pub(super) policy: Arc<Policy>,
    pub(super) database: String,
    /// The generation of the database, which may have been reconfigured since.
    pub(super) generation: u64,
    pub(super) query: String,
}

impl Held {
    pub(super) fn new(limits: Paging) -> Self {
        Held {
            limits,
            table: Mutex::default(),
        }
    }

    /// Returns at most `limit` rows after a place in a result, if the first of them is held and the row before it is
    /// the place's.
    pub(super) fn page(&self, agent: &str, key: &Key, place: &Place, limit: usize) -> Option<Rows> {
        let (rows, start);
        {
            let mut table = self.lock();
            table.forget_old(self.limits.held_time);
            let mut own = table.own(agent).map(|number| &table.batches[number]);
            let batch = own.find(|batch| batch.key == *key)?;
            start = batch.start(place)?;
            rows = Arc::clone(&batch.rows);
        }
        Some(rows.part(start, limit))
    }

    /// Holds rows of a result, which follow a place.
    ///
    /// # Panics
    /// Outside a tokio runtime with a timer.
    pub(super) fn hold(self: &Arc<Self>, agent: &str, key: Key, place: &Place, mut rows: Rows) {
        rows.shrink_to_fit();
        let bytes = rows.bytes() + key.query.len();
        if bytes > self.limits.held_bytes.min(self.limits.held_bytes_total) {
            return;
        }
        let mut table = self.lock();
        table.forget_old(self.limits.held_time);
        table.forget(agent, |batch| batch.key == key);
        table.add(Batch {
            agent: agent.into(),
            key,
            offset: place.offset,
            last_row: place.last_row,
            rows: Arc::new(rows),
            bytes,
            since: Instant::now(),
        });
        table.make_room(agent, &self.limits);
        if table.sweeper.as_ref().is_none_or(AbortHandle::is_finished) {
            table.sweeper = Some(self.sweep());
        }
    }

    /// Drops what is held of a query that was run again from the beginning.
    pub(super) fn forget(&self, agent: &str, database: &str, query: &str) {
        self.lock().forget(agent, |batch| {
            (&*batch.key.database, &*batch.key.query) == (database, query)
        });
    }

    /// Starts the task that drops old rows, until none are left.
    fn sweep(self: &Arc<Self>) -> AbortHandle {
        let held = Arc::downgrade(self);
        let time = self.limits.held_time;
        let mut end = Instant::now() + time;
        let sweeping = tokio::spawn(async move {
            loop {
                tokio::time::sleep_until(end).await;
                let Some(held) = held.upgrade() else { return };
                let mut table = held.lock();
                table.forget_old(time);
                let Some((_, oldest)) = table.batches.first_key_value() else {
                    // Under the lock, so that the next call that holds rows sees that there is no task.
                    table.sweeper = None;
                    return;
                };
                end = oldest.since + time;
            }
        });
        sweeping.abort_handle()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(sweeper) = self.lock().sweeper.take() {
            sweeper.abort();
        }
    }
}

impl Table {
    /// Returns the numbers of an agent's batches, the oldest first.
    fn own(&self, agent: &str) -> impl Iterator<Item = &u64> {
        self.by_agent.get(agent).into_iter().flatten()
    }

    fn add(&mut self, batch: Batch) {
        self.last += 1;
        self.bytes += batch.bytes;
        let own = self.by_agent.entry(Arc::clone(&batch.agent)).or_default();
        own.push(self.last);
        self.batches.insert(self.last, batch);
    }

    fn remove(&mut self, number: u64) {
        let Some(batch) = self.batches.remove(&number) else {
            return;
        };
        self.bytes -= batch.bytes;
        if let Some(own) = self.by_agent.get_mut(&batch.agent) {
            own.retain(|other| *other != number);
            if own.is_empty() {
                self.by_agent.remove(&batch.agent);
            }
        }
    }

    /// Drops the batches of an agent for which `is_meant` holds.
    fn forget(&mut self, agent: &str, is_meant: impl Fn(&Batch) -> bool) {
        let own = self.own(agent).copied();
        let meant: Vec<u64> = own
            .filter(|number| is_meant(&self.batches[number]))
            .collect();
        for number in meant {
            self.remove(number);
        }
    }

    fn forget_old(&mut self, time: Duration) {
        let now = Instant::now();
        while let Some((number, oldest)) = self.batches.first_key_value()
            && now.saturating_duration_since(oldest.since) >= time
        {
            self.remove(*number);
        }
    }

    /// Drops the oldest batches: of the agent if it has too much, and of all if they have too much together.
    fn make_room(&mut self, agent: &str, limits: &Paging) {
        while let Some(oldest) = self.one_too_many(agent, limits) {
            self.remove(oldest);
        }
    }

    fn one_too_many(&self, agent: &str, limits: &Paging) -> Option<u64> {
        let own = self.own(agent).map(|number| self.batches[number].bytes);
        let (count, bytes) = own.fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes));
        let oldest = if count > MOST_RESULTS || bytes > limits.held_bytes {
            self.own(agent).next()
        } else if self.bytes > limits.held_bytes_total {
            self.batches.keys().next()
        } else {
            None
        };
        oldest.copied()
    }
}

impl Batch {
    /// Finds the row that follows a place. `None` if it is not held, or if the row before it is not the place's, which
    /// then belongs to another run.
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
        held_bytes_total: 1_500,
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

    /// Returns the place after `offset` rows, the last of which says `before`.
    fn place(offset: u64, before: usize) -> Place {
        Place {
            offset,
            last_row: fingerprint_of(&[Some(&format!("{before:16}"))]),
            edge: None,
        }
    }

    fn rows(count: usize) -> Rows {
        let mut gathered = Gathered::default();
        for value in (0..count).map(|n| format!("{n:16}")) {
            gathered.push_values([Some(&*value)]);
        }
        gathered.finish(None).expect("it is UTF-8")
    }

    fn values(page: Option<Rows>) -> Option<Vec<String>> {
        page.map(|page| {
            let values = page.rows().flatten().flatten();
            values.map(|value| value.trim().to_owned()).collect()
        })
    }

    fn held() -> Arc<Held> {
        Arc::new(Held::new(LIMITS))
    }

    fn holds(held: &Held, agent: &str, query: &str) -> bool {
        held.page(agent, &key(query), &place(1, 0), 1).is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_finds_its_own_rows_as_often_as_it_likes_while_they_are_good() {
        let held = held();
        held.hold("a", key("q"), &place(100, 9), rows(5));
        for _ in 0..2 {
            let page = held.page("a", &key("q"), &place(102, 1), 2);
            assert_eq!(values(page).unwrap_or_default(), ["2", "3"]);
            let page = held.page("a", &key("q"), &place(100, 9), 1);
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
            tokio::time::advance(Duration::from_secs(seconds)).await;
            let page = held.page(agent, &key(query), &place(offset, before), 2);
            assert!(
                page.is_none(),
                "{agent} {query} {offset} {before} {seconds}"
            );
        }
    }

    #[tokio::test]
    async fn the_oldest_rows_make_room_and_too_many_are_not_held() {
        let held = held();
        for query in ["first", "second", "third"] {
            held.hold("a", key(query), &place(1, 0), rows(16));
        }
        held.hold("a", key("huge"), &place(1, 0), rows(1_000));
        let is_held = |query| holds(&held, "a", query);
        assert_eq!(
            ["first", "second", "third", "huge"].map(is_held),
            [false, true, true, false]
        );
    }

    #[tokio::test]
    async fn all_agents_together_hold_no_more_than_they_may() {
        let held = held();
        let agents = ["a", "b", "c", "d", "e", "f"];
        for agent in agents {
            held.hold(agent, key("q"), &place(1, 0), rows(20));
        }
        let is_held = agents.map(|agent| holds(&held, agent, "q"));
        assert_eq!(is_held, [false, false, false, true, true, true]);
        let table = held.lock();
        assert!(table.bytes <= LIMITS.held_bytes_total, "{}", table.bytes);
        assert_eq!(table.by_agent.len(), 3);
    }

    #[tokio::test]
    async fn an_agent_holds_rows_of_so_many_results_only() {
        let held = Arc::new(Held::new(Paging::default()));
        for number in 0..=MOST_RESULTS {
            held.hold("a", key(&number.to_string()), &place(1, 0), rows(1));
        }
        let last = MOST_RESULTS.to_string();
        let is_held = ["0", "1", &last].map(|query| holds(&held, "a", query));
        assert_eq!(is_held, [false, true, true]);
    }

    #[tokio::test(start_paused = true)]
    async fn old_rows_go_although_nobody_comes_any_more() {
        let held = held();
        for query in ["first", "second"] {
            held.hold("a", key(query), &place(1, 0), rows(1));
            tokio::time::advance(LIMITS.held_time / 2).await;
        }
        let count = || held.lock().batches.len();
        for left in [1, 0] {
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert_eq!(count(), left);
            tokio::time::advance(LIMITS.held_time / 2).await;
        }
        assert!(held.lock().sweeper.is_none());
        held.hold("a", key("third"), &place(1, 0), rows(1));
        tokio::time::sleep(LIMITS.held_time * 2).await;
        assert_eq!(count(), 0, "as long as there are any they are looked after");
    }
}
