//! Why a server refused a connection, never with the password in it.

use std::{error::Error as _, io};

use tokio_postgres::{Config, Error, error::SqlState};

/// What stands in the place of a password.
const HIDDEN: &str = "****";

/// Why there is no connection: PostgreSQL could not be reached, or refused the login.
///
/// Whoever answers need not be PostgreSQL, and may repeat what it was sent: so the password is
/// removed from the text, also in the form that it has in a URL.
#[derive(Debug, thiserror::Error)]
#[error("{told}")]
pub struct Refusal {
    told: String,
    code: Option<SqlState>,
    remedy: &'static str,
}

/// What to do about PostgreSQL's answer to a login, by the beginning of its SQLSTATE.
const REMEDIES: [(&str, &str); 8] = [
    (
        "28",
        "check the user and the password of this database, and PostgreSQL's pg_hba.conf",
    ),
    ("3D", "check the name of the database"),
    ("42501", "GRANT CONNECT ON DATABASE to the user"),
    (
        "53300",
        "allow the role (CONNECTION LIMIT) or PostgreSQL (max_connections) more connections, or set limits.max_connections_total to what there is",
    ),
    ("55000", "ALTER DATABASE ... ALLOW_CONNECTIONS true"),
    ("57P01", WENT_AWAY),
    ("57P02", WENT_AWAY),
    ("57P03", "wait until PostgreSQL has started"),
];

/// The same for errors that do not come from PostgreSQL, by words in them.
const OTHER_REMEDIES: [(&str, &str); 9] = [
    (
        "password missing",
        "give this database a password, or add a line for it to ~/.pgpass",
    ),
    (
        "onnection refused",
        "check host and port of this database, and that PostgreSQL runs there",
    ),
    ("lookup address", "check the host of this database"),
    (
        "No such file",
        "check the folder of the socket and the port",
    ),
    (
        "certificate",
        "check sslmode, sslrootcert and the certificate of PostgreSQL",
    ),
    ("connection closed", WENT_AWAY),
    ("onnection reset", WENT_AWAY),
    ("roken pipe", WENT_AWAY),
    ("end of file", WENT_AWAY),
];

/// What to do if a server that took the connection ended it before the login was complete.
const WENT_AWAY: &str = "look, if it stays so, whether PostgreSQL runs at this host and port; the server went away, as for a restart, and the call may be tried again in a moment";

/// What to do about any other error.
const USUAL_REMEDY: &str = "check the configuration of this database";

impl Refusal {
    /// Takes the error of a connection that was attempted with `config`.
    pub(crate) fn of(error: &Error, config: &Config) -> Self {
        let told = match (error.as_db_error(), error.source()) {
            (Some(db), _) => format!("{} (SQLSTATE {})", db.message(), db.code().code()),
            (None, Some(source)) => format!("{error}: {source}"),
            (None, None) => error.to_string(),
        };
        let code = error.code().cloned();
        Refusal {
            remedy: remedy(code.as_ref(), &told),
            told: without_password(told, config),
            code,
        }
    }

    /// Takes the error of opening a Unix socket or of looking up a host's addresses.
    pub(crate) fn of_way(error: &io::Error) -> Self {
        // In the words that tokio-postgres uses for TCP and for addresses.
        let told = format!("error connecting to server: {error}");
        Refusal {
            remedy: remedy(None, &told),
            told,
            code: None,
        }
    }

    /// Says what whoever runs the server can do about it, such as "check the name of the database".
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        self.remedy
    }

    /// The SQLSTATE, where PostgreSQL gave one.
    #[must_use]
    pub fn code(&self) -> Option<&SqlState> {
        self.code.as_ref()
    }
}

fn remedy(code: Option<&SqlState>, told: &str) -> &'static str {
    let found = match code {
        Some(code) => REMEDIES
            .iter()
            .find(|(class, _)| code.code().starts_with(class)),
        None => OTHER_REMEDIES
            .iter()
            .find(|(words, _)| told.contains(words)),
    };
    found.map_or(USUAL_REMEDY, |(_, remedy)| remedy)
}

fn without_password(told: String, config: &Config) -> String {
    let password = config.get_password().map(String::from_utf8_lossy);
    let Some(password) = password.filter(|password| !password.is_empty()) else {
        return told;
    };
    // A password that is also the name of the role or the database appears in messages all the
    // time, and is no secret.
    if [config.get_user(), config.get_dbname()].contains(&Some(&*password)) {
        return told;
    }
    let upper = escaped(&password, |byte| format!("%{byte:02X}"));
    let lower = escaped(&password, |byte| format!("%{byte:02x}"));
    [&upper, &lower, &*password]
        .into_iter()
        .fold(told, |told, form| told.replace(form, HIDDEN))
}

/// Writes a text as it stands in a URL.
fn escaped(text: &str, escape: impl Fn(u8) -> String) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| match plain(byte) {
            true => char::from(byte).to_string(),
            false => escape(byte),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_follows_from_what_was_said() {
        for (code, told, remedy) in [
            (Some("28P01"), "password authentication failed", "password"),
            (Some("3D000"), "database \"d\" does not exist", "name of"),
            (Some("XX000"), "connection refused", USUAL_REMEDY),
            (None, "error connecting: Connection refused", "port"),
            (None, "invalid configuration: password missing", "pgpass"),
            (Some("57P01"), "terminating connection", "tried again"),
            (Some("57P02"), "terminating connection", "tried again"),
            (Some("57P03"), "the database is starting up", "started"),
            (None, "connection closed", "tried again"),
            (
                None,
                "error communicating with the server: Connection reset by peer",
                "tried again",
            ),
            (
                None,
                "error communicating with the server: unexpected end of file",
                "tried again",
            ),
            (None, "something else", USUAL_REMEDY),
        ] {
            let code = code.map(SqlState::from_code);
            let given = super::remedy(code.as_ref(), told);
            assert!(given.contains(remedy), "{told}: {given}");
        }
    }

    #[test]
    fn a_password_is_not_told_in_any_of_its_usual_forms() {
        let mut config = Config::new();
        config.user("ann").dbname("shop").password("P@ss w/ö");
        for (said, told) in [
            ("no: P@ss w/ö, P@ss w/ö!", "no: ****, ****!"),
            (
                "postgres://ann:P%40ss%20w%2F%C3%B6@h",
                "postgres://ann:****@h",
            ),
            (
                "postgres://ann:P%40ss%20w%2f%c3%b6@h",
                "postgres://ann:****@h",
            ),
            (
                "password authentication failed for user \"ann\"",
                "password authentication failed for user \"ann\"",
            ),
        ] {
            assert_eq!(without_password(said.to_owned(), &config), told);
        }
        config.password("shop");
        let said = "database \"shop\" does not exist";
        assert_eq!(without_password(said.to_owned(), &config), said);
        config.password("");
        assert_eq!(without_password(said.to_owned(), &config), said);
    }
}
