//! The tables and columns that come nearest to a name that is not there.

use std::borrow::Cow;

use session_pool::Complaint;
use tokio_postgres::{Row, error::SqlState, types::Type};

use super::{ReadError, Reader, failure::position, statement::Statement};
use crate::{Agent, nearest::nearest_few};

/// How many names are told.
const MOST_TOLD: usize = 3;

/// The relations that the role may read, named as it would have to.
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

impl Reader {
    /// Adds the nearest names to an error about a name. What was asked for failed already, so that
    /// nothing is lost when the names cannot be had.
    pub(crate) async fn name_nearest(
        &self,
        agent: &Agent,
        text: &str,
        error: ReadError,
    ) -> ReadError {
        let ReadError::Database(db, prefix) = &error else {
            return error;
        };
        let Some(wrong) = wrong_name(db, *prefix, text) else {
            return error;
        };
        let nearest = if *db.code() == SqlState::UNDEFINED_TABLE {
            self.nearest_relations(agent, &wrong).await
        } else {
            let Ok(statement) = Statement::check(text) else {
                return error;
            };
            let words: Vec<String> = statement.words().map(Cow::into_owned).collect();
            let parameters = [(&words as _, Type::TEXT_ARRAY)];
            let known = self.ask(agent, COLUMNS, &parameters).await;
            nearest_of(&wrong, &known.unwrap_or_default())
        };
        if nearest.is_empty() {
            return error;
        }
        ReadError::Misnamed {
            source: Box::new(error),
            nearest,
        }
    }

    /// The relations whose names come nearest to one that is not there, as SQL would name them.
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

/// Reads the name that PostgreSQL points at: the last part of `a.b."C"`.
fn wrong_name(db: &Complaint, prefix: u32, text: &str) -> Option<String> {
    if *db.code() != SqlState::UNDEFINED_TABLE && *db.code() != SqlState::UNDEFINED_COLUMN {
        return None;
    }
    // PostgreSQL got the text without the blanks around it.
    let at = position(db, prefix)? - 1;
    let rest: String = text.trim_start().chars().skip(at as usize).collect();
    name_at(&rest)
}

fn name_at(text: &str) -> Option<String> {
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
