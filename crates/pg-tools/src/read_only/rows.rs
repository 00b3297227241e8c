//! Results, as PostgreSQL's own text of each value.

use std::{borrow::Cow, io, sync::Arc};

use session_pool::Row;

use super::failure::ReadError;
use crate::render::Writer;

/// Which rows of a result are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// How many rows at most.
    pub(crate) limit: u32,
    /// How many rows to leave out before them.
    pub(crate) offset: u64,
    /// Whether they are shown as they are, and so are best written while others are still to come.
    pub(crate) is_shown: bool,
}

/// A column of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: Arc<str>,
    /// The type's name as in SQL.
    pub(crate) type_name: Cow<'static, str>,
    pub(crate) kind: ColumnKind,
    pub(crate) sorts: Sorts,
}

/// How surely the text of a column's value tells its place in the order of PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sorts {
    /// PostgreSQL reads it as the same value again.
    Surely,
    /// When it is written as ISO 8601 has it.
    AsIso,
    /// Unless the settings make PostgreSQL round it.
    UnlessRounded,
    /// It is not known how the type is compared.
    Unknown,
}

/// What a column's values are in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnKind {
    /// `t` or `f`.
    Boolean,
    /// A whole number.
    Integer,
    /// A floating-point number, or one of `NaN` and the infinities.
    Float,
    /// Anything else: the text as it is.
    Text,
}

/// Why a result was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The page is full.
    Limit,
    /// The values have too many bytes together.
    Bytes,
}

/// The most bytes that the values may have together by which a later run finds a row.
pub(super) const LONGEST_KEY: usize = 256;
/// What is kept in the place of a longer one.
const TOO_LONG: &[u8] = &[b' '; LONGEST_KEY + 1];

/// Columns of a run that are not the result's: they tell its order where no column of the result does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Keys {
    /// For which items of the `ORDER BY` they stand, from 0 on.
    pub(super) items: Vec<usize>,
    pub(super) columns: Vec<Column>,
}

/// A result, or the first part of it.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) columns: Vec<Column>,
    /// Why there are more rows than these, if there are.
    pub(crate) cut: Option<Cut>,
    /// What stands behind the values of each row and is no part of the result.
    pub(super) keys: Keys,
    /// The rows as they are shown, if they were written while they came.
    pub(crate) written: Option<Writer>,
    /// All values, one after the other, each as `psql` shows it.
    text: String,
    values: Vec<ValueEnd>,
    count: usize,
}

/// Where a value ends in the text of all; a NULL is empty and marked.
#[derive(Clone, Copy, Debug)]
struct ValueEnd {
    at: u32,
    is_null: bool,
}

impl Rows {
    /// Says for which items of the order the last values of each row stand.
    pub(super) fn with_items(mut self, items: &[usize]) -> Self {
        self.keys.items = items.to_vec();
        self
    }

    /// Takes the descriptions of all columns, with those of the keys at the end.
    pub(super) fn describe(&mut self, mut columns: Vec<Column>) {
        let own = columns.len().saturating_sub(self.keys.items.len());
        self.keys.columns = columns.split_off(own);
        self.columns = columns;
    }

    /// Counts the rows.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Counts the bytes that the values have together, with the keys.
    pub(crate) fn size(&self) -> usize {
        self.text.len()
    }

    /// Counts the values, with the keys.
    pub(crate) fn value_count(&self) -> usize {
        self.values.len()
    }

    /// Goes through the rows; a value is `None` when it is NULL.
    pub(crate) fn rows(&self) -> impl Iterator<Item = impl Iterator<Item = Option<&str>>> {
        self.first_values(self.width().saturating_sub(self.keys.items.len()))
    }

    /// Goes through the rows with their keys behind them.
    pub(super) fn with_keys(&self) -> impl Iterator<Item = impl Iterator<Item = Option<&str>>> {
        self.first_values(self.width())
    }

    fn width(&self) -> usize {
        self.values.len().checked_div(self.count).unwrap_or(0)
    }

    fn first_values(
        &self,
        most: usize,
    ) -> impl Iterator<Item = impl Iterator<Item = Option<&str>>> {
        let width = self.width();
        (0..self.count).map(move |row| {
            let first = row * width;
            let before = first.checked_sub(1).map(|before| self.values[before].at);
            let mut start = before.unwrap_or(0) as usize;
            self.values[first..first + most].iter().map(move |value| {
                let from = std::mem::replace(&mut start, value.at as usize);
                (!value.is_null).then(|| self.text.get(from..start).unwrap_or_default())
            })
        })
    }

    /// Gives one row's values; none when there is no such row.
    pub(crate) fn row(&self, index: usize) -> Option<Vec<Option<&str>>> {
        Some(self.rows().nth(index)?.collect())
    }

    /// Copies at most `limit` rows from the one at `start` on; the cut says whether there are more.
    pub(crate) fn part(&self, start: usize, limit: usize) -> Rows {
        let is_cut = self.count.saturating_sub(start) > limit;
        let mut gathered = Gathered::default();
        for row in self.with_keys().skip(start).take(limit) {
            gathered.push_values(row);
        }
        Rows {
            columns: self.columns.clone(),
            keys: self.keys.clone(),
            written: None,
            cut: if is_cut { Some(Cut::Limit) } else { self.cut },
            count: gathered.count,
            values: gathered.values,
            // A part of what was UTF-8, cut between values.
            text: String::from_utf8(gathered.bytes).unwrap_or_default(),
        }
    }

    /// Gives about how much memory the values take.
    pub(crate) fn bytes(&self) -> usize {
        self.text.len() + self.values.len() * size_of::<ValueEnd>()
    }

    /// Gives the first value of the first row.
    pub(crate) fn first_value(&self) -> Option<&str> {
        self.rows().next()?.next()?
    }
}

/// Rows that are still coming in.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    bytes: Vec<u8>,
    values: Vec<ValueEnd>,
    count: usize,
    shown: Option<Shown>,
}

/// What is written of rows that are still coming in.
#[derive(Debug)]
struct Shown {
    writer: Writer,
    /// How many values of each row.
    width: usize,
    /// How many rows, and how many bytes of values with those that are not shown.
    rows: usize,
    bytes: usize,
}

/// Rows are written when there are so many bytes of them, which is about what PostgreSQL sends at once.
const PIECE: usize = 8 << 10;

impl Gathered {
    /// Has the rows written while they come, of each as many values as there are columns.
    pub(super) fn write_with(&mut self, columns: &[Column]) {
        self.shown = Some(Shown {
            writer: Writer::new(columns),
            width: columns.len(),
            rows: 0,
            bytes: 0,
        });
    }

    /// Counts the rows.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Adds a row, and gives the bytes of its values. One in no known form, or of another width than those
    /// before, is an error.
    pub(crate) fn push(&mut self, row: Row<'_>) -> io::Result<usize> {
        self.push_first(row, usize::MAX, 0)
    }

    /// Adds a row's first values, `own` of the result's and as many keys; gives the bytes of the former.
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

    /// Takes the last row away again, of those that are not written.
    pub(crate) fn pop(&mut self) {
        let Some(width) = self.values.len().checked_div(self.count) else {
            return;
        };
        self.count -= 1;
        self.values.truncate(self.count * width);
        let end = self.values.last().map_or(0, |value| value.at as usize);
        self.bytes.truncate(end);
    }

    /// Adds a row of values that were taken apart already, of the same width as those before.
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

    /// Writes what came so far, if there is enough of it. With the first piece room is made for all that
    /// may come: `most_rows`, with `most_bytes` of values.
    pub(super) fn write_ahead(&mut self, most_rows: usize, most_bytes: usize) {
        let Some(shown) = &self.shown else {
            return;
        };
        if self.bytes.len() - shown.bytes < PIECE {
            return;
        }
        if shown.rows == 0 {
            let times = most_rows / self.count;
            let bytes = self.bytes.len().saturating_mul(times).min(most_bytes);
            let values = self.values.len().saturating_mul(times).min(most_bytes);
            self.bytes.reserve(bytes);
            self.values.reserve(values);
            self.write_all(bytes, values);
        } else {
            self.write_all(0, 0);
        }
    }

    /// Writes what came and is not written, with room for `bytes` more, of so many `values`.
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
        // What is no text is refused in the end.
        let text = str::from_utf8(&self.bytes[start..]).unwrap_or_default();
        let rows = std::mem::replace(&mut shown.rows, self.count)..self.count;
        let mut from = 0;
        for row in (0..rows.len()).map(|row| &new[row * width..(row + 1) * width]) {
            let values = row.iter().take(shown.width).map(|value| {
                let before = std::mem::replace(&mut from, value.at as usize - start);
                (!value.is_null).then(|| text.get(before..from).unwrap_or_default())
            });
            shown.writer.push_row(values);
            // Behind the keys.
            from = row.last().map_or(from, |last| last.at as usize - start);
        }
    }

    /// Makes a result of it; what is not UTF-8 is an error.
    pub(crate) fn finish(mut self, cut: Option<Cut>) -> Result<Rows, ReadError> {
        self.write_all(0, 0);
        Ok(Rows {
            columns: Vec::new(),
            cut,
            keys: Keys::default(),
            written: self.shown.map(|shown| shown.writer),
            text: String::from_utf8(self.bytes).map_err(|_| ReadError::Unreadable)?,
            values: self.values,
            count: self.count,
        })
    }
}
