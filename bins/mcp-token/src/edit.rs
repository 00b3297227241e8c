//! Changes a token's entry.

use server_config::{Config, Sources};
use token_store::{Names, Selector, TokenFile};

use crate::{
    add::{configured, short},
    command::{Edit, lay},
    failure::Failure,
    json,
    list::usage,
    load,
    options::DEFAULT,
    prompt, role, still_there, text, token_file, tools,
    world::World,
};

pub(crate) fn run(
    selector: &Selector,
    edit: &Edit,
    json: bool,
    sources: &Sources,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    if *edit == Edit::default() {
        return Err(Failure::NothingToChange);
    }
    if let Some(note) = &edit.note {
        short(note)?;
    }
    let (file, databases) = databases(edit, sources)?;
    // Without a file there is nothing to lock, and its folder is not made.
    selector.find(load(&file, world)?.set.iter())?;
    let now = world.now();
    let expires_at = edit.expiry.map(|expiry| expiry.end(now)).transpose()?;
    let edited = file.edit(|draft| {
        let token = still_there(selector.find(draft.iter())?)?;
        let mut policy = token.policy.read();
        lay(&edit.policy, &mut policy)?;
        let changed = draft.change(&token.id, |token| {
            if let Some(note) = &edit.note {
                token.note = note.as_str().into();
            }
            if let Some(databases) = databases {
                token.databases = databases;
            }
            if let Some(expires_at) = expires_at {
                token.expires_at = expires_at;
            }
            if edit.end_previous {
                token.previous = None;
            }
            token.policy = (&policy).into();
        });
        Ok::<_, Failure>((token.clone(), changed.unwrap_or(token)))
    })?;
    world.warn(&edited.warnings);
    let (before, after) = edited.value;
    // Without a configuration nobody knows which tools there are.
    let known = || Config::load(sources).and_then(|config| config.tool_names());
    if before.policy != after.policy
        && let Ok(known) = known()
    {
        for problem in tools::missing(&after.policy.read(), &known) {
            world.complain("warning", &problem);
        }
    }
    for left in role::left_to_do(&before, &after, file.path()) {
        world.complain("warning", &left);
    }
    let usage = usage(&file);
    let usage = usage.0.get(&after.id);
    let text = if json {
        json::edited(&after, usage, now)
    } else {
        text::edited(&after, usage, now)
    };
    world.print(&text).map_err(Failure::Output)
}

/// Finds the token file and the token's new databases. The configuration is read only if they are
/// to change: a mistake in it must not keep a token from being restricted.
fn databases(
    edit: &Edit,
    sources: &Sources,
) -> Result<(TokenFile, Option<Option<Names>>), Failure> {
    if edit.databases.is_empty() {
        return Ok((token_file(sources)?, None));
    }
    let config = Config::load(sources)?;
    let known: Vec<String> = config
        .databases
        .into_iter()
        .map(|database| database.name)
        .collect();
    let file = TokenFile::new(config.token_file);
    if edit.databases == [DEFAULT] && !known.iter().any(|name| name == DEFAULT) {
        return Ok((file, Some(None)));
    }
    configured(&edit.databases, &known)?;
    Ok((file, Some(Some(prompt::listed(&edit.databases)?))))
}
