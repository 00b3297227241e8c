//! Roles of a token's own, and what a token is told that it can do.

use end_to_end::{Token, World, list_tools};
use serde_json::{Value, json};

use crate::world::{current_user, three_databases};

#[test]
fn show_effective_tells_what_a_token_can_and_can_not_do() {
    let mut world = three_databases();
    world.setup.config["tools"] = json!({ "enabled": ["execute_write"] });
    let admin = world.observer();
    let reader = world.database.reader.role.clone();
    admin.run(&format!("create table public.own as select 1 as a; create table shop.hidden as select 1 as a; grant usage on schema public to {reader}; grant select on public.own to {reader}"));
    let token = world.token(&[
        "--tools",
        "query_database,count_rows",
        "--schemas",
        "shop,misspelt",
        "--rows",
        "7",
        "--concurrent",
        "1000",
        "--allow-from",
        "10.0.0.0/8",
        "--database",
        "shop",
    ]);
    let words = ["show", &token.id, "--effective"];
    let text = world.run(&words);
    for expected in [
        "Policy: access read; tools query_database, count_rows",
        "Tools: query_database, count_rows\n",
        "Tools that it can NOT use: get_schema_info, ",
        "Databases that it can NOT use: other, third\n",
        "rows 7; bytes 1048576; statement_timeout_ms 30000; concurrent 256; calls_per_minute unlimited; connections 4",
        "It can be used from 10.0.0.0/8 only",
        "shop.orders",
        "  It uses the schemas: shop\n",
        "  Schemas that it can NOT use: public\n",
        "  Schemas that it names and that do not exist: misspelt\n",
        "  It can NOT change any rows\n",
        "  It can NOT read 2 tables: public.own, shop.hidden\n",
    ] {
        assert!(text.contains(expected), "{expected} is not in:\n{text}");
    }
    assert!(text.contains(&format!("as {reader}:")), "{text}");
    // A reader that closes the pipe early is no error.
    let (reader_end, writer_end) = std::io::pipe().unwrap();
    drop(reader_end);
    let mut unread = world.setup.command("mcp-token", &words);
    let unread = unread.stdout(writer_end).output().unwrap();
    assert!(unread.status.success(), "{unread:?}");
    let json: Value =
        serde_json::from_str(&world.run(&[&words[..], &["--json"]].concat())).unwrap();
    assert_eq!(json["id"], token.id.as_str());
    assert_eq!(json["effective"]["limits"]["rows"], 7);
    assert_eq!(
        json["effective"]["databases_refused"],
        json!(["other", "third"])
    );
    assert_eq!(
        json["effective"]["databases"][0]["refused"],
        json!(["public.own", "shop.hidden"])
    );
    assert_eq!(
        json["effective"]["databases"][0]["schemas_missing"],
        json!(["misspelt"])
    );
    let owner = &world.database.owner;
    let password = world.setup.file("owner.password", &owner.password);
    let wide = ["--role", &owner.role, "--role-password-file"];
    world.edit(&token, &[&wide[..], &[password.to_str().unwrap()]].concat());
    world.edit(&token, &["--schemas", "default", "--tools", "default"]);
    world.edit(&token, &["--access", "write"]);
    admin.run("drop table public.own, shop.hidden");
    admin.run(&format!(
        "create view shop.grouped as select count(*) from shop.orders; create view shop.plain as select * from shop.orders; \
         create materialized view shop.kept as select 1 as a; grant all on shop.grouped, shop.plain, shop.kept to {}",
        owner.role
    ));
    let text = world.run(&words);
    let changes = text
        .lines()
        .find(|line| line.starts_with("  It changes rows of"));
    let changes = changes.unwrap_or_else(|| panic!("{text}"));
    assert!(
        changes.contains("shop.orders") && changes.contains("shop.plain"),
        "{changes}"
    );
    assert!(
        !changes.contains("shop.grouped") && !changes.contains("shop.kept"),
        "{changes}"
    );
    for expected in [
        "  There is no table that it can NOT read\n",
        "and not all statements of this token are read-only\n",
    ] {
        assert!(text.contains(expected), "{expected} is not in:\n{text}");
    }
    world.edit(&token, &["--set-role", "no_such_role"]);
    let said = world.setup.mcp_token(&words);
    assert_eq!(said.code, 1, "{}", said.stderr);
    for (expected, stream) in [
        (
            "Database shop can NOT be used: ERROR: the role \"no_such_role\"",
            &said.stdout,
        ),
        ("Limits: rows 7;", &said.stdout),
        (
            "error: databases that can NOT be used: shop\n",
            &said.stderr,
        ),
    ] {
        assert!(stream.contains(expected), "{expected} is not in:\n{stream}");
    }
    let said = world.setup.mcp_token(&[&words[..], &["--json"]].concat());
    assert_eq!(said.code, 1, "{}", said.stderr);
    let json: Value = serde_json::from_str(&said.stdout).unwrap();
    let problem = &json["effective"]["databases"][0]["problem"];
    assert!(problem.as_str().unwrap().contains("no_such_role"), "{json}");
    world.edit(&token, &["--role", "r", "--role-password-env", "NOT_SET"]);
    let said = world.setup.mcp_token(&words);
    assert_eq!(said.code, 1, "{}", said.stderr);
    let shows_entry = said.stdout.contains("password in $NOT_SET");
    assert!(shows_entry && said.stderr.contains("password"), "{said:?}");
    world.edit(&token, &["--role", "default"]);
    world.setup.expire_at(&token, 1_700_000_000);
    let text = world.run(&words);
    assert!(
        text.contains("It has expired and can NOT be used at all"),
        "{text}"
    );
    let said = world.setup.mcp_token(&["show", "nobody", "--effective"]);
    assert_eq!(said.code, 1, "{}", said.stderr);
    assert!(
        said.stderr.contains("no token has this id"),
        "{}",
        said.stderr
    );
}

#[test]
fn a_role_of_a_tokens_own_is_made_with_no_more_rights_than_it_needs() {
    use std::os::unix::fs::PermissionsExt;
    let world = three_databases();
    let admin = world.database.role("admin", "superuser");
    let words = [
        "add",
        "--expiry",
        "90d",
        "--schemas",
        "shop",
        "--connections",
        "2",
        "--database",
        "shop",
        "--create-role",
    ];
    let apply = |world: &World, password: &str| {
        let mut command = world
            .setup
            .command("mcp-token", &[&words[..], &["--apply"]].concat());
        command
            .env("PGUSER", &admin.role)
            .env("PGPASSWORD", password);
        end_to_end::binaries::run(command)
    };
    let failed = apply(&world, "wrong");
    assert_eq!(failed.code, 1);
    assert!(
        failed.stderr.contains("the token was removed again"),
        "{}",
        failed.stderr
    );
    assert!(world.run(&["list"]).contains("Total tokens: 0"));
    let roles = std::path::PathBuf::from(format!("{}.roles", world.setup.token_file().display()));
    assert!(!roles.exists());

    let said = apply(&world, &admin.password);
    assert_eq!(said.code, 0, "{}", said.stderr);
    let token = Token::read(&said.stdout);
    let role = format!("mcp_{}", token.id.replace('-', "_"));
    let file = roles.join(format!("{role}.password"));
    let password = std::fs::read_to_string(&file).unwrap();
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(!said.stdout.contains(password.trim()));
    let observer = world.observer();
    let attributes = format!(
        "select concat_ws(' ', rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls, rolinherit, rolconnlimit, rolvaliduntil > now() + interval '89 days', rolvaliduntil < now() + interval '91 days') from pg_roles where rolname = '{role}'"
    );
    assert_eq!(observer.value(&attributes), "f f f f f f 2 t t");
    let stored = format!(
        "select rolpassword like 'SCRAM-SHA-256$%' from pg_authid where rolname = '{role}'"
    );
    assert_eq!(observer.value(&stored), "t");
    let mut server = world.setup.start();
    server.keep_secret(password.trim());
    assert!(current_user(&server, &token).text.contains(&role));
    assert!(
        !server
            .query(&token, "SELECT * FROM orders LIMIT 1")
            .is_error
    );
    let rights = format!(
        "select count(*) from information_schema.role_table_grants where grantee = '{role}' and privilege_type <> 'SELECT'"
    );
    assert_eq!(observer.value(&rights), "0");

    // When the role is only printed, the same goes for another token, and nothing is made.
    let printed = world.run(&[&words[..], &["--access", "write", "--json"]].concat());
    let printed: Value = serde_json::from_str(&printed).unwrap();
    let sql = printed["create_role"].as_str().unwrap();
    let other = printed["policy"]["role"]["user"].as_str().unwrap();
    assert_ne!(other, role);
    for expected in [
        format!("CREATE ROLE {other} LOGIN NOSUPERUSER"),
        "CONNECTION LIMIT 2 VALID UNTIL '".into(),
        format!(
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA \"shop\" TO {other};"
        ),
        "PASSWORD 'SCRAM-SHA-256$".into(),
    ] {
        assert!(sql.contains(&expected), "{expected} is not in:\n{sql}");
    }
    let exists = format!("select count(*) from pg_roles where rolname = '{other}'");
    assert_eq!(observer.value(&exists), "0");
    let script = world.setup.file("role.sql", sql);
    let done = std::process::Command::new("psql")
        .args([
            "-X",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            &world.database.postgres.host,
            "-p",
            &world.database.postgres.port.to_string(),
        ])
        .args(["-d", "postgres", "-f", script.to_str().unwrap()])
        .env("PGUSER", &admin.role)
        .env("PGPASSWORD", &admin.password)
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    assert_eq!(observer.value(&exists), "1");
    drop(server);
    for role in [role.as_str(), other] {
        observer.run(&format!("drop owned by {role}; drop role {role}"));
    }
}

#[test]
fn a_token_logs_in_with_credentials_of_its_own_or_not_at_all() {
    let mut world = three_databases();
    let own = world.database.role("own", "");
    let (name, role) = (&world.database.name, &own.role);
    let admin = world.observer();
    admin.run(&format!("grant connect on database {name} to {role}"));
    let password = world
        .setup
        .file("own.password", &format!("{}\n", own.password));
    let password = password.to_str().unwrap().to_owned();
    let token = world.token(&["--role", &own.role, "--role-password-file", &password]);
    let mut server = world.setup.start();
    server.keep_secret(&own.password);
    assert!(current_user(&server, &token).text.contains(&own.role));
    let session = server.query(&token, "SELECT session_user::text");
    assert!(session.text.contains(&own.role));
    for (change, code) in [
        (["--role-password-file", "/nowhere/password"], 503),
        (["--role-password-env", "NOT_SET_ANYWHERE"], 503),
    ] {
        world.edit(&token, &change);
        let response = server.post(&token, &list_tools());
        assert_eq!(response.status, code, "{}", response.text());
        assert!(!response.text().contains("nowhere"), "{}", response.text());
    }
    // Without a password of its own none is used, least of all the configured role's.
    world.edit(&token, &["--role-password-env", "default"]);
    let answer = current_user(&server, &token);
    assert!(
        answer.is_error && answer.text.contains("28P01"),
        "{}",
        answer.text
    );
    world.edit(&token, &["--role", "default"]);
    assert!(
        current_user(&server, &token)
            .text
            .contains(&world.database.reader.role)
    );
}
