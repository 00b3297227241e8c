//! Reads files that are polled for changes.

use std::{io, path::Path};

use server_config::read_regular;

/// How many bytes of a file are compared; a larger file is refused when it is read.
const MOST_BYTES: u64 = 2 << 20;

/// The content of a file, or why it cannot be read.
pub(crate) type Content = Result<Vec<u8>, io::ErrorKind>;

/// Reads a file on a blocking thread; `None` while it does not exist, as during a replacement.
pub(crate) async fn read(path: &Path) -> Option<Content> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || content(&path))
        .await
        .ok()?
}

/// Reads a file; `None` if it does not exist.
pub(crate) fn content(path: &Path) -> Option<Content> {
    match read_regular(path, MOST_BYTES).map_err(|error| error.kind()) {
        Err(io::ErrorKind::NotFound) => None,
        content => Some(content),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_there_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.yaml");
        assert_eq!(content(&path), None);
        std::fs::write(&path, "a").unwrap();
        assert_eq!(content(&path), Some(Ok(b"a".into())));
        let other = content(folder.path());
        assert_eq!(other, Some(Err(io::ErrorKind::InvalidInput)), "a folder");
        let endless = content(Path::new("/dev/zero"));
        assert_eq!(endless, Some(Err(io::ErrorKind::InvalidInput)));
    }
}
