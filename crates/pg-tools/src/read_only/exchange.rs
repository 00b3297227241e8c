//! One pipelined exchange with PostgreSQL: begin, check, run, roll back, scrub.

use std::{future::Future, pin::pin};

use futures_util::{StreamExt, future::join_all, join};
use session_pool::Lease;
use tokio_postgres::{
    Error, Row, Statement as Prepared,
    types::{FromSql, ToSql, Type},
};

use super::{Explain, QueryLimits, failure::ReadError, record, statement::Statement, typename};

/// How much longer than PostgreSQL's own limit an exchange may take, before it is cancelled from here.
pub(crate) const GRACE: std::time::Duration = std::time::Duration::from_secs(2);

/// Ends the transaction and gives back what a rollback leaves of it.
///
/// That is less than [`session_pool::SCRUB`] does, because less can have happened: what else lasts
/// in a session (settings, the role, listeners, temporary tables) a rolled-back transaction undoes.
const END: &str = "ROLLBACK; SELECT pg_catalog.pg_advisory_unlock_all()";

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
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rows {
    pub(crate) columns: Vec<Column>,
    /// Each value as `psql` shows it; `None` is NULL.
    pub(crate) rows: Vec<Vec<Option<String>>>,
    /// Why there are more rows than these, if there are.
    pub(crate) cut: Option<Cut>,
}

/// Why a result was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The page is full.
    Limit,
    /// The values have too many bytes together.
    Bytes,
}

/// A value for `$1` and so on.
pub(crate) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// Runs a checked statement, in one round trip.
pub(super) async fn query(
    lease: Lease,
    begin: &str,
    statement: &Statement<'_>,
    page: Page,
    limits: QueryLimits,
) -> Result<Rows, ReadError> {
    let wrapped = Wrapped::new(statement, page, limits.result_bytes);
    let probes = [Probe::alone(statement)];
    let work = collect(&lease, &wrapped, page, limits);
    let done = transact(&lease, begin, &probes, work, limits).await?;
    if done.is_clean {
        lease.give_back();
    }
    let (described, (rows, cut)) = done.result?;
    let columns = described.first().map(columns).unwrap_or_default();
    Ok(Rows { columns, rows, cut })
}

/// Has a checked statement planned, in one round trip; gives the text of PostgreSQL's JSON.
///
/// `EXPLAIN` takes more than plain queries, so PostgreSQL parses the statement inside ours first.
pub(super) async fn explain(
    lease: Lease,
    begin: &str,
    statement: &Statement<'_>,
    options: Explain,
    limits: QueryLimits,
) -> Result<String, ReadError> {
    let probes = [Probe::alone(statement), Probe::inside(statement)];
    let work = plan(&lease, statement, options);
    let done = transact(&lease, begin, &probes, work, limits).await?;
    if done.is_clean {
        lease.give_back();
    }
    done.result.map(|(_, plan)| plan)
}

async fn plan(
    lease: &Lease,
    statement: &Statement<'_>,
    Explain { analyze, buffers }: Explain,
) -> Result<String, ReadError> {
    // Without ANALYZE, PostgreSQL counts the blocks of planning only.
    let buffers = buffers && analyze;
    let before = format!("EXPLAIN (FORMAT JSON, ANALYZE {analyze}, BUFFERS {buffers})\n");
    let sql = format!("{before}{}", statement.text());
    let rows = lease.query_typed(&sql, &[]).await;
    let rows = rows.map_err(|error| ReadError::of_statement(error, length(&before)))?;
    let row = rows.first().ok_or(ReadError::Unreadable)?;
    let Json(text) = row.try_get(0).map_err(ReadError::Lost)?;
    Ok(text)
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
    let done = transact(&lease, begin, &[], work, limits).await?;
    if done.is_clean {
        lease.give_back();
    }
    done.result.map(|(_, rows)| rows)
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
    let done = match transact(lease, begin, &[], work, limits).await {
        Ok(done) => done,
        Err(error) => return (false, Err(error)),
    };
    let judged = done.result.and_then(|(_, rows)| match rows.first() {
        None => Ok(()),
        Some(row) => {
            let relation: String = row.try_get(0).map_err(ReadError::Lost)?;
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
            Err(ReadError::refused(
                "the query has parameters such as $1; write the values themselves",
            ))
        }
    }
}

/// What came of a transaction.
struct Transacted<T> {
    /// Whether the connection is as good as new.
    is_clean: bool,
    /// The probes as PostgreSQL described them, and what the work gave.
    result: Result<(Vec<Prepared>, T), ReadError>,
}

/// Begins, has the probes parsed, lets the work be done, rolls back and scrubs: one round trip.
///
/// When a probe fails the transaction has failed with it, and PostgreSQL runs none of the work.
/// After an `Err` the lease must be dropped, which cancels what may still run.
async fn transact<T>(
    lease: &Lease,
    begin: &str,
    probes: &[Probe],
    work: impl Future<Output = Result<T, ReadError>>,
    limits: QueryLimits,
) -> Result<Transacted<T>, ReadError> {
    let pipeline = async {
        // Each of these sends when it is first polled, and they are polled in this order.
        join!(
            lease.batch_execute(begin),
            join_all(probes.iter().map(|probe| lease.prepare(&probe.sql))),
            work,
            lease.batch_execute(END),
        )
    };
    let (begun, described, done, scrubbed) =
        tokio::time::timeout(limits.statement_timeout + GRACE, pipeline)
            .await
            .map_err(|_| ReadError::TimedOut(limits.statement_timeout))?;
    let result = begun.map_err(ReadError::of_beginning).and_then(|()| {
        let judged = probes
            .iter()
            .zip(described)
            .map(|(probe, found)| probe.judge(found));
        Ok((judged.collect::<Result<_, _>>()?, done?))
    });
    Ok(Transacted {
        is_clean: scrubbed.is_ok(),
        result,
    })
}

fn length(text: &str) -> u32 {
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

/// A statement inside one of ours.
struct Wrapped {
    sql: String,
    /// Characters before the statement, by which PostgreSQL's positions are off.
    prefix: u32,
}

impl Wrapped {
    /// The line breaks keep a comment at the statement's end from swallowing what follows it.
    ///
    /// The inner `LIMIT` tells the planner how much is wanted, and keeps it from computing the row's
    /// text twice. A row that is too large stays in PostgreSQL; its size is sent in its place.
    fn new(statement: &Statement<'_>, page: Page, result_bytes: usize) -> Self {
        let before = format!(
            "SELECT CASE WHEN pg_catalog.octet_length(r) <= {result_bytes} THEN r END, \
             CASE WHEN pg_catalog.octet_length(r) > {result_bytes} \
             THEN pg_catalog.octet_length(r) END \
             FROM (SELECT ROW(q.*)::pg_catalog.text AS r FROM (\n"
        );
        let sql = format!(
            "{before}{}\n) q LIMIT {} OFFSET {}) page",
            statement.text(),
            u64::from(page.limit) + 1,
            page.offset
        );
        Wrapped {
            sql,
            prefix: length(&before),
        }
    }
}

type Values = Vec<Vec<Option<String>>>;

/// Runs the wrapped statement and reads rows until one of the limits.
async fn collect(
    lease: &Lease,
    wrapped: &Wrapped,
    page: Page,
    limits: QueryLimits,
) -> Result<(Values, Option<Cut>), ReadError> {
    let parameters = std::iter::empty::<(&(dyn ToSql + Sync), Type)>();
    let stream = lease
        .query_typed_raw(&wrapped.sql, parameters)
        .await
        .map_err(|error| ReadError::of_wrapping(error, wrapped.prefix))?;
    let mut stream = pin!(stream);
    let mut rows = Vec::new();
    let mut bytes = 0_usize;
    while let Some(row) = stream.next().await {
        let row = row.map_err(|error| ReadError::of_statement(error, wrapped.prefix))?;
        if rows.len() == page.limit as usize {
            return Ok((rows, Some(Cut::Limit)));
        }
        let text = match text_of(&row)? {
            Ok(text) => text,
            Err(size) if rows.is_empty() => {
                return Err(ReadError::RowTooLarge {
                    size,
                    limit: limits.result_bytes,
                });
            }
            Err(_) => return Ok((rows, Some(Cut::Bytes))),
        };
        bytes += text.len();
        if bytes > limits.result_bytes && !rows.is_empty() {
            return Ok((rows, Some(Cut::Bytes)));
        }
        rows.push(record::fields(text).ok_or(ReadError::Unreadable)?);
    }
    Ok((rows, None))
}

/// Reads a row's text, or its size when it is too large.
fn text_of(row: &Row) -> Result<Result<&str, i32>, ReadError> {
    let lost = |error: Error| ReadError::of_statement(error, 0);
    match row.try_get::<_, Option<&str>>(0).map_err(lost)? {
        Some(text) => Ok(Ok(text)),
        None => Ok(Err(row
            .try_get::<_, Option<i32>>(1)
            .map_err(lost)?
            .unwrap_or(i32::MAX))),
    }
}

pub(crate) fn columns(prepared: &Prepared) -> Vec<Column> {
    prepared
        .columns()
        .iter()
        .map(|column| Column {
            name: column.name().to_owned(),
            type_name: typename::name(column.type_()),
            kind: kind(column.type_()),
        })
        .collect()
}

fn kind(kind: &Type) -> ColumnKind {
    match *kind {
        Type::BOOL => ColumnKind::Boolean,
        Type::INT2 | Type::INT4 | Type::INT8 | Type::OID => ColumnKind::Integer,
        Type::FLOAT4 | Type::FLOAT8 => ColumnKind::Float,
        _ => ColumnKind::Text,
    }
}
