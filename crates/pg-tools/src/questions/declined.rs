//! What is said if a question is not understood with certainty.

use std::fmt::Write;

use plain_question::{Reason, Unsure};

use crate::{
    quoting::written,
    read_only::{ReadError, is_command},
    tools::Failure,
};

/// Words that SQL begins with.
const VERBS: [&str; 9] = [
    "select", "with", "values", "table", "explain", "insert", "update", "delete", "create",
];

/// Returns whether the text was rather meant as SQL, with a mistake in it. This decides only the wording and whether a
/// model is asked: what is SQL, PostgreSQL decides.
pub(super) fn looks_like_sql(text: &str) -> bool {
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

/// Says why there is no answer, and what PostgreSQL says about the text; what the text was rather meant as comes first.
/// Hints for a question would mislead an author of SQL.
pub(super) fn declined(text: &str, unsure: &Unsure, syntax: &ReadError) -> Failure {
    let syntax = syntax.explain();
    Failure::Quoted(if is_command(text) {
        syntax
    } else if looks_like_sql(text) {
        let reason = reason(unsure);
        format!("{syntax}\nNor is it a question in plain words that is understood: {reason}")
    } else {
        let question = in_words(unsure);
        let syntax = syntax.strip_prefix("ERROR: ").unwrap_or(&syntax);
        format!("ERROR: the question is not understood for sure: {question}\nAs SQL: {syntax}")
    })
}

fn reason(unsure: &Unsure) -> String {
    match &unsure.reason {
        Reason::Unexplained(words) => format!("not explained: {}", words.join(" ")),
        Reason::Ambiguous(queries) => {
            format!("it may mean any of these:\n{}", queries.join("\n-- or\n"))
        }
        Reason::Incomplete => "its words do not make a whole question".into(),
        Reason::TooLong => "it is too long".into(),
        Reason::NoTables => "this token may read no tables".into(),
    }
}

fn in_words(unsure: &Unsure) -> String {
    let mut text = reason(unsure);
    let nearest = unsure.nearest.iter().map(|path| {
        let path: Vec<_> = path.iter().map(|name| written(name)).collect();
        path.join(".")
    });
    for (label, parts) in [
        ("UNDERSTOOD", &unsure.understood),
        ("NEAREST", &nearest.collect()),
    ] {
        if !parts.is_empty() {
            _ = write!(text, "\n{label}: {}", parts.join(", "));
        }
    }
    match &unsure.suggestion {
        Some(sql) => _ = write!(text, "\nHINT: write SQL instead; to begin with:\n{sql}"),
        None => {
            text.push_str(
                "\nHINT: write SQL instead; get_schema_info tells the tables and columns",
            );
        }
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
