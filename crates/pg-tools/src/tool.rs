//! What every tool is, in the toolbox's own terms.

use std::{future::Future, pin::Pin};

use serde_json::value::RawValue;

use crate::{Agent, arguments::Arguments};

/// A tool: what it says of itself, and what it does.
pub(crate) trait Tool: Send + Sync {
    /// What clients are told.
    fn definition(&self) -> Definition;

    /// Does it. Dropping the future cancels what runs in PostgreSQL.
    fn call<'a>(
        &'a self,
        agent: &'a Agent,
        arguments: Arguments,
    ) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;
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
