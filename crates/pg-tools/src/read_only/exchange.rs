//! One pipelined exchange with PostgreSQL: begin, check, run, roll back, scrub.
//!
//! For what runs now and then; [`query`](super::query) is the hot path.

use std::future::Future;

use futures_util::join;
use session_pool::Lease;
use tokio_postgres::{
    Error, Row, Statement as Prepared,
    types::{FromSql, ToSql, Type},
};

use super::{
    QueryLimits,
    failure::{PARAMETERS, ReadError},
    statement::Statement,
};

/// How much longer than PostgreSQL's own limit an exchange may take, before it is cancelled from here.
pub(crate) const GRACE: std::time::Duration = std::time::Duration::from_secs(2);

/// Ends the transaction and gives back what a rollback leaves of it.
///
/// That is less than [`session_pool::SCRUB`] does, because less can have happened: what else lasts
/// in a session (settings, the role, listeners, temporary tables) a rolled-back transaction undoes.
const END: &str = "ROLLBACK; SELECT pg_catalog.pg_advisory_unlock_all()";

/// A value for `$1` and so on.
pub(crate) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// Runs an `EXPLAIN` that ends where the statement begins.
async fn plan_as(
    lease: &Lease,
    before: &str,
    statement: &Statement<'_>,
) -> Result<String, ReadError> {
    let sql = format!("{before}{}", statement.text());
    let rows = lease.query_typed(&sql, &[]).await;
    let rows = rows.map_err(|error| ReadError::of_statement(error, length(before)))?;
    let row = rows.first().ok_or(ReadError::Unreadable)?;
    let Json(text) = row.try_get(0).map_err(ReadError::lost)?;
    Ok(text)
}

/// Indexes that are thought to be there.
pub(super) struct Imagination<'a> {
    /// The schema of hypopg, quoted.
    pub(super) hypopg: Option<&'a str>,
    /// `CREATE INDEX` for each.
    pub(super) indexes: &'a [String],
}

/// An index that exists in one session's imagination.
#[derive(Clone, Debug)]
pub(crate) struct Imagined {
    /// What it is called in plans.
    pub(crate) name: String,
    /// How large it would be.
    pub(crate) size_bytes: i64,
}

/// Has a checked statement planned as if indexes were there, one step after the other: what a
/// pipeline sends ahead would be planned after the end of the transaction.
///
/// What hypopg imagines is the session's and outlives a rollback, so it is forgotten before the
/// connection is given back, or the connection is not.
pub(super) async fn what_if(
    lease: Lease,
    begin: &str,
    statement: &Statement<'_>,
    imagination: &Imagination<'_>,
    limits: QueryLimits,
) -> Result<(Vec<Imagined>, String), ReadError> {
    let plan = async {
        let begun = lease.batch_execute(begin).await;
        begun.map_err(ReadError::of_beginning)?;
        for probe in [Probe::alone(statement), Probe::inside(statement)] {
            probe.judge(lease.prepare(&probe.sql).await)?;
        }
        let imagined = imagine(&lease, imagination).await?;
        // hypopg does nothing in an EXPLAIN that as much as mentions ANALYZE.
        let before = "EXPLAIN (FORMAT JSON, VERBOSE)\n";
        Ok((imagined, plan_as(&lease, before, statement).await?))
    };
    let forget = imagination.hypopg.map_or_else(String::new, |schema| {
        format!("; SELECT {schema}.hypopg_reset()")
    });
    let whole = async {
        let planned = plan.await;
        let ended = lease.batch_execute(&format!("{END}{forget}")).await;
        (planned, ended.is_ok())
    };
    let (planned, is_clean) = tokio::time::timeout(limits.statement_timeout + GRACE, whole)
        .await
        .map_err(|_| ReadError::TimedOut(limits.statement_timeout))?;
    if is_clean {
        lease.give_back();
    }
    planned
}

async fn imagine(lease: &Lease, imagination: &Imagination<'_>) -> Result<Vec<Imagined>, ReadError> {
    let Some(schema) = imagination.hypopg else {
        return Ok(Vec::new());
    };
    let sql = format!(
        "SELECT i.indexname::pg_catalog.text, {schema}.hypopg_relation_size(i.indexrelid)::pg_catalog.int8 \
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

/// Runs a statement of ours, in one round trip.
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

/// The relations that this transaction has locked and that are in none of the schemas $1.
///
/// PostgreSQL locks whatever a statement names while it parses it, and what the views in it stand
/// for. The catalogues are for everybody, but for those that hold samples of rows or others' statements.
const OUTSIDE: &str = "SELECT n.nspname::text || '.' || c.relname::text \
     FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_class c ON c.oid = l.relation \
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation' \
       AND (l.database = 0 OR l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())) \
       AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND n.nspname::text <> ALL ($1) \
       AND (n.nspname NOT IN ('pg_catalog', 'information_schema') \
            OR c.relname IN ('pg_stats', 'pg_stats_ext', 'pg_stats_ext_exprs', 'pg_statistic', 'pg_statistic_ext_data', \
                             'pg_stat_activity', 'pg_largeobject', 'pg_largeobject_metadata', 'pg_prepared_statements', 'pg_cursors')) \
       AND n.nspname !~ '^pg_(toast|temp_)' \
     ORDER BY 1 LIMIT 1";

/// Has PostgreSQL parse a statement, and refuses it when it names a relation outside of `schemas`.
///
/// Gives whether the connection is as good as new beside what was found.
pub(super) async fn stay_within(
    lease: &Lease,
    begin: &str,
    statement: &Statement<'_>,
    schemas: &[&str],
    limits: QueryLimits,
) -> (bool, Result<(), ReadError>) {
    let parameters: [Parameter<'_>; 1] = [(&schemas, Type::TEXT_ARRAY)];
    let work = async {
        let (parsed, outside) = join!(
            lease.prepare(statement.text()),
            lease.query_typed(OUTSIDE, &parameters),
        );
        parsed.map_err(|error| ReadError::of_statement(error, 0))?;
        outside.map_err(|error| ReadError::of_statement(error, 0))
    };
    let done = match transact(lease, begin, work, limits).await {
        Ok(done) => done,
        Err(error) => return (false, Err(error)),
    };
    let judged = done.result.and_then(|rows| match rows.first() {
        None => Ok(()),
        Some(row) => {
            let relation: String = row.try_get(0).map_err(ReadError::lost)?;
            Err(ReadError::refused(format!(
                "this token may not use {relation}; it may use the schemas {}, and views over these",
                schemas.join(", ")
            )))
        }
    });
    (done.is_clean, judged)
}

/// A text that PostgreSQL must be able to parse, and how far into it the user's own text begins.
struct Probe {
    sql: String,
    prefix: u32,
    /// Whether a refusal means that the statement is no plain query.
    is_gate: bool,
}

impl Probe {
    fn alone(statement: &Statement<'_>) -> Self {
        Probe {
            sql: statement.text().to_owned(),
            prefix: 0,
            is_gate: false,
        }
    }

    fn inside(statement: &Statement<'_>) -> Self {
        let before = "SELECT FROM (\n";
        let sql = format!("{before}{}\n) q", statement.text());
        Probe {
            sql,
            prefix: length(before),
            is_gate: true,
        }
    }

    fn judge(&self, described: Result<Prepared, Error>) -> Result<Prepared, ReadError> {
        let prepared = described.map_err(|error| {
            if self.is_gate {
                ReadError::of_wrapping(error, self.prefix)
            } else {
                ReadError::of_statement(error, self.prefix)
            }
        })?;
        if prepared.params().is_empty() {
            Ok(prepared)
        } else {
            Err(ReadError::refused(PARAMETERS))
        }
    }
}

/// What came of a transaction.
struct Transacted<T> {
    /// Whether the connection is as good as new.
    is_clean: bool,
    result: Result<T, ReadError>,
}

/// Begins, lets the work be done, rolls back and scrubs: one round trip.
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
        .map_err(|_| ReadError::TimedOut(limits.statement_timeout))?;
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
