//! Overwrites a token's hashes in place, for when there is no room for a new file.

use std::{
    fs::OpenOptions,
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
};

use rustix::fs::OFlags;

use super::{EditError, Identity, TokenFile, lock::Lock, read, save};
use crate::{secret::TokenHash, token::Token};

/// Hexadecimal digits of a hash.
const DIGITS: usize = 64;

impl EditError {
    /// Says whether there is no room for the new file: the disk or a quota is full.
    #[must_use]
    pub fn is_out_of_room(&self) -> bool {
        let is_full = |error: &io::Error| {
            matches!(
                error.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            )
        };
        matches!(self, Self::System { source, .. } if is_full(source))
    }
}

impl TokenFile {
    /// Has a token refused without a new file, for which a full disk has no room: the digits of its
    /// hashes are overwritten in place with those of hashes that no secret is known for. The entry
    /// stays until it is removed.
    ///
    /// This is the only change that is made in place. A crash in the middle of it leaves digits of
    /// both hashes, and no secret is known for such a mixture either.
    ///
    /// # Errors
    /// The file does not contain a hash of the token as given, or an error of locking, reading or writing it, as with
    /// [`TokenFile::edit`].
    pub fn spoil(&self, token: &Token) -> Result<(), EditError> {
        let real = save::resolve(&self.path)?;
        let _lock = Lock::acquire(&real)?;
        let system = |step| EditError::system(step, &real);
        let Some(content) = read(&self.path)? else {
            return Ok(());
        };
        let mut changes = Vec::new();
        for hash in token.hashes() {
            let places = places_of(&hash, &content.bytes);
            if places.is_empty() {
                return Err(system("find a hash in")(io::ErrorKind::NotFound.into()));
            }
            let other = TokenHash::nobodys().map_err(io::Error::other);
            let other = other.map_err(system("make another hash for"))?;
            changes.extend(places.into_iter().map(|place| (place, other.to_hex())));
        }
        let file = OpenOptions::new()
            .write(true)
            .custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed())
            .open(&real)
            .map_err(system("open"))?;
        let metadata = file.metadata().map_err(system("inspect"))?;
        if Identity::from(&metadata) != content.identity {
            return Err(EditError::Overtaken { path: real });
        }
        for (place, digits) in changes {
            file.write_all_at(digits.as_bytes(), place)
                .map_err(system("write over a hash in"))?;
        }
        file.sync_data().map_err(system("flush"))
    }
}

/// Finds the offsets of a hash's digits.
fn places_of(hash: &TokenHash, bytes: &[u8]) -> Vec<u64> {
    let digits = hash.to_hex();
    let is_it = |text: &[u8]| text.eq_ignore_ascii_case(digits.as_bytes());
    let texts = (0..).zip(bytes.windows(DIGITS));
    texts
        .filter(|(_, text)| is_it(text))
        .map(|(place, _)| place)
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use rustix::io::Errno;
    use time::OffsetDateTime;

    use super::*;

    fn error(errno: Errno) -> EditError {
        let source = io::Error::from_raw_os_error(errno.raw_os_error());
        EditError::system("write", "tokens.yaml".as_ref())(source)
    }

    #[test]
    fn a_full_disk_or_quota_has_no_room() {
        for (errno, expected) in [
            (Errno::NOSPC, true),
            (Errno::DQUOT, true),
            (Errno::ACCESS, false),
            (Errno::IO, false),
        ] {
            assert_eq!(error(errno).is_out_of_room(), expected, "{errno}");
        }
    }

    #[test]
    fn a_spoiled_token_is_refused_and_all_else_is_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.yaml");
        let hash = |secret: &str| TokenHash::of(secret).to_hex();
        let (now, before) = (hash("now").to_uppercase(), hash("before"));
        let text = format!(
            "# by hand\ntokens:\n  - id: leaked\n    hash: \"{now}\"\n    created_at: 2026-01-01T00:00:00Z\n    previous: {{hash: {before}, until: 2999-01-01T00:00:00Z}}\n  - id: other\n    hash: {other}\n    created_at: 2026-01-01T00:00:00Z\n",
            other = hash("other"),
        );
        fs::write(&path, &text).unwrap();
        let file = TokenFile::new(&path);
        let set = file.load().unwrap().set;
        let leaked = set.iter().find(|token| token.id.as_str() == "leaked");
        file.spoil(leaked.unwrap()).unwrap();

        let set = file.load().unwrap().set;
        let may_come = |secret| set.authenticate(secret, OffsetDateTime::UNIX_EPOCH).is_ok();
        assert_eq!(
            ["now", "before", "other"].map(may_come),
            [false, false, true]
        );
        let states = set
            .iter()
            .map(|token| (token.id.as_str(), token.is_spoiled()));
        assert!(states.eq([("leaked", true), ("other", false)]));
        let spoiled = set.iter().find(|token| token.id.as_str() == "leaked");
        let hashes: Vec<String> = spoiled
            .unwrap()
            .hashes()
            .map(|hash| hash.to_hex())
            .collect();
        let restored = fs::read_to_string(&path)
            .unwrap()
            .replace(&hashes[0], &now)
            .replace(&hashes[1], &before);
        assert_eq!(restored, text);

        let error = file.spoil(leaked.unwrap()).unwrap_err().to_string();
        assert!(error.contains("failed to find a hash in"), "{error}");
    }
}
