//! The hot path: a transaction around one statement, in one round trip.
//!
//! Begin, parse the text alone, run it inside ours, give back what a rollback leaves, roll back: all
//! of it is one message to PostgreSQL and one answer. A text that comes again is prepared. Rows
//! that are shown are written while others are still to come.

use std::{io, sync::Arc};

use session_pool::{Answer, Complaint, Exchange, Lease, Row, Standing, Step};
use tokio_postgres::error::{ErrorPosition, SqlState};

use super::{
    QueryLimits,
    bounds::{Bounds, SEALED, UNSEALED},
    failure::ReadError,
    gathered::Gathered,
    guard::Guard,
    place::Seam,
    rows::{Cut, Rows},
    typename::TypeNames,
    wrapped::Wrapped,
};

/// Gives back what a rollback leaves of a transaction.
///
/// That is less than [`session_pool::SCRUB`] does, because less can have happened: what else lasts
/// in a session (settings, the role, listeners, temporary tables) a rolled-back transaction undoes.
const UNLOCK: &str = "SELECT pg_catalog.pg_advisory_unlock_all()";
const ROLLBACK: Step<'_> = Step::Run("ROLLBACK");

/// Room for as many steps as almost all transactions have.
const USUAL_STEPS: usize = 16;

/// What a row's message may have beside its values: a count, and a length for each of the columns,
/// of which PostgreSQL has at most 1,664.
pub(crate) const ROW_OVERHEAD: usize = 2 + 4 * 1_664;

/// Runs a statement, and anew where that may help. After an `Err` the lease must be dropped.
pub(super) async fn run(
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
            Some(Retry::Exactly) => wrapped.is_suspect = true,
            Some(Retry::Judged) => wrapped.is_doubted = true,
            Some(Retry::AsWritten | Retry::Unsealed) | None => break,
        }
        done = transact(lease, guard, &wrapped, limits).await?;
    }
    Ok(done)
}

/// Gives the lease back if that may be, and the rows with their columns.
pub(super) async fn settle(lease: Lease, guard: &Guard, done: Done) -> Result<Rows, ReadError> {
    if done.is_clean {
        if done.result.is_ok() {
            guard.types.learn(&lease, &done.described).await?;
        }
        lease.give_back();
    }
    let mut rows = done.result?;
    // Rows that were written while they came were described before.
    let columns = match std::mem::take(&mut rows.columns) {
        unknown if unknown.is_empty() => guard.types.columns(&done.described),
        columns => columns,
    };
    rows.describe(columns);
    Ok(rows)
}

/// How a statement that failed is to be run once more.
pub(super) enum Retry {
    /// As before: what was prepared in the past stood in the way.
    Anew,
    /// With its numbers in the text: what was refused without them may be right, or else it is told
    /// about the text that the caller knows.
    AsWritten,
    /// Parsed by itself first: its form was refused, and that tells why.
    ByItself,
    /// Judged exactly: it seems to be out of bounds.
    Exactly,
    /// Judged: what it stands for may have changed since.
    Judged,
    /// Without a seal, which could not be parsed, or with which it could not be planned.
    Unsealed,
}

/// At most once for each reason.
const RETRIES: usize = 4;

/// What came of a transaction.
pub(super) struct Done {
    /// Whether the connection is as good as new.
    pub(super) is_clean: bool,
    pub(super) retry: Option<Retry>,
    pub(super) described: Arc<[session_pool::Column]>,
    pub(super) result: Result<Rows, ReadError>,
    /// How the rows joined those before them.
    pub(super) seam: Option<Seam>,
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
    let is_set = lease.set(guard.opening.lasting()).await;
    let is_set = is_set.map_err(ReadError::never_began)?;
    let mut steps = Vec::with_capacity(USUAL_STEPS);
    steps.extend(guard.opening.steps(is_set));
    let standing = standing(lease, guard.bounds.as_ref(), wrapped);
    let places = Places::add(&mut steps, wrapped, guard.bounds.as_ref(), standing);
    steps.extend([Step::Run(UNLOCK), ROLLBACK]);
    // Keys come on top of what a result may have.
    let with_keys = 1 + usize::from(!wrapped.keys.is_empty());
    let largest_row = limits
        .result_bytes
        .saturating_mul(with_keys)
        .saturating_add(ROW_OVERHEAD);
    let mut exchange = lease
        .exchange(&steps, largest_row)
        .await
        .map_err(ReadError::never_began)?;
    let mut reading = Reading::new(wrapped, &guard.types, limits.result_bytes);
    let ended = match reading.read(&mut exchange).await {
        Ok(ended) => ended,
        // Whoever ends a connection may have said why.
        Err(_) if reading.is_settled() || reading.refused.is_some() => false,
        Err(error) if exchange.has_begun() => return Err(ReadError::lost(error)),
        Err(error) => return Err(ReadError::never_began(error)),
    };
    // Nothing refuses a `BEGIN`: the server is at its end, or another statement was in its place.
    if let Some(refused) = reading
        .refused
        .take_if(|refused| refused.step == 0 && !refused.is_stale)
    {
        return Err(ReadError::never_began(refused.complaint));
    }
    let is_clean = match &reading.refused {
        None => ended,
        // What was cancelled may be cancelled once more, by a request that is still on its way.
        Some(refused) if *refused.complaint.code() == SqlState::QUERY_CANCELED => false,
        Some(_) => end(lease).await,
    };
    let refused = reading.refused.as_ref();
    let is_stale = refused.is_some_and(|refused| refused.is_stale);
    let is_about_text = refused.is_some_and(|refused| refused.is_about_text(&places));
    let is_judged = refused.is_some_and(|refused| Some(refused.step) == places.judged);
    let is_planned = refused.is_some_and(|refused| Some(refused.step) == places.planned);
    let is_about_seal = refused.is_some_and(|refused| {
        (places.alone + 1..=places.inside).contains(&refused.step) && refused.is_behind(wrapped)
    });
    let is_unchecked = refused.is_some_and(|refused| refused.step == places.alone);
    let seam = reading.seam.take();
    let (described, result) = reading.judge(&places, wrapped, guard.bounds.as_ref());
    let is_about_form = is_unchecked || matches!(result, Err(ReadError::NotAQuery(_)));
    let retry = match () {
        () if !is_clean => None,
        () if is_stale => Some(Retry::Anew),
        () if is_judged && !wrapped.is_suspect => Some(Retry::Exactly),
        () if is_planned && (is_about_seal || standing == Standing::Vouched) => Some(Retry::Judged),
        // What planning reads may be read otherwise with the seal's setting.
        () if wrapped.is_sealed && (is_about_seal || is_planned) => Some(Retry::Unsealed),
        () if is_about_text && !wrapped.numbers.is_empty() => Some(Retry::AsWritten),
        () if is_about_form && wrapped.is_prepare => Some(Retry::ByItself),
        () => None,
    };
    if let Some(bounds) = &guard.bounds
        && is_clean
        && result.is_ok()
        && standing == Standing::Prepared
        && !wrapped.is_suspect
    {
        lease.vouch(&wrapped.inside, wrapped.numbers, bounds.at_a_glance());
    }
    Ok(Done {
        is_clean,
        retry,
        described,
        result,
        seam,
    })
}

/// Says what is known of a statement that is to be judged; one without a seal is never known.
fn standing(lease: &Lease, bounds: Option<&Bounds>, wrapped: &Wrapped<'_>) -> Standing {
    let Some(bounds) = bounds.filter(|_| wrapped.is_sealed && wrapped.is_prepare) else {
        return Standing::Unknown;
    };
    match lease.standing(&wrapped.inside, wrapped.numbers, bounds.at_a_glance()) {
        Standing::Vouched if wrapped.is_doubted || wrapped.is_suspect => Standing::Prepared,
        standing => standing,
    }
}

/// Which step of a transaction is which, by its place. The first ones begin it.
struct Places {
    /// The statement's text, alone.
    alone: usize,
    /// What looks at what the statement names.
    judged: Option<usize>,
    gate: Option<usize>,
    /// Where the statement inside ours is planned apart from its run.
    planned: Option<usize>,
    /// The statement inside ours; steps that are none of the others have it parsed.
    inside: usize,
}

impl Places {
    /// Adds the steps that check a statement and run it.
    ///
    /// With bounds, the statement itself is locked before it is judged and planned, unless it was judged before and
    /// PostgreSQL, which then could not plan it, has not parsed it anew since. One that has to be parsed by
    /// itself is judged by that: what is wrong with it inside ours is told to those only who may name what
    /// it names, and what `EXPLAIN` explains is not parsed before that is run.
    fn add<'a>(
        steps: &mut Vec<Step<'a>>,
        wrapped: &'a Wrapped<'_>,
        bounds: Option<&'a Bounds>,
        standing: Standing,
    ) -> Self {
        let (inside, numbers) = (&wrapped.inside, wrapped.numbers);
        let mut add = |step| {
            steps.push(step);
            steps.len() - 1
        };
        let alone = add(match bounds {
            Some(_) if !wrapped.is_prepare => Step::Parse(&wrapped.alone),
            _ => Step::Check(&wrapped.alone),
        });
        let judged = bounds.filter(|_| standing != Standing::Vouched);
        let judged = judged.map(|bounds| {
            if wrapped.is_prepare {
                add(Step::Lock(inside, numbers));
            }
            add(match wrapped.is_suspect {
                true => bounds.step(),
                false => bounds.glance(),
            })
        });
        let gate = wrapped.gate.as_ref();
        let gate = gate.map(|(gate, _)| add(Step::Check(gate)));
        let planned = (standing != Standing::Unknown).then(|| {
            add(SEALED);
            let planned = add(Step::Plan(inside, numbers));
            add(UNSEALED);
            planned
        });
        let inside = add(Step::Query(inside, numbers));
        Places {
            alone,
            judged,
            gate,
            planned,
            inside,
        }
    }
}

/// Ends a transaction that has failed; says whether the connection is as good as new.
async fn end(lease: &mut Lease) -> bool {
    let ended = async {
        // Behind the rollback nothing is read-only: what runs there is never prepared.
        let steps = [ROLLBACK, Step::Frame(UNLOCK)];
        let mut exchange = lease.exchange(&steps, usize::MAX).await?;
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
struct Reading<'a> {
    rows: Gathered,
    cut: Option<Cut>,
    /// Nothing before PostgreSQL has taken the statement.
    described: Option<Arc<[session_pool::Column]>>,
    types: &'a TypeNames,
    refused: Option<Refused>,
    /// Bytes of the values so far.
    bytes: usize,
    /// The size of a first row that is larger than a result may be.
    too_large: Option<usize>,
    most_rows: usize,
    most_bytes: usize,
    is_shown: bool,
    keys: &'a [usize],
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
    /// Says whether it is about what is ours behind the statement.
    fn is_behind(&self, wrapped: &Wrapped<'_>) -> bool {
        match self.complaint.position() {
            Some(ErrorPosition::Original(at)) => wrapped.is_behind(*at),
            _ => false,
        }
    }

    /// Says whether it is the statement's text that was refused.
    fn is_about_text(&self, places: &Places) -> bool {
        let is_statement =
            (places.alone..=places.inside).contains(&self.step) && Some(self.step) != places.judged;
        let code = self.complaint.code().code();
        let points_at_it = matches!(self.complaint.position(), Some(ErrorPosition::Original(_)));
        is_statement && (points_at_it || ABOUT_TEXT.iter().any(|class| code.starts_with(class)))
    }
}

impl<'a> Reading<'a> {
    fn new(wrapped: &Wrapped<'a>, types: &'a TypeNames, most_bytes: usize) -> Self {
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

    /// Reads an answer to its end; says whether the transaction has ended, too.
    async fn read(&mut self, exchange: &mut Exchange<'_>) -> io::Result<bool> {
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

    /// Says whether what is still to come makes no difference.
    fn is_settled(&self) -> bool {
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
        // What is not shown does not count.
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

    /// Says what it comes to.
    fn judge(
        self,
        places: &Places,
        wrapped: &Wrapped<'_>,
        bounds: Option<&Bounds>,
    ) -> (Arc<[session_pool::Column]>, Result<Rows, ReadError>) {
        let result = match self.refused {
            Some(Refused {
                step, complaint, ..
            }) if step <= places.inside => Err(match (&wrapped.gate, bounds) {
                _ if step < places.alone => ReadError::of_first_step(complaint),
                _ if step == places.alone => ReadError::of_complaint(complaint, 0),
                (_, Some(bounds)) if Some(step) == places.judged => bounds.verdict(complaint),
                (Some((_, before)), _) if Some(step) == places.gate => {
                    ReadError::of_form(complaint, *before)
                }
                _ if self.described.is_some() => ReadError::of_complaint(complaint, wrapped.before),
                _ => ReadError::of_form(complaint, wrapped.before),
            }),
            // When it was the scrub that failed, the rows were there before.
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
