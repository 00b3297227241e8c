//! Tools of the program that contains the toolbox.

use std::{
    future::{Future, ready},
    pin::Pin,
    sync::Arc,
};

use mcp_protocol::{
    Block, CallError, Context, ResourceData, Schema, Tool as Listed, ToolCall, ToolResult,
};

use crate::{
    Agent, Policy,
    tools::{Answer, Call, Definition, Effect, Failure, Offer, Tool},
};

/// The future of a call of an [`OwnTool`].
pub type OwnAnswer = Pin<Box<dyn Future<Output = Result<ToolResult, CallError>> + Send>>;

/// A tool of the program that contains a [`Toolbox`](crate::Toolbox), which clients see after the toolbox's own.
///
/// The toolbox treats it as one of its own: a policy's list of tools and pace apply to it, a call ends when its agent
/// loses the tool, and [`Ledger`](crate::Ledger) and [`Counters`](crate::Counters) are told. What it does with
/// PostgreSQL is its own responsibility: nothing keeps its statements from writing, and the role, the schemas and the
/// limits of a policy do not apply to them unless it sees to that.
///
/// ```
/// use std::sync::Arc;
///
/// use mcp_protocol::{Context, Schema, Tool, ToolCall, ToolResult};
/// use pg_tools::{Agent, OwnAnswer, OwnTool, Settings, Toolbox};
///
/// struct Greet(Tool);
///
/// impl OwnTool for Greet {
///     fn tool(&self) -> &Tool {
///         &self.0
///     }
///
///     fn call(self: Arc<Self>, _: ToolCall, context: Context<Agent>) -> OwnAnswer {
///         Box::pin(async move {
///             Ok(ToolResult::text(format!("Hello {}", context.principal().name())))
///         })
///     }
/// }
///
/// let mut tool = Tool::new("greet", "Greets.", Schema::input(r#"{"type":"object"}"#)?);
/// tool.annotations.read_only_hint = Some(true);
/// let mut settings = Settings::default();
/// settings.own_tools.push(Arc::new(Greet(tool)));
/// assert!(Toolbox::new(settings)?.names().contains(&"greet".to_owned()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait OwnTool: Send + Sync {
    /// Describes the tool; the same each time. A tool that does not say
    /// [`read_only_hint`](mcp_protocol::ToolAnnotations::read_only_hint) is only for agents that may
    /// [write](crate::Access::Write).
    fn tool(&self) -> &Listed;

    /// Returns whether agents of a policy, which lists the tool or has no list, may use it. A tool that does not
    /// respect a policy's role or schemas should not be for policies that have them.
    fn is_for(&self, _policy: &Policy) -> bool {
        true
    }

    /// Calls the tool. The arguments are an object; nothing else about them was checked. Dropping the future cancels
    /// the call.
    fn call(self: Arc<Self>, call: ToolCall, context: Context<Agent>) -> OwnAnswer;
}

/// Returns the size of a result, in bytes.
pub(crate) fn bytes(result: &ToolResult) -> usize {
    let content = result.content.iter().map(|content| match &content.block {
        Block::Text(text) => text.len(),
        Block::JsonText(text) => text.as_str().len(),
        Block::Image { data, .. } | Block::Audio { data, .. } => data.len(),
        Block::Resource(resource) => match &resource.data {
            ResourceData::Text(text) => text.as_str().len(),
            ResourceData::Blob(data) => data.len(),
        },
        Block::Link(_) => 0,
    });
    let structured = result.structured.as_ref();
    content.sum::<usize>() + structured.map_or(0, |json| json.as_str().len())
}

/// An own tool among the others.
pub(crate) struct Own(pub(crate) Arc<dyn OwnTool>);

impl Tool for Own {
    fn definition(&self) -> Definition<'_> {
        let tool = self.0.tool();
        let effect = match tool.annotations.read_only_hint {
            Some(true) => Effect::Asks,
            Some(false) | None => Effect::Writes,
        };
        Definition {
            name: &tool.name,
            title: tool.title.as_deref().unwrap_or(&tool.name),
            description: &tool.description,
            input_schema: tool.input_schema.text(),
            output_schema: tool.output_schema.as_ref().map_or("{}", Schema::text),
            effect,
            offer: Offer::Usual,
        }
    }

    fn own(&self) -> Option<&Arc<dyn OwnTool>> {
        Some(&self.0)
    }

    fn is_for(&self, agent: &Agent) -> bool {
        self.0.is_for(agent.policy())
    }

    /// Fails: only clients can call it, as it answers in the protocol's terms.
    fn call<'a>(&'a self, _: Call<'a>) -> Answer<'a> {
        let name = &self.0.tool().name;
        let told = Failure::told(format!("{name} can be called by clients only"));
        Box::pin(ready(Err(told)))
    }
}
