//! A reader for the values that the writer puts on one line: texts, lists of texts, and mappings from names to texts.

use std::borrow::Cow;

use super::{policy::Given, write::is_bare};
use crate::secret::TokenHash;

/// The letters that may follow the digits of a number, or nothing.
const UNITS: [&str; 8] = ["", "KiB", "MiB", "GiB", "ms", "s", "m", "h"];

/// Reads one line's value; nothing when it is in any other form.
pub(super) fn read(text: &str) -> Option<Given<'_>> {
    if let Some(inside) = enclosed(text, '[', ']') {
        let mut list = Vec::with_capacity(4);
        let mut parts = Parts(Some(inside));
        while let Some(part) = parts.next()? {
            list.push(item(part)?);
        }
        return Some(Given::List(list));
    }
    if let Some(inside) = enclosed(text, '{', '}') {
        let mut pairs = Vec::with_capacity(4);
        let mut parts = Parts(Some(inside));
        while let Some(part) = parts.next()? {
            let (key, value) = part.split_once(": ")?;
            let key = is_bare(key).then_some(Cow::Borrowed(key))?;
            pairs.push((key, item(value)?));
        }
        return Some(Given::Map(pairs));
    }
    item(text).map(Given::Scalar)
}

fn enclosed(text: &str, open: char, close: char) -> Option<&str> {
    text.strip_prefix(open)?.strip_suffix(close)
}

/// What is left of a list, of which a part reaches to the next `, ` outside of quotes.
struct Parts<'a>(Option<&'a str>);

impl<'a> Parts<'a> {
    /// Returns the next part, or nothing after the last; fails where a comma has no space behind it.
    fn next(&mut self) -> Option<Option<&'a str>> {
        let Some(text) = self.0 else {
            return Some(None);
        };
        let (mut quoted, mut escaped) = (false, false);
        let comma = text.bytes().position(|byte| {
            let ends = byte == b',' && !quoted;
            quoted ^= byte == b'"' && !escaped;
            escaped = byte == b'\\' && quoted && !escaped;
            ends
        });
        let Some(comma) = comma else {
            self.0 = None;
            return Some(Some(text));
        };
        self.0 = Some(text[comma..].strip_prefix(", ")?);
        Some(Some(&text[..comma]))
    }
}

fn item(text: &str) -> Option<Cow<'_, str>> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let is_number = (1..=18).contains(&digits) && !text.starts_with('0');
    if is_number && UNITS.contains(&&text[digits..]) {
        return Some(Cow::Borrowed(text));
    }
    let has_letter = |text: &str| {
        text.bytes()
            .any(|digit| matches!(digit, b'a'..=b'd' | b'f'))
    };
    if TokenHash::from_hex(text).is_some() && has_letter(text) {
        return Some(Cow::Borrowed(text));
    }
    scalar(text)
}

/// Reads a bare text, or a quoted one whose only escapes are `\"` and `\\`.
pub(super) fn scalar(text: &str) -> Option<Cow<'_, str>> {
    let Some(inner) = text.strip_prefix('"') else {
        return is_bare(text).then_some(Cow::Borrowed(text));
    };
    let inner = inner.strip_suffix('"')?;
    let is_plain = |byte: u8| matches!(byte, b' '..=b'!' | b'#'..=b'[' | b']'..=b'~');
    if inner.bytes().all(is_plain) {
        return Some(Cow::Borrowed(inner));
    }
    let mut value = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        value.push(match character {
            ' '..='!' | '#'..='[' | ']'..='~' => character,
            '\\' => characters.next().filter(|next| "\"\\".contains(*next))?,
            _ => return None,
        });
    }
    Some(Cow::Owned(value))
}
