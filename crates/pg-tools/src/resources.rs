//! Resources that can be read by their address: the server, its settings and the tables.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio_postgres::types::Type;

use crate::{
    Agent,
    read_only::{ReadError, Reader},
    tools::{Failure, schema_of},
};

/// The description of a resource, as clients list it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Described {
    /// The address; for a template, with its gaps.
    pub(crate) uri: &'static str,
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) description: &'static str,
}

/// All resources hold JSON.
pub(crate) const MIME_TYPE: &str = "application/json";

const SCHEMA: &str = "pg://schema";

/// The resources that have one address.
pub(crate) const LISTED: [Described; 3] = [
    Described {
        uri: "pg://system_info",
        name: "system_info",
        title: "System",
        description: "PostgreSQL's version, the database, the role and the extensions",
    },
    Described {
        uri: SCHEMA,
        name: "schema",
        title: "Schema",
        description: "The tables and views that this token may read, by name",
    },
    Described {
        uri: "pg://settings",
        name: "settings",
        title: "Settings",
        description: "PostgreSQL's settings that are not the default, and all others by name",
    },
];

/// The resources that have an address for each table.
pub(crate) const TEMPLATE: Described = Described {
    uri: "pg://schema/{schema}/{table}",
    name: "table",
    title: "Table",
    description: "A table's or view's columns, keys, indexes and comments",
};

const SYSTEM: &str = "SELECT pg_catalog.json_build_object( \
      'postgresql_version', pg_catalog.current_setting('server_version'), \
      'version_number', pg_catalog.current_setting('server_version_num')::int, \
      'full_version', pg_catalog.version(), \
      'database', pg_catalog.current_database(), \
      'user', current_user, \
      'encoding', pg_catalog.current_setting('server_encoding'), \
      'time_zone', pg_catalog.current_setting('TimeZone'), \
      'in_recovery', pg_catalog.pg_is_in_recovery(), \
      'started_at', pg_catalog.pg_postmaster_start_time(), \
      'size_bytes', CASE WHEN pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CONNECT') \
                    THEN pg_catalog.pg_database_size(pg_catalog.current_database()) END, \
      'extensions', (SELECT pg_catalog.json_object_agg(e.extname, e.extversion ORDER BY e.extname) FROM pg_catalog.pg_extension e) \
    )::text";

/// A setting made in this session is our own; the reset value is the database's.
const SETTINGS: &str = "WITH s AS ( \
      SELECT name, unit, boot_val, \
             CASE source WHEN 'session' THEN reset_val ELSE setting END AS value, NULLIF(source, 'session') AS source \
      FROM pg_catalog.pg_settings WHERE source <> 'client' \
    ), told AS (SELECT s.*, s.value IS DISTINCT FROM s.boot_val AND s.source IS DISTINCT FROM 'default' AS is_changed FROM s) \
    SELECT pg_catalog.json_build_object( \
      'changed', (SELECT pg_catalog.json_agg(pg_catalog.json_build_object( \
                      'name', t.name, 'value', t.value, 'unit', t.unit, 'default', t.boot_val, 'source', t.source) ORDER BY t.name) \
                  FROM told t WHERE t.is_changed), \
      'default', (SELECT pg_catalog.json_object_agg(t.name, t.value || COALESCE(' ' || t.unit, '') ORDER BY t.name) \
                  FROM told t WHERE NOT t.is_changed) \
    )::text";

/// Computes a text that changes whenever the catalogue says anything else about relations that the role may read ($1 is
/// their schema, $2 their name): every row of a catalogue contains the transaction that wrote it.
const VERSION: &str = "WITH relation AS ( \
       SELECT c.oid, c.xmin, c.relname, n.nspname, n.nspacl FROM pg_catalog.pg_class c \
       JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
       WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' \
         AND ($1::text IS NULL OR n.nspname = $1) AND ($2::text IS NULL OR c.relname = $2) \
         AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_any_column_privilege(c.oid, 'SELECT') \
         AND COALESCE(n.nspname::text = ANY (NULLIF(pg_catalog.current_setting('mcp.schemas', true), '')::pg_catalog.text[]), true) \
     ), part(written) AS ( \
       SELECT pg_catalog.concat(oid, '.', xmin, relname, nspname, nspacl) FROM relation \
       UNION ALL SELECT pg_catalog.concat(a.attrelid, '.', a.attnum, '.', a.xmin) FROM relation r \
         JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 \
       UNION ALL SELECT pg_catalog.concat(d.oid, '.', d.xmin) FROM relation r JOIN pg_catalog.pg_attrdef d ON d.adrelid = r.oid \
       UNION ALL SELECT pg_catalog.concat(k.oid, '.', k.xmin) FROM relation r JOIN pg_catalog.pg_constraint k ON k.conrelid = r.oid \
       UNION ALL SELECT pg_catalog.concat(x.indexrelid, '.', x.xmin) FROM relation r JOIN pg_catalog.pg_index x ON x.indrelid = r.oid \
       UNION ALL SELECT pg_catalog.concat(s.objoid, '.', s.objsubid, '.', s.xmin) FROM relation r \
         JOIN pg_catalog.pg_description s ON s.objoid = r.oid AND s.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass \
       UNION ALL SELECT pg_catalog.concat(i.inhrelid, '.', i.xmin) FROM relation r JOIN pg_catalog.pg_inherits i ON i.inhparent = r.oid \
       UNION ALL SELECT pg_catalog.concat(e.oid, '.', e.xmin) FROM relation r \
         JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 JOIN pg_catalog.pg_enum e ON e.enumtypid = a.atttypid \
     ) \
     SELECT pg_catalog.concat(pg_catalog.count(*), '.', pg_catalog.sum(pg_catalog.hashtextextended(written, 0))) FROM part";

const NAMES: &str = "SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c \
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition \
       AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' \
       AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_any_column_privilege(c.oid, 'SELECT') \
       AND ($1::text IS NULL OR n.nspname = $1) \
       AND COALESCE(n.nspname::text = ANY (NULLIF(pg_catalog.current_setting('mcp.schemas', true), '')::pg_catalog.text[]), true) \
     ORDER BY 1, 2 LIMIT 5000";

/// The resources.
pub(crate) struct Resources {
    reader: Arc<Reader>,
}

/// A resource, as its address names it.
#[derive(Debug, PartialEq, Eq)]
enum Address {
    System,
    Settings,
    Schema,
    Table { schema: String, table: String },
}

impl Address {
    fn read(uri: &str) -> Option<Self> {
        Some(match uri {
            "pg://system_info" => Address::System,
            "pg://settings" => Address::Settings,
            SCHEMA => Address::Schema,
            _ => {
                let (schema, table) = uri
                    .strip_prefix(SCHEMA)?
                    .strip_prefix('/')?
                    .split_once('/')?;
                let (schema, table) = (decoded(schema)?, decoded(table)?);
                Address::Table { schema, table }
            }
        })
    }
}

/// Returns whether an address has the form of one of the resources; there need not be such a table.
pub(crate) fn is_address(uri: &str) -> bool {
    Address::read(uri).is_some()
}

/// Undoes the percent-encoding of one part of an address (RFC 3986, section 2.1).
fn decoded(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?).ok()?
            }
            b'/' => return None,
            byte => byte,
        };
        bytes.push(byte);
    }
    String::from_utf8(bytes)
        .ok()
        // PostgreSQL has no such names.
        .filter(|name| !name.is_empty() && !name.contains('\0'))
}

impl Resources {
    pub(crate) fn new(reader: Arc<Reader>) -> Self {
        Resources { reader }
    }

    /// Reads a resource, which is a JSON object; returns `None` if this agent has no such resource.
    pub(crate) async fn read(&self, agent: &Agent, uri: &str) -> Result<Option<String>, Failure> {
        let Some(content) = self.content(agent, uri).await? else {
            return Ok(None);
        };
        let text = content.to_string();
        let (size, most_bytes) = (text.len(), agent.limits(self.reader.limits).result_bytes);
        if size > most_bytes {
            return Err(Failure::told(format!(
                "this resource has {size} bytes; a result may have {most_bytes}"
            )));
        }
        Ok(Some(text))
    }

    async fn content(&self, agent: &Agent, uri: &str) -> Result<Option<Value>, Failure> {
        match Address::read(uri) {
            None => Ok(None),
            Some(Address::System) => {
                let mut system = self.json(agent, SYSTEM).await?;
                system["name"] = json!(agent.database());
                Ok(Some(system))
            }
            Some(Address::Settings) => self.json(agent, SETTINGS).await.map(Some),
            Some(Address::Schema) => {
                let rows = self
                    .reader
                    .ask(agent, NAMES, &[(&None::<&str>, Type::TEXT)])
                    .await?;
                let tables = rows.iter().map(|row| {
                    let (schema, name): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
                    Ok::<_, tokio_postgres::Error>(json!({ "schema": schema, "name": name }))
                });
                let tables: Vec<Value> =
                    tables.collect::<Result<_, _>>().map_err(ReadError::lost)?;
                Ok(Some(json!({ "tables": tables })))
            }
            Some(Address::Table { schema, table }) => {
                schema_of(&self.reader, agent, &schema, &table).await
            }
        }
    }

    async fn json(&self, agent: &Agent, sql: &str) -> Result<Value, Failure> {
        let rows = self.reader.ask(agent, sql, &[]).await?;
        let text = rows.first().map(|row| row.try_get::<_, &str>(0));
        let text = text
            .ok_or(ReadError::Unreadable)?
            .map_err(ReadError::lost)?;
        serde_json::from_str(text).map_err(|_| Failure::told("PostgreSQL gave no JSON"))
    }

    /// Returns a text that changes whenever the schema, or one table of it, changes; `None` if changes are not noticed.
    pub(crate) async fn version(
        &self,
        agent: &Agent,
        uri: &str,
    ) -> Result<Option<String>, Failure> {
        let (schema, table) = match Address::read(uri) {
            Some(Address::Schema) => (None, None),
            Some(Address::Table { schema, table }) => (Some(schema), Some(table)),
            Some(Address::System | Address::Settings) | None => return Ok(None),
        };
        let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
            [(&schema, Type::TEXT), (&table, Type::TEXT)];
        let rows = self.reader.ask(agent, VERSION, &parameters).await?;
        Ok(rows.first().and_then(|row| row.try_get(0).ok()))
    }

    /// Completes the schema or the table in a table's address; `schema` is what the address says about the schema so
    /// far.
    pub(crate) async fn complete(
        &self,
        agent: &Agent,
        argument: &str,
        begun: &str,
        schema: Option<&str>,
    ) -> Result<Vec<String>, Failure> {
        let place = match argument {
            "schema" => 0,
            "table" => 1,
            _ => return Ok(Vec::new()),
        };
        let schema = schema.filter(|_| argument == "table");
        let rows = self
            .reader
            .ask(agent, NAMES, &[(&schema, Type::TEXT)])
            .await?;
        let begun = begun.to_lowercase();
        let mut names: Vec<String> = rows
            .iter()
            .filter_map(|row| row.try_get::<_, String>(place).ok())
            .filter(|name| name.to_lowercase().starts_with(&begun))
            .collect();
        names.sort();
        names.dedup();
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_what_is_there_and_nothing_else() {
        let table = |schema: &str, table: &str| {
            Some(Address::Table {
                schema: schema.into(),
                table: table.into(),
            })
        };
        for (uri, address) in [
            ("pg://system_info", Some(Address::System)),
            ("pg://settings", Some(Address::Settings)),
            ("pg://schema", Some(Address::Schema)),
            ("pg://schema/shop/users", table("shop", "users")),
            (
                "pg://schema/My%20Shop/a%2Fb%C3%A9",
                table("My Shop", "a/bé"),
            ),
            ("pg://schema/shop/é", table("shop", "é")),
            ("pg://schema/shop", None),
            ("pg://schema/shop/", None),
            ("pg://schema//users", None),
            ("pg://schema/a/b/c", None),
            ("pg://schema/a/%2", None),
            ("pg://schema/a/%ff", None),
            ("pg://system_info/", None),
            ("file:///etc/passwd", None),
            ("", None),
        ] {
            assert_eq!(Address::read(uri), address, "{uri}");
        }
    }
}
