//! The names of types as `psql` says them.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use session_pool::{Column as Described, Lease};
use tokio_postgres::{
    Statement as Prepared,
    types::{Kind, Type},
};

use super::{
    failure::ReadError,
    rows::{Column, ColumnKind},
};

/// The types whose SQL name is not the catalogue's.
#[rustfmt::skip]
const SQL_NAMES: &[(Type, &str)] = &[
    (Type::BOOL, "boolean"), (Type::INT2, "smallint"), (Type::INT4, "integer"), (Type::INT8, "bigint"),
    (Type::FLOAT4, "real"), (Type::FLOAT8, "double precision"), (Type::CHAR, "\"char\""),
    (Type::BPCHAR, "character"), (Type::VARCHAR, "character varying"), (Type::VARBIT, "bit varying"),
    (Type::TIME, "time without time zone"), (Type::TIMETZ, "time with time zone"),
    (Type::TIMESTAMP, "timestamp without time zone"), (Type::TIMESTAMPTZ, "timestamp with time zone"),
];

/// The names of types that are not PostgreSQL's own.
const NAMES: &str = "SELECT t.oid, CASE WHEN e.oid IS NULL THEN t.typname::text ELSE e.typname || '[]' END \
     FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_type e \
       ON e.oid = t.typelem AND t.typtype = 'b' AND e.typarray = t.oid \
     WHERE t.oid = ANY ($1)";

/// What a type is called that PostgreSQL does not know any more.
const UNKNOWN: &str = "???";

/// The most names that are kept of one database.
const MOST: usize = 4_096;

/// The types of one database that are not PostgreSQL's own, each asked for once.
#[derive(Default)]
pub(super) struct TypeNames {
    /// Held for look-ups only.
    known: Mutex<HashMap<u32, String>>,
}

impl TypeNames {
    /// Asks for what is needed to name columns, if something is.
    pub(super) async fn learn(
        &self,
        lease: &Lease,
        columns: &[Described],
    ) -> Result<(), ReadError> {
        let unknown: Vec<u32> = {
            let known = self.lock();
            let oids = columns.iter().map(|column| column.type_oid);
            oids.filter(|oid| Type::from_oid(*oid).is_none() && !known.contains_key(oid))
                .collect()
        };
        if unknown.is_empty() {
            return Ok(());
        }
        let rows = lease
            .query_typed(NAMES, &[(&unknown, Type::OID_ARRAY)])
            .await
            .map_err(ReadError::lost)?;
        let mut known = self.lock();
        if known.len() + rows.len() > MOST {
            known.clear();
        }
        for row in rows {
            let (oid, name) = (row.try_get(0), row.try_get(1));
            known.insert(
                oid.map_err(ReadError::lost)?,
                name.map_err(ReadError::lost)?,
            );
        }
        Ok(())
    }

    /// Describes columns by what is known.
    pub(super) fn columns(&self, described: &[Described]) -> Vec<Column> {
        let described = described.iter();
        described
            .map(|column| {
                let own = Type::from_oid(column.type_oid);
                Column {
                    name: column.name.clone(),
                    kind: own.as_ref().map_or(ColumnKind::Text, kind),
                    type_name: own.as_ref().map_or_else(|| self.of(column.type_oid), name),
                }
            })
            .collect()
    }

    fn of(&self, oid: u32) -> String {
        self.lock()
            .get(&oid)
            .map_or(UNKNOWN, |name| name)
            .to_owned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Describes the columns of a statement that was prepared now and then.
pub(crate) fn columns(prepared: &Prepared) -> Vec<Column> {
    let described = prepared.columns().iter();
    described
        .map(|described| column(described.name(), described.type_()))
        .collect()
}

/// Describes a column of one of PostgreSQL's own types.
pub(crate) fn column(called: &str, of: &Type) -> Column {
    Column {
        name: called.to_owned(),
        type_name: name(of),
        kind: kind(of),
    }
}

fn name(kind: &Type) -> String {
    if let Kind::Array(element) = kind.kind() {
        return format!("{}[]", name(element));
    }
    let known = SQL_NAMES.iter().find(|(known, _)| known == kind);
    known.map_or_else(|| kind.name().to_owned(), |(_, name)| (*name).to_owned())
}

fn kind(kind: &Type) -> ColumnKind {
    match *kind {
        Type::BOOL => ColumnKind::Boolean,
        Type::INT2 | Type::INT4 | Type::INT8 | Type::OID => ColumnKind::Integer,
        Type::FLOAT4 | Type::FLOAT8 => ColumnKind::Float,
        _ => ColumnKind::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_named_as_in_sql() {
        for (kind, expected) in [
            (Type::INT4, "integer"),
            (Type::INT4_ARRAY, "integer[]"),
            (Type::TIMESTAMPTZ, "timestamp with time zone"),
            (Type::TEXT_ARRAY, "text[]"),
            (Type::JSONB, "jsonb"),
        ] {
            assert_eq!(name(&kind), expected);
        }
    }
}
