use end_to_end::{Answer, Conversation, Database, Request, Setup, call};
use serde_json::{Value, json};

use crate::{GOOD, HARD, assert_people};

fn message(text: &str) -> Value {
    json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": text }, "stopReason": "endTurn" })
}

fn setup(database: &Database<'_>) -> Setup {
    Setup::new([database.entry("shop", &database.reader)])
}

/// Initializes a session over a pipe, as clients did before 2026.
fn begin(setup: &Setup, revision: &str, capabilities: &Value) -> Conversation {
    let mut server = Conversation::start(setup);
    server.initialize(revision, capabilities);
    server
}

/// Asks a question, and answers the server's own requests with these texts.
fn ask(server: &mut Conversation, question: &str, texts: &[&str]) -> (Answer, Vec<Value>) {
    converse(
        server,
        question,
        |turn| json!({ "result": message(texts[turn]) }),
    )
}

/// Asks a question; `reply` makes the result or the error for each request of the server.
fn converse(
    server: &mut Conversation,
    question: &str,
    reply: impl Fn(usize) -> Value,
) -> (Answer, Vec<Value>) {
    server.send(call("query_database", json!({ "query": question })));
    let mut asked = Vec::new();
    loop {
        let mut received = server.receive();
        if received.get("method").is_none() {
            return (Answer::read(&received), asked);
        }
        assert_eq!(received["method"], "sampling/createMessage");
        let mut response = reply(asked.len());
        response["jsonrpc"] = json!("2.0");
        response["id"] = received["id"].clone();
        server.send(response);
        asked.push(received["params"].take());
    }
}

#[test]
fn a_clients_model_is_asked_in_the_middle_of_a_call_until_2025() {
    let database = Database::fresh();
    let mut setup = setup(&database);
    setup.config["http"]["enabled"] = json!(false);
    for revision in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let mut server = begin(&setup, revision, &json!({ "sampling": {} }));
        let (answer, asked) = ask(&mut server, HARD, &["SELECT nam FROM users", GOOD]);
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
    let mut server = begin(&setup, "2025-11-25", &json!({ "sampling": {} }));
    let (answer, asked) = ask(&mut server, "How many active users are there?", &[]);
    assert!(!answer.is_error && asked.is_empty(), "{}", answer.text);
    let (answer, asked) = ask(&mut server, "SELEC * FROM users", &[]);
    assert!(answer.is_error && asked.is_empty(), "{}", answer.text);

    let mut server = begin(&setup, "2025-11-25", &json!({}));
    let (answer, asked) = ask(&mut server, HARD, &[]);
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
        let mut server = begin(&setup, revision, &json!({ "sampling": {} }));
        let refusal = json!({ "error": { "code": -1, "message": "the user said no" } });
        let (answer, asked) = converse(&mut server, HARD, |_| refusal.clone());
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
