//! Questions in plain words, as SQL.
//!
//! A text gets here only if PostgreSQL's own parser says that it is not SQL. The grammar of `plain_question` translates
//! it or says that it is not sure. If the operator has configured a model, that is asked instead of the grammar; if
//! not, the client's own model is asked what the grammar is not sure of. Whoever writes the SQL, it is run like any
//! other query.

mod declined;
mod prompt;
mod schema;
mod turns;

use std::sync::Arc;

use model_client::Chat;
use plain_question::{Answer, Schema, Unsure};

use crate::{
    Agent,
    client::{Client, Question, Unanswered},
    read_only::{Page, ReadError, Reader, Rows},
    tools::Failure,
};
use declined::{declined, looks_like_sql};
use turns::Turns;

/// The limits of a question, besides those of its query.
#[derive(Clone, Copy, Debug)]
pub struct QuestionLimits {
    /// Tokens that a model's answer may have.
    pub answer_tokens: u32,
    /// Bytes of the tables' description that a model gets; the nearest tables come first.
    pub schema_bytes: usize,
}

impl Default for QuestionLimits {
    /// 2,048 tokens and 64 KiB.
    fn default() -> Self {
        QuestionLimits {
            answer_tokens: 2_048,
            schema_bytes: 64 << 10,
        }
    }
}

/// Answers questions.
pub(crate) struct Questions {
    reader: Arc<Reader>,
    chat: Option<Arc<Chat>>,
    limits: QuestionLimits,
    turns: Turns,
}

/// A question, and who asks it.
pub(crate) struct Asked<'a> {
    pub(crate) agent: &'a Agent,
    pub(crate) client: &'a dyn Client,
    pub(crate) text: &'a str,
    pub(crate) page: Page,
    /// PostgreSQL's error about the text.
    pub(crate) syntax: ReadError,
}

/// A question's answer.
pub(crate) struct Answered {
    /// The query that was run.
    pub(crate) sql: String,
    pub(crate) rows: Rows,
    /// Who wrote the query, and how the question was understood.
    pub(crate) told: String,
}

/// Who writes SQL for a question.
enum Author<'a> {
    /// The model that the operator has configured.
    Model(&'a Chat),
    /// The client's own model.
    Client(&'a dyn Client),
}

/// Why a model gave no SQL for a question.
enum Silence {
    /// It could not be asked.
    NotAsked(String),
    /// The call ends with this.
    Final(Failure),
}

impl From<Failure> for Silence {
    fn from(failure: Failure) -> Self {
        Silence::Final(failure)
    }
}

impl Questions {
    pub(crate) fn new(
        reader: Arc<Reader>,
        chat: Option<Arc<Chat>>,
        limits: QuestionLimits,
    ) -> Self {
        Questions {
            reader,
            chat,
            limits,
            turns: Turns::default(),
        }
    }

    /// Returns whether questions leave this server.
    pub(crate) fn asks_a_service(&self) -> bool {
        self.chat.is_some()
    }

    pub(crate) async fn answer(&self, asked: Asked<'_>) -> Result<Answered, Failure> {
        let schema = Arc::new(schema::read(&self.reader, asked.agent).await?);
        // A mistake in SQL is for its author to fix, and not for a model to guess at.
        let is_question = !looks_like_sql(asked.text);
        if let Some(chat) = self.chat.as_deref().filter(|_| is_question) {
            return match self.by_model(&asked, &schema, &Author::Model(chat)).await {
                Ok(answered) => Ok(answered),
                Err(Silence::Final(failure)) => Err(failure),
                Err(Silence::NotAsked(error)) => {
                    self.without_model(&asked, &schema, chat, &error).await
                }
            };
        }
        match self.translate(&asked, &schema).await? {
            Ok(answer) => self.by_grammar(&asked, answer).await,
            Err(unsure) if is_question && asked.client.has_model() => {
                let author = Author::Client(asked.client);
                match self.by_model(&asked, &schema, &author).await {
                    Ok(answered) => Ok(answered),
                    Err(Silence::Final(failure)) => Err(failure),
                    Err(Silence::NotAsked(why)) => {
                        let declined = declined(asked.text, &unsure, &asked.syntax);
                        Err(declined.hint(&format!("the client's model gave no answer: {why}")))
                    }
                }
            }
            Err(unsure) => Err(declined(asked.text, &unsure, &asked.syntax)),
        }
    }

    async fn translate(
        &self,
        asked: &Asked<'_>,
        schema: &Arc<Schema>,
    ) -> Result<Result<Answer, Box<Unsure>>, Failure> {
        let (text, schema) = (asked.text.to_owned(), schema.clone());
        let translate = move || plain_question::translate(&text, &schema);
        self.apart(asked.agent, translate).await
    }

    /// Runs work where it keeps nobody else waiting: a large schema takes a while, although not without limit, and what
    /// has begun cannot be stopped.
    async fn apart<T: Send + 'static>(
        &self,
        agent: &Agent,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let done = self.turns.work(agent.name(), work).await;
        done.map_err(|error| {
            tracing::error!(%error, "a question could not be worked on");
            Failure::told("the question could not be worked on; write SQL instead")
        })
    }

    async fn by_grammar(&self, asked: &Asked<'_>, answer: Answer) -> Result<Answered, Failure> {
        let Answer { sql, understood } = answer;
        let rows = self.reader.query(asked.agent, &sql, asked.page).await?;
        let told = format!("Understood: {}", understood.join(", "));
        Ok(Answered { sql, rows, told })
    }

    /// Answers with the grammar if the model cannot be asked: it may be sure of the question.
    async fn without_model(
        &self,
        asked: &Asked<'_>,
        schema: &Arc<Schema>,
        chat: &Chat,
        error: &str,
    ) -> Result<Answered, Failure> {
        tracing::warn!(
            model = chat.model(),
            error,
            "a question was not answered by the model"
        );
        match self.translate(asked, schema).await? {
            Ok(answer) => {
                let mut answered = self.by_grammar(asked, answer).await?;
                answered.told += &format!("\n(without the model: {error})");
                Ok(answered)
            }
            Err(unsure) => {
                let declined = declined(asked.text, &unsure, &asked.syntax);
                Err(declined.hint(&format!("the model could not be asked: {error}")))
            }
        }
    }

    /// Has a model write the query, and fix it once if PostgreSQL does not accept it.
    async fn by_model(
        &self,
        asked: &Asked<'_>,
        schema: &Arc<Schema>,
        author: &Author<'_>,
    ) -> Result<Answered, Silence> {
        let first = {
            let (text, schema) = (asked.text.to_owned(), schema.clone());
            let most_bytes = self.limits.schema_bytes;
            let first = move || prompt::first(&text, &schema, most_bytes);
            self.apart(asked.agent, first).await?
        };
        let sql = self.write(author, "query", &first).await?;
        let error = match self.reader.query(asked.agent, &sql, asked.page).await {
            Ok(rows) => return Ok(author.answered(sql, rows)),
            Err(error) if error.is_about_the_query() => error,
            Err(error) => return Err(Failure::from(error).into()),
        };
        let again = prompt::again(&first, &sql, &error.explain());
        let sql = self.write(author, "mended-query", &again).await?;
        match self.reader.query(asked.agent, &sql, asked.page).await {
            Ok(rows) => Ok(author.answered(sql, rows)),
            Err(error) => Err(author.failed(&sql, &error).into()),
        }
    }

    /// Asks for a query. `key` tells the questions of one call apart.
    async fn write(&self, author: &Author<'_>, key: &str, text: &str) -> Result<String, Silence> {
        let max_tokens = self.limits.answer_tokens;
        let reply = match author {
            Author::Model(chat) => {
                let reply = chat.complete(prompt::SYSTEM, text, max_tokens).await;
                let reply = reply.map_err(|error| Silence::NotAsked(error.to_string()))?;
                if reply.is_cut_off {
                    let told = format!(
                        "the answer of {} was cut off; ask for less, or let the operator raise llm.max_tokens",
                        author.name()
                    );
                    return Err(Failure::told(told).into());
                }
                reply.text
            }
            Author::Client(client) => {
                let question = Question {
                    system: prompt::SYSTEM.into(),
                    text: text.into(),
                    max_tokens,
                };
                match client.ask_model(key, &question) {
                    Ok(reply) => reply,
                    Err(Unanswered::Yet) => return Err(Failure::Unanswered.into()),
                    Err(Unanswered::InVain(why)) => return Err(Silence::NotAsked(why)),
                }
            }
        };
        prompt::read(&reply).map_err(|reason| {
            let told = format!("{} wrote no query: {reason}", author.name());
            Failure::Quoted(format!("ERROR: {told}")).into()
        })
    }
}

impl Author<'_> {
    fn name(&self) -> String {
        match self {
            Author::Model(chat) => format!("the model {}", chat.model()),
            Author::Client(_) => "the client's model".into(),
        }
    }

    fn answered(&self, sql: String, rows: Rows) -> Answered {
        Answered {
            sql,
            rows,
            told: format!("Written by {}", self.name()),
        }
    }

    fn failed(&self, sql: &str, error: &ReadError) -> Failure {
        Failure::Quoted(format!(
            "{}\nThe query was written by {}, and mended once:\n{sql}",
            error.explain(),
            self.name()
        ))
    }
}
