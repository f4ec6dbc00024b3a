//! What finding series costs: by pairs, alternatives, prefixes and expressions that must be tried on every value, and
//! the values of a label. There are a thousand names of metrics: more than most stores have.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

mod store;

use criterion::{Criterion, criterion_group, criterion_main};
use model::{Budget, MatchOp, Matcher, Scope, SeriesSource, TimeRange};

fn index(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let db = store::open(&dir.path().join("data"));
    store::fill(&db, 20, 1_000, 2);
    let (snapshot, budget, scope, all) = (db.snapshot(), Budget::unlimited(), Scope::default(), TimeRange::ALL);
    for (name, label, op, value) in [
        ("pair", "__name__", MatchOp::Equal, "engine_task_0_total"),
        ("alternatives", "__name__", MatchOp::Regex, "engine_task_0_total|engine_operator_1_total"),
        ("prefix", "__name__", MatchOp::Regex, "engine_task_1.*"),
        ("substring", "__name__", MatchOp::Regex, ".*point_98.*"),
        ("negative", "__name__", MatchOp::NotRegex, "engine_task.*"),
        ("instances", "instance", MatchOp::Regex, "10\\..*[05]:9249"),
        ("all", "__name__", MatchOp::NotEqual, ""),
    ] {
        let matchers = [Matcher::new(label, op, value).unwrap()];
        criterion.bench_function(&format!("select {name}"), |bencher| {
            bencher.iter(|| snapshot.select(&scope, &matchers, all, &budget).unwrap().len())
        });
    }
    for label in ["__name__", "job"] {
        criterion.bench_function(&format!("values of {label}"), |bencher| {
            bencher.iter(|| snapshot.label_values(&scope, label, &[], all, &budget).unwrap().len())
        });
    }
    criterion.bench_function("names of labels", |bencher| {
        bencher.iter(|| snapshot.label_names(&scope, &[], all, &budget).unwrap().len())
    });
}

criterion_group!(benches, index);
criterion_main!(benches);
