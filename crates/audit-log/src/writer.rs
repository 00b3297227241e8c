//! The thread that owns the file.

use std::{
    collections::VecDeque,
    io,
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use time::OffsetDateTime;

use crate::{
    Entry, Report,
    file::{LogFile, OpenError, Sight},
    log::{Shared, locked},
};

/// How long no line is looked for after a write, unless half of those that may wait do. One that comes
/// after a quiet time is written at once; of those that come one after the other many come to one write,
/// and nobody who sends them has to wake this thread.
const GATHER: Duration = Duration::from_millis(5);

/// How often it is tried again when lines cannot be written.
const RETRY: Duration = Duration::from_millis(250);

/// How often it is tried again when a new file cannot be begun after a rotation.
const REOPEN_AGAIN: Duration = Duration::from_secs(1);

/// How long what was written may be in the system's memory only.
const SYNC: Duration = Duration::from_secs(1);

/// Lines of one write at most.
const MOST_AT_ONCE: usize = 1_024;

/// What the thread is asked to do.
#[derive(Debug)]
pub(crate) enum Message {
    Line(Entry),
    Reopen,
    Finish,
}

pub(crate) struct Writer {
    file: LogFile,
    shared: Arc<Shared>,
    report: Box<dyn FnMut(Report) + Send>,
    /// Lines about the file itself, which come before those that wait and have no places.
    own: VecDeque<Entry>,
    waiting: VecDeque<Entry>,
    /// Lines that were lost, and are yet to be told of in the file.
    untold: u64,
    /// How many lines were lost when writing began to fail, while it does.
    failing_since: Option<u64>,
    tried: Instant,
    synced: Instant,
    /// When a new file is tried again that could not be begun.
    reopen_at: Option<Instant>,
    /// Whether lines were written, and no more had come by then.
    has_caught_up: bool,
}

/// What the thread does next.
enum Next {
    Wait,
    Write,
    Reopen,
    Finish,
}

impl Writer {
    pub(crate) fn new(
        file: LogFile,
        shared: Arc<Shared>,
        report: Box<dyn FnMut(Report) + Send>,
    ) -> Self {
        let mut own = VecDeque::new();
        if file.is_empty() {
            own.push_back(opening(&file, "first"));
        }
        let torn = file.torn();
        let mut writer = Writer {
            file,
            shared,
            report,
            own,
            waiting: VecDeque::new(),
            untold: 0,
            failing_since: None,
            tried: Instant::now(),
            synced: Instant::now(),
            reopen_at: None,
            has_caught_up: false,
        };
        if let Some(bytes) = torn {
            let path = writer.file.path().to_owned();
            writer.tell(Report::Torn { path, bytes });
        }
        writer
    }

    /// Writes until it is told to end, or nobody is left who could tell.
    pub(crate) fn run(mut self, messages: &Receiver<Message>) {
        loop {
            match self.receive(messages) {
                Next::Wait => {}
                Next::Write => {
                    self.write();
                    if self.reopen_at.is_some_and(|at| at <= Instant::now()) {
                        self.reopen();
                    }
                }
                Next::Reopen => {
                    self.reopen_at = None;
                    self.write();
                    self.reopen();
                }
                Next::Finish => return self.finish(),
            }
        }
    }

    /// Waits for something to do, and takes what has come together.
    fn receive(&mut self, messages: &Receiver<Message>) -> Next {
        if std::mem::take(&mut self.has_caught_up) {
            self.shared.pause(GATHER);
        }
        let has_work = !self.waiting.is_empty() || !self.own.is_empty();
        let first = if self.failing_since.is_some() {
            messages.recv_timeout(RETRY.saturating_sub(self.tried.elapsed()))
        } else if has_work {
            messages.recv_timeout(Duration::ZERO)
        } else if let Some(at) = self.reopen_at {
            messages.recv_timeout(at.saturating_duration_since(Instant::now()))
        } else if !self.file.is_synced() {
            messages.recv_timeout(SYNC.saturating_sub(self.synced.elapsed()))
        } else {
            messages.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        match first {
            Ok(Message::Line(entry)) => self.waiting.push_back(entry),
            Ok(Message::Reopen) => return Next::Reopen,
            Ok(Message::Finish) | Err(RecvTimeoutError::Disconnected) => return Next::Finish,
            Err(RecvTimeoutError::Timeout) => return Next::Write,
        }
        if self.failing_since.is_some() {
            return Next::Wait;
        }
        while self.waiting.len() < MOST_AT_ONCE {
            match messages.try_recv() {
                Ok(Message::Line(entry)) => self.waiting.push_back(entry),
                Ok(Message::Reopen) => return Next::Reopen,
                Ok(Message::Finish) => return Next::Finish,
                Err(_) => {
                    self.has_caught_up = true;
                    break;
                }
            }
        }
        Next::Write
    }

    fn write(&mut self) {
        self.tried = Instant::now();
        let written = self.look().and_then(|()| self.append());
        let written = written.and_then(|()| {
            if self.synced.elapsed() >= SYNC {
                self.file.sync()?;
                self.synced = Instant::now();
            }
            Ok(())
        });
        match (written, self.failing_since) {
            (Err(error), None) => {
                self.failing_since = Some(self.shared.lost());
                let error = error.to_string();
                self.shared.set_failure(Some(error.clone()));
                let path = self.file.path().to_owned();
                self.tell(Report::Failing { path, error });
            }
            (Ok(()), Some(before)) => {
                self.failing_since = None;
                self.shared.set_failure(None);
                let (path, lost) = (self.file.path().to_owned(), self.shared.lost() - before);
                self.tell(Report::Recovered { path, lost });
            }
            _ => {}
        }
    }

    /// Looks what became of the file, and goes on in a new one when it has no name any more.
    fn look(&mut self) -> io::Result<()> {
        let why = match self.file.look()? {
            Sight::AsItWas => return Ok(()),
            Sight::Changed => {
                self.tell(Report::Changed(self.file.path().to_owned()));
                return Ok(());
            }
            Sight::Emptied => {
                self.tell(Report::Emptied(self.file.path().to_owned()));
                "emptied"
            }
            Sight::Removed => {
                let path = self.file.path().to_owned();
                let next = LogFile::open_after(&path, self.file.end());
                self.file = next.map_err(io::Error::other)?;
                self.tell(Report::Removed(path));
                "removed"
            }
        };
        self.own.push_front(opening(&self.file, why));
        Ok(())
    }

    /// Writes what waits, and how many lines were lost before it.
    fn append(&mut self) -> io::Result<()> {
        let now = OffsetDateTime::now_utc();
        self.untold += self.shared.untold.swap(0, Ordering::Relaxed);
        // One line for all that were lost, however often it could not be written.
        let lost = (self.untold > 0).then(|| Entry::new("lost", now).number("lines", self.untold));
        if self.own.is_empty() && lost.is_none() && self.waiting.is_empty() {
            return Ok(());
        }
        let waiting = self.waiting.iter().take(MOST_AT_ONCE);
        let entries = self.own.iter().chain(&lost).chain(waiting);
        let (whole, result) = self.file.append(entries, now);
        let own = whole.min(self.own.len());
        self.own.drain(..own);
        let mut taken = whole - own;
        if lost.is_some() && taken > 0 {
            self.untold = 0;
            taken -= 1;
        }
        self.waiting.drain(..taken);
        self.shared.leave(taken);
        self.shared
            .written
            .fetch_add(whole as u64, Ordering::Relaxed);
        *locked(&self.shared.end) = self.file.end();
        result
    }

    /// Goes on in a new file, now or as soon as one can be begun.
    fn reopen(&mut self) {
        let (path, end) = (self.file.path().to_owned(), self.file.end());
        let was_told = self.reopen_at.take().is_some();
        if self.file.is_in_place() {
            return self.tell(Report::InPlace { path, end });
        }
        match self.go_on_in(&path) {
            Ok(()) => self.tell(Report::Reopened { path, end }),
            Err(error) => {
                self.reopen_at = Some(Instant::now() + REOPEN_AGAIN);
                if !was_told {
                    self.tell(Report::NotReopened(error));
                }
            }
        }
    }

    fn go_on_in(&mut self, path: &std::path::Path) -> Result<(), OpenError> {
        let next = LogFile::open_after(path, self.file.end())?;
        // What is not on the disk by now is lost with the disk only.
        let _synced = self.file.sync();
        self.file = next;
        self.own.push_front(opening(&self.file, "rotated"));
        self.write();
        Ok(())
    }

    /// Reports, and goes on whatever that leads to: without this thread every line would be lost, and nobody told.
    fn tell(&mut self, report: Report) {
        // A panic has printed its message where it happened.
        let _panicked = panic::catch_unwind(AssertUnwindSafe(|| (self.report)(report)));
    }

    fn finish(mut self) {
        self.write();
        while self.failing_since.is_none() && !self.waiting.is_empty() {
            self.write();
        }
        let _synced = self.file.sync();
        self.tell(Report::Finished {
            path: self.file.path().to_owned(),
            end: self.file.end(),
            unwritten: self.waiting.len(),
        });
    }
}

/// The line that a file begins with: after which hash the log goes on in it, and why it is a new one.
fn opening(file: &LogFile, why: &str) -> Entry {
    Entry::new("opened", OffsetDateTime::now_utc())
        .text("after", &file.end().hash.to_string())
        .text("why", why)
}
