//! `~/.pgpass`, as libpq reads it (PostgreSQL documentation, section 34.16).

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use crate::{Database, Password, read_regular};

/// The largest file that is read, in bytes: enough for some ten thousand databases.
const LARGEST: u64 = 1 << 20;

/// Sets the password of each host of a database from a password file, if it is there.
///
/// # Errors
/// A sentence, if the file exists but may not be used.
pub(crate) fn fill(path: &Path, database: &mut Database) -> Result<(), String> {
    let Ok(metadata) = fs::metadata(path) else {
        return Ok(());
    };
    if !metadata.is_file() {
        return Err("is not a regular file and is not used".into());
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err("can be read by others and is not used; run chmod 0600 on it".into());
    }
    let bytes = read_regular(path, LARGEST).map_err(|error| format!("cannot be read: {error}"))?;
    let text = String::from_utf8_lossy(&bytes);
    let of = |host: &str, port| {
        let mut lines = text.lines();
        lines.find_map(|line| password_in(line, host, port, database))
    };
    let first = of(&database.host, database.port);
    let others = database.other_hosts.iter();
    let others: Vec<_> = others.map(|host| of(&host.name, host.port)).collect();
    database.password = first;
    for (host, password) in database.other_hosts.iter_mut().zip(others) {
        host.password = password;
    }
    Ok(())
}

fn password_in(line: &str, host: &str, port: u16, database: &Database) -> Option<Password> {
    if line.starts_with('#') {
        return None;
    }
    let fields = fields(line);
    let [its_host, its_port, name, user, password] = fields.as_slice() else {
        return None;
    };
    let fits = |field: &str, value: &str| field == "*" || field == value;
    // For a connection through a Unix socket, libpq looks up `localhost`.
    let known_as = if host.starts_with('/') {
        "localhost"
    } else {
        host
    };
    let fits = (fits(its_host, known_as) || its_host == host)
        && fits(its_port, &port.to_string())
        && fits(name, &database.database)
        && fits(user, &database.user);
    fits.then(|| Password::new(password.clone()))
}

/// Splits at colons; a backslash escapes the next character.
fn fields(line: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => field.extend(characters.next()),
            // The fifth field is the password and extends to the end of the line.
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

    fn file(lines: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), lines).unwrap();
        file
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
            let found = password_in(line, "db", 5433, &database());
            assert_eq!(found.as_ref().map(Password::expose), password, "{line}");
        }
    }

    #[test]
    fn each_host_has_its_own_password_and_none_has_another_ones() {
        let hosts = "postgres://ann@db1,db2:5433,db3/shop";
        let mut database = Database::from_url("d", hosts).unwrap();
        let file = file("db1:5432:*:ann:first\ndb2:5432:*:ann:wrong port\ndb2:*:*:ann:second\n");
        fill(file.path(), &mut database).unwrap();
        let others = database.other_hosts.iter().map(|host| &host.password);
        let found: Vec<_> = std::iter::once(&database.password)
            .chain(others)
            .map(|password| password.as_ref().map(Password::expose))
            .collect();
        assert_eq!(found, [Some("first"), Some("second"), None]);
    }

    #[test]
    fn a_file_that_others_can_read_is_not_used() {
        let (file, mut database) = (file("*:*:*:*:secret\n"), database());
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644)).unwrap();
        let refused = fill(file.path(), &mut database).unwrap_err();
        assert!(refused.contains("chmod 0600"), "{refused}");
        assert_eq!(database.password, None);
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o600)).unwrap();
        fill(file.path(), &mut database).unwrap();
        assert_eq!(database.password.unwrap().expose(), "secret");
    }
}
