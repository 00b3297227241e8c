//! Removing a token.

use server_config::Sources;
use token_store::Selector;

use crate::{failure::Failure, json, load, role, text, token_file, world::World};

pub(crate) fn run(
    selector: &Selector,
    json: bool,
    sources: &Sources,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let file = token_file(sources)?;
    // Without a file there is nothing to lock, and no reason to make its folder.
    selector.find(load(&file, world)?.set.iter())?;
    let removed = file.edit(|draft| {
        let token = selector.find(draft.iter())?;
        draft.remove(&token.id);
        Ok::<_, Failure>(token)
    })?;
    world.warn(&removed.warnings);
    if let Some(left) = role::left_behind(&removed.value, file.path()) {
        world.complain("warning", &left);
    }
    let text = if json {
        json::removed(&removed.value)
    } else {
        text::removed(&removed.value)
    };
    world.print(&text).map_err(Failure::Output)
}
