//! What the head takes for a series that is known, for a new one, and for a sample.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

#[allow(dead_code, reason = "other benchmarks use the rest")]
mod store;

use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use streamgauge_storage::{RawKey, SeriesRef};

const METRICS: usize = 20;
/// Series in the head: more than a processor's caches hold.
const PROCESSES: usize = 10_000;
/// Series of one request.
const REQUEST: usize = 5000;

/// Stands for the keyed hash of a series' label bytes.
fn key(process: usize, metric: usize) -> RawKey {
    let spread = |n: u64| {
        u128::from((n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29).wrapping_mul(0xBF58_476D_1CE4_E5B9))
    };
    let number = (process * METRICS + metric) as u64;
    RawKey { context: 1, hash: spread(number) << 64 | spread(number + (1 << 40)) }
}

fn head(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let db = store::open(&dir.path().join("data"));
    let mut batch = db.batch();
    let all = || (0..PROCESSES).flat_map(|process| (0..METRICS).map(move |metric| (process, metric)));
    let series: Vec<SeriesRef> =
        all().map(|(p, m)| batch.define(Some(key(p, m)), &store::labels(p, m)).unwrap()).collect();
    let keys: Vec<RawKey> = all().map(|(process, metric)| key(process, metric)).collect();

    let mut group = criterion.benchmark_group("head");
    group.sample_size(20).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    group.throughput(Throughput::Elements(REQUEST as u64));
    let mut requests = keys.chunks(REQUEST).cycle();
    group.bench_function("resolve 5,000 of 200,000 series, one by one", |bencher| {
        bencher.iter(|| {
            let known = requests.next().into_iter().flatten().filter(|key| batch.resolve(**key).is_some()).count();
            assert_eq!(known, REQUEST);
        });
    });
    let mut known = Vec::new();
    group.bench_function("resolve 5,000 of 200,000 series, 64 at once", |bencher| {
        bencher.iter(|| {
            for some in requests.next().unwrap().chunks(64) {
                batch.resolve_all(some, &mut known);
                assert!(known.iter().all(Option::is_some));
            }
        });
    });
    group.bench_function("push 5,000 samples", |bencher| {
        bencher.iter_with_large_drop(|| {
            let mut batch = db.batch();
            for (i, series) in series.iter().take(REQUEST).enumerate() {
                batch.push(*series, store::START_MS, i as f64).unwrap();
            }
            batch
        });
    });
    let mut next = PROCESSES;
    group.sample_size(10).bench_function("define 5,000 new series", |bencher| {
        let fresh = || {
            let first = next;
            next += REQUEST / METRICS;
            let new = (first..next).flat_map(|process| (0..METRICS).map(move |metric| (process, metric)));
            new.map(|(p, m)| (key(p, m), store::labels(p, m))).collect::<Vec<_>>()
        };
        let mut batch = db.batch();
        bencher.iter_batched(
            fresh,
            |new| new.iter().for_each(|(key, labels)| _ = batch.define(Some(*key), labels).unwrap()),
            BatchSize::PerIteration,
        );
    });
}

criterion_group!(benches, head);
criterion_main!(benches);
