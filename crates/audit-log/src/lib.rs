//! An append-only log in which a removed, altered or reordered line is found.
//!
//! Each line is a JSON object. It ends with the SHA-256 of the hash of the line before and of what the
//! line itself says, so that the lines are a chain: [`verify`] names the first one that does not fit.
//! What is cut off at the end cannot be seen in the file itself: whoever keeps the hash of a line
//! ([`AuditLog::head`]) elsewhere finds that, too.
//!
//! One thread owns the file. Who writes a line puts it into a queue and waits for nothing; the thread
//! writes what has come together. The queue has a limit, and what finds no place in it is counted, and
//! told by a line of its own as soon as lines can be written again.
//!
//! ```
//! use audit_log::{AuditLog, Entry, Options, verify};
//! use time::OffsetDateTime;
//!
//! # let folder = tempfile::tempdir()?;
//! let path = folder.path().join("audit.jsonl");
//! let log = AuditLog::open(Options::new(&path), |_report| ())?;
//! log.write(Entry::new("login", OffsetDateTime::now_utc()).text("user", "ada"));
//! let head = log.finish();
//!
//! let lines = std::io::BufReader::new(std::fs::File::open(&path)?);
//! let verified = verify(lines, None, None)?;
//! assert_eq!(verified.end, head);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod chain;
mod entry;
mod file;
mod log;
mod report;
mod verify;
mod writer;

pub use chain::{Hash, NotAHash, Position};
pub use entry::Entry;
pub use file::OpenError;
pub use log::{AuditLog, Options, Status};
pub use report::Report;
pub use verify::{Fault, Verified, VerifyError, verify};
