//! What queries cost over a store on disk that was flushed and compacted: full scans that statistics answer and that
//! they do not, selections of everything, and what dashboards ask. Times are CPU time of the process and wall-clock.
//!
//! `cargo bench --bench scan`; `SCAN_SERIES` (10,000) and `SCAN_SAMPLES` of each (240) size the store, `SCAN_DIR` keeps it
//! for the next run, `SCAN_ONLY` runs the queries whose text contains it, `SCAN_RUNS` times each (5).

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use model::{Budget, Labels, Scope, SeriesSource, Steps, TimeRange};
use query::{EngineOptions, Value, run_instant, run_range};
use storage::{Db, DbOptions, RawKey, Resolved, SystemClock};

const STEP_MS: i64 = 15_000;
/// A day's start, so that the store has one partition unless it is longer.
const START_MS: i64 = 1_700_006_400_000;
/// Series of one process.
const METRICS: u64 = 30;
const BOUNDS: [&str; 12] =
    ["0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf"];

fn main() {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let (series, samples) = (number("SCAN_SERIES", 10_000), number("SCAN_SAMPLES", 240));
    let temporary = tempfile::tempdir().unwrap();
    let dir = std::env::var_os("SCAN_DIR").map_or_else(|| temporary.path().join("data"), PathBuf::from);
    let is_filled = dir.exists();
    let db = Db::open(DbOptions::new(&dir), Arc::new(SystemClock)).unwrap();
    if !is_filled {
        fill(&db, series, samples);
    }
    println!("{series} series x {samples} samples, {} MB resident", resident_mb());
    let end_ms = START_MS + i64::try_from(samples).unwrap() * STEP_MS;
    let runs = number("SCAN_RUNS", 5);
    let only = std::env::var("SCAN_ONLY").unwrap_or_default();
    let all_ms = end_ms - START_MS;
    let step_ms = (all_ms / 240).max(1);
    for (name, expression, span_ms) in [
        ("count of all samples", format!("sum(count_over_time({{__name__=~\".+\"}}[{all_ms}ms]))"), 0),
        ("variance of all samples", format!("sum(stdvar_over_time({{__name__=~\".+\"}}[{all_ms}ms]))"), 0),
        ("sum of all samples", format!("sum(sum_over_time({{__name__=~\".+\"}}[{all_ms}ms]))"), 0),
        ("count of all series", "count({__name__!=\"\"})".to_owned(), 0),
        ("count by process", "count(count by (tm_id) ({__name__=~\"flink_.+\"}))".to_owned(), 0),
        ("names by expression", "count by (__name__) ({__name__=~\"flink_task_.*\", instance=~\"10\\\\..*[05]:9249\"})".to_owned(), 0),
        ("sum by job of rates", "sum by (job) (rate(flink_task_counter_0_total[5m]))".to_owned(), 0),
        ("sum by job of rates, 1 h", "sum by (job) (rate(flink_task_counter_0_total[5m]))".to_owned(), 3_600_000),
        ("ratio of sums, 1 h", "sum by (job) (rate(flink_task_counter_0_total[5m])) / on (job) sum by (job) (rate(flink_task_counter_1_total[5m]))".to_owned(), 3_600_000),
        ("quantile of histograms", "histogram_quantile(0.99, sum by (le, job) (rate(flink_duration_seconds_bucket[5m])))".to_owned(), 6 * 3_600_000),
        ("top of rates", "topk(10, rate(flink_task_counter_0_total[5m]))".to_owned(), 0),
        ("rates of all, long", format!("sum by (job) (rate(flink_task_counter_1_total[{}ms]))", 2 * step_ms), all_ms),
    ] {
        if !name.contains(&only) && !expression.contains(&only) {
            continue;
        }
        let run = || {
            let (snapshot, budget) = (db.snapshot(), Budget::unlimited());
            let options = EngineOptions { threads: 2, ..EngineOptions::default() };
            let answer = if span_ms == 0 {
                run_instant(&snapshot, &Scope::default(), &expression, end_ms, &options, &budget)
            } else {
                let start_ms = (end_ms - span_ms).max(START_MS);
                let steps = Steps { start_ms, end_ms, step_ms: step_ms.max(60_000) };
                run_range(&snapshot, &Scope::default(), &expression, steps, &options, &budget)
            };
            match answer.unwrap().value {
                Value::Vector(vector) => vector.len(),
                Value::Matrix(matrix) => matrix.len(),
                Value::Scalar(_) | Value::String(_) => 1,
            }
        };
        measure(name, runs, run);
    }
    let labels = |name: &'static str| {
        let db = &db;
        move || {
            let (snapshot, budget) = (db.snapshot(), Budget::unlimited());
            snapshot.label_values(&Scope::default(), name, &[], TimeRange::ALL, &budget).unwrap().len()
        }
    };
    measure("values of instance", runs, labels("instance"));
    measure("values of job", runs, labels("job"));
    measure("names of labels", runs, || {
        let (snapshot, budget) = (db.snapshot(), Budget::unlimited());
        snapshot.label_names(&Scope::default(), &[], TimeRange::ALL, &budget).unwrap().len()
    });
    measure("selection of all", runs, || {
        let (snapshot, budget) = (db.snapshot(), Budget::unlimited());
        snapshot.select(&Scope::default(), &[], TimeRange::ALL, &budget).unwrap().len()
    });
    println!("{} MB resident, at most {} MB", resident_mb(), peak_mb());
    db.close().unwrap();
}

fn measure(name: &str, runs: u64, run: impl Fn() -> usize) {
    let (mut cpu, mut wall, mut results) = (Vec::new(), Vec::new(), 0);
    for _ in 0..runs {
        let (started, before) = (Instant::now(), cpu_seconds());
        results = run();
        cpu.push(cpu_seconds() - before);
        wall.push(started.elapsed().as_secs_f64());
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2] * 1e3
    };
    println!("{name:28} {:9.2} ms CPU {:9.2} ms  {results} results", median(&mut cpu), median(&mut wall));
}

/// User and system time of the process.
fn cpu_seconds() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

fn status_mb(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn resident_mb() -> u64 {
    status_mb("VmRSS:")
}

fn peak_mb() -> u64 {
    status_mb("VmHWM:")
}

/// Writes all samples, a batch for each 100 processes and time, then flushes and compacts.
fn fill(db: &Db, series: u64, samples: u64) {
    let started = Instant::now();
    let processes = series.div_ceil(METRICS);
    for round in 0..samples {
        for part in (0..processes).step_by(150) {
            let mut batch = db.batch();
            for process in part..(part + 150).min(processes) {
                let offset_ms = i64::try_from(mix(process) % 15_000).unwrap();
                let timestamp_ms = START_MS + i64::try_from(round).unwrap() * STEP_MS + offset_ms;
                for metric in 0..METRICS.min(series - process * METRICS) {
                    let key = RawKey { context: 0, hash: u128::from(process * METRICS + metric) };
                    let series = match batch.resolve(key) {
                        Some(Resolved::Series(series)) => series,
                        _ => batch.define(Some(key), &labels(process, metric)).unwrap(),
                    };
                    batch.push(series, timestamp_ms, value(process, metric, round)).unwrap();
                }
            }
            batch.commit().unwrap();
        }
    }
    db.flush().unwrap();
    db.compact().unwrap();
    println!("written in {:?}", started.elapsed());
}

fn labels(process: u64, metric: u64) -> Labels {
    let jobs = 40;
    let (job, subtask) = (process % jobs, process / jobs);
    let name = match metric {
        0..8 => format!("flink_task_counter_{metric}_total"),
        8..18 => format!("flink_task_gauge_{metric}"),
        _ => "flink_duration_seconds_bucket".to_owned(),
    };
    let job_name = format!("pipeline-{job:02}");
    let pairs = [
        ("__name__", name),
        ("le", metric.checked_sub(18).map_or("", |bound| BOUNDS[bound as usize % 12]).to_owned()),
        ("env", "prod".to_owned()),
        ("region", ["eu-west-1", "us-east-1", "us-west-2"][(mix(process) % 3) as usize].to_owned()),
        ("job", job_name.clone()),
        ("job_id", format!("{:016x}{:016x}", mix(job + 77), mix(job + 78))),
        ("task_name", ["Source", "Map", "Window", "Sink"][(subtask % 4) as usize].to_owned()),
        ("subtask_index", (subtask / 4).to_string()),
        ("instance", format!("10.{}.{}.{}:9249", 16 + process / 60_000, process / 250 % 240, process % 250)),
        ("tm_id", format!("{job_name}-taskmanager-1-{subtask}-{:05x}", mix(process) >> 44)),
    ];
    Labels::from_pairs(pairs.iter().map(|(name, value)| (*name, value.as_str()))).unwrap()
}

fn value(process: u64, metric: u64, round: u64) -> f64 {
    let noise = mix(process * 31 + metric + round * 1_000_003);
    match metric {
        0..8 => (round * (100 + process % 900) + noise % 97) as f64,
        8..13 => (noise % 1000) as f64,
        13..16 => (noise % 10_000) as f64 / 10_000.0,
        16..18 => 4096.0,
        _ => (round * (metric - 17) * 40 + mix(process + round) % 40) as f64,
    }
}

/// A number that looks like chance (splitmix64).
fn mix(n: u64) -> u64 {
    let z = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
