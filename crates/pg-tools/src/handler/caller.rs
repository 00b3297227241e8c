//! The program that a call comes from, as tools see it.

use std::{
    any::Any,
    sync::{Mutex, PoisonError},
};

use mcp_protocol::{CallError, Context, InputRequest, InputResponse, Object};
use serde_json::{Value, json};

use crate::{
    Agent,
    client::{Client, Conversation, Held, Question, Unanswered},
};

/// The program that a call comes from.
pub(super) struct Caller<'a> {
    context: &'a Context<Agent>,
    /// The error that the protocol wants returned, if something was asked.
    asked: Mutex<Option<CallError>>,
}

impl<'a> Caller<'a> {
    pub(super) fn new(context: &'a Context<Agent>) -> Self {
        Caller {
            context,
            asked: Mutex::default(),
        }
    }

    /// Returns the error by which the client is asked.
    pub(super) fn asked(self) -> CallError {
        let asked = self.asked.into_inner();
        let asked = asked.unwrap_or_else(PoisonError::into_inner);
        asked.unwrap_or_else(|| CallError::Internal("a tool waits, but asked nothing".into()))
    }
}

impl Client for Caller<'_> {
    fn has_model(&self) -> bool {
        self.context.client().sampling
    }

    fn ask_model(&self, key: &str, question: &Question) -> Result<String, Unanswered> {
        match self.context.ask(key, message(question)) {
            Ok(InputResponse::Message(message)) => Ok(words(&message)),
            // An answer of another kind counts as none.
            Ok(_) => Ok(String::new()),
            Err(CallError::Unanswered { message, .. }) => Err(Unanswered::InVain(message)),
            Err(asked) => {
                let mut place = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
                *place = Some(asked);
                Err(Unanswered::Yet)
            }
        }
    }

    fn conversation(&self) -> Option<Conversation> {
        self.context.session().map(|session| Conversation {
            id: session.id().to_owned(),
            idle_time: session.idle_timeout(),
        })
    }

    fn hold(&self, value: Held) {
        if let Some(session) = self.context.session() {
            session.attach(value);
        }
    }

    fn let_go(&self, is_over: &dyn Fn(&Held) -> bool) -> bool {
        let is_over = |held: &(dyn Any + Send + Sync)| held.downcast_ref().is_some_and(is_over);
        let session = self.context.session();
        session.is_some_and(|session| session.detach(is_over))
    }
}

/// Writes a question as the parameters of `sampling/createMessage`.
fn message(question: &Question) -> InputRequest {
    let params = json!({
        "messages": [{ "role": "user", "content": { "type": "text", "text": question.text } }],
        "systemPrompt": question.system,
        "maxTokens": question.max_tokens,
    });
    match params {
        Value::Object(params) => InputRequest::Message(params),
        _ => unreachable!("an object was written"),
    }
}

/// Takes the text out of a model's message, whose content is one block or, since 2025-11-25, several.
fn words(message: &Object) -> String {
    let content = message.get("content").unwrap_or(&Value::Null);
    let blocks = content
        .as_array()
        .map_or(std::slice::from_ref(content), Vec::as_slice);
    let texts = blocks
        .iter()
        .filter_map(|block| block.get("text")?.as_str());
    texts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_words_are_found_in_every_form_of_content() {
        for (content, expected) in [
            (json!({ "type": "text", "text": "a" }), "a"),
            (
                json!([{ "type": "text", "text": "a" }, { "type": "image" }, { "type": "text", "text": "b" }]),
                "ab",
            ),
            (json!([]), ""),
            (json!("a"), ""),
            (Value::Null, ""),
        ] {
            let message = Object::from_iter([("content".to_owned(), content.clone())]);
            assert_eq!(words(&message), expected, "{content}");
        }
    }
}
