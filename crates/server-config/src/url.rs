//! Connection URLs, as libpq reads them (PostgreSQL documentation, section 34.1.1.2).

use crate::{
    keys::{DATABASE_KEYS, nearest},
    value::{Kind, Value},
};

const FORM: &str = "write it as postgres://USER:PASSWORD@HOST:PORT/DATABASE";

/// Splits a URL into values for the keys of a database. Messages never quote the URL.
pub(crate) fn parse(text: &str) -> Result<Vec<(&'static str, Value)>, String> {
    let rest = text
        .strip_prefix("postgres://")
        .or_else(|| text.strip_prefix("postgresql://"))
        .ok_or_else(|| format!("is not a PostgreSQL URL; {FORM}"))?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, server) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let (host, port) = split_server(server)?;

    let mut values = Vec::new();
    for (path, part) in [
        ("user", user),
        ("password", password),
        ("host", host),
        ("port", port),
        ("database", database),
    ] {
        if !part.is_empty() {
            values.push(read(path, part)?);
        }
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, part) = pair.split_once('=').unwrap_or((pair, ""));
        // `dbname` is libpq's name for the key `database`.
        if !IGNORED.contains(&name) {
            values.push(read(
                if name == "dbname" { "database" } else { name },
                part,
            )?);
        }
    }
    Ok(values)
}

fn split_server(server: &str) -> Result<(&str, &str), String> {
    if server.contains(',') {
        return Ok((server, ""));
    }
    match server.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest
                .split_once(']')
                .ok_or_else(|| format!("lacks a `]` after the address; {FORM}"))?;
            match (port, port.strip_prefix(':')) {
                ("", _) => Ok((host, "")),
                (_, Some(port)) => Ok((host, port)),
                _ => Err(format!(
                    "has something else than a port after the address; {FORM}"
                )),
            }
        }
        None => Ok(server.split_once(':').unwrap_or((server, ""))),
    }
}

/// Parameters that applications may add to a URL, and that have no effect here.
const IGNORED: &[&str] = &["application_name", "gssencmode"];

fn read(name: &str, part: &str) -> Result<(&'static str, Value), String> {
    let key = DATABASE_KEYS
        .iter()
        .find(|key| key.path == name && name != "name")
        .ok_or_else(|| {
            let known = DATABASE_KEYS.iter().map(|key| key.path);
            // `name` is not a URL parameter.
            let known = known.filter(|known| *known != "name");
            match nearest(name, known) {
                Some(meant) => format!("has an unknown parameter; did you mean `{meant}`?"),
                None => "has an unknown parameter; known are those of an entry of `databases:`"
                    .to_owned(),
            }
        })?;
    let text = decode(part).ok_or_else(|| format!("has a broken %-escape in {name}"))?;
    // libpq takes this one in whole seconds.
    let text = if name == "connect_timeout" && text.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("{text}s")
    } else {
        text
    };
    let value = key.kind.read_text(&text).ok_or_else(|| match key.kind {
        Kind::Secret => format!("has an empty {name}"),
        kind => format!("has a wrong {name}: it must be {}", kind.describe()),
    })?;
    Ok((key.path, value))
}

/// Decodes percent-encoding such as `%41`; `None` for an invalid escape or bytes that are not UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => hex(rest.next()?)? << 4 | hex(rest.next()?)?,
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use crate::{ChannelBinding, Database, SslMode};

    #[test]
    fn a_full_url_is_taken_apart() {
        let text = "postgresql://ann:p%40ss:w@db.example.com:6432/shop?sslmode=verify-full&sslrootcert=system&channel_binding=require&connect_timeout=3";
        let database = Database::from_url("default", text).expect("valid");
        assert_eq!(
            (database.user.as_str(), database.host.as_str()),
            ("ann", "db.example.com")
        );
        assert_eq!(database.password.expect("given").expose(), "p@ss:w");
        assert_eq!((database.port, database.database.as_str()), (6432, "shop"));
        assert_eq!(
            (database.sslmode, database.sslrootcert),
            (SslMode::VerifyFull, None)
        );
        assert_eq!(database.channel_binding, ChannelBinding::Require);
        assert_eq!(database.connect_timeout.as_secs(), 3);
    }

    #[test]
    fn sockets_and_addresses_of_six_are_hosts() {
        let socket = Database::from_url("d", "postgres://ann@%2Fvar%2Frun/shop").expect("valid");
        assert_eq!(socket.host, "/var/run");
        let socket = Database::from_url("d", "postgres:///shop?host=/tmp&user=ann").expect("valid");
        assert_eq!(
            (socket.host.as_str(), socket.user.as_str()),
            ("/tmp", "ann")
        );
        let six = Database::from_url("d", "postgres://ann@[::1]:5433/shop").expect("valid");
        assert_eq!((six.host.as_str(), six.port), ("::1", 5433));
    }

    #[test]
    fn several_hosts_keep_their_order_and_ports() {
        let text = "postgres://ann@h1,h2:5433,[::1]:5434/shop?target_session_attrs=primary";
        let database = Database::from_url("d", text).expect("valid");
        let others: Vec<_> = database
            .other_hosts
            .iter()
            .map(|host| (host.name.as_str(), host.port))
            .collect();
        assert_eq!((database.host.as_str(), database.port), ("h1", 5432));
        assert_eq!(others, [("h2", 5433), ("::1", 5434)]);
        assert_eq!(database.target_session_attrs, crate::TargetSession::Primary);
    }

    #[test]
    fn a_wrong_url_is_refused_without_being_quoted() {
        for (text, hint) in [
            ("mysql://ann:hunter2@h/d", "PostgreSQL URL"),
            ("postgres://ann:hunter2@h:99999/d", "port"),
            ("postgres://ann:hunter2@h/d?sslmod=require", "sslmode"),
            ("postgres://ann:hunter2@h/d?sslmode=hunter2", "sslmode"),
            ("postgres://ann:hunter2%zz@h/d", "password"),
            ("postgres://:hunter2@h/d", "user"),
            ("postgres://ann:hunter2@[::1]5433/d", "than a port"),
            ("postgres://ann:hunter2@h1,/d", "empty place"),
            // A password with a slash, which must be written as %2F.
            ("postgres://ann:x,hunter2:y/z@h/d?user=ann", "port"),
            ("postgres://ann:x:hunter2,y/z@h/d?user=ann", "no host"),
            ("postgres://ann:1,[hunter2]x/z@h/d?user=ann", "port"),
            ("postgres://ann:hunter2@h1,h2:0/d", "port"),
        ] {
            let message = Database::from_url("default", text).expect_err(text);
            assert!(message.contains(hint), "{text}: {message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
}
