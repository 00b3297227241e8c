//! Reading a path that may lead to anything.

use std::{
    fs::{self, File, FileType, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use super::{Identity, Warning};
use crate::{format::FormatError, set::TokenSet};

/// The largest file that is read, in bytes: 100,000 tokens with notes of 300 bytes.
pub const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// One byte more than the largest file that is read.
const ROOM: usize = MAX_FILE_BYTES as usize + 1;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The system refused to open or read it.
    #[error("failed to read {path}: {source}{hint}", path = .path.display(), hint = hint(.source))]
    Read {
        /// The token file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Its path is empty.
    #[error("the token file has no name, for its path is empty; name a file")]
    NoName,
    /// It is a folder, a pipe or a device.
    #[error("{path} is {kind}, not a file; name a file with -token-file", path = .path.display())]
    NotAFile {
        /// The token file.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// It is larger than [`MAX_FILE_BYTES`].
    #[error("{path} has {bytes} bytes, more than the {MAX_FILE_BYTES} that are read; remove tokens, or name another file", path = .path.display())]
    TooLarge {
        /// The token file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// Its content is not entirely valid; none of it is used.
    #[error("{path}, {error}", path = .path.display())]
    Format {
        /// The token file.
        path: PathBuf,
        /// What is wrong and where.
        #[source]
        error: FormatError,
    },
}

pub(super) fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; run this as a user that may read the token file and write in its folder"
        }
        // A change renames a new file over the old one, and nothing can be renamed over a mount.
        io::ErrorKind::ResourceBusy => {
            "; the file is mounted by itself and cannot be replaced: mount its folder instead"
        }
        io::ErrorKind::ReadOnlyFilesystem => "; run this where its folder may be written",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; make room first",
        _ => "",
    }
}

/// A file's bytes, and the identity that it had before they were read.
pub(crate) struct Content {
    pub(crate) bytes: Vec<u8>,
    pub(crate) identity: Identity,
    pub(crate) warnings: Vec<Warning>,
    /// The file that they were read from.
    #[cfg_attr(not(feature = "watch"), allow(dead_code))]
    pub(crate) file: File,
}

/// Parses the content of the file at `path`; `old` is the set that it held before.
pub(crate) fn parse(bytes: &[u8], path: &Path, old: &TokenSet) -> Result<TokenSet, LoadError> {
    old.parse_next(bytes).map_err(|error| LoadError::Format {
        path: path.to_owned(),
        error,
    })
}

/// Refuses a path that leads to something other than a file. If the system does not say, opening it
/// will.
pub(super) fn expect_file(path: &Path) -> Result<(), LoadError> {
    expect_name(path)?;
    fs::metadata(path).map_or(Ok(()), |metadata| expect_kind(path, metadata.file_type()))
}

fn expect_name(path: &Path) -> Result<(), LoadError> {
    let is_empty = path.as_os_str().is_empty();
    (!is_empty).then_some(()).ok_or(LoadError::NoName)
}

fn expect_kind(path: &Path, kind: FileType) -> Result<(), LoadError> {
    if kind.is_file() {
        return Ok(());
    }
    Err(LoadError::NotAFile {
        path: path.to_owned(),
        kind: match () {
            () if kind.is_dir() => "a folder",
            () if kind.is_fifo() => "a pipe",
            () => "a device or socket",
        },
    })
}

/// Reads a file; `None` if there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Content>, LoadError> {
    expect_name(path)?;
    let failed = |source| LoadError::Read {
        path: path.to_owned(),
        source,
    };
    // Without these flags, opening a pipe would wait for a writer, and a terminal could become our controlling
    // terminal.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    let file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    let metadata = file.metadata().map_err(failed)?;
    expect_kind(path, metadata.file_type())?;
    let bytes = read_bytes(&file, metadata.len()).map_err(failed)?;
    let size = metadata.len().max(bytes.len() as u64);
    if size > MAX_FILE_BYTES {
        return Err(LoadError::TooLarge {
            path: path.to_owned(),
            bytes: size,
        });
    }
    Ok(Some(Content {
        bytes,
        identity: Identity::from(&metadata),
        warnings: warnings(path, metadata.permissions().mode()),
        file,
    }))
}

fn read_bytes(file: &File, size: u64) -> io::Result<Vec<u8>> {
    if size > MAX_FILE_BYTES {
        return Ok(Vec::new());
    }
    let mut bytes = Vec::new();
    // Reserve address space for the largest file. Allocators request a block of this size directly from the system and
    // return it as a whole (glibc from 32 MiB on), whereas a block of the file's size would stay with the process. Only
    // pages that are read into are used.
    if bytes.try_reserve_exact(ROOM).is_err() {
        bytes.reserve_exact(usize::try_from(size).unwrap_or(0) + 1);
    }
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn warnings(path: &Path, mode: u32) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mode = mode & 0o7777;
    if mode & 0o077 != 0 {
        warnings.push(Warning::Readable {
            path: path.to_owned(),
            mode,
        });
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // With the sticky bit, as on /tmp, only a file's owner may replace it.
    let folder_mode = folder
        .metadata()
        .map_or(0, |metadata| metadata.permissions().mode());
    if folder_mode & 0o1002 == 0o002 {
        warnings.push(Warning::FolderWritable {
            folder: folder.to_owned(),
        });
    }
    warnings
}
