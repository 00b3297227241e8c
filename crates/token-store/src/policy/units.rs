//! Sizes and time spans with units, such as `256KiB` and `1h30m`.

use std::{
    fmt,
    num::{NonZeroU32, NonZeroU64},
    str::FromStr,
    time::Duration,
};

/// Units of size in bytes, largest first.
const SIZES: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("", 1),
];

/// Units of time in milliseconds, longest first.
const SPANS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The longest span: a year of 365 days.
const LONGEST: u64 = 365 * 24 * 3_600_000;

/// A number of bytes from 1 to 1 GiB, written as `262144`, `256KiB` or `1MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteSize(NonZeroU32);

/// A span of time from 1 ms to 365 days, written as a sum such as `500ms`, `30s` or `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    milliseconds: NonZeroU64,
}

/// Why a text is not such a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a quantity is a whole number and a unit, such as 256KiB or 10s")]
pub struct InvalidQuantity;

impl ByteSize {
    /// Takes a number of bytes; `None` for 0 and for more than 1 GiB.
    #[must_use]
    pub fn new(bytes: u64) -> Option<Self> {
        let bytes = NonZeroU32::new(u32::try_from(bytes).ok()?)?;
        (bytes.get() <= 1 << 30).then_some(Self(bytes))
    }

    /// Returns the number of bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.0.get().into()
    }
}

impl FromStr for ByteSize {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let (number, unit) = leading_number(text).ok_or(InvalidQuantity)?;
        let known = SIZES.iter().find(|(name, _)| *name == unit);
        known
            .and_then(|(_, bytes)| number.checked_mul(*bytes))
            .and_then(Self::new)
            .ok_or(InvalidQuantity)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.bytes();
        let (unit, size) = SIZES
            .into_iter()
            .find(|(_, size)| bytes.is_multiple_of(*size))
            .unwrap_or(("", 1));
        write!(out, "{}{unit}", bytes / size)
    }
}

impl Span {
    /// Takes a span; `None` for less than 1 ms and for more than 365 days. Fractions of a
    /// millisecond are cut off.
    #[must_use]
    pub fn new(span: Duration) -> Option<Self> {
        Self::of(u64::try_from(span.as_millis()).ok()?)
    }

    fn of(milliseconds: u64) -> Option<Self> {
        let milliseconds = NonZeroU64::new(milliseconds)?;
        (milliseconds.get() <= LONGEST).then_some(Self { milliseconds })
    }

    /// Returns the span.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_millis(self.milliseconds.get())
    }
}

impl FromStr for Span {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let mut rest = text;
        let mut total = 0_u64;
        while !rest.is_empty() {
            let (number, tail) = leading_number(rest).ok_or(InvalidQuantity)?;
            let end = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
            let known = SPANS.iter().find(|(name, _)| *name == &tail[..end]);
            let part = known.and_then(|(_, size)| number.checked_mul(*size));
            let sum = part.and_then(|part| total.checked_add(part));
            total = sum.ok_or(InvalidQuantity)?;
            rest = &tail[end..];
        }
        Self::of(total).ok_or(InvalidQuantity)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.milliseconds.get();
        for (unit, size) in SPANS {
            if left >= size {
                write!(out, "{}{unit}", left / size)?;
                left %= size;
            }
        }
        Ok(())
    }
}

/// Splits a whole number of ASCII digits off the front.
fn leading_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number = text[..digits].parse().ok()?;
    Some((number, &text[digits..]))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_spans_are_written_as_short_as_they_go() {
        for (text, bytes, written) in [
            ("262144", 262_144, "256KiB"),
            ("256KiB", 262_144, "256KiB"),
            ("1024KiB", 1 << 20, "1MiB"),
            ("1GiB", 1 << 30, "1GiB"),
            ("1000", 1_000, "1000"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!((size.bytes(), size.to_string().as_str()), (bytes, written));
        }
        for (text, milliseconds, written) in [
            ("500ms", 500, "500ms"),
            ("90m", 5_400_000, "1h30m"),
            ("1h30m", 5_400_000, "1h30m"),
            ("1001ms", 1_001, "1s1ms"),
            ("8760h", LONGEST, "8760h"),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.duration(), Duration::from_millis(milliseconds));
            assert_eq!(span.to_string(), written);
        }
    }

    #[test]
    fn what_is_zero_too_large_or_malformed_is_refused() {
        for text in [
            "",
            "0",
            "-1",
            "1kb",
            "1 KiB",
            "2GiB",
            "1.5MiB",
            "é",
            "99999999999999999999",
        ] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        for text in [
            "", "0s", "5", "s", "-1s", "1.5h", "1d", "8761h", "1s s", "é",
        ] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
