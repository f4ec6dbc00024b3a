//! What is bounded: the WAL, the head, batches that wait, series, times, queries.

use super::*;

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

/// Also within one batch, of which none is known yet.
#[test]
fn metadata_is_bounded_at_n_and_n_plus_1() {
    let bounded = || open_with(&FakeDisk::default(), DbOptions { metadata_max: 2, ..options() });
    let set = |db: &Db, families: &[&str]| {
        let mut batch = db.batch();
        for family in families {
            batch.set_metadata(family, Metadata { help: "h".into(), ..Metadata::default() });
        }
        batch.commit().unwrap();
    };
    let known = |db: &Db| (db.metadata().len(), db.stats().metadata_dropped);
    let db = bounded();
    set(&db, &["a", "b"]);
    assert_eq!(known(&db), (2, 0));
    set(&db, &["a", "c"]);
    assert_eq!(known(&db), (2, 1));
    let db = bounded();
    set(&db, &["a", "b", "c", "d"]);
    assert_eq!(known(&db), (2, 2));
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
