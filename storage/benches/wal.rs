//! What a batch costs until it is durable, and what bringing the head back from the WAL costs.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

#[allow(dead_code, reason = "other benchmarks use the rest")]
mod store;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use streamgauge_storage::{Db, DbOptions, SystemClock, WalSync};

const PROCESSES: usize = 250;
const METRICS: usize = 20;
const SERIES: u64 = 5000;

fn commit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("a batch of 5,000 samples");
    group.throughput(Throughput::Elements(SERIES)).sample_size(10);
    let rare = WalSync::Interval(Duration::from_secs(3600));
    for (name, wal_sync) in [("written and synced", WalSync::Always), ("written", rare)] {
        let dir = tempfile::tempdir().unwrap();
        let options = DbOptions { wal_sync, ..DbOptions::new(dir.path().join("data")) };
        let db = Db::open(options, Arc::new(SystemClock)).unwrap();
        let series: Vec<_> = (0..PROCESSES).flat_map(|process| (0..METRICS).map(move |m| (process, m))).collect();
        let series: Vec<_> = {
            let mut batch = db.batch();
            series.iter().map(|(process, m)| batch.define(None, &store::labels(*process, *m)).unwrap()).collect()
        };
        let mut round = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                round += 1;
                let mut batch = db.batch();
                for (i, series) in series.iter().enumerate() {
                    batch.push(*series, store::START_MS + round * 15_000, (i as i64 * round) as f64).unwrap();
                }
                batch.commit().unwrap()
            });
        });
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn replay(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let (written, copies) = (dir.path().join("written"), dir.path().join("copies"));
    let db = store::open(&written);
    (0..6).for_each(|round| store::write(&db, 2500, METRICS, round));
    // As after a crash: nothing is flushed.
    drop(db);
    let mut group = criterion.benchmark_group("replay");
    group.throughput(Throughput::Elements(6 * 2500 * METRICS as u64)).sample_size(10);
    group.bench_function("300,000 samples of 50,000 series", |bencher| {
        let mut number = 0;
        let fresh = || {
            number += 1;
            let data = copies.join(number.to_string());
            copy(&written, &data);
            data
        };
        // Only a replay reads what was never flushed.
        let opened = |data: std::path::PathBuf| {
            let db = store::open(&data);
            assert_eq!(db.series_count(), 2500 * METRICS as u64);
            db
        };
        bencher.iter_batched(fresh, opened, BatchSize::PerIteration);
    });
}

criterion_group!(benches, commit, replay);
criterion_main!(benches);
