//! What one look at a file shows.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use crate::file::Identity;

/// File systems of which it is known that an open file shows whatever becomes of it, and be it that another one is put
/// in its place: ext2 to ext4, XFS, Btrfs, F2FS, tmpfs (`statfs(2)`). On an overlay a file that is changed is another one.
const OPEN_BOOKS: [u32; 5] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x0102_1994];

/// What one `stat` of the token file shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sight {
    /// There is no such file.
    #[default]
    Missing,
    /// The system refuses to show it, with this error number.
    Hidden(Option<i32>),
    /// A file, a folder or something else, in this state.
    There(Identity),
}

impl Sight {
    pub(super) fn of(path: &Path) -> Self {
        match fs::metadata(path) {
            Ok(metadata) => Self::There(Identity::from(&metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::Missing,
            Err(error) => Self::Hidden(error.raw_os_error()),
        }
    }

    /// Looks at a file that is open, which takes a third of the time.
    pub(super) fn of_open(file: &File) -> Self {
        match file.metadata() {
            Ok(metadata) => Self::There(Identity::from(&metadata)),
            Err(error) => Self::Hidden(error.raw_os_error()),
        }
    }
}

/// Says whether it is known that a look at an open file shows as much as one at its path.
pub(super) fn is_open_book(file: &File) -> bool {
    // The kernel's numbers have 32 bits, whatever the type of the field.
    let kind = rustix::fs::fstatfs(file).map(|statfs| statfs.f_type as u32);
    kind.is_ok_and(|kind| OPEN_BOOKS.contains(&kind))
}
