//! Gives a token a new secret.

use server_config::Sources;
use time::OffsetDateTime;
use token_store::{EditError, Secret, Selector, Token, TokenFile};

use crate::{
    command::Grace, failure::Failure, json, load, still_there, text, token_file, world::World,
};

pub(crate) fn run(
    selector: &Selector,
    grace: Grace,
    json: bool,
    sources: &Sources,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    world.expect_reader()?;
    let file = token_file(sources)?;
    // Without a file there is nothing to lock, and its folder is not made.
    selector.find(load(&file, world)?.set.iter())?;
    let now = world.now();
    let until = grace.until(now)?;
    let secret = world.new_secret()?;
    let rotated = file.edit(|draft| {
        let before = still_there(selector.find(draft.iter())?)?;
        let after = draft.rotate(&before.id, &secret, until);
        let after = after.map_err(EditError::from)?;
        Ok::<_, Failure>((before.clone(), after.unwrap_or(before)))
    })?;
    world.warn(&rotated.warnings);
    let (before, after) = rotated.value;
    if after.is_expired(now) {
        let id = &after.id;
        let message = format!(
            "{id} has expired, so that neither secret is accepted; prolong it with `mcp-token edit {id} --expiry 90d`"
        );
        world.complain("warning", &message);
    }
    let text = if json {
        json::added(&after, &secret, None)
    } else {
        text::rotated(&after, &secret, now)
    };
    match world.hand_over(&text) {
        Ok(()) => Ok(()),
        Err(shown) => Err(restore(&file, &before, &secret, shown)),
    }
}

/// Says until when the earlier secret is accepted: the token may end first.
pub(crate) fn old_secret_ends(token: &Token) -> Option<OffsetDateTime> {
    let until = token.previous.as_ref()?.until;
    Some(token.expires_at.map_or(until, |end| end.min(until)))
}

/// Takes back a secret that nobody could read, unless the token has yet another one by now.
fn restore(file: &TokenFile, before: &Token, secret: &Secret, shown: std::io::Error) -> Failure {
    let restored = file.edit(|draft| {
        draft.change(&before.id, |token| {
            if token.hash == secret.hash() {
                token.hash = before.hash;
                token.previous.clone_from(&before.previous);
            }
        });
        Ok::<_, Failure>(())
    });
    match restored {
        Ok(_) => Failure::NotRotated(shown),
        Err(restored) => Failure::NotRotatedNorRestored {
            shown,
            restored: Box::new(restored),
            id: before.id.clone(),
        },
    }
}
