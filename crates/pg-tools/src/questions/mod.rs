//! Questions in plain words, as SQL.
//!
//! A text comes here only when PostgreSQL's own parser says that it is not SQL. Whatever SQL comes out
//! goes the way of any other query.

mod schema;

use std::fmt::Write;

use plain_question::{Reason, Unsure};

use crate::{
    Agent,
    read_only::{ReadError, Reader},
    tools::Failure,
};

/// SQL for a question.
pub(crate) struct Translated {
    pub(crate) sql: String,
    /// What the question was taken for, a part at a time.
    pub(crate) understood: Vec<String>,
}

/// Turns a question into SQL; `syntax` is what PostgreSQL says of it.
pub(crate) async fn translate(
    reader: &Reader,
    agent: &Agent,
    question: &str,
    syntax: &ReadError,
) -> Result<Translated, Failure> {
    let schema = schema::read(reader, agent).await?;
    match plain_question::translate(question, &schema) {
        Ok(answer) => Ok(Translated {
            sql: answer.sql,
            understood: answer.understood,
        }),
        Err(unsure) => Err(Failure::Told(declined(question, &unsure, syntax))),
    }
}

/// Words that SQL begins with, of which a slip of the keys makes no question.
const VERBS: [&str; 9] = [
    "select", "with", "values", "table", "explain", "insert", "update", "delete", "create",
];

/// Whether the text was rather meant as SQL.
fn looks_like_sql(text: &str) -> bool {
    let first: String = text
        .trim_start()
        .chars()
        .take_while(|character| character.is_alphabetic())
        .collect::<String>()
        .to_lowercase();
    let is_verb = |verb: &&str| {
        let slips = usize::from(verb.len() > 4) + usize::from(verb.len() > 5);
        strsim::osa_distance(verb, &first) <= slips
    };
    VERBS.iter().any(is_verb) || text.contains(['*', ';'])
}

/// Says why there is no answer, and what the text is as SQL; what it was rather meant as comes first.
fn declined(text: &str, unsure: &Unsure, syntax: &ReadError) -> String {
    let question = unsure_in_words(unsure);
    let syntax = syntax.explain();
    if looks_like_sql(text) {
        format!("{syntax}\nNor is it a question in plain words that is understood: {question}")
    } else {
        let syntax = syntax.strip_prefix("ERROR: ").unwrap_or(&syntax);
        format!("ERROR: the question is not understood for sure: {question}\nAs SQL: {syntax}")
    }
}

fn unsure_in_words(unsure: &Unsure) -> String {
    let mut text = match &unsure.reason {
        Reason::Unexplained(words) => format!("not explained: {}", words.join(" ")),
        Reason::Ambiguous(queries) => {
            format!("it may mean any of these:\n{}", queries.join("\n-- or\n"))
        }
        Reason::Incomplete => "its words do not make a whole question".into(),
        Reason::TooLong => "it is too long".into(),
        Reason::NoTables => "this token may read no tables".into(),
    };
    for (label, parts, joint) in [
        ("UNDERSTOOD", &unsure.understood, ", "),
        ("NEAREST", &unsure.nearest, ", "),
    ] {
        if !parts.is_empty() {
            _ = write!(text, "\n{label}: {}", parts.join(joint));
        }
    }
    if let Some(sql) = &unsure.suggestion {
        _ = write!(text, "\nHINT: write SQL instead; to begin with:\n{sql}");
    } else {
        text.push_str("\nHINT: write SQL instead; get_schema_info tells the tables and columns");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_in_sql_is_told_from_a_question() {
        for (text, is_sql) in [
            ("SELEC * FROM users", true),
            ("slect name from users", true),
            ("  WITH x AS", true),
            ("udpate users set", true),
            ("Show me all active users", false),
            ("which users are active", false),
            ("What is the average price", false),
            ("", false),
        ] {
            assert_eq!(looks_like_sql(text), is_sql, "{text}");
        }
    }
}
