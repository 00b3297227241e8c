//! JSON Schemas, kept as their author wrote them.

use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// A JSON Schema of a tool's input or output: checked once, then sent verbatim.
#[derive(Clone, Debug)]
pub struct Schema {
    text: Box<RawValue>,
    root_is_object: bool,
    header_parameters: Vec<HeaderParameter>,
}

/// An argument that a client repeats in a header (`x-mcp-header`, since 2026-07-28).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeaderParameter {
    /// What follows `Mcp-Param-`.
    pub(crate) header: String,
    /// The path of the argument, as a JSON Pointer (RFC 6901).
    pub(crate) pointer: String,
}

/// Why a text is not a valid schema for a tool.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The text is not JSON.
    #[error("the schema is not valid JSON")]
    Json(#[from] serde_json::Error),
    /// The text is JSON, but not an object.
    #[error("the schema must be a JSON object")]
    NotAnObject,
    /// An input schema describes something other than an object.
    #[error("an input schema must have `\"type\": \"object\"` at its root")]
    RootNotObject,
    /// `x-mcp-header` does not name a header, names one twice, or marks a property that a header cannot hold.
    #[error(
        "`x-mcp-header` at `{0}` must be a header name of its own, on a string, integer or boolean"
    )]
    Header(String),
}

impl Schema {
    /// Reads the schema of a tool's input, whose root must be an object in every revision.
    pub fn input(text: &str) -> Result<Self, SchemaError> {
        let mut schema = Self::output(text)?;
        if !schema.root_is_object {
            return Err(SchemaError::RootNotObject);
        }
        let root: Value = serde_json::from_str(schema.text())?;
        find_header_parameters(&root, "", &mut schema.header_parameters)?;
        Ok(schema)
    }

    /// Reads the schema of a tool's structured output. If its root is not an object, it is shown only from 2026-07-28
    /// on.
    pub fn output(text: &str) -> Result<Self, SchemaError> {
        let text: Box<RawValue> = serde_json::from_str(text)?;
        let Value::Object(root) = serde_json::from_str(text.get())? else {
            return Err(SchemaError::NotAnObject);
        };
        let root_is_object = root.get("type").and_then(Value::as_str) == Some("object");
        Ok(Self {
            text,
            root_is_object,
            header_parameters: Vec::new(),
        })
    }

    /// Returns the schema's text.
    pub fn text(&self) -> &str {
        self.text.get()
    }

    pub(crate) fn root_is_object(&self) -> bool {
        self.root_is_object
    }

    pub(crate) fn header_parameters(&self) -> &[HeaderParameter] {
        &self.header_parameters
    }
}

/// Collects the marked properties. Only those reached through `properties` alone count.
fn find_header_parameters(
    schema: &Value,
    pointer: &str,
    found: &mut Vec<HeaderParameter>,
) -> Result<(), SchemaError> {
    let Some(Value::Object(properties)) = schema.get("properties") else {
        return Ok(());
    };
    for (name, property) in properties {
        let pointer = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
        find_header_parameters(property, &pointer, found)?;
        let Some(mark) = property.get("x-mcp-header") else {
            continue;
        };
        let header = mark.as_str().unwrap_or_default().to_owned();
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let is_name = !header.is_empty() && header.bytes().all(is_token);
        let is_new = !found
            .iter()
            .any(|other| other.header.eq_ignore_ascii_case(&header));
        let kind = property.get("type").and_then(Value::as_str);
        if !is_name || !is_new || !matches!(kind, Some("string" | "integer" | "boolean")) {
            return Err(SchemaError::Header(pointer));
        }
        found.push(HeaderParameter { header, pointer });
    }
    Ok(())
}

impl Serialize for Schema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(serializer)
    }
}
