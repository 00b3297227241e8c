//! Reads the calls that requests ask of the handler.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::distinct;
use crate::handler::{CompletionCall, PromptCall, Reference};
use crate::jsonrpc::{self, Failure};
use crate::model::Prompt;
use crate::params::{self, Params};

/// How many known names are listed for a caller that gives a wrong one.
const MOST_NAMED: usize = 30;

/// Takes the arguments of a call as they are: an object in which no name occurs twice. Missing
/// arguments count as an empty object.
pub(crate) fn arguments(params: &Params<'_>) -> Result<Box<RawValue>, Failure> {
    match params.arguments {
        None => Ok(RawValue::from_string("{}".to_owned()).expect("an empty object is JSON")),
        Some(raw) if jsonrpc::is_object(raw) => {
            check_distinct("arguments", raw)?;
            Ok(raw.to_owned())
        }
        Some(_) => Err(Failure::invalid_params("`arguments` must be an object")),
    }
}

fn check_distinct(name: &str, raw: &RawValue) -> Result<(), Failure> {
    distinct::check(raw).map_err(|error| Failure::invalid_params(format!("`{name}`: {error}")))
}

/// Reads the request for one of `prompts`; its required arguments must be given.
pub(crate) fn prompt(params: &Params<'_>, prompts: &[Prompt]) -> Result<PromptCall, Failure> {
    let name: String = params::required("name", params.name)?;
    let prompt = find(&name, prompts)?;
    if let Some(raw) = params.arguments {
        check_distinct("arguments", raw)?;
    }
    let arguments: Option<BTreeMap<String, String>> =
        params::optional("arguments", params.arguments)?;
    let arguments = arguments.unwrap_or_default();
    let missing = prompt
        .arguments
        .iter()
        .find(|argument| argument.required && !arguments.contains_key(&*argument.name));
    if let Some(missing) = missing {
        let message = format!("the argument `{}` is missing", missing.name);
        return Err(Failure::invalid_params(message));
    }
    Ok(PromptCall { name, arguments })
}

fn find<'a>(name: &str, prompts: &'a [Prompt]) -> Result<&'a Prompt, Failure> {
    prompts
        .iter()
        .find(|prompt| prompt.name == name)
        .ok_or_else(|| {
            let known = prompts.iter().map(|prompt| &*prompt.name);
            Failure::invalid_params(unknown("prompt", name, known))
        })
}

/// Says that a name does not exist, and which names do: all of them, unless they are too many to be
/// useful.
pub(crate) fn unknown<'a>(
    kind: &str,
    name: &str,
    known: impl ExactSizeIterator<Item = &'a str>,
) -> String {
    match known.len() {
        0 => format!("unknown {kind} `{name}`; there is none"),
        1..=MOST_NAMED => {
            let known: Vec<&str> = known.collect();
            format!("unknown {kind} `{name}`; known are {}", known.join(", "))
        }
        _ => format!("unknown {kind} `{name}`; `{kind}s/list` names those that there are"),
    }
}

/// Reads the request for completions; if it names a prompt, that must be one of `prompts`.
pub(crate) fn completion(
    params: &Params<'_>,
    prompts: &[Prompt],
) -> Result<CompletionCall, Failure> {
    #[derive(Deserialize)]
    struct Argument {
        name: String,
        value: String,
    }
    #[derive(Default, Deserialize)]
    struct Known {
        #[serde(default)]
        arguments: BTreeMap<String, String>,
    }
    let reference: Reference = params::required_object("ref", params.reference)?;
    if let Reference::Prompt { name } = &reference {
        find(name, prompts)?;
    }
    if let Some(raw) = params.context {
        check_distinct("context", raw)?;
    }
    let argument: Argument = params::required_object("argument", params.argument)?;
    let known: Option<Known> = params::optional_object("context", params.context)?;
    Ok(CompletionCall {
        reference,
        argument: argument.name,
        value: argument.value,
        known: known.unwrap_or_default().arguments,
    })
}
