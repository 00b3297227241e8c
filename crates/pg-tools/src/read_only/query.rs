//! The hot path: one query and its rows, in one round trip.
//!
//! Begin, parse the text alone, run it inside ours, give back what a rollback leaves, roll back: all
//! of it is one message to PostgreSQL and one answer. What is run with every call is prepared, and a
//! text that comes again is, too. Rows stay the bytes that PostgreSQL sent until they are rendered.

use std::{borrow::Cow, io};

use session_pool::{Answer, Complaint, Exchange, Lease, Parameter, Row, Step};
use tokio_postgres::error::{ErrorPosition, SqlState};

use super::{
    QueryLimits,
    exchange::{GRACE, length},
    failure::ReadError,
    guard::Guard,
    rows::{Cut, Gathered, Page, Rows},
    shape::Shape,
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

/// Runs a checked statement, in one round trip; one that fails, or that was prepared and has changed,
/// takes one more.
pub(super) async fn query(
    mut lease: Lease,
    guard: &Guard,
    statement: &Statement<'_>,
    page: Page,
    limits: QueryLimits,
) -> Result<Rows, ReadError> {
    let shape = Shape::of(statement).filter(|shape| lease.recurs(&shape.text));
    let shape = shape.unwrap_or_else(|| Shape::as_written(statement));
    let mut wrapped = Wrapped::new(shape, page);
    let run = async {
        let mut done = transact(&mut lease, guard, &wrapped, limits).await?;
        for _ in 0..RETRIES {
            match done.retry {
                Some(Retry::Anew) => {}
                Some(Retry::AsWritten) => {
                    lease.avoid(&wrapped.text);
                    wrapped = Wrapped::new(Shape::as_written(statement), page);
                }
                Some(Retry::ByItself) => wrapped.by_itself(statement),
                None => break,
            }
            done = transact(&mut lease, guard, &wrapped, limits).await?;
        }
        let Done {
            result,
            described,
            is_clean,
            ..
        } = done;
        if is_clean {
            if result.is_ok() {
                guard.types.learn(&lease, &described).await?;
            }
            lease.give_back();
        }
        let mut rows = result?;
        rows.columns = guard.types.columns(&described);
        Ok(rows)
    };
    tokio::time::timeout(limits.statement_timeout + GRACE, run)
        .await
        .unwrap_or(Err(ReadError::TimedOut(limits.statement_timeout)))
}

/// A statement alone, and inside one of ours.
struct Wrapped<'a> {
    text: Cow<'a, str>,
    alone: String,
    /// Whether it is alone behind [`PREPARE`].
    is_prepare: bool,
    inside: String,
    numbers: Vec<Parameter<'a>>,
    page: Page,
}

/// Has PostgreSQL's grammar judge the text alone, for this is parsed and never run: what `PREPARE`
/// takes after `AS` is one whole statement, and nothing comes after it. Looking up the names in it is
/// left to the parse of the statement inside ours, so that it is not done twice.
const PREPARE: &str = "PREPARE q AS\n";
/// The line breaks keep a comment at the statement's end from swallowing what follows it.
const BEFORE: &str = "SELECT * FROM (\n";

impl<'a> Wrapped<'a> {
    /// The `LIMIT` tells the planner how much is wanted.
    fn new(shape: Shape<'a>, page: Page) -> Self {
        let Shape { text, numbers } = shape;
        let (limit, offset) = (u64::from(page.limit) + 1, page.offset);
        Wrapped {
            alone: format!("{PREPARE}{text}"),
            is_prepare: true,
            inside: format!("{BEFORE}{text}\n) q LIMIT {limit} OFFSET {offset}"),
            text,
            numbers,
            page,
        }
    }

    /// Has the text parsed by itself, which says exactly what is wrong with it.
    fn by_itself(&mut self, statement: &Statement<'_>) {
        statement.text().clone_into(&mut self.alone);
        self.is_prepare = false;
    }
}

/// How a statement that failed is to be run once more.
enum Retry {
    /// As before: what was prepared in the past stood in the way.
    Anew,
    /// With its numbers in the text: what was refused without them may be right, or else it is told
    /// about the text that the caller knows.
    AsWritten,
    /// Parsed by itself first: its form was refused, and that tells why.
    ByItself,
}

/// At most once for each reason.
const RETRIES: usize = 3;

/// What came of a transaction.
struct Done {
    /// Whether the connection is as good as new.
    is_clean: bool,
    retry: Option<Retry>,
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
        Step::Check(&wrapped.alone),
        Step::Query(&wrapped.inside, &wrapped.numbers),
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
    let refused = reading.refused.as_ref();
    let is_stale = refused.is_some_and(|refused| refused.is_stale);
    let is_about_text = refused.is_some_and(|refused| refused.is_about_text(begun));
    let is_unchecked = refused.is_some_and(|refused| refused.step == begun);
    let (described, result) = reading.judge(begun);
    let is_about_form = is_unchecked || matches!(result, Err(ReadError::NotAQuery(_)));
    let retry = match () {
        () if !is_clean => None,
        () if is_stale => Some(Retry::Anew),
        () if is_about_text && !wrapped.numbers.is_empty() => Some(Retry::AsWritten),
        () if is_about_form && wrapped.is_prepare => Some(Retry::ByItself),
        () => None,
    };
    Ok(Done {
        is_clean,
        retry,
        described,
        result,
    })
}

/// Ends a transaction that has failed; says whether the connection is as good as new.
async fn end(lease: &mut Lease) -> bool {
    let ended = async {
        let mut exchange = lease.exchange(&[ROLLBACK, UNLOCK], usize::MAX).await?;
        let answer = exchange.next().await?;
        Ok::<_, io::Error>(matches!(
            answer,
            Answer::Ready {
                in_transaction: false
            }
        ))
    };
    ended.await.unwrap_or(false)
}

/// What was read of an answer.
struct Reading {
    rows: Gathered,
    cut: Option<Cut>,
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

/// Classes of errors that a statement gets before it runs: a feature that is not there, a wrong
/// number of parameters, and what is wrong with its syntax, names and types.
const ABOUT_TEXT: [&str; 3] = ["0A", "08", "42"];

struct Refused {
    step: usize,
    complaint: Complaint,
    is_stale: bool,
}

impl Refused {
    /// Says whether it is the statement's text that was refused; the first `begun` steps came before it.
    fn is_about_text(&self, begun: usize) -> bool {
        let is_statement = (begun..=begun + 1).contains(&self.step);
        let code = self.complaint.code().code();
        let points_at_it = matches!(self.complaint.position(), Some(ErrorPosition::Original(_)));
        is_statement && (points_at_it || ABOUT_TEXT.iter().any(|class| code.starts_with(class)))
    }
}

impl Reading {
    fn new(most_rows: u32, most_bytes: usize) -> Self {
        Reading {
            rows: Gathered::default(),
            cut: None,
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
        self.cut.is_some() || self.too_large.is_some()
    }

    /// Takes a row, until one of the limits.
    fn take(&mut self, row: Row<'_>) -> io::Result<()> {
        if self.is_settled() {
            return Ok(());
        }
        if self.rows.count() == self.most_rows {
            self.cut = Some(Cut::Limit);
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
            count if count == self.most_rows => self.cut = Some(Cut::Limit),
            _ => self.cut = Some(Cut::Bytes),
        }
    }

    /// Says what it comes to; the first `begun` steps came before the statement.
    fn judge(self, begun: usize) -> (Vec<session_pool::Column>, Result<Rows, ReadError>) {
        let inside = length(BEFORE);
        let result = match self.refused {
            Some(Refused {
                step, complaint, ..
            }) if step <= begun + 1 => Err(match step {
                step if step < begun => ReadError::of_first_step(complaint),
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
                None => self.rows.finish(self.cut),
            },
        };
        (self.described.unwrap_or_default(), result)
    }
}
