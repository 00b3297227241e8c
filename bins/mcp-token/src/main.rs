//! `mcp-token`: makes, lists and removes API tokens. All of it is in the library, which `mcp-server` shares.

use std::{io, process::ExitCode};

use mcp_token::{Call, World};

fn main() -> ExitCode {
    let call = Call::parse(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let variables = std::env::vars_os();
    let sources = call.sources(variables, std::env::current_exe());
    let input = io::stdin();
    let (mut stdin, mut stdout, mut stderr) = (input.lock(), io::stdout(), io::stderr());
    let terminal = io::IsTerminal::is_terminal(&stdin);
    let mut world = World::new(&mut stdin, &mut stdout, &mut stderr, terminal);
    mcp_token::run(&call.command, &sources, &mut world).into()
}
