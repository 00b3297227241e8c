//! Calls that go on after they are answered (the extension `io.modelcontextprotocol/tasks`).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::ser::SerializeMap;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::{Notify, watch};

use crate::auth::Principal;
use crate::changes::Changes;
use crate::client::{ClientCapabilities, Lacking};
use crate::context::{Circumstances, Context};
use crate::handler::{CallError, Handler, ToolCall};
use crate::input::{InputRequest, Inputs};
use crate::jsonrpc::{self, Failure, INTERNAL_ERROR};
use crate::model::{Empty, Fields, Project, ToolResult};
use crate::outbox::Outbox;
use crate::params;
use crate::revision::Revision;
use crate::rounds::{self, Asking, InputRequests};
use crate::service::Service;
use crate::session::random_id;

/// How often a client should ask for news.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// A call that goes on.
#[derive(Debug)]
struct Task {
    id: String,
    /// The name of the principal that it belongs to.
    owner: String,
    created: SystemTime,
    lifetime: Duration,
    // Held for one look-up or assignment.
    state: Mutex<State>,
    /// Told when an answer has come.
    answered: Notify,
    cancelled: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    status: Status,
    updated: SystemTime,
    answers: BTreeMap<String, Box<RawValue>>,
}

#[derive(Clone, Debug)]
enum Status {
    Working,
    InputRequired(Vec<(String, InputRequest)>),
    Completed(Box<RawValue>),
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
    fn enter(&self, status: Status) {
        let mut state = self.lock();
        if !state.status.has_ended() {
            state.status = status;
            state.updated = SystemTime::now();
        }
    }

    fn has_ended(&self) -> bool {
        self.lock().status.has_ended()
    }

    /// Waits for the answers to all questions.
    async fn ask(&self, requests: Vec<(String, InputRequest)>) -> BTreeMap<String, Box<RawValue>> {
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

    /// Takes the answers that fit open questions.
    fn answer(&self, brought: BTreeMap<String, Box<RawValue>>) {
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

    fn cancel(&self) {
        self.enter(Status::Cancelled);
        self.cancelled.send_replace(true);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task as it is shown, with or without what it came to.
struct Shown<'a> {
    task: &'a Task,
    in_detail: bool,
}

impl Project for Shown<'_> {
    fn project<M: SerializeMap>(&self, fields: &mut Fields<'_, M>) -> Result<(), M::Error> {
        let task = self.task;
        let (status, updated) = {
            let state = task.lock();
            (state.status.clone(), state.updated)
        };
        fields.always("taskId", &task.id)?;
        fields.always("status", status.name())?;
        fields.always("createdAt", timestamp(task.created))?;
        fields.always("lastUpdatedAt", timestamp(updated))?;
        fields.always("ttlMs", milliseconds(task.lifetime))?;
        fields.always("pollIntervalMs", milliseconds(POLL_INTERVAL))?;
        match &status {
            _ if !self.in_detail => Ok(()),
            Status::Working | Status::Cancelled => Ok(()),
            Status::InputRequired(open) => {
                fields.always("inputRequests", InputRequests(open, Revision::V2026_07_28))
            }
            Status::Completed(result) => fields.always("result", result),
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
    // Held for a look-up, or for one pass over the table when a task starts.
    table: Mutex<HashMap<String, Arc<Task>>>,
}

impl Tasks {
    pub(crate) fn new(lifetime: Duration, per_principal: usize) -> Self {
        Self {
            lifetime,
            per_principal,
            table: Mutex::default(),
        }
    }

    /// Enters a new task, unless the principal has too many that still run.
    fn enter(&self, owner: &str) -> Option<Arc<Task>> {
        let now = SystemTime::now();
        let mut table = self.lock();
        table.retain(|_, task| {
            let fresh = !task.is_over_age(now);
            if !fresh {
                task.cancel();
            }
            fresh
        });
        let of_owner: Vec<_> = table.values().filter(|task| task.owner == owner).collect();
        if of_owner.len() >= self.per_principal {
            let ended = of_owner.into_iter().filter(|task| task.has_ended());
            let oldest = ended.min_by_key(|task| task.created)?.id.clone();
            table.remove(&oldest);
        }
        let state = State {
            status: Status::Working,
            updated: now,
            answers: BTreeMap::new(),
        };
        let task = Arc::new(Task {
            id: random_id(),
            owner: owner.to_owned(),
            created: now,
            lifetime: self.lifetime,
            state: Mutex::new(state),
            answered: Notify::new(),
            cancelled: watch::channel(false).0,
        });
        table.insert(task.id.clone(), Arc::clone(&task));
        Some(task)
    }

    pub(crate) fn cancel_all(&self) {
        for task in self.lock().values() {
            task.cancel();
        }
    }

    fn find(&self, id: &str, owner: &str) -> Option<Arc<Task>> {
        let table = self.lock();
        let task = table.get(id).filter(|task| task.owner == owner)?;
        (!task.is_over_age(SystemTime::now())).then(|| Arc::clone(task))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Task>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Task {
    fn is_over_age(&self, now: SystemTime) -> bool {
        now.duration_since(self.created)
            .is_ok_and(|age| age >= self.lifetime)
    }
}

impl<H: Handler> Service<H> {
    /// Lets a call go on as a task, and answers with the task.
    pub(crate) fn start_task(
        self: &Arc<Self>,
        asking: &Asking<'_, H::Principal>,
        call: ToolCall,
    ) -> Result<Vec<u8>, Failure> {
        let principal = asking.scope.principal.clone();
        let task = self.tasks.enter(principal.name()).ok_or_else(|| {
            Failure::new(
                INTERNAL_ERROR,
                "too many tasks are running; cancel one or wait",
            )
        })?;
        let inputs = self.inputs(asking)?;
        let work = Work {
            task: Arc::clone(&task),
            call,
            principal,
            client: asking.scope.client,
            revision: asking.scope.revision,
            changes: self.changes.clone(),
        };
        // It ends with its result, its cancellation, its principal's rights or its lifetime.
        tokio::spawn(work.run(Arc::clone(self), inputs));
        let shown = Shown {
            task: &task,
            in_detail: false,
        };
        let mut reply = self.reply(&shown, asking.scope.revision, None);
        reply.result_type = "task";
        Ok(jsonrpc::write_result(&asking.request.id, &reply))
    }

    pub(crate) fn get_task(&self, asking: &Asking<'_, H::Principal>) -> Result<Vec<u8>, Failure> {
        let task = self.find_task(asking)?;
        Ok(self.write(
            asking,
            &Shown {
                task: &task,
                in_detail: true,
            },
            None,
        ))
    }

    pub(crate) fn update_task(
        &self,
        asking: &Asking<'_, H::Principal>,
    ) -> Result<Vec<u8>, Failure> {
        let task = self.find_task(asking)?;
        task.answer(params::required(
            "inputResponses",
            asking.params.input_responses,
        )?);
        Ok(self.write(asking, &Empty, None))
    }

    pub(crate) fn cancel_task(
        &self,
        asking: &Asking<'_, H::Principal>,
    ) -> Result<Vec<u8>, Failure> {
        self.find_task(asking)?.cancel();
        Ok(self.write(asking, &Empty, None))
    }

    fn find_task(&self, asking: &Asking<'_, H::Principal>) -> Result<Arc<Task>, Failure> {
        if !asking.scope.client.tasks {
            return Err(rounds::lacking(Lacking::Tasks, asking.scope.revision));
        }
        let id: String = params::required("taskId", asking.params.task_id)?;
        let task = self.tasks.find(&id, asking.scope.principal.name());
        task.ok_or_else(|| Failure::invalid_params(format!("there is no task `{id}`")))
    }
}

/// What a task does.
struct Work<P> {
    task: Arc<Task>,
    call: ToolCall,
    principal: P,
    client: ClientCapabilities,
    revision: Revision,
    changes: Changes,
}

impl<P: Principal> Work<P> {
    /// Works until there is a result, the task is cancelled, or the principal loses its rights.
    async fn run<H: Handler<Principal = P>>(self, service: Arc<Service<H>>, inputs: Inputs) {
        let mut cancelled = self.task.cancelled.subscribe();
        let status = tokio::select! {
            biased;
            _ = cancelled.wait_for(|cancelled| *cancelled) => Status::Cancelled,
            () = self.principal.revoked() => Status::Cancelled,
            () = tokio::time::sleep(self.task.lifetime) => Status::Cancelled,
            outcome = self.rounds(&service, inputs) => match outcome {
                Ok(result) => {
                    let reply = service.reply(&result, self.revision, None);
                    let result = serde_json::value::to_raw_value(&reply);
                    Status::Completed(result.expect("results can be written"))
                }
                Err(failure) => Status::Failed(failure),
            },
        };
        self.task.enter(status);
    }

    async fn rounds<H: Handler<Principal = P>>(
        &self,
        service: &Service<H>,
        mut inputs: Inputs,
    ) -> Result<ToolResult, Failure> {
        let outbox = Arc::new(Outbox::default());
        outbox.close(); // The request that it could send on is answered.
        for _ in 0..service.options.max_rounds {
            let call = Arc::new(Circumstances {
                principal: self.principal.clone(),
                revision: self.revision,
                client: self.client,
                session: None,
                progress_token: None,
                log_level: None,
                outbox: Arc::clone(&outbox),
                changes: self.changes.clone(),
                inputs,
                read: Mutex::default(),
                progress: Arc::new(Mutex::new(f64::NEG_INFINITY)),
                as_task: true,
            });
            let context = Context::new(Arc::clone(&call));
            let required = match service
                .limited(service.handler.call_tool(self.call.clone(), context))
                .await?
            {
                Ok(result) => return Ok(result),
                Err(CallError::InputRequired(required)) => *required,
                Err(error) => return Err(rounds::failure(error, self.revision)),
            };
            let lacking = required
                .requests
                .iter()
                .find_map(|(_, one)| one.lacking(self.client));
            if let Some(lacking) = lacking {
                return Err(rounds::lacking(lacking, self.revision));
            }
            let mut answers = rounds::read_answers(&call);
            answers.extend(self.task.ask(required.requests).await);
            inputs = Inputs {
                answers,
                state: required.state,
            };
        }
        Err(Failure::new(
            INTERNAL_ERROR,
            "the call asks again and again",
        ))
    }
}
