//! The list of schemas that a token is bound to.
//!
//! While it parses a statement, PostgreSQL locks the relations that the statement names and those behind the views in
//! it. So its locks tell what a statement would read before it is planned, when functions may already run.

use std::collections::BTreeSet;

use session_pool::{Complaint, Step};
use tokio_postgres::Error;

use super::failure::ReadError;
use crate::agent::literal;

/// Fails if this transaction has locked relations that are in none of the schemas that follow in it. The error names
/// the first one: the query has to read that name, between two marks, as a number.
///
/// Everybody may use the catalogues, except for those that hold samples of rows, the values of sequences, others'
/// statements, or the role's passwords on other servers. Names are looked up with functions, because a table in a join
/// would be locked too, and each lock makes the list of locks longer for everybody.
const JUDGE: &str = "SELECT /* of pg-tools */ ('|' || pg_catalog.min((o.schema || '.' || o.name) COLLATE pg_catalog.\"C\") || '|')::pg_catalog.int4 \
     FROM (SELECT l.relation, i.type AS kind, i.object_names[1] AS schema, i.object_names[2] AS name \
           FROM pg_catalog.pg_lock_status() l, \
                pg_catalog.pg_identify_object_as_address('pg_catalog.pg_class'::pg_catalog.regclass, l.relation, 0) i \
           WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation') o \
     WHERE o.kind NOT IN ('index', 'composite type') AND o.schema !~ '^pg_temp(_|$)' \
       AND ((o.schema NOT IN ('pg_catalog', 'information_schema') \
             OR o.name IN ('pg_stats', 'pg_stats_ext', 'pg_stats_ext_exprs', 'pg_statistic', 'pg_statistic_ext_data', \
                           'pg_stat_activity', 'pg_largeobject', 'pg_largeobject_metadata', 'pg_prepared_statements', \
                           'pg_cursors', 'pg_sequences', 'pg_user_mapping')) \
            AND o.schema <> ALL (ARRAY[";
const MARK: char = '|';
/// Also refuses what looks like a view of an extension: these reveal others' activity too, and may be in one of the
/// schemas. PostgreSQL's own views have lower OIDs.
const OF_EXTENSIONS: &str = "]::pg_catalog.text[]) \
         OR o.kind = 'view' AND o.relation >= 16384 AND o.name ~ '^pg_'";
/// Makes sure that such a view is an extension's. This takes longer than all the rest, so it is asked only when there
/// is such a view.
const FOR_SURE: &str = " AND EXISTS (SELECT FROM pg_catalog.pg_depend d \
                 WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = o.relation AND d.deptype = 'e')";
const END: &str = ")";

/// A condition that always holds, and that can be parsed only while `NULL` in an array literal means a NULL.
///
/// Statements of tokens with a list of schemas contain it. One that was prepared and judged is planned with that
/// setting off: PostgreSQL then either goes on using what it parsed once or, if something that it names stands for
/// something else now, parses it again and fails.
pub(super) const SEAL: &str = "WHERE '{NULL}'::pg_catalog.int4[] IS NOT NULL ";
pub(super) const SEALED: Step<'_> = Step::Run("SET LOCAL array_nulls = off");
pub(super) const UNSEALED: Step<'_> = Step::Run("SET LOCAL array_nulls TO DEFAULT");

/// The SQLSTATE for a text that is not a number.
const NO_NUMBER: &str = "22P02";

/// What a token with a list of schemas may name.
#[derive(Debug)]
pub(crate) struct SchemaBounds {
    /// Judges at a glance, and may refuse a view wrongly.
    at_a_glance: String,
    exactly: String,
    /// The list as it is shown to the agent.
    schemas: String,
}

impl SchemaBounds {
    pub(crate) fn new(schemas: &BTreeSet<String>) -> Self {
        let own: Vec<String> = schemas.iter().map(|schema| literal(schema)).collect();
        let own = own.join(", ");
        let names: Vec<&str> = schemas.iter().map(String::as_str).collect();
        SchemaBounds {
            at_a_glance: [JUDGE, &own, OF_EXTENSIONS, END].concat(),
            exactly: [JUDGE, &own, OF_EXTENSIONS, FOR_SURE, END].concat(),
            schemas: names.join(", "),
        }
    }

    /// The statement of [`SchemaBounds::glance`].
    pub(super) fn at_a_glance(&self) -> &str {
        &self.at_a_glance
    }

    /// Returns the step that fails if what was parsed in its transaction is out of bounds. It may fail although all is
    /// within bounds; the other steps tell.
    pub(super) fn glance(&self) -> Step<'_> {
        Step::Run(&self.at_a_glance)
    }

    /// Returns the step that fails only if something is out of bounds.
    pub(super) fn step(&self) -> Step<'_> {
        Step::Run(&self.exactly)
    }

    /// Returns the same step for where nothing is prepared, as on connections that are kept.
    pub(crate) fn step_once(&self) -> Step<'_> {
        Step::Frame(&self.exactly)
    }

    /// Returns the statement of these two steps.
    pub(crate) fn exactly(&self) -> &str {
        &self.exactly
    }

    /// Returns the refusal, if what PostgreSQL said about one of these steps is that something is out of bounds. It
    /// must not be about any other step.
    fn refusal(&self, complaint: &Complaint) -> Option<ReadError> {
        if complaint.code().code() != NO_NUMBER {
            return None;
        }
        // Only the marked name is used, as the message is in the server's language.
        let (_, marked) = complaint.message().split_once(MARK)?;
        let (relation, _) = marked.rsplit_once(MARK)?;
        Some(ReadError::OutOfBounds {
            relation: relation.to_owned(),
            schemas: self.schemas.clone(),
        })
    }

    /// Returns the result of [`SchemaBounds::exactly`], which was run by itself.
    pub(crate) fn judged(&self, ran: Result<(), Error>) -> Result<(), ReadError> {
        ran.map_err(|error| match error.as_db_error() {
            Some(db) => self.verdict(db.into()),
            None => ReadError::lost(error),
        })
    }

    /// Returns the refusal, or else what PostgreSQL said, without its position: a position in our own text is of no use
    /// to anybody.
    pub(crate) fn verdict(&self, complaint: Complaint) -> ReadError {
        self.refusal(&complaint)
            .unwrap_or_else(|| ReadError::of_complaint(complaint, u32::MAX))
    }
}
