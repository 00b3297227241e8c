//! What the role of a connection could do besides reading.

use session_pool::Lease;
use tokio_postgres::{Error, types::Type};

/// Attributes and memberships with which a role gets past every other protection.
///
/// A superuser may run programs through a function in an untrusted language, and these predefined roles may run
/// programs, use the server's files, or write to all tables.
const DANGERS: &str = "SELECT /* of pg-tools */ r.rolname::pg_catalog.text, pg_catalog.array_remove(ARRAY[ \
       CASE WHEN r.rolsuper THEN 'SUPERUSER' END, \
       CASE WHEN r.rolreplication THEN 'REPLICATION' END, \
       CASE WHEN r.rolcreaterole THEN 'CREATEROLE' END] \
     || ARRAY(SELECT 'member of ' || p.rolname::pg_catalog.text FROM pg_catalog.pg_roles p \
              WHERE p.rolname IN ('pg_execute_server_program', 'pg_write_server_files', \
                                  'pg_read_server_files', 'pg_write_all_data') \
                AND NOT r.rolsuper AND pg_catalog.pg_has_role(r.oid, p.oid, 'USAGE') \
              ORDER BY p.rolname), NULL)::pg_catalog.text[] \
     FROM pg_catalog.pg_roles r WHERE r.rolname = COALESCE($1, current_user)";

/// The role of a connection and what makes it dangerous.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Posture {
    pub(super) role: String,
    pub(super) dangers: Vec<String>,
}

impl Posture {
    /// Asks PostgreSQL about a role; `None` is the one that the connection logged in as. The role has an empty name in
    /// the answer if it does not exist.
    pub(super) async fn ask(lease: &Lease, role: Option<&str>) -> Result<Self, Error> {
        let rows = lease.query_typed(DANGERS, &[(&role, Type::TEXT)]).await?;
        let Some(row) = rows.first() else {
            return Ok(Posture {
                role: String::new(),
                dangers: Vec::new(),
            });
        };
        Ok(Posture {
            role: row.try_get(0)?,
            dangers: row.try_get(1)?,
        })
    }
}
