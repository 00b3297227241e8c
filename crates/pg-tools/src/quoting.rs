//! Names, as SQL writes them and as messages repeat them.

/// Words that are names only in quotes, sorted (PostgreSQL's `pg_get_keywords()`, categories R and
/// T).
#[rustfmt::skip]
const RESERVED: [&str; 101] = [
    "all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "authorization", "binary",
    "both", "case", "cast", "check", "collate", "collation", "column", "concurrently", "constraint", "create",
    "cross", "current_catalog", "current_date", "current_role", "current_schema", "current_time",
    "current_timestamp", "current_user", "default", "deferrable", "desc", "distinct", "do", "else", "end",
    "except", "false", "fetch", "for", "foreign", "freeze", "from", "full", "grant", "group", "having", "ilike",
    "in", "initially", "inner", "intersect", "into", "is", "isnull", "join", "lateral", "leading", "left", "like",
    "limit", "localtime", "localtimestamp", "natural", "not", "notnull", "null", "offset", "on", "only", "or",
    "order", "outer", "overlaps", "placing", "primary", "references", "returning", "right", "select",
    "session_user", "similar", "some", "symmetric", "system_user", "table", "tablesample", "then", "to",
    "trailing", "true", "union", "unique", "user", "using", "variadic", "verbose", "when", "where", "window",
    "with",
];

/// Writes a name for SQL: in quotes where it would mean another name without them.
pub(crate) fn written(name: &str) -> String {
    let is_first = |c: char| c.is_ascii_lowercase() || c == '_';
    let is_plain = name.starts_with(is_first)
        && name.chars().all(|c| is_first(c) || c.is_ascii_digit())
        && RESERVED.binary_search(&name).is_err();
    if is_plain {
        name.to_owned()
    } else {
        identifier(name)
    }
}

/// Quotes a name as an SQL identifier.
pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The most characters of a wrong name that are repeated.
const LONGEST: usize = 100;

/// Writes what a caller gave for a message: on one line, and only as much of it as is needed to recognise it.
pub(crate) fn repeated(given: &str) -> String {
    match given.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}..", given[..end].escape_debug()),
        None => given.escape_debug().to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::bench::{cluster, superuser, vector_cluster};

    #[test]
    fn what_was_given_is_repeated_shortly() {
        assert_eq!(repeated("a\nb"), "a\\nb");
        assert_eq!(repeated(&"é".repeat(100)), "é".repeat(100));
        assert_eq!(repeated(&"é".repeat(101)), format!("{}..", "é".repeat(100)));
    }

    #[tokio::test]
    async fn names_are_written_as_postgresql_writes_them() {
        let reserved = RESERVED.is_sorted();
        assert!(reserved);
        for cluster in [cluster(), vector_cluster()] {
            let admin = superuser(cluster).await;
            let words = "SELECT word FROM pg_get_keywords() WHERE catcode IN ('R', 'T')";
            let words = admin.query(words, &[]).await.unwrap();
            let words = words.iter().map(|row| row.get::<_, String>(0));
            let names = [
                "users", "_a1", "Users", "a b", "1a", "a$b", "naïve", "a\"b", "", "ümlaut",
            ];
            for name in words.chain(names.map(str::to_owned)) {
                let ident = admin.query_one("SELECT quote_ident($1)", &[&name]).await;
                assert_eq!(written(&name), ident.unwrap().get::<_, String>(0), "{name}");
            }
        }
    }
}
