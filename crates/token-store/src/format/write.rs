//! Writing a file in the list form, readable by any YAML parser whatever the notes contain.

use std::{
    fmt::{self, Write},
    sync::Arc,
};

use super::{Value, instant, policy};
use crate::token::Token;

/// Words that some YAML reader takes for something other than text.
const NOT_TEXT: [&str; 12] = [
    "true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf", "infinity",
];

/// The length in bytes of the longest word in [`NOT_TEXT`].
const LONGEST_NOT_TEXT: usize = 8;

/// Writes all tokens and the unknown fields.
pub(crate) fn write(tokens: &[Arc<Token>], unknown: &[(Value, Value)]) -> String {
    let mut out = String::with_capacity(64 + tokens.len() * 256);
    for (key, value) in unknown {
        field(&mut out, "", key, value);
    }
    out.push_str(if tokens.is_empty() {
        "tokens: []\n"
    } else {
        "tokens:\n"
    });
    for token in tokens {
        entry(&mut out, token);
    }
    out
}

fn entry(out: &mut String, token: &Token) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "  - id: {}", scalar(token.id.as_str()));
    let _ = writeln!(out, "    hash: {}", hash(&token.hash.to_hex()));
    let _ = writeln!(out, "    note: {}", scalar(&token.note));
    if let Some(databases) = &token.databases {
        policy::write_databases(out, databases);
    }
    let _ = writeln!(
        out,
        "    created_at: \"{}\"",
        instant::write(token.created_at)
    );
    let _ = match token.expires_at {
        Some(end) => writeln!(out, "    expires_at: \"{}\"", instant::write(end)),
        None => writeln!(out, "    expires_at: null"),
    };
    policy::write(out, token);
    for (key, value) in &token.unknown {
        field(out, "    ", key, value);
    }
}

/// Quotes a hash that a reader might take for a number: `12e4...`, or digits alone.
pub(super) fn hash(digits: &str) -> String {
    let is_letter = |digit: u8| digit.is_ascii_alphabetic() && digit != b'e';
    if !digits.bytes().any(is_letter) {
        return format!("\"{digits}\"");
    }
    digits.to_owned()
}

fn field(out: &mut String, indent: &str, key: &Value, value: &Value) {
    out.push_str(indent);
    match key {
        Value::Text(key) if key.len() < 200 => out.push_str(&scalar(key)),
        // YAML limits an implicit key to 1,024 characters on one line; a longer one needs the `?` indicator.
        long => {
            out.push_str("? ");
            flow(out, long);
            out.push('\n');
            out.push_str(indent);
        }
    }
    out.push_str(": ");
    match value {
        Value::Text(text) => out.push_str(&scalar(text)),
        other => flow(out, other),
    }
    out.push('\n');
}

/// Writes any value on one line.
fn flow(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Plain(spelling) => out.push_str(spelling),
        Value::Text(text) => {
            // Writing to a String cannot fail.
            let _ = write_quoted(out, text);
        }
        Value::List(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                out.push_str(if place > 0 { ", " } else { "" });
                flow(out, item);
            }
            out.push(']');
        }
        Value::Map(pairs) => {
            out.push('{');
            for (place, (key, value)) in pairs.iter().enumerate() {
                out.push_str(if place > 0 { ", ? " } else { "? " });
                flow(out, key);
                out.push_str(" : ");
                flow(out, value);
            }
            out.push('}');
        }
    }
}

/// Writes a text bare if every YAML reader takes it for text, else in double quotes.
pub(super) fn write_scalar(out: &mut impl Write, text: &str) -> fmt::Result {
    if is_bare(text) {
        out.write_str(text)
    } else {
        write_quoted(out, text)
    }
}

/// Returns what [`write_scalar`] writes.
pub(super) fn scalar(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    // Writing to a String cannot fail.
    let _ = write_scalar(&mut out, text);
    out
}

/// The bytes that a bare text may contain.
pub(super) static BARE: [bool; 256] = {
    let mut bare = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        bare[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b' ' | b'_' | b'-' | b'.' | b'/' | b'(' | b')' | b'+' | b'@'
            );
        byte += 1;
    }
    bare
};

/// Says whether a text may stand without quotes. The scanner accepts exactly these texts.
fn is_bare(text: &str) -> bool {
    text.bytes().all(|byte| BARE[usize::from(byte)]) && is_text(text)
}

/// Says whether every reader takes a text of [`BARE`] bytes for text.
pub(super) fn is_text(bare: &str) -> bool {
    bare.starts_with(|first: char| first.is_ascii_alphabetic())
        && !bare.ends_with(' ')
        && (bare.len() > LONGEST_NOT_TEXT
            || !NOT_TEXT.iter().any(|word| word.eq_ignore_ascii_case(bare)))
}

/// Writes a text in double quotes, escaping every character that is not plainly printable (YAML 1.2.2, section 5.7).
fn write_quoted(out: &mut impl Write, text: &str) -> fmt::Result {
    out.write_str("\"")?;
    let mut rest = text;
    while let Some(place) = rest.find(|character| !is_plain(character)) {
        let (plain, special) = rest.split_at(place);
        out.write_str(plain)?;
        let mut characters = special.chars();
        if let Some(character) = characters.next() {
            write_special(out, character)?;
        }
        rest = characters.as_str();
    }
    out.write_str(rest)?;
    out.write_str("\"")
}

/// Says whether a character can stand unescaped between quotes for even the oldest readers.
fn is_plain(character: char) -> bool {
    matches!(character, ' '..='~') && !matches!(character, '"' | '\\')
}

fn write_special(out: &mut impl Write, character: char) -> fmt::Result {
    let code = u32::from(character);
    match character {
        '"' | '\\' => write!(out, "\\{character}"),
        '\n' => write!(out, "\\n"),
        '\t' => write!(out, "\\t"),
        _ if is_printable(character) => write!(out, "{character}"),
        _ if code < 0x100 => write!(out, "\\x{code:02x}"),
        _ if code < 0x1_0000 => write!(out, "\\u{code:04x}"),
        _ => write!(out, "\\U{code:08x}"),
    }
}

/// Says whether a character may stand unescaped: it is in the Basic Multilingual Plane, and not a line break, a byte
/// order or direction mark, or an invisible or unusual space.
fn is_printable(character: char) -> bool {
    !matches!(u32::from(character),
        0..=0xa0 | 0xad | 0x2000..=0x200f | 0x2028..=0x202f | 0x205f..=0x206f | 0x061c | 0x3000 | 0xd800..=0xf8ff | 0xfe00..=0xfe0f | 0xfeff | 0xfff0..)
}
