//! Long runs in data time, as fast as it goes: a steady week of few series, and an hour of a million that come and go.
//! Memory, files and disk stay bounded, a sample costs the same at the end as at the beginning, and what is read back is
//! what was written.
//!
//! `STREAMGAUGE_LONG_RUN` is `week` or `churn`; without it small forms of both run. With `STREAMGAUGE_LONG_RUN_DIR` the
//! data goes below that directory. Results stand in `docs/long-runs.md`.

#![allow(clippy::unwrap_used, reason = "helpers of tests count as tests")]

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::{Budget, Labels, Matcher, SampleColumns, Scope, SeriesSource, TimeRange};
use streamgauge_storage::{Clock, CommitError, Db, DbOptions, RawKey, Resolved};

const RUN: &str = "STREAMGAUGE_LONG_RUN";
const DIR: &str = "STREAMGAUGE_LONG_RUN_DIR";

const START_MS: i64 = 1_700_006_400_000;
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
/// Series of one batch.
const BATCH: u64 = 5000;

/// The clock of the data.
#[derive(Debug)]
struct DataClock(AtomicI64);

impl Clock for DataClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What runs.
#[derive(Debug, Clone, Copy)]
struct Plan {
    series: u64,
    interval_ms: i64,
    length_ms: i64,
    /// At this interval `churn_percent` of the series are replaced by new ones.
    churn_ms: i64,
    churn_percent: u64,
    flush_ms: i64,
    row_ms: i64,
    retention_ms: i64,
    /// How much more the second half may take than the first.
    slack: f64,
}

const WEEK: Plan = Plan {
    series: 1000,
    interval_ms: 15_000,
    length_ms: 7 * 24 * HOUR_MS,
    churn_ms: HOUR_MS,
    churn_percent: 1,
    flush_ms: 2 * HOUR_MS,
    row_ms: 12 * HOUR_MS,
    retention_ms: 48 * HOUR_MS,
    slack: 1.25,
};

const CHURN: Plan = Plan {
    series: 1_000_000,
    interval_ms: 30_000,
    length_ms: HOUR_MS,
    churn_ms: 5 * MINUTE_MS,
    churn_percent: 5,
    flush_ms: 10 * MINUTE_MS,
    row_ms: 5 * MINUTE_MS,
    retention_ms: 48 * HOUR_MS,
    slack: 1.5,
};

/// A row of the table.
#[derive(Debug, Clone, Copy)]
struct Row {
    samples: u64,
    cpu_us: u64,
    anon_bytes: u64,
    files: u64,
    disk_bytes: u64,
}

struct Run<'a> {
    plan: Plan,
    dir: &'a Path,
    db: Db,
    clock: Arc<DataClock>,
    samples: u64,
    rows: Vec<Row>,
}

impl Plan {
    /// How often the series in this place has been replaced: a part of the places is, each time, one after the other.
    fn generation(&self, place: u64, at_ms: i64) -> u64 {
        let rounds = u64::try_from((at_ms - START_MS) / self.churn_ms).unwrap();
        let parts = 100 / self.churn_percent;
        (rounds + parts - place % parts) / parts
    }

    fn labels(&self, place: u64, generation: u64) -> Labels {
        let (pod, job) = (format!("pod-{}-{generation}", place / 100), format!("job-{}", place / 100 % 50));
        let name = ["requests_total", "latency_seconds_sum", "heap_bytes", "queue_length"][(place % 4) as usize];
        let shard = (place / 4 % 25).to_string();
        Labels::from_pairs([("__name__", name), ("job", &job), ("pod", &pod), ("shard", &shard)]).unwrap()
    }

    /// A counter, a sum with decimals, a gauge in pages, a small gauge.
    fn value(&self, place: u64, at_ms: i64) -> f64 {
        let n = u64::try_from((at_ms - START_MS) / self.interval_ms).unwrap();
        let noise = (n ^ place.wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 40;
        match place % 4 {
            0 => (n * 17 + noise % 16) as f64,
            1 => (n * 2500 + noise % 2500) as f64 / 1000.0,
            2 => (1_000_000 + noise % 4096) as f64 * 4096.0,
            _ => (noise % 20) as f64,
        }
    }
}

impl Run<'_> {
    fn go(&mut self) {
        let (mut flushed_ms, mut row_ms) = (START_MS, START_MS);
        let mut cpu = cpu_us();
        let mut before = 0;
        let mut at_ms = START_MS;
        while at_ms < START_MS + self.plan.length_ms {
            self.clock.0.store(at_ms, Ordering::Relaxed);
            for first in (0..self.plan.series).step_by(BATCH as usize) {
                self.write(first..(first + BATCH).min(self.plan.series), at_ms);
            }
            at_ms += self.plan.interval_ms;
            if at_ms - flushed_ms >= self.plan.flush_ms {
                flushed_ms = at_ms;
                self.db.flush().unwrap();
                self.db.compact_due().unwrap();
                self.db.enforce_retention().unwrap();
            }
            if at_ms - row_ms >= self.plan.row_ms {
                row_ms = at_ms;
                let now = cpu_us();
                self.row(at_ms, self.samples - before, now - cpu);
                (cpu, before) = (cpu_us(), self.samples);
            }
        }
    }

    fn write(&mut self, places: std::ops::Range<u64>, at_ms: i64) {
        loop {
            let mut batch = self.db.batch();
            for place in places.clone() {
                let generation = self.plan.generation(place, at_ms);
                let key = RawKey { context: 1, hash: key_hash(place, generation) };
                let series = match batch.resolve(key) {
                    Some(Resolved::Series(series)) => series,
                    _ => batch.define(Some(key), &self.plan.labels(place, generation)).unwrap(),
                };
                batch.push(series, at_ms, self.plan.value(place, at_ms)).unwrap();
            }
            match batch.commit() {
                Ok(done) => {
                    self.samples += done.samples;
                    return;
                }
                Err(CommitError::Overloaded { .. }) => std::thread::sleep(Duration::from_millis(20)),
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn row(&mut self, at_ms: i64, samples: u64, cpu_us: u64) {
        let (anon_bytes, mapped_bytes) = memory();
        let (files, disk_bytes) = disk(self.dir);
        let stats = self.db.stats();
        let (segments, head_series) = (stats.segments, stats.series);
        println!(
            "| {} | {:.3} | {:.2} | {} | {} | {files} | {} | {segments} | {head_series} |",
            (at_ms - START_MS) / MINUTE_MS,
            samples as f64 / 1e6,
            cpu_us as f64 / samples.max(1) as f64,
            anon_bytes >> 20,
            mapped_bytes >> 20,
            disk_bytes >> 20,
        );
        self.rows.push(Row { samples, cpu_us, anon_bytes, files, disk_bytes });
    }

    /// The second half takes no more than the first.
    fn check_growth(&self) {
        let (first, second) = self.rows.split_at(self.rows.len() / 2);
        let most = |rows: &[Row], of: fn(&Row) -> u64| rows.iter().map(of).max().unwrap() as f64;
        let slack = self.plan.slack;
        let within = |what: &str, of: fn(&Row) -> u64, extra: f64| {
            let (early, late) = (most(first, of), most(second, of));
            assert!(late <= early * slack + extra, "{what}: at most {early} in the first half, then {late}");
        };
        within("memory", |row| row.anon_bytes, f64::from(32 << 20));
        within("files", |row| row.files, 10.0);
        // What is kept is bounded: with two halves longer than that, the disk is too.
        if self.plan.length_ms >= 3 * self.plan.retention_ms {
            within("disk", |row| row.disk_bytes, f64::from(4 << 20));
        }
        let cost = |rows: &[Row]| {
            let (cpu, samples) =
                rows.iter().fold((0, 0), |(cpu, samples), row| (cpu + row.cpu_us, samples + row.samples));
            cpu as f64 / samples as f64
        };
        let (early, late) = (cost(first), cost(second));
        assert!(late <= early * slack + 0.1, "a sample costs {early} us in the first half, then {late}");
    }

    /// Some series, whole, as they were written.
    fn check_content(&self) {
        let end_ms = START_MS + self.plan.length_ms;
        let from_ms = (end_ms - self.plan.retention_ms + HOUR_MS).max(START_MS);
        let range = TimeRange { start_ms: from_ms, end_ms };
        let (snapshot, budget, mut found) = (self.db.snapshot(), Budget::unlimited(), SampleColumns::default());
        for place in (0..self.plan.series).step_by((self.plan.series / 37) as usize) {
            let mut wanted: Vec<(i64, u64)> = Vec::new();
            let mut have = Vec::new();
            let first = START_MS
                + (from_ms - START_MS + self.plan.interval_ms - 1) / self.plan.interval_ms * self.plan.interval_ms;
            for at_ms in (first..end_ms).step_by(self.plan.interval_ms as usize) {
                wanted.push((at_ms, self.plan.value(place, at_ms).to_bits()));
            }
            for generation in self.plan.generation(place, from_ms)..=self.plan.generation(place, end_ms) {
                let labels = self.plan.labels(place, generation);
                let matchers: Vec<Matcher> = labels.iter().map(|(name, value)| Matcher::equal(name, value)).collect();
                let set = snapshot.select(&Scope::default(), &matchers, range, &budget).unwrap();
                for i in 0..set.len() {
                    set.samples(i, range, &budget, &mut found).unwrap();
                    have.extend(found.floats().map(|sample| (sample.timestamp_ms, sample.value.to_bits())));
                }
            }
            assert_eq!(have, wanted, "place {place}");
        }
    }
}

/// 128 bits for a series of a sender, spread as those of a keyed hash are (splitmix64's finish).
fn key_hash(place: u64, generation: u64) -> u128 {
    let spread = |x: u64| {
        let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    };
    let number = generation << 40 | place;
    u128::from(spread(number)) << 64 | u128::from(spread(!number))
}

fn status_bytes(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().nth(1).map_or(0, |kib| kib.parse::<u64>().unwrap() << 10)
}

/// Memory of its own, and mapped files.
fn memory() -> (u64, u64) {
    (status_bytes("RssAnon"), status_bytes("RssFile"))
}

/// Of the process: all threads, in user and system mode.
fn cpu_us() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks = |i: usize| fields[i].parse::<u64>().unwrap();
    // In ticks of a hundredth of a second, fields 14 and 15 of the file.
    (ticks(11) + ticks(12)) * 10_000
}

/// Files below a directory and their bytes.
fn disk(dir: &Path) -> (u64, u64) {
    let mut total = (0, 0);
    // Files come and go meanwhile.
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        let (files, bytes) = if metadata.is_dir() { disk(&entry.path()) } else { (1, metadata.len()) };
        total = (total.0 + files, total.1 + bytes);
    }
    total
}

/// Memory and time are those of the whole process: one run at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn run(plan: Plan) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = match std::env::var_os(DIR) {
        Some(below) => tempfile::tempdir_in(below).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    let clock = Arc::new(DataClock(AtomicI64::new(START_MS)));
    let options =
        DbOptions { free_bytes_min: 0, retention_ms: Some(plan.retention_ms), ..DbOptions::new(dir.path().join("db")) };
    let db = Db::open(options, clock.clone()).unwrap();
    println!("{plan:?}");
    println!(
        "| minute | M samples | CPU µs per sample | memory MiB | mapped MiB | files | disk MiB | segments | head series |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let mut run = Run { plan, dir: dir.path(), db, clock, samples: 0, rows: Vec::new() };
    run.go();
    run.check_growth();
    run.check_content();
    run.db.close().unwrap();
}

fn is_asked_for(name: &str) -> bool {
    std::env::var(RUN).is_ok_and(|asked| asked == name)
}

#[test]
fn a_week_of_few_series() {
    if is_asked_for("week") {
        return run(WEEK);
    }
    if std::env::var_os(RUN).is_none() {
        run(Plan {
            series: 60,
            interval_ms: MINUTE_MS,
            length_ms: 4 * 24 * HOUR_MS,
            retention_ms: 24 * HOUR_MS,
            slack: 2.0,
            ..WEEK
        });
    }
}

#[test]
fn an_hour_of_series_that_come_and_go() {
    if is_asked_for("churn") {
        return run(CHURN);
    }
    if std::env::var_os(RUN).is_none() {
        run(Plan { series: 4000, slack: 2.0, ..CHURN });
    }
}
