//! A disk without room: the store turns read-only, goes on answering, and takes writes again when there is room.
//!
//! The same on a real small file system is in `storage/tests/small_disk.rs`.

use super::rolled::{Keeps, rollups};
use super::*;

/// Writes until the disk is full; returns the number of batches acknowledged.
fn fill(db: &Db, batches: &mut Batches, ledger: &mut Ledger) -> usize {
    for count in 0..2000 {
        let batch = batches.next(0..8, 60);
        if !commit(db, ledger, &batch) {
            return count;
        }
        // Flushes fail before writes do, because a segment needs room beside the WAL.
        if count % 20 == 19 {
            let _ = db.flush();
        }
    }
    panic!("the disk does not get full");
}

/// Files beside those of samples; attempts that failed may leave a few.
fn other_files(disk: &FakeDisk) -> Vec<PathBuf> {
    let is_other = |path: &PathBuf| !path.starts_with("/data/segments") && !path.starts_with("/data/parquet");
    disk.paths().into_iter().filter(is_other).collect()
}

fn wait_until_writable(db: &Db) {
    let patience = std::time::Instant::now();
    while db.stats().read_only.is_some() {
        assert!(patience.elapsed().as_secs() < 30, "{:?}", db.stats().read_only);
        db.engine.look_round();
        std::thread::yield_now();
    }
}

#[test]
fn a_full_disk_is_read_only_and_then_not() {
    let none = Keeps::default();
    let rolled = Keeps { rollups: rollups(3, None, false), ..Keeps::default() };
    for (capacity, free_bytes_min, parquet_after_ms, keeps) in [
        (12_000, 0, None, &none),
        (40_000, 0, None, &none),
        (40_000, 16_000, None, &none),
        (100_000, 0, None, &none),
        (40_000, 0, Some(0), &none),
        (100_000, 16_000, Some(0), &none),
        (40_000, 0, None, &rolled),
        (100_000, 16_000, None, &rolled),
    ] {
        println!("capacity {capacity}, floor {free_bytes_min}, Parquet {parquet_after_ms:?}, {:?}", keeps.rollups);
        let disk = FakeDisk::default();
        disk.set_capacity(capacity);
        let rollups = keeps.rollups.clone();
        let options = DbOptions { wal_file_bytes: 4000, free_bytes_min, parquet_after_ms, rollups, ..quiet() };
        let db = try_open(&disk, &options).unwrap();
        let (mut batches, mut ledger) = (Batches::new(capacity), Ledger::default());
        for round in 1..4 {
            if free_bytes_min > 0 {
                // The watch looks once a second; here after each batch.
                while db.stats().read_only.is_none() {
                    let batch = batches.next(0..8, 60);
                    assert!(commit(&db, &mut ledger, &batch), "the floor comes before the end of the disk");
                    db.engine.look_round();
                }
            } else {
                fill(&db, &mut batches, &mut ledger);
            }
            // Many senders and the watch try again and again meanwhile.
            let files = other_files(&disk).len();
            for _ in 0..20 {
                let batch = batches.next(0..8, 60);
                commit(&db, &mut ledger, &batch);
                let _ = db.flush();
                let _ = db.compact();
                db.engine.look_round();
                assert_eq!(loose_files(&db, &disk), Vec::<PathBuf>::new(), "what was written in vain makes room");
            }
            let left = other_files(&disk);
            assert!(left.len() <= files + 2, "{files} files, then {left:?}");
            assert_eq!(content(&db), ledger.visible(), "queries go on");
            disk.set_capacity(capacity * (round + 1));
            wait_until_writable(&db);
            let batch = batches.next(0..8, 60);
            assert!(commit(&db, &mut ledger, &batch), "round {round}");
            db.flush().unwrap();
            db.compact().unwrap();
            assert_eq!(content(&db), ledger.visible(), "round {round}");
            let buckets = keeps.check_runs(&db, &ledger.visible(), NOW_MS);
            keeps.check_windows(&db, &ledger.visible(), NOW_MS).unwrap();
            assert!(keeps.rollups.rules().is_empty() || buckets > 0);
        }
        drop(db);
        let db = try_open(&disk.crash(capacity), &options).unwrap();
        assert_eq!(content(&db), ledger.visible(), "what was refused is not there");
    }
}

/// A store whose disk is full when it starts still answers.
#[test]
fn a_start_on_a_full_disk_answers_queries() {
    let disk = FakeDisk::default();
    let db = try_open(&disk, &quiet()).unwrap();
    let (mut batches, mut ledger) = (Batches::new(3), Ledger::default());
    for _ in 0..5 {
        let batch = batches.next(0..8, 60);
        assert!(commit(&db, &mut ledger, &batch));
    }
    db.flush().unwrap();
    let batch = batches.next(0..8, 60);
    assert!(commit(&db, &mut ledger, &batch));
    drop(db);
    let disk = disk.kill();
    disk.set_capacity(disk.used_bytes());
    let db = try_open(&disk, &quiet()).unwrap();
    assert_eq!(content(&db), ledger.visible());
    assert!(!commit(&db, &mut ledger, &batch));
    disk.set_capacity(1 << 20);
    wait_until_writable(&db);
    assert!(commit(&db, &mut ledger, &batch));
    drop(db);
    ledger.settle(content(&try_open(&disk.crash(3), &quiet()).unwrap()));
}
