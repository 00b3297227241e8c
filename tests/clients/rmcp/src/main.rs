//! The official Rust SDK, in one of its modes: connects, lists the tools, runs one query, and prints what it saw.
//!
//! `rmcp-client MODE http URL TOKEN`, or `rmcp-client MODE stdio COMMAND [ARGUMENT...]`, where MODE is `legacy`,
//! `auto` or `modern`.

use std::error::Error;

use rmcp::{
    ClientLifecycleMode, ClientServiceExt, RoleClient,
    model::{CallToolRequestParams, CallToolResult, ClientConfig, ProtocolVersion},
    service::RunningService,
    transport::{
        StreamableHttpClientTransport, TokioChildProcess,
        streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use serde_json::{Value, json};
use tokio::process::Command;

type Connected = RunningService<RoleClient, ClientConfig>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, transport, first, rest @ ..] = &arguments[..] else {
        return Err(
            "usage: rmcp-client MODE http URL TOKEN, or MODE stdio COMMAND [ARGUMENT...]".into(),
        );
    };
    let client = match transport.as_str() {
        "http" => {
            over_http(
                lifecycle(mode)?,
                first,
                rest.first().ok_or("the token is missing")?,
            )
            .await?
        }
        "stdio" => over_stdio(lifecycle(mode)?, first, rest).await?,
        other => return Err(format!("no transport is called {other}").into()),
    };
    let seen = look(&client).await?;
    client.cancel().await?;
    println!("{seen}");
    Ok(())
}

fn lifecycle(mode: &str) -> Result<ClientLifecycleMode, String> {
    let preferred_versions = vec![ProtocolVersion::V_2026_07_28];
    match mode {
        "legacy" => Ok(ClientLifecycleMode::Initialize),
        "modern" => Ok(ClientLifecycleMode::Discover { preferred_versions }),
        "auto" => Ok(ClientLifecycleMode::Auto {
            preferred_versions,
            legacy_version: None,
        }),
        other => Err(format!("no mode is called {other}")),
    }
}

async fn over_http(
    mode: ClientLifecycleMode,
    url: &str,
    token: &str,
) -> Result<Connected, Box<dyn Error>> {
    let config = StreamableHttpClientTransportConfig::with_uri(url).auth_header(token);
    let transport = StreamableHttpClientTransport::from_config(config);
    Ok(ClientConfig::default()
        .serve_with_lifecycle(transport, mode)
        .await?)
}

async fn over_stdio(
    mode: ClientLifecycleMode,
    program: &str,
    arguments: &[String],
) -> Result<Connected, Box<dyn Error>> {
    let mut command = Command::new(program);
    command.args(arguments);
    let transport = TokioChildProcess::new(command)?;
    Ok(ClientConfig::default()
        .serve_with_lifecycle(transport, mode)
        .await?)
}

async fn look(client: &Connected) -> Result<Value, Box<dyn Error>> {
    let tools = client.list_all_tools().await?;
    let names: Vec<&str> = tools.iter().map(|tool| &*tool.name).collect();
    let result = query(client, "SELECT 6 * 7 AS answer").await?;
    let bad = query(client, "SELECT no_such_column").await?;
    let texts = result.content.iter().filter_map(|block| block.as_text());
    let texts: Vec<&str> = texts.map(|block| block.text.as_str()).collect();
    Ok(json!({
        "revision": client.peer_info().map(|server| server.protocol_version.clone()),
        "tools": names,
        "text": texts.join("\n"),
        "structured": result.structured_content,
        "failed": bad.is_error == Some(true),
    }))
}

async fn query(client: &Connected, sql: &str) -> Result<CallToolResult, Box<dyn Error>> {
    let arguments = json!({ "query": sql })
        .as_object()
        .cloned()
        .unwrap_or_default();
    let call = CallToolRequestParams::new("query_database").with_arguments(arguments);
    Ok(client.call_tool(call).await?)
}
