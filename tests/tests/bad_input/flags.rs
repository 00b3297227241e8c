//! Command lines.

use end_to_end::binaries::{Said, run};
use end_to_end::{Database, Setup};

fn setup() -> Setup {
    let database = Database::fresh();
    Setup::new([database.entry("shop", &database.reader)])
}

fn check(said: &Said, line: &str, code: i32, words: &[&str]) {
    assert_eq!(said.code, code, "{line}: {}{}", said.stdout, said.stderr);
    assert_eq!(said.stdout, "", "{line} wrote to standard output");
    for word in words {
        assert!(
            said.stderr.contains(word),
            "{line}: {word:?} is not in: {}",
            said.stderr
        );
    }
}

#[test]
fn a_wrong_command_line_of_the_server_names_the_fix() {
    let setup = setup();
    for (line, code, words) in [
        ("-bogus", 2, &["-bogus"][..]),
        ("--bogus", 2, &["--bogus", "--help"]),
        ("-adr localhost:0", 2, &["--addr"]),
        ("extra", 2, &["extra"]),
        ("-http -addr", 2, &["--addr"]),
        (
            "-http -addr nonsense",
            1,
            &["http.address", "localhost:8080"],
        ),
        (
            "-http -addr localhost:99999",
            1,
            &["http.address", "localhost:99999"],
        ),
        ("-http -addr 8080", 1, &["http.address", ":PORT"]),
        ("-http -addr 192.0.2.1:0", 1, &["192.0.2.1", "-addr"]),
        ("-http -tls", 1, &["-cert FILE", "-key FILE"]),
        (
            "-http -tls -cert /nonexistent/c -key /nonexistent/k",
            1,
            &["/nonexistent/", "PEM"],
        ),
        (
            "-http -tls -cert /etc/passwd -key /etc/passwd",
            1,
            &["/etc/passwd"],
        ),
        (
            "-http -no-auth -addr 0.0.0.0:0",
            1,
            &["loopback", "-no-auth"],
        ),
        ("-add-token -list-tokens", 2, &["--list-tokens"]),
        ("-token-note x", 2, &["--add-token"]),
        ("-remove-token", 2, &["--remove-token"]),
    ] {
        let arguments: Vec<&str> = line.split(' ').collect();
        check(
            &run(setup.command("mcp-server", &arguments)),
            line,
            code,
            words,
        );
    }
}

#[test]
fn a_configuration_file_that_is_named_must_be_there() {
    for binary in ["mcp-server", "mcp-token"] {
        let setup = setup();
        let mut command = end_to_end::binaries::command(binary, setup.path());
        if binary == "mcp-token" {
            command.args(["add", "--expiry", "1d"]);
        }
        command.args(["--config", "/nonexistent/config.yaml"]);
        check(&run(command), binary, 1, &["/nonexistent/config.yaml"]);
    }
}

#[test]
fn a_wrong_command_line_of_the_token_tool_names_the_fix_and_changes_nothing() {
    let mut setup = setup();
    setup.add_token();
    let before = std::fs::read_to_string(setup.token_file()).unwrap();
    for (line, code, words) in [
        ("frobnicate", 2, &["frobnicate"][..]),
        ("add", 2, &["90d", "never"]),
        ("add --expiry 0d", 2, &["0d", "90d"]),
        ("add --expiry -1d", 2, &["-1d"]),
        ("add --expiry 1.5d", 2, &["1.5d", "whole number"]),
        ("add --expiry 1d12h", 2, &["1d12h"]),
        ("add --expiry 6m", 2, &["180d"]),
        ("add --expiry 99999999999y", 2, &["too far"]),
        (
            "add --expiry 99999999999999999999999h",
            2,
            &["99999999999999999999999h"],
        ),
        ("add --expiry 30", 2, &["30"]),
        ("add --expiry d", 2, &["90d"]),
        ("add --expiry ٣d", 2, &["90d"]),
        (
            "add --expiry 1d --database nowhere",
            1,
            &["nowhere", "shop"],
        ),
        (
            "add --expiry 1d --token-file /proc/none/tokens.yaml",
            1,
            &["/proc/none"],
        ),
        ("add --expiry 1d --token-file /etc", 1, &["/etc", "folder"]),
        ("remove", 2, &["ID"]),
        ("remove token-1", 1, &["no token"]),
        ("remove abc", 1, &["too few", "8"]),
        ("remove zzzzzzzz", 1, &["no token"]),
    ] {
        let arguments: Vec<&str> = line.split(' ').collect();
        check(&setup.mcp_token(&arguments), line, code, words);
    }
    assert_eq!(std::fs::read_to_string(setup.token_file()).unwrap(), before);
}

#[test]
fn help_and_version_are_no_errors() {
    let setup = setup();
    for (binary, argument) in [
        ("mcp-server", "--help"),
        ("mcp-server", "--version"),
        ("mcp-token", "--help"),
        ("mcp-token", "--version"),
    ] {
        let mut command = end_to_end::binaries::command(binary, setup.path());
        command.arg(argument);
        let said = run(command);
        assert_eq!(said.code, 0, "{binary} {argument}: {}", said.stderr);
        assert!(said.stdout.contains(binary), "{}", said.stdout);
    }
}

#[test]
fn output_that_cannot_be_written_leaves_no_token_behind() {
    let setup = setup();
    let mut command = setup.command("mcp-token", &["add", "--expiry", "1d"]);
    command.stdout(
        std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap(),
    );
    let said: Said = command
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap()
        .into();
    assert_eq!(said.code, 1, "{}", said.stderr);
    let list = setup.mcp_token(&["list"]);
    assert!(
        list.stdout.contains("Total tokens: 0") || list.stdout.contains("No "),
        "{}",
        list.stdout
    );
}
