//! Making a token: asked for, committed to the file, then shown.

use server_config::{Config, Sources};
use token_store::{EditError, NewToken, Policy, Secret, Token, TokenFile};

use crate::{
    command::{Add, lay},
    failure::Failure,
    json, prompt,
    text::{self, DatabaseShown},
    world::World,
};

/// The most characters of a note.
const MAX_NOTE: usize = 1_000;

pub(crate) fn run(
    add: &Add,
    json: bool,
    sources: &Sources,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let config = Config::load(sources)?;
    let names: Vec<String> = config
        .databases
        .into_iter()
        .map(|database| database.name)
        .collect();
    configured(&add.databases, &names)?;
    let mut policy = Policy::default();
    lay(&add.policy, &mut policy)?;
    let asked = prompt::complete(add, &names, world)?;
    short(&asked.note)?;
    let file = TokenFile::new(config.token_file);
    let now = world.now();
    let new = NewToken {
        note: asked.note,
        databases: asked.databases,
        expires_at: asked.expiry.end(now)?,
        policy,
    };
    let secret = world.new_secret()?;
    let made = file.edit(|draft| Ok::<_, EditError>(draft.create(&secret, new, now)?))?;
    world.warn(&made.warnings);
    let shown = if json {
        json::added(&made.value, &secret)
    } else {
        let database = match (made.value.database(), names.first()) {
            (Some(name), _) => DatabaseShown::Bound(name),
            (None, Some(first)) => DatabaseShown::Default(first),
            (None, None) => DatabaseShown::First,
        };
        text::added(&made.value, &secret, &database)
    };
    show(&shown, &file, &made.value, &secret, world)
}

/// Refuses a database that is not configured.
pub(crate) fn configured(asked: &[String], known: &[String]) -> Result<(), Failure> {
    match asked.iter().find(|name| !known.contains(name)) {
        None => Ok(()),
        Some(name) => Err(Failure::UnknownDatabase {
            name: name.clone(),
            known: known.to_vec(),
        }),
    }
}

/// Refuses a note that is too long.
pub(crate) fn short(note: &str) -> Result<(), Failure> {
    match note.chars().count() {
        length if length > MAX_NOTE => Err(Failure::LongNote(length)),
        _ => Ok(()),
    }
}

/// Prints the token, the only time ever. A token that nobody could read is removed again.
fn show(
    text: &str,
    file: &TokenFile,
    token: &Token,
    secret: &Secret,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let Err(shown) = world.print(text) else {
        return Ok(());
    };
    let hash = secret.hash();
    match file.edit(|draft| Ok::<_, EditError>(draft.remove_where(|other| other.hash == hash))) {
        Ok(_) => Err(Failure::NotShown(shown)),
        Err(error) => Err(Failure::NotShownNorRemoved {
            shown,
            removed: Box::new(error.into()),
            id: token.id.clone(),
        }),
    }
}
