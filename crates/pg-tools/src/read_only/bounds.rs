//! The list of schemas that a token is bound to.
//!
//! PostgreSQL locks whatever a statement names while it parses it, and what the views in it stand for. So
//! its locks say what a statement would read before it is planned, and planning can run functions already.

use std::collections::BTreeSet;

use session_pool::{Complaint, Step};
use tokio_postgres::Error;

use super::failure::ReadError;
use crate::agent::literal;

/// Fails when this transaction has locked relations that are in none of the schemas which follow, and names
/// the first: the text that it would have to read as a number then begins and ends with a mark.
///
/// The catalogues are for everybody, but for those that hold samples of rows, what sequences are at,
/// others' statements, or the role's passwords elsewhere. What a number stands for is asked by functions,
/// for a table that is joined is locked, and each lock makes the list of locks longer for everybody.
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
/// Views of extensions, which tell of others as well, may be in one of the schemas. PostgreSQL's own have lower
/// numbers.
const OF_EXTENSIONS: &str = "]::pg_catalog.text[]) \
         OR o.kind = 'view' AND o.relation >= 16384 AND o.name ~ '^pg_'";
/// To ask it takes longer than all else, so it is asked when there is such a view.
const FOR_SURE: &str = " AND EXISTS (SELECT FROM pg_catalog.pg_depend d \
                 WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = o.relation AND d.deptype = 'e')";
const END: &str = ")";

/// A condition that always holds, and that can be parsed only where a word in an array may be a NULL.
///
/// It is in statements of tokens with a list of schemas. One that was prepared and judged is planned while no
/// word may be one: PostgreSQL goes on using what it parsed once, or, when anything that was parsed stands for
/// something else now, parses it anew and fails.
pub(super) const SEAL: &str = "WHERE '{NULL}'::pg_catalog.int4[] IS NOT NULL ";
pub(super) const SEALED: Step<'_> = Step::Run("SET LOCAL array_nulls = off");
pub(super) const UNSEALED: Step<'_> = Step::Run("SET LOCAL array_nulls TO DEFAULT");

/// The code of a text that is no number.
const NO_NUMBER: &str = "22P02";

/// What a token with a list of schemas may name.
#[derive(Debug)]
pub(crate) struct SchemaBounds {
    /// May be wrong about a view that it refuses.
    at_a_glance: String,
    exactly: String,
    /// As the agent reads it.
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

    /// The step that fails when what was parsed in its transaction is out of bounds. What fails here may still
    /// be within them, as the other steps say.
    pub(super) fn glance(&self) -> Step<'_> {
        Step::Run(&self.at_a_glance)
    }

    /// The step that fails only when it is out of bounds.
    pub(super) fn step(&self) -> Step<'_> {
        Step::Run(&self.exactly)
    }

    /// The same step where nothing is prepared, as on connections that are kept.
    pub(crate) fn step_once(&self) -> Step<'_> {
        Step::Frame(&self.exactly)
    }

    /// The statement of these two.
    pub(crate) fn exactly(&self) -> &str {
        &self.exactly
    }

    /// Says what was found, of what PostgreSQL said to one of these steps and to no other one; nothing when it
    /// is about something else.
    fn refusal(&self, complaint: &Complaint) -> Option<ReadError> {
        if complaint.code().code() != NO_NUMBER {
            return None;
        }
        // Its words are in the server's language.
        let (_, marked) = complaint.message().split_once(MARK)?;
        let (relation, _) = marked.rsplit_once(MARK)?;
        Some(ReadError::refused(format!(
            "this token may not use {relation}; it may use the schemas {}, and views over these, but nothing that tells of others' statements or sequences",
            self.schemas
        )))
    }

    /// Says what came of the statement of that step, sent by itself.
    pub(crate) fn judged(&self, ran: Result<(), Error>) -> Result<(), ReadError> {
        ran.map_err(|error| match error.as_db_error() {
            Some(db) => self.verdict(db.into()),
            None => ReadError::lost(error),
        })
    }

    /// The same, or else what PostgreSQL said; where a mistake is in a text of ours tells nobody anything.
    pub(crate) fn verdict(&self, complaint: Complaint) -> ReadError {
        self.refusal(&complaint)
            .unwrap_or_else(|| ReadError::of_complaint(complaint, u32::MAX))
    }
}
