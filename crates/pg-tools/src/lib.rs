//! What an agent can do with PostgreSQL, as MCP tools.
//!
//! [`Toolbox`] answers an MCP server's calls for [`Agent`]s: each has a session of its own (its own connections, see
//! `session_pool`) and a database that it is bound to. `query_database` runs one query that can only read, whatever it
//! says: the text must be a plain query by PostgreSQL's own grammar, it may name no function with lasting effects, and
//! it runs in a read-only transaction that is always rolled back. A program can add tools of its own ([`OwnTool`]).
//!
//! ```no_run
//! use std::sync::Arc;
//! use mcp_protocol::{Authenticate, Credentials, Refusal, Service, http};
//! use pg_tools::{Agent, Settings, Toolbox};
//! use session_pool::{Database, Limits, Sessions, Tls};
//!
//! /// Everybody is one and the same; a real service looks credentials up.
//! struct Anyone(Sessions);
//!
//! impl Authenticate for Anyone {
//!     type Principal = Agent;
//!     async fn authenticate(
//!         &self,
//!         _: Credentials<'_>,
//!         _: std::net::IpAddr,
//!     ) -> Result<Agent, Refusal> {
//!         Ok(Agent::new(self.0.open("anyone", None), "shop"))
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut config = tokio_postgres::Config::new();
//! config.host("localhost").user("reader").dbname("shop");
//! let sessions = Sessions::new([Database::new("shop", config, Tls::disabled())], Limits::default());
//! let toolbox = Toolbox::new(Settings::default())?;
//! let service = Arc::new(Service::new(toolbox));
//! let server = http::Server::new(service, Anyone(sessions), http::Options::default());
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! server.serve(listener, std::future::pending()).await;
//! # Ok(())
//! # }
//! ```

mod account;
mod agent;
mod arguments;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod bench;
mod bounds;
mod client;
mod custom;
mod fence;
mod handler;
mod listing;
/// Rendering alone, for the benchmarks in `bench/`.
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod measured;
mod meter;
mod nearest;
mod policy;
mod prompts;
mod questions;
mod quoting;
mod read_only;
mod render;
mod resources;
mod schema;
mod settings;
mod shelf;
mod state;
/// The stub of a model server from model-client's tests.
#[cfg(test)]
#[path = "../../model-client/tests/stub/mod.rs"]
mod stub;
mod survey;
mod tools;
mod writing;

pub use account::{Account, CallCounts, CallKind, Ledger, Outcome};
pub use agent::{Agent, Standing};
pub use bounds::{Bounds, Doing, Leave};
pub use custom::{CustomParameter, CustomTool, CustomToolError, CustomTools};
pub use handler::{Counters, OwnAnswer, OwnTool, Toolbox};
pub use meter::{Meter, Pace, Totals};
pub use policy::{Access, Policy, Role};
pub use questions::QuestionLimits;
pub use read_only::{Allowance, DangerousRoles, Guards, QueryLimits, masked};
pub use settings::{Settings, SettingsError};
pub use survey::{Survey, Surveyed};
pub use tools::{Paging, session_of};
