//! The tools that the suite calls.

use std::time::Duration;

use mcp_protocol::{
    AsTask, Block, CallError, Content, Context, InputRequest, InputRequired, InputResponse,
    LogLevel, Object, ResourceContents, ResourceData, Schema, SchemaError, Tool, ToolCall,
    ToolResult,
};
use serde_json::{Value, json};

/// A picture of one red pixel.
pub(crate) const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0\
    \x90wS\xde\0\0\0\x0cIDATx\x9cc\xf8\xcf\xc0\0\0\x03\x01\x01\0\xc9\xfe\x92\xef\0\0\0\0IEND\xaeB`\x82";
/// A sound without samples.
const WAV: &[u8] =
    b"RIFF$\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0@\x1f\0\0@\x1f\0\0\x01\0\x08\0data\0\0\0\0";

const NOTHING: &str = r#"{"type":"object","additionalProperties":false}"#;
const PROMPT: &str =
    r#"{"type":"object","properties":{"prompt":{"type":"string"}},"required":["prompt"]}"#;
const MESSAGE: &str =
    r#"{"type":"object","properties":{"message":{"type":"string"}},"required":["message"]}"#;
const NAME: &str =
    r#"{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]}"#;
const FILE: &str =
    r#"{"type":"object","properties":{"filename":{"type":"string"}},"required":["filename"]}"#;
const SECONDS: &str = r#"{"type":"object","properties":{"seconds":{"type":"number"},"label":{"type":"string"}},"required":["seconds"]}"#;
const IN_HEADER: &str = r#"{"type":"object","properties":{"value":{"type":"string","x-mcp-header":"Value"}},"required":["value"]}"#;
const DIALECT: &str = r##"{
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": { "street": { "type": "string" }, "city": { "type": "string" } }
        }
    },
    "properties": {
        "name": { "type": "string" },
        "address": { "$ref": "#/$defs/address" },
        "contactMethod": { "type": "string", "enum": ["phone", "email"] },
        "phone": { "type": "string" },
        "email": { "type": "string" }
    },
    "allOf": [{ "anyOf": [{ "required": ["phone"] }, { "required": ["email"] }] }],
    "if": { "properties": { "contactMethod": { "const": "phone" } }, "required": ["contactMethod"] },
    "then": { "required": ["phone"] },
    "else": { "required": ["email"] },
    "additionalProperties": false
}"##;

#[rustfmt::skip]
const TOOLS: [(&str, &str, &str); 39] = [
    ("test_simple_text", "Returns a text.", NOTHING),
    ("test_image_content", "Returns a picture.", NOTHING),
    ("test_audio_content", "Returns a sound.", NOTHING),
    ("test_embedded_resource", "Returns a resource.", NOTHING),
    ("test_multiple_content_types", "Returns a text, a picture and a resource.", NOTHING),
    ("test_tool_with_logging", "Logs three times.", NOTHING),
    ("test_tool_with_progress", "Tells its progress.", NOTHING),
    ("test_error_handling", "Fails.", NOTHING),
    ("test_sampling", "Asks the client's model.", PROMPT),
    ("test_elicitation", "Asks the user.", MESSAGE),
    ("test_elicitation_sep1034_defaults", "Asks with defaults.", NOTHING),
    ("test_elicitation_sep1330_enums", "Asks for choices.", NOTHING),
    ("test_reconnection", "Returns a text.", NOTHING),
    ("json_schema_2020_12_tool", "Tool with JSON Schema 2020-12 features", DIALECT),
    ("test_missing_capability", "Needs the client's model.", NOTHING),
    ("test_streaming_elicitation", "Asks the user.", NOTHING),
    ("test_logging_tool", "Logs.", NOTHING),
    ("test_trigger_tool_change", "Says that the tools changed.", NOTHING),
    ("test_trigger_prompt_change", "Says that the prompts changed.", NOTHING),
    ("test_input_required_result_elicitation", "Asks for a name.", NOTHING),
    ("test_input_required_result_sampling", "Asks the client's model.", NOTHING),
    ("test_input_required_result_list_roots", "Asks for the client's folders.", NOTHING),
    ("test_input_required_result_request_state", "Asks, and remembers.", NOTHING),
    ("test_input_required_result_multiple_inputs", "Asks for three things.", NOTHING),
    ("test_input_required_result_multi_round", "Asks twice.", NOTHING),
    ("test_input_required_result_tampered_state", "Asks, and remembers.", NOTHING),
    ("test_input_required_result_capabilities", "Asks for what the client can.", NOTHING),
    ("test_custom_header", "Takes a value that a header repeats.", IN_HEADER),
    ("greet", "Greets.", NAME),
    ("slow_compute", "Takes its time.", SECONDS),
    ("failing_job", "Fails after a while.", NOTHING),
    ("protocol_error_job", "Breaks the protocol.", NOTHING),
    ("confirm_delete", "Asks before it does not delete.", FILE),
    ("multi_input", "Asks for two things at once.", NOTHING),
    ("test_tool_with_task", "Asks, then goes on as a task.", NOTHING),
    ("test_structured", "Returns a structured result.", NOTHING),
    ("test_resource_update", "Says that the watched resource changed.", NOTHING),
    ("test_resource_link", "Mentions a resource.", NOTHING),
    ("test_panic", "Panics.", NOTHING),
];

pub(crate) fn list() -> Result<Vec<Tool>, SchemaError> {
    TOOLS
        .iter()
        .map(|(name, description, schema)| {
            Ok(Tool::new(*name, *description, Schema::input(schema)?))
        })
        .collect()
}

/// Asks for one field of a form.
pub(crate) fn form(message: &str, field: &str, kind: &str) -> InputRequest {
    form_of(message, json!({ field: { "type": kind } }), &[field])
}

fn form_of(message: &str, properties: Value, required: &[&str]) -> InputRequest {
    let schema = json!({ "type": "object", "properties": properties, "required": required });
    let schema = Schema::input(&schema.to_string()).expect("the schema describes an object");
    InputRequest::Form {
        message: message.to_owned(),
        schema,
    }
}

fn sampling(prompt: &str, max_tokens: u32) -> InputRequest {
    let text = json!({ "type": "text", "text": prompt });
    InputRequest::Message(Object::from_iter([
        (
            "messages".to_owned(),
            json!([{ "role": "user", "content": text }]),
        ),
        ("maxTokens".to_owned(), max_tokens.into()),
    ]))
}

fn described(answer: &InputResponse) -> String {
    match answer {
        InputResponse::Elicited { action, content } => format!(
            "action={}, content={}",
            format!("{action:?}").to_lowercase(),
            Value::Object(content.clone())
        ),
        InputResponse::Message(message) => message["content"]["text"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        InputResponse::Roots(roots) => format!("{} folders", roots.len()),
    }
}

fn image() -> Content {
    Block::Image {
        data: PNG.to_vec(),
        mime_type: "image/png".to_owned(),
    }
    .into()
}

fn resource(uri: &str, mime_type: &str, text: &str) -> Content {
    Block::Resource(ResourceContents {
        uri: uri.to_owned(),
        mime_type: Some(mime_type.to_owned()),
        data: ResourceData::Text(text.to_owned()),
    })
    .into()
}

fn contents(content: Vec<Content>) -> ToolResult {
    ToolResult {
        content,
        ..ToolResult::default()
    }
}

fn say(text: impl Into<String>) -> Result<ToolResult, CallError> {
    Ok(ToolResult::text(text))
}

async fn pause(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

pub(crate) async fn call<P>(call: ToolCall, context: Context<P>) -> Result<ToolResult, CallError> {
    let arguments: Value = call
        .arguments()
        .map_err(|error| CallError::InvalidParams(format!("unreadable arguments: {error}")))?;
    let given = |name: &str| arguments[name].as_str().unwrap_or_default().to_owned();
    let info = |text: &str| context.log(LogLevel::Info, None, &json!(text));
    match call.name.as_str() {
        "test_simple_text" => say("This is a simple text response for testing."),
        "test_reconnection" => say("Nothing was interrupted."),
        "test_image_content" => Ok(contents(vec![image()])),
        "test_audio_content" => Ok(contents(vec![
            Block::Audio {
                data: WAV.to_vec(),
                mime_type: "audio/wav".to_owned(),
            }
            .into(),
        ])),
        "test_embedded_resource" => Ok(contents(vec![resource(
            "test://embedded-resource",
            "text/plain",
            "This is an embedded resource content.",
        )])),
        "test_multiple_content_types" => Ok(contents(vec![
            Content::text("Multiple content types test:"),
            image(),
            resource(
                "test://mixed-content-resource",
                "application/json",
                r#"{"test":"data","value":123}"#,
            ),
        ])),
        "test_resource_link" => Ok(contents(vec![
            Block::Link(Box::new(crate::resources::list().remove(0))).into(),
        ])),
        "test_structured" => {
            let value = serde_json::value::to_raw_value(&json!({ "answer": 42 }));
            say("42").map(|result| result.structured(value.expect("a value can be written")))
        }
        "test_tool_with_logging" => {
            for text in [
                "Tool execution started",
                "Tool processing data",
                "Tool execution completed",
            ] {
                info(text);
                pause(50).await;
            }
            say("Logged three times.")
        }
        "test_tool_with_progress" => {
            for step in [0.0, 50.0, 100.0] {
                context.progress(step, Some(100.0), Some("working"));
                pause(50).await;
            }
            say("Done.")
        }
        "test_logging_tool" => {
            info("logged");
            say("Logged.")
        }
        "test_error_handling" => Ok(ToolResult::error(
            "This tool intentionally returns an error for testing",
        )),
        "test_panic" => panic!("as the tool promises"),
        "test_sampling" => {
            let answer = context.ask("answer", sampling(&given("prompt"), 100))?;
            say(format!("LLM response: {}", described(&answer)))
        }
        "test_elicitation" => {
            let fields = json!({
                "username": { "type": "string", "description": "User's response" },
                "email": { "type": "string", "description": "User's email address" },
            });
            let question = form_of(&given("message"), fields, &["username", "email"]);
            let answer = context.ask("answer", question)?;
            say(format!("User response: {}", described(&answer)))
        }
        "test_elicitation_sep1034_defaults" => {
            let fields = json!({
                "name": { "type": "string", "default": "John Doe" },
                "age": { "type": "integer", "default": 30 },
                "score": { "type": "number", "default": 95.5 },
                "status": { "type": "string", "enum": ["active", "inactive", "pending"], "default": "active" },
                "verified": { "type": "boolean", "default": true },
            });
            let answer =
                context.ask("answer", form_of("Please check the defaults", fields, &[]))?;
            say(format!("Elicitation completed: {}", described(&answer)))
        }
        "test_elicitation_sep1330_enums" => {
            let answer = context.ask("answer", form_of("Please choose", choices(), &[]))?;
            say(format!("Elicitation completed: {}", described(&answer)))
        }
        "test_missing_capability" => {
            let answer = context.ask("answer", sampling("Say something", 10))?;
            say(described(&answer))
        }
        "test_streaming_elicitation" => {
            let answer = context.ask("answer", form("What is your name?", "name", "string"))?;
            say(described(&answer))
        }
        "test_trigger_tool_change" => {
            context.changes().tools();
            say("Told.")
        }
        "test_trigger_prompt_change" => {
            context.changes().prompts();
            say("Told.")
        }
        "test_resource_update" => {
            context.changes().resource("test://watched-resource");
            say("Told.")
        }
        "test_input_required_result_elicitation" => {
            let answer = context.ask("user_name", form("What is your name?", "name", "string"))?;
            say(format!("Hello, {}", described(&answer)))
        }
        "test_input_required_result_sampling" => {
            let question = sampling("What is the capital of France?", 100);
            let answer = context.ask("capital_question", question)?;
            say(described(&answer))
        }
        "test_input_required_result_list_roots" => {
            let answer = context.ask("client_roots", InputRequest::Roots)?;
            say(described(&answer))
        }
        "test_input_required_result_request_state"
        | "test_input_required_result_tampered_state" => {
            let question = form("Please confirm", "ok", "boolean");
            match (context.answer("confirm", &question), context.state()) {
                (Some(_), Some("waiting")) => say("state-ok"),
                _ => Err(wait_for("confirm", question, "waiting")),
            }
        }
        "test_input_required_result_multiple_inputs" => {
            let questions = [
                ("user_name", form("What is your name?", "name", "string")),
                ("greeting", sampling("Generate a greeting", 50)),
                ("client_roots", InputRequest::Roots),
            ];
            if context.state().is_none() {
                let required = questions
                    .into_iter()
                    .fold(InputRequired::new(), |all, (key, one)| all.ask(key, one));
                return Err(CallError::InputRequired(Box::new(required.state("asked"))));
            }
            let [name, greeting, roots] = context.ask_all(questions)?;
            say(format!(
                "{}; {}; {}",
                described(&name),
                described(&greeting),
                described(&roots)
            ))
        }
        "test_input_required_result_multi_round" => multi_round(&context),
        "test_input_required_result_capabilities" => {
            if context.client().sampling {
                let answer = context.ask("capital_question", sampling("Say something", 10))?;
                say(described(&answer))
            } else {
                let answer =
                    context.ask("user_name", form("What is your name?", "name", "string"))?;
                say(described(&answer))
            }
        }
        "test_custom_header" => say(given("value")),
        "greet" => say(format!("Hello, {}!", given("name"))),
        "slow_compute" => {
            context.go_on(AsTask::IfPossible)?;
            let seconds = arguments["seconds"]
                .as_f64()
                .unwrap_or_default()
                .clamp(0.0, 60.0);
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
            say(format!("computed {} for {seconds} s", given("label")))
        }
        "failing_job" => {
            context.go_on(AsTask::Always)?;
            pause(1000).await;
            Ok(ToolResult::error("The job failed, as it always does."))
        }
        "protocol_error_job" => {
            context.go_on(AsTask::IfPossible)?;
            pause(100).await;
            Err(CallError::Internal(
                "the job broke, as it always does".into(),
            ))
        }
        "confirm_delete" => {
            context.go_on(AsTask::IfPossible)?;
            let question = form(
                &format!("Delete {}?", given("filename")),
                "confirm",
                "boolean",
            );
            let answer = context.ask("confirm", question)?;
            say(format!("{}: {}", given("filename"), described(&answer)))
        }
        "multi_input" => {
            context.go_on(AsTask::IfPossible)?;
            let [first, second] = context.ask_all([
                ("first", form("First?", "name", "string")),
                ("second", form("Second?", "name", "string")),
            ])?;
            say(format!("{}; {}", described(&first), described(&second)))
        }
        "test_tool_with_task" => {
            let answer = context.ask("user_name", form("What is your name?", "name", "string"))?;
            context.go_on(AsTask::Always)?;
            say(format!("Worked for {}", described(&answer)))
        }
        other => Ok(ToolResult::error(format!("`{other}` does nothing"))),
    }
}

fn wait_for(key: &str, question: InputRequest, state: &str) -> CallError {
    CallError::InputRequired(Box::new(
        InputRequired::new().ask(key, question).state(state),
    ))
}

fn multi_round<P>(context: &Context<P>) -> Result<ToolResult, CallError> {
    let name = form("Step 1: What is your name?", "name", "string");
    let color = form("Step 2: What is your favorite color?", "color", "string");
    match context.state() {
        None => Err(wait_for("step1", name, "1")),
        Some("1") => match context.answer("step1", &name) {
            Some(_) => Err(wait_for("step2", color, "2")),
            None => Err(wait_for("step1", name, "1")),
        },
        Some(_) => {
            let answer = context.ask("step2", color)?;
            say(described(&answer))
        }
    }
}

/// The five forms of a choice.
fn choices() -> Value {
    let titled = |word: &str| {
        json!([
            { "const": "value1", "title": format!("First {word}") },
            { "const": "value2", "title": format!("Second {word}") },
            { "const": "value3", "title": format!("Third {word}") },
        ])
    };
    let options = ["option1", "option2", "option3"];
    json!({
        "untitledSingle": { "type": "string", "enum": options },
        "titledSingle": { "type": "string", "oneOf": titled("Option") },
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": { "type": "array", "items": { "type": "string", "enum": options } },
        "titledMulti": { "type": "array", "items": { "anyOf": titled("Choice") } },
    })
}
