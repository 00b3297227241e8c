use serde_json::Value;

use crate::database::Database;
use crate::setup::{Setup, Token};
use crate::sql::Sql;

/// A fresh database and a configuration that serves it: what tests of tokens begin with.
pub struct World {
    /// The database.
    pub database: Database<'static>,
    /// The configuration, with the tokens.
    pub setup: Setup,
}

impl World {
    /// Serves what `entries` makes of the database, entries of `databases:`.
    pub fn serving<const N: usize>(entries: impl FnOnce(&Database<'static>) -> [Value; N]) -> Self {
        let database = Database::fresh();
        let setup = Setup::new(entries(&database));
        Self { database, setup }
    }

    /// Makes a token that lives for ever, with the given options of `mcp-token add`.
    pub fn token(&mut self, options: &[&str]) -> Token {
        self.setup
            .add_token_with(&[&["--expiry", "never"], options].concat())
    }

    /// Changes a token's entry.
    pub fn edit(&self, token: &Token, options: &[&str]) {
        self.run(&[&["edit", &token.id], options].concat());
    }

    /// Runs `mcp-token`, which has to succeed, and answers what it printed.
    pub fn run(&self, words: &[&str]) -> String {
        let said = self.setup.mcp_token(words);
        assert_eq!(said.code, 0, "{}", said.stderr);
        said.stdout
    }

    /// A connection that sees what the server does to the database.
    pub fn observer(&self) -> Sql {
        self.database.superuser()
    }
}
