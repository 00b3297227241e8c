//! Statements that try to get out of what a token is confined to.

use end_to_end::{Answer, Server, Token};
use serde_json::json;

use crate::world::{current_user, three_databases};

/// Asserts that a statement is refused, and that the answer does not tell what it was after.
fn refuses(server: &Server, token: &Token, hostile: &str) {
    refused(&server.query(token, hostile), hostile);
}

fn refused(answer: &Answer, hostile: &str) {
    assert!(answer.is_error, "{hostile}: {}", answer.text);
    assert!(
        !answer.text.contains("canary"),
        "{hostile}: {}",
        answer.text
    );
}

#[test]
fn a_set_role_cannot_be_left_by_any_statement() {
    let mut world = three_databases();
    let admin = world.observer();
    let (analyst, login) = (
        format!("{}_analyst", world.database.name),
        world.database.reader.role.clone(),
    );
    admin.run(&format!(
        "create role {analyst} nologin; grant {analyst} to {login};
         grant usage on schema shop to {analyst};
         create table shop.plain as select 7 as a; grant select on shop.plain to {analyst};
         create table shop.hidden as select 'canary' as secret; grant select on shop.hidden to {login}"
    ));
    let token = world.token(&["--set-role", &analyst]);
    let server = world.setup.start();
    for _ in 0..2 {
        assert!(current_user(&server, &token).text.contains(&analyst));
    }
    assert!(!server.query(&token, "SELECT a FROM shop.plain").is_error);
    server
        .query(&token, "SELECT * FROM shop.hidden")
        .assert_refused("42501");
    for hostile in [
        "SELECT set_config('role', 'none', false)",
        "SELECT pg_catalog.set_config('role', session_user, true), * FROM shop.hidden",
        "SELECT \"set_config\"('role', 'none', true)",
        "SELECT SET_CONFIG ('role', 'none', true)",
        "WITH x AS MATERIALIZED (SELECT set_config('role','none',true)) SELECT * FROM x, shop.hidden",
        "SELECT query_to_xml('select set_config(''role'', ''none'', true)', true, true, '')",
        "SELECT U&\"set\\005fconfig\"('role', 'none', true)",
        "RESET ROLE",
        "SET ROLE NONE",
        "SET LOCAL ROLE NONE",
        "SET SESSION AUTHORIZATION DEFAULT",
        "RESET ALL",
        "DISCARD ALL",
        "ROLLBACK; SELECT * FROM shop.hidden",
        "COMMIT",
        "SELECT 1; RESET ROLE",
        "DO $$ BEGIN RESET ROLE; END $$",
        "EXPLAIN ANALYZE SELECT * FROM shop.hidden",
        "SELECT * FROM pg_options_to_table(ARRAY['role=none']), shop.hidden",
        "SELECT 1 FROM shop.hidden WHERE current_setting('role') = 'none'",
    ] {
        refuses(&server, &token, hostile);
        assert!(
            current_user(&server, &token).text.contains(&analyst),
            "{hostile}"
        );
    }
    for (tool, arguments) in [
        ("count_rows", json!({ "table": "hidden", "schema": "shop" })),
        (
            "execute_explain",
            json!({ "query": "SELECT * FROM shop.hidden" }),
        ),
    ] {
        let answer = server.call(&token, tool, arguments);
        assert!(answer.is_error, "{tool}: {}", answer.text);
    }
    let schema = server.call(&token, "get_schema_info", json!({}));
    assert!(!schema.text.contains("hidden"), "{}", schema.text);

    // A role that does not exist, or is not granted, is an error; the login role is never used instead.
    for missing in ["no_such_role", world.database.owner.role.as_str()] {
        world.edit(&token, &["--set-role", missing]);
        let answer = current_user(&server, &token);
        assert!(
            answer.is_error && !answer.text.contains(&login),
            "{}",
            answer.text
        );
    }
    admin.run(&format!("revoke {analyst} from {login}"));
    world.edit(&token, &["--set-role", &analyst]);
    current_user(&server, &token).assert_refused("42501");
    admin.run(&format!("drop table shop.hidden, shop.plain; revoke all on schema shop from {analyst}; drop role {analyst}"));
}

#[test]
fn a_token_with_a_list_of_schemas_reads_no_table_of_another() {
    let mut world = three_databases();
    let admin = world.observer();
    let reader = world.database.reader.role.clone();
    admin.run(&format!(
        "create schema secret; grant usage on schema secret, public to {reader};
         create table secret.t as select 'canary' as word, 1 as a; analyze secret.t;
         create view public.over_secret as select * from secret.t;
         create view public.over_shop as select count(*) as n from shop.orders;
         create table public.own as select 1 as a;
         create table public.parent (a int) partition by list (a);
         create table public.part partition of public.parent for values in (1);
         grant select on secret.t, public.over_secret, public.over_shop, public.own, public.parent to {reader};
         grant select on secret.t to {reader}"
    ));
    let token = world.token(&["--schemas", "public,shop"]);
    let free = world.token(&[]);
    let server = world.setup.start();
    assert!(
        server
            .query(&free, "SELECT * FROM secret.t")
            .text
            .contains("canary")
    );
    for allowed in [
        "SELECT * FROM own",
        "SELECT * FROM public.own, shop.orders LIMIT 1",
        "SELECT * FROM over_shop",
        "SELECT * FROM parent",
        "SELECT 1",
        "SELECT relname FROM pg_class LIMIT 1",
        "SELECT table_name FROM information_schema.tables LIMIT 1",
        "WITH secret AS (SELECT 1 AS t) SELECT t FROM secret",
        "SELECT 'secret.t'",
    ] {
        let answer = server.query(&token, allowed);
        assert!(!answer.is_error, "{allowed}: {}", answer.text);
    }
    for hostile in [
        "SELECT * FROM secret.t",
        "TABLE secret.t",
        "SELECT * FROM \"secret\".\"t\"",
        "SELECT (SELECT word FROM secret.t)",
        "SELECT 1 WHERE EXISTS (SELECT FROM secret.t WHERE word LIKE 'c%')",
        "WITH x AS (SELECT * FROM secret.t) SELECT 1",
        "SELECT 1 FROM own LEFT JOIN secret.t USING (a)",
        "SELECT 1 FROM secret.t WHERE false",
        "SELECT CAST((SELECT word FROM secret.t) AS int)",
        "SELECT 1 / (SELECT 0 FROM secret.t)",
        "SELECT * FROM over_secret",
        "SELECT (r).word FROM (SELECT t AS r FROM secret.t t) q",
        "SELECT 1 UNION ALL SELECT a FROM secret.t",
        "SELECT most_common_vals, histogram_bounds FROM pg_stats",
        "SELECT * FROM pg_catalog.pg_stats_ext",
        "SELECT query FROM pg_stat_activity",
        "SELECT query_to_xml('select * from secret.t', true, true, '')",
        "SELECT set_config('mcp.schemas', '', true)",
        "SELECT 1; SELECT * FROM secret.t",
    ] {
        refuses(&server, &token, hostile);
    }
    server
        .query(&token, "SELECT * FROM secret.t")
        .assert_refused("may not use secret.t; it may use the schemas public, shop");
    for (tool, arguments) in [
        ("count_rows", json!({ "table": "t", "schema": "secret" })),
        (
            "count_rows",
            json!({ "table": "t", "schema": "secret", "estimate": true }),
        ),
        (
            "execute_explain",
            json!({ "query": "SELECT * FROM secret.t" }),
        ),
    ] {
        let answer = server.call(&token, tool, arguments);
        assert!(answer.is_error, "{tool}: {}", answer.text);
    }
    for (arguments, there) in [
        (json!({}), true),
        (json!({ "schema_name": "secret" }), false),
    ] {
        let answer = server.call(&token, "get_schema_info", arguments);
        assert!(!answer.text.contains("secret.t"), "{}", answer.text);
        assert_eq!(answer.text.contains("orders"), there, "{}", answer.text);
    }
    let read = |uri: &str| {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": { "uri": uri } });
        server.post(&token, &message).text()
    };
    assert!(read("pg://schema").contains("orders") && !read("pg://schema").contains("secret.t"));
    assert!(!read("pg://schema/secret/t").contains("word"));
    assert!(
        read("pg://schema/shop/orders").contains("placed")
            || read("pg://schema/shop/orders").contains("column")
    );
}

#[test]
fn a_set_role_is_not_left_by_a_statement_that_writes() {
    let mut world = three_databases();
    world.setup.config["tools"] =
        json!({ "enabled": ["execute_write", "open_session", "close_session"] });
    let admin = world.observer();
    let login = world.database.owner.role.clone();
    let clerk = format!("{}_clerk", world.database.name);
    admin.run(&format!(
        "create role {clerk} nologin; grant {clerk} to {login}; grant usage on schema shop to {clerk};
         create table shop.notes (a text); grant select, insert, update on shop.notes to {clerk};
         create table shop.hidden as select 'canary' as secret; grant all on shop.hidden to {login}"
    ));
    let token = world.token(&[
        "--database",
        "other",
        "--access",
        "write",
        "--set-role",
        &clerk,
    ]);
    let server = world.setup.start();
    let opened = server.call(&token, "open_session", json!({}));
    let session = opened.structured["session"].as_str().unwrap().to_owned();
    let within = |tool: &str, query: &str| -> Answer {
        server.call(&token, tool, json!({ "query": query, "session": session }))
    };
    let who =
        "SELECT current_user::text || ' ' || current_setting('default_transaction_read_only') AS u";
    // A prepared statement's rights are checked when it is run.
    for begin in [
        "SET my.name = 'x'",
        "PREPARE p AS SELECT * FROM shop.hidden",
    ] {
        assert!(!within("execute_write", begin).is_error);
    }
    let before = within("query_database", who);
    assert!(before.text.contains(&clerk), "{}", before.text);
    for hostile in [
        "SET ROLE none",
        "SET role = none",
        "SET SESSION role TO none",
        "SET LOCAL ROLE none",
        "RESET role",
        "RESET ALL",
        "SET SESSION AUTHORIZATION DEFAULT",
        "SET session_authorization = DEFAULT",
        "SET default_transaction_read_only = off",
        "UPDATE pg_settings SET setting = 'none' WHERE name = 'role'",
        "UPDATE pg_settings SET setting = 'off' WHERE name = 'default_transaction_read_only'",
        "INSERT INTO shop.notes SELECT set_config('role', 'none', false)",
        "INSERT INTO shop.notes SELECT secret FROM shop.hidden",
        "INSERT INTO shop.notes VALUES ('a') RETURNING (SELECT secret FROM shop.hidden)",
        "CREATE TEMP TABLE mine AS SELECT * FROM shop.hidden",
        "EXECUTE p",
        "DEALLOCATE ALL",
        "DISCARD ALL",
        "ALTER ROLE CURRENT_USER SET role = none",
        "CREATE FUNCTION shop.f() RETURNS int LANGUAGE sql AS 'select 1' SET role = none",
        "DO $$ BEGIN RESET ROLE; END $$",
        "COMMIT",
    ] {
        refused(&within("execute_write", hostile), hostile);
        let answer = server.call(&token, "execute_write", json!({ "query": hostile }));
        refused(&answer, hostile);
        assert_eq!(within("query_database", who).text, before.text, "{hostile}");
        within("query_database", "SELECT * FROM shop.hidden").assert_refused("42501");
        assert!(current_user(&server, &token).text.contains(&clerk));
    }

    // The role is set in each transaction. When it is gone, or another has its name, nobody else's rights are used.
    let login_is_never_used = |answer: &Answer| {
        refused(answer, "a role that has gone");
        assert!(!answer.text.contains(&login), "{}", answer.text);
    };
    let change = "INSERT INTO shop.notes VALUES ('a')";
    assert!(!within("execute_write", change).is_error);
    admin.run(&format!("revoke {clerk} from {login}"));
    login_is_never_used(&within("query_database", who));
    login_is_never_used(&within("execute_write", change));
    login_is_never_used(&current_user(&server, &token));
    admin.run(&format!(
        "grant {clerk} to {login}; alter role {clerk} rename to {clerk}_before"
    ));
    login_is_never_used(&within("execute_write", change));
    login_is_never_used(&current_user(&server, &token));
    admin.run(&format!(
        "create role {clerk} nologin; grant {clerk} to {login}; grant usage on schema shop to {clerk}"
    ));
    refused(
        &within("execute_write", change),
        "another role of the same name",
    );
    assert!(current_user(&server, &token).text.contains(&clerk));
    admin.run(&format!(
        "drop owned by {clerk}, {clerk}_before; drop role {clerk}, {clerk}_before"
    ));
    login_is_never_used(&current_user(&server, &token));
}
