//! PostgreSQL goes away and comes back; nobody has to do anything about it.
#![allow(clippy::unwrap_used)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use end_to_end::{Answer, Database, Postgres, Request, Setup, wait};
use serde_json::json;

#[test]
fn a_restart_under_load_costs_only_errors_that_say_so_and_heals_by_itself() {
    let mut postgres = Postgres::private();
    let (setup, token) = {
        let database = Database::fresh_in(&postgres);
        let mut setup = Setup::new([database.entry("shop", &database.reader)]);
        let token = setup.add_token();
        (setup, token)
    };
    let server = setup.start();
    let (stop, answers) = (
        AtomicBool::new(false),
        Mutex::new(Vec::<(Instant, Answer)>::new()),
    );
    let back = std::thread::scope(|scope| {
        for client in 0..8 {
            let (server, token, stop, answers) = (&server, &token, &stop, &answers);
            scope.spawn(move || {
                for call in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let expected = client * 1_000_000 + call;
                    let answer = server.query(token, &format!("SELECT {expected}"));
                    if !answer.is_error {
                        assert_eq!(answer.value(), expected, "the answer to another question");
                    }
                    answers.lock().unwrap().push((Instant::now(), answer));
                }
            });
        }
        let good = || {
            answers
                .lock()
                .unwrap()
                .iter()
                .filter(|(_, answer)| !answer.is_error)
                .count()
        };
        wait::until("there is load", Duration::from_secs(10), || good() > 100);
        postgres.halt();
        postgres.resume();
        let back = Instant::now();
        let before = good();
        wait::until(
            "queries are answered again",
            Duration::from_secs(10),
            || good() > before + 100,
        );
        stop.store(true, Ordering::Relaxed);
        back
    });
    let answers = answers.into_inner().unwrap();
    let errors: Vec<_> = answers
        .iter()
        .filter(|(_, answer)| answer.is_error)
        .collect();
    for (_, answer) in &errors {
        assert!(answer.text.starts_with("ERROR: "), "{}", answer.text);
    }
    let last = errors
        .iter()
        .map(|(moment, _)| moment.saturating_duration_since(back))
        .max()
        .unwrap_or_default();
    assert!(
        last < Duration::from_secs(1),
        "errors until {last:?} after PostgreSQL was back"
    );
}

#[test]
fn a_database_that_is_down_does_not_stop_the_start_and_is_named() {
    let mut postgres = Postgres::private();
    let (mut setup, entry) = {
        let database = Database::fresh_in(&postgres);
        let entry = database.entry("shop", &database.reader);
        (Setup::new([entry.clone()]), entry)
    };
    let token = setup.add_token();
    postgres.halt();
    let server = setup.start();

    let health = server
        .client()
        .send(&Request::new("GET", "/health"))
        .unwrap();
    assert!(health.text().contains("shop"), "{}", health.text());

    let began = Instant::now();
    let answer = server.query(&token, "SELECT 1");
    assert!(answer.is_error);
    assert!(
        answer.text.contains("refused"),
        "the cause is not in: {}",
        answer.text
    );
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "took {:?}",
        began.elapsed()
    );
    let password = entry["password"].as_str().unwrap();
    assert!(!answer.text.contains(password), "{}", answer.text);

    postgres.resume();
    assert_eq!(server.query(&token, "SELECT 1").value(), 1);
}

#[test]
fn sessions_that_an_administrator_ends_are_replaced() {
    let database = Database::fresh();
    let observer = database.superuser();
    let mut setup = Setup::new([database.entry("shop", &database.reader)]);
    let token = setup.add_token();
    let server = setup.start();
    for _ in 0..5 {
        assert_eq!(server.query(&token, "SELECT 1").value(), 1);
        observer.run(&format!(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = 'mcp/{}'",
            token.id
        ));
    }
    assert_eq!(server.query(&token, "SELECT 1").value(), 1);
}

#[test]
fn wrong_credentials_are_an_error_without_the_credentials() {
    let database = Database::fresh();
    let mut entry = database.entry("shop", &database.reader);
    entry["password"] = json!("canary-wrong-password");
    let mut setup = Setup::new([entry]);
    let token = setup.add_token();
    let server = setup.start();
    let answer = server.query(&token, "SELECT 1");
    assert!(answer.is_error);
    assert!(!answer.text.contains("canary"), "{}", answer.text);
    assert!(
        answer.text.contains("password"),
        "the cause is not in: {}",
        answer.text
    );
}

#[test]
fn a_frozen_postgresql_ends_in_a_timely_error_and_a_thawed_one_works() {
    let postgres = Postgres::private();
    let database = Database::fresh_in(&postgres);
    let mut setup = Setup::new([database.entry("shop", &database.reader)]);
    setup.config["limits"] = json!({ "statement_timeout": "1s" });
    let token = setup.add_token();
    let server = setup.start();
    let pid: i32 = server
        .query(&token, "SELECT pg_backend_pid()")
        .value()
        .as_i64()
        .unwrap()
        .try_into()
        .unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let began = Instant::now();
    let answer = server.query(&token, "SELECT 1");
    let took = began.elapsed();
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    assert!(answer.is_error, "{}", answer.text);
    assert!(took < Duration::from_secs(5), "took {took:?}");
    assert_eq!(server.query(&token, "SELECT 1").value(), 1);
}
