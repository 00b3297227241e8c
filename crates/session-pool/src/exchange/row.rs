//! Rows as PostgreSQL sends them.

use std::{borrow::Cow, io};

use super::{form::Form, malformed};

/// A row as PostgreSQL sends it.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    body: &'a [u8],
    /// Of each column; none when all are texts.
    forms: &'a [Form],
}

impl<'a> Row<'a> {
    /// Takes the body of a `DataRow` message whose values are texts.
    #[must_use]
    pub fn new(body: &'a [u8]) -> Self {
        Row { body, forms: &[] }
    }

    pub(super) fn in_forms(body: &'a [u8], forms: &'a [Form]) -> Self {
        Row { body, forms }
    }

    /// Counts its values.
    #[must_use]
    pub fn count(&self) -> usize {
        match self.body {
            [high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
            _ => 0,
        }
    }

    /// Goes through its values; `None` is NULL. A row in no known form is an error.
    pub fn values(&self) -> impl Iterator<Item = io::Result<Option<Value<'a>>>> + use<'a> {
        let mut rest = self.body.get(2..).unwrap_or_default();
        let mut forms = self.forms.iter();
        (0..self.count()).map(move |_| {
            let (bytes, after) = split_value(rest).ok_or_else(malformed)?;
            rest = after;
            let form = forms.next().copied().unwrap_or(Form::Text);
            Ok(bytes.map(|bytes| Value { bytes, form }))
        })
    }
}

/// A value of a row.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    bytes: &'a [u8],
    form: Form,
}

impl<'a> Value<'a> {
    /// Gives its text, as the type's own output function writes it.
    ///
    /// # Errors
    /// It is in no known form.
    pub fn text(&self) -> io::Result<Cow<'a, [u8]>> {
        if self.form == Form::Text {
            return Ok(self.bytes.into());
        }
        let mut text = Vec::new();
        self.append_to(&mut text)?;
        Ok(text.into())
    }

    /// Writes its text behind others.
    ///
    /// # Errors
    /// It is in no known form.
    pub fn append_to(&self, out: &mut Vec<u8>) -> io::Result<()> {
        self.form.write(self.bytes, out)
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
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Gives the texts of a row's values.
    fn read(row: Row<'_>) -> io::Result<Vec<Option<String>>> {
        let text = |value: Value<'_>| Ok(String::from_utf8(value.text()?.into()).unwrap());
        row.values()
            .map(|value| value?.map(text).transpose())
            .collect()
    }

    #[test]
    fn a_row_gives_its_values() {
        for (body, expected) in [
            (&b"\0\0"[..], &[][..]),
            (b"\0\x01\xff\xff\xff\xff", &[None]),
            (b"\0\x02\0\0\0\0\0\0\0\x02ab", &[Some(""), Some("ab")]),
        ] {
            let expected: Vec<_> = expected
                .iter()
                .map(|value| value.map(str::to_owned))
                .collect();
            assert_eq!(read(Row::new(body)).unwrap(), expected, "{body:?}");
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
            assert!(read(Row::new(body)).is_err(), "{body:?}");
        }
    }

    #[test]
    fn a_value_of_another_length_than_its_forms_is_an_error() {
        for form in [
            Form::Uuid,
            Form::Date,
            Form::Timestamp,
            Form::TimestampInUtc,
        ] {
            for length in [0, 1, 3, 5, 9, 15, 17] {
                let mut body = vec![0, 1, 0, 0, 0, length];
                body.resize(6 + usize::from(length), 7);
                let forms = [form];
                let row = Row::in_forms(&body, &forms);
                assert!(read(row).is_err(), "{form:?} of {length} bytes");
            }
        }
    }
}
