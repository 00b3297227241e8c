//! Blocks of content, as tools and prompts return them.

use base64ct::{Base64, Encoding};
use serde::Serialize;

use super::{Fields, JsonText, Project, Resource, ResourceContents};
use crate::revision::Revision;

/// One block of content.
#[derive(Clone, Debug)]
pub struct Content {
    /// What it holds.
    pub block: Block,
    /// Whom it is for, and how important it is.
    pub annotations: Option<Annotations>,
}

/// What a block of content holds. Revisions that lack a kind are sent a text instead.
#[derive(Clone, Debug)]
pub enum Block {
    /// Plain text.
    Text(String),
    /// Plain text, already escaped as JSON.
    JsonText(JsonText),
    /// A picture.
    Image {
        /// The picture's bytes.
        data: Vec<u8>,
        /// Its media type.
        mime_type: String,
    },
    /// A sound (since 2025-03-26).
    Audio {
        /// The sound's bytes.
        data: Vec<u8>,
        /// Its media type.
        mime_type: String,
    },
    /// A resource with its content.
    Resource(ResourceContents),
    /// A link to a resource (since 2025-06-18).
    Link(Box<Resource>),
}

impl Content {
    /// Holds a text.
    pub fn text(text: impl Into<String>) -> Self {
        Block::Text(text.into()).into()
    }

    /// Says roughly how many bytes it takes when it is written.
    pub(super) fn size(&self) -> usize {
        const FIELDS: usize = 64;
        let data = match &self.block {
            Block::Text(text) => text.len(),
            Block::JsonText(text) => text.as_str().len(),
            Block::Image { data, .. } | Block::Audio { data, .. } => data.len().div_ceil(3) * 4,
            Block::Resource(_) | Block::Link(_) => FIELDS,
        };
        FIELDS + data
    }
}

impl From<Block> for Content {
    fn from(block: Block) -> Self {
        Self {
            block,
            annotations: None,
        }
    }
}

impl Project for Content {
    fn project(&self, fields: &mut Fields<'_>) {
        let revision = fields.revision;
        match &self.block {
            Block::Text(text) => write_text(fields, text),
            Block::JsonText(text) => {
                fields.always("type", "text");
                fields.text("text", text);
            }
            Block::Image { data, mime_type } => write_media(fields, "image", data, mime_type),
            Block::Audio { data, mime_type } if revision >= Revision::V2025_03_26 => {
                write_media(fields, "audio", data, mime_type);
            }
            Block::Audio { mime_type, data } => {
                write_text(
                    fields,
                    &format!("[audio, {mime_type}, {} bytes]", data.len()),
                );
            }
            Block::Resource(contents) => {
                fields.always("type", "resource");
                fields.object("resource", contents);
            }
            Block::Link(link) if revision >= Revision::V2025_06_18 => {
                fields.always("type", "resource_link");
                link.project(fields);
            }
            Block::Link(link) => write_text(fields, &format!("{}: {}", link.name, link.uri)),
        }
        write_annotations(fields, self.annotations.as_ref());
    }
}

fn write_text(fields: &mut Fields<'_>, text: &str) {
    fields.always("type", "text");
    fields.always("text", text);
}

fn write_media(fields: &mut Fields<'_>, kind: &'static str, data: &[u8], mime_type: &str) {
    fields.always("type", kind);
    fields.always("data", Base64::encode_string(data));
    fields.always("mimeType", mime_type);
}

pub(super) fn write_annotations(fields: &mut Fields<'_>, annotations: Option<&Annotations>) {
    let revision = fields.revision;
    if let Some(annotations) = annotations.filter(|given| given.exist_in(revision)) {
        fields.object("annotations", annotations);
    }
}

/// Whom a block or a resource is for, and how important it is.
#[derive(Clone, Debug, Default)]
pub struct Annotations {
    /// The intended readers; empty means everybody.
    pub audience: Vec<Role>,
    /// From 0 (optional) to 1 (required).
    pub priority: Option<f64>,
    /// When it last changed, in ISO 8601 (since 2025-06-18).
    pub last_modified: Option<String>,
}

impl Annotations {
    fn exist_in(&self, revision: Revision) -> bool {
        !self.audience.is_empty()
            || self.priority.is_some()
            || (revision >= Revision::V2025_06_18 && self.last_modified.is_some())
    }
}

impl Project for Annotations {
    fn project(&self, fields: &mut Fields<'_>) {
        let audience = (!self.audience.is_empty()).then_some(&self.audience);
        fields.optional("audience", audience);
        fields.optional("priority", self.priority);
        fields.since(
            Revision::V2025_06_18,
            "lastModified",
            self.last_modified.as_ref(),
        );
    }
}

/// A side of the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The person.
    User,
    /// The model.
    Assistant,
}
