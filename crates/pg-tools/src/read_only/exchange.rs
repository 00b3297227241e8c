//! One pipelined exchange with PostgreSQL: begin, check, run, roll back, scrub.

use std::pin::pin;

use futures_util::{StreamExt, join};
use session_pool::{Lease, SCRUB};
use tokio_postgres::{
    Error, Row, Statement as Prepared,
    types::{ToSql, Type},
};

use super::{QueryLimits, failure::ReadError, record, statement::Statement, typename};

/// How much longer than PostgreSQL's own limit an exchange may take, before it is cancelled from here.
const GRACE: std::time::Duration = std::time::Duration::from_secs(2);

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

/// Runs a checked statement, in one round trip.
pub(super) async fn run(
    lease: Lease,
    statement: &Statement<'_>,
    page: Page,
    limits: QueryLimits,
) -> Result<Rows, ReadError> {
    let time = limits.statement_timeout + GRACE;
    match tokio::time::timeout(time, pipeline(lease, statement, page, limits)).await {
        Ok(result) => result,
        // Dropping the exchange has dropped its lease, which cancels the statement.
        Err(_) => Err(ReadError::TimedOut(limits.statement_timeout)),
    }
}

async fn pipeline(
    lease: Lease,
    statement: &Statement<'_>,
    page: Page,
    limits: QueryLimits,
) -> Result<Rows, ReadError> {
    let begin = format!(
        "BEGIN TRANSACTION READ ONLY; SET LOCAL statement_timeout = {}; {CHECK_CLIENT}",
        limits.statement_timeout.as_millis()
    );
    let wrapped = Wrapped::new(statement, page, limits.result_bytes);
    // Each of these sends when it is first polled, and `join!` polls them in this order.
    let (begun, described, collected, scrubbed) = join!(
        lease.batch_execute(&begin),
        lease.prepare(statement.text()),
        collect(&lease, &wrapped, page, limits),
        lease.batch_execute(SCRUB),
    );
    if scrubbed.is_ok() {
        lease.give_back();
    }
    begun.map_err(ReadError::NeverBegan)?;
    let prepared = described.map_err(|error| ReadError::of_statement(error, 0))?;
    if !prepared.params().is_empty() {
        return Err(ReadError::refused(
            "the query has parameters such as $1; write the values themselves",
        ));
    }
    let (rows, cut) = collected?;
    Ok(Rows {
        columns: columns(&prepared),
        rows,
        cut,
    })
}

/// Makes PostgreSQL notice within a second that this process has gone.
const CHECK_CLIENT: &str = "SELECT pg_catalog.set_config('client_connection_check_interval', '1000', true) \
     WHERE pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 140000";

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
            prefix: u32::try_from(before.len()).unwrap_or(u32::MAX),
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

fn columns(prepared: &Prepared) -> Vec<Column> {
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
