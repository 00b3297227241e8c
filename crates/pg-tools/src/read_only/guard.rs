//! The functions that a query may not name.
//!
//! A read-only transaction that is rolled back still lets a function end another session, take an advisory lock, write
//! a large object to a file, or run SQL that it gets as text. Most of the list of such functions comes from the
//! server's own catalogue: every volatile function of PostgreSQL and of extensions, and functions of extensions that
//! make SQL up; those that take SQL as text are listed here. A function that a user defined is that user's
//! responsibility: PostgreSQL runs it inside the read-only transaction.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use session_pool::Lease;
use tokio::time::timeout;

use super::{
    bounds::SchemaBounds,
    exchange::GRACE,
    failure::ReadError,
    opening::{Opening, WATCH_CLIENT},
    posture::Posture,
    rows::Column,
    statement::Statement,
    typename::TypeNames,
};
use crate::{Agent, QueryLimits, Role};

/// How long a loaded list and the check of a role are valid; an extension may be created meanwhile.
const FRESH: Duration = Duration::from_secs(60);

/// Volatile functions of PostgreSQL and of usual extensions that only read, or whose effect ends
/// with the transaction.
#[rustfmt::skip]
const HARMLESS: &[&str] = &[
    "amvalidate", "array_sample", "array_shuffle", "clock_timestamp", "current_query", "currval",
    "gen_random_bytes", "gen_random_uuid", "gen_salt", "lastval", "pg_blocking_pids", "pg_buffercache",
    "pg_buffercache_pages", "pg_collation_actual_version", "pg_column_size",
    "pg_control_checkpoint", "pg_control_init", "pg_control_recovery", "pg_control_system",
    "pg_current_wal_flush_lsn", "pg_current_wal_insert_lsn", "pg_current_wal_lsn",
    "pg_database_collation_actual_version", "pg_database_size", "pg_freespace", "pg_indexes_size",
    "pg_is_in_recovery", "pg_is_wal_replay_paused", "pg_jit_available", "pg_last_committed_xact",
    "pg_last_wal_receive_lsn", "pg_last_wal_replay_lsn", "pg_last_xact_replay_timestamp",
    "pg_lock_status", "pg_notification_queue_usage", "pg_partition_ancestors", "pg_partition_tree",
    "pg_prepared_xact", "pg_relation_size", "pg_safe_snapshot_blocking_pids",
    "pg_sequence_last_value", "pg_sleep", "pg_sleep_for", "pg_sleep_until",
    "pg_stat_get_xact_blocks_fetched", "pg_stat_get_xact_blocks_hit",
    "pg_stat_get_xact_function_calls", "pg_stat_get_xact_function_self_time",
    "pg_stat_get_xact_function_total_time", "pg_stat_get_xact_numscans",
    "pg_stat_get_xact_tuples_deleted", "pg_stat_get_xact_tuples_fetched",
    "pg_stat_get_xact_tuples_hot_updated", "pg_stat_get_xact_tuples_inserted",
    "pg_stat_get_xact_tuples_newpage_updated", "pg_stat_get_xact_tuples_returned",
    "pg_stat_get_xact_tuples_updated", "pg_stat_statements", "pg_stat_statements_info", "pg_table_size", "pg_tablespace_size", "pg_total_relation_size",
    "pg_visibility", "pg_visibility_map", "pg_xact_commit_timestamp", "pg_xact_status",
    "pgstatindex", "pgstattuple", "pgstattuple_approx", "random", "random_normal",
    "timeofday", "txid_status", "uuid_generate_v1", "uuid_generate_v1mc", "uuid_generate_v4",
    "uuidv4", "uuidv7",
];

/// Functions that run SQL, or read a table, that is given to them as text.
#[rustfmt::skip]
const TAKE_SQL: &[&str] = &[
    "connectby", "crosstab", "crosstab2", "crosstab3", "crosstab4", "crosstabn", "cursor_to_xml",
    "cursor_to_xmlschema", "database_to_xml", "database_to_xml_and_xmlschema", "database_to_xmlschema",
    "query_to_xml", "query_to_xml_and_xmlschema", "query_to_xmlschema", "schema_to_xml",
    "schema_to_xml_and_xmlschema", "schema_to_xmlschema", "table_to_xml", "table_to_xml_and_xmlschema",
    "table_to_xmlschema", "ts_rewrite", "ts_stat", "xpath_table",
];

/// Functions behind views that a token with a list of schemas may not use: they reveal others' statements, or the
/// current value of a sequence.
#[rustfmt::skip]
const TELL_OF_OTHERS: &[&str] = &[
    "pg_cursor", "pg_get_sequence_data", "pg_prepared_statement", "pg_sequence_last_value",
    "pg_stat_get_activity", "pg_stat_get_backend_activity", "pg_stat_statements",
];

/// Functions that may have effects, and those of extensions that run SQL which they make up. In PL/pgSQL these contain
/// `EXECUTE`; in other procedural languages any function may be one.
const WITH_EFFECTS: &str = "SELECT /* of pg-tools */ DISTINCT p.proname::pg_catalog.text FROM pg_catalog.pg_proc p \
     WHERE p.prokind IN ('f', 'w') \
       AND p.prorettype <> ALL (ARRAY['pg_catalog.trigger', 'pg_catalog.event_trigger']::pg_catalog.regtype[]) \
       AND 'pg_catalog.internal'::pg_catalog.regtype <> ALL (p.proargtypes) \
       AND (p.provolatile = 'v' AND p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace \
            OR (p.provolatile = 'v' OR EXISTS \
                (SELECT FROM pg_catalog.pg_language l \
                 WHERE l.oid = p.prolang AND l.lanname NOT IN ('internal', 'c', 'sql') \
                   AND (l.lanname <> 'plpgsql' OR p.prosrc ~* '\\mexecute\\M'))) \
               AND EXISTS (SELECT FROM pg_catalog.pg_depend d \
                           WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass \
                             AND d.objid = p.oid AND d.deptype = 'e'))";

/// What the operator allows on one database.
#[derive(Clone, Debug, Default)]
pub struct Allowance {
    /// The database.
    pub database: String,
    /// The generation of the database that this belongs to; see [`session_pool::Database::generation`].
    pub generation: u64,
    /// Functions that queries may name although they are on the list of denied ones.
    pub functions: Vec<String>,
    /// Whether roles that can do more than read are served.
    pub dangerous: DangerousRoles,
}

/// How a connection is treated whose role can do more than read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DangerousRoles {
    /// Served, with a warning in the log.
    #[default]
    Warn,
    /// Refused, except for the role of this name.
    RefuseExcept(Option<String>),
}

/// The lists of denied functions of all databases, each loaded when it is first needed.
///
/// A list belongs to one host and one generation of its database, and is used only with connections to that host of that
/// generation: a database that was reconfigured is never served with what was known of the one before, and a host never
/// with what was known of another, which need not be a copy of it.
#[derive(Default)]
pub struct Guards {
    /// Locked for a look-up or a replacement.
    allowances: Mutex<Allowances>,
    /// Locked for a look-up or an insertion only. A call that finds no fresh list loads one itself, so that no call
    /// waits for another's slow database.
    loaded: Mutex<foldhash::HashMap<String, Vec<Loaded>>>,
    /// Locked for a look-up or an insertion, and now and then to go through all entries.
    judged: Mutex<Judged>,
}

/// When each role was judged, by database, generation, host, and the role's kind and name.
#[derive(Default)]
struct Judged {
    at: foldhash::HashMap<(String, u64, usize, u8, String), Instant>,
    /// When old entries were last removed.
    swept: Option<Instant>,
}

impl Judged {
    /// Removes expired entries, at most once per [`FRESH`]: each token may have a role of its own.
    fn forget_old(&mut self, now: Instant) {
        let is_fresh = |at: &Instant| now.saturating_duration_since(*at) < FRESH;
        if !self.swept.as_ref().is_some_and(is_fresh) {
            self.at.retain(|_, at| is_fresh(at));
            self.swept = Some(now);
        }
    }
}

/// What the operator allows, by database and generation.
#[derive(Default)]
struct Allowances {
    present: HashMap<(String, u64), Allowance>,
    /// What was in force before, as a call may have leased its connection just before the change.
    before: HashMap<(String, u64), Allowance>,
    /// Whether every database that is served is listed here.
    is_complete: bool,
}

struct Loaded {
    generation: u64,
    host: usize,
    at: Instant,
    guard: Arc<Guard>,
}

impl Allowances {
    fn of(&self, database: &str, generation: u64) -> Allowance {
        let key = (database.to_owned(), generation);
        let known = self.present.get(&key).or_else(|| self.before.get(&key));
        known.cloned().unwrap_or_else(|| Allowance {
            dangerous: if self.is_complete {
                DangerousRoles::RefuseExcept(None)
            } else {
                DangerousRoles::Warn
            },
            ..Allowance::default()
        })
    }
}

impl Guards {
    /// Creates guards from what the operator allows on all databases that are served.
    pub fn new(allowances: impl IntoIterator<Item = Allowance>) -> Self {
        let guards = Guards::default();
        guards.replace(allowances);
        guards
    }

    /// Replaces what the operator allowed before. Call this before the old databases are replaced by the new ones:
    /// calls that still run on the old ones find what was allowed there.
    pub fn replace(&self, allowances: impl IntoIterator<Item = Allowance>) {
        let present: HashMap<_, _> = allowances
            .into_iter()
            .map(|one| ((one.database.clone(), one.generation), one))
            .collect();
        let names: HashSet<&String> = present.keys().map(|(name, _)| name).collect();
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.retain(|name, _| names.contains(name));
        drop(loaded);
        let mut allowances = self.allowances();
        allowances.before = std::mem::replace(&mut allowances.present, present);
        allowances.is_complete = true;
    }

    fn allowances(&self) -> MutexGuard<'_, Allowances> {
        self.allowances
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn fresh(&self, database: &str, lease: &Lease) -> Option<Arc<Guard>> {
        self.find(database, lease, |age| age < FRESH)
    }

    /// Returns the guard that was last loaded, however long ago. It is for our own statements, which only need to know
    /// how transactions begin.
    pub(super) fn latest(&self, database: &str, lease: &Lease) -> Option<Arc<Guard>> {
        self.find(database, lease, |_| true)
    }

    fn find(
        &self,
        database: &str,
        lease: &Lease,
        is_good: impl Fn(Duration) -> bool,
    ) -> Option<Arc<Guard>> {
        let (generation, host) = (lease.generation(), lease.host());
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let mut of_database = loaded.get(database)?.iter();
        let is_its = |one: &&Loaded| one.generation == generation && one.host == host;
        let one = of_database.find(is_its)?;
        is_good(one.at.elapsed()).then(|| one.guard.clone())
    }

    /// Judges the roles that an agent's statements run with: the one that its connections log in as, and the one that
    /// its transactions switch to, if any. PostgreSQL has `limit` plus [`GRACE`] to answer about each.
    pub(super) async fn admit(
        &self,
        agent: &Agent,
        lease: &Lease,
        limit: Duration,
    ) -> Result<(), ReadError> {
        match agent.role() {
            role @ (Role::Configured | Role::Login(_)) => {
                self.judge(agent.database(), role, lease, limit).await
            }
            role @ Role::Set(_) => {
                let login = &Role::Configured;
                self.judge(agent.database(), login, lease, limit).await?;
                self.judge(agent.database(), role, lease, limit).await
            }
        }
    }

    /// Judges a role, unless that was done less than [`FRESH`] ago.
    async fn judge(
        &self,
        database: &str,
        role: &Role,
        lease: &Lease,
        limit: Duration,
    ) -> Result<(), ReadError> {
        let (kind, name) = role.key();
        let generation = lease.generation();
        let key = (
            database.to_owned(),
            generation,
            lease.host(),
            kind,
            name.to_owned(),
        );
        {
            let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
            if judged.at.get(&key).is_some_and(|at| at.elapsed() < FRESH) {
                return Ok(());
            }
            judged.forget_old(Instant::now());
        }
        let named = matches!(role, Role::Set(_)).then_some(name);
        // Boxed, as the future of every call would otherwise have room for it.
        let asked = Box::pin(timeout(limit + GRACE, Posture::ask(lease, named))).await;
        let posture = asked.map_err(|_| ReadError::Unanswered(limit))?;
        let posture = posture.map_err(ReadError::never_began)?;
        if posture.role.is_empty() {
            return Err(ReadError::refused(format!(
                "the role \"{name}\" of this token does not exist on database \"{database}\"; the operator must create it, or change the token"
            )));
        }
        let allowance = self.allowances().of(database, generation);
        judge(database, &posture, &allowance.dangerous)?;
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        judged.at.insert(key, Instant::now());
        Ok(())
    }

    pub(super) async fn load(
        &self,
        database: &str,
        lease: &Lease,
        statement_timeout: Duration,
    ) -> Result<Arc<Guard>, ReadError> {
        let generation = lease.generation();
        let allowance = self.allowances().of(database, generation);
        let allows = |name: &str| {
            let mut functions = allowance.functions.iter();
            functions.any(|allowed| allowed.eq_ignore_ascii_case(name))
        };
        let can_watch = format!("SET LOCAL {WATCH_CLIENT}");
        let (with_effects, watches) = futures_util::join!(
            lease.query_typed(WITH_EFFECTS, &[]),
            lease.batch_execute(&can_watch),
        );
        let mut denied: foldhash::HashSet<String> =
            TAKE_SQL.iter().map(|name| (*name).to_owned()).collect();
        for row in with_effects.map_err(ReadError::never_began)? {
            denied.insert(row.try_get(0).map_err(ReadError::never_began)?);
        }
        denied.retain(|name| !HARMLESS.contains(&name.as_str()) && !allows(name));
        let of_others = TELL_OF_OTHERS.iter().copied();
        let of_others = of_others.filter(|name| !allows(name)).collect();
        let guard = Arc::new(Guard {
            of_others,
            opening: Opening::new(statement_timeout, watches.is_ok(), Vec::new()),
            bounds: None,
            denied: Arc::new(denied),
            types: Arc::default(),
        });
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let of_database = loaded.entry(database.to_owned()).or_default();
        // A call on an older connection must not replace a newer list.
        if of_database.iter().all(|one| one.generation <= generation) {
            let host = lease.host();
            of_database.retain(|one| one.generation == generation && one.host != host);
            of_database.push(Loaded {
                generation,
                host,
                at: Instant::now(),
                guard: guard.clone(),
            });
        }
        Ok(guard)
    }
}

fn judge(database: &str, posture: &Posture, dangerous: &DangerousRoles) -> Result<(), ReadError> {
    if posture.dangers.is_empty() {
        return Ok(());
    }
    let Posture { role, dangers } = posture;
    let dangers = dangers.join(", ");
    match dangerous {
        DangerousRoles::RefuseExcept(named) if named.as_deref() != Some(role) => {
            tracing::error!(
                database,
                role,
                dangers,
                "queries are refused: the role can do more than read"
            );
            Err(ReadError::refused(format!(
                "database \"{database}\" is configured with role \"{role}\", which can do more than read ({dangers}); \
                 the operator must configure a plain role, or accept it with allow_dangerous_role: {role}"
            )))
        }
        _ => {
            tracing::warn!(
                database,
                role,
                dangers,
                "the role can do more than read; use a plain one"
            );
            Ok(())
        }
    }
}

/// The rules for queries on one database.
pub(crate) struct Guard {
    /// How transactions begin.
    pub(crate) opening: Opening,
    /// What an agent's own statements may name, if the agent has a list of schemas.
    pub(crate) bounds: Option<SchemaBounds>,
    /// The names of the database's types.
    pub(super) types: Arc<TypeNames>,
    denied: Arc<foldhash::HashSet<String>>,
    /// Functions denied to agents with a list of schemas.
    of_others: Arc<[&'static str]>,
}

impl Guard {
    /// Returns the guard for an agent, whose transactions begin with what its policy says.
    pub(super) fn of(self: Arc<Self>, agent: &Agent, usual: QueryLimits) -> Arc<Self> {
        let timeout = agent.limits(usual).statement_timeout;
        let own = agent.opening();
        let bounds = agent.schemas().map(SchemaBounds::new);
        if timeout >= usual.statement_timeout && own.is_empty() && bounds.is_none() {
            return self;
        }
        let opening = self.opening.narrowed(timeout, own);
        Arc::new(Guard {
            opening,
            bounds,
            denied: self.denied.clone(),
            of_others: self.of_others.clone(),
            types: self.types.clone(),
        })
    }

    /// Describes the columns of a result, asking PostgreSQL about types that are not known yet.
    pub(crate) async fn columns(
        &self,
        lease: &Lease,
        described: &[session_pool::Column],
    ) -> Result<Vec<Column>, ReadError> {
        self.types.learn(lease, described).await?;
        Ok(self.types.columns(described))
    }

    /// Refuses a statement that contains the name of a denied function anywhere, even in a literal: only PostgreSQL can
    /// say what is a name and what is a string.
    pub(super) fn check(&self, agent: &Agent, statement: &Statement<'_>) -> Result<(), ReadError> {
        let mut words = statement.words();
        if let Some(name) = words.find(|word| self.denied.contains(&**word)) {
            return Err(ReadError::refused(format!(
                "the name {name} may not appear in a query: the function has effects that a rollback does not undo, \
                 or runs SQL given as text; the operator can allow it with allow_functions"
            )));
        }
        if agent.schemas().is_none() {
            return Ok(());
        }
        let mut words = statement.words();
        match words.find(|word| self.of_others.contains(&&**word)) {
            None => Ok(()),
            Some(name) => Err(ReadError::refused(format!(
                "the name {name} may not appear in a query of a token that is bound to schemas: \
                 it tells of what lies outside of them; the operator can allow it with allow_functions"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::bench::{cluster, superuser};

    #[test]
    fn roles_that_were_judged_long_ago_are_forgotten_once_in_a_while() {
        let (mut judged, start) = (Judged::default(), Instant::now());
        let role = |number: u64| ("shop".to_owned(), number, 0, 0, String::new());
        for (number, left) in [(0, 1), (1, 2), (2, 3), (3, 3), (4, 4)] {
            let now = start + FRESH * number / 3;
            judged.forget_old(now);
            judged.at.insert(role(number.into()), now);
            assert_eq!(judged.at.len(), left, "the role that came {number}th");
        }
    }

    /// The functions behind operators, casts, aggregates and types are called although no query names them.
    #[tokio::test]
    async fn what_is_called_without_being_named_has_no_effects() {
        let unnamed = "SELECT o.oprcode::oid AS function FROM pg_operator o \
             UNION SELECT c.castfunc FROM pg_cast c \
             UNION SELECT f FROM pg_aggregate a, \
                 unnest(ARRAY[aggtransfn, aggfinalfn, aggcombinefn, aggmtransfn, aggminvtransfn, aggmfinalfn]::oid[]) f \
             UNION SELECT f FROM pg_type t, unnest(ARRAY[typinput, typoutput, typmodin, typmodout]::oid[]) f \
                 WHERE t.typtype <> 'p'";
        let with_effects = format!(
            "SELECT p.oid::regprocedure::text FROM ({unnamed}) u JOIN pg_proc p ON p.oid = u.function \
             WHERE p.provolatile = 'v' AND p.proname <> ALL ($1)"
        );
        let client = superuser(cluster()).await;
        let found = client.query(&with_effects, &[&HARMLESS]).await.unwrap();
        let found: Vec<String> = found.iter().map(|row| row.get(0)).collect();
        assert!(found.is_empty(), "{found:?}");
    }
}
