//! The passwords of tokens' own roles.

use std::{ffi::OsString, fmt, path::Path};

use server_config::read_regular;
use token_store::PasswordSource;

/// The longest password that is read from a file, in bytes.
const LONGEST: u64 = 4_096;

/// Why a password cannot be read. Never contains a password.
pub(crate) struct Missing(String);

impl fmt::Display for Missing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Reads a password from the source that a token's entry names.
///
/// # Errors
/// The password cannot be read. No other one is tried instead.
pub(crate) async fn find(source: Option<PasswordSource>) -> Result<Option<String>, Missing> {
    match source {
        None => Ok(None),
        Some(PasswordSource::Environment(variable)) => held(std::env::var_os(variable.as_str()))
            .map(Some)
            .map_err(|why| Missing(format!("the variable {variable} {why}"))),
        Some(PasswordSource::File(path)) => {
            let read = tokio::task::spawn_blocking(move || read(Path::new(path.as_str()))).await;
            read.unwrap_or_else(|_| Err(Missing("the reading stopped".into())))
                .map(Some)
        }
    }
}

/// Returns the value of a variable, or says what is wrong with it.
fn held(value: Option<OsString>) -> Result<String, &'static str> {
    let value = value.ok_or("is not set")?;
    let password = value.into_string().map_err(|_| "is not in UTF-8")?;
    match password.is_empty() {
        true => Err("is empty"),
        false => Ok(password),
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn a_variable_without_a_password_is_told_as_what_it_is() {
        for (value, held_or_why) in [
            (None, Err("is not set")),
            (Some(vec![]), Err("is empty")),
            (Some(vec![0xff]), Err("is not in UTF-8")),
            (Some(b"p w".to_vec()), Ok("p w".to_owned())),
        ] {
            let name = format!("{value:?}");
            assert_eq!(held(value.map(OsString::from_vec)), held_or_why, "{name}");
        }
    }
}
