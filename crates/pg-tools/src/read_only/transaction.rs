//! The hot path: a transaction around one statement, in one round trip.
//!
//! Begin, parse the text alone, run it inside ours, release what a rollback does not, roll back: all of it is one
//! message to PostgreSQL and one answer. A text that comes again is prepared. Rows that are to be shown are rendered
//! while others are still arriving.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use session_pool::{Answer, Lease, Standing, Step};
use tokio_postgres::error::SqlState;

use super::{
    QueryLimits,
    bounds::{SEALED, SchemaBounds, UNSEALED},
    failure::ReadError,
    guard::Guard,
    place::Seam,
    reading::{ROW_OVERHEAD, Reading, Refused},
    rows::Rows,
    wrapped::Wrapped,
};

/// Releases what a rollback does not.
///
/// That is less than [`session_pool::SCRUB`] does, because less can have happened: everything else that lasts in a
/// session (settings, the role, listeners, temporary tables) is undone when the transaction is rolled back.
const UNLOCK: &str = "SELECT pg_catalog.pg_advisory_unlock_all()";
const ROLLBACK: Step<'_> = Step::Run("ROLLBACK");

/// How soon after a statement was sent a connection is found dead that was dead before. PostgreSQL does not tell how far
/// it has come until it is through. What ended a connection later may have been the statement itself, by the memory that
/// it took, for example, so that it is not run again: the next connection may be to the next host.
const FOUND_DEAD: Duration = Duration::from_secs(1);

/// Enough for the steps of almost all transactions.
const USUAL_STEPS: usize = 16;

/// Runs a statement, and again where that may help. After an `Err` the lease must be dropped.
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

/// Gives the lease back if its connection is clean, and returns the rows with their columns.
pub(super) async fn settle(lease: Lease, guard: &Guard, done: Done) -> Result<Rows, ReadError> {
    if done.is_clean {
        if done.result.is_ok() {
            guard.types.learn(&lease, &done.described).await?;
        }
        lease.give_back();
    }
    let mut rows = done.result?;
    // Rows that were rendered while they arrived have their columns already.
    let columns = match std::mem::take(&mut rows.columns) {
        unknown if unknown.is_empty() => guard.types.columns(&done.described),
        columns => columns,
    };
    rows.describe(columns);
    Ok(rows)
}

/// How to run a statement again that failed.
pub(super) enum Retry {
    /// In the same way: something prepared earlier made it fail.
    Anew,
    /// With its numbers in the text, not as parameters: it may be right then, and if it is not, the error is about the
    /// text that the caller knows.
    AsWritten,
    /// Parsed by itself first: its form was refused, and that parse tells why.
    ByItself,
    /// Judged exactly: at a glance it seems to be out of bounds.
    Exactly,
    /// Judged again: what its names stand for may have changed since.
    Judged,
    /// Without the seal, because the seal could not be parsed, or the statement could not be planned with it.
    Unsealed,
}

/// How often a statement is run again at most: once for each reason that [`run`] handles.
const RETRIES: usize = 4;

/// The outcome of a transaction.
pub(super) struct Done {
    /// Whether the connection is as good as new.
    pub(super) is_clean: bool,
    pub(super) retry: Option<Retry>,
    pub(super) described: Arc<[session_pool::Column]>,
    pub(super) result: Result<Rows, ReadError>,
    /// How the rows continue those before them, if the run was to continue any.
    pub(super) seam: Option<Seam>,
}

/// Begins, runs the statement, rolls back and scrubs.
///
/// When a step fails, the transaction fails with it, and PostgreSQL runs none of the other steps. After an `Err` the
/// lease must be dropped, which cancels what may still be running.
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
    let at = StepNumbers::add(&mut steps, wrapped, guard.bounds.as_ref(), standing);
    steps.extend([Step::Run(UNLOCK), ROLLBACK]);
    let sent = Instant::now();
    let mut exchange = lease
        .exchange(&steps, largest_row(wrapped, limits))
        .await
        .map_err(ReadError::never_began)?;
    let mut reading = Reading::new(wrapped, &guard.types, limits.result_bytes);
    let ended = match reading.read(&mut exchange).await {
        Ok(ended) => ended,
        // The server may have said why before it ended the connection.
        Err(_) if reading.is_settled() || reading.refused.is_some() => false,
        Err(error) if exchange.has_begun() || sent.elapsed() >= FOUND_DEAD => {
            return Err(ReadError::lost(error));
        }
        Err(error) => return Err(ReadError::never_began(error)),
    };
    // A `BEGIN` itself is never refused: the server is shutting down, or another statement ran in its place.
    if let Some(refused) = reading
        .refused
        .take_if(|refused| refused.step == 0 && !refused.is_stale)
    {
        return Err(if sent.elapsed() >= FOUND_DEAD {
            ReadError::lost(refused.complaint)
        } else {
            ReadError::never_began(refused.complaint)
        });
    }
    let is_clean = match &reading.refused {
        None => ended,
        // After a cancellation, another cancel request may still be on its way.
        Some(refused) if *refused.complaint.code() == SqlState::QUERY_CANCELED => false,
        Some(_) => end(lease).await,
    };
    let refused = reading.refused.as_ref();
    let retry = refused.and_then(|refused| retry(refused, &at, wrapped, standing));
    let seam = reading.seam.take();
    let (described, result) = reading.judge(&at, wrapped, guard.bounds.as_ref());
    let is_about_form = wrapped.is_prepare && matches!(result, Err(ReadError::NotAQuery(_)));
    let retry = retry
        .or_else(|| is_about_form.then_some(Retry::ByItself))
        .filter(|_| is_clean);
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

/// Returns the size in bytes of the largest row that is read. Keys may have as many bytes again as the result.
fn largest_row(wrapped: &Wrapped<'_>, limits: QueryLimits) -> usize {
    let with_keys = 1 + usize::from(!wrapped.keys.is_empty());
    limits
        .result_bytes
        .saturating_mul(with_keys)
        .saturating_add(ROW_OVERHEAD)
}

/// Returns how to run a refused statement again, as far as the refusal alone tells.
fn retry(
    refused: &Refused,
    at: &StepNumbers,
    wrapped: &Wrapped<'_>,
    standing: Standing,
) -> Option<Retry> {
    let step = Some(refused.step);
    let is_planned = step == at.planned;
    let is_about_seal =
        (at.alone + 1..=at.inside).contains(&refused.step) && refused.is_behind(wrapped);
    match () {
        // The rows are there; only the end of the transaction is missing, and [`end`] makes up for that.
        () if refused.is_stale && refused.step > at.inside => None,
        () if refused.is_stale => Some(Retry::Anew),
        () if step == at.judged && !wrapped.is_suspect => Some(Retry::Exactly),
        () if is_planned && (is_about_seal || standing == Standing::Vouched) => Some(Retry::Judged),
        // With the seal's setting, planning may read array literals differently.
        () if wrapped.is_sealed && (is_about_seal || is_planned) => Some(Retry::Unsealed),
        () if refused.is_about_text(at) && !wrapped.numbers.is_empty() => Some(Retry::AsWritten),
        () if refused.step == at.alone && wrapped.is_prepare => Some(Retry::ByItself),
        () => None,
    }
}

/// Returns what is known of a statement that is to be judged: nothing if there are no bounds, or if it has no seal or
/// is parsed by itself.
fn standing(lease: &Lease, bounds: Option<&SchemaBounds>, wrapped: &Wrapped<'_>) -> Standing {
    let Some(bounds) = bounds.filter(|_| wrapped.is_sealed && wrapped.is_prepare) else {
        return Standing::Unknown;
    };
    match lease.standing(&wrapped.inside, wrapped.numbers, bounds.at_a_glance()) {
        Standing::Vouched if wrapped.is_doubted || wrapped.is_suspect => Standing::Prepared,
        standing => standing,
    }
}

/// The indexes of a transaction's steps. Those before `alone` begin the transaction.
pub(super) struct StepNumbers {
    /// Parses the statement's text alone.
    pub(super) alone: usize,
    /// Judges what the statement names.
    pub(super) judged: Option<usize>,
    pub(super) gate: Option<usize>,
    /// Plans the statement inside ours, if that is done separately from running it.
    pub(super) planned: Option<usize>,
    /// Runs the statement inside ours. The steps before it that are none of the others lock what it names, or switch
    /// the seal's setting.
    pub(super) inside: usize,
}

impl StepNumbers {
    /// Adds the steps that check a statement and run it.
    ///
    /// With bounds, what the statement names is locked before the statement is judged and planned, unless it was judged
    /// before and PostgreSQL has not parsed it again since; if it had, it could not plan it. A statement that has to be
    /// parsed by itself is judged by that parse: what is wrong with it inside ours is told only to those who may use
    /// what it names, and `EXPLAIN` does not parse what it explains before it is run.
    fn add<'a>(
        steps: &mut Vec<Step<'a>>,
        wrapped: &'a Wrapped<'_>,
        bounds: Option<&'a SchemaBounds>,
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
        StepNumbers {
            alone,
            judged,
            gate,
            planned,
            inside,
        }
    }
}

/// Ends a transaction that has failed; returns whether the connection is as good as new.
async fn end(lease: &mut Lease) -> bool {
    let ended = async {
        // After the rollback nothing is read-only, so what runs there is never prepared by name.
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
