//! What every tool is, in the toolbox's own terms, and which there are.

mod count_rows;
mod execute_explain;
mod get_schema_info;
mod list_databases;
mod query_database;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::{future::Future, pin::Pin, sync::Arc};

use serde_json::value::RawValue;

use crate::{Agent, arguments::Arguments, read_only::Reader};

/// Every tool, in the order in which clients see them.
pub(crate) fn catalogue(reader: &Arc<Reader>) -> Vec<Box<dyn Tool>> {
    vec![
        Box::new(query_database::QueryDatabase(reader.clone())),
        Box::new(get_schema_info::GetSchemaInfo(reader.clone())),
        Box::new(count_rows::CountRows(reader.clone())),
        Box::new(execute_explain::ExecuteExplain(reader.clone())),
        Box::new(list_databases::ListDatabases(reader.clone())),
    ]
}

/// What a tool's call gives, when it is ready.
pub(crate) type Answer<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// A tool: what it says of itself, and what it does.
pub(crate) trait Tool: Send + Sync {
    /// What clients are told.
    fn definition(&self) -> Definition;

    /// Does it. Dropping the future cancels what runs in PostgreSQL.
    fn call<'a>(&'a self, agent: &'a Agent, arguments: Arguments) -> Answer<'a>;
}

/// What clients are told of a tool. The schemas are JSON without references, sent verbatim.
pub(crate) struct Definition {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) description: &'static str,
    pub(crate) input_schema: &'static str,
    pub(crate) output_schema: &'static str,
}

/// What a call came to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It went well.
    Done {
        /// For the model to read, one block each.
        texts: Vec<String>,
        /// For programs, by the tool's output schema.
        structured: Box<RawValue>,
    },
    /// It did not, and this tells the model why and what to do.
    Failed(String),
}

impl Outcome {
    /// Takes what a tool found, or says why it found nothing.
    pub(crate) fn of(found: Result<(Vec<String>, serde_json::Value), Failure>) -> Self {
        let structured = |value: serde_json::Value| {
            RawValue::from_string(value.to_string()).expect("a value is JSON")
        };
        match found {
            Ok((texts, value)) => Outcome::Done {
                texts,
                structured: structured(value),
            },
            Err(Failure(text)) => Outcome::Failed(text),
        }
    }
}

/// Why a call came to nothing, for the model to read.
pub(crate) struct Failure(pub(crate) String);

impl From<crate::read_only::ReadError> for Failure {
    fn from(error: crate::read_only::ReadError) -> Self {
        Failure(error.explain())
    }
}

/// From a message about the arguments.
impl From<String> for Failure {
    fn from(message: String) -> Self {
        Failure(format!("ERROR: {message}"))
    }
}

/// Quotes a name as an SQL identifier.
pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
