//! The log as its writers see it.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread::{JoinHandle, Thread},
    time::Duration,
};

use crate::{
    Entry, Position,
    file::{LogFile, OpenError},
    writer::{Message, Writer},
};

/// Where a log is, and how much may wait for it.
#[derive(Clone, Debug)]
pub struct Options {
    /// The file. It is made when it is not there, and goes on when it is.
    pub path: PathBuf,
    /// Lines that may wait to be written, with those that a place is kept for.
    pub most_queued: usize,
}

impl Options {
    /// 10,000 lines may wait.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Options {
            path: path.into(),
            most_queued: 10_000,
        }
    }
}

/// A log that is open; clones are the same. Dropping the last one writes what waits, and does not wait
/// for it; [`AuditLog::finish`] does.
#[derive(Clone, Debug)]
pub struct AuditLog {
    shared: Arc<Shared>,
    messages: mpsc::Sender<Message>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

/// What the writers and the thread know of each other.
#[derive(Debug)]
pub(crate) struct Shared {
    most_queued: usize,
    /// Places that are taken.
    queued: AtomicUsize,
    /// The thread, which is woken when half of the places are taken.
    thread: OnceLock<Thread>,
    pub(crate) written: AtomicU64,
    lost: AtomicU64,
    /// Lines that were lost since that was last told.
    pub(crate) untold: AtomicU64,
    is_failing: AtomicBool,
    /// Locked for an assignment, as is the next one.
    failure: Mutex<Option<String>>,
    pub(crate) end: Mutex<Position>,
}

/// How a log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Lines that were written since it was opened.
    pub written: u64,
    /// Lines that found no place, since it was opened.
    pub lost: u64,
    /// Places of the queue that are taken.
    pub queued: usize,
    /// Why lines cannot be written at present.
    pub failure: Option<String>,
}

/// What happened to a log, in words for its operator when displayed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Report {
    /// Lines cannot be written; it is tried again all the time.
    Failing {
        /// The file.
        path: PathBuf,
        /// Why.
        error: String,
    },
    /// Lines can be written again.
    Recovered {
        /// The file.
        path: PathBuf,
        /// Lines that found no place meanwhile.
        lost: u64,
    },
    /// The file was removed; there is a new one.
    Removed(PathBuf),
    /// Somebody has taken out all that was in the file.
    Emptied(PathBuf),
    /// Somebody else has written in the file or has cut it.
    Changed(PathBuf),
    /// The last line was not finished when the file was opened.
    Torn {
        /// The file.
        path: PathBuf,
        /// Bytes that stand there of it.
        bytes: u64,
    },
    /// The log goes on in a new file of the same name.
    Reopened {
        /// The file.
        path: PathBuf,
        /// Where the old one ends.
        end: Position,
    },
    /// The log was to be opened anew, and is where it should be.
    InPlace {
        /// The file.
        path: PathBuf,
        /// Where it ends.
        end: Position,
    },
    /// The log could not be opened anew, and goes on in its old file.
    NotReopened(OpenError),
    /// The log has ended.
    Finished {
        /// The file.
        path: PathBuf,
        /// Where it ends.
        end: Position,
        /// Lines that could not be written.
        unwritten: usize,
    },
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Report::Failing { path, error } => write!(
                out,
                "WARNING: {} cannot be written: {error}; make room for it, or move it away and send SIGHUP",
                path.display()
            ),
            Report::Recovered { path, lost } => {
                write!(
                    out,
                    "{} is written again; {lost} lines are lost",
                    path.display()
                )
            }
            Report::Removed(path) => write!(
                out,
                "WARNING: {} was removed; the log goes on in a new file. To rotate it, rename it and send SIGHUP",
                path.display()
            ),
            Report::Emptied(path) => write!(
                out,
                "WARNING: somebody has taken all lines out of {}; to rotate it, rename it and send SIGHUP",
                path.display()
            ),
            Report::Changed(path) => write!(
                out,
                "WARNING: somebody else has written in {}, or has cut it; `mcp-token audit verify` names the line",
                path.display()
            ),
            Report::Torn { path, bytes } => write!(
                out,
                "WARNING: the last line of {} was not finished ({bytes} bytes stand there); the next line says so",
                path.display()
            ),
            Report::Reopened { path, end } => write!(
                out,
                "{} is a new file; the one before ends with line {} and the hash {}",
                path.display(),
                end.seq,
                end.hash
            ),
            Report::InPlace { path, end } => {
                write!(
                    out,
                    "{} ends with line {} and the hash {}",
                    path.display(),
                    end.seq,
                    end.hash
                )
            }
            Report::NotReopened(error) => write!(out, "WARNING: {error}"),
            Report::Finished {
                path,
                end,
                unwritten,
            } => {
                let (seq, hash) = (end.seq, end.hash);
                write!(
                    out,
                    "{} ends with line {seq} and the hash {hash}",
                    path.display()
                )?;
                match unwritten {
                    0 => Ok(()),
                    lost => write!(out, "; WARNING: {lost} lines could not be written"),
                }
            }
        }
    }
}

impl AuditLog {
    /// Opens a log, and starts the thread that writes it. `report` is told what happens to the file,
    /// on that thread.
    ///
    /// # Errors
    /// The file cannot be had, or is none that a log can go on in.
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

    /// Writes a line, if there is a place for it; else counts it as lost. Never waits.
    pub fn write(&self, entry: Entry) {
        if self.take_place() {
            self.write_in_place(entry);
        } else {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            self.shared.untold.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes a place for a line that will be written later, if there is one. Each place is for one
    /// call of [`AuditLog::write_in_place`].
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

    /// Writes a line in a place that was taken before.
    pub fn write_in_place(&self, entry: Entry) {
        // The thread ends only when it is told to: then there is nobody left who could write.
        let _ended = self.messages.send(Message::Line(entry));
    }

    /// Says whether lines cannot be written at present.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.shared.is_failing.load(Ordering::Relaxed)
    }

    /// Says how it is.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            written: self.shared.written.load(Ordering::Relaxed),
            lost: self.shared.lost.load(Ordering::Relaxed),
            queued: self.shared.queued.load(Ordering::Relaxed),
            failure: locked(&self.shared.failure).clone(),
        }
    }

    /// Gives the place behind the last line that was written.
    #[must_use]
    pub fn head(&self) -> Position {
        *locked(&self.shared.end)
    }

    /// Opens the file anew, when another one has its name, as after a rotation. What becomes of it is
    /// reported.
    pub fn reopen(&self) {
        let _ended = self.messages.send(Message::Reopen);
    }

    /// Writes what waits, has it put on the disk, and says where the log ends. Lines that come later
    /// are not written.
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
    /// Waits for so long, but not while many lines wait. Only the thread that writes may call this.
    pub(crate) fn pause(&self, time: Duration) {
        self.thread.get_or_init(std::thread::current);
        let many = self.queued.load(Ordering::Relaxed) > self.most_queued / 2;
        if !many {
            std::thread::park_timeout(time);
        }
    }

    /// Gives back the places of lines that are done with.
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

impl Options {
    /// Says where.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}
