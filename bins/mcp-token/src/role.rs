//! A role of a token's own, with no more rights than the token needs: the SQL that makes it, and running that.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use postgres_protocol::password::scram_sha_256;
use server_config::{Config, Database};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use token_store::{Access, Draft, Policy, Secret, Token};

use crate::failure::Failure;

/// The schema that a token without a list of schemas gets.
const USUAL_SCHEMA: &str = "public";

/// The SQL that makes a role, and where its password was put.
pub(crate) struct Script {
    parts: Vec<Part>,
    password_file: PathBuf,
}

/// What is run in one database.
struct Part {
    host: String,
    port: u16,
    database: String,
    sql: String,
}

/// Gives a token that was just made a role of its own: puts its password into a file beside the token file, names both in the
/// token's entry, and writes the SQL.
pub(crate) fn prepare(
    draft: &mut Draft,
    token: &Arc<Token>,
    config: &Config,
    password: &Secret,
) -> Result<(Arc<Token>, Script), Failure> {
    let name = name(token);
    let path = password_path(&config.token_file, &name).map_err(Failure::Password)?;
    let mut policy = token.policy.read();
    let named = policy.set("role.user", Some(&name));
    named.map_err(|_| Failure::RoleName)?;
    // A path that is no text is refused like any other that the entry cannot hold.
    policy.set(
        "role.password_file",
        Some(path.to_str().unwrap_or_default()),
    )?;
    write_password(&path, password).map_err(Failure::Password)?;
    let changed = draft.change(&token.id, |token| token.policy = (&policy).into());
    let token = changed.unwrap_or_else(|| Arc::clone(token));
    let script = Script {
        parts: parts(&token, &name, config, password),
        password_file: path,
    };
    Ok((token, script))
}

/// A name that PostgreSQL needs no quotes for, and that nobody else has.
fn name(token: &Token) -> String {
    let plain = |byte: char| {
        if byte.is_ascii_alphanumeric() {
            byte
        } else {
            '_'
        }
    };
    let id: String = token.id.as_str().chars().map(plain).collect();
    format!("mcp_{}", id.to_ascii_lowercase())
}

fn password_path(token_file: &Path, role: &str) -> io::Result<PathBuf> {
    let mut folder = std::path::absolute(token_file)?.into_os_string();
    folder.push(".roles");
    Ok(PathBuf::from(folder).join(format!("{role}.password")))
}

fn write_password(path: &Path, password: &Secret) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{}", password.expose())?;
    file.sync_all()
}

fn parts(token: &Token, role: &str, config: &Config, password: &Secret) -> Vec<Part> {
    let policy = token.policy.read();
    let is_mine = |database: &&Database| match &token.databases {
        Some(names) => names.contains(&database.name),
        None => config
            .databases
            .first()
            .is_some_and(|first| first.name == database.name),
    };
    let mine: Vec<&Database> = config.databases.iter().filter(is_mine).collect();
    let server = |database: &Database| (database.host.clone(), database.port);
    let mut seen = Vec::new();
    let mut parts = Vec::new();
    for database in &mine {
        let mut sql = String::new();
        if !seen.contains(&server(database)) {
            seen.push(server(database));
            let there = mine
                .iter()
                .filter(|other| server(other) == server(database));
            let connections = there.map(|database| connections(&policy, database)).sum();
            sql.push_str(&create(token, policy.access, role, connections, password));
        }
        sql.push_str(&grants(&policy, role, database));
        let (host, port) = server(database);
        parts.push(Part {
            host,
            port,
            database: database.database.clone(),
            sql,
        });
    }
    parts
}

fn connections(policy: &Policy, database: &Database) -> u64 {
    let own = policy
        .limits
        .connections
        .map_or(u64::MAX, |most| most.get().into());
    own.min(database.pool_max_conns as u64)
}

fn create(
    token: &Token,
    access: Access,
    role: &str,
    connections: u64,
    password: &Secret,
) -> String {
    // Only a verifier of the password is sent, so that no log of PostgreSQL's holds it.
    let verifier = scram_sha_256(password.expose().as_bytes());
    let until = token.expires_at.map_or("infinity".into(), stamp);
    let mut sql = format!(
        "CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS NOINHERIT\n  \
         CONNECTION LIMIT {connections} VALID UNTIL '{until}'\n  PASSWORD '{verifier}';\n"
    );
    if access == Access::Read {
        sql.push_str(&format!(
            "ALTER ROLE {role} SET default_transaction_read_only = on;\n"
        ));
    }
    sql
}

fn stamp(instant: OffsetDateTime) -> String {
    instant
        .format(&Rfc3339)
        .expect("a token's times are UTC and in the years 0 to 9999")
}

fn grants(policy: &Policy, role: &str, database: &Database) -> String {
    let name = identifier(&database.database);
    let schemas: Vec<String> = match &policy.schemas {
        Some(schemas) => schemas.iter().map(identifier).collect(),
        None => vec![identifier(USUAL_SCHEMA)],
    };
    let rights = match policy.access {
        Access::Read => "SELECT",
        Access::Write => "SELECT, INSERT, UPDATE, DELETE",
    };
    let mut sql = format!("GRANT CONNECT ON DATABASE {name} TO {role};\n");
    for schema in &schemas {
        sql.push_str(&format!(
            "GRANT USAGE ON SCHEMA {schema} TO {role};\n\
             GRANT {rights} ON ALL TABLES IN SCHEMA {schema} TO {role};\n\
             ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT {rights} ON TABLES TO {role};\n"
        ));
        if policy.access == Access::Write {
            sql.push_str(&format!(
                "GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {role};\n\
                 ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT USAGE ON SEQUENCES TO {role};\n"
            ));
        }
    }
    sql.push_str(&format!(
        "ALTER ROLE {role} IN DATABASE {name} SET search_path = {};\n",
        schemas.join(", ")
    ));
    sql
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Script {
    /// The whole SQL, for psql: it goes from database to database.
    pub(crate) fn text(&self) -> String {
        let part = |part: &Part| {
            // In psql's connection string a quote and a backslash are escaped.
            let value = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
            format!(
                "\\connect \"host='{}' port={} dbname='{}'\"\n{}",
                value(&part.host).replace('"', "\"\""),
                part.port,
                value(&part.database).replace('"', "\"\""),
                part.sql
            )
        };
        let parts: Vec<String> = self.parts.iter().map(part).collect();
        parts.join("\n")
    }

    /// Runs it with psql, each database in one transaction, as whom psql's own variables and files say.
    pub(crate) fn apply(&self) -> Result<(), Failure> {
        self.parts.iter().try_for_each(Part::apply)
    }

    /// Takes the password back.
    pub(crate) fn discard(&self) {
        // What cannot be deleted is the password of a role that does not exist.
        let _ = fs::remove_file(&self.password_file);
    }
}

impl Part {
    fn apply(&self) -> Result<(), Failure> {
        let mut psql = Command::new("psql")
            .args([
                "--no-psqlrc",
                "--quiet",
                "--single-transaction",
                "--no-password",
            ])
            .args(["--set", "ON_ERROR_STOP=1", "--host", &self.host])
            .args(["--port", &self.port.to_string(), "--dbname", &self.database])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Failure::Psql)?;
        if let Some(mut stdin) = psql.stdin.take() {
            // When psql has gone already it says why.
            let _ = stdin.write_all(self.sql.as_bytes());
        }
        let done = psql.wait_with_output().map_err(Failure::Psql)?;
        if done.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&done.stderr);
        // psql may quote the statement, which holds the verifier.
        let reason = said.lines().find(|line| !line.contains("SCRAM-SHA-256"));
        Err(Failure::NotApplied {
            database: self.database.clone(),
            reason: reason.unwrap_or("psql failed").to_owned(),
        })
    }
}
