use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::StartError;

/// Where Linux lists its processes.
const PROCESSES: &str = "/proc";

const PID_FILE: &str = "postmaster.pid";

/// How long an orphaned server gets for each way of stopping it.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// What runs under the process ID in a pid file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runs {
    /// A postgres on the file's data folder.
    Server,
    /// Another program, which has been given the same ID since.
    Another,
    /// The system does not reveal what it is.
    Untold,
}

/// Prepares for a start on `data`: stops a server that a killed owner left behind, and removes a pid file that would
/// prevent the start although its process ID now belongs to another program.
///
/// Everything else is left to PostgreSQL, which also checks the shared memory named in the file: removing the file of a
/// dead postmaster whose backends are still writing would allow two servers on one folder.
///
/// The caller holds the folder's lock. If the system does not reveal what the file's process is (there is no `/proc`,
/// or it hides other users' processes), a running one may be a server, and the error leaves that to the operator to
/// check.
pub(crate) fn settle(data: &Path) -> Result<(), StartError> {
    settle_among(Path::new(PROCESSES), data)
}

fn settle_among(processes: &Path, data: &Path) -> Result<(), StartError> {
    if let Some(pid) = postmaster(processes, data) {
        tracing::warn!(pid = number(pid), folder = %data.display(), "stopping a PostgreSQL that an earlier run left behind");
        stop(processes, pid, data)?;
    }
    wait_for_others(processes, data)?;
    let pid_file = data.join(PID_FILE);
    let Some(pid) = pid_in(&pid_file).filter(|pid| is_alive(*pid)) else {
        return Ok(());
    };
    if running(processes, pid, data) != Runs::Another {
        // A process that has ended in the meantime is not visible either.
        return match is_alive(pid) {
            false => Ok(()),
            true => Err(StartError::MayRun {
                pid: number(pid),
                file: pid_file,
            }),
        };
    }
    tracing::warn!(file = %pid_file.display(), "removing a stale pid file whose number another program has now");
    fs::remove_file(&pid_file).map_err(StartError::file("remove", &pid_file))
}

/// Says whether a PostgreSQL program runs, or may run, on any data folder inside `folder`.
pub(crate) fn any_alive(folder: &Path) -> bool {
    let processes = Path::new(PROCESSES);
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .any(|data| may_be_alive(processes, &data) || !working_on(processes, &data).is_empty())
}

/// Says whether the process named in `data`'s pid file is alive and may be a server.
fn may_be_alive(processes: &Path, data: &Path) -> bool {
    // Any error but "no such process" means that it is alive: another user's process may not be signalled.
    pid_in(&data.join(PID_FILE))
        .filter(|pid| test_kill_process(*pid) != Err(Errno::SRCH))
        .is_some_and(|pid| running(processes, pid, data) != Runs::Another)
}

/// The process named in `data`'s pid file, if it really is a postgres on `data`.
fn postmaster(processes: &Path, data: &Path) -> Option<Pid> {
    pid_in(&data.join(PID_FILE)).filter(|pid| running(processes, *pid, data) == Runs::Server)
}

fn running(processes: &Path, pid: Pid, data: &Path) -> Runs {
    if pid == rustix::process::getpid() {
        return Runs::Another;
    }
    let Ok(command_line) = fs::read(processes.join(format!("{pid}/cmdline"))) else {
        return Runs::Untold;
    };
    let arguments: Vec<&[u8]> = command_line.split(|byte| *byte == 0).collect();
    let is_server = arguments
        .first()
        .is_some_and(|program| program.ends_with(b"postgres"));
    let on_data = arguments.contains(&data.as_os_str().as_encoded_bytes());
    if is_server && on_data {
        Runs::Server
    } else {
        Runs::Another
    }
}

fn pid_in(file: &Path) -> Option<Pid> {
    first_number(&fs::read_to_string(file).ok()?)
}

/// Reads the process ID. A server without a postmaster, as run by `initdb`, writes it with a minus sign.
fn first_number(pid_file: &str) -> Option<Pid> {
    let number: i32 = pid_file.lines().next()?.trim().parse().ok()?;
    Pid::from_raw(number.checked_abs()?)
}

fn number(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().unsigned_abs()
}

fn is_alive(pid: Pid) -> bool {
    // EPERM would also mean that the process exists, but PostgreSQL ignores one of another user.
    test_kill_process(pid).is_ok()
}

fn stop(processes: &Path, pid: Pid, data: &Path) -> Result<(), StartError> {
    for signal in [Signal::INT, Signal::QUIT] {
        let _ = kill_process(pid, signal);
        if wait_until(STOP_LIMIT, || postmaster(processes, data) != Some(pid)) {
            return Ok(());
        }
    }
    Err(StartError::OrphanStays { pid: number(pid) })
}

/// Waits for processes other than the postmaster: backends outlive a killed one until their statement ends, and an
/// interrupted `initdb` removes what it created.
fn wait_for_others(processes: &Path, data: &Path) -> Result<(), StartError> {
    if wait_until(STOP_LIMIT, || working_on(processes, data).is_empty()) {
        return Ok(());
    }
    match working_on(processes, data).first() {
        Some(&pid) => Err(StartError::OrphanStays { pid }),
        None => Ok(()),
    }
}

/// All processes that work on `data`. PostgreSQL's have it as their working folder; `initdb` has it as an argument.
fn working_on(processes: &Path, data: &Path) -> Vec<u32> {
    fs::read_dir(processes)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| is_inside(processes, *pid, data) || is_making(processes, *pid, data))
        .collect()
}

fn is_inside(processes: &Path, pid: u32, data: &Path) -> bool {
    fs::read_link(processes.join(format!("{pid}/cwd"))).is_ok_and(|folder| folder == data)
}

fn is_making(processes: &Path, pid: u32, data: &Path) -> bool {
    let command_line = fs::read(processes.join(format!("{pid}/cmdline"))).unwrap_or_default();
    let arguments = || command_line.split(|byte| *byte == 0);
    arguments().any(|argument| argument.ends_with(b"/initdb"))
        && arguments().any(|argument| argument == data.as_os_str().as_encoded_bytes())
}

fn wait_until(limit: Duration, done: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !done() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(pid_file: &str) -> Option<u32> {
        first_number(pid_file).map(number)
    }

    #[test]
    fn the_number_is_the_first_line_without_its_sign() {
        assert_eq!(read("42\n/data\n"), Some(42));
        assert_eq!(read("-42\n/data\n"), Some(42), "written under initdb");
    }

    #[test]
    fn what_is_no_number_of_a_process_is_none() {
        for pid_file in ["", "\n42", "ready", "0", "-0", "-2147483648", "4294967296"] {
            assert_eq!(read(pid_file), None, "{pid_file:?}");
        }
    }

    /// A process that lives until it is dropped.
    struct Living(std::process::Child);

    impl Living {
        fn begin() -> Self {
            let mut command = std::process::Command::new("cat");
            command.stdin(std::process::Stdio::piped());
            Self(command.spawn().unwrap())
        }

        fn pid(&self) -> u32 {
            self.0.id()
        }
    }

    impl Drop for Living {
        fn drop(&mut self) {
            drop(self.0.stdin.take());
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_living_process_of_which_nothing_is_told_is_taken_for_a_server() {
        let (folder, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (processes, data) = (folder.path(), data.path());
        let pid_file = data.join(PID_FILE);
        let living = Living::begin();
        fs::write(&pid_file, living.pid().to_string()).unwrap();
        let error = settle_among(processes, data).unwrap_err().to_string();
        assert!(
            error.contains(&format!("kill -INT {}", living.pid())),
            "{error}"
        );
        assert!(error.contains("postmaster.pid"), "{error}");
        assert!(pid_file.exists() && may_be_alive(processes, data));

        // Once the system reveals that it is another program, its process ID means nothing.
        fs::create_dir(processes.join(living.pid().to_string())).unwrap();
        let command_line = processes.join(format!("{}/cmdline", living.pid()));
        fs::write(command_line, "cat\0").unwrap();
        assert!(!may_be_alive(processes, data));
        settle_among(processes, data).unwrap();
        assert!(!pid_file.exists());
    }

    #[test]
    fn what_has_ended_and_this_process_are_no_servers_wherever_nothing_is_told() {
        let (processes, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for pid in [i32::MAX.unsigned_abs(), std::process::id()] {
            fs::write(data.path().join(PID_FILE), pid.to_string()).unwrap();
            assert!(!may_be_alive(processes.path(), data.path()), "{pid}");
            settle_among(processes.path(), data.path()).unwrap();
        }
        fs::remove_dir_all(data.path()).unwrap();
        settle_among(processes.path(), data.path()).unwrap();
    }
}
