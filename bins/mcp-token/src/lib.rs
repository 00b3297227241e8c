//! The commands that make, show, change and remove API tokens, as `mcp-token` and `mcp-server` run them.
//!
//! [`run`] gets the outside as a [`World`]: input, output, clock and randomness. So the same code
//! serves two programs, and a test needs no process:
//!
//! ```
//! use mcp_token::{Action, Add, Command, Exit, World, run};
//! use server_config::Sources;
//!
//! # let folder = tempfile::tempdir()?;
//! let sources = Sources { program_folder: folder.path().to_owned(), ..Sources::default() };
//! let add = Add { note: Some("Web App".into()), expiry: Some("90d".parse()?), ..Add::default() };
//! let command = Command { action: Action::Add(add), json: false };
//! let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
//!
//! let mut stdin = std::io::empty();
//! let exit = run(&command, &sources, &mut World::new(&mut stdin, &mut stdout, &mut stderr, None));
//! assert_eq!(exit, Exit::Done);
//! assert!(String::from_utf8(stdout)?.contains("Note: Web App\n"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod add;
mod audit;
mod call;
mod check;
mod command;
mod edit;
mod failure;
mod fields;
mod interrupted;
mod json;
mod list;
mod options;
mod prompt;
mod remove;
mod role;
mod rotate;
mod terminal;
mod text;
mod tip;
mod tools;
mod verify;
mod world;

pub use call::Call;
pub use command::{Action, Add, Command, CreateRole, Edit, Grace, Setting, Unused, VerifyAudit};
pub use fields::{UnknownField, unknown_fields};
pub use json::line as json_line;
pub use options::PolicyOptions;
pub use world::{Exit, World};

use std::sync::Arc;

use failure::Failure;
use server_config::{Config, Sources};
use token_store::{Loaded, Token, TokenFile};

/// Runs a command. Results go to `stdout`, prompts, warnings and errors to `stderr`.
pub fn run(command: &Command, sources: &Sources, world: &mut World<'_>) -> Exit {
    let outcome = match &command.action {
        Action::Add(add) => add::run(add, command.json, sources, world),
        Action::List { unused } => list::all(*unused, command.json, sources, world),
        Action::Show(selector) => list::one(selector, command.json, sources, world),
        Action::Rotate(selector, grace) => {
            rotate::run(selector, *grace, command.json, sources, world)
        }
        Action::Edit(selector, edit) => edit::run(selector, edit, command.json, sources, world),
        Action::Remove(selector) => remove::run(selector, command.json, sources, world),
        Action::Verify => verify::run(command.json, sources, world),
        Action::Check => check::run(command.json, sources, world),
        Action::VerifyAudit(asked) => audit::run(asked, command.json, sources, world),
    };
    match outcome {
        Ok(()) => Exit::Done,
        Err(failure) => {
            world.complain("error", &failure);
            failure.exit()
        }
    }
}

/// Finds the token file. If an option names it, the rest of the configuration is not read: a
/// mistake in it must not keep a leaked token alive.
fn token_file(sources: &Sources) -> Result<TokenFile, Failure> {
    let path = match &sources.token_file {
        Some(path) => path.clone(),
        None => Config::load(sources)?.token_file,
    };
    Ok(TokenFile::new(path))
}

/// Reads the tokens. A missing file is reported, as its name may be misspelt.
fn load(file: &TokenFile, world: &mut World<'_>) -> Result<Loaded, Failure> {
    let loaded = file.load()?;
    if let Some(missing) = missing_file(file, &loaded) {
        world.complain("warning", &missing);
    }
    Ok(loaded)
}

/// The warning that there is no file.
fn missing_file(file: &TokenFile, loaded: &Loaded) -> Option<String> {
    let path = file.path().display().to_string();
    loaded.identity.is_none().then(|| {
        format!(
            "{} does not exist, so that there are no tokens; `mcp-token add` makes it",
            text::printable(&path)
        )
    })
}

/// Refuses to change a token that was removed and of which only the entry is left.
fn still_there(token: Arc<Token>) -> Result<Arc<Token>, Failure> {
    match token.is_spoiled() {
        true => Err(Failure::Removed(token.id.clone())),
        false => Ok(token),
    }
}
