//! Calls that go on after they were answered (the extension `io.modelcontextprotocol/tasks`).

mod table;

use std::sync::{Arc, Mutex};

use crate::auth::Principal;
use crate::changes::Changes;
use crate::client::{ClientCapabilities, Lacking};
use crate::context::{Circumstances, Context};
use crate::handler::{CallError, Handler, ToolCall};
use crate::input::Inputs;
use crate::jsonrpc::{self, Failure, INTERNAL_ERROR, Id};
use crate::model::{Empty, ToolResult};
use crate::outbox::Outbox;
use crate::params;
use crate::revision::Revision;
use crate::rounds::{self, Asking};
use crate::service::{Service, caught};

pub(crate) use table::Tasks;
use table::{Shown, Status, Task};

impl<H: Handler> Service<H> {
    /// Continues a call as a task, and answers with the task.
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
            client_name: asking.scope.client_name.clone(),
            request: asking.request.id.clone(),
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
        Ok(jsonrpc::write_result(&asking.request.id, |out| {
            reply.write(out)
        }))
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
    client_name: Option<Arc<str>>,
    request: Id,
    revision: Revision,
    changes: Changes,
}

impl<P: Principal> Work<P> {
    /// Works until there is a result, the task is cancelled or its lifetime ends, or the principal loses its rights.
    async fn run<H: Handler<Principal = P>>(self, service: Arc<Service<H>>, inputs: Inputs) {
        let mut cancelled = self.task.cancelled.subscribe();
        let status = tokio::select! {
            biased;
            _ = cancelled.wait_for(|cancelled| *cancelled) => Status::Cancelled,
            () = self.principal.revoked() => Status::Cancelled,
            () = tokio::time::sleep(self.task.lifetime) => Status::Cancelled,
            outcome = caught(self.rounds(&service, inputs), "tools/call") => match outcome {
                Ok(result) => {
                    let reply = service.reply(&result, self.revision, None);
                    Status::Completed(reply.json())
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
                client_name: self.client_name.clone(),
                session: None,
                request: self.request.clone(),
                progress_token: None,
                log_level: None,
                outbox: Arc::clone(&outbox),
                changes: self.changes.clone(),
                inputs,
                read: Mutex::default(),
                as_task: true,
            });
            let context = Context::new(Arc::clone(&call));
            let called = service.handler.call_tool(self.call.clone(), context);
            let required = match service.limited(Box::pin(called)).await? {
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
                ..Inputs::default()
            };
        }
        Err(Failure::new(
            INTERNAL_ERROR,
            "the call asks again and again",
        ))
    }
}
