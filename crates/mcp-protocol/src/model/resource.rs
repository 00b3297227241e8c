//! Resources: data that can be read by address.

use base64ct::{Base64, Encoding};

use super::content::write_annotations;
use super::{Annotations, Fields, Icon, Object, Project};
use crate::revision::Revision;

/// A resource, as a list or a result mentions it.
#[derive(Clone, Debug, Default)]
pub struct Resource {
    /// The resource's address.
    pub uri: String,
    /// The name that programs use.
    pub name: String,
    /// The name that people read.
    pub title: Option<String>,
    /// What it is, for the model.
    pub description: Option<String>,
    /// Its media type.
    pub mime_type: Option<String>,
    /// Its size in bytes.
    pub size: Option<u64>,
    /// Whom it is for, and how important it is.
    pub annotations: Option<Annotations>,
    /// Pictures of the resource.
    pub icons: Vec<Icon>,
    /// Entries of `_meta`, with reverse-DNS keys.
    pub meta: Option<Object>,
}

impl Project for Resource {
    fn project(&self, fields: &mut Fields<'_>) {
        fields.always("uri", &self.uri);
        fields.always("name", &self.name);
        fields.since(Revision::V2025_06_18, "title", self.title.as_ref());
        fields.optional("description", self.description.as_ref());
        fields.optional("mimeType", self.mime_type.as_ref());
        fields.optional("size", self.size);
        write_annotations(fields, self.annotations.as_ref());
        fields.icons(&self.icons);
    }

    fn meta(&self) -> Option<&Object> {
        self.meta.as_ref()
    }
}

/// A template for a family of resources, as a client lists it.
#[derive(Clone, Debug, Default)]
pub struct ResourceTemplate {
    /// The pattern of their addresses (RFC 6570).
    pub uri_template: String,
    /// The name that programs use.
    pub name: String,
    /// The name that people read.
    pub title: Option<String>,
    /// What they are, for the model.
    pub description: Option<String>,
    /// The media type, if all of them share it.
    pub mime_type: Option<String>,
    /// Whom they are for, and how important they are.
    pub annotations: Option<Annotations>,
    /// Pictures of the family.
    pub icons: Vec<Icon>,
    /// Entries of `_meta`, with reverse-DNS keys.
    pub meta: Option<Object>,
}

impl Project for ResourceTemplate {
    fn project(&self, fields: &mut Fields<'_>) {
        fields.always("uriTemplate", &self.uri_template);
        fields.always("name", &self.name);
        fields.since(Revision::V2025_06_18, "title", self.title.as_ref());
        fields.optional("description", self.description.as_ref());
        fields.optional("mimeType", self.mime_type.as_ref());
        write_annotations(fields, self.annotations.as_ref());
        fields.icons(&self.icons);
    }

    fn meta(&self) -> Option<&Object> {
        self.meta.as_ref()
    }
}

/// The content of a resource.
#[derive(Clone, Debug)]
pub struct ResourceContents {
    /// The resource's address.
    pub uri: String,
    /// Its media type.
    pub mime_type: Option<String>,
    /// Its text or bytes.
    pub data: ResourceData,
}

/// The text or the bytes of a resource.
#[derive(Clone, Debug)]
pub enum ResourceData {
    /// Text.
    Text(String),
    /// Anything else.
    Blob(Vec<u8>),
}

impl Project for ResourceContents {
    fn project(&self, fields: &mut Fields<'_>) {
        fields.always("uri", &self.uri);
        fields.optional("mimeType", self.mime_type.as_ref());
        match &self.data {
            ResourceData::Text(text) => fields.always("text", text),
            ResourceData::Blob(bytes) => fields.always("blob", Base64::encode_string(bytes)),
        }
    }
}

/// The result of reading a resource.
pub(crate) struct ReadResult(pub(crate) Vec<ResourceContents>);

impl Project for ReadResult {
    fn project(&self, fields: &mut Fields<'_>) {
        fields.list("contents", &self.0);
    }
}
