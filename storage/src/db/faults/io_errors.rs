//! Every single call to the disk fails in turn, reads too: once, for good, and for its kind of call.
//!
//! The caller gets the error, nothing acknowledged is lost, and when the disk works again the store does too.
//! With roll-ups as well: then two days go by, so that samples go and their buckets answer.
//! `STREAMGAUGE_IO_ERRORS_EVERY` takes each n-th call only; 1 is the full form. All calls but reads fail once in any form, but with
//! roll-ups.

use super::rolled::{Keeps, rollups, whole_days};
use super::*;
use crate::io::fake::Failure;

const EVERY: &str = "STREAMGAUGE_IO_ERRORS_EVERY";

/// What closed days become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closed {
    Segments,
    #[cfg_attr(not(feature = "parquet"), expect(dead_code, reason = "there is no Parquet"))]
    Parquet,
    /// Segments, and roll-ups of them.
    Rollups,
}

impl Closed {
    fn keeps(self) -> Keeps {
        match self {
            Closed::Rollups => {
                Keeps { rollups: rollups(3, None, false), retention_ms: Some(whole_days(2)), odd_ms: None }
            }
            _ => Keeps { retention_ms: Some(10 * DAY_MS), ..Keeps::default() },
        }
    }

    fn options(self) -> DbOptions {
        let Keeps { retention_ms, rollups, .. } = self.keeps();
        let parquet_after_ms = (self == Closed::Parquet).then_some(0);
        let small = DbOptions { wal_file_bytes: 500, open_partitions_max: 2, parquet_after_ms, ..quiet() };
        DbOptions { retention_ms, rollups, ..small }
    }
}

/// Which calls fail, and how.
fn failures(calls: &[&str], closed: Closed) -> Vec<(u64, Failure)> {
    // Those of the scenario with roll-ups are many, and each takes its time.
    let every = setting(EVERY, if closed == Closed::Rollups { 37 } else { 11 });
    let all = (0..).zip(calls).flat_map(|(call, kind)| {
        [Failure::Once, Failure::Dead, Failure::Stuck]
            .map(|how| (call, how, *kind != "read" && how == Failure::Once && closed != Closed::Rollups))
    });
    all.filter(|(call, _, is_always)| *is_always || call % every == 0).map(|(call, how, _)| (call, how)).collect()
}

/// The state of one run of the scenario.
struct Run {
    keeps: Keeps,
    options: DbOptions,
    disk: FakeDisk,
    clock: Arc<TestClock>,
    batches: Batches,
    ledger: Ledger,
    /// Runs of samples that answered for windows.
    answered: usize,
}

impl Run {
    fn new(closed: Closed) -> Self {
        Run {
            keeps: closed.keeps(),
            options: closed.options(),
            disk: FakeDisk::default(),
            clock: TestClock::new(),
            batches: Batches::new(1),
            ledger: Ledger::default(),
            answered: 0,
        }
    }

    fn shown(&self) -> Content {
        self.keeps.shown(&self.ledger.visible(), self.clock.now_ms())
    }

    /// All that is read is right.
    fn check(&mut self, db: &Db) {
        assert_eq!(content(db), self.shown());
        let visible = self.ledger.visible();
        self.keeps.check_runs(db, &visible, self.clock.now_ms());
        self.answered += self.keeps.check_windows(db, &visible, self.clock.now_ms()).unwrap();
    }

    /// What is there counts from now on.
    fn settle(&mut self, found: &Content) {
        let (keeps, now_ms) = (self.keeps.clone(), self.clock.now_ms());
        self.ledger.settle_shown(found, |content| keeps.shown(content, now_ms));
    }

    /// A day goes by, if everything is rolled up.
    fn age(&mut self, db: &Db) {
        let is_known = self.ledger.open_batches() == 0;
        let flushed = self.allow("flush", db.flush()).is_some();
        let compacted = self.allow("compact", db.compact()).is_some_and(|report| report.set_aside == 0);
        if is_known && flushed && compacted {
            self.clock.advance(DAY_MS);
            self.batches.now_ms += DAY_MS;
        }
    }

    /// An error is fine if the disk failed, and only then.
    fn allow<T, E: std::fmt::Display>(&self, what: &str, done: Result<T, E>) -> Option<T> {
        if let Err(error) = &done {
            assert!(self.disk.struck().is_some(), "{what} without any fault: {error}");
        }
        done.ok()
    }

    fn open(&self) -> Option<Db> {
        let db = self.allow("open", try_open_at(&self.disk, &self.options, &self.clock))?;
        assert_eq!(db.findings(), Vec::<String>::new(), "a failing disk is no damaged file");
        Some(db)
    }

    fn writes(&mut self, db: &Db) {
        for len in [3, 8, 60] {
            let batch = self.batches.next(0..5, len);
            if !commit(db, &mut self.ledger, &batch) {
                assert!(self.disk.struck().is_some(), "refused without any fault");
                db.engine.look_round();
            }
        }
    }

    fn read(&mut self, db: &Db) {
        if let Some(found) = self.allow("read", try_read(&db.snapshot())) {
            assert_eq!(found, self.shown(), "right or an error");
        }
        let answered = self.keeps.check_windows(db, &self.ledger.visible(), self.clock.now_ms());
        self.answered += self.allow("read", answered).unwrap_or_default();
    }

    /// What a process does, with everything in it once.
    fn process(&mut self, db: &Db) {
        self.read(db);
        self.writes(db);
        self.allow("flush", db.flush());
        self.writes(db);
        self.read(db);
        self.allow("flush", db.flush());
        self.read(db);
        self.allow("compact", db.compact());
        self.allow("retention", db.enforce_retention());
        self.writes(db);
        db.engine.look_round();
        self.read(db);
        if !self.keeps.rollups.rules().is_empty() {
            self.age(db);
            self.read(db);
            let (start_ms, end_ms) = (self.batches.now_ms - 3 * DAY_MS / 2, self.batches.now_ms - DAY_MS + 1);
            if self.ledger.open_batches() == 0 {
                self.ledger.delete(db, "yes", TimeRange { start_ms, end_ms });
            }
            self.age(db);
            self.allow("retention", db.enforce_retention());
            self.read(db);
        }
    }

    fn scenario(&mut self) {
        for is_clean in [false, true] {
            let Some(db) = self.open() else { continue };
            // Of a batch that failed it is known from now on whether it is there.
            if let Some(found) = self.allow("read", try_read(&db.snapshot())) {
                self.settle(&found);
            }
            self.process(&db);
            if is_clean {
                self.allow("close", db.close());
            }
        }
    }

    /// The disk works again: the store does too, at once and after a power loss.
    fn recover(mut self, seed: u64) {
        self.disk.heal();
        let db = self.open().unwrap();
        self.settle(&content(&db));
        self.writes(&db);
        db.flush().unwrap();
        db.compact().unwrap();
        self.check(&db);
        drop(db);
        self.disk = self.disk.crash(seed);
        let db = self.open().unwrap();
        self.check(&db);
    }
}

#[test]
fn every_call_fails_in_turn() {
    fail_every_call(Closed::Segments);
}

#[test]
#[cfg(feature = "parquet")]
fn every_call_fails_in_turn_with_parquet() {
    fail_every_call(Closed::Parquet);
}

#[test]
fn every_call_fails_in_turn_with_rollups() {
    fail_every_call(Closed::Rollups);
}

fn fail_every_call(closed: Closed) {
    let mut whole = Run::new(closed);
    whole.scenario();
    let calls = whole.disk.calls();
    assert!(closed != Closed::Rollups || whole.answered > 50, "{} answers from buckets", whole.answered);
    whole.recover(0);
    let wanted = [
        "create",
        "create directory",
        "list",
        "lock",
        "open",
        "read",
        "remove",
        "rename",
        "stat",
        "statvfs",
        "sync",
        "sync directory",
        "write",
    ];
    assert!(calls.len() > 150 && wanted.iter().all(|kind| calls.contains(kind)), "{calls:?}");
    for (call, how) in failures(&calls, closed) {
        println!("call {call} of {}, {}, fails: {how:?}", calls.len(), calls[call as usize]);
        let mut run = Run::new(closed);
        run.disk.fail_call_at(call, how);
        run.scenario();
        assert_eq!(run.disk.struck(), Some(calls[call as usize]), "the scenario is the same each time");
        run.recover(call);
    }
}

/// The same process goes on when the disk works again, without a restart.
#[test]
fn a_process_goes_on_when_the_disk_works_again() {
    go_on_after_every_call(Closed::Segments);
}

#[test]
#[cfg(feature = "parquet")]
fn a_process_goes_on_with_parquet_when_the_disk_works_again() {
    go_on_after_every_call(Closed::Parquet);
}

#[test]
fn a_process_goes_on_with_rollups_when_the_disk_works_again() {
    go_on_after_every_call(Closed::Rollups);
}

fn go_on_after_every_call(closed: Closed) {
    let mut whole = Run::new(closed);
    let db = whole.open().unwrap();
    let before = whole.disk.calls().len();
    whole.process(&db);
    let calls = whole.disk.calls().split_off(before);
    drop(db);
    for (call, how) in failures(&calls, closed) {
        println!("call {call} of {}, {}, fails: {how:?}", calls.len(), calls[call as usize]);
        let mut run = Run::new(closed);
        let db = run.open().unwrap();
        run.disk.fail_call_at(call, how);
        run.process(&db);
        run.disk.heal();
        db.engine.look_round();
        let patience = std::time::Instant::now();
        while db.stats().read_only.is_some() {
            assert!(patience.elapsed().as_secs() < 30, "{:?}", db.stats().read_only);
            std::thread::yield_now();
        }
        run.writes(&db);
        db.flush().unwrap();
        db.compact().unwrap();
        run.check(&db);
        assert_eq!(db.findings(), Vec::<String>::new());
        // What could not even be removed goes with the next install, but files of Parquet that have no index yet.
        if how != Failure::Dead || closed != Closed::Parquet {
            assert_eq!(loose_files(&db, &run.disk), Vec::<PathBuf>::new());
        }
        drop(db);
        run.disk = run.disk.crash(call);
        let db = run.open().unwrap();
        run.check(&db);
    }
}
