use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::StartError;

/// Where Linux tells of its processes.
const PROCESSES: &str = "/proc";

/// How long a server that was left behind gets for each way of stopping it.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Clears the way for a start on `data`: stops a server that a killed owner left behind, and removes a pid file
/// that would keep PostgreSQL from starting although its number has gone to some other program.
///
/// Everything else is left to PostgreSQL, which also checks the shared memory that the file names: removing the file of
/// a dead postmaster whose backends still write would let two servers loose on one folder.
///
/// The caller holds the folder's lock. Without `/proc` nothing is done here and PostgreSQL's own refusal stands.
pub(crate) fn settle(data: &Path) -> Result<(), StartError> {
    if !tells_of_processes(Path::new(PROCESSES)) {
        return Ok(());
    }
    if let Some(pid) = postmaster(data) {
        tracing::warn!(pid = number(pid), folder = %data.display(), "stopping a PostgreSQL that an earlier run left behind");
        stop(pid, data)?;
    }
    wait_for_others(data)?;
    let pid_file = data.join("postmaster.pid");
    if pid_in(&pid_file).is_some_and(is_alive) {
        tracing::warn!(file = %pid_file.display(), "removing a stale pid file whose number another program has now");
        fs::remove_file(&pid_file).map_err(StartError::file("remove", &pid_file))?;
    }
    Ok(())
}

/// Tells whether a program of PostgreSQL still runs on any data folder inside `folder`, or may do so.
pub(crate) fn any_alive(folder: &Path) -> bool {
    let is_told = tells_of_processes(Path::new(PROCESSES));
    let is_alive = |data: &Path| match is_told {
        true => postmaster(data).is_some() || !working_on(data).is_empty(),
        false => may_be_alive(data),
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .any(|data| is_alive(&data))
}

/// Tells whether the system says here what each process is and does.
fn tells_of_processes(folder: &Path) -> bool {
    fs::symlink_metadata(folder.join("self/cwd")).is_ok()
}

/// Tells whether `data`'s pid file names a living process, which may be some other program.
fn may_be_alive(data: &Path) -> bool {
    let named = pid_in(&data.join("postmaster.pid"));
    // One of another user may be signalled by nobody, and lives.
    named.is_some_and(|pid| test_kill_process(pid) != Err(Errno::SRCH))
}

/// The process that `data`'s pid file names, if it really is a postgres on `data`.
fn postmaster(data: &Path) -> Option<Pid> {
    let pid = pid_in(&data.join("postmaster.pid"))?;
    let command_line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let arguments: Vec<&[u8]> = command_line.split(|byte| *byte == 0).collect();
    let is_server = arguments
        .first()
        .is_some_and(|program| program.ends_with(b"postgres"));
    let on_data = arguments.contains(&data.as_os_str().as_encoded_bytes());
    (is_server && on_data).then_some(pid)
}

fn pid_in(file: &Path) -> Option<Pid> {
    first_number(&fs::read_to_string(file).ok()?)
}

/// A server without a postmaster, as `initdb` runs it, writes its number with a minus sign.
fn first_number(pid_file: &str) -> Option<Pid> {
    let number: i32 = pid_file.lines().next()?.trim().parse().ok()?;
    Pid::from_raw(number.checked_abs()?)
}

fn number(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().unsigned_abs()
}

fn is_alive(pid: Pid) -> bool {
    // A refusal (EPERM) also means that there is such a process, but PostgreSQL does not mind one of another user.
    test_kill_process(pid).is_ok()
}

fn stop(pid: Pid, data: &Path) -> Result<(), StartError> {
    for signal in [Signal::INT, Signal::QUIT] {
        let _ = kill_process(pid, signal);
        if wait_until(STOP_LIMIT, || postmaster(data) != Some(pid)) {
            return Ok(());
        }
    }
    Err(StartError::OrphanStays { pid: number(pid) })
}

/// Backends outlive a killed postmaster until their statement ends, and an interrupted `initdb` removes what it made.
fn wait_for_others(data: &Path) -> Result<(), StartError> {
    if wait_until(STOP_LIMIT, || working_on(data).is_empty()) {
        return Ok(());
    }
    match working_on(data).first() {
        Some(&pid) => Err(StartError::OrphanStays { pid }),
        None => Ok(()),
    }
}

/// All processes that work on `data`: PostgreSQL's do so from inside of it, `initdb` is given its name.
fn working_on(data: &Path) -> Vec<u32> {
    fs::read_dir(PROCESSES)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| is_inside(*pid, data) || is_making(*pid, data))
        .collect()
}

fn is_inside(pid: u32, data: &Path) -> bool {
    fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|folder| folder == data)
}

fn is_making(pid: u32, data: &Path) -> bool {
    let command_line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
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

    #[test]
    fn a_system_that_tells_nothing_of_processes_is_known_as_such() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!tells_of_processes(folder.path()));
        #[cfg(target_os = "linux")]
        assert!(tells_of_processes(Path::new(PROCESSES)));
    }

    #[test]
    fn where_nothing_is_told_of_processes_a_living_one_may_be_a_server() {
        let data = tempfile::tempdir().unwrap();
        assert!(!may_be_alive(data.path()));
        // Nobody's, ours, and that of the first process.
        for (pid, expected) in [
            (i32::MAX, false),
            (std::process::id().cast_signed(), true),
            (1, true),
        ] {
            fs::write(data.path().join("postmaster.pid"), pid.to_string()).unwrap();
            assert_eq!(may_be_alive(data.path()), expected, "{pid}");
        }
    }
}
