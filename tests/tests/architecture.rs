//! Reads the workspace's metadata from Cargo, and fails on every dependency that the design does not have.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::process::Command;

use end_to_end::binaries::repository;
use serde_json::Value;

/// Which of our own crates may use which. A crate that is not named on the left stands alone.
const ARROWS: [(&str, &[&str]); 10] = [
    (
        "mcp-server",
        &[
            "audit-log",
            "authorities",
            "mcp-protocol",
            "mcp-token",
            "model-client",
            "pg-tools",
            "private-postgres",
            "server-config",
            "session-pool",
            "token-store",
        ],
    ),
    ("mcp-token", &["audit-log", "server-config", "token-store"]),
    ("mcp-protocol", &["networks"]),
    ("model-client", &["authorities", "resolver"]),
    ("server-config", &["networks"]),
    ("session-pool", &["authorities", "resolver"]),
    ("token-store", &["networks"]),
    (
        "pg-tools",
        &[
            "mcp-protocol",
            "model-client",
            "plain-question",
            "session-pool",
        ],
    ),
    // Stands for somebody else's program, as in docs/embedding.md.
    (
        "embedding",
        &["mcp-protocol", "pg-tools", "session-pool", "token-store"],
    ),
    (
        "end-to-end",
        &[
            "audit-log",
            "mcp-protocol",
            "mcp-server",
            "mcp-token",
            "model-client",
            "pg-tools",
            "private-postgres",
            "server-config",
            "session-pool",
            "token-store",
        ],
    ),
];

/// What the tests of any crate may use as well: a server to test against.
const TESTS_MAY_USE: &str = "private-postgres";

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(arguments)
        .current_dir(repository())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn packages() -> Vec<Value> {
    let metadata = cargo(&["metadata", "--locked", "--no-deps", "--format-version", "1"]);
    let mut metadata: Value = serde_json::from_str(&metadata).unwrap();
    serde_json::from_value(metadata["packages"].take()).unwrap()
}

fn is_allowed(from: &str, to: &str, kind: &Value) -> bool {
    let named = ARROWS
        .iter()
        .any(|(name, targets)| *name == from && targets.contains(&to));
    // A crate's tests may turn on its own features by depending on itself.
    let for_tests = kind == "dev" && (to == TESTS_MAY_USE || to == from);
    named || for_tests
}

#[test]
fn no_arrow_between_our_crates_leaves_the_design() {
    let packages = packages();
    let ours: BTreeSet<&str> = packages
        .iter()
        .filter_map(|package| package["name"].as_str())
        .collect();
    let mut others = Vec::new();
    for package in &packages {
        let from = package["name"].as_str().unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            let to = dependency["name"].as_str().unwrap();
            if ours.contains(to) && !is_allowed(from, to, &dependency["kind"]) {
                others.push(format!(
                    "{from} -> {to} ({})",
                    dependency["kind"].as_str().unwrap_or("normal")
                ));
            }
        }
    }
    assert!(others.is_empty(), "not in the design: {others:#?}");
}

#[test]
fn every_name_in_the_design_is_a_crate() {
    let packages = packages();
    let ours: BTreeSet<&str> = packages
        .iter()
        .filter_map(|package| package["name"].as_str())
        .collect();
    let named = ARROWS
        .iter()
        .flat_map(|(from, targets)| targets.iter().chain([from]));
    let unknown: Vec<_> = named.filter(|name| !ours.contains(*name)).collect();
    assert!(unknown.is_empty(), "no such crates: {unknown:?}");
}

/// The names of all packages that a package is built from, with the features that it enables itself.
fn built_from(package: &str) -> BTreeSet<String> {
    let tree = cargo(&[
        "tree",
        "--locked",
        "-p",
        package,
        "-e",
        "normal,build",
        "--prefix",
        "none",
        "-f",
        "{p}",
    ]);
    tree.lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn what_must_be_light_is_not_built_from_what_is_heavy() {
    for (package, absent) in [
        (
            "mcp-token",
            &["tokio", "hyper", "rustls", "tokio-postgres"][..],
        ),
        ("token-store", &["tokio", "hyper"]),
        ("audit-log", &["tokio", "hyper"]),
        ("server-config", &["tokio", "hyper", "clap"]),
        ("session-pool", &["hyper", "serde_json"]),
        ("mcp-protocol", &["tokio-postgres", "deadpool"]),
        ("plain-question", &["tokio", "tokio-postgres", "serde_json"]),
        ("model-client", &["tokio-postgres", "deadpool"]),
        ("private-postgres", &["tokio", "tokio-postgres"]),
    ] {
        let crates = built_from(package);
        let present: Vec<_> = absent
            .iter()
            .filter(|name| crates.contains(**name))
            .collect();
        assert!(present.is_empty(), "{package} is built from {present:?}");
    }
}

#[test]
fn every_direct_dependency_has_its_line_in_the_documentation() {
    let lines = std::fs::read_to_string(repository().join("docs/dependencies.md")).unwrap();
    let documented: BTreeSet<&str> = lines
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" |").next())
        .flat_map(|cell| cell.split([',', ' ', '`']))
        .collect();
    let packages = packages();
    let ours: BTreeSet<&str> = packages
        .iter()
        .filter_map(|package| package["name"].as_str())
        .collect();
    let used: BTreeSet<&str> = packages
        .iter()
        .flat_map(|package| package["dependencies"].as_array().unwrap())
        .filter_map(|dependency| dependency["name"].as_str())
        .filter(|name| !ours.contains(name))
        .collect();
    let missing: Vec<_> = used.difference(&documented).collect();
    assert!(
        missing.is_empty(),
        "no line in docs/dependencies.md for {missing:?}"
    );
}
