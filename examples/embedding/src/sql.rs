//! The tools for PostgreSQL, and the service's own beside them.

use std::{
    collections::HashMap,
    net::IpAddr,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use mcp_protocol::{Authenticate, Context, Credentials, Refusal, SchemaError, Tool, ToolCall};
use pg_tools::{Access, Agent, Bounds, OwnAnswer, OwnTool, Pace, Policy, Role, Standing};
use token_store::{Access as TokenAccess, Limits, Names, Role as TokenRole, Span, Token, TokenId};

use crate::{
    door::{Admitted, Door},
    stock::Stock,
};

/// The service's own tool.
pub(crate) struct FreeStock {
    tool: Tool,
    stock: Arc<Stock>,
}

impl FreeStock {
    pub(crate) fn new(stock: Arc<Stock>) -> Result<Self, SchemaError> {
        Ok(Self {
            tool: Stock::tool()?,
            stock,
        })
    }
}

impl OwnTool for FreeStock {
    fn tool(&self) -> &Tool {
        &self.tool
    }

    fn is_for(&self, policy: &Policy) -> bool {
        policy.role == Role::Configured && policy.schemas.is_none()
    }

    fn call(self: Arc<Self>, call: ToolCall, context: Context<Agent>) -> OwnAnswer {
        Box::pin(async move { self.stock.call(&call, context.principal().session()).await })
    }
}

/// Lets in the holders of tokens as agents.
pub(crate) struct Agents {
    door: Arc<Door>,
    /// Who the holders of tokens are, made once for each: the calls of a token are counted together.
    known: Mutex<Known>,
}

type Known = HashMap<TokenId, (Weak<Token>, Arc<Standing>)>;

impl Agents {
    pub(crate) fn behind(door: Arc<Door>) -> Self {
        Self {
            door,
            known: Mutex::default(),
        }
    }

    fn standing(&self, admitted: &Admitted) -> Arc<Standing> {
        let token = &admitted.token;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, standing)) = known.get(&token.id)
            && std::ptr::eq(of.as_ptr(), Arc::as_ptr(token))
        {
            return Arc::clone(standing);
        }
        let standing = Arc::new(standing(admitted));
        // Those of tokens that are no more.
        known.retain(|_, (of, _)| of.strong_count() > 0);
        let entry = (Arc::downgrade(token), Arc::clone(&standing));
        known.insert(token.id.clone(), entry);
        standing
    }
}

impl Authenticate for Agents {
    type Principal = Agent;

    async fn authenticate(&self, sent: Credentials<'_>, peer: IpAddr) -> Result<Agent, Refusal> {
        let admitted = self.door.admit(sent.bearer()?, peer).await?;
        let agent = Agent::of(self.standing(&admitted), admitted.session);
        Ok(agent.calling_from(peer).ending_at(admitted.ends))
    }

    fn lost(&self, agent: &Agent, _: IpAddr) -> Refusal {
        self.door.why_ended(agent.session())
    }
}

/// Puts what a token's entry says into the tools' own terms. What is taken apart here name by name will not
/// compile when there is more of it.
fn standing(admitted: &Admitted) -> Standing {
    let token_store::Policy {
        role,
        access,
        tools,
        schemas,
        limits,
        allow_from: _, // The door's affair.
    } = &admitted.policy;
    let Limits {
        rows,
        bytes,
        statement_timeout,
        concurrent,
        calls_per_minute,
        connections: _, // The door's, too.
    } = *limits;
    let named = |names: &Names| names.iter().map(str::to_owned).collect();
    let policy = Policy {
        access: match access {
            TokenAccess::Read => Access::Read,
            TokenAccess::Write => Access::Write,
        },
        tools: tools.as_ref().map(named),
        schemas: schemas.as_ref().map(named),
        role: match role {
            None => Role::Configured,
            Some(TokenRole::Login(login)) => Role::Login(login.user.as_str().to_owned()),
            Some(TokenRole::Set(name)) => Role::Set(name.as_str().to_owned()),
        },
        rows: rows.map(NonZeroU32::get),
        result_bytes: bytes.map(|size| size.bytes() as usize),
        statement_timeout: statement_timeout.map(Span::duration),
        pace: Pace {
            concurrent: concurrent.map(NonZeroU32::get),
            calls_per_minute: calls_per_minute.map(NonZeroU32::get),
        },
    };
    Standing {
        name: admitted.name(),
        databases: admitted.session.databases(),
        policy: Arc::new(policy),
        meter: Arc::default(),
        bounds: Bounds::default(),
    }
}
