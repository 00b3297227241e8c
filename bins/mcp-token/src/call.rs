//! The command line of `mcp-token`.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use audit_log::Hash;
use clap::{Args, CommandFactory, Parser, Subcommand, error::ErrorKind};
use server_config::{
    Sources,
    arguments::{Exposed, double_dashes},
};
use token_store::{Expiry, Selector};

use crate::{
    command::{Action, Add, Command, CreateRole, Edit, Grace, Unused, VerifyAudit},
    options::PolicyOptions,
    tip,
};

/// Command lines are visible to every user of the machine, and kept in shell histories.
const MISPLACED: &str = "`verify` takes options only (`mcp-token verify --help`), and no token from the command line, where others could see it; pipe it in, as `printf %s \"$TOKEN\" | mcp-token verify`, or type it when asked";

/// A parsed command line.
#[derive(Clone, Debug)]
pub struct Call {
    /// What to do.
    pub command: Command,
    config_file: Option<PathBuf>,
    token_file: Option<PathBuf>,
    effective: bool,
}

/// Makes, shows, changes and removes the API tokens of mcp-server.
#[derive(Parser)]
#[command(name = "mcp-token", version, propagate_version = true)]
struct CommandLine {
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
        /// The configured database to bind it to; several times for several, the one that it is on first [default: the first one]
        #[arg(long = "database", value_name = "DATABASE", allow_hyphen_values = true)]
        databases: Vec<String>,
        /// How long it lives
        #[arg(long, allow_hyphen_values = true, help = format!("How long it lives: {}", Expiry::accepted()))]
        expiry: Option<Expiry>,
        /// Print the SQL that makes a role of its own, with no more rights than it needs
        #[arg(long)]
        create_role: bool,
        /// Run that SQL with psql, as whom its variables say (PGHOST, PGUSER, PGPASSWORD or ~/.pgpass)
        #[arg(long, requires = "create_role")]
        apply: bool,
        #[command(flatten)]
        policy: PolicyOptions,
    },
    /// Show all tokens, without their text
    List {
        /// Only those that have not been used for so long, such as 90d; never for those that were not used once
        #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
        unused: Option<Unused>,
    },
    /// Show a token and what it may do
    Show {
        #[command(flatten)]
        which: Which,
        /// Ask its databases what it really can do and what not; mcp-server beside this program does
        #[arg(long)]
        effective: bool,
    },
    /// Give a token a new secret and show it, once; the old one is accepted for a while yet
    Rotate {
        #[command(flatten)]
        which: Which,
        /// How long the old secret is accepted: 24h, 7d, or none [default: 24h]
        #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
        grace: Option<Grace>,
    },
    /// Change a token's note, databases, expiry or policy; running servers follow at once
    Edit {
        #[command(flatten)]
        which: Which,
        /// What you want to remember about it
        #[arg(long, allow_hyphen_values = true)]
        note: Option<String>,
        /// The configured database to bind it to; several times for several; `default` for the first one
        #[arg(long = "database", value_name = "DATABASE", allow_hyphen_values = true)]
        databases: Vec<String>,
        /// How long it lives from now on
        #[arg(long, allow_hyphen_values = true, help = format!("How long it lives from now on: {}", Expiry::accepted()))]
        expiry: Option<Expiry>,
        /// End the secret that it had before its last rotation
        #[arg(long)]
        end_previous: bool,
        #[command(flatten)]
        policy: PolicyOptions,
    },
    /// Remove a token; running servers refuse it at once
    Remove {
        #[command(flatten)]
        which: Which,
    },
    /// Read a token from standard input and say whose it is: exit code 0 when it is accepted, 3 when not
    Verify {
        /// What belongs on standard input
        #[arg(hide = true, allow_hyphen_values = true)]
        misplaced: Vec<OsString>,
    },
    /// The audit log
    Audit {
        #[command(subcommand)]
        verb: AuditVerb,
    },
    /// Check the token file and the configuration, as for a pre-commit hook: exit code 1 when something is wrong
    Check,
}

#[derive(Subcommand)]
enum AuditVerb {
    /// Check that logs are as they were written: exit code 1 when not, with the first line that is wrong
    Verify {
        /// The files, the oldest first: each goes on where the one before it ends [default: the configured one]
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The hash of a line, as the server's log told it, that must be there: so a cut end is found
        #[arg(long, value_name = "HASH")]
        expect: Option<Hash>,
    },
}

#[derive(Args)]
struct Which {
    /// The whole id, or at least 8 first digits of the hash
    #[arg(value_name = "ID|HASH-PREFIX")]
    token: Selector,
}

impl Call {
    /// Reads a command line, the program's name first.
    ///
    /// # Errors
    /// The line is invalid, or asks for help. clap's error knows where to print and how to exit (2, or 0 for help), and
    /// repeats no secret.
    pub fn parse<I>(line: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        let valued = options_with_value();
        let valued: Vec<&str> = valued.iter().map(String::as_str).collect();
        let line: Vec<OsString> = line.into_iter().map(Into::into).collect();
        let exposed = Exposed::find(&line);
        let line = CommandLine::try_parse_from(double_dashes(line, &valued)).map_err(|error| {
            exposed.filter(|_| error.use_stderr()).map_or_else(
                || Self::with_tip(error),
                |exposed| CommandLine::command().error(ErrorKind::UnknownArgument, exposed),
            )
        })?;
        if let Verb::Verify { misplaced } = &line.verb
            && !misplaced.is_empty()
        {
            // It may be a token, so it is not repeated.
            return Err(CommandLine::command().error(ErrorKind::UnknownArgument, MISPLACED));
        }
        let effective = matches!(
            line.verb,
            Verb::Show {
                effective: true,
                ..
            }
        );
        let action = line.verb.action();
        Ok(Self {
            command: Command {
                action,
                json: line.common.json,
            },
            config_file: line.common.config,
            token_file: line.common.token_file,
            effective,
        })
    }

    /// Adds to an error in a command line, also one of `mcp-server`'s, which command of `mcp-token` was probably meant.
    #[must_use]
    pub fn with_tip(error: clap::Error) -> clap::Error {
        let line = CommandLine::command();
        let verbs = line
            .get_subcommands()
            .map(|verb| verb.get_name().to_owned());
        tip::with_tip(error, &verbs.collect::<Vec<_>>())
    }

    /// Returns the command line for `mcp-server` if the databases must be queried, as this program cannot connect to
    /// any.
    #[must_use]
    pub fn delegated(&self) -> Option<Vec<OsString>> {
        let Action::Show(selector) = &self.command.action else {
            return None;
        };
        if !self.effective {
            return None;
        }
        let mut line: Vec<OsString> = vec!["show-token".into(), selector.as_str().into()];
        for (option, file) in [
            ("--config", &self.config_file),
            ("--token-file", &self.token_file),
        ] {
            if let Some(file) = file {
                line.extend([option.into(), file.clone().into_os_string()]);
            }
        }
        if self.command.json {
            line.push("--json".into());
        }
        Some(line)
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

/// Lists the long options that take a value.
fn options_with_value() -> Vec<String> {
    let line = CommandLine::command();
    let verbs = || line.get_subcommands();
    let nested = verbs().flat_map(clap::Command::get_subcommands);
    let all = std::iter::once(&line).chain(verbs()).chain(nested);
    all.flat_map(clap::Command::get_arguments)
        .filter(|option| option.get_action().takes_values())
        .filter_map(|option| option.get_long().map(str::to_owned))
        .collect()
}

impl Verb {
    fn action(self) -> Action {
        match self {
            Verb::Add {
                note,
                databases,
                expiry,
                create_role,
                apply,
                policy,
            } => Action::Add(Add {
                note,
                databases,
                expiry,
                policy: policy.settings(),
                create_role: match (create_role, apply) {
                    (false, _) => None,
                    (true, false) => Some(CreateRole::Print),
                    (true, true) => Some(CreateRole::Apply),
                },
            }),
            Verb::List { unused } => Action::List { unused },
            Verb::Show { which, .. } => Action::Show(which.token),
            Verb::Rotate { which, grace } => Action::Rotate(which.token, grace.unwrap_or_default()),
            Verb::Edit {
                which,
                note,
                databases,
                expiry,
                end_previous,
                policy,
            } => Action::Edit(
                which.token,
                Edit {
                    note,
                    databases,
                    expiry,
                    policy: policy.settings(),
                    end_previous,
                },
            ),
            Verb::Remove { which } => Action::Remove(which.token),
            Verb::Verify { .. } => Action::Verify,
            Verb::Check => Action::Check,
            Verb::Audit {
                verb: AuditVerb::Verify { files, expect },
            } => Action::VerifyAudit(VerifyAudit { files, expect }),
        }
    }
}
