//! The outside world, as far as a command needs it.

use std::{
    fmt::Display,
    io::{self, BufRead, Write},
    os::fd::{AsFd, BorrowedFd},
    process::ExitCode,
};

use rustix::fs::{FileType, fstat, major, minor};
use time::OffsetDateTime;
use token_store::{RandomError, Secret, Warning};

use crate::failure::Failure;

/// The device numbers of `/dev/null`, which are the same on every Linux.
const NULL_DEVICE: (u32, u32) = (1, 3);

/// Input, output, clock and randomness.
pub struct World<'a> {
    pub(crate) stdin: &'a mut dyn BufRead,
    stdout: &'a mut dyn Write,
    stderr: &'a mut dyn Write,
    pub(crate) terminal: Option<BorrowedFd<'a>>,
    loses_output: bool,
    now: fn() -> OffsetDateTime,
    secret: fn() -> Result<Secret, RandomError>,
}

impl<'a> World<'a> {
    /// Takes the three streams and, if a person sits at `stdin`, the terminal; the clock and the
    /// randomness are the system's.
    pub fn new(
        stdin: &'a mut dyn BufRead,
        stdout: &'a mut dyn Write,
        stderr: &'a mut dyn Write,
        terminal: Option<BorrowedFd<'a>>,
    ) -> Self {
        Self {
            stdin,
            stdout,
            stderr,
            terminal,
            loses_output: false,
            now: OffsetDateTime::now_utc,
            secret: Secret::generate,
        }
    }

    /// Looks where `stdout` leads: a secret that is shown only once is not made if that is
    /// `/dev/null`. A closed standard output counts as well, because Rust opens `/dev/null` in its
    /// place.
    #[must_use]
    pub fn with_output(self, stdout: impl AsFd) -> Self {
        let loses_output = is_null_device(stdout);
        Self {
            loses_output,
            ..self
        }
    }

    /// Replaces the clock.
    #[must_use]
    pub fn with_now(self, now: fn() -> OffsetDateTime) -> Self {
        Self { now, ..self }
    }

    /// Replaces the source of new tokens.
    #[must_use]
    pub fn with_secret(self, secret: fn() -> Result<Secret, RandomError>) -> Self {
        Self { secret, ..self }
    }

    /// Fails if nobody could read what is printed.
    pub(crate) fn expect_reader(&self) -> Result<(), Failure> {
        if self.loses_output {
            return Err(Failure::NobodyReads);
        }
        Ok(())
    }

    pub(crate) fn now(&self) -> OffsetDateTime {
        (self.now)()
    }

    pub(crate) fn new_secret(&self) -> Result<Secret, RandomError> {
        (self.secret)()
    }

    /// Prints a result that is shown only once; any byte that cannot be written is an error.
    pub(crate) fn hand_over(&mut self, text: &str) -> io::Result<()> {
        self.stdout.write_all(text.as_bytes())?;
        self.stdout.flush()
    }

    /// Prints any other result. A reader that has gone, such as `head`, has read all that it wanted.
    pub(crate) fn print(&mut self, text: &str) -> io::Result<()> {
        match self.hand_over(text) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            printed => printed,
        }
    }

    /// Prints a prompt to `stderr`, apart from the result.
    pub(crate) fn ask(&mut self, text: &str) -> io::Result<()> {
        self.stderr.write_all(text.as_bytes())?;
        self.stderr.flush()
    }

    pub(crate) fn warn(&mut self, warnings: &[Warning]) {
        for warning in warnings {
            self.complain("warning", warning);
        }
    }

    pub(crate) fn complain(&mut self, severity: &str, message: &dyn Display) {
        // Without a standard error there is nobody to tell.
        let _ = writeln!(self.stderr, "{severity}: {message}");
    }
}

fn is_null_device(file: impl AsFd) -> bool {
    let Ok(stat) = fstat(file) else {
        return true;
    };
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && (major(stat.st_rdev), minor(stat.st_rdev)) == NULL_DEVICE
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It succeeded: exit code 0.
    Done,
    /// It failed: exit code 1.
    Failed,
    /// It was asked in a wrong way: 2.
    Usage,
    /// The token to verify is not accepted: exit code 3.
    Refused,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Refused => 3,
        })
    }
}
