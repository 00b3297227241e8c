//! Which tools there are, which of them an agent sees, and the one way to call them.

use std::sync::{Arc, PoisonError, RwLock};

use serde_json::{Map, Value};

use crate::{
    Agent, Settings, SettingsError,
    arguments::Arguments,
    client::Client,
    nearest::nearest,
    schema,
    tools::{self, Call, Effect, Failure, Found, Means, Offer, Tool},
};

/// The tools that are offered, in the order in which clients see them.
pub(crate) struct Shelf {
    tools: Vec<Arc<Shelved>>,
    /// Those that come after them, and may be others later. Locked for one look or assignment.
    custom: RwLock<Arc<[Arc<Shelved>]>>,
    pub(crate) means: Means,
}

/// A tool with what it takes, read once.
pub(crate) struct Shelved {
    pub(crate) tool: Arc<dyn Tool>,
    takes: Value,
}

impl Shelf {
    /// Puts out the usual tools and those that are switched on.
    pub(crate) fn new(mut settings: Settings) -> Result<Self, SettingsError> {
        let enabled = std::mem::take(&mut settings.enabled);
        let means = Means::new(settings);
        let mut tools = tools::catalogue(&means);
        check(&enabled, &tools)?;
        tools.retain(|tool| {
            let definition = tool.definition();
            definition.offer == Offer::Usual || enabled.iter().any(|name| name == definition.name)
        });
        if enabled.iter().any(|name| name == tools::OPEN_SESSION) {
            tools = tools.into_iter().map(tools::taking_session).collect();
        }
        Ok(Shelf {
            tools: tools.into_iter().map(Shelved::new).collect(),
            custom: RwLock::new(Arc::new([])),
            means,
        })
    }

    /// Puts out these tools and no others.
    #[cfg(test)]
    pub(crate) fn of_tools(tools: Vec<Arc<dyn Tool>>) -> Self {
        Shelf {
            tools: tools.into_iter().map(Shelved::new).collect(),
            custom: RwLock::new(Arc::new([])),
            means: Means::new(Settings::default()),
        }
    }

    /// Gives the tools that an agent may use, with these custom ones: those that it sees are those
    /// that it can call.
    pub(crate) fn of(&self, agent: &Agent, custom: &[Arc<Shelved>]) -> Vec<Arc<Shelved>> {
        let tools = self.tools.iter().chain(custom);
        tools
            .filter(|shelved| shelved.is_for(agent))
            .cloned()
            .collect()
    }

    /// Finds a tool that an agent may use.
    pub(crate) fn find(&self, agent: &Agent, name: &str) -> Option<Arc<Shelved>> {
        let is_it = |shelved: &&Arc<Shelved>| {
            shelved.tool.definition().name == name && shelved.is_for(agent)
        };
        let custom = self.present_custom();
        self.tools.iter().chain(&*custom).find(is_it).cloned()
    }

    /// Gives all tools.
    pub(crate) fn all(&self) -> Vec<Arc<Shelved>> {
        self.tools
            .iter()
            .chain(&*self.present_custom())
            .cloned()
            .collect()
    }

    /// Names the tools that are always the same.
    pub(crate) fn fixed_names(&self) -> Vec<String> {
        let names = self
            .tools
            .iter()
            .map(|shelved| shelved.tool.definition().name.to_owned());
        names.collect()
    }

    /// Offers these in place of the custom tools before.
    pub(crate) fn put_custom(&self, tools: Vec<Arc<dyn Tool>>) {
        let tools = tools.into_iter().map(Shelved::new).collect();
        *self.custom.write().unwrap_or_else(PoisonError::into_inner) = tools;
    }

    pub(crate) fn present_custom(&self) -> Arc<[Arc<Shelved>]> {
        self.custom
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Shelved {
    /// Says whether the tool changes what is in the database.
    pub(crate) fn writes(&self) -> bool {
        self.tool.definition().effect == Effect::Writes
    }

    fn new(tool: Arc<dyn Tool>) -> Arc<Self> {
        let takes = serde_json::from_str(tool.definition().input_schema);
        Arc::new(Shelved {
            takes: takes.expect("the schemas of the tools are valid, which a test proves"),
            tool,
        })
    }

    pub(crate) fn is_for(&self, agent: &Agent) -> bool {
        agent.may_use(&self.tool.definition()) && self.tool.is_for(agent)
    }

    /// Calls the tool with arguments that fit what clients were told.
    pub(crate) async fn call(
        &self,
        agent: &Agent,
        given: Map<String, Value>,
        client: &dyn Client,
    ) -> Result<Found, Failure> {
        schema::check(&self.takes, &given)?;
        let arguments = Arguments::new(given);
        let call = Call {
            agent,
            arguments,
            client,
        };
        self.tool.call(call).await
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
