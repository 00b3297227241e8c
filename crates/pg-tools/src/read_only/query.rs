//! The hot path: one query and its rows, in one round trip.
//!
//! Begin, parse the text alone, run it inside ours, give back what a rollback leaves, roll back: all
//! of it is one message to PostgreSQL and one answer. What is run with every call is prepared, and a
//! text that comes again is, too. Rows stay the bytes that PostgreSQL sent until they are rendered.

use std::io;

use session_pool::{Answer, Complaint, Exchange, Lease, Row, Step};
use tokio_postgres::error::SqlState;

use super::{
    QueryLimits,
    exchange::{GRACE, length},
    failure::ReadError,
    guard::Guard,
    statement::Statement,
};

/// Gives back what a rollback leaves of a transaction.
///
/// That is less than [`session_pool::SCRUB`] does, because less can have happened: what else lasts
/// in a session (settings, the role, listeners, temporary tables) a rolled-back transaction undoes.
const UNLOCK: Step<'_> = Step::Run("SELECT pg_catalog.pg_advisory_unlock_all()");
const ROLLBACK: Step<'_> = Step::Run("ROLLBACK");

/// What a row's message may have beside its values: a count, and a length for each of the columns,
/// of which PostgreSQL has at most 1,664.
const ROW_OVERHEAD: usize = 2 + 4 * 1_664;

/// Which rows of a result are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// How many rows at most.
    pub(crate) limit: u32,
    /// How many rows to leave out before them.
    pub(crate) offset: u64,
}

/// A column of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// The type's name as in SQL.
    pub(crate) type_name: String,
    pub(crate) kind: ColumnKind,
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

/// A result, or the first part of it.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) columns: Vec<Column>,
    /// Why there are more rows than these, if there are.
    pub(crate) cut: Option<Cut>,
    /// The rows as PostgreSQL sent them, one after the other.
    sent: Vec<u8>,
    /// Where each row ends.
    ends: Vec<usize>,
}

impl Rows {
    /// Counts the rows.
    pub(crate) fn count(&self) -> usize {
        self.ends.len()
    }

    /// Counts the bytes that the rows have together, about.
    pub(crate) fn size(&self) -> usize {
        self.sent.len()
    }

    /// Goes through the rows; each value is as `psql` shows it, or `None` for NULL.
    pub(crate) fn rows(&self) -> impl Iterator<Item = impl Iterator<Item = Option<&str>>> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let bodies = starts
            .zip(&self.ends)
            .map(|(start, end)| &self.sent[start..*end]);
        // Every row was read once when it was taken.
        bodies.map(|body| {
            Row::new(body)
                .values()
                .map(|value| text(value).unwrap_or_default())
        })
    }

    /// Gives the first value of the first row.
    pub(crate) fn first_value(&self) -> Option<&str> {
        self.rows().next()?.next()?
    }

    /// Adds a row; one whose values are not texts in UTF-8 is an error.
    pub(crate) fn push(&mut self, row: Row<'_>) -> io::Result<()> {
        row.values().try_for_each(|value| text(value).map(|_| ()))?;
        self.sent.extend_from_slice(row.body());
        self.ends.push(self.sent.len());
        Ok(())
    }
}

fn text(value: io::Result<Option<&[u8]>>) -> io::Result<Option<&str>> {
    value?
        .map(|value| std::str::from_utf8(value).map_err(io::Error::other))
        .transpose()
}

/// Why a result was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The page is full.
    Limit,
    /// The values have too many bytes together.
    Bytes,
}

/// Runs a checked statement, in one round trip; one that fails, or that was prepared and has changed,
/// takes one more.
pub(super) async fn query(
    mut lease: Lease,
    guard: &Guard,
    statement: &Statement<'_>,
    page: Page,
    limits: QueryLimits,
) -> Result<Rows, ReadError> {
    let wrapped = Wrapped::new(statement, page);
    let run = async {
        let mut done = transact(&mut lease, guard, &wrapped, limits).await?;
        if done.is_stale {
            done = transact(&mut lease, guard, &wrapped, limits).await?;
        }
        let Done {
            result,
            described,
            is_clean,
            ..
        } = done;
        if !is_clean {
            let columns = guard.types.columns(&described);
            return result.map(|rows| Rows { columns, ..rows });
        }
        if result.is_ok() {
            guard.types.learn(&lease, &described).await?;
        }
        lease.give_back();
        let columns = guard.types.columns(&described);
        result.map(|rows| Rows { columns, ..rows })
    };
    tokio::time::timeout(limits.statement_timeout + GRACE, run)
        .await
        .unwrap_or(Err(ReadError::TimedOut(limits.statement_timeout)))
}

/// A statement alone, and inside one of ours.
struct Wrapped<'a> {
    alone: &'a str,
    inside: String,
    page: Page,
}

/// The line breaks keep a comment at the statement's end from swallowing what follows it.
const BEFORE: &str = "SELECT * FROM (\n";

impl<'a> Wrapped<'a> {
    /// The `LIMIT` tells the planner how much is wanted.
    fn new(statement: &Statement<'a>, page: Page) -> Self {
        let alone = statement.text();
        let (limit, offset) = (u64::from(page.limit) + 1, page.offset);
        let inside = format!("{BEFORE}{alone}\n) q LIMIT {limit} OFFSET {offset}");
        Wrapped {
            alone,
            inside,
            page,
        }
    }
}

/// What came of a transaction.
struct Done {
    /// Whether the connection is as good as new.
    is_clean: bool,
    /// Whether it should be tried once more.
    is_stale: bool,
    described: Vec<session_pool::Column>,
    result: Result<Rows, ReadError>,
}

/// Begins, runs the statement, rolls back and scrubs.
///
/// When a step fails the transaction has failed with it, and PostgreSQL runs none of the others.
/// After an `Err` the lease must be dropped, which cancels what may still run.
async fn transact(
    lease: &mut Lease,
    guard: &Guard,
    wrapped: &Wrapped<'_>,
    limits: QueryLimits,
) -> Result<Done, ReadError> {
    let mut steps: Vec<Step<'_>> = guard.begin.iter().map(|text| Step::Run(text)).collect();
    let begun = steps.len();
    steps.extend([
        Step::Check(wrapped.alone),
        Step::Query(&wrapped.inside),
        UNLOCK,
        ROLLBACK,
    ]);
    let largest_row = limits.result_bytes.saturating_add(ROW_OVERHEAD);
    let mut exchange = lease
        .exchange(&steps, largest_row)
        .await
        .map_err(ReadError::never_began)?;
    let mut reading = Reading::new(wrapped.page.limit, limits.result_bytes);
    let ended = match reading.read(&mut exchange).await {
        Ok(ended) => ended,
        Err(_) if reading.is_settled() => false,
        Err(error) if exchange.has_begun() => return Err(ReadError::lost(error)),
        Err(error) => return Err(ReadError::never_began(error)),
    };
    let is_clean = match &reading.refused {
        None => ended,
        // What was cancelled may be cancelled once more, by a request that is still on its way.
        Some(refused) if *refused.complaint.code() == SqlState::QUERY_CANCELED => false,
        Some(_) => end(lease).await,
    };
    let is_stale = reading
        .refused
        .as_ref()
        .is_some_and(|refused| refused.is_stale);
    let (described, result) = reading.judge(begun);
    Ok(Done {
        is_clean,
        is_stale: is_stale && is_clean,
        described,
        result,
    })
}

/// Ends a transaction that has failed; says whether the connection is as good as new.
async fn end(lease: &mut Lease) -> bool {
    let ended = async {
        let mut exchange = lease.exchange(&[ROLLBACK, UNLOCK], usize::MAX).await?;
        loop {
            match exchange.next().await? {
                Answer::Ready { in_transaction } => return Ok::<_, io::Error>(!in_transaction),
                _ => return Ok(false),
            }
        }
    };
    ended.await.unwrap_or(false)
}

/// What was read of an answer.
struct Reading {
    rows: Rows,
    /// Nothing before PostgreSQL has taken the statement.
    described: Option<Vec<session_pool::Column>>,
    refused: Option<Refused>,
    /// Bytes of the values so far.
    bytes: usize,
    /// The size of a first row that is larger than a result may be.
    too_large: Option<usize>,
    most_rows: usize,
    most_bytes: usize,
}

struct Refused {
    step: usize,
    complaint: Complaint,
    is_stale: bool,
}

impl Reading {
    fn new(most_rows: u32, most_bytes: usize) -> Self {
        Reading {
            rows: Rows::default(),
            described: None,
            refused: None,
            bytes: 0,
            too_large: None,
            most_rows: most_rows as usize,
            most_bytes,
        }
    }

    /// Reads an answer to its end; says whether the transaction has ended, too.
    async fn read(&mut self, exchange: &mut Exchange<'_>) -> io::Result<bool> {
        loop {
            match exchange.next().await? {
                Answer::Columns(columns) => self.described = Some(columns),
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

    /// Says whether what is still to come makes no difference.
    fn is_settled(&self) -> bool {
        self.rows.cut.is_some() || self.too_large.is_some()
    }

    /// Takes a row, until one of the limits.
    fn take(&mut self, row: Row<'_>) -> io::Result<()> {
        if self.is_settled() {
            return Ok(());
        }
        if self.rows.count() == self.most_rows {
            self.rows.cut = Some(Cut::Limit);
            return Ok(());
        }
        let size = row.size();
        if self.bytes + size > self.most_bytes {
            self.cut_off(size);
            return Ok(());
        }
        self.bytes += size;
        self.rows.push(row)
    }

    /// Ends the result before a row of this size.
    fn cut_off(&mut self, size: usize) {
        match self.rows.count() {
            _ if self.is_settled() => {}
            0 => self.too_large = Some(size),
            count if count == self.most_rows => self.rows.cut = Some(Cut::Limit),
            _ => self.rows.cut = Some(Cut::Bytes),
        }
    }

    /// Says what it comes to; the first `begun` steps came before the statement.
    fn judge(self, begun: usize) -> (Vec<session_pool::Column>, Result<Rows, ReadError>) {
        let inside = length(BEFORE);
        let result = match self.refused {
            Some(Refused {
                step, complaint, ..
            }) if step <= begun + 1 => Err(match step {
                step if step < begun => ReadError::never_began(complaint),
                step if step == begun => ReadError::of_complaint(complaint, 0),
                _ if self.described.is_some() => ReadError::of_complaint(complaint, inside),
                _ => ReadError::of_form(complaint, inside),
            }),
            // When it was the scrub that failed, the rows were there before.
            _ => match self.too_large {
                Some(size) => Err(ReadError::RowTooLarge {
                    size,
                    limit: self.most_bytes,
                }),
                None => Ok(self.rows),
            },
        };
        (self.described.unwrap_or_default(), result)
    }
}
