//! The command line, in the documentation's spelling and in today's.

use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches, Parser};
use server_config::{Sources, arguments::double_dashes};

/// Serves PostgreSQL to AI agents over MCP, each token in a world of its own.
///
/// Options may be written with one dash or two. Without -http the server speaks MCP over standard
/// input and output.
#[derive(Debug, Parser)]
#[command(name = "mcp-server", version, max_term_width = 100)]
pub(crate) struct Arguments {
    /// The configuration file [default: pgedge-postgres-mcp.yaml beside the binary]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The token file [default: pgedge-postgres-mcp-tokens.yaml beside the binary]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

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
}

/// What the program is to do.
pub(crate) enum Action {
    /// Serve.
    Serve(Sources),
}

/// Reads the program's command line; ends the program after help, version or a mistake.
pub(crate) fn read() -> Arguments {
    let command = Arguments::command();
    let long = |takes_value: bool| {
        command
            .get_arguments()
            .filter(move |argument| !takes_value || argument.get_action().takes_values())
            .filter_map(clap::Arg::get_long)
            .chain(
                if takes_value {
                    [].iter()
                } else {
                    ["help", "version"].iter()
                }
                .copied(),
            )
            .collect::<Vec<_>>()
    };
    let line = double_dashes(std::env::args_os(), &long(false), &long(true));
    let matches = command.get_matches_from(line);
    Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

impl Arguments {
    pub(crate) fn action(self) -> Action {
        Action::Serve(self.sources())
    }

    fn sources(self) -> Sources {
        Sources {
            program_folder: program_folder(),
            environment: std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
            config_file: self.config,
            token_file: self.token_file,
            http: self.http,
            address: self.addr,
            tls: self.tls,
            cert_file: self.cert,
            key_file: self.key,
            no_auth: self.no_auth,
        }
    }
}

/// The folder that the binary is in, where the default files are looked for.
fn program_folder() -> PathBuf {
    std::env::current_exe()
        .ok()
        .and_then(|path| Some(path.parent()?.to_owned()))
        .unwrap_or_default()
}
