//! Converts the configured models into model-client's types.

use anyhow::{Context, anyhow};
use model_client::{Chat, Chats, Embedder, Embeddings, Endpoint, Key, Limits};
use server_config::{Config, EmbeddingProvider, LlmProvider, Model};

/// Sets up the embedding model, if one is configured.
pub(crate) fn embedder(config: &Config) -> anyhow::Result<Option<Embedder>> {
    let Some(embedding) = &config.embedding else {
        return Ok(None);
    };
    let kind = match embedding.provider {
        EmbeddingProvider::OpenAi => Embeddings::OpenAi,
        EmbeddingProvider::Voyage => Embeddings::Voyage,
        EmbeddingProvider::Ollama => Embeddings::Ollama,
    };
    let endpoint = endpoint(&embedding.model)?;
    let embedder = Embedder::new(kind, endpoint, embedding.dimensions).context("embedding")?;
    Ok(Some(embedder))
}

/// Sets up the chat model, if one is configured.
pub(crate) fn chat(config: &Config) -> anyhow::Result<Option<Chat>> {
    let Some(llm) = &config.llm else {
        return Ok(None);
    };
    let kind = match llm.provider {
        LlmProvider::Anthropic => Chats::Anthropic,
        LlmProvider::OpenAi => Chats::OpenAi,
        LlmProvider::Ollama => Chats::Ollama,
    };
    let chat = Chat::new(kind, endpoint(&llm.model)?).context("llm")?;
    Ok(Some(chat))
}

fn endpoint(model: &Model) -> anyhow::Result<Endpoint> {
    let limits = Limits {
        timeout: model.timeout,
        connect_timeout: model.connect_timeout,
        answer_bytes: model.answer_bytes,
        retries: model.retries,
        longest_wait: model.longest_wait,
        idle_timeout: model.idle_timeout,
        ..Limits::default()
    };
    let mut endpoint = Endpoint::new(&model.name).with_limits(limits);
    if let Some(url) = &model.url {
        endpoint = endpoint.with_url(url);
    }
    if let Some(file) = &model.ca_file {
        endpoint = endpoint.with_authorities(file);
    }
    if let Some(key) = model.key().map_err(|message| anyhow!(message))? {
        let wrong = || format!("the key of the model {}", model.name);
        endpoint = endpoint.with_key(Key::new(key.expose()).with_context(wrong)?);
    }
    Ok(endpoint)
}
