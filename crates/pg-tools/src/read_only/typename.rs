//! The names of types as `psql` shows them.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use foldhash::HashMap;
use session_pool::{Column as Described, Lease};
use tokio_postgres::{
    Statement as Prepared,
    types::{Kind, Type},
};

use super::{
    failure::ReadError,
    rows::{Column, ColumnKind, Sorts},
};

/// The types whose SQL name is not the catalogue's, and the most frequent ones, whose names need not be copied then.
#[rustfmt::skip]
const SQL_NAMES: &[(Type, &str)] = &[
    (Type::TEXT, "text"), (Type::NUMERIC, "numeric"), (Type::DATE, "date"), (Type::UUID, "uuid"), (Type::JSONB, "jsonb"),
    (Type::BOOL, "boolean"), (Type::INT2, "smallint"), (Type::INT4, "integer"), (Type::INT8, "bigint"),
    (Type::FLOAT4, "real"), (Type::FLOAT8, "double precision"), (Type::CHAR, "\"char\""),
    (Type::BPCHAR, "character"), (Type::VARCHAR, "character varying"), (Type::VARBIT, "bit varying"),
    (Type::TIME, "time without time zone"), (Type::TIMETZ, "time with time zone"),
    (Type::TIMESTAMP, "timestamp without time zone"), (Type::TIMESTAMPTZ, "timestamp with time zone"),
];

/// PostgreSQL's own types whose text it reads back as the same value, and whose operators `<`, `=` and `>` are those of
/// `ORDER BY` and are found whatever the search path is.
#[rustfmt::skip]
const SORTED: &[(Sorts, &[Type])] = &[
    (Sorts::Surely, &[
        Type::BOOL, Type::INT2, Type::INT4, Type::INT8, Type::OID, Type::NUMERIC,
        Type::TEXT, Type::VARCHAR, Type::BPCHAR, Type::NAME, Type::UUID, Type::BYTEA, Type::BIT, Type::VARBIT,
        Type::TIME, Type::TIMETZ, Type::INTERVAL, Type::INET, Type::CIDR, Type::MACADDR, Type::JSONB,
        Type::INT4_RANGE, Type::INT8_RANGE, Type::NUM_RANGE,
        Type::BOOL_ARRAY, Type::INT2_ARRAY, Type::INT4_ARRAY, Type::INT8_ARRAY, Type::NUMERIC_ARRAY,
        Type::TEXT_ARRAY, Type::VARCHAR_ARRAY, Type::UUID_ARRAY,
    ]),
    (Sorts::AsIso, &[Type::DATE, Type::TIMESTAMP, Type::TIMESTAMPTZ]),
    (Sorts::UnlessRounded, &[Type::FLOAT4, Type::FLOAT8]),
];

/// The names of types that are not PostgreSQL's own, and whether they are enumerations.
const NAMES: &str = "SELECT /* of pg-tools */ t.oid, CASE WHEN e.oid IS NULL THEN t.typname::pg_catalog.text ELSE e.typname || '[]' END, t.typtype = 'e' \
     FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_type e \
       ON e.oid = t.typelem AND t.typtype = 'b' AND e.typarray = t.oid \
     WHERE t.oid = ANY ($1)";

/// The name of a type that PostgreSQL no longer knows.
const UNKNOWN: &str = "???";

/// The most names that are kept for one database.
const MOST: usize = 4_096;

/// The types of one database that are not PostgreSQL's own, each asked for once.
#[derive(Default)]
pub(super) struct TypeNames {
    /// Locked for look-ups and insertions only.
    known: Mutex<HashMap<u32, Known>>,
}

#[derive(Clone)]
struct Known {
    name: String,
    is_enum: bool,
}

impl TypeNames {
    /// Asks PostgreSQL about the types of columns that are not known yet, if any.
    pub(super) async fn learn(
        &self,
        lease: &Lease,
        columns: &[Described],
    ) -> Result<(), ReadError> {
        let unknown = self.unknown(columns);
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
            let oid = row.try_get(0).map_err(ReadError::lost)?;
            let of_type = Known {
                name: row.try_get(1).map_err(ReadError::lost)?,
                is_enum: row.try_get(2).map_err(ReadError::lost)?,
            };
            known.insert(oid, of_type);
        }
        Ok(())
    }

    /// Describes columns, if all their types are known.
    pub(super) fn known_columns(&self, described: &[Described]) -> Option<Vec<Column>> {
        self.unknown(described)
            .is_empty()
            .then(|| self.columns(described))
    }

    fn unknown(&self, described: &[Described]) -> Vec<u32> {
        let oids = described.iter().map(|column| column.type_oid);
        let mut unknown: Vec<u32> = oids.filter(|oid| Type::from_oid(*oid).is_none()).collect();
        if !unknown.is_empty() {
            let known = self.lock();
            unknown.retain(|oid| !known.contains_key(oid));
        }
        unknown
    }

    /// Describes columns with what is known.
    pub(super) fn columns(&self, described: &[Described]) -> Vec<Column> {
        let described = described.iter();
        described
            .map(|column| match Type::from_oid(column.type_oid) {
                Some(own) => of_own(column.name.clone(), &own),
                None => {
                    let known = self.lock().get(&column.type_oid).cloned();
                    Column {
                        name: column.name.clone(),
                        kind: ColumnKind::Text,
                        sorts: match &known {
                            Some(Known { is_enum: true, .. }) => Sorts::Surely,
                            _ => Sorts::Unknown,
                        },
                        type_name: known.map_or(UNKNOWN.into(), |known| known.name.into()),
                    }
                }
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Describes the columns of a statement that was prepared with tokio-postgres.
pub(crate) fn columns(prepared: &Prepared) -> Vec<Column> {
    let described = prepared.columns().iter();
    described
        .map(|column| of_own(column.name().into(), column.type_()))
        .collect()
}

/// Describes a column of one of PostgreSQL's own types.
pub(crate) fn of_own(column: Arc<str>, own: &Type) -> Column {
    let sorted = SORTED.iter().find(|(_, types)| types.contains(own));
    Column {
        name: column,
        type_name: name(own),
        kind: kind(own),
        sorts: sorted.map_or(Sorts::Unknown, |(sorts, _)| *sorts),
    }
}

fn name(kind: &Type) -> Cow<'static, str> {
    if let Kind::Array(element) = kind.kind() {
        return format!("{}[]", name(element)).into();
    }
    match SQL_NAMES.iter().find(|(known, _)| known == kind) {
        Some((_, name)) => (*name).into(),
        None => kind.name().to_owned().into(),
    }
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
