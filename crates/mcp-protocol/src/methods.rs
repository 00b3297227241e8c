//! The methods that clients call, and the revisions that have them.

use crate::model::Capabilities;
use crate::revision::Revision;
use crate::revision::Revision::{V2024_11_05, V2025_11_25, V2026_07_28};

/// The method whose reply is a stream that stays open.
pub(crate) const LISTEN: &str = "subscriptions/listen";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Initialize,
    Ping,
    Discover,
    Listen,
    ListTools,
    CallTool,
    ListResources,
    ListTemplates,
    ReadResource,
    Subscribe,
    Unsubscribe,
    ListPrompts,
    GetPrompt,
    Complete,
    SetLogLevel,
    GetTask,
    UpdateTask,
    CancelTask,
}

/// The parameter that the header `Mcp-Name` repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NamedBy {
    Name,
    Uri,
    TaskId,
}

pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) method: Method,
    first: Revision,
    last: Revision,
    offered: fn(&Capabilities) -> bool,
    pub(crate) named_by: Option<NamedBy>,
}

const fn entry(
    name: &'static str,
    method: Method,
    (first, last): (Revision, Revision),
    offered: fn(&Capabilities) -> bool,
    named_by: Option<NamedBy>,
) -> Entry {
    Entry {
        name,
        method,
        first,
        last,
        offered,
        named_by,
    }
}

const ALL: (Revision, Revision) = (V2024_11_05, V2026_07_28);
const LEGACY: (Revision, Revision) = (V2024_11_05, V2025_11_25);
const MODERN: (Revision, Revision) = (V2026_07_28, V2026_07_28);

#[rustfmt::skip]
const METHODS: [Entry; 18] = [
    entry("initialize", Method::Initialize, LEGACY, |_| true, None),
    entry("ping", Method::Ping, LEGACY, |_| true, None),
    entry("server/discover", Method::Discover, MODERN, |_| true, None),
    entry(LISTEN, Method::Listen, MODERN, |_| true, None),
    entry("tools/list", Method::ListTools, ALL, |offered| offered.tools, None),
    entry("tools/call", Method::CallTool, ALL, |offered| offered.tools, Some(NamedBy::Name)),
    entry("resources/list", Method::ListResources, ALL, |offered| offered.resources, None),
    entry("resources/templates/list", Method::ListTemplates, ALL, |offered| offered.resources, None),
    entry("resources/read", Method::ReadResource, ALL, |offered| offered.resources, Some(NamedBy::Uri)),
    entry("resources/subscribe", Method::Subscribe, LEGACY, |offered| offered.resource_subscriptions, None),
    entry("resources/unsubscribe", Method::Unsubscribe, LEGACY, |offered| offered.resource_subscriptions, None),
    entry("prompts/list", Method::ListPrompts, ALL, |offered| offered.prompts, None),
    entry("prompts/get", Method::GetPrompt, ALL, |offered| offered.prompts, Some(NamedBy::Name)),
    entry("completion/complete", Method::Complete, ALL, |offered| offered.completions, None),
    entry("logging/setLevel", Method::SetLogLevel, LEGACY, |offered| offered.logging, None),
    entry("tasks/get", Method::GetTask, MODERN, |offered| offered.tasks, Some(NamedBy::TaskId)),
    entry("tasks/update", Method::UpdateTask, MODERN, |offered| offered.tasks, Some(NamedBy::TaskId)),
    entry("tasks/cancel", Method::CancelTask, MODERN, |offered| offered.tasks, Some(NamedBy::TaskId)),
];

/// Finds the method with that name, whether or not a revision or this server has it.
pub(crate) fn named(name: &str) -> Option<&'static Entry> {
    METHODS.iter().find(|entry| entry.name == name)
}

impl Entry {
    /// Returns whether `revision` has the method and the server offers it.
    pub(crate) fn is_served(&self, revision: Revision, offered: &Capabilities) -> bool {
        (self.first..=self.last).contains(&revision) && (self.offered)(offered)
    }
}
