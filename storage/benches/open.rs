//! What opening a store costs, whose samples are in a segment, and a store whose samples are in the WAL.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

mod store;

use criterion::{Criterion, criterion_group, criterion_main};

fn open(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let db = store::open(&data);
    store::fill(&db, 500, 20, 20);
    db.close().unwrap();
    criterion.bench_function("open, 10,000 series in a segment", |bencher| {
        bencher.iter_with_large_drop(|| store::open(&data));
    });
}

criterion_group!(benches, open);
criterion_main!(benches);
