//! Roles of tokens' own: what `add --create-role` prints works in psql unchanged, and `--apply` finishes what it began
//! or takes it back.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

use end_to_end::{Database, Login, Setup, binaries};
use serde_json::{Value, json};

/// A name that must be quoted in most grammars.
const ODD: &str = "we=ird '\\ \"x";

struct World {
    database: Database<'static>,
    setup: Setup,
    odd: String,
}

impl World {
    /// With a second database of such a name, which has no schema `shop`.
    fn new() -> Self {
        let database = Database::fresh();
        let odd = format!("{ODD} {}", database.name);
        let admin = database.superuser();
        admin.run(&format!("create database {}", quoted(&odd)));
        let entry = database.entry("shop", &database.reader);
        let mut other = database.entry("odd", &database.reader);
        other["database"] = json!(odd);
        let setup = Setup::new([entry, other]);
        Self {
            database,
            setup,
            odd,
        }
    }

    fn roles(&self) -> String {
        let made = "select count(*) from pg_roles where rolname like 'mcp\\_token\\_%'";
        self.database.superuser().value(made)
    }

    fn exists(&self, role: &str) -> bool {
        let count = format!("select count(*) from pg_roles where rolname = '{role}'");
        self.database.superuser().value(&count) == "1"
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let admin = self.database.superuser();
        admin.run(&format!(
            "drop database if exists {} with (force)",
            quoted(&self.odd)
        ));
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

const ADD: [&str; 6] = [
    "add",
    "--expiry",
    "90d",
    "--create-role",
    "--database",
    "odd",
];

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// One test, because role names are made from the current second and the tests of this file share a server.
#[test]
fn a_role_of_a_tokens_own_is_made_whole_or_not_at_all() {
    let world = World::new();
    let admin = world.database.role("admin", "superuser");
    a_printed_script_runs_as_whom_psql_was_told_to_be_and_ends_at_its_first_mistake(&world, &admin);
    what_was_applied_before_a_failure_is_taken_back(&world, &admin);
    what_cannot_be_granted_is_told(&world);
}

fn a_printed_script_runs_as_whom_psql_was_told_to_be_and_ends_at_its_first_mistake(
    world: &World,
    admin: &Login,
) {
    let printed = world.setup.mcp_token(&[&ADD[..], &["--json"]].concat());
    assert_eq!(printed.code, 0, "{}", printed.stderr);
    let printed: Value = serde_json::from_str(&printed.stdout).unwrap();
    let role = printed["policy"]["role"]["user"].as_str().unwrap();
    let script = world
        .setup
        .file("role.sql", printed["create_role"].as_str().unwrap());
    let run = || {
        let mut psql = Command::new("psql");
        psql.args(["-X", "-q", "-h", &world.database.postgres.host, "-p"])
            .arg(world.database.postgres.port.to_string())
            .args(["-U", &admin.role, "-d", "postgres", "-f"])
            .arg(&script)
            .env_remove("PGUSER")
            .env("PGPASSWORD", &admin.password);
        psql.output().unwrap()
    };
    let done = run();
    assert!(done.status.success(), "{}", said(&done));
    assert!(world.exists(role));
    // A role that already exists has a password that this token does not know: nothing may be granted to it.
    let again = run();
    assert_eq!(again.status.code(), Some(3), "{}", said(&again));
    assert_eq!(said(&again).matches("ERROR").count(), 1, "{}", said(&again));
    let odd = world.database.postgres.superuser(&world.odd);
    odd.run(&format!("drop owned by {role}; drop role {role}"));
}

fn what_was_applied_before_a_failure_is_taken_back(world: &World, admin: &Login) {
    let before = world.roles();
    let apply = |options: &[&str]| {
        let words = [&ADD[..], &["--apply"], options].concat();
        let mut command = world.setup.command("mcp-token", &words);
        command
            .env("PGUSER", &admin.role)
            .env("PGPASSWORD", &admin.password);
        binaries::run(command)
    };
    // The schema is in the first database only.
    let failed = apply(&["--database", "shop", "--schemas", "shop"]);
    assert_eq!(failed.code, 1);
    let expected = "schema \"shop\" does not exist; the token was removed again\n";
    assert!(failed.stderr.ends_with(expected), "{}", failed.stderr);
    assert_eq!(world.roles(), before);
    let listed = world.setup.mcp_token(&["list"]);
    // Only the token whose role was printed.
    assert!(listed.stdout.contains("Total tokens: 1"));

    // A token that could not be shown is of use to nobody: it and its role are taken back.
    let full = std::fs::File::options().write(true).open("/dev/full");
    let words = [&ADD[..], &["--database", "shop", "--apply"]].concat();
    let mut command = world.setup.command("mcp-token", &words);
    command
        .env("PGUSER", &admin.role)
        .env("PGPASSWORD", &admin.password)
        .stdout(full.unwrap());
    let unseen = command.output().unwrap();
    assert_eq!(unseen.status.code(), Some(1), "{}", said(&unseen));
    let told = said(&unseen).ends_with("; the token was removed again\n");
    assert!(told, "{}", said(&unseen));
    assert_eq!(world.roles(), before);

    let made = apply(&["--json"]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    let role = made["policy"]["role"]["user"].as_str().unwrap();
    assert!(world.exists(role));
    let odd = world.database.postgres.superuser(&world.odd);
    odd.run(&format!("drop owned by {role}; drop role {role}"));
}

fn what_cannot_be_granted_is_told(world: &World) {
    // It may make roles, and has rights of its own that it may not grant.
    let maker = world.database.role("maker", "createrole");
    let admin = world.database.superuser();
    let (database, role) = (quoted(&world.database.name), &maker.role);
    admin.run(&format!(
        "grant connect on database {database} to {role}; grant usage on schema shop to {role}"
    ));
    let apply = || {
        let words = ["add", "--expiry", "90d", "--create-role", "--apply"];
        let words = [&words[..], &["--schemas", "shop", "--json"]].concat();
        let mut command = world.setup.command("mcp-token", &words);
        command
            .env("PGUSER", &maker.role)
            .env("PGPASSWORD", &maker.password);
        binaries::run(command)
    };
    let refused = apply();
    assert_eq!(refused.code, 1);
    // Only the error is told, and no warning before it.
    let reason = "ERROR:  permission denied for ";
    assert!(refused.stderr.contains(reason), "{}", refused.stderr);
    assert!(!refused.stderr.contains("WARNING"), "{}", refused.stderr);
    admin.run(&format!(
        "grant select on all tables in schema shop to {role}"
    ));
    let made = apply();
    assert_eq!(made.code, 0, "{}", made.stderr);
    let warned = "WARNING:  no privileges were granted for \"shop\"";
    assert!(made.stderr.contains(warned), "{}", made.stderr);
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    let role = made["policy"]["role"]["user"].as_str().unwrap();
    admin.run(&format!("drop owned by {role}; drop role {role}"));
}
