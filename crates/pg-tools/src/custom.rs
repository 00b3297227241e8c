//! Tools that an operator writes: SQL with parameters.

use std::sync::Arc;

use session_pool::{Lease, Session};
use tokio_postgres::types::Type;

use crate::{
    Agent,
    read_only::{Column, Guard, ReadError, Statement},
    shelf::Shelf,
    tools::{CustomQuery, Tool},
    writing::probe,
};

/// A tool that an operator wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomTool {
    /// The name that it is called by: 1 to 128 characters of `A-Z a-z 0-9 _ . -`.
    pub name: String,
    /// The name that people read.
    pub title: String,
    /// What it does, for the model.
    pub description: String,
    /// The configured name of the database that it runs on.
    pub database: String,
    /// One statement, with `$1` for the first parameter.
    pub sql: String,
    /// Its parameters, in their order.
    pub parameters: Vec<CustomParameter>,
    /// Whether it only reads; one that does not is for agents that may write.
    pub read_only: bool,
    /// The most rows that it returns or, if it writes, changes.
    pub max_rows: u32,
}

/// A parameter of a custom tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomParameter {
    /// The name of the argument.
    pub name: String,
    /// Its type in JSON Schema: `string`, `integer`, `number`, `boolean`, or `array` of these.
    pub kind: String,
    /// What it is, for the model.
    pub description: Option<String>,
    /// Whether it must be given; otherwise a missing one is NULL.
    pub required: bool,
}

/// Why a custom tool cannot be offered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tool \"{tool}\": {message}")]
pub struct CustomToolError {
    /// Its name.
    pub tool: String,
    /// What is wrong.
    pub message: String,
    /// Whether the tool may be right all the same, as its database could not be asked now.
    pub is_unreachable: bool,
}

/// The custom tools of a [`Toolbox`](crate::Toolbox), which may be replaced later.
#[derive(Clone)]
pub struct CustomTools(pub(crate) Arc<Shelf>);

impl CustomTools {
    /// Replaces the custom tools, once PostgreSQL has prepared all of the new ones. `session` lends
    /// the connections for that.
    ///
    /// # Errors
    /// All that is wrong; nothing is replaced then.
    pub async fn replace(
        &self,
        tools: Vec<CustomTool>,
        session: &Session,
    ) -> Result<(), Vec<CustomToolError>> {
        let mut wrong = Vec::new();
        let mut right: Vec<Arc<dyn Tool>> = Vec::new();
        let mut names: Vec<String> = self.0.fixed_names();
        for tool in tools {
            let name = tool.name.clone();
            let checked = match check_name(&name, &names) {
                Err(message) => Err((message, false)),
                Ok(()) => self.prepare(tool, session).await,
            };
            match checked {
                Ok(tool) => right.push(Arc::new(tool)),
                Err((message, is_unreachable)) => wrong.push(CustomToolError {
                    tool: name.escape_debug().to_string(),
                    message,
                    is_unreachable,
                }),
            }
            names.push(name);
        }
        if wrong.is_empty() {
            self.0.put_custom(right);
            Ok(())
        } else {
            Err(wrong)
        }
    }

    async fn prepare(
        &self,
        tool: CustomTool,
        session: &Session,
    ) -> Result<CustomQuery, (String, bool)> {
        check_parameters(&tool).map_err(|message| (message, false))?;
        let agent = Agent::new(session.clone(), &*tool.database);
        match self.0.describe(&agent, &tool.sql, tool.read_only).await {
            Ok(described) if described.types.len() != tool.parameters.len() => {
                let (used, named) = (described.types.len(), tool.parameters.len());
                Err((
                    format!("its SQL has {used} parameters, {named} are named"),
                    false,
                ))
            }
            Ok(described) => {
                let means = &self.0.means;
                Ok(CustomQuery::new(
                    tool,
                    described,
                    means.reader.clone(),
                    means.writer.clone(),
                ))
            }
            Err(error) => {
                let is_unreachable = error.is_unreachable();
                Err((error.explain().replace('\n', "; "), is_unreachable))
            }
        }
    }
}

/// What PostgreSQL says about a statement.
pub(crate) struct Described {
    /// Its text, without a semicolon at its end.
    pub(crate) sql: String,
    /// The types of its parameters.
    pub(crate) types: Vec<Type>,
    /// The columns that it returns, if it returns rows.
    pub(crate) columns: Vec<Column>,
}

impl Shelf {
    /// Has PostgreSQL prepare a statement, and checks that it reads or changes as it was declared to.
    async fn describe(
        &self,
        agent: &Agent,
        sql: &str,
        read_only: bool,
    ) -> Result<Described, ReadError> {
        let statement = &Statement::check(sql)?;
        let run = |lease: Lease, guard: Arc<Guard>| async move {
            let text = statement.text();
            let probed = probe(&lease, &guard.opening.reading(), text, None).await;
            // A connection that cannot be made clean again is closed.
            _ = lease.scrub().await;
            let probed = probed?;
            if read_only && !probed.is_query {
                return Err(ReadError::refused(
                    "it is no plain query; read_only: false is for what changes rows",
                ));
            }
            if !read_only && !probed.is_change {
                return Err(ReadError::refused(
                    "it is no INSERT, UPDATE or DELETE; a query has read_only: true",
                ));
            }
            Ok(Described {
                sql: text.to_owned(),
                types: probed.types,
                columns: probed.columns,
            })
        };
        let limit = self.means.reader.limits.statement_timeout;
        let described = self.means.reader.leased(agent, None, run);
        tokio::time::timeout(limit, described)
            .await
            .unwrap_or(Err(ReadError::Unanswered(limit)))
    }
}

/// Checks the name of a tool that is offered beside others; the error says what is wrong.
pub(crate) fn check_name(name: &str, taken: &[impl AsRef<str>]) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if name.is_empty() || name.len() > 128 || !name.bytes().all(is_plain) {
        return Err("a name has 1 to 128 letters, digits, `_`, `.` or `-`".into());
    }
    if taken.iter().any(|other| other.as_ref() == name) {
        return Err("another tool has this name".into());
    }
    Ok(())
}

fn check_parameters(tool: &CustomTool) -> Result<(), String> {
    let names: Vec<&str> = tool
        .parameters
        .iter()
        .map(|parameter| &*parameter.name)
        .collect();
    let repeated = |(index, name): (usize, &&str)| names[..index].contains(name);
    match names.iter().enumerate().find(|place| repeated(*place)) {
        Some((_, name)) => Err(format!(
            "two parameters are called `{}`",
            name.escape_debug()
        )),
        None => Ok(()),
    }
}

impl ReadError {
    /// Returns whether the database could not be asked.
    fn is_unreachable(&self) -> bool {
        matches!(
            self,
            ReadError::NoConnection(_)
                | ReadError::NeverBegan(_)
                | ReadError::Lost(_)
                | ReadError::Unanswered(_)
        )
    }
}
