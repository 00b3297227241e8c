//! Showing tokens.

use server_config::Sources;
use time::OffsetDateTime;
use token_store::{Expiry, Selector, Token, TokenFile, Usage, UsageLog};

use crate::{failure::Failure, json, text, token_file, world::World};

pub(crate) fn all(
    unused: Option<Expiry>,
    json: bool,
    sources: &Sources,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let file = token_file(sources)?;
    let loaded = file.load()?;
    world.warn(&loaded.warnings);
    let usage = usage(&file);
    let now = world.now();
    let span = match unused {
        None => None,
        // As long as never is: those that have not been used at all.
        Some(Expiry::Never) => Some(now - OffsetDateTime::UNIX_EPOCH),
        Some(span) => span.end(now)?.map(|end| end - now),
    };
    let is_listed = |token: &Token, usage: Option<&Usage>| {
        span.is_none_or(|span| now - last_sign(token, usage) >= span)
    };
    let tokens: Vec<_> = loaded
        .set
        .iter()
        .map(|token| (&**token, usage.0.get(&token.id)))
        .filter(|(token, usage)| is_listed(token, *usage))
        .collect();
    let text = if json {
        json::list(&tokens, now)
    } else {
        text::list(&tokens, now)
    };
    world.print(&text).map_err(Failure::Output)
}

/// A token that was never used may be new.
fn last_sign(token: &Token, usage: Option<&Usage>) -> OffsetDateTime {
    usage.map_or(token.created_at, |usage| usage.at)
}

pub(crate) fn one(
    selector: &Selector,
    json: bool,
    sources: &Sources,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let file = token_file(sources)?;
    let loaded = file.load()?;
    world.warn(&loaded.warnings);
    let token = selector.find(loaded.set.iter())?;
    let usage = usage(&file);
    let (usage, now) = (usage.0.get(&token.id), world.now());
    let text = if json {
        json::shown(&token, usage, now)
    } else {
        text::shown(&token, usage, now)
    };
    world.print(&text).map_err(Failure::Output)
}

fn usage(file: &TokenFile) -> UsageLog {
    UsageLog::load(&UsageLog::path_for(file.path()))
}
