//! What reading series of segments costs: samples, what statistics answer, times alone, and groups by labels.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

mod store;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use model::{Budget, Cuts, Pieces, SampleColumns, Scope, SeriesSource, TimeRange, Want};

fn scan(criterion: &mut Criterion) {
    let (processes, metrics, samples) = (40, 5, 2_400);
    let dir = tempfile::tempdir().unwrap();
    let db = store::open(&dir.path().join("data"));
    store::fill(&db, processes, metrics, samples);
    let (snapshot, budget, all) = (db.snapshot(), Budget::unlimited(), TimeRange::ALL);
    let set = snapshot.select(&Scope::default(), &[], all, &budget).unwrap();
    let mut group = criterion.benchmark_group("scan");
    group.throughput(Throughput::Elements((processes * metrics * samples) as u64));
    let mut columns = SampleColumns::default();
    group.bench_function("samples", |bencher| {
        bencher.iter(|| (0..set.len()).for_each(|i| set.samples(i, all, &budget, black_box(&mut columns)).unwrap()))
    });
    group.bench_function("times", |bencher| {
        bencher.iter(|| (0..set.len()).for_each(|i| set.times(i, all, &budget, black_box(&mut columns)).unwrap()))
    });
    group.bench_function("newest", |bencher| {
        bencher
            .iter(|| (0..set.len()).for_each(|i| set.newest(i, all, true, &budget, black_box(&mut columns)).unwrap()))
    });
    let mut pieces = Pieces::default();
    for (name, want) in [("count", Want::COUNT), ("sum", Want::SUM), ("ends", Want::END_TIMES.and(Want::END_VALUES))] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let read = |i| set.pieces(i, all, want, &Cuts::NONE, &budget, black_box(&mut pieces)).unwrap();
                (0..set.len()).for_each(read);
            })
        });
    }
    group.bench_function("groups", |bencher| bencher.iter(|| set.groups(&|name| name == "job", &budget).unwrap()));
    group.bench_function("labels", |bencher| {
        bencher.iter(|| (0..set.len()).for_each(|i| drop(black_box(set.labels(i).unwrap()))))
    });
}

criterion_group!(benches, scan);
criterion_main!(benches);
