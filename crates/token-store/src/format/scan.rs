//! A reader for exactly what the writer writes: ten thousand tokens in a few milliseconds.
//!
//! It accepts less than YAML, never more and never otherwise: any doubt gives nothing, and the YAML parser decides.

use std::{str::Lines, sync::Arc};

use super::{instant, write::is_bare};
use crate::{
    secret::TokenHash,
    set::TokenSet,
    token::{Token, TokenId},
};

/// Reads a text in the writer's form with no unknown fields.
pub(super) fn scan(text: &str) -> Option<TokenSet> {
    // A cut line at the end could pass for a shorter value.
    let text = text.strip_suffix('\n')?;
    if text.contains('\r') {
        return None;
    }
    if text == "tokens: []" {
        return Some(TokenSet::default());
    }
    let mut lines = text.strip_prefix("tokens:\n")?.lines();
    let mut tokens = Vec::with_capacity(text.len() / 200);
    let mut next = lines.next();
    while let Some(first) = next {
        let (token, after) = entry(first, &mut lines)?;
        tokens.push(Arc::new(token));
        next = after;
    }
    TokenSet::with_unknown(tokens, Vec::new()).ok()
}

/// Reads one entry and returns it with the line after it.
fn entry<'a>(first: &'a str, lines: &mut Lines<'a>) -> Option<(Token, Option<&'a str>)> {
    let id = first.strip_prefix("  - id: ").filter(|id| is_bare(id))?;
    let hash = lines.next()?.strip_prefix("    hash: ")?;
    let note = scalar(lines.next()?.strip_prefix("    note: ")?)?;
    let mut line = lines.next()?;
    let mut database = None;
    if let Some(name) = line.strip_prefix("    database: ") {
        database = Some(name.to_owned()).filter(|name| is_bare(name));
        database.as_ref()?;
        line = lines.next()?;
    }
    let created_at = time(line.strip_prefix("    created_at: ")?)?;
    let expires_at = match lines.next()?.strip_prefix("    expires_at: ")? {
        "null" => None,
        end => Some(time(end)?),
    };
    let mut token = Token::new(id.parse::<TokenId>().ok()?, bare_hash(hash)?, created_at);
    token.note = note;
    token.database = database;
    token.expires_at = expires_at;
    Some((token, lines.next()))
}

fn bare_hash(digits: &str) -> Option<TokenHash> {
    let digits = digits
        .strip_prefix('"')
        .map_or(Some(digits), |inner| inner.strip_suffix('"'))?;
    TokenHash::from_hex(digits)
}

fn time(quoted: &str) -> Option<time::OffsetDateTime> {
    instant::whole_seconds(quoted.strip_prefix('"')?.strip_suffix('"')?)
}

/// Reads a bare text, or a quoted one whose only escapes are `\"` and `\\`.
fn scalar(text: &str) -> Option<String> {
    let Some(inner) = text.strip_prefix('"') else {
        return is_bare(text).then(|| text.to_owned());
    };
    let inner = inner.strip_suffix('"')?;
    let mut value = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        value.push(match character {
            ' '..='!' | '#'..='[' | ']'..='~' => character,
            '\\' => characters.next().filter(|next| "\"\\".contains(*next))?,
            _ => return None,
        });
    }
    Some(value)
}
