//! A server with one tool whose arguments have a type, over stdio.
//!
//! `cargo run -p mcp-protocol --example typed_tool`, then type, for example:
//! `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","arguments":{"a":1,"b":2}}}`

use std::sync::Arc;

use mcp_protocol::{
    CallError, Context, Handler, Principal, Schema, SchemaError, ServerInfo, Service, Tool,
    ToolCall, ToolResult, stdio,
};
use serde::{Deserialize, Serialize};
use tokio::io::{stdin, stdout};

/// What `add` takes; `ARGUMENTS` says the same to the model.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Add {
    a: i64,
    b: i64,
}

const ARGUMENTS: &str = r#"{
    "type": "object",
    "properties": {
        "a": { "type": "integer", "description": "The first summand." },
        "b": { "type": "integer", "description": "The second summand." }
    },
    "required": ["a", "b"],
    "additionalProperties": false
}"#;

/// What `add` returns; `RESULT` says the same to programs.
#[derive(Serialize)]
struct Sum {
    sum: i64,
}

const RESULT: &str = r#"{
    "type": "object",
    "properties": { "sum": { "type": "integer" } },
    "required": ["sum"]
}"#;

fn add(call: &ToolCall) -> Result<ToolResult, CallError> {
    // An error that the model can fix is a result, which it reads.
    let Add { a, b } = match call.arguments() {
        Ok(arguments) => arguments,
        Err(error) => return Ok(ToolResult::error(format!("bad arguments: {error}"))),
    };
    let Some(sum) = a.checked_add(b) else {
        return Ok(ToolResult::error("the sum does not fit into 64 bits"));
    };
    // An error that it cannot fix is a `CallError`, whose cause only the log shows.
    let structured = serde_json::value::to_raw_value(&Sum { sum });
    let structured = structured.map_err(|error| CallError::Internal(error.into()))?;
    Ok(ToolResult::text(sum.to_string()).structured(structured))
}

/// The person who started this program.
#[derive(Clone)]
struct LocalUser;

impl Principal for LocalUser {
    fn name(&self) -> &str {
        "local user"
    }

    async fn revoked(&self) {
        std::future::pending().await
    }
}

struct Calculator {
    info: ServerInfo,
    tools: Arc<[Tool]>,
}

impl Calculator {
    fn new() -> Result<Self, SchemaError> {
        let mut tool = Tool::new("add", "Adds two integers.", Schema::input(ARGUMENTS)?);
        tool.output_schema = Some(Schema::output(RESULT)?);
        tool.annotations.read_only_hint = Some(true);
        tool.annotations.open_world_hint = Some(false);
        let info = ServerInfo {
            name: "calculator".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..ServerInfo::default()
        };
        Ok(Self {
            info,
            tools: Arc::new([tool]),
        })
    }
}

impl Handler for Calculator {
    type Principal = LocalUser;

    fn server(&self) -> &ServerInfo {
        &self.info
    }

    fn tools(&self, _: &LocalUser) -> Arc<[Tool]> {
        Arc::clone(&self.tools)
    }

    async fn call_tool(
        &self,
        call: ToolCall,
        _: Context<LocalUser>,
    ) -> Result<ToolResult, CallError> {
        // There is one tool, and only listed ones are called.
        add(&call)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let service = Arc::new(Service::new(Calculator::new()?));
    let options = stdio::Options::default();
    let never = std::future::pending();
    stdio::serve(stdin(), stdout(), service, LocalUser, options, never).await?;
    Ok(())
}
