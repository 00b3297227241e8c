//! Questions that models write the SQL for: one that the operator has configured, and the client's own.
#![allow(clippy::unwrap_used)]

mod configured;
mod refused;
mod sampling;

use end_to_end::Answer;

/// A question that no grammar can answer from the shop's schema.
const HARD: &str = "Which of our people work here?";

/// What a good model answers.
const GOOD: &str = "SELECT id FROM users WHERE role <> 'customer' ORDER BY id";

/// How many rows that query returns.
const PEOPLE: usize = 20;

fn assert_people(answer: &Answer) {
    assert!(!answer.is_error, "{}", answer.text);
    assert_eq!(answer.structured["row_count"], PEOPLE, "{}", answer.text);
    assert_eq!(answer.structured["sql"], GOOD);
    assert!(answer.text.contains(GOOD), "{}", answer.text);
}
