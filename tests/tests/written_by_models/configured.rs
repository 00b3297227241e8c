use end_to_end::{
    Answer, Database, Request, Server, Setup, Token,
    stub::{Said, Seen, Stub},
};
use serde_json::{Value, json};

use crate::{GOOD, HARD, assert_people};

const KEY: &str = "sk-canary-of-the-model";

/// A text, wrapped as in the response of the provider's API.
fn wrapped(path: &str, text: &str) -> Value {
    let message = json!({ "role": "assistant", "content": text });
    match path {
        "/v1/messages" => {
            json!({ "type": "message", "role": "assistant", "content": [{ "type": "text", "text": text }],
                "stop_reason": "end_turn", "usage": { "input_tokens": 1, "output_tokens": 1 } })
        }
        "/v1/chat/completions" => {
            json!({ "object": "chat.completion", "choices": [{ "index": 0, "message": message, "finish_reason": "stop" }] })
        }
        "/api/chat" => json!({ "message": message, "done": true, "done_reason": "stop" }),
        other => panic!("{other} is no address of a provider"),
    }
}

/// A model that answers its first requests with these texts, and further ones with the last.
fn model(texts: &'static [&'static str]) -> Stub {
    let count = std::sync::atomic::AtomicUsize::new(0);
    Stub::start(move |seen: &Seen| {
        let index = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Said::ok(wrapped(&seen.path, texts[index.min(texts.len() - 1)]))
    })
}

struct Asking {
    server: Server,
    token: Token,
    _setup: Setup,
}

impl Asking {
    fn new(database: &Database<'_>, provider: &str, url: &str) -> Self {
        let mut setup = Setup::new([database.entry("shop", &database.reader)]);
        let key = setup.file("model-key", KEY);
        setup.config["llm"] = json!({
            "provider": provider, "model": "some-model", "url": url, "key_file": key, "retries": 0,
        });
        let token = setup.add_token();
        let mut server = setup.start();
        server.keep_secret(KEY);
        Self {
            server,
            token,
            _setup: setup,
        }
    }

    fn ask(&self, question: &str) -> Answer {
        self.server.query(&self.token, question)
    }
}

#[test]
fn each_provider_is_asked_in_its_own_form_and_its_query_is_run() {
    let database = Database::fresh();
    for (provider, base, path) in [
        ("anthropic", "", "/v1/messages"),
        ("openai", "/v1", "/v1/chat/completions"),
        ("ollama", "", "/api/chat"),
    ] {
        let stub = model(&[GOOD]);
        let asking = Asking::new(&database, provider, &stub.url(base));
        let answer = asking.ask(HARD);
        assert_people(&answer);
        assert!(
            answer.text.contains("Written by the model some-model"),
            "{provider}: {}",
            answer.text
        );
        let seen = stub.seen();
        assert_eq!((seen.len(), seen[0].path.as_str()), (1, path));
        let said = seen[0].body.to_string();
        for part in [HARD, "\\\"shop\\\".\\\"users\\\"", "customer, staff, admin"] {
            assert!(said.contains(part), "{provider}: no {part} in {said}");
        }
        // What rows hold is not sent to the model, even where the grammar knows it.
        assert!(!said.contains("Gdansk"), "{provider}: {said}");
        let key = seen[0]
            .header("x-api-key")
            .or(seen[0].header("authorization"));
        assert!(
            key.is_some_and(|key| key.ends_with(KEY)),
            "{provider}: {key:?}"
        );
    }
}

#[test]
fn a_model_is_asked_instead_of_the_grammar() {
    let database = Database::fresh();
    let stub = model(&["```sql\nSELECT count(*) FROM users WHERE active;\n```"]);
    let asking = Asking::new(&database, "openai", &stub.url("/v1"));
    let answer = asking.ask("Show me all active users");
    assert!(!answer.is_error, "{}", answer.text);
    assert_eq!(
        answer.structured["sql"],
        "SELECT count(*) FROM users WHERE active;"
    );
    assert_eq!(stub.seen().len(), 1);
}

#[test]
fn a_query_that_fails_is_mended_once() {
    let database = Database::fresh();
    let stub = model(&["SELECT nam FROM users", GOOD]);
    let asking = Asking::new(&database, "anthropic", &stub.url(""));
    assert_people(&asking.ask(HARD));
    let seen = stub.seen();
    assert_eq!(seen.len(), 2);
    let second = seen[1].body.to_string();
    for part in ["SELECT nam FROM users", "42703", "does not exist"] {
        assert!(second.contains(part), "no {part} in {second}");
    }

    let stub = model(&["SELECT nam FROM users"]);
    let asking = Asking::new(&database, "anthropic", &stub.url(""));
    let answer = asking.ask(HARD);
    assert!(answer.is_error, "{}", answer.text);
    assert_eq!(stub.seen().len(), 2, "there is one round to mend it");
    for part in ["42703", "SELECT nam FROM users", "the model some-model"] {
        assert!(answer.text.contains(part), "no {part} in {}", answer.text);
    }
}

#[test]
fn what_a_model_writes_can_only_read() {
    let database = Database::fresh();
    for attack in [
        "DELETE FROM users",
        "SELECT 1; DELETE FROM users",
        "WITH gone AS (DELETE FROM users RETURNING id) SELECT id FROM gone",
        "SELECT pg_terminate_backend(1)",
        "EXPLAIN ANALYZE DELETE FROM users",
    ] {
        let stub = Stub::start(move |seen| Said::ok(wrapped(&seen.path, attack)));
        let asking = Asking::new(&database, "ollama", &stub.url(""));
        let answer = asking.ask(HARD);
        assert!(answer.is_error, "{attack}: {}", answer.text);
    }
    let count = database
        .superuser()
        .value("select count(*) from shop.users");
    assert_eq!(count, "1000");
}

#[test]
fn a_model_that_declines_is_told_and_not_asked_again() {
    let database = Database::fresh();
    let stub = model(&["-- cannot: nothing here tells moods"]);
    let asking = Asking::new(&database, "openai", &stub.url("/v1"));
    let answer = asking.ask("Which users are happy?");
    assert!(answer.is_error);
    assert!(
        answer.text.contains("nothing here tells moods"),
        "{}",
        answer.text
    );
    assert_eq!(stub.seen().len(), 1);
}

#[test]
fn without_its_model_the_server_answers_what_it_is_sure_of() {
    let database = Database::fresh();
    let stub =
        Stub::start(|_| Said::Json(500, Vec::new(), json!({ "error": { "message": "down" } })));
    let asking = Asking::new(&database, "openai", &stub.url("/v1"));
    let answer = asking.ask("How many active users are there?");
    assert!(!answer.is_error, "{}", answer.text);
    assert!(answer.text.contains("without the model"), "{}", answer.text);
    let answer = asking.ask(HARD);
    assert!(answer.is_error, "{}", answer.text);
    assert!(
        answer.text.contains("could not be asked"),
        "{}",
        answer.text
    );
    assert!(answer.text.contains("HTTP 500"), "{}", answer.text);
}

#[test]
fn sql_with_a_slip_goes_to_no_model() {
    let database = Database::fresh();
    let stub = model(&[GOOD]);
    let asking = Asking::new(&database, "openai", &stub.url("/v1"));
    for sql in [
        "SELEC * FROM users",
        "SELECT name FORM users WHERE",
        "SELECT 1 +",
    ] {
        let answer = asking.ask(sql);
        assert!(answer.is_error, "{sql}: {}", answer.text);
        assert!(answer.text.contains("42601"), "{sql}: {}", answer.text);
    }
    assert!(stub.seen().is_empty(), "{:?}", stub.seen());
}

#[test]
fn a_removed_token_ends_the_call_of_a_model() {
    let database = Database::fresh();
    let stub = Stub::start(|_| Said::Nothing);
    let asking = Asking::new(&database, "openai", &stub.url("/v1"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let request = Request::query(&asking.token, HARD);
            // Any response will do, or a closed connection, as long as the call ends.
            let _ = asking.server.client().send(&request);
        });
        stub.wait_for_requests(1);
        asking._setup.remove_token(&asking.token);
        stub.wait_until_abandoned();
    });
}
