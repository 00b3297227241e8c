//! JSON that handlers write themselves, so that it is not parsed and written again.

use serde_json::Value;
use serde_json::value::RawValue;

use super::{Project, write, write_list};
use crate::revision::Revision;

/// The JSON of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json(String);

impl Json {
    /// Takes the JSON of a value. The caller vouches for it: it is sent as it stands.
    ///
    /// # Panics
    ///
    /// With debug assertions, if it is not JSON.
    pub fn written(text: String) -> Self {
        debug_assert!(
            serde_json::from_str::<&RawValue>(&text).is_ok(),
            "this is no JSON: {text}"
        );
        Self(text)
    }

    /// Writes a value for a revision.
    pub(crate) fn of(value: &impl Project, revision: Revision) -> Self {
        let mut out = Vec::new();
        write(&mut out, value, revision);
        Self(String::from_utf8(out).expect("JSON is UTF-8"))
    }

    /// Writes a list for a revision.
    pub(crate) fn of_list(items: &[impl Project], revision: Revision) -> Self {
        let mut out = Vec::new();
        write_list(&mut out, items, revision);
        Self(String::from_utf8(out).expect("JSON is UTF-8"))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Box<RawValue>> for Json {
    fn from(value: Box<RawValue>) -> Self {
        Self(Box::<str>::from(value).into())
    }
}

impl From<&Value> for Json {
    fn from(value: &Value) -> Self {
        Self(value.to_string())
    }
}

/// A text as it stands between the quotes of a JSON string.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JsonText(String);

impl JsonText {
    /// Begins with an empty text, with room for this many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self(String::with_capacity(bytes))
    }

    /// Reserves memory for this many more bytes.
    pub fn reserve(&mut self, bytes: usize) {
        self.0.reserve(bytes);
    }

    /// Appends a piece, escaping it.
    pub fn push_str(&mut self, piece: &str) {
        if has_any(piece, is_escaped) {
            piece.chars().for_each(|character| self.push(character));
        } else {
            self.0.push_str(piece);
        }
    }

    /// Appends a character, escaping it.
    pub fn push(&mut self, character: char) {
        match character {
            '"' => self.0.push_str("\\\""),
            '\\' => self.0.push_str("\\\\"),
            '\n' => self.0.push_str("\\n"),
            '\r' => self.0.push_str("\\r"),
            '\t' => self.0.push_str("\\t"),
            control if control < ' ' => {
                self.0.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            other => self.0.push(other),
        }
    }

    /// Adds a piece that is already escaped as JSON. The caller vouches for that.
    ///
    /// # Panics
    ///
    /// With debug assertions, if it is not.
    pub fn push_written(&mut self, piece: &str) {
        debug_assert!(
            serde_json::from_str::<&RawValue>(&format!("\"{piece}\"")).is_ok(),
            "this is no text of JSON: {piece}"
        );
        self.0.push_str(piece);
    }

    /// Returns the escaped text, without the quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the text without escapes.
    pub fn plain(&self) -> String {
        serde_json::from_str(&format!("\"{}\"", self.0)).expect("every piece is written as JSON")
    }
}

impl From<String> for JsonText {
    fn from(text: String) -> Self {
        if has_any(&text, is_escaped) {
            text.as_str().into()
        } else {
            Self(text)
        }
    }
}

impl From<&str> for JsonText {
    fn from(text: &str) -> Self {
        let mut written = Self::with_capacity(text.len());
        written.push_str(text);
        written
    }
}

fn is_escaped(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\'
}

/// Says whether any byte is of a kind. It looks at every byte, so that the compiler can vectorise
/// it.
fn has_any(text: &str, kind: impl Fn(u8) -> bool) -> bool {
    text.bytes().fold(false, |found, byte| found | kind(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_is_written_as_json_writes_it() {
        let all: String = ('\0'..='\u{ff}').chain(['\u{2028}', '💡']).collect();
        let mut text = JsonText::from(&*all);
        assert_eq!(text.plain(), all);
        for character in all.chars() {
            text.push(character);
        }
        text.push_written("\\\"\\n");
        assert_eq!(text.plain(), format!("{all}{all}\"\n"));
    }

    #[test]
    #[should_panic(expected = "this is no text of JSON")]
    fn a_piece_that_would_end_the_text_is_noticed_by_tests() {
        JsonText::default().push_written("a\"b");
    }

    #[test]
    #[should_panic(expected = "this is no JSON")]
    fn what_is_no_json_is_noticed_by_tests() {
        Json::written("{\"a\":}".into());
    }
}
