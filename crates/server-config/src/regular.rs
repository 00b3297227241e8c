//! Files that are read whole.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

/// Reads a regular file of at most `most` bytes. Others, such as pipes, may never end, nor begin.
///
/// # Errors
/// The system's; or it is no regular file, or larger, which the error says.
pub fn read_regular(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file; name one",
        ));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {most} bytes; name the right file"),
        ));
    }
    Ok(bytes)
}
