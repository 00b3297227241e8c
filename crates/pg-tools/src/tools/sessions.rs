//! `open_session` and `close_session`: calls that find what earlier calls have left on their connection.
//!
//! A session of an older revision of the protocol is such a session by itself, once something is left in it. For other
//! calls there is a name that nobody can guess, and that is valid only for the token that it was given to.

use std::{fmt::Write, sync::Arc};

use serde_json::json;
use session_pool::{LeaseError, Line, Loss, Tie};

use super::{Answer, Call, Definition, Effect, Failure, Found, Offer, Tool};
use crate::{
    Agent,
    client::{Conversation, Held},
    read_only::{ReadError, not_open},
};

pub(crate) const OPEN_SESSION: &str = "open_session";

/// The tools that run on the connection of a session.
const IN_SESSION: &[&str] = &[
    "query_database",
    "execute_write",
    "count_rows",
    "execute_explain",
];

/// What such a tool takes in addition.
const ARGUMENT: &str = r#","session":{"type":"string","description":"Given by open_session"}"#;

const OPEN: Definition<'_> = Definition {
    name: OPEN_SESSION,
    title: "Open a session",
    description: "Keeps one connection for calls that name this session, so that temporary tables, settings (SET) and prepared statements made in it with execute_write stay. It ends when it is idle for too long, or when a call in it is cancelled or times out.",
    input_schema: r#"{"type":"object","properties":{"database":{"type":"string"}},"additionalProperties":false}"#,
    output_schema: r#"{"type":"object","properties":{"session":{"type":"string"},"database":{"type":"string"},"idle_seconds":{"type":"number","description":"It ends when it is idle for so long"}},"required":["session","database","idle_seconds"]}"#,
    effect: Effect::Keeps,
    offer: Offer::OptIn,
};

const CLOSE: Definition<'_> = Definition {
    name: "close_session",
    title: "Close a session",
    description: "Ends a session of open_session; what was in it is gone.",
    input_schema: r#"{"type":"object","properties":{"session":{"type":"string"}},"required":["session"],"additionalProperties":false}"#,
    output_schema: r#"{"type":"object","properties":{"closed":{"type":"boolean"}},"required":["closed"]}"#,
    effect: Effect::Keeps,
    offer: Offer::OptIn,
};

/// The tool that opens a session.
pub(crate) struct OpenSession;

impl Tool for OpenSession {
    fn definition(&self) -> Definition<'_> {
        OPEN
    }

    fn call<'a>(&'a self, call: Call<'a>) -> Answer<'a> {
        Box::pin(open(call))
    }
}

async fn open(mut call: Call<'_>) -> Result<Found, Failure> {
    let agent = call.on_database()?;
    call.arguments.finish()?;
    let name = random_name();
    let line = &given(&name);
    let (session, database) = (agent.session(), agent.database());
    let kept = session.keep(line, database).await;
    let mut lease = kept.map_err(ReadError::from)?;
    lease.stay();
    lease.give_back();
    agent.note_session(&name);
    let seconds = session.idle_time(line).as_secs_f64();
    let opened = json!({ "session": name, "database": database, "idle_seconds": seconds });
    Ok(Found::new(&opened).said(format!(
        "session {name} on database {database}; give it as session to {}. It ends when it is idle for {seconds} s",
        IN_SESSION.join(", ")
    )))
}

/// The tool that closes a session.
pub(crate) struct CloseSession;

impl Tool for CloseSession {
    fn definition(&self) -> Definition<'_> {
        CLOSE
    }

    fn call<'a>(&'a self, call: Call<'a>) -> Answer<'a> {
        Box::pin(async { close(call) })
    }
}

fn close(mut call: Call<'_>) -> Result<Found, Failure> {
    let name = call.arguments.text("session")?;
    call.arguments.finish()?;
    if !call.agent.session().let_go(&given(&name).name) {
        return Err(Failure::told(not_open()));
    }
    call.agent.note_session(&name);
    Ok(Found::new(&json!({ "closed": true })).said("closed"))
}

impl Call<'_> {
    /// Reads the arguments `database` and `session`; returns the agent on the connection that the call is to run on,
    /// which may be an ordinary one.
    pub(crate) fn in_session(&mut self) -> Result<Agent, Failure> {
        let Some(name) = self.arguments.optional_text("session")? else {
            let agent = self.on_database()?;
            // Also for an agent that may not write any more: names mean other tables now.
            if self
                .client
                .let_go(&|held| has_lost_its_session(held, &agent))
            {
                return Err(ReadError::from(LeaseError::Lost(Loss::Ended)).into());
            }
            if !agent.may_leave_state() {
                return Ok(agent);
            }
            return Ok(match self.client.conversation() {
                Some(conversation) => agent.in_line(of_conversation(&conversation)),
                None => agent,
            });
        };
        let line = given(&name);
        let kept = self.agent.session().kept_on(&line.name);
        let agent = kept
            .filter(|_| self.agent.may_leave_state())
            .and_then(|database| self.agent.on(&database))
            .ok_or_else(|| Failure::told(not_open()))?;
        agent.note_session(&name);
        match self.arguments.optional_text("database")? {
            Some(other) if other != agent.database() => Err(Failure::told(format!(
                "this session is on database \"{}\"; leave database out",
                agent.database()
            ))),
            _ => Ok(agent.in_line(line)),
        }
    }
}

/// Returns whether a held value ties a line to a session of the token that has ended, and that was not the agent's.
fn has_lost_its_session(held: &Held, agent: &Agent) -> bool {
    let tie = held.downcast_ref::<Tie>();
    tie.is_some_and(|tie| tie.is_over_for(agent.session()))
}

/// Returns the line of a session that was opened by name.
fn given(name: &str) -> Line {
    Line {
        name: format!("given {name}").into(),
        idle_time: None,
        goes_on: false,
    }
}

/// Returns the line of a session of the protocol.
fn of_conversation(conversation: &Conversation) -> Line {
    Line {
        name: format!("protocol's {}", conversation.id).into(),
        idle_time: conversation.idle_time,
        goes_on: true,
    }
}

/// Returns the session that a line belongs to, as in [`Account::session`](crate::Account::session).
#[must_use]
pub fn session_of(line: &str) -> &str {
    line.split_once(' ').map_or(line, |(_, session)| session)
}

/// Returns a name of 128 random bits.
fn random_name() -> String {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).expect("the operating system has random bytes");
    let mut name = "session-".to_owned();
    for byte in bytes {
        write!(name, "{byte:02x}").expect("a string takes any text");
    }
    name
}

/// Adds the argument `session` to a tool that runs in sessions; other tools stay as they are.
pub(crate) fn taking_session(tool: Arc<dyn Tool>) -> Arc<dyn Tool> {
    let definition = tool.definition();
    let schema = definition.input_schema.split_once("},\"required\"");
    let Some((before, after)) = schema.filter(|_| IN_SESSION.contains(&definition.name)) else {
        return tool;
    };
    let input_schema = format!("{before}{ARGUMENT}}},\"required\"{after}");
    Arc::new(TakingSession { tool, input_schema })
}

struct TakingSession {
    tool: Arc<dyn Tool>,
    input_schema: String,
}

impl Tool for TakingSession {
    fn definition(&self) -> Definition<'_> {
        Definition {
            input_schema: &self.input_schema,
            ..self.tool.definition()
        }
    }

    fn is_for(&self, agent: &Agent) -> bool {
        self.tool.is_for(agent)
    }

    fn call<'a>(&'a self, call: Call<'a>) -> Answer<'a> {
        self.tool.call(call)
    }
}
