//! The description of a server.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Fields, Icon, Project};
use crate::client::TASKS;
use crate::revision::Revision;

/// The description of a server.
#[derive(Clone, Debug, Default)]
pub struct ServerInfo {
    /// The name that programs use.
    pub name: String,
    /// The name that people read.
    pub title: Option<String>,
    /// The server's version.
    pub version: String,
    /// One sentence on what the server is for.
    pub description: Option<String>,
    /// Where to read more.
    pub website_url: Option<String>,
    /// What the model should know before it uses the server.
    pub instructions: Option<String>,
    /// Pictures of the server.
    pub icons: Vec<Icon>,
}

/// What a server offers; the methods of anything else are answered as unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Tools are offered.
    pub tools: bool,
    /// Resources are offered.
    pub resources: bool,
    /// Clients may subscribe to single resources.
    pub resource_subscriptions: bool,
    /// Prompts are offered.
    pub prompts: bool,
    /// Arguments of prompts and of resource templates are completed.
    pub completions: bool,
    /// Handlers send log messages. Deprecated by 2026-07-28.
    pub logging: bool,
    /// The lists of tools, resources and prompts may change while the server runs, and it reports that.
    pub list_changed: bool,
    /// Calls may continue as tasks (the extension `io.modelcontextprotocol/tasks` of 2026-07-28).
    pub tasks: bool,
}

impl Default for Capabilities {
    /// Offers tools, whose list never changes.
    fn default() -> Self {
        Self {
            tools: true,
            resources: false,
            resource_subscriptions: false,
            prompts: false,
            completions: false,
            logging: false,
            list_changed: false,
            tasks: false,
        }
    }
}

impl Project for Capabilities {
    fn project(&self, fields: &mut Fields<'_>) {
        #[derive(Serialize)]
        struct Flags {
            #[serde(rename = "listChanged", skip_serializing_if = "std::ops::Not::not")]
            list_changed: bool,
            #[serde(skip_serializing_if = "std::ops::Not::not")]
            subscribe: bool,
        }
        let flags = |offered: bool, subscribe| {
            offered.then_some(Flags {
                list_changed: self.list_changed,
                subscribe,
            })
        };
        let empty = |offered: bool| {
            offered.then_some(Flags {
                list_changed: false,
                subscribe: false,
            })
        };
        fields.optional("tools", flags(self.tools, false));
        fields.optional(
            "resources",
            flags(self.resources, self.resource_subscriptions),
        );
        fields.optional("prompts", flags(self.prompts, false));
        fields.since(
            Revision::V2025_03_26,
            "completions",
            empty(self.completions),
        );
        fields.optional("logging", empty(self.logging));
        let extensions = self.tasks.then(|| BTreeMap::from([(TASKS, empty(true))]));
        fields.since(Revision::V2026_07_28, "extensions", extensions);
    }
}

/// The part of [`ServerInfo`] that the protocol calls an implementation.
pub(crate) struct Implementation<'a>(pub(crate) &'a ServerInfo);

impl Project for Implementation<'_> {
    fn project(&self, fields: &mut Fields<'_>) {
        let server = self.0;
        fields.always("name", &server.name);
        fields.since(Revision::V2025_06_18, "title", server.title.as_ref());
        fields.always("version", &server.version);
        fields.since(
            Revision::V2025_11_25,
            "description",
            server.description.as_ref(),
        );
        fields.since(
            Revision::V2025_11_25,
            "websiteUrl",
            server.website_url.as_ref(),
        );
        fields.icons(&server.icons);
    }
}

/// The result of `initialize`.
pub(crate) struct Handshake<'a> {
    pub(crate) server: &'a ServerInfo,
    pub(crate) capabilities: Capabilities,
}

impl Project for Handshake<'_> {
    fn project(&self, fields: &mut Fields<'_>) {
        fields.always("protocolVersion", fields.revision.as_str());
        fields.object("capabilities", &self.capabilities);
        fields.object("serverInfo", &Implementation(self.server));
        fields.optional("instructions", self.server.instructions.as_ref());
    }
}

/// The result of `server/discover`.
pub(crate) struct Discovery<'a> {
    pub(crate) server: &'a ServerInfo,
    pub(crate) capabilities: Capabilities,
}

impl Project for Discovery<'_> {
    fn project(&self, fields: &mut Fields<'_>) {
        fields.always("supportedVersions", Revision::modern_names());
        fields.object("capabilities", &self.capabilities);
        fields.optional("instructions", self.server.instructions.as_ref());
    }
}
