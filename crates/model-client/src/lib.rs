//! Calls models for embeddings and for text over HTTP.
//!
//! [`Embedder`] turns texts into vectors (Voyage, Ollama, and OpenAI's API, which many servers implement); [`Chat`] has
//! a model answer a text (Anthropic, Ollama, OpenAI's API). Both keep their connections open, and everything in a call
//! is limited: the time for all attempts together, the time to connect, the size of a response, the number of attempts,
//! and the longest wait that a server may ask for. Redirects are not followed: a key is sent to the configured host and
//! to no other.
//!
//! ```no_run
//! use model_client::{Embedder, Embeddings, Endpoint, Key, Purpose};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let endpoint = Endpoint::new("text-embedding-3-small").with_key(Key::new("sk-...")?);
//! let embedder = Embedder::new(Embeddings::OpenAi, endpoint, Some(1536))?;
//! let vectors = embedder.embed(&["rain boots"], Purpose::Query).await?;
//! assert_eq!(vectors[0].len(), 1536);
//! # Ok(()) }
//! ```

mod base;
mod chat;
mod connector;
mod embedding;
mod endpoint;
mod error;
mod key;
mod names;
mod patience;
mod transport;

pub use chat::{Chat, Chats, Reply};
pub use embedding::{Embedder, Embeddings, Purpose};
pub use endpoint::{Endpoint, Limits};
pub use error::{ModelError, SetUpError};
pub use key::{Key, KeyError};
