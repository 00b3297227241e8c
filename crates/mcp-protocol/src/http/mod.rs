//! Streamable HTTP on hyper: one endpoint for every revision.
//!
//! A request passes these steps in this order, and each may refuse it: the gate (`Host`, `Origin`),
//! the path, whose request it is (behind a trusted proxy), the credentials, the method, the media
//! types, the body's size and time, and then the protocol itself. Until the credentials are
//! accepted, no byte of the body is read.

mod accept;
mod at_once;
mod body;
mod clients;
mod closing;
mod cors;
mod counts;
mod endpoint;
mod forwarded;
mod gate;
mod head;
mod lone;
mod options;
mod plain;
mod reply;
mod seldom;
mod watched;

pub use accept::Server;
pub use clients::network;
pub use counts::Counts;
pub use forwarded::{ForwardedHeader, Proxies};
pub use options::{AllowedHosts, Options, OptionsError};
