//! The names of all tools.

use std::path::Path;

use crate::{Config, CustomTool, Problems};

/// The server's built-in tools, including the opt-in ones, in the order in which clients see them.
pub const BUILT_IN_TOOLS: [&str; 14] = [
    "query_database",
    "get_schema_info",
    "count_rows",
    "execute_explain",
    "similarity_search",
    "list_databases",
    "analyze_health",
    "advise_indexes",
    "top_queries",
    "generate_embedding",
    "read_resource",
    "execute_write",
    "open_session",
    "close_session",
];

impl Config {
    /// Lists all tools that a token could have: the built-in ones and those of the file.
    ///
    /// # Errors
    /// A problem with the file of custom tools, see [`CustomTool::read_file`], or a tool of it that names an unknown
    /// database.
    pub fn tool_names(&self) -> Result<Vec<String>, Problems> {
        let custom = match &self.tools.file {
            Some(file) => self.custom_tools(file)?,
            None => Vec::new(),
        };
        let own = BUILT_IN_TOOLS.iter().map(|name| (*name).to_owned());
        Ok(own
            .chain(custom.into_iter().map(|tool| tool.name))
            .collect())
    }

    fn custom_tools(&self, file: &Path) -> Result<Vec<CustomTool>, Problems> {
        let tools = CustomTool::read_file(file)?;
        let mut problems = Problems::default();
        for tool in &tools {
            if let Some(asked) = &tool.database
                && self.database(asked).is_none()
            {
                let known: Vec<&str> = self.databases.iter().map(|known| &*known.name).collect();
                problems.add(
                    format!("{}: tools: {}.database", file.display(), tool.name),
                    format!(
                        "no database named \"{}\" is configured; there are: {}",
                        asked.escape_debug(),
                        known.join(", ")
                    ),
                );
            }
        }
        problems.into_result(tools)
    }
}
