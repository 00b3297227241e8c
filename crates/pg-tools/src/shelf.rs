//! Which tools there are, which of them an agent sees, and the one way to call them.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::{
    Agent, Settings, SettingsError,
    arguments::Arguments,
    client::Client,
    nearest::nearest,
    read_only::Reader,
    resources::Resources,
    schema,
    tools::{self, Call, Effect, Failure, Found, Means, Offer, Tool},
};

/// The tools that are offered, in the order in which clients see them.
pub(crate) struct Shelf {
    tools: Vec<Shelved>,
    /// What can be read beside them.
    pub(crate) resources: Arc<Resources>,
    pub(crate) reader: Arc<Reader>,
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
        Ok(Shelf {
            tools: tools.into_iter().map(Shelved::new).collect(),
            resources: means.resources,
            reader: means.reader,
        })
    }

    /// Gives the tools that an agent may use: those that it sees are those that it can call.
    pub(crate) fn of<'a>(&'a self, agent: &'a Agent) -> impl Iterator<Item = &'a Shelved> {
        self.tools
            .iter()
            .filter(|shelved| agent.may_use(&shelved.tool.definition()))
    }

    /// Finds a tool that an agent may use.
    pub(crate) fn find<'a>(&'a self, agent: &'a Agent, name: &str) -> Option<&'a Shelved> {
        self.of(agent)
            .find(|shelved| shelved.tool.definition().name == name)
    }

    /// Gives all tools.
    pub(crate) fn all(&self) -> &[Shelved] {
        &self.tools
    }
}

impl Shelved {
    /// Says whether the tool changes what is in the database.
    pub(crate) fn writes(&self) -> bool {
        self.tool.definition().effect == Effect::Writes
    }

    fn new(tool: Arc<dyn Tool>) -> Self {
        let takes = serde_json::from_str(tool.definition().input_schema);
        Shelved {
            takes: takes.expect("the schemas of the tools are valid, which a test proves"),
            tool,
        }
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
