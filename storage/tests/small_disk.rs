//! The engine on a real file system that is full: read-only, then back, and nothing lost.
//!
//! `STREAMGAUGE_SMALL_DISK` names an empty directory on a file system of its own, of 16 to 64 MiB; `.ci/full` mounts one.
//! The same on the disk in memory, in all its forms, is in `storage/src/db/faults/full_disk.rs`.

#![allow(clippy::unwrap_used, reason = "helpers of tests count as tests")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{Budget, Labels, SampleColumns, Scope, SeriesSource, TimeRange};
use streamgauge_storage::{CommitError, Db, DbOptions, SystemClock};

const DISK: &str = "STREAMGAUGE_SMALL_DISK";
const SERIES: u64 = 50;
const BATCH_SAMPLES: u64 = 2000;

fn options(dir: &Path, free_bytes_min: u64) -> DbOptions {
    DbOptions { wal_file_bytes: 1 << 20, free_bytes_min, ..DbOptions::new(dir.join("db")) }
}

/// Batch `n`: times and values that no other batch has, and that do not pack well.
fn write(db: &Db, n: u64) -> Result<(), CommitError> {
    let mut batch = db.batch();
    for i in 0..BATCH_SAMPLES {
        let name = (i % SERIES).to_string();
        let labels = Labels::from_pairs([("__name__", "small_disk"), ("series", name.as_str())]).unwrap();
        let series = batch.define(None, &labels).unwrap();
        let (timestamp_ms, value) = sample(n, i);
        batch.push(series, timestamp_ms, value).unwrap();
    }
    batch.commit().map(|_| ())
}

fn sample(n: u64, i: u64) -> (i64, f64) {
    let number = n * BATCH_SAMPLES + i;
    let bits = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 12 | 0x3FF0_0000_0000_0000;
    (1_700_000_000_000 + i64::try_from(number).unwrap(), f64::from_bits(bits))
}

/// Exactly the batches that were acknowledged, and those of which it was not known.
fn check(db: &Db, acknowledged: &[u64], open: &[u64]) {
    let (snapshot, budget, mut samples) = (db.snapshot(), Budget::unlimited(), SampleColumns::default());
    let set = snapshot.select(&Scope::default(), &[], TimeRange::ALL, &budget).unwrap();
    assert_eq!(set.len() as u64, SERIES);
    let mut found = std::collections::BTreeMap::new();
    for i in 0..set.len() {
        set.samples(i, TimeRange::ALL, &budget, &mut samples).unwrap();
        found.extend(samples.floats().map(|sample| (sample.timestamp_ms, sample.value.to_bits())));
    }
    for n in acknowledged {
        for i in 0..BATCH_SAMPLES {
            let (timestamp_ms, value) = sample(*n, i);
            assert_eq!(found.remove(&timestamp_ms), Some(value.to_bits()), "batch {n}");
        }
    }
    for n in open {
        let there = (0..BATCH_SAMPLES).filter(|i| found.remove(&sample(*n, *i).0).is_some()).count() as u64;
        assert!(there == 0 || there == BATCH_SAMPLES, "{there} samples of batch {n}");
    }
    assert!(found.is_empty(), "{} samples that nobody wrote", found.len());
}

/// Fills the disk up to `left` bytes.
fn ballast(dir: &Path, left: u64) -> PathBuf {
    let path = dir.join("ballast");
    let stat = rustix::fs::statvfs(dir).unwrap();
    let bytes = (stat.f_bavail * stat.f_frsize).saturating_sub(left);
    let mut file = std::fs::File::create(&path).unwrap();
    for _ in 0..bytes >> 16 {
        file.write_all(&[7; 1 << 16]).unwrap();
    }
    file.sync_all().unwrap();
    path
}

fn fill_and_free(dir: &Path, free_bytes_min: u64) {
    let ballast = ballast(dir, (6 << 20) + free_bytes_min);
    let db = Db::open(options(dir, free_bytes_min), Arc::new(SystemClock)).unwrap();
    let (mut acknowledged, mut open) = (Vec::new(), Vec::new());
    let mut n = 0;
    let started = Instant::now();
    while db.stats().read_only.is_none() {
        match write(&db, n) {
            Ok(()) => acknowledged.push(n),
            Err(CommitError::Storage(_)) => open.push(n),
            Err(_) => {}
        }
        n += 1;
        // The watch over free space looks once a second.
        std::thread::sleep(Duration::from_millis(if free_bytes_min > 0 { 10 } else { 0 }));
        assert!(started.elapsed() < Duration::from_secs(120), "the disk does not get full: {:?}", db.stats());
    }
    println!("read-only after {} batches: {:?}", acknowledged.len(), db.stats().read_only);
    assert!(acknowledged.len() > 20);
    assert!(write(&db, n).is_err());
    check(&db, &acknowledged, &[]);
    let _ = db.flush();
    std::thread::sleep(Duration::from_secs(3));
    let files =
        std::fs::read_dir(dir.join("db/wal")).unwrap().count() + std::fs::read_dir(dir.join("db/tmp")).unwrap().count();
    assert!(files < 30, "{files} files of attempts");

    std::fs::remove_file(ballast).unwrap();
    let freed = Instant::now();
    while let Err(error) = write(&db, n) {
        assert!(freed.elapsed() < Duration::from_secs(30), "{error}");
        if matches!(error, CommitError::Storage(_)) {
            open.push(n);
            n += 1;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    acknowledged.push(n);
    println!("writable {:?} after there was room", freed.elapsed());
    check(&db, &acknowledged, &[]);
    db.flush().unwrap();
    db.compact().unwrap();
    check(&db, &acknowledged, &[]);
    drop(db);
    let db = Db::open(options(dir, free_bytes_min), Arc::new(SystemClock)).unwrap();
    assert_eq!(db.findings(), Vec::<String>::new());
    check(&db, &acknowledged, &open);
    drop(db);
    std::fs::remove_dir_all(dir.join("db")).unwrap();
}

#[test]
#[ignore = "needs a small file system of its own"]
fn a_full_file_system_is_read_only_and_then_not() {
    let dir = PathBuf::from(std::env::var_os(DISK).expect("STREAMGAUGE_SMALL_DISK names a directory"));
    let stat = rustix::fs::statvfs(&dir).unwrap();
    let bytes = stat.f_blocks * stat.f_frsize;
    assert!(
        (16 << 20..=64 << 20).contains(&bytes),
        "{} has {bytes} bytes: it must not be a disk in use",
        dir.display()
    );
    // Up to the last byte, and down to the floor.
    for free_bytes_min in [0, 4 << 20] {
        fill_and_free(&dir, free_bytes_min);
    }
}
