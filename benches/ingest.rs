//! What a sample costs on its way in and back out, in process: synced batches into a store on disk, then one scan of
//! everything. `cargo bench --bench ingest`; compare with the commit before in one run, never alone.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::sync::Arc;
use std::time::Instant;

use model::{Budget, Labels, Scope};
use query::{EngineOptions, run_instant};
use storage::{Db, DbOptions, RawKey, Resolved, SystemClock};

const SERIES: u64 = 10_000;
const ROUNDS: u64 = 240;
const STEP_MS: i64 = 15_000;

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(DbOptions::new(dir.path().join("data")), Arc::new(SystemClock)).unwrap();
    let started = Instant::now();
    for round in 0..ROUNDS {
        let mut batch = db.batch();
        for n in 0..SERIES {
            let key = RawKey { context: 0, hash: u128::from(n) };
            let series = match batch.resolve(key) {
                Some(Resolved::Series(series)) => series,
                _ => {
                    let instance = format!("host-{n}");
                    let pairs = [("__name__", "load"), ("instance", &instance), ("job", "bench")];
                    batch.define(Some(key), &Labels::from_pairs(pairs).unwrap()).unwrap()
                }
            };
            batch.push(series, i64::try_from(round).unwrap() * STEP_MS, (n + round) as f64).unwrap();
        }
        batch.commit().unwrap();
    }
    report("write, synced", started);
    let end_ms = i64::try_from(ROUNDS).unwrap() * STEP_MS;
    for (name, flushed) in [("sum of rates, head", false), ("sum of rates, segments", true)] {
        if flushed {
            db.flush().unwrap();
        }
        let started = Instant::now();
        let snapshot = db.snapshot();
        let expression = "sum by (job) (rate(load[2h]))";
        let (options, budget) = (EngineOptions::default(), Budget::unlimited());
        run_instant(&snapshot, &Scope::default(), expression, end_ms, &options, &budget).unwrap();
        report(name, started);
    }
    db.close().unwrap();
}

fn report(what: &str, started: Instant) {
    let elapsed = started.elapsed();
    println!("{what}: {elapsed:?}, {:.1} ns per sample", elapsed.as_nanos() as f64 / (SERIES * ROUNDS) as f64);
}
