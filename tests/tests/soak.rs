//! Two thousand tokens within forty connections, while tokens are taken away at random.
//!
//! Runs for some seconds; `SOAK_SECONDS=120` makes it a soak. `SOAK_SEED` repeats a run.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use end_to_end::{Answer, Client, Database, Postgres, Request, Server, Setup, Token, wait};
use rustix::process::Signal;
use serde_json::{Value, json};
use token_store::Secret;

const TOKENS: usize = 2_000;
const BUDGET: usize = 40;
/// Tokens whose callers never pause, and how many callers each has.
const GREEDY: (usize, usize) = (4, 8);
/// Callers that go through all other tokens.
const WANDERERS: usize = 40;

/// Random numbers that depend only on the seed (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}

fn number_from(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// Everything that the threads of the test share.
struct World {
    tokens: Vec<Token>,
    /// The order in which tokens are removed: those before index `removed` are gone, or are just being removed.
    order: Vec<usize>,
    removed: AtomicUsize,
    stop: AtomicBool,
    calls: AtomicUsize,
    refused: AtomicUsize,
    served: Vec<AtomicUsize>,
    slowest: Mutex<Duration>,
    /// The token that each connection belonged to, by the backend's process id and start.
    owners: Mutex<HashMap<String, usize>>,
}

impl World {
    fn is_removed(&self, token: usize) -> bool {
        let removed = self.removed.load(Ordering::SeqCst);
        self.order[..removed].contains(&token)
    }

    /// Calls as a token, and checks that it sees nothing of any other.
    fn call(&self, client: &mut Client, token: usize) {
        let id = &self.tokens[token].id;
        let sql = format!(
            "SELECT current_setting('application_name'), \
                    coalesce(current_setting('soak.owner', true), ''), \
                    (SELECT pid || ' ' || backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()), \
                    set_config('soak.owner', '{id}', false), \
                    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()), \
                    pg_try_advisory_lock({token}), \
                    pg_sleep(0.002)"
        );
        let began = Instant::now();
        let request = Request::query(&self.tokens[token], &sql);
        let response = client.send(&request).unwrap();
        let took = began.elapsed();
        self.calls.fetch_add(1, Ordering::Relaxed);
        if response.status == 401 {
            assert!(self.is_removed(token), "{id} is refused");
            self.refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
        assert_eq!(response.status, 200, "{}", response.text());
        let answer = Answer::read(&response.json());
        if answer.is_error {
            assert!(
                self.is_removed(token),
                "{id} after {took:?}: {}",
                answer.text
            );
            return;
        }
        let row = &answer.structured["rows"][0];
        assert_eq!(row[0], format!("mcp/{id}"), "another token's connection");
        assert_eq!(row[1], "", "{id} finds what another call has set");
        assert_eq!(row[4], 0, "{id} finds another call's lock");
        let connection = row[2].as_str().unwrap().to_owned();
        let owner = *self
            .owners
            .lock()
            .unwrap()
            .entry(connection)
            .or_insert(token);
        assert_eq!(owner, token, "a connection was used by two tokens");
        self.served[token].fetch_add(1, Ordering::Relaxed);
        let mut slowest = self.slowest.lock().unwrap();
        *slowest = took.max(*slowest);
    }
}

fn make_tokens() -> Vec<Token> {
    (0..TOKENS)
        .map(|number| {
            let mut bytes = [0x5a; 32];
            bytes[..8].copy_from_slice(&(number as u64).to_le_bytes());
            let secret = Secret::from_random_bytes(&bytes);
            Token {
                secret: secret.expose().to_owned(),
                id: format!("token-{}", number + 1),
                hash_prefix: secret.hash().prefix(),
            }
        })
        .collect()
}

fn write_tokens<'a>(setup: &Setup, tokens: impl Iterator<Item = &'a Token>) {
    let mut text = String::from("tokens:\n");
    for Token { id, secret, .. } in tokens {
        let hash = token_store::TokenHash::of(secret).to_hex();
        writeln!(text, "  - id: {id}\n    hash: {hash}\n    note: \"\"\n    created_at: \"2026-01-01T00:00:00Z\"\n    expires_at: null").unwrap();
    }
    let new = setup.file("tokens.new", &text);
    std::fs::rename(new, setup.token_file()).unwrap();
}

/// Removes tokens, one every now and then, and checks that nothing of them is left.
fn revoke(world: &World, setup: &Setup, database: &Database<'_>, dice: &mut Dice) -> Duration {
    let observer = database.superuser();
    let mut slowest = Duration::ZERO;
    while !world.stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(20 + dice.below(200) as u64));
        let gone = world.removed.fetch_add(1, Ordering::SeqCst);
        let token = &world.tokens[world.order[gone]];
        let kept = world.order[gone + 1..].iter().map(|at| &world.tokens[*at]);
        write_tokens(setup, kept);
        let took = wait::until(
            "a removed token's connections close",
            Duration::from_secs(5),
            || observer.connections_of(token) == 0,
        );
        slowest = slowest.max(took);
    }
    slowest
}

/// Counts the server's connections until the end, and returns the highest number.
fn count(world: &World, database: &Database<'_>) -> usize {
    let observer = database.superuser();
    let mut most = 0;
    while !world.stop.load(Ordering::Relaxed) {
        let open = observer
            .value("select count(*) from pg_stat_activity where application_name like 'mcp/%'");
        most = most.max(open.parse().unwrap());
        std::thread::sleep(Duration::from_millis(5));
    }
    most
}

fn entry(database: &Database<'_>) -> Value {
    let mut entry = database.entry("shop", &database.reader);
    entry["host"] = json!(database.postgres.socket_dir());
    entry["allow_functions"] = json!(["set_config", "pg_try_advisory_lock"]);
    entry
}

#[test]
fn two_thousand_tokens_share_forty_connections_and_nothing_else() {
    let lasting = Duration::from_secs(number_from("SOAK_SECONDS", 10));
    let seed = number_from("SOAK_SEED", 0x5eed_cafe).max(1);
    let postgres = Postgres::with_settings(&[("max_connections", "60")]);
    let database = Database::fresh_in(&postgres);
    // PostgreSQL itself refuses more.
    database.superuser().run(&format!(
        "alter role {} connection limit {BUDGET}",
        database.reader.role
    ));
    let mut setup = Setup::new([entry(&database)]);
    setup.config["limits"] = json!({ "max_connections_total": BUDGET, "connection_wait": "20s" });
    let tokens = make_tokens();
    write_tokens(&setup, tokens.iter());
    let mut server = setup.start();

    let mut dice = Dice(seed);
    let mut order: Vec<usize> = (GREEDY.0..TOKENS).collect();
    for at in (1..order.len()).rev() {
        order.swap(at, dice.below(at + 1));
    }
    // The greedy tokens come last, and are never removed.
    order.extend(0..GREEDY.0);
    let world = World {
        served: tokens.iter().map(|_| AtomicUsize::new(0)).collect(),
        tokens,
        order,
        removed: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
        calls: AtomicUsize::new(0),
        refused: AtomicUsize::new(0),
        slowest: Mutex::default(),
        owners: Mutex::default(),
    };
    let next = AtomicUsize::new(0);
    let (most, closing) = std::thread::scope(|scope| {
        let world = &world;
        let _stop = StopAtTheEnd(&world.stop);
        let counting = scope.spawn(|| count(world, &database));
        let revoking = scope.spawn(|| revoke(world, &setup, &database, &mut dice));
        let mut callers = Vec::new();
        for greedy in (0..GREEDY.0).flat_map(|token| std::iter::repeat_n(token, GREEDY.1)) {
            let mut client = server.client();
            callers.push(scope.spawn(move || {
                while !world.stop.load(Ordering::Relaxed) {
                    world.call(&mut client, greedy);
                }
            }));
        }
        for _ in 0..WANDERERS {
            let (mut client, next) = (server.client(), &next);
            callers.push(scope.spawn(move || {
                while !world.stop.load(Ordering::Relaxed) {
                    let turn = next.fetch_add(1, Ordering::Relaxed);
                    // Some calls use the tokens that are just being removed.
                    let at = match turn % 8 {
                        0 => world.removed.load(Ordering::SeqCst) + turn / 8 % 3,
                        1 => world.removed.load(Ordering::SeqCst).saturating_sub(1),
                        _ => TOKENS - GREEDY.0 - 1 - turn % (TOKENS - GREEDY.0),
                    };
                    world.call(&mut client, world.order[at]);
                }
            }));
        }
        let end = Instant::now() + lasting;
        while Instant::now() < end && callers.iter().all(|caller| !caller.is_finished()) {
            std::thread::sleep(Duration::from_millis(20));
        }
        world.stop.store(true, Ordering::Relaxed);
        for caller in callers {
            caller.join().unwrap();
        }
        (counting.join().unwrap(), revoking.join().unwrap())
    });
    tell(&world, seed, lasting, most, closing);
    assert!(most <= BUDGET, "{most} connections");
    nothing_is_left(&mut server, &database);
}

/// Stops the other threads when one fails.
struct StopAtTheEnd<'a>(&'a AtomicBool);

impl Drop for StopAtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn tell(world: &World, seed: u64, lasting: Duration, most: usize, closing: Duration) {
    let counts = world
        .served
        .iter()
        .map(|count| count.load(Ordering::Relaxed));
    let served = counts
        .clone()
        .skip(GREEDY.0)
        .filter(|count| *count > 0)
        .count();
    let greedy: Vec<usize> = counts.take(GREEDY.0).collect();
    let facts = BTreeMap::from([
        ("seed", seed.to_string()),
        ("seconds", lasting.as_secs().to_string()),
        ("calls", world.calls.load(Ordering::Relaxed).to_string()),
        (
            "calls of removed tokens that were refused",
            world.refused.load(Ordering::Relaxed).to_string(),
        ),
        ("tokens served", (served + GREEDY.0).to_string()),
        (
            "tokens removed",
            world.removed.load(Ordering::Relaxed).to_string(),
        ),
        ("calls of the greedy tokens", format!("{greedy:?}")),
        (
            "connections opened",
            world.owners.lock().unwrap().len().to_string(),
        ),
        ("most connections at once", most.to_string()),
        (
            "slowest call",
            format!("{:?}", world.slowest.lock().unwrap()),
        ),
        ("slowest end of a removed token", format!("{closing:?}")),
    ]);
    for (what, value) in facts {
        println!("{what}: {value}");
    }
}

fn nothing_is_left(server: &mut Server, database: &Database<'_>) {
    server.signal(Signal::TERM);
    let status = server.wait(Duration::from_secs(20));
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
    let observer = database.superuser();
    wait::until("every connection is closed", Duration::from_secs(5), || {
        observer.value("select count(*) from pg_stat_activity where application_name like 'mcp/%'")
            == "0"
    });
}
