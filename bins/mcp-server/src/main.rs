//! Serves PostgreSQL to AI agents over MCP, and keeps each token apart from all others.

mod announce;
mod audit;
mod beside;
mod changed;
mod command_line;
mod custom_tools;
mod databases;
mod demo;
mod descriptors;
mod door;
mod effective;
mod entry;
mod file;
mod gate;
mod guesses;
mod health;
mod holders;
mod latest;
mod listen;
mod metrics;
mod models;
mod parts;
mod password;
mod record;
mod refusals;
mod reload;
mod serve;
mod signals;
mod throttle;
mod tls;
mod validity;

use std::{
    ffi::OsString,
    io::{self, IsTerminal},
    os::fd::AsFd,
    process::ExitCode,
};

use anyhow::Context;
use command_line::Action;
use mcp_token::World;
use server_config::{Config, Sources};
use signals::Signals;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let done = match command_line::read() {
        Action::Serve(sources) => serve(&sources),
        Action::Demo(options) => demo::run(&options),
        Action::Show(show, sources) => effective::run(&show, &sources),
        Action::Tokens(command, sources) => return tokens(&command, &sources),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            announce!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(sources: &Sources) -> anyhow::Result<()> {
    let config = Config::load_for_serving(sources)?;
    start_log("info");
    on_runtime(async { serve::run(&config, sources, Signals::take()?).await })
}

/// Runs an `mcp-token` command.
fn tokens(command: &mcp_token::Command, sources: &Sources) -> ExitCode {
    let input = io::stdin();
    let (mut stdin, mut stdout, mut stderr) = (input.lock(), io::stdout(), io::stderr());
    let terminal = input.is_terminal().then(|| input.as_fd());
    let world = World::new(&mut stdin, &mut stdout, &mut stderr, terminal);
    let mut world = world.with_output(io::stdout());
    mcp_token::run(command, sources, &mut world).into()
}

/// Runs a future on a runtime with a thread for each core.
fn on_runtime<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the system gives no threads")?;
    let done = runtime.block_on(work);
    // Not dropped: that would wait for a read of standard input, which nothing can end.
    runtime.shutdown_background();
    done
}

/// Writes the log to standard error; over stdio, standard output belongs to the protocol.
fn start_log(level: &str) {
    let filter = log_filter(std::env::var_os("RUST_LOG"), level);
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        // When standard error is lost, reporting it there would panic.
        .log_internal_errors(false)
        .with_ansi(io::stderr().is_terminal() && wants_color(std::env::var_os("NO_COLOR")))
        .init();
}

/// Reads `RUST_LOG`; `level` is used for what it does not say.
fn log_filter(said: Option<OsString>, level: &str) -> EnvFilter {
    let said = said.filter(|said| !said.is_empty());
    let Some(said) = said else {
        return EnvFilter::new(level);
    };
    let read = said.to_str().and_then(|said| said.parse().ok());
    read.unwrap_or_else(|| {
        announce!("WARNING: RUST_LOG is not understood and taken for `{level}`; write a level (error, warn, info, debug, trace, off), or several as `warn,mcp_protocol=debug`");
        EnvFilter::new(level)
    })
}

/// Says whether `NO_COLOR` permits colors: any value but the empty one forbids them (no-color.org).
fn wants_color(no_color: Option<OsString>) -> bool {
    no_color.is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_filter_that_is_not_understood_is_the_usual_one() {
        for (said, filter) in [
            (None, "warn"),
            (Some(""), "warn"),
            (Some("==,,"), "warn"),
            (Some("off"), "off"),
            (Some("info,pg_tools=debug"), "pg_tools=debug,info"),
        ] {
            let read = log_filter(said.map(OsString::from), "warn");
            assert_eq!(read.to_string(), filter, "{said:?}");
        }
    }

    #[test]
    fn colors_are_forbidden_by_any_value_of_no_color() {
        for (value, wants) in [
            (None, true),
            (Some(""), true),
            (Some("0"), false),
            (Some("1"), false),
        ] {
            assert_eq!(wants_color(value.map(OsString::from)), wants, "{value:?}");
        }
    }
}
