use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// Why a cluster could not be started. Where there is a fix, the message names it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A file or folder could not be created, read or changed.
    #[error("failed to {action} {path}", path = path.display())]
    File {
        /// What was being done, as a verb: "create", "read".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another running process holds the folder.
    #[error(
        "{path} is in use by another server ({owner}): stop that one, or choose another folder",
        path = folder.display()
    )]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// The holder as it identified itself, `pid 123`.
        owner: String,
    },
    /// The socket's path exceeds the 107 bytes that the system allows.
    #[error(
        "the socket path {path} has {length} bytes, the system allows {limit}: choose a shorter folder",
        path = path.display(),
        limit = crate::folder::SOCKET_PATH_LIMIT
    )]
    SocketPath {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
    },
    /// PostgreSQL refuses to run as root, and no other account was found to run it as.
    #[error(
        "PostgreSQL does not run as root, and /etc/passwd has neither `postgres` nor `nobody` to run it as: \
         add one, or run this as an ordinary user"
    )]
    NoAccount,
    /// The account that will run the server cannot reach a folder that it needs.
    #[error(
        "{path} cannot be entered by the user `{account}` that runs PostgreSQL: choose a folder elsewhere, \
         such as /var/lib, or run `chmod o+x {path}`",
        path = path.display()
    )]
    Unreachable {
        /// The folder that it cannot enter.
        path: PathBuf,
        /// The account that will run the server.
        account: String,
    },
    /// A program could not be started at all.
    #[error("failed to run {program}{hint}", program = program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// A known cause and its fix, preceded by a colon, or empty.
        hint: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// `initdb` failed.
    #[error("initdb failed ({status}){hint}\n{output}")]
    Initialize {
        /// How it ended.
        status: ExitStatus,
        /// A known cause and its fix, preceded by a colon, or empty.
        hint: &'static str,
        /// The end of what it printed.
        output: String,
    },
    /// The server ended before it accepted connections.
    #[error("PostgreSQL ended at its start ({status}){hint}\n{log}")]
    Ended {
        /// How it ended.
        status: ExitStatus,
        /// A known cause and its fix, preceded by a colon, or empty.
        hint: &'static str,
        /// The end of its log.
        log: String,
    },
    /// The server did not accept connections in time.
    #[error("PostgreSQL took no connection within {limit:?} ({last}); its log ends with\n{log}")]
    NotReady {
        /// How long it was given.
        limit: Duration,
        /// Why the last attempt failed.
        last: String,
        /// The end of its log.
        log: String,
    },
    /// A server left behind by an earlier owner does not stop.
    #[error(
        "a PostgreSQL of an earlier run (pid {pid}) still runs on this folder and does not stop: end it with `kill -QUIT {pid}`"
    )]
    OrphanStays {
        /// Its process ID.
        pid: u32,
    },
    /// The pid file of an earlier server names a running process, and the system does not reveal what it is.
    #[error(
        "{file} names the process {pid}, which lives, and the system does not tell whether it is a PostgreSQL of an \
         earlier run: if it is, end it with `kill -INT {pid}`, else remove that file",
        file = file.display()
    )]
    MayRun {
        /// The process ID.
        pid: u32,
        /// The file that names it.
        file: PathBuf,
    },
    /// No free TCP port was found.
    #[error("failed to find a free TCP port on 127.0.0.1")]
    NoPort {
        /// The system's error.
        source: io::Error,
    },
}

impl StartError {
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}

/// Causes that PostgreSQL's programs report in their output, and the fix for each.
const KNOWN_CAUSES: [(&str, &str); 6] = [
    (
        "could not look up effective user ID",
        ": the user that runs this has no line in /etc/passwd; add one",
    ),
    (
        "No space left on device",
        ": the disk is full; free some space or choose another folder",
    ),
    (
        "could not load library",
        ": PostgreSQL's programs were replaced while in use; run this again",
    ),
    (
        "invalid locale name",
        ": the C.UTF-8 locale is missing; install the system's locales",
    ),
    (
        "Address already in use",
        ": something else took the port or the socket; run this again",
    ),
    (
        "could not create shared memory segment",
        ": the system's shared memory is used up; see /proc/sys/kernel/shmmax",
    ),
];

/// Finds the fix for what a program printed; empty if none is known.
pub(crate) fn hint(output: &str) -> &'static str {
    KNOWN_CAUSES
        .iter()
        .find(|(cause, _)| output.contains(cause))
        .map_or("", |(_, fix)| fix)
}

/// Returns the last lines of a program's output, where the cause is.
pub(crate) fn last_lines(output: &str) -> String {
    const KEPT: usize = 20;
    let lines: Vec<&str> = output.trim_end().lines().collect();
    lines[lines.len().saturating_sub(KEPT)..].join("\n")
}
