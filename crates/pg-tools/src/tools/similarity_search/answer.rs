//! What is shown of the rows that were found, within a limit of tokens.

use serde_json::{Map, Value, json};

use super::ranking::Ranked;

/// A row that is shown.
pub(super) struct Row {
    pub(super) place: Ranked,
    pub(super) distance: Option<f64>,
    /// Names and values, in the order of the columns.
    pub(super) values: Vec<(String, Option<String>)>,
}

/// As many rows as fit.
pub(super) struct Answer {
    /// For people and models.
    pub(super) text: String,
    /// For programs.
    pub(super) results: Vec<Value>,
    /// Whether rows or parts of values were left out.
    pub(super) is_truncated: bool,
}

/// Guesses the tokens of a text: four ASCII characters are about one, other characters are one each.
fn tokens(text: &str) -> usize {
    let plain = text.bytes().filter(u8::is_ascii).count();
    plain.div_ceil(4) + (text.chars().count() - plain)
}

/// Returns the first characters of a text that have at most `most` tokens.
fn first_tokens(text: &str, most: usize) -> &str {
    let mut quarters = 0;
    for (at, character) in text.char_indices() {
        quarters += if character.is_ascii() { 1 } else { 4 };
        if quarters > 4 * most {
            return &text[..at];
        }
    }
    text
}

/// Writes rows until `most` tokens are used up, in each of the two forms. Values have at most `value_length`
/// characters.
pub(super) fn write(rows: Vec<Row>, most: usize, value_length: usize) -> Answer {
    let mut answer = Answer {
        text: String::new(),
        results: Vec::new(),
        is_truncated: false,
    };
    let mut left = most;
    let count = rows.len();
    for (index, row) in rows.into_iter().enumerate() {
        let (head, mut result) = (head(index + 1, &row), frame(&row));
        let frame = tokens(&head).max(tokens(&result.to_string()));
        let Some(mut room) = left.checked_sub(frame).filter(|room| *room > 0) else {
            answer.is_truncated = true;
            break;
        };
        // What is left is shared among the remaining rows, so that the first does not take it all.
        let share = room.div_ceil(count - index).max(room.min(16));
        let after = room - share;
        room = share;
        let mut text = head;
        let mut values = Map::new();
        for (name, value) in row.values {
            // The name, and what JSON puts around it.
            let before = tokens(&name) + 2;
            if before >= room {
                answer.is_truncated = true;
                break;
            }
            room -= before;
            let shown = value.map(|value| {
                let (shown, is_cut) = shorten(&value, room, value_length);
                answer.is_truncated |= is_cut;
                room -= tokens(&shown).min(room);
                shown
            });
            let line = shown
                .as_deref()
                .unwrap_or("NULL")
                .replace(['\n', '\r'], " ");
            text.push_str(&format!("   {name}: {line}\n"));
            values.insert(name, shown.map_or(Value::Null, Value::String));
        }
        left = after + room;
        answer.text.push_str(&text);
        result["values"] = Value::Object(values);
        answer.results.push(result);
    }
    answer.text.truncate(answer.text.trim_end().len());
    answer
}

/// Returns what programs get of a row besides its values. Ranks that it does not have are left out.
fn frame(row: &Row) -> Value {
    let rounded = |number: f64| (number * 1e6).round() / 1e6;
    let distance = row.distance.filter(|distance| distance.is_finite());
    let mut frame = json!({ "score": rounded(row.place.score), "distance": distance.map(rounded) });
    for (name, rank) in [
        ("distance_rank", row.place.by_distance),
        ("word_rank", row.place.by_words),
    ] {
        if let Some(rank) = rank {
            frame[name] = rank.into();
        }
    }
    frame["values"] = json!({});
    frame
}

fn head(rank: usize, row: &Row) -> String {
    let mut head = format!("{rank}.");
    if let Some(distance) = row.distance {
        head.push_str(&format!(" distance {distance:.4}"));
    }
    head.push_str(&format!(" score {:.4}\n", row.place.score));
    head
}

fn shorten(value: &str, most_tokens: usize, most_characters: usize) -> (String, bool) {
    let by_length = value.char_indices().nth(most_characters);
    let within = by_length.map_or(value, |(at, _)| &value[..at]);
    let fitting = first_tokens(within, most_tokens);
    if fitting.len() == value.len() {
        return (value.to_owned(), false);
    }
    (
        format!("{}…", first_tokens(fitting, most_tokens.saturating_sub(1))),
        true,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: &str) -> Row {
        Row {
            place: Ranked {
                candidate: 0,
                score: 0.03,
                by_distance: Some(1),
                by_words: None,
            },
            distance: Some(0.1),
            values: vec![
                ("id".into(), Some("7".into())),
                ("body".into(), Some(value.into())),
            ],
        }
    }

    #[test]
    fn short_rows_are_whole() {
        let answer = write(vec![row("rain\nboots"), row("")], 1_000, 100);
        assert!(!answer.is_truncated);
        assert_eq!(answer.results.len(), 2);
        assert_eq!(answer.results[0]["values"]["body"], "rain\nboots");
        assert!(answer.text.contains("body: rain boots"), "{}", answer.text);
    }

    #[test]
    fn no_answer_is_larger_than_it_may_be() {
        for value in ["word ".repeat(5_000), "日本".repeat(2_000)] {
            for most in [50, 100, 1_000, 5_000] {
                let rows = (0..20).map(|_| row(&value)).collect();
                let answer = write(rows, most, 100_000);
                assert!(answer.is_truncated, "{most}");
                let structured = tokens(&Value::from(answer.results.clone()).to_string());
                for size in [tokens(&answer.text), structured] {
                    assert!(size <= most + most / 8 + 5, "{most}: {size}");
                }
                let shown = answer
                    .results
                    .iter()
                    .filter(|result| result["values"]["body"].is_string());
                assert!(
                    most < 1_000 || shown.count() >= 5,
                    "{most}: {}",
                    answer.text
                );
            }
        }
    }

    #[test]
    fn a_value_that_is_too_long_ends_in_dots() {
        let answer = write(vec![row("abcdefgh")], 1_000, 5);
        assert!(answer.is_truncated);
        assert_eq!(answer.results[0]["values"]["body"], "abcde…");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_cut_between_characters(text in "\\PC{0,200}", most in 0_usize..60) {
            let first = first_tokens(&text, most);
            proptest::prop_assert!(text.starts_with(first));
            proptest::prop_assert!(tokens(first) <= most.max(1));
        }
    }
}
