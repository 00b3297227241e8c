//! A private PostgreSQL cluster, run with the programs installed on this machine.
//!
//! [`Cluster::start`] creates a cluster in a folder of yours (once), starts it on a Unix socket that only its owner may
//! open, and returns a guard. The server ends with the guard, and also when the owning process is killed. Nothing is
//! downloaded, no other cluster is touched, and nothing listens on the network unless asked to.
//!
//! The library does not read the environment: the caller passes what it knows about locations in [`Search`].
//!
//! ```no_run
//! use private_postgres::{Cluster, Options, Programs, Search};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let search = Search {
//!     bin_dir: std::env::var_os("PG_BINDIR").map(Into::into),
//!     path: std::env::var_os("PATH"),
//! };
//! let programs = Programs::find(&search)?;
//! let cluster = Cluster::start(Options::durable(programs, "/home/ana/.local/share/shop"))?;
//! println!("psql '{}'", cluster.connection("postgres"));
//! cluster.stop();
//! # Ok(()) }
//! ```
//!
//! A folder holds the socket folder, the server's log, a lock file that names the owner, and one data folder per major
//! version (`data-15`, `data-18`), as one version cannot open another's files.

mod account;
mod cluster;
mod connection;
mod error;
mod folder;
mod initialize;
mod orphan;
mod programs;
mod readiness;
pub mod sample;
mod settings;
mod supervised;

pub use cluster::{Cluster, Identity, Network, Options, Storage};
pub use connection::Connection;
pub use error::StartError;
pub use folder::sweep;
pub use programs::{Programs, ProgramsError, Search};
