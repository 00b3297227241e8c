use std::fmt;
use std::path::PathBuf;

/// Where and as which role to connect, as plain data. Its `Display` is a connection string that libpq and
/// tokio-postgres can parse. It has no password, because the folder's mode protects the socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The folder of the Unix socket.
    pub socket_dir: PathBuf,
    /// The number in the socket's name, which is also the TCP port on 127.0.0.1 if one was requested.
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

/// Quotes a value if the connection string's grammar requires it.
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
