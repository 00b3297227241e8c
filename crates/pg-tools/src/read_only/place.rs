//! The place in a result after the rows that were given out, and how a later run continues there.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io,
};

use session_pool::Row;

use super::{
    order::sort_columns,
    rows::{LONGEST_KEY, Rows, Sorts},
    statement::Statement,
};

/// Up to so many rows that are equal in the order are told apart by their fingerprints; of more, only their number and
/// the sum of the fingerprints are kept.
const MOST_EACH: usize = 32;
/// The most rows that are equal in the order which are read again, to continue after them.
const MOST_EQUAL: u64 = 10_000;

/// The place after the rows of an ordered result that were given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// How many rows come before it.
    pub(crate) offset: u64,
    /// The fingerprint of the row before.
    pub(crate) last_row: u32,
    /// Where in the order the place is, if columns tell the order.
    pub(crate) edge: Option<Edge>,
}

/// Where in the order a place is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    /// The values of the row before, in the columns of the order.
    pub(crate) values: Vec<Option<String>>,
    /// The rows with these values that were given out.
    pub(crate) given: Given,
}

/// Rows that are equal in the order and were given out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Given {
    count: u64,
    /// The sum of their fingerprints.
    sum: u32,
    /// Their fingerprints, while there are not too many.
    each: Vec<u32>,
}

impl Place {
    /// Finds the place after a page of a query's rows; `before` is the place that the page followed, and `skipped` is
    /// how many rows came before the page. `None` if the rows have no order.
    pub(crate) fn behind(
        query: &str,
        rows: &Rows,
        before: Option<&Place>,
        skipped: u64,
    ) -> Option<Self> {
        let statement = Statement::check(query).ok()?;
        let last = rows.row(rows.count().checked_sub(1)?)?;
        let is_ordered = statement.is_ordered();
        is_ordered.then_some(Place {
            offset: skipped.checked_add(rows.count() as u64)?,
            last_row: fingerprint_of(&last),
            edge: Edge::behind(&statement, rows, before, skipped),
        })
    }
}

impl Edge {
    /// Returns whether so many equal rows come before that which ones are next depends on PostgreSQL sorting them in
    /// the same way again.
    pub(crate) fn is_vague(&self) -> bool {
        !self.given.tells_each()
    }

    fn behind(
        statement: &Statement<'_>,
        rows: &Rows,
        before: Option<&Place>,
        skipped: u64,
    ) -> Option<Self> {
        let columns = sort_columns(statement, &rows.columns, &rows.keys)?;
        let key = |row: &[Option<&str>]| -> Vec<Option<String>> {
            let values = columns.iter().map(|column| row[column.index]);
            values.map(|value| value.map(str::to_owned)).collect()
        };
        let last: Vec<Option<&str>> = rows.with_keys().last()?.collect();
        let values = key(&last);
        let length: usize = values.iter().flatten().map(String::len).sum();
        let is_certain =
            columns
                .iter()
                .zip(&values)
                .all(|(column, value)| match (column.sorts, value) {
                    (Sorts::AsIso, Some(value)) => is_iso(value),
                    _ => true,
                });
        if length > LONGEST_KEY || !is_certain {
            return None;
        }
        let mut given = Given::default();
        for (own, row) in rows.rows().zip(rows.with_keys()) {
            let row: Vec<Option<&str>> = row.collect();
            if key(&row) == values {
                given.push(fingerprint_of(&own.collect::<Vec<_>>()));
            } else {
                given = Given::default();
            }
        }
        if given.count == rows.count() as u64 {
            // There may have been more of them before the page.
            match before.and_then(|before| before.edge.as_ref()) {
                Some(edge) if edge.values == values => given = edge.given.clone().and(given),
                Some(_) => {}
                None if skipped == 0 => {}
                None => return None,
            }
        }
        (given.count <= MOST_EQUAL).then_some(Edge { values, given })
    }
}

/// Returns whether a date or time is written so that it is read as the same value under any settings.
fn is_iso(text: &str) -> bool {
    let year = text.split('-').next().unwrap_or_default();
    let is_year = year.len() >= 4 && year.bytes().all(|byte| byte.is_ascii_digit());
    is_year || ["infinity", "-infinity"].contains(&text)
}

impl Given {
    /// Returns only the row before, for an order that is not known.
    pub(super) fn one(last_row: u32) -> Self {
        let mut given = Given::default();
        given.push(last_row);
        given
    }

    pub(crate) fn push(&mut self, fingerprint: u32) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(fingerprint);
        if self.tells_each() {
            self.each.push(fingerprint);
        } else {
            self.each.clear();
        }
    }

    fn and(self, more: Given) -> Given {
        let count = self.count + more.count;
        let each = [self.each, more.each].concat();
        Given {
            count,
            sum: self.sum.wrapping_add(more.sum),
            each: if each.len() as u64 == count && each.len() <= MOST_EACH {
                each
            } else {
                Vec::new()
            },
        }
    }

    fn tells_each(&self) -> bool {
        self.count <= MOST_EACH as u64
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Writes it for [`Given::read`], which gets the last row's fingerprint separately.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let count = u16::try_from(self.count).expect("at most MOST_EQUAL");
        out.extend_from_slice(&count.to_be_bytes());
        match self.each.split_last() {
            Some((_, others)) => out.extend(others.iter().flat_map(|each| each.to_be_bytes())),
            None => out.extend_from_slice(&self.sum.to_be_bytes()),
        }
    }

    /// Reads one from the front of `bytes`, and returns it with what follows.
    pub(crate) fn read(bytes: &[u8], last_row: u32) -> Option<(Self, &[u8])> {
        let (count, mut rest) = bytes.split_first_chunk()?;
        let count = u64::from(u16::from_be_bytes(*count));
        let mut next = || {
            let (number, after) = rest.split_first_chunk()?;
            rest = after;
            Some(u32::from_be_bytes(*number))
        };
        let mut given = Given::default();
        match count {
            0 => return None,
            count if count <= MOST_EACH as u64 => {
                for _ in 1..count {
                    given.push(next()?);
                }
                given.push(last_row);
            }
            count if count <= MOST_EQUAL => {
                given.count = count;
                given.sum = next()?;
            }
            _ => return None,
        }
        Some((given, rest))
    }
}

/// Where a run continues the rows that were given out; filters those that come again.
#[derive(Clone, Debug)]
pub(super) struct Seam {
    key: Option<Key>,
    /// The rows that were given out.
    given: Given,
    /// Those of them that came again.
    found: Given,
    /// How many rows came that are equal to the last one, whether they were given out or not.
    passed: u64,
    /// Whether these are over.
    is_over: bool,
    /// Whether the rows come in the order that was assumed.
    is_as_told: bool,
}

/// The values in the columns of the order that the rows equal to the last one have.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) columns: Vec<usize>,
    pub(super) values: Vec<Option<String>>,
    /// Whether the texts may be rounded, and so stand for other values than those of the rows.
    pub(super) may_be_rounded: bool,
}

/// How a run continues the rows that were given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joined {
    /// All that were to come again did, so that nothing is missing and nothing comes twice.
    Surely,
    /// Some of them have changed or are gone, or their order has changed.
    Perhaps,
    /// The order is not what it was taken for: the rows must not be used.
    Wrongly,
}

impl Seam {
    /// Returns the seam of a run that begins with the row before the place, which is left out.
    pub(super) fn at_offset(last_row: u32) -> Self {
        Seam::new(None, Given::one(last_row))
    }

    /// Returns the seam of a run that begins with all rows that are equal to the last one. The last column of each row
    /// says whether it is one of them.
    pub(super) fn at_key(key: Key, given: Given) -> Self {
        Seam::new(Some(key), given)
    }

    fn new(key: Option<Key>, given: Given) -> Self {
        Seam {
            key,
            given,
            found: Given::default(),
            passed: 0,
            is_over: false,
            is_as_told: true,
        }
    }

    /// Returns whether a row is new, that is, was not given out before. The first `own` of its values are the query's
    /// own.
    pub(super) fn is_new(&mut self, row: Row<'_>, own: usize) -> io::Result<bool> {
        let mut texts = Vec::new();
        for value in row.values() {
            texts.push(value?.map(|value| value.text()).transpose()?);
        }
        let mut values: Vec<Option<&[u8]>> = texts.iter().map(Option::as_deref).collect();
        let is_equal = match &self.key {
            None => self.passed == 0,
            Some(key) => {
                let is_equal = values.pop().flatten() == Some(b"t");
                // Texts that differ may be equal in the order (1.0 and 1.00), and equal ones may not be (rounded
                // numbers). Then it is not known which of these rows were given out.
                let is_same = is_equal == key.is_in(&values);
                self.is_as_told &= is_same && !(is_equal && self.is_over);
                is_equal
            }
        };
        if !is_equal {
            self.is_over = true;
            return Ok(true);
        }
        self.passed += 1;
        values.truncate(own);
        let fingerprint = fingerprint(values.iter().copied());
        let was_given = match &self.key {
            Some(_) if self.given.tells_each() => self.was_given(fingerprint),
            _ => self.passed <= self.given.count,
        };
        if was_given {
            self.found.push(fingerprint);
        }
        Ok(!was_given)
    }

    /// Returns how many values a row has after the query's own and the keys.
    pub(super) fn width(&self) -> usize {
        usize::from(self.key.is_some())
    }

    fn was_given(&self, fingerprint: u32) -> bool {
        let times = |given: &Given| {
            given
                .each
                .iter()
                .filter(|each| **each == fingerprint)
                .count()
        };
        times(&self.found) < times(&self.given)
    }

    /// Returns how the run continues them. If it was cut off among the equal rows, it is not known whether the others
    /// come as assumed.
    pub(super) fn joined(&self, is_cut: bool) -> Joined {
        let is_found = self.found.count == self.given.count && self.found.sum == self.given.sum;
        let is_wrong = self.key.as_ref().is_some_and(|key| {
            !self.is_as_told || is_cut && !self.is_over || key.may_be_rounded && !is_found
        });
        match is_found {
            _ if is_wrong => Joined::Wrongly,
            true => Joined::Surely,
            false => Joined::Perhaps,
        }
    }
}

impl Key {
    fn is_in(&self, row: &[Option<&[u8]>]) -> bool {
        self.columns
            .iter()
            .zip(&self.values)
            .all(|(column, value)| row.get(*column) == Some(&value.as_deref().map(str::as_bytes)))
    }
}

/// Returns a short hash of a row's values. It serves to find changes, not to protect anything.
pub(crate) fn fingerprint_of(row: &[Option<&str>]) -> u32 {
    fingerprint(row.iter().map(|value| value.map(str::as_bytes)))
}

fn fingerprint<'a>(row: impl ExactSizeIterator<Item = Option<&'a [u8]>>) -> u32 {
    let mut hasher = DefaultHasher::new();
    row.len().hash(&mut hasher);
    row.for_each(|value| value.hash(&mut hasher));
    let [_, _, _, _, low @ ..] = hasher.finish().to_be_bytes();
    u32::from_be_bytes(low)
}
