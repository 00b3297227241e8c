//! The configuration changes while the server runs: new calls use the new databases at once, and running calls finish.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use end_to_end::{
    Answer, Client, Conversation, Database, Postgres, Request, Server, Setup, Sql, Token, call,
    wait::{self, HANG, WORST},
};
use rustix::process::Signal;
use serde_json::{Value, json};

const NAME: &str = "SELECT current_database()";

/// Rewrites the configuration, and waits until the server logs the outcome.
fn reload(setup: &Setup, server: &Server, told: &str) {
    let before = server.log.count(told);
    setup.config_file();
    wait::until("the server has read it", HANG, || {
        server.log.count(told) > before
    });
}

/// Begins a long statement on a database, and waits until PostgreSQL runs it.
fn begin_sleeping(
    server: &Server,
    token: &Token,
    database: Option<&str>,
    observer: &Sql,
    seconds: u32,
) -> Client {
    let mut arguments = json!({ "query": format!("SELECT pg_sleep({seconds}), 'done'") });
    if let Some(database) = database {
        arguments["database"] = json!(database);
    }
    let before = observer.sleeping_of(token);
    let mut client = server.client();
    let request = Request::of(token, &call("query_database", arguments));
    client.send_only(&request).unwrap();
    wait::until("the statement runs", HANG, || {
        observer.sleeping_of(token) > before
    });
    client
}

fn received(client: &mut Client) -> Answer {
    Answer::read(&client.receive().unwrap().json())
}

fn on(server: &Server, token: &Token, database: &str, sql: &str) -> Answer {
    let arguments = json!({ "query": sql, "database": database });
    server.call(token, "query_database", arguments)
}

#[test]
fn new_calls_are_on_the_new_server_at_once_and_running_ones_end_in_peace() {
    let other = Postgres::private();
    let (old, new) = (Database::fresh(), Database::fresh_in(&other));
    let mut setup = Setup::new([old.entry("shop", &old.reader)]);
    setup.config["databases"][0]["pool_max_conns"] = json!(8);
    let token = setup.add_token();
    let mut server = setup.start();
    server.keep_secret(&new.reader.password);
    let observer = old.superuser();
    let mut sleeping = begin_sleeping(&server, &token, None, &observer, 4);
    let (stop, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    let load = || {
        let before = count.load(Ordering::Relaxed);
        wait::until("there is load", HANG, || {
            count.load(Ordering::Relaxed) > before + 50
        });
    };
    let (answers, replaced) = std::thread::scope(|scope| {
        let hammers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut answers = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let sent = Instant::now();
                        let answer = server.query(&token, NAME);
                        assert!(!answer.is_error, "{}", answer.text);
                        answers.push((sent, answer.value().as_str().unwrap().to_owned()));
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    answers
                })
            })
            .collect();
        load();
        setup.config["databases"][0] = new.entry("shop", &new.reader);
        reload(&setup, &server, "databases changed: shop");
        let replaced = Instant::now();
        wait::until("idle connections are closed", HANG, || {
            observer.connections_of(&token) == 1
        });
        load();
        stop.store(true, Ordering::Relaxed);
        let answers: Vec<_> = hammers
            .into_iter()
            .flat_map(|one| one.join().unwrap())
            .collect();
        (answers, replaced)
    });
    let late = answers.iter().filter(|(sent, _)| *sent > replaced);
    assert!(late.clone().count() > 0 && answers.iter().any(|(_, name)| *name == old.name));
    for (_, name) in late {
        assert_eq!(*name, new.name);
    }
    let answer = received(&mut sleeping);
    assert!(answer.text.contains("done"), "{}", answer.text);
    wait::until("the last old connection is closed", WORST * 4, || {
        observer.connections_of(&token) == 0
    });
    assert_eq!(server.query(&token, NAME).value(), &json!(new.name));
}

#[test]
fn a_database_that_stays_as_it_was_keeps_its_connections() {
    let (one, two) = (Database::fresh(), Database::fresh());
    let mut setup = Setup::new([one.entry("one", &one.reader), two.entry("two", &two.reader)]);
    let token = setup.add_token_with(&[
        "--expiry",
        "never",
        "--database",
        "one",
        "--database",
        "two",
    ]);
    let server = setup.start();
    let pid = "SELECT pg_backend_pid()";
    let (first, second) = (
        on(&server, &token, "one", pid).value().clone(),
        on(&server, &token, "two", pid).value().clone(),
    );
    setup.config["databases"][1]["connect_timeout"] = json!("3s");
    reload(&setup, &server, "databases changed: two");
    assert_eq!(on(&server, &token, "one", pid).value(), &first);
    assert_ne!(on(&server, &token, "two", pid).value(), &second);
    // What a query may not name is determined anew, too.
    let lock = "SELECT pg_try_advisory_lock(1)";
    assert!(on(&server, &token, "two", lock).is_error);
    setup.config["databases"][1]["allow_functions"] = json!(["pg_try_advisory_lock"]);
    reload(&setup, &server, "databases changed: two");
    assert_eq!(on(&server, &token, "two", lock).value(), true);
    assert!(on(&server, &token, "one", lock).is_error);
}

#[test]
fn a_wrong_file_changes_nothing_and_says_why_in_one_line() {
    let (old, new) = (Database::fresh(), Database::fresh());
    let mut setup = Setup::new([old.entry("shop", &old.reader)]);
    let token = setup.add_token();
    let mut server = setup.start();
    server.keep_secret(&new.reader.password);
    let pid = "SELECT pg_backend_pid()";
    let before = server.query(&token, pid).value().clone();
    let right = new.entry("shop", &new.reader);
    let mut wrong = right.clone();
    (wrong["port"], wrong["sslmod"]) = (json!("many"), json!("disable"));
    setup.config["databases"] = json!([wrong, right.clone()]);
    reload(&setup, &server, "Failed to reload");
    let line = server.log.wait_for("Failed to reload");
    for told in ["config.yaml", "port", "`sslmode`", "stay"] {
        assert!(line.contains(told), "{told} is not in {line}");
    }
    let password = &new.reader.password;
    for text in [
        format!("databases:\n  - {{name: shop, user: a, password: {password}\n"),
        "databases: []\n".to_owned(),
        "databases: shop\n".to_owned(),
        format!("password: {password}\n"),
    ] {
        let told = server.log.count("Failed to reload");
        setup.file("config.yaml", &text);
        wait::until("it is told", HANG, || {
            server.log.count("Failed to reload") > told
        });
    }
    std::fs::remove_file(setup.path().join("config.yaml")).unwrap();
    assert_eq!(server.query(&token, pid).value(), &before);
    setup.config["databases"] = json!([right]);
    reload(&setup, &server, "databases changed: shop");
    assert_eq!(server.query(&token, NAME).value(), &json!(new.name));
}

#[test]
fn a_removed_database_ends_with_what_runs_on_it_and_a_new_one_can_be_used() {
    let (one, two, three) = (Database::fresh(), Database::fresh(), Database::fresh());
    let entry = |name: &str, database: &Database<'_>| database.entry(name, &database.reader);
    let mut setup = Setup::new([entry("one", &one), entry("two", &two)]);
    let both = [
        "--expiry",
        "never",
        "--database",
        "one",
        "--database",
        "two",
    ];
    let token = setup.add_token_with(&both);
    let mut server = setup.start();
    server.keep_secret(&three.reader.password);
    let (first, second) = (one.superuser(), two.superuser());
    let mut on_one = begin_sleeping(&server, &token, Some("one"), &first, 3);
    let mut on_two = begin_sleeping(&server, &token, Some("two"), &second, 25);
    setup.config["databases"] = json!([entry("one", &one), entry("three", &three)]);
    reload(&setup, &server, "databases added: three; removed: two");
    let took = wait::until("its connections are closed", HANG, || {
        second.connections_of(&token) == 0
    });
    assert!(took < WORST, "took {took:?}");
    for refused in [received(&mut on_two), on(&server, &token, "two", NAME)] {
        assert!(refused.is_error);
        assert!(
            refused
                .text
                .contains("no database named \"two\" is configured"),
            "{}",
            refused.text
        );
    }
    let warning = server
        .log
        .wait_for("with a database that is not configured");
    assert!(warning.contains(&token.id), "{warning}");
    let answer = received(&mut on_one);
    assert!(answer.text.contains("done"), "{}", answer.text);
    let third = setup.add_token_for("three");
    assert_eq!(server.query(&third, NAME).value(), &json!(three.name));
    let health = || {
        let response = server.client().send(&Request::new("GET", "/health"));
        response.unwrap().json()["databases"].clone()
    };
    wait::until("its health is told", HANG, || {
        health() == json!({ "one": "up", "three": "up" })
    });
    setup.config["databases"] = json!([entry("one", &one), entry("two", &two)]);
    reload(&setup, &server, "databases added: two; removed: three");
    assert_eq!(on(&server, &token, "two", NAME).value(), &json!(two.name));
    assert!(server.query(&third, NAME).is_error);
}

#[test]
fn who_names_no_database_is_on_the_first_one() {
    let (one, two) = (Database::fresh(), Database::fresh());
    let entries = [one.entry("one", &one.reader), two.entry("two", &two.reader)];
    let mut setup = Setup::new(entries.clone());
    let unbound = setup.add_token();
    let bound = setup.add_token_for("one");
    let server = setup.start();
    let observer = one.superuser();
    let mut lost = begin_sleeping(&server, &unbound, None, &observer, 25);
    let mut kept = begin_sleeping(&server, &bound, None, &observer, 3);
    let [first, second] = entries;
    setup.config["databases"] = json!([second, first]);
    reload(&setup, &server, "databases in another order");
    let took = wait::until("what it may not use any more ends", HANG, || {
        observer.connections_of(&unbound) == 0
    });
    assert!(took < WORST, "took {took:?}");
    let refused = received(&mut lost);
    assert!(
        refused
            .text
            .contains("may not use database \"one\" any more"),
        "{}",
        refused.text
    );
    assert_eq!(server.query(&unbound, NAME).value(), &json!(two.name));
    let listed = server.call(&unbound, "list_databases", json!({}));
    assert_eq!(listed.structured["databases"][0]["name"], "two");
    assert!(received(&mut kept).text.contains("done"));
    assert_eq!(server.query(&bound, NAME).value(), &json!(one.name));
}

#[test]
fn other_keys_are_named_and_wait_for_a_restart() {
    let database = Database::fresh();
    let mut setup = Setup::new([database.entry("shop", &database.reader)]);
    setup.config["limits"] = json!({ "written_rows": 5 });
    let token = setup.add_token();
    let server = setup.start();
    setup.config["limits"] = json!({ "statement_timeout": "100ms", "written_rows": 5 });
    setup.config["http"]["max_body_bytes"] = json!(4096);
    reload(&setup, &server, "no database changed");
    let line = server.log.wait_for("restart");
    assert!(
        line.contains("http.max_body_bytes, limits.statement_timeout changed"),
        "{line}"
    );
    assert!(!server.query(&token, "SELECT pg_sleep(0.3)").is_error);
}

#[test]
fn a_hangup_reads_passwords_again() {
    let database = Database::fresh();
    let mut entry = database.entry("shop", &database.reader);
    entry.as_object_mut().unwrap().remove("password");
    let mut setup = Setup::new([entry]);
    let token = setup.add_token();
    let passwords = |password: &str| {
        let file = setup.file("passwords", &format!("*:*:*:*:{password}\n"));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        file
    };
    let mut command = setup.command("mcp-server", &[]);
    command.env("PGPASSFILE", passwords("canary-wrong"));
    let server = Server::start(command, vec![database.reader.password.clone()]);
    assert!(server.query(&token, "SELECT 1").is_error);
    passwords(&database.reader.password);
    server.signal(Signal::HUP);
    server.log.wait_for("databases changed: shop");
    assert_eq!(server.query(&token, "SELECT 1").value(), 1);
    server.signal(Signal::HUP);
    server.log.wait_for("no database changed");
    assert_eq!(server.query(&token, "SELECT 1").value(), 1);
}

#[test]
fn a_hangup_reads_the_password_of_a_tokens_own_role_again() {
    let database = Database::fresh();
    let mut setup = Setup::new([database.entry("shop", &database.reader)]);
    let own = database.role("own", "nosuperuser noinherit");
    let grant = format!(
        "grant connect on database {} to {}",
        database.name, own.role
    );
    database.superuser().run(&grant);
    let password = setup.file("password", "canary-wrong\n");
    let options = [
        "--role",
        &own.role,
        "--role-password-file",
        password.to_str().unwrap(),
    ];
    let token = setup.add_token_with(&[&["--expiry", "never"], &options[..]].concat());
    let mut server = setup.start();
    server.keep_secret(&own.password);
    assert!(server.query(&token, "SELECT 1").is_error);
    setup.file("password", &format!("{}\n", own.password));
    assert!(server.query(&token, "SELECT 1").is_error);
    server.signal(Signal::HUP);
    server.log.wait_for("no database changed");
    let pid = "SELECT pg_backend_pid()";
    let before = server.query(&token, pid).value().clone();
    // When everything is read again and has not changed, nothing ends.
    server.signal(Signal::HUP);
    wait::until("it is read again", HANG, || {
        server.log.count("no database changed") == 2
    });
    assert_eq!(server.query(&token, pid).value(), &before);
}

#[test]
fn custom_tools_are_prepared_on_the_new_database() {
    let other = Postgres::private();
    let (old, new) = (Database::fresh(), Database::fresh_in(&other));
    // The type of the parameter is a different one there, which only PostgreSQL can tell.
    new.superuser()
        .run("create type public.before as enum ('x')");
    for database in [&old, &new] {
        database
            .superuser()
            .run("create type public.mood as enum ('fine', 'sad')");
    }
    let mut setup = Setup::new([old.entry("shop", &old.reader)]);
    let tools = "tools:\n  - name: moods\n    description: d\n    sql: SELECT current_database() AS d, $1::mood AS m\n    parameters: [{name: m, type: string}]\n";
    setup.config["tools"] = json!({ "file": setup.file("tools.yaml", tools) });
    let token = setup.add_token();
    let mut server = setup.start();
    server.keep_secret(&new.reader.password);
    let moods = || {
        server
            .call(&token, "moods", json!({ "m": "sad" }))
            .structured["rows"]
            .clone()
    };
    assert_eq!(moods(), json!([[old.name, "sad"]]));
    setup.config["databases"][0] = new.entry("shop", &new.reader);
    reload(&setup, &server, "databases changed: shop");
    wait::until("they are prepared anew", HANG, || {
        server.log.count("Loaded 1 custom tool(s)") == 2
    });
    assert_eq!(moods(), json!([[new.name, "sad"]]));
}

#[test]
fn each_change_is_told_once_where_there_are_custom_tools() {
    let database = Database::fresh();
    let mut setup = Setup::new([database.entry("shop", &database.reader)]);
    let tools =
        |name| format!("tools:\n  - name: {name}\n    description: d\n    sql: SELECT 1 AS one\n");
    setup.config["tools"] = json!({ "file": setup.file("tools.yaml", &tools("first")) });
    setup.config["http"] = json!({ "enabled": false });
    let mut server = Conversation::start(&setup);
    server.initialize("2025-06-18", &json!({}));
    let loaded = |server: &Conversation, times| {
        wait::until("custom tools are loaded", HANG, || {
            server.log.count("Loaded 1 custom tool(s)") == times
        });
    };
    setup.config["databases"][0]["pool_max_conns"] = json!(3);
    setup.config_file();
    // They are prepared anew, and are the same.
    loaded(&server, 2);
    setup.file("tools.yaml", &tools("second"));
    loaded(&server, 3);
    for _ in 0..2 {
        let told = server.receive();
        assert_eq!(told["method"], "notifications/tools/list_changed", "{told}");
    }
    let answer = server.ask(1, "ping", json!({}));
    assert_eq!(answer["id"], 1, "{answer}");
}

#[test]
fn a_conversation_over_stdio_goes_on_with_the_new_databases() {
    let (old, new) = (Database::fresh(), Database::fresh());
    let mut setup = Setup::new([old.entry("shop", &old.reader)]);
    setup.config["http"] = json!({ "enabled": false });
    setup.config["limits"] = json!({ "follow_interval": "100ms" });
    let mut server = Conversation::start(&setup);
    server.initialize("2025-06-18", &json!({}));
    let mut id = 0;
    let mut query = |server: &mut Conversation, arguments: Value| {
        id += 1;
        let params = call("query_database", arguments)["params"].take();
        Answer::read(&server.ask(id, "tools/call", params))
    };
    let answer = query(&mut server, json!({ "query": NAME }));
    assert_eq!(answer.value(), &json!(old.name));
    server.ask(90, "resources/subscribe", json!({ "uri": "pg://schema" }));
    new.superuser()
        .run("create table shop.extra (); grant select on shop.extra to public");
    setup.config["databases"] = json!([
        new.entry("new", &new.reader),
        old.entry("shop", &old.reader)
    ]);
    setup.config_file();
    let mut told = [(); 2].map(|()| server.receive()["method"].take());
    told.sort_by_key(Value::to_string);
    assert_eq!(
        told,
        [
            "notifications/resources/updated",
            "notifications/tools/list_changed"
        ]
    );
    server.log.wait_for("databases added: new");
    let answer = query(&mut server, json!({ "query": NAME }));
    assert_eq!(answer.value(), &json!(new.name));
    let answer = query(&mut server, json!({ "query": NAME, "database": "shop" }));
    assert_eq!(answer.value(), &json!(old.name));
    setup.config["databases"] = json!([new.entry("new", &new.reader)]);
    setup.config_file();
    server.log.wait_for("removed: shop");
    let told = server.receive();
    assert_eq!(told["method"], "notifications/tools/list_changed", "{told}");
    let answer = query(&mut server, json!({ "query": NAME, "database": "shop" }));
    assert!(answer.text.contains("it may use new"), "{}", answer.text);
    server.end();
}
