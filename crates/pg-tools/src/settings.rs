//! The settings of the tools.

use std::sync::Arc;

use model_client::{Chat, Embedder};

use crate::{Guards, Ledger, OwnTool, Paging, QueryLimits, QuestionLimits};

/// The settings of the tools. Fields may be added, so begin with `Settings::default()`.
#[non_exhaustive]
pub struct Settings {
    /// What queries may do on each database; may be replaced later.
    pub guards: Arc<Guards>,
    /// The limits of one query.
    pub limits: QueryLimits,
    /// How much is held for agents that page through results.
    pub paging: Paging,
    /// How many rows one statement of a tool that writes may change, and how many more foreign keys and triggers may
    /// change because of it.
    pub written_rows: u64,
    /// The opt-in tools that are switched on, by their names.
    pub enabled: Vec<String>,
    /// Tools of the program that the toolbox is part of.
    pub own_tools: Vec<Arc<dyn OwnTool>>,
    /// The model that turns texts into vectors, if there is one.
    pub embedder: Option<Arc<Embedder>>,
    /// The model that answers texts, if there is one.
    pub chat: Option<Arc<Chat>>,
    /// The limits of a question in plain words, apart from those of its query.
    pub questions: QuestionLimits,
    /// The ledger that keeps an account of calls, if there is one.
    pub ledger: Option<Arc<dyn Ledger>>,
    /// Whether the tools of agents may change, by custom tools or another policy; clients are told of changes then.
    pub tools_change: bool,
}

impl Default for Settings {
    /// The usual tools with usual limits; a statement may change 1,000 rows.
    fn default() -> Self {
        Settings {
            guards: Arc::default(),
            limits: QueryLimits::default(),
            paging: Paging::default(),
            written_rows: 1_000,
            enabled: Vec::new(),
            own_tools: Vec::new(),
            embedder: None,
            chat: None,
            questions: QuestionLimits::default(),
            ledger: None,
            tools_change: false,
        }
    }
}

/// Why a toolbox cannot be made with these settings.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A tool to be switched on is not one of the opt-in tools.
    #[error("there is no opt-in tool \"{}\"{}", name.escape_debug(), told(known, nearest))]
    UnknownTool {
        /// The name.
        name: String,
        /// The opt-in tool that was probably meant.
        nearest: Option<String>,
        /// All opt-in tools.
        known: Vec<String>,
    },
    /// A tool of the program cannot have its name.
    #[error("an own tool cannot be called \"{}\": {why}", name.escape_debug())]
    OwnName {
        /// The name.
        name: String,
        /// Why not.
        why: String,
    },
}

fn told(known: &[String], nearest: &Option<String>) -> String {
    match nearest {
        Some(nearest) => format!("; did you mean \"{nearest}\"?"),
        None if known.is_empty() => "; there are none".into(),
        None => format!("; there are {}", known.join(", ")),
    }
}
