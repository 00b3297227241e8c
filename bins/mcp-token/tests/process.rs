//! The real program: exit codes, a terminal, outputs that cannot be written, and fifty of it at once.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{Read, Write},
    os::unix::{
        fs::PermissionsExt,
        process::{CommandExt, ExitStatusExt},
    },
    path::Path,
    process::{Child, Command, Stdio},
    sync::Mutex,
    thread,
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use support::{Bench, PROGRAM, is_in, shown_token, stderr, stdout};

#[test]
fn errors_exit_with_1_and_wrong_usage_with_2_all_on_stderr() {
    let bench = Bench::new();
    for (words, code) in [
        (&["check", "--help"][..], 0),
        (&["--help"], 0),
        (&["--version"], 0),
        (&["remove", "ffffffff"], 1),
        (&["add", "--expiry", "1d", "--database", "none"], 1),
        (&["add", "--expiry", "1d", "--config", "/nowhere.yaml"], 1),
        (&["add"], 2),
        (&["add", "--expiry", "6m"], 2),
        (&["add", "--expiry", "9999y"], 2),
        (&["list", "--unused", "x"], 2),
        (&["frobnicate"], 2),
        (&[], 2),
    ] {
        let output = bench.run(words);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {output:?}");
        assert_eq!(output.stdout.is_empty(), code != 0, "{words:?}");
        assert_eq!(output.stderr.is_empty(), code == 0, "{words:?}");
    }
    assert!(!bench.file.exists());
}

#[test]
fn a_full_output_leaves_the_file_as_it_was() {
    let bench = Bench::new();
    bench.add();
    let before = fs::read(&bench.file).unwrap();
    for json in [&["--json"][..], &[]] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut command = bench.command(&["add", "--expiry", "1d"]);
        let output = command.args(json).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(
            stderr(&output).contains("the token was removed again"),
            "{}",
            stderr(&output)
        );
        assert_eq!(fs::read(&bench.file).unwrap(), before);
    }
}

#[test]
fn no_secret_is_made_that_nobody_reads() {
    let bench = Bench::new();
    bench.add();
    let before = fs::read(&bench.file).unwrap();
    let id = bench.ids().into_iter().next().unwrap();
    for words in [&["add", "--expiry", "1d"][..], &["rotate", &id]] {
        for redirection in [">&-", ">/dev/null"] {
            let script = format!("\"$@\" {redirection}");
            let output = bench
                .wrapped(&["sh", "-c", &script, "sh"], words)
                .output()
                .unwrap();
            let said = stderr(&output);
            assert_eq!(output.status.code(), Some(1), "{words:?} {redirection}");
            assert!(
                said.contains("standard output is closed or /dev/null"),
                "{said}"
            );
            assert_eq!(fs::read(&bench.file).unwrap(), before);
        }
    }
}

#[test]
fn a_reader_that_is_gone_leaves_the_file_as_it_was() {
    let bench = Bench::new();
    bench.add();
    let before = fs::read(&bench.file).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = bench
        .command(&["add", "--expiry", "1d"])
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(fs::read(&bench.file).unwrap(), before);
}

#[test]
fn a_reader_that_has_enough_is_no_error_where_nothing_is_lost() {
    let bench = Bench::new();
    bench.add();
    bench.add();
    let ids: Vec<_> = bench.ids().into_iter().collect();
    let run = |words: &[&str]| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = bench.command(words).stdout(writer).output().unwrap();
        (output.status.code(), stderr(&output))
    };
    for words in [
        &["list"][..],
        &["list", "--json"],
        &["show", &ids[0]],
        &["check"],
        &["edit", &ids[0], "--note", "x"],
        &["remove", &ids[0]],
    ] {
        assert_eq!(run(words), (Some(0), String::new()), "{words:?}");
    }
    assert_eq!(bench.ids().len(), 1);
    fs::write(&bench.file, "token: []\n").unwrap();
    assert_eq!(run(&["check"]).0, Some(1));
}

#[test]
fn that_there_is_no_token_file_is_told() {
    let bench = Bench::new();
    let told = format!(
        "warning: {} does not exist, so that there are no tokens; `mcp-token add` makes it\n",
        bench.file.display()
    );
    let listed = bench.run(&["list"]);
    assert_eq!(
        (listed.status.code(), stderr(&listed)),
        (Some(0), told.clone())
    );
    for words in [&["show", "x"][..], &["rotate", "x"], &["remove", "x"]] {
        let output = bench.run(words);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).starts_with(&told), "{}", stderr(&output));
    }
    assert!(!bench.path().join("tokens.yaml.lock").exists());
}

#[test]
fn a_role_that_could_not_be_made_leaves_nothing_behind() {
    let bench = Bench::new();
    let config = bench.path().join("c.yaml");
    fs::write(&config, "databases: [{name: a, user: u}]\n").unwrap();
    let words = ["add", "--expiry", "1d", "--create-role", "--config"];
    let command = |options: &[&str]| {
        let mut command =
            bench.command(&[&words[..], &[config.to_str().unwrap()], options].concat());
        // There is no psql here.
        command.env("PATH", bench.path());
        command
    };
    let full = File::options().write(true).open("/dev/full").unwrap();
    for (output, cause) in [
        (
            command(&["--apply"]).output().unwrap(),
            "failed to run psql",
        ),
        (
            command(&[]).stdout(full).output().unwrap(),
            "failed to print",
        ),
    ] {
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(cause), "{said}");
        assert!(said.contains("the token was removed again"), "{said}");
        assert!(bench.set().is_empty());
        assert!(!bench.path().join("tokens.yaml.roles").exists(), "{cause}");
    }
    assert!(command(&[]).output().unwrap().status.success());
    let id = bench.ids().into_iter().next().unwrap().replace('-', "_");
    let kept = format!("tokens.yaml.roles/mcp_{id}.password");
    assert!(bench.path().join(kept).exists());
}

#[test]
fn an_interrupted_role_leaves_nothing_behind() {
    // As a terminal does at Ctrl-C.
    interrupt(|program| kill_process_group(program, Signal::INT));
}

/// A supervisor asks the program that it has started, and not those that this one has.
#[test]
fn a_role_whose_making_was_to_end_leaves_nothing_behind() {
    interrupt(|program| kill_process(program, Signal::TERM));
}

#[test]
fn what_a_killed_role_leaves_is_told_and_the_command_can_be_run_again() {
    let bench = Bench::new();
    let program = making_a_role(&bench);
    kill_process_group(Pid::from_child(&program), Signal::KILL).unwrap();
    assert_eq!(program.wait_with_output().unwrap().status.signal(), Some(9));
    let id = bench.ids().into_iter().next().unwrap();
    let unused = bench.command(&["list", "--unused", "never"]).output();
    assert!(stdout(&unused.unwrap()).contains(&id));
    let again = making_a_role(&bench);
    assert_eq!(bench.ids().len(), 2);
    kill_process_group(Pid::from_child(&again), Signal::INT).unwrap();
    let again = stderr(&again.wait_with_output().unwrap());
    assert_eq!(again, "error: interrupted; the token was removed again\n");
    let password = format!("mcp_{}.password", id.replace('-', "_"));
    for (words, told) in [
        (&["check"][..], false),
        (&["remove", &id], true),
        (&["check"], true),
    ] {
        let output = bench.command(words).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let said = stderr(&output);
        assert_eq!(said.contains(&password), told, "{words:?}: {said}");
        assert_eq!(said.contains("DROP ROLE"), told, "{words:?}: {said}");
    }
}

fn interrupt(kill: impl FnOnce(Pid) -> rustix::io::Result<()>) {
    let bench = Bench::new();
    let program = making_a_role(&bench);
    kill(Pid::from_child(&program)).unwrap();
    let output = program.wait_with_output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(said, "error: interrupted; the token was removed again\n");
    assert!(bench.set().is_empty());
    assert!(!bench.path().join("tokens.yaml.roles").exists());
}

/// Starts a program that makes a role, and waits until it has come so far.
fn making_a_role(bench: &Bench) -> Child {
    let config = bench.path().join("c.yaml");
    fs::write(&config, "databases: [{name: a, user: u}]\n").unwrap();
    // It tells that it was started, and then waits for a server that does not answer.
    let psql = bench.path().join("psql");
    fs::write(&psql, "#!/bin/sh\necho started >&3\nexec sleep 600\n").unwrap();
    fs::set_permissions(&psql, fs::Permissions::from_mode(0o755)).unwrap();
    let (mut started, writer) = std::io::pipe().unwrap();
    let path = format!("{}:/usr/bin:/bin", bench.path().display());
    let words = [
        "add",
        "--expiry",
        "1d",
        "--create-role",
        "--apply",
        "--config",
    ];
    let words = [&words[..], &[config.to_str().unwrap()]].concat();
    let program = bench
        .wrapped(&["sh", "-c", "exec 3>&0; exec \"$@\"", "sh"], &words)
        .env("PATH", path)
        .stdin(writer)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut line = [0; 8];
    started.read_exact(&mut line).unwrap();
    program
}

#[test]
fn a_terminal_is_asked_and_a_pipe_is_not() {
    let bench = Bench::new();
    let line = format!("{PROGRAM} add --token-file {}", bench.file.display());
    let mut terminal = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("`script` is installed");
    terminal
        .stdin
        .take()
        .unwrap()
        .write_all(b"Dev Environment\n30d\n")
        .unwrap();
    let output = terminal.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(
        stdout(&output).contains("Expiry (such as 30d"),
        "no prompt: {output:?}"
    );
    assert_eq!(&*bench.set().iter().next().unwrap().note, "Dev Environment");

    let mut piped = bench.command(&["add"]);
    let mut child = piped
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The program may have ended before it could be answered.
    let _ = child.stdin.take().unwrap().write_all(b"note\n30d\n");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(bench.set().len(), 1);
}

#[test]
fn the_file_and_its_lock_are_private_whatever_the_umask() {
    for umask in ["000", "077", "277"] {
        let bench = Bench::new();
        let script = format!("umask {umask}; exec \"$@\"");
        let output = bench
            .wrapped(&["sh", "-c", &script, "sh"], &["add", "--expiry", "1d"])
            .output()
            .unwrap();
        assert!(output.status.success(), "umask {umask}: {output:?}");
        let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(bench.file.clone()), 0o600, "umask {umask}");
        assert_eq!(
            mode(bench.path().join("tokens.yaml.lock")) & 0o077,
            0,
            "umask {umask}"
        );
        bench.add();
    }
}

#[test]
fn someone_elses_file_is_not_taken_from_them() {
    if !rustix::process::geteuid().is_root() {
        // Only root can make a file that belongs to someone else.
        return;
    }
    let bench = Bench::new();
    bench.add();
    let set_mode =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    set_mode(bench.path(), 0o777);
    set_mode(&bench.file, 0o644);
    fs::remove_file(bench.path().join("tokens.yaml.lock")).unwrap();
    let before = fs::read(&bench.file).unwrap();
    let nobody = 65_534;
    // The program itself may lie where only root can go. Copied by a process of its own: a copy that this one still held open
    // in another test's fork could not be run.
    let program = bench.path().join("mcp-token");
    let copied = Command::new("cp")
        .arg(PROGRAM)
        .arg(&program)
        .status()
        .unwrap();
    assert!(copied.success());
    let output = Command::new(&program)
        .args(["add", "--expiry", "1d", "--token-file"])
        .arg(&bench.file)
        .env_clear()
        .uid(nobody)
        .gid(nobody)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        stderr(&output).contains("belongs to user 0"),
        "{}",
        stderr(&output)
    );
    assert_eq!(fs::read(&bench.file).unwrap(), before);
    assert_eq!(bench.temporary_files(), 0);
}

#[test]
fn a_token_is_in_no_error_and_in_no_file() {
    let bench = Bench::new();
    let token = bench.add();
    for entry in fs::read_dir(bench.path()).unwrap() {
        let content = fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!content.contains(&token), "the token is on the disk");
    }
    // Some tokens look like an option.
    let shared = &token[2..12];
    let plain = format!("ab{}", &token[2..]);
    let dashed = format!("-b{}", &token[2..]);
    let dashes = format!("--{}", &token[2..]);
    for (arguments, code) in [
        (["remove", &plain], 1),
        (["remove", &dashed], 2),
        (["show", &dashes], 2),
        (["list", &plain], 2),
        (["verify", &plain], 2),
        (["list", &format!("--unused={plain}")], 2),
    ] {
        let output = bench.run(&arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(!stderr(&output).contains(shared), "{}", stderr(&output));
    }
}

#[test]
fn a_lock_that_is_never_given_back_is_an_error_that_names_it() {
    let bench = Bench::new();
    let held = File::create(bench.path().join("tokens.yaml.lock")).unwrap();
    held.lock().unwrap();
    let output = bench.run(&["add", "--expiry", "1d"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("has held the lock"),
        "{}",
        stderr(&output)
    );
    assert!(
        stderr(&output).contains("tokens.yaml.lock"),
        "{}",
        stderr(&output)
    );
    assert!(!bench.file.exists());
}

#[test]
fn fifty_writers_and_five_removers_lose_nothing_and_resurrect_nothing() {
    const WRITERS: usize = 50;
    const ADDS: usize = 20;
    const REMOVERS: usize = 5;
    let bench = Bench::new();
    let doomed: Vec<String> = (0..REMOVERS * 8).map(|_| bench.add()).collect();
    let doomed_ids: Vec<String> = doomed
        .iter()
        .map(|token| {
            let hash = token_store::Secret::from(token.clone()).hash();
            bench.set().get(&hash).unwrap().id.to_string()
        })
        .collect();
    let acknowledged = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for ids in doomed_ids.chunks(8) {
            let bench = &bench;
            scope.spawn(move || {
                for id in ids {
                    let output = bench.run(&["remove", id]);
                    assert!(output.status.success(), "{}", stderr(&output));
                }
            });
        }
        for _ in 0..WRITERS {
            let (bench, acknowledged) = (&bench, &acknowledged);
            scope.spawn(move || {
                for _ in 0..ADDS {
                    let output = bench.run(&["add", "--expiry", "90d"]);
                    assert!(output.status.success(), "{}", stderr(&output));
                    acknowledged
                        .lock()
                        .unwrap()
                        .push(shown_token(&output).unwrap());
                }
            });
        }
    });
    let set = bench.set();
    let acknowledged = acknowledged.into_inner().unwrap();
    assert_eq!(
        acknowledged.iter().collect::<HashSet<_>>().len(),
        WRITERS * ADDS
    );
    let lost = acknowledged
        .iter()
        .filter(|token| !is_in(&set, token))
        .count();
    assert_eq!(lost, 0, "acknowledged tokens are lost");
    let resurrected = doomed.iter().filter(|token| is_in(&set, token)).count();
    assert_eq!(resurrected, 0, "removed tokens are back");
    assert_eq!(
        (set.len(), bench.ids().len()),
        (WRITERS * ADDS, WRITERS * ADDS)
    );
    assert_eq!(bench.temporary_files(), 0);
}
