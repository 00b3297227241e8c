//! Making a token: asked for, committed to the file, then shown.

use server_config::{Config, Sources};
use token_store::{EditError, NewToken, Secret, Token, TokenFile};

use crate::{
    command::Add,
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
    if let Some(name) = add.database.as_ref().filter(|name| !names.contains(name)) {
        return Err(Failure::UnknownDatabase {
            name: name.clone(),
            known: names,
        });
    }
    let asked = prompt::complete(add, &names, world)?;
    let length = asked.note.chars().count();
    if length > MAX_NOTE {
        return Err(Failure::LongNote(length));
    }
    let file = TokenFile::new(config.token_file);
    let now = world.now();
    let new = NewToken {
        note: asked.note,
        database: asked.database,
        expires_at: asked.expiry.end(now)?,
    };
    let secret = world.new_secret()?;
    let made = file.edit(|draft| Ok::<_, EditError>(draft.create(&secret, new, now)?))?;
    world.warn(&made.warnings);
    let shown = if json {
        json::added(&made.value, &secret)
    } else {
        let database = match (&made.value.database, names.first()) {
            (Some(name), _) => DatabaseShown::Bound(name),
            (None, Some(first)) => DatabaseShown::Default(first),
            (None, None) => DatabaseShown::First,
        };
        text::added(&made.value, &secret, &database)
    };
    show(&shown, &file, &made.value, &secret, world)
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
