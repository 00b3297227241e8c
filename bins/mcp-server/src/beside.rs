//! What runs beside the server: checks each database once, follows the configuration and the file of custom tools, and
//! serves metrics.

use std::{pin::pin, sync::Arc, time::SystemTime};

use mcp_protocol::{Service, http::Counts};
use pg_tools::Toolbox;
use server_config::{Config, Sources};

use crate::{
    audit::Audit,
    custom_tools::{self, ToolFile},
    door::Door,
    health, metrics,
    parts::Parts,
    reload::Reload,
    tls::Certificates,
};

pub(crate) struct Beside {
    reload: Reload,
    tool_file: Option<ToolFile>,
    counted: metrics::Sources,
}

impl Beside {
    /// Offers the custom tools. Without `sources` the configuration never changes.
    pub(crate) async fn of(
        config: &Config,
        sources: Option<Sources>,
        parts: &Parts,
        audit: Option<Arc<Audit>>,
    ) -> anyhow::Result<Self> {
        let started = SystemTime::now();
        let tool_file = ToolFile::open(config, &parts.toolbox, &parts.sessions).await?;
        let reload = Reload::new(config, sources, parts)?.with_audit(audit.clone());
        let counted = metrics::Sources {
            started,
            counters: parts.toolbox.counters(),
            sessions: parts.sessions.clone(),
            configuration: reload.loads(),
            audit,
            door: None,
            http: None,
            certificates: None,
        };
        Ok(Beside {
            reload,
            tool_file,
            counted,
        })
    }

    /// Adds the tokens, whose databases change with the configuration.
    pub(crate) fn with_door(mut self, door: Arc<Door>) -> Self {
        self.reload = self.reload.with_door(door.clone());
        self.counted.door = Some(door);
        self
    }

    /// Adds the certificates of TLS.
    pub(crate) fn with_certificates(mut self, certificates: Option<Arc<Certificates>>) -> Self {
        self.counted.certificates = certificates;
        self
    }

    /// Adds the counts of HTTP responses.
    pub(crate) fn counting(mut self, replies: Arc<Counts>) -> Self {
        self.counted.http = Some(replies);
        self
    }

    /// Runs until `serving` ends.
    pub(crate) async fn run<T>(
        self,
        config: &Config,
        service: &Arc<Service<Toolbox>>,
        serving: impl Future<Output = T>,
    ) -> anyhow::Result<T> {
        let sessions = self.counted.sessions.clone();
        let first = self.reload.first();
        let serving = self.reload.beside(service, serving);
        let serving = custom_tools::beside(self.tool_file, service, first, serving);
        let serving = metrics::beside(config, self.counted, serving);
        let mut serving = pin!(serving);
        tokio::select! {
            served = &mut serving => return served,
            () = health::look_once(&sessions) => {}
        }
        serving.await
    }
}
