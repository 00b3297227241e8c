//! Follows the configuration file while the server runs: its databases are put in force at once.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use mcp_protocol::Service;
use pg_tools::{Guards, Toolbox};
use server_config::{Config, Sources};
use session_pool::Sessions;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

use crate::{
    announce,
    audit::Audit,
    databases::{Databases, Differences},
    door::Door,
    file,
    metrics::Loads,
    parts::Parts,
    serve::request_timeout,
};

/// How often the file is checked.
const LOOK: Duration = Duration::from_secs(1);

/// How long a file must stay the same to count as completely written.
const SETTLE: Duration = Duration::from_millis(50);

/// After how many looks a file that changes all the time is taken as it is.
const LOOKS: usize = 20;

/// Replaces the databases when the configuration changes.
pub(crate) struct Reload {
    /// Where the configuration comes from; if `None`, it is not followed.
    sources: Option<Sources>,
    /// Everything but the databases stays as it was when the server started.
    started: Config,
    only_loopback: bool,
    databases: Databases,
    sessions: Sessions,
    guards: Arc<Guards>,
    door: Option<Arc<Door>>,
    audit: Option<Arc<Audit>>,
    /// The name of the first database, published after each change.
    first: watch::Sender<Arc<str>>,
    loads: Arc<Loads>,
    /// The content that was last read, valid or not. Set before the start is complete, so that the first check finds a
    /// change made meanwhile.
    seen: Option<file::Content>,
    hangups: Signal,
}

impl Reload {
    pub(crate) fn new(
        config: &Config,
        sources: Option<Sources>,
        parts: &Parts,
    ) -> anyhow::Result<Self> {
        Ok(Reload {
            seen: sources
                .as_ref()
                .and_then(|sources| file::content(&sources.file())),
            sources,
            started: config.clone(),
            only_loopback: parts.only_loopback,
            databases: parts.databases.clone(),
            sessions: parts.sessions.clone(),
            guards: parts.guards.clone(),
            door: None,
            audit: None,
            first: watch::Sender::new(parts.databases.first()),
            loads: Loads::new(),
            hangups: signal(SignalKind::hangup()).context("signals cannot be taken over")?,
        })
    }

    /// Also updates the holders of tokens.
    pub(crate) fn with_door(self, door: Arc<Door>) -> Self {
        Reload {
            door: Some(door),
            ..self
        }
    }

    /// Also records changes in the audit log.
    pub(crate) fn with_audit(self, audit: Option<Arc<Audit>>) -> Self {
        Reload { audit, ..self }
    }

    /// When the configuration was reloaded, and how often that failed.
    pub(crate) fn loads(&self) -> Arc<Loads> {
        self.loads.clone()
    }

    /// Receives the name of the first database whenever databases are replaced.
    pub(crate) fn first(&self) -> watch::Receiver<Arc<str>> {
        self.first.subscribe()
    }

    /// Follows the file until the other future ends.
    pub(crate) async fn beside<T>(
        self,
        service: &Arc<Service<Toolbox>>,
        serving: impl Future<Output = T>,
    ) -> T {
        tokio::select! {
            served = serving => served,
            never = self.follow(service) => match never {},
        }
    }

    async fn follow(mut self, service: &Service<Toolbox>) -> std::convert::Infallible {
        let Some(sources) = self.sources.clone() else {
            return std::future::pending().await;
        };
        let path = sources.file();
        loop {
            let is_asked_for = tokio::select! {
                () = tokio::time::sleep(LOOK) => false,
                _ = self.hangups.recv() => true,
            };
            let is_first = self.seen.is_none();
            if is_asked_for {
                self.seen = file::read(&path).await;
            } else if !self.has_changed(&path).await {
                continue;
            }
            let path = path.display();
            let reloaded = self.reload(&sources, service).await;
            match &reloaded {
                Ok(_) => self.loads.succeeded(),
                Err(_) => self.loads.failed(),
            }
            match reloaded {
                Ok(told) if told.is_empty() && is_first && !is_asked_for => {}
                Ok(told) => announce!("Reloaded {path} ({told})"),
                Err(problem) => {
                    let problem = format!("{problem:#}").replace('\n', "; ");
                    announce!("Failed to reload {path}; the databases from before stay: {problem}");
                }
            }
        }
    }

    /// Says whether there is a new file, once it is completely written. A missing file is about to
    /// be replaced.
    async fn has_changed(&mut self, path: &Path) -> bool {
        let mut now = file::read(path).await;
        if now.is_none() || now == self.seen {
            return false;
        }
        for _ in 0..LOOKS {
            tokio::time::sleep(SETTLE).await;
            let again = file::read(path).await;
            if again == now {
                break;
            }
            now = again;
        }
        if now.is_none() || now == self.seen {
            return false;
        }
        self.seen = now;
        true
    }

    /// Reads the configuration and applies its databases.
    async fn reload(
        &mut self,
        sources: &Sources,
        service: &Service<Toolbox>,
    ) -> anyhow::Result<Differences> {
        let (sources, before) = (sources.clone(), self.databases.clone());
        let read = tokio::task::spawn_blocking(move || {
            let config = Config::load_for_serving(&sources)?;
            let (databases, differences) = before.replaced_by(&config)?;
            anyhow::Ok((config, databases, differences))
        });
        let (config, databases, differences) = read.await.context("the reading stopped")??;
        let others = self.started.changed_keys(&config);
        if !others.is_empty() {
            announce!(
                "WARNING: {} changed in the configuration; that takes a restart to be in force",
                others.join(", ")
            );
        }
        if let Some(door) = &self.door {
            door.holders().read_passwords_again();
        }
        if differences.is_empty() {
            return Ok(differences);
        }
        for warning in &config.warnings {
            announce!("WARNING: {warning}");
        }
        let mut in_force = self.started.clone();
        in_force.databases = config.databases;
        service.set_request_timeout(request_timeout(&in_force));
        self.databases = databases;
        self.put_in_force();
        // Which tools an agent sees can depend on whether its databases allow writing.
        service.changes().tools();
        if let Some(audit) = &self.audit {
            audit.databases_changed(&differences);
        }
        Ok(differences)
    }

    fn put_in_force(&self) {
        let databases = &self.databases;
        // Before the databases, so that whoever gets a connection to a new one finds what is
        // allowed on it.
        self.guards
            .replace(databases.allowances(self.only_loopback));
        let replace = || self.sessions.replace(databases.described());
        match &self.door {
            Some(door) => door.reconfigure(databases.names(), replace),
            None => replace(),
        }
        self.first.send_replace(databases.first());
    }
}
