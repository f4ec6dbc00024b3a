//! What finding metrics by a part of their name costs: with 1,000 and 40,000 names in one segment, and with 40,000 in
//! each of 30 days.
//!
//! Every series carries its name a second time, in the label `copy`: only names have an index of what they contain, so
//! the same expression on `copy` says what it costs to try it on every value.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use model::{Budget, Labels, MatchOp, Matcher, Scope, SeriesSource, TimeRange};
use streamgauge_storage::{Db, DbOptions, SystemClock};

const SUBSYSTEMS: usize = 40;
const OBJECTS: [&str; 20] = [
    "cpu",
    "memory",
    "network_receive",
    "network_transmit",
    "disk_read",
    "disk_write",
    "requests",
    "responses",
    "connections",
    "sessions",
    "queue",
    "buffer",
    "cache_hits",
    "cache_misses",
    "compactions",
    "checkpoints",
    "restarts",
    "threads",
    "allocations",
    "errors",
];
const UNITS: [&str; 50] = [
    "usage_seconds_total",
    "usage_bytes",
    "limit",
    "count",
    "sum",
    "bucket",
    "total",
    "rate",
    "ratio",
    "max",
    "min",
    "mean",
    "p50",
    "p95",
    "p99",
    "current",
    "pending",
    "waiting",
    "failed_total",
    "dropped_total",
    "created",
    "age_seconds",
    "duration_seconds_bucket",
    "duration_seconds_count",
    "duration_seconds_sum",
    "size_bytes_bucket",
    "size_bytes_count",
    "size_bytes_sum",
    "active",
    "idle",
    "blocked",
    "retries_total",
    "timeouts_total",
    "lag",
    "lag_seconds",
    "offset",
    "open",
    "closed_total",
    "info",
    "state",
    "last_timestamp_seconds",
    "capacity",
    "free_bytes",
    "used_bytes",
    "evictions_total",
    "length",
    "depth",
    "utilization",
    "weight",
    "interval_seconds",
];
/// A day's start.
const START_MS: i64 = 1_700_006_400_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// So many names of 40,000.
fn names(count: usize) -> Vec<String> {
    let mut names = Vec::new();
    for subsystem in 0..SUBSYSTEMS {
        for object in OBJECTS {
            names.extend(UNITS.iter().map(|unit| format!("service{subsystem:02}_{object}_{unit}")));
        }
    }
    let every = names.len() / count;
    names.into_iter().step_by(every).take(count).collect()
}

/// A sample of each name a day.
fn fill(db: &Db, names: &[String], days: usize) {
    for day in 0..days {
        let mut batch = db.batch();
        for name in names {
            let labels = Labels::from_pairs([("__name__", name.as_str()), ("copy", name.as_str())]).unwrap();
            let series = batch.define(None, &labels).unwrap();
            batch.push(series, START_MS + i64::try_from(day).unwrap() * DAY_MS, 1.0).unwrap();
        }
        batch.commit().unwrap();
        db.flush().unwrap();
    }
    db.compact().unwrap();
}

fn parts_of_names(criterion: &mut Criterion) {
    let names = names(40_000);
    criterion.bench_function("plain scan of the texts", |bencher| {
        bencher.iter(|| names.iter().filter(|name| name.contains("cpu")).count())
    });
    for (count, days) in [(1_024, 1), (40_000, 1), (40_000, 30)] {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(DbOptions::new(dir.path().join("data")), Arc::new(SystemClock)).unwrap();
        fill(&db, &self::names(count), days);
        let (snapshot, budget, scope, all) = (db.snapshot(), Budget::unlimited(), Scope::default(), TimeRange::ALL);
        for (what, expression) in [
            ("part", ".*cpu.*"),
            ("rare part", ".*07_queue_len.*"),
            ("parts", ".*network.*dropped.*"),
            ("alternatives", ".+_bucket|.*requests.*"),
            ("any case", "(?i).*CPU.*"),
            ("nothing", ".*kafka.*"),
        ] {
            for label in ["__name__", "copy"] {
                let matchers = [Matcher::new(label, MatchOp::Regex, expression).unwrap()];
                criterion.bench_function(&format!("{count} names, {days} days, {what} of {label}"), |bencher| {
                    bencher.iter(|| snapshot.select(&scope, &matchers, all, &budget).unwrap().len())
                });
            }
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = parts_of_names
}
criterion_main!(benches);
