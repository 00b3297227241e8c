//! Whether a role may see what other roles do, and what would let it.

use crate::{
    Agent,
    read_only::{ReadError, Reader},
};

/// Finds the statements that would let the role see what others do; NULL if it does. A member that does not inherit
/// sees no more than others do. Whether it inherits is a property of each grant from PostgreSQL 16 on, and of the role
/// before.
const MISSING: &str = "SELECT CASE \
       WHEN pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') THEN NULL \
       WHEN pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 160000 \
       THEN pg_catalog.format('GRANT pg_read_all_stats TO %1$I WITH INHERIT TRUE', current_user) \
       WHEN r.rolinherit THEN pg_catalog.format('GRANT pg_read_all_stats TO %1$I', current_user) \
       WHEN pg_catalog.pg_has_role('pg_read_all_stats', 'MEMBER') THEN pg_catalog.format('ALTER ROLE %1$I INHERIT', current_user) \
       ELSE pg_catalog.format('GRANT pg_read_all_stats TO %1$I; ALTER ROLE %1$I INHERIT', current_user) END \
     FROM pg_catalog.pg_roles r WHERE r.rolname = current_user";

/// Returns the statements that would let the agent's role see what others do, if it does not.
pub(super) async fn missing(reader: &Reader, agent: &Agent) -> Result<Option<String>, ReadError> {
    let rows = reader.ask(agent, MISSING, &[]).await?;
    let row = rows.first().ok_or(ReadError::Unreadable)?;
    row.try_get(0).map_err(|_| ReadError::Unreadable)
}
