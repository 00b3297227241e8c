//! Saying whose a token is.

use std::io::Read;

use server_config::Sources;
use token_store::{Refusal, Secret};

use crate::{failure::Failure, json, token_file, world::World};

/// More than any token has, in bytes.
const MOST: u64 = 4_096;

pub(crate) fn run(json: bool, sources: &Sources, world: &mut World<'_>) -> Result<(), Failure> {
    let loaded = token_file(sources)?.load()?;
    world.warn(&loaded.warnings);
    let presented = read(world)?;
    let now = world.now();
    let outcome = loaded.set.authenticate(presented.expose(), now);
    let (token, state) = match &outcome {
        Ok(accepted) if accepted.replaced_from.is_some() => {
            (Some(&**accepted), "valid until it ends, as it was replaced")
        }
        Ok(accepted) => (Some(&**accepted), "valid"),
        Err(Refusal::Expired(token)) => (Some(&**token), "expired"),
        Err(Refusal::Replaced(token)) => (Some(&**token), "replaced"),
        Err(Refusal::Unknown) => (None, "unknown"),
    };
    let text = if json {
        let state = if outcome.is_ok() { "valid" } else { state };
        json::verified(token, state)
    } else {
        let id = token.map_or("(none)".into(), |token| token.id.to_string());
        format!("ID: {id}\nState: {state}\n")
    };
    world.print(&text).map_err(Failure::Output)?;
    match outcome {
        Ok(_) => Ok(()),
        Err(Refusal::Expired(_)) => Err(Failure::NotAccepted("it has expired")),
        Err(Refusal::Replaced(_)) => Err(Failure::NotAccepted("it was replaced by a new one")),
        Err(Refusal::Unknown) => Err(Failure::NotAccepted("it is unknown")),
    }
}

/// Reads the token, without the line break that most programs print after it.
fn read(world: &mut World<'_>) -> Result<Secret, Failure> {
    let mut text = String::new();
    let read = (&mut world.stdin).take(MOST).read_to_string(&mut text);
    let presented = Secret::from(text.trim().to_owned());
    // The rest of the text is wiped as the token itself is.
    drop(Secret::from(text));
    read.map_err(Failure::Input)?;
    if presented.expose().is_empty() {
        return Err(Failure::NoToken);
    }
    Ok(presented)
}
