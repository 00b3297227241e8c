//! The result of one look at a file.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use crate::file::Identity;

/// What one `stat` of the token file shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sight {
    /// There is no such file.
    #[default]
    Missing,
    /// The system refuses to inspect it, with this error number.
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

    /// Inspects an open file, which takes a third of the time.
    pub(super) fn of_open(file: &File) -> Self {
        match file.metadata() {
            Ok(metadata) => Self::There(Identity::from(&metadata)),
            Err(error) => Self::Hidden(error.raw_os_error()),
        }
    }
}
