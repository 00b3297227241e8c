use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::StartError;
use crate::account::Account;

/// Runs the program given as its arguments, passes on each signal whose name it reads, and interrupts the program
/// when there is nothing more to read, which is when the owner has ended in whatever way. It ends as the program does.
///
/// The alternative is the kernel's parent-death signal. That one needs `unsafe` or a helper program, exists on Linux
/// only, is cleared by a change of user, and fires when the *thread* that started the child ends: a server
/// started from a pool's idle thread goes away seconds later. A pipe has none of these edges.
///
/// The program's pid is never reused under us: the shell has not yet waited for it while the reader may signal it.
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

/// The signals that PostgreSQL gives a meaning to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signal {
    /// Fast shutdown: sessions are ended, data is written.
    Interrupt,
    /// Immediate shutdown: the next start recovers.
    Quit,
}

/// A program that ends with this process.
#[derive(Debug)]
pub(crate) struct Supervised {
    supervisor: Child,
    control: ChildStdin,
}

impl Supervised {
    /// Starts `program` in its own process group, so that a terminal's Ctrl-C reaches the owner alone, with
    /// a fixed environment (no `PGDATA`, `PGOPTIONS`, ... of the caller's) and all output going to `log`.
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

    /// Signals the program; one that has ended already takes no notice.
    pub(crate) fn signal(&mut self, signal: Signal) {
        let line: &[u8] = match signal {
            Signal::Interrupt => b"INT\n",
            Signal::Quit => b"QUIT\n",
        };
        // A broken pipe means that there is nobody left to signal.
        let _ = self.control.write_all(line);
    }

    /// Answers how the program ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.supervisor.try_wait().ok().flatten()
    }

    /// Waits for the program's end, at most `limit`.
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

    /// A program that says when it is ready for signals and which one it got. It is no shell, because a shell's
    /// background programs start with INT ignored and a shell cannot undo that; PostgreSQL and perl do.
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
