//! Statements whose effect lasts in a session: temporary tables, settings, prepared statements.
//!
//! Each runs in a transaction that begins like any other of the agent's, and so with its role, its limits and its list
//! of schemas, whatever the session contains.

use std::{io, num::NonZeroU32, sync::Arc};

use session_pool::{Answer, Complaint, Exchange, Lease, Row, Step};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::types::Type;

use super::{Most, NO_SESSION, Writer, Written, besides::changes, commit::commit, end};
use crate::{
    Agent, QueryLimits,
    read_only::{
        Cut, GRACE, Gathered, Guard, ROW_OVERHEAD, ReadError, SchemaBounds, Statement, words,
    },
    state::{Stateful, filled_by},
};

/// Finds out whether the operator has given a setting a value for a role or a database, on which row security policies
/// may rely; and whether it is a setting of an extension or a language, some of which let anybody read files or run
/// what was not to be run.
const WHOSE: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) c \
       WHERE s.setdatabase = ANY (ARRAY[0::pg_catalog.oid, (SELECT d.oid FROM pg_catalog.pg_database d \
                                         WHERE d.datname = pg_catalog.current_database())]) \
         AND pg_catalog.lower(pg_catalog.split_part(c, '=', 1)) = $1), \
     $2 <> 'pg_trgm' AND (EXISTS (SELECT FROM pg_catalog.pg_extension e WHERE e.extname = $2) \
                          OR EXISTS (SELECT FROM pg_catalog.pg_language l WHERE l.lanname = $2))";

impl Writer {
    /// Runs a statement that is only for sessions.
    pub(super) async fn leave(
        &self,
        agent: &Agent,
        statement: &Statement<'_>,
        stateful: Stateful<'_>,
        most: Most,
    ) -> Result<Written, ReadError> {
        let Some(line) = agent.line() else {
            return Err(ReadError::refused(NO_SESSION));
        };
        let query = match agent.schemas() {
            Some(_) => stay_visible(statement, stateful)?,
            None => None,
        };
        let query = query.map(Statement::check).transpose()?;
        let looked_at = query.as_ref().unwrap_or(statement);
        let leaving;
        let agent = if stateful.leaves_state() {
            leaving = agent.leaving_state();
            &leaving
        } else {
            agent
        };
        let limits = agent.limits(self.reader.limits);
        let leave = &Leave {
            text: statement.text(),
            looked_at: looked_at.text(),
            stateful,
            most,
            limits,
        };
        let leased = self
            .reader
            .leased(agent, Some(looked_at), |mut lease, guard| async move {
                let latest = Instant::now() + limits.statement_timeout + GRACE;
                let left = timeout_at(latest, leave.run(&mut lease, &guard)).await;
                let mut done =
                    match left.unwrap_or(Err(ReadError::Unanswered(limits.statement_timeout))) {
                        Ok(written) => commit(agent, &lease, written, latest).await,
                        failed => failed,
                    };
                match &mut done {
                    Ok(written) if stateful.leaves_state() && !lease.stays() => {
                        lease.stay();
                        written.begun = Some(agent.session().idle_time(line));
                    }
                    // A prepared statement outlives the transaction, and `end` would not remove it: the lease is
                    // dropped instead.
                    Err(_) if matches!(stateful, Stateful::Prepare { .. }) && !lease.stays() => {
                        return done;
                    }
                    _ => {}
                }
                end(lease, done.as_ref().err()).await;
                done
            });
        match leased.await {
            Err(error) => Err(self.reader.with_help(agent, looked_at.text(), error).await),
            written => written,
        }
    }
}

/// Refuses what could name a relation outside of an agent's schemas unnoticed: PostgreSQL looks names up again when a
/// prepared statement is run, and those after `LIKE` only when the table is created.
///
/// Returns the query inside the statement, if there is one, which is to be judged in its place: when the whole is
/// parsed, what the views in it stand for is not looked up.
fn stay_visible<'a>(
    statement: &Statement<'a>,
    stateful: Stateful<'_>,
) -> Result<Option<&'a str>, ReadError> {
    let text = statement.text();
    let has = |keyword: &str| words(text).any(|word| word == keyword);
    match stateful {
        Stateful::Prepare { .. } | Stateful::Execute => Err(ReadError::refused(
            "a token that is bound to schemas prepares no statements; run the query itself",
        )),
        Stateful::CreateTable if has("like") => Err(ReadError::refused(
            "a token that is bound to schemas may not use LIKE in CREATE TEMP TABLE; write the columns, or ~~ in a condition",
        )),
        Stateful::CreateTable if has("as") => match filled_by(text) {
            Some(query) => Ok(Some(query)),
            None => Err(ReadError::refused(
                "a token that is bound to schemas writes CREATE TEMP TABLE name AS query, with nothing else before AS, or columns without the word as",
            )),
        },
        _ => Ok(None),
    }
}

/// One such statement, and its limits.
struct Leave<'a> {
    text: &'a str,
    /// What is judged, if there are bounds.
    looked_at: &'a str,
    stateful: Stateful<'a>,
    most: Most,
    limits: QueryLimits,
}

impl Leave<'_> {
    /// Runs all of it except the commit.
    async fn run(&self, lease: &mut Lease, guard: &Guard) -> Result<Written, ReadError> {
        let begun = lease.batch_execute(&guard.opening.writing()).await;
        begun.map_err(ReadError::of_beginning)?;
        if let Stateful::Set { name } = self.stateful {
            keep_operators(lease, name).await?;
        }
        let before = changes(lease).await?;
        let ran = self.execute(lease, guard.bounds.as_ref()).await?;
        let after = changes(lease).await?;
        if let Stateful::Prepare { name, types, inner } = self.stateful {
            judge(lease, name, types, inner).await?;
        }
        let (written, described) = self.weigh(ran)?;
        let mut written = written.beside(before, after, self.most)?;
        if let Some(rows) = &mut written.rows {
            rows.columns = guard.columns(lease, &described).await?;
        }
        Ok(written)
    }

    /// Runs the statement itself, once it is known to be within bounds, and reads what it returns.
    async fn execute(
        &self,
        lease: &mut Lease,
        bounds: Option<&SchemaBounds>,
    ) -> Result<Ran, ReadError> {
        let most_bytes = self.limits.result_bytes;
        // One more row shows that there are more.
        let most_rows = u32::try_from(self.most.rows).unwrap_or(u32::MAX);
        let rows = NonZeroU32::MIN.saturating_add(most_rows);
        let mut steps = Vec::with_capacity(3);
        if let Some(bounds) = bounds {
            steps.extend([Step::Parse(self.looked_at), bounds.step_once()]);
        }
        steps.push(Step::Few {
            text: self.text,
            rows,
        });
        let mut exchange = lease
            .exchange(&steps, most_bytes.saturating_add(ROW_OVERHEAD))
            .await
            .map_err(ReadError::lost)?;
        let mut ran = Ran::default();
        let read = ran.read(&mut exchange, most_bytes).await;
        // The server may have said why before it ended the connection.
        if ran.refused.is_none() {
            read.map_err(ReadError::lost)?;
        }
        ran.done = exchange.done().map(str::to_owned);
        match (ran.refused.take(), bounds) {
            (Some((1, complaint)), Some(bounds)) => Err(bounds.verdict(complaint)),
            (Some((_, complaint)), _) => Err(ReadError::of_complaint(complaint, 0)),
            (None, _) => Ok(ran),
        }
    }

    /// Refuses what returned or changed more rows than it may.
    fn weigh(&self, ran: Ran) -> Result<(Written, Arc<[session_pool::Column]>), ReadError> {
        let Some(done) = ran.done else {
            return Err(ReadError::refused(format!(
                "the statement gives more than {} rows, so nothing was kept; narrow it (a query with a LIMIT), or allow more with max_rows",
                self.most.rows
            )));
        };
        // "INSERT 0 3", "SELECT 3", "SET".
        let number = done.rsplit(' ').next().and_then(|word| word.parse().ok());
        let is_read = self.stateful == Stateful::Execute && done.starts_with("SELECT");
        let affected = number.filter(|_| !is_read).unwrap_or(0);
        if affected > self.most.rows {
            return Err(ReadError::TooManyRows(self.most.rows));
        }
        let rows = match ran.columns {
            Some(_) => Some(ran.rows.finish(ran.cut)?),
            None => None,
        };
        let written = Written {
            affected,
            besides: 0,
            rows,
            done: Some(done),
            begun: None,
        };
        Ok((written, ran.columns.unwrap_or_default()))
    }
}

/// Refuses to change a setting that the operator has given a value, and one that may make an extension do other things.
async fn keep_operators(lease: &Lease, name: &str) -> Result<(), ReadError> {
    let name = name.to_ascii_lowercase();
    let Some((class, _)) = name.split_once('.') else {
        return Ok(());
    };
    let parameters = [(&name as _, Type::TEXT), (&class as _, Type::TEXT)];
    let asked = lease.query_typed(WHOSE, &parameters).await;
    let rows = asked.map_err(|error| ReadError::of_statement(error, 0))?;
    let row = rows.first().ok_or(ReadError::Unreadable)?;
    let says = |place| row.try_get::<_, bool>(place).map_err(ReadError::lost);
    if says(0)? {
        return Err(ReadError::refused(format!(
            "{name} was set by the operator of the database, and cannot be changed here; choose another name"
        )));
    }
    if says(1)? {
        return Err(ReadError::refused(format!(
            "{name} is a setting of the extension {class}, and cannot be changed here; the operator can set it (ALTER ROLE .. SET)"
        )));
    }
    Ok(())
}

/// Has PostgreSQL's grammar decide whether what was prepared is a plain query or a change, whose rows are counted when
/// it is run. Anything else is deallocated at once and refused.
async fn judge(lease: &Lease, name: &str, types: &str, inner: &str) -> Result<(), ReadError> {
    for (before, after) in [("SELECT FROM (", ") q"), ("WITH q AS (", ") SELECT")] {
        let probe = format!("PREPARE mcp_probe {types} AS {before}\n{inner}\n{after}");
        let failed = |error| ReadError::of_statement(error, 0);
        lease
            .batch_execute("SAVEPOINT probe")
            .await
            .map_err(failed)?;
        let is_prepared = match lease.execute_typed(&probe, &[]).await {
            Ok(_) => true,
            Err(error) if error.as_db_error().is_some() => false,
            Err(error) => return Err(ReadError::lost(error)),
        };
        let forget = if is_prepared {
            "; DEALLOCATE mcp_probe"
        } else {
            ""
        };
        let forget = format!("ROLLBACK TO SAVEPOINT probe{forget}");
        lease.batch_execute(&forget).await.map_err(failed)?;
        if is_prepared {
            return Ok(());
        }
    }
    let forget = format!("DEALLOCATE {name}");
    let forgotten = lease.batch_execute(&forget).await;
    forgotten.map_err(ReadError::lost)?;
    Err(ReadError::refused(
        "only a plain query or one INSERT, UPDATE or DELETE (no MERGE) can be prepared here, and what changes rows may not stand in WITH",
    ))
}

/// The outcome of a statement.
#[derive(Default)]
struct Ran {
    columns: Option<Arc<[session_pool::Column]>>,
    rows: Gathered,
    bytes: usize,
    cut: Option<Cut>,
    /// Which step was refused, and why.
    refused: Option<(usize, Complaint)>,
    done: Option<String>,
}

impl Ran {
    async fn read(&mut self, exchange: &mut Exchange<'_>, most_bytes: usize) -> io::Result<()> {
        loop {
            match exchange.next().await? {
                Answer::Columns(columns) => self.columns = Some(columns),
                Answer::Row(row) => self.take(row, most_bytes)?,
                Answer::Oversized { .. } => {
                    return Err(io::Error::other("a row is larger than a result may be"));
                }
                Answer::Refused {
                    step, complaint, ..
                } => self.refused = Some((step, complaint)),
                Answer::Ready { .. } => return Ok(()),
            }
        }
    }

    /// Takes a row, unless the result has become too large.
    fn take(&mut self, row: Row<'_>, most_bytes: usize) -> io::Result<()> {
        if self.cut.is_some() {
            return Ok(());
        }
        self.bytes += self.rows.push(row)?;
        if self.bytes > most_bytes {
            self.rows.pop();
            self.cut = Some(Cut::Bytes);
        }
        Ok(())
    }
}
