//! token-store
mod expiry;
mod file;
mod format;
mod secret;
mod selector;
mod set;
mod token;
#[cfg(feature = "watch")]
pub mod watch;
pub use expiry::{Expiry, ExpiryError, UNITS, Unit};
pub use file::{
    Draft, EditError, Edited, Identity, LoadError, Loaded, MAX_FILE_BYTES, NewToken, TokenFile,
    Warning,
};
pub use format::{FormatError, Problem, readers};
pub use secret::{RandomError, Secret, TokenHash};
pub use selector::{SelectError, Selector};
pub use set::{Changes, Duplicate, Refusal, TokenSet};
pub use token::{InvalidId, Token, TokenId};
