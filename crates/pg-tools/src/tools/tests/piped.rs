//! An agent that is served over a pipe, and what the ledger is told of its calls.

use std::time::Duration;

use mcp_protocol::{Service, stdio};
use tokio::{
    io::{AsyncWriteExt, DuplexStream},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

use super::*;
use crate::{Account, Ledger, Toolbox};

/// How a call ended, and with how many rows.
type Ended = (&'static str, u64);

/// The client's end of a pipe.
pub(super) struct Piped {
    client: DuplexStream,
    pub(super) told: UnboundedReceiver<Ended>,
}

impl Piped {
    pub(super) async fn new(agent: Agent) -> Self {
        let (teller, told) = unbounded_channel();
        let settings = Settings {
            ledger: Some(Arc::new(Told(teller))),
            ..everything()
        };
        let service = Arc::new(Service::new(Toolbox::new(settings).unwrap()));
        let (client, server) = tokio::io::duplex(1 << 16);
        let (input, output) = tokio::io::split(server);
        let options = stdio::Options::default();
        tokio::spawn(stdio::serve(
            input,
            output,
            service,
            agent,
            options,
            std::future::pending(),
        ));
        let mut piped = Piped { client, told };
        let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
        piped
            .send(json!({ "id": 0, "method": "initialize", "params": params }))
            .await;
        piped
    }

    pub(super) async fn call(&mut self, id: u64, tool: &str, arguments: Value) {
        let params = json!({ "name": tool, "arguments": arguments });
        self.send(json!({ "id": id, "method": "tools/call", "params": params }))
            .await;
    }

    pub(super) async fn cancel(&mut self, id: u64) {
        let params = json!({ "requestId": id });
        self.send(json!({ "method": "notifications/cancelled", "params": params }))
            .await;
    }

    async fn send(&mut self, mut message: Value) {
        message["jsonrpc"] = json!("2.0");
        let line = format!("{message}\n");
        self.client.write_all(line.as_bytes()).await.unwrap();
    }
}

struct Told(UnboundedSender<Ended>);

impl Ledger for Told {
    fn admit(&self) -> Result<(), &'static str> {
        Ok(())
    }

    fn ended(&self, account: &Account<'_>) {
        _ = self.0.send((account.outcome.word(), account.rows));
    }

    fn refused(&self, account: &Account<'_>) {
        self.ended(account);
    }
}

/// Asks again and again, as PostgreSQL does not notify anybody of what happens in it.
pub(super) async fn until(happens: impl AsyncFn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while !happens().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.expect("it happens");
}
