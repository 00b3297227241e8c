//! A reader for exactly what the writer writes: ten thousand tokens in a few milliseconds.
//!
//! It accepts less than YAML, never more and never otherwise: any doubt gives nothing, and the YAML parser decides.

use std::sync::Arc;

use super::{flow, instant, policy, write::is_bare};
use crate::{
    policy::Policy,
    secret::TokenHash,
    set::TokenSet,
    token::{Token, TokenId},
};

/// Reads a text in the writer's form with no unknown fields; tokens that are in an older set as they are now are shared with it.
pub(super) fn scan(text: &str, old: &TokenSet) -> Option<TokenSet> {
    // A cut line at the end could pass for a shorter value.
    if !text.ends_with('\n') || text.contains('\r') {
        return None;
    }
    if text == "tokens: []\n" {
        return Some(TokenSet::default());
    }
    let mut lines = Lines {
        rest: text.strip_prefix("tokens:\n")?,
    };
    let mut old = old.walk();
    let mut tokens = Vec::with_capacity(text.len() / 200);
    let mut last = Last::default();
    while !lines.rest.is_empty() {
        tokens.push(old.share(entry(&mut lines, &mut last)?));
    }
    TokenSet::with_unknown(tokens, Vec::new()).ok()
}

/// Lines that have not been read yet; all of them end with a line break.
#[derive(Clone, Copy)]
struct Lines<'a> {
    rest: &'a str,
}

impl<'a> Lines<'a> {
    /// Takes the next line if it begins so, and returns what follows on it.
    fn after(&mut self, start: &str) -> Option<&'a str> {
        let (line, rest) = self.rest.strip_prefix(start)?.split_once('\n')?;
        self.rest = rest;
        Some(line)
    }

    /// Takes the next line if it is this field of an entry, and returns its value.
    fn field(&mut self, name: &str) -> Option<&'a str> {
        let value = self.rest.strip_prefix("    ")?.strip_prefix(name)?;
        let (value, rest) = value.strip_prefix(": ")?.split_once('\n')?;
        self.rest = rest;
        Some(value)
    }

    /// Takes all lines that are indented like fields.
    fn fields(&mut self) -> &'a str {
        let all = self.rest;
        while self.after("    ").is_some() {}
        &all[..all.len() - self.rest.len()]
    }
}

/// Reads one entry.
fn entry<'a>(lines: &mut Lines<'a>, last: &mut Last<'a>) -> Option<Token> {
    let id = lines.after("  - id: ").filter(|id| is_bare(id))?;
    let hash = lines.field("hash")?;
    let note = flow::scalar(lines.field("note")?)?;
    let listed = lines.field("database").or_else(|| lines.field("databases"));
    let databases = match listed {
        Some(value) => policy::databases(&flow::read(value)?).ok()?,
        None => None,
    };
    let created_at = time(lines.field("created_at")?)?;
    let expires_at = match lines.field("expires_at")? {
        "null" => None,
        end => Some(time(end)?),
    };
    let mut token = Token::new(id.parse::<TokenId>().ok()?, bare_hash(hash)?, created_at);
    token.note = note.into_owned();
    token.databases = databases;
    token.expires_at = expires_at;
    if let Some(value) = lines.field(policy::FIELDS[0]) {
        token.previous = policy::previous(&flow::read(value)?).ok()?;
    }
    let own = lines.fields();
    if !own.is_empty() {
        token.policy = last.read(own)?;
    }
    Some(token)
}

/// The policy of the entry before: many entries in a row have the same, which is then read and held once.
#[derive(Default)]
struct Last<'a> {
    lines: &'a str,
    policy: Arc<Policy>,
}

impl<'a> Last<'a> {
    /// Reads the lines of a policy.
    fn read(&mut self, own: &'a str) -> Option<Arc<Policy>> {
        if self.lines != own {
            let mut policy = Policy::default();
            let mut lines = Lines { rest: own };
            // In the writer's order, so that none can stand twice.
            for name in &policy::FIELDS[1..] {
                if let Some(value) = lines.field(name) {
                    policy::lay(&mut policy, name, &flow::read(value)?).ok()?;
                }
            }
            if !lines.rest.is_empty() {
                return None;
            }
            self.lines = own;
            self.policy = Arc::new(policy);
        }
        Some(Arc::clone(&self.policy))
    }
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
