//! An append-only log in which removed, altered and reordered lines are found.
//!
//! Each line is a JSON object. It ends with a SHA-256 of the previous line's hash and of the line's
//! own content, so that the lines are a chain: [`verify`] names the first one that does not fit. If
//! lines are cut off at the end, the file itself does not show it; whoever keeps the hash of a
//! later line ([`AuditLog::head`]) elsewhere can tell.
//!
//! One thread owns the file. Writers put lines into a queue and wait for nothing; the thread writes
//! what has come together. The queue has a limit. Lines that find no place in it are counted, and a
//! line of the log's own says how many were lost as soon as lines can be written again.
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
