//! The prompts that the suite gets, and their completions.

use mcp_protocol::{
    Block, CallError, Completion, CompletionCall, Content, Context, Prompt, PromptArgument,
    PromptCall, PromptMessage, PromptResult, Reference, ResourceContents, ResourceData, Role,
};

use crate::tools::{PNG, form};

pub(crate) fn list() -> Vec<Prompt> {
    let argument = |name: &'static str, description: &'static str| PromptArgument {
        name: name.into(),
        description: Some(description.into()),
        required: true,
        ..PromptArgument::default()
    };
    let prompt = |name: &'static str, description: &'static str, arguments| Prompt {
        name: name.into(),
        description: Some(description.into()),
        arguments,
        ..Prompt::default()
    };
    vec![
        prompt(
            "test_simple_prompt",
            "A prompt without arguments.",
            Vec::new(),
        ),
        prompt(
            "test_prompt_with_arguments",
            "A prompt with two arguments.",
            vec![
                argument("arg1", "The first."),
                argument("arg2", "The second."),
            ],
        ),
        prompt(
            "test_prompt_with_embedded_resource",
            "A prompt with a resource in it.",
            vec![argument("resourceUri", "The resource's address.")],
        ),
        prompt(
            "test_prompt_with_image",
            "A prompt with a picture.",
            Vec::new(),
        ),
        prompt(
            "test_input_required_result_prompt",
            "A prompt that asks the user.",
            Vec::new(),
        ),
    ]
}

pub(crate) fn get<P>(call: &PromptCall, context: &Context<P>) -> Result<PromptResult, CallError> {
    let given = |name: &str| call.arguments.get(name).cloned().unwrap_or_default();
    let contents = match call.name.as_str() {
        "test_simple_prompt" => vec![Content::text("This is a simple prompt for testing.")],
        "test_prompt_with_arguments" => vec![Content::text(format!(
            "Prompt with arguments: arg1='{}', arg2='{}'",
            given("arg1"),
            given("arg2")
        ))],
        "test_prompt_with_embedded_resource" => {
            let resource = ResourceContents {
                uri: given("resourceUri"),
                mime_type: Some("text/plain".to_owned()),
                data: ResourceData::Text("Embedded resource content for testing.".to_owned()),
            };
            vec![
                Block::Resource(resource).into(),
                Content::text("Please process the embedded resource above."),
            ]
        }
        "test_prompt_with_image" => vec![
            Block::Image {
                data: PNG.to_vec(),
                mime_type: "image/png".to_owned(),
            }
            .into(),
            Content::text("Please analyze the image above."),
        ],
        "test_input_required_result_prompt" => {
            let question = form("What context should the prompt use?", "context", "string");
            let answer = context.ask("user_context", question)?;
            vec![Content::text(format!("The user said: {answer:?}"))]
        }
        other => {
            return Err(CallError::InvalidParams(format!(
                "unknown prompt `{other}`"
            )));
        }
    };
    let messages = contents.into_iter().map(|content| PromptMessage {
        role: Role::User,
        content,
    });
    Ok(PromptResult {
        description: None,
        messages: messages.collect(),
    })
}

pub(crate) fn complete(call: &CompletionCall) -> Result<Completion, CallError> {
    const WORDS: [&str; 4] = ["paris", "park", "party", "test"];
    let known = match &call.reference {
        Reference::Prompt { name } => list().iter().any(|prompt| prompt.name == *name),
        Reference::Template { uri } => uri == "test://template/{id}/data",
    };
    if !known {
        return Err(CallError::InvalidParams(format!(
            "unknown reference {:?}",
            call.reference
        )));
    }
    let values = WORDS.iter().filter(|word| word.starts_with(&call.value));
    Ok(Completion {
        values: values.map(ToString::to_string).collect(),
        total: None,
    })
}
