//! A reader for the values that the writer puts on one line: texts, lists of texts, and mappings from names to texts.

use super::{Value, write::is_bare};
use crate::secret::TokenHash;

/// The letters that may follow the digits of a number, or nothing.
const UNITS: [&str; 8] = ["", "KiB", "MiB", "GiB", "ms", "s", "m", "h"];

/// Reads one line's value; nothing when it is in any other form.
pub(super) fn read(text: &str) -> Option<Value> {
    if let Some(inside) = enclosed(text, '[', ']') {
        let items = split(inside)?.into_iter().map(item);
        return items.collect::<Option<_>>().map(Value::List);
    }
    if let Some(inside) = enclosed(text, '{', '}') {
        let pairs = split(inside)?.into_iter().map(|pair| {
            let (key, value) = pair.split_once(": ")?;
            let key = is_bare(key).then(|| Value::Text(key.to_owned()))?;
            Some((key, item(value)?))
        });
        return pairs.collect::<Option<_>>().map(Value::Map);
    }
    item(text)
}

fn enclosed(text: &str, open: char, close: char) -> Option<&str> {
    text.strip_prefix(open)?.strip_suffix(close)
}

/// Splits at `, ` outside of quotes.
fn split(text: &str) -> Option<Vec<&str>> {
    let mut parts = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                parts.push(&text[start..at]);
                start = at + 2;
                if text.as_bytes().get(at + 1) != Some(&b' ') {
                    return None;
                }
            }
            _ => {}
        }
    }
    parts.push(text.get(start..)?);
    Some(parts)
}

fn item(text: &str) -> Option<Value> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let is_number = (1..=18).contains(&digits) && !text.starts_with('0');
    if is_number && UNITS.contains(&&text[digits..]) {
        return Some(Value::Plain(text.to_owned()));
    }
    let has_letter = |text: &str| {
        text.bytes()
            .any(|digit| matches!(digit, b'a'..=b'd' | b'f'))
    };
    if TokenHash::from_hex(text).is_some() && has_letter(text) {
        return Some(Value::Text(text.to_owned()));
    }
    scalar(text).map(Value::Text)
}

/// Reads a bare text, or a quoted one whose only escapes are `\"` and `\\`.
pub(super) fn scalar(text: &str) -> Option<String> {
    let Some(inner) = text.strip_prefix('"') else {
        return is_bare(text).then(|| text.to_owned());
    };
    let inner = inner.strip_suffix('"')?;
    let mut value = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        value.push(match character {
            ' '..='!' | '#'..='[' | ']'..='~' => character,
            '\\' => characters.next().filter(|next| "\"\\".contains(*next))?,
            _ => return None,
        });
    }
    Some(value)
}
