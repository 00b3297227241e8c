//! Results, with each value as the text that PostgreSQL gives it.

use std::{borrow::Cow, sync::Arc};

use super::gathered::Gathered;
use crate::render::Writer;

/// Which rows of a result are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// How many rows at most.
    pub(crate) limit: u32,
    /// How many rows to skip before them.
    pub(crate) offset: u64,
    /// Whether they are shown unchanged, and so are best rendered while others are still arriving.
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

/// How surely the text of a column's value tells its position in PostgreSQL's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sorts {
    /// Always: PostgreSQL reads it as the same value again.
    Surely,
    /// If it is written in ISO 8601.
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

/// The most bytes that the values by which a later run finds a row may have together.
pub(super) const LONGEST_KEY: usize = 256;

/// Columns of a run that do not belong to the result, but tell its order where no column of the result does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Keys {
    /// The items of the `ORDER BY` that they stand for, from 0 on.
    pub(super) items: Vec<usize>,
    pub(super) columns: Vec<Column>,
}

/// A result, or the first part of it.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) columns: Vec<Column>,
    /// Why there are more rows than these, if there are.
    pub(crate) cut: Option<Cut>,
    /// What follows the result's values in each row and is not part of the result.
    pub(super) keys: Keys,
    /// The rendered rows, if they were rendered while they arrived.
    pub(crate) written: Option<Writer>,
    /// All values, one after the other, each as `psql` shows it.
    pub(super) text: String,
    pub(super) values: Vec<ValueEnd>,
    pub(super) count: usize,
}

/// Where a value ends in [`Rows::text`]; a NULL is empty and marked.
#[derive(Clone, Copy, Debug)]
pub(super) struct ValueEnd {
    pub(super) at: u32,
    pub(super) is_null: bool,
}

impl Rows {
    /// Sets the items of the order that the last values of each row stand for.
    pub(super) fn with_items(mut self, items: &[usize]) -> Self {
        self.keys.items = items.to_vec();
        self
    }

    /// Sets the descriptions of all columns, with those of the keys at the end.
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

    /// Iterates over the rows; a value is `None` if it is NULL.
    pub(crate) fn rows(&self) -> impl Iterator<Item = impl Iterator<Item = Option<&str>>> {
        self.first_values(self.width().saturating_sub(self.keys.items.len()))
    }

    /// Iterates over the rows, each followed by its keys.
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

    /// Returns one row's values; `None` if there is no such row.
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
            cut: if is_cut { Some(Cut::Limit) } else { self.cut },
            // This cannot fail: it is part of a valid text, cut between values.
            ..gathered.finish(None).unwrap_or_default()
        }
    }

    /// Releases unused memory.
    pub(crate) fn shrink_to_fit(&mut self) {
        self.text.shrink_to_fit();
        self.values.shrink_to_fit();
    }

    /// Returns about how many bytes of memory the values take.
    pub(crate) fn bytes(&self) -> usize {
        self.text.len() + self.values.len() * size_of::<ValueEnd>()
    }

    /// Returns the first value of the first row.
    pub(crate) fn first_value(&self) -> Option<&str> {
        self.rows().next()?.next()?
    }
}
