//! The folder that the document's commands run in.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use end_to_end::binaries::{Said, binary, run};
use end_to_end::certificate::{self, Pair};
use end_to_end::{Database, Server, Token};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The token that the document uses throughout; the file below holds its hash.
pub(crate) const DOCUMENT_TOKEN: &str = "O9ms9jqTfUdy-DIjvpFWeqd_yH_NEj7me0mgOnOjGdQ=";

/// The document's file format, with the hash of the document's token and a date in the future.
pub(crate) const DOCUMENT_FILE: &str = r#"tokens:
  - id: token-1234567890
    hash: b3f805357b2c1cb78d50a2a109198d184b7c763b68a61e2891ab36260ebac63f
    note: Production API
    created_at: "2024-10-30T10:15:30Z"
    expires_at: "2095-10-30T10:15:30Z"
"#;

pub(crate) struct World {
    folder: TempDir,
    pub(crate) database: Database<'static>,
    pub(crate) staging: Database<'static>,
    pub(crate) pair: Pair,
    secrets: Vec<String>,
}

impl World {
    /// A folder with `bin/pgedge-postgres-mcp`, its default configuration beside it, a certificate, two databases.
    pub(crate) fn new() -> Self {
        let world = Self {
            folder: TempDir::with_prefix("mcp-document-").unwrap(),
            database: Database::fresh(),
            staging: Database::fresh(),
            pair: certificate::for_localhost(),
            secrets: vec![DOCUMENT_TOKEN.into()],
        };
        fs::create_dir(world.path("bin")).unwrap();
        // A file of its own, not a symbolic link: default files are looked for beside the binary.
        let program = world.path("bin/pgedge-postgres-mcp");
        if fs::hard_link(binary("mcp-server"), &program).is_err() {
            fs::copy(binary("mcp-server"), &program).unwrap();
        }
        fs::write(world.path("cert.pem"), &world.pair.certificate).unwrap();
        fs::write(world.path("key.pem"), &world.pair.key).unwrap();
        fs::set_permissions(world.path("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
        world.configure(&json!({}));
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The token file that is used when nothing names another.
    pub(crate) fn token_file(&self) -> PathBuf {
        self.path("bin/pgedge-postgres-mcp-tokens.yaml")
    }

    pub(crate) fn databases(&self) -> Value {
        json!([
            self.database.entry("production", &self.database.reader),
            self.staging.entry("staging", &self.staging.reader),
        ])
    }

    /// Writes the default configuration: an address that is free, the two databases, and `http` as given.
    pub(crate) fn configure(&self, http: &Value) {
        let mut config =
            json!({ "http": { "address": "localhost:0" }, "databases": self.databases() });
        for (key, value) in http.as_object().unwrap() {
            config["http"][key] = value.clone();
        }
        fs::write(
            self.path("bin/pgedge-postgres-mcp.yaml"),
            format!("{config:#}\n"),
        )
        .unwrap();
    }

    pub(crate) fn write_token_file(&self, content: &str) {
        fs::write(self.token_file(), content).unwrap();
        fs::set_permissions(self.token_file(), fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub(crate) fn read_token_file(&self) -> String {
        fs::read_to_string(self.token_file()).unwrap()
    }

    /// A shell line, in this folder, with nothing of our environment; `curl`, Python and Node trust the certificate.
    fn shell(&self, line: &str) -> Command {
        let mut command = Command::new("bash");
        let certificate = self.path("cert.pem");
        command
            .args(["-c", line])
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.folder.path())
            .env("CURL_CA_BUNDLE", &certificate)
            .env("REQUESTS_CA_BUNDLE", &certificate)
            .env("NODE_EXTRA_CA_CERTS", &certificate)
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, line: &str) -> Said {
        run(self.shell(line))
    }

    /// Runs a line that must succeed, and returns its standard output.
    pub(crate) fn output(&self, line: &str) -> String {
        let said = self.run(line);
        assert_eq!(said.code, 0, "{line}\n{}{}", said.stdout, said.stderr);
        said.stdout
    }

    /// Runs a line that adds a token.
    pub(crate) fn add(&mut self, line: &str) -> Token {
        let token = Token::read(&self.output(line));
        self.secrets.push(token.secret.clone());
        token
    }

    /// Starts a server with a line of the document.
    pub(crate) fn serve(&self, line: &str) -> Server {
        let mut secrets = self.secrets.clone();
        secrets.extend(
            [&self.database, &self.staging].map(|database| database.reader.password.clone()),
        );
        Server::start(self.shell(&format!("exec {line}")), secrets)
    }

    /// Replaces the document's port and token with the server's port and the given token.
    pub(crate) fn filled(&self, text: &str, server: &Server, token: &str) -> String {
        text.replace(
            "localhost:8080",
            &format!("localhost:{}", server.address().port()),
        )
        .replace("YOUR_TOKEN_HERE", token)
    }
}

pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
