//! The command line of `mcp-token`.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use clap::{Args, Parser, Subcommand};
use server_config::{Sources, arguments::double_dashes};
use token_store::{Expiry, Selector};

use crate::command::{Action, Add, Command};

/// The long options that take a value.
const WITH_VALUE: [&str; 5] = ["config", "token-file", "note", "database", "expiry"];

/// A command line that has been understood.
#[derive(Clone, Debug)]
pub struct Call {
    /// What to do.
    pub command: Command,
    config_file: Option<PathBuf>,
    token_file: Option<PathBuf>,
}

/// Makes, lists and removes the API tokens of mcp-server.
#[derive(Parser)]
#[command(name = "mcp-token", version, propagate_version = true)]
struct Line {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
struct Common {
    /// The configuration file [default: pgedge-postgres-mcp.yaml beside this program]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The token file [default: what the configuration says, else pgedge-postgres-mcp-tokens.yaml beside this program]
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Verb {
    /// Make a token and show it, once; asks on a terminal for what is not given
    Add {
        /// What you want to remember about it
        #[arg(long, allow_hyphen_values = true)]
        note: Option<String>,
        /// The configured database to bind it to [default: the first one]
        #[arg(long, allow_hyphen_values = true)]
        database: Option<String>,
        /// How long it lives
        #[arg(long, allow_hyphen_values = true, help = format!("How long it lives: {}", Expiry::accepted()))]
        expiry: Option<Expiry>,
    },
    /// Show all tokens, without their text
    List,
    /// Remove a token; running servers refuse it at once
    Remove {
        /// The whole id, or at least 8 first digits of the hash
        #[arg(value_name = "ID|HASH-PREFIX")]
        token: Selector,
    },
}

impl Call {
    /// Reads a command line, the program's name first.
    ///
    /// # Errors
    /// It is not understood, or asks for help; clap's error knows where to print and how to exit (2, or 0 for help).
    pub fn parse<I>(line: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        let line = Line::try_parse_from(double_dashes(line, &WITH_VALUE))?;
        let action = match line.verb {
            Verb::Add {
                note,
                database,
                expiry,
            } => Action::Add(Add {
                note,
                database,
                expiry,
            }),
            Verb::List => Action::List,
            Verb::Remove { token } => Action::Remove(token),
        };
        Ok(Self {
            command: Command {
                action,
                json: line.common.json,
            },
            config_file: line.common.config,
            token_file: line.common.token_file,
        })
    }

    /// Says where the configuration comes from: flags, these variables, and files beside this program.
    #[must_use]
    pub fn sources(
        &self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        program: io::Result<PathBuf>,
    ) -> Sources {
        let text = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let folder = program
            .ok()
            .and_then(|program| program.parent().map(Path::to_owned));
        Sources {
            program_folder: folder.unwrap_or_default(),
            environment: variables.into_iter().filter_map(text).collect(),
            config_file: self.config_file.clone(),
            token_file: self.token_file.clone(),
            ..Sources::default()
        }
    }
}
