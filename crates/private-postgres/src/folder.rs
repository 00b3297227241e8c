use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::StartError;
use crate::account::Account;
use crate::error::last_lines;

/// The longest socket path that the system allows, in bytes (`sun_path` less its terminating zero).
pub(crate) const SOCKET_PATH_LIMIT: usize = 107;

const LOCK_NAME: &str = "owner.lock";

/// How much of a log's end is read, in bytes.
const SHOWN_BYTES: u64 = 64 << 10;

/// The age from which a lock held by nobody means that its folder was abandoned.
const SETTLED: Duration = Duration::from_secs(60);

/// A cluster's folder, held exclusively by this process while the value lives.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Creates the folder if it is missing and locks it. The lock ends with the process, however that ends.
    pub(crate) fn hold(path: &Path, account: &Account) -> Result<Self, StartError> {
        let path = std::path::absolute(path).map_err(StartError::file("find", path))?;
        make_private(&path, account)?;
        // `/proc` shows the processes working in the folder under this name, whatever links led here.
        let path = fs::canonicalize(&path).map_err(StartError::file("find", &path))?;
        account.check_reach(&path.join("data"))?;
        let lock_path = path.join(LOCK_NAME);
        let mut lock = open_unlinked(&lock_path).map_err(StartError::file("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StartError::InUse {
                    folder: path,
                    owner: owner_of(&mut lock),
                });
            }
            Err(TryLockError::Error(error)) => {
                return Err(StartError::file("lock", &lock_path)(error));
            }
        }
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| write!(lock, "pid {}", std::process::id()))
            .map_err(StartError::file("write", &lock_path))?;
        Ok(Self { path, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn data(&self, major: u32) -> PathBuf {
        self.path.join(format!("data-{major}"))
    }

    /// A file whose existence means that the data folder was created completely.
    pub(crate) fn made_marker(&self, major: u32) -> PathBuf {
        self.path.join(format!("data-{major}.made"))
    }

    /// Creates or empties a file in the folder.
    pub(crate) fn create(&self, path: &Path) -> Result<File, StartError> {
        open_unlinked(path)
            .and_then(|file| file.set_len(0).map(|()| file))
            .map_err(StartError::file("create", path))
    }

    /// The last lines of a log in the folder; empty if it cannot be read.
    pub(crate) fn end_of(&self, log: &Path) -> String {
        last_lines(&end_of_unlinked(log).unwrap_or_default())
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("server.log")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Creates the folder of the socket for `port`, and checks that the path is short enough.
    pub(crate) fn socket_dir(&self, port: u16, account: &Account) -> Result<PathBuf, StartError> {
        let folder = self.path.join("socket");
        let socket = folder.join(socket_name(port));
        let length = socket.as_os_str().as_bytes().len();
        if length > SOCKET_PATH_LIMIT {
            return Err(StartError::SocketPath {
                path: socket,
                length,
            });
        }
        make_private(&folder, account)?;
        Ok(folder)
    }

    /// Removes the data folders of all versions.
    pub(crate) fn erase(&self) -> Result<(), StartError> {
        let entries = fs::read_dir(&self.path).map_err(StartError::file("list", &self.path))?;
        for entry in entries.flatten() {
            if !entry.file_name().as_bytes().starts_with(b"data-") {
                continue;
            }
            let path = entry.path();
            let removed = if path.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.map_err(StartError::file("remove", &path))?;
        }
        Ok(())
    }
}

/// The name of PostgreSQL's socket for a port.
pub(crate) fn socket_name(port: u16) -> String {
    format!(".s.PGSQL.{port}")
}

fn owner_of(lock: &mut File) -> String {
    let mut owner = String::new();
    match lock.read_to_string(&mut owner) {
        Ok(1..) => owner.trim().to_owned(),
        _ => "pid unknown".to_owned(),
    }
}

/// Opens a file for reading and writing, creating it if missing, but never through a link. The folder belongs to the
/// account, and a link left there could make root write elsewhere.
fn open_unlinked(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.create(true).read(true).write(true).truncate(false);
    only_plain(&mut options, path)
}

/// Reads the end of a log, refusing links as well: root sees the result, and may read files that the account may not.
fn end_of_unlinked(path: &Path) -> io::Result<String> {
    let mut file = only_plain(File::options().read(true), path)?;
    let begin = file.metadata()?.len().saturating_sub(SHOWN_BYTES);
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.take(SHOWN_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Opens a regular file that has no other name. Does not block on anything else, such as a pipe.
fn only_plain(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let odd = || io::Error::other("it is a link, or no file: remove it");
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = options.custom_flags(flags.bits().cast_signed()).open(path);
    let file = opened.map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => odd(),
        _ => error,
    })?;
    let found = file.metadata()?;
    if found.is_file() && found.nlink() <= 1 {
        Ok(file)
    } else {
        Err(odd())
    }
}

/// Creates a folder that only the account may enter. An existing one must be a real folder of ours: the change of owner
/// that follows would give away another user's folder, or the target of a link.
fn make_private(path: &Path, account: &Account) -> Result<(), StartError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(StartError::file("create", parent))?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(StartError::file("create", path)(error));
        }
        _ => {}
    }
    // The object checked is the object changed, even if something else is put in its place meanwhile.
    let looked_at = fs::symlink_metadata(path).map_err(StartError::file("look at", path))?;
    check_ours(path, &looked_at, account)?;
    let flags = OFlags::NOFOLLOW | OFlags::DIRECTORY;
    let folder = File::options()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(StartError::file("open", path))?;
    let opened = folder
        .metadata()
        .map_err(StartError::file("look at", path))?;
    check_ours(path, &opened, account)?;
    folder
        .set_permissions(Permissions::from_mode(0o700))
        .map_err(StartError::file("change the mode of", path))?;
    account.give(&folder, path)
}

fn check_ours(path: &Path, metadata: &fs::Metadata, account: &Account) -> Result<(), StartError> {
    let own = rustix::process::geteuid().as_raw();
    let stand_in = match account {
        Account::Own => own,
        Account::StandIn { uid, .. } => *uid,
    };
    if metadata.is_dir() && [own, stand_in].contains(&metadata.uid()) {
        return Ok(());
    }
    let refusal = io::Error::other("it is not a folder of this user's: choose another one");
    Err(StartError::file("use", path)(refusal))
}

/// Removes what killed owners have left: every folder in `parent` whose name begins with `prefix`, that was created by
/// this crate and that nobody holds. A folder that cannot be removed stays for the next sweep.
pub fn sweep(parent: &Path, prefix: &str) {
    // `/proc` shows working folders under this name, as in `hold`.
    let Ok(entries) = fs::canonicalize(parent).and_then(fs::read_dir) else {
        return;
    };
    for entry in entries.flatten() {
        if is_abandoned(&entry.path(), &entry.file_name(), prefix) {
            tracing::debug!(folder = %entry.path().display(), "removing an abandoned cluster");
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn is_abandoned(folder: &Path, name: &OsStr, prefix: &str) -> bool {
    if !name.as_bytes().starts_with(prefix.as_bytes()) {
        return false;
    }
    let lock_path = folder.join(LOCK_NAME);
    let Ok(lock) = only_plain(File::options().read(true).write(true), &lock_path) else {
        return false;
    };
    // A recent lock may belong to a process that has created it but not yet taken it.
    let is_old = lock
        .metadata()
        .and_then(|file| file.modified())
        .is_ok_and(|made| made.elapsed().is_ok_and(|age| age > SETTLED));
    // A server whose owner was killed needs a moment to end. Until then its data is in use.
    is_old && lock.try_lock().is_ok() && !crate::orphan::any_alive(folder)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_folder_that_is_held_names_its_holder() {
        let folder = tempfile::tempdir().unwrap();
        let _held = Folder::hold(folder.path(), &Account::Own).unwrap();
        let error = Folder::hold(folder.path(), &Account::Own)
            .unwrap_err()
            .to_string();
        assert!(error.contains("in use by another server"), "{error}");
        assert!(
            error.contains(&format!("pid {}", std::process::id())),
            "{error}"
        );
    }

    #[test]
    fn a_folder_is_free_again_when_its_holder_lets_go() {
        let folder = tempfile::tempdir().unwrap();
        drop(Folder::hold(folder.path(), &Account::Own).unwrap());
        assert!(Folder::hold(folder.path(), &Account::Own).is_ok());
    }

    #[test]
    fn a_socket_path_over_the_system_limit_is_refused_with_its_length() {
        let folder = tempfile::tempdir().unwrap();
        let long = folder.path().join("n".repeat(120));
        let held = Folder::hold(&long, &Account::Own).unwrap();
        let error = held
            .socket_dir(5432, &Account::Own)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("the system allows 107: choose a shorter folder"),
            "{error}"
        );
    }

    #[test]
    fn a_link_in_place_of_the_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/etc", &link).unwrap();
        let error = Folder::hold(&link, &Account::Own).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("not a folder of this user's"), "{cause}");
    }

    #[test]
    fn the_folder_is_known_by_its_own_name_whatever_link_led_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let parent = folder.path().canonicalize().unwrap();
        fs::create_dir(parent.join("real")).unwrap();
        std::os::unix::fs::symlink("real", parent.join("link")).unwrap();
        let held = Folder::hold(&parent.join("link/cluster"), &Account::Own).unwrap();
        assert_eq!(held.path(), parent.join("real/cluster"));
    }

    fn cause_of(error: StartError) -> String {
        std::error::Error::source(&error).unwrap().to_string()
    }

    fn make_pipe(path: &Path) {
        let made = std::process::Command::new("mkfifo").arg(path).status();
        assert!(made.unwrap().success());
    }

    #[test]
    fn what_is_written_goes_through_no_link() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = folder.path().join("elsewhere");
        fs::write(&elsewhere, "kept").unwrap();
        let path = folder.path().join("cluster");
        let held = Folder::hold(&path, &Account::Own).unwrap();
        let log = held.log();
        for (what, put) in [
            (
                "symlink",
                &(|at: &Path| std::os::unix::fs::symlink(&elsewhere, at).unwrap())
                    as &dyn Fn(&Path),
            ),
            ("hard link", &|at| fs::hard_link(&elsewhere, at).unwrap()),
            ("pipe", &make_pipe),
            ("folder", &|at| fs::create_dir(at).unwrap()),
        ] {
            put(&log);
            let error = held.create(&log).unwrap_err();
            assert!(error.to_string().contains("failed to create"), "{error}");
            let cause = cause_of(error);
            assert!(cause.contains("remove it"), "{what}: {cause}");
            fs::remove_file(&log)
                .or_else(|_| fs::remove_dir(&log))
                .unwrap();
        }
        fs::remove_file(path.join(LOCK_NAME)).unwrap();
        drop(held);
        std::os::unix::fs::symlink(&elsewhere, path.join(LOCK_NAME)).unwrap();
        let error = Folder::hold(&path, &Account::Own).unwrap_err();
        assert!(error.to_string().contains("failed to open"), "{error}");
        assert!(cause_of(error).contains("remove it"));
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "kept");
    }

    #[test]
    fn what_is_shown_of_a_log_is_its_own_end_whatever_bytes_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let held = Folder::hold(&folder.path().join("cluster"), &Account::Own).unwrap();
        let log = held.log();
        let long = [
            &b"filling\n".repeat(20_000)[..],
            b"FATAL: \xff\xfe in the way\n",
        ]
        .concat();
        fs::write(&log, long).unwrap();
        let shown = held.end_of(&log);
        assert!(
            shown.ends_with("FATAL: \u{fffd}\u{fffd} in the way"),
            "{shown}"
        );
        fs::remove_file(&log).unwrap();
        assert_eq!(held.end_of(&log), "");

        let secret = folder.path().join("secret");
        fs::write(&secret, "canary").unwrap();
        std::os::unix::fs::symlink(&secret, &log).unwrap();
        assert_eq!(held.end_of(&log), "");
        fs::remove_file(&log).unwrap();
        make_pipe(&log);
        assert_eq!(held.end_of(&log), "");
    }

    #[test]
    fn a_sweep_takes_abandoned_folders_and_leaves_held_young_and_foreign_ones() {
        let parent = tempfile::tempdir().unwrap();
        let folder = |name: &str| parent.path().join(name);
        let _holder = Folder::hold(&folder("t-held"), &Account::Own).unwrap();
        for name in ["t-abandoned", "t-young", "other"] {
            drop(Folder::hold(&folder(name), &Account::Own).unwrap());
        }
        fs::create_dir(folder("t-foreign")).unwrap();
        let long_ago = std::time::SystemTime::now() - 2 * SETTLED;
        for name in ["t-held", "t-abandoned", "other"] {
            let lock = File::options()
                .write(true)
                .open(folder(name).join(LOCK_NAME))
                .unwrap();
            lock.set_modified(long_ago).unwrap();
        }

        sweep(parent.path(), "t-");

        let left = ["t-held", "t-abandoned", "t-young", "t-foreign", "other"]
            .map(|name| folder(name).exists());
        assert_eq!(left, [true, false, true, true, true]);
    }

    #[test]
    fn a_sweep_through_a_link_leaves_what_a_server_still_works_in() {
        let parent = tempfile::tempdir().unwrap();
        let (real, link) = (parent.path().join("real"), parent.path().join("link"));
        fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let held = Folder::hold(&link.join("t-ending"), &Account::Own).unwrap();
        let data = held.data(15);
        fs::create_dir(&data).unwrap();
        let long_ago = std::time::SystemTime::now() - 2 * SETTLED;
        held._lock.set_modified(long_ago).unwrap();
        // Dropped before the program starts, which would otherwise share the lock for a moment.
        drop(held);
        let mut inside = std::process::Command::new("cat")
            .current_dir(&data)
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();

        sweep(&link, "t-");
        let was_left = data.exists();
        drop(inside.stdin.take());
        inside.wait().unwrap();
        sweep(&link, "t-");

        assert_eq!((was_left, data.exists()), (true, false));
    }

    #[test]
    fn erasing_removes_the_data_of_all_versions_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let held = Folder::hold(folder.path(), &Account::Own).unwrap();
        fs::create_dir_all(held.data(15).join("base")).unwrap();
        fs::create_dir_all(held.data(18)).unwrap();
        fs::write(held.made_marker(15), "").unwrap();
        fs::write(held.log(), "kept").unwrap();
        held.erase().unwrap();
        let left = [
            held.data(15),
            held.data(18),
            held.made_marker(15),
            held.log(),
        ]
        .map(|path| path.exists());
        assert_eq!(left, [false, false, false, true]);
    }
}
