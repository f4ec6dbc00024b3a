//! A process that writes is killed (SIGKILL) at random moments and in the middle of WAL rolls, flushes and manifest
//! installs. What it acknowledged must be there afterwards, once, on the same directory, cycle after cycle.
//!
//! The writer is this test binary itself, started again with the name of the ignored test `writer`. It says on its
//! standard output what was acknowledged and when it stands at the step it was told to stop at; the parent kills it
//! there. Meanwhile it flushes, compacts and builds roll-ups without pause. `STREAMGAUGE_KILL_CYCLES` sets the number of cycles
//! (default 20; the full form has 200).

#![allow(clippy::unwrap_used, reason = "helpers of tests count as tests")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use model::{Buckets, Budget, Cuts, Histogram, Labels, Pieces, SampleColumns, Scope, SeriesSource, TimeRange, Want};
use streamgauge_storage::{CommitError, Db, DbOptions, Probe, RollupRule, RollupRules, Step, SystemClock};

const DIR: &str = "STREAMGAUGE_KILL_DIR";
const STEP: &str = "STREAMGAUGE_KILL_STEP";
const FIRST_BATCH: &str = "STREAMGAUGE_KILL_FIRST";
const CYCLES: &str = "STREAMGAUGE_KILL_CYCLES";

/// A writer that is not killed by then ends by itself, and fails the test.
const PATIENCE: Duration = Duration::from_secs(60);
const WRITERS: u64 = 3;
const SERIES: u64 = 40;
/// The one more series, of native histograms.
const HISTOGRAMS: u64 = SERIES;
/// Numbers of batches of different cycles and writers are this far apart.
const BATCHES_MAX: u64 = 1_000_000;

/// Longest life of a writer; its test gives up before.
const WRITER_TIME_MAX: Duration = Duration::from_secs(90);

const STEPS: [Option<Step>; 12] = [
    Some(Step::WalRolled),
    Some(Step::FlushFrozen),
    Some(Step::ManifestRenamed),
    Some(Step::WalWritten),
    Some(Step::SegmentWritten),
    Some(Step::ManifestWritten),
    Some(Step::WalRoll),
    Some(Step::SegmentRenamed),
    Some(Step::ManifestSynced),
    Some(Step::SegmentsDurable),
    Some(Step::ManifestInstalled),
    None,
];

fn options(dir: &Path) -> DbOptions {
    DbOptions {
        wal_file_bytes: 16 << 10,
        wal_bytes_max: 512 << 10,
        head_samples_max: 4000,
        free_bytes_min: 0,
        rollups: rollups(),
        ..DbOptions::new(dir)
    }
}

/// Times are of 1970, so that all days are closed.
fn rollups() -> RollupRules {
    let rule = |resolution_ms| RollupRule { resolution_ms, keep_ms: None, matchers: Vec::new() };
    RollupRules::new(vec![rule(60_000), rule(3_600_000)]).unwrap()
}

/// That of batch `n`.
fn histogram(n: u64) -> Histogram {
    let positive = Buckets::from_indexed([(0, n as f64), (3, 1.0)]);
    Histogram { count: n as f64 + 1.0, sum: n as f64, positive, ..Histogram::default() }
}

/// Batch `n` writes these samples: time and value tell which batch it was.
fn samples_of(n: u64) -> impl Iterator<Item = (u64, i64, f64)> {
    (0..SERIES).map(move |series| (series, i64::try_from(n).unwrap() * 10, (n * SERIES + series) as f64))
}

fn labels(series: u64) -> Labels {
    Labels::from_pairs([("__name__", "kill_test"), ("series", series.to_string().as_str())]).unwrap()
}

/// Says that a step is reached for the `at`-th time, and stops there for good.
#[derive(Debug)]
struct StopAt {
    step: Step,
    left: AtomicU64,
}

impl Probe for StopAt {
    fn reached(&self, step: Step) {
        if step == self.step && self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            println!("at {step:?}");
            std::io::stdout().flush().unwrap();
            loop {
                std::thread::park();
            }
        }
    }
}

#[test]
#[ignore = "the process that is killed; started by the test below"]
fn writer() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let first: u64 = std::env::var(FIRST_BATCH).unwrap().parse().unwrap();
    std::thread::spawn(|| {
        std::thread::sleep(PATIENCE);
        eprintln!("the writer was not killed in time");
        std::process::exit(3);
    });
    let name = std::env::var(STEP).unwrap();
    let step = STEPS.into_iter().flatten().find(|step| format!("{step:?}") == name);
    let mut options = options(Path::new(&dir));
    // Not the first time: something must have been written before.
    options.probe = step.map(|step| Arc::new(StopAt { step, left: AtomicU64::new(3 + first % 3) }) as Arc<dyn Probe>);
    let db = Db::open(options, Arc::new(SystemClock)).unwrap();
    let started = Instant::now();
    std::thread::scope(|scope| {
        let db = &db;
        // Steps of segments and manifests are then those of flushes and of compactions in turn.
        scope.spawn(move || {
            while started.elapsed() < WRITER_TIME_MAX {
                db.flush().unwrap();
                db.compact().unwrap();
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        for writer in 0..WRITERS {
            scope.spawn(move || {
                let mut n = first + writer * BATCHES_MAX;
                // Ends by a kill; if whoever should send it is gone, by itself.
                while started.elapsed() < WRITER_TIME_MAX {
                    let mut batch = db.batch();
                    for (series, timestamp_ms, value) in samples_of(n) {
                        let series = batch.define(None, &labels(series)).unwrap();
                        batch.push(series, timestamp_ms, value).unwrap();
                    }
                    let series = batch.define(None, &labels(HISTOGRAMS)).unwrap();
                    batch.push_histogram(series, i64::try_from(n).unwrap() * 10, histogram(n)).unwrap();
                    match batch.commit() {
                        Ok(_) => {
                            println!("ok {n}");
                            n += 1;
                        }
                        Err(CommitError::Overloaded { .. }) => std::thread::sleep(Duration::from_millis(2)),
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
}

/// Runs a writer until it is killed; returns the batches it acknowledged, and if it stood at its step.
fn kill_one(dir: &Path, first: u64, step: Option<Step>) -> (Vec<u64>, bool) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["writer", "--exact", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .env(FIRST_BATCH, first.to_string())
        .env(STEP, step.map_or_else(String::new, |step| format!("{step:?}")))
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let started = Instant::now();
    let random = Duration::from_millis(60 + first % 97);
    let (mut acknowledged, mut reached) = (Vec::new(), false);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while let Some(Ok(line)) = lines.next() {
        if let Some(n) = line.strip_prefix("ok ") {
            acknowledged.extend(n.parse::<u64>());
        }
        reached |= line.starts_with("at ");
        let is_over = reached || (step.is_none() && started.elapsed() > random && acknowledged.len() > 20);
        if is_over {
            child.kill().unwrap();
            break;
        }
    }
    // What it had said before it was killed counts.
    for line in lines.map_while(Result::ok) {
        acknowledged.extend(line.strip_prefix("ok ").and_then(|n| n.parse::<u64>().ok()));
    }
    assert_ne!(child.wait().unwrap().code(), Some(3), "never at {step:?}");
    (acknowledged, reached)
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled_by_kill_9() {
    let cycles: usize = std::env::var(CYCLES).ok().map_or(20, |text| text.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<u64> = Vec::new();
    let mut kills: BTreeMap<String, u64> = BTreeMap::new();
    let mut longest = Duration::ZERO;
    for (cycle, step) in (0_u64..).zip(STEPS.iter().cycle().take(cycles)) {
        let (batches, reached) = kill_one(dir.path(), cycle * WRITERS * BATCHES_MAX + cycle, *step);
        assert_eq!(reached, step.is_some());
        acknowledged.extend(batches);
        *kills.entry(format!("{step:?}")).or_insert(0) += 1;

        let started = Instant::now();
        let db = Db::open(options(dir.path()), Arc::new(SystemClock)).unwrap();
        let ready = started.elapsed();
        let replay = Duration::from_micros(db.stats().replay_us);
        longest = longest.max(ready);
        assert!(ready < Duration::from_secs(2), "ready after {ready:?}, of which the replay took {replay:?}");
        assert_eq!(db.findings(), Vec::<String>::new(), "killed at {step:?}");
        check(&db, &acknowledged);
        drop(db);
    }
    let db = Db::open(options(dir.path()), Arc::new(SystemClock)).unwrap();
    assert!(db.stats().rollup_runs > 0, "roll-ups were built meanwhile");
    println!("{} batches, ready after at most {longest:?}, killed at {kills:?}", acknowledged.len());
}

/// Each sample of each acknowledged batch is there; what else is there is of batches that were not answered.
fn check(db: &Db, acknowledged: &[u64]) {
    let (snapshot, budget) = (db.snapshot(), Budget::unlimited());
    let set = snapshot.select(&Scope::default(), &[], TimeRange::ALL, &budget).unwrap();
    assert_eq!(set.len() as u64, SERIES + 1, "each series once");
    let (mut samples, mut pieces) = (SampleColumns::default(), Pieces::default());
    for i in 0..set.len() {
        let series: u64 = set.labels(i).unwrap().get("series").unwrap().parse().unwrap();
        set.samples(i, TimeRange::ALL, &budget, &mut samples).unwrap();
        assert!(samples.timestamps_ms.is_sorted_by(|a, b| a < b), "each time once");
        let times_ms: Vec<i64> = if series == HISTOGRAMS {
            samples.histograms.iter().map(|(ms, _)| *ms).collect()
        } else {
            samples.timestamps_ms.clone()
        };
        for (ms, found) in &samples.histograms {
            assert_eq!((series, &**found), (HISTOGRAMS, &histogram(u64::try_from(*ms).unwrap() / 10)));
        }
        // What roll-ups say of it is the same.
        set.pieces(i, TimeRange::ALL, Want::COUNT, &Cuts::NONE, &budget, &mut pieces).unwrap();
        let counted: u64 = pieces.summaries.iter().map(|summary| summary.count).sum();
        let lone = (pieces.samples.values.len() + pieces.samples.histograms.len()) as u64;
        assert_eq!(counted + lone, times_ms.len() as u64, "series {series}");
        for sample in samples.floats() {
            let n = u64::try_from(sample.timestamp_ms).unwrap() / 10;
            assert_eq!(sample.value, (n * SERIES + series) as f64, "a value that nobody wrote there");
        }
        for n in acknowledged {
            let ms = i64::try_from(*n).unwrap() * 10;
            assert!(times_ms.binary_search(&ms).is_ok(), "batch {n} of series {series} is lost");
        }
    }
}
