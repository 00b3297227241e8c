use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The oldest major version that is accepted: 13 and older no longer get fixes.
const OLDEST_MAJOR: u32 = 14;

/// Folders of system packages that hold one folder per major version, and the prefix of that folder's name.
const PACKAGE_ROOTS: [(&str, &str); 5] = [
    ("/usr/lib/postgresql", ""),          // Debian, Ubuntu
    ("/usr/libexec", "postgresql"),       // Alpine
    ("/usr", "pgsql-"),                   // PostgreSQL's own RPMs
    ("/opt/homebrew/opt", "postgresql@"), // Homebrew, Apple silicon
    ("/usr/local/opt", "postgresql@"),    // Homebrew, Intel
];

/// What the caller knows about where PostgreSQL's programs may be.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// The folder to use (by convention from `PG_BINDIR`); if given, no other is searched.
    pub bin_dir: Option<PathBuf>,
    /// A search path in the form of `PATH`.
    pub path: Option<OsString>,
}

/// A folder that holds `postgres` and `initdb` of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    bin_dir: PathBuf,
    major: u32,
}

/// Why no usable programs were found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramsError {
    /// Neither the search path nor the usual folders have server programs.
    #[error(
        "no PostgreSQL server programs found (postgres and initdb, {OLDEST_MAJOR} or newer): \
         `./run demo` installs them, or run `apt-get install postgresql`, or set PG_BINDIR to their folder, \
         or give a server that runs already with --database-url"
    )]
    Missing,
    /// The requested folder does not have them.
    #[error("{path} has no usable postgres and initdb: {reason}; correct PG_BINDIR or unset it", path = path.display())]
    Unusable {
        /// The requested folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl Programs {
    /// Finds the programs: in the requested folder, else in the first usable one on the path, else in the newest
    /// package.
    ///
    /// # Errors
    /// The requested folder is not usable, or there are no programs anywhere.
    pub fn find(search: &Search) -> Result<Self, ProgramsError> {
        if let Some(bin_dir) = &search.bin_dir {
            return Self::at(bin_dir).map_err(|reason| ProgramsError::Unusable {
                path: bin_dir.clone(),
                reason,
            });
        }
        let mut tried = HashSet::new();
        on_path(search)
            .into_iter()
            .chain(in_packages())
            .filter(|folder| tried.insert(folder.clone()))
            .find_map(|folder| Self::at(&folder).ok())
            .ok_or(ProgramsError::Missing)
    }

    /// The major version, such as 15.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The folder that holds the programs.
    pub fn bin_dir(&self) -> &Path {
        &self.bin_dir
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.bin_dir.join(name)
    }

    /// Checks that both programs exist (`pg_config` alone comes with client libraries) and run.
    fn at(bin_dir: &Path) -> Result<Self, String> {
        for name in ["postgres", "initdb"] {
            if !bin_dir.join(name).is_file() {
                return Err(format!("there is no {name}"));
            }
        }
        let bin_dir = bin_dir.canonicalize().map_err(|error| error.to_string())?;
        let major = major_of(&bin_dir.join("postgres"))?;
        if major < OLDEST_MAJOR {
            return Err(format!("version {major} is older than {OLDEST_MAJOR}"));
        }
        Ok(Self { bin_dir, major })
    }
}

/// The folders on the path, links followed: /usr/local/bin/postgres is often a link into a package's folder.
fn on_path(search: &Search) -> Vec<PathBuf> {
    let Some(path) = &search.path else {
        return Vec::new();
    };
    std::env::split_paths(path)
        .filter_map(|folder| folder.join("postgres").canonicalize().ok())
        .filter_map(|program| program.parent().map(Path::to_path_buf))
        .collect()
}

/// The folders of system packages, newest version first.
fn in_packages() -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = PACKAGE_ROOTS
        .iter()
        .flat_map(|(root, prefix)| versions_under(Path::new(root), prefix))
        .collect();
    found.sort_by_key(|(major, _)| std::cmp::Reverse(*major));
    found.into_iter().map(|(_, folder)| folder).collect()
}

fn versions_under(root: &Path, prefix: &str) -> Vec<(u32, PathBuf)> {
    let Ok(entries) = fs::read_dir(root) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let major = name.to_str()?.strip_prefix(prefix)?.parse().ok()?;
            let folder = entry.path();
            // Alpine has the programs directly in the folder, all others in `bin`.
            let bin = folder.join("bin");
            Some((major, if bin.is_dir() { bin } else { folder }))
        })
        .collect()
}

fn major_of(postgres: &Path) -> Result<u32, String> {
    let output = Command::new(postgres)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|error: io::Error| format!("postgres --version does not run ({error})"))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    parse_major(&printed).ok_or_else(|| format!("postgres --version printed {:?}", printed.trim()))
}

/// Parses the major version from `postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)` or `postgres (PostgreSQL)
/// 19beta1`.
fn parse_major(printed: &str) -> Option<u32> {
    let (_, version) = printed.split_once("(PostgreSQL) ")?;
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_major_version_is_read_from_every_form_that_is_printed() {
        for (printed, major) in [
            (
                "postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)\n",
                Some(15),
            ),
            ("postgres (PostgreSQL) 18.6\n", Some(18)),
            ("postgres (PostgreSQL) 19beta1\n", Some(19)),
            ("psql 15", None),
            ("postgres (PostgreSQL) devel", None),
            ("", None),
        ] {
            assert_eq!(parse_major(printed), major, "{printed:?}");
        }
    }

    #[test]
    fn a_folder_asked_for_by_name_is_never_replaced_by_another() {
        let empty = tempfile::tempdir().unwrap();
        let search = Search {
            bin_dir: Some(empty.path().into()),
            path: Some("/usr/lib/postgresql/15/bin:/usr/local/bin:/usr/bin".into()),
        };
        let error = Programs::find(&search).unwrap_err().to_string();
        assert!(error.contains("there is no postgres"), "{error}");
        assert!(error.contains("PG_BINDIR"), "{error}");
    }

    #[test]
    fn a_version_without_fixes_is_refused_and_named() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["postgres", "initdb"] {
            let program = folder.path().join(name);
            fs::write(&program, "#!/bin/sh\necho 'postgres (PostgreSQL) 12.22'\n").unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let search = Search {
            bin_dir: Some(folder.path().into()),
            path: None,
        };
        let error = Programs::find(&search).unwrap_err().to_string();
        assert!(error.contains("version 12 is older than 14"), "{error}");
    }

    #[test]
    fn the_message_for_missing_programs_names_every_way_out() {
        let message = ProgramsError::Missing.to_string();
        for way in [
            "./run demo",
            "apt-get install postgresql",
            "PG_BINDIR",
            "--database-url",
        ] {
            assert!(message.contains(way), "{way} is not in: {message}");
        }
    }
}
