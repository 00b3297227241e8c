use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::cluster::{Network, Options, Storage};

/// Modest settings, as the server shares its machine with the user's work.
const MODEST: [&str; 6] = [
    "shared_buffers=64MB",
    "max_wal_size=256MB",
    "min_wal_size=32MB",
    "logging_collector=off",
    "log_destination=stderr",
    "jit=off",
];

/// Nothing is flushed to disk: a crash of the machine may destroy the cluster.
const UNSAFE_BUT_FAST: [&str; 3] = [
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
];

/// Where this server listens.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) socket_dir: &'a Path,
    pub(crate) port: u16,
}

/// The files of the server's TLS identity.
pub(crate) struct IdentityFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// Lists the server's settings as `name=value`. If a name occurs twice, PostgreSQL uses the last.
pub(crate) fn settings(
    options: &Options,
    place: Place<'_>,
    identity: Option<IdentityFiles>,
) -> Vec<OsString> {
    let mut settings: Vec<OsString> = MODEST.map(OsString::from).into();
    if options.storage == Storage::Throwaway {
        settings.extend(UNSAFE_BUT_FAST.map(OsString::from));
    }
    let addresses = match options.network {
        Network::SocketOnly => "",
        Network::Loopback => "127.0.0.1",
    };
    settings.push(with_path(
        "unix_socket_directories=",
        &listed(place.socket_dir),
    ));
    settings.push("unix_socket_permissions=0700".into());
    settings.push(format!("port={}", place.port).into());
    settings.push(format!("listen_addresses={addresses}").into());
    if let Some(files) = identity {
        settings.push("ssl=on".into());
        settings.push(with_path("ssl_cert_file=", files.certificate.as_os_str()));
        settings.push(with_path("ssl_key_file=", files.key.as_os_str()));
    }
    settings.extend(
        options
            .settings
            .iter()
            .map(|(name, value)| format!("{name}={value}").into()),
    );
    settings
}

fn with_path(name: &str, path: &std::ffi::OsStr) -> OsString {
    let mut setting = OsString::from(name);
    setting.push(path);
    setting
}

/// A path as one element of a list setting: in double quotes, with quotes in it doubled.
fn listed(path: &Path) -> OsString {
    let mut quoted = vec![b'"'];
    for byte in path.as_os_str().as_bytes() {
        if *byte == b'"' {
            quoted.push(b'"');
        }
        quoted.push(*byte);
    }
    quoted.push(b'"');
    OsString::from_vec(quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_folder_with_odd_characters_stays_one_folder() {
        assert_eq!(
            listed(Path::new(r#"/a, b/"c""#)),
            OsString::from(r#""/a, b/""c""""#)
        );
    }
}
