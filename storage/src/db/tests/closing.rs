//! What becomes of work that goes on when the database is closed.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::error::DeleteError;
use crate::options::{Probe, Step};

/// Holds up who comes to it, once it is armed, until it is opened.
#[derive(Debug, Default)]
struct Gate {
    is_armed: AtomicBool,
    holds: AtomicBool,
}

impl Gate {
    fn pass(&self) {
        while self.is_armed.load(Ordering::SeqCst) {
            self.holds.store(true, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Probe for Gate {
    fn reached(&self, step: Step) {
        if step == Step::ManifestWritten {
            self.pass();
        }
    }
}

/// Two days of which each is to be merged.
fn store(disk: &FakeDisk, gate: &Arc<Gate>) -> Db {
    let db = open_with(disk, DbOptions { maintenance: false, probe: Some(gate.clone()), ..options() });
    for round in 0..4 {
        write(&db, &[(0, NOW_MS + round, 1.0), (1, NOW_MS - 3 * DAY + round, 2.0)]).unwrap();
        db.flush().unwrap();
    }
    db
}

/// Closes the database while the work is held up at the gate. Nobody else gets the directory before the work has ended.
fn close_during<T: Send>(work: impl Fn(&Db, &Gate) -> T + Sync) -> (T, FakeDisk) {
    let (disk, gate) = (FakeDisk::default(), Arc::new(Gate::default()));
    let db = store(&disk, &gate);
    gate.is_armed.store(true, Ordering::SeqCst);
    let done = std::thread::scope(|scope| {
        let worker = scope.spawn(|| work(&db, &gate));
        while !gate.holds.load(Ordering::SeqCst) && !worker.is_finished() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let holds_up_flushes = db.engine.flushing.is_locked();
        let closer = scope.spawn(|| db.close());
        // It comes as far as it can.
        while !holds_up_flushes && !db.engine.compact_signal.is_stopped() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(50));
        let other = Db::open_on(Arc::new(disk.clone()), options(), TestClock::new());
        let is_at_work = !worker.is_finished();
        gate.is_armed.store(false, Ordering::SeqCst);
        assert!(is_at_work && matches!(other, Err(StorageError::Locked { .. })), "{other:?}");
        closer.join().unwrap().unwrap();
        worker.join().unwrap()
    });
    (done, disk)
}

#[test]
fn the_directory_is_let_go_when_the_last_work_in_it_has_ended() {
    let all = vec![vec![Matcher::equal("i", "0")]];
    type Work<'a> = &'a (dyn Fn(&Db, &Gate) + Sync);
    let works: [(&str, Work<'_>); 5] = [
        ("compaction", &|db, _| assert_eq!(db.compact().unwrap().segments_after, 1)),
        ("delete", &|db, _| assert_eq!(db.delete(all.clone(), TimeRange::ALL).unwrap(), Some(1))),
        ("retention", &|db, _| {
            *db.engine.retention.write() = Arc::new(RetentionRules::new(Some(DAY), Vec::new()));
            assert_eq!(db.enforce_retention().unwrap().dropped_days.len(), 1);
        }),
        ("flush", &|db, _| {
            write(db, &[(5, NOW_MS, 1.0)]).unwrap();
            assert_eq!(db.flush().unwrap().samples, 1);
        }),
        ("save", &|db, gate| {
            let add = |_: &Path| {
                gate.pass();
                Ok(())
            };
            assert_eq!(db.save_snapshot("one", true, &add).unwrap().samples, 8);
        }),
    ];
    for (name, work) in works {
        println!("{name}");
        let ((), disk) = close_during(|db, gate| work(db, gate));
        let again = open(&disk);
        assert_eq!(again.findings(), Vec::<String>::new());
        let files = disk.list(Path::new("/data/segments")).unwrap().len() as u64;
        assert_eq!(files, again.stats().segments, "{name}");
    }
}

/// It must not hold up the end of the process.
#[test]
fn a_compaction_that_was_asked_for_ends_with_the_database() {
    let (report, disk) = close_during(|db, _| db.compact().unwrap());
    assert_eq!(report.segments_after, 1, "one day of two");
    assert_eq!(open(&disk).compact().unwrap().segments_after, 1, "what is left is done later");
}

#[test]
fn nothing_begins_in_a_directory_that_was_let_go() {
    let disk = FakeDisk::default();
    let db = store(&disk, &Arc::default());
    db.close().unwrap();
    let before = disk.operations();
    let all = || vec![vec![Matcher::equal("i", "0")]];
    let none = |_: &Path| Ok(());
    let refused = [
        db.flush().err(),
        db.compact().err(),
        db.compact_due().err(),
        db.purge_deleted().err(),
        db.enforce_retention().err(),
        db.save_snapshot("one", true, &none).err(),
        db.remove_saved_snapshot("one").err(),
    ];
    assert!(refused.iter().all(|error| matches!(error, Some(StorageError::Closed))), "{refused:?}");
    assert!(matches!(db.delete(all(), TimeRange::ALL), Err(DeleteError::Storage(StorageError::Closed))));
    assert!(matches!(db.undo_delete(1), Err(DeleteError::Storage(StorageError::Closed))));
    assert_eq!((disk.operations(), read_all(&db.snapshot()).len()), (before, 8), "queries go on");
}
