//! Rows as PostgreSQL sends them.

use std::io;

use super::malformed;

/// A row as PostgreSQL sends it.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a>(&'a [u8]);

impl<'a> Row<'a> {
    /// Takes the body of a `DataRow` message.
    #[must_use]
    pub fn new(body: &'a [u8]) -> Self {
        Row(body)
    }

    /// The bytes that [`Row::new`] takes.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.0
    }

    /// Counts the bytes of its values.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.len().saturating_sub(2 + 4 * self.count())
    }

    /// Counts its values.
    #[must_use]
    pub fn count(&self) -> usize {
        match self.0 {
            [high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
            _ => 0,
        }
    }

    /// Goes through its values, in text; `None` is NULL. A row in no known form is an error.
    pub fn values(&self) -> impl Iterator<Item = io::Result<Option<&'a [u8]>>> + use<'a> {
        let mut rest = self.0.get(2..).unwrap_or_default();
        (0..self.count()).map(move |_| {
            let (value, after) = split_value(rest).ok_or_else(malformed)?;
            rest = after;
            Ok(value)
        })
    }
}

/// Splits a value off: its length, or -1 for NULL, and its bytes.
fn split_value(bytes: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    match i32::from_be_bytes(*length) {
        -1 => Some((None, rest)),
        length => {
            let (value, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            Some((Some(value), rest))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives the values of a row as far as they can be read, and says whether all could.
    fn read(body: &[u8]) -> (Vec<Option<&[u8]>>, bool) {
        let values: Vec<_> = Row::new(body).values().collect();
        let is_whole = values.iter().all(Result::is_ok);
        (
            values.into_iter().filter_map(Result::ok).collect(),
            is_whole,
        )
    }

    #[test]
    fn a_row_gives_its_values() {
        for (body, expected, size) in [
            (&b"\0\0"[..], vec![], 0),
            (b"\0\x01\xff\xff\xff\xff", vec![None], 0),
            (
                b"\0\x02\0\0\0\0\0\0\0\x02ab",
                vec![Some(&b""[..]), Some(b"ab")],
                2,
            ),
        ] {
            assert_eq!(read(body), (expected, true), "{body:?}");
            assert_eq!(Row::new(body).size(), size, "{body:?}");
        }
    }

    #[test]
    fn a_row_that_is_cut_off_or_lies_is_an_error() {
        for body in [
            &b"\0\x01"[..],
            b"\0\x01\0\0\0",
            b"\0\x01\0\0\0\x02a",
            b"\0\x01\xff\xff\xff\xfe",
            b"\0\x01\x7f\xff\xff\xffabc",
        ] {
            assert!(!read(body).1, "{body:?}");
        }
    }
}
