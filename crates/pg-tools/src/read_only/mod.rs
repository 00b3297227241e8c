//! Runs one query so that it can only read, whatever it says.
//!
//! Five walls, one behind the other:
//!
//! 1. the text itself ([`statement`]): bounded, with no escapes that hide names;
//! 2. the names in it ([`guard`]): no function whose effects a rollback does not undo;
//! 3. PostgreSQL's grammar ([`query`]): the text stands alone as one statement and inside
//!    `SELECT .. FROM ( .. )`, which nothing but a plain query does;
//! 4. a `READ ONLY` transaction;
//! 5. which is always rolled back, and the connection scrubbed.
//!
//! The role that the connection logs in as is the wall behind them all ([`posture`]).

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

/// What one query may use up.
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
/// Dropping the future of a call cancels its statement in PostgreSQL. After each, with a result or
/// without one, nothing has changed in the database.
pub(crate) struct Reader {
    pub(crate) guards: Arc<Guards>,
    pub(crate) limits: QueryLimits,
    silences: Silences,
}

/// How a plan is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Explain {
    /// Runs the query and measures it.
    pub(crate) analyze: bool,
    /// Counts the blocks that it reads; planning counts some even without `analyze`.
    pub(crate) buffers: bool,
}

impl Explain {
    /// Runs nothing.
    pub(crate) const PLANNED: Self = Explain {
        analyze: false,
        buffers: false,
    };
}

/// What stands in statements of ours, by which pg_stat_statements tells them from those of others. It never comes
/// first: PostgreSQL 18 counts a statement without the comments before it. Statements that are constants write it out.
pub(crate) const OWN: &str = "/* of pg-tools */";

/// Marks a statement as one of ours.
pub(crate) fn own(sql: &str) -> String {
    format!("{sql}\n{OWN}")
}

/// The setting for queries about the catalogue. Where there are thousands of tables PostgreSQL takes these for
/// dear, and would compile for seconds what it answers in milliseconds.
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

    /// Runs a query that somebody wrote.
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

    /// Runs a query that somebody wrote from a place in its result on.
    ///
    /// Where the order is told by columns of the result or by keys, PostgreSQL is asked for what comes after
    /// the row before, so that rows before the place are not counted; else it counts them.
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
            // What the columns are says more than the text.
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

    /// Gives a statement the keys that it needs beside the columns that it has, if it needs some.
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

    /// Reads with keys; `None`, too, where it may be for these that there is no result.
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

    /// Has PostgreSQL plan a query that somebody wrote; the answer is the text of its JSON.
    pub(crate) async fn explain(
        &self,
        agent: &Agent,
        text: &str,
        options: Explain,
    ) -> Result<String, ReadError> {
        agent.note_statement(text);
        let statement = &Statement::check(text)?;
        // A plan is no result: its tools shorten it, or read a number from it.
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

    /// Has PostgreSQL plan a query that somebody wrote as if indexes were there that are not; the
    /// answer is what hypopg made of them, and the text of the plan's JSON.
    ///
    /// `hypopg` is the schema of the extension, quoted. A plan that is too large breaks the connection: whether it is,
    /// [`Reader::explain`] finds out before.
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

    /// Runs a query of ours about the catalogue, which may take parameters.
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

    /// Runs a query of ours after setting things for its transaction alone.
    ///
    /// The settings are ours too: names and values are not quoted here.
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

    /// Leases a connection and hands it on with the database's guard, once that has let the statement
    /// pass; whoever runs it has it judged by the guard's bounds, in the same transaction and before it is
    /// planned. Takes a second connection when the first was dead before anything ran on it, as after a
    /// restart of the server.
    ///
    /// What happens seldom is in boxes, for every call would have room for it.
    pub(crate) async fn leased<T, F: Future<Output = Result<T, ReadError>>>(
        &self,
        agent: &Agent,
        statement: Option<&Statement<'_>>,
        run: impl Fn(Lease, Arc<Guard>) -> F,
    ) -> Result<T, ReadError> {
        agent.note_database();
        let attempt = async || {
            let lease = agent.lease(statement.is_some()).await?;
            let guard = match self.guards.fresh(agent.database(), lease.generation()) {
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
            // It would be moved once for each of those that wait for it.
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
            // A connection that was cut off because the database was taken away looks lost.
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

    /// Refuses a statement that is not run as one of the agent's own (the operator's, or one of ours on a
    /// table that the agent named) when it names a relation outside of the agent's schemas, if it has a
    /// list of them.
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
