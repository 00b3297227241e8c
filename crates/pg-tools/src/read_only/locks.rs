//! What a query that ran out of time may have waited for.

use std::{pin::Pin, time::Duration};

use super::{QueryLimits, ReadError, Reader, exchange};
use crate::Agent;

/// Tables that others have locked against reading, among those that the role and the agent's list of schemas let it
/// read.
const LOCKED: &str = "SELECT DISTINCT pg_catalog.format('%I.%I', n.nspname, c.relname) \
     FROM pg_catalog.pg_locks l \
     LEFT JOIN pg_catalog.pg_index x ON x.indexrelid = l.relation \
     JOIN pg_catalog.pg_class c ON c.oid = COALESCE(x.indrelid, l.relation) \
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.granted AND l.pid <> pg_catalog.pg_backend_pid() \
       AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()) \
       AND c.relkind IN ('r', 'p', 'v', 'm', 'f') \
       AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_any_column_privilege(c.oid, 'SELECT') \
       AND COALESCE(n.nspname::text = ANY (NULLIF(pg_catalog.current_setting('mcp.schemas', true), '')::pg_catalog.text[]), true) \
     ORDER BY 1 LIMIT 6";

/// How many of them are shown; there may be a partition for each day.
const MOST_TOLD: usize = 5;

/// How much longer a call that has failed may take to find them.
const LIMIT: Duration = Duration::from_secs(1);

impl Reader {
    /// Adds the time limit to an error of a query that ran out of time, and the tables that others have locked.
    /// PostgreSQL reports neither. Nothing is lost if the tables cannot be found out.
    ///
    /// The future is boxed without its type, as it leases a connection itself inside a call that leased one.
    pub(super) fn name_locks<'a>(
        &'a self,
        agent: &'a Agent,
        error: ReadError,
    ) -> Pin<Box<dyn Future<Output = ReadError> + Send + 'a>> {
        Box::pin(async move {
            let asked = tokio::time::timeout(LIMIT, self.locked(agent)).await;
            let mut locked = asked.ok().flatten().unwrap_or_default();
            if locked.len() > MOST_TOLD {
                locked.truncate(MOST_TOLD);
                locked.push("..".to_owned());
            }
            ReadError::OutOfTime {
                source: Box::new(error),
                limit: agent.limits(self.limits).statement_timeout,
                locked,
            }
        })
    }

    async fn locked(&self, agent: &Agent) -> Option<Vec<String>> {
        let lease = agent.lease(false).await.ok()?;
        // The call that failed may have taken longer than a guard stays fresh.
        let guard = self.guards.latest(agent.database(), &lease)?;
        let guard = guard.of(agent, self.limits);
        let limits = QueryLimits {
            statement_timeout: LIMIT,
            ..agent.limits(self.limits)
        };
        let begin = guard.opening.reading();
        let rows = exchange::ask(lease, &begin, LOCKED, &[], limits).await;
        let rows = rows.ok()?;
        Some(rows.iter().filter_map(|row| row.try_get(0).ok()).collect())
    }
}
