//! Killed or failed at every system call of a change: the file is the old one or the new one, and what was shown is in it.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    collections::HashMap,
    fs,
    process::{Command, Output, Stdio},
};

use support::{Bench, is_in, shown_token, stderr};

/// One system call of a run: its name, and which of its calls it is.
type Point = (String, usize);

/// What a step is called, and how its line in the trace is known.
type Step<'a> = (&'a str, &'a dyn Fn(&str) -> bool);

const ADD: [&str; 5] = ["add", "--note", "crash", "--expiry", "90d"];

fn demand_strace() {
    let found = Command::new("strace")
        .arg("-V")
        .stdout(Stdio::null())
        .status();
    assert!(
        found.is_ok_and(|status| status.success()),
        "strace is missing; `./run test` installs it"
    );
}

/// The lines of a traced run, each one system call.
fn trace(bench: &Bench, words: &[&str]) -> Vec<String> {
    let log = bench.path().join("trace");
    let output = bench
        .wrapped(&["strace", "-qq", "-o", log.to_str().unwrap()], words)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "the traced run failed: {}",
        stderr(&output)
    );
    let text = fs::read_to_string(&log).unwrap();
    fs::remove_file(&log).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Every system call from the first that touches the token file or its folder to the last of the program.
fn points(lines: &[String], bench: &Bench) -> Vec<Point> {
    let folder = bench.path().to_str().unwrap();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let mut points = Vec::new();
    for line in lines {
        let Some((name, rest)) = line.split_once('(') else {
            continue;
        };
        let count = counts.entry(name).or_default();
        *count += 1;
        let begun = !points.is_empty() || name != "execve" && rest.contains(folder);
        if begun && name != "exit_group" {
            points.push((name.to_owned(), *count));
        }
    }
    assert!(
        points.len() > 30,
        "only {} points: {lines:#?}",
        points.len()
    );
    points
}

fn run_with(bench: &Bench, words: &[&str], fault: &str) -> Output {
    let inject = format!("inject={fault}");
    bench
        .wrapped(&["strace", "-qq", "-o", "/dev/null", "-e", &inject], words)
        .output()
        .unwrap()
}

/// Every such call that may fail.
fn fallible_points(bench: &Bench, words: &[&str]) -> Vec<Point> {
    let fallible = [
        "openat",
        "readlink",
        "statx",
        "newfstatat",
        "read",
        "flock",
        "getdents64",
        "fchmod",
        "mkdir",
        "write",
        "fsync",
        "rename",
    ];
    let mut points = points(&trace(bench, words), bench);
    points.retain(|(name, _)| fallible.contains(&name.as_str()));
    points
}

/// Checks what must hold after any run: nothing lost, at most the new one more, and what was shown is there.
fn check(bench: &Bench, known: &mut Vec<String>, output: &Output, fault: &str) {
    let set = bench.set();
    assert!(
        known.iter().all(|token| is_in(&set, token)),
        "{fault}: an acknowledged token is lost"
    );
    if output.status.success() {
        let token =
            shown_token(output).unwrap_or_else(|| panic!("{fault}: success without a token"));
        assert!(
            is_in(&set, &token),
            "{fault}: a shown token is not in the file"
        );
        known.push(token);
    }
}

#[test]
fn a_kill_at_any_system_call_leaves_the_old_file_or_the_new_one() {
    demand_strace();
    let bench = Bench::new();
    let mut known = vec![bench.add(), bench.add()];
    for (name, count) in points(&trace(&bench, &ADD), &bench) {
        let before = bench.set().len();
        let fault = format!("{name}:signal=KILL:when={count}");
        let output = run_with(&bench, &ADD, &fault);
        assert!(
            !output.status.success(),
            "{fault}: the program was not killed"
        );
        let after = bench.set().len();
        assert!(
            after == before || after == before + 1,
            "{fault}: {before} tokens became {after}"
        );
        check(&bench, &mut known, &output, &fault);
    }
    known.push(bench.add());
    let set = bench.set();
    assert!(
        known.iter().all(|token| is_in(&set, token)),
        "an acknowledged token is lost"
    );
    assert_eq!(
        bench.temporary_files(),
        0,
        "the next change sweeps what killed ones left"
    );
}

#[test]
fn an_error_of_any_system_call_is_reported_or_harmless() {
    demand_strace();
    let bench = Bench::new();
    let mut known = vec![bench.add(), bench.add()];
    for (name, count) in fallible_points(&bench, &ADD) {
        for error in ["ENOSPC", "EIO", "EACCES"] {
            let before = bench.set();
            let fault = format!("{name}:error={error}:when={count}");
            let output = run_with(&bench, &ADD, &fault);
            if !output.status.success() {
                assert_eq!(
                    output.status.code(),
                    Some(1),
                    "{fault}: {}",
                    stderr(&output)
                );
                assert!(
                    stderr(&output).starts_with("error: ") || stderr(&output).contains("\nerror: "),
                    "{fault}: no error is told"
                );
                assert_eq!(*bench.set(), *before, "{fault}: an error, and yet a change");
            }
            check(&bench, &mut known, &output, &fault);
            assert_eq!(
                bench.temporary_files(),
                0,
                "{fault}: a temporary file is left"
            );
        }
    }
}

#[test]
fn an_error_of_any_system_call_leaves_no_password_without_its_token() {
    demand_strace();
    let bench = Bench::new();
    let config = bench.path().join("c.yaml");
    fs::write(&config, "databases: [{name: a, user: u}]\n").unwrap();
    let config = config.to_str().unwrap();
    let words = [&ADD[..], &["--create-role", "--config", config]].concat();
    let roles = bench.path().join("tokens.yaml.roles");
    let points = fallible_points(&bench, &words);
    fs::remove_dir_all(&roles).unwrap();
    let mut failed = 0;
    for (name, count) in points {
        let before = bench.set();
        let fault = format!("{name}:error=ENOSPC:when={count}");
        let output = run_with(&bench, &words, &fault);
        if output.status.success() {
            fs::remove_dir_all(&roles).unwrap();
        } else {
            failed += 1;
            assert_eq!(*bench.set(), *before, "{fault}: an error, and yet a change");
            assert!(!roles.exists(), "{fault}: {}", stderr(&output));
        }
    }
    assert!(failed > 10, "only {failed} faults were met");
}

#[test]
fn a_change_is_on_the_disk_before_it_is_in_place_and_in_place_before_it_is_shown() {
    demand_strace();
    let bench = Bench::new();
    bench.add();
    let lines = trace(&bench, &ADD);
    let folder = format!("\"{}\"", bench.path().display());
    let steps: [Step<'_>; 8] = [
        ("open the lock", &|line| line.contains(".lock\"")),
        ("lock", &|line| {
            line.starts_with("flock(") && line.contains("LOCK_EX")
        }),
        ("open the folder", &|line| {
            line.starts_with("openat(") && line.contains(&folder)
        }),
        ("create the new file", &|line| {
            line.contains(".tmp\", O_WRONLY|O_CREAT|O_EXCL|O_NOFOLLOW|O_CLOEXEC, 0600)")
        }),
        ("write it", &|line| {
            line.starts_with("write(") && line.contains("tokens:")
        }),
        ("flush it", &|line| line.starts_with("fsync(")),
        ("put it in place", &|line| line.starts_with("rename(")),
        ("show the token", &|line| line.starts_with("write(1, ")),
    ];
    let mut rest = lines.iter();
    for (step, is_it) in steps {
        assert!(
            rest.any(|line| is_it(line)),
            "{step} does not come in its turn: {lines:#?}"
        );
    }
    let flushes = lines
        .iter()
        .filter(|line| line.starts_with("fsync("))
        .count();
    assert_eq!(
        flushes, 2,
        "the file and its folder are flushed: {lines:#?}"
    );
}

#[test]
fn a_limit_on_file_sizes_leaves_the_old_file_and_no_signal() {
    let bench = Bench::new();
    let token = bench.add();
    let before = fs::read(&bench.file).unwrap();
    let output = bench
        .wrapped(&["sh", "-c", "ulimit -f 0; exec \"$@\"", "sh"], &ADD)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("ulimit -f"), "{}", stderr(&output));
    assert_eq!(fs::read(&bench.file).unwrap(), before);
    assert!(is_in(&bench.set(), &token));
    assert_eq!(bench.temporary_files(), 0);
}
