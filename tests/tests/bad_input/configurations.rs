//! Configuration files.

use std::fs;
use std::time::{Duration, Instant};

use end_to_end::binaries::{Said, command, run};
use tempfile::TempDir;

fn start_with(text: &str) -> Said {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("config.yaml");
    fs::write(&path, text).unwrap();
    let mut server = command("mcp-server", folder.path());
    server.arg("--config").arg(path);
    run(server)
}

#[test]
fn every_mistake_is_named_with_its_place_and_its_fix() {
    for (text, words) in [
        (
            "http: {adress: \"localhost:0\"}",
            &["http.adress", "`address`"][..],
        ),
        ("htpp: {}", &["htpp", "`http`"]),
        (
            "http: {auth: {tokenfile: x}}",
            &["http.auth.tokenfile", "`token_file`"],
        ),
        (
            "databases: [{name: a, user: x, pasword: y}]",
            &["pasword", "`password`"],
        ),
        ("http: [1]", &["http", "map"]),
        ("http: {enabled: maybe}", &["http.enabled", "maybe"]),
        (
            "http: {address: nonsense}",
            &["http.address", "localhost:8080"],
        ),
        (
            "http: {max_body_bytes: -1}",
            &["http.max_body_bytes", "whole number"],
        ),
        (
            "http: {header_timeout: soon}",
            &["http.header_timeout", "30s"],
        ),
        (
            "limits: {statement_timeout: 0}",
            &["limits.statement_timeout"],
        ),
        ("databases: 7", &["databases", "list"]),
        ("databases: [{name: a}]", &["databases[0]", "user"]),
        ("databases: [{user: x}]", &["databases[0]", "name"]),
        (
            "databases: [{name: a, user: x, port: 99999}]",
            &["port", "65535", "99999"],
        ),
        (
            "databases: [{name: a, user: x, sslmode: maybe}]",
            &["sslmode", "verify-full"],
        ),
        (
            "databases: [{name: a, user: x, sslrootcert: /nonexistent/ca.pem, sslmode: verify-full}]",
            &["/nonexistent/ca.pem"],
        ),
        (
            "databases: [{name: a, user: x}, {name: a, user: y}]",
            &["databases[1]", "a"],
        ),
        (
            "databases: [{name: a, user: x, pool_max_conns: 1, pool_min_conns: 5}]",
            &["pool_m"],
        ),
        (
            "http: {enabled: true, address: 'localhost:0'}",
            &["no database", "DATABASE_URL"],
        ),
        (
            "{databases: [{name: a, user: x}], tools: {enabled: [no_such_tool]}}",
            &["tools.enabled", "\"no_such_tool\""],
        ),
        (
            "http: {enabled: true}\nhttp: {enabled: false}",
            &["http", "duplicate"],
        ),
        ("http: {enabled: [}", &["line 1", "YAML"]),
        ("only text", &["map"]),
        ("- a\n- list", &["map"]),
        ("", &["no database"]),
        ("\0\0\0", &["config.yaml"]),
    ] {
        let said = start_with(text);
        assert_eq!(said.code, 1, "{text}: {}", said.stderr);
        for word in words {
            assert!(
                said.stderr.contains(word),
                "{text}: {word:?} is not in: {}",
                said.stderr
            );
        }
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let said = start_with(
        "http: {adress: x, max_body_bytes: -1}\ndatabases: [{name: a, port: 0, user: x}, {name: b, sslmode: maybe, user: x}]",
    );
    for word in ["adress", "max_body_bytes", "port", "sslmode"] {
        assert!(
            said.stderr.contains(word),
            "{word:?} is not in: {}",
            said.stderr
        );
    }
}

#[test]
fn a_password_is_never_repeated() {
    for text in [
        "databases: [{name: a, user: x, password: [canary-secret]}]",
        "databases: [{name: a, user: x, password: {canary-secret: 1}}]",
        "databases: [{name: a, user: x, port: zero, password: canary-secret}]",
        "databases: [{name: a, user: x, password: canary-secret, password: canary-secret}]",
        "databases: [{name: a, user: x, password: \"canary-secret}]",
    ] {
        let said = start_with(text);
        assert_eq!(said.code, 1, "{text}");
        assert!(
            !said.stderr.contains("canary-secret"),
            "{text}: {}",
            said.stderr
        );
    }
}

#[test]
fn a_bomb_of_aliases_is_refused_at_once() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..30 {
        let alias = format!("*a{}", level - 1);
        bomb.push_str(&format!(
            "a{level}: &a{level} [{}]\n",
            [alias.as_str(); 9].join(", ")
        ));
    }
    let nested = "[".repeat(500_000);
    // Built before time is measured.
    end_to_end::binaries::binary("mcp-server");
    for text in [bomb.as_str(), nested.as_str()] {
        let began = Instant::now();
        let said = start_with(text);
        assert_eq!(said.code, 1, "{}", said.stderr);
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "took {:?}",
            began.elapsed()
        );
    }
}
