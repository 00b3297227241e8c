//! Which tools there are, which of them an agent sees, and the one way to call them.

use std::sync::{Arc, PoisonError, RwLock};

use mcp_protocol::{Context, Origin};
use serde_json::{Map, Value};

use crate::{
    Agent, CallCounts, CallKind, Ledger, Outcome, Settings, SettingsError,
    account::{self, Counts},
    arguments::Arguments,
    client::Client,
    custom::check_name,
    handler::Own,
    nearest::nearest,
    schema,
    tools::{self, Call, Effect, Failure, Found, Means, Offer, Tool},
};

/// The tools that are offered, in the order in which clients see them.
pub(crate) struct Shelf {
    tools: Vec<Arc<Shelved>>,
    /// The tools that come after them, which may be replaced later. Locked only to read or replace the list.
    custom: RwLock<Arc<[Arc<Shelved>]>>,
    pub(crate) means: Means,
    ledger: Option<Arc<dyn Ledger>>,
    resources: Arc<Counts>,
    completions: Arc<Counts>,
    follows: Arc<Counts>,
    unfollows: Arc<Counts>,
    /// Calls of tools that do not exist.
    unknown: Arc<Counts>,
}

/// A tool and its parsed schema.
pub(crate) struct Shelved {
    pub(crate) tool: Arc<dyn Tool>,
    takes: Value,
    counts: Arc<Counts>,
}

impl Shelf {
    /// Creates the shelf of the usual tools and the opt-in tools that are switched on.
    pub(crate) fn new(mut settings: Settings) -> Result<Self, SettingsError> {
        let enabled = std::mem::take(&mut settings.enabled);
        let own_tools = std::mem::take(&mut settings.own_tools);
        let ledger = settings.ledger.take();
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
        for own in own_tools {
            let taken: Vec<&str> = tools.iter().map(|tool| tool.definition().name).collect();
            check_name(&own.tool().name, &taken).map_err(|why| SettingsError::OwnName {
                name: own.tool().name.to_string(),
                why,
            })?;
            tools.push(Arc::new(Own(own)));
        }
        Ok(Shelf {
            tools: tools.into_iter().map(Shelved::new).collect(),
            custom: RwLock::new(Arc::new([])),
            means,
            ledger,
            resources: Arc::default(),
            completions: Arc::default(),
            follows: Arc::default(),
            unfollows: Arc::default(),
            unknown: Arc::default(),
        })
    }

    /// Creates a shelf of these tools and no others.
    #[cfg(test)]
    pub(crate) fn of_tools(tools: Vec<Arc<dyn Tool>>) -> Self {
        Shelf {
            tools: tools.into_iter().map(Shelved::new).collect(),
            custom: RwLock::new(Arc::new([])),
            means: Means::new(Settings::default()),
            ledger: None,
            resources: Arc::default(),
            completions: Arc::default(),
            follows: Arc::default(),
            unfollows: Arc::default(),
            unknown: Arc::default(),
        }
    }

    /// Returns the tools that an agent may use, with these custom ones. What it sees is what it can call.
    pub(crate) fn of(&self, agent: &Agent, custom: &[Arc<Shelved>]) -> Vec<Arc<Shelved>> {
        let tools = self.tools.iter().chain(custom);
        tools
            .filter(|shelved| shelved.is_for(agent))
            .cloned()
            .collect()
    }

    /// Counts the tools that an agent would have if no bounds were drawn for it, with these custom ones.
    pub(crate) fn count_allowed(&self, agent: &Agent, custom: &[Arc<Shelved>]) -> usize {
        let is_allowed = |shelved: &&Arc<Shelved>| {
            agent.is_allowed(&shelved.tool.definition()) && shelved.tool.is_for(agent)
        };
        self.tools.iter().chain(custom).filter(is_allowed).count()
    }

    /// Finds a tool that an agent may use.
    pub(crate) fn find(&self, agent: &Agent, name: &str) -> Option<Arc<Shelved>> {
        let is_it = |shelved: &&Arc<Shelved>| {
            shelved.tool.definition().name == name && shelved.is_for(agent)
        };
        let custom = self.present_custom();
        self.tools.iter().chain(&*custom).find(is_it).cloned()
    }

    /// Returns all tools.
    pub(crate) fn all(&self) -> Vec<Arc<Shelved>> {
        self.tools
            .iter()
            .chain(&*self.present_custom())
            .cloned()
            .collect()
    }

    /// Returns the names of the tools that never change.
    pub(crate) fn fixed_names(&self) -> Vec<String> {
        let names = self
            .tools
            .iter()
            .map(|shelved| shelved.tool.definition().name.to_owned());
        names.collect()
    }

    /// Replaces the custom tools.
    pub(crate) fn put_custom(&self, tools: Vec<Arc<dyn Tool>>) {
        let before = self.present_custom();
        // A new tool with the name of an earlier one goes on with its counts.
        let counts = |tool: &Arc<dyn Tool>| {
            let name = tool.definition().name;
            let mut before = before.iter();
            let same = before.find(|shelved| shelved.tool.definition().name == name);
            same.map(|shelved| shelved.counts.clone())
                .unwrap_or_default()
        };
        let tools = tools.into_iter().map(|tool| {
            let counts = counts(&tool);
            Shelved::counted(tool, counts)
        });
        *self.custom.write().unwrap_or_else(PoisonError::into_inner) = tools.collect();
    }

    /// Begins a call, which is counted with others of its kind and name.
    pub(crate) fn begin<'a>(
        &'a self,
        kind: CallKind,
        name: &'a str,
        tool: Option<&Shelved>,
        context: &'a Context<Agent>,
    ) -> Result<account::Call<'a>, &'static str> {
        let counts = self.counts_of(kind, tool);
        account::Call::begin(
            kind,
            name,
            context,
            (self.ledger.as_deref(), counts.clone()),
        )
    }

    /// Reports a call that was refused before it began.
    pub(crate) fn refuse(
        &self,
        (kind, name): (CallKind, &str),
        from: &Origin<'_, Agent>,
        outcome: Outcome,
    ) {
        let agent = from.principal.present();
        let tool = (kind == CallKind::Tool).then(|| self.find(&agent, name));
        let counts = self.counts_of(kind, tool.flatten().as_deref()).clone();
        let ledger = self.ledger.as_deref();
        account::refuse((kind, name), from, outcome, (ledger, &counts));
    }

    fn counts_of<'a>(&'a self, kind: CallKind, tool: Option<&'a Shelved>) -> &'a Arc<Counts> {
        match (kind, tool) {
            (CallKind::Resource, _) => &self.resources,
            (CallKind::Completion, _) => &self.completions,
            (CallKind::Follow, _) => &self.follows,
            (CallKind::Unfollow, _) => &self.unfollows,
            (CallKind::Tool, Some(shelved)) => &shelved.counts,
            (CallKind::Tool, None) => &self.unknown,
        }
    }

    /// Returns the counts of all calls.
    pub(crate) fn counts(&self) -> Vec<CallCounts> {
        let tools = self.all();
        let tools = tools.iter().map(|shelved| {
            let name = shelved.tool.definition().name;
            shelved.counts.of(CallKind::Tool, name)
        });
        let others = [
            self.unknown.of(CallKind::Tool, ""),
            self.resources.of(CallKind::Resource, ""),
            self.completions.of(CallKind::Completion, ""),
            self.follows.of(CallKind::Follow, ""),
            self.unfollows.of(CallKind::Unfollow, ""),
        ];
        tools.chain(others).collect()
    }

    pub(crate) fn present_custom(&self) -> Arc<[Arc<Shelved>]> {
        self.custom
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Shelved {
    /// Returns whether the tool changes what is in the database.
    pub(crate) fn writes(&self) -> bool {
        self.tool.definition().effect == Effect::Writes
    }

    fn new(tool: Arc<dyn Tool>) -> Arc<Self> {
        Self::counted(tool, Arc::default())
    }

    fn counted(tool: Arc<dyn Tool>, counts: Arc<Counts>) -> Arc<Self> {
        let takes = serde_json::from_str(tool.definition().input_schema);
        Arc::new(Shelved {
            takes: takes.expect("the schemas of the tools are valid, which a test proves"),
            tool,
            counts,
        })
    }

    pub(crate) fn is_for(&self, agent: &Agent) -> bool {
        agent.may_use(&self.tool.definition()) && self.tool.is_for(agent)
    }

    /// Calls the tool, if the arguments fit what clients were told.
    pub(crate) async fn call(
        &self,
        agent: &Agent,
        given: Map<String, Value>,
        client: &dyn Client,
    ) -> Result<Found, Failure> {
        schema::check(&self.takes, &given)
            .inspect_err(|_| agent.note_ending(Outcome::WrongArguments))?;
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
    // To switch on what is always there is no mistake.
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
