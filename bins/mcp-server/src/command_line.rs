//! The command line, whose options take one dash, as documented, or two.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, error::ErrorKind};
use mcp_token::{Action as TokenAction, Add, Call, Command as TokenCommand};
use server_config::{
    Sources,
    arguments::{Exposed, double_dashes},
};
use token_store::{Expiry, Selector};

/// Serves PostgreSQL to AI agents over MCP, each token in a world of its own.
///
/// Options may be written with one dash or two. Without -http, and unless the configuration says
/// otherwise, the server speaks MCP over standard input and output.
#[derive(Debug, Parser)]
#[command(
    name = "mcp-server",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true
)]
struct CommandLine {
    /// The configuration file [default: pgedge-postgres-mcp.yaml beside the binary]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The token file [default: pgedge-postgres-mcp-tokens.yaml beside the binary]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    #[command(flatten)]
    serving: Serving,

    #[command(flatten)]
    tokens: Tokens,

    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Args)]
struct Serving {
    /// Serve HTTP instead of standard input and output
    #[arg(long)]
    http: bool,

    /// The address to listen on, as localhost:8080 or :8080
    #[arg(long, value_name = "HOST:PORT")]
    addr: Option<String>,

    /// Serve HTTPS; needs -http, -cert and -key
    #[arg(long)]
    tls: bool,

    /// The certificate, PEM
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,

    /// The private key, PEM
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,

    /// Let everybody in; only on a loopback address
    #[arg(long)]
    no_auth: bool,

    /// Keep an audit log in this file
    #[arg(long, value_name = "FILE")]
    audit_file: Option<PathBuf>,

    /// Serve metrics for Prometheus on this address, as localhost:9187
    #[arg(long, value_name = "HOST:PORT")]
    metrics_addr: Option<String>,
}

/// What `mcp-token` does, in the documentation's spelling.
#[derive(Debug, Args)]
#[command(next_help_heading = "Tokens (as mcp-token does)")]
struct Tokens {
    /// Make a token and show it, once; asks on a terminal for what is not given
    #[arg(
        long,
        group = "token_command",
        conflicts_with_all = ["list_tokens", "remove_token"]
    )]
    add_token: bool,

    /// What you want to remember about the new token
    #[arg(
        long,
        value_name = "TEXT",
        requires = "add_token",
        conflicts_with_all = ["list_tokens", "remove_token"],
        allow_hyphen_values = true
    )]
    token_note: Option<String>,

    /// How long the new token lives: 12h, 90d, 2w, 1y or never
    #[arg(
        long,
        value_name = "TIME",
        requires = "add_token",
        conflicts_with_all = ["list_tokens", "remove_token"],
        allow_hyphen_values = true
    )]
    token_expiry: Option<Expiry>,

    /// The configured database to bind the new token to [default: the first one]
    #[arg(
        long,
        value_name = "NAME",
        requires = "add_token",
        conflicts_with_all = ["list_tokens", "remove_token"],
        allow_hyphen_values = true
    )]
    token_database: Option<String>,

    /// Show all tokens, without their text
    #[arg(long, group = "token_command", conflicts_with = "remove_token")]
    list_tokens: bool,

    /// Remove a token, by its whole id or at least 8 first digits of its hash
    #[arg(long, group = "token_command", value_name = "ID|HASH-PREFIX")]
    remove_token: Option<Selector>,

    /// Print JSON; with -add-token, -list-tokens and -remove-token
    #[arg(long, requires = "token_command")]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Set up a private PostgreSQL with a sample shop, make a token and serve on this machine
    Demo(Demo),
    /// Show a token and ask its databases what it really can do, and what not
    ShowToken(ShowToken),
}

/// Which token is to be shown.
#[derive(Debug, Args)]
pub(crate) struct ShowToken {
    /// The whole id, or at least 8 first digits of the hash
    #[arg(value_name = "ID|HASH-PREFIX")]
    pub(crate) token: Selector,

    /// The configuration file [default: pgedge-postgres-mcp.yaml beside the binary]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The token file [default: what the configuration says]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What the demo is to do.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Serve this database instead; nothing is started or loaded
    #[arg(long, value_name = "URL", conflicts_with = "reset")]
    pub(crate) database_url: Option<String>,

    /// Keep the data here [default: mcp-server-demo in the user's data folder]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data: Option<PathBuf>,

    /// Begin with fresh data
    #[arg(long)]
    pub(crate) reset: bool,
}

/// What the program is to do.
pub(crate) enum Action {
    /// Serve.
    Serve(Sources),
    /// Make, list or remove tokens.
    Tokens(TokenCommand, Sources),
    /// Show what this is.
    Demo(Demo),
    /// Show what a token really can do.
    Show(ShowToken, Sources),
}

/// Reads the program's command line; exits after help, version or an error.
pub(crate) fn read() -> Action {
    match parse(std::env::args_os()) {
        Ok(line) => line.action(),
        Err(error) => error.exit(),
    }
}

fn parse<I>(words: I) -> Result<CommandLine, clap::Error>
where
    I: IntoIterator,
    I::Item: Into<OsString>,
{
    let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
    let exposed = Exposed::find(&words);
    understand(words).map_err(|error| {
        exposed.filter(|_| error.use_stderr()).map_or_else(
            || Call::with_tip(error),
            |exposed| CommandLine::command().error(ErrorKind::UnknownArgument, exposed),
        )
    })
}

fn understand(words: Vec<OsString>) -> Result<CommandLine, clap::Error> {
    let mut command = CommandLine::command();
    let valued = options_with_value(&command);
    let words = double_dashes(
        words,
        &valued.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    let matches = command.try_get_matches_from_mut(words)?;
    CommandLine::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// Lists the long options that take a value.
fn options_with_value(command: &clap::Command) -> Vec<String> {
    let all = std::iter::once(command).chain(command.get_subcommands());
    all.flat_map(clap::Command::get_arguments)
        .filter(|option| option.get_action().takes_values())
        .filter_map(|option| option.get_long().map(str::to_owned))
        .collect()
}

impl CommandLine {
    fn action(self) -> Action {
        match self.verb {
            Some(Verb::Demo(demo)) => return Action::Demo(demo),
            Some(Verb::ShowToken(mut show)) => {
                let (config, token_file) = (show.config.take(), show.token_file.take());
                return Action::Show(show, sources(config, token_file, self.serving));
            }
            None => {}
        }
        let Tokens {
            add_token,
            list_tokens,
            json,
            ..
        } = self.tokens;
        let action = match self.tokens.remove_token {
            Some(selector) => Some(TokenAction::Remove(selector)),
            None if list_tokens => Some(TokenAction::List { unused: None }),
            None if add_token => Some(TokenAction::Add(Add {
                note: self.tokens.token_note,
                databases: self.tokens.token_database.into_iter().collect(),
                expiry: self.tokens.token_expiry,
                ..Add::default()
            })),
            None => None,
        };
        let sources = sources(self.config, self.token_file, self.serving);
        match action {
            Some(action) => Action::Tokens(TokenCommand { action, json }, sources),
            None => Action::Serve(sources),
        }
    }
}

fn sources(config_file: Option<PathBuf>, token_file: Option<PathBuf>, serving: Serving) -> Sources {
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    Sources {
        program_folder: program_folder(),
        environment: std::env::vars_os().filter_map(text).collect(),
        config_file,
        token_file,
        http: serving.http,
        address: serving.addr,
        tls: serving.tls,
        cert_file: serving.cert,
        key_file: serving.key,
        no_auth: serving.no_auth,
        audit_file: serving.audit_file,
        metrics_address: serving.metrics_addr,
    }
}

/// The folder that the binary is in, where the default files are looked for.
fn program_folder() -> PathBuf {
    std::env::current_exe()
        .ok()
        .and_then(|path| Some(path.parent()?.to_owned()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<&str> {
        line.split(' ').collect()
    }

    #[test]
    fn the_documented_spelling_is_understood() {
        for line in [
            "mcp-server -http",
            "mcp-server -http -token-file /etc/pgedge/pgedge-postgres-mcp-tokens.yaml",
            "mcp-server -http -addr localhost:8080 -no-auth",
            "mcp-server -http -audit-file /var/log/mcp-audit.jsonl -metrics-addr localhost:9187",
            "mcp-server -http -tls -cert /path/to/cert.pem -key /path/to/key.pem",
            "mcp-server -add-token -token-note Web -token-expiry 90d",
            "mcp-server -add-token -token-note Staging -token-database staging -token-expiry 30d",
            "mcp-server -add-token",
            "mcp-server -add-token -json -token-expiry 1d",
            "mcp-server -list-tokens",
            "mcp-server -list-tokens -json",
            "mcp-server -remove-token b3f805a4",
            "mcp-server -remove-token token-1234567890",
            "mcp-server --remove-token=b3f805a4c2 --json",
            "mcp-server -config=c.yaml -http",
            "mcp-server demo --reset",
            "mcp-server show-token token-1 -config c.yaml -json",
        ] {
            assert!(parse(words(line)).is_ok(), "{line}");
        }
    }

    #[test]
    fn what_does_not_fit_together_is_a_usage_error() {
        for line in [
            "mcp-server -add-token -list-tokens",
            "mcp-server -token-note x",
            "mcp-server -list-tokens -token-expiry 1d",
            "mcp-server -remove-token x -token-database shop",
            "mcp-server -json",
            "mcp-server -http -json",
            "mcp-server -remove-token",
            "mcp-server -add-token -token-expiry 6m",
            "mcp-server nonsense",
            "mcp-server -httpp",
            "mcp-server demo --database-url postgres://x --reset",
        ] {
            let error = parse(words(line)).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn what_stands_in_the_wrong_place_is_told_with_the_right_one() {
        for (line, told) in [
            (
                "mcp-server -token-file F show-token token-1",
                "the options of 'show-token' stand behind it: mcp-server show-token --help shows them",
            ),
            (
                "mcp-server -http demo",
                "the options of 'demo' stand behind it",
            ),
            ("mcp-server rotate token-1", "'mcp-token rotate' does that"),
            ("mcp-server add-token", "'mcp-token add' does that"),
            (
                "mcp-server -rotate-token token-1",
                "'mcp-token rotate' does that",
            ),
            ("mcp-server -verify", "'mcp-token verify' does that"),
            ("mcp-server -add-token -note x", "exists: '--token-note'"),
        ] {
            let error = parse(words(line)).expect_err(line).to_string();
            assert!(error.contains(told), "{line}: {error}");
            let tips = error.matches("tip:").count();
            assert_eq!(tips, 1, "{error}");
        }
    }

    #[test]
    fn a_secret_is_in_no_error() {
        for line in [
            "mcp-server postgres://shop:open-sesame@db/shop",
            "mcp-server -dsn postgres://shop:open-sesame@db/shop",
            "mcp-server -http open-sesame_fghijklmnopqrstuvwxyz1234567890=",
            "mcp-server -remove-token --open-sesame_hijklmnopqrstuvwxyz1234567890=",
        ] {
            let error = parse(words(line)).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(!error.to_string().contains("open-sesame"), "{error}");
        }
    }
}
