//! The tasks that exist, and their states.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::by_owner::ByOwner;
use crate::input::InputRequest;
use crate::jsonrpc::Failure;
use crate::model::{Fields, Json, Project};
use crate::revision::Revision;
use crate::rounds::InputRequests;
use crate::session::RandomId;

/// How often a client should ask for news.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// How often in a task's lifetime tasks of principals that do not come any more are looked for.
const SWEEPS: u32 = 8;

/// A call that continues as a task.
#[derive(Debug)]
pub(super) struct Task {
    id: RandomId,
    created: SystemTime,
    pub(super) lifetime: Duration,
    // Held for one look-up or assignment.
    state: Mutex<State>,
    /// Notified when an answer has come.
    answered: Notify,
    pub(super) cancelled: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    status: Status,
    updated: SystemTime,
    answers: BTreeMap<String, Box<RawValue>>,
}

#[derive(Clone, Debug)]
pub(super) enum Status {
    Working,
    InputRequired(Vec<(String, InputRequest)>),
    Completed(Json),
    Failed(Failure),
    Cancelled,
}

impl Status {
    fn name(&self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::InputRequired(_) => "input_required",
            Self::Completed(_) => "completed",
            Self::Failed(_) => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    fn has_ended(&self) -> bool {
        matches!(self, Self::Completed(_) | Self::Failed(_) | Self::Cancelled)
    }
}

impl Task {
    pub(super) fn enter(&self, status: Status) {
        let mut state = self.lock();
        if !state.status.has_ended() {
            state.status = status;
            state.updated = SystemTime::now();
        }
    }

    fn is_over_age(&self, now: SystemTime) -> bool {
        now.duration_since(self.created)
            .is_ok_and(|age| age >= self.lifetime)
    }

    fn has_ended(&self) -> bool {
        self.lock().status.has_ended()
    }

    /// Waits for the answers to all questions.
    pub(super) async fn ask(
        &self,
        requests: Vec<(String, InputRequest)>,
    ) -> BTreeMap<String, Box<RawValue>> {
        self.enter(Status::InputRequired(requests));
        loop {
            let answered = self.answered.notified();
            {
                let mut state = self.lock();
                if matches!(&state.status, Status::InputRequired(open) if open.is_empty()) {
                    state.status = Status::Working;
                    return std::mem::take(&mut state.answers);
                }
            }
            answered.await;
        }
    }

    /// Accepts the answers that fit open questions.
    pub(super) fn answer(&self, brought: BTreeMap<String, Box<RawValue>>) {
        let mut state = self.lock();
        let State {
            status: Status::InputRequired(open),
            answers,
            updated,
        } = &mut *state
        else {
            return;
        };
        for (key, answer) in brought {
            if let Some(position) = open.iter().position(|(open, _)| *open == key)
                && open[position].1.read(&answer).is_some()
            {
                open.remove(position);
                answers.insert(key, answer);
                *updated = SystemTime::now();
            }
        }
        drop(state);
        self.answered.notify_one();
    }

    pub(super) fn cancel(&self) {
        self.enter(Status::Cancelled);
        self.cancelled.send_replace(true);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task as it is shown, with its result or without.
pub(super) struct Shown<'a> {
    pub(super) task: &'a Task,
    pub(super) in_detail: bool,
}

impl Project for Shown<'_> {
    fn project(&self, fields: &mut Fields<'_>) {
        let task = self.task;
        let (status, updated) = {
            let state = task.lock();
            (state.status.clone(), state.updated)
        };
        fields.always("taskId", task.id.as_str());
        fields.always("status", status.name());
        fields.always("createdAt", timestamp(task.created));
        fields.always("lastUpdatedAt", timestamp(updated));
        fields.always("ttlMs", milliseconds(task.lifetime));
        fields.always("pollIntervalMs", milliseconds(POLL_INTERVAL));
        match &status {
            _ if !self.in_detail => {}
            Status::Working | Status::Cancelled => {}
            Status::InputRequired(open) => {
                fields.always("inputRequests", InputRequests(open, Revision::V2026_07_28))
            }
            Status::Completed(result) => fields.json("result", result),
            Status::Failed(failure) => fields.always("error", failure),
        }
    }
}

fn timestamp(time: SystemTime) -> String {
    OffsetDateTime::from(time)
        .format(&Rfc3339)
        .unwrap_or_default()
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// All tasks, by identifier. A task is found only by the principal that started it.
#[derive(Debug)]
pub(crate) struct Tasks {
    lifetime: Duration,
    per_principal: usize,
    table: ByOwner<Arc<Task>>,
}

impl Tasks {
    pub(crate) fn new(lifetime: Duration, per_principal: usize) -> Self {
        Self {
            lifetime,
            per_principal,
            table: ByOwner::new(),
        }
    }

    /// Registers a new task. If the principal has too many, it replaces the oldest that has ended; if none has, `None`.
    pub(super) fn enter(&self, owner: &str) -> Option<Arc<Task>> {
        let now = SystemTime::now();
        let interval = self.lifetime / SWEEPS;
        for task in self
            .table
            .sweep(interval, Instant::now(), |task| task.is_over_age(now))
        {
            task.cancel();
        }
        let task = Arc::new(self.begin(now));
        self.table.change(owner, |own| {
            own.extract_if(.., |task| task.is_over_age(now))
                .for_each(|task| task.cancel());
            if own.len() >= self.per_principal {
                let ended = (0..own.len()).filter(|at| own[*at].has_ended());
                let oldest = ended.min_by_key(|at| own[*at].created)?;
                own.swap_remove(oldest);
            }
            own.push(Arc::clone(&task));
            Some(task)
        })
    }

    fn begin(&self, now: SystemTime) -> Task {
        let state = State {
            status: Status::Working,
            updated: now,
            answers: BTreeMap::new(),
        };
        Task {
            id: RandomId::new(),
            created: now,
            lifetime: self.lifetime,
            state: Mutex::new(state),
            answered: Notify::new(),
            cancelled: watch::channel(false).0,
        }
    }

    pub(crate) fn cancel_all(&self) {
        self.table.for_each(|task| task.cancel());
    }

    /// Cancels and removes all tasks of `owner`.
    pub(crate) fn remove_all(&self, owner: &str) {
        for task in self.table.take(owner) {
            task.cancel();
        }
    }

    pub(super) fn find(&self, id: &str, owner: &str) -> Option<Arc<Task>> {
        self.table.look(owner, |own| {
            let task = own.iter().find(|task| task.id.as_str() == id)?;
            (!task.is_over_age(SystemTime::now())).then(|| Arc::clone(task))
        })
    }
}
