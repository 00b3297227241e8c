//! Streamable HTTP on hyper: one endpoint for every revision.
//!
//! A request passes these steps in this order, and each may refuse it: the gate (`Host`, `Origin`),
//! the path, the credentials, the method, the media types, the body's size and time, and then the
//! protocol itself. Until the credentials are accepted no byte of the body is read.

mod accept;
mod at_once;
mod cors;
mod counts;
mod endpoint;
mod gate;
mod head;
mod options;
mod reply;
mod watched;

pub use accept::{Server, network};
pub use counts::Counts;
pub use options::{AllowedHosts, Options, OptionsError};
