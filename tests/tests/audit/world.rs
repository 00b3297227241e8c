//! A server that keeps an audit log, and how it is read.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use end_to_end::binaries::Said;
use end_to_end::{Database, Server, Setup, Token};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Only a hang takes longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) database: Database<'static>,
    pub(crate) setup: Setup,
    pub(crate) token: Token,
}

impl World {
    pub(crate) fn new(audit: Value) -> Self {
        let database = Database::fresh();
        let mut setup = Setup::new([database.entry("shop", &database.reader)]);
        setup.config["audit"] = audit;
        setup.config["audit"]["file"] = json!(setup.path().join("audit.jsonl"));
        let token = setup.add_token();
        World {
            database,
            setup,
            token,
        }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.setup.path().join("audit.jsonl")
    }

    pub(crate) fn lines(&self) -> Vec<Value> {
        lines(&self.file())
    }

    pub(crate) fn verify(&self, arguments: &[&str]) -> Said {
        self.setup
            .mcp_token(&[&["audit", "verify"], arguments].concat())
    }

    pub(crate) fn assert_verified(&self) -> Said {
        let said = self.verify(&[]);
        assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
        said
    }
}

pub(crate) fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

pub(crate) fn of<'a>(lines: &'a [Value], event: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["event"] == event).collect()
}

/// Stops the server as an operator does, and returns the chain's last hash, which it logs.
pub(crate) fn stop(mut server: Server) -> String {
    server.signal(Signal::TERM);
    assert!(server.wait(LIMIT).unwrap().success());
    let told = server.log.wait_for("audit.jsonl ends with line");
    told.rsplit(' ').next().unwrap().to_owned()
}
