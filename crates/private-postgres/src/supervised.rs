use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::StartError;
use crate::account::Account;

/// A shell script that runs the program given as its arguments, passes on each signal whose name it reads, and
/// interrupts the program at end of input, which means that the owner has ended in whatever way. It exits with the
/// program's status.
///
/// The alternative is the kernel's parent-death signal. It needs `unsafe` or a helper program, exists only on Linux, is
/// cleared by a change of user, and fires when the *thread* that started the child ends, so a server started from a
/// pool's idle thread would be killed seconds later. A pipe has none of these problems.
///
/// The program's pid cannot be reused too early: while the reader may still signal it, the shell has not yet waited for
/// it.
const SUPERVISOR: &str = r#"
exec 3<&0
"$@" 3<&- &
program=$!
( while read -r signal; do kill -s "$signal" "$program"; done
  kill -s INT "$program" ) <&3 2>/dev/null &
reader=$!
exec 3<&-
wait "$program"
status=$?
kill -s KILL "$reader"
exit $status
"#;

/// The signals used to stop PostgreSQL.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signal {
    /// Fast shutdown: sessions are ended and data is written.
    Interrupt,
    /// Immediate shutdown: the next start runs crash recovery.
    Quit,
}

/// A program that ends with this process.
#[derive(Debug)]
pub(crate) struct Supervised {
    supervisor: Child,
    control: ChildStdin,
}

impl Supervised {
    /// Starts `program` in its own process group, so that a terminal's Ctrl-C reaches only the owner, with a fixed
    /// environment (without the caller's `PGDATA`, `PGOPTIONS`, ...) and all output going to `log`.
    pub(crate) fn start(
        program: &Path,
        arguments: impl IntoIterator<Item = OsString>,
        account: &Account,
        log: &File,
    ) -> Result<Self, StartError> {
        let failed = |source: io::Error| StartError::Spawn {
            program: program.to_path_buf(),
            hint: spawn_hint(&source),
            source,
        };
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", SUPERVISOR, "supervisor"])
            .arg(program)
            .args(arguments)
            .env_clear()
            .envs([("PATH", "/usr/bin:/bin"), ("LC_ALL", "C"), ("TZ", "UTC")])
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log.try_clone().map_err(failed)?);
        account.apply(&mut command);
        let mut supervisor = command.spawn().map_err(failed)?;
        let control = supervisor
            .stdin
            .take()
            .expect("stdin was asked to be a pipe");
        Ok(Self {
            supervisor,
            control,
        })
    }

    /// Signals the program. Has no effect if it has ended.
    pub(crate) fn signal(&mut self, signal: Signal) {
        let line: &[u8] = match signal {
            Signal::Interrupt => b"INT\n",
            Signal::Quit => b"QUIT\n",
        };
        // A broken pipe means that there is no program left to signal.
        let _ = self.control.write_all(line);
    }

    /// Returns how the program ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.supervisor.try_wait().ok().flatten()
    }

    /// Waits up to `limit` for the program to end.
    pub(crate) fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            let status = self.ended();
            if status.is_some() || Instant::now() >= deadline {
                return status;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn spawn_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::InvalidInput => {
            ": this container maps no user but root, so PostgreSQL cannot step down; run it as an ordinary user"
        }
        io::ErrorKind::PermissionDenied => {
            ": changing to the user that runs PostgreSQL was refused"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Read;
    use std::os::unix::process::ExitStatusExt;

    const LIMIT: Duration = Duration::from_secs(10);

    fn start(script: &str) -> (Supervised, tempfile::NamedTempFile) {
        let log = tempfile::NamedTempFile::new().unwrap();
        let arguments = ["-c", script].map(OsString::from);
        let supervised = Supervised::start(
            Path::new("/bin/sh"),
            arguments,
            &Account::Own,
            log.as_file(),
        )
        .unwrap();
        (supervised, log)
    }

    /// A program that reports when it is ready for signals, and which one it received. It is not a shell, because a
    /// shell's background programs start with INT ignored and a shell cannot undo that; PostgreSQL and perl do.
    const TELLS_SIGNALS: &str = r#"exec perl -e '
        $| = 1;
        for my $name ("INT", "QUIT") { $SIG{$name} = sub { print "$name\n"; exit 7 } }
        print "ready\n";
        sleep 60 while 1;'"#;

    fn wait_for(log: &tempfile::NamedTempFile, word: &str) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let mut text = String::new();
            log.reopen().unwrap().read_to_string(&mut text).unwrap();
            if text.contains(word) {
                return;
            }
            assert!(Instant::now() < deadline, "no {word:?} in {text:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn the_exit_status_is_the_programs_own() {
        let (mut supervised, _log) = start("exit 3");
        assert_eq!(supervised.wait(LIMIT).unwrap().code(), Some(3));
    }

    #[test]
    fn each_signal_reaches_the_program() {
        for (signal, name) in [(Signal::Interrupt, "INT"), (Signal::Quit, "QUIT")] {
            let (mut supervised, log) = start(TELLS_SIGNALS);
            wait_for(&log, "ready");
            supervised.signal(signal);
            assert_eq!(supervised.wait(LIMIT).unwrap().code(), Some(7), "{name}");
            wait_for(&log, name);
        }
    }

    #[test]
    fn the_program_is_interrupted_when_its_owner_is_gone() {
        let (supervised, log) = start(TELLS_SIGNALS);
        wait_for(&log, "ready");
        let Supervised {
            mut supervisor,
            control,
        } = supervised;
        drop(control);
        let status = supervisor.wait().unwrap();
        assert_eq!((status.code(), status.signal()), (Some(7), None));
        wait_for(&log, "INT");
    }

    #[test]
    fn nothing_of_the_callers_environment_is_passed_on() {
        let (mut supervised, log) = start("env; pwd; exit 0");
        supervised.wait(LIMIT).unwrap();
        let mut text = String::new();
        log.reopen().unwrap().read_to_string(&mut text).unwrap();
        let names: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, _)| name)
            .collect();
        assert!(
            names
                .iter()
                .all(|name| ["PATH", "LC_ALL", "TZ", "PWD", "_", "OLDPWD", "SHLVL"].contains(name)),
            "{text}"
        );
    }
}
