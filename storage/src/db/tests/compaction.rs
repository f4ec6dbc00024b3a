//! Compaction that meets damage, a full disk, or an impatient operator.

use super::*;

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

/// Compaction by itself never takes the room that keeps the store writable; an operator may.
#[test]
fn a_merge_in_the_background_waits_until_there_is_room() {
    const FLOOR: u64 = 1000;
    let (disk, clock) = (FakeDisk::default(), TestClock::new());
    let options = DbOptions { maintenance: false, free_bytes_min: FLOOR, ..options() };
    let db = Db::open_on(Arc::new(disk.clone()), options, clock.clone()).unwrap();
    for round in 0..4 {
        write(&db, &[(0, NOW_MS + round, 2.0)]).unwrap();
        db.flush().unwrap();
    }
    let bytes: u64 = db.engine.manifest.lock().current().segments.iter().map(|entry| entry.bytes).sum();
    let compact = |effort| {
        let report = db.engine.compact(effort, &|| false).unwrap();
        (report.segments_before, report.set_aside)
    };
    disk.set_free_bytes(FLOOR + bytes - 1);
    assert_eq!(compact(Effort::Due), (0, 4));
    let status = db.compaction();
    let said = format!("no room to write up to {bytes} bytes: {} are free", FLOOR + bytes - 1);
    assert!(status.set_aside[0].error.contains(&said), "{status:?}");
    assert_eq!((db.stats().compaction_set_aside, db.stats().compaction_failures), (4, 0));
    disk.set_free_bytes(FLOOR + bytes);
    assert_eq!(compact(Effort::Due), (0, 4), "it is not asked again and again");
    clock.advance(600_000);
    assert_eq!(compact(Effort::Due), (4, 0));

    for round in 4..7 {
        write(&db, &[(0, NOW_MS + round, 2.0)]).unwrap();
        db.flush().unwrap();
    }
    disk.set_free_bytes(FLOOR);
    assert_eq!(compact(Effort::Due), (0, 4));
    assert_eq!(db.stats().compaction_set_aside, 4);
    assert_eq!(compact(Effort::Everything), (4, 0));
    assert_eq!(db.stats().compaction_set_aside, 0, "those are gone");
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

/// Each try writes anew: what it wrote in vain must go, or a disk that was full once stays full.
#[test]
fn a_try_that_fails_anywhere_leaves_no_files() {
    let disk = FakeDisk::default();
    let quiet = DbOptions { maintenance: false, ..options() };
    let db = open_with(&disk, quiet.clone());
    for round in 0..4 {
        write(&db, &[(0, NOW_MS + round, 2.0)]).unwrap();
        db.flush().unwrap();
    }
    drop(db);
    let files = |disk: &FakeDisk| disk.list(Path::new("/data/segments")).unwrap().len();
    let mut kinds = std::collections::BTreeSet::new();
    for n in 0.. {
        let disk = disk.kill();
        let db = open_with(&disk, quiet.clone());
        let before = disk.calls().len();
        disk.fail_call_at(n, Failure::Once);
        let done = db.compact();
        let Some(kind) = disk.struck() else { break };
        kinds.insert(kind);
        if done.is_err() {
            // From the second rename on, that of the manifest, it is open which one counts: nothing may go then.
            let renames = disk.calls()[before..].iter().filter(|kind| **kind == "rename").count();
            assert_eq!(files(&disk), if renames < 2 { 4 } else { 5 }, "call {n}, {kind}");
            assert_eq!(read_all(&open_with(&disk.crash(n), quiet.clone()).snapshot()).len(), 4, "call {n}, {kind}");
            write(&db, &[(0, NOW_MS + 9, 2.0)]).unwrap();
            db.flush().unwrap();
            assert_eq!(files(&disk) as u64, db.stats().segments, "call {n}, {kind}");
        }
        db.compact().unwrap();
        write(&db, &[(0, NOW_MS + 10, 2.0)]).unwrap();
        db.flush().unwrap();
        assert_eq!(files(&disk) as u64, db.stats().segments, "call {n}, {kind}");
    }
    let wanted = ["create", "open", "remove", "rename", "sync", "sync directory", "write"];
    assert!(wanted.iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
}
