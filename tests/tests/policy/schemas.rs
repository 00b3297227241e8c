//! Ways around a token's list of schemas, other than naming a table.

use serde_json::json;

use crate::world::{begin_sleeping, three_databases, tools};

#[test]
fn a_list_of_schemas_is_not_got_around_by_what_tells_of_the_whole_database() {
    let mut world = three_databases();
    world.setup.config["tools"] = json!({ "enabled": ["top_queries", "analyze_health"] });
    let admin = world.observer();
    let reader = world.database.reader.role.clone();
    admin.run(&format!(
        "create schema secret; grant usage on schema secret, public to {reader};
         create sequence secret.s; select setval('secret.s', 4711); grant select on sequence secret.s to {reader};
         create sequence shop.s; select setval('shop.s', 4712); grant select on sequence shop.s to {reader};
         create view public.statements as select query from pg_stat_activity;
         create view public.numbers as select last_value from pg_sequences;
         create foreign data wrapper nothing; create server elsewhere foreign data wrapper nothing;
         grant usage on foreign server elsewhere to {reader};
         create user mapping for {reader} server elsewhere options (password 'canary');
         grant select on public.statements, public.numbers to {reader}"
    ));
    let bound = world.token(&["--schemas", "public,shop"]);
    let free = world.token(&[]);
    let server = world.setup.start();
    let _sleeping = begin_sleeping(&world, &server, &free, 30);
    for hostile in [
        // What other sessions of the same role run.
        "SELECT query FROM pg_stat_get_activity(NULL)",
        "SELECT pg_stat_get_backend_activity(s.id) FROM pg_stat_get_backend_idset() AS s (id)",
        "SELECT s.id.\"pg_stat_get_backend_activity\" FROM pg_stat_get_backend_idset() AS s (id)",
        "SELECT * FROM statements",
        "SELECT * FROM pg_prepared_statement()",
        "SELECT * FROM pg_cursor()",
        // The position of a sequence.
        "SELECT last_value FROM secret.s",
        "SELECT last_value FROM pg_sequences WHERE schemaname = 'secret'",
        "SELECT pg_sequence_last_value('secret.s'::regclass)",
        "SELECT * FROM numbers",
        // The role's credentials for other servers.
        "SELECT umoptions FROM pg_user_mappings",
        "SELECT * FROM information_schema.user_mapping_options",
        "SELECT * FROM information_schema._pg_user_mappings",
    ] {
        let answer = server.query(&bound, hostile);
        assert!(answer.is_error, "{hostile}: {}", answer.text);
        for told in ["pg_sleep(30)", "4711", "canary"] {
            assert!(!answer.text.contains(told), "{hostile}: {}", answer.text);
        }
    }
    // It can read what is in its own schema, and the unrestricted token can read everything.
    assert!(
        server
            .query(&bound, "SELECT last_value FROM shop.s")
            .text
            .contains("4712")
    );
    let others = server.query(&free, "SELECT query FROM pg_stat_get_activity(NULL)");
    assert!(others.text.contains("pg_sleep(30)"), "{}", others.text);
    assert!(
        server
            .query(&free, "SELECT last_value FROM pg_sequences")
            .text
            .contains("4711")
    );
    assert!(tools(&server, &free).contains(&"top_queries".to_owned()));
    assert!(!tools(&server, &bound).contains(&"top_queries".to_owned()));
    assert!(tools(&server, &bound).contains(&"analyze_health".to_owned()));
}

#[test]
fn the_rows_of_a_table_are_its_own_wherever_they_lie() {
    let mut world = three_databases();
    let admin = world.observer();
    let reader = world.database.reader.role.clone();
    admin.run(&format!(
        "create schema parts; grant usage on schema parts, public to {reader};
         create table public.parent (a int) partition by list (a);
         create table parts.part partition of public.parent for values in (1);
         insert into public.parent values (1);
         create table public.base (a int); create table parts.child (b text) inherits (public.base);
         insert into parts.child values (2, 'canary');
         create materialized view public.kept as select a from parts.child;
         grant select on all tables in schema public, parts to {reader}"
    ));
    let token = world.token(&["--schemas", "public"]);
    let server = world.setup.start();
    for (table, rows) in [
        ("parent", "a\n1"),
        ("base", "a\n2"),
        ("only base", "a(0 rows)"),
        ("kept", "a\n2"),
    ] {
        let answer = server.query(&token, &format!("SELECT * FROM {table}"));
        assert_eq!(answer.text, rows, "{table}");
    }
    for table in ["parts.part", "parts.child"] {
        let answer = server.query(&token, &format!("SELECT * FROM {table}"));
        answer.assert_refused(&format!("may not use {table}"));
    }
}
