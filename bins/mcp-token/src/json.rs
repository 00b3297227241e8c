//! Results as JSON; `docs/tokens.md` describes every field.

use serde_json::{Map, Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use token_store::{LIMITS, Names, PasswordSource, Policy, Role, Secret, Token, Usage};

use crate::{rotate::old_secret_ends, text::is_hidden};

/// A new token, or a new secret of one.
pub(crate) fn added(token: &Token, secret: &Secret, sql: Option<&str>) -> String {
    let mut object = Map::new();
    object.insert("token".into(), secret.expose().into());
    object.extend(record(token));
    if let Some(sql) = sql {
        object.insert("create_role".into(), sql.into());
    }
    line(&Value::Object(object))
}

pub(crate) fn list(tokens: &[(&Token, Option<&Usage>)], now: OffsetDateTime) -> String {
    let listed = tokens
        .iter()
        .map(|(token, usage)| status(token, *usage, now));
    let mut object = Map::new();
    // `json!` would copy them all.
    object.insert("tokens".into(), listed.map(Value::Object).collect());
    object.insert("total".into(), tokens.len().into());
    line(&Value::Object(object))
}

pub(crate) fn shown(token: &Token, usage: Option<&Usage>, now: OffsetDateTime) -> String {
    line(&Value::Object(status(token, usage, now)))
}

pub(crate) fn edited(token: &Token, usage: Option<&Usage>, now: OffsetDateTime) -> String {
    line(&json!({ "changed": status(token, usage, now) }))
}

/// Writes whose secret was presented, and when that secret ends.
pub(crate) fn verified(token: Option<&Token>, state: &str, end: Option<OffsetDateTime>) -> String {
    line(&json!({
        "id": token.map(|token| token.id.as_str()),
        "state": state,
        "expires_at": end.map(stamp),
    }))
}

pub(crate) fn checked(errors: &[String], warnings: &[String]) -> String {
    line(&json!({ "valid": errors.is_empty(), "errors": errors, "warnings": warnings }))
}

fn status(token: &Token, usage: Option<&Usage>, now: OffsetDateTime) -> Map<String, Value> {
    let mut object = record(token);
    let status = if token.is_spoiled() {
        "removed"
    } else if token.is_expired(now) {
        "expired"
    } else {
        "valid"
    };
    object.insert("status".into(), status.into());
    object.insert("last_used".into(), usage.map_or(Value::Null, used));
    object
}

fn used(usage: &Usage) -> Value {
    json!({
        "at": stamp(usage.at),
        "address": usage.address.map(|address| address.to_string()),
        "client": usage.client,
        "calls": usage.calls,
        "rows": usage.rows,
    })
}

/// Names what a policy sets, as the file does.
fn policy(policy: &Policy) -> Value {
    let mut object = Map::new();
    object.insert("access".into(), policy.access.word().into());
    match &policy.role {
        None => {}
        Some(Role::Set(role)) => _ = object.insert("set_role".into(), role.as_str().into()),
        Some(Role::Login(login)) => {
            let mut role = Map::new();
            role.insert("user".into(), login.user.as_str().into());
            match &login.password {
                None => {}
                Some(PasswordSource::Environment(variable)) => {
                    role.insert("password_env".into(), variable.as_str().into());
                }
                Some(PasswordSource::File(path)) => {
                    role.insert("password_file".into(), path.as_str().into());
                }
            }
            object.insert("role".into(), role.into());
        }
    }
    for (field, names) in [("tools", &policy.tools), ("schemas", &policy.schemas)] {
        if let Some(names) = names {
            object.insert(field.into(), listed(names));
        }
    }
    let limits = LIMITS.iter().filter_map(|limit| {
        let text = limit.text(&policy.limits)?;
        Some((
            limit.name.to_owned(),
            text.parse().map_or(text.into(), |count: u64| count.into()),
        ))
    });
    let limits: Map<String, Value> = limits.collect();
    if !limits.is_empty() {
        object.insert("limits".into(), limits.into());
    }
    if let Some(networks) = &policy.allow_from {
        let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
        object.insert("allow_from".into(), networks.into());
    }
    object.into()
}

fn listed(names: &Names) -> Value {
    names.iter().collect()
}

pub(crate) fn removed(token: &Token) -> String {
    line(&json!({ "removed": record(token) }))
}

fn record(token: &Token) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("id".into(), token.id.as_str().into());
    object.insert("note".into(), (*token.note).into());
    object.insert("database".into(), token.database().into());
    object.insert(
        "databases".into(),
        token.databases.as_ref().map_or(Value::Null, listed),
    );
    object.insert("hash_prefix".into(), token.hash.prefix().into());
    object.insert("created_at".into(), stamp(token.created_at).into());
    object.insert("expires_at".into(), token.expires_at.map(stamp).into());
    object.insert(
        "previous_until".into(),
        old_secret_ends(token).map(stamp).into(),
    );
    object.insert("policy".into(), policy(&token.policy.read()));
    object
}

/// Formats a time for JSON.
pub(crate) fn stamp(instant: OffsetDateTime) -> String {
    instant
        .format(&Rfc3339)
        .expect("a token's times are UTC and in the years 0 to 9999")
}

/// Writes an object on one line, without characters that a terminal would obey.
#[must_use]
pub fn line(value: &Value) -> String {
    let text = value.to_string();
    let mut line = String::with_capacity(text.len() + 1);
    for character in text.chars() {
        // They occur in strings only, and each has at most four hexadecimal digits.
        match is_hidden(character) {
            true => line.push_str(&format!("\\u{:04x}", u32::from(character))),
            false => line.push(character),
        }
    }
    line + "\n"
}
