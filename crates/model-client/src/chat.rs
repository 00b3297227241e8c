//! Sending a text to a model and reading its answer.

use hyper::{
    Uri,
    header::{AUTHORIZATION, HeaderName, HeaderValue},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Key, ModelError, SetUpError, base::Base, endpoint::Endpoint, transport::Transport};

/// Whose API a model has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chats {
    /// Anthropic's messages.
    Anthropic,
    /// OpenAI's chat completions, which most servers implement as well.
    OpenAi,
    /// Ollama's chat.
    Ollama,
}

/// The version of Anthropic's API that is used.
const ANTHROPIC_VERSION: &str = "2023-06-01";

/// The smallest and the largest context window, in tokens, to request from Ollama: it silently truncates a prompt to
/// its window, whose default is smaller than most schemas.
const OLLAMA_WINDOW: (usize, usize) = (4_096, 65_536);

impl Chats {
    /// The provider's name, its own URL, and the path.
    fn provider(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Chats::Anthropic => ("Anthropic", "https://api.anthropic.com", "/v1/messages"),
            Chats::OpenAi => (
                "the OpenAI-compatible server",
                "https://api.openai.com/v1",
                "/chat/completions",
            ),
            Chats::Ollama => ("Ollama", "http://localhost:11434", "/api/chat"),
        }
    }

    /// Says whether requests to the provider's own address require a key.
    #[must_use]
    pub fn needs_key(self) -> bool {
        self != Chats::Ollama
    }

    fn headers(self, key: Option<&Key>) -> Vec<(HeaderName, HeaderValue)> {
        let version = HeaderValue::from_static(ANTHROPIC_VERSION);
        let version = (HeaderName::from_static("anthropic-version"), version);
        let key = key.map(|key| match self {
            Chats::Anthropic => (HeaderName::from_static("x-api-key"), key.header("")),
            Chats::OpenAi | Chats::Ollama => (AUTHORIZATION, key.header("Bearer ")),
        });
        let version = (self == Chats::Anthropic).then_some(version);
        version.into_iter().chain(key).collect()
    }
}

/// A client that has a model answer texts.
pub struct Chat {
    kind: Chats,
    /// OpenAI itself names the token limit differently from servers that implement its API.
    is_openai_itself: bool,
    transport: Transport,
}

/// What a model answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its text.
    pub text: String,
    /// Whether it was truncated at the token limit.
    pub is_cut_off: bool,
}

impl Chat {
    /// Makes a client for a model.
    ///
    /// # Errors
    /// The URL or the certificates are unusable, or the provider requires a key.
    pub fn new(kind: Chats, endpoint: Endpoint) -> Result<Self, SetUpError> {
        let (provider, url, path) = kind.provider();
        if endpoint.key.is_none() && endpoint.url.is_none() && kind.needs_key() {
            return Err(SetUpError::NoKey { provider });
        }
        let address: Uri = Base::new(endpoint.url.as_deref().unwrap_or(url))?.join(path)?;
        let host = address.host().unwrap_or_default();
        let is_openai = host.eq_ignore_ascii_case("api.openai.com");
        let headers = kind.headers(endpoint.key.as_ref());
        Ok(Chat {
            kind,
            is_openai_itself: is_openai,
            transport: Transport::new(provider, address, headers, endpoint)?,
        })
    }

    /// The provider's name, for people.
    #[must_use]
    pub fn provider(&self) -> &'static str {
        self.transport.provider()
    }

    /// The model's name.
    #[must_use]
    pub fn model(&self) -> &str {
        self.transport.model()
    }

    /// Sends the model its instructions (`system`) and a text (`user`), and waits for an answer of at most `max_tokens`
    /// tokens.
    ///
    /// # Errors
    /// The request fails, or the model declines or returns an empty answer.
    pub async fn complete(
        &self,
        system: &str,
        user: &str,
        max_tokens: u32,
    ) -> Result<Reply, ModelError> {
        let request = self.request(system, user, max_tokens);
        let (text, why_it_ended) = match self.kind {
            Chats::Anthropic => self.transport.post::<Anthropic>(&request).await?.parts(),
            Chats::Ollama => self.transport.post::<Ollama>(&request).await?.parts(),
            Chats::OpenAi => {
                let answer = self.transport.post::<OpenAi>(&request).await?;
                let first = answer.choices.into_iter().next();
                let first = first.ok_or_else(|| self.transport.unreadable("it has no choices"))?;
                first.parts()
            }
        };
        let declined = matches!(why_it_ended.as_str(), "refusal" | "content_filter");
        if declined {
            return Err(ModelError::Declined {
                model: self.model().to_owned(),
            });
        }
        let is_cut_off = matches!(why_it_ended.as_str(), "max_tokens" | "length");
        if text.trim().is_empty() {
            let reason = match is_cut_off {
                true => "all its tokens went before it had said anything; allow more",
                false => "it has no text",
            };
            return Err(self.transport.unreadable(reason));
        }
        Ok(Reply { text, is_cut_off })
    }

    fn request(&self, system: &str, user: &str, max_tokens: u32) -> Value {
        let model = self.model();
        let both = json!([
            { "role": "system", "content": system },
            { "role": "user", "content": user },
        ]);
        match self.kind {
            Chats::Anthropic => json!({
                "model": model,
                "max_tokens": max_tokens,
                "system": system,
                "messages": [{ "role": "user", "content": user }],
            }),
            Chats::OpenAi => {
                let limit = match self.is_openai_itself {
                    true => "max_completion_tokens",
                    false => "max_tokens",
                };
                json!({ "model": model, "messages": both, limit: max_tokens })
            }
            Chats::Ollama => json!({
                "model": model,
                "messages": both,
                "stream": false,
                "options": {
                    "num_predict": max_tokens,
                    "num_ctx": window(system.len() + user.len(), max_tokens),
                    "temperature": 0,
                },
            }),
        }
    }
}

/// Estimates the tokens that a prompt and its answer need, taking a token to have at least three bytes. Rounded up to a
/// power of two, as Ollama reloads the model for each new window size.
fn window(bytes: usize, max_tokens: u32) -> usize {
    let (least, most) = OLLAMA_WINDOW;
    let needed = bytes / 3 + usize::try_from(max_tokens).unwrap_or(most);
    needed.min(most).next_power_of_two().clamp(least, most)
}

#[derive(Deserialize)]
struct Anthropic {
    content: Vec<Block>,
    #[serde(default)]
    stop_reason: Option<String>,
}

#[derive(Deserialize)]
struct Block {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: String,
}

impl Anthropic {
    fn parts(self) -> (String, String) {
        let texts = self
            .content
            .into_iter()
            .filter(|block| block.kind == "text");
        let text = texts.map(|block| block.text).collect();
        (text, self.stop_reason.unwrap_or_default())
    }
}

#[derive(Deserialize)]
struct OpenAi {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
}

impl Choice {
    fn parts(self) -> (String, String) {
        // Some servers set every field of the API, even if empty.
        let refusal = self.message.refusal.filter(|why| !why.is_empty());
        let ended = match refusal {
            Some(_) => "refusal".to_owned(),
            None => self.finish_reason.unwrap_or_default(),
        };
        (self.message.content.unwrap_or_default(), ended)
    }
}

#[derive(Deserialize)]
struct Ollama {
    message: Message,
    #[serde(default)]
    done_reason: Option<String>,
}

impl Ollama {
    fn parts(self) -> (String, String) {
        let text = self.message.content.unwrap_or_default();
        (text, self.done_reason.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn openai_itself_is_known_however_its_host_is_written() {
        for (url, limit) in [
            ("http://api.openai.com/v1", "max_completion_tokens"),
            ("http://API.OpenAI.com/v1", "max_completion_tokens"),
            ("http://api.openai.com.example/v1", "max_tokens"),
        ] {
            let chat = Chat::new(Chats::OpenAi, Endpoint::new("m").with_url(url)).unwrap();
            assert_eq!(chat.request("s", "u", 5)[limit], 5, "{url}");
        }
    }

    #[test]
    fn the_window_holds_the_prompt_and_the_answer() {
        for (bytes, tokens, expected) in [
            (100, 100, 4_096),
            (12_000, 1_000, 8_192),
            (60_000, 1_000, 32_768),
            (10_000_000, 1_000, 65_536),
            (0, u32::MAX, 65_536),
        ] {
            assert_eq!(window(bytes, tokens), expected, "{bytes}");
        }
    }
}
