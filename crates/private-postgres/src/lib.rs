//! A private PostgreSQL cluster from the programs that are installed on this machine.
//!
//! [`Cluster::start`] makes a cluster in a folder of yours (once), starts it on a Unix socket that only its
//! owner may open, and hands back a guard. The server ends with the guard, and also when the owning process is
//! killed. Nothing is downloaded, no other cluster is touched, nothing listens on the network unless asked.
//!
//! The library reads no environment: what the caller knows about places goes into [`Search`].
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
//! A folder holds one data folder per major version (`data-15`, `data-18`), because one version's files do not
//! open in another, the socket folder, the server's log and a lock file that names the owner.

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
