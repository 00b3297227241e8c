//! The hot path: one query and its rows, in one round trip.
//!
//! Begin, parse the text alone, run it inside ours, give back what a rollback leaves, roll back: all
//! of it is one message to PostgreSQL and one answer. What is run with every call is prepared, and a
//! text that comes again is, too. Rows stay the bytes that PostgreSQL sent until they are rendered.

use std::{
    collections::HashSet,
    future::Future,
    io,
    pin::{Pin, pin},
};

use session_pool::{Answer, Complaint, Exchange, Lease, Parameter, Row, Step};
use tokio_postgres::error::{ErrorPosition, SqlState};

use super::{
    Explain, QueryLimits,
    exchange::{GRACE, length},
    failure::ReadError,
    guard::Guard,
    order::{self, Conditions, SortColumn},
    place::{Edge, Joined, Key, Place, Seam},
    rows::{Cut, Gathered, Page, Rows, Sorts},
    shape::Shape,
    statement::Statement,
};
use crate::agent::literal;

/// Gives back what a rollback leaves of a transaction.
///
/// That is less than [`session_pool::SCRUB`] does, because less can have happened: what else lasts
/// in a session (settings, the role, listeners, temporary tables) a rolled-back transaction undoes.
const UNLOCK: Step<'_> = Step::Run("SELECT pg_catalog.pg_advisory_unlock_all()");
const ROLLBACK: Step<'_> = Step::Run("ROLLBACK");

/// What a row's message may have beside its values: a count, and a length for each of the columns,
/// of which PostgreSQL has at most 1,664.
const ROW_OVERHEAD: usize = 2 + 4 * 1_664;

/// The most bytes that a plan may have.
const LARGEST_PLAN: usize = 64 << 20;

/// Runs a checked statement, in one round trip; one that fails, or that was prepared and has changed,
/// takes one more.
pub(super) async fn query(
    mut lease: Lease,
    guard: &Guard,
    statement: &Statement<'_>,
    page: Page,
    limits: QueryLimits,
) -> Result<Rows, ReadError> {
    in_time(
        limits,
        pin!(async {
            let shape = Shape::of(statement).filter(|shape| lease.recurs(&shape.text));
            let wrapped = match &shape {
                Some(shape) => Wrapped::shaped(statement, shape, page),
                None => Wrapped::page(statement, page),
            };
            let mut done = run(&mut lease, guard, wrapped, limits).await?;
            if let (Some(Retry::AsWritten), Some(shape)) = (&done.retry, &shape) {
                lease.avoid(&shape.text);
                let written = Wrapped::page(statement, page);
                done = Box::pin(run(&mut lease, guard, written, limits)).await?;
            }
            settle(lease, guard, done).await
        }),
    )
    .await
}

/// The rows that follow others.
pub(crate) struct Following {
    pub(crate) rows: Rows,
    /// Whether they follow them for sure, with none missing and none twice.
    pub(crate) is_sure: bool,
}

/// Runs a statement from the row before a place on, by counting the rows before that.
pub(super) async fn query_at_offset(
    mut lease: Lease,
    guard: &Guard,
    statement: &Statement<'_>,
    place: &Place,
    limit: u32,
    limits: QueryLimits,
) -> Result<Following, ReadError> {
    in_time(
        limits,
        pin!(async {
            let wrapped = Wrapped::from_offset(statement, place, limit);
            let mut done = run(&mut lease, guard, wrapped, limits).await?;
            let seam = done.seam.take();
            let rows = settle(lease, guard, done).await?;
            let joined = seam.map(|seam| seam.joined(rows.cut.is_some()));
            let is_sure = joined == Some(Joined::Surely);
            Ok(Following { rows, is_sure })
        }),
    )
    .await
}

/// Runs a statement from an edge in its order on, without counting the rows before; `None` where that
/// would not be right, or is not known to be.
///
/// It takes one or two short exchanges more, to find out by which columns the rows are ordered.
pub(super) async fn query_at_edge(
    mut lease: Lease,
    guard: &Guard,
    statement: &Statement<'_>,
    edge: &Edge,
    limit: u32,
    limits: QueryLimits,
) -> Result<Option<Following>, ReadError> {
    in_time(
        limits,
        pin!(async {
            let described = run(&mut lease, guard, Wrapped::nothing(statement), limits).await?;
            if !described.is_clean || described.result.is_err() {
                return settle(lease, guard, described).await.map(|_| None);
            }
            let described = described.described;
            guard.types.learn(&lease, &described).await?;
            let columns = order::sort_columns(statement, &guard.types.columns(&described));
            let columns = columns.filter(|columns| columns.len() == edge.values.len());
            let Some(columns) = columns else {
                lease.give_back();
                return Ok(None);
            };
            let never_null = order::never_null(&lease, statement, &described, &columns).await?;
            let wrapped = Wrapped::from_edge(statement, edge, &columns, &never_null, limit);
            let mut done = run(&mut lease, guard, wrapped, limits).await?;
            // The last one is ours.
            done.described.pop();
            let seam = done.seam.take();
            match settle(lease, guard, done).await {
                // A value is not one of its column's type any more, or the query itself has failed.
                Err(error) if error.is_about_values() => Ok(None),
                Err(error) => Err(error),
                Ok(rows) => Ok(match seam.map(|seam| seam.joined(rows.cut.is_some())) {
                    None | Some(Joined::Wrongly) => None,
                    Some(joined) => Some(Following {
                        rows,
                        is_sure: joined == Joined::Surely,
                    }),
                }),
            }
        }),
    )
    .await
}

/// Has a checked statement planned, in one round trip; gives the text of PostgreSQL's JSON.
pub(super) async fn explain(
    mut lease: Lease,
    guard: &Guard,
    statement: &Statement<'_>,
    Explain { analyze, buffers }: Explain,
    limits: QueryLimits,
) -> Result<String, ReadError> {
    // Without ANALYZE, PostgreSQL counts the blocks of planning only.
    let buffers = buffers && analyze;
    let before = format!("EXPLAIN (FORMAT JSON, ANALYZE {analyze}, BUFFERS {buffers})\n");
    // A plan is not rows of a result; its tool shortens it.
    let limits = QueryLimits {
        result_bytes: LARGEST_PLAN,
        ..limits
    };
    in_time(
        limits,
        pin!(async {
            let wrapped = Wrapped::explained(statement, &before);
            let done = run(&mut lease, guard, wrapped, limits).await?;
            let rows = settle(lease, guard, done).await?;
            let plan = rows.first_value().ok_or(ReadError::Unreadable)?;
            Ok(plan.to_owned())
        }),
    )
    .await
}

/// The relations that this transaction has locked and that are in none of the schemas that follow.
///
/// PostgreSQL locks whatever a statement names while it parses it, and what the views in it stand
/// for. The catalogues are for everybody, but for those that hold samples of rows or others' statements.
const OUTSIDE: &str = "SELECT n.nspname::pg_catalog.text || '.' || c.relname::pg_catalog.text \
     FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_class c ON c.oid = l.relation \
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation' \
       AND (l.database = 0 OR l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())) \
       AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') \
       AND (n.nspname NOT IN ('pg_catalog', 'information_schema') \
            OR c.relname IN ('pg_stats', 'pg_stats_ext', 'pg_stats_ext_exprs', 'pg_statistic', 'pg_statistic_ext_data', \
                             'pg_stat_activity', 'pg_largeobject', 'pg_largeobject_metadata', 'pg_prepared_statements', 'pg_cursors')) \
       AND n.nspname !~ '^pg_(toast|temp_)' \
       AND n.nspname::pg_catalog.text <> ALL (ARRAY[";
const FIRST: &str = "]::pg_catalog.text[]) ORDER BY 1 LIMIT 1";

/// Has PostgreSQL parse a statement, and refuses it when it names a relation outside of `schemas`.
///
/// Gives whether the connection is as good as new beside what was found.
pub(super) async fn stay_within(
    lease: &mut Lease,
    guard: &Guard,
    statement: &Statement<'_>,
    schemas: &[&str],
    limits: QueryLimits,
) -> (bool, Result<(), ReadError>) {
    let own: Vec<String> = schemas.iter().map(|schema| literal(schema)).collect();
    let outside = format!("{OUTSIDE}{}{FIRST}", own.join(", "));
    let wrapped = Wrapped::parsed(statement, outside);
    let done = match in_time(limits, pin!(run(lease, guard, wrapped, limits))).await {
        Ok(done) => done,
        Err(error) => return (false, Err(error)),
    };
    let judged = done.result.and_then(|rows| match rows.first_value() {
        None => Ok(()),
        Some(relation) => Err(ReadError::refused(format!(
            "this token may not use {relation}; it may use the schemas {}, and views over these",
            schemas.join(", ")
        ))),
    });
    (done.is_clean, judged)
}

async fn in_time<T>(
    limits: QueryLimits,
    work: Pin<&mut impl Future<Output = Result<T, ReadError>>>,
) -> Result<T, ReadError> {
    tokio::time::timeout(limits.statement_timeout + GRACE, work)
        .await
        .unwrap_or(Err(ReadError::TimedOut(limits.statement_timeout)))
}

/// Runs a statement, and anew where that may help. After an `Err` the lease must be dropped.
async fn run(
    lease: &mut Lease,
    guard: &Guard,
    mut wrapped: Wrapped<'_>,
    limits: QueryLimits,
) -> Result<Done, ReadError> {
    let mut done = transact(lease, guard, &wrapped, limits).await?;
    for _ in 0..RETRIES {
        match done.retry {
            Some(Retry::Anew) => {}
            Some(Retry::ByItself) => wrapped.by_itself(),
            Some(Retry::AsWritten) | None => break,
        }
        done = transact(lease, guard, &wrapped, limits).await?;
    }
    Ok(done)
}

/// Gives the lease back if that may be, and the rows with their columns.
async fn settle(lease: Lease, guard: &Guard, done: Done) -> Result<Rows, ReadError> {
    if done.is_clean {
        if done.result.is_ok() {
            guard.types.learn(&lease, &done.described).await?;
        }
        lease.give_back();
    }
    let mut rows = done.result?;
    rows.columns = guard.types.columns(&done.described);
    Ok(rows)
}

/// A statement alone, and inside one of ours.
struct Wrapped<'a> {
    text: &'a str,
    alone: String,
    /// Whether it is alone behind [`PREPARE`].
    is_prepare: bool,
    /// Whether it is to be parsed even when what is run after it is prepared.
    is_apart: bool,
    /// What must be parsed, too, with how many characters of ours before the statement in it.
    gate: Option<(String, u32)>,
    inside: String,
    numbers: &'a [Parameter<'a>],
    /// How many characters of ours come before the statement inside.
    before: u32,
    most_rows: u32,
    seam: Option<Seam>,
}

/// Has PostgreSQL's grammar judge the text alone, for this is parsed and never run: what `PREPARE`
/// takes after `AS` is one whole statement, and nothing comes after it. Looking up the names in it is
/// left to the parse of the statement inside ours, so that it is not done twice.
const PREPARE: &str = "PREPARE q AS\n";
/// All of a row.
const WHOLE: &str = "*";

impl<'a> Wrapped<'a> {
    fn page(statement: &Statement<'a>, page: Page) -> Self {
        Wrapped::new(statement, WHOLE, &part(page), page.limit)
    }

    /// A page of the statement in another shape.
    fn shaped(statement: &Statement<'a>, shape: &'a Shape<'_>, page: Page) -> Self {
        let shaped = Wrapped::of(&shape.text, WHOLE, &part(page), page.limit);
        Wrapped {
            text: statement.text(),
            numbers: &shape.numbers,
            ..shaped
        }
    }

    /// Has the columns described, and no row looked for.
    fn nothing(statement: &Statement<'a>) -> Self {
        Wrapped::new(statement, WHOLE, "LIMIT 0", 0)
    }

    fn from_offset(statement: &Statement<'a>, place: &Place, limit: u32) -> Self {
        let after = format!(
            "LIMIT {} OFFSET {}",
            u64::from(limit) + 2,
            place.offset.saturating_sub(1)
        );
        Wrapped {
            seam: Some(Seam::at_offset(place.last_row)),
            ..Wrapped::new(statement, WHOLE, &after, limit)
        }
    }

    fn from_edge(
        statement: &Statement<'a>,
        edge: &Edge,
        columns: &[SortColumn],
        never_null: &HashSet<usize>,
        limit: u32,
    ) -> Self {
        let Conditions { equal, from_it_on } = Conditions::of(columns, &edge.values, never_null);
        let given = edge.given.clone();
        let after = format!(
            "WHERE {from_it_on} LIMIT {}",
            given.count() + u64::from(limit) + 1
        );
        let rounded = |column: &SortColumn| column.sorts == Sorts::UnlessRounded;
        let key = Key {
            columns: columns.iter().map(|column| column.index).collect(),
            values: edge.values.clone(),
            may_be_rounded: columns.iter().any(rounded),
        };
        Wrapped {
            seam: Some(Seam::at_key(key, given)),
            ..Wrapped::new(statement, &format!("q.*, {equal}"), &after, limit)
        }
    }

    /// The line breaks keep a comment at the statement's end from swallowing what follows it. A `LIMIT`
    /// tells the planner how much is wanted.
    fn new(statement: &Statement<'a>, wanted: &str, after: &str, most_rows: u32) -> Self {
        Wrapped::of(statement.text(), wanted, after, most_rows)
    }

    fn of(text: &'a str, wanted: &str, after: &str, most_rows: u32) -> Self {
        let before = format!("SELECT {wanted} FROM (\n");
        Wrapped {
            text,
            alone: format!("{PREPARE}{text}"),
            is_prepare: true,
            is_apart: false,
            gate: None,
            inside: format!("{before}{text}\n) q {after}"),
            before: length(&before),
            most_rows,
            numbers: &[],
            seam: None,
        }
    }

    /// `EXPLAIN` takes more than plain queries, so PostgreSQL parses the statement inside ours first.
    fn explained(statement: &Statement<'a>, before: &str) -> Self {
        let text = statement.text();
        let select = "SELECT FROM (\n";
        Wrapped {
            text,
            alone: text.to_owned(),
            is_prepare: false,
            is_apart: false,
            gate: Some((format!("{select}{text}\n) q"), length(select))),
            inside: format!("{before}{text}"),
            before: length(before),
            most_rows: 1,
            numbers: &[],
            seam: None,
        }
    }

    /// The statement is parsed and not run, and a question of ours follows.
    fn parsed(statement: &Statement<'a>, question: String) -> Self {
        let text = statement.text();
        Wrapped {
            text,
            alone: text.to_owned(),
            is_prepare: false,
            is_apart: true,
            gate: None,
            inside: question,
            // Where a mistake is in the question tells nobody anything.
            before: u32::MAX,
            most_rows: 1,
            numbers: &[],
            seam: None,
        }
    }

    /// Has the text parsed by itself, which says exactly what is wrong with it.
    fn by_itself(&mut self) {
        self.text.clone_into(&mut self.alone);
        self.is_prepare = false;
    }
}

fn part(page: Page) -> String {
    let (limit, offset) = (u64::from(page.limit) + 1, page.offset);
    format!("LIMIT {limit} OFFSET {offset}")
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
const RETRIES: usize = 2;

/// What came of a transaction.
struct Done {
    /// Whether the connection is as good as new.
    is_clean: bool,
    retry: Option<Retry>,
    described: Vec<session_pool::Column>,
    result: Result<Rows, ReadError>,
    /// How the rows joined those before them.
    seam: Option<Seam>,
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
    steps.push(if wrapped.is_apart {
        Step::Parse(&wrapped.alone)
    } else {
        Step::Check(&wrapped.alone)
    });
    steps.extend(wrapped.gate.iter().map(|(gate, _)| Step::Check(gate)));
    let query = Step::Query(&wrapped.inside, wrapped.numbers);
    steps.extend([query, UNLOCK, ROLLBACK]);
    let largest_row = limits.result_bytes.saturating_add(ROW_OVERHEAD);
    let mut exchange = lease
        .exchange(&steps, largest_row)
        .await
        .map_err(ReadError::never_began)?;
    let mut reading = Reading::new(wrapped, limits.result_bytes);
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
    let seam = reading.seam.take();
    let (described, result) = reading.judge(begun, wrapped);
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
        seam,
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
    seam: Option<Seam>,
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
    fn new(wrapped: &Wrapped<'_>, most_bytes: usize) -> Self {
        Reading {
            rows: Gathered::default(),
            cut: None,
            described: None,
            refused: None,
            bytes: 0,
            too_large: None,
            most_rows: wrapped.most_rows as usize,
            most_bytes,
            seam: wrapped.seam.clone(),
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
        let width = match &mut self.seam {
            None => usize::MAX,
            Some(seam) => match seam.take(row)? {
                None => return Ok(()),
                Some(width) => width,
            },
        };
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
        self.rows.push(row, width)
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
    fn judge(
        self,
        begun: usize,
        wrapped: &Wrapped<'_>,
    ) -> (Vec<session_pool::Column>, Result<Rows, ReadError>) {
        let inside = begun + 1 + usize::from(wrapped.gate.is_some());
        let result = match self.refused {
            Some(Refused {
                step, complaint, ..
            }) if step <= inside => Err(match &wrapped.gate {
                _ if step < begun => ReadError::of_first_step(complaint),
                _ if step == begun => ReadError::of_complaint(complaint, 0),
                Some((_, before)) if step < inside => ReadError::of_form(complaint, *before),
                _ if self.described.is_some() => ReadError::of_complaint(complaint, wrapped.before),
                _ => ReadError::of_form(complaint, wrapped.before),
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
