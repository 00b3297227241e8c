//! Files that are looked at again and again.

use std::{io::Read, path::Path};

/// How much of a file is compared; a larger one is refused when it is read.
const MOST_BYTES: u64 = 2 << 20;

/// Reads a file beside the runtime's threads; `None` while it is not there, as in a replacement.
pub(crate) async fn read(path: &Path) -> Option<Vec<u8>> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || bytes(&path))
        .await
        .ok()?
}

/// Reads what of a file is compared.
pub(crate) fn bytes(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
