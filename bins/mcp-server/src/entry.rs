//! Translates a token's entry for the server.

use std::{net::IpAddr, num::NonZeroU32, sync::Arc};

use mcp_protocol::Refusal;
use pg_tools::{Access, Pace, Policy, Role};
use session_pool::Login;
use token_store::{
    Access as TokenAccess, Names, Networks, PasswordSource, Policy as EntryPolicy,
    Role as TokenRole, Span, Token,
};

use crate::password;

/// What an entry's policy means for the tools; `calls_per_minute` is for entries that do not say
/// it.
pub(crate) fn policy(given: &EntryPolicy, calls_per_minute: Option<u32>) -> Policy {
    let limits = given.limits;
    let named = |names: &Names| names.iter().map(str::to_owned).collect();
    Policy {
        access: match given.access {
            TokenAccess::Read => Access::Read,
            TokenAccess::Write => Access::Write,
        },
        tools: given.tools.as_ref().map(named),
        schemas: given.schemas.as_ref().map(named),
        role: match &given.role {
            None => Role::Configured,
            Some(TokenRole::Login(login)) => Role::Login(login.user.as_str().to_owned()),
            Some(TokenRole::Set(name)) => Role::Set(name.as_str().to_owned()),
        },
        rows: limits.rows.map(NonZeroU32::get),
        result_bytes: limits
            .bytes
            .map(|size| usize::try_from(size.bytes()).unwrap_or(usize::MAX)),
        statement_timeout: limits.statement_timeout.map(Span::duration),
        pace: Pace {
            concurrent: limits.concurrent.map(NonZeroU32::get),
            calls_per_minute: limits
                .calls_per_minute
                .map(NonZeroU32::get)
                .or(calls_per_minute),
        },
    }
}

/// Reads the login of a token that logs in with a role of its own.
pub(crate) async fn login(
    token: &Token,
    policy: &EntryPolicy,
) -> Result<Option<Arc<Login>>, Refusal> {
    let Some(TokenRole::Login(login)) = &policy.role else {
        return Ok(None);
    };
    let password = password::find(login.password.clone()).await;
    let password = password.map_err(|missing| {
        tracing::error!(token = %token.id, %missing, "a token is refused: the password of its role is not known");
        Refusal::Unavailable("the database credentials of this token are missing on the server; its operator must set them")
    })?;
    let user = login.user.as_str().to_owned();
    Ok(Some(Arc::new(Login { user, password })))
}

/// Says whether the password of a token's own role is in a file.
pub(crate) fn has_password_file(policy: &EntryPolicy) -> bool {
    let Some(TokenRole::Login(login)) = &policy.role else {
        return false;
    };
    matches!(login.password, Some(PasswordSource::File(..)))
}

/// Says whether somebody may come from an address, if only these are allowed.
pub(crate) fn may_come_from(networks: Option<&Networks>, peer: IpAddr) -> bool {
    networks.is_none_or(|networks| networks.contains(peer))
}
