//! A token that is taken away, or whose time is up, ends at once: its new requests, its running ones and its
//! connections; and nobody else notices.
#![allow(clippy::unwrap_used)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use end_to_end::{
    Client, Database, Request, Server, Setup, Sql, Token,
    wait::{self, WORST},
};
use serde_json::json;

/// What the document promises, counted from the moment that the command returned.
const PROMISE: Duration = Duration::from_millis(100);

/// Timing tests take turns: two at once would measure each other.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> std::sync::MutexGuard<'static, ()> {
    TURN.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// One request of a client at full speed.
struct Sample {
    sent: Instant,
    took: Duration,
    status: u16,
}

/// What the clients of a test have in common.
#[derive(Default)]
struct Hammering {
    /// How many requests were answered with 200.
    accepted: AtomicUsize,
    stop: AtomicBool,
}

/// Sends requests one after the other until told to stop.
fn hammer(mut client: Client, token: &Token, common: &Hammering) -> Vec<Sample> {
    let request = Request::query(token, "SELECT 1");
    let mut samples = Vec::new();
    while !common.stop.load(Ordering::Relaxed) {
        let sent = Instant::now();
        let status = client.send(&request).map_or(0, |response| response.status);
        common
            .accepted
            .fetch_add(usize::from(status == 200), Ordering::Relaxed);
        samples.push(Sample {
            sent,
            took: sent.elapsed(),
            status,
        });
    }
    samples
}

/// Adds entries that nobody uses, so that reading the file costs something.
fn add_bystanders(setup: &Setup, count: usize) {
    let mut text = std::fs::read_to_string(setup.token_file()).unwrap();
    for number in 0..count {
        text.push_str(&format!(
            "  - id: token-77{number:06}\n    hash: {:064x}\n    note: \"bystander\"\n    created_at: \"2024-10-30T10:15:30Z\"\n    expires_at: null\n",
            number + 1
        ));
    }
    setup.replace_tokens(&text);
}

#[test]
fn no_request_that_is_sent_after_the_command_returned_is_accepted() {
    const ROUNDS: usize = 8;
    let _turn = turn();
    let database = Database::fresh();
    let mut setup = Setup::new([database.entry("shop", &database.reader)]);
    let other = setup.add_token();
    add_bystanders(&setup, 1_000);
    let server = setup.start();
    let (mut late, mut accepted_late) = (0, 0);

    for _ in 0..ROUNDS {
        let token = setup.add_token();
        let (own, foreign) = (Hammering::default(), Hammering::default());
        let (samples, others, removed) = std::thread::scope(|scope| {
            let spawn = |token, common, count| -> Vec<_> {
                let server = &server;
                (0..count)
                    .map(|_| scope.spawn(move || hammer(server.client(), token, common)))
                    .collect()
            };
            let (clients, others) = (spawn(&token, &own, 24), spawn(&other, &foreign, 8));
            wait::until("the token works", WORST * 40, || {
                own.accepted.load(Ordering::Relaxed) > 0
            });
            setup.remove_token(&token);
            let removed = Instant::now();
            // Long enough for many more requests; there is no event for "nothing was accepted".
            std::thread::sleep(Duration::from_millis(300));
            for common in [&own, &foreign] {
                common.stop.store(true, Ordering::Relaxed);
            }
            let join =
                |handles: Vec<std::thread::ScopedJoinHandle<'_, Vec<Sample>>>| -> Vec<Sample> {
                    handles
                        .into_iter()
                        .flat_map(|handle| handle.join().unwrap())
                        .collect()
                };
            (join(clients), join(others), removed)
        });
        late += samples
            .iter()
            .filter(|sample| sample.sent > removed)
            .count();
        accepted_late += samples
            .iter()
            .filter(|sample| sample.sent > removed && sample.status == 200)
            .count();
        let disturbed = others.iter().filter(|sample| sample.status != 200).count();
        assert_eq!(
            disturbed,
            0,
            "requests of the other token failed, of {}",
            others.len()
        );
        let slowest = others.iter().map(|sample| sample.took).max().unwrap();
        assert!(
            slowest < Duration::from_secs(2),
            "a request of the other token took {slowest:?}"
        );
    }

    assert!(
        late >= 100,
        "only {late} requests were sent after the removals"
    );
    assert_eq!(
        accepted_late, 0,
        "of {late} requests that were sent after the removal"
    );
}

/// Calls `then` while that many statements of a token run, and returns for each client whether it got 401.
fn while_running<T>(
    server: &Server,
    token: &Token,
    observer: &Sql,
    statements: usize,
    then: impl FnOnce() -> T,
) -> (Vec<bool>, T) {
    let request = Request::query(token, "SELECT pg_sleep(25)");
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..statements)
            .map(|_| {
                let request = &request;
                scope.spawn(move || server.client().send(request).unwrap().status == 401)
            })
            .collect();
        wait::until("the statements run", Duration::from_secs(10), || {
            observer.sleeping_of(token) == statements
        });
        let outcome = then();
        (
            calls.into_iter().map(|call| call.join().unwrap()).collect(),
            outcome,
        )
    })
}

#[test]
fn running_statements_are_cancelled_and_connections_closed_within_the_promise() {
    const ROUNDS: usize = 15;
    let _turn = turn();
    let database = Database::fresh();
    let observer = database.superuser();
    let mut setup = Setup::new([database.entry("shop", &database.reader)]);
    let other = setup.add_token();
    add_bystanders(&setup, 1_000);
    let server = setup.start();
    let undisturbed = AtomicBool::new(false);
    let mut times = Vec::new();

    std::thread::scope(|scope| {
        let long = scope.spawn(|| server.query(&other, "SELECT pg_sleep(8)"));
        for _ in 0..ROUNDS {
            let token = setup.add_token();
            let (refused, took) = while_running(&server, &token, &observer, 3, || {
                setup.remove_token(&token);
                wait::until("the connections are closed", Duration::from_secs(5), || {
                    observer.connections_of(&token) == 0
                })
            });
            times.push(took);
            assert_eq!(refused, [true; 3], "which running requests were refused");
        }
        let answer = long.join().unwrap();
        undisturbed.store(!answer.is_error, Ordering::Relaxed);
    });

    assert!(
        undisturbed.into_inner(),
        "the statement of another token was disturbed"
    );
    times.sort();
    let (median, slowest) = (times[times.len() / 2], times[times.len() - 1]);
    assert!(median <= PROMISE / 2, "median {median:?} of {times:?}");
    assert!(slowest <= WORST, "slowest of {times:?}");
}

#[test]
fn idle_connections_are_closed_as_well() {
    let _turn = turn();
    let database = Database::fresh();
    let observer = database.superuser();
    let mut setup = Setup::new([database.entry("shop", &database.reader)]);
    let token = setup.add_token();
    let server = setup.start();
    server.query(&token, "SELECT 1");
    assert!(observer.connections_of(&token) > 0);
    setup.remove_token(&token);
    let took = wait::until("the connections are closed", Duration::from_secs(5), || {
        observer.connections_of(&token) == 0
    });
    assert!(took <= WORST, "took {took:?}");
}

#[test]
fn a_token_ends_at_its_hour_with_all_that_it_runs() {
    let _turn = turn();
    let database = Database::fresh();
    let observer = database.superuser();
    let mut setup = Setup::new([database.entry("shop", &database.reader)]);
    let token = setup.add_token_with(&["--expiry", "1h"]);
    let other = setup.add_token();
    let server = setup.start();
    server.query(&token, "SELECT 1");

    let end = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
        + 3;
    setup.expire_at(&token, end);
    let (refused, ended) = while_running(&server, &token, &observer, 2, || {
        wait::until(
            "the connections are closed",
            Duration::from_secs(15),
            || observer.connections_of(&token) == 0,
        );
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
    });
    let late = ended
        .checked_sub(Duration::from_secs(end))
        .expect("it ended before its hour");
    assert!(late <= WORST, "ended {late:?} late");
    assert_eq!(refused, [true; 2], "which running requests were refused");

    let refused = server
        .client()
        .send(&Request::query(&token, "SELECT 1"))
        .unwrap();
    assert_eq!(refused.status, 401);
    assert!(refused.text().contains("expired"), "{}", refused.text());
    assert_eq!(server.query(&other, "SELECT 1").value(), 1);
}

#[test]
fn a_new_token_is_usable_once_the_command_has_returned() {
    let _turn = turn();
    let database = Database::fresh();
    let mut setup = Setup::new([database.entry("shop", &database.reader)]);
    let server = setup.start();
    for _ in 0..10 {
        let token = setup.add_token();
        assert_eq!(server.query(&token, "SELECT 1").value(), 1);
    }
}

#[test]
fn a_token_file_that_does_not_parse_ends_nobody_and_is_reported() {
    let _turn = turn();
    let database = Database::fresh();
    let mut setup = Setup::new([database.entry("shop", &database.reader)]);
    let token = setup.add_token();
    let server = setup.start();
    let good = std::fs::read_to_string(setup.token_file()).unwrap();
    setup.replace_tokens("tokens:\n  - id: token-1\n    hash: not a hash\n");
    server.log.wait_for("token-1");
    assert_eq!(server.query(&token, "SELECT 1").value(), 1);
    setup.replace_tokens(&good.replace(&token.id, "token-5"));
    server.log.wait_for("[AUTH] Reloaded");
    assert_eq!(server.query(&token, "SELECT 1").value(), 1);
}

#[test]
fn a_token_file_that_is_deleted_ends_everybody() {
    let _turn = turn();
    let database = Database::fresh();
    let mut setup = Setup::new([database.entry("shop", &database.reader)]);
    let token = setup.add_token();
    let server = setup.start();
    assert_eq!(server.query(&token, "SELECT 1").value(), 1);
    std::fs::remove_file(setup.token_file()).unwrap();
    let refused = server
        .client()
        .send(&Request::query(&token, "SELECT 1"))
        .unwrap();
    assert_eq!(refused.status, 401);
}

#[test]
fn what_a_client_has_begun_does_not_come_back_with_its_token() {
    let database = Database::fresh();
    let mut setup = Setup::new([database.entry("shop", &database.reader)]);
    let token = setup.add_token();
    let server = setup.start();
    let initialize = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": { "name": "test", "version": "1" } } });
    let opened = server.post(&token, &initialize);
    let session = opened.header("mcp-session-id").unwrap();
    let ping = json!({ "jsonrpc": "2.0", "id": 2, "method": "ping" });
    let ping = Request::json(&ping)
        .bearer(&token.secret)
        .header("Mcp-Session-Id", session);
    let status = || server.client().send(&ping).unwrap().status;
    assert_eq!(status(), 200);
    let text = std::fs::read_to_string(setup.token_file()).unwrap();
    setup.remove_token(&token);
    assert_eq!(status(), 401);
    setup.replace_tokens(&text);
    assert_eq!(
        status(),
        404,
        "the token is known again, and its session is not"
    );
    assert_eq!(server.query(&token, "SELECT 1").value(), 1);
}

#[test]
fn a_token_that_is_bound_to_another_database_leaves_the_first_at_once() {
    let _turn = turn();
    let (one, two) = (Database::fresh(), Database::fresh());
    let mut setup = Setup::new([one.entry("one", &one.reader), two.entry("two", &two.reader)]);
    let token = setup.add_token_for("one");
    let server = setup.start();
    let name = |token| {
        server
            .query(token, "SELECT current_database()")
            .value()
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(name(&token), one.name);
    let text = std::fs::read_to_string(setup.token_file()).unwrap();
    setup.replace_tokens(
        &text
            .replace("database: one", "database: two")
            .replace("database: \"one\"", "database: \"two\""),
    );
    assert_eq!(name(&token), two.name);
}

#[test]
fn a_token_file_that_cannot_be_read_refuses_everybody_without_filling_the_log() {
    const REFUSED: &str = "requests are refused";
    let database = Database::fresh();
    let mut setup = Setup::new([database.entry("shop", &database.reader)]);
    let token = setup.add_token();
    let server = setup.start();
    let (file, aside) = (setup.token_file(), setup.path().join("aside.yaml"));
    std::fs::rename(&file, &aside).unwrap();
    // The first page of a process is never readable: to read it is an error of input and output.
    std::os::unix::fs::symlink("/proc/self/mem", &file).unwrap();
    for _ in 0..50 {
        let mut client = server.client();
        let answer = client.send(&Request::query(&token, "SELECT 1")).unwrap();
        assert_eq!(answer.status, 503, "{}", answer.text());
    }
    std::fs::rename(&aside, &file).unwrap();
    assert_eq!(server.query(&token, "SELECT 1").value(), 1);
    server.log.wait_for("(no change)");
    let lines = server.log.count(REFUSED);
    assert!((1..=10).contains(&lines), "{lines} lines\n{}", server.log);
}
