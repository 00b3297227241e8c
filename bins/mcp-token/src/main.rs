//! `mcp-token`: makes, shows, changes and removes API tokens. The implementation is in the library, which `mcp-server`
//! shares.

use std::{
    ffi::OsString,
    io::{self, Write},
    os::{fd::AsFd, unix::process::CommandExt},
    process::{Command, ExitCode},
};

use mcp_token::{Call, World};

/// The program that can query databases.
const SERVER: &str = "mcp-server";

fn main() -> ExitCode {
    let call = Call::parse(std::env::args_os()).unwrap_or_else(|error| error.exit());
    if let Some(line) = call.delegated() {
        return delegate(line);
    }
    let variables = std::env::vars_os();
    let sources = call.sources(variables, std::env::current_exe());
    let input = io::stdin();
    let (mut stdin, mut stdout, mut stderr) = (input.lock(), io::stdout(), io::stderr());
    let terminal = io::IsTerminal::is_terminal(&input).then(|| input.as_fd());
    let world = World::new(&mut stdin, &mut stdout, &mut stderr, terminal);
    let mut world = world.with_output(io::stdout());
    mcp_token::run(&call.command, &sources, &mut world).into()
}

/// Replaces this process by `mcp-server`, from beside this program or from the `PATH`.
fn delegate(line: Vec<OsString>) -> ExitCode {
    let beside = std::env::current_exe().map(|program| program.with_file_name(SERVER));
    let program = beside.ok().filter(|path| path.exists());
    let error = Command::new(program.unwrap_or_else(|| SERVER.into()))
        .args(line)
        .exec();
    // Without a standard error there is nobody to tell.
    let _ = writeln!(
        io::stderr(),
        "error: failed to run {SERVER}: {error}; --effective needs it beside this program or on the path"
    );
    ExitCode::FAILURE
}
