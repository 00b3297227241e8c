//! What happens to a log, for its operator.

use std::{fmt, path::PathBuf};

use crate::{Position, file::OpenError};

/// What happened to a log; displayed in words for its operator.
#[derive(Debug)]
#[non_exhaustive]
pub enum Report {
    /// Lines cannot be written; writing is retried continually.
    Failing {
        /// The file.
        path: PathBuf,
        /// Why.
        error: String,
    },
    /// Lines can be written again.
    Recovered {
        /// The file.
        path: PathBuf,
        /// Lines that found no place in the meantime.
        lost: u64,
    },
    /// The file was removed, and a new one was begun.
    Removed(PathBuf),
    /// Somebody has emptied the file.
    Emptied(PathBuf),
    /// Somebody else has written to the file or cut it.
    Changed(PathBuf),
    /// The last line was unfinished when the file was opened.
    Torn {
        /// The file.
        path: PathBuf,
        /// How many bytes of it there are.
        bytes: u64,
    },
    /// The log continues in a new file of the same name.
    Reopened {
        /// The file.
        path: PathBuf,
        /// Where the old one ends.
        end: Position,
    },
    /// The log was to be opened anew, but its file is still the right one.
    InPlace {
        /// The file.
        path: PathBuf,
        /// Where it ends.
        end: Position,
    },
    /// The log could not be reopened and continues in its old file.
    NotReopened(OpenError),
    /// The log has ended.
    Finished {
        /// The file.
        path: PathBuf,
        /// Where it ends.
        end: Position,
        /// Lines that could not be written.
        unwritten: usize,
    },
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Report::Failing { path, error } => write!(
                out,
                "WARNING: {} cannot be written: {error}; make room for it, or move it away and send SIGHUP",
                path.display()
            ),
            Report::Recovered { path, lost } => {
                write!(
                    out,
                    "{} is written again; {lost} lines are lost",
                    path.display()
                )
            }
            Report::Removed(path) => write!(
                out,
                "WARNING: {} was removed; the log goes on in a new file. To rotate it, rename it and send SIGHUP",
                path.display()
            ),
            Report::Emptied(path) => write!(
                out,
                "WARNING: somebody has taken all lines out of {}; to rotate it, rename it and send SIGHUP",
                path.display()
            ),
            Report::Changed(path) => write!(
                out,
                "WARNING: somebody else has written in {}, or has cut it; `mcp-token audit verify` names the line",
                path.display()
            ),
            Report::Torn { path, bytes } => write!(
                out,
                "WARNING: the last line of {} was not finished ({bytes} bytes stand there); the next line says so",
                path.display()
            ),
            Report::Reopened { path, end } => write!(
                out,
                "{} is a new file; the one before ends with line {} and the hash {}",
                path.display(),
                end.seq,
                end.hash
            ),
            Report::InPlace { path, end } => {
                write!(
                    out,
                    "{} ends with line {} and the hash {}",
                    path.display(),
                    end.seq,
                    end.hash
                )
            }
            Report::NotReopened(error) => write!(
                out,
                "WARNING: {error}; the log goes on in the renamed file, and this is tried again each second"
            ),
            Report::Finished {
                path,
                end,
                unwritten,
            } => {
                let (seq, hash) = (end.seq, end.hash);
                write!(
                    out,
                    "{} ends with line {seq} and the hash {hash}",
                    path.display()
                )?;
                match unwritten {
                    0 => Ok(()),
                    lost => write!(out, "; WARNING: {lost} lines could not be written"),
                }
            }
        }
    }
}
