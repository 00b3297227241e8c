//! Rows as PostgreSQL sent them, written as a model reads them and as a program does.

use std::hint::black_box;

use bytes::{BufMut, BytesMut};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pg_tools::measured::Received;
use tokio_postgres::types::Type;

const COLUMNS: [(&str, Type); 6] = [
    ("id", Type::INT4),
    ("name", Type::TEXT),
    ("email", Type::TEXT),
    ("country", Type::TEXT),
    ("score", Type::FLOAT8),
    ("created_at", Type::TIMESTAMPTZ),
];

fn render(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("render");
    for (kind, name) in [
        ("plain", "user name"),
        ("to be escaped", "the \"user\"\n\tname"),
    ] {
        for count in [1, 1_000] {
            let rows: Vec<_> = (0..count).map(|number| row(number, name)).collect();
            let received = Received::of(&COLUMNS, rows.iter().map(AsRef::as_ref));
            let received = received.expect("rows");
            let bytes: usize = rows.iter().map(|row| row.len()).sum();
            group.throughput(Throughput::Bytes(bytes as u64));
            group.bench_function(BenchmarkId::new(kind, count), |bencher| {
                bencher.iter(|| black_box(&received).render());
            });
        }
    }
    group.finish();
}

/// Writes a row in the form of the wire.
fn row(number: u32, name: &str) -> BytesMut {
    let values = [
        number.to_string(),
        format!("{name} {number}"),
        format!("user{number}@example.com"),
        "DE".into(),
        format!("{}.857142857142857", number % 1_000),
        "2024-01-01 00:01:00+00".into(),
    ];
    let mut row = BytesMut::new();
    row.put_u16(6);
    for value in values {
        row.put_u32(u32::try_from(value.len()).expect("short"));
        row.put_slice(value.as_bytes());
    }
    row
}

criterion_group!(benches, render);
criterion_main!(benches);
