//! Puts what the toolbox has and returns into the protocol's terms.

use mcp_protocol::{
    Block, CallError, Content, JsonText, Prompt as ListedPrompt, PromptArgument, Resource,
    ResourceTemplate, ToolResult,
};

use crate::{
    fence,
    meter::TooFast,
    prompts::Prompt,
    resources::{self, Described},
    tools::{Failure, Found, Text},
};

pub(super) fn list_resource(resource: &Described) -> Resource {
    Resource {
        uri: resource.uri.into(),
        name: resource.name.into(),
        title: Some(resource.title.into()),
        description: Some(resource.description.into()),
        mime_type: Some(resources::MIME_TYPE.into()),
        ..Resource::default()
    }
}

pub(super) fn list_template(template: &Described) -> ResourceTemplate {
    ResourceTemplate {
        uri_template: template.uri.into(),
        name: template.name.into(),
        title: Some(template.title.into()),
        description: Some(template.description.into()),
        mime_type: Some(resources::MIME_TYPE.into()),
        ..ResourceTemplate::default()
    }
}

pub(super) fn list_prompt(prompt: &Prompt) -> ListedPrompt {
    let arguments = prompt.arguments.iter().map(|argument| PromptArgument {
        name: argument.name.into(),
        description: Some(argument.description.into()),
        required: argument.required,
        ..PromptArgument::default()
    });
    ListedPrompt {
        name: prompt.name.into(),
        title: Some(prompt.title.into()),
        description: Some(prompt.description.into()),
        arguments: arguments.collect(),
        ..ListedPrompt::default()
    }
}

/// Returns the error for a request, other than a tool's call, that comes too fast; it says when to try again.
pub(super) fn of_haste(too_fast: TooFast) -> CallError {
    of_failure(Failure::told(too_fast))
}

/// Returns the error for a request, other than a tool's call, of which no account can be kept.
pub(super) fn of_no_account(why: &'static str) -> CallError {
    of_failure(Failure::told(why))
}

/// Returns the error for a request, other than a tool's call, that failed; it says why, with a code of our own.
pub(super) fn of_failure(failure: Failure) -> CallError {
    const DATABASE_FAILED: i64 = -31_000;
    match failure {
        Failure::Told(message) | Failure::Quoted(message) => CallError::Other {
            code: DATABASE_FAILED,
            message,
            data: None,
        },
        Failure::Unanswered => CallError::Internal("a resource asked the client".into()),
    }
}

pub(super) fn result(found: Found) -> ToolResult {
    let texts = found.texts.into_iter().map(|text| match text {
        Text::Said(text) => Content::text(text),
        Text::Data(text) => fenced(&text),
    });
    ToolResult {
        content: texts.collect(),
        structured: Some(found.structured),
        ..ToolResult::default()
    }
}

pub(super) fn fenced(text: &JsonText) -> Content {
    Block::JsonText(fence::around(text)).into()
}
