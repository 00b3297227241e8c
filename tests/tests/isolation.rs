//! Every token is a world of its own.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use end_to_end::{Database, Setup, Sql, Token, call, wait};
use serde_json::json;

/// Looks at the test's own database only: ids are made from the current second, so that another test may have the same.
fn backends_of(observer: &Sql, token: &Token) -> Vec<String> {
    let sql = format!(
        "select pid from pg_stat_activity where datname = current_database() and application_name = 'mcp/{}' order by 1",
        token.id
    );
    observer
        .rows(&sql)
        .unwrap()
        .into_iter()
        .flatten()
        .flatten()
        .collect()
}

#[test]
fn tokens_never_share_a_connection() {
    let database = Database::fresh();
    let observer = database.superuser();
    let mut setup = Setup::new([database.entry("shop", &database.reader)]);
    let tokens: Vec<Token> = (0..4).map(|_| setup.add_token()).collect();
    let server = setup.start();
    std::thread::scope(|scope| {
        for token in tokens.iter().cycle().take(32) {
            let server = &server;
            scope.spawn(move || {
                for _ in 0..10 {
                    let answer = server.query(token, "SELECT current_setting('application_name')");
                    assert_eq!(answer.value(), &json!(format!("mcp/{}", token.id)));
                }
            });
        }
    });
    let mut all: Vec<String> = tokens
        .iter()
        .flat_map(|token| backends_of(&observer, token))
        .collect();
    let count = all.len();
    assert!(count >= tokens.len(), "{count} connections");
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count, "a connection serves two tokens");
}

#[test]
fn a_pool_opens_when_it_is_first_used_and_has_at_most_its_size() {
    let database = Database::fresh();
    let observer = database.superuser();
    let mut entry = database.entry("shop", &database.reader);
    entry["pool_max_conns"] = json!(2);
    let mut setup = Setup::new([entry]);
    let (used, unused) = (setup.add_token(), setup.add_token());
    let server = setup.start();
    assert_eq!(backends_of(&observer, &used), Vec::<String>::new());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert!(!server.query(&used, "SELECT pg_sleep(0.2)").is_error));
        }
    });
    assert!((1..=2).contains(&backends_of(&observer, &used).len()));
    assert_eq!(backends_of(&observer, &unused), Vec::<String>::new());
}

#[test]
fn a_token_that_uses_up_its_pool_delays_nobody_else() {
    let database = Database::fresh();
    let mut setup = Setup::new([database.entry("shop", &database.reader)]);
    setup.config["limits"] = json!({ "connection_wait": "1s" });
    let (greedy, modest) = (setup.add_token(), setup.add_token());
    let server = setup.start();
    server.query(&modest, "SELECT 1");
    let slowest = std::thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| server.query(&greedy, "SELECT pg_sleep(3)"));
        }
        wait::until(
            "the greedy one has its connections",
            Duration::from_secs(10),
            || backends_of(&database.superuser(), &greedy).len() == 4,
        );
        (0..50)
            .map(|_| {
                let began = Instant::now();
                assert_eq!(server.query(&modest, "SELECT 1").value(), 1);
                began.elapsed()
            })
            .max()
            .unwrap()
    });
    assert!(
        slowest < Duration::from_millis(500),
        "the modest one waited {slowest:?}"
    );
}

#[test]
fn who_waits_too_long_for_a_connection_is_told_so() {
    let database = Database::fresh();
    let mut entry = database.entry("shop", &database.reader);
    entry["pool_max_conns"] = json!(1);
    let mut setup = Setup::new([entry]);
    setup.config["limits"] = json!({ "connection_wait": "300ms", "waiting_calls": 2 });
    let token = setup.add_token();
    let server = setup.start();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| server.query(&token, "SELECT pg_sleep(2)")))
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    let refused: Vec<_> = answers.iter().filter(|answer| answer.is_error).collect();
    assert_eq!(refused.len(), 5, "{answers:?}");
    for answer in refused {
        assert!(answer.text.contains("connection"), "{}", answer.text);
    }
    assert_eq!(server.query(&token, "SELECT 1").value(), 1);
}

#[test]
fn what_one_call_sets_is_gone_before_the_next_even_where_setting_is_allowed() {
    let database = Database::fresh();
    let mut entry = database.entry("shop", &database.reader);
    entry["allow_functions"] = json!(["set_config", "pg_advisory_lock", "pg_notify"]);
    entry["pool_max_conns"] = json!(1);
    let mut setup = Setup::new([entry]);
    let (one, other) = (setup.add_token(), setup.add_token());
    let server = setup.start();
    let said = server.query(
        &one,
        "SELECT set_config('my.secret', 'mine', false), pg_advisory_lock(7)",
    );
    assert!(!said.is_error, "{}", said.text);
    for token in [&one, &other] {
        let answer = server.query(
            token,
            "SELECT coalesce(nullif(current_setting('my.secret', true), ''), 'unset')",
        );
        assert_eq!(answer.value(), "unset", "seen by {}", token.id);
    }
    let locks = "select count(*) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())";
    assert_eq!(database.superuser().value(locks), "0");
}

#[test]
fn a_token_reaches_its_own_database_and_no_other() {
    let (first, staging) = (Database::fresh(), Database::fresh());
    let mut setup = Setup::new([
        first.entry("first", &first.reader),
        staging.entry("staging", &staging.reader),
    ]);
    let (unbound, bound) = (setup.add_token(), setup.add_token_for("staging"));
    let server = setup.start();
    for (token, expected) in [(&unbound, &first.name), (&bound, &staging.name)] {
        assert_eq!(
            server.query(token, "SELECT current_database()").value(),
            expected.as_str()
        );
    }
}

#[test]
fn a_token_whose_database_is_no_longer_configured_gets_an_error_and_no_other_database() {
    let (first, staging) = (Database::fresh(), Database::fresh());
    let mut setup = Setup::new([
        first.entry("first", &first.reader),
        staging.entry("staging", &staging.reader),
    ]);
    let token = setup.add_token_for("staging");
    setup.config["databases"].as_array_mut().unwrap().pop();
    let server = setup.start();
    let call = call(
        "query_database",
        json!({ "query": "SELECT current_database()" }),
    );
    let response = server.post(&token, &call);
    let text = response.text();
    assert!(!text.contains(&first.name), "{text}");
    assert!(text.contains("staging"), "{text}");
}

#[test]
fn a_database_that_does_not_answer_delays_no_token_of_another() {
    let database = Database::fresh();
    // It accepts connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut entry = database.entry("silent", &database.reader);
    entry["port"] = json!(silent.local_addr().unwrap().port());
    entry["connect_timeout"] = json!("2s");
    let mut setup = Setup::new([database.entry("shop", &database.reader), entry]);
    let (well, stuck) = (setup.add_token_for("shop"), setup.add_token_for("silent"));
    let server = setup.start();
    server.query(&well, "SELECT 1");
    std::thread::scope(|scope| {
        let call = scope.spawn(|| {
            let began = Instant::now();
            (server.query(&stuck, "SELECT 1"), began.elapsed())
        });
        for _ in 0..20 {
            let began = Instant::now();
            assert_eq!(server.query(&well, "SELECT 1").value(), 1);
            assert!(
                began.elapsed() < Duration::from_millis(500),
                "took {:?}",
                began.elapsed()
            );
        }
        let (answer, took) = call.join().unwrap();
        assert!(answer.is_error, "{}", answer.text);
        assert!(took < Duration::from_secs(8), "gave up after {took:?}");
    });
}

#[test]
fn rights_are_those_of_the_role_in_the_tokens_database_entry() {
    let database = Database::fresh();
    let narrow = database.role("narrow", "nosuperuser");
    database.superuser().run(&format!(
        "grant connect on database {} to {role}; grant usage on schema shop to {role}; grant select on shop.products to {role}",
        database.name,
        role = narrow.role
    ));
    let mut setup = Setup::new([
        database.entry("wide", &database.reader),
        database.entry("narrow", &narrow),
    ]);
    let (wide, narrow) = (setup.add_token_for("wide"), setup.add_token_for("narrow"));
    let server = setup.start();
    assert_eq!(
        server
            .query(&wide, "SELECT count(*) FROM shop.users")
            .value(),
        1000
    );
    assert_eq!(
        server
            .query(&narrow, "SELECT count(*) FROM shop.products")
            .value(),
        200
    );
    let refused = server.query(&narrow, "SELECT count(*) FROM shop.users");
    assert!(
        refused.is_error && refused.text.contains("42501"),
        "{}",
        refused.text
    );
}

#[test]
fn a_connection_over_tls_is_checked_against_the_given_authority() {
    let pair = end_to_end::certificate::for_localhost();
    let other = end_to_end::certificate::for_localhost();
    let postgres = end_to_end::Postgres::with_tls(&pair);
    let database = Database::fresh_in(&postgres);
    let entry = |name: &str, mode: &str, host: &str, authority: Option<&std::path::Path>| {
        let mut entry = database.entry(name, &database.reader);
        entry["sslmode"] = json!(mode);
        entry["host"] = json!(host);
        if let Some(path) = authority {
            entry["sslrootcert"] = json!(path);
        }
        entry
    };
    let mut setup = Setup::new([]);
    let right = setup.file("right.pem", &pair.certificate);
    let wrong = setup.file("wrong.pem", &other.certificate);
    let cases = [
        (
            "require",
            entry("require", "require", "127.0.0.1", None),
            true,
        ),
        (
            "full",
            entry("full", "verify-full", "localhost", Some(&right)),
            true,
        ),
        (
            "address",
            entry("address", "verify-full", "127.0.0.1", Some(&right)),
            true,
        ),
        (
            "ca",
            entry("ca", "verify-ca", "127.0.0.1", Some(&right)),
            true,
        ),
        (
            "stranger",
            entry("stranger", "verify-full", "localhost", Some(&wrong)),
            false,
        ),
        (
            "nobody",
            entry("nobody", "verify-full", "localhost", None),
            false,
        ),
        ("plain", entry("plain", "disable", "127.0.0.1", None), false),
    ];
    setup.config["databases"] = cases.iter().map(|(_, entry, _)| entry.clone()).collect();
    let tokens: Vec<Token> = cases
        .iter()
        .map(|(name, ..)| setup.add_token_for(name))
        .collect();
    let server = setup.start();
    for ((name, _, works), token) in cases.iter().zip(&tokens) {
        let answer = server.query(
            token,
            "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
        );
        assert_eq!(!answer.is_error, *works, "{name}: {}", answer.text);
        if *works {
            assert_eq!(answer.value(), true, "{name}");
        }
    }
}
