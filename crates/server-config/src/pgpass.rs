//! `~/.pgpass`, as libpq reads it (PostgreSQL documentation, section 34.16).

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use crate::{Database, Password, read_regular};

/// A line for each of some ten thousand databases.
const LARGEST: u64 = 1 << 20;

/// Finds the password for a database in a password file.
///
/// # Errors
/// A sentence, when the file is there and may not be used.
pub(crate) fn find(path: &Path, database: &Database) -> Result<Option<Password>, String> {
    let Ok(metadata) = fs::metadata(path) else {
        return Ok(None);
    };
    if !metadata.is_file() {
        return Err("is not a regular file and is not used".into());
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err("can be read by others and is not used; run chmod 0600 on it".into());
    }
    let bytes = read_regular(path, LARGEST).map_err(|error| format!("cannot be read: {error}"))?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().find_map(|line| password_in(line, database)))
}

fn password_in(line: &str, database: &Database) -> Option<Password> {
    if line.starts_with('#') {
        return None;
    }
    let fields = fields(line);
    let [host, port, name, user, password] = fields.as_slice() else {
        return None;
    };
    let fits = |field: &str, value: &str| field == "*" || field == value;
    // libpq looks for `localhost` when the connection goes through a socket's folder.
    let own_host = if database.host.starts_with('/') {
        "localhost"
    } else {
        &database.host
    };
    let fits = (fits(host, own_host) || *host == database.host)
        && fits(port, &database.port.to_string())
        && fits(name, &database.database)
        && fits(user, &database.user);
    fits.then(|| Password::new(password.clone()))
}

/// Splits at colons; a backslash takes the next character as it is.
fn fields(line: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => field.extend(characters.next()),
            // The fifth field is the password, to the end of the line.
            ':' if fields.len() < 4 => fields.push(std::mem::take(&mut field)),
            other => field.push(other),
        }
    }
    fields.push(field);
    fields
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn database() -> Database {
        Database::from_url("d", "postgres://ann@db:5433/shop").unwrap()
    }

    #[test]
    fn the_first_line_that_fits_gives_the_password() {
        for (line, password) in [
            ("db:5433:shop:ann:secret", Some("secret")),
            ("*:*:*:*:any", Some("any")),
            ("db:5433:shop:ann:with\\:colon\\\\", Some("with:colon\\")),
            ("db:5433:shop:ann:un:escaped", Some("un:escaped")),
            ("#db:5433:shop:ann:secret", None),
            ("other:5433:shop:ann:secret", None),
            ("db:5433:shop", None),
            ("", None),
        ] {
            let found = password_in(line, &database());
            assert_eq!(found.as_ref().map(Password::expose), password, "{line}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_not_used() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "*:*:*:*:secret\n").unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(
            find(file.path(), &database())
                .unwrap_err()
                .contains("chmod 0600")
        );
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(
            find(file.path(), &database()).unwrap().unwrap().expose(),
            "secret"
        );
    }
}
