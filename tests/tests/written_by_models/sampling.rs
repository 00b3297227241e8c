use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use end_to_end::{Answer, Database, Request, Setup};
use serde_json::{Value, json};

use crate::{GOOD, HARD, assert_people};

fn message(text: &str) -> Value {
    json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": text }, "stopReason": "endTurn" })
}

/// A client of the years before 2026, over a pipe.
struct Pipe {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Pipe {
    fn open(setup: &Setup, revision: &str, capabilities: &Value) -> Self {
        let mut command = setup.command("mcp-server", &[]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        let mut pipe = Self {
            input: process.stdin.take().unwrap(),
            output: BufReader::new(process.stdout.take().unwrap()),
            process,
        };
        let params = json!({ "protocolVersion": revision, "capabilities": capabilities,
            "clientInfo": { "name": "test", "version": "1" } });
        pipe.send(&json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params }));
        assert_eq!(pipe.receive()["result"]["protocolVersion"], revision);
        pipe.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        pipe
    }

    fn send(&mut self, message: &Value) {
        writeln!(self.input, "{message}").unwrap();
    }

    fn receive(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// Asks a question; what the server asks in turn is answered with these texts.
    fn ask(&mut self, question: &str, texts: &[&str]) -> (Answer, Vec<Value>) {
        self.converse(question, |turn| json!({ "result": message(texts[turn]) }))
    }

    /// Asks a question; `reply` makes the result or the error of each turn of the server's.
    fn converse(&mut self, question: &str, reply: impl Fn(usize) -> Value) -> (Answer, Vec<Value>) {
        self.send(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": { "name": "query_database", "arguments": { "query": question } } }));
        let mut asked = Vec::new();
        loop {
            let message_of_server = self.receive();
            if message_of_server.get("method").is_none() {
                return (Answer::read(&message_of_server), asked);
            }
            assert_eq!(message_of_server["method"], "sampling/createMessage");
            let mut response = reply(asked.len());
            response["jsonrpc"] = json!("2.0");
            response["id"] = message_of_server["id"].clone();
            self.send(&response);
            asked.push(message_of_server["params"].clone());
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn setup(database: &Database<'_>) -> Setup {
    Setup::new([database.entry("shop", &database.reader)])
}

#[test]
fn a_clients_model_is_asked_in_the_middle_of_a_call_until_2025() {
    let database = Database::fresh();
    let mut setup = setup(&database);
    setup.config["http"]["enabled"] = json!(false);
    for revision in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let mut pipe = Pipe::open(&setup, revision, &json!({ "sampling": {} }));
        let (answer, asked) = pipe.ask(HARD, &["SELECT nam FROM users", GOOD]);
        assert!(!answer.is_error, "{revision}: {}", answer.text);
        // Structured content came in June 2025.
        if revision >= "2025-06-18" {
            assert_people(&answer);
        }
        assert!(
            answer.text.contains("the client's model"),
            "{}",
            answer.text
        );
        let [first, second] = &asked[..] else {
            panic!("{revision}: asked {asked:?}")
        };
        assert!(first.to_string().contains(HARD), "{first}");
        assert!(
            first["systemPrompt"]
                .as_str()
                .unwrap()
                .contains("PostgreSQL")
        );
        assert_eq!(first["maxTokens"], 2048);
        assert!(second.to_string().contains("42703"), "{second}");
    }
}

#[test]
fn a_clients_model_is_not_asked_what_the_grammar_is_sure_of_nor_without_its_consent() {
    let database = Database::fresh();
    let mut setup = setup(&database);
    setup.config["http"]["enabled"] = json!(false);
    let mut pipe = Pipe::open(&setup, "2025-11-25", &json!({ "sampling": {} }));
    let (answer, asked) = pipe.ask("How many active users are there?", &[]);
    assert!(!answer.is_error && asked.is_empty(), "{}", answer.text);
    let (answer, asked) = pipe.ask("SELEC * FROM users", &[]);
    assert!(answer.is_error && asked.is_empty(), "{}", answer.text);

    let mut pipe = Pipe::open(&setup, "2025-11-25", &json!({}));
    let (answer, asked) = pipe.ask(HARD, &[]);
    assert!(answer.is_error && asked.is_empty(), "{}", answer.text);
    assert!(
        answer.text.contains("not understood for sure"),
        "{}",
        answer.text
    );
}

#[test]
fn a_client_that_refuses_to_ask_its_model_is_told_what_was_not_understood() {
    let database = Database::fresh();
    let mut setup = setup(&database);
    setup.config["http"]["enabled"] = json!(false);
    for revision in ["2024-11-05", "2025-11-25"] {
        let mut pipe = Pipe::open(&setup, revision, &json!({ "sampling": {} }));
        let refusal = json!({ "error": { "code": -1, "message": "the user said no" } });
        let (answer, asked) = pipe.converse(HARD, |_| refusal.clone());
        assert_eq!(asked.len(), 1, "{revision}: asked again");
        assert!(answer.is_error, "{revision}: {}", answer.text);
        for part in ["not understood for sure", "the user said no", "write SQL"] {
            assert!(answer.text.contains(part), "{revision}: {}", answer.text);
        }
    }
}

#[test]
fn a_clients_model_is_asked_by_repeated_requests_from_2026_on() {
    let database = Database::fresh();
    let mut setup = setup(&database);
    let token = setup.add_token();
    let server = setup.start();
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": { "sampling": {} },
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
    });
    let call = |further: Value| {
        let mut params =
            json!({ "name": "query_database", "arguments": { "query": HARD }, "_meta": meta });
        params
            .as_object_mut()
            .unwrap()
            .extend(further.as_object().unwrap().clone());
        let request = Request::json(
            &json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }),
        )
        .bearer(&token.secret)
        .header("MCP-Protocol-Version", "2026-07-28")
        .header("Mcp-Method", "tools/call")
        .header("Mcp-Name", "query_database");
        server.client().send(&request).unwrap().json()
    };

    let mut answer = call(json!({}));
    for text in ["SELECT nam FROM users", GOOD] {
        let result = &answer["result"];
        assert_eq!(result["resultType"], "input_required", "{answer}");
        let asked = result["inputRequests"].as_object().unwrap();
        let (key, request) = asked.iter().next().unwrap();
        assert_eq!(request["method"], "sampling/createMessage");
        assert!(request["params"].to_string().contains(HARD), "{request}");
        let mut further = json!({ "inputResponses": { key: message(text) } });
        if let Some(state) = result.get("requestState") {
            further["requestState"] = state.clone();
        }
        answer = call(further);
    }
    assert_eq!(answer["result"]["resultType"], "complete", "{answer}");
    assert_people(&Answer::read(&answer));
}
