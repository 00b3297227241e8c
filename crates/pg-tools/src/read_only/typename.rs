//! The names of types as `psql` says them.

use tokio_postgres::types::{Kind, Type};

/// The types whose SQL name is not the catalogue's.
#[rustfmt::skip]
const SQL_NAMES: &[(Type, &str)] = &[
    (Type::BOOL, "boolean"), (Type::INT2, "smallint"), (Type::INT4, "integer"), (Type::INT8, "bigint"),
    (Type::FLOAT4, "real"), (Type::FLOAT8, "double precision"), (Type::CHAR, "\"char\""),
    (Type::BPCHAR, "character"), (Type::VARCHAR, "character varying"), (Type::VARBIT, "bit varying"),
    (Type::TIME, "time without time zone"), (Type::TIMETZ, "time with time zone"),
    (Type::TIMESTAMP, "timestamp without time zone"), (Type::TIMESTAMPTZ, "timestamp with time zone"),
];

/// Names a column's type.
pub(super) fn name(kind: &Type) -> String {
    if let Kind::Array(element) = kind.kind() {
        return format!("{}[]", name(element));
    }
    let known = SQL_NAMES.iter().find(|(known, _)| known == kind);
    known.map_or_else(|| kind.name().to_owned(), |(_, name)| (*name).to_owned())
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
