//! A disk that fails or is full, while it lasts and afterwards.

use super::*;

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

/// What goes on in the background has nobody to tell: the last error of each kind of work can be asked for.
#[test]
fn the_last_failure_of_each_kind_of_work_is_kept() {
    let (disk, clock) = (FakeDisk::default(), TestClock::new());
    let options = DbOptions { maintenance: false, retention_ms: Some(10 * DAY), ..options() };
    let db = Db::open_on(Arc::new(disk.clone()), options, clock.clone()).unwrap();
    for i in 0..4 {
        write(&db, &[(0, NOW_MS + i, 1.0)]).unwrap();
        db.flush().unwrap();
    }
    write(&db, &[(0, NOW_MS, 1.0)]).unwrap();
    assert_eq!(db.failures(), []);
    let failed = || {
        let of = |one: crate::WorkFailure| (one.work, one.at_ms - NOW_MS, one.error.contains("fails here"));
        db.failures().into_iter().map(of).collect::<Vec<_>>()
    };
    disk.fail_at(0, Failure::Dead);
    db.compact().unwrap_err();
    clock.advance(1);
    db.flush().unwrap_err();
    assert_eq!(failed(), [("compaction", 0, true), ("flush", 1, true)]);
    clock.advance(20 * DAY);
    db.enforce_retention().unwrap_err();
    assert_eq!(failed()[2], ("retention", 20 * DAY + 1, true));
    disk.heal();
    db.enforce_retention().unwrap();
    db.compact().unwrap();
    assert_eq!((failed().len(), db.stats().retention_failures), (3, 1), "it stays, with its time");
}
