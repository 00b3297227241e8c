//! The models that a configuration names, and their keys.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;

use common::Bench;
use server_config::{EmbeddingProvider, LlmProvider};

#[test]
fn models_are_read_with_their_keys() {
    let yaml = "llm: {provider: anthropic, model: some-model, timeout: 7s}\n\
                embedding: {provider: openai, model: e, url: \"http://localhost:9/v1\", dimensions: 8, key_env: OWN}\n";
    let bench = Bench::new(yaml).with(&[
        ("ANTHROPIC_API_KEY", "sk-canary-1"),
        ("OWN", " sk-canary-2\n"),
    ]);
    let config = bench.load().unwrap();
    let (llm, embedding) = (
        config.llm.as_ref().unwrap(),
        config.embedding.as_ref().unwrap(),
    );
    assert_eq!(llm.provider, LlmProvider::Anthropic);
    assert_eq!(
        (llm.model.name.as_str(), llm.model.timeout.as_secs()),
        ("some-model", 7)
    );
    assert_eq!(
        (embedding.provider, embedding.dimensions),
        (EmbeddingProvider::OpenAi, Some(8))
    );
    for (model, key) in [
        (&llm.model, "sk-canary-1"),
        (&embedding.model, "sk-canary-2"),
    ] {
        assert_eq!(model.key().unwrap().unwrap().expose(), key);
    }
    assert!(!format!("{config:?}").contains("canary"), "{config:?}");
    let config = Bench::new("").load().unwrap();
    assert!(config.llm.is_none() && config.embedding.is_none());
}

#[test]
fn a_missing_key_is_told_when_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty");
    fs::write(&empty, "\n").unwrap();
    let file = folder.path().join("key");
    fs::write(&file, "sk-canary\n").unwrap();
    for (further, expected) in [
        (
            "",
            Err("llm.key_env: the variable OPENAI_API_KEY is not set"),
        ),
        (
            ", key_env: OTHER",
            Err("llm.key_env: the variable OTHER is not set"),
        ),
        (
            // It is a valid variable name, but may be the key itself.
            ", key_env: gsk_canary1",
            Err("llm.key_env: the variable that it names is not set"),
        ),
        (", url: \"http://localhost:9\"", Ok(None)),
        (
            ", key_file: /nowhere/at/all",
            Err("llm.key_file: /nowhere/at/all cannot be read"),
        ),
        (&format!(", key_file: {}", empty.display()), Err("is empty")),
        (
            &format!(", key_file: {}", file.display()),
            Ok(Some("sk-canary")),
        ),
    ] {
        let bench = Bench::new(&format!("llm: {{provider: openai, model: m{further}}}\n"));
        let key = bench.load().unwrap().llm.unwrap().model.key();
        match (key, expected) {
            (Err(message), Err(needle)) => {
                assert!(message.contains(needle), "{further}: {message}");
                assert!(!message.contains("canary"), "{message}");
            }
            (Ok(key), Ok(wanted)) => {
                assert_eq!(key.as_ref().map(|key| key.expose()), wanted, "{further}")
            }
            (key, _) => panic!("{further}: {key:?}"),
        }
    }
}

#[test]
fn a_model_that_is_half_described_is_a_problem() {
    for (yaml, needle) in [
        (
            "llm: {model: m}",
            "llm.provider: is missing, and llm.model is given",
        ),
        (
            "embedding: {key_env: K}",
            "embedding.provider: is missing, and embedding.key_env is given",
        ),
        ("llm: {provider: openai}", "llm.model: is missing"),
        (
            "llm: {provider: gemini, model: m}",
            "llm.provider: must be one of anthropic, openai, ollama",
        ),
        (
            "llm: {provider: voyage, model: m}",
            "llm.provider: must be one of",
        ),
        (
            "embedding: {provider: anthropic, model: m}",
            "embedding.provider: must be one of openai, voyage, ollama",
        ),
        (
            "embedding: {provider: ollama, model: m, key_env: K, key_file: F}",
            "embedding.key_file: stands beside embedding.key_env",
        ),
    ] {
        let problems = Bench::new(yaml).load().unwrap_err().to_string();
        assert!(problems.contains(needle), "{yaml}: {problems}");
    }
}

#[test]
fn a_key_that_travels_in_the_clear_is_warned_of() {
    for (url, key, warned) in [
        ("http://models.example.com/v1", ", key_env: K", true),
        ("http://models.example.com/v1", "", false),
        ("https://models.example.com/v1", ", key_env: K", false),
        ("http://localhost:9/v1", ", key_env: K", false),
        ("http://127.0.0.2/v1", ", key_env: K", false),
        ("http://[::1]:9/v1", ", key_env: K", false),
        ("HTTP://models.example.com/v1", ", key_env: K", true),
        ("http://127.models.example.com", ", key_env: K", true),
        ("http://localhost.example.com", ", key_env: K", true),
    ] {
        let yaml = format!("embedding: {{provider: openai, model: m, url: \"{url}\"{key}}}\n");
        let warnings = Bench::new(&yaml).load().unwrap().warnings.join("\n");
        assert_eq!(
            warnings.contains("unencrypted"),
            warned,
            "{url}{key}: {warnings}"
        );
    }
}
