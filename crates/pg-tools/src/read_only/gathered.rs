//! Rows that are still arriving.

use std::io;

use session_pool::Row;

use super::{
    failure::ReadError,
    rows::{Column, Cut, Keys, LONGEST_KEY, Rows, ValueEnd},
};
use crate::render::Writer;

/// What is kept in place of a longer key.
const TOO_LONG: &[u8] = &[b' '; LONGEST_KEY + 1];

/// Rows are rendered once there are so many bytes of them, which is about what PostgreSQL sends at once.
const PIECE: usize = 8 << 10;

/// Room for the values of the first rows, in bytes and in rows.
const ROOM: usize = 1 << 10;
const ROOM_ROWS: usize = 8;

/// Rows that are still arriving.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    bytes: Vec<u8>,
    values: Vec<ValueEnd>,
    count: usize,
    shown: Option<Shown>,
}

/// The rendered part of rows that are still arriving.
#[derive(Debug)]
struct Shown {
    writer: Writer,
    columns: Vec<Column>,
    /// How many values of each row are rendered.
    width: usize,
    /// How many rows were rendered, and how many bytes of values they have, including those that are not shown.
    rows: usize,
    bytes: usize,
}

impl Gathered {
    /// Has the rows rendered while they arrive: the values of the first `own` columns, after which the keys come.
    pub(super) fn write_with(&mut self, columns: Vec<Column>, own: usize) {
        self.bytes.reserve(ROOM);
        self.values.reserve(ROOM_ROWS * columns.len());
        self.shown = Some(Shown {
            writer: Writer::new(&columns[..own]),
            columns,
            width: own,
            rows: 0,
            bytes: 0,
        });
    }

    /// Counts the rows.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Adds a row, and returns the bytes of its values. A row in an unknown form, or of another width than those
    /// before, is an error.
    pub(crate) fn push(&mut self, row: Row<'_>) -> io::Result<usize> {
        self.push_first(row, usize::MAX, 0)
    }

    /// Adds the first values of a row, `own` of the result and then as many keys as `keys` says; returns the bytes of
    /// the former.
    pub(super) fn push_first(
        &mut self,
        row: Row<'_>,
        own: usize,
        keys: usize,
    ) -> io::Result<usize> {
        let before = self.values.len();
        let mut bytes = 0;
        for (at, value) in row.values().take(own.saturating_add(keys)).enumerate() {
            let (value, start) = (value?, self.bytes.len());
            if let Some(value) = value {
                value.append_to(&mut self.bytes)?;
            }
            let length = self.bytes.len() - start;
            if at < own {
                bytes += length;
            } else if length > LONGEST_KEY {
                self.bytes.truncate(start);
                self.bytes.extend_from_slice(TOO_LONG);
            }
            self.values.push(ValueEnd {
                at: u32::try_from(self.bytes.len()).map_err(io::Error::other)?,
                is_null: value.is_none(),
            });
        }
        if self.count * (self.values.len() - before) != before {
            return Err(io::Error::other("rows have different numbers of values"));
        }
        self.count += 1;
        Ok(bytes)
    }

    /// Removes the last row, which must not have been rendered.
    pub(crate) fn pop(&mut self) {
        let Some(width) = self.values.len().checked_div(self.count) else {
            return;
        };
        self.count -= 1;
        self.values.truncate(self.count * width);
        let end = self.values.last().map_or(0, |value| value.at as usize);
        self.bytes.truncate(end);
    }

    /// Adds a row of values that were split already, of the same width as those before.
    pub(crate) fn push_values<'a>(&mut self, row: impl IntoIterator<Item = Option<&'a str>>) {
        for value in row {
            self.bytes
                .extend_from_slice(value.unwrap_or_default().as_bytes());
            self.values.push(ValueEnd {
                at: u32::try_from(self.bytes.len()).unwrap_or(u32::MAX),
                is_null: value.is_none(),
            });
        }
        self.count += 1;
    }

    /// Renders what has arrived, if it is enough. With the first piece, room is made for all that may come: `most_rows`
    /// rows, with `most_bytes` bytes of values.
    pub(super) fn write_ahead(&mut self, most_rows: usize, most_bytes: usize) {
        let Some(shown) = &self.shown else {
            return;
        };
        if self.bytes.len() - shown.bytes < PIECE {
            return;
        }
        let (mut bytes, mut values) = (0, 0);
        if shown.rows == 0 {
            let times = most_rows / self.count;
            bytes = self.bytes.len().saturating_mul(times).min(most_bytes);
            values = self.values.len().saturating_mul(times).min(most_bytes);
            self.bytes.reserve(bytes);
            self.values.reserve(values);
        }
        self.write_all(bytes, values);
    }

    /// Renders what has arrived and is not rendered yet, with room for `bytes` more, in `values` values.
    fn write_all(&mut self, bytes: usize, values: usize) {
        let (Some(shown), Some(width)) =
            (&mut self.shown, self.values.len().checked_div(self.count))
        else {
            return;
        };
        let new = &self.values[shown.rows * width..];
        let start = std::mem::replace(&mut shown.bytes, self.bytes.len());
        shown
            .writer
            .reserve(shown.bytes - start + bytes, new.len() + values);
        // What is not UTF-8 is refused in the end.
        let text = str::from_utf8(&self.bytes[start..]).unwrap_or_default();
        let rows = self.count - std::mem::replace(&mut shown.rows, self.count);
        let mut from = 0;
        for row in (0..rows).map(|row| &new[row * width..(row + 1) * width]) {
            let values = row.iter().take(shown.width).map(|value| {
                let before = std::mem::replace(&mut from, value.at as usize - start);
                (!value.is_null).then(|| text.get(before..from).unwrap_or_default())
            });
            shown.writer.push_row(values.zip(&shown.columns));
            // Skips the keys.
            from = row.last().map_or(from, |last| last.at as usize - start);
        }
    }

    /// Makes a result of the rows; an error if they are not UTF-8.
    pub(crate) fn finish(mut self, cut: Option<Cut>) -> Result<Rows, ReadError> {
        self.write_all(0, 0);
        let (columns, written) = self
            .shown
            .map(|shown| (shown.columns, shown.writer))
            .unzip();
        Ok(Rows {
            columns: columns.unwrap_or_default(),
            cut,
            keys: Keys::default(),
            written,
            text: String::from_utf8(self.bytes).map_err(|_| ReadError::Unreadable)?,
            values: self.values,
            count: self.count,
        })
    }
}
