//! Reads the answer to a transaction: rows, up to the limits, or why there are none.

use std::{io, sync::Arc};

use session_pool::{Answer, Complaint, Exchange, Row};
use tokio_postgres::error::ErrorPosition;

use super::{
    bounds::SchemaBounds,
    failure::ReadError,
    gathered::Gathered,
    place::Seam,
    rows::{Cut, Rows},
    transaction::StepNumbers,
    typename::TypeNames,
    wrapped::Wrapped,
};

/// What a row's message may have besides its values, in bytes: a count, and a length for each of the columns,
/// of which PostgreSQL has at most 1,664.
pub(crate) const ROW_OVERHEAD: usize = 2 + 4 * 1_664;

/// What has been read of an answer.
pub(super) struct Reading<'a> {
    rows: Gathered,
    cut: Option<Cut>,
    /// `None` until PostgreSQL has accepted the statement.
    described: Option<Arc<[session_pool::Column]>>,
    types: &'a TypeNames,
    pub(super) refused: Option<Refused>,
    /// Bytes of the values so far.
    bytes: usize,
    /// The size of a first row that is larger than a result may be.
    too_large: Option<usize>,
    most_rows: usize,
    most_bytes: usize,
    is_shown: bool,
    keys: &'a [usize],
    pub(super) seam: Option<Seam>,
}

/// Classes of errors that a statement gets before it runs: an unsupported feature, a wrong number of parameters, and
/// mistakes in its syntax, names and types.
const ABOUT_TEXT: [&str; 3] = ["0A", "08", "42"];

/// A step that PostgreSQL refused.
pub(super) struct Refused {
    pub(super) step: usize,
    pub(super) complaint: Complaint,
    pub(super) is_stale: bool,
}

impl Refused {
    /// Returns whether the complaint is about our own text after the statement.
    pub(super) fn is_behind(&self, wrapped: &Wrapped<'_>) -> bool {
        match self.complaint.position() {
            Some(ErrorPosition::Original(position)) => wrapped.is_behind(*position),
            _ => false,
        }
    }

    /// Returns whether it is the statement's text that was refused.
    pub(super) fn is_about_text(&self, at: &StepNumbers) -> bool {
        let is_statement =
            (at.alone..=at.inside).contains(&self.step) && Some(self.step) != at.judged;
        let code = self.complaint.code().code();
        let points_at_it = matches!(self.complaint.position(), Some(ErrorPosition::Original(_)));
        is_statement && (points_at_it || ABOUT_TEXT.iter().any(|class| code.starts_with(class)))
    }
}

impl<'a> Reading<'a> {
    pub(super) fn new(wrapped: &Wrapped<'a>, types: &'a TypeNames, most_bytes: usize) -> Self {
        Reading {
            rows: Gathered::default(),
            cut: None,
            described: None,
            types,
            refused: None,
            bytes: 0,
            too_large: None,
            most_rows: wrapped.most_rows as usize,
            most_bytes,
            is_shown: wrapped.is_shown,
            keys: wrapped.keys,
            seam: wrapped.seam.clone(),
        }
    }

    /// Reads an answer to its end; returns whether the transaction has ended, too.
    pub(super) async fn read(&mut self, exchange: &mut Exchange<'_>) -> io::Result<bool> {
        loop {
            match exchange.next().await? {
                Answer::Columns(described) => self.describe(described),
                Answer::Row(row) => self.take(row)?,
                Answer::Oversized { bytes } => {
                    self.cut_off(bytes);
                    return Ok(false);
                }
                Answer::Refused {
                    step,
                    complaint,
                    is_stale,
                } => {
                    self.refused = Some(Refused {
                        step,
                        complaint,
                        is_stale,
                    });
                }
                Answer::Ready { in_transaction } => return Ok(!in_transaction),
            }
        }
    }

    fn describe(&mut self, described: Arc<[session_pool::Column]>) {
        if self.is_shown {
            let own = described.len().saturating_sub(self.keys.len());
            if let Some(columns) = self.types.known_columns(&described) {
                self.rows.write_with(columns, own);
            }
        }
        self.described = Some(described);
    }

    /// Returns whether the rest of the answer makes no difference.
    pub(super) fn is_settled(&self) -> bool {
        self.cut.is_some() || self.too_large.is_some()
    }

    /// Takes a row, until one of the limits.
    fn take(&mut self, row: Row<'_>) -> io::Result<()> {
        if self.is_settled() {
            return Ok(());
        }
        let beside = self.keys.len() + self.seam.as_ref().map_or(0, Seam::width);
        let own = row.count().saturating_sub(beside);
        if let Some(seam) = &mut self.seam
            && !seam.is_new(row, own)?
        {
            return Ok(());
        }
        if self.rows.count() == self.most_rows {
            self.cut = Some(Cut::Limit);
            return Ok(());
        }
        // Keys do not count, as they are not shown.
        let size = self.rows.push_first(row, own, self.keys.len())?;
        if self.bytes + size > self.most_bytes {
            self.rows.pop();
            self.cut_off(size);
            return Ok(());
        }
        self.bytes += size;
        self.rows.write_ahead(self.most_rows, self.most_bytes);
        Ok(())
    }

    /// Ends the result before a row of this size.
    fn cut_off(&mut self, size: usize) {
        match self.rows.count() {
            _ if self.is_settled() => {}
            0 => self.too_large = Some(size),
            count if count == self.most_rows => self.cut = Some(Cut::Limit),
            _ => self.cut = Some(Cut::Bytes),
        }
    }

    /// Returns the columns, and the rows or why there are none.
    pub(super) fn judge(
        self,
        at: &StepNumbers,
        wrapped: &Wrapped<'_>,
        bounds: Option<&SchemaBounds>,
    ) -> (Arc<[session_pool::Column]>, Result<Rows, ReadError>) {
        let result = match self.refused {
            Some(Refused {
                step, complaint, ..
            }) if step <= at.inside => Err(match (&wrapped.gate, bounds) {
                _ if step < at.alone => ReadError::of_first_step(complaint),
                _ if step == at.alone => ReadError::of_complaint(complaint, 0),
                (_, Some(bounds)) if Some(step) == at.judged => bounds.verdict(complaint),
                (Some((_, before)), _) if Some(step) == at.gate => {
                    ReadError::of_form(complaint, *before)
                }
                _ if self.described.is_some() => ReadError::of_complaint(complaint, wrapped.before),
                _ => ReadError::of_form(complaint, wrapped.before),
            }),
            // If it was the scrub that failed, the rows had already arrived.
            _ => match self.too_large {
                Some(size) => Err(ReadError::RowTooLarge {
                    size,
                    limit: self.most_bytes,
                }),
                None => self
                    .rows
                    .finish(self.cut)
                    .map(|rows| rows.with_items(self.keys)),
            },
        };
        (self.described.unwrap_or_default(), result)
    }
}
