//! What other roles do: who may see it, and what lets a role see it.

use crate::{
    Agent,
    read_only::{ReadError, Reader},
};

/// The statements that let the role see what others do; null where it does. A member that does not inherit sees no more
/// than others do. Whether it inherits is said by each grant from PostgreSQL 16 on, and by the role before.
const MISSING: &str = "SELECT CASE \
       WHEN pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') THEN NULL \
       WHEN pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 160000 \
       THEN pg_catalog.format('GRANT pg_read_all_stats TO %1$I WITH INHERIT TRUE', current_user) \
       WHEN r.rolinherit THEN pg_catalog.format('GRANT pg_read_all_stats TO %1$I', current_user) \
       WHEN pg_catalog.pg_has_role('pg_read_all_stats', 'MEMBER') THEN pg_catalog.format('ALTER ROLE %1$I INHERIT', current_user) \
       ELSE pg_catalog.format('GRANT pg_read_all_stats TO %1$I; ALTER ROLE %1$I INHERIT', current_user) END \
     FROM pg_catalog.pg_roles r WHERE r.rolname = current_user";

/// Gives the statements that let the agent's role see what others do, if it does not.
pub(super) async fn missing(reader: &Reader, agent: &Agent) -> Result<Option<String>, ReadError> {
    let rows = reader.ask(agent, MISSING, &[]).await?;
    let row = rows.first().ok_or(ReadError::Unreadable)?;
    row.try_get(0).map_err(|_| ReadError::Unreadable)
}
