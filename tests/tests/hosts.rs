//! A database on several hosts: which one is asked, and what happens when one is down.
#![allow(clippy::unwrap_used)]

use end_to_end::{Postgres, Request, Setup, wait};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

const PASSWORD: &str = "canary-password-hosts";

/// A server with the role `reader`.
fn postgres() -> Postgres {
    let postgres = Postgres::private();
    let script = format!("create role reader login password '{PASSWORD}'");
    postgres.superuser("postgres").run(&script);
    postgres
}

fn entry(hosts: &[&Postgres], wanted: &str) -> Value {
    let hosts: Vec<String> = hosts
        .iter()
        .map(|one| format!("127.0.0.1:{}", one.port))
        .collect();
    json!({
        "name": wanted,
        "host": hosts.join(","),
        "database": "postgres",
        "user": "reader",
        "password": PASSWORD,
        "target_session_attrs": wanted,
    })
}

/// Starts a server with one database for each `target_session_attrs`, and asks each for its port.
fn ports_asked(hosts: &[&Postgres]) -> Vec<(&'static str, Option<u16>)> {
    const WANTED: [&str; 6] = [
        "any",
        "read-write",
        "read-only",
        "primary",
        "standby",
        "prefer-standby",
    ];
    let mut setup = Setup::new(WANTED.map(|wanted| entry(hosts, wanted)));
    let tokens = WANTED.map(|wanted| setup.add_token_for(wanted));
    let server = setup.start();
    let ask = |token| {
        let answer = server.query(token, "SELECT current_setting('port')");
        if answer.is_error {
            return None;
        }
        answer.value().as_str().unwrap().parse().ok()
    };
    WANTED.into_iter().zip(tokens.iter().map(ask)).collect()
}

#[test]
fn a_database_that_cannot_be_reached_is_told_at_the_start() {
    // A port on which nobody listens any more.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let down = json!({ "name": "down", "host": "127.0.0.1", "port": port, "user": "reader" });
    let server = Setup::new([down]).start();
    let told = server.log.wait_for("the database cannot be reached");
    assert!(told.contains("database=\"down\""), "{told}");
}

#[test]
fn the_host_of_the_wanted_kind_is_asked() {
    let (primary, mut standby) = (postgres(), postgres());
    standby.become_standby();
    let (up, down) = (Some(primary.port), Some(standby.port));
    for hosts in [[&standby, &primary], [&primary, &standby]] {
        let first = Some(hosts[0].port);
        assert_eq!(
            ports_asked(&hosts),
            [
                ("any", first),
                ("read-write", up),
                ("read-only", down),
                ("primary", up),
                ("standby", down),
                ("prefer-standby", down),
            ]
        );
    }
    // Without a standby only those fail that insist on one.
    assert_eq!(
        ports_asked(&[&primary]),
        [
            ("any", up),
            ("read-write", up),
            ("read-only", None),
            ("primary", up),
            ("standby", None),
            ("prefer-standby", up),
        ]
    );
}

#[test]
fn when_a_host_goes_down_the_next_one_serves() {
    let (mut first, second) = (postgres(), postgres());
    let mut setup = Setup::new([entry(&[&first, &second], "any")]);
    let token = setup.add_token();
    let server = setup.start();
    let port = "SELECT current_setting('port')";
    assert_eq!(
        server.query(&token, port).value(),
        &json!(first.port.to_string())
    );
    first.halt();
    wait::until("the second host serves", Duration::from_secs(10), || {
        let answer = server.query(&token, port);
        !answer.is_error && answer.value() == &json!(second.port.to_string())
    });
    first.resume();
    let (other, standby) = (setup.add_token(), "read-only");
    assert_eq!(
        server.query(&other, port).value(),
        &json!(first.port.to_string())
    );
    setup.config["databases"] = json!([entry(&[&first, &second], standby)]);
    let server = setup.start();
    let answer = server.query(&token, port);
    assert!(
        answer.is_error && answer.text.contains("target_session_attrs"),
        "{}",
        answer.text
    );
}

/// Hosts need not be copies of each other byte by byte, as with logical replication.
#[test]
fn what_one_host_says_of_itself_is_not_taken_for_true_of_the_next() {
    let (mut first, second) = (postgres(), postgres());
    let number = "select 'mood'::regtype::oid";
    let make = |host: &Postgres, script: &str| host.superuser("postgres").run(script);
    make(&first, "create type mood as enum ('fine')");
    make(
        &second,
        "create type place as enum ('here'); create extension dblink",
    );
    assert_eq!(
        first.superuser("postgres").value(number),
        second
            .superuser("postgres")
            .value(&number.replace("mood", "place")),
        "both types have the same number"
    );
    let mut setup = Setup::new([entry(&[&first, &second], "any")]);
    let token = setup.add_token();
    let server = setup.start();
    let type_of = |sql| server.query(&token, sql).structured["columns"][0]["type"].clone();
    assert_eq!(type_of("SELECT 'fine'::mood AS now"), "mood");
    assert_eq!(server.query(&token, "SELECT 1 AS dblink_exec").value(), 1);
    first.halt();
    wait::until("the second host serves", Duration::from_secs(10), || {
        !server.query(&token, "SELECT 1").is_error
    });
    assert_eq!(type_of("SELECT 'here'::place AS now"), "place");
    let refused = server.query(&token, "SELECT 1 AS dblink_exec");
    assert!(refused.text.contains("allow_functions"), "{}", refused.text);
}

#[test]
fn a_query_in_which_its_host_fails_is_not_run_on_the_next_one() {
    let (first, second) = (postgres(), postgres());
    let mut setup = Setup::new([entry(&[&first, &second], "any")]);
    let token = setup.add_token();
    let server = setup.start();
    let observer = first.superuser("postgres");
    let running = "select coalesce(min(pid), 0) from pg_stat_activity where query like '%pg_sleep%' \
         and usename = 'reader' and state = 'active' and now() - query_start > '1.5 s'";
    std::thread::scope(|scope| {
        let sql = "SELECT pg_sleep(5), current_setting('port') AS port";
        let asked = scope.spawn(|| server.query(&token, sql));
        let pid = wait::until_some("it runs", Duration::from_secs(10), || {
            Pid::from_raw(observer.value(running).parse().unwrap())
        });
        // As the system does when there is no memory left.
        kill_process(pid, Signal::KILL).unwrap();
        let answer = asked.join().unwrap();
        assert!(
            answer.is_error && answer.text.contains("lost while the query ran"),
            "{}",
            answer.text
        );
    });
    let port = "SELECT current_setting('port')";
    wait::until("calls are answered", Duration::from_secs(10), || {
        !server.query(&token, port).is_error
    });
}

/// Like a host that is powered off, or behind a firewall that drops everything: it takes connections and says nothing.
#[test]
fn past_a_silent_host_health_is_what_calls_find() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let second = postgres();
    let mut entry = entry(&[&second], "any");
    let silent_port = silent.local_addr().unwrap().port();
    entry["host"] = json!(format!("127.0.0.1:{silent_port},127.0.0.1:{}", second.port));
    entry["connect_timeout"] = json!("3s");
    let mut setup = Setup::new([entry]);
    let token = setup.add_token();
    let server = setup.start();
    let state = || {
        let response = server.client().send(&Request::new("GET", "/health"));
        response.unwrap().json()["databases"]["any"].clone()
    };
    // Connecting takes longer than a health check waits.
    assert_eq!(state(), "down");
    wait::until(
        "health has come past the silent host",
        Duration::from_secs(10),
        || state() == "up",
    );
    // The host that was silent is asked last now.
    let begun = Instant::now();
    let answer = server.query(&token, "SELECT current_setting('port')");
    assert_eq!(answer.value(), &json!(second.port.to_string()));
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    server.log.wait_for("a host does not answer");
}
