//! The database as its users see it; random histories and failing disks are in `db/faults.rs`.

mod bounds;
mod closing;
mod compaction;
mod damage;
mod knowledge;
mod outages;
mod retention;

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

#[allow(dead_code, reason = "keeps the public types in the compiler's eye")]
fn is_send_and_sync() {
    fn check<T: Send + Sync>() {}
    check::<Db>();
    check::<Snapshot>();
    check::<Batch<'static>>();
}
