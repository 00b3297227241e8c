//! What is sent and what is read, in each provider's own form.
#![allow(clippy::unwrap_used)]

mod stub;

use model_client::{Chat, Chats, Embedder, Embeddings, Endpoint, Key, ModelError, Purpose, Reply};
use serde_json::{Value, json};
use stub::{Said, Stub};

fn endpoint(stub: &Stub, path: &str) -> Endpoint {
    Endpoint::new("some-model")
        .with_url(stub.url(path))
        .with_key(Key::new("sk-canary").unwrap())
}

/// A vector that identifies its text.
fn vector(text: &str) -> Vec<f32> {
    vec![text.parse().unwrap_or(0.5), 1.0]
}

#[tokio::test]
async fn each_embedding_provider_gets_its_own_form() {
    for (kind, base, path, purpose, further) in [
        (
            Embeddings::OpenAi,
            "/v1",
            "/v1/embeddings",
            Purpose::Query,
            json!({"encoding_format": "float", "dimensions": 2}),
        ),
        (
            Embeddings::Voyage,
            "/v1",
            "/v1/embeddings",
            Purpose::Query,
            json!({"input_type": "query", "output_dimension": 2}),
        ),
        (
            Embeddings::Voyage,
            "",
            "/embeddings",
            Purpose::Document,
            json!({"input_type": "document", "output_dimension": 2}),
        ),
        (
            Embeddings::Ollama,
            "",
            "/api/embed",
            Purpose::Query,
            json!({"dimensions": 2}),
        ),
    ] {
        let stub = Stub::embedding(vector);
        let embedder = Embedder::new(kind, endpoint(&stub, base), Some(2)).unwrap();
        let vectors = embedder.embed(&["7", "8"], purpose).await.unwrap();
        assert_eq!(vectors, [[7.0, 1.0], [8.0, 1.0]], "{kind:?}");

        let mut expected = json!({"model": "some-model", "input": ["7", "8"]});
        let Value::Object(further) = further else {
            panic!("a map")
        };
        expected.as_object_mut().unwrap().extend(further);
        let seen = stub.seen();
        assert_eq!((seen.len(), seen[0].path.as_str()), (1, path));
        assert_eq!(seen[0].body, expected, "{kind:?}");
        assert_eq!(seen[0].header("authorization"), Some("Bearer sk-canary"));
        assert_eq!(seen[0].header("content-type"), Some("application/json"));
    }
}

#[tokio::test]
async fn many_texts_go_in_batches_on_one_connection_and_keep_their_order() {
    let stub = Stub::embedding(vector);
    let endpoint = endpoint(&stub, "/v1");
    let embedder = Embedder::new(Embeddings::Voyage, endpoint, None).unwrap();
    let texts: Vec<String> = (0..300).map(|number| number.to_string()).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let vectors = embedder.embed(&texts, Purpose::Document).await.unwrap();
    let first: Vec<f32> = vectors.iter().map(|vector| vector[0]).collect();
    let expected: Vec<f32> = (0_u16..300).map(f32::from).collect();
    assert_eq!(first, expected);
    let seen = stub.seen();
    let sizes: Vec<_> = seen
        .iter()
        .map(|seen| seen.body["input"].as_array().unwrap().len())
        .collect();
    assert_eq!(sizes, [128, 128, 44]);
    assert!(seen.iter().all(|seen| seen.connection == 0), "{seen:?}");
    assert!(
        embedder
            .embed(&[], Purpose::Query)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(stub.seen().len(), 3, "nothing to ask is not asked");
}

#[tokio::test]
async fn vectors_that_do_not_fit_are_refused() {
    for (dimensions, body, needle) in [
        (
            Some(3),
            json!({"data": [{"index": 0, "embedding": [1, 2]}]}),
            "2 dimensions where 3 are configured",
        ),
        (None, json!({"data": []}), "0 vectors for 1 texts"),
        (
            None,
            json!({"data": [{"index": 1, "embedding": [1]}]}),
            "for text 1 of 1",
        ),
        (
            None,
            json!({"data": [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]}]}),
            "two vectors for text 0",
        ),
        (
            None,
            json!({"data": [{"index": 0, "embedding": []}]}),
            "is empty",
        ),
        (
            None,
            json!({"data": [{"index": 0, "embedding": [1e300]}]}),
            "not finite",
        ),
        (
            None,
            json!({"data": [{"index": 0, "embedding": ["x"]}]}),
            "not what its interface promises",
        ),
        (None, json!({"vectors": []}), "missing field `data`"),
    ] {
        let answer = body.clone();
        let stub = Stub::start(move |_| Said::ok(answer.clone()));
        let embedder = Embedder::new(Embeddings::OpenAi, endpoint(&stub, ""), dimensions).unwrap();
        let error = embedder.embed(&["a"], Purpose::Query).await.unwrap_err();
        assert!(error.to_string().contains(needle), "{body}: {error}");
    }
}

fn anthropic(text: &str, reason: &str) -> Value {
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "some-model",
        "content": [{"type": "thinking", "thinking": "..."}, {"type": "text", "text": text}],
        "stop_reason": reason, "usage": {"input_tokens": 1, "output_tokens": 1},
    })
}

fn openai(text: &str, reason: &str) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "model": "some-model",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason}],
        "usage": {"total_tokens": 2},
    })
}

fn ollama(text: &str, reason: &str) -> Value {
    json!({
        "model": "some-model", "created_at": "2026-01-01T00:00:00Z", "done": true, "done_reason": reason,
        "message": {"role": "assistant", "content": text},
    })
}

#[tokio::test]
#[allow(clippy::type_complexity)] // a table, read once
async fn each_chat_provider_gets_its_own_form() {
    let both =
        json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]);
    type Answer = fn(&str, &str) -> Value;
    let cases: [(Chats, &str, &str, &str, Value, Answer, [&str; 2]); 3] = [
        (
            Chats::Anthropic,
            "",
            "/v1/messages",
            "x-api-key",
            json!({"model": "some-model", "max_tokens": 50, "system": "Be brief.", "messages": [{"role": "user", "content": "Hello"}]}),
            anthropic,
            ["end_turn", "max_tokens"],
        ),
        (
            Chats::OpenAi,
            "/v1",
            "/v1/chat/completions",
            "authorization",
            json!({"model": "some-model", "max_tokens": 50, "messages": both}),
            openai,
            ["stop", "length"],
        ),
        (
            Chats::Ollama,
            "",
            "/api/chat",
            "authorization",
            json!({"model": "some-model", "stream": false, "messages": both,
                   "options": {"num_predict": 50, "num_ctx": 4096, "temperature": 0}}),
            ollama,
            ["stop", "length"],
        ),
    ];
    for (kind, base, path, key_header, body, answer, [whole, cut]) in cases {
        for (reason, is_cut_off) in [(whole, false), (cut, true)] {
            let stub = Stub::start(move |_| Said::ok(answer("Hi.", reason)));
            let chat = Chat::new(kind, endpoint(&stub, base)).unwrap();
            let reply = chat.complete("Be brief.", "Hello", 50).await.unwrap();
            let text = "Hi.".to_owned();
            assert_eq!(reply, Reply { text, is_cut_off }, "{kind:?}");
            let seen = &stub.seen()[0];
            assert_eq!(seen.path, path);
            assert_eq!(seen.body, body, "{kind:?}");
            assert!(seen.header(key_header).unwrap().ends_with("sk-canary"));
            let version = seen.header("anthropic-version");
            assert_eq!(version, (kind == Chats::Anthropic).then_some("2023-06-01"));
        }
    }
}

#[tokio::test]
async fn a_model_that_declines_or_says_nothing_is_told_apart() {
    for (kind, body, declined) in [
        (Chats::Anthropic, anthropic("", "refusal"), true),
        (Chats::Anthropic, anthropic(" ", "end_turn"), false),
        (Chats::OpenAi, openai("no", "content_filter"), true),
        (
            Chats::OpenAi,
            json!({"choices": [{"message": {"content": null, "refusal": "no"}, "finish_reason": "stop"}]}),
            true,
        ),
        (
            Chats::OpenAi,
            json!({"choices": [{"message": {"content": "", "refusal": ""}, "finish_reason": "stop"}]}),
            false,
        ),
        (Chats::OpenAi, openai("", "length"), false),
        (Chats::OpenAi, json!({"choices": []}), false),
        (Chats::Ollama, ollama("", "stop"), false),
    ] {
        let answer = body.clone();
        let stub = Stub::start(move |_| Said::ok(answer.clone()));
        let chat = Chat::new(kind, endpoint(&stub, "")).unwrap();
        let error = chat.complete("s", "u", 5).await.unwrap_err();
        let found = matches!(error, ModelError::Declined { .. });
        assert_eq!(found, declined, "{body}: {error}");
        assert!(
            found || matches!(error, ModelError::Unreadable { .. }),
            "{body}: {error}"
        );
    }
}
