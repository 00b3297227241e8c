//! The kinds of values that keys take, read from YAML or from text.

use std::time::Duration;

use serde_json::Value as Tree;

/// The kind of value that a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`; in the environment also `1`, `yes`, `0` and `no`.
    Switch,
    /// Any text, not empty.
    Text,
    /// A text that must not be shown.
    Secret,
    /// A whole number within these bounds, both inclusive.
    Count(u64, u64),
    /// A positive time span such as `500ms`, `30s`, `5m`, `1h` or a sum of these (`1h30m`).
    Span,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of texts; in the environment separated by commas.
    Texts,
}

/// A value that is valid for its kind.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// Of [`Kind::Switch`].
    Switch(bool),
    /// Of [`Kind::Text`], [`Kind::Secret`] and [`Kind::Choice`].
    Text(String),
    /// Of [`Kind::Count`].
    Count(u64),
    /// Of [`Kind::Span`].
    Span(Duration),
    /// Of [`Kind::Texts`].
    Texts(Vec<String>),
}

impl Kind {
    /// Describes what the kind takes, to complete "must be ...".
    #[must_use]
    pub fn describe(self) -> String {
        match self {
            Kind::Switch => "true or false".into(),
            Kind::Text | Kind::Secret => "a text that is not empty".into(),
            Kind::Count(least, u64::MAX) => format!("a whole number of at least {least}"),
            Kind::Count(least, most) => format!("a whole number from {least} to {most}"),
            Kind::Span => {
                "a span of time above zero, in ms, s, m and h, such as 500ms, 30s or 1h30m".into()
            }
            Kind::Choice(words) => format!("one of {}", words.join(", ")),
            Kind::Texts => "a list of texts".into(),
        }
    }

    /// Reads a value from YAML.
    pub(crate) fn read_tree(self, tree: &Tree) -> Option<Value> {
        match (self, tree) {
            (Kind::Switch, Tree::Bool(on)) => Some(Value::Switch(*on)),
            (Kind::Texts, Tree::Array(items)) => items
                .iter()
                .map(scalar)
                .collect::<Option<Vec<_>>>()
                .map(Value::Texts),
            (Kind::Switch, _) => None,
            // YAML may have changed a password that looks like a number: 0123, 1e3, 1.10.
            (Kind::Secret, Tree::Number(_)) => None,
            (kind, tree) => scalar(tree).and_then(|text| kind.read_text(&text)),
        }
    }

    /// Reads a value from a variable or a flag.
    pub(crate) fn read_text(self, text: &str) -> Option<Value> {
        match self {
            Kind::Switch => switch(text).map(Value::Switch),
            Kind::Text | Kind::Secret => (!text.is_empty()).then(|| Value::Text(text.to_owned())),
            Kind::Count(least, most) => {
                let number = text.parse().ok()?;
                (least..=most)
                    .contains(&number)
                    .then_some(Value::Count(number))
            }
            Kind::Span => span(text).map(Value::Span),
            Kind::Choice(words) => words.contains(&text).then(|| Value::Text(text.to_owned())),
            Kind::Texts => Some(Value::Texts(
                text.split(',')
                    .map(|item| item.trim().to_owned())
                    .filter(|item| !item.is_empty())
                    .collect(),
            )),
        }
    }
}

pub(crate) fn scalar(tree: &Tree) -> Option<String> {
    match tree {
        Tree::String(text) => Some(text.clone()),
        Tree::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn switch(text: &str) -> Option<bool> {
    match text {
        "true" | "1" | "yes" => Some(true),
        "false" | "0" | "no" => Some(false),
        _ => None,
    }
}

/// Reads a sum of whole numbers with units, such as `1h30m`; refuses zero and more than ten years.
fn span(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    const MOST: u64 = 10 * 365 * 24 * 3_600_000;
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (_, factor) = UNITS
            .into_iter()
            .find(|(unit, _)| *unit == &rest[..letters])?;
        rest = &rest[letters..];
        total = total.checked_add(number.checked_mul(factor)?)?;
    }
    (1..=MOST)
        .contains(&total)
        .then(|| Duration::from_millis(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_sums_of_whole_numbers_with_units() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1m1ms", 60_001),
        ] {
            assert_eq!(
                span(text),
                Some(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for text in [
            "",
            "0s",
            "5",
            "s",
            "-1s",
            "1.5h",
            "1d",
            "5 m",
            "99999999999999999999s",
            "99999999h",
            "é",
        ] {
            assert_eq!(span(text), None, "{text}");
        }
    }

    #[test]
    fn a_yaml_switch_is_a_boolean_and_nothing_else() {
        assert!(Kind::Switch.read_tree(&Tree::Bool(true)) == Some(Value::Switch(true)));
        assert!(
            Kind::Switch
                .read_tree(&Tree::String("true".into()))
                .is_none()
        );
    }

    #[test]
    fn a_count_has_bounds() {
        let port = Kind::Count(1, 65535);
        assert!(port.read_text("5432") == Some(Value::Count(5432)));
        for text in ["0", "65536", "-1", "5432.0", "x", ""] {
            assert!(port.read_text(text).is_none(), "{text}");
        }
    }
}
