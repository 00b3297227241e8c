//! Runs one statement that changes rows: whole, within a limit of rows, or not at all.
//!
//! [`Agent::may_use`] decides beforehand who may do so. Here PostgreSQL's grammar decides what a statement that changes
//! rows is: one that can stand inside `WITH .. AS ( .. )` and is not a plain query. So neither DDL nor settings nor
//! transaction control get through, as with reading. In a session, some statements are also run whose effect is limited
//! to the session ([`leaving`]).

mod besides;
mod commit;
mod leaving;

use std::{pin::pin, sync::Arc, time::Duration};

use besides::changes;
use commit::commit;
use futures_util::{FutureExt, StreamExt, TryFutureExt, join};
use session_pool::Lease;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::{
    Row,
    types::{FromSqlOwned, Type},
};

use crate::{
    Agent, QueryLimits,
    read_only::{
        Column, Cut, GRACE, Gathered, Guard, Parameter, ReadError, Reader, Rows, SchemaBounds,
        Statement, columns, fields, words,
    },
    state::Stateful,
};

const NOT_A_CHANGE: &str = "only one INSERT, UPDATE or DELETE (MERGE from PostgreSQL 17 on) is run here, with or without WITH and RETURNING (query_database reads), and on no table whose rules add further statements; \
    in a session also CREATE TEMP TABLE, DROP TABLE pg_temp.name, SET, RESET, PREPARE, EXECUTE and DEALLOCATE";

const NO_SESSION: &str = "this statement's effect ends with its call, which is in no session: open one with open_session where that is offered, and give its name as session; \
    or call in an MCP session (Mcp-Session-Id)";

/// Changes rows in the databases of agents.
///
/// Dropping the future of a call cancels its statement, and nothing is changed. The one exception
/// is while PostgreSQL commits: nobody can know the result then, and the account of the call says
/// so.
pub(crate) struct Writer {
    pub(crate) reader: Arc<Reader>,
    /// How many rows one statement may change, and how many more may change because of it.
    pub(crate) most_rows: u64,
}

/// What a statement changed.
pub(crate) struct Written {
    /// How many rows of its own.
    pub(crate) affected: u64,
    /// How many more were changed by triggers, foreign keys, rules, or moves between partitions.
    pub(crate) besides: u64,
    /// The rows of `RETURNING`, if there is one.
    pub(crate) rows: Option<Rows>,
    /// The command tag of a statement that runs in a session only.
    pub(crate) done: Option<String>,
    /// If the session has begun with it: how long the session's connection may be idle.
    pub(crate) begun: Option<Duration>,
}

/// How many rows a statement may change.
#[derive(Clone, Copy)]
struct Most {
    /// By itself.
    rows: u64,
    /// By triggers, foreign keys and rules.
    besides: u64,
}

impl Writer {
    /// Runs a statement and keeps its changes, unless it changed more than `most_rows`.
    pub(crate) async fn write(
        &self,
        agent: &Agent,
        text: &str,
        parameters: &[Parameter<'_>],
        most_rows: u64,
    ) -> Result<Written, ReadError> {
        agent.note_statement(text);
        let statement = &Statement::check(text)?;
        leave_settings(statement)?;
        let besides = agent.most_rows(self.most_rows);
        let most = Most {
            rows: most_rows.min(besides),
            besides,
        };
        if let Some(stateful) = Stateful::read(statement.text()) {
            let stateful = stateful.map_err(ReadError::refused)?;
            return self.leave(agent, statement, stateful, most).await;
        }
        let limits = agent.limits(self.reader.limits);
        self.reader
            .leased(agent, Some(statement), |lease, guard| async move {
                let latest = Instant::now() + limits.statement_timeout + GRACE;
                let work = transact(&lease, &guard, statement, parameters, most, limits);
                let changed = timeout_at(latest, work).await;
                let done =
                    match changed.unwrap_or(Err(ReadError::Unanswered(limits.statement_timeout))) {
                        Ok(written) => commit(agent, &lease, written, latest).await,
                        failed => failed,
                    };
                end(lease, done.as_ref().err()).await;
                done
            })
            .or_else(|error| self.reader.with_help(agent, text, error).map(Err))
            .await
    }
}

/// Refuses to update the view of the settings. A rule of PostgreSQL's turns such an update into
/// `set_config`, which the statement itself does not name, and which anybody may call.
fn leave_settings(statement: &Statement<'_>) -> Result<(), ReadError> {
    let has = |name: &str| words(statement.text()).any(|word| word == name);
    if has("pg_settings") && has("update") {
        return Err(ReadError::refused(
            "the name pg_settings may not appear in an update, not even in a text: updating it changes settings; in a session there is SET for some of them",
        ));
    }
    Ok(())
}

/// Ends the transaction, also after a failed statement, and gives the connection back; a connection
/// that stays dirty is closed. A connection whose statement was cancelled is not reused, as a
/// second cancel request may still be on its way.
async fn end(lease: Lease, error: Option<&ReadError>) {
    let is_lost = |error: &ReadError| {
        error.is_cancelled()
            || matches!(
                error,
                ReadError::NeverBegan(_) | ReadError::Lost(_) | ReadError::InDoubt(_)
            )
    };
    if !error.is_some_and(is_lost) {
        _ = tokio::time::timeout(GRACE, lease.scrub()).await;
    }
}

async fn transact(
    lease: &Lease,
    guard: &Guard,
    statement: &Statement<'_>,
    parameters: &[Parameter<'_>],
    most: Most,
    limits: QueryLimits,
) -> Result<Written, ReadError> {
    let text = statement.text();
    // The statement is probed as the role that the transaction takes.
    let begin = guard.opening.writing();
    let probed = probe(lease, &begin, text, guard.bounds.as_ref()).await?;
    if probed.types.len() != parameters.len() {
        return Err(ReadError::refused(
            "the statement has parameters such as $1; write the values themselves",
        ));
    }
    if !probed.is_change {
        return Err(ReadError::refused(NOT_A_CHANGE));
    }
    let run = async {
        if probed.columns.is_empty() {
            let affected = lease.execute_typed(text, parameters).await;
            let affected = affected.map_err(|error| ReadError::of_statement(error, 0))?;
            return Ok::<_, ReadError>((affected, None));
        }
        let (affected, mut rows) = returned(lease, text, parameters, most.rows, limits).await?;
        rows.columns = probed.columns;
        Ok((affected, Some(rows)))
    };
    let (before, ran, after) = join!(changes(lease), run, changes(lease));
    // The first that failed says why; the others, that the transaction is aborted.
    let before = before?;
    let (affected, rows) = ran?;
    if affected > most.rows {
        return Err(ReadError::TooManyRows(most.rows));
    }
    let written = Written {
        affected,
        besides: 0,
        rows,
        done: None,
        begun: None,
    };
    written.beside(before, after?, most)
}

/// What PostgreSQL says about a statement.
pub(crate) struct Probed {
    /// The types of its parameters.
    pub(crate) types: Vec<Type>,
    /// The columns that it returns, if it returns rows.
    pub(crate) columns: Vec<Column>,
    /// Whether it is a plain query.
    pub(crate) is_query: bool,
    /// Whether it is one that changes rows.
    pub(crate) is_change: bool,
}

/// Begins a transaction and has PostgreSQL prepare a statement in it, alone and inside ours. The
/// names in it are judged once it was parsed alone.
///
/// What was prepared is deallocated before anything else runs: behind a pooler, what comes after
/// the transaction may be on another connection, and the names would stay on this one.
pub(crate) async fn probe(
    lease: &Lease,
    begin: &str,
    text: &str,
    bounds: Option<&SchemaBounds>,
) -> Result<Probed, ReadError> {
    let as_query = format!("SELECT FROM (\n{text}\n) q");
    let as_change = format!("WITH q AS (\n{text}\n) SELECT");
    // A step that fails aborts the transaction, hence the savepoint: a change cannot be prepared as a query.
    let judge = async {
        match bounds {
            Some(bounds) => bounds.judged(lease.batch_execute(bounds.exactly()).await),
            None => Ok(()),
        }
    };
    let (begun, marked, query, back, alone, judged, change) = join!(
        lease.batch_execute(begin),
        lease.batch_execute("SAVEPOINT mcp_probe"),
        lease.prepare(&as_query),
        lease.batch_execute("ROLLBACK TO SAVEPOINT mcp_probe; RELEASE SAVEPOINT mcp_probe"),
        lease.prepare(text),
        judge,
        lease.prepare(&as_change),
    );
    begun.map_err(ReadError::of_beginning)?;
    marked.and(back).map_err(ReadError::lost)?;
    // After a refusal PostgreSQL would not answer questions about the types either, so that `alone` may have failed,
    // too.
    let judged = match judged {
        Err(refused @ ReadError::OutOfBounds { .. }) => return Err(refused),
        judged => judged,
    };
    let described = alone.map_err(|error| ReadError::of_statement(error, 0))?;
    judged?;
    let is_query = query.is_ok();
    Ok(Probed {
        types: described.params().to_vec(),
        columns: columns(&described),
        is_query,
        is_change: change.is_ok() && !is_query,
    })
}

/// Runs a statement with `RETURNING`. Every row is counted, but only as many as a result may have
/// are kept.
async fn returned(
    lease: &Lease,
    text: &str,
    parameters: &[Parameter<'_>],
    most_rows: u64,
    limits: QueryLimits,
) -> Result<(u64, Rows), ReadError> {
    let most_bytes = limits.result_bytes;
    let sql = format!(
        "WITH q AS (\n{text}\n) SELECT CASE WHEN pg_catalog.octet_length(r) <= {most_bytes} THEN r END \
         FROM (SELECT ROW(q.*)::pg_catalog.text AS r FROM q) page"
    );
    let failed = |error| ReadError::of_statement(error, 0);
    let given = parameters
        .iter()
        .map(|(value, kind)| (*value, kind.clone()));
    let mut stream = pin!(lease.query_typed_raw(&sql, given).await.map_err(failed)?);
    let (mut affected, mut bytes, mut rows, mut cut) = (0, 0, Gathered::default(), None);
    while let Some(row) = stream.next().await {
        affected += 1;
        if affected > most_rows {
            break;
        }
        match first::<Option<String>>(&row.map_err(failed)?)? {
            Some(text) if cut.is_none() && bytes + text.len() <= most_bytes => {
                bytes += text.len();
                let row = fields(&text).ok_or(ReadError::Unreadable)?;
                rows.push_values(row.iter().map(Option::as_deref));
            }
            _ => cut = Some(Cut::Bytes),
        }
    }
    Ok((affected, rows.finish(cut)?))
}

fn first<T: FromSqlOwned>(row: &Row) -> Result<T, ReadError> {
    row.try_get(0).map_err(ReadError::lost)
}
