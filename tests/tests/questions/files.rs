//! The files of questions: a question on a line, and what is expected on the indented line after it.

/// A question and what is expected of it.
pub(crate) struct Question {
    pub(crate) text: String,
    pub(crate) expected: Expected,
}

pub(crate) enum Expected {
    /// The rows that this query returns, in its order where the question asks for one.
    Rows { sql: String, is_ordered: bool },
    /// No answer.
    Declined,
}

/// Reads a file.
pub(crate) fn read(file: &str) -> Vec<Question> {
    let mut lines = file
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let mut questions = Vec::new();
    while let Some(text) = lines.next() {
        assert!(!text.starts_with(' '), "no question before {text:?}");
        let expected = lines
            .next()
            .and_then(|line| line.strip_prefix("    "))
            .unwrap_or_else(|| panic!("nothing is expected of {text:?}"));
        questions.push(Question {
            text: text.to_owned(),
            expected: expectation(expected),
        });
    }
    questions
}

fn expectation(line: &str) -> Expected {
    if line.starts_with("declined: ") {
        return Expected::Declined;
    }
    let ordered = line.strip_prefix("ordered: ");
    Expected::Rows {
        sql: ordered.unwrap_or(line).to_owned(),
        is_ordered: ordered.is_some(),
    }
}
