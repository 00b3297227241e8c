//! Each id its own PostgreSQL connections, gone the moment it loses its rights.
//!
//! [`Sessions`] maps an id to a [`Session`]; a session has a deadpool pool for each database that
//! it uses, made on first use and shared with nobody. A [`Lease`] is one connection of it for one
//! exchange. When the session's deadline comes, or somebody closes it, new leases are refused,
//! running statements are cancelled in PostgreSQL and every connection is closed.
//!
//! A [`Line`] of leases shares one connection that is kept with what they leave in it, such as
//! temporary tables ([`Session::keep`]).
//!
//! A session is a handle, not an id: whoever got one before it was closed cannot open a new pool
//! with it afterwards.
//!
//! ```no_run
//! use session_pool::{Database, Limits, Sessions, Tls};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut config = tokio_postgres::Config::new();
//! config.host("localhost").user("reader").dbname("shop");
//! let sessions = Sessions::new([Database::new("shop", config, Tls::disabled())], Limits::default());
//!
//! let in_an_hour = std::time::SystemTime::now() + std::time::Duration::from_secs(3_600);
//! let session = sessions.open("customer-42", Some(in_an_hour));
//! let lease = session.lease("shop").await?;
//! let row = lease.query_one("SELECT count(*) FROM orders", &[]).await?;
//! println!("{} orders", row.get::<_, i64>(0));
//! lease.scrub().await?;
//!
//! sessions.close("customer-42"); // cancels and closes whatever customer-42 still has open
//! # Ok(())
//! # }
//! ```

mod budget;
mod cancel;
mod census;
mod complaint;
mod connect;
mod database;
mod deadline;
mod directory;
mod end;
mod exchange;
mod frames;
mod hosts;
mod kept;
mod lease;
mod metered;
mod named;
mod reachability;
mod refusal;
mod seats;
mod session;
mod sessions;
mod shared;
mod statements;
mod tls;
mod wire;

pub use census::{BudgetCensus, Census, Connections};
pub use complaint::Complaint;
pub use database::{Database, Limits, Login, TargetSession, Terms};
pub use end::End;
pub use exchange::{Answer, Column, Exchange, Parameter, Row, Step, Value};
pub use kept::{Line, Loss, Tie};
pub use lease::{Lease, LeaseError, SCRUB};
pub use refusal::Refusal;
pub use session::Session;
pub use sessions::Sessions;
pub use statements::Standing;
pub use tls::{Tls, TlsError, Verification};
