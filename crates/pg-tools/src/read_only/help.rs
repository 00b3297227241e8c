//! Help for the author of a query that PostgreSQL refused: the tables and columns nearest to a name that does not
//! exist, and the values of an enum.

use std::borrow::Cow;

use session_pool::Complaint;
use tokio_postgres::{Row, error::SqlState, types::Type};

use super::{ReadError, Reader, failure::position, foreign, statement::Statement};
use crate::{Agent, nearest::nearest_few};

/// How many names are suggested.
const MOST_TOLD: usize = 3;

/// What to do about a table that does not exist, if no name is near.
const TABLES: &str = "get_schema_info lists the tables that this token may read";

/// The relations that the role may read, named as it would have to name them.
const RELATIONS: &str = "SELECT CASE WHEN pg_catalog.pg_table_is_visible(c.oid) THEN pg_catalog.quote_ident(c.relname) \
       ELSE pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) END, c.relname::text \
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
       AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_any_column_privilege(c.oid, 'SELECT') \
       AND COALESCE(n.nspname::text = ANY (NULLIF(pg_catalog.current_setting('mcp.schemas', true), '')::pg_catalog.text[]), true) \
     ORDER BY 1 LIMIT 5000";

/// The columns that the role may read of the relations that a query names.
const COLUMNS: &str = "SELECT DISTINCT pg_catalog.quote_ident(c.relname) || '.' || pg_catalog.quote_ident(a.attname), a.attname::text \
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid \
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND a.attnum > 0 AND NOT a.attisdropped \
       AND pg_catalog.lower(c.relname::text) = ANY ($1) \
       AND pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE') \
       AND pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT') \
       AND COALESCE(n.nspname::text = ANY (NULLIF(pg_catalog.current_setting('mcp.schemas', true), '')::pg_catalog.text[]), true) \
     ORDER BY 1 LIMIT 5000";

/// The values of an enum as SQL literals; one more than are shown. An agent with a list of schemas is told those of an
/// enum that is in one of them, or that a column there has.
const LABELS: &str = "WITH bound AS (SELECT NULLIF(pg_catalog.current_setting('mcp.schemas', true), '')::pg_catalog.text[] AS schemas) \
     SELECT pg_catalog.quote_literal(e.enumlabel) FROM pg_catalog.pg_enum e \
     WHERE e.enumtypid = (SELECT t.oid FROM bound b, pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
                          WHERE t.oid = pg_catalog.to_regtype($1)::pg_catalog.oid \
                            AND (b.schemas IS NULL OR n.nspname = ANY (b.schemas) OR EXISTS \
                                   (SELECT FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
                                    JOIN pg_catalog.pg_namespace m ON m.oid = c.relnamespace \
                                    WHERE a.atttypid IN (t.oid, t.typarray) AND m.nspname = ANY (b.schemas)))) \
     ORDER BY e.enumsortorder LIMIT 31";

/// How many values of an enum are shown.
const MOST_LABELS: usize = 30;

impl Reader {
    /// Adds to an error what its text does not say: the names nearest to a wrong one, the values of an enum, or what to
    /// write instead of what another database understands. The query has failed already, so that nothing is lost if
    /// this is not available.
    pub(crate) async fn with_help(&self, agent: &Agent, text: &str, error: ReadError) -> ReadError {
        let (ReadError::Database(db, prefix), Ok(statement)) = (&error, Statement::check(text))
        else {
            return error;
        };
        let (before, rest) = around(db, *prefix, statement.text());
        let known = match db.code().code() {
            // The name before the point is wrong, and PostgreSQL says only where it is.
            "42P01" if db.routine() == Some("errorMissingRTE") => None,
            "42P01" | "42703" => self.nearest(agent, db, &statement, rest).await,
            "22P02" => self.labels(agent, db).await,
            _ => None,
        };
        let hint = foreign::hint(db, before, rest);
        let help: Vec<_> = known.into_iter().chain(hint).collect();
        if help.is_empty() {
            return error;
        }
        ReadError::Helped {
            source: Box::new(error),
            help: help.join("\n"),
        }
    }

    async fn nearest(
        &self,
        agent: &Agent,
        db: &Complaint,
        statement: &Statement<'_>,
        rest: &str,
    ) -> Option<String> {
        let wrong = name_at(rest)?;
        let nearest = if *db.code() == SqlState::UNDEFINED_TABLE {
            self.nearest_relations(agent, &wrong).await
        } else {
            let words: Vec<String> = statement.words().map(Cow::into_owned).collect();
            let parameters = [(&words as _, Type::TEXT_ARRAY)];
            let known = self.ask(agent, COLUMNS, &parameters).await;
            nearest_of(&wrong, &known.unwrap_or_default())
        };
        match (nearest.is_empty(), *db.code() == SqlState::UNDEFINED_TABLE) {
            (false, _) => Some(format!("NEAREST: {}", nearest.join(", "))),
            (true, true) => Some(format!("HINT: {TABLES}")),
            (true, false) => None,
        }
    }

    /// Returns the values of an enum, if one that it does not have was the mistake.
    async fn labels(&self, agent: &Agent, db: &Complaint) -> Option<String> {
        if db.routine() != Some("enum_in") {
            return None;
        }
        let (_, named) = db.message().split_once(" enum ")?;
        let (name, _) = named.split_once(": \"")?;
        let rows = self.ask(agent, LABELS, &[(&name as _, Type::TEXT)]).await;
        let rows = rows.ok().filter(|rows| !rows.is_empty())?;
        let labels = rows.iter().filter_map(|row| row.try_get(0).ok());
        let mut labels: Vec<String> = labels.collect();
        if labels.len() > MOST_LABELS {
            labels.truncate(MOST_LABELS);
            labels.push("..".to_owned());
        }
        Some(format!("ONE OF: {}", labels.join(", ")))
    }

    /// Returns the relations whose names are nearest to one that does not exist, as SQL would name them.
    pub(crate) async fn nearest_relations(&self, agent: &Agent, wrong: &str) -> Vec<String> {
        let known = self.ask(agent, RELATIONS, &[]).await;
        nearest_of(wrong, &known.unwrap_or_default())
    }
}

fn nearest_of(wrong: &str, known: &[Row]) -> Vec<String> {
    let names = known
        .iter()
        .filter_map(|row| Some((row.try_get(0).ok()?, row.try_get(1).ok()?)));
    nearest_few(wrong, names, MOST_TOLD)
}

/// Splits a text where PostgreSQL found the mistake; at its end, if PostgreSQL does not say where.
fn around<'a>(db: &Complaint, prefix: u32, text: &'a str) -> (&'a str, &'a str) {
    let at = position(db, prefix).and_then(|at| text.char_indices().nth(at as usize - 1));
    text.split_at(at.map_or(text.len(), |(at, _)| at))
}

/// Reads the name that PostgreSQL points at: the last part of `a.b."C"`.
pub(super) fn name_at(text: &str) -> Option<String> {
    let mut rest = text;
    loop {
        let (name, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => {
                let is_in_name = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
                rest.split_at(rest.find(|c| !is_in_name(c)).unwrap_or(rest.len()))
            }
        };
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None => return (!name.is_empty()).then(|| name.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_part_of_a_name_is_read() {
        for (text, name) in [
            ("userz WHERE", Some("userz")),
            ("shop.userz", Some("userz")),
            ("\"Shop\".\"User z\", 1", Some("User z")),
            ("u.näme)", Some("näme")),
            ("", None),
            ("*", None),
        ] {
            assert_eq!(name_at(text).as_deref(), name, "{text}");
        }
    }
}
