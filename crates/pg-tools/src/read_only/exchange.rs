//! Transactions for what runs now and then: our own queries in one pipelined exchange (begin, run, roll back, scrub),
//! and plans with imagined indexes, step by step.
//!
//! The hot path is in [`transaction`](super::transaction).

use std::future::Future;

use futures_util::join;
use session_pool::{Answer, Lease, Step};
use tokio_postgres::{
    Row,
    types::{FromSql, ToSql, Type},
};

use super::{
    OWN, QueryLimits, bounds::SchemaBounds, failure::ReadError, guard::Guard, statement::Statement,
};

/// How much longer than PostgreSQL's own limit an exchange may take before this process cancels it.
pub(crate) const GRACE: std::time::Duration = std::time::Duration::from_secs(2);

/// Ends the transaction and releases what a rollback does not.
///
/// That is less than [`session_pool::SCRUB`] does, because less can have happened: everything else that lasts in a
/// session (settings, the role, listeners, temporary tables) is undone when the transaction is rolled back.
const END: &str = "ROLLBACK; SELECT pg_catalog.pg_advisory_unlock_all()";

/// A value for `$1` and so on.
pub(crate) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// Runs an `EXPLAIN` of the statement; `before` is all that comes before the statement.
async fn plan_as(
    lease: &Lease,
    before: &str,
    statement: &Statement<'_>,
) -> Result<String, ReadError> {
    let sql = format!("{before}{}", statement.text());
    let rows = lease.query_typed(&sql, &[]).await;
    // It was parsed before, so that the only thing wrong with its form can be that it has parameters.
    let rows = rows.map_err(|error| ReadError::of_wrapping(error, length(before)))?;
    let row = rows.first().ok_or(ReadError::Unreadable)?;
    let Json(text) = row.try_get(0).map_err(ReadError::lost)?;
    Ok(text)
}

/// Indexes that are assumed to exist.
pub(super) struct Imagination<'a> {
    /// The schema of hypopg, quoted.
    pub(super) hypopg: &'a str,
    /// One `CREATE INDEX` for each.
    pub(super) indexes: &'a [String],
}

/// An index that exists only for hypopg, on one connection.
#[derive(Clone, Debug)]
pub(crate) struct Imagined {
    /// Its name in plans.
    pub(crate) name: String,
    /// Its estimated size in bytes.
    pub(crate) size_bytes: i64,
}

/// Has a checked statement planned as if indexes existed. The steps run one after the other: in a pipeline, the
/// statement would be planned after the end of the transaction.
///
/// What hypopg imagines belongs to the connection and survives a rollback, so it is forgotten before the connection is
/// given back; if that fails, the connection is not given back.
pub(super) async fn what_if(
    mut lease: Lease,
    guard: &Guard,
    statement: &Statement<'_>,
    imagination: &Imagination<'_>,
    limits: QueryLimits,
) -> Result<(Vec<Imagined>, String), ReadError> {
    let forget = format!("; SELECT {OWN} {}.hypopg_reset()", imagination.hypopg);
    let whole = async {
        let planned = async {
            let begun = lease.batch_execute(&guard.opening.reading()).await;
            begun.map_err(ReadError::of_beginning)?;
            parse(&mut lease, statement, guard.bounds.as_ref()).await?;
            let imagined = imagine(&lease, imagination).await?;
            // hypopg does nothing in an EXPLAIN that as much as mentions ANALYZE.
            let before = format!("EXPLAIN (FORMAT JSON, VERBOSE) {OWN}\n");
            Ok((imagined, plan_as(&lease, &before, statement).await?))
        }
        .await;
        let ended = lease.batch_execute(&format!("{END}{forget}")).await;
        (planned, ended.is_ok())
    };
    let (planned, is_clean) = tokio::time::timeout(limits.statement_timeout + GRACE, whole)
        .await
        .map_err(|_| ReadError::Unanswered(limits.statement_timeout))?;
    if is_clean {
        lease.give_back();
    }
    planned
}

/// Has PostgreSQL parse the statement, first alone, when it is judged if there are bounds, and then as a plain query
/// inside ours. It gets no name, which would stay behind on a connection that a pooler shares.
async fn parse(
    lease: &mut Lease,
    statement: &Statement<'_>,
    bounds: Option<&SchemaBounds>,
) -> Result<(), ReadError> {
    let before = "SELECT FROM (\n";
    let inside = format!("{before}{}\n) q", statement.text());
    let mut steps = vec![Step::Parse(statement.text())];
    steps.extend(bounds.map(SchemaBounds::step_once));
    steps.push(Step::Parse(&inside));
    let last = steps.len() - 1;
    let exchange = lease.exchange(&steps, usize::MAX).await;
    let mut exchange = exchange.map_err(ReadError::lost)?;
    let mut parsed = Ok(());
    loop {
        match exchange.next().await {
            Ok(Answer::Ready { .. }) => return parsed,
            // The server may have said why before it ended the connection.
            Err(error) => return parsed.and(Err(ReadError::lost(error))),
            Ok(Answer::Refused {
                step, complaint, ..
            }) => {
                parsed = Err(match bounds {
                    _ if step == 0 => ReadError::of_complaint(complaint, 0),
                    Some(bounds) if step < last => bounds.verdict(complaint),
                    _ => ReadError::of_form(complaint, length(before)),
                });
            }
            _ => {}
        }
    }
}

async fn imagine(lease: &Lease, imagination: &Imagination<'_>) -> Result<Vec<Imagined>, ReadError> {
    let schema = imagination.hypopg;
    let sql = format!(
        "SELECT {OWN} i.indexname::pg_catalog.text, {schema}.hypopg_relation_size(i.indexrelid)::pg_catalog.int8 \
         FROM {schema}.hypopg_create_index($1) i"
    );
    let mut imagined = Vec::new();
    for index in imagination.indexes {
        let rows = lease.query_typed(&sql, &[(index, Type::TEXT)]).await;
        let rows = rows.map_err(|error| ReadError::of_statement(error, 0))?;
        let row = rows.first().ok_or(ReadError::Unreadable)?;
        let unreadable = |_| ReadError::Unreadable;
        imagined.push(Imagined {
            name: row.try_get(0).map_err(unreadable)?,
            size_bytes: row.try_get(1).map_err(unreadable)?,
        });
    }
    Ok(imagined)
}

/// Runs one of our own statements, in one round trip.
pub(super) async fn ask(
    lease: Lease,
    begin: &str,
    sql: &str,
    parameters: &[Parameter<'_>],
    limits: QueryLimits,
) -> Result<Vec<Row>, ReadError> {
    let work = async {
        let rows = lease.query_typed(sql, parameters).await;
        rows.map_err(|error| ReadError::of_statement(error, 0))
    };
    let done = transact(&lease, begin, work, limits).await?;
    if done.is_clean {
        lease.give_back();
    }
    done.result
}

/// The outcome of a transaction.
struct Transacted<T> {
    /// Whether the connection is as good as new.
    is_clean: bool,
    result: Result<T, ReadError>,
}

/// Begins, does the work, rolls back and scrubs, in one round trip.
///
/// After an `Err` the lease must be dropped, which cancels what may still run.
async fn transact<T>(
    lease: &Lease,
    begin: &str,
    work: impl Future<Output = Result<T, ReadError>>,
    limits: QueryLimits,
) -> Result<Transacted<T>, ReadError> {
    let pipeline = async {
        // Each of these sends when it is first polled, and they are polled in this order.
        join!(lease.batch_execute(begin), work, lease.batch_execute(END),)
    };
    let (begun, done, scrubbed) = tokio::time::timeout(limits.statement_timeout + GRACE, pipeline)
        .await
        .map_err(|_| ReadError::Unanswered(limits.statement_timeout))?;
    Ok(Transacted {
        is_clean: scrubbed.is_ok(),
        result: begun.map_err(ReadError::of_beginning).and(done),
    })
}

/// Counts characters, as PostgreSQL's positions do.
pub(super) fn length(text: &str) -> u32 {
    u32::try_from(text.chars().count()).unwrap_or(u32::MAX)
}

/// The text of a JSON value, whatever its size or depth.
struct Json(String);

impl<'a> FromSql<'a> for Json {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Json(String::from_utf8(raw.to_vec())?))
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::JSON
    }
}
