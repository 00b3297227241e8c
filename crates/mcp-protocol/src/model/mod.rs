//! The types of the protocol, in the shape of its newest revision, and the only way to write them.
//!
//! Each type says in [`Project`] which of its fields exist since which revision; [`write`] writes it for one revision.
//! Nothing else in the crate writes these types, so a field that an older client must not see is left out in one place,
//! for every transport.

mod completion;
mod content;
mod icon;
mod list;
mod prompt;
mod reply;
mod resource;
mod schema;
mod server;
mod tool;
mod written;

use serde::Serialize;

pub use completion::Completion;
pub use content::{Annotations, Block, Content, Role};
pub use icon::Icon;
pub(crate) use list::{List, WrittenList};
pub use list::{Page, PageRequest};
pub use prompt::{Prompt, PromptArgument, PromptMessage, PromptResult};
pub(crate) use reply::{Empty, Reply};
pub(crate) use resource::ReadResult;
pub use resource::{Resource, ResourceContents, ResourceData, ResourceTemplate};
pub(crate) use schema::HeaderParameter;
pub use schema::{Schema, SchemaError};
pub use server::{Capabilities, ServerInfo};
pub(crate) use server::{Discovery, Handshake, Implementation};
pub use tool::{Tool, ToolAnnotations, ToolResult};
pub use written::{Json, JsonText};

use crate::jsonrpc;
use crate::revision::Revision;

/// A JSON object that the crate passes on unchanged.
pub type Object = serde_json::Map<String, serde_json::Value>;

/// A type that knows in which revisions each of its fields exists.
pub(crate) trait Project {
    fn project(&self, fields: &mut Fields<'_>);

    /// Returns the `_meta` entries of this object; they exist since 2025-06-18.
    fn meta(&self) -> Option<&Object> {
        None
    }
}

/// Writes a value as one revision sees it.
pub(crate) fn write<T: Project + ?Sized>(out: &mut Vec<u8>, value: &T, revision: Revision) {
    let mut fields = Fields::open(out, revision);
    value.project(&mut fields);
    fields.since(Revision::V2025_06_18, "_meta", value.meta());
    fields.close();
}

/// Writes a list of values as one revision sees them.
fn write_list(out: &mut Vec<u8>, items: &[impl Project], revision: Revision) {
    out.push(b'[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, item, revision);
    }
    out.push(b']');
}

/// The object being written and the revision that it is written for.
///
/// Values are written with serde, except those that are JSON already. Writing cannot fail: everything here has string
/// keys and serializers that do not fail.
pub(crate) struct Fields<'a> {
    out: &'a mut Vec<u8>,
    is_empty: bool,
    pub(crate) revision: Revision,
}

impl<'a> Fields<'a> {
    fn open(out: &'a mut Vec<u8>, revision: Revision) -> Self {
        out.push(b'{');
        Self {
            out,
            is_empty: true,
            revision,
        }
    }

    fn close(self) {
        self.out.push(b'}');
    }

    fn name(&mut self, name: &str) {
        if !std::mem::replace(&mut self.is_empty, false) {
            self.out.push(b',');
        }
        jsonrpc::append(self.out, name);
        self.out.push(b':');
    }

    /// Reserves memory for a large value.
    pub(crate) fn reserve(&mut self, bytes: usize) {
        self.out.reserve(bytes);
    }

    /// Writes a field that every revision has.
    pub(crate) fn always(&mut self, name: &str, value: impl Serialize) {
        self.name(name);
        jsonrpc::append(self.out, &value);
    }

    /// Writes a field that every revision has, if it has a value.
    pub(crate) fn optional(&mut self, name: &str, value: Option<impl Serialize>) {
        if let Some(value) = value {
            self.always(name, value);
        }
    }

    /// Writes a field that exists since revision `first`, if it has a value.
    pub(crate) fn since(&mut self, first: Revision, name: &str, value: Option<impl Serialize>) {
        if self.revision >= first {
            self.optional(name, value);
        }
    }

    /// Writes a field whose value is a projected object.
    pub(crate) fn object(&mut self, name: &str, value: &impl Project) {
        self.name(name);
        write(self.out, value, self.revision);
    }

    /// Writes a list of projected items.
    pub(crate) fn list(&mut self, name: &str, items: &[impl Project]) {
        self.name(name);
        write_list(self.out, items, self.revision);
    }

    /// Writes icons, if the revision has them and there are any.
    pub(crate) fn icons(&mut self, icons: &[Icon]) {
        self.since(
            Revision::V2025_11_25,
            "icons",
            (!icons.is_empty()).then_some(icons),
        );
    }

    /// Writes a field whose value is JSON already.
    pub(crate) fn json(&mut self, name: &str, value: &Json) {
        self.name(name);
        self.out.extend_from_slice(value.as_str().as_bytes());
    }

    /// Writes a field whose value is a text already escaped as JSON.
    pub(crate) fn text(&mut self, name: &str, value: &JsonText) {
        self.name(name);
        self.out.push(b'"');
        self.out.extend_from_slice(value.as_str().as_bytes());
        self.out.push(b'"');
    }
}
