//! `generate_embedding`: a text as a vector, made by the configured model.

use std::sync::Arc;

use model_client::{Embedder, Purpose};
use serde_json::json;

use super::{Answer, Call, Definition, Effect, Failure, Found, Offer, Tool, quoted};

const DEFINITION: Definition<'_> = Definition {
    name: "generate_embedding",
    title: "Embed a text",
    description: "Turns a text into the vector that the configured model makes of it.",
    input_schema: r#"{"type":"object","properties":{"text":{"type":"string"},"purpose":{"type":"string","enum":["query","document"],"default":"query","description":"To search with, or to be found"}},"required":["text"],"additionalProperties":false}"#,
    output_schema: r#"{"type":"object","properties":{"model":{"type":"string"},"dimensions":{"type":"integer"},"embedding":{"type":"array","items":{"type":"number"}}},"required":["model","dimensions","embedding"]}"#,
    effect: Effect::Asks,
    offer: Offer::OptIn,
};

/// The longest text that is accepted, in bytes; models accept less.
const LONGEST: usize = 256 * 1024;

/// The tool.
pub(crate) struct GenerateEmbedding {
    pub(crate) embedder: Option<Arc<Embedder>>,
}

impl Tool for GenerateEmbedding {
    fn definition(&self) -> Definition<'_> {
        DEFINITION
    }

    fn call<'a>(&'a self, call: Call<'a>) -> Answer<'a> {
        Box::pin(self.run(call))
    }
}

impl GenerateEmbedding {
    async fn run(&self, call: Call<'_>) -> Result<Found, Failure> {
        let mut arguments = call.arguments;
        let text = arguments.text("text")?;
        let purpose = match arguments.choice("purpose", &["query", "document"])? {
            "document" => Purpose::Document,
            _ => Purpose::Query,
        };
        arguments.finish()?;
        if text.trim().is_empty() || text.len() > LONGEST {
            return Err(Failure::told(format!(
                "text must have from 1 to {LONGEST} bytes"
            )));
        }
        let embedder = self.embedder.as_ref().ok_or_else(|| {
            Failure::told("no model is configured that makes vectors; the operator has to configure `embedding:`")
        })?;
        let made = embedder.embed(&[&text], purpose).await;
        let vectors = made.map_err(quoted)?;
        let vector = vectors.into_iter().next();
        let vector = vector.ok_or_else(|| Failure::told("the model gave no vector"))?;
        let (model, dimensions) = (embedder.model(), vector.len());
        let numbers: Vec<String> = vector.iter().map(f32::to_string).collect();
        let structured = json!({ "model": model, "dimensions": dimensions, "embedding": vector });
        Ok(Found::new(&structured)
            .said(format!("{dimensions} dimensions by {model}"))
            .said(format!("[{}]", numbers.join(","))))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use model_client::{Embeddings, Endpoint};
    use serde_json::{Value, json};

    use super::*;
    use crate::{Settings, bench::cluster, stub::Stub, tools::trial::Trial};

    fn trial(embedder: Option<Embedder>) -> Trial {
        let settings = Settings {
            enabled: vec!["generate_embedding".into()],
            embedder: embedder.map(Arc::new),
            ..Settings::default()
        };
        Trial::new(cluster(), "shop_reader", settings)
    }

    #[tokio::test]
    async fn a_text_becomes_the_models_vector() {
        let stub = Stub::embedding(|text| vec![f32::from(u8::try_from(text.len()).unwrap()), 0.5]);
        let endpoint = Endpoint::new("some-model").with_url(stub.url("/v1"));
        let trial = trial(Some(
            Embedder::new(Embeddings::Voyage, endpoint, None).unwrap(),
        ));
        let given = json!({"text": "boots", "purpose": "document"});
        let (text, structured) = trial.done("generate_embedding", given).await;
        let expected = json!({"model": "some-model", "dimensions": 2, "embedding": [5.0, 0.5]});
        assert_eq!(structured, expected);
        assert_eq!(text, "2 dimensions by some-model\n[5,0.5]");
        assert_eq!(stub.seen()[0].body["input_type"], "document");
        for text in ["", " ", &"x".repeat(LONGEST + 1)] {
            trial
                .failed("generate_embedding", json!({ "text": text }))
                .await;
        }
        assert_eq!(stub.seen().len(), 1, "nothing is asked in vain");
    }

    #[tokio::test]
    async fn without_a_model_the_operator_is_named() {
        let given: Value = json!({"text": "boots"});
        let failure = trial(None).failed("generate_embedding", given).await;
        assert!(failure.contains("embedding:"), "{failure}");
    }
}
