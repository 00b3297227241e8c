//! Every command line, format, output and request of "Authentication - Token Management", as it is printed there,
//! against the real binaries.
//!
//! Command lines run verbatim through a shell, in a folder whose `bin/pgedge-postgres-mcp` is this project's
//! `mcp-server`. Only what depends on the machine is replaced: ports, paths, tokens.
#![allow(clippy::unwrap_used)]

mod clients;
mod formats;
mod managing;
mod serving;
mod world;
