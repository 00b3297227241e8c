//! Making a token: asked for, committed to the file, then shown.

use server_config::{Config, Sources};
use token_store::{EditError, NewToken, Policy, Secret, Token, TokenFile};

use crate::{
    command::{Add, CreateRole, lay},
    failure::Failure,
    json, prompt,
    role::{self, Script},
    text::{self, DatabaseShown},
    tools,
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
        .iter()
        .map(|database| database.name.clone())
        .collect();
    configured(&add.databases, &names)?;
    let mut policy = Policy::default();
    lay(&add.policy, &mut policy)?;
    if add.create_role.is_some() && policy.role.is_some() {
        return Err(Failure::TwoRoles);
    }
    if add.create_role.is_some() && names.is_empty() {
        return Err(Failure::NoDatabase);
    }
    if let Ok(known) = config.tool_names() {
        for problem in tools::missing(&policy, &known) {
            world.complain("warning", &problem);
        }
    }
    let asked = prompt::complete(add, &names, world)?;
    short(&asked.note)?;
    let file = TokenFile::new(config.token_file.clone());
    let now = world.now();
    let new = NewToken {
        note: asked.note,
        databases: asked.databases,
        expires_at: asked.expiry.end(now)?,
        policy,
    };
    let secret = world.new_secret()?;
    let made = file.edit(|draft| {
        let token = draft.create(&secret, new, now).map_err(EditError::from)?;
        if add.create_role.is_none() {
            return Ok((token, None));
        }
        let password = world.new_secret()?;
        let (token, script) = role::prepare(draft, &token, &config, &password)?;
        Ok::<_, Failure>((token, Some(script)))
    })?;
    world.warn(&made.warnings);
    let (token, script) = made.value;
    if let (Some(CreateRole::Apply), Some(script)) = (add.create_role, &script)
        && let Err(failure) = script.apply()
    {
        script.discard();
        remove(&file, &secret)?;
        return Err(failure);
    }
    let sql = match add.create_role {
        Some(CreateRole::Print) => script.as_ref().map(Script::text),
        _ => None,
    };
    let shown = if json {
        json::added(&token, &secret, sql.as_deref())
    } else {
        let database = match (&token.databases, names.first()) {
            (Some(bound), _) => DatabaseShown::Bound(bound),
            (None, Some(first)) => DatabaseShown::Default(first),
            (None, None) => DatabaseShown::First,
        };
        text::added(&token, &secret, &database) + &sql.map(text::sql).unwrap_or_default()
    };
    let done = show(&shown, &file, &token, &secret, world);
    if let (Err(_), Some(script)) = (&done, &script) {
        script.discard();
    }
    done
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
    match remove(file, secret) {
        Ok(()) => Err(Failure::NotShown(shown)),
        Err(removed) => Err(Failure::NotShownNorRemoved {
            shown,
            removed: Box::new(removed),
            id: token.id.clone(),
        }),
    }
}

/// Removes the token of a secret that nobody has got.
fn remove(file: &TokenFile, secret: &Secret) -> Result<(), Failure> {
    let hash = secret.hash();
    file.edit(|draft| Ok::<_, EditError>(draft.remove_where(|other| other.hash == hash)))?;
    Ok(())
}
