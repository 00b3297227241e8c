//! What can be asked for.

use token_store::{Expiry, Selector};

/// A command, however it was spelled.
#[derive(Clone, Debug)]
pub struct Command {
    /// What to do.
    pub action: Action,
    /// Print JSON instead of text.
    pub json: bool,
}

/// What to do with the tokens.
#[derive(Clone, Debug)]
pub enum Action {
    /// Make a token.
    Add(Add),
    /// Show all tokens.
    List,
    /// Remove the token that is meant.
    Remove(Selector),
}

/// What is given for a new token. What is missing is prompted for on a terminal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Add {
    /// What a person wants to remember about it.
    pub note: Option<String>,
    /// The configured database to bind it to.
    pub database: Option<String>,
    /// How long it lives.
    pub expiry: Option<Expiry>,
}
