use std::fmt;
use std::path::PathBuf;

/// Where and as whom to connect, as plain data. Its `Display` is a connection string that libpq and
/// tokio-postgres parse; there is no password in it, because the folder's mode is what guards the socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The folder of the Unix socket.
    pub socket_dir: PathBuf,
    /// The number in the socket's name, and the TCP port on 127.0.0.1 where one was asked for.
    pub port: u16,
    /// The role.
    pub user: String,
    /// The database.
    pub database: String,
}

impl fmt::Display for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "host={} port={} user={} dbname={}",
            quoted(&self.socket_dir.to_string_lossy()),
            self.port,
            quoted(&self.user),
            quoted(&self.database),
        )
    }
}

/// Quotes a value where the connection string's grammar needs it.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_string_quotes_what_its_grammar_would_misread() {
        for (value, expected) in [
            ("shop_reader", "shop_reader"),
            ("/var/lib/x-demo", "/var/lib/x-demo"),
            ("", "''"),
            ("two words", "'two words'"),
            (r"it's a \", r"'it\'s a \\'"),
        ] {
            assert_eq!(quoted(value), expected);
        }
    }
}
