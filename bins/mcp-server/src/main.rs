//! Serves PostgreSQL to AI agents over MCP, each token in a world of its own.

mod announce;
mod command_line;
mod databases;
mod gate;
mod health;
mod listen;
mod serve;
mod signals;
mod tls;

use std::process::ExitCode;

use command_line::{Action, Arguments};
use server_config::Config;
use signals::Signals;

fn main() -> ExitCode {
    match run(command_line::read()) {
        Ok(code) => code,
        Err(error) => {
            announce!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.action() {
        Action::Serve(sources) => {
            let config = Config::load(&sources)?;
            start_log();
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()?;
            let served = runtime.block_on(async { serve::run(&config, Signals::take()?).await });
            // Not dropped: that would wait for a read of standard input, which nothing ends.
            runtime.shutdown_background();
            served?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Writes the log to standard error; over stdio, standard output belongs to the protocol.
fn start_log() {
    use std::io::IsTerminal;
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}
