//! A role of a token's own, with no more rights than the token needs: writes the SQL that makes it,
//! and runs that.

use std::{
    collections::HashSet,
    ffi::OsString,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use postgres_protocol::password::scram_sha_256;
use server_config::{Config, Database};
use token_store::{Access, Draft, PasswordSource, Policy, Role, RoleName, Secret, Token};

use crate::{failure::Failure, interrupted::Deferred, json::stamp, text};

/// The schema that a token without a list of schemas gets.
const USUAL_SCHEMA: &str = "public";

/// The SQL that makes a role, and what exists of that role so far.
///
/// If this is dropped without [`keep`](Self::keep), the password is removed: a command that fails
/// leaves none behind.
pub(crate) struct Script {
    role: String,
    parts: Vec<Part>,
    /// How many parts have been run.
    done: usize,
    /// PostgreSQL's warnings so far, such as of rights that it could not grant.
    warnings: Vec<String>,
    password: PasswordFile,
}

/// What was made for a password; removed on drop.
#[derive(Default)]
struct PasswordFile {
    folder: Option<PathBuf>,
    file: Option<PathBuf>,
}

/// The SQL to run in one database.
struct Part {
    /// Where it is, as a connection string.
    connection: String,
    database: String,
    /// Makes the role, which belongs to a whole server.
    creates: bool,
    sql: String,
}

/// Gives a new token a role of its own: writes its password into a file beside the token file,
/// names both in the token's entry, and writes the SQL.
pub(crate) fn prepare(
    draft: &mut Draft,
    token: &Arc<Token>,
    config: &Config,
    password: &Secret,
) -> Result<(Arc<Token>, Script), Failure> {
    let name = name(token);
    let path = password_path(&config.token_file, &name)
        .map_err(|error| Failure::Password(config.token_file.clone(), error))?;
    let mut policy = token.policy.read();
    let named = policy.set("role.user", Some(&name));
    named.map_err(|_| Failure::RoleName)?;
    // A path that is not UTF-8 is refused, like any other that the entry cannot hold.
    policy.set(
        "role.password_file",
        Some(path.to_str().unwrap_or_default()),
    )?;
    let password_file =
        PasswordFile::write(&path, password).map_err(|error| Failure::Password(path, error))?;
    let changed = draft.change(&token.id, |token| token.policy = (&policy).into());
    let token = changed.unwrap_or_else(|| Arc::clone(token));
    let script = Script {
        parts: parts(&token, &name, config, password),
        role: name,
        done: 0,
        warnings: Vec::new(),
        password: password_file,
    };
    Ok((token, script))
}

/// Returns the role that was made for a token of this file, recognized by its password being where [`prepare`] puts it.
fn made_for(token: &Token, token_file: &Path) -> Option<(RoleName, PathBuf)> {
    let Some(Role::Login(login)) = token.policy.read().role else {
        return None;
    };
    let Some(PasswordSource::File(password)) = login.password else {
        return None;
    };
    let own = password_path(token_file, login.user.as_str()).ok()?;
    (own == Path::new(password.as_str())).then_some((login.user, own))
}

/// Says what is left to do after a token was removed whose role was made for it.
pub(crate) fn left_behind(token: &Token, token_file: &Path) -> Option<String> {
    let (role, password) = made_for(token, token_file)?;
    Some(format!(
        "the role {role} stays in PostgreSQL: run `DROP OWNED BY {role}` in each of its databases, then `DROP ROLE {role}`, and delete {}",
        text::printable(&password.to_string_lossy())
    ))
}

/// Says what is left to do after a token was changed: if it no longer uses the role that was made
/// for it, if that role's expiry or rights have changed, or if its new role needs a password.
pub(crate) fn left_to_do(before: &Token, now: &Token, token_file: &Path) -> Vec<String> {
    let Some((role, _)) = made_for(now, token_file) else {
        let behind = match made_for(before, token_file) {
            Some((role, password)) if logs_in_as(now, &role) => Some(format!(
                "the password of {role} that was made for it is not read any more: delete {}",
                text::printable(&password.to_string_lossy())
            )),
            _ => left_behind(before, token_file),
        };
        let needed = without_password(before, now);
        return behind.into_iter().chain(needed).collect();
    };
    let has_other_end = before.expires_at != now.expires_at;
    let rights = |token: &Token| {
        let Policy {
            access,
            schemas,
            limits,
            ..
        } = token.policy.read();
        (token.databases.clone(), access, schemas, limits.connections)
    };
    let end = has_other_end.then(|| {
        format!(
            "the role {role} ends as it was made: run `ALTER ROLE {role} VALID UNTIL '{}'`",
            valid_until(now)
        )
    });
    let granted = (rights(before) != rights(now)).then(|| {
        format!("the role {role} has the rights and the connections that it was made with: grant it what the token has now, and revoke the rest")
    });
    end.into_iter().chain(granted).collect()
}

fn logs_in_as(token: &Token, role: &RoleName) -> bool {
    matches!(token.policy.read().role, Some(Role::Login(login)) if login.user == *role)
}

/// Warns if the login changed and has no password.
fn without_password(before: &Token, now: &Token) -> Option<String> {
    let (Some(Role::Login(former)), Some(Role::Login(login))) =
        (before.policy.read().role, now.policy.read().role)
    else {
        return None;
    };
    let lacks = former.user != login.user && former.password.is_some() && login.password.is_none();
    lacks.then(|| {
        format!(
            "the password of {} is not that of {role}: if {role} needs one, run `mcp-token edit {} --role-password-file FILE`, or `--role-password-env VARIABLE`",
            former.user, now.id, role = login.user
        )
    })
}

/// A name that PostgreSQL needs no quotes for, and that nothing else has.
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

/// How many passwords are reported one by one.
const MOST_UNCLAIMED: usize = 100;

/// Finds passwords of roles that were made for tokens that do not exist, or no longer do.
pub(crate) fn unclaimed<'a>(
    token_file: &Path,
    tokens: impl Iterator<Item = &'a Token>,
) -> Vec<PathBuf> {
    let claimed = tokens.filter_map(|token| Some(made_for(token, token_file)?.1));
    let claimed: HashSet<PathBuf> = claimed.collect();
    let there = folder(token_file).and_then(fs::read_dir);
    let paths = there.into_iter().flatten().flatten();
    let mut unclaimed: Vec<PathBuf> = paths
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|kind| kind == KIND))
        .filter(|path| !claimed.contains(path))
        .take(MOST_UNCLAIMED)
        .collect();
    unclaimed.sort();
    unclaimed
}

/// The extension of password files.
const KIND: &str = "password";

fn password_path(token_file: &Path, role: &str) -> io::Result<PathBuf> {
    Ok(folder(token_file)?.join(format!("{role}.{KIND}")))
}

fn folder(token_file: &Path) -> io::Result<PathBuf> {
    let mut folder = std::path::absolute(token_file)?.into_os_string();
    folder.push(".roles");
    Ok(folder.into())
}

impl PasswordFile {
    /// Makes the file, which must not exist: it would be another role's.
    fn write(path: &Path, password: &Secret) -> io::Result<Self> {
        let mut made = Self::default();
        if let Some(folder) = path.parent() {
            match DirBuilder::new().mode(0o700).create(folder) {
                Ok(()) => made.folder = Some(folder.to_owned()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        made.file = Some(path.to_owned());
        writeln!(file, "{}", password.expose())?;
        file.sync_all()?;
        Ok(made)
    }

    fn keep(&mut self) {
        (self.folder, self.file) = (None, None);
    }
}

impl Drop for PasswordFile {
    fn drop(&mut self) {
        // If it cannot be deleted, it is the password of a role that does not exist.
        if let Some(file) = &self.file {
            let _ = fs::remove_file(file);
        }
        // The file may hold another role's password by now; then it stays.
        if let Some(folder) = &self.folder {
            let _ = fs::remove_dir(folder);
        }
    }
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
    let mut seen = Vec::new();
    let mut parts = Vec::new();
    for database in &mine {
        let creates = !seen.contains(&hosts(database));
        let mut sql = String::new();
        if creates {
            seen.push(hosts(database));
            let there = mine.iter().filter(|other| hosts(other) == hosts(database));
            let connections = there.map(|database| connections(&policy, database)).sum();
            sql.push_str(&create(token, policy.access, role, connections, password));
        }
        sql.push_str(&grants(&policy, role, database));
        parts.push(Part {
            connection: connection(database),
            database: database.database.clone(),
            creates,
            sql,
        });
    }
    parts
}

/// Names the server of a database: its hosts and their ports, in the order in which they are tried.
fn hosts(database: &Database) -> (String, String) {
    let (mut hosts, mut ports) = (database.host.clone(), database.port.to_string());
    for other in &database.other_hosts {
        hosts.push_str(&format!(",{}", other.name));
        ports.push_str(&format!(",{}", other.port));
    }
    (hosts, ports)
}

/// Writes a connection string that says where a database is, without a role or a password.
fn connection(database: &Database) -> String {
    let value = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
    let (hosts, ports) = hosts(database);
    let mut text = format!(
        "host='{}' port='{ports}' dbname='{}'",
        value(&hosts),
        value(&database.database)
    );
    if !database.other_hosts.is_empty() {
        // A role cannot be made on a standby, whichever host the server itself wants.
        text.push_str(" target_session_attrs='read-write'");
    }
    text
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
    // Only the SCRAM verifier is sent, so that PostgreSQL's logs never contain the password.
    let verifier = scram_sha_256(password.expose().as_bytes());
    let until = valid_until(token);
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

fn valid_until(token: &Token) -> String {
    token.expires_at.map_or("infinity".into(), stamp)
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
    /// The whole SQL for psql: it goes from database to database, as the role that psql has logged
    /// in as, and ends at the first error.
    pub(crate) fn text(&self) -> String {
        let part = |part: &Part| {
            format!(
                "\\connect -reuse-previous=on \"{}\"\nBEGIN;\n{}COMMIT;\n",
                part.connection.replace('"', "\"\""),
                part.sql
            )
        };
        let parts: Vec<String> = self.parts.iter().map(part).collect();
        format!("\\set ON_ERROR_STOP on\n{}", parts.join("\n"))
    }

    /// Runs it with psql, each database in one transaction, with the login that psql's own
    /// variables and files name.
    pub(crate) fn apply(&mut self, interruption: &Deferred) -> Result<(), Failure> {
        for part in &self.parts {
            if interruption.was_asked() {
                return Err(Failure::Interrupted);
            }
            let done = psql(&part.connection, &part.sql, Some(interruption))?;
            let warnings = done.map_err(|reason| match interruption.was_asked() {
                true => Failure::Interrupted,
                false => Failure::NotApplied {
                    database: part.database.clone(),
                    reason,
                },
            })?;
            self.warnings.extend(warnings);
            self.done += 1;
        }
        Ok(())
    }

    /// PostgreSQL's warnings, line by line.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = String> {
        self.warnings.iter().map(|line| text::printable(line))
    }

    /// Keeps the password.
    pub(crate) fn keep(mut self) {
        self.password.keep();
    }

    /// Removes whatever was made; gives the role's name if the role is still there.
    pub(crate) fn undo(self) -> Option<String> {
        let mut is_gone = true;
        // Each server's last database first, as the role can only be dropped when nothing is
        // granted to it.
        for part in self.parts[..self.done].iter().rev() {
            let role = &self.role;
            let mut sql = format!("DROP OWNED BY {role};\n");
            if part.creates {
                sql.push_str(&format!("DROP ROLE {role};\n"));
            }
            is_gone &= matches!(psql(&part.connection, &sql, None), Ok(Ok(_)));
        }
        (!is_gone).then(|| self.role.clone())
    }
}

/// psql's variable for the connect time-out in seconds, and its value unless it is set: psql itself
/// would wait for ever.
const CONNECT_TIMEOUT: &str = "PGCONNECT_TIMEOUT";

fn connect_timeout() -> OsString {
    std::env::var_os(CONNECT_TIMEOUT).unwrap_or_else(|| "10".into())
}

/// Runs SQL in one transaction, until it is done or somebody asks for the end; gives PostgreSQL's
/// warnings. The inner error is what psql said.
fn psql(
    connection: &str,
    sql: &str,
    interruption: Option<&Deferred>,
) -> Result<Result<Vec<String>, String>, Failure> {
    let mut psql = Command::new("psql")
        .args(["--no-psqlrc", "--quiet", "--single-transaction"])
        .args(["--no-password", "--set", "ON_ERROR_STOP=1"])
        // One line for each message of PostgreSQL's.
        .args(["--set", "VERBOSITY=terse"])
        .args(["--dbname", connection])
        .env(CONNECT_TIMEOUT, connect_timeout())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(Failure::Psql)?;
    let _told = interruption.map(|interruption| interruption.tell(&psql));
    if let Some(mut stdin) = psql.stdin.take() {
        // If psql has ended already, it says why.
        let _ = stdin.write_all(sql.as_bytes());
    }
    let done = psql.wait_with_output().map_err(Failure::Psql)?;
    let said = String::from_utf8_lossy(&done.stderr);
    // psql may quote the statement, which holds the verifier.
    let said = said.lines().filter(|line| !line.contains("SCRAM-SHA-256"));
    let mut said: Vec<String> = said.map(str::to_owned).collect();
    if done.status.success() {
        return Ok(Ok(said));
    }
    // The error comes last, after the warnings. Without a connection psql itself says why, in
    // several lines.
    let is_of_psql = said.first().is_some_and(|line| line.starts_with("psql:"));
    said.truncate(if is_of_psql { 1 } else { said.len() });
    Ok(Err(said.pop().unwrap_or_else(|| "psql failed".into())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_role_of_several_hosts_is_made_on_the_one_that_takes_writes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.yaml");
        let text = r#"databases: [
            {name: one, host: db1, user: u, database: 'it''s = \ "x"'},
            {name: many, host: 'db1,db2:5433', user: u, database: shop, target_session_attrs: standby}]"#;
        fs::write(&file, text).unwrap();
        let sources = server_config::Sources {
            config_file: Some(file),
            ..Default::default()
        };
        let config = Config::load(&sources).unwrap();
        let connections: Vec<String> = config.databases.iter().map(connection).collect();
        assert_eq!(
            connections,
            [
                r#"host='db1' port='5432' dbname='it\'s = \\ "x"'"#,
                "host='db1,db2' port='5432,5433' dbname='shop' target_session_attrs='read-write'",
            ]
        );
    }
}
