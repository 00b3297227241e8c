//! The log as its callers see it.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread::{JoinHandle, Thread},
    time::Duration,
};

use crate::{
    Entry, Position, Report,
    file::{LogFile, OpenError},
    writer::{Message, Writer},
};

/// Where a log is, and how much may be queued for it.
#[derive(Clone, Debug)]
pub struct Options {
    /// The file. It is made if it does not exist; otherwise the log goes on in it.
    pub path: PathBuf,
    /// How many lines may wait to be written, including those for which a place is reserved.
    pub most_queued: usize,
}

impl Options {
    /// Options for a log in this file, with room for 10,000 waiting lines.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Options {
            path: path.into(),
            most_queued: 10_000,
        }
    }
}

/// An open log; clones share it. Dropping the last one has the waiting lines written, without
/// waiting for that; [`AuditLog::finish`] waits.
#[derive(Clone, Debug)]
pub struct AuditLog {
    shared: Arc<Shared>,
    messages: mpsc::Sender<Message>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

/// What the writers and the thread share.
#[derive(Debug)]
pub(crate) struct Shared {
    most_queued: usize,
    /// Places in the queue that are taken.
    queued: AtomicUsize,
    /// The thread. It is woken when half of the places are taken.
    thread: OnceLock<Thread>,
    pub(crate) written: AtomicU64,
    lost: AtomicU64,
    /// Lines that were lost and not yet reported.
    pub(crate) untold: AtomicU64,
    is_failing: AtomicBool,
    /// Locked only for an assignment, as is `end`.
    failure: Mutex<Option<String>>,
    /// Where the file ended when it was opened.
    found: Position,
    pub(crate) end: Mutex<Position>,
}

/// The state of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Lines written since it was opened.
    pub written: u64,
    /// Lines that found no place in the queue since it was opened.
    pub lost: u64,
    /// Places in the queue that are taken.
    pub queued: usize,
    /// Why lines currently cannot be written, if so.
    pub failure: Option<String>,
}

impl AuditLog {
    /// Opens a log, and starts the thread that writes it. `report` is called on that thread with
    /// what happens to the file. If it panics, lines are written all the same, and it is called
    /// again for what happens next.
    ///
    /// # Errors
    /// The file cannot be opened, or is not one in which a log can go on.
    pub fn open(
        options: Options,
        report: impl FnMut(Report) + Send + 'static,
    ) -> Result<Self, OpenError> {
        let file = LogFile::open(&options.path)?;
        let shared = Arc::new(Shared {
            most_queued: options.most_queued,
            queued: AtomicUsize::new(0),
            thread: OnceLock::new(),
            written: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            untold: AtomicU64::new(0),
            is_failing: AtomicBool::new(false),
            failure: Mutex::default(),
            found: file.end(),
            end: Mutex::new(file.end()),
        });
        let (messages, received) = mpsc::channel();
        let writer = Writer::new(file, Arc::clone(&shared), Box::new(report));
        let thread = std::thread::Builder::new()
            .name("audit-log".into())
            .spawn(move || writer.run(&received))
            .map_err(|error| OpenError::Open {
                path: options.path,
                error,
            })?;
        Ok(AuditLog {
            shared,
            messages,
            thread: Arc::new(Mutex::new(Some(thread))),
        })
    }

    /// Writes a line, if there is a place for it; otherwise counts it as lost. Never waits.
    pub fn write(&self, entry: Entry) {
        if self.take_place() {
            self.write_in_place(entry);
        } else {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            self.shared.untold.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Reserves a place for a line that will be written later, if there is one. Each place is good
    /// for one call of [`AuditLog::write_in_place`].
    #[must_use]
    pub fn take_place(&self) -> bool {
        let before = self.shared.queued.fetch_add(1, Ordering::Relaxed);
        if before >= self.shared.most_queued {
            self.shared.queued.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        if before == self.shared.most_queued / 2
            && let Some(thread) = self.shared.thread.get()
        {
            thread.unpark();
        }
        true
    }

    /// Writes a line in a place that was reserved.
    pub fn write_in_place(&self, entry: Entry) {
        // The thread ends only when it is told to, and then nobody is left who could write.
        let _ended = self.messages.send(Message::Line(entry));
    }

    /// Says whether lines currently cannot be written.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.shared.is_failing.load(Ordering::Relaxed)
    }

    /// Gives the log's state.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            written: self.shared.written.load(Ordering::Relaxed),
            lost: self.shared.lost.load(Ordering::Relaxed),
            queued: self.shared.queued.load(Ordering::Relaxed),
            failure: locked(&self.shared.failure).clone(),
        }
    }

    /// Gives the place after which the log went on when it was opened; the default place if it
    /// began then.
    #[must_use]
    pub fn found(&self) -> Position {
        self.shared.found
    }

    /// Gives the place after the last line that was written.
    #[must_use]
    pub fn head(&self) -> Position {
        *locked(&self.shared.end)
    }

    /// Opens the file anew if another file has its name now, as after a rotation. The result is
    /// reported.
    pub fn reopen(&self) {
        let _ended = self.messages.send(Message::Reopen);
    }

    /// Writes the lines that wait, has them put on the disk, and gives the place where the log
    /// ends. Later lines are not written.
    pub fn finish(&self) -> Position {
        let _ended = self.messages.send(Message::Finish);
        let thread = locked(&self.thread).take();
        if let Some(thread) = thread {
            let _panicked = thread.join();
        }
        self.head()
    }
}

impl Shared {
    /// Waits for `time`, unless many lines are waiting. Only the writing thread may call this.
    pub(crate) fn pause(&self, time: Duration) {
        self.thread.get_or_init(std::thread::current);
        let many = self.queued.load(Ordering::Relaxed) > self.most_queued / 2;
        if !many {
            std::thread::park_timeout(time);
        }
    }

    /// Releases the places of lines that were dealt with.
    pub(crate) fn leave(&self, lines: usize) {
        self.queued.fetch_sub(lines, Ordering::Relaxed);
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    pub(crate) fn set_failure(&self, failure: Option<String>) {
        self.is_failing.store(failure.is_some(), Ordering::Relaxed);
        *locked(&self.failure) = failure;
    }
}

pub(crate) fn locked<T>(value: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}
