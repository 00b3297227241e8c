//! When each token was last used, in a file of its own beside the token file.
//!
//! Nothing depends on it: a line that cannot be understood is left out, and a file that cannot be
//! read counts as empty.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ffi::OsString,
    fmt::Write,
    io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use time::OffsetDateTime;

use crate::{
    file::{self, EditError, LoadError, lock_beside, replace_beside},
    format::instant,
    token::TokenId,
};

/// How many characters of a client's name are kept.
const MAX_CLIENT: usize = 100;

/// The first line of the file: the names of the columns.
const HEAD: &str = "# id\tlast used\taddress\tcalls\trows\tclient";

/// How a token has been used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// When it was last used, in UTC.
    pub at: OffsetDateTime,
    /// From which address, if known.
    pub address: Option<IpAddr>,
    /// By which program, as it names itself.
    pub client: String,
    /// Tool calls so far.
    pub calls: u64,
    /// Rows returned by them so far.
    pub rows: u64,
}

/// The usage of all tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageLog(pub BTreeMap<TokenId, Usage>);

impl UsageLog {
    /// Returns the path of the usage file of a token file: `<token file>.usage`.
    #[must_use]
    pub fn path_for(token_file: &Path) -> PathBuf {
        let mut name: OsString = token_file.as_os_str().to_owned();
        name.push(".usage");
        PathBuf::from(name)
    }

    /// Reads the file; if there is none, or it cannot be read, nothing is known.
    #[must_use]
    pub fn load(path: &Path) -> Self {
        Self::read(path).unwrap_or_default()
    }

    fn read(path: &Path) -> io::Result<Self> {
        // Like the token file's, the path may lead to anything.
        let content = file::read(path).map_err(|error| match error {
            LoadError::Read { source, .. } => source,
            LoadError::NotAFile { kind, .. } => {
                io::Error::other(format!("it is {kind}, not a file; move it away"))
            }
            other => io::Error::other(other),
        })?;
        Ok(content.map_or_else(Self::default, |content| {
            Self::parse(&String::from_utf8_lossy(&content.bytes))
        }))
    }

    /// Adds what a token has done since: counts are summed, and the latest use replaces the earlier
    /// one.
    pub fn add(&mut self, id: TokenId, since: Usage) {
        match self.0.entry(id) {
            Entry::Vacant(vacant) => _ = vacant.insert(since),
            Entry::Occupied(mut occupied) => {
                let before = occupied.get_mut();
                let (calls, rows) = (before.calls, before.rows);
                if since.at >= before.at {
                    before.clone_from(&since);
                }
                before.calls = calls.saturating_add(since.calls);
                before.rows = rows.saturating_add(since.rows);
            }
        }
    }

    /// Adds this to the file's content, and drops tokens for which `is_known` returns false.
    ///
    /// # Errors
    /// The file cannot be locked, read or replaced; it is unchanged then.
    pub fn add_to(
        &self,
        path: &Path,
        is_known: impl Fn(&TokenId) -> bool,
    ) -> Result<(), EditError> {
        let _lock = lock_beside(path)?;
        let mut log = Self::read(path).map_err(EditError::system("read", path))?;
        for (id, since) in &self.0 {
            log.add(id.clone(), since.clone());
        }
        log.0.retain(|id, _| is_known(id));
        log.save(path)
    }

    /// Reads a file's text, line by line.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(entry).collect())
    }

    /// Replaces the file atomically, readable only by its owner.
    ///
    /// # Errors
    /// The system refused a step; the old file is still in place then.
    pub fn save(&self, path: &Path) -> Result<(), EditError> {
        replace_beside(path, self.to_text().as_bytes())
    }

    /// Writes the file's text. A time before the year 0 or after 9999 is written as the nearest one within.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = format!("{HEAD}\n");
        for (id, usage) in &self.0 {
            let address = usage
                .address
                .map_or("-".into(), |address| address.to_string());
            let client: String = usage.client.chars().take(MAX_CLIENT).collect();
            // Writing to a String cannot fail.
            let _ = writeln!(
                out,
                "{id}\t{}\t{address}\t{}\t{}\t{}",
                instant::write(usage.at),
                usage.calls,
                usage.rows,
                client.replace(char::is_control, " ")
            );
        }
        out
    }
}

fn entry(line: &str) -> Option<(TokenId, Usage)> {
    let mut columns = line.split('\t');
    let mut next = || columns.next();
    let id = next()?.parse().ok()?;
    let at = instant::parse(next()?).ok()?;
    let address = match next()? {
        "-" => None,
        address => Some(address.parse().ok()?),
    };
    let calls = next()?.parse().ok()?;
    let rows = next()?.parse().ok()?;
    let client = next()?.to_owned();
    let usage = Usage {
        at,
        address,
        client,
        calls,
        rows,
    };
    columns.next().is_none().then_some((id, usage))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn log() -> UsageLog {
        let usage = |client: &str| Usage {
            at: datetime!(2026-01-02 03:04:05 UTC),
            address: Some([10, 0, 0, 7].into()),
            client: client.into(),
            calls: 12,
            rows: 340,
        };
        let unknown = Usage {
            address: None,
            ..usage("")
        };
        UsageLog(BTreeMap::from([
            (TokenId::numbered(1), usage("cursor/1.9")),
            (TokenId::numbered(2), unknown),
        ]))
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = UsageLog::path_for(&folder.path().join("tokens.yaml"));
        assert_eq!(UsageLog::load(&path), UsageLog::default());
        log().save(&path).unwrap();
        assert_eq!(UsageLog::load(&path), log());
    }

    #[test]
    fn broken_lines_are_left_out_and_the_others_stay() {
        let mut text = log().to_text();
        text.push_str("token-3\tyesterday\t-\t1\t1\t\nnonsense\n\ntoken-4\t2026-01-02T03:04:05Z\t-\t-1\t1\tx\n");
        assert_eq!(UsageLog::parse(&text), log());
        assert_eq!(UsageLog::parse("\u{0}\u{fffd}"), UsageLog::default());
    }

    #[test]
    fn a_clients_name_cannot_forge_a_line() {
        let mut forged = log();
        let name = format!("a\tb\nc\r{}", "x".repeat(1_000));
        forged.0.get_mut(&TokenId::numbered(1)).unwrap().client = name;
        let read = UsageLog::parse(&forged.to_text());
        let client = &read.0[&TokenId::numbered(1)].client;
        assert!(client.starts_with("a b c x") && client.chars().count() == 100);
        assert_eq!(read.0.len(), 2);
    }

    #[test]
    fn what_was_done_since_is_added_to_the_file_and_the_latest_use_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = UsageLog::path_for(&folder.path().join("tokens.yaml"));
        let (one, gone) = (TokenId::numbered(1), TokenId::numbered(3));
        let mut since = log();
        since.0.insert(gone.clone(), since.0[&one].clone());
        let later = since.0[&one].at + time::Duration::DAY;
        since.0.get_mut(&one).unwrap().at = later;
        for times in 1..=2 {
            since.add_to(&path, |id| *id != gone).unwrap();
            let written = UsageLog::load(&path);
            assert_eq!(written.0.len(), 2);
            assert_eq!(
                (written.0[&one].calls, written.0[&one].at),
                (12 * times, later)
            );
        }
        let mut early = log();
        early.0.get_mut(&one).unwrap().client = "older".into();
        early.add_to(&path, |_| true).unwrap();
        let written = UsageLog::load(&path);
        assert_eq!((written.0[&one].calls, written.0[&one].at), (36, later));
        assert_ne!(written.0[&one].client, "older");
    }

    #[test]
    fn what_several_servers_add_at_once_is_all_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = UsageLog::path_for(&folder.path().join("tokens.yaml"));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..20).for_each(|_| log().add_to(&path, |_| true).unwrap()));
            }
        });
        assert_eq!(
            UsageLog::load(&path).0[&TokenId::numbered(1)].calls,
            12 * 80
        );
    }

    #[test]
    fn a_pipe_in_the_place_of_the_file_keeps_nobody_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("usage");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let (done, is_done) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let kept = log().add_to(&path, |_| true);
            done.send((
                UsageLog::load(&path),
                kept.map_err(|error| error.to_string()),
            ))
        });
        let (loaded, kept) = is_done
            .recv_timeout(std::time::Duration::from_secs(10))
            .expect("nobody has to write into it first");
        assert_eq!(loaded, UsageLog::default());
        assert!(kept.unwrap_err().contains("it is a pipe"));
    }

    #[test]
    fn a_file_that_cannot_be_read_now_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("usage");
        std::fs::create_dir(&path).unwrap();
        assert!(log().add_to(&path, |_| true).is_err());
        assert!(path.is_dir());
    }
}
