//! What should be put right although the file is usable.

use std::{io, path::PathBuf, sync::Arc};

/// Something about a token file that a person should know.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Warning {
    /// Users other than the owner may read or change the file.
    #[error("{path} may be used by others than its owner (mode {mode:04o}); run `chmod 600 {path}`, or let the next change narrow it", path = .path.display())]
    Readable {
        /// The token file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Any user may replace the file.
    #[error("anyone may replace files in {folder}, and so add tokens; run `chmod o-w {folder}`", folder = .folder.display())]
    FolderWritable {
        /// The folder of the token file.
        folder: PathBuf,
    },
    /// The change is made, but the system did not confirm that it has reached the disk.
    #[error("the change is made, but a power failure could undo it: failed to flush the folder {folder}: {source}", folder = .folder.display())]
    NotDurable {
        /// The folder of the token file.
        folder: PathBuf,
        /// The system's error.
        source: Arc<io::Error>,
    },
}

impl PartialEq for Warning {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}
