//! A store on disk for the benchmarks: processes with some metrics each, flushed and compacted.

use std::path::Path;
use std::sync::Arc;

use model::Labels;
use streamgauge_storage::{Db, DbOptions, SystemClock};

/// A day's start, so that there is one partition.
pub(crate) const START_MS: i64 = 1_700_006_400_000;

/// Opens a database.
pub(crate) fn open(dir: &Path) -> Db {
    Db::open(DbOptions::new(dir), Arc::new(SystemClock)).unwrap()
}

/// The labels of a metric of a process.
pub(crate) fn labels(process: usize, metric: usize) -> Labels {
    let instance = format!("10.0.{}.{}:9249", process / 250, process % 250);
    let name = format!("engine_{}_{metric}_total", ["task", "operator", "checkpoint"][metric % 3]);
    let job = format!("pipeline-{:02}", process % 20);
    Labels::from_pairs([("__name__", name.as_str()), ("instance", &instance), ("job", &job)]).unwrap()
}

/// Writes the next sample of all series, in one batch.
pub(crate) fn write(db: &Db, processes: usize, metrics: usize, round: usize) {
    let mut batch = db.batch();
    for process in 0..processes {
        for metric in 0..metrics {
            let series = batch.define(None, &labels(process, metric)).unwrap();
            let value = (round * (process + 1) + metric) as f64;
            batch.push(series, START_MS + i64::try_from(round).unwrap() * 15_000, value).unwrap();
        }
    }
    batch.commit().unwrap();
}

/// Writes `processes` with `metrics` each and so many samples of every series.
pub(crate) fn fill(db: &Db, processes: usize, metrics: usize, samples: usize) {
    (0..samples).for_each(|round| write(db, processes, metrics, round));
    db.flush().unwrap();
    db.compact().unwrap();
}
