//! Reads a call's arguments one by one, with messages that name the fix. They were checked against the schema that
//! clients were shown before.

use serde_json::{Map, Value};

/// Room for arguments that a reader knows and a call leaves out.
const LEFT_OUT: usize = 4;

/// The arguments of one call. A reader takes those that it knows; any that is left over is a
/// mistake.
pub(crate) struct Arguments {
    given: Map<String, Value>,
    known: Vec<&'static str>,
}

impl Arguments {
    pub(crate) fn new(given: Map<String, Value>) -> Self {
        Arguments {
            known: Vec::with_capacity(given.len() + LEFT_OUT),
            given,
        }
    }

    fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.given.remove(name).filter(|value| !value.is_null())
    }

    /// Takes whatever value is given.
    pub(crate) fn value(&mut self, name: &str) -> Option<Value> {
        self.given.remove(name)
    }

    /// Takes a text that must be given.
    pub(crate) fn text(&mut self, name: &'static str) -> Result<String, String> {
        match self.take(name) {
            Some(Value::String(text)) => without_nul(name, text),
            Some(_) => Err(format!("{name} must be a text")),
            None => Err(format!("{name} is missing; it must be a text")),
        }
    }

    /// Takes a text that may be left out; an empty one counts as left out.
    pub(crate) fn optional_text(&mut self, name: &'static str) -> Result<Option<String>, String> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => without_nul(name, text).map(Some),
            Some(_) => Err(format!("{name} must be a text")),
        }
    }

    /// Takes `true` or `false`, or `default` when none is given.
    pub(crate) fn switch(&mut self, name: &'static str, default: bool) -> Result<bool, String> {
        match self.take(name) {
            None => Ok(default),
            Some(Value::Bool(on)) => Ok(on),
            Some(_) => Err(format!("{name} must be true or false")),
        }
    }

    /// Takes one of some words, or the first of them when none is given.
    pub(crate) fn choice(
        &mut self,
        name: &'static str,
        words: &[&'static str],
    ) -> Result<&'static str, String> {
        let wrong = || format!("{name} must be one of {}", words.join(", "));
        match self.take(name) {
            None => words.first().copied().ok_or_else(wrong),
            Some(value) => words
                .iter()
                .copied()
                .find(|word| value == *word)
                .ok_or_else(wrong),
        }
    }

    /// Takes a whole number, or `default` when none is given.
    pub(crate) fn number(
        &mut self,
        name: &'static str,
        bounds: std::ops::RangeInclusive<u64>,
        default: u64,
    ) -> Result<u64, String> {
        let Some(value) = self.take(name) else {
            return Ok(default);
        };
        let number = match &value {
            Value::Number(number) => number.as_u64().or_else(|| whole(number.as_f64()?)),
            _ => None,
        };
        number
            .filter(|number| bounds.contains(number))
            .ok_or_else(|| {
                let (least, most) = (bounds.start(), bounds.end());
                format!("{name} must be a whole number from {least} to {most}")
            })
    }

    /// Takes a number between 0 and 1, or `default` when none is given.
    pub(crate) fn share(&mut self, name: &'static str, default: f64) -> Result<f64, String> {
        let Some(value) = self.take(name) else {
            return Ok(default);
        };
        let number = match &value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        number
            .filter(|number| (0.0..=1.0).contains(number))
            .ok_or_else(|| format!("{name} must be a number from 0 to 1"))
    }

    /// Takes a list of texts that may be left out; one text counts as a list of one.
    pub(crate) fn optional_texts(
        &mut self,
        name: &'static str,
    ) -> Result<Option<Vec<String>>, String> {
        let wrong = || format!("{name} must be a list of texts");
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(vec![text])),
            Some(Value::Array(items)) => {
                let text = |item: Value| item.as_str().map(str::to_owned).ok_or_else(wrong);
                let texts: Vec<_> = items.into_iter().map(text).collect::<Result<_, _>>()?;
                Ok(Some(texts).filter(|texts| !texts.is_empty()))
            }
            Some(_) => Err(wrong()),
        }
    }

    /// Takes a value of any form that may be left out.
    pub(crate) fn optional_value(&mut self, name: &'static str) -> Option<Value> {
        self.take(name)
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// Names an argument that no reader asked for.
    pub(crate) fn finish(self) -> Result<(), String> {
        match self.given.keys().next() {
            None => Ok(()),
            Some(name) => Err(format!(
                "unknown argument \"{}\"; known are {}",
                crate::quoting::repeated(name),
                self.known.join(", ")
            )),
        }
    }
}

/// Takes `100.0` as 100, as JSON does.
fn whole(number: f64) -> Option<u64> {
    // Up to 2^53 every whole number is exact.
    let exact = number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // checked in the line above
    exact.then_some(number as u64)
}

/// Accepts a text that PostgreSQL can store. About a NUL character PostgreSQL would only say that bytes are wrong.
fn without_nul(name: &str, text: String) -> Result<String, String> {
    if text.contains('\0') {
        return Err(format!("{name} contains a NUL character; remove it"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn arguments(text: &str) -> Arguments {
        Arguments::new(serde_json::from_str(text).unwrap())
    }

    #[test]
    fn numbers_have_bounds_and_a_default() {
        for (text, expected) in [
            ("{}", Ok(100)),
            (r#"{"n":null}"#, Ok(100)),
            (r#"{"n":1}"#, Ok(1)),
            (r#"{"n":1000.0}"#, Ok(1000)),
            (r#"{"n":"7"}"#, Err(())),
            (r#"{"n":0}"#, Err(())),
            (r#"{"n":1001}"#, Err(())),
            (r#"{"n":-1}"#, Err(())),
            (r#"{"n":1.5}"#, Err(())),
            (r#"{"n":1e300}"#, Err(())),
            (r#"{"n":"many"}"#, Err(())),
            (r#"{"n":[1]}"#, Err(())),
        ] {
            let read = arguments(text).number("n", 1..=1000, 100).map_err(|_| ());
            assert_eq!(read, expected, "{text}");
        }
    }

    #[test]
    fn what_nobody_asked_for_is_named() {
        let mut given = arguments(r#"{"query":"SELECT 1","sql":"x"}"#);
        given.text("query").unwrap();
        assert_eq!(
            given.finish().unwrap_err(),
            "unknown argument \"sql\"; known are query"
        );
    }
}
