//! Every single call to the disk fails in turn, reads too: once, for good, and for its kind of call.
//!
//! The caller gets the error, nothing acknowledged is lost, and when the disk works again the store does too.
//! `STREAMGAUGE_IO_ERRORS_EVERY` takes each n-th call only; 1 is the full form. All calls but reads fail once in any form.

use super::*;
use crate::io::fake::Failure;

const EVERY: &str = "STREAMGAUGE_IO_ERRORS_EVERY";

/// With closed days as Parquet or without.
fn small(parquet_after_ms: Option<i64>) -> DbOptions {
    let retention_ms = Some(10 * DAY_MS);
    DbOptions { wal_file_bytes: 500, open_partitions_max: 2, retention_ms, parquet_after_ms, ..quiet() }
}

/// Which calls fail, and how.
fn failures(calls: &[&str]) -> Vec<(u64, Failure)> {
    let every = setting(EVERY, 11);
    let all = (0..).zip(calls).flat_map(|(call, kind)| {
        [Failure::Once, Failure::Dead, Failure::Stuck].map(|how| (call, how, *kind != "read" && how == Failure::Once))
    });
    all.filter(|(call, _, is_always)| *is_always || call % every == 0).map(|(call, how, _)| (call, how)).collect()
}

/// The state of one run of the scenario.
struct Run {
    options: DbOptions,
    disk: FakeDisk,
    batches: Batches,
    ledger: Ledger,
}

impl Run {
    fn new(parquet_after_ms: Option<i64>) -> Self {
        Run {
            options: small(parquet_after_ms),
            disk: FakeDisk::default(),
            batches: Batches::new(1),
            ledger: Ledger::default(),
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
        let db = self.allow("open", try_open(&self.disk, &self.options))?;
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

    fn read(&self, db: &Db) {
        if let Some(found) = self.allow("read", try_read(&db.snapshot())) {
            assert_eq!(found, self.ledger.visible(), "right or an error");
        }
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
    }

    fn scenario(&mut self) {
        for is_clean in [false, true] {
            let Some(db) = self.open() else { continue };
            // Of a batch that failed it is known from now on whether it is there.
            if let Some(found) = self.allow("read", try_read(&db.snapshot())) {
                self.ledger.settle(found);
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
        self.ledger.check(&content(&db));
        self.ledger.settle(content(&db));
        self.writes(&db);
        db.flush().unwrap();
        db.compact().unwrap();
        assert_eq!(content(&db), self.ledger.visible());
        drop(db);
        self.disk = self.disk.crash(seed);
        let db = self.open().unwrap();
        self.ledger.settle(content(&db));
    }
}

#[test]
fn every_call_fails_in_turn() {
    fail_every_call(None);
}

#[test]
#[cfg(feature = "parquet")]
fn every_call_fails_in_turn_with_parquet() {
    fail_every_call(Some(0));
}

fn fail_every_call(parquet_after_ms: Option<i64>) {
    let mut whole = Run::new(parquet_after_ms);
    whole.scenario();
    let calls = whole.disk.calls();
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
    for (call, how) in failures(&calls) {
        println!("call {call} of {}, {}, fails: {how:?}", calls.len(), calls[call as usize]);
        let mut run = Run::new(parquet_after_ms);
        run.disk.fail_call_at(call, how);
        run.scenario();
        assert_eq!(run.disk.struck(), Some(calls[call as usize]), "the scenario is the same each time");
        run.recover(call);
    }
}

/// The same process goes on when the disk works again, without a restart.
#[test]
fn a_process_goes_on_when_the_disk_works_again() {
    go_on_after_every_call(None);
}

#[test]
#[cfg(feature = "parquet")]
fn a_process_goes_on_with_parquet_when_the_disk_works_again() {
    go_on_after_every_call(Some(0));
}

fn go_on_after_every_call(parquet_after_ms: Option<i64>) {
    let mut whole = Run::new(parquet_after_ms);
    let db = whole.open().unwrap();
    let before = whole.disk.calls().len();
    whole.process(&db);
    let calls = whole.disk.calls().split_off(before);
    drop(db);
    for (call, how) in failures(&calls) {
        println!("call {call} of {}, {}, fails: {how:?}", calls.len(), calls[call as usize]);
        let mut run = Run::new(parquet_after_ms);
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
        assert_eq!(content(&db), run.ledger.visible());
        assert_eq!(db.findings(), Vec::<String>::new());
        drop(db);
        run.disk = run.disk.crash(call);
        let db = run.open().unwrap();
        assert_eq!(content(&db), run.ledger.visible());
    }
}
