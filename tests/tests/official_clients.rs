//! The official clients, from the first that spoke a revision to the newest, against the real server.
#![allow(clippy::unwrap_used)]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use end_to_end::{Database, Server, Setup, Token, binaries};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Each client, and the revision that it negotiates with the server.
const LADDER: &[(Client, &str)] = &[
    (Client::TypeScript1("sdk-1.10.2"), "2024-11-05"),
    (Client::TypeScript1("sdk-1.11.5"), "2025-03-26"),
    (Client::TypeScript1("sdk-1.13.3"), "2025-06-18"),
    (Client::TypeScript1("sdk-1.32.2"), "2025-11-25"),
    (Client::TypeScript2("legacy"), "2025-11-25"),
    (Client::TypeScript2("auto"), "2026-07-28"),
    (Client::TypeScript2("2026-07-28"), "2026-07-28"),
    (Client::Python1("python-mcp-1.8.1"), "2024-11-05"),
    (Client::Python1("python-mcp-1.12.4"), "2025-06-18"),
    (Client::Python1("python-mcp-1.30.0"), "2025-11-25"),
    (Client::Python2("legacy"), "2025-11-25"),
    (Client::Python2("auto"), "2026-07-28"),
    (Client::Python2("2026-07-28"), "2026-07-28"),
    (Client::Rust("legacy"), "2025-11-25"),
    (Client::Rust("auto"), "2026-07-28"),
    (Client::Rust("modern"), "2026-07-28"),
];

/// A client, by its package or by the mode that it runs in.
#[derive(Clone, Copy, Debug)]
enum Client {
    TypeScript1(&'static str),
    TypeScript2(&'static str),
    Python1(&'static str),
    Python2(&'static str),
    Rust(&'static str),
}

/// Where `./run test` has installed the clients.
fn installed() -> PathBuf {
    std::env::var_os("END_TO_END_CLIENTS").map_or_else(
        || binaries::repository().join("target/tools/clients"),
        PathBuf::from,
    )
}

/// The programs that drive the TypeScript clients, beside the packages that they import.
static PROGRAMS: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = TempDir::with_prefix("mcp-clients-").unwrap();
    let packages = installed().join("node_modules");
    std::os::unix::fs::symlink(packages, folder.path().join("node_modules")).unwrap();
    for name in ["typescript_1.mjs", "typescript_2.mjs"] {
        std::fs::copy(source(name), folder.path().join(name)).unwrap();
    }
    folder
});

fn source(name: &str) -> PathBuf {
    binaries::repository().join("tests/clients").join(name)
}

impl Client {
    fn command(self) -> Command {
        match self {
            Client::TypeScript1(package) => node("typescript_1.mjs", &[package]),
            Client::TypeScript2(mode) => node("typescript_2.mjs", &[mode]),
            Client::Python1(package) => python(package, "python_1.py", &[]),
            Client::Python2(mode) => python("python-mcp-2.3.0", "python_2.py", &[mode]),
            Client::Rust(mode) => {
                let program = installed().join("rmcp/debug/rmcp-client");
                let mut command = limited(existing(&program));
                command.arg(mode);
                command
            }
        }
    }

    /// Runs the client and returns what it saw.
    fn run(self, transport: &[&str]) -> Value {
        let output = self.command().args(transport).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let seen = said
            .lines()
            .last()
            .and_then(|line| serde_json::from_str(line).ok());
        match seen {
            Some(seen) if output.status.success() => seen,
            _ => panic!(
                "{self:?} failed: {said}{}",
                String::from_utf8_lossy(&output.stderr)
            ),
        }
    }
}

/// A command with a timeout of 120 seconds: a client that waits in vain for a response hangs.
fn limited(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("timeout");
    command.arg("120").arg(program);
    command
}

fn node(program: &str, arguments: &[&str]) -> Command {
    existing(&installed().join("node_modules"));
    let mut command = limited("node");
    command.arg(PROGRAMS.path().join(program)).args(arguments);
    command
}

fn python(package: &str, program: &str, arguments: &[&str]) -> Command {
    let python = std::env::var("END_TO_END_PYTHON").unwrap_or_else(|_| "python3".into());
    let mut command = limited(&python);
    command
        .env("PYTHONPATH", existing(&installed().join(package)))
        .arg(source(program))
        .args(arguments);
    command
}

fn existing(path: &Path) -> &Path {
    assert!(
        path.exists(),
        "there is no {}; run `./run test`, which installs it",
        path.display()
    );
    path
}

fn check(client: Client, revision: &str, seen: &Value) {
    assert_eq!(seen["revision"], revision, "{client:?}: {seen}");
    let tools = seen["tools"].as_array().unwrap();
    assert!(
        tools.contains(&json!("query_database")),
        "{client:?}: {seen}"
    );
    assert!(
        seen["text"].as_str().unwrap().contains("42"),
        "{client:?}: {seen}"
    );
    assert_eq!(
        seen["failed"], true,
        "{client:?} took a failed query for a good one: {seen}"
    );
    let rows = &seen["structured"]["rows"];
    // Structured results came with 2025-06-18.
    let expected = if revision < "2025-06-18" {
        Value::Null
    } else {
        json!([[42]])
    };
    assert_eq!(*rows, expected, "{client:?}: {seen}");
}

fn serve() -> (Database<'static>, Setup, Server, Token) {
    let database = Database::fresh();
    let mut setup = Setup::new([database.entry("shop", &database.reader)]);
    let token = setup.add_token();
    let server = setup.start();
    (database, setup, server, token)
}

#[test]
fn each_client_agrees_on_its_revision_and_queries_over_http() {
    let (_database, _setup, server, token) = serve();
    let url = format!("http://{}/mcp/v1", server.address());
    for (client, revision) in LADDER {
        check(
            *client,
            revision,
            &client.run(&["http", &url, &token.secret]),
        );
    }
}

#[test]
fn each_client_agrees_on_its_revision_and_queries_over_standard_input_and_output() {
    let database = Database::fresh();
    let mut setup = Setup::new([database.entry("shop", &database.reader)]);
    setup.config["http"]["enabled"] = json!(false);
    let (server, config) = (binaries::binary("mcp-server"), setup.config_file());
    let transport = [
        "stdio",
        server.to_str().unwrap(),
        "-config",
        config.to_str().unwrap(),
    ];
    for (client, revision) in LADDER {
        check(*client, revision, &client.run(&transport));
    }
}

#[test]
fn a_client_with_a_wrong_token_is_told_so_and_does_not_hang() {
    let (_database, _setup, server, _) = serve();
    let url = format!("http://{}/mcp/v1", server.address());
    for (client, told) in [
        (Client::TypeScript1("sdk-1.32.2"), "unauthorized"),
        (Client::TypeScript2("auto"), "unauthorized"),
        // It does not know errors without an id, and says only that there was one.
        (Client::Python2("auto"), "server returned an error response"),
        (Client::Rust("auto"), "unauthorized"),
    ] {
        let output = client
            .command()
            .args(["http", &url, "no-such-token"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
        assert!(!output.status.success(), "{client:?}");
        assert!(said.contains(told), "{client:?}: {said}");
    }
}
