//! `read_resource`: for clients that cannot read resources themselves.

use mcp_protocol::Json;
use serde_json::{Value, json};

use std::sync::Arc;

use super::{Answer, Call, Definition, Effect, Failure, Found, Offer, Tool};
use crate::resources::{LISTED, Resources, TEMPLATE};

const DEFINITION: Definition<'_> = Definition {
    name: "read_resource",
    title: "Read a resource",
    description: "Reads a resource by its URI, such as pg://system_info; list names them.",
    input_schema: r#"{"type":"object","properties":{"uri":{"type":"string"},"list":{"type":"boolean","default":false},"database":{"type":"string"}},"additionalProperties":false}"#,
    output_schema: r#"{"type":"object","properties":{"uri":{"type":"string"},"content":{"type":"object"},"resources":{"type":"array","items":{"type":"object","properties":{"uri":{"type":"string"},"description":{"type":"string"}},"required":["uri","description"]}}}}"#,
    effect: Effect::Reads,
    offer: Offer::Usual,
};

/// The tool.
pub(crate) struct ReadResource(pub(crate) Arc<Resources>);

impl Tool for ReadResource {
    fn definition(&self) -> Definition<'_> {
        DEFINITION
    }

    fn call<'a>(&'a self, call: Call<'a>) -> Answer<'a> {
        Box::pin(self.run(call))
    }
}

impl ReadResource {
    async fn run(&self, mut call: Call<'_>) -> Result<Found, Failure> {
        let agent = &call.on_database()?;
        let uri = call.arguments.optional_text("uri")?;
        let list = call.arguments.switch("list", false)?;
        call.arguments.finish()?;
        match uri {
            Some(uri) if !list => {
                let content = self.0.read(agent, &uri).await?;
                let content = content.ok_or_else(|| {
                    let uri = crate::quoting::repeated(&uri);
                    Failure::told(format!(
                        "there is no resource \"{uri}\"; {}",
                        all().join(", ")
                    ))
                })?;
                let structured = format!(r#"{{"uri":{},"content":{content}}}"#, json!(uri));
                Ok(Found::raw(Json::written(structured)).data(content))
            }
            None if !list => Err(Failure::told("uri is missing; give one, or list true")),
            _ => Ok(listed()),
        }
    }
}

fn all() -> Vec<&'static str> {
    let all = LISTED.iter().chain([&TEMPLATE]);
    all.map(|resource| resource.uri).collect()
}

fn listed() -> Found {
    let all = || LISTED.iter().chain([&TEMPLATE]);
    let resources: Vec<Value> = all()
        .map(|resource| json!({ "uri": resource.uri, "description": resource.description }))
        .collect();
    let lines: Vec<String> = all()
        .map(|resource| format!("{}: {}", resource.uri, resource.description))
        .collect();
    Found::new(&json!({ "resources": resources })).said(lines.join("\n"))
}
