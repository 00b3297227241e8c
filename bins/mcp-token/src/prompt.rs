//! Prompts for what was not given.

use token_store::{Expiry, Names};

use crate::{command::Add, failure::Failure, text, world::World};

/// Everything that a new token needs.
pub(crate) struct Complete {
    pub(crate) note: String,
    pub(crate) databases: Option<Names>,
    pub(crate) expiry: Expiry,
}

/// Takes what is given, asks for the rest on a terminal, and uses the defaults otherwise. An expiry
/// has no default.
pub(crate) fn complete(
    add: &Add,
    databases: &[String],
    world: &mut World<'_>,
) -> Result<Complete, Failure> {
    let given = match add.databases.as_slice() {
        [] => None,
        names => Some(listed(names)?),
    };
    if world.terminal.is_none() {
        return Ok(Complete {
            note: add.note.clone().unwrap_or_default(),
            databases: given,
            expiry: add.expiry.ok_or(Failure::NoExpiry)?,
        });
    }
    let note = match &add.note {
        Some(note) => note.clone(),
        None => ask(world, "Note, such as \"Production API\" (optional): ")?,
    };
    let databases = match given {
        None if databases.len() > 1 => match database(databases, world)? {
            Some(name) => Some(listed(&[name])?),
            None => None,
        },
        given => given,
    };
    let expiry = match add.expiry {
        Some(expiry) => expiry,
        None => expiry(world)?,
    };
    Ok(Complete {
        note,
        databases,
        expiry,
    })
}

/// Reads names, none of which may occur twice.
pub(crate) fn listed(names: &[String]) -> Result<Names, Failure> {
    Names::new(names.iter().map(String::as_str)).ok_or(Failure::Databases)
}

/// Asks until the answer is a name, a number or blank. An answer that is both a name and a number
/// is the name.
fn database(names: &[String], world: &mut World<'_>) -> Result<Option<String>, Failure> {
    let mut list = String::from("\nAvailable databases:\n");
    for (place, name) in names.iter().enumerate() {
        let mark = if place == 0 { " (default)" } else { "" };
        list.push_str(&format!(
            "  {}. {}{mark}\n",
            place + 1,
            text::printable(name)
        ));
    }
    world.ask(&list).map_err(Failure::Input)?;
    loop {
        let answer = ask(world, "Database (name or number, blank for the default): ")?;
        if answer.is_empty() {
            return Ok(None);
        }
        let numbered = || {
            let number: usize = answer.parse().ok()?;
            names.get(number.checked_sub(1)?)
        };
        if let Some(name) = names.iter().find(|name| **name == answer).or_else(numbered) {
            return Ok(Some(name.clone()));
        }
        let failure = Failure::UnknownDatabase {
            name: answer,
            known: names.to_vec(),
        };
        world.complain("error", &failure);
    }
}

/// Asks until the answer is an expiry: nobody should make a token that never expires by pressing
/// Return.
fn expiry(world: &mut World<'_>) -> Result<Expiry, Failure> {
    loop {
        let answer = ask(world, "Expiry (such as 30d, 1y, or never): ")?;
        match answer.parse() {
            Ok(expiry) => return Ok(expiry),
            Err(error) => world.complain("error", &error),
        }
    }
}

/// Reads one line and trims it. The end of the input (Ctrl-D) is no answer, not even a blank one.
fn ask(world: &mut World<'_>, prompt: &str) -> Result<String, Failure> {
    world.ask(prompt).map_err(Failure::Input)?;
    let mut line = String::new();
    let read = world.stdin.read_line(&mut line).map_err(Failure::Input)?;
    if read == 0 {
        world.ask("\n").map_err(Failure::Input)?;
        return Err(Failure::NoAnswer);
    }
    Ok(line.trim().to_owned())
}
