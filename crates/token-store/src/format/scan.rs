//! A reader for exactly what the writer writes: ten thousand tokens in a few milliseconds.
//!
//! It accepts less than YAML, never more and never otherwise: any doubt gives nothing, and the YAML parser decides.

use std::{str::Lines, sync::Arc};

use super::{flow, instant, policy, write::is_bare};
use crate::{
    policy::Policy,
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
    let mut last = Last::default();
    while let Some(first) = next {
        let (token, after) = entry(first, &mut lines, &mut last)?;
        tokens.push(Arc::new(token));
        next = after;
    }
    TokenSet::with_unknown(tokens, Vec::new()).ok()
}

/// Reads one entry and returns it with the line after it.
fn entry<'a>(
    first: &'a str,
    lines: &mut Lines<'a>,
    last: &mut Last<'a>,
) -> Option<(Token, Option<&'a str>)> {
    let id = first.strip_prefix("  - id: ").filter(|id| is_bare(id))?;
    let hash = lines.next()?.strip_prefix("    hash: ")?;
    let note = flow::scalar(lines.next()?.strip_prefix("    note: ")?)?;
    let mut line = lines.next()?;
    let mut databases = None;
    if let Some((_, value)) = field(line, &["database", "databases"]) {
        databases = policy::databases(&flow::read(value)?).ok()?;
        line = lines.next()?;
    }
    let created_at = time(line.strip_prefix("    created_at: ")?)?;
    let expires_at = match lines.next()?.strip_prefix("    expires_at: ")? {
        "null" => None,
        end => Some(time(end)?),
    };
    let mut token = Token::new(id.parse::<TokenId>().ok()?, bare_hash(hash)?, created_at);
    token.note = note;
    token.databases = databases;
    token.expires_at = expires_at;
    let mut next = lines.next();
    if let Some((_, value)) = next.and_then(|line| field(line, &policy::FIELDS[..1])) {
        policy::lay(&mut token, policy::FIELDS[0], &flow::read(value)?).ok()?;
        next = lines.next();
    }
    let mut own = Vec::new();
    while let Some(line) = next.filter(|line| field(line, &policy::FIELDS[1..]).is_some()) {
        own.push(line);
        next = lines.next();
    }
    if !own.is_empty() {
        last.read(own, &mut token)?;
    }
    Some((token, next))
}

/// The policy of the entry before: many entries in a row have the same, which is then read and held once.
#[derive(Default)]
struct Last<'a> {
    lines: Vec<&'a str>,
    policy: Arc<Policy>,
}

impl<'a> Last<'a> {
    /// Reads the lines of a policy into a token.
    fn read(&mut self, lines: Vec<&'a str>, token: &mut Token) -> Option<()> {
        if self.lines != lines {
            let mut known = &policy::FIELDS[1..];
            for line in &lines {
                // In the writer's order, so that none can stand twice.
                let (place, value) = field(line, known)?;
                policy::lay(token, known[place], &flow::read(value)?).ok()?;
                known = &known[place + 1..];
            }
            self.lines = lines;
            self.policy = Arc::clone(&token.policy);
        }
        token.policy = Arc::clone(&self.policy);
        Some(())
    }
}

/// Reads a line `    name: value`: which of the names it is, and the value's text.
fn field<'a>(line: &'a str, names: &[&str]) -> Option<(usize, &'a str)> {
    let (name, value) = line.strip_prefix("    ")?.split_once(": ")?;
    let place = names.iter().position(|known| *known == name)?;
    Some((place, value))
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
