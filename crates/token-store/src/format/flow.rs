//! A reader for values that the writer puts on one line: texts, lists of texts, and mappings from names to texts.

use std::borrow::Cow;

use time::OffsetDateTime;

use super::{
    instant,
    policy::Given,
    write::{BARE, is_text},
};
use crate::secret::TokenHash;

/// The units that may follow the digits of a number, including none.
const UNITS: [&str; 8] = ["", "KiB", "MiB", "GiB", "ms", "s", "m", "h"];

/// The unread rest of a file. Taken parts are borrowed, each byte inspected once. If something other than expected
/// comes next, a method returns `None`, and reading is over.
#[derive(Clone, Copy)]
pub(super) struct Rest<'a>(pub(super) &'a str);

impl<'a> Rest<'a> {
    /// Takes this exact text if it is next, and says whether it was.
    pub(super) fn take(&mut self, expected: &str) -> bool {
        let rest = self.0.strip_prefix(expected);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// Takes this exact text, or returns `None`.
    pub(super) fn expect(&mut self, expected: &str) -> Option<()> {
        self.take(expected).then_some(())
    }

    /// Takes the longest run of bytes that may stand without quotes, whatever it means.
    pub(super) fn plain(&mut self) -> &'a str {
        let ends = |byte: u8| !BARE[usize::from(byte)];
        let end = self.0.bytes().position(ends);
        let (plain, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest;
        plain
    }

    /// Takes `count` bytes.
    fn bytes(&mut self, count: usize) -> Option<&'a str> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// Takes a hash, quoted or bare.
    pub(super) fn hash(&mut self) -> Option<TokenHash> {
        let is_quoted = self.take("\"");
        let hash = TokenHash::from_hex(self.bytes(64)?)?;
        self.expect(if is_quoted { "\"" } else { "" })?;
        Some(hash)
    }

    /// Takes a quoted time in the one form that is written.
    pub(super) fn time(&mut self) -> Option<OffsetDateTime> {
        self.expect("\"")?;
        let time = instant::whole_seconds(self.bytes(20)?)?;
        self.expect("\"")?;
        Some(time)
    }

    /// Takes a bare text, or a quoted one whose only escapes are `\"` and `\\`.
    pub(super) fn text(&mut self) -> Option<Cow<'a, str>> {
        if self.take("\"") {
            return self.quoted();
        }
        let plain = self.plain();
        is_text(plain).then_some(Cow::Borrowed(plain))
    }

    fn quoted(&mut self) -> Option<Cow<'a, str>> {
        let is_plain = |byte: u8| matches!(byte, b' '..=b'!' | b'#'..=b'[' | b']'..=b'~');
        let end = self.0.bytes().position(|byte| !is_plain(byte))?;
        let plain = self.bytes(end)?;
        if self.take("\"") {
            return Some(Cow::Borrowed(plain));
        }
        let mut value = plain.to_owned();
        let mut characters = self.0.chars();
        loop {
            value.push(match characters.next()? {
                '"' => break,
                '\\' => characters.next().filter(|next| "\"\\".contains(*next))?,
                plain @ ' '..='~' => plain,
                _ => return None,
            });
        }
        self.0 = characters.as_str();
        Some(Cow::Owned(value))
    }

    /// Takes a scalar inside a value: a text, a quantity or a hash.
    fn scalar(&mut self) -> Option<Cow<'a, str>> {
        if self.take("\"") {
            return self.quoted();
        }
        let plain = self.plain();
        let is_scalar = is_text(plain) || is_quantity(plain) || is_bare_hash(plain);
        is_scalar.then_some(Cow::Borrowed(plain))
    }

    /// Takes a value.
    pub(super) fn value(&mut self) -> Option<Given<'a>> {
        if self.take("[") {
            let mut list = Vec::with_capacity(4);
            loop {
                list.push(self.scalar()?);
                if self.take("]") {
                    return Some(Given::List(list));
                }
                self.expect(", ")?;
            }
        }
        if self.take("{") {
            let mut pairs = Vec::with_capacity(4);
            loop {
                let key = self.plain();
                is_text(key).then_some(())?;
                self.expect(": ")?;
                pairs.push((Cow::Borrowed(key), self.scalar()?));
                if self.take("}") {
                    return Some(Given::Map(pairs));
                }
                self.expect(", ")?;
            }
        }
        self.scalar().map(Given::Scalar)
    }
}

/// Says whether this is a whole number, or a sum of numbers with units such as `1h30m`.
fn is_quantity(plain: &str) -> bool {
    let mut rest = plain;
    loop {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let is_number = (1..=18).contains(&digits) && !rest.starts_with('0');
        let tail = &rest[digits..];
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        if !is_number || !UNITS.contains(&&tail[..letters]) {
            return false;
        }
        if letters == tail.len() {
            return true;
        }
        rest = &tail[letters..];
    }
}

/// Says whether this is a hash that no reader takes for a number.
fn is_bare_hash(plain: &str) -> bool {
    let is_letter = |digit: u8| matches!(digit, b'a'..=b'd' | b'f');
    TokenHash::from_hex(plain).is_some() && plain.bytes().any(is_letter)
}
