//! The ways to run a statement that a caller wrote: for its rows, for those after others, for its plan, or only to
//! check what it names.

use std::{
    future::Future,
    pin::{Pin, pin},
};

use session_pool::{Column as Described, Lease};

use super::{
    Explain, QueryLimits, conditions,
    exchange::GRACE,
    failure::ReadError,
    guard::Guard,
    order,
    place::{Edge, Joined, Place},
    rows::{Column, Page, Rows},
    shape::Shape,
    statement::Statement,
    transaction::{Retry, run, settle},
    wrapped::Wrapped,
};

/// Returns the most bytes that a plan may have, if a result may have `result_bytes`: fewer than a session lets through
/// in one exchange, so that a plan which is too large is reported and does not break the connection.
pub(super) fn most_of_plan(result_bytes: usize) -> usize {
    result_bytes.saturating_mul(3).max(512 << 10)
}

/// A statement to run, and the items of its order for which it has keys after its own columns.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    pub(super) statement: &'a Statement<'a>,
    pub(super) keys: &'a [usize],
}

impl<'a> Run<'a> {
    pub(super) fn as_written(statement: &'a Statement<'a>) -> Self {
        let keys = &[];
        Run { statement, keys }
    }
}

/// Which rows of a statement are wanted; the numbers are the most rows.
#[derive(Clone, Copy)]
pub(super) enum Wanted<'a> {
    Page(Page),
    /// Those after a place, without counting the rows before it.
    AtEdge(&'a Edge, u32),
    /// Those after a place, by counting the rows before it.
    AtOffset(&'a Place, u32),
}

/// The rows that follow others.
pub(crate) struct Following {
    pub(crate) rows: Rows,
    /// Whether it is certain that none is missing and none comes twice.
    pub(crate) is_sure: bool,
}

/// Reads rows of a checked statement; `None` if they would not be right, or are not known to be.
pub(super) async fn read(
    lease: Lease,
    guard: &Guard,
    run: Run<'_>,
    wanted: Wanted<'_>,
    limits: QueryLimits,
) -> Result<Option<Following>, ReadError> {
    match wanted {
        Wanted::Page(page) => {
            let rows = query(lease, guard, run, page, limits).await?;
            let is_sure = true;
            Ok(Some(Following { rows, is_sure }))
        }
        Wanted::AtEdge(edge, limit) => {
            Box::pin(query_at_edge(lease, guard, run, edge, limit, limits)).await
        }
        Wanted::AtOffset(place, limit) => {
            Box::pin(query_at_offset(lease, guard, run, place, limit, limits)).await
        }
    }
}

/// Runs a checked statement, in one round trip; one that fails, or that was prepared and has changed, takes more.
async fn query(
    mut lease: Lease,
    guard: &Guard,
    of: Run<'_>,
    page: Page,
    limits: QueryLimits,
) -> Result<Rows, ReadError> {
    in_time(
        limits,
        pin!(async {
            let shape = Shape::of(of.statement).filter(|shape| lease.recurs(&shape.text));
            let mut is_sealed = guard.bounds.is_some() && lease.may_vouch();
            let whole = paged(of, shape.as_ref(), page, is_sealed);
            let mut done = run(&mut lease, guard, whole, limits).await?;
            if let Some(Retry::Unsealed) = done.retry {
                is_sealed = false;
                let unsealed = paged(of, shape.as_ref(), page, is_sealed);
                done = Box::pin(run(&mut lease, guard, unsealed, limits)).await?;
            }
            if let (Some(Retry::AsWritten), Some(shape)) = (&done.retry, &shape) {
                lease.avoid(&shape.text);
                let written = paged(of, None, page, is_sealed);
                done = Box::pin(run(&mut lease, guard, written, limits)).await?;
            }
            settle(lease, guard, done).await
        }),
    )
    .await
}

fn paged<'a>(
    Run { statement, keys }: Run<'a>,
    shape: Option<&'a Shape<'_>>,
    page: Page,
    is_sealed: bool,
) -> Wrapped<'a> {
    let wrapped = match shape {
        Some(shape) => Wrapped::shaped(statement, shape, page, is_sealed),
        None => Wrapped::page(statement, page, is_sealed),
    };
    wrapped.with_keys(keys)
}

/// Runs a statement from the row before a place on, by counting the rows before that one.
async fn query_at_offset(
    mut lease: Lease,
    guard: &Guard,
    Run { statement, keys }: Run<'_>,
    place: &Place,
    limit: u32,
    limits: QueryLimits,
) -> Result<Option<Following>, ReadError> {
    in_time(
        limits,
        pin!(async {
            let wrapped = Wrapped::from_offset(statement, place, limit).with_keys(keys);
            let mut done = run(&mut lease, guard, wrapped, limits).await?;
            let seam = done.seam.take();
            let rows = settle(lease, guard, done).await?;
            let joined = seam.map(|seam| seam.joined(rows.cut.is_some()));
            let is_sure = joined == Some(Joined::Surely);
            Ok(Some(Following { rows, is_sure }))
        }),
    )
    .await
}

/// Runs a statement from an edge in its order on, without counting the rows before it; `None` if the rows would not be
/// right, or are not known to be.
///
/// It takes one to three more short exchanges, to find out by which columns the rows are ordered, and which of them are
/// never NULL.
async fn query_at_edge(
    mut lease: Lease,
    guard: &Guard,
    Run { statement, keys }: Run<'_>,
    edge: &Edge,
    limit: u32,
    limits: QueryLimits,
) -> Result<Option<Following>, ReadError> {
    in_time(
        limits,
        pin!(async {
            let nothing = Wrapped::nothing(statement).with_keys(keys);
            let mut done = run(&mut lease, guard, nothing, limits).await?;
            if !done.is_clean || done.result.is_err() {
                return settle(lease, guard, done).await.map(|_| None);
            }
            let described = std::mem::take(&mut done.described);
            guard.types.learn(&lease, &described).await?;
            let mut empty = done.result?;
            empty.describe(guard.types.columns(&described));
            let columns = order::sort_columns(statement, &empty.columns, &empty.keys);
            let columns = columns.filter(|columns| columns.len() == edge.values.len());
            let Some(columns) = columns else {
                lease.give_back();
                return Ok(None);
            };
            let never_null =
                conditions::never_null(&lease, statement, &described, &columns).await?;
            let width = described.len();
            let wrapped = Wrapped::from_edge(statement, edge, &columns, &never_null, width, limit);
            let mut done = run(&mut lease, guard, wrapped.with_keys(keys), limits).await?;
            // In that run the names are ours, and so is the last column.
            let is_as_described = is_same(&done.described, &described);
            done.described = described;
            let seam = done.seam.take();
            match settle(lease, guard, done).await {
                // A value is no longer one of its column's type, or the query itself has failed.
                Err(error) if error.is_about_values() => Ok(None),
                // `ORDER BY` sorts a domain as the type beneath it, and a domain is described as that type. But for a
                // domain over an enumeration PostgreSQL finds no operator that compares it with a text.
                Err(error) if error.is_about_operators() => Ok(None),
                Err(error) => Err(error),
                Ok(_) if !is_as_described => Ok(None),
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

/// Returns whether the columns of a run have the types that were described, followed by one more.
fn is_same(of_run: &[Described], described: &[Described]) -> bool {
    let types = |columns: &[Described]| -> Vec<u32> {
        columns.iter().map(|column| column.type_oid).collect()
    };
    of_run
        .split_last()
        .is_some_and(|(_, own)| types(own) == types(described))
}

/// Returns the columns of a statement's result, without fetching a row.
pub(super) async fn columns(
    mut lease: Lease,
    guard: &Guard,
    statement: &Statement<'_>,
    limits: QueryLimits,
) -> Result<Vec<Column>, ReadError> {
    in_time(
        limits,
        pin!(async {
            let done = run(&mut lease, guard, Wrapped::nothing(statement), limits).await?;
            Ok(settle(lease, guard, done).await?.columns)
        }),
    )
    .await
}

/// Has a checked statement planned, in one round trip; returns PostgreSQL's JSON as text.
pub(super) async fn explain(
    mut lease: Lease,
    guard: &Guard,
    statement: &Statement<'_>,
    Explain { analyze, buffers }: Explain,
    limits: QueryLimits,
) -> Result<String, ReadError> {
    // Without ANALYZE, PostgreSQL counts the blocks of planning only.
    let buffers = buffers && analyze;
    // Without VERBOSE the plan does not say which schema a table is in.
    let before = format!("EXPLAIN (FORMAT JSON, VERBOSE, ANALYZE {analyze}, BUFFERS {buffers})\n");
    let explained = in_time(
        limits,
        pin!(async {
            let wrapped = Wrapped::explained(statement, &before);
            let done = run(&mut lease, guard, wrapped, limits).await?;
            let rows = settle(lease, guard, done).await?;
            let plan = rows.first_value().ok_or(ReadError::Unreadable)?;
            Ok(plan.to_owned())
        }),
    )
    .await;
    explained.map_err(|error| match error {
        ReadError::RowTooLarge { size, limit } => ReadError::refused(format!(
            "the plan has {size} bytes, and may have {limit}: it holds every partition, and each constant that the planner computes from what is written, such as repeat('x', 9000000); explain a part of the query, or have the operator raise limits.result_bytes"
        )),
        other => other,
    })
}

/// Has PostgreSQL parse a statement and do nothing else, so that the guard's bounds judge what it names.
pub(super) async fn stay_within(
    mut lease: Lease,
    guard: &Guard,
    statement: &Statement<'_>,
    limits: QueryLimits,
) -> Result<(), ReadError> {
    in_time(
        limits,
        pin!(async {
            let done = run(&mut lease, guard, Wrapped::parsed(statement), limits).await?;
            settle(lease, guard, done).await.map(|_| ())
        }),
    )
    .await
}

async fn in_time<T>(
    limits: QueryLimits,
    work: Pin<&mut impl Future<Output = Result<T, ReadError>>>,
) -> Result<T, ReadError> {
    tokio::time::timeout(limits.statement_timeout + GRACE, work)
        .await
        .unwrap_or(Err(ReadError::Unanswered(limits.statement_timeout)))
}
