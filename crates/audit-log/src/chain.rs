//! How each line's hash depends on all lines before it.

use std::{fmt, io::Write, str::FromStr};

use sha2::{Digest, Sha256};

use crate::Entry;

/// What stands between a line's content and its hash, and after the hash.
const BEFORE_HASH: &[u8] = b",\"hash\":\"";
const AFTER_HASH: &[u8] = b"\"}";

/// The longest line, in bytes, with its end.
pub(crate) const LONGEST: usize = 1 << 20;

/// The most lines of a log, so that the number after the last one is still a number.
const MOST_LINES: u64 = u64::MAX >> 1;

/// The hash of a line, or the default one before the first line. Displayed in hexadecimal.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Hash([u8; 32]);

/// A text is not a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 64 hexadecimal digits")]
pub struct NotAHash;

impl Hash {
    /// Hashes bytes alone.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Hash(Sha256::digest(bytes).into())
    }

    /// Hashes a line's content following this hash.
    fn followed_by(self, content: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(self.0);
        hasher.update(content);
        Hash(hasher.finalize().into())
    }

    fn hex(self) -> [u8; 64] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0; 64];
        for (byte, two) in self.0.iter().zip(hex.chunks_exact_mut(2)) {
            two[0] = DIGITS[usize::from(byte >> 4)];
            two[1] = DIGITS[usize::from(byte & 15)];
        }
        hex
    }

    fn read(hex: &[u8]) -> Option<Self> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut bytes = [0; 32];
        if hex.len() != 64 {
            return None;
        }
        for (two, byte) in hex.chunks_exact(2).zip(&mut bytes) {
            *byte = digit(two[0])? << 4 | digit(two[1])?;
        }
        Some(Hash(bytes))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl FromStr for Hash {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Self, NotAHash> {
        Hash::read(text.to_ascii_lowercase().as_bytes()).ok_or(NotAHash)
    }
}

/// A place in the chain: after this many lines, of which the last has this hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The number of the last line; the first line is 1.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
}

impl Position {
    /// Writes an entry as the next line, and moves behind that.
    pub(crate) fn write(&mut self, entry: &Entry, out: &mut Vec<u8>) {
        let start = out.len();
        self.seq += 1;
        out.extend_from_slice(b"{\"seq\":");
        // Writing to a vector cannot fail.
        let _ = write!(out, "{}", self.seq);
        out.extend_from_slice(entry.members().as_bytes());
        self.hash = self.hash.followed_by(&out[start..]);
        out.extend_from_slice(BEFORE_HASH);
        out.extend_from_slice(&self.hash.hex());
        out.extend_from_slice(AFTER_HASH);
        out.push(b'\n');
    }

    /// Says what is wrong with a line that should be the next; moves behind it if nothing is.
    pub(crate) fn read(&mut self, line: &Line<'_>) -> Result<(), Misfit> {
        if line.seq != self.seq + 1 {
            return Err(Misfit::Order(line.seq));
        }
        if self.hash.followed_by(line.content) != line.hash {
            return Err(Misfit::Hash);
        }
        *self = line.position();
        Ok(())
    }
}

/// Why a line does not belong where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// It has this number, which is not the next one.
    Order(u64),
    /// Its hash is not the one computed.
    Hash,
}

/// A line of the file, without its line break.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    pub(crate) seq: u64,
    content: &'a [u8],
    hash: Hash,
}

impl<'a> Line<'a> {
    /// Takes a line apart; `None` if it is no line of such a log.
    pub(crate) fn read(line: &'a [u8]) -> Option<Self> {
        let rest = line.strip_suffix(AFTER_HASH)?;
        let (rest, hex) = rest.split_at_checked(rest.len().checked_sub(64)?)?;
        let content = rest.strip_suffix(BEFORE_HASH)?;
        let number = content.strip_prefix(b"{\"seq\":")?;
        let digits = number.iter().take_while(|byte| byte.is_ascii_digit());
        let digits = std::str::from_utf8(&number[..digits.count()]).ok()?;
        let seq = digits.parse().ok().filter(|seq| *seq <= MOST_LINES)?;
        Some(Line {
            seq,
            content,
            hash: Hash::read(hex)?,
        })
    }

    /// The place after it.
    pub(crate) fn position(&self) -> Position {
        Position {
            seq: self.seq,
            hash: self.hash,
        }
    }

    /// Its content as an object; `None` if it is not JSON.
    pub(crate) fn members(&self) -> Option<serde_json::Map<String, serde_json::Value>> {
        let object = [self.content, b"}"].concat();
        serde_json::from_slice(&object).ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use time::OffsetDateTime;

    #[test]
    fn a_line_says_what_it_was_given_and_the_hash_of_all_before() {
        let mut end = Position::default();
        let mut out = Vec::new();
        let entry = Entry::new("a", OffsetDateTime::UNIX_EPOCH).text("who", "x\"y");
        end.write(&entry, &mut out);
        let content = r#"{"seq":1,"time":"1970-01-01T00:00:00.000Z","event":"a","who":"x\"y""#;
        let hash = Hash::of(&[&[0; 32][..], content.as_bytes()].concat());
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!("{content},\"hash\":\"{hash}\"}}\n")
        );
        assert_eq!(end, Position { seq: 1, hash });
        assert_eq!(hash.to_string().parse(), Ok(hash));
    }

    #[test]
    fn what_is_no_line_is_not_read() {
        let hash = Hash::default();
        for text in [
            String::new(),
            "{}".into(),
            format!(",\"hash\":\"{hash}\"}}"),
            format!("{{\"seq\":x,\"hash\":\"{hash}\"}}"),
            format!("{{\"seq\":{},\"hash\":\"{hash}\"}}", u64::MAX),
            format!("{{\"seq\":{},\"hash\":\"{hash}\"}}", "9".repeat(30)),
            format!("{{\"seq\":1,\"hash\":\"g{}\"}}", &hash.to_string()[1..]),
        ] {
            assert!(Line::read(text.as_bytes()).is_none(), "{text}");
        }
    }
}
