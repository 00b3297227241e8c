//! Replacing a file so that a crash at any moment leaves either the old file or the new one, complete.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::OFlags,
    process::{Resource, geteuid, getrlimit},
};

use super::{EditError, MAX_FILE_BYTES, Warning};

/// How many links are followed: as many as Linux itself follows.
const MAX_LINKS: usize = 40;
const TEMPORARY_SUFFIX: &[u8] = b".tmp";

/// Follows symbolic links to the real file, which need not exist. Links stay; only the real file is replaced.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, EditError> {
    let mut real = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&real) {
            // A relative target starts at the link's folder; `join` lets an absolute one replace the whole path.
            Ok(target) => real = folder_of(&real).join(target),
            Err(error) if is_no_link(&error) => return Ok(real),
            Err(error) => return Err(EditError::system("follow", &real)(error)),
        }
    }
    let error = io::Error::from_raw_os_error(rustix::io::Errno::LOOP.raw_os_error());
    Err(EditError::system("follow", path)(error))
}

fn is_no_link(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::NotFound
    )
}

/// Creates the folder if it is missing, accessible only to its owner.
pub(super) fn create_folder(real: &Path) -> Result<(), EditError> {
    let folder = folder_of(real);
    if folder.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(EditError::system("create the folder", folder))
}

/// Replaces the real file. The caller holds the lock.
///
/// An error means that the old file is in place. If only the last step fails, the new one is in
/// place, and that is a warning. `is_overtaken` is asked at the last moment whether somebody else
/// has changed the old file, which must then stay.
pub(super) fn replace(
    real: &Path,
    content: &[u8],
    is_overtaken: impl Fn() -> bool,
) -> Result<Option<Warning>, EditError> {
    let folder_path = folder_of(real);
    check_size(real, content)?;
    // Opened first, so that only its flush can still fail after the rename.
    let folder =
        File::open(folder_path).map_err(EditError::system("open the folder", folder_path))?;
    sweep(folder_path, real);
    let temporary = Temporary::create(folder_path, real)?;
    temporary.give_to_owner(real)?;
    temporary.fill(content)?;
    if is_overtaken() {
        return Err(EditError::Overtaken {
            path: real.to_owned(),
        });
    }
    temporary.rename(real)?;
    Ok(folder.sync_all().err().map(|source| Warning::NotDurable {
        folder: folder_path.to_owned(),
        source: Arc::new(source),
    }))
}

/// Refuses content that could not be read back, or that exceeds the limit on file sizes, which the
/// system would answer with a deadly signal.
fn check_size(real: &Path, content: &[u8]) -> Result<(), EditError> {
    let bytes = content.len() as u64;
    if bytes > MAX_FILE_BYTES {
        return Err(EditError::TooLarge {
            path: real.to_owned(),
            bytes,
        });
    }
    if getrlimit(Resource::Fsize)
        .current
        .is_some_and(|limit| bytes > limit)
    {
        let error = io::Error::from(io::ErrorKind::FileTooLarge);
        return Err(EditError::system(
            "write, within the process's limit on file sizes (ulimit -f),",
            real,
        )(error));
    }
    Ok(())
}

/// The file's owner, or the folder's if there is no file: root gives the new file to that user.
pub(super) fn owner_for(real: &Path) -> io::Result<(u32, u32)> {
    let metadata = match fs::metadata(real) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::metadata(folder_of(real))?,
        other => other?,
    };
    Ok((metadata.uid(), metadata.gid()))
}

/// A new file beside the old one; deleted on drop unless it has replaced the old one.
struct Temporary {
    path: PathBuf,
    file: File,
    done: bool,
}

impl Temporary {
    fn create(folder: &Path, real: &Path) -> Result<Self, EditError> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| {
            EditError::system("name a temporary file for", real)(io::Error::other(
                error.to_string(),
            ))
        })?;
        let mut name = temporary_prefix(real);
        name.push(format!("{:016x}", u64::from_ne_bytes(random)));
        name.push(OsStr::from_bytes(TEMPORARY_SUFFIX));
        let path = folder.join(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)
            .map_err(EditError::system("create", &path))?;
        Ok(Self {
            path,
            file,
            done: false,
        })
    }

    /// Gives the new file the old one's owner, so that `sudo mcp-token add` does not take it away from the server.
    fn give_to_owner(&self, real: &Path) -> Result<(), EditError> {
        let (user, group) =
            owner_for(real).map_err(EditError::system("find the owner of", real))?;
        let mine = self
            .file
            .metadata()
            .map_err(EditError::system("inspect", &self.path))?;
        // With mode 0600 the group has no rights, so failing to keep it does no harm.
        if mine.gid() != group {
            let _ = fchown(&self.file, None, Some(group));
        }
        let must = geteuid().is_root() || real.exists();
        if mine.uid() == user || !must {
            return Ok(());
        }
        fchown(&self.file, Some(user), None).map_err(|_| EditError::Owner {
            path: real.to_owned(),
            owner: user,
        })
    }

    fn fill(&self, content: &[u8]) -> Result<(), EditError> {
        let path = &self.path;
        // The process's umask may have removed even the owner's permissions.
        let mode = fs::Permissions::from_mode(0o600);
        self.file
            .set_permissions(mode)
            .map_err(EditError::system("protect", path))?;
        (&self.file)
            .write_all(content)
            .map_err(EditError::system("write", path))?;
        self.file
            .sync_all()
            .map_err(EditError::system("flush", path))
    }

    fn rename(mut self, real: &Path) -> Result<(), EditError> {
        fs::rename(&self.path, real).map_err(EditError::system("replace", real))?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.done {
            // If it cannot be deleted now, the next change deletes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Deletes what killed writers have left. This only tidies up, so it does not fail.
fn sweep(folder: &Path, real: &Path) {
    let prefix = temporary_prefix(real);
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let middle = name
            .as_bytes()
            .strip_prefix(prefix.as_bytes())
            .and_then(|rest| rest.strip_suffix(TEMPORARY_SUFFIX));
        if middle
            .is_some_and(|middle| middle.len() == 16 && middle.iter().all(u8::is_ascii_hexdigit))
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn temporary_prefix(real: &Path) -> OsString {
    let name = real.file_name().unwrap_or_default();
    OsString::from_vec([b".", name.as_bytes(), b"."].concat())
}

pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
