//! Follows the file of custom tools while the server runs.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use mcp_protocol::Service;
use pg_tools::{CustomParameter, CustomTool, CustomToolError, CustomTools, Toolbox};
use server_config::{Config, CustomTool as Configured};
use session_pool::{Session, Sessions};
use tokio::sync::watch;

use crate::{announce, file};

/// How often the file is checked.
const LOOK: Duration = Duration::from_secs(1);

/// No token can have this id: a token id never begins with a parenthesis.
const SESSION: &str = "(custom tools)";

/// The custom tools of a file.
pub(crate) struct ToolFile {
    path: PathBuf,
    default_database: String,
    tools: CustomTools,
    /// The tools that are offered.
    offered: Vec<CustomTool>,
    session: Session,
    /// The content that was last read, valid or not.
    seen: Option<file::Content>,
    /// Whether what was read must be tried again once its databases can be reached.
    is_waiting: bool,
}

/// Why a file's tools are not offered.
enum Failure {
    /// It has to be changed; these are all its mistakes.
    Wrong(String),
    /// A database has to be reachable first.
    Unreachable(String),
}

impl ToolFile {
    /// Reads the configured file, if there is one, and offers its tools.
    ///
    /// # Errors
    /// All errors in the file. A database that cannot be reached is only announced.
    pub(crate) async fn open(
        config: &Config,
        toolbox: &Toolbox,
        sessions: &Sessions,
    ) -> anyhow::Result<Option<Self>> {
        let (Some(path), Some(first)) = (&config.tools.file, config.databases.first()) else {
            return Ok(None);
        };
        let mut tool_file = ToolFile {
            path: path.clone(),
            default_database: first.name.clone(),
            tools: toolbox.custom_tools(),
            offered: Vec::new(),
            session: sessions.open(SESSION, None),
            seen: file::read(path).await,
            is_waiting: false,
        };
        match tool_file.load().await {
            Ok(count) => announce!("Loaded {count} custom tool(s) from {}", path.display()),
            Err(Failure::Wrong(message)) => anyhow::bail!("{message}"),
            Err(Failure::Unreachable(message)) => {
                announce!("WARNING: custom tools are not offered yet: {message}");
            }
        }
        Ok(Some(tool_file))
    }

    /// Follows the file for as long as it is polled, and tells clients of its changes. `first`
    /// changes when the databases do: then the statements are prepared anew.
    pub(crate) async fn follow(
        mut self,
        service: Arc<Service<Toolbox>>,
        mut first: watch::Receiver<Arc<str>>,
    ) {
        loop {
            let is_elsewhere = tokio::select! {
                () = tokio::time::sleep(LOOK) => false,
                Ok(()) = first.changed() => true,
            };
            self.default_database = first.borrow_and_update().to_string();
            let now = file::read(&self.path).await;
            let has_changed = is_elsewhere || now.is_some() && now != self.seen;
            if !has_changed && !self.is_waiting {
                continue;
            }
            let was_waiting = std::mem::replace(&mut self.is_waiting, false);
            self.seen = now.or_else(|| self.seen.take());
            let path = self.path.display().to_string();
            let before = self.offered.clone();
            match self.load().await {
                Ok(count) => {
                    announce!("Loaded {count} custom tool(s) from {path}");
                    // That the databases have changed is told by whoever changed them.
                    if self.offered != before {
                        service.changes().tools();
                    }
                }
                Err(Failure::Unreachable(_)) if was_waiting && !has_changed => {}
                Err(Failure::Wrong(message) | Failure::Unreachable(message)) => {
                    announce!(
                        "Failed to reload {path}; the custom tools from before stay: {message}"
                    );
                }
            }
        }
    }

    async fn load(&mut self) -> Result<usize, Failure> {
        let tools = configured(&self.path).await?;
        let tools: Vec<CustomTool> = tools.into_iter().map(|tool| self.described(tool)).collect();
        match self.tools.replace(tools.clone(), &self.session).await {
            Ok(()) => {
                self.offered = tools;
                Ok(self.offered.len())
            }
            Err(errors) => Err(self.failure(&errors)),
        }
    }

    fn failure(&mut self, errors: &[CustomToolError]) -> Failure {
        let told = errors
            .iter()
            .map(|error| format!("{}: {error}", self.path.display()));
        let told = told.collect::<Vec<_>>().join("\n");
        if errors.iter().all(|error| error.is_unreachable) {
            self.is_waiting = true;
            Failure::Unreachable(told)
        } else {
            Failure::Wrong(told)
        }
    }

    fn described(&self, tool: Configured) -> CustomTool {
        let parameters = tool
            .parameters
            .into_iter()
            .map(|parameter| CustomParameter {
                name: parameter.name,
                kind: parameter.kind,
                description: parameter.description,
                required: parameter.required,
            });
        CustomTool {
            title: tool.title.unwrap_or_else(|| tool.name.clone()),
            name: tool.name,
            description: tool.description,
            database: tool
                .database
                .unwrap_or_else(|| self.default_database.clone()),
            sql: tool.sql,
            parameters: parameters.collect(),
            read_only: tool.read_only,
            max_rows: tool.max_rows,
        }
    }
}

/// Reads a file on a blocking thread, so as not to hold up other requests.
async fn configured(path: &Path) -> Result<Vec<Configured>, Failure> {
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || Configured::read_file(&path)).await;
    let tools = read.map_err(|stopped| Failure::Wrong(stopped.to_string()))?;
    tools.map_err(|problems| Failure::Wrong(problems.to_string()))
}

/// Follows a file, if there is one, until the other future ends.
pub(crate) async fn beside<T>(
    file: Option<ToolFile>,
    service: &Arc<Service<Toolbox>>,
    first: watch::Receiver<Arc<str>>,
    serving: impl Future<Output = T>,
) -> T {
    let following = async {
        if let Some(file) = file {
            file.follow(service.clone(), first).await;
        }
        std::future::pending().await
    };
    tokio::select! {
        served = serving => served,
        never = following => never,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{sync::mpsc, task::Poll};

    use super::*;

    #[test]
    fn a_slow_disk_holds_up_no_thread_of_the_runtime() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tools.yaml");
        let tools = "tools: [{name: one, description: One, sql: SELECT 1}]";
        std::fs::write(&path, tools).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        runtime.block_on(async {
            // Whatever is to be read waits for this.
            let (go_on, waits) = mpsc::channel::<()>();
            let disk = tokio::task::spawn_blocking(move || waits.recv());
            let mut reading = std::pin::pin!(configured(&path));
            let first = std::future::poll_fn(|context| Poll::Ready(reading.as_mut().poll(context)));
            assert!(first.await.is_pending());
            go_on.send(()).unwrap();
            disk.await.unwrap().unwrap();
            assert_eq!(reading.await.ok().unwrap().len(), 1);
        });
    }
}
