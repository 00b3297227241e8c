//! The real program, run on a folder of its own.
#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod terminal;

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
};

use token_store::{Secret, TokenFile, TokenSet};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_mcp-token");

/// A folder with a token file in it.
pub(crate) struct Bench {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) file: PathBuf,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens.yaml");
        Self { folder, file }
    }

    /// The program with these words and the token file, and with no configuration but what the test gives.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        self.wrapped(&[], words)
    }

    /// The same, started by another program, such as a tracer.
    pub(crate) fn wrapped(&self, wrapper: &[&str], words: &[&str]) -> Command {
        let mut line = wrapper.iter().chain([&PROGRAM]).chain(words);
        let mut command = Command::new(line.next().unwrap());
        command.args(line).arg("--token-file").arg(&self.file);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap());
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Adds a token and returns its text.
    pub(crate) fn add(&self) -> String {
        let output = self.run(&["add", "--note", "n", "--expiry", "90d"]);
        assert!(output.status.success(), "{}", stderr(&output));
        shown_token(&output).unwrap()
    }

    pub(crate) fn set(&self) -> Arc<TokenSet> {
        TokenFile::new(&self.file)
            .load()
            .expect("the file is whole")
            .set
    }

    pub(crate) fn ids(&self) -> HashSet<String> {
        self.set()
            .iter()
            .map(|token| token.id.to_string())
            .collect()
    }

    pub(crate) fn temporary_files(&self) -> usize {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let is_temporary = |path: PathBuf| path.extension().is_some_and(|end| end == "tmp");
        entries
            .filter(|entry| is_temporary(entry.as_ref().unwrap().path()))
            .count()
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// The token that an `add` has shown, if it came so far.
pub(crate) fn shown_token(output: &Output) -> Option<String> {
    let text = stdout(output);
    let line = text.lines().find_map(|line| line.strip_prefix("Token: "))?;
    Some(line.to_owned())
}

pub(crate) fn is_in(set: &TokenSet, token: &str) -> bool {
    set.get(&Secret::from(token.to_owned()).hash()).is_some()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}
