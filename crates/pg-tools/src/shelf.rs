//! Which tools there are, and which of them an agent sees.

use std::sync::Arc;

use crate::{
    Agent, Settings, SettingsError,
    nearest::nearest,
    tools::{self, Means, Offer, Tool},
};

/// The tools that are offered, in the order in which clients see them.
pub(crate) struct Shelf {
    tools: Vec<Arc<dyn Tool>>,
}

impl Shelf {
    /// Puts out the usual tools and those that are switched on.
    pub(crate) fn new(mut settings: Settings) -> Result<Self, SettingsError> {
        let enabled = std::mem::take(&mut settings.enabled);
        let mut tools = tools::catalogue(&Means::new(settings));
        check(&enabled, &tools)?;
        tools.retain(|tool| {
            let definition = tool.definition();
            definition.offer == Offer::Usual || enabled.iter().any(|name| name == definition.name)
        });
        Ok(Shelf { tools })
    }

    /// Gives the tools that an agent may use: those that it sees are those that it can call.
    pub(crate) fn of<'a>(&'a self, agent: &'a Agent) -> impl Iterator<Item = &'a Arc<dyn Tool>> {
        self.tools
            .iter()
            .filter(|tool| agent.may_use(&tool.definition()))
    }

    /// Finds a tool that an agent may use.
    pub(crate) fn find<'a>(&'a self, agent: &'a Agent, name: &str) -> Option<&'a Arc<dyn Tool>> {
        self.of(agent).find(|tool| tool.definition().name == name)
    }

    /// Gives all tools.
    pub(crate) fn all(&self) -> &[Arc<dyn Tool>] {
        &self.tools
    }
}

fn check(enabled: &[String], tools: &[Arc<dyn Tool>]) -> Result<(), SettingsError> {
    let definitions = || tools.iter().map(|tool| tool.definition());
    let opt_in = || definitions().filter(|tool| tool.offer == Offer::OptIn);
    // To switch on what is always there asks for nothing wrong.
    let unknown = |name: &&String| !definitions().any(|tool| tool.name == *name);
    match enabled.iter().find(unknown) {
        None => Ok(()),
        Some(name) => Err(SettingsError::UnknownTool {
            name: name.clone(),
            nearest: nearest(name, opt_in().map(|tool| tool.name)).map(str::to_owned),
            known: opt_in().map(|tool| tool.name.to_owned()).collect(),
        }),
    }
}
