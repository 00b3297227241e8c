//! What a tool may ask of the program that calls it.

use std::{any::Any, time::Duration};

/// The program that an agent calls from.
pub(crate) trait Client: Send + Sync {
    /// Returns whether its model can be asked.
    fn has_model(&self) -> bool;

    /// Returns the answer of its model to a question. `key` tells the questions of one call apart.
    ///
    /// While there is no answer this fails with [`Unanswered::Yet`], which the tool returns: the
    /// client is asked, and the tool runs again from its beginning and gets the answer here. So put
    /// nothing that should happen once before the last question.
    fn ask_model(&self, key: &str, question: &Question) -> Result<String, Unanswered>;

    /// Returns the conversation that the call belongs to, if the protocol knows one.
    fn conversation(&self) -> Option<Conversation>;

    /// Holds a value until the conversation ends, and drops it then.
    fn hold(&self, value: Held);

    /// Drops the held values for which `is_over` holds, and returns whether there were any.
    fn let_go(&self, is_over: &dyn Fn(&Held) -> bool) -> bool;
}

/// A value whose meaning is known to the tool that has it held.
pub(crate) type Held = Box<dyn Any + Send + Sync>;

/// Calls of one program that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conversation {
    /// What distinguishes it from all others.
    pub(crate) id: String,
    /// How long it may be without a call before it ends, if that is limited.
    pub(crate) idle_time: Option<Duration>,
}

/// A question to a client's model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Question {
    /// The system prompt.
    pub(crate) system: String,
    /// What it is asked.
    pub(crate) text: String,
    /// How many tokens the answer may have.
    pub(crate) max_tokens: u32,
}

/// Why a question has no answer. Created by the [`Client`], which knows what was asked.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// The client has to be asked first.
    Yet,
    /// It was asked and did not answer; the text says why.
    InVain(String),
}

/// A client that has no model.
#[cfg(test)]
pub(crate) struct Silent;

#[cfg(test)]
impl Client for Silent {
    fn has_model(&self) -> bool {
        false
    }

    fn ask_model(&self, _: &str, _: &Question) -> Result<String, Unanswered> {
        Err(Unanswered::Yet)
    }

    fn conversation(&self) -> Option<Conversation> {
        None
    }

    fn hold(&self, _: Held) {}

    fn let_go(&self, _: &dyn Fn(&Held) -> bool) -> bool {
        false
    }
}

/// A client whose calls belong together, without a model.
#[cfg(test)]
pub(crate) struct Talking {
    pub(crate) id: &'static str,
    pub(crate) held: std::sync::Mutex<Vec<Held>>,
}

#[cfg(test)]
impl Talking {
    pub(crate) fn new(id: &'static str) -> Self {
        Talking {
            id,
            held: std::sync::Mutex::default(),
        }
    }
}

#[cfg(test)]
impl Client for Talking {
    fn has_model(&self) -> bool {
        false
    }

    fn ask_model(&self, _: &str, _: &Question) -> Result<String, Unanswered> {
        Err(Unanswered::Yet)
    }

    fn conversation(&self) -> Option<Conversation> {
        Some(Conversation {
            id: self.id.to_owned(),
            idle_time: None,
        })
    }

    fn hold(&self, value: Held) {
        self.held
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(value);
    }

    fn let_go(&self, is_over: &dyn Fn(&Held) -> bool) -> bool {
        let held = self.held.lock();
        let mut held = held.unwrap_or_else(std::sync::PoisonError::into_inner);
        held.extract_if(.., |value| is_over(value)).count() > 0
    }
}
