//! The file: opened for appending, by one process alone, after its last whole line.

use std::{
    fs::{File, OpenOptions, Permissions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use time::OffsetDateTime;

use crate::{
    Entry, Hash, Position,
    chain::{LONGEST, Line, Misfit},
};

/// How many bytes at the end of a file are read: its last whole line, and an unfinished one after
/// that.
const TAIL: u64 = 2 * LONGEST as u64;

/// The permission bits by which others than the owner may write.
const OTHERS_WRITE: u32 = 0o022;

/// Why a log cannot be opened, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system refuses to open it.
    #[error("the audit log {} cannot be opened: {error}; give the user that the server runs as the right to write there, or name another file", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// It is not a regular file.
    #[error("the audit log {} is not a regular file; name one", .0.display())]
    NotAFile(PathBuf),
    /// Users other than the owner could change it.
    #[error("the audit log {} can be written by others than its owner (mode {mode:04o}); run `chmod 600` on it", .path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Another process has locked it.
    #[error("another server writes the audit log {}; give each a file of its own", .0.display())]
    Locked(PathBuf),
    /// The system cannot lock it.
    #[error("the audit log {} cannot be locked, without which two servers could write it at once: {error}; name a file on a file system that has locks", .path.display())]
    Unlocked {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// Its last line is not a line of such a log.
    #[error("the file {} does not end as an audit log does, so that it cannot go on there: check it with `mcp-token audit verify`, and move it away", .0.display())]
    NotALog(PathBuf),
    /// A log that goes on after another file must begin in an empty one.
    #[error("the file {} is not empty; the audit log goes on where it was: move that file away, and send SIGHUP again", .0.display())]
    NotEmpty(PathBuf),
}

/// Tells a lock that another process holds from one that the system refuses.
fn of_lock(path: &Path, error: Errno) -> OpenError {
    let path = path.to_owned();
    match error {
        Errno::WOULDBLOCK => OpenError::Locked(path),
        error => OpenError::Unlocked {
            path,
            error: error.into(),
        },
    }
}

/// The file.
#[derive(Debug)]
pub(crate) struct LogFile {
    file: File,
    path: PathBuf,
    /// Where the last complete line ends, in bytes.
    whole: u64,
    end: Position,
    rest: Rest,
    is_synced: bool,
    /// What is to be written next; kept to reuse its memory.
    out: Vec<u8>,
}

/// The memory that is kept from one write to the next, in bytes.
const KEPT_ROOM: usize = 64 << 10;

/// What stands after the last whole line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    Nothing,
    /// A line that lacks only its line break.
    Line(u64),
    /// The beginning of a line, as a power failure leaves it, with its length in bytes and its hash.
    Torn(u64, Hash),
}

impl Rest {
    fn bytes(self) -> u64 {
        match self {
            Rest::Nothing => 0,
            Rest::Line(bytes) | Rest::Torn(bytes, _) => bytes,
        }
    }
}

/// What has happened to the file since it was last written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    AsItWas,
    /// It was removed: it has no name any more.
    Removed,
    /// Somebody has emptied it.
    Emptied,
    /// Somebody else has written to it or cut it.
    Changed,
}

impl LogFile {
    /// Opens or creates a file and finds its last complete line.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let failed = |error| OpenError::Open {
            path: path.to_owned(),
            error,
        };
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            // Opening a pipe would block.
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
            .open(path)
            .map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(OpenError::NotAFile(path.to_owned()));
        }
        if metadata.mode() & OTHERS_WRITE != 0 {
            // The mode can be wider than requested only if the file existed before.
            let mode = metadata.mode() & 0o7777;
            let path = path.to_owned();
            return Err(OpenError::Mode { path, mode });
        }
        if metadata.len() == 0 {
            let _kept = file.set_permissions(Permissions::from_mode(0o600));
        }
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| of_lock(path, error))?;
        let mut log = LogFile {
            file,
            path: path.to_owned(),
            whole: 0,
            end: Position::default(),
            rest: Rest::Nothing,
            is_synced: true,
            out: Vec::new(),
        };
        if metadata.len() > 0 {
            log.find_end(metadata.len()).map_err(|error| match error {
                Some(error) => failed(error),
                None => OpenError::NotALog(path.to_owned()),
            })?;
        }
        Ok(log)
    }

    /// Opens a file, which must be empty, to continue the log of another one.
    pub(crate) fn open_after(path: &Path, end: Position) -> Result<Self, OpenError> {
        let mut log = LogFile::open(path)?;
        if !log.is_empty() {
            return Err(OpenError::NotEmpty(path.to_owned()));
        }
        log.end = end;
        Ok(log)
    }

    fn find_end(&mut self, length: u64) -> Result<(), Option<io::Error>> {
        let from = length.saturating_sub(TAIL);
        self.file.seek(SeekFrom::Start(from))?;
        let mut tail = Vec::new();
        (&self.file).take(TAIL).read_to_end(&mut tail)?;
        let last = tail.iter().rposition(|byte| *byte == b'\n').ok_or(None)?;
        let (lines, rest) = (&tail[..last], &tail[last + 1..]);
        let start = lines.iter().rposition(|byte| *byte == b'\n');
        let line = Line::read(&lines[start.map_or(0, |at| at + 1)..]).ok_or(None)?;
        self.end = line.position();
        self.whole = from + last as u64 + 1;
        self.rest = match Line::read(rest) {
            _ if rest.is_empty() => Rest::Nothing,
            Some(line) if self.end.read(&line) == Ok::<(), Misfit>(()) => {
                Rest::Line(rest.len() as u64)
            }
            _ => Rest::Torn(rest.len() as u64, Hash::of(rest)),
        };
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The position of its last complete line.
    pub(crate) fn end(&self) -> Position {
        self.end
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.whole == 0 && self.rest == Rest::Nothing
    }

    /// The length in bytes of an unfinished line at the end, if any.
    pub(crate) fn torn(&self) -> Option<u64> {
        match self.rest {
            Rest::Torn(bytes, _) => Some(bytes),
            _ => None,
        }
    }

    /// Looks what has happened to it.
    pub(crate) fn look(&mut self) -> io::Result<Sight> {
        let metadata = self.file.metadata()?;
        if metadata.nlink() == 0 {
            return Ok(Sight::Removed);
        }
        if metadata.len() == self.whole + self.rest.bytes() {
            return Ok(Sight::AsItWas);
        }
        self.whole = metadata.len();
        self.rest = Rest::Nothing;
        Ok(if metadata.len() == 0 {
            Sight::Emptied
        } else {
            Sight::Changed
        })
    }

    /// Says whether its path still leads to it.
    pub(crate) fn is_in_place(&self) -> bool {
        let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        let named = std::fs::metadata(&self.path).map(identity);
        let open = self.file.metadata().map(identity);
        matches!((named, open), (Ok(named), Ok(open)) if named == open)
    }

    /// Appends entries with as few writes as the system allows. Says how many of them are in the
    /// file whole, also when it fails; what was written of a line beyond them is removed again.
    pub(crate) fn append<'a>(
        &mut self,
        entries: impl IntoIterator<Item = &'a Entry>,
        now: OffsetDateTime,
    ) -> (usize, io::Result<()>) {
        let (mut out, mut ends, mut end) = (std::mem::take(&mut self.out), Vec::new(), self.end);
        let mut ours = 0;
        if self.rest != Rest::Nothing {
            out.push(b'\n');
        }
        if let Rest::Torn(bytes, hash) = self.rest {
            let torn = Entry::new("torn", now)
                .number("bytes", bytes)
                .text("sha256", &hash.to_string());
            end.write(&torn, &mut out);
            ends.push((out.len(), end));
            ours = 1;
        }
        for entry in entries {
            end.write(entry, &mut out);
            ends.push((out.len(), end));
        }
        let (written, result) = write_all(&mut self.file, &out);
        let whole = ends.iter().take_while(|(at, _)| *at <= written).count();
        if written > 0 {
            self.is_synced = false;
        }
        if let Some((at, end)) = whole.checked_sub(1).map(|last| ends[last]) {
            self.whole += self.rest.bytes() + at as u64;
            self.end = end;
            self.rest = Rest::Nothing;
            self.take_back(&out[at..written]);
        } else {
            self.take_back(&out[..written]);
        }
        out.clear();
        out.shrink_to(KEPT_ROOM);
        self.out = out;
        (whole.saturating_sub(ours), result)
    }

    /// Removes the beginning of a line again. If that is not allowed, it stays as a torn line.
    fn take_back(&mut self, fragment: &[u8]) {
        if fragment.is_empty() || self.file.set_len(self.whole + self.rest.bytes()).is_ok() {
            return;
        }
        self.whole += self.rest.bytes();
        self.rest = Rest::Torn(fragment.len() as u64, Hash::of(fragment));
    }

    /// Flushes what was written to the disk.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if !self.is_synced {
            self.file.sync_data()?;
            self.is_synced = true;
        }
        Ok(())
    }

    pub(crate) fn is_synced(&self) -> bool {
        self.is_synced
    }
}

/// Writes everything, and says how many bytes that were.
fn write_all(file: &mut File, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_cannot_be_had_is_not_taken_for_another_servers() {
        let path = Path::new("audit.log");
        for (error, told) in [
            (Errno::WOULDBLOCK, "another server writes"),
            (Errno::NOLCK, "cannot be locked"),
            (Errno::NOTSUP, "cannot be locked"),
            (Errno::IO, "cannot be locked"),
        ] {
            let message = of_lock(path, error).to_string();
            assert!(message.contains(told), "{error:?}: {message}");
            assert!(message.contains("audit.log"), "{message}");
        }
    }
}
