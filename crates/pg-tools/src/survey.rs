//! What an agent can really do, according to its databases.

use std::sync::Arc;

use tokio_postgres::Row;

use crate::{
    Agent,
    read_only::{ReadError, Reader},
    shelf::{Shelf, Shelved},
};

/// The most relations that are looked at in one database.
const MOST_RELATIONS: usize = 5_000;

const SESSION: &str = "SELECT current_user::text, pg_catalog.current_setting('server_version'), \
     pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'), \
     pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMPORARY'), \
     (SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.rolname = current_user)";

const SCHEMAS: &str = "SELECT n.nspname::text, pg_catalog.has_schema_privilege(n.oid, 'USAGE') \
     FROM pg_catalog.pg_namespace n WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' \
     ORDER BY 1 LIMIT 5000";

/// Roles can have privileges to change rows of materialized views and of views that group, which have no rows that can
/// be changed. The numbers are PostgreSQL's bits for INSERT, UPDATE and DELETE.
const RELATIONS: &str = "SELECT n.nspname::text, c.relname::text, \
       pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_any_column_privilege(c.oid, 'SELECT'), \
       pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND ( \
         takes & 8 <> 0 AND pg_catalog.has_any_column_privilege(c.oid, 'INSERT') \
         OR takes & 4 <> 0 AND pg_catalog.has_any_column_privilege(c.oid, 'UPDATE') \
         OR takes & 16 <> 0 AND pg_catalog.has_table_privilege(c.oid, 'DELETE')) \
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace, \
       LATERAL (SELECT CASE WHEN c.relkind IN ('r', 'p') THEN 28 WHEN c.relkind = 'm' THEN 0 \
                            ELSE pg_catalog.pg_relation_is_updatable(c.oid, true) END) updatable(takes) \
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition \
       AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' \
     ORDER BY 1, 2 LIMIT 5000";

/// What an agent really can do.
#[derive(Clone, Debug)]
pub struct Survey {
    /// The tools that it sees and can call.
    pub tools: Vec<String>,
    /// The tools that are offered, but not to it.
    pub tools_refused: Vec<String>,
    /// Whether one of its tools changes rows.
    pub writes: bool,
    /// Each of its databases.
    pub databases: Vec<Surveyed>,
}

/// What an agent can do in one database.
#[derive(Clone, Debug)]
pub struct Surveyed {
    /// The configured name.
    pub name: String,
    /// Why nothing in it can be used, if that is so.
    pub problem: Option<String>,
    /// The role that its statements run as.
    pub role: String,
    /// PostgreSQL's version.
    pub version: String,
    /// Whether the role is a superuser, which passes every check of privileges.
    pub superuser: bool,
    /// Whether the role may create schemas.
    pub may_create: bool,
    /// Whether the role may create temporary tables.
    pub may_create_temporary: bool,
    /// The schemas that it can use.
    pub schemas: Vec<String>,
    /// The schemas that exist, but that it cannot use.
    pub schemas_refused: Vec<String>,
    /// The schemas that its policy names and that do not exist.
    pub schemas_missing: Vec<String>,
    /// The tables and views that it can read.
    pub reads: Vec<String>,
    /// Those of which it can change rows, with a tool that writes.
    pub changes: Vec<String>,
    /// The tables and views that exist, but that it cannot read.
    pub refused: Vec<String>,
}

/// Looks at all of an agent's databases.
pub(crate) async fn survey(agent: &Agent, shelf: &Shelf) -> Survey {
    let reader = &*shelf.means.reader;
    let (mine, others): (Vec<_>, Vec<_>) = shelf
        .all()
        .into_iter()
        .partition(|shelved| shelved.is_for(agent));
    let writes = mine.iter().any(|shelved| shelved.writes());
    let names = |tools: Vec<Arc<Shelved>>| {
        let names = tools
            .iter()
            .map(|shelved| shelved.tool.definition().name.to_owned());
        names.collect()
    };
    let databases = agent
        .databases()
        .map(|name| database(agent, name, reader, writes));
    Survey {
        tools: names(mine),
        tools_refused: names(others),
        writes,
        databases: futures_util::future::join_all(databases).await,
    }
}

async fn database(agent: &Agent, name: &str, reader: &Reader, writes: bool) -> Surveyed {
    let mut surveyed = Surveyed {
        name: name.to_owned(),
        problem: None,
        role: String::new(),
        version: String::new(),
        superuser: false,
        may_create: false,
        may_create_temporary: false,
        schemas: Vec::new(),
        schemas_refused: Vec::new(),
        schemas_missing: Vec::new(),
        reads: Vec::new(),
        changes: Vec::new(),
        refused: Vec::new(),
    };
    if let Err(error) = look(agent, reader, writes, &mut surveyed).await {
        surveyed.problem = Some(error.explain());
    }
    surveyed
}

async fn look(
    agent: &Agent,
    reader: &Reader,
    writes: bool,
    found: &mut Surveyed,
) -> Result<(), ReadError> {
    // The database is one of the agent's own.
    let agent = &agent.on(&found.name).unwrap_or_else(|| agent.clone());
    let rows = reader.ask(agent, SESSION, &[]).await?;
    if let Some(row) = rows.first() {
        found.role = get(row, 0)?;
        found.version = get(row, 1)?;
        found.may_create = get(row, 2)?;
        found.may_create_temporary = get(row, 3)?;
        found.superuser = get(row, 4)?;
    }
    schemas(agent, reader, found).await?;
    for row in reader
        .ask(agent, RELATIONS, &[])
        .await?
        .iter()
        .take(MOST_RELATIONS)
    {
        let (schema, table): (String, String) = (get(row, 0)?, get(row, 1)?);
        let is_listed = agent
            .schemas()
            .is_none_or(|schemas| schemas.contains(&schema));
        let relation = format!("{schema}.{table}");
        if is_listed && writes && get(row, 3)? {
            found.changes.push(relation.clone());
        }
        if is_listed && get(row, 2)? {
            found.reads.push(relation);
        } else {
            found.refused.push(relation);
        }
    }
    Ok(())
}

async fn schemas(agent: &Agent, reader: &Reader, found: &mut Surveyed) -> Result<(), ReadError> {
    let listed = agent.schemas();
    for row in reader.ask(agent, SCHEMAS, &[]).await?.iter() {
        let schema: String = get(row, 0)?;
        let is_listed = listed.is_none_or(|listed| listed.contains(&schema));
        if is_listed && get(row, 1)? {
            found.schemas.push(schema);
        } else {
            found.schemas_refused.push(schema);
        }
    }
    let is_there = |schema: &&String| {
        let mut there = found.schemas.iter().chain(&found.schemas_refused);
        there.any(|there| there == *schema)
    };
    let listed = listed.into_iter().flatten();
    found.schemas_missing = listed.filter(|name| !is_there(name)).cloned().collect();
    Ok(())
}

fn get<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a Row,
    place: usize,
) -> Result<T, ReadError> {
    row.try_get(place).map_err(ReadError::lost)
}
