//! API tokens in a YAML file: generated, hashed, checked, expired, edited safely by many processes at once, and
//! watched.
//!
//! A token is 32 random bytes, encoded as text. The file keeps its SHA-256, never the token itself, and is
//! human-readable:
//!
//! ```yaml
//! tokens:
//!   - id: token-1730283330
//!     hash: b3f805a4c2e7d9f1a8b6c3e2d5f4a1b9c8e7d6f5a4b3c2e1d9f8a7b6c5e4d3f2
//!     note: Production API
//!     created_at: "2024-10-30T10:15:30Z"
//!     expires_at: "2025-10-30T10:15:30Z"
//! ```
//!
//! An entry may also say what the token may do and use up, its [`Policy`], and hold the secret that
//! it had before it was rotated. [`UsageLog`] says when each token was last used, in a file of its
//! own.
//!
//! [`TokenFile`] reads and changes the file, [`TokenSet`] is its contents, [`Expiry`] is a token's lifetime as people
//! write it, and `watch::TokenWatch` (feature `watch`) follows the file. Time is always an argument; only the watching
//! thread has a clock, to know when to look again.
//!
//! # The crate alone
//! Your own program, issuing a token and then checking it:
//!
//! ```
//! use time::macros::datetime;
//! use token_store::{EditError, Expiry, NewToken, Refusal, Secret, Selector, TokenFile};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("tokens.yaml");
//! let now = datetime!(2025-01-01 12:00 UTC);
//! let file = TokenFile::new(path);
//!
//! // Give a token out. Only its hash is kept.
//! let secret = Secret::generate()?;
//! let expiry: Expiry = "90d".parse()?;
//! let asked = NewToken {
//!     note: "Web App".into(),
//!     expires_at: expiry.end(now)?,
//!     ..NewToken::default()
//! };
//! let token = file.edit(|draft| Ok::<_, EditError>(draft.create(&secret, asked, now)?))?.value;
//! println!("{} is good for 90 days: {}", token.id, secret.expose());
//!
//! // Ask for it: one SHA-256 and one access to a map.
//! let set = file.load()?.set;
//! assert_eq!(&*set.authenticate(secret.expose(), now)?.note, "Web App");
//! let later = datetime!(2025-04-01 12:00 UTC);
//! assert!(matches!(set.authenticate(secret.expose(), later), Err(Refusal::Expired(_))));
//!
//! // Take it back, named by the first digits of its hash as a list shows them.
//! let named: Selector = token.hash.prefix().parse()?;
//! file.edit(|draft| {
//!     let found = named.find(draft.iter())?;
//!     draft.remove(&found.id);
//!     Ok::<_, Box<dyn std::error::Error>>(())
//! })?;
//! assert!(file.load()?.set.is_empty());
//! # Ok(())
//! # }
//! ```

mod expiry;
mod file;
mod format;
mod index;
mod policy;
mod secret;
mod selector;
mod set;
mod token;
mod usage;
#[cfg(feature = "watch")]
pub mod watch;

pub use expiry::{Expiry, ExpiryError, UNITS, Unit};
pub use file::{
    Draft, DraftError, EditError, Edited, Identity, LoadError, Loaded, MAX_FILE_BYTES, NewToken,
    TokenFile, Warning,
};
pub use format::{FormatError, Problem, entry_fields};
pub use policy::{
    Access, ByteSize, FIELDS, FilePath, InvalidNetwork, InvalidNetworks, InvalidPolicy,
    InvalidQuantity, KeptPolicy, LIMITS, Limit, Limits, Login, Names, Network, Networks,
    PasswordSource, Policy, Role, RoleName, Span, VariableName,
};
pub use secret::{RandomError, Secret, TokenHash};
pub use selector::{SelectError, Selector};
pub use set::{Accepted, Changes, Duplicate, Refusal, TokenSet};
pub use token::{InvalidId, Previous, Token, TokenId};
pub use usage::{Usage, UsageLog};

#[doc(hidden)]
pub use format::readers;
