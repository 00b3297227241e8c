//! Results as programs read them; `docs/tokens.md` describes every field.

use serde_json::{Map, Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use token_store::{Secret, Token, TokenSet};

pub(crate) fn added(token: &Token, secret: &Secret) -> String {
    let mut object = Map::new();
    object.insert("token".into(), secret.expose().into());
    object.extend(record(token));
    line(&Value::Object(object))
}

pub(crate) fn list(set: &TokenSet, now: OffsetDateTime) -> String {
    let tokens: Vec<Value> = set
        .iter()
        .map(|token| {
            let mut object = record(token);
            let status = if token.is_expired(now) {
                "expired"
            } else {
                "valid"
            };
            object.insert("status".into(), status.into());
            Value::Object(object)
        })
        .collect();
    line(&json!({ "tokens": tokens, "total": set.len() }))
}

pub(crate) fn removed(token: &Token) -> String {
    line(&json!({ "removed": record(token) }))
}

fn record(token: &Token) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("id".into(), token.id.as_str().into());
    object.insert("note".into(), token.note.as_str().into());
    object.insert("database".into(), token.database.as_deref().into());
    object.insert("hash_prefix".into(), token.hash.prefix().into());
    object.insert("created_at".into(), stamp(token.created_at).into());
    object.insert("expires_at".into(), token.expires_at.map(stamp).into());
    object
}

fn stamp(instant: OffsetDateTime) -> String {
    instant
        .format(&Rfc3339)
        .expect("a token's times are UTC and in the years 0 to 9999")
}

fn line(value: &Value) -> String {
    format!("{value}\n")
}
