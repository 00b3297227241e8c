//! What `tools/list` costs a model.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use mcp_protocol::{Service, stdio};
use pg_tools::{Agent, Settings, Toolbox};
use serde_json::{Value, json};
use session_pool::{Limits, Sessions};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

/// The tokens that the default tools may take of a model's context.
const MOST_TOKENS: usize = 2_000;

/// Asks for the tools in a session of a revision that shows all of a tool.
async fn tools(settings: Settings) -> Value {
    let service = Arc::new(Service::new(Toolbox::new(settings).unwrap()));
    let sessions = Sessions::new([], Limits::default());
    let agent = Agent::new(sessions.open("anyone", None), "shop");
    let (client, server) = tokio::io::duplex(1 << 20);
    let (input, output) = tokio::io::split(server);
    let serving = stdio::serve(
        input,
        output,
        service,
        agent,
        stdio::Options::default(),
        std::future::pending(),
    );
    let asking = async {
        let (input, mut output) = tokio::io::split(client);
        let mut lines = BufReader::new(input).lines();
        let initialize = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "test", "version": "1" } } });
        let list = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" });
        output
            .write_all(format!("{initialize}\n{list}\n").as_bytes())
            .await
            .unwrap();
        lines.next_line().await.unwrap();
        let listed: Value =
            serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
        listed["result"]["tools"].clone()
    };
    tokio::select! {
        listed = asking => listed,
        served = serving => panic!("the server ended: {served:?}"),
    }
}

#[tokio::test]
async fn the_default_tools_take_less_than_2000_tokens() {
    let listed = tools(Settings::default()).await;
    let tokens = tiktoken_rs::o200k_base().unwrap();
    let each = listed.as_array().unwrap().iter().map(|tool| {
        let count = tokens.encode_ordinary(&tool.to_string()).len();
        format!("{} {count}", tool["name"].as_str().unwrap())
    });
    let each: Vec<String> = each.collect();
    let all = tokens
        .encode_ordinary(&json!({ "tools": listed }).to_string())
        .len();
    assert!(all < MOST_TOKENS, "{all} tokens: {}", each.join(", "));
}
