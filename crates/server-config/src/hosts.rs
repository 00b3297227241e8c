//! Several hosts in one text, such as `db1,db2:5433,[::1]:5434`.

use std::net::Ipv6Addr;

use crate::Password;

/// A host and its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Name or address.
    pub name: String,
    /// Port.
    pub port: u16,
    /// The password there, if known.
    pub password: Option<Password>,
}

/// Which of several servers is wanted, as in libpq's `target_session_attrs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetSession {
    /// The first that accepts the connection.
    #[default]
    Any,
    /// One whose transactions may write.
    ReadWrite,
    /// One whose transactions may not write.
    ReadOnly,
    /// One that is not a standby.
    Primary,
    /// One that is a standby.
    Standby,
    /// A standby, or any if there is none.
    PreferStandby,
}

/// The words that `target_session_attrs` takes, as libpq spells them, in the order of [`KINDS`].
pub(crate) const TARGET_SESSIONS: &[&str] = &[
    "any",
    "read-write",
    "read-only",
    "primary",
    "standby",
    "prefer-standby",
];

const KINDS: [TargetSession; TARGET_SESSIONS.len()] = [
    TargetSession::Any,
    TargetSession::ReadWrite,
    TargetSession::ReadOnly,
    TargetSession::Primary,
    TargetSession::Standby,
    TargetSession::PreferStandby,
];

impl TargetSession {
    /// Reads libpq's word for it.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        let place = TARGET_SESSIONS.iter().position(|known| *known == word)?;
        Some(KINDS[place])
    }
}

/// Splits a text into hosts; one without a port gets `port`. A socket folder must be the only host.
pub(crate) fn read(text: &str, port: u16) -> Result<Vec<Host>, String> {
    if text.starts_with('/') && !text.contains(',') {
        return Ok(vec![Host {
            name: text.to_owned(),
            port,
            password: None,
        }]);
    }
    let count = text.split(',').count();
    let hosts = text.split(',').enumerate().map(|(index, one)| {
        // The host is not quoted: if a URL's password contains a `/`, part of it ends up here.
        host(one.trim(), port).map_err(|message| match count {
            1 => message.to_owned(),
            _ => format!("{message} (host {} of {count})", index + 1),
        })
    });
    hosts.collect()
}

fn host(text: &str, default: u16) -> Result<Host, &'static str> {
    let (name, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => (address, None),
        Some((address, port)) => {
            let port = port.strip_prefix(':').ok_or(
                "has something else than a port behind an address; write it as [::1]:5433",
            )?;
            (address, Some(port))
        }
        None if text.matches(':').count() == 1 => {
            let (name, port) = text.split_once(':').unwrap_or((text, ""));
            (name, Some(port))
        }
        None => (text, None),
    };
    if name.is_empty() {
        return Err("has an empty place among its hosts");
    }
    if name.starts_with('/') {
        return Err("names the folder of a socket beside other hosts; it stands alone");
    }
    if name.contains(['[', ']', ':']) && !is_version_6(name) {
        return Err("has something that is no host; write db1:5433, or [::1]:5433");
    }
    let port = match port {
        None => default,
        Some(port) => port
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or("has a wrong port; it is a number from 1 to 65535")?,
    };
    Ok(Host {
        name: name.to_owned(),
        port,
        password: None,
    })
}

/// Says whether a name is an IPv6 address, which may have a zone (RFC 4007, section 11).
fn is_version_6(name: &str) -> bool {
    let (address, zone) = name.split_once('%').unwrap_or((name, "any"));
    address.parse::<Ipv6Addr>().is_ok() && !zone.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_ports_of_their_own_or_the_common_one() {
        let hosts = read("db1, db2:5433,[::1]:5434,fe80::1", 5000).expect("valid");
        let shown: Vec<_> = hosts.iter().map(|h| (h.name.as_str(), h.port)).collect();
        assert_eq!(
            shown,
            [
                ("db1", 5000),
                ("db2", 5433),
                ("::1", 5434),
                ("fe80::1", 5000)
            ]
        );
        assert_eq!(read("db1:5433", 1).expect("valid")[0].port, 5433);
        assert_eq!(read("::1", 5433).expect("valid")[0].port, 5433);
        assert_eq!(read("[fe80::1%eth0]:9", 1).expect("valid")[0].port, 9);
        assert_eq!(read("[db1]:9", 1).expect("valid")[0].name, "db1");
        assert_eq!(read("/var/run", 1).expect("valid")[0].name, "/var/run");
    }

    #[test]
    fn what_names_no_host_is_refused() {
        for text in [
            "a,,b",
            "a:0,b",
            "a:x,b",
            "a:,b",
            "/tmp,b",
            ",",
            "a:70000,b",
            "[::1]5433",
            "[::1]:",
            "a,[::1] :5433",
            "[::1",
            "::1]:5433",
            "[::1:5433",
            "db]",
            "db1:5433:5434",
            "[db1:x]",
            "[::1%]",
        ] {
            assert!(read(text, 5432).is_err(), "{text}");
        }
    }

    #[test]
    fn each_word_means_what_it_says() {
        for (word, kind) in TARGET_SESSIONS.iter().zip(KINDS) {
            let read = TargetSession::from_word(word).expect("it is in the table");
            assert_eq!(read, kind);
            assert_eq!(format!("{kind:?}").to_lowercase(), word.replace('-', ""));
        }
        assert_eq!(TargetSession::from_word("Any"), None);
    }
}
