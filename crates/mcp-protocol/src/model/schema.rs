//! JSON Schemas, kept as their author wrote them.

use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// A JSON Schema of a tool's input or output: checked once, then sent verbatim.
#[derive(Clone, Debug)]
pub struct Schema {
    text: Box<RawValue>,
    root_is_object: bool,
}

/// Why a text is not a schema that a tool can have.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The text is not JSON.
    #[error("the schema is not valid JSON")]
    Json(#[from] serde_json::Error),
    /// The text is JSON, but not an object.
    #[error("the schema must be a JSON object")]
    NotAnObject,
    /// An input schema describes something else than an object.
    #[error("an input schema must have `\"type\": \"object\"` at its root")]
    RootNotObject,
}

impl Schema {
    /// Reads the schema of a tool's input, whose root must be an object (all revisions).
    pub fn input(text: &str) -> Result<Self, SchemaError> {
        let schema = Self::output(text)?;
        if schema.root_is_object {
            Ok(schema)
        } else {
            Err(SchemaError::RootNotObject)
        }
    }

    /// Reads the schema of a tool's structured output. One whose root is not an object is shown
    /// from 2026-07-28 on only.
    pub fn output(text: &str) -> Result<Self, SchemaError> {
        let text: Box<RawValue> = serde_json::from_str(text)?;
        let Value::Object(root) = serde_json::from_str(text.get())? else {
            return Err(SchemaError::NotAnObject);
        };
        let root_is_object = root.get("type").and_then(Value::as_str) == Some("object");
        Ok(Self {
            text,
            root_is_object,
        })
    }

    /// Gives the schema's text.
    pub fn text(&self) -> &str {
        self.text.get()
    }

    pub(crate) fn root_is_object(&self) -> bool {
        self.root_is_object
    }
}

impl Serialize for Schema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(serializer)
    }
}
