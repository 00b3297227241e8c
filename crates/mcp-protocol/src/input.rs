//! What a handler asks the client's side in the middle of a call.
//!
//! A handler asks through [`Context::ask`](crate::Context::ask), and is called again once the
//! answers are there. From 2026-07-28 on the client repeats its request with the answers; until
//! 2025-11-25 the server sends requests of its own and then repeats the call itself. The handler
//! sees no difference.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::client::{ClientCapabilities, Lacking};
use crate::jsonrpc::{self, Failure};
use crate::model::{Object, Schema};
use crate::revision::Revision;

/// A question to the client, its user or its model.
#[derive(Clone, Debug)]
pub enum InputRequest {
    /// The user fills in a form. Never ask for secrets this way.
    Form {
        /// What the user reads.
        message: String,
        /// The form's schema: an object of strings, numbers, booleans and choices.
        schema: Schema,
    },
    /// The user visits a web page (since 2025-11-25).
    Page {
        /// What the user reads.
        message: String,
        /// The page's address.
        url: String,
    },
    /// The client's model writes a message: the parameters of `sampling/createMessage`.
    Message(Object),
    /// The client lists the folders that the server may look at.
    Roots,
}

/// The answer to an [`InputRequest`].
#[derive(Clone, Debug, PartialEq)]
pub enum InputResponse {
    /// The user has reacted to the form or the page.
    Elicited {
        /// What the user did.
        action: ElicitAction,
        /// The filled-in form. Check it against the schema again.
        content: Object,
    },
    /// The model's message: the result of `sampling/createMessage`.
    Message(Object),
    /// The folders.
    Roots(Vec<Root>),
}

/// What a user did with a form or a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ElicitAction {
    /// Agreed.
    Accept,
    /// Refused.
    Decline,
    /// Closed it without a choice.
    Cancel,
}

/// A folder of the client.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Root {
    /// The folder's address, a `file:` URI.
    pub uri: String,
    /// The name that people read.
    pub name: Option<String>,
}

/// The questions that a call waits for, by keys that the handler chooses.
#[derive(Clone, Debug, Default)]
pub struct InputRequired {
    pub(crate) requests: Vec<(String, InputRequest)>,
    pub(crate) state: Option<String>,
}

impl InputRequired {
    /// Starts without questions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a question.
    pub fn ask(mut self, key: impl Into<String>, request: InputRequest) -> Self {
        self.requests.push((key.into(), request));
        self
    }

    /// Gives the handler's next round something to go on from, which it finds in
    /// [`Context::state`](crate::Context::state). The client carries it and cannot change it.
    pub fn state(mut self, state: impl Into<String>) -> Self {
        self.state = Some(state.into());
        self
    }
}

impl InputRequest {
    /// Names the capability that the client must have declared.
    pub(crate) fn lacking(&self, client: ClientCapabilities) -> Option<Lacking> {
        let (declared, lacking) = match self {
            Self::Form { .. } => (client.elicitation, Lacking::Elicitation),
            Self::Page { .. } => (client.elicitation_url, Lacking::ElicitationUrl),
            Self::Message(_) => (client.sampling, Lacking::Sampling),
            Self::Roots => (client.roots, Lacking::Roots),
        };
        (!declared).then_some(lacking)
    }

    pub(crate) fn method(&self) -> &'static str {
        match self {
            Self::Form { .. } | Self::Page { .. } => "elicitation/create",
            Self::Message(_) => "sampling/createMessage",
            Self::Roots => "roots/list",
        }
    }

    /// Gives the request's parameters; `key` identifies the request in revisions that want that.
    pub(crate) fn params(&self, key: &str, revision: Revision) -> Value {
        match self {
            Self::Form { message, schema } => {
                let mut schema: Value = serde_json::from_str(schema.text())
                    .expect("a schema was parsed when it was made");
                if revision < Revision::V2025_11_25 {
                    simplify(&mut schema);
                }
                json!({ "message": message, "requestedSchema": schema })
            }
            Self::Page { message, url } if revision.is_modern() => {
                json!({ "mode": "url", "message": message, "url": url })
            }
            Self::Page { message, url } => {
                json!({ "mode": "url", "message": message, "url": url, "elicitationId": key })
            }
            Self::Message(params) => Value::Object(params.clone()),
            Self::Roots => json!({}),
        }
    }

    /// Reads an answer; gives `None` if it does not fit the question.
    pub(crate) fn read(&self, answer: &RawValue) -> Option<InputResponse> {
        #[derive(Deserialize)]
        struct Elicited {
            action: ElicitAction,
            #[serde(default)]
            content: Option<Object>,
        }
        #[derive(Deserialize)]
        struct Listed {
            roots: Vec<Root>,
        }
        let text = answer.get();
        if !jsonrpc::is_object(answer) {
            return None;
        }
        match self {
            Self::Form { .. } | Self::Page { .. } => {
                let Elicited { action, content } = serde_json::from_str(text).ok()?;
                let content = content.unwrap_or_default();
                Some(InputResponse::Elicited { action, content })
            }
            Self::Message(_) => {
                let message: Object = serde_json::from_str(text).ok()?;
                let whole = message.contains_key("role") && message.contains_key("content");
                whole.then_some(InputResponse::Message(message))
            }
            Self::Roots => {
                let Listed { roots } = serde_json::from_str(text).ok()?;
                Some(InputResponse::Roots(roots))
            }
        }
    }
}

/// Writes a form as 2025-06-18 has it: choices with titles as `enumNames`. A choice of several is
/// left out, as that revision cannot ask for it.
fn simplify(schema: &mut Value) {
    let Some(Value::Object(properties)) = schema.get_mut("properties") else {
        return;
    };
    let is_choice_of_several = |property: &Value| property["type"] == "array";
    let left_out: Vec<String> = properties
        .iter()
        .filter(|(_, property)| is_choice_of_several(property))
        .map(|(name, _)| name.clone())
        .collect();
    properties.retain(|_, property| !is_choice_of_several(property));
    for property in properties.values_mut() {
        let Some(Value::Array(choices)) = property.get("oneOf") else {
            continue;
        };
        let column = |name: &str| choices.iter().map(|choice| choice[name].clone()).collect();
        let (values, titles): (Value, Value) = (column("const"), column("title"));
        if let Value::Object(property) = property {
            property.remove("oneOf");
            property.insert("enum".to_owned(), values);
            property.insert("enumNames".to_owned(), titles);
        }
    }
    if let Some(Value::Array(required)) = schema.get_mut("required") {
        required.retain(|name| !left_out.iter().any(|left| name == left));
    }
}

/// The answers that a call has so far, and the state that the handler left for itself.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    pub(crate) answers: BTreeMap<String, Box<RawValue>>,
    /// The questions that will get no answer, and why. Used until 2025-11-25 only: a later client
    /// that does not answer does not repeat its request.
    pub(crate) unanswered: BTreeMap<String, Failure>,
    pub(crate) state: Option<String>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_early_form_has_no_titled_or_multiple_choices() {
        let schema = r#"{
            "type": "object",
            "properties": {
                "name": { "type": "string" },
                "one": { "type": "string", "oneOf": [{ "const": "a", "title": "A" }] },
                "many": { "type": "array", "items": { "type": "string", "enum": ["x"] } }
            },
            "required": ["name", "many"]
        }"#;
        let form = InputRequest::Form {
            message: "?".to_owned(),
            schema: Schema::input(schema).unwrap(),
        };
        assert_eq!(
            form.params("k", Revision::V2025_06_18)["requestedSchema"],
            json!({
                "type": "object",
                "properties": {
                    "name": { "type": "string" },
                    "one": { "type": "string", "enum": ["a"], "enumNames": ["A"] }
                },
                "required": ["name"]
            })
        );
        let whole: Value = serde_json::from_str(schema).unwrap();
        assert_eq!(
            form.params("k", Revision::V2025_11_25)["requestedSchema"],
            whole
        );
    }
}
