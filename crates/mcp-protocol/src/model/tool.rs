//! Tools and what they return.

use std::borrow::Cow;

use serde::Serialize;

use super::{Content, Fields, Icon, Json, Object, Project, Schema};
use crate::revision::Revision;

/// A tool as a client lists it.
#[derive(Clone, Debug)]
pub struct Tool {
    /// The name by which it is called: 1 to 128 characters of `A-Z a-z 0-9 _ . -`.
    pub name: Cow<'static, str>,
    /// The name that people read.
    pub title: Option<Cow<'static, str>>,
    /// What it does, for the model.
    pub description: Cow<'static, str>,
    /// The schema of its arguments.
    pub input_schema: Schema,
    /// The schema of its structured result. With one, every successful result must have a structured form that conforms
    /// to it.
    pub output_schema: Option<Schema>,
    /// What a client may assume about its effects.
    pub annotations: ToolAnnotations,
    /// Pictures of the tool.
    pub icons: Vec<Icon>,
    /// Entries of `_meta`, with reverse-DNS keys.
    pub meta: Option<Object>,
}

impl Tool {
    /// Describes a tool whose arguments conform to `input_schema`.
    pub fn new(
        name: impl Into<Cow<'static, str>>,
        description: impl Into<Cow<'static, str>>,
        input_schema: Schema,
    ) -> Self {
        Self {
            name: name.into(),
            title: None,
            description: description.into(),
            input_schema,
            output_schema: None,
            annotations: ToolAnnotations::default(),
            icons: Vec::new(),
            meta: None,
        }
    }
}

/// Hints about a tool's effects. An absent hint means the protocol's default, which is the worse
/// case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolAnnotations {
    /// It changes nothing. Absent means that it may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only_hint: Option<bool>,
    /// Its changes may destroy something. Absent means that they may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destructive_hint: Option<bool>,
    /// Calling it again with the same arguments has no further effect. Absent means that it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotent_hint: Option<bool>,
    /// It interacts with an open set of external things. Absent means that it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_world_hint: Option<bool>,
}

impl Project for Tool {
    fn project(&self, fields: &mut Fields<'_>) {
        // Until 2025-11-25 a structured result is always an object.
        let output = self.output_schema.as_ref();
        let output = output.filter(|schema| fields.revision.is_modern() || schema.root_is_object());
        let annotations = self.annotations;
        let annotations = (annotations != ToolAnnotations::default()).then_some(annotations);
        fields.always("name", &self.name);
        fields.since(Revision::V2025_06_18, "title", self.title.as_ref());
        fields.always("description", &self.description);
        fields.always("inputSchema", &self.input_schema);
        fields.since(Revision::V2025_06_18, "outputSchema", output);
        fields.since(Revision::V2025_03_26, "annotations", annotations);
        fields.icons(&self.icons);
    }

    fn meta(&self) -> Option<&Object> {
        self.meta.as_ref()
    }
}

/// The result of a tool call.
#[derive(Clone, Debug, Default)]
pub struct ToolResult {
    /// What the model reads.
    pub content: Vec<Content>,
    /// What programs read: the JSON of a value that conforms to the tool's output schema. It is sent unchanged since
    /// 2025-06-18, until 2025-11-25 only if it is an object. Errors are sent without it.
    pub structured: Option<Json>,
    /// The tool failed in a way that the model can understand and perhaps put right.
    pub is_error: bool,
    /// Entries of `_meta`, with reverse-DNS keys.
    pub meta: Option<Object>,
}

impl ToolResult {
    /// A success with one text.
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            content: vec![Content::text(text)],
            ..Self::default()
        }
    }

    /// Fails with a text that helps the model to put its call right.
    pub fn error(text: impl Into<String>) -> Self {
        Self {
            is_error: true,
            ..Self::text(text)
        }
    }

    /// Adds the structured form.
    pub fn structured(mut self, value: impl Into<Json>) -> Self {
        self.structured = Some(value.into());
        self
    }
}

impl Project for ToolResult {
    fn project(&self, fields: &mut Fields<'_>) {
        // Clients validate this even when the call failed.
        let revision = fields.revision;
        let structured = self.structured.as_ref().filter(|value| {
            revision.is_modern()
                || revision >= Revision::V2025_06_18 && value.as_str().starts_with('{')
        });
        let structured = structured.filter(|_| !self.is_error);
        let texts = self.content.iter().map(Content::size).sum::<usize>();
        fields.reserve(texts + structured.map_or(0, |value| value.as_str().len()));
        fields.list("content", &self.content);
        if let Some(structured) = structured {
            fields.json("structuredContent", structured);
        }
        fields.optional("isError", self.is_error.then_some(true));
    }

    fn meta(&self) -> Option<&Object> {
        self.meta.as_ref()
    }
}
