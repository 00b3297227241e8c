use std::fmt::Display;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, ExitStatus, Stdio};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::log::Log;
use crate::setup::Setup;
use crate::wait;

/// A client of an `mcp-server` that speaks over standard input and output.
pub struct Conversation {
    process: Child,
    input: Option<ChildStdin>,
    output: Receiver<String>,
    /// What the server has printed on standard error.
    pub log: Log,
}

impl Conversation {
    /// Starts the server.
    pub fn start(setup: &Setup) -> Self {
        let mut command = setup.command("mcp-server", &[]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = command.spawn().expect("the binary runs");
        let log = Log::default();
        log.collect(process.stderr.take().expect("it is piped"));
        Self {
            input: process.stdin.take(),
            output: lines_of(process.stdout.take().expect("it is piped")),
            process,
            log,
        }
    }

    /// Sends a line: a message, or anything else.
    pub fn send(&mut self, line: impl Display) {
        let input = self.input.as_mut().expect("it has not ended");
        writeln!(input, "{line}").expect("the server reads");
    }

    /// Receives a message. Panics when none comes within 20 seconds.
    pub fn receive(&mut self) -> Value {
        let line = self
            .output
            .recv_timeout(Duration::from_secs(20))
            .unwrap_or_else(|error| panic!("no message within 20 s: {error}\n{}", self.log));
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// Initializes a session, as clients did until 2025, with a revision and capabilities.
    pub fn initialize(&mut self, revision: &str, capabilities: &Value) {
        let params = json!({ "protocolVersion": revision, "capabilities": capabilities,
            "clientInfo": { "name": "test", "version": "1" } });
        let answer = self.ask(0, "initialize", params);
        assert_eq!(answer["result"]["protocolVersion"], revision);
        self.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    }

    /// Sends a request.
    pub fn request(&mut self, id: u32, method: &str, params: Value) {
        self.send(json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
    }

    /// Sends a request and receives its response, before which no other message may come.
    pub fn ask(&mut self, id: u32, method: &str, params: Value) -> Value {
        self.request(id, method, params);
        let answer = self.receive();
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    /// Closes the server's input, and waits until it exits.
    pub fn end(mut self) -> ExitStatus {
        drop(self.input.take());
        self.wait()
    }

    /// Tells the server to stop, as a service manager does.
    pub fn terminate(&self) {
        let pid = Pid::from_child(&self.process);
        kill_process(pid, Signal::TERM).expect("it is our child");
    }

    /// Waits until the server exits. Panics after ten seconds.
    pub fn wait(&mut self) -> ExitStatus {
        wait::until_some("it ends", Duration::from_secs(10), || {
            self.process.try_wait().expect("it is our child")
        })
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Passes lines on as they come, so that waiting for a missing one can time out.
fn lines_of(output: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
