//! The vector to search with.

use std::fmt::Write as _;

use serde_json::Value;

/// The most dimensions that pgvector supports.
const MOST_DIMENSIONS: usize = 16_000;

/// A vector, as all of its numbers or as those that are not zero.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Vector {
    Dense(Vec<f32>),
    /// As pgvector writes it: `{1:0.5,3:2}/8`, counted from one.
    Sparse(String, usize),
}

impl Vector {
    /// Reads what a caller gave: a list of numbers, or pgvector's text form of a vector.
    pub(super) fn read(value: &Value) -> Result<Self, String> {
        let wrong = || {
            "query_vector must be a list of numbers, or a text such as [0.1,0.2] or {1:0.5}/8"
                .to_owned()
        };
        let vector = match value {
            Value::Array(items) => {
                let numbers = items.iter().map(|item| item.as_f64().ok_or_else(wrong));
                dense(numbers.collect::<Result<_, _>>()?)
            }
            Value::String(text) if text.trim_start().starts_with('{') => sparse(text.trim()),
            Value::String(text) => {
                let numbers: Vec<f64> = serde_json::from_str(text).map_err(|_| wrong())?;
                dense(numbers)
            }
            _ => None,
        };
        vector.ok_or_else(wrong)
    }

    pub(super) fn dimensions(&self) -> usize {
        match self {
            Vector::Dense(numbers) => numbers.len(),
            Vector::Sparse(_, dimensions) => *dimensions,
        }
    }

    /// Returns whether all of its numbers are 0.
    pub(super) fn is_zero(&self) -> bool {
        match self {
            Vector::Dense(numbers) => numbers.iter().all(|number| *number == 0.0),
            Vector::Sparse(text, _) => text[1..].trim_start().starts_with('}'),
        }
    }

    /// Writes the vector for a column of the given type.
    pub(super) fn text(&self, type_name: &str) -> String {
        match self {
            Vector::Sparse(text, _) => text.clone(),
            Vector::Dense(numbers) if type_name == "sparsevec" => {
                let mut text = String::from("{");
                for (at, number) in numbers.iter().enumerate().filter(|(_, it)| **it != 0.0) {
                    let comma = if text.len() > 1 { "," } else { "" };
                    _ = write!(text, "{comma}{}:{number}", at + 1);
                }
                _ = write!(text, "}}/{}", numbers.len());
                text
            }
            Vector::Dense(numbers) => {
                let numbers: Vec<String> = numbers.iter().map(f32::to_string).collect();
                format!("[{}]", numbers.join(","))
            }
        }
    }

    /// Returns whether the vector fits a column of the given type.
    pub(super) fn fits(&self, type_name: &str) -> bool {
        matches!(self, Vector::Dense(_)) || type_name == "sparsevec"
    }
}

impl From<Vec<f32>> for Vector {
    fn from(numbers: Vec<f32>) -> Self {
        Vector::Dense(numbers)
    }
}

#[allow(clippy::cast_possible_truncation)] // pgvector keeps no more
fn dense(numbers: Vec<f64>) -> Option<Vector> {
    let numbers: Vec<f32> = numbers.into_iter().map(|number| number as f32).collect();
    let is_one = (1..=MOST_DIMENSIONS).contains(&numbers.len())
        && numbers.iter().all(|number| number.is_finite());
    is_one.then_some(Vector::Dense(numbers))
}

/// Checks only the length and the dimensions; PostgreSQL judges the rest.
fn sparse(text: &str) -> Option<Vector> {
    let (_, dimensions) = text.strip_prefix('{')?.rsplit_once("}/")?;
    let dimensions = dimensions.trim().parse().ok()?;
    let is_one = text.len() <= 32 * MOST_DIMENSIONS && dimensions > 0;
    is_one.then(|| Vector::Sparse(text.to_owned(), dimensions))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_vector_is_read_in_three_forms() {
        for (given, type_name, expected) in [
            (json!([1, 0.5, -2e-3]), "vector", "[1,0.5,-0.002]"),
            (json!("[1, 0.5]"), "halfvec", "[1,0.5]"),
            (json!([0, 0.5, 0, 2]), "sparsevec", "{2:0.5,4:2}/4"),
            (json!([0, 0]), "sparsevec", "{}/2"),
            (json!(" {1:0.5}/8 "), "sparsevec", "{1:0.5}/8"),
        ] {
            let vector = Vector::read(&given).map(|vector| vector.text(type_name));
            assert_eq!(vector.as_deref(), Ok(expected), "{given}");
        }
    }

    #[test]
    fn what_is_no_vector_is_refused() {
        let long = json!(vec![1; MOST_DIMENSIONS + 1]);
        for given in [
            json!([]),
            json!(["1"]),
            json!([1e300]),
            json!("[1,"),
            json!("1,2"),
            json!("{1:1}"),
            json!("{1:1}/0"),
            json!(7),
            json!({"1": 1}),
            long,
        ] {
            assert!(Vector::read(&given).is_err(), "{given:.30}");
        }
    }
}
