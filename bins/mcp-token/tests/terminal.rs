//! `verify` at a real terminal: what is typed is not shown, and the terminal is afterwards as it was, whatever ends the program.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    io::{BufReader, Read},
    os::unix::process::ExitStatusExt,
    process::{Child, ChildStderr, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use support::{Bench, terminal::Terminal};

/// Nobody wants the memory of one that was quit.
const START: &str = "ulimit -c 0; exec setsid --ctty \"$@\"";

const PROMPT: &str = "press Return: ";

/// The program at a terminal that is its own, and so sends it what the keys mean.
struct Session {
    terminal: Terminal,
    program: Child,
    said: BufReader<ChildStderr>,
    before: String,
}

impl Session {
    /// Starts it and waits until it has asked.
    fn asked(bench: &Bench) -> Self {
        let terminal = Terminal::open();
        let before = terminal.modes();
        let mut program = bench
            .wrapped(&["sh", "-c", START, "sh"], &["verify"])
            .stdin(terminal.inside.try_clone().unwrap())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("`setsid` is installed");
        let mut said = BufReader::new(program.stderr.take().unwrap());
        let mut prompt = Vec::new();
        while !prompt.ends_with(PROMPT.as_bytes()) {
            let mut byte = [0];
            let ended = said.read_exact(&mut byte).is_err();
            assert!(!ended, "it ended: {}", String::from_utf8_lossy(&prompt));
            prompt.extend(byte);
        }
        assert!(!terminal.shows_what_is_typed());
        Self {
            terminal,
            program,
            said,
            before,
        }
    }

    /// Waits for its end: the exit code, the signal that it died of, and what it printed.
    fn end(mut self) -> (Option<i32>, Option<i32>, String) {
        let mut printed = String::new();
        let mut stdout = self.program.stdout.take().unwrap();
        stdout.read_to_string(&mut printed).unwrap();
        self.said.read_to_string(&mut printed).unwrap();
        let status = self.program.wait().unwrap();
        assert_eq!(self.terminal.modes(), self.before);
        assert!(self.terminal.shows_what_is_typed());
        let shown = self.terminal.shown();
        assert!(!shown.contains("secret") && !printed.contains("secret"));
        (status.code(), status.signal(), printed + &shown)
    }
}

#[test]
fn a_token_that_is_typed_is_not_shown() {
    let bench = Bench::new();
    let token = bench.add();
    for (typed, code, state) in [
        (format!("{token}\n"), 0, "State: valid\n"),
        ("secret\n".into(), 3, "State: unknown\n"),
        // Control-D ends the input.
        ("\u{4}".into(), 1, "error: no token on standard input"),
    ] {
        let mut session = Session::asked(&bench);
        session.terminal.type_in(&typed);
        let (ended, _, said) = session.end();
        assert_eq!(ended, Some(code), "{said}");
        assert!(said.contains(state), "{said}");
        assert!(!said.contains(&token));
    }
}

#[test]
fn the_terminal_is_as_it_was_whatever_key_or_signal_ends_the_program() {
    let bench = Bench::new();
    for (key, signal) in [("\u{3}", Signal::INT), ("\u{1c}", Signal::QUIT)] {
        let mut session = Session::asked(&bench);
        session.terminal.type_in("secret");
        session.terminal.type_in(key);
        let (_, died_of, said) = session.end();
        assert_eq!(died_of, Some(signal.as_raw()), "{said}");
    }
    for signal in [Signal::TERM, Signal::HUP] {
        let session = Session::asked(&bench);
        let program = Pid::from_child(&session.program);
        kill_process(program, signal).unwrap();
        let (_, died_of, said) = session.end();
        assert_eq!(died_of, Some(signal.as_raw()), "{said}");
    }
}

#[test]
fn the_key_that_suspends_leaves_no_terminal_that_shows_nothing() {
    let bench = Bench::new();
    let mut session = Session::asked(&bench);
    session.terminal.type_in("\u{1a}secret\n");
    let (code, _, said) = session.end();
    assert_eq!(code, Some(3), "{said}");
}
