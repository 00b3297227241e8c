//! The service's own affair: what of the stock is reserved. It is a tool, too.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use mcp_protocol::{CallError, Schema, SchemaError, Tool, ToolCall, ToolResult};
use serde::Deserialize;
use serde_json::json;
use session_pool::Session;
use token_store::Policy;

const IN_STOCK: &str = "SELECT sum(s.quantity)::bigint \
    FROM shop.products p JOIN shop.stock s ON s.product_id = p.id \
    WHERE p.sku = $1";

/// What is reserved, by the products' numbers.
#[derive(Default)]
pub(crate) struct Stock(Mutex<HashMap<String, i64>>);

#[derive(Deserialize)]
struct Arguments {
    sku: String,
}

impl Stock {
    pub(crate) const TOOL: &str = "free_stock";

    pub(crate) fn tool() -> Result<Tool, SchemaError> {
        let takes =
            r#"{"type":"object","properties":{"sku":{"type":"string"}},"required":["sku"]}"#;
        let mut tool = Tool::new(
            Self::TOOL,
            "Says how many of a product are neither sold nor reserved.",
            Schema::input(takes)?,
        );
        tool.annotations.read_only_hint = Some(true);
        Ok(tool)
    }

    /// Says whether a token may use the tool, whose statement runs as the service's own role.
    pub(crate) fn is_for(policy: &Policy) -> bool {
        let listed = policy.tools.as_ref();
        listed.is_none_or(|tools| tools.contains(Self::TOOL))
            && policy.role.is_none()
            && policy.schemas.is_none()
    }

    /// Answers a call with a connection of the token's own.
    pub(crate) async fn call(
        &self,
        call: &ToolCall,
        session: &Session,
    ) -> Result<ToolResult, CallError> {
        let Arguments { sku } = match call.arguments() {
            Ok(arguments) => arguments,
            Err(error) => return Ok(ToolResult::error(error.to_string())),
        };
        let stocked = in_stock(session, &sku).await.map_err(CallError::Internal)?;
        let Some(stocked) = stocked else {
            return Ok(ToolResult::error("there is no such product"));
        };
        let free = stocked - self.reserved().get(&sku).copied().unwrap_or_default();
        Ok(ToolResult::text(format!("{free} of {sku} are free"))
            .structured(&json!({ "free": free })))
    }

    pub(crate) fn reserve(&self, sku: &str) {
        *self.reserved().entry(sku.to_owned()).or_default() += 1;
    }

    fn reserved(&self) -> MutexGuard<'_, HashMap<String, i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn in_stock(
    session: &Session,
    sku: &str,
) -> Result<Option<i64>, Box<dyn std::error::Error + Send + Sync>> {
    let database = session.databases().first().cloned().unwrap_or_default();
    let lease = session.lease(&database).await?;
    let row = lease.query_one(IN_STOCK, &[&sku]).await?;
    lease.scrub().await?;
    Ok(row.try_get(0)?)
}
