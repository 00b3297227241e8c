use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::client::{Client, Request, Response};
use crate::log::Log;
use crate::setup::Token;

/// How long a start may take on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Sent as a header: a request without it is served at the first revision, which has no structured content.
const REVISION: &str = "2025-11-25";

/// A running `mcp-server`. Dropping it ends the process and checks that its output held no secret.
pub struct Server {
    process: Child,
    address: SocketAddr,
    /// Everything that it printed.
    pub log: Log,
    secrets: Vec<String>,
}

/// The result of a tool call.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Whether the tool reports a failure.
    pub is_error: bool,
    /// Its text, without the fences around data.
    pub text: String,
    /// Its structured content; null where there is none.
    pub structured: Value,
}

impl Server {
    /// Starts it and waits until it listens.
    pub fn start(command: Command, secrets: Vec<String>) -> Self {
        Self::try_start(command, secrets)
            .unwrap_or_else(|log| panic!("mcp-server did not start:\n{log}"))
    }

    /// Starts it and waits until it listens.
    ///
    /// # Errors
    /// With what it printed, when it ends or does not listen in time.
    pub fn try_start(mut command: Command, secrets: Vec<String>) -> Result<Self, String> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("the binary runs");
        let log = Log::default();
        log.collect(process.stderr.take().expect("it is piped"));
        let mut server = Self {
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            process,
            log,
            secrets,
        };
        server.address = server.log.find(START_LIMIT, address_in)?;
        // Over HTTP nothing belongs on standard output, but if there is something, it is searched for secrets, too.
        let stdout = server.process.stdout.take().expect("it is piped");
        server.log.collect(stdout);
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// A client with a connection of its own.
    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// Sends one JSON-RPC message with a token, and returns the response.
    pub fn post(&self, token: &Token, message: &Value) -> Response {
        self.client()
            .send(&Request::of(token, message))
            .unwrap_or_else(|error| panic!("{error}\n{}", self.log))
    }

    /// Calls a tool, and returns its result.
    pub fn call(&self, token: &Token, tool: &str, arguments: Value) -> Answer {
        let response = self.post(token, &call(tool, arguments));
        assert_eq!(response.status, 200, "{}", response.text());
        Answer::read(&response.json())
    }

    /// Calls `query_database`.
    pub fn query(&self, token: &Token, sql: &str) -> Answer {
        self.call(token, "query_database", json!({ "query": sql }))
    }

    /// Waits until it exits, for at most `limit`.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            let status = self.process.try_wait().expect("it is our child");
            if status.is_some() || Instant::now() >= deadline {
                return status;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a pid");
        kill_process(pid, signal).expect("it is our child");
    }

    /// Adds a secret that the log must not hold.
    pub fn keep_secret(&mut self, secret: &str) {
        self.secrets.push(secret.to_owned());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprint_log(&self.log);
            return;
        }
        let printed = self.log.to_string();
        for secret in &self.secrets {
            assert!(
                !printed.contains(secret.as_str()),
                "the log holds the secret {secret}:\n{printed}"
            );
        }
    }
}

#[allow(clippy::print_stderr)]
fn eprint_log(log: &Log) {
    eprintln!("--- mcp-server's log\n{log}\n---");
}

/// Finds the address in the line that says where the server listens; "every interface" is reached over loopback.
fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, url) = line.split_once("listening on http")?;
    let (_, rest) = url.split_once("://")?;
    let mut address: SocketAddr = rest.split('/').next()?.parse().ok()?;
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    Some(address)
}

impl Request {
    /// A JSON-RPC message with a token, in the latest revision that needs no session.
    pub fn of(token: &Token, message: &Value) -> Self {
        Self::json(message)
            .bearer(&token.secret)
            .header("MCP-Protocol-Version", REVISION)
    }

    /// A call of `query_database`, for tests that do not wait for the response or look at all of it.
    pub fn query(token: &Token, sql: &str) -> Self {
        Self::of(token, &call("query_database", json!({ "query": sql })))
    }
}

/// A JSON-RPC message that calls a tool.
pub fn call(tool: &str, arguments: Value) -> Value {
    json!({
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": { "name": tool, "arguments": arguments },
    })
}

/// A JSON-RPC message that asks for the tools.
pub fn list_tools() -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" })
}

/// The text between the two lines of a fence, or the whole text where there is no fence.
///
/// # Panics
/// When a fence is not closed, or closed before its end.
pub fn unfenced(text: &str) -> &str {
    let Some(rest) = text.strip_prefix("<data-") else {
        return text;
    };
    let (marker, inside) = rest.split_once(">\n").expect("the fence's first line");
    let end = format!("\n</data-{marker}>");
    assert_eq!(text.matches(&end).count(), 1, "{text}");
    inside.strip_suffix(&end).expect("the fence's last line")
}

impl Answer {
    /// Reads the response to `tools/call`, and takes the fences off its data.
    pub fn read(message: &Value) -> Self {
        let result = &message["result"];
        assert!(result.is_object(), "no result in {message}");
        let texts = result["content"].as_array().into_iter().flatten();
        Self {
            is_error: result["isError"].as_bool().unwrap_or(false),
            text: texts
                .filter_map(|content| content["text"].as_str())
                .map(unfenced)
                .collect(),
            structured: result["structuredContent"].clone(),
        }
    }

    /// Asserts that the tool reports a failure, and that its text contains `why`.
    pub fn assert_refused(&self, why: &str) {
        assert!(self.is_error, "{}", self.text);
        assert!(self.text.contains(why), "{}", self.text);
    }

    /// The first value of the first row, as JSON.
    pub fn value(&self) -> &Value {
        assert!(!self.is_error, "{}", self.text);
        &self.structured["rows"][0][0]
    }
}
