//! The parameters of every method, read in one pass and typed where they are used.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::context::LogLevel;
use crate::jsonrpc::{self, Failure, Id, present};

/// The parameters that any method has. Each is kept raw until its method asks for it, so that a
/// wrong type is reported with its name, and parameters of other methods are ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Params<'a> {
    #[serde(rename = "_meta", borrow)]
    meta: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) name: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) arguments: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) cursor: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) protocol_version: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) request_id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) capabilities: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) client_info: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) uri: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) level: Option<&'a RawValue>,
    #[serde(borrow, rename = "ref")]
    pub(crate) reference: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) argument: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) context: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) notifications: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) input_responses: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) request_state: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) task_id: Option<&'a RawValue>,
}

/// The entries of `_meta` that the protocol defines for requests.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Meta<'a> {
    #[serde(borrow, rename = "progressToken")]
    pub(crate) progress_token: Option<&'a RawValue>,
    /// Any value, even null, claims the modern era.
    #[serde(
        borrow,
        default,
        deserialize_with = "present",
        rename = "io.modelcontextprotocol/protocolVersion"
    )]
    pub(crate) protocol_version: Option<&'a RawValue>,
    #[serde(borrow, rename = "io.modelcontextprotocol/clientCapabilities")]
    pub(crate) client_capabilities: Option<&'a RawValue>,
    #[serde(borrow, rename = "io.modelcontextprotocol/clientInfo")]
    pub(crate) client_info: Option<&'a RawValue>,
    #[serde(borrow, rename = "io.modelcontextprotocol/logLevel")]
    pub(crate) log_level: Option<&'a RawValue>,
}

impl<'a> Params<'a> {
    pub(crate) fn read(raw: Option<&'a RawValue>) -> Result<Self, Failure> {
        Ok(optional_object("params", raw)?.unwrap_or_default())
    }

    pub(crate) fn meta(&self) -> Result<Meta<'a>, Failure> {
        Ok(optional_object("_meta", self.meta)?.unwrap_or_default())
    }
}

impl Meta<'_> {
    pub(crate) fn progress_token(&self) -> Result<Option<Id>, Failure> {
        let Some(raw) = self.progress_token else {
            return Ok(None);
        };
        Id::read(raw).map(Some).ok_or_else(|| {
            Failure::invalid_params("`progressToken` must be a string or an integer")
        })
    }

    pub(crate) fn log_level(&self) -> Result<Option<LogLevel>, Failure> {
        self.log_level.map(|raw| typed("logLevel", raw)).transpose()
    }
}

/// Reads a required parameter.
pub(crate) fn required<'a, T: Deserialize<'a>>(
    name: &'static str,
    raw: Option<&'a RawValue>,
) -> Result<T, Failure> {
    let raw = raw.ok_or_else(|| Failure::invalid_params(format!("`{name}` is missing")))?;
    typed(name, raw)
}

/// Reads an optional parameter.
pub(crate) fn optional<T: DeserializeOwned>(
    name: &'static str,
    raw: Option<&RawValue>,
) -> Result<Option<T>, Failure> {
    raw.map(|raw| typed(name, raw)).transpose()
}

/// Reads a required parameter that must be an object.
pub(crate) fn required_object<'a, T: Deserialize<'a>>(
    name: &'static str,
    raw: Option<&'a RawValue>,
) -> Result<T, Failure> {
    let read = optional_object(name, raw)?;
    read.ok_or_else(|| Failure::invalid_params(format!("`{name}` is missing")))
}

/// Reads an optional parameter that must be an object. A list is refused, because serde would read
/// it as the fields in their order.
pub(crate) fn optional_object<'a, T: Deserialize<'a>>(
    name: &'static str,
    raw: Option<&'a RawValue>,
) -> Result<Option<T>, Failure> {
    match raw {
        None => Ok(None),
        Some(raw) if jsonrpc::is_object(raw) => typed(name, raw).map(Some),
        Some(_) => Err(Failure::invalid_params(format!(
            "`{name}` must be an object"
        ))),
    }
}

fn typed<'a, T: Deserialize<'a>>(name: &'static str, raw: &'a RawValue) -> Result<T, Failure> {
    serde_json::from_str(raw.get())
        .map_err(|error| Failure::invalid_params(format!("`{name}` is not as it must be: {error}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::calls;
    use crate::client;
    use crate::input::InputRequest;
    use crate::model::Prompt;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn a_list_is_never_taken_for_an_object() {
        let reference = r#""ref":{"type":"ref/prompt","name":"p"}"#;
        let argument = r#""argument":{"name":"a","value":"v"}"#;
        let prompt = Prompt {
            name: "p".into(),
            ..Prompt::default()
        };
        let complete = |text: &str| {
            let whole = raw(text);
            let params = Params::read(Some(&whole)).unwrap();
            calls::completion(&params, std::slice::from_ref(&prompt)).map(|_| ())
        };
        assert!(complete(&format!("{{{reference},{argument}}}")).is_ok());
        for text in [
            format!(r#"{{"ref":["ref/prompt","p"],{argument}}}"#),
            format!(r#"{{{reference},"argument":["a","v"]}}"#),
            format!(r#"{{{reference},{argument},"context":[]}}"#),
        ] {
            let refused = complete(&text).unwrap_err();
            assert!(refused.message.contains("must be an object"), "{text}");
        }
        let meta = raw(r#"{"_meta":[7,null,{},{},"info"]}"#);
        let refused = Params::read(Some(&meta)).unwrap().meta().unwrap_err();
        assert_eq!(refused.message, "`_meta` must be an object");
        assert_eq!(client::name(Some(&raw(r#"["cursor","1.0"]"#))), None);
        let page = InputRequest::Page {
            message: String::new(),
            url: String::new(),
        };
        assert!(page.read(&raw(r#"{"action":"accept"}"#)).is_some());
        assert!(page.read(&raw(r#"["accept",{}]"#)).is_none());
    }
}
