//! What an agent may try, through the real endpoint and with every kind of role: nothing changes, whatever is sent.
//!
//! The probes are judged twice. The answer must say that the statement was refused or failed, and a fingerprint of
//! everything that a statement could change, taken by another connection, must be the same as before.
#![allow(clippy::unwrap_used)]

mod fingerprint;
mod legitimate;
mod mutants;
mod probes;

use end_to_end::{Answer, Database, Login, Server, Setup, Sql, Token};

use serde_json::json;

use fingerprint::Fingerprint;

/// A server with one token for each kind of role, and a database full of things that could be changed.
struct Target {
    server: Server,
    tokens: Vec<(&'static str, Token)>,
    fingerprint: Fingerprint,
    observer: Sql,
    _setup: Setup,
    database: Database<'static>,
}

impl Target {
    fn new() -> Self {
        let database = Database::fresh();
        let superuser = database.role("super", "superuser");
        let observer = database.superuser();
        let folder = tempfile::Builder::new()
            .prefix("mcp-hostile-")
            .tempdir_in("/tmp")
            .unwrap();
        // PostgreSQL's own user may write here, so that a file would appear if one could.
        std::fs::set_permissions(
            folder.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o777),
        )
        .unwrap();
        prepare(&observer, &database.reader, &database.owner);
        let roles: [(&'static str, &Login); 3] = [
            ("superuser", &superuser),
            ("owner", &database.owner),
            ("reader", &database.reader),
        ];
        let mut setup = Setup::new(roles.map(|(name, login)| database.entry(name, login)));
        let tokens = roles
            .map(|(name, _)| (name, setup.add_token_for(name)))
            .into();
        let server = setup.start();
        Self {
            server,
            tokens,
            fingerprint: Fingerprint::new(folder, &database.name),
            observer,
            _setup: setup,
            database,
        }
    }

    /// Replaces the placeholders in a probe.
    fn fill(&self, sql: &str) -> String {
        sql.replace("{folder}", &self.fingerprint.folder().display().to_string())
            .replace("{victim}", &self.fingerprint.victim_pid())
            .replace("{database}", &self.database.name)
    }

    /// Sends one statement as each role, through each tool that takes one; returns what was wrong with the outcome.
    fn attack(&self, sql: &str) -> Vec<String> {
        let sql = self.fill(sql);
        let mut findings = Vec::new();
        let mut before = self.fingerprint.take(&self.observer);
        for (role, token) in &self.tokens {
            for tool in ["query_database", "execute_explain"] {
                let answer = self.server.call(token, tool, json!({ "query": sql }));
                if !answer.is_error {
                    findings.push(format!(
                        "{role} was answered by {tool}: {sql}\n    {}",
                        answer.text
                    ));
                }
            }
            let after = self.fingerprint.take(&self.observer);
            findings.extend(
                before
                    .differences(&after)
                    .map(|what| format!("{role} changed {what}: {sql}")),
            );
            before = after;
        }
        findings
    }

    /// Sends many disguises of one statement as the superuser, and takes one fingerprint after them all. Some may be
    /// answered: a subquery whose result is not needed is never run.
    fn attack_in_disguise(&self, sql: &str) -> Vec<String> {
        let (_, superuser) = &self.tokens[0];
        let before = self.fingerprint.take(&self.observer);
        let queries = mutants::of(sql)
            .into_iter()
            .map(|sql| ("query_database", json!({ "query": self.fill(&sql) })));
        let plans = mutants::of(sql)
            .into_iter()
            .map(|sql| ("execute_explain", json!({ "query": self.fill(&sql) })));
        let counts = mutants::conditions(sql).into_iter().map(|sql| {
            let table = json!({ "table": "plain", "schema": "target", "where": self.fill(&sql) });
            ("count_rows", table)
        });
        let calls: Vec<_> = queries.chain(plans).chain(counts).collect();
        std::thread::scope(|scope| {
            for part in calls.chunks(calls.len().div_ceil(4)) {
                scope.spawn(move || {
                    for (tool, arguments) in part {
                        self.server.call(superuser, tool, arguments.clone());
                    }
                });
            }
        });
        let after = self.fingerprint.take(&self.observer);
        before
            .differences(&after)
            .map(|what| format!("a disguise changed {what}: {sql}"))
            .collect()
    }

    fn ask(&self, role: &str, sql: &str) -> Answer {
        let (_, token) = self.tokens.iter().find(|(name, _)| *name == role).unwrap();
        self.server.query(token, sql)
    }
}

/// Plants what attacks aim at: tables, sequences, functions that write, large objects, extensions, a foreign server.
fn prepare(superuser: &Sql, reader: &Login, owner: &Login) {
    superuser.run(include_str!("prepare.sql"));
    for extension in [
        "dblink",
        "postgres_fdw",
        "adminpack",
        "lo",
        "tablefunc",
        "pg_trgm",
        "pg_stat_statements",
    ] {
        superuser.run(&format!(
            "do $$ begin
                 if exists (select from pg_available_extensions where name = '{extension}') then
                     create extension if not exists {extension};
                 end if;
             end $$"
        ));
    }
    for role in [&reader.role, &owner.role] {
        superuser.run(&format!(
            "grant usage on schema target to {role};
             grant select on all tables in schema target to {role};
             grant usage on all sequences in schema target to {role}"
        ));
    }
    superuser.run(&format!(
        "grant all on schema target to {0};
         grant all on all tables in schema target to {0};
         grant all on all sequences in schema target to {0};
         alter table target.plain owner to {0};
         alter table target.gin owner to {0}",
        owner.role
    ));
}

#[test]
fn no_statement_changes_anything_whoever_sends_it() {
    let target = Target::new();
    let statements = probes::PROBES.iter().chain(probes::NO_QUERIES);
    let findings: Vec<String> = statements.flat_map(|sql| target.attack(sql)).collect();
    assert!(
        findings.is_empty(),
        "{} findings:\n{}",
        findings.len(),
        findings.join("\n")
    );
}

#[test]
fn no_disguise_of_a_statement_helps_it() {
    let target = Target::new();
    let findings: Vec<String> = probes::PROBES
        .iter()
        .flat_map(|sql| target.attack_in_disguise(sql))
        .collect();
    assert!(
        findings.is_empty(),
        "{} findings:\n{}",
        findings.len(),
        findings.join("\n")
    );
}

#[test]
fn names_of_tables_are_names_and_nothing_else() {
    let target = Target::new();
    let (_, superuser) = &target.tokens[0];
    let before = target.fingerprint.take(&target.observer);
    for name in [
        "plain; DROP TABLE target.plain",
        "plain\"; DROP TABLE target.plain; --",
        "plain WHERE target.writes() = 1",
        "(DELETE FROM target.plain RETURNING 1)",
        "plain' OR pg_advisory_lock(1) IS NULL --",
        "\"",
        "",
        "\u{0}",
    ] {
        for (tool, arguments) in [
            ("count_rows", json!({ "table": name, "schema": "target" })),
            ("count_rows", json!({ "table": "plain", "schema": name })),
            (
                "count_rows",
                json!({ "table": name, "schema": "target", "estimate": true }),
            ),
        ] {
            let answer = target.server.call(superuser, tool, arguments.clone());
            assert!(answer.is_error, "{tool} {arguments}: {}", answer.text);
        }
        for key in ["schema_name", "table_name", "search"] {
            let mut arguments = json!({});
            arguments[key] = json!(name);
            target.server.call(superuser, "get_schema_info", arguments);
        }
    }
    let after = target.fingerprint.take(&target.observer);
    let changed: Vec<_> = before.differences(&after).collect();
    assert!(changed.is_empty(), "changed {changed:?}");
}

#[test]
fn every_legitimate_form_of_a_query_is_answered() {
    let target = Target::new();
    let mut refused = Vec::new();
    for sql in legitimate::QUERIES {
        for role in ["reader", "owner"] {
            let answer = target.ask(role, sql);
            // 0A000: this build of PostgreSQL does not have it, such as XML.
            if answer.is_error && !answer.text.contains("0A000") {
                refused.push(format!("{role}: {sql}\n    {}", answer.text));
            }
        }
    }
    assert!(
        refused.is_empty(),
        "{} refused:\n{}",
        refused.len(),
        refused.join("\n")
    );
}

#[test]
fn a_query_that_would_not_end_is_ended() {
    let database = Database::fresh();
    let mut setup = Setup::new([database.entry("shop", &database.reader)]);
    setup.config["limits"] = json!({ "statement_timeout": "500ms" });
    let token = setup.add_token();
    let server = setup.start();
    for sql in legitimate::ENDLESS {
        let began = std::time::Instant::now();
        let answer = server.query(&token, sql);
        assert!(answer.is_error, "{sql}: {}", answer.text);
        assert!(answer.text.contains("57014"), "{sql}: {}", answer.text);
        assert!(
            began.elapsed().as_secs_f64() < 4.0,
            "{sql} took {:?}",
            began.elapsed()
        );
        assert_eq!(server.query(&token, "SELECT 1").value(), 1, "after {sql}");
    }
}

#[test]
fn a_result_that_is_too_large_is_cut_and_costs_little_memory() {
    let database = Database::fresh();
    let mut setup = Setup::new([database.entry("shop", &database.reader)]);
    let token = setup.add_token();
    let server = setup.start();
    server.query(&token, "SELECT 1");
    let before = resident_kib(server.pid());
    for (sql, limit) in legitimate::LARGE {
        let answer = server.call(
            &token,
            "query_database",
            json!({ "query": sql, "limit": limit }),
        );
        assert!(
            answer.is_error || answer.structured["truncated"] == true,
            "{sql} came whole: {} bytes",
            answer.text.len()
        );
        assert!(
            answer.text.len() < 3 << 20,
            "{sql}: {} bytes",
            answer.text.len()
        );
        assert_eq!(server.query(&token, "SELECT 1").value(), 1, "after {sql}");
    }
    let grown = resident_kib(server.pid()).saturating_sub(before);
    assert!(grown < 64 * 1024, "the server has grown by {grown} KiB");
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
