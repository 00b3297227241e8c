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

/// How long to gather lines after a write that caught up, unless half of the queue is taken. A line after a quiet time
/// is written at once; lines in quick succession share one write, and their callers need not wake this thread.
const GATHER: Duration = Duration::from_millis(5);

/// The interval between attempts while lines cannot be written.
const RETRY: Duration = Duration::from_millis(250);

/// The interval between attempts to begin a new file after a rotation.
const REOPEN_AGAIN: Duration = Duration::from_secs(1);

/// How long written lines may be only in the system's memory before they are flushed.
const SYNC: Duration = Duration::from_secs(1);

/// The maximum number of lines per write.
const MOST_AT_ONCE: usize = 1_024;

/// A request to the thread.
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
    /// Lines about the file itself, which are written first and take no places in the queue.
    own: VecDeque<Entry>,
    waiting: VecDeque<Entry>,
    /// Lost lines not yet reported in the file.
    untold: u64,
    /// While writing fails: how many lines had been lost when that began.
    failing_since: Option<u64>,
    tried: Instant,
    synced: Instant,
    /// When to try again to begin a new file.
    reopen_at: Option<Instant>,
    /// Whether the last look at the queue left it empty.
    has_caught_up: bool,
}

/// The thread's next step.
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

    /// Writes until told to finish, or until no handle is left.
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

    /// Waits for something to do, and takes the lines that have accumulated.
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

    /// Checks what happened to the file, and continues in a new one if it was removed.
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

    /// Writes the waiting lines, after a line on how many were lost.
    fn append(&mut self) -> io::Result<()> {
        let now = OffsetDateTime::now_utc();
        self.untold += self.shared.untold.swap(0, Ordering::Relaxed);
        // One line for all lost lines, however often writing it failed.
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

    /// Continues in a new file, now or as soon as one can be begun.
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
        // If this fails, unflushed lines are lost only if the machine goes down.
        let _synced = self.file.sync();
        self.file = next;
        self.own.push_front(opening(&self.file, "rotated"));
        self.write();
        Ok(())
    }

    /// Reports, and continues whatever the callback does: without this thread every line would be lost unnoticed.
    fn tell(&mut self, report: Report) {
        // A panic has already printed its message.
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

/// The first line of a file: which hash the log continues after, and why the file is new.
fn opening(file: &LogFile, why: &str) -> Entry {
    Entry::new("opened", OffsetDateTime::now_utc())
        .text("after", &file.end().hash.to_string())
        .text("why", why)
}
