//! The file as a chain: killed, altered, rotated.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use end_to_end::{Client, Request, Token, wait};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::world::{LIMIT, World, lines, of, stop};

#[test]
fn a_server_that_is_killed_in_the_middle_of_calls_leaves_a_log_that_goes_on() {
    let world = World::new(json!({}));
    for round in 0..3 {
        let mut server = world.setup.start();
        let answered = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| hammer(server.client(), &world.token, &answered));
            }
            wait::until("calls are answered", LIMIT, || {
                answered.load(Ordering::Relaxed) > 300
            });
            server.signal(Signal::KILL);
        });
        server.wait(LIMIT).unwrap();
        let said = world.verify(&[]);
        let is_torn = said.stderr.contains("cut off after");
        assert!(said.code == 0 || is_torn, "{round}: {}", said.stderr);
        assert!(of(&whole_lines(&world.file()), "call").len() > 100 * (round + 1));
    }
    let server = world.setup.start();
    server.query(&world.token, "SELECT 1");
    stop(server);
    let said = world.assert_verified();
    let told = "Starts without a stop before them, where lines may be missing: 3\n";
    assert!(said.stdout.contains(told), "{}", said.stdout);
}

/// Sends up to 1,000 calls, until nobody answers any more.
fn hammer(mut client: Client, token: &Token, answered: &AtomicUsize) {
    let request = Request::query(token, "SELECT 1");
    for _ in 0..1_000 {
        if client.send(&request).is_err() {
            return;
        }
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

fn whole_lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap();
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    lines.collect()
}

#[test]
fn a_line_that_was_altered_removed_moved_or_cut_is_named() {
    let world = World::new(json!({}));
    let server = world.setup.start();
    for number in 0..5 {
        server.query(&world.token, &format!("SELECT {number}"));
    }
    let hash = stop(server);
    let text = fs::read_to_string(world.file()).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let without = |at: usize| [&lines[..at], &lines[at + 1..]].concat().concat();
    let swapped = {
        let mut lines = lines.clone();
        lines.swap(3, 4);
        lines.concat()
    };
    for (wrong, line, told) in [
        (text.replacen("\"rows\":1", "\"rows\":2", 1), 3, "altered"),
        (without(3), 4, "missing"),
        (swapped, 4, "missing"),
        (
            text.clone() + lines[4],
            lines.len() + 1,
            "moved or repeated",
        ),
        (text.trim_end().to_owned(), lines.len(), "cut off"),
        (lines[1..].concat(), 1, "does not begin"),
        (String::new(), 1, "empty"),
        (
            format!("{text}hello\n"),
            lines.len() + 1,
            "no line of an audit log",
        ),
    ] {
        fs::write(world.file(), wrong).unwrap();
        let said = world.verify(&[]);
        assert_eq!(said.code, 1, "{told}: {}", said.stdout);
        let place = format!("line {line}: ");
        assert!(
            said.stderr.contains(&place) && said.stderr.contains(told),
            "{told}: {}",
            said.stderr
        );
    }
    fs::write(world.file(), lines[..lines.len() - 1].concat()).unwrap();
    assert_eq!(
        world.verify(&[]).code,
        0,
        "nothing in the file shows that its end is missing"
    );
    let said = world.verify(&["--expect", &hash]);
    assert!(
        said.code == 1 && said.stderr.contains("cut off at the end"),
        "{}",
        said.stderr
    );
}

#[test]
fn a_rotated_log_goes_on_in_a_new_file() {
    let world = World::new(json!({}));
    let server = world.setup.start();
    server.query(&world.token, "SELECT 1");
    let old = world.setup.path().join("audit.1");
    fs::rename(world.file(), &old).unwrap();
    server.query(&world.token, "SELECT 2");
    server.signal(Signal::HUP);
    let told = server
        .log
        .wait_for("is a new file; the one before ends with line");
    server.query(&world.token, "SELECT 3");
    let hash = stop(server);
    assert_eq!(of(&lines(&old), "call").len(), 2);
    assert_eq!(of(&world.lines(), "call").len(), 1);
    let (old, new) = (old.to_str().unwrap(), world.file());
    let new = new.to_str().unwrap();
    let said = world.verify(&[old, new, "--expect", &hash]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    let between = told.rsplit(' ').next().unwrap();
    assert_eq!(said.stdout.matches(between).count(), 2, "{}", said.stdout);
    assert_eq!(world.verify(&[new, old]).code, 1, "in the wrong order");
}

#[test]
fn a_log_that_is_moved_away_while_no_server_runs_is_told_to_have_ended() {
    let world = World::new(json!({}));
    let server = world.setup.start();
    server.log.wait_for("which begins a new log");
    let hash = stop(server);
    let server = world.setup.start();
    server.log.wait_for(&format!("with the hash {hash}"));
    stop(server);
    let old = world.setup.path().join("audit.1");
    fs::rename(world.file(), &old).unwrap();
    let server = world.setup.start();
    server.log.wait_for("which begins a new log");
    stop(server);
    let (old, new) = (old.to_str().unwrap(), world.file());
    let said = world.verify(&[old, new.to_str().unwrap()]);
    assert_eq!(said.code, 1, "{}", said.stdout);
    let told = "line 1: the file begins a log of its own";
    assert!(said.stderr.contains(told), "{}", said.stderr);
}

#[test]
fn a_log_that_is_rotated_under_load_loses_nothing() {
    const CALLERS: usize = 4;
    const CALLS: usize = 500;
    let world = World::new(json!({}));
    let server = world.setup.start();
    let answered = AtomicUsize::new(0);
    let mut old: Vec<String> = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                let mut client = server.client();
                let request = Request::query(&world.token, "SELECT 1");
                for _ in 0..CALLS {
                    assert_eq!(client.send(&request).unwrap().status, 200);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for rotation in 1..=4 {
            wait::until("calls are answered", LIMIT, || {
                answered.load(Ordering::Relaxed) > rotation * CALLERS * CALLS / 5
            });
            let name = world.setup.path().join(format!("audit.{rotation}"));
            fs::rename(world.file(), &name).unwrap();
            old.push(name.to_str().unwrap().to_owned());
            // Two signals in a row give one new file.
            server.signal(Signal::HUP);
            server.signal(Signal::HUP);
            wait::until("there is a new file", LIMIT, || {
                server.log.count("is a new file") == rotation
            });
        }
    });
    let hash = stop(server);
    let current = world.file();
    let mut files: Vec<&str> = old.iter().map(String::as_str).collect();
    files.push(current.to_str().unwrap());
    let said = world.verify(&[&files[..], &["--expect", &hash]].concat());
    assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
    assert!(!said.stdout.contains("lost"), "{}", said.stdout);
    let calls: Vec<usize> = files
        .iter()
        .map(|file| of(&lines(Path::new(file)), "call").len())
        .collect();
    assert_eq!(calls.iter().sum::<usize>(), CALLERS * CALLS, "{calls:?}");
    assert!(calls.iter().all(|calls| *calls > 0), "{calls:?}");
}
