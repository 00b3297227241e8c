//! Runs one query so that it can only read, whatever it says.
//!
//! Five layers of protection, one behind the other:
//!
//! 1. the text itself ([`statement`]) is bounded, and has no escapes that hide names;
//! 2. the names in it ([`guard`]) include no function whose effects a rollback does not undo;
//! 3. PostgreSQL's grammar ([`query`]) accepts the text alone, as one statement, and inside
//!    `SELECT .. FROM ( .. )`, as it does with a plain query only;
//! 4. it runs in a `READ ONLY` transaction;
//! 5. that transaction is always rolled back, and the connection scrubbed.
//!
//! The role that the connection logs in as is the layer behind them all ([`posture`]).

mod bounds;
mod conditions;
mod exchange;
mod failure;
mod foreign;
mod gathered;
mod guard;
mod help;
mod keyed;
mod locks;
mod masked;
mod opening;
mod order;
mod place;
mod posture;
mod query;
mod reading;
mod record;
mod rows;
mod shape;
mod silence;
mod statement;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod transaction;
mod typename;
mod wrapped;

use std::{
    future::{Future, ready},
    sync::Arc,
    time::{Duration, Instant},
};

use exchange::Imagination;
pub(crate) use exchange::{GRACE, Imagined, Parameter};
pub(crate) use failure::{Part, ReadError, not_open};
pub(crate) use foreign::is_command;
use futures_util::{FutureExt, TryFutureExt};
pub(crate) use gathered::Gathered;
pub use guard::{Allowance, DangerousRoles, Guards};
use keyed::Keyed;
pub use masked::masked;
pub(crate) use place::{Edge, Given, Place, fingerprint_of};
pub(crate) use query::Following;
use query::{Run, Wanted};
#[cfg(test)]
pub(crate) use rows::Sorts;
pub(crate) use rows::{Column, ColumnKind, Cut, Page, Rows};
use session_pool::Lease;
use silence::Silences;
use tokio_postgres::Row;

use crate::Agent;
pub(crate) use bounds::SchemaBounds;
pub(crate) use guard::Guard;
pub(crate) use reading::ROW_OVERHEAD;
pub(crate) use record::fields;
pub(crate) use statement::{Statement, without_explain, without_fence, words};
pub(crate) use typename::columns;
#[cfg(feature = "bench")]
pub(crate) use typename::of_own;

/// The limits of one query.
#[derive(Clone, Copy, Debug)]
pub struct QueryLimits {
    /// Time for the statement; PostgreSQL cancels it after that.
    pub statement_timeout: Duration,
    /// Bytes of the result's values; rows past it are cut off.
    pub result_bytes: usize,
}

impl Default for QueryLimits {
    /// 30 seconds and 1 MiB.
    fn default() -> Self {
        QueryLimits {
            statement_timeout: Duration::from_secs(30),
            result_bytes: 1 << 20,
        }
    }
}

/// Reads from the databases of agents, and cannot do anything else.
///
/// Dropping the future of a call cancels its statement in PostgreSQL. After a call, whether it succeeded or not,
/// nothing has changed in the database.
pub(crate) struct Reader {
    pub(crate) guards: Arc<Guards>,
    pub(crate) limits: QueryLimits,
    silences: Silences,
}

/// The options of an `EXPLAIN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Explain {
    /// Runs the query and measures it.
    pub(crate) analyze: bool,
    /// Counts the blocks that it reads; ignored without `analyze`, when PostgreSQL counts only those of planning.
    pub(crate) buffers: bool,
}

impl Explain {
    /// Plans the query without running it.
    pub(crate) const PLANNED: Self = Explain {
        analyze: false,
        buffers: false,
    };
}

/// The comment in our own statements, which tells them apart from those of others in pg_stat_statements. It never comes
/// first, because PostgreSQL 18 leaves out comments before a statement. Statements that are constants spell it out.
pub(crate) const OWN: &str = "/* of pg-tools */";

/// Marks a statement as one of our own.
pub(crate) fn own(sql: &str) -> String {
    format!("{sql}\n{OWN}")
}

/// Returns the setting that turns JIT compilation off, for queries on the catalogue. With thousands of tables
/// PostgreSQL estimates these as expensive, and would spend seconds compiling what it answers in milliseconds.
pub(crate) fn not_compiled() -> (&'static str, String) {
    ("jit", "off".to_owned())
}

impl Reader {
    pub(crate) fn new(guards: Arc<Guards>, limits: QueryLimits) -> Self {
        Reader {
            guards,
            limits,
            silences: Silences::default(),
        }
    }

    /// Runs a caller's query.
    pub(crate) async fn query(
        &self,
        agent: &Agent,
        text: &str,
        page: Page,
    ) -> Result<Rows, ReadError> {
        agent.note_statement(text);
        let statement = &Statement::check(text)?;
        let wanted = Wanted::Page(page);
        if let Some(keyed) = Keyed::guess(statement) {
            let read = Box::pin(self.read_with_keys(agent, &keyed, wanted));
            if let Some(Following { rows, .. }) = read.await?
                && keyed.places <= rows.columns.len()
            {
                return Ok(rows);
            }
        }
        self.read(agent, Run::as_written(statement), wanted)
            .and_then(|following| ready(following.ok_or(ReadError::Unreadable)))
            .map_ok(|Following { rows, .. }| rows)
            .or_else(|error| Box::pin(self.with_help(agent, text, error)).map(Err))
            .await
    }

    /// Runs a caller's query, starting at a place in its result.
    ///
    /// If columns of the result or keys tell the order, PostgreSQL is asked for what comes after the row before the
    /// place, so that it need not count the rows before; otherwise it counts them.
    pub(crate) async fn query_from(
        &self,
        agent: &Agent,
        text: &str,
        place: &Place,
        limit: u32,
    ) -> Result<Following, ReadError> {
        agent.note_statement(text);
        let statement = &Statement::check(text)?;
        let from = async {
            let guess = Keyed::guess(statement);
            let edge = place.edge.as_ref();
            let at_edge = edge.map(|edge| Wanted::AtEdge(edge, limit));
            if let Some(wanted) = at_edge {
                let following = match &guess {
                    Some(keyed) => self.read_with_keys(agent, keyed, wanted).await?,
                    None => self.read(agent, Run::as_written(statement), wanted).await?,
                };
                if let Some(following) = following {
                    return Ok(following);
                }
            }
            // The columns themselves say more than the text.
            let keyed = self.keyed(agent, statement).await?;
            let is_other = keyed.as_ref().map(|keyed| &keyed.items)
                != guess.as_ref().map(|guess| &guess.items);
            let others = at_edge.filter(|_| is_other);
            for wanted in others.into_iter().chain([Wanted::AtOffset(place, limit)]) {
                if let Some(keyed) = &keyed
                    && let Some(following) = self.read_with_keys(agent, keyed, wanted).await?
                {
                    return Ok(following);
                }
            }
            let wanted = Wanted::AtOffset(place, limit);
            let following = self.read(agent, Run::as_written(statement), wanted).await?;
            following.ok_or(ReadError::Unreadable)
        };
        from.or_else(|error| self.with_help(agent, text, error).map(Err))
            .await
    }

    /// Adds the keys to a statement that it needs beside the columns of its result, if any.
    async fn keyed(
        &self,
        agent: &Agent,
        statement: &Statement<'_>,
    ) -> Result<Option<Keyed>, ReadError> {
        if !Keyed::may_be(statement) {
            return Ok(None);
        }
        let limits = agent.limits(self.limits);
        let columns = self.leased(agent, Some(statement), |lease, guard| async move {
            query::columns(lease, &guard, statement, limits).await
        });
        Ok(Keyed::beside(statement, &columns.await?))
    }

    async fn read(
        &self,
        agent: &Agent,
        run: Run<'_>,
        wanted: Wanted<'_>,
    ) -> Result<Option<Following>, ReadError> {
        let limits = agent.limits(self.limits);
        self.leased(agent, Some(run.statement), |lease, guard| async move {
            query::read(lease, &guard, run, wanted, limits).await
        })
        .await
    }

    /// Reads with keys; also `None` if there may be no result only because of the keys.
    async fn read_with_keys(
        &self,
        agent: &Agent,
        keyed: &Keyed,
        wanted: Wanted<'_>,
    ) -> Result<Option<Following>, ReadError> {
        let statement = &Statement::check(&keyed.text)?;
        let keys = &keyed.items;
        match self.read(agent, Run { statement, keys }, wanted).await {
            Err(error) if error.may_be_of_the_form() => Ok(None),
            read => read,
        }
    }

    /// Has PostgreSQL plan a caller's query; returns the plan as JSON text.
    pub(crate) async fn explain(
        &self,
        agent: &Agent,
        text: &str,
        options: Explain,
    ) -> Result<String, ReadError> {
        agent.note_statement(text);
        let statement = &Statement::check(text)?;
        // A plan may be larger than a result, as the tools shorten it or read only a number from it.
        let limits = QueryLimits {
            result_bytes: query::most_of_plan(self.limits.result_bytes),
            ..agent.limits(self.limits)
        };
        self.leased(agent, Some(statement), |lease, guard| async move {
            query::explain(lease, &guard, statement, options, limits).await
        })
        .or_else(|error| self.with_help(agent, text, error).map(Err))
        .await
    }

    /// Has PostgreSQL plan a caller's query as if indexes existed that do not; returns what hypopg made of them, and
    /// the plan as JSON text.
    ///
    /// `hypopg` is the schema of the extension, quoted. A plan that is too large breaks the connection;
    /// [`Reader::explain`] finds out beforehand whether it is.
    pub(crate) async fn what_if(
        &self,
        agent: &Agent,
        text: &str,
        hypopg: &str,
        indexes: &[String],
    ) -> Result<(Vec<Imagined>, String), ReadError> {
        agent.note_statement(text);
        let statement = &Statement::check(text)?;
        let imagine = &Imagination { hypopg, indexes };
        self.leased(agent, Some(statement), |lease, guard| async move {
            exchange::what_if(lease, &guard, statement, imagine, agent.limits(self.limits)).await
        })
        .or_else(|error| self.with_help(agent, text, error).map(Err))
        .await
    }

    /// Runs one of our own queries on the catalogue, which may have parameters.
    pub(crate) async fn ask(
        &self,
        agent: &Agent,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, ReadError> {
        let sql = own(sql);
        self.ask_with(agent, &[not_compiled()], &sql, parameters)
            .await
    }

    /// Runs one of our own queries, with settings for its transaction alone.
    ///
    /// The settings are our own too: names and values are not quoted here.
    pub(crate) async fn ask_with(
        &self,
        agent: &Agent,
        settings: &[(&str, String)],
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, ReadError> {
        let set = |(name, value): &(&str, String)| format!("; SET LOCAL {name} = {value}");
        let settings: String = settings.iter().map(set).collect();
        let settings = &settings;
        self.leased(agent, None, |lease, guard| async move {
            let begin = format!("{}{settings}", guard.opening.reading());
            exchange::ask(lease, &begin, sql, parameters, agent.limits(self.limits)).await
        })
        .await
    }

    /// Leases a connection and calls `run` with it and the database's guard, once the guard has admitted the statement.
    /// `run` must have the statement judged by the guard's bounds, in the same transaction and before it is planned.
    /// Leases a second connection if the first was dead before anything ran on it, as after a restart of the server.
    ///
    /// Rare branches are boxed, as the future of every call would otherwise have room for them.
    pub(crate) async fn leased<T, F: Future<Output = Result<T, ReadError>>>(
        &self,
        agent: &Agent,
        statement: Option<&Statement<'_>>,
        run: impl Fn(Lease, Arc<Guard>) -> F,
    ) -> Result<T, ReadError> {
        agent.note_database();
        let attempt = async || {
            let lease = agent.lease(statement.is_some()).await?;
            let guard = match self.guards.fresh(agent.database(), &lease) {
                Some(guard) => guard,
                None => Box::pin(self.load_guard(agent, &lease)).await?,
            };
            let limit = agent.limits(self.limits).statement_timeout;
            if let Err(refusal) = self.guards.admit(agent, &lease, limit).await {
                if matches!(refusal, ReadError::Refused(_)) {
                    lease.give_back();
                }
                return Err(refusal);
            }
            if let Some(Err(refusal)) = statement.map(|statement| guard.check(agent, statement)) {
                lease.give_back();
                return Err(refusal);
            }
            let guard = guard.of(agent, self.limits);
            // Boxed, as the future would otherwise be moved once for each of those that await it.
            Box::pin(run(lease, guard)).await
        };
        let mut attempts = 0;
        let result = loop {
            attempts += 1;
            match attempt().await {
                Err(ReadError::NeverBegan(_)) if attempts < 2 => {}
                result => break result,
            }
        };
        let result = match result {
            Err(error) if error.is_timeout() => Err(self.name_locks(agent, error).await),
            result => result,
        };
        let result = result.map_err(|error| match error {
            // A connection that was closed because the database was removed looks lost.
            ReadError::NeverBegan(_) | ReadError::Lost(_) => {
                let standing = agent.session().generation(agent.database());
                standing.err().map_or(error, ReadError::from)
            }
            error => error,
        });
        result.inspect_err(|error| {
            agent.note_error(error, statement.is_some());
            self.silences.note(agent.database(), error, Instant::now());
        })
    }

    /// Checks that a statement names no relation outside the agent's schemas, if the agent has a list of them, and
    /// refuses it otherwise. This is for statements that do not run as one of the agent's own: the operator's, and our
    /// own on a table that the agent named.
    pub(crate) async fn stay_within(&self, agent: &Agent, text: &str) -> Result<(), ReadError> {
        if agent.schemas().is_none() {
            return Ok(());
        }
        let statement = &Statement::check(text)?;
        self.leased(agent, None, |lease, guard| async move {
            query::stay_within(lease, &guard, statement, agent.limits(self.limits)).await
        })
        .await
    }

    async fn load_guard(&self, agent: &Agent, lease: &Lease) -> Result<Arc<Guard>, ReadError> {
        let (usual, limit) = (self.limits, agent.limits(self.limits).statement_timeout);
        let load = self
            .guards
            .load(agent.database(), lease, usual.statement_timeout);
        let loaded = tokio::time::timeout(limit + GRACE, load).await;
        loaded.unwrap_or(Err(ReadError::Unanswered(limit)))
    }
}
