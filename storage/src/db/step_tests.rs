//! What readers see at each step of a flush and a compaction, and what a kill or a power loss at each step leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::engine::Engine;
use super::tests::{Content, NOW_MS, TestClock, open, options, read_all, write};
use super::*;
use crate::io::fake::FakeDisk;
use crate::options::{Probe, Step};

const DAY_MS: i64 = 86_400_000;

/// At each step takes a snapshot, compares, and keeps what the disk would be after a kill and after a power loss.
#[derive(Debug, Default)]
struct Watch {
    engine: Mutex<Weak<Engine>>,
    disk: FakeDisk,
    expected: Mutex<Option<Content>>,
    seen: Mutex<BTreeSet<Step>>,
    left: Mutex<Vec<(Step, FakeDisk)>>,
    held: Mutex<Vec<Snapshot>>,
}

impl Probe for Watch {
    fn reached(&self, step: Step) {
        let Some(expected) = self.expected.lock().clone() else { return };
        self.seen.lock().insert(step);
        if let Some(engine) = self.engine.lock().upgrade() {
            let snapshot = Snapshot::new(&engine);
            assert_eq!(read_all(&snapshot), expected, "at {step:?}");
            self.held.lock().push(snapshot);
        }
        let mut left = self.left.lock();
        left.push((step, self.disk.kill()));
        left.extend((0..4).map(|seed| (step, self.disk.crash(seed))));
    }
}

fn watched() -> (Arc<Watch>, Db) {
    let watch = Arc::new(Watch::default());
    let options = DbOptions { probe: Some(watch.clone()), ..options() };
    let db = Db::open_on(Arc::new(watch.disk.clone()), options, TestClock::new()).unwrap();
    *watch.engine.lock() = Arc::downgrade(&db.engine);
    (watch, db)
}

fn fill(db: &Db, round: i64) {
    for i in 0..8 {
        let late = NOW_MS - DAY_MS * (i % 3) + round;
        write(db, &[(i as usize, late, i as f64), (i as usize % 2, NOW_MS + i, (round * i) as f64)]).unwrap();
    }
}

/// Runs `work` and checks every step of it.
fn check(watch: &Watch, db: &Db, work: impl FnOnce(), steps: &[Step]) {
    let expected = read_all(&db.snapshot());
    *watch.expected.lock() = Some(expected.clone());
    work();
    *watch.expected.lock() = None;
    assert_eq!(read_all(&db.snapshot()), expected);
    let seen = std::mem::take(&mut *watch.seen.lock());
    assert!(steps.iter().all(|step| seen.contains(step)), "{seen:?}");
    for snapshot in std::mem::take(&mut *watch.held.lock()) {
        assert_eq!(read_all(&snapshot), expected, "afterwards");
    }
    for (step, disk) in std::mem::take(&mut *watch.left.lock()) {
        let db = open(&disk);
        assert_eq!(read_all(&db.snapshot()), expected, "killed at {step:?}");
        assert_eq!(db.findings(), Vec::<String>::new(), "killed at {step:?}");
        // It goes on as if nothing had been.
        write(&db, &[(0, NOW_MS + 500, 1.0)]).unwrap();
        db.flush().unwrap();
        db.compact().unwrap();
        assert_eq!(read_all(&db.snapshot()).len(), expected.len() + 1, "killed at {step:?}");
    }
}

#[test]
fn a_flush_shows_each_sample_once_at_each_step() {
    let (watch, db) = watched();
    fill(&db, 0);
    db.flush().unwrap();
    fill(&db, 1);
    let steps = [
        Step::WalRoll,
        Step::WalRolled,
        Step::FlushFrozen,
        Step::SegmentWritten,
        Step::SegmentRenamed,
        Step::SegmentsDurable,
        Step::ManifestWritten,
        Step::ManifestSynced,
        Step::ManifestRenamed,
        Step::ManifestDurable,
        Step::ManifestInstalled,
        Step::WalRemoved,
    ];
    check(&watch, &db, || assert!(db.flush().unwrap().segments > 0), &steps);
    let names = watch.disk.list(std::path::Path::new("/data/wal")).unwrap();
    assert_eq!(names.len(), 1, "the WAL of what is in segments goes: {names:?}");
}

#[test]
fn a_compaction_shows_each_sample_once_at_each_step() {
    let (watch, db) = watched();
    for round in 0..3 {
        fill(&db, round);
        db.flush().unwrap();
    }
    fill(&db, 3);
    let before = db.stats().segments;
    let steps = [Step::SegmentWritten, Step::SegmentRenamed, Step::ManifestDurable, Step::ManifestInstalled];
    let mut report = CompactReport::default();
    check(&watch, &db, || report = db.compact().unwrap(), &steps);
    // The two closed days may have been merged in the background before.
    assert!(report.segments_before >= 3 && report.segments_before <= before, "{report:?}");
    assert_eq!(db.stats().segments, 3);
    assert_eq!(watch.disk.list(std::path::Path::new("/data/segments")).unwrap().len(), 3);
}

/// A batch is all there or not at all, at each step of its commit; once it is synced, a crash keeps it.
#[test]
fn a_commit_is_whole_at_each_step() {
    let (watch, db) = watched();
    fill(&db, 0);
    let before = read_all(&db.snapshot());
    *watch.expected.lock() = Some(before.clone());
    write(&db, &[(0, NOW_MS + 900, 1.0), (9, NOW_MS + 900, 2.0)]).unwrap();
    *watch.expected.lock() = None;
    let after = read_all(&db.snapshot());
    assert_eq!(after.len(), before.len() + 2);
    for (step, disk) in std::mem::take(&mut *watch.left.lock()) {
        let found = read_all(&open(&disk).snapshot());
        assert!(found == before || found == after, "killed at {step:?}");
        assert!(step != Step::WalSynced || found == after, "synced and lost");
    }
    assert_eq!(*watch.seen.lock(), [Step::WalWrite, Step::WalWritten, Step::WalSynced].into());
}

#[test]
fn a_run_of_several_days_is_split_into_days() {
    use crate::compaction::plan::Job;
    let disk = FakeDisk::default();
    let options = DbOptions { open_partitions_max: 2, ..options() };
    let db = Db::open_on(Arc::new(disk), options, TestClock::new()).unwrap();
    for day in 0..7 {
        write(&db, &[(0, NOW_MS - day * DAY_MS, 1.0), (1, NOW_MS - day * DAY_MS, 2.0)]).unwrap();
    }
    db.flush().unwrap();
    let days = || db.engine.view.read().segments.iter().map(|live| live.entry.day).collect::<Vec<_>>();
    assert_eq!(days().iter().filter(|day| day.is_none()).count(), 1);
    let expected = read_all(&db.snapshot());
    for left in [1, 1, 0] {
        let mixed = db.engine.view.read().segments.iter().find(|live| live.entry.day.is_none()).cloned().unwrap();
        db.engine.run(&Job::Split { input: mixed.entry.id }, &[mixed], Effort::Everything, &|| false).unwrap();
        assert_eq!(days().iter().filter(|day| day.is_none()).count(), left);
        assert_eq!(read_all(&db.snapshot()), expected);
    }
    assert_eq!(days().len(), 7);
}

/// Queries, writes, flushes and compactions at the same time.
#[test]
fn readers_and_writers_do_not_disturb_each_other() {
    let db = open(&FakeDisk::default());
    let done = std::sync::atomic::AtomicBool::new(false);
    let rounds = 60_i64;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..rounds {
                // Every batch has the same value everywhere, so a reader can tell a half one.
                let samples: Vec<_> = (0..10).map(|i| (i, NOW_MS + (round % 7) * 1000, round as f64)).collect();
                write(&db, &samples).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Acquire) {
                db.flush().unwrap();
                db.compact().unwrap();
            }
        });
        let mut last = 0.0;
        while !done.load(std::sync::atomic::Ordering::Acquire) {
            let snapshot = db.snapshot();
            let found = read_all(&snapshot);
            let mut by_time: BTreeMap<i64, BTreeSet<u64>> = BTreeMap::new();
            for ((_, ms), bits) in &found {
                by_time.entry(*ms).or_default().insert(*bits);
            }
            assert!(by_time.values().all(|values| values.len() == 1), "half a batch: {by_time:?}");
            assert_eq!(found.len() % 10, 0);
            let newest = found.values().map(|bits| f64::from_bits(*bits)).fold(0.0, f64::max);
            assert!(newest >= last, "time goes back");
            last = newest;
            assert_eq!(read_all(&snapshot), found);
        }
    });
    assert_eq!(read_all(&db.snapshot()).len(), 70);
}
