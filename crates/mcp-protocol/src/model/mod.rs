//! The protocol's nouns, in the shape of its newest revision, and their one way out.
//!
//! Each type says in [`Project`] which of its fields exist since which revision; [`At`] writes it
//! for one revision. Nothing else in the crate writes these types, so a field that an old client
//! must not see is left out in one place, for every transport.

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

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

pub use completion::Completion;
pub use content::{Annotations, Block, Content, Role};
pub use icon::Icon;
pub(crate) use list::List;
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

use crate::revision::Revision;

/// A JSON object that the crate passes through.
pub type Object = serde_json::Map<String, serde_json::Value>;

/// A type that knows which of its fields each revision has.
pub(crate) trait Project {
    fn project<M: SerializeMap>(&self, fields: &mut Fields<'_, M>) -> Result<(), M::Error>;

    /// Gives the `_meta` entries of this object; they exist since 2025-06-18.
    fn meta(&self) -> Option<&Object> {
        None
    }
}

/// A value as one revision sees it.
pub(crate) struct At<'a, T: ?Sized>(pub(crate) &'a T, pub(crate) Revision);

impl<T: Project + ?Sized> Serialize for At<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let mut fields = Fields {
            map: &mut map,
            revision: self.1,
        };
        self.0.project(&mut fields)?;
        fields.since(Revision::V2025_06_18, "_meta", self.0.meta())?;
        map.end()
    }
}

/// A list whose items are written for one revision.
pub(crate) struct Each<'a, T>(pub(crate) &'a [T], pub(crate) Revision);

impl<T: Project> Serialize for Each<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|item| At(item, self.1)))
    }
}

/// The object being written and the revision that it is written for.
pub(crate) struct Fields<'a, M> {
    map: &'a mut M,
    pub(crate) revision: Revision,
}

impl<M: SerializeMap> Fields<'_, M> {
    /// Writes a field that every revision has.
    pub(crate) fn always(
        &mut self,
        name: &'static str,
        value: impl Serialize,
    ) -> Result<(), M::Error> {
        self.map.serialize_entry(name, &value)
    }

    /// Writes a field that every revision has, if there is a value.
    pub(crate) fn optional(
        &mut self,
        name: &'static str,
        value: Option<impl Serialize>,
    ) -> Result<(), M::Error> {
        value.map_or(Ok(()), |value| self.map.serialize_entry(name, &value))
    }

    /// Writes a field that exists since `first`, if there is a value.
    pub(crate) fn since(
        &mut self,
        first: Revision,
        name: &'static str,
        value: Option<impl Serialize>,
    ) -> Result<(), M::Error> {
        if self.revision < first {
            Ok(())
        } else {
            self.optional(name, value)
        }
    }

    /// Writes icons, if the revision has them and there are any.
    pub(crate) fn icons(&mut self, icons: &[Icon]) -> Result<(), M::Error> {
        self.since(
            Revision::V2025_11_25,
            "icons",
            (!icons.is_empty()).then_some(icons),
        )
    }

    /// Writes a list of projected items.
    pub(crate) fn list<T: Project>(
        &mut self,
        name: &'static str,
        items: &[T],
    ) -> Result<(), M::Error> {
        self.map.serialize_entry(name, &Each(items, self.revision))
    }
}
