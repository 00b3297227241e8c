//! Drives the real binaries against a real PostgreSQL. The tests are in `tests/`; this is what they share.
//!
//! - [`Database`]: a fresh copy of the sample shop in this process's own PostgreSQL, with a reader and an owner role
//! - [`Setup`]: a configuration and a token file in a folder of their own
//! - [`World`]: both of them, for tests of what tokens may do
//! - [`Server`]: a running `mcp-server`, ended when dropped; its log must hold no secret
//! - [`Client`]: HTTP by hand, so that tests decide about every byte
//! - [`Conversation`]: a client of an `mcp-server` over standard input and output
//! - [`Sql`]: a blocking connection that sees what the server does to PostgreSQL
//!
//! Everything blocks; tests that need many clients start threads. A helper that cannot do its work panics with the
//! reason, because in a test there is nothing better to do.
#![allow(clippy::missing_panics_doc, clippy::unwrap_used)]

mod backends;
pub mod binaries;
pub mod certificate;
mod client;
mod conversation;
mod database;
mod log;
mod postgres;
mod server;
mod setup;
mod sql;
/// A stub of a model's server, shared with the tests of model-client.
#[path = "../../crates/model-client/tests/stub/mod.rs"]
pub mod stub;
pub mod wait;
mod world;

pub use client::{Client, Request, Response, connect_from};
pub use conversation::Conversation;
pub use database::{Database, Login};
pub use log::Log;
pub use postgres::{Postgres, programs};
pub use server::{Answer, Server, call, list_tools, unfenced};
pub use setup::{Setup, Token};
pub use sql::{Sql, SqlError};
pub use world::World;
