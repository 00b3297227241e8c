//! Tables as callers name them: `table`, `schema.table`, in quotes or not.

use tokio_postgres::types::Type;

use crate::{
    Agent,
    read_only::{ReadError, Reader},
};

/// A table's name, with the schema if one was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) schema: Option<String>,
    pub(crate) table: String,
}

/// Finds the first of some names that is the name of a relation.
const FIRST: &str = "SELECT read.place FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) \
       WITH ORDINALITY read(schema, name, place) \
     WHERE EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
       WHERE c.relname = read.name AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname = COALESCE(read.schema, n.nspname) \
       AND COALESCE(n.nspname::text = ANY (NULLIF(pg_catalog.current_setting('mcp.schemas', true), '')::pg_catalog.text[]), true)) \
     ORDER BY read.place LIMIT 1";

impl Named {
    /// Returns what a text may mean, the likeliest first: names as SQL writes them, a schema before the first point,
    /// and a single name with all that is in it. Unlike in SQL, capital letters outside of quotes are kept.
    pub(crate) fn readings(given: &str) -> Vec<Self> {
        let named = |schema: Option<&str>, table: &str| Named {
            schema: schema.map(str::to_owned),
            table: table.to_owned(),
        };
        let mut readings = Vec::new();
        let parts = given.contains('"').then(|| parts(given)).flatten();
        match parts.as_deref() {
            Some([table]) => readings.push(named(None, table)),
            Some([schema, table]) => readings.push(named(Some(schema), table)),
            _ => {}
        }
        if let Some((schema, table)) = given.split_once('.') {
            readings.push(named(Some(schema), table));
        }
        readings.push(named(None, given));
        readings.dedup();
        readings
    }

    /// Finds out which of the readings is a relation's name; the first, if none is. Most names have only one reading.
    pub(crate) async fn find(
        reader: &Reader,
        agent: &Agent,
        given: &str,
    ) -> Result<Self, ReadError> {
        let mut readings = Named::readings(given);
        if readings.len() == 1 {
            return Ok(readings.remove(0));
        }
        let schemas: Vec<Option<&str>> =
            readings.iter().map(|name| name.schema.as_deref()).collect();
        let names: Vec<&str> = readings.iter().map(|name| &*name.table).collect();
        let parameters = [
            (&schemas as _, Type::TEXT_ARRAY),
            (&names as _, Type::TEXT_ARRAY),
        ];
        let rows = reader.ask(agent, FIRST, &parameters).await?;
        let place: i64 = rows
            .first()
            .and_then(|row| row.try_get(0).ok())
            .unwrap_or(1);
        let place = usize::try_from(place - 1).unwrap_or_default();
        Ok(readings.swap_remove(place.min(readings.len() - 1)))
    }
}

/// Splits `a.b`, `"A"."b"` and the like as SQL does, except that capital letters are kept; `None` if it is no such
/// name.
fn parts(given: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut rest = given;
    loop {
        let (part, after) = match rest.strip_prefix('"') {
            Some(quoted) => in_quotes(quoted)?,
            None => {
                let end = rest.find(['.', '"']).unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        if part.is_empty() {
            return None;
        }
        parts.push(part);
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None => return after.is_empty().then_some(parts),
        }
    }
}

/// Reads up to the quote that ends a name, in which a doubled quote is one quote.
fn in_quotes(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once('"')?;
        name.push_str(before);
        match after.strip_prefix('"') {
            Some(further) => {
                name.push('"');
                rest = further;
            }
            None => return Some((name, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_may_be_meant() {
        for (given, expected) in [
            ("users", vec!["users"]),
            ("Users", vec!["Users"]),
            ("shop.users", vec!["shop|users", "shop.users"]),
            ("\"Users\"", vec!["Users", "\"Users\""]),
            (
                "\"Odd Shop\".\"a\"\"b\"",
                vec![
                    "Odd Shop|a\"b",
                    "\"Odd Shop\"|\"a\"\"b\"",
                    "\"Odd Shop\".\"a\"\"b\"",
                ],
            ),
            ("\"a.b\"", vec!["a.b", "\"a|b\"", "\"a.b\""]),
            ("Odd Shop.a\"b", vec!["Odd Shop|a\"b", "Odd Shop.a\"b"]),
            ("\"open", vec!["\"open"]),
            ("", vec![""]),
        ] {
            let found: Vec<String> = Named::readings(given)
                .into_iter()
                .map(|name| match name.schema {
                    Some(schema) => format!("{schema}|{}", name.table),
                    None => name.table,
                })
                .collect();
            assert_eq!(found, expected, "{given}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_has_a_reading(text in "[a\". é]{0,12}") {
            assert!(!Named::readings(&text).is_empty());
        }
    }
}
