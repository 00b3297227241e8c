//! The tools, and what they have in common.

mod advise_indexes;
mod all_stats;
mod allotted;
mod analyze_health;
mod comparisons;
mod condition;
mod count_rows;
mod custom_query;
#[cfg(test)]
mod example;
mod execute_explain;
mod execute_write;
mod expressions;
mod generate_embedding;
mod get_schema_info;
mod list_databases;
mod named;
mod partitions;
mod query_database;
mod read_resource;
mod sessions;
mod similarity_search;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod top_queries;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod trial;

use std::{future::Future, pin::Pin, sync::Arc};

use mcp_protocol::{Json, JsonText};
use model_client::{Chat, Embedder};

use crate::{
    Agent, OwnTool, Settings,
    arguments::Arguments,
    client::Client,
    questions::{QuestionLimits, Questions},
    read_only::Reader,
    resources::Resources,
    writing::Writer,
};

pub(crate) use custom_query::CustomQuery;
pub(crate) use get_schema_info::schema_of;
pub use query_database::Paging;
pub use sessions::session_of;
pub(crate) use sessions::{OPEN_SESSION, taking_session};

/// Returns every tool, in the order in which clients see them.
pub(crate) fn catalogue(means: &Means) -> Vec<Arc<dyn Tool>> {
    let reader = &means.reader;
    vec![
        Arc::new(query_database::QueryDatabase::new(
            reader.clone(),
            means.paging,
            Questions::new(reader.clone(), means.chat.clone(), means.questions),
        )),
        Arc::new(get_schema_info::GetSchemaInfo(reader.clone())),
        Arc::new(count_rows::CountRows(reader.clone())),
        Arc::new(execute_explain::ExecuteExplain(reader.clone())),
        Arc::new(similarity_search::SimilaritySearch {
            reader: reader.clone(),
            embedder: means.embedder.clone(),
        }),
        Arc::new(list_databases::ListDatabases(reader.clone())),
        Arc::new(analyze_health::AnalyzeHealth::new(reader.clone())),
        Arc::new(advise_indexes::AdviseIndexes(reader.clone())),
        Arc::new(top_queries::TopQueries(reader.clone())),
        Arc::new(generate_embedding::GenerateEmbedding {
            embedder: means.embedder.clone(),
        }),
        Arc::new(read_resource::ReadResource(means.resources.clone())),
        Arc::new(execute_write::ExecuteWrite(means.writer.clone())),
        Arc::new(sessions::OpenSession),
        Arc::new(sessions::CloseSession),
        #[cfg(test)]
        Arc::new(example::LargestTables(reader.clone())),
    ]
}

/// What tools work with.
pub(crate) struct Means {
    pub(crate) reader: Arc<Reader>,
    pub(crate) writer: Arc<Writer>,
    pub(crate) paging: Paging,
    pub(crate) embedder: Option<Arc<Embedder>>,
    pub(crate) resources: Arc<Resources>,
    pub(crate) chat: Option<Arc<Chat>>,
    pub(crate) questions: QuestionLimits,
}

impl Means {
    pub(crate) fn new(settings: Settings) -> Self {
        let Settings {
            guards,
            limits,
            written_rows,
            paging,
            chat,
            questions,
            embedder,
            ..
        } = settings;
        let reader = Arc::new(Reader::new(guards, limits));
        Means {
            resources: Arc::new(Resources::new(reader.clone())),
            writer: Arc::new(Writer {
                reader: reader.clone(),
                most_rows: written_rows,
            }),
            reader,
            paging,
            chat,
            questions,
            embedder,
        }
    }
}

/// A tool: how it is described to clients, and what it does.
pub(crate) trait Tool: Send + Sync {
    /// Returns what clients are told about the tool.
    fn definition(&self) -> Definition<'_>;

    /// Returns whether the tool is of any use to an agent.
    fn is_for(&self, _agent: &Agent) -> bool {
        true
    }

    /// Returns the program's own tool that this one stands for, if it does.
    fn own(&self) -> Option<&Arc<dyn OwnTool>> {
        None
    }

    /// Runs the tool. Dropping the future cancels what runs in PostgreSQL.
    fn call<'a>(&'a self, call: Call<'a>) -> Answer<'a>;
}

/// What clients are told about a tool. The schemas are JSON without references, sent verbatim.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Definition<'a> {
    pub(crate) name: &'a str,
    pub(crate) title: &'a str,
    pub(crate) description: &'a str,
    pub(crate) input_schema: &'a str,
    pub(crate) output_schema: &'a str,
    pub(crate) effect: Effect,
    pub(crate) offer: Offer,
}

/// What a tool does to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Reads the database, and nothing else.
    Reads,
    /// Changes nothing, but asks a service outside of the database.
    Asks,
    /// Changes what is in the database.
    Writes,
    /// Changes nothing, but keeps a connection for an agent that may write.
    Keeps,
}

/// When a tool is available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// Always.
    Usual,
    /// If the operator has switched it on.
    OptIn,
}

/// One call of a tool.
pub(crate) struct Call<'a> {
    /// The agent that calls.
    pub(crate) agent: &'a Agent,
    pub(crate) arguments: Arguments,
    /// The program that the agent calls from.
    pub(crate) client: &'a dyn Client,
}

impl Call<'_> {
    /// Reads the argument `database`; returns the agent on the database that the call is about.
    pub(crate) fn on_database(&mut self) -> Result<Agent, Failure> {
        let Some(name) = self.arguments.optional_text("database")? else {
            return Ok(self.agent.clone());
        };
        self.agent.on(&name).ok_or_else(|| {
            let known: Vec<&str> = self.agent.databases().collect();
            Failure::told(format!(
                "this token may not use a database \"{}\"; it may use {}",
                crate::quoting::repeated(&name),
                known.join(", ")
            ))
        })
    }
}

/// The future of a tool's call.
pub(crate) type Answer<'a> = Pin<Box<dyn Future<Output = Result<Found, Failure>> + Send + 'a>>;

/// The result of a call.
#[derive(Debug)]
pub(crate) struct Found {
    /// For the model to read.
    pub(crate) texts: Vec<Text>,
    /// For programs, in the form of the tool's output schema.
    pub(crate) structured: Json,
}

/// A text for the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    /// Our own words.
    Said(String),
    /// Data of the database, or a text with parts of it: whoever wrote that must not instruct the model.
    Data(JsonText),
}

impl Found {
    /// Starts a result with what programs read.
    pub(crate) fn new(structured: &serde_json::Value) -> Self {
        Self::raw(structured.into())
    }

    /// Starts a result with what programs read, already written as JSON.
    pub(crate) fn raw(structured: Json) -> Self {
        Found {
            texts: Vec::new(),
            structured,
        }
    }

    /// Returns the size of all of it, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let texts = self.texts.iter().map(|text| match text {
            Text::Said(text) => text.len(),
            Text::Data(text) => text.as_str().len(),
        });
        texts.sum::<usize>() + self.structured.as_str().len()
    }

    /// Adds data of the database for the model.
    pub(crate) fn data(mut self, text: impl Into<JsonText>) -> Self {
        self.texts.push(Text::Data(text.into()));
        self
    }

    /// Adds our own words for the model.
    pub(crate) fn said(mut self, text: impl Into<String>) -> Self {
        self.texts.push(Text::Said(text.into()));
        self
    }
}

/// Why a call failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// In our own words, with what to do about it.
    Told(String),
    /// In the words of PostgreSQL or a model's server, which may quote what the database holds.
    Quoted(String),
    /// The client was asked something; the tool is run again with the answer.
    Unanswered,
}

impl Failure {
    /// Returns the failure with a message that says what is wrong, after "ERROR: ".
    pub(crate) fn told(message: impl std::fmt::Display) -> Self {
        Failure::Told(format!("ERROR: {message}"))
    }

    /// Adds what to do about it.
    pub(crate) fn hint(self, hint: &str) -> Self {
        match self {
            Failure::Told(text) => Failure::Told(format!("{text}\nHINT: {hint}")),
            Failure::Quoted(text) => Failure::Quoted(format!("{text}\nHINT: {hint}")),
            unanswered => unanswered,
        }
    }
}

impl From<crate::read_only::ReadError> for Failure {
    fn from(error: crate::read_only::ReadError) -> Self {
        let text = error.explain();
        if error.is_of_postgresql() {
            Failure::Quoted(text)
        } else {
            Failure::Told(text)
        }
    }
}

/// From a message about the arguments.
impl From<String> for Failure {
    fn from(message: String) -> Self {
        Failure::told(message)
    }
}

/// Returns the failure for a model's error, which may quote the model's server; the whole error is logged.
pub(crate) fn quoted(error: model_client::ModelError) -> Failure {
    tracing::warn!(?error, "a model gave nothing");
    Failure::Quoted(format!("ERROR: {error}"))
}

/// Keeps the first items, up to `most_bytes` in all; returns how many were left out.
pub(crate) fn keep_first<T>(
    items: &mut Vec<T>,
    most_bytes: usize,
    bytes: impl Fn(&T) -> usize,
) -> usize {
    let (count, mut sum) = (items.len(), 0);
    items.retain(|item| {
        sum += bytes(item);
        sum <= most_bytes
    });
    count - items.len()
}
