//! The service's own tool alone, for holders of tokens.

use std::{net::IpAddr, sync::Arc, time::Instant};

use mcp_protocol::{
    Authenticate, CallError, Context, Credentials, Handler, Principal, Refusal, SchemaError,
    ServerInfo, Tool, ToolCall, ToolResult,
};
use session_pool::Session;

use crate::{
    door::{Admitted, Door},
    stock::Stock,
};

/// The holder of a token.
#[derive(Clone)]
pub(crate) struct Holder {
    name: Arc<str>,
    session: Session,
    ends: Option<Instant>,
    may_ask: bool,
}

impl From<Admitted> for Holder {
    fn from(admitted: Admitted) -> Self {
        Self {
            name: admitted.name(),
            may_ask: Stock::is_for(&admitted.policy),
            session: admitted.session,
            ends: admitted.ends,
        }
    }
}

impl Principal for Holder {
    fn name(&self) -> &str {
        &self.name
    }

    async fn revoked(&self) {
        let Some(ends) = self.ends else {
            return self.session.closed().await;
        };
        // Whichever comes first.
        let _over = tokio::time::timeout_at(ends.into(), self.session.closed()).await;
    }
}

impl Authenticate for Door {
    type Principal = Holder;

    async fn authenticate(&self, sent: Credentials<'_>, peer: IpAddr) -> Result<Holder, Refusal> {
        Ok(self.admit(sent.bearer()?, peer).await?.into())
    }

    fn lost(&self, holder: &Holder, _: IpAddr) -> Refusal {
        self.why_ended(&holder.session)
    }
}

/// The tool, put behind the protocol.
pub(crate) struct OwnTools {
    info: ServerInfo,
    tools: Arc<[Tool]>,
    none: Arc<[Tool]>,
    stock: Arc<Stock>,
}

impl OwnTools {
    pub(crate) fn new(stock: Arc<Stock>) -> Result<Self, SchemaError> {
        Ok(Self {
            info: ServerInfo {
                name: "shop-service".into(),
                version: env!("CARGO_PKG_VERSION").into(),
                ..ServerInfo::default()
            },
            tools: Arc::new([Stock::tool()?]),
            none: Arc::default(),
            stock,
        })
    }
}

impl Handler for OwnTools {
    type Principal = Holder;

    fn server(&self) -> &ServerInfo {
        &self.info
    }

    fn tools(&self, holder: &Holder) -> Arc<[Tool]> {
        Arc::clone(if holder.may_ask {
            &self.tools
        } else {
            &self.none
        })
    }

    async fn call_tool(
        &self,
        call: ToolCall,
        context: Context<Holder>,
    ) -> Result<ToolResult, CallError> {
        // Only listed tools are called, and there is one.
        self.stock.call(&call, &context.principal().session).await
    }
}
