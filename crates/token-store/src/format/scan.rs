//! A reader for exactly the writer's form, plus comments and blank lines between entries, as templates have them. It
//! reads ten thousand tokens in a few milliseconds.
//!
//! It accepts a subset of YAML with the same meaning: on any doubt it returns `None`, and the YAML parser decides.

use std::{fmt, sync::Arc};

use super::{flow::Rest, policy, write::is_text};
use crate::{
    policy::{KeptPolicy, Policy},
    set::{TokenSet, Walk, shared},
    token::{Token, TokenId},
};

/// Reads a text in the writer's form without unknown fields; unchanged tokens are shared with the older set.
pub(super) fn scan(text: &str, old: &TokenSet) -> Option<TokenSet> {
    if text == "tokens: []\n" {
        return Some(TokenSet::default());
    }
    let mut rest = Rest(text);
    pass_over(&mut rest);
    if rest.take("---\n") {
        pass_over(&mut rest);
    }
    rest.expect("tokens:\n")?;
    pass_over(&mut rest);
    let mut old = old.walk();
    let mut tokens = Vec::with_capacity(text.len() / 200);
    let mut last = Last::default();
    while !rest.0.is_empty() {
        tokens.push(entry(&mut rest, &mut old, &mut last)?);
        pass_over(&mut rest);
    }
    TokenSet::with_unknown(tokens, Vec::new()).ok()
}

/// Skips whole lines without content: blank ones and comments.
fn pass_over(rest: &mut Rest<'_>) {
    while !rest.0.starts_with(ENTRY)
        && let Some((line, after)) = rest.0.split_once('\n')
        && says_nothing(line.trim_start_matches(' '))
    {
        rest.0 = after;
    }
}

fn says_nothing(line: &str) -> bool {
    // Other characters may end a line or be illegal in YAML.
    let is_sure = |letter: char| matches!(letter, ' '..='~') || letter.is_alphanumeric();
    line.is_empty() || line.starts_with('#') && line.chars().all(is_sure)
}

/// Reads one entry including its final line break: a truncated line could pass for a shorter value.
fn entry<'a>(rest: &mut Rest<'a>, old: &mut Walk<'_>, last: &mut Last<'a>) -> Option<Arc<Token>> {
    rest.expect(ENTRY)?;
    let id = Some(rest.plain()).filter(|id| is_text(id))?;
    rest.expect("\n    hash: ")?;
    let hash = rest.hash()?;
    rest.expect("\n    note: ")?;
    let note = rest.text()?;
    let mut databases = None;
    if rest.take("\n    database: ") || rest.take("\n    databases: ") {
        databases = policy::databases(&rest.value()?).ok()?;
    }
    rest.expect("\n    created_at: ")?;
    let created_at = rest.time()?;
    rest.expect("\n    expires_at: ")?;
    let expires_at = match rest.take("null") {
        true => None,
        false => Some(rest.time()?),
    };
    rest.expect("\n")?;
    let mut token = Token::new(id.parse::<TokenId>().ok()?, hash, created_at);
    token.note = note.into();
    token.databases = databases;
    token.expires_at = expires_at;
    if rest.take("    previous: ") {
        token.previous = policy::previous(&rest.value()?).ok()?;
        rest.expect("\n")?;
    }
    let known = old.own(&hash);
    if rest.0.starts_with(INDENT) {
        let as_before = known.filter(|known| take(rest, &known.policy));
        token.policy = match as_before {
            Some(known) => known.policy.clone(),
            None => last.or_next(rest)?,
        };
    }
    Some(shared(known, token))
}

/// Takes the lines of exactly this policy if they are next, and says whether they were.
fn take(rest: &mut Rest<'_>, policy: &KeptPolicy) -> bool {
    let mut taken = *rest;
    let is_next = policy::write_kept(&mut taken, policy).is_ok() && !taken.0.starts_with(INDENT);
    if is_next {
        *rest = taken;
    }
    is_next
}

/// "Writing" consumes the same text from the input, and fails if it is not next.
impl fmt::Write for Rest<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.expect(text).ok_or(fmt::Error)
    }
}

/// What an entry begins with.
const ENTRY: &str = "  - id: ";

/// What each field of an entry begins with, but no entry.
const INDENT: &str = "    ";

/// The previous entry's policy. Consecutive entries often have the same one, which is then read and stored once.
#[derive(Default)]
struct Last<'a> {
    lines: &'a str,
    policy: KeptPolicy,
    /// The buffer in which encoded policies are built.
    room: String,
}

impl<'a> Last<'a> {
    /// Reads the lines of a policy.
    fn or_next(&mut self, rest: &mut Rest<'a>) -> Option<KeptPolicy> {
        let all = rest.0;
        let is_same = rest.take(self.lines) && !rest.0.starts_with(INDENT);
        if !is_same {
            rest.0 = all;
            self.policy = KeptPolicy::made_in(&mut self.room, &own(rest)?);
            self.lines = &all[..all.len() - rest.0.len()];
        }
        Some(self.policy.clone())
    }
}

fn own(rest: &mut Rest<'_>) -> Option<Policy> {
    let mut policy = Policy::default();
    let mut known = &policy::FIELDS[1..];
    while rest.take(INDENT) {
        let name = rest.plain();
        // Fields must be in the writer's order, so none can occur twice.
        let place = known.iter().position(|known| *known == name)?;
        rest.expect(": ")?;
        policy::lay(&mut policy, name, &rest.value()?).ok()?;
        rest.expect("\n")?;
        known = &known[place + 1..];
    }
    Some(policy)
}
