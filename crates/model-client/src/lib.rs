//! Asks models for embeddings and for text, over HTTP.
//!
//! [`Embedder`] turns texts into vectors (OpenAI's form of the request, which many servers speak,
//! Voyage, Ollama); [`Chat`] has a model answer a text (Anthropic, OpenAI's form, Ollama). Both keep
//! their connections, and each call has a limit for everything: time for all attempts together, time
//! to connect, bytes of an answer, attempts, the longest wait that a server may ask for. Redirects
//! are not followed: a key goes to the host that was configured and to no other.
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
mod patience;
mod transport;

pub use chat::{Chat, Chats, Reply};
pub use embedding::{Embedder, Embeddings, Purpose};
pub use endpoint::{Endpoint, Limits};
pub use error::{ModelError, SetUpError};
pub use key::{Key, KeyError};
