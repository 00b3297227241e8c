//! Shows tokens.

use server_config::Sources;
use time::OffsetDateTime;
use token_store::{Selector, Token, TokenFile, Usage, UsageLog};

use crate::{command::Unused, failure::Failure, json, load, text, token_file, world::World};

pub(crate) fn all(
    unused: Option<Unused>,
    json: bool,
    sources: &Sources,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let file = token_file(sources)?;
    let loaded = load(&file, world)?;
    world.warn(&loaded.warnings);
    let usage = usage(&file);
    let now = world.now();
    let is_listed = |token: &Token, usage: Option<&Usage>| match unused {
        None => true,
        Some(Unused::Ever) => usage.is_none(),
        // A time longer than the calendar reaches: no token has been unused for so long.
        Some(Unused::For(span)) => span
            .end(last_sign(token, usage))
            .is_ok_and(|end| end.is_some_and(|end| end <= now)),
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

/// A token that was never used may simply be new.
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
    let loaded = load(&file, world)?;
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

/// Reads the record of tokens' use.
pub(crate) fn usage(file: &TokenFile) -> UsageLog {
    UsageLog::load(&UsageLog::path_for(file.path()))
}
