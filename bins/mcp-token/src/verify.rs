//! Says whose token was given.

use std::io::{BufRead, Read};

use server_config::Sources;
use token_store::{Refusal, Secret};

use crate::{
    failure::Failure, json, load, rotate::old_secret_ends, terminal::Unseen, text, token_file,
    world::World,
};

/// The most bytes that are read; no token is that long.
const MOST: usize = 4_096;

const PROMPT: &str = "Type or paste the token, which is not shown, and press Return: ";

pub(crate) fn run(json: bool, sources: &Sources, world: &mut World<'_>) -> Result<(), Failure> {
    let loaded = load(&token_file(sources)?, world)?;
    world.warn(&loaded.warnings);
    let presented = read(world)?;
    let now = world.now();
    let outcome = loaded.set.authenticate(presented.expose(), now);
    let (token, state) = match &outcome {
        Ok(accepted) => (Some(&**accepted), "valid"),
        Err(Refusal::Expired(token)) => (Some(&**token), "expired"),
        Err(Refusal::Replaced(token)) => (Some(&**token), "replaced"),
        Err(Refusal::Unknown) => (None, "unknown"),
    };
    let replaced = match &outcome {
        Ok(accepted) => accepted.replaced_from.and(old_secret_ends(accepted)),
        Err(Refusal::Replaced(token)) => old_secret_ends(token),
        Err(_) => None,
    };
    let text = if json {
        let end = replaced.or(token.and_then(|token| token.expires_at));
        json::verified(token, state, end)
    } else {
        let id = token.map_or("(none)".into(), |token| token.id.to_string());
        let until = replaced
            .filter(|_| outcome.is_ok())
            .map(|end| format!(" until {}, as it was replaced by a new one", text::end(end)));
        format!("ID: {id}\nState: {state}{}\n", until.unwrap_or_default())
    };
    world.print(&text).map_err(Failure::Output)?;
    match outcome {
        Ok(_) => Ok(()),
        Err(Refusal::Expired(_)) => Err(Failure::NotAccepted("it has expired")),
        Err(Refusal::Replaced(_)) => Err(Failure::NotAccepted("it was replaced by a new one")),
        Err(Refusal::Unknown) => Err(Failure::NotAccepted("it is unknown")),
    }
}

/// Reads the token, without the line break that most programs print after it. A person is asked for
/// a line, which is not shown.
fn read(world: &mut World<'_>) -> Result<Secret, Failure> {
    let unseen = world.terminal.map(Unseen::begin).transpose();
    let unseen = unseen.map_err(Failure::Input)?;
    if unseen.is_some() {
        world.ask(PROMPT).map_err(Failure::Input)?;
    }
    // The buffer has room for everything that is read, and for the reader to notice the end: if it
    // had to grow, the earlier copy of the text would not be wiped.
    let mut text = String::with_capacity(2 * MOST);
    let mut input = (&mut world.stdin).take(MOST as u64);
    let read = match &unseen {
        Some(_) => input.read_line(&mut text),
        None => input.read_to_string(&mut text),
    };
    drop(unseen);
    let presented = Secret::from(text.trim().to_owned());
    // The rest of the text is wiped, as the token itself is.
    drop(Secret::from(text));
    read.map_err(Failure::Input)?;
    if presented.expose().is_empty() {
        return Err(Failure::NoToken);
    }
    Ok(presented)
}
