use serde_json::Value;

use crate::database::Database;
use crate::setup::{Setup, Token};
use crate::sql::Sql;

/// A fresh database and a configuration that serves it: what tests of tokens start from.
pub struct World {
    /// The database.
    pub database: Database<'static>,
    /// The configuration, with the tokens.
    pub setup: Setup,
}

impl World {
    /// Configures the entries of `databases:` that `entries` makes for the database.
    pub fn serving<const N: usize>(entries: impl FnOnce(&Database<'static>) -> [Value; N]) -> Self {
        let database = Database::fresh();
        let setup = Setup::new(entries(&database));
        Self { database, setup }
    }

    /// Makes a token that never expires, with the given options of `mcp-token add`.
    pub fn token(&mut self, options: &[&str]) -> Token {
        self.setup
            .add_token_with(&[&["--expiry", "never"], options].concat())
    }

    /// Changes a token's entry with `mcp-token edit`.
    pub fn edit(&self, token: &Token, options: &[&str]) {
        self.run(&[&["edit", &token.id], options].concat());
    }

    /// Runs `mcp-token`, which must succeed, and returns what it printed.
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
