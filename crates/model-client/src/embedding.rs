//! Turning texts into vectors.

use hyper::header::AUTHORIZATION;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{ModelError, SetUpError, base::Base, endpoint::Endpoint, transport::Transport};

/// Whose API an embedding model has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Embeddings {
    /// OpenAI's, which most servers implement as well.
    OpenAi,
    /// Voyage's.
    Voyage,
    /// Ollama's.
    Ollama,
}

/// What a vector is for. Some models make different vectors for a query and for what it should find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To search with.
    Query,
    /// To be found.
    Document,
}

/// The particulars of a provider.
struct Provider {
    name: &'static str,
    url: &'static str,
    path: &'static str,
    /// The maximum number of texts per request.
    batch: usize,
}

impl Embeddings {
    fn provider(self) -> Provider {
        match self {
            Embeddings::OpenAi => Provider {
                name: "the OpenAI-compatible server",
                url: "https://api.openai.com/v1",
                path: "/embeddings",
                batch: 256,
            },
            Embeddings::Voyage => Provider {
                name: "Voyage",
                url: "https://api.voyageai.com/v1",
                path: "/embeddings",
                batch: 128,
            },
            Embeddings::Ollama => Provider {
                name: "Ollama",
                url: "http://localhost:11434",
                path: "/api/embed",
                batch: 64,
            },
        }
    }

    /// Says whether requests to the provider's own address require a key.
    #[must_use]
    pub fn needs_key(self) -> bool {
        self != Embeddings::Ollama
    }
}

/// A client that turns texts into vectors.
pub struct Embedder {
    kind: Embeddings,
    batch: usize,
    dimensions: Option<usize>,
    transport: Transport,
}

impl Embedder {
    /// Makes a client for a model. With `dimensions`, the model is asked for vectors of that size if it has a choice,
    /// and others are refused.
    ///
    /// # Errors
    /// The URL or the certificates are unusable, or the provider requires a key.
    pub fn new(
        kind: Embeddings,
        endpoint: Endpoint,
        dimensions: Option<usize>,
    ) -> Result<Self, SetUpError> {
        let provider = kind.provider();
        if endpoint.key.is_none() && endpoint.url.is_none() && kind.needs_key() {
            return Err(SetUpError::NoKey {
                provider: provider.name,
            });
        }
        let base = Base::new(endpoint.url.as_deref().unwrap_or(provider.url))?;
        let key = endpoint.key.as_ref();
        let headers = key.map(|key| (AUTHORIZATION, key.header("Bearer ")));
        let address = base.join(provider.path)?;
        let headers = headers.into_iter().collect();
        Ok(Embedder {
            kind,
            batch: provider.batch,
            dimensions,
            transport: Transport::new(provider.name, address, headers, endpoint)?,
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

    /// Makes a vector for each text, in order. Many texts are split over several requests, sent one after the other,
    /// each with the limits of a call.
    ///
    /// # Errors
    /// A request fails, or a vector is not as requested; then no vectors are returned.
    pub async fn embed(
        &self,
        texts: &[&str],
        purpose: Purpose,
    ) -> Result<Vec<Vec<f32>>, ModelError> {
        let mut vectors = Vec::with_capacity(texts.len());
        for batch in texts.chunks(self.batch) {
            let request = self.request(batch, purpose);
            let made = match self.kind {
                Embeddings::OpenAi | Embeddings::Voyage => {
                    self.in_order(self.transport.post::<Listed>(&request).await?, batch.len())?
                }
                Embeddings::Ollama => self.transport.post::<Ollama>(&request).await?.embeddings,
            };
            if made.len() != batch.len() {
                let (found, expected) = (made.len(), batch.len());
                let reason = format!("{found} vectors for {expected} texts");
                return Err(self.transport.unreadable(reason));
            }
            for vector in made {
                vectors.push(self.check(vector)?);
            }
        }
        Ok(vectors)
    }

    fn request(&self, texts: &[&str], purpose: Purpose) -> Value {
        let mut request = json!({ "model": self.model(), "input": texts });
        let dimensions = match self.kind {
            Embeddings::OpenAi => {
                request["encoding_format"] = "float".into();
                "dimensions"
            }
            Embeddings::Voyage => {
                request["input_type"] = match purpose {
                    Purpose::Query => "query".into(),
                    Purpose::Document => "document".into(),
                };
                "output_dimension"
            }
            Embeddings::Ollama => "dimensions",
        };
        if let Some(number) = self.dimensions {
            request[dimensions] = number.into();
        }
        request
    }

    /// Sorts vectors by the index of the text that they belong to.
    fn in_order(&self, listed: Listed, expected: usize) -> Result<Vec<Vec<f32>>, ModelError> {
        let mut vectors: Vec<Option<Vec<f32>>> = vec![None; expected];
        for item in listed.data {
            let index = item.index;
            match vectors.get_mut(index) {
                Some(place @ None) => *place = Some(item.embedding),
                Some(_) => {
                    let reason = format!("two vectors for text {index}");
                    return Err(self.transport.unreadable(reason));
                }
                None => {
                    let reason = format!("a vector for text {index} of {expected}");
                    return Err(self.transport.unreadable(reason));
                }
            }
        }
        Ok(vectors.into_iter().flatten().collect())
    }

    fn check(&self, vector: Vec<f32>) -> Result<Vec<f32>, ModelError> {
        let found = vector.len();
        if let Some(expected) = self.dimensions.filter(|expected| *expected != found) {
            return Err(ModelError::Dimensions {
                model: self.model().to_owned(),
                expected,
                found,
            });
        }
        if vector.is_empty() || !vector.iter().all(|number| number.is_finite()) {
            return Err(self
                .transport
                .unreadable("a vector is empty or has a number that is not finite"));
        }
        Ok(vector)
    }
}

/// The response of OpenAI and Voyage.
#[derive(Deserialize)]
struct Listed {
    data: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    index: usize,
    embedding: Vec<f32>,
}

#[derive(Deserialize)]
struct Ollama {
    embeddings: Vec<Vec<f32>>,
}
