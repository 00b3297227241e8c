//! Prompts: texts with which a person can start a conversation.

use std::borrow::Cow;

use super::{Content, Fields, Icon, Object, Project, Role};
use crate::revision::Revision;

/// A prompt as a client lists it.
#[derive(Clone, Debug, Default)]
pub struct Prompt {
    /// The name by which it is requested.
    pub name: Cow<'static, str>,
    /// The name that people read.
    pub title: Option<Cow<'static, str>>,
    /// What it is for.
    pub description: Option<Cow<'static, str>>,
    /// The arguments that fill it in.
    pub arguments: Vec<PromptArgument>,
    /// Pictures of the prompt.
    pub icons: Vec<Icon>,
    /// Entries of `_meta`, with reverse-DNS keys.
    pub meta: Option<Object>,
}

/// An argument of a prompt.
#[derive(Clone, Debug, Default)]
pub struct PromptArgument {
    /// The name by which it is passed.
    pub name: Cow<'static, str>,
    /// The name that people read.
    pub title: Option<Cow<'static, str>>,
    /// What to pass.
    pub description: Option<Cow<'static, str>>,
    /// Whether a request without it is refused.
    pub required: bool,
}

impl Project for Prompt {
    fn project(&self, fields: &mut Fields<'_>) {
        fields.always("name", &self.name);
        fields.since(Revision::V2025_06_18, "title", self.title.as_ref());
        fields.optional("description", self.description.as_ref());
        if !self.arguments.is_empty() {
            fields.list("arguments", &self.arguments);
        }
        fields.icons(&self.icons);
    }

    fn meta(&self) -> Option<&Object> {
        self.meta.as_ref()
    }
}

impl Project for PromptArgument {
    fn project(&self, fields: &mut Fields<'_>) {
        fields.always("name", &self.name);
        fields.since(Revision::V2025_06_18, "title", self.title.as_ref());
        fields.optional("description", self.description.as_ref());
        fields.optional("required", self.required.then_some(true));
    }
}

/// A prompt with its arguments filled in.
#[derive(Clone, Debug, Default)]
pub struct PromptResult {
    /// What it is for.
    pub description: Option<String>,
    /// The conversation so far.
    pub messages: Vec<PromptMessage>,
}

/// One message of a conversation.
#[derive(Clone, Debug)]
pub struct PromptMessage {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub content: Content,
}

impl Project for PromptResult {
    fn project(&self, fields: &mut Fields<'_>) {
        fields.optional("description", self.description.as_ref());
        fields.list("messages", &self.messages);
    }
}

impl Project for PromptMessage {
    fn project(&self, fields: &mut Fields<'_>) {
        fields.always("role", self.role);
        fields.object("content", &self.content);
    }
}
