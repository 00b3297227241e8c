//! What a tool may ask of the program that calls it.

/// The program that an agent calls from.
pub(crate) trait Client: Send + Sync {
    /// Says whether its model can be asked.
    fn has_model(&self) -> bool;

    /// Gives what its model answers to a question. `key` tells one question of a call from another.
    ///
    /// While there is no answer this is [`Unanswered::Yet`], which the tool returns: the client is
    /// asked, and the tool is run again from its beginning, where it gets the answer here. So nothing
    /// that should happen once belongs before the last question.
    fn ask_model(&self, key: &str, question: &Question) -> Result<String, Unanswered>;
}

/// A question to a client's model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Question {
    /// What the model is to be.
    pub(crate) system: String,
    /// What it is asked.
    pub(crate) text: String,
    /// How many tokens its answer may have.
    pub(crate) max_tokens: u32,
}

/// Why a question has no answer. Made by the [`Client`], who knows what was asked.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// The client has to be asked first.
    Yet,
    /// It was asked in vain; the text says why.
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
}
