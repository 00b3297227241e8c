//! The passwords of roles that tokens have of their own.

use std::{fmt, path::Path};

use server_config::read_regular;
use token_store::PasswordSource;

/// The longest password that is read from a file, in bytes.
const LONGEST: u64 = 4_096;

/// Why a password is not known. It holds none.
pub(crate) struct Missing(String);

impl fmt::Display for Missing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Finds a password where a token's entry says that it is.
///
/// # Errors
/// It cannot be had. Nothing else is tried in its place.
pub(crate) async fn find(source: Option<PasswordSource>) -> Result<Option<String>, Missing> {
    match source {
        None => Ok(None),
        Some(PasswordSource::Environment(variable)) => std::env::var(variable.as_str())
            .map(Some)
            .map_err(|_| Missing(format!("the variable {variable} is not set"))),
        Some(PasswordSource::File(path)) => {
            let read = tokio::task::spawn_blocking(move || read(Path::new(path.as_str()))).await;
            read.unwrap_or_else(|_| Err(Missing("the reading stopped".into())))
                .map(Some)
        }
    }
}

fn read(path: &Path) -> Result<String, Missing> {
    let missing = |why: &dyn fmt::Display| Missing(format!("{}: {why}", path.display()));
    let bytes = read_regular(path, LONGEST).map_err(|error| missing(&error))?;
    let text = String::from_utf8(bytes).map_err(|_| missing(&"it is not in UTF-8"))?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    if password.is_empty() {
        return Err(missing(&"it is empty"));
    }
    Ok(password.to_owned())
}
