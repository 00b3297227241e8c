//! Makes a token: asks for what is missing, writes the entry to the file, then shows the token.

use std::sync::Arc;

use server_config::{Config, Sources};
use token_store::{Draft, EditError, NewToken, Policy, Secret, Token, TokenFile};

use crate::{
    command::{Add, CreateRole, lay},
    failure::Failure,
    interrupted::Deferred,
    json, prompt,
    role::{self, Script},
    text::{self, DatabaseShown},
    tools,
    world::World,
};

/// What a command has made so far.
struct Made {
    token: Arc<Token>,
    script: Option<Script>,
}

/// The most characters of a note.
const MAX_NOTE: usize = 1_000;

pub(crate) fn run(
    add: &Add,
    json: bool,
    sources: &Sources,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    world.expect_reader()?;
    let config = Config::load(sources)?;
    let names: Vec<String> = config
        .databases
        .iter()
        .map(|database| database.name.clone())
        .collect();
    configured(&add.databases, &names)?;
    let policy = policy(add, &config, world)?;
    let file = TokenFile::new(config.token_file.clone());
    // Nobody should be asked about a token that cannot be stored, and a file that is no token file
    // must not get a lock file beside it.
    file.load()?;
    let asked = prompt::complete(add, &names, world)?;
    short(&asked.note)?;
    let now = world.now();
    let new = NewToken {
        note: asked.note,
        databases: asked.databases,
        expires_at: asked.expiry.end(now)?,
        policy,
    };
    let secret = world.new_secret()?;
    let interruption = match add.create_role {
        Some(CreateRole::Apply) => Some(Deferred::begin().map_err(Failure::Signals)?),
        _ => None,
    };
    let made = file.edit(|draft| {
        let token = draft.create(&secret, new, now).map_err(EditError::from)?;
        Made::of(add, draft, token, &config, world)
    })?;
    world.warn(&made.warnings);
    let mut made = made.value;
    if let (Some(interruption), Some(script)) = (&interruption, &mut made.script)
        && let Err(failure) = script.apply(interruption)
    {
        return Err(undo(failure, made, &file));
    }
    let shown = made.shown(add, json, &secret, names.first());
    if let Err(error) = world.hand_over(&shown) {
        return Err(undo(Failure::NotShown(error), made, &file));
    }
    if let Some(script) = made.script {
        for warning in script.warnings() {
            world.complain("warning", &warning);
        }
        script.keep();
    }
    Ok(())
}

/// Finds what the token is to be allowed, and warns of tools that do not exist.
fn policy(add: &Add, config: &Config, world: &mut World<'_>) -> Result<Policy, Failure> {
    let mut policy = Policy::default();
    lay(&add.policy, &mut policy)?;
    if add.create_role.is_some() && policy.role.is_some() {
        return Err(Failure::TwoRoles);
    }
    if add.create_role.is_some() && config.databases.is_empty() {
        return Err(Failure::NoDatabase);
    }
    if let Ok(known) = config.tool_names() {
        for problem in tools::missing(&policy, &known) {
            world.complain("warning", &problem);
        }
    }
    Ok(policy)
}

impl Made {
    /// Gives a new token its role, if it is to have one.
    fn of(
        add: &Add,
        draft: &mut Draft,
        token: Arc<Token>,
        config: &Config,
        world: &World<'_>,
    ) -> Result<Self, Failure> {
        if add.create_role.is_none() {
            return Ok(Made {
                token,
                script: None,
            });
        }
        let password = world.new_secret()?;
        let (token, script) = role::prepare(draft, &token, config, &password)?;
        let script = Some(script);
        Ok(Made { token, script })
    }

    /// Reports what was made, with the token's text.
    fn shown(&self, add: &Add, json: bool, secret: &Secret, first: Option<&String>) -> String {
        let Made { token, script } = self;
        let sql = match add.create_role {
            Some(CreateRole::Print) => script.as_ref().map(Script::text),
            _ => None,
        };
        if json {
            return json::added(token, secret, sql.as_deref());
        }
        let database = match (&token.databases, first) {
            (Some(bound), _) => DatabaseShown::Bound(bound),
            (None, Some(first)) => DatabaseShown::Default(first),
            (None, None) => DatabaseShown::First,
        };
        text::added(token, secret, &database) + &sql.map(text::sql).unwrap_or_default()
    }
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

/// Removes what was made, because nobody has received the token's text.
fn undo(cause: Failure, made: Made, file: &TokenFile) -> Failure {
    let hash = made.token.hash;
    let removed =
        file.edit(|draft| Ok::<_, EditError>(draft.remove_where(|other| other.hash == hash)));
    let role_left = made.script.and_then(Script::undo);
    let cause = Box::new(cause);
    match removed {
        Ok(_) => Failure::Undone { cause, role_left },
        Err(removed) => Failure::NotUndone {
            cause,
            removed: Box::new(removed.into()),
            id: made.token.id.clone(),
            role_left,
        },
    }
}
