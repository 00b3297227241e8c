//! The thread's work: look, read, judge, publish, wait.

use std::{
    fs::File,
    os::fd::AsFd,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use tokio::sync::watch;

use super::{
    Bell, Notices, Progress, Update,
    file_systems::is_open_book,
    notices::{FolderNotices, News},
    sight::Sight,
};
use crate::{
    file::{self, LoadError, Warning},
    set::TokenSet,
};

/// File systems record times in ticks of up to 10 ms, so two writes within one tick leave the same identity. As git
/// does with its index, a look is trusted only if the state had been there for longer than that.
const SETTLING: Duration = Duration::from_millis(20);
/// How long a file that looks unfinished may take to become complete.
const PATIENCE: Duration = Duration::from_millis(50);
/// The interval between looks at an unfinished file.
const IMPATIENCE: Duration = Duration::from_millis(5);
/// The interval between looks where the system gives no notices.
const POLLING: Duration = Duration::from_millis(50);
/// A file that polls as exceptional (`POLLPRI`) once something was mounted or unmounted since the last poll.
const MOUNTS: &str = "/proc/self/mountinfo";
/// The interval between looks in any case, as notices can be lost.
const SAFETY: Duration = Duration::from_secs(1);

pub(super) struct Follower {
    path: PathBuf,
    bell: Arc<Bell>,
    progress: watch::Sender<Progress>,
    publish: Box<dyn FnMut(Update) + Send>,
    wanted: Notices,
    notices: Option<FolderNotices>,
    /// Reports mounts and unmounts (proc_pid_mountinfo(5)), which the watches on folders do not.
    mounts: Option<File>,
    arranged: Instant,
    /// Whether the lack of notices has been logged.
    complained: bool,
    news: News,

    set: Arc<TokenSet>,
    /// What was published last.
    standing: Standing,
    /// The last state that was accepted.
    accepted: Option<Sight>,
    /// The file that was accepted, kept open where inspecting it is as good as inspecting its path.
    open: Option<Arc<File>>,
    /// The accepted bytes, as long as an unchanged sight does not prove that they are unchanged.
    unsettled: Option<Vec<u8>>,
    /// Whether the last read failed in a way that says nothing about the file, so that a newer one may be there.
    unreadable: bool,
    /// The current state, and when it was first seen.
    first_seen: (Sight, Instant),
    /// Since when an unfinished file has been waited for.
    unfinished_since: Option<Instant>,
}

/// What was published last.
enum Standing {
    Nothing,
    Loaded(Vec<Warning>),
    Missing,
    Failed(String),
}

/// The result of reading the path.
type Reading = Result<Option<(TokenSet, Vec<Warning>)>, LoadError>;

impl Follower {
    pub(super) fn new(
        path: PathBuf,
        wanted: Notices,
        bell: Arc<Bell>,
        progress: watch::Sender<Progress>,
        publish: Box<dyn FnMut(Update) + Send>,
    ) -> Self {
        let now = Instant::now();
        Self {
            path,
            bell,
            progress,
            publish,
            wanted,
            notices: None,
            // Without this file, mounts are noticed by the next look.
            mounts: File::open(MOUNTS).ok(),
            arranged: now,
            complained: false,
            news: News::default(),
            set: Arc::default(),
            standing: Standing::Nothing,
            accepted: None,
            open: None,
            unsettled: None,
            unreadable: false,
            first_seen: (Sight::Missing, now),
            unfinished_since: None,
        }
    }

    /// Publishes the first state.
    pub(super) fn begin(&mut self) {
        self.arrange();
        self.look();
    }

    /// Follows the file until the bell says stop.
    pub(super) fn run(&mut self) {
        while !self.bell.stopped.load(Ordering::SeqCst) {
            if self.wait() {
                self.look();
            }
            let moved = self.accepted != Some(Sight::of(&self.path));
            if moved || self.news.disturbed || self.arranged.elapsed() >= SAFETY {
                // Changes before the new watches were in place went unnoticed.
                if self.arrange() {
                    self.look();
                }
            }
        }
    }

    /// Waits for a notice, the bell, or the next look that is due; returns whether to look.
    fn wait(&mut self) -> bool {
        let due = self.pause();
        let timeout = Timespec {
            tv_sec: i64::try_from(due.as_secs()).unwrap_or(1),
            tv_nsec: i64::from(due.subsec_nanos()),
        };
        let mut sources = vec![PollFd::new(&self.bell.descriptor, PollFlags::IN)];
        if let Some(notices) = &self.notices {
            sources.push(PollFd::from_borrowed_fd(notices.as_fd(), PollFlags::IN));
        }
        if let Some(mounts) = &self.mounts {
            sources.push(PollFd::new(mounts, PollFlags::PRI));
        }
        // An interrupted wait just leads to an early look.
        let ready = poll(&mut sources, Some(&timeout)).unwrap_or(0);
        let rung = !sources[0].revents().is_empty();
        let mounted = self.mounts.is_some()
            && sources
                .last()
                .is_some_and(|mounts| !mounts.revents().is_empty());
        if rung {
            self.bell.hush();
        }
        let news = self.notices.as_mut().map(FolderNotices::take);
        self.news = news.unwrap_or_default();
        ready == 0 || rung || mounted || self.news.relevant
    }

    fn pause(&self) -> Duration {
        if self.unfinished_since.is_some() {
            return IMPATIENCE;
        }
        if self.unsettled.is_some() {
            return SETTLING;
        }
        match &self.notices {
            Some(notices) if notices.is_complete() => SAFETY,
            _ => POLLING,
        }
    }

    /// Watches the folders that matter now; returns whether they differ from before.
    fn arrange(&mut self) -> bool {
        self.arranged = Instant::now();
        if self.wanted == Notices::Off {
            return false;
        }
        if self.notices.is_none() {
            match FolderNotices::new() {
                Ok(notices) => self.notices = Some(notices),
                Err(error) if !self.complained => {
                    self.complained = true;
                    tracing::warn!(%error, "no notices of changes; looking every 50 ms instead");
                }
                Err(_) => {}
            }
        }
        let path = &self.path;
        self.notices
            .as_mut()
            .is_some_and(|notices| notices.arrange(path))
    }

    /// Looks at the file and publishes what is new, then releases the requests that asked before.
    fn look(&mut self) {
        let serving = self.bell.asked.load(Ordering::SeqCst);
        let now = Instant::now();
        let sight = Sight::of(&self.path);
        let known = self.unsettled.is_none() && self.accepted == Some(sight);
        if known {
            self.unfinished_since = None;
        }
        if known || self.read(sight, now) {
            let is_direct = self.notices.as_ref().is_some_and(FolderNotices::is_direct);
            self.progress.send_replace(Progress {
                set: Arc::clone(&self.set),
                sight: self.accepted.unwrap_or_default(),
                open: self.open.clone().filter(|_| is_direct),
                settled: self.unsettled.is_none(),
                unreadable: self.unreadable,
                served: serving,
            });
        }
    }

    /// Reads the file. Returns whether its state is accepted; if not, it looks unfinished, and another look is due.
    fn read(&mut self, sight: Sight, now: Instant) -> bool {
        let (sight, bytes, open, opened) = match file::read(&self.path) {
            // The opened file may be newer than the one inspected before.
            Ok(Some(content)) => (
                Sight::There(content.identity),
                content.bytes,
                Some(content.file),
                Ok(Some(content.warnings)),
            ),
            Ok(None) => (Sight::Missing, Vec::new(), None, Ok(None)),
            Err(error) => (sight, Vec::new(), None, Err(error)),
        };
        if self.first_seen.0 != sight {
            self.first_seen = (sight, now);
        }
        let was_unreadable = self.unreadable;
        self.unreadable = matches!(&opened, Err(error) if may_pass(error));
        let same = !was_unreadable
            && self.accepted == Some(sight)
            && self.unsettled.as_ref() == Some(&bytes);
        if !same {
            let reading = opened.and_then(|found| match found {
                Some(warnings) => {
                    let set = file::parse(&bytes, &self.path, &self.set)?;
                    Ok(Some((set, warnings)))
                }
                None => Ok(None),
            });
            let whole = reading.is_ok() && bytes.ends_with(b"\n");
            let judged = whole || self.unreadable || self.news.finished;
            if !judged && self.is_patient(now) {
                return false;
            }
            self.accept(reading);
        }
        let settled = match sight {
            _ if self.unreadable => false,
            Sight::There(_) => now.duration_since(self.first_seen.1) >= SETTLING,
            Sight::Missing | Sight::Hidden(_) => true,
        };
        self.accepted = Some(sight);
        self.open = open.filter(is_open_book).map(Arc::new);
        self.unsettled = (!settled).then_some(bytes);
        self.unfinished_since = None;
        true
    }

    /// Says whether to wait longer for an unfinished file: only while something is published already, and not for long.
    fn is_patient(&mut self, now: Instant) -> bool {
        let since = *self.unfinished_since.get_or_insert(now);
        !matches!(self.standing, Standing::Nothing) && now.duration_since(since) < PATIENCE
    }

    /// Puts what was read into force, and publishes it if it is new.
    fn accept(&mut self, reading: Reading) {
        match reading {
            Ok(Some((set, warnings))) => {
                let changes = set.changes_since(&self.set);
                let told =
                    matches!(&self.standing, Standing::Loaded(before) if *before == warnings);
                if told && changes.is_empty() {
                    return;
                }
                self.set = Arc::new(set);
                self.standing = Standing::Loaded(warnings.clone());
                let set = Arc::clone(&self.set);
                (self.publish)(Update::Loaded {
                    set,
                    changes,
                    warnings,
                });
            }
            Ok(None) => {
                let nothing = TokenSet::default();
                let changes = nothing.changes_since(&self.set);
                self.set = Arc::new(nothing);
                self.standing = Standing::Missing;
                (self.publish)(Update::Missing { changes });
            }
            Err(error) => {
                let text = error.to_string();
                if matches!(&self.standing, Standing::Failed(before) if *before == text) {
                    return;
                }
                self.standing = Standing::Failed(text);
                (self.publish)(Update::Failed(error));
            }
        }
    }
}

/// Says whether the same file might be readable a moment later: the system was short of something, or the disk failed.
/// Lasting obstacles (no permission, a path that leads nowhere) change the sight when they are removed.
fn may_pass(error: &LoadError) -> bool {
    let LoadError::Read { source, .. } = error else {
        return false;
    };
    let lasting = [
        Errno::ACCESS,
        Errno::PERM,
        Errno::LOOP,
        Errno::NOTDIR,
        Errno::NAMETOOLONG,
    ];
    !lasting
        .map(|errno| Some(errno.raw_os_error()))
        .contains(&source.raw_os_error())
}
