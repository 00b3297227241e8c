//! What tokens cost: a look-up, a reload and memory by their number and their policies, and 64 threads at once.

use std::{
    fmt::Write,
    hint::black_box,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use bench::world::tokens;
use time::OffsetDateTime;
use token_store::{Secret, TokenHash, TokenSet};

/// How many tokens, and whether each has a policy of its own.
const ROWS: [(u64, bool); 6] = [
    (10, false),
    (10_000, false),
    (100_000, false),
    (1_000_000, false),
    (10_000, true),
    (100_000, true),
];

/// Secrets that are looked up, from all over the set.
const SECRETS: u64 = 1_000;

/// glibc takes more than 32 MiB from the system by themselves, and gives them back: a file's text leaves nothing behind.
const LARGE: usize = 33 << 20;

/// Without arguments prints everything; with a number of tokens, and 1 for policies or 0, one row alone.
fn main() -> ExitCode {
    let arguments: Vec<u64> = std::env::args()
        .skip(1)
        .filter_map(|argument| argument.parse().ok())
        .collect();
    if let [count, own_policies] = arguments[..] {
        row(count, own_policies == 1);
        return ExitCode::SUCCESS;
    }
    println!(
        "| tokens | policies | look-up | first reading | reload | memory a token | after reloads |\n| ---: | --- | ---: | ---: | ---: | ---: | ---: |"
    );
    // What one row leaves to the allocator would be the next one's.
    let myself = std::env::current_exe().expect("the program's own path");
    for (count, own_policies) in ROWS {
        let arguments = [count, u64::from(own_policies)].map(|number| number.to_string());
        let status = Command::new(&myself).args(arguments).status();
        if !status.is_ok_and(|status| status.success()) {
            return ExitCode::FAILURE;
        }
    }
    contention();
    ExitCode::SUCCESS
}

fn row(count: u64, own_policies: bool) {
    // The program's own pages come into memory with the first tokens of all, and are not theirs.
    let (few, changed) = (file(10, own_policies, 0), file(10, own_policies, 1));
    let before = parse(&few);
    drop(before.parse_next(changed.as_bytes()));
    drop((before, few, changed));
    let resident = || bench::resident_kib(u64::from(std::process::id()));
    let before = resident();
    let memory = || resident().saturating_sub(before) * 1024 / count;
    let mut set = parse(&file(count, own_policies, 0));
    let at_first = memory();
    let mut reloads = Vec::new();
    for round in 1..=if count > 100_000 { 3 } else { 20 } {
        let text = file(count, own_policies, round);
        let begin = Instant::now();
        let next = set.parse_next(text.as_bytes()).expect("our own form");
        reloads.push(begin.elapsed());
        set = next;
    }
    let at_last = memory();
    let secrets: Vec<Secret> = (0..SECRETS)
        .map(|some| secret(some * count / SECRETS))
        .collect();
    let look_up = median((0..9).map(|_| look_up(&set, &secrets)));
    drop(set);
    let text = file(count, own_policies, 0);
    let first = median((0..5).map(|_| {
        let begin = Instant::now();
        let set = black_box(parse(&text));
        let took = begin.elapsed();
        drop(set);
        took
    }));
    let policies = if own_policies {
        "all different"
    } else {
        "none"
    };
    let reload = median(reloads.into_iter());
    println!(
        "| {count} | {policies} | {look_up:.2?} | {first:.2?} | {reload:.2?} | {at_first} bytes | {at_last} bytes |"
    );
}

fn parse(text: &str) -> TokenSet {
    TokenSet::parse(text.as_bytes()).expect("our own form")
}

fn secret(number: u64) -> Secret {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    Secret::from_random_bytes(&bytes)
}

/// A token file. From round to round one note in a hundred is another one.
fn file(count: u64, own_policies: bool, round: u64) -> String {
    let entry = if own_policies { 400 } else { 240 };
    let mut out = String::with_capacity(LARGE.max(usize::try_from(count * entry).expect("bytes")));
    out.push_str("tokens:\n");
    for number in 0..count {
        let hash = quoted_if_number(&secret(number).hash());
        let edition = if number % 100 == round % 100 {
            round
        } else {
            0
        };
        let second = 1_730_000_000 + number;
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "  - id: token-{second}\n    hash: {hash}\n    note: Service {number} of team {edition}\n    created_at: \"2026-01-02T03:04:05Z\"\n    expires_at: \"2027-01-02T03:04:05Z\"\n"
        );
        if own_policies {
            let (high, low) = (number / 250 % 250, number % 250);
            let rows = number + 1;
            let _ = write!(
                out,
                "    tools: [query_database, count_rows, tool_{number}]\n    limits: {{rows: {rows}, statement_timeout: 10s}}\n    allow_from: [\"10.{high}.{low}.0/24\"]\n"
            );
        }
    }
    out
}

fn quoted_if_number(hash: &TokenHash) -> String {
    let digits = hash.to_hex();
    let is_letter = |digit: u8| matches!(digit, b'a'..=b'd' | b'f');
    if digits.bytes().any(is_letter) {
        digits
    } else {
        format!("\"{digits}\"")
    }
}

/// The mean time of a look-up.
fn look_up(set: &TokenSet, secrets: &[Secret]) -> Duration {
    const ROUNDS: u32 = 20;
    let now = OffsetDateTime::UNIX_EPOCH;
    let begin = Instant::now();
    for _ in 0..ROUNDS {
        for secret in secrets {
            black_box(set.authenticate(black_box(secret.expose()), now)).expect("known");
        }
    }
    begin.elapsed() / ROUNDS / u32::try_from(secrets.len()).expect("few")
}

/// 64 threads that look tokens of their own up against one, by CPU time a look-up: waiting for a lock
/// would cost system calls and time.
fn contention() {
    const LOOK_UPS: u64 = 200_000;
    let (set, secrets) = tokens(10_000, 1_000);
    let cost = |threads: u64| {
        let pid = u64::from(std::process::id());
        let before = bench::cpu_us(pid);
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let (set, secret) = (&set, &secrets[usize::try_from(thread).expect("few")]);
                scope.spawn(move || {
                    for _ in 0..LOOK_UPS / threads * 16 {
                        let now = OffsetDateTime::UNIX_EPOCH;
                        black_box(set.authenticate(black_box(secret.expose()), now))
                            .expect("known");
                    }
                });
            }
        });
        #[allow(clippy::cast_precision_loss)]
        let look_ups = (LOOK_UPS * 16) as f64;
        (bench::cpu_us(pid) - before) * 1e3 / look_ups
    };
    println!(
        "\nCPU a look-up with 1 thread {:.0} ns, with 64 threads {:.0} ns",
        cost(1),
        cost(64)
    );
}

fn median(all: impl Iterator<Item = Duration>) -> Duration {
    let mut all: Vec<Duration> = all.collect();
    all.sort_unstable();
    all[all.len() / 2]
}
