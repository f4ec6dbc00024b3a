//! The database as its users see it; random histories and failing disks are in `db/faults.rs`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::*;
use crate::error::{CommitError, Refusal};
use crate::io::fake::{Failure, FakeDisk};
use crate::options::{SeriesLimits, WalSync};
use crate::{Batch, Committed, RawKey, Resolved};
use model::{Budget, Labels, MatchOp, Matcher, Metadata, MetricType, SampleColumns, Scope, SeriesSource, TimeRange};

/// Bits of the value by series and time.
pub(crate) type Content = BTreeMap<(Labels, i64), u64>;

pub(crate) const NOW_MS: i64 = 1_700_000_000_000;
const DAY: i64 = 86_400_000;

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(TestClock(AtomicI64::new(NOW_MS)))
    }

    pub(crate) fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

pub(crate) fn options() -> DbOptions {
    DbOptions { free_bytes_min: 0, ..DbOptions::new("/data") }
}

pub(crate) fn open(disk: &FakeDisk) -> Db {
    open_with(disk, options())
}

pub(crate) fn open_with(disk: &FakeDisk, options: DbOptions) -> Db {
    Db::open_on(Arc::new(disk.clone()), options, TestClock::new()).unwrap()
}

pub(crate) fn labels(i: usize) -> Labels {
    Labels::from_pairs([("__name__", "m"), ("i", i.to_string().as_str()), ("odd", ["", "yes"][i % 2])]).unwrap()
}

pub(crate) fn write(db: &Db, samples: &[(usize, i64, f64)]) -> Result<Committed, CommitError> {
    let mut batch = db.batch();
    for (i, timestamp_ms, value) in samples {
        let series = batch.define(None, &labels(*i)).unwrap();
        batch.push(series, *timestamp_ms, *value).unwrap();
    }
    batch.commit()
}

/// All that a source holds, and what it says in other ways about the same.
pub(crate) fn read_all(source: &Snapshot) -> Content {
    read_range(source, &[], TimeRange::ALL)
}

fn read_range(source: &Snapshot, matchers: &[Matcher], range: TimeRange) -> Content {
    let (budget, mut out) = (Budget::unlimited(), BTreeMap::new());
    let set = source.select(&Scope::default(), matchers, range, &budget).unwrap();
    let mut samples = SampleColumns::default();
    for i in 0..set.len() {
        assert!(i == 0 || set.labels(i - 1).unwrap() < set.labels(i).unwrap(), "sorted, each once");
        set.samples(i, range, &budget, &mut samples).unwrap();
        assert!(samples.timestamps_ms.is_sorted_by(|a, b| a < b), "times rise");
        out.extend(samples.floats().map(|s| ((set.labels(i).unwrap(), s.timestamp_ms), s.value.to_bits())));
    }
    for keep in [|_: &str| true, |name: &str| name == "odd", |_: &str| false] {
        let groups = set.groups(&keep, &budget).unwrap();
        assert_eq!(groups.group_of.len(), set.len());
        for (i, group) in groups.group_of.iter().enumerate() {
            assert_eq!(groups.labels[*group as usize], set.labels(i).unwrap().filtered(keep));
        }
        assert!(groups.labels.iter().enumerate().all(|(i, labels)| !groups.labels[..i].contains(labels)), "each once");
    }
    out
}

/// What may be there: the last value acknowledged, or one of a batch that failed since; none if nothing was ever
/// acknowledged.
#[derive(Debug, Default)]
struct Expected(BTreeMap<(Labels, i64), (Option<u64>, Vec<u64>)>);

impl Expected {
    fn acknowledged(&mut self, samples: &[(usize, i64, f64)]) {
        for (i, ms, value) in samples {
            self.0.insert((labels(*i), *ms), (Some(value.to_bits()), Vec::new()));
        }
    }

    /// After a look at everything, what is there is known.
    fn check(&mut self, found: Content) {
        for (key, value) in &found {
            let (last, maybe) = self.0.get(key).unwrap_or_else(|| panic!("{key:?} was never written"));
            assert!(
                *last == Some(*value) || maybe.contains(value),
                "{key:?} has {value:x}, not {last:x?} or {maybe:x?}"
            );
        }
        for (key, (last, _)) in &self.0 {
            assert!(last.is_none() || found.contains_key(key), "{key:?} is lost");
        }
        self.0 = found.into_iter().map(|(key, value)| (key, (Some(value), Vec::new()))).collect();
    }
}

/// Everything is small, so that rolls and flushes happen often.
pub(crate) fn small() -> DbOptions {
    DbOptions { wal_file_bytes: 600, wal_bytes_max: 6000, head_samples_max: 60, open_partitions_max: 3, ..options() }
}

#[test]
fn background_flushes_keep_the_bounds() {
    let disk = FakeDisk::default();
    let db = open_with(&disk, small());
    let mut expected = Expected::default();
    for i in 0..300_i64 {
        let samples = [(i as usize % 5, NOW_MS - i * 40_000_000, i as f64), (1, NOW_MS + i, i as f64)];
        loop {
            match write(&db, &samples) {
                Ok(_) => break,
                Err(CommitError::Overloaded { .. }) => std::thread::sleep(Duration::from_millis(1)),
                Err(error) => panic!("{error}"),
            }
        }
        expected.acknowledged(&samples);
        assert!(db.stats().wal_bytes < 6000 + 1200, "{:?}", db.stats());
    }
    expected.check(read_all(&db.snapshot()));
    let stats = db.stats();
    assert!(stats.flushes > 3 && stats.wal_rolls > 10 && stats.manifest_installs >= stats.flushes, "{stats:?}");
    drop(db);
    expected.check(read_all(&open_with(&disk.crash(7), small()).snapshot()));
}

/// A process that was killed with its WAL at the bound leaves one at which nothing can be committed until it is flushed.
#[test]
fn a_start_with_the_wal_at_its_bound_takes_writes_soon() {
    let disk = FakeDisk::default();
    let db = open(&disk);
    for i in 0..200 {
        write(&db, &[(0, NOW_MS + i, i as f64)]).unwrap();
    }
    drop(db);
    for limits in [
        DbOptions { wal_bytes_max: 4000, wal_file_bytes: 1000, ..options() },
        DbOptions { wal_bytes_max: 4000, ..options() },
        DbOptions { head_samples_max: 50, ..options() },
    ] {
        let db = open_with(&disk.kill(), limits);
        let patience = std::time::Instant::now();
        while let Err(error) = write(&db, &[(0, NOW_MS + 999, 1.0)]) {
            assert!(matches!(error, CommitError::Overloaded { .. }), "{error}");
            assert!(patience.elapsed() < Duration::from_secs(30), "{error}");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(read_all(&db.snapshot()).len(), 201);
    }
}

/// Metadata alone fills the WAL too.
#[test]
fn a_wal_without_samples_is_bounded_too() {
    let db = open_with(&FakeDisk::default(), DbOptions { wal_bytes_max: 4000, ..options() });
    let patience = std::time::Instant::now();
    for i in 0..300 {
        loop {
            let mut batch = db.batch();
            batch.set_metadata("m", Metadata { help: format!("help {i}"), ..Metadata::default() });
            match batch.commit() {
                Ok(_) => break,
                Err(error) => assert!(patience.elapsed() < Duration::from_secs(30), "{error}"),
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    assert!(db.stats().wal_bytes < 4200);
}

#[test]
fn pending_bytes_are_bounded_at_n_and_n_plus_1() {
    let bytes = 40;
    let fits = open_with(&FakeDisk::default(), DbOptions { pending_bytes_max: 2 * bytes, ..options() });
    write(&fits, &[(0, NOW_MS, 1.0), (1, NOW_MS, 1.0)]).unwrap();
    let refused = write(&fits, &[(0, NOW_MS, 1.0), (1, NOW_MS, 1.0), (2, NOW_MS, 1.0)]).unwrap_err();
    assert!(matches!(refused, CommitError::Overloaded { limit: 80, .. }), "{refused:?}");
    assert_eq!(refused.to_string(), "too much is waiting to be written: limit ingest.max_pending_bytes = 80 reached");
    assert_eq!((fits.stats().pending_bytes, fits.stats().refused_batches), (0, 1));
}

#[test]
fn series_are_bounded_at_n_and_n_plus_1() {
    let db = open_with(
        &FakeDisk::default(),
        DbOptions { series: SeriesLimits { series_max: 2, ..SeriesLimits::default() }, ..options() },
    );
    let mut batch = db.batch();
    batch.define(None, &labels(0)).unwrap();
    batch.define(None, &labels(1)).unwrap();
    assert_eq!(batch.define(None, &labels(2)), Err(Refusal::TooManySeries { limit: 2 }));
    assert!(batch.define(None, &labels(1)).is_ok(), "known series go on");
}

#[test]
fn times_are_bounded_by_retention_and_the_future() {
    let kept = 3_600_000;
    let db = open_with(&FakeDisk::default(), DbOptions { retention_ms: Some(kept), future_max_ms: 1000, ..options() });
    let mut batch = db.batch();
    let series = batch.define(None, &labels(0)).unwrap();
    assert_eq!(batch.push(series, NOW_MS - kept, 1.0), Ok(()));
    let oldest_ms = NOW_MS - kept;
    assert_eq!(batch.push(series, oldest_ms - 1, 1.0), Err(Refusal::TooOld { timestamp_ms: oldest_ms - 1, oldest_ms }));
    assert_eq!(batch.push(series, NOW_MS + 1000, 1.0), Ok(()));
    let newest_ms = NOW_MS + 1000;
    assert_eq!(batch.push(series, newest_ms + 1, 1.0), Err(Refusal::TooNew { timestamp_ms: newest_ms + 1, newest_ms }));
    assert_eq!(batch.commit().unwrap().samples, 2, "the rest of the batch goes on");
}

#[test]
fn a_directory_is_opened_once() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Db::open(DbOptions { free_bytes_min: 0, ..DbOptions::new(dir.path()) }, TestClock::new());
    let db = open().unwrap();
    let refused = open().unwrap_err();
    assert!(matches!(refused, StorageError::Locked { .. }));
    assert!(refused.to_string().contains(&dir.path().join("LOCK").display().to_string()), "{refused}");
    db.close().unwrap();
    let again = open().unwrap();
    drop(again);
    open().unwrap();
}

#[test]
fn the_same_on_a_real_disk_mapped_and_by_pread() {
    for disk in [RealDisk::mapped(), RealDisk::pread()] {
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            let options = DbOptions { free_bytes_min: 0, data_dir: dir.path().join("x/y"), ..small() };
            Db::open_on(Arc::new(disk), options, TestClock::new()).unwrap()
        };
        let mut expected = Expected::default();
        let mut db = open();
        for round in 0..4_i64 {
            for i in 0..20_i64 {
                let samples = [(i as usize % 7, NOW_MS - i * 10_000_000 + round, (i * round) as f64)];
                while write(&db, &samples).is_err() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                expected.acknowledged(&samples);
            }
            if round % 2 == 0 {
                db.close().unwrap();
            }
            drop(db);
            db = open();
            expected.check(read_all(&db.snapshot()));
        }
        db.compact().unwrap();
        expected.check(read_all(&db.snapshot()));
    }
}

#[test]
fn raw_keys_resolve_until_the_series_goes() {
    let db = open(&FakeDisk::default());
    let key = |hash| RawKey { context: 7, hash };
    let mut batch = db.batch();
    assert_eq!(batch.resolve(key(1)), None);
    let series = batch.define(Some(key(1)), &labels(3)).unwrap();
    batch.define_dropped(key(2));
    assert_eq!(batch.resolve(key(1)), Some(Resolved::Series(series)));
    assert_eq!(batch.resolve(key(2)), Some(Resolved::Dropped));
}

#[test]
fn metadata_outlives_flushes_and_crashes() {
    let mut disk = FakeDisk::default();
    let metadata = |help: &str| Metadata { metric_type: MetricType::Counter, help: help.into(), unit: "s".into() };
    let set = |db: &Db, help: &str| {
        let mut batch = db.batch();
        batch.set_metadata("m", metadata(help));
        batch.commit().unwrap();
    };
    let db = open(&disk);
    set(&db, "one");
    write(&db, &[(0, NOW_MS, 1.0)]).unwrap();
    db.flush().unwrap();
    let batches = db.stats().committed_batches;
    set(&db, "one");
    assert_eq!(db.stats().committed_batches, batches, "only what is new is written");
    drop(db);
    disk = disk.crash(1);
    let db = open(&disk);
    assert_eq!(db.metadata_of("m"), Some(metadata("one")));
    set(&db, "two");
    drop(db);
    disk = disk.crash(2);
    let db = open(&disk);
    assert_eq!(db.metadata(), [("m".to_owned(), metadata("two"))]);
    db.close().unwrap();
    assert_eq!(open(&disk.crash(3)).metadata_of("m"), Some(metadata("two")));
}

#[test]
fn exemplars_are_replayed_with_their_series() {
    let disk = FakeDisk::default();
    let db = open(&disk);
    let mut batch = db.batch();
    let series = batch.define(None, &labels(1)).unwrap();
    let trace = Labels::from_pairs([("trace_id", "x")]).unwrap();
    let exemplar = Exemplar { labels: trace, value: 0.5, timestamp_ms: NOW_MS };
    batch.push_exemplar(series, exemplar.clone());
    batch.commit().unwrap();
    drop(db);
    let db = open(&disk.crash(1));
    let found = db.exemplars(&Scope::default(), &[Matcher::equal("odd", "yes")], TimeRange::ALL);
    assert_eq!(found, [(labels(1), vec![exemplar])]);
}

#[test]
fn latest_is_by_arrival_and_newest_by_time() {
    let (disk, clock) = (FakeDisk::default(), TestClock::new());
    let db = Db::open_on(Arc::new(disk.clone()), options(), clock.clone()).unwrap();
    write(&db, &[(0, NOW_MS - 5, 1.0), (1, NOW_MS, 2.0)]).unwrap();
    clock.advance(60_000);
    write(&db, &[(1, NOW_MS - DAY, 3.0)]).unwrap();
    db.flush().unwrap();
    let of = |db: &Db, since| {
        let list = db.latest(&Scope::default(), &[], since);
        list.into_iter().map(|l| (l.labels, l.sample.value, l.arrived_ms)).collect::<Vec<_>>()
    };
    assert_eq!(of(&db, NOW_MS), [(labels(0), 1.0, NOW_MS), (labels(1), 2.0, NOW_MS + 60_000)]);
    assert_eq!(of(&db, NOW_MS + 1), [(labels(1), 2.0, NOW_MS + 60_000)]);
    let some = db.latest(&Scope::confined(Matcher::equal("odd", "yes")), &[Matcher::equal("i", "0")], 0);
    assert!(some.is_empty());
}

#[test]
fn label_names_and_values_come_from_all_parts() {
    let db = open(&FakeDisk::default());
    let (all, budget) = (TimeRange::ALL, Budget::unlimited());
    write(&db, &[(0, NOW_MS - 3 * DAY, 1.0), (2, NOW_MS, 1.0)]).unwrap();
    db.flush().unwrap();
    let before = db.snapshot();
    write(&db, &[(1, NOW_MS, 1.0)]).unwrap();
    let scope = Scope::default();
    let names = |s: &Snapshot| s.label_names(&scope, &[], all, &budget).unwrap();
    assert_eq!(names(&before), ["__name__", "i"]);
    assert_eq!(names(&db.snapshot()), ["__name__", "i", "odd"]);
    let values =
        |s: &Snapshot, matchers: &[Matcher], range| s.label_values(&scope, "i", matchers, range, &budget).unwrap();
    assert_eq!(values(&before, &[], all), ["0", "2"]);
    assert_eq!(values(&db.snapshot(), &[], all), ["0", "1", "2"]);
    let today = TimeRange { start_ms: NOW_MS - 1000, end_ms: NOW_MS };
    assert_eq!(values(&db.snapshot(), &[], today), ["1", "2"]);
    assert_eq!(values(&db.snapshot(), &[Matcher::equal("odd", "yes")], all), ["1"]);
    let even = Scope::confined(Matcher::new("odd", MatchOp::NotEqual, "yes").unwrap());
    assert_eq!(db.snapshot().label_values(&even, "i", &[], all, &budget).unwrap(), ["0", "2"]);
    assert_eq!(db.snapshot().label_names(&even, &[], all, &budget).unwrap(), ["__name__", "i"]);
}

#[test]
fn queries_are_held_to_their_budget() {
    let db = open(&FakeDisk::default());
    write(&db, &[(0, NOW_MS, 1.0), (0, NOW_MS + 1, 1.0)]).unwrap();
    let snapshot = db.snapshot();
    let read = |budget: &Budget| {
        let set = snapshot.select(&Scope::default(), &[], TimeRange::ALL, budget)?;
        set.samples(0, TimeRange::ALL, budget, &mut SampleColumns::default())
    };
    assert!(read(&Budget::new(2, u64::MAX)).is_ok());
    assert!(read(&Budget::new(1, u64::MAX)).is_err());
    assert!(read(&Budget::new(2, 10)).is_err());
    let cancelled = Budget::unlimited();
    cancelled.cancel();
    assert!(read(&cancelled).is_err());
}

#[test]
fn a_failed_sync_fails_its_batches_and_writing_goes_on() {
    let disk = FakeDisk::default();
    let db = open(&disk);
    write(&db, &[(0, NOW_MS, 1.0)]).unwrap();
    disk.fail_kind_at("sync", 0, Failure::Once);
    assert!(matches!(write(&db, &[(1, NOW_MS, 2.0)]), Err(CommitError::Storage(_))));
    assert_eq!(read_all(&db.snapshot()).len(), 1, "what failed is not visible");
    write(&db, &[(1, NOW_MS, 3.0)]).unwrap();
    for seed in 0..20 {
        let db = open(&disk.crash(seed));
        let found = read_all(&db.snapshot());
        assert_eq!(found[&(labels(1), NOW_MS)], 3.0_f64.to_bits(), "defined anew after the failure");
    }
}

#[test]
fn without_any_file_to_write_to_the_store_is_read_only_until_there_is_one() {
    let disk = FakeDisk::default();
    let db = open(&disk);
    write(&db, &[(0, NOW_MS, 1.0)]).unwrap();
    disk.fail_kind_at("write", 0, Failure::Dead);
    assert!(matches!(write(&db, &[(0, NOW_MS + 1, 1.0)]), Err(CommitError::Storage(_))));
    let refused = write(&db, &[(0, NOW_MS + 1, 1.0)]).unwrap_err();
    assert!(matches!(refused, CommitError::ReadOnly(_)), "{refused:?}");
    assert_eq!(
        db.stats().read_only.as_deref(),
        Some(refused.to_string().trim_start_matches("the store is read-only: "))
    );
    assert_eq!(read_all(&db.snapshot()).len(), 1, "queries go on");
    assert!(db.flush().is_err());
    disk.heal();
    for _ in 0..100 {
        if db.stats().read_only.is_none() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    write(&db, &[(0, NOW_MS + 1, 2.0)]).unwrap();
    assert_eq!(read_all(&open(&disk.crash(1)).snapshot()).len(), 2);
}

#[test]
fn below_the_floor_of_free_space_the_store_is_read_only_and_comes_back() {
    let disk = FakeDisk::default();
    disk.set_free_bytes(999);
    let db = open_with(&disk, DbOptions { free_bytes_min: 1000, ..options() });
    assert!(matches!(write(&db, &[(0, NOW_MS, 1.0)]), Err(CommitError::ReadOnly(reason)) if reason.contains("999")));
    disk.set_free_bytes(1062);
    db.engine.watch_space();
    write(&db, &[(0, NOW_MS, 1.0)]).unwrap();
    disk.set_free_bytes(1000);
    db.engine.watch_space();
    assert_eq!(db.stats().read_only, None, "at the floor it is not below");
    disk.set_free_bytes(999);
    db.engine.watch_space();
    disk.set_free_bytes(1061);
    db.engine.watch_space();
    assert!(db.stats().read_only.is_some(), "a little above is not yet back");
}

#[test]
fn syncing_at_an_interval_keeps_what_was_synced_and_flushes_what_the_wal_lost() {
    let disk = FakeDisk::default();
    let interval = DbOptions { wal_sync: WalSync::Interval(Duration::from_millis(20)), ..options() };
    let db = open_with(&disk, interval.clone());
    let syncs = disk.syncs();
    for i in 0..50 {
        write(&db, &[(0, NOW_MS + i, 1.0)]).unwrap();
    }
    assert!(disk.syncs() - syncs < 50);
    for _ in 0..200 {
        if read_all(&open(&disk.crash(0)).snapshot()).len() == 50 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(read_all(&open(&disk.crash(0)).snapshot()).len(), 50);
    disk.fail_kind_at("sync", 0, Failure::Once);
    write(&db, &[(0, NOW_MS + 99, 1.0)]).unwrap();
    for _ in 0..300 {
        if db.stats().flushes > 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(read_all(&open(&disk.crash(0)).snapshot()).len(), 51, "{:?}", db.stats());
}

#[test]
fn retention_drops_whole_days_and_says_which() {
    let disk = FakeDisk::default();
    let db = open_with(&disk, DbOptions { retention_bytes: Some(1 << 30), ..options() });
    write(&db, &[(0, NOW_MS, 1.0), (0, NOW_MS - DAY, 2.0), (0, NOW_MS - 2 * DAY, 3.0)]).unwrap();
    db.flush().unwrap();
    assert_eq!(db.enforce_retention().unwrap(), RetentionReport::default());
    drop(db);
    let clock = TestClock::new();
    let options = DbOptions { retention_ms: Some(DAY + 1000), ..options() };
    let db = Db::open_on(Arc::new(disk.kill()), options, clock).unwrap();
    assert_eq!(read_all(&db.snapshot()).len(), 2, "what is too old is not seen, even before it is dropped");
    let held = db.snapshot();
    let report = db.enforce_retention().unwrap();
    assert_eq!((report.dropped_days.as_slice(), report.freed_bytes > 0), (&["2023-11-12".to_owned()][..], true));
    assert_eq!((read_all(&db.snapshot()).len(), read_all(&held).len()), (2, 2), "an open snapshot keeps its view");
}

#[test]
fn retention_rules_hide_at_once_and_purge_when_segments_are_written() {
    let (disk, clock) = (FakeDisk::default(), TestClock::new());
    let options = DbOptions { retention_ms: Some(DAY), ..options() };
    let db = Db::open_on(Arc::new(disk.clone()), options.clone(), clock.clone()).unwrap();
    for minute in 0..10 {
        write(&db, &[(0, NOW_MS - minute * 60_000, 1.0), (1, NOW_MS - minute * 60_000, 1.0)]).unwrap();
        db.flush().unwrap();
    }
    let counts = |db: &Db| {
        let found = read_all(&db.snapshot());
        let of = |i| found.keys().filter(|(l, _)| *l == labels(i)).count();
        (of(0), of(1))
    };
    let before = db.snapshot();
    db.set_retention_rules(vec![(vec![Matcher::equal("odd", "yes")], 5 * 60_000)]);
    assert_eq!((counts(&db), read_all(&before).len()), ((10, 6), 20));
    drop(before);
    db.compact().unwrap();
    drop(db);
    let db = Db::open_on(Arc::new(disk.kill()), options, clock).unwrap();
    assert_eq!(counts(&db), (10, 6), "purged for good");
    let longer = 2 * DAY;
    db.set_retention_rules(vec![(vec![Matcher::equal("odd", "yes")], longer)]);
    let mut batch = db.batch();
    let series = batch.define(None, &labels(1)).unwrap();
    assert_eq!(batch.push(series, NOW_MS - longer, 1.0), Ok(()), "a rule may also keep longer");
}

#[test]
fn latest_knows_what_arrived_before_a_clean_restart() {
    let (disk, clock) = (FakeDisk::default(), TestClock::new());
    let open = || Db::open_on(Arc::new(disk.kill()), options(), clock.clone()).unwrap();
    let db = Db::open_on(Arc::new(disk.clone()), options(), clock.clone()).unwrap();
    write(&db, &[(0, NOW_MS - 60_000, 1.0), (0, NOW_MS - 90_000, 2.0), (1, NOW_MS - 600_000, 3.0)]).unwrap();
    db.close().unwrap();
    clock.advance(1000);
    let of = |db: &Db, since| {
        let list = db.latest(&Scope::default(), &[], since);
        list.into_iter().map(|l| (l.labels, l.sample.value)).collect::<Vec<_>>()
    };
    let db = open();
    assert_eq!(of(&db, NOW_MS - 300_000), [(labels(0), 1.0)]);
    write(&db, &[(0, NOW_MS, 4.0)]).unwrap();
    assert_eq!(of(&db, NOW_MS - 700_000), [(labels(0), 4.0), (labels(1), 3.0)]);
    clock.advance(3_600_000);
    assert_eq!(of(&db, NOW_MS - 700_000), [(labels(0), 4.0)], "after a while only the head counts");
}

#[test]
fn a_corrupt_segment_is_put_aside_and_the_rest_is_served() {
    let disk = FakeDisk::default();
    let db = open(&disk);
    write(&db, &[(0, NOW_MS, 1.0), (0, NOW_MS - DAY, 2.0)]).unwrap();
    db.flush().unwrap();
    drop(db);
    let segments: Vec<PathBuf> = disk.paths().into_iter().filter(|path| path.starts_with("/data/segments")).collect();
    assert_eq!(segments.len(), 2);
    let mut bytes = disk.bytes(&segments[0]).unwrap();
    let end = bytes.len() - 1;
    bytes[end] ^= 1;
    disk.damage(&segments[0], bytes);
    let db = open(&disk.kill());
    assert_eq!((db.stats().quarantined, db.stats().quarantine_files, db.stats().segments), (1, 1, 1));
    assert_eq!(read_all(&db.snapshot()).len(), 1);
}

/// The version before names fewer segments: those of the lost one are kept for someone to look at.
#[test]
fn segments_of_a_lost_manifest_are_put_aside_and_not_removed() {
    let disk = FakeDisk::default();
    let db = open(&disk);
    write(&db, &[(0, NOW_MS, 1.0)]).unwrap();
    db.flush().unwrap();
    let (before, version) = (disk.kill(), db.stats().manifest_version);
    write(&db, &[(1, NOW_MS, 2.0)]).unwrap();
    db.flush().unwrap();
    drop(db);
    let manifest = |version| PathBuf::from("/data").join(crate::names::manifest_name(version));
    // As if the old version could not be removed when the new one was installed.
    let mut old = disk.create(&manifest(version)).unwrap();
    old.append(&before.bytes(&manifest(version)).unwrap()).unwrap();
    disk.damage(&manifest(version + 1), b"junk".to_vec());
    let disk = disk.kill();
    let db = open(&disk);
    assert_eq!(read_all(&db.snapshot()).len(), 1);
    assert!(db.findings()[0].contains("MANIFEST"), "{:?}", db.findings());
    let aside = disk.list(Path::new("/data/quarantine")).unwrap();
    assert_eq!(aside, ["00000000000000000002.seg", &crate::names::manifest_name(version + 1)]);
    write(&db, &[(2, NOW_MS, 3.0)]).unwrap();
    db.flush().unwrap();
    assert!(disk.bytes(Path::new("/data/segments/00000000000000000003.seg")).is_some(), "its name is not used again");
}

#[test]
fn a_segment_found_corrupt_by_a_query_is_put_aside() {
    let disk = FakeDisk::default();
    let db = open(&disk);
    // More than what is read when a segment is opened.
    let noise = |i: u64| f64::from_bits(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    write(&db, &(0..20_000).map(|i| (i % 500, NOW_MS + i as i64, noise(i as u64))).collect::<Vec<_>>()).unwrap();
    write(&db, &[(0, NOW_MS - DAY, 2.0)]).unwrap();
    db.flush().unwrap();
    drop(db);
    let newest = disk.paths().into_iter().rfind(|path| path.starts_with("/data/segments")).unwrap();
    let mut bytes = disk.bytes(&newest).unwrap();
    bytes[40] ^= 1;
    disk.damage(&newest, bytes);
    let db = open(&disk.kill());
    let read = |snapshot: &Snapshot| {
        let budget = Budget::unlimited();
        let set = snapshot.select(&Scope::default(), &[], TimeRange::ALL, &budget)?;
        let mut out = SampleColumns::default();
        (0..set.len()).try_for_each(|i| set.samples(i, TimeRange::ALL, &budget, &mut out))
    };
    let error = read(&db.snapshot()).unwrap_err();
    assert!(error.to_string().contains(".seg is corrupt at byte"), "{error}");
    for _ in 0..100 {
        if db.stats().quarantined == 1 {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!((db.stats().quarantined, db.stats().quarantine_files), (1, 1));
    read(&db.snapshot()).unwrap();
    assert_eq!(read_all(&db.snapshot()).len(), 1);
}

#[test]
fn damage_in_the_wal_is_reported_and_the_rest_is_replayed() {
    let disk = FakeDisk::default();
    let db = open(&disk);
    for i in 0..10 {
        write(&db, &[(i, NOW_MS, i as f64)]).unwrap();
    }
    drop(db);
    let path = Path::new("/data/wal/00000000000000000001.wal");
    let mut bytes = disk.bytes(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    disk.damage(path, bytes);
    let db = open(&disk.kill());
    let stats = db.stats();
    assert_eq!((stats.wal_damaged, stats.quarantine_files, db.findings().len()), (1, 1, 1));
    assert_eq!(read_all(&db.snapshot()).len(), 9);
}

#[test]
fn a_newer_store_is_refused_by_name() {
    let disk = FakeDisk::default();
    open(&disk).close().unwrap();
    let store = Path::new("/data/STORE");
    let text = String::from_utf8(disk.bytes(store).unwrap()).unwrap();
    // Without the line of the checksum, as one that is made by hand.
    let (text, _) = text.split_once("checksum ").unwrap();
    disk.damage(store, text.replace("reader 1", "reader 7").into_bytes());
    let refused = Db::open_on(Arc::new(disk), options(), TestClock::new()).unwrap_err();
    assert_eq!(refused.to_string(), "/data/STORE has format 7, this version reads up to 1");
}

#[test]
fn chosen_series_are_rounded_when_they_leave_the_head() {
    let rule = crate::PrecisionRule { matchers: vec![Matcher::equal("odd", "yes")], digits: 3 };
    let options = DbOptions { precision: vec![rule], codec: crate::CodecPreference::Size, ..options() };
    let disk = FakeDisk::default();
    let db = open_with(&disk, options.clone());
    write(&db, &[(1, NOW_MS, 1.23456), (2, NOW_MS, 1.23456)]).unwrap();
    let value = |db: &Db, i: usize| read_all(&db.snapshot())[&(labels(i), NOW_MS)];
    assert_eq!(value(&db, 1), 1.23456_f64.to_bits());
    db.flush().unwrap();
    db.compact().unwrap();
    assert_eq!((value(&db, 1), value(&db, 2)), (1.23_f64.to_bits(), 1.23456_f64.to_bits()));
}

#[test]
fn idle_series_are_forgotten_and_come_back_unchanged() {
    let (disk, clock) = (FakeDisk::default(), TestClock::new());
    let options = DbOptions { series_idle_max: Duration::from_secs(60), ..options() };
    let db = Db::open_on(Arc::new(disk.clone()), options, clock.clone()).unwrap();
    let mut expected = Expected::default();
    for round in 0..6_i64 {
        let samples: Vec<(usize, i64, f64)> =
            (0..20).map(|i| ((round as usize % 3) * 20 + i, NOW_MS + round * 1000, round as f64)).collect();
        write(&db, &samples).unwrap();
        expected.acknowledged(&samples);
        let held = db.snapshot();
        let found = read_all(&held);
        db.flush().unwrap();
        clock.advance(61_000);
        write(&db, &[(99, NOW_MS + round, 0.0)]).unwrap();
        expected.acknowledged(&[(99, NOW_MS + round, 0.0)]);
        db.flush().unwrap();
        assert_eq!(db.series_count(), 1, "round {round}");
        write(&db, &samples).unwrap();
        assert_eq!(read_all(&held), found, "an old snapshot still knows the series");
        expected.check(read_all(&db.snapshot()));
    }
    drop(db);
    expected.check(read_all(&open(&disk.crash(1)).snapshot()));
}

/// Batches that are committed at the same time share a sync.
#[test]
fn commits_are_grouped() {
    let disk = FakeDisk::default();
    let db = open(&disk);
    let before = db.stats();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let db = &db;
            scope.spawn(move || {
                for i in 0..50 {
                    write(db, &[(thread, NOW_MS + i, i as f64)]).unwrap();
                }
            });
        }
    });
    let stats = db.stats();
    assert_eq!((stats.committed_batches, stats.committed_samples), (400, 400));
    assert!(stats.wal_syncs - before.wal_syncs <= stats.commit_groups, "{stats:?}");
    assert_eq!(read_all(&db.snapshot()).len(), 400);
    assert_eq!(read_all(&open(&disk.crash(5)).snapshot()).len(), 400);
}

#[allow(dead_code, reason = "keeps the public types in the compiler's eye")]
fn is_send_and_sync() {
    fn check<T: Send + Sync>() {}
    check::<Db>();
    check::<Snapshot>();
    check::<Batch<'static>>();
}

/// One segment that cannot be read must not keep the others from being compacted, in the background either.
#[test]
fn compaction_goes_on_beside_a_corrupt_segment() {
    let disk = FakeDisk::default();
    let db = open_with(&disk, DbOptions { maintenance: false, ..options() });
    let noise = |i: i64| f64::from_bits((i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    for round in 0..9_i64 {
        // The newest day is planned first, and its segments are larger than what is read when they are opened.
        let rows: Vec<_> = (0..4000).map(|i| (i as usize % 300, NOW_MS + round * 4000 + i, noise(i))).collect();
        write(&db, &rows).unwrap();
        write(&db, &[(0, NOW_MS - 5 * DAY + round, 2.0)]).unwrap();
        db.flush().unwrap();
    }
    drop(db);
    let newest_day = NOW_MS / DAY;
    let before = open(&disk.kill());
    let bad = before.engine.manifest.lock().current().segments.iter().find(|e| e.day == Some(newest_day)).unwrap().id;
    drop(before);
    let path = PathBuf::from("/data/segments").join(crate::names::segment_name(bad));
    let mut bytes = disk.bytes(&path).unwrap();
    bytes[40] ^= 1;
    disk.damage(&path, bytes);

    for effort in [Effort::Due, Effort::Everything] {
        let db = open_with(&disk.kill(), DbOptions { maintenance: false, ..options() });
        let report = db.engine.compact(effort, &|| false).unwrap();
        assert_eq!(report.set_aside, 1);
        let of_day = |day| db.engine.manifest.lock().current().segments.iter().filter(|e| e.day == Some(day)).count();
        assert_eq!((of_day(newest_day), of_day(newest_day - 5)), (2, 1), "{effort:?}: all others are merged");
        let status = db.compaction();
        assert_eq!(status.set_aside.iter().map(|one| one.segment).collect::<Vec<_>>(), [bad]);
        assert!(status.set_aside[0].error.contains("corrupt at byte 0"), "{status:?}");
        assert_eq!((db.stats().compaction_failures, db.stats().compaction_set_aside), (1, 1));
        db.engine.look_round();
        assert_eq!((db.stats().quarantined, db.compaction().set_aside.len()), (1, 0));
        db.compact().unwrap();
        assert_eq!(of_day(newest_day), 1);
        read_all(&db.snapshot());
    }
}

/// A disk that fails to be written to is no fault of a segment.
#[test]
fn a_compaction_that_cannot_write_says_so_and_blames_no_segment() {
    let disk = FakeDisk::default();
    let db = open_with(&disk, DbOptions { maintenance: false, ..options() });
    for round in 0..4 {
        write(&db, &[(0, NOW_MS + round, 2.0)]).unwrap();
        db.flush().unwrap();
    }
    disk.fail_kind_at("write", 0, Failure::Once);
    db.compact().unwrap_err();
    assert_eq!((db.stats().compaction_set_aside, db.stats().compaction_failures), (0, 1));
    assert_eq!(
        db.compact().unwrap(),
        CompactReport { segments_before: 4, segments_after: 1, ..CompactReport::default() }
    );
}

/// Background compaction keeps its rate, is seen while it runs, and ends at once when it is told to.
#[test]
fn a_slow_compaction_shows_how_far_it_is_and_can_be_stopped() {
    let disk = FakeDisk::default();
    let slow = DbOptions { maintenance: false, compaction_rate: Some(1), ..options() };
    let db = open_with(&disk, slow);
    for round in 0..4_i64 {
        let rows: Vec<_> = (0..1000).map(|i| (i, NOW_MS + round, i as f64)).collect();
        write(&db, &rows).unwrap();
        db.flush().unwrap();
    }
    let before = read_all(&db.snapshot());
    assert_eq!(db.compaction().waiting_jobs, 1);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let work = scope.spawn(|| db.engine.compact(Effort::Due, &|| stop.load(Ordering::Relaxed)).unwrap());
        let running = loop {
            match db.compaction().running {
                Some(job) if job.done_bytes > 0 => break job,
                _ => std::thread::yield_now(),
            }
        };
        assert_eq!((running.kind, running.inputs.len(), running.day.as_deref()), ("merge", 4, Some("2023-11-14")));
        assert!(running.done_bytes < running.bytes && db.stats().compaction_bytes == running.bytes, "{running:?}");
        stop.store(true, Ordering::Relaxed);
        assert_eq!(work.join().unwrap(), CompactReport::default());
    });
    assert_eq!((db.compaction().running, db.compaction().waiting_jobs), (None, 1));
    // What an operator asks for knows no rate.
    assert_eq!(db.compact().unwrap().segments_after, 1);
    assert_eq!(read_all(&db.snapshot()), before);
}
