//! Assembles what is served: the databases, the sessions on them, and the tools.

use std::sync::Arc;

use pg_tools::{Agent, Guards, Ledger, Paging, QueryLimits, Settings, Toolbox};
use server_config::Config;
use session_pool::Sessions;

use crate::{
    announce,
    audit::Audit,
    databases::{self, Databases},
    holders::Usual,
    models,
};

/// What is served.
pub(crate) struct Parts {
    pub(crate) only_loopback: bool,
    pub(crate) databases: Databases,
    pub(crate) sessions: Sessions,
    pub(crate) guards: Arc<Guards>,
    pub(crate) toolbox: Toolbox,
}

impl Parts {
    /// Makes the sessions on the configured databases, and the tools; `audit` records calls.
    pub(crate) fn of(
        config: &Config,
        only_loopback: bool,
        audit: Option<Arc<Audit>>,
    ) -> anyhow::Result<Self> {
        for warning in &config.warnings {
            announce!("WARNING: {warning}");
        }
        let databases = Databases::of(config)?;
        let sessions = Sessions::new(databases.described(), databases::limits(config));
        if let Some(audit) = audit.clone() {
            sessions.tell_ends(move |id, end| audit.ended_by_itself(id, end));
        }
        let guards = Arc::new(Guards::new(databases.allowances(only_loopback)));
        let toolbox = toolbox(config, guards.clone(), audit)?;
        Ok(Parts {
            only_loopback,
            databases,
            sessions,
            guards,
            toolbox,
        })
    }

    /// The agent of a caller that needs no token: it may use all databases.
    pub(crate) fn anybody(&self, id: &str) -> Agent {
        let session = self.sessions.open(id, None);
        Agent::new(session, self.databases.first()).following_session()
    }
}

fn toolbox(
    config: &Config,
    guards: Arc<Guards>,
    audit: Option<Arc<Audit>>,
) -> anyhow::Result<Toolbox> {
    let mut settings = Settings::default();
    settings.ledger = audit.map(|audit| audit as Arc<dyn Ledger>);
    settings.guards = guards;
    settings.limits = QueryLimits {
        statement_timeout: config.limits.statement_timeout,
        result_bytes: config.limits.result_bytes,
    };
    settings.paging = Paging {
        held_bytes: config.limits.held_bytes,
        held_bytes_total: config.limits.held_bytes_total,
        held_time: config.limits.held_time,
    };
    settings.questions.schema_bytes = config.limits.schema_bytes;
    if let Some(llm) = &config.llm {
        settings.questions.answer_tokens = llm.max_tokens;
    }
    settings.written_rows = config.limits.written_rows;
    // The list of tools may change at any time, with the tokens, databases and file of custom tools.
    settings.tools_change = true;
    settings.enabled = config.tools.enabled.clone();
    settings.embedder = models::embedder(config)?.map(Arc::new);
    settings.chat = models::chat(config)?.map(Arc::new);
    Toolbox::new(settings).map_err(|error| anyhow::anyhow!("tools.enabled: {error}"))
}

/// Says what tokens have whose entries say nothing else.
pub(crate) fn usual(config: &Config, toolbox: &Toolbox) -> Usual {
    Usual {
        // The custom tools of a file may change at any moment.
        tools: match &config.tools.file {
            None => Some(toolbox.names().into_iter().collect()),
            Some(_) => None,
        },
        calls_per_minute: config.limits.calls_per_minute,
        proxies: (config.http.proxies.as_ref()).map(|proxies| proxies.networks.clone()),
        most_told_apart: config
            .metrics
            .as_ref()
            .map_or(0, |metrics| metrics.most_tokens),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use server_config::BUILT_IN_TOOLS;

    #[test]
    fn the_tools_that_tokens_may_name_are_those_that_there_are() {
        let mut settings = Settings::default();
        settings.enabled = BUILT_IN_TOOLS.map(str::to_owned).into();
        let toolbox = Toolbox::new(settings).unwrap();
        assert_eq!(toolbox.names(), BUILT_IN_TOOLS);
    }
}
