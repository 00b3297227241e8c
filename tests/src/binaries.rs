//! Finds the binaries under test, and runs their commands.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// The path of `mcp-server` or `mcp-token`, built from the current sources.
///
/// `END_TO_END_BINARIES` names a folder with binaries to use instead, for testing a release.
pub fn binary(name: &str) -> PathBuf {
    // A failed build is remembered as well, so that not every test tries it again.
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| match std::env::var_os("END_TO_END_BINARIES") {
        Some(folder) => Ok(folder.into()),
        None => build(),
    });
    let folder = folder.as_ref().unwrap_or_else(|error| panic!("{error}"));
    let path = folder.join(name);
    assert!(path.is_file(), "there is no {}", path.display());
    path
}

/// Builds with the profile, and into the folder, of this test's own executable; a no-op after `./run test`.
fn build() -> Result<PathBuf, String> {
    let this = std::env::current_exe().unwrap();
    let folder = this
        .ancestors()
        .nth(2)
        .expect("tests lie in target/PROFILE/deps");
    let profile = match folder.file_name().and_then(OsStr::to_str) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--locked", "--quiet", "--profile", profile])
        .args(["-p", "mcp-server", "-p", "mcp-token"])
        .current_dir(repository())
        .output()
        .expect("cargo runs");
    if output.status.success() {
        return Ok(folder.to_path_buf());
    }
    Err(format!(
        "cargo build: {}",
        String::from_utf8_lossy(&output.stderr)
    ))
}

/// The repository's top folder.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ has a parent")
}

/// A command of one of the binaries, with `PATH` and `HOME` as its only environment and no input.
pub fn command(name: &str, home: &Path) -> Command {
    let mut command = Command::new(binary(name));
    command
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", home)
        .current_dir(home)
        .stdin(Stdio::null());
    command
}

/// The exit code and the output of a finished command.
#[derive(Clone, Debug)]
pub struct Said {
    /// Its exit code; -1 when a signal ended it.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).expect("our output is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("our output is UTF-8"),
        }
    }
}

/// Runs a command to its end.
pub fn run(mut command: Command) -> Said {
    command.output().expect("the binary runs").into()
}
