use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::binaries::{Said, command, run};
use crate::server::Server;

/// A token that was just made.
#[derive(Clone, Debug)]
pub struct Token {
    /// What a client presents.
    pub secret: String,
    /// Its id.
    pub id: String,
    /// The first digits of its hash, enough to remove it by.
    pub hash_prefix: String,
}

/// A configuration and a token file, in a folder that is deleted with the value.
pub struct Setup {
    folder: TempDir,
    /// The configuration as it will be written: in JSON, which is valid YAML.
    pub config: Value,
    tokens: Vec<Token>,
}

impl Setup {
    /// Configures HTTP on a free port of 127.0.0.1, with the given entries of `databases:`.
    pub fn new(databases: impl IntoIterator<Item = Value>) -> Self {
        let folder = TempDir::with_prefix("mcp-setup-").expect("a temporary folder");
        let config = json!({
            "http": {
                "enabled": true,
                "address": "127.0.0.1:0",
                "auth": { "enabled": true, "token_file": folder.path().join("tokens.yaml") },
            },
            "databases": databases.into_iter().collect::<Vec<_>>(),
        });
        Self {
            folder,
            config,
            tokens: Vec::new(),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The token file.
    pub fn token_file(&self) -> PathBuf {
        self.path().join("tokens.yaml")
    }

    /// Writes the configuration, and returns the file's path.
    pub fn config_file(&self) -> PathBuf {
        let path = self.path().join("config.yaml");
        fs::write(&path, format!("{:#}\n", self.config)).expect("the folder is ours");
        path
    }

    /// Writes a file in the folder, and returns its path.
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, content).expect("the folder is ours");
        path
    }

    /// A command of `mcp-server` or `mcp-token` with this configuration.
    pub fn command(&self, binary: &str, arguments: &[&str]) -> Command {
        let mut command = command(binary, self.path());
        command
            .args(arguments)
            .arg("--config")
            .arg(self.config_file());
        command
    }

    /// Runs `mcp-token` with this configuration.
    pub fn mcp_token(&self, arguments: &[&str]) -> Said {
        run(self.command("mcp-token", arguments))
    }

    /// Makes a token for the first database.
    pub fn add_token(&mut self) -> Token {
        self.add_token_with(&["--expiry", "never"])
    }

    /// Makes a token for a database.
    pub fn add_token_for(&mut self, database: &str) -> Token {
        self.add_token_with(&["--expiry", "never", "--database", database])
    }

    /// Makes a token with the given options of `mcp-token add`.
    pub fn add_token_with(&mut self, options: &[&str]) -> Token {
        let said = self.mcp_token(&[&["add"], options].concat());
        assert_eq!(said.code, 0, "{}", said.stderr);
        let token = Token::read(&said.stdout);
        self.tokens.push(token.clone());
        token
    }

    /// Removes a token.
    pub fn remove_token(&self, token: &Token) {
        let said = self.mcp_token(&["remove", &token.id]);
        assert_eq!(said.code, 0, "{}", said.stderr);
    }

    /// Replaces the token file by renaming a new one into its place.
    pub fn replace_tokens(&self, text: &str) {
        let part = self.file("tokens.part", text);
        fs::set_permissions(&part, fs::Permissions::from_mode(0o600)).expect("the file is ours");
        fs::rename(part, self.token_file()).expect("the folder is ours");
    }

    /// Makes a token expire at a Unix time, in seconds, which may be sooner than `mcp-token` accepts.
    pub fn expire_at(&self, token: &Token, second: u64) {
        let moment = OffsetDateTime::from_unix_timestamp(second.cast_signed())
            .expect("a year of four digits");
        let moment = moment.format(&Rfc3339).expect("a year of four digits");
        let text = fs::read_to_string(self.token_file()).expect("the file is there");
        let (before, entry) = text.split_once(&token.id).expect("the token is in it");
        let (facts, rest) = entry.split_once("expires_at:").expect("it has an end");
        let (_, rest) = rest
            .split_once('\n')
            .expect("the file ends with a line break");
        self.replace_tokens(&format!(
            "{before}{}{facts}expires_at: \"{moment}\"\n{rest}",
            token.id
        ));
    }

    /// Starts the server.
    pub fn start(&self) -> Server {
        Server::start(self.command("mcp-server", &[]), self.secrets())
    }

    /// Starts the server with further arguments.
    pub fn start_with(&self, arguments: &[&str]) -> Server {
        Server::start(self.command("mcp-server", arguments), self.secrets())
    }

    /// Everything that no log may hold.
    fn secrets(&self) -> Vec<String> {
        let databases = self.config["databases"].as_array().into_iter().flatten();
        let passwords = databases.filter_map(|database| database["password"].as_str());
        let tokens = self.tokens.iter().map(|token| token.secret.as_str());
        passwords.chain(tokens).map(str::to_owned).collect()
    }
}

impl Token {
    /// Reads what `mcp-token add` printed.
    pub fn read(printed: &str) -> Self {
        let fact = |name: &str| {
            printed
                .lines()
                .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'))
                .unwrap_or_else(|| panic!("no {name:?} in {printed}"))
                .trim()
        };
        Self {
            secret: fact("Token").to_owned(),
            id: fact("ID").to_owned(),
            hash_prefix: fact("Hash (first 12 chars)")
                .trim_end_matches('.')
                .to_owned(),
        }
    }
}
