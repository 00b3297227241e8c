//! Following a token file: one thread reads it, and every request can make sure that it sees the newest version.

mod file_systems;
mod follower;
mod notices;
mod places;
mod sight;

use std::{
    fs::File,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::watch;

use crate::{
    file::{LoadError, TokenFile, Warning},
    set::{Changes, TokenSet},
};
use follower::Follower;
use sight::Sight;

/// How long a request waits for a changed file to be read before it is refused.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// The new state of the file, passed to `publish`.
#[derive(Debug)]
pub enum Update {
    /// The file was read.
    Loaded {
        /// Its tokens.
        set: Arc<TokenSet>,
        /// What differs from the last set.
        changes: Changes,
        /// Problems to fix although the file is usable.
        warnings: Vec<Warning>,
    },
    /// There is no file, so there are no tokens.
    Missing {
        /// All tokens of the last set, as removed.
        changes: Changes,
    },
    /// The file is unusable; the last good set stays in force.
    Failed(LoadError),
}

/// How to learn of changes in a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Notices {
    /// Ask the system for notifications (inotify), and poll every 50 ms where it has none.
    #[default]
    On,
    /// Poll every 50 ms.
    Off,
}

/// It could not be determined whether the tokens are current: refuse the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stale {
    /// The changed file could not be read within 2 s.
    #[error("the token file has changed and could not be read again within 2 s")]
    Slow,
    /// The file could not be read for a reason that may pass, such as a lack of file descriptors.
    #[error("the token file cannot be read at the moment; its last state may be out of date")]
    Unreadable,
    /// The thread that reads the file has ended because `publish` panicked.
    #[error("the token file has changed and nothing reads it any more; restart the program")]
    Stopped,
}

/// Why the file cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The system provided no thread or event descriptor, or the path could not be made absolute.
    #[error("failed to start following the token file: {0}")]
    System(#[from] io::Error),
    /// `publish` panicked on the first set.
    #[error("failed to start following the token file: its first publication panicked")]
    Publish,
}

/// A thread that follows a token file until this handle is dropped. Dropping it waits for a running `publish` to
/// return: never drop it under a lock that `publish` takes.
///
/// Only this thread reads the file and calls `publish`, in the order of events. It acts at once on a complete change: a
/// rename into place, a symbolic link with a new target (Kubernetes), a file that was written and closed. A file that
/// is missing, empty or half written gets up to 50 ms to become complete, so that saving it in place does not end every
/// session.
///
/// When you open something that must end with its token, such as a session, do not rely on [`TokenWatch::current`]:
/// what is opened just after `publish` has ended everything would survive. Keep the set passed to `publish` behind a
/// read-write lock of your own. Hold it for reading from the look-up until the opened thing can be found, and for
/// writing in `publish` before it ends anything.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use token_store::{EditError, NewToken, Secret, TokenFile, watch::{TokenWatch, Update}};
///
/// # let folder = tempfile::tempdir()?;
/// # let now = time::OffsetDateTime::UNIX_EPOCH;
/// let file = TokenFile::new(folder.path().join("tokens.yaml"));
/// let watch = TokenWatch::start(file.clone(), |update| {
///     if let Update::Loaded { changes, .. } = update {
///         for token in changes.removed {
///             println!("ending what runs for {}", token.id);
///         }
///     }
/// })?;
///
/// let secret = Secret::generate()?;
/// file.edit(|draft| Ok::<_, EditError>(draft.create(&secret, NewToken::default(), now)?))?;
///
/// // In each request: whatever has been written before is now in force.
/// watch.fresh().await?;
/// assert!(watch.current().authenticate(secret.expose(), now).is_ok());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TokenWatch {
    path: PathBuf,
    bell: Arc<Bell>,
    progress: watch::Receiver<Progress>,
    thread: Option<JoinHandle<()>>,
}

impl TokenWatch {
    /// Starts following a file, which need not exist; returns once its first state has been published.
    ///
    /// `publish` runs on the following thread. No request waiting in [`TokenWatch::fresh`] continues before it has
    /// returned.
    ///
    /// # Errors
    /// The system provides no thread or event descriptor, the path cannot be made absolute, or `publish` panics.
    pub fn start(
        file: TokenFile,
        publish: impl FnMut(Update) + Send + 'static,
    ) -> Result<Self, WatchError> {
        Self::start_with(file, Notices::On, publish)
    }

    /// Like [`TokenWatch::start`], with a choice of how to learn of changes.
    ///
    /// # Errors
    /// As [`TokenWatch::start`].
    pub fn start_with(
        file: TokenFile,
        notices: Notices,
        publish: impl FnMut(Update) + Send + 'static,
    ) -> Result<Self, WatchError> {
        let path = std::path::absolute(file.path())?;
        let bell = Arc::new(Bell::new()?);
        let (sender, progress) = watch::channel(Progress::default());
        let (ready, first_published) = mpsc::sync_channel(1);
        let mut follower = Follower::new(
            path.clone(),
            notices,
            Arc::clone(&bell),
            sender,
            Box::new(publish),
        );
        let thread = thread::Builder::new()
            .name("token-watch".into())
            .spawn(move || {
                follower.begin();
                // The receiver still exists: `start_with` is waiting on it.
                let _ = ready.send(());
                follower.run();
            })?;
        let watch = Self {
            path,
            bell,
            progress,
            thread: Some(thread),
        };
        first_published.recv().map_err(|_| WatchError::Publish)?;
        Ok(watch)
    }

    /// Makes sure that the newest file is in force. While nothing has changed, this costs one `stat`, about half a
    /// microsecond.
    ///
    /// When the file differs from what was last read, waits until it has been read and published, or has failed to
    /// parse. Whatever was in place at the call is in force on return, except that a folder swapped for another is
    /// noticed only within milliseconds. Dropping the future is harmless.
    ///
    /// # Errors
    /// [`Stale`]: the file could not be read, or not within 2 s. The request must be refused.
    ///
    /// # Panics
    /// If it has to wait and there is no tokio runtime with a timer.
    pub async fn fresh(&self) -> Result<(), Stale> {
        if self.progress.borrow().is_current(&self.path) {
            return Ok(());
        }
        let mut progress = self.progress.clone();
        let ticket = self.bell.ask();
        let served = progress.wait_for(|progress| progress.served >= ticket);
        match tokio::time::timeout(MAX_WAIT, served).await {
            Ok(Ok(progress)) if progress.unreadable => Err(Stale::Unreadable),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Stale::Stopped),
            Err(_) => Err(Stale::Slow),
        }
    }

    /// Returns the last published set.
    #[must_use]
    pub fn current(&self) -> Arc<TokenSet> {
        Arc::clone(&self.progress.borrow().set)
    }
}

/// Waits for a running `publish` to return, so that none runs afterwards; inside `publish` itself it does not wait.
/// Never drop it under a lock that `publish` takes: each would wait for the other.
impl Drop for TokenWatch {
    fn drop(&mut self) {
        self.bell.stop();
        let Some(thread) = self.thread.take() else {
            return;
        };
        // Dropped inside `publish`, this is the thread itself, which cannot wait for its own end.
        if thread.thread().id() != thread::current().id() {
            // A panic in `publish` has already been reported.
            let _ = thread.join();
        }
    }
}

/// How far the thread has come.
#[derive(Clone, Debug, Default)]
struct Progress {
    set: Arc<TokenSet>,
    /// What the last look at the file showed.
    sight: Sight,
    /// The file that was read, kept open where checking it is as good as checking its path.
    open: Option<Arc<File>>,
    /// Whether that look was late enough after the last write that a later one would change the sight.
    settled: bool,
    /// Whether the read failed for a reason that may pass, and so says nothing about the file.
    unreadable: bool,
    /// All requests up to this ticket have been served.
    served: u64,
}

impl Progress {
    /// Checks whether the path still leads to what was read.
    fn is_current(&self, path: &Path) -> bool {
        let now = || match &self.open {
            Some(file) => Sight::of_open(file),
            None => Sight::of(path),
        };
        self.settled && self.sight == now()
    }
}

/// What wakes the thread.
#[derive(Debug)]
struct Bell {
    descriptor: OwnedFd,
    asked: AtomicU64,
    stopped: AtomicBool,
}

impl Bell {
    fn new() -> io::Result<Self> {
        Ok(Self {
            descriptor: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
            asked: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        })
    }

    /// Asks for a look at the file and returns the ticket that [`Progress::served`] will reach.
    fn ask(&self) -> u64 {
        let ticket = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.ring();
        ticket
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.ring();
    }

    fn ring(&self) {
        // This fails only when the counter is full, and then the thread is about to wake anyway.
        let _ = rustix::io::write(&self.descriptor, &1_u64.to_ne_bytes());
    }

    /// Clears the rings so far.
    fn hush(&self) {
        let _ = rustix::io::read(&self.descriptor, &mut [0; 8]);
    }
}
