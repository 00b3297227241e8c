//! An audit log whose file cannot be written.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use end_to_end::{Request, Server, wait};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::{Value, json};

use crate::world::{LIMIT, World, of, stop};

/// Limits the size, in bytes, of the files that the server writes, to act as a full disk.
fn limit(server: &Server, most: Option<u64>) {
    let pid = Pid::from_raw(i32::try_from(server.pid()).unwrap());
    let maximum = getrlimit(Resource::Fsize).maximum;
    let current = most.or(maximum);
    prlimit(pid, Resource::Fsize, Rlimit { current, maximum }).unwrap();
}

fn health(server: &Server) -> Value {
    server
        .client()
        .send(&Request::new("GET", "/health"))
        .unwrap()
        .json()
}

#[test]
fn a_full_disk_loses_lines_loudly_and_calls_go_on() {
    let world = World::new(json!({ "queue_lines": 16 }));
    let server = world.setup.start();
    server.query(&world.token, "SELECT 1");
    wait::until("the line is there", LIMIT, || {
        of(&world.lines(), "call").len() == 1
    });
    assert_eq!(health(&server)["audit_log"], json!("written"));
    limit(
        &server,
        Some(fs::metadata(world.file()).unwrap().len() + 100),
    );
    let mut calls = 1;
    // Long enough for some further attempts to write.
    let begin = Instant::now();
    while calls < 40 || begin.elapsed() < Duration::from_millis(1_500) {
        assert!(!server.query(&world.token, "SELECT 1").is_error);
        calls += 1;
    }
    let told = server.log.wait_for("cannot be written: File too large");
    assert!(told.contains("make room for it"), "{told}");
    wait::until("health tells of it", LIMIT, || {
        let health = health(&server);
        health["status"] == "degraded" && health["audit_log"] == "cannot be written"
    });
    limit(&server, None);
    server.log.wait_for("is written again");
    server.query(&world.token, "SELECT 1");
    stop(server);
    let lines = world.lines();
    let told_of = of(&lines, "lost");
    assert!(
        told_of.len() <= 2,
        "one line, and one for what came with it: {told_of:?}"
    );
    let lost: u64 = told_of
        .iter()
        .map(|line| line["lines"].as_u64().unwrap())
        .sum();
    assert!(lost > 0);
    assert_eq!(of(&lines, "call").len() as u64 + lost, calls + 1);
    let said = world.assert_verified();
    assert!(
        said.stdout.contains(&format!("lost: {lost}")),
        "{}",
        said.stdout
    );
}

#[test]
fn a_full_disk_refuses_calls_before_they_run_where_that_is_wanted() {
    let world = World::new(json!({ "when_full": "refuse" }));
    let server = world.setup.start();
    server.query(&world.token, "SELECT 1");
    wait::until("the line is there", LIMIT, || {
        of(&world.lines(), "call").len() == 1
    });
    limit(
        &server,
        Some(fs::metadata(world.file()).unwrap().len() + 100),
    );
    let refused = wait::until_some("calls are refused", LIMIT, || {
        let answer = server.query(&world.token, "SELECT 1");
        answer.is_error.then_some(answer)
    });
    assert!(
        refused.text.contains("cannot write its audit log"),
        "{}",
        refused.text
    );
    let read = json!({ "jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": { "uri": "pg://settings" } });
    let read = server.post(&world.token, &read).json();
    assert!(
        read["error"]["message"]
            .as_str()
            .unwrap()
            .contains("audit log"),
        "{read}"
    );
    limit(&server, None);
    wait::until("calls run again", LIMIT, || {
        !server.query(&world.token, "SELECT 1").is_error
    });
    stop(server);
    assert!(of(&world.lines(), "lost").is_empty());
    world.assert_verified();
}

#[test]
fn where_calls_are_refused_without_a_line_none_runs_without_one() {
    const CALLERS: usize = 4;
    const CALLS: usize = 200;
    let world = World::new(json!({ "when_full": "refuse", "queue_lines": 16 }));
    let server = world.setup.start();
    let (done, ran) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                for _ in 0..CALLS {
                    let answer = server.query(&world.token, "SELECT 1");
                    let is_refused = answer.text.contains("cannot write its audit log");
                    assert_eq!(answer.is_error, is_refused, "{}", answer.text);
                    ran.fetch_add(usize::from(!is_refused), Ordering::Relaxed);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // The disk fills up in the middle of a line, and then has room again.
        for part in 1..10 {
            wait::until("calls are answered", LIMIT, || {
                done.load(Ordering::Relaxed) > part * CALLERS * CALLS / 10
            });
            let room = (part % 2 == 1)
                .then(|| fs::metadata(world.file()).unwrap().len() + 37 * part as u64);
            limit(&server, room);
        }
        limit(&server, None);
    });
    wait::until("calls run again", LIMIT, || {
        let answer = server.query(&world.token, "SELECT 2");
        ran.fetch_add(usize::from(!answer.is_error), Ordering::Relaxed);
        !answer.is_error
    });
    stop(server);
    let lines = world.lines();
    assert!(of(&lines, "lost").is_empty());
    let ran = ran.into_inner();
    assert!(ran > 1 && ran < CALLERS * CALLS, "{ran}");
    assert_eq!(of(&lines, "call").len(), ran);
    world.assert_verified();
}

#[test]
fn a_log_that_cannot_be_opened_stops_the_start_and_says_what_to_do() {
    let world = World::new(json!({}));
    let refused = |told: &[&str]| {
        let command = world.setup.command("mcp-server", &[]);
        let log = Server::try_start(command, Vec::new()).err().unwrap();
        assert!(told.iter().all(|told| log.contains(told)), "{log}");
    };
    fs::create_dir(world.file()).unwrap();
    refused(&["audit.file", "cannot be opened", "name another file"]);
    fs::remove_dir(world.file()).unwrap();
    fs::write(world.file(), "my notes\n").unwrap();
    fs::set_permissions(world.file(), fs::Permissions::from_mode(0o600)).unwrap();
    refused(&["does not end as an audit log does", "move it away"]);
    fs::set_permissions(world.file(), fs::Permissions::from_mode(0o622)).unwrap();
    refused(&["chmod 600"]);
    fs::remove_file(world.file()).unwrap();
    let _first = world.setup.start();
    refused(&["another server writes", "a file of its own"]);
}
