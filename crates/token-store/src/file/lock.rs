//! One writer at a time, across all processes.
//!
//! The lock is on a file of its own that is never deleted. A lock on the token file itself would be
//! on a file that the first writer replaces, and the second writer would overwrite the first one's
//! work.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use rustix::fs::OFlags;

use super::{EditError, save};

/// How long to wait for the lock.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// The right to change a token file. Released on drop, or by the system when the process dies.
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock of the real token file at `real`.
    pub(super) fn acquire(real: &Path) -> Result<Self, EditError> {
        let path = lock_path(real);
        let file = open(&path, real).map_err(EditError::system("open the lock", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => wait(file, path),
            Err(TryLockError::Error(error)) => Err(EditError::system("lock", &path)(error)),
        }
    }
}

/// Waits in the system's own queue, in which every writer gets its turn; with polling some would
/// starve.
///
/// The system knows no time limit, so a thread waits. If it gets the lock too late, nobody takes
/// it, and the thread drops it.
fn wait(file: File, path: PathBuf) -> Result<Lock, EditError> {
    let (sender, locked) = mpsc::channel();
    thread::Builder::new()
        .name("token-lock".into())
        .spawn(move || {
            let outcome = file.lock().map(|()| Lock { _file: file });
            // After the timeout there is no receiver any more.
            let _ = sender.send(outcome);
        })
        .map_err(EditError::system("wait for the lock", &path))?;
    match locked.recv_timeout(MAX_WAIT) {
        Ok(outcome) => outcome.map_err(EditError::system("lock", &path)),
        Err(_) => Err(EditError::Locked { path }),
    }
}

fn lock_path(real: &Path) -> PathBuf {
    let mut name: OsString = real.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

/// Opens the lock file, and gives a new one to the owner of the token file: if root owned it, the
/// server could not take the lock.
fn open(path: &Path, real: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path)?;
    let owner = save::owner_for(real)?;
    let metadata = file.metadata()?;
    if (metadata.uid(), metadata.gid()) != owner && rustix::process::geteuid().is_root() {
        std::os::unix::fs::fchown(&file, Some(owner.0), Some(owner.1))?;
    }
    Ok(file)
}
