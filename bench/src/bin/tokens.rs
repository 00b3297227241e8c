//! What tokens cost: a look-up, a reload and memory by their number, and 64 threads at once.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use bench::world::tokens;
use time::OffsetDateTime;
use token_store::{Secret, TokenSet};

fn main() {
    println!(
        "| tokens | look-up | reload of a file | memory a token |\n| ---: | ---: | ---: | ---: |"
    );
    for count in [10, 10_000, 100_000, 1_000_000] {
        let before = bench::resident_kib(u64::from(std::process::id()));
        let (set, secrets) = tokens(count, 1_000);
        let after = bench::resident_kib(u64::from(std::process::id()));
        let memory = (after.saturating_sub(before)) * 1024 / count;
        let look_up = median(9, || look_up(&set, &secrets));
        let yaml = set.to_yaml();
        let reload = median(if count > 100_000 { 1 } else { 5 }, || {
            let begin = Instant::now();
            black_box(TokenSet::parse(yaml.as_bytes()).expect("our own form"));
            begin.elapsed()
        });
        println!("| {count} | {look_up:.2?} | {reload:.2?} | {memory} bytes |");
    }
    contention();
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

fn median(rounds: usize, mut measure: impl FnMut() -> Duration) -> Duration {
    let mut all: Vec<Duration> = (0..rounds).map(|_| measure()).collect();
    all.sort_unstable();
    all[rounds / 2]
}
