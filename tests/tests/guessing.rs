//! A client that guesses tokens is answered late, and then with 429; nobody else notices.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use end_to_end::{Client, Database, Request, Response, Server, Setup, Token, call};
use serde_json::{Value, json};

fn start(guessing: Value) -> (Server, Setup, Token) {
    let database = Database::fresh();
    let mut setup = Setup::new([database.entry("shop", &database.reader)]);
    setup.config["http"]["auth"]["guessing"] = guessing;
    let token = setup.add_token();
    let server = setup.start();
    // Its first call opens a connection to PostgreSQL.
    assert!(!server.query(&token, "SELECT 1").is_error);
    (server, setup, token)
}

fn guess(client: &mut Client, token: &str) -> (Response, Duration) {
    let began = Instant::now();
    let request = Request::json(&call("query_database", json!({}))).bearer(token);
    (client.send(&request).unwrap(), began.elapsed())
}

#[test]
fn from_the_fourth_wrong_token_on_there_are_too_many_and_the_right_one_is_never_held_up() {
    let (server, _setup, token) = start(json!({}));
    let mut client = server.client();
    let least = [0, 100, 200, 400, 800].map(Duration::from_millis);
    for (number, least) in least.into_iter().enumerate() {
        let (answer, took) = guess(&mut client, &format!("wrong-{number}"));
        let expected = if number < 3 { 401 } else { 429 };
        assert_eq!(answer.status, expected, "{number}: {}", answer.text());
        assert!(took >= least, "{number}: {took:?}");
        let wait = answer
            .header("retry-after")
            .map(|seconds| seconds.parse::<u64>().unwrap());
        assert_eq!(wait.is_some(), expected == 429);
        assert!(
            wait.is_none_or(|seconds| (1..=15).contains(&seconds)),
            "{wait:?}"
        );
        assert_eq!(answer.header("www-authenticate").is_some(), expected == 401);
        let began = Instant::now();
        assert!(!server.query(&token, "SELECT 1").is_error);
        assert!(
            began.elapsed() < Duration::from_millis(100),
            "{:?}",
            began.elapsed()
        );
    }
    let forwarded = Request::json(&call("query_database", json!({})))
        .bearer("wrong-again")
        .header("X-Forwarded-For", "192.0.2.99")
        .header("Forwarded", "for=192.0.2.99");
    assert_eq!(client.send(&forwarded).unwrap().status, 429);
}

#[test]
fn whoever_reads_the_log_learns_of_wrong_tokens_and_of_hosts_that_are_not_allowed() {
    let (server, _setup, _token) = start(json!({ "slowed": false }));
    let mut client = server.client();
    for _ in 0..100 {
        assert_eq!(guess(&mut client, "wrong-token").0.status, 401);
        let elsewhere = Request::new("GET", "/health").header("Host", "elsewhere.example");
        assert_eq!(client.send(&elsewhere).unwrap().status, 403);
    }
    let told = server.log.wait_for("a token was refused");
    assert!(
        told.contains("unknown") && told.contains("127.0.0.1"),
        "{told}"
    );
    let lines = server.log.count("a token was refused");
    assert!((10..=20).contains(&lines), "{lines} of ten a minute");
    let told = server.log.wait_for("refused a request");
    assert!(told.contains("allowed_hosts"), "{told}");
    assert!(server.log.count("refused a request") < 10);
    assert_eq!(server.log.count("wrong-token"), 0);
}

#[test]
fn thousands_of_guesses_wait_in_no_more_places_than_there_are() {
    let (server, _setup, token) = start(json!({ "held": 8 }));
    let tokens = AtomicUsize::new(0);
    let refused = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let mut client = server.client();
                loop {
                    let number = tokens.fetch_add(1, Ordering::Relaxed);
                    if number >= 3_000 {
                        return;
                    }
                    let (answer, _) = guess(&mut client, &format!("wrong-{number}"));
                    refused.fetch_add(usize::from(answer.status == 429), Ordering::Relaxed);
                }
            });
        }
        for _ in 0..50 {
            assert!(!server.query(&token, "SELECT 1").is_error);
        }
    });
    assert!(refused.load(Ordering::Relaxed) >= 3_000 - 3, "{refused:?}");
}

#[test]
fn only_a_token_that_nobody_ever_had_is_a_guess() {
    let (server, mut setup, _token) = start(json!({}));
    let removed = setup.add_token();
    setup.remove_token(&removed);
    let mut client = server.client();
    for _ in 0..20 {
        let began = Instant::now();
        let none = Request::json(&call("query_database", json!({})));
        assert_eq!(client.send(&none).unwrap().status, 401);
        let malformed = none.header("Authorization", "Basic dXNlcjpwYXNz");
        assert_eq!(client.send(&malformed).unwrap().status, 401);
        let (answer, _) = guess(&mut client, &removed.secret);
        assert_eq!(answer.status, 401, "{}", answer.text());
        assert!(
            began.elapsed() < Duration::from_millis(100),
            "{:?}",
            began.elapsed()
        );
    }
}

#[test]
fn a_client_with_a_wrong_token_is_told_so_again_and_again() {
    let (server, _setup, _token) = start(json!({}));
    let mut client = server.client();
    for _ in 0..5 {
        let (answer, took) = guess(&mut client, "YOUR_TOKEN_HERE");
        assert_eq!(answer.status, 401);
        assert!(took < Duration::from_millis(400), "{took:?}");
    }
}

#[test]
fn slowing_can_be_switched_off_and_tuned() {
    let (server, _setup, _token) = start(json!({ "slowed": false }));
    let mut client = server.client();
    for number in 0..50 {
        let (answer, _) = guess(&mut client, &format!("wrong-{number}"));
        assert_eq!(answer.status, 401);
    }
    let (server, _setup, _token) = start(json!({ "penalty": "1s", "tolerance": "1500ms" }));
    let mut client = server.client();
    assert_eq!(guess(&mut client, "wrong-1").0.status, 401);
    assert_eq!(guess(&mut client, "wrong-2").0.status, 429);
}
