//! `mcp-server demo`: one command sets everything up, and removes it when it ends.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use end_to_end::binaries::{command, run};
use end_to_end::{Answer, Database, Server, programs, wait};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// A folder that PostgreSQL's own user can reach.
fn folder() -> TempDir {
    let folder = tempfile::Builder::new()
        .prefix("mcp-demo-")
        .tempdir_in("/tmp")
        .unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
    folder
}

fn demo(folder: &TempDir, options: &[&str]) -> Command {
    let mut command = command("mcp-server", folder.path());
    command
        .env("PG_BINDIR", programs().bin_dir())
        .arg("demo")
        .arg("--data")
        .arg(folder.path().join("data"))
        .args(options);
    command
}

fn start(folder: &TempDir, options: &[&str]) -> Server {
    let server = Server::start(demo(folder, options), vec![]);
    server.log.wait_for("Ctrl-C stops everything");
    server
}

/// The curl line that the demo printed, as somebody would paste it.
fn printed_curl(server: &Server) -> String {
    let log = server.log.to_string();
    let start = log
        .find("curl -s")
        .unwrap_or_else(|| panic!("no curl line in\n{log}"));
    let mut line = String::new();
    for part in log[start..].lines() {
        line.push_str(part);
        line.push('\n');
        if !part.ends_with('\\') {
            break;
        }
    }
    line
}

fn paste(line: &str) -> Value {
    let output = Command::new("bash").args(["-c", line]).output().unwrap();
    assert!(
        output.status.success(),
        "{line}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}\n{line}"))
}

/// Runs the printed line with another query in it.
fn ask(server: &Server, sql: &str) -> Answer {
    let line = printed_curl(server);
    let (before, rest) = line.split_once("\"query\":\"").unwrap();
    let (_, after) = rest.split_once('"').unwrap();
    Answer::read(&paste(&format!("{before}\"query\":\"{sql}\"{after}")))
}

/// PostgreSQL's processes whose working directory is in the demo's folder.
fn processes_in(folder: &Path) -> Vec<String> {
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| {
            fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
        })
        .map(|entry| fs::read_to_string(entry.path().join("comm")).unwrap_or_default())
        .filter(|name| name.starts_with("postgres"))
        .collect()
}

#[test]
fn the_printed_curl_line_works_when_it_is_pasted() {
    let folder = folder();
    let server = start(&folder, &[]);
    let answer = Answer::read(&paste(&printed_curl(&server)));
    assert!(!answer.is_error, "{}", answer.text);
    assert!(answer.text.lines().count() > 1, "{}", answer.text);
}

#[test]
fn the_demos_token_can_read_the_shop_and_nothing_more() {
    let folder = folder();
    let server = start(&folder, &[]);
    assert_eq!(
        ask(&server, "SELECT current_user").text,
        "current_user\nshop_reader"
    );
    assert_eq!(
        ask(
            &server,
            "SELECT count(*) FROM users WHERE active OR NOT active"
        )
        .text,
        "count\n1000"
    );
    let super_or_not = ask(
        &server,
        "SELECT rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = current_user",
    );
    assert_eq!(
        super_or_not.text,
        "rolsuper\trolcreaterole\trolcreatedb\nf\tf\tf"
    );
    assert!(ask(&server, "SELECT pg_read_file($$PG_VERSION$$)").is_error);
}

#[test]
fn ctrl_c_leaves_nothing_running_and_the_data_stays() {
    let folder = folder();
    let mut server = start(&folder, &[]);
    assert_eq!(server.log.count("Loading the sample shop"), 1);
    assert!(!processes_in(folder.path()).is_empty());
    server.signal(Signal::INT);
    let status = server.wait(Duration::from_secs(15)).expect("it ends");
    assert_eq!(status.code(), Some(0));
    assert_eq!(processes_in(folder.path()), Vec::<String>::new());

    let again = start(&folder, &[]);
    assert_eq!(
        again.log.count("Loading the sample shop"),
        0,
        "it was loaded twice"
    );
    assert_eq!(
        ask(&again, "SELECT count(*) FROM orders").text,
        "count\n5000"
    );
}

#[test]
fn a_killed_demo_leaves_nothing_running() {
    let folder = folder();
    let server = start(&folder, &[]);
    server.signal(Signal::KILL);
    wait::until("PostgreSQL has ended", Duration::from_secs(15), || {
        processes_in(folder.path()).is_empty()
    });
}

#[test]
fn a_second_demo_says_who_holds_the_folder_and_leaves_the_first_alone() {
    let folder = folder();
    let first = start(&folder, &[]);
    let second = run(demo(&folder, &[]));
    assert_eq!(second.code, 1, "{}", second.stderr);
    assert!(second.stderr.contains("in use"), "{}", second.stderr);
    assert!(
        second.stderr.contains(&format!("pid {}", first.pid())),
        "{}",
        second.stderr
    );
    assert!(!ask(&first, "SELECT 1").is_error);
}

#[test]
fn reset_begins_with_fresh_data() {
    let folder = folder();
    let mut server = start(&folder, &[]);
    server.signal(Signal::INT);
    server.wait(Duration::from_secs(15)).expect("it ends");
    let again = start(&folder, &["--reset"]);
    assert_eq!(again.log.count("Loading the sample shop"), 1);
}

#[test]
fn a_given_database_is_served_and_nothing_is_started() {
    let database = Database::fresh();
    let folder = folder();
    let url = format!(
        "postgres://{}:{}@{}:{}/{}",
        database.reader.role,
        database.reader.password,
        database.postgres.host,
        database.postgres.port,
        database.name
    );
    let mut server = start(&folder, &["--database-url", &url]);
    server.keep_secret(&database.reader.password);
    assert_eq!(server.log.count("Starting PostgreSQL"), 0);
    assert_eq!(
        ask(&server, "SELECT current_database()").text,
        format!("current_database\n{}", database.name)
    );
}

#[test]
fn without_postgresqls_programs_the_ways_out_are_named() {
    let folder = folder();
    let mut command = demo(&folder, &[]);
    command.env("PG_BINDIR", "/nonexistent/bin");
    let said = run(command);
    assert_eq!(said.code, 1, "{}", said.stderr);
    assert!(
        said.stderr.contains("/nonexistent/bin") && said.stderr.contains("PG_BINDIR"),
        "{}",
        said.stderr
    );
    assert!(
        !folder.path().join("data").join("postgres").exists(),
        "something was made"
    );
}
