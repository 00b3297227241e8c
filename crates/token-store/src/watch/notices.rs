//! Notifications from the system that something has changed in a folder (inotify).

use std::{
    collections::{BTreeSet, HashMap},
    ffi::OsStr,
    io,
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
};

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};

use super::{
    file_systems::is_remote,
    places::{Place, places},
};

/// Events that may make a path lead elsewhere, or change a file.
const WATCHED: WatchMask = WatchMask::CREATE
    .union(WatchMask::MOVED_TO)
    .union(WatchMask::MOVED_FROM)
    .union(WatchMask::CLOSE_WRITE)
    .union(WatchMask::MODIFY)
    .union(WatchMask::DELETE)
    .union(WatchMask::ATTRIB)
    .union(ITS_OWN);

/// Events of a folder itself.
const ITS_OWN: WatchMask = WatchMask::DELETE_SELF
    .union(WatchMask::MOVE_SELF)
    .union(WatchMask::ONLYDIR);

/// Events after which the folder may no longer be where or what it was, or notices were lost.
const DISTURBING: EventMask = EventMask::DELETE_SELF
    .union(EventMask::MOVE_SELF)
    .union(EventMask::IGNORED)
    .union(EventMask::UNMOUNT)
    .union(EventMask::Q_OVERFLOW);

/// Events that show that a writer has finished: it closed the file or moved it into place.
const FINISHING: EventMask = EventMask::CLOSE_WRITE.union(EventMask::MOVED_TO);

/// The maximum number of reads per batch, of some 400 notices each.
const MAX_READS: usize = 64;

/// The folders that are watched for one path.
pub(super) struct FolderNotices {
    inotify: Inotify,
    folders: HashMap<WatchDescriptor, PathBuf>,
    places: Vec<Place>,
    complete: bool,
}

/// What a batch of notices means for the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// Something happened to a name that matters.
    pub(super) relevant: bool,
    /// A writer has finished.
    pub(super) finished: bool,
    /// The folders must be found anew.
    pub(super) disturbed: bool,
}

impl FolderNotices {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            inotify: Inotify::init()?,
            folders: HashMap::new(),
            places: Vec::new(),
            complete: true,
        })
    }

    /// Says whether every change will be reported.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Says whether the path has no symbolic link: only the file itself and the folders above it, whose moves are
    /// reported, decide what the path leads to.
    pub(super) fn is_direct(&self) -> bool {
        self.complete && self.places.len() == 1
    }

    /// Watches the folders that currently decide what the path leads to, and the folders above them, for being moved.
    /// Returns whether they differ from before: then something may have gone unnoticed.
    pub(super) fn arrange(&mut self, path: &Path) -> bool {
        let places = places(path);
        let deciding: BTreeSet<&Path> = places.iter().map(|(folder, _)| &**folder).collect();
        let above: BTreeSet<&Path> = deciding
            .iter()
            .flat_map(|folder| folder.ancestors())
            .filter(|folder| folder.parent().is_some() && !deciding.contains(folder))
            .collect();
        let mut folders = HashMap::new();
        let mut complete = true;
        let watched = deciding.iter().map(|folder| (*folder, WATCHED));
        for (folder, mask) in watched.chain(above.iter().map(|folder| (*folder, ITS_OWN))) {
            complete &= !is_remote(folder);
            match self.inotify.watches().add(folder, mask) {
                Ok(descriptor) => {
                    folders.insert(descriptor, folder.to_owned());
                }
                Err(error) => {
                    complete = false;
                    if self.complete {
                        tracing::warn!(folder = %folder.display(), %error, "no notices of changes; looking every 50 ms instead");
                    }
                }
            }
        }
        for old in self
            .folders
            .keys()
            .filter(|old| !folders.contains_key(*old))
        {
            // This fails if the folder is gone, and its watch with it.
            let _ = self.inotify.watches().remove(old.clone());
        }
        let differs = folders != self.folders || places != self.places;
        self.folders = folders;
        self.places = places;
        self.complete = complete;
        differs
    }

    /// Reads the pending notices, but not forever while more keep coming: the rest wakes the thread again.
    pub(super) fn take(&mut self) -> News {
        let mut news = News::default();
        let mut buffer = [0; 16 * 1024];
        for _ in 0..MAX_READS {
            // This fails with "would block" when there are no more.
            let Ok(events) = self.inotify.read_events(&mut buffer) else {
                break;
            };
            for event in events {
                let disturbs = event.mask.intersects(DISTURBING);
                let matters = self.folders.get(&event.wd).is_some_and(|folder| {
                    self.places.iter().any(|(place, name)| {
                        place == folder && event.name == Some(OsStr::new(name))
                    })
                });
                news.disturbed |= disturbs;
                news.relevant |= disturbs || matters;
                news.finished |= matters && event.mask.intersects(FINISHING);
            }
        }
        news
    }
}

impl AsFd for FolderNotices {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
