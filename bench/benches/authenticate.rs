//! A token's way from its text to its entry, among few tokens and many.

use std::hint::black_box;

use bench::world::tokens;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use time::OffsetDateTime;

/// So many that the processor's caches do not hold what is looked up.
const SECRETS: u64 = 100_000;

fn authenticate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("authenticate");
    let now = OffsetDateTime::UNIX_EPOCH;
    for count in [10, 10_000, 1_000_000] {
        let (set, secrets) = tokens(count, SECRETS);
        let mut presented = secrets.iter().cycle();
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| {
                let secret = presented.next().expect("a cycle");
                let accepted = set.authenticate(black_box(secret.expose()), now);
                black_box(accepted.expect("known").token.id.as_str().len())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, authenticate);
criterion_main!(benches);
