//! Files that are not what was written: put aside, reported, and the rest is served.

use super::*;

#[test]
fn a_corrupt_segment_is_put_aside_and_the_rest_is_served() {
    let disk = FakeDisk::default();
    let db = open(&disk);
    write(&db, &[(0, NOW_MS, 1.0), (0, NOW_MS - DAY, 2.0)]).unwrap();
    db.flush().unwrap();
    drop(db);
    let segments: Vec<PathBuf> = disk.paths().into_iter().filter(|path| path.starts_with("/data/segments")).collect();
    assert_eq!(segments.len(), 2);
    let mut bytes = disk.bytes(&segments[0]).unwrap();
    let end = bytes.len() - 1;
    bytes[end] ^= 1;
    disk.damage(&segments[0], bytes);
    let db = open(&disk.kill());
    assert_eq!((db.stats().quarantined, db.stats().quarantine_files, db.stats().segments), (1, 1, 1));
    assert_eq!(read_all(&db.snapshot()).len(), 1);
}

/// A store whose newest manifest is corrupt, beside the version before, which does not name the second segment. The number
/// is the version that is lost.
fn lost_manifest() -> (FakeDisk, u64) {
    let disk = FakeDisk::default();
    let db = open(&disk);
    write(&db, &[(0, NOW_MS, 1.0)]).unwrap();
    db.flush().unwrap();
    let (before, version) = (disk.kill(), db.stats().manifest_version);
    write(&db, &[(1, NOW_MS, 2.0)]).unwrap();
    db.flush().unwrap();
    drop(db);
    let manifest = |version| PathBuf::from("/data").join(crate::names::manifest_name(version));
    // As if the old version could not be removed when the new one was installed.
    let mut old = disk.create(&manifest(version)).unwrap();
    old.append(&before.bytes(&manifest(version)).unwrap()).unwrap();
    old.sync().unwrap();
    disk.sync_dir(Path::new("/data")).unwrap();
    disk.damage(&manifest(version + 1), b"junk".to_vec());
    (disk.kill(), version + 1)
}

/// The version before names fewer segments: those of the lost one are kept for someone to look at.
#[test]
fn segments_of_a_lost_manifest_are_put_aside_and_not_removed() {
    let (disk, lost) = lost_manifest();
    let db = open(&disk);
    assert_eq!(read_all(&db.snapshot()).len(), 1);
    assert!(db.findings()[0].contains("MANIFEST"), "{:?}", db.findings());
    let aside = disk.list(Path::new("/data/quarantine")).unwrap();
    assert_eq!(aside, ["00000000000000000002.seg", &crate::names::manifest_name(lost)]);
    write(&db, &[(2, NOW_MS, 3.0)]).unwrap();
    db.flush().unwrap();
    assert!(disk.bytes(Path::new("/data/segments/00000000000000000003.seg")).is_some(), "its name is not used again");
}

/// The start after one that was cut off must still know that the manifest it has is not the newest.
#[test]
fn a_start_cut_off_beside_a_lost_manifest_removes_nothing() {
    let (disk, _) = lost_manifest();
    let quiet = DbOptions { maintenance: false, ..options() };
    for n in 0.. {
        let disk = disk.kill();
        disk.fail_at(n, Failure::Dead);
        let _ = Db::open_on(Arc::new(disk.clone()), quiet.clone(), TestClock::new());
        for disk in [disk.kill(), disk.crash(n), disk.crash(n + 1000)] {
            // A power loss may bring back the WAL of the second sample.
            let db = open_with(&disk, quiet.clone());
            assert!((1..=2).contains(&read_all(&db.snapshot()).len()), "{n}");
            let aside = disk.list(Path::new("/data/quarantine")).unwrap();
            assert!(aside.iter().any(|name| name == "00000000000000000002.seg"), "{n}: {aside:?}");
        }
        if disk.struck().is_none() {
            assert!(n > 5, "{n}");
            break;
        }
    }
}

#[test]
fn a_lost_store_file_is_made_again_with_the_id_of_the_manifest() {
    let disk = FakeDisk::default();
    let path = Path::new("/data/STORE");
    let quiet = DbOptions { maintenance: false, ..options() };
    let db = open_with(&disk, quiet.clone());
    write(&db, &[(0, NOW_MS, 1.0)]).unwrap();
    db.flush().unwrap();
    write(&db, &[(1, NOW_MS, 2.0)]).unwrap();
    drop(db);
    let before = disk.bytes(path).unwrap();
    disk.remove(path).unwrap();
    for start in 0..3 {
        let db = open_with(&disk, quiet.clone());
        assert_eq!(read_all(&db.snapshot()).len(), 2 + start);
        let said = db.findings();
        assert_eq!(said.len(), usize::from(start == 0), "{said:?}");
        assert!(said.iter().all(|finding| finding.starts_with("STORE was missing")), "{said:?}");
        write(&db, &[(2 + start, NOW_MS, 3.0)]).unwrap();
    }
    assert_eq!(disk.bytes(path).unwrap(), before, "the clock stands still");
}

#[test]
fn a_segment_found_corrupt_by_a_query_is_put_aside() {
    let disk = FakeDisk::default();
    let db = open(&disk);
    // More than what is read when a segment is opened.
    let noise = |i: u64| f64::from_bits(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    write(&db, &(0..20_000).map(|i| (i % 500, NOW_MS + i as i64, noise(i as u64))).collect::<Vec<_>>()).unwrap();
    write(&db, &[(0, NOW_MS - DAY, 2.0)]).unwrap();
    db.flush().unwrap();
    drop(db);
    let newest = disk.paths().into_iter().rfind(|path| path.starts_with("/data/segments")).unwrap();
    let mut bytes = disk.bytes(&newest).unwrap();
    bytes[40] ^= 1;
    disk.damage(&newest, bytes);
    let db = open(&disk.kill());
    let read = |snapshot: &Snapshot| {
        let budget = Budget::unlimited();
        let set = snapshot.select(&Scope::default(), &[], TimeRange::ALL, &budget)?;
        let mut out = SampleColumns::default();
        (0..set.len()).try_for_each(|i| set.samples(i, TimeRange::ALL, &budget, &mut out))
    };
    let error = read(&db.snapshot()).unwrap_err();
    assert!(error.to_string().contains(".seg is corrupt at byte"), "{error}");
    for _ in 0..100 {
        if db.stats().quarantined == 1 {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!((db.stats().quarantined, db.stats().quarantine_files), (1, 1));
    read(&db.snapshot()).unwrap();
    assert_eq!(read_all(&db.snapshot()).len(), 1);
}

#[test]
fn damage_in_the_wal_is_reported_and_the_rest_is_replayed() {
    let disk = FakeDisk::default();
    let db = open(&disk);
    for i in 0..10 {
        write(&db, &[(i, NOW_MS, i as f64)]).unwrap();
    }
    drop(db);
    let path = Path::new("/data/wal/00000000000000000001.wal");
    let mut bytes = disk.bytes(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    disk.damage(path, bytes);
    let db = open(&disk.kill());
    let stats = db.stats();
    assert_eq!((stats.wal_damaged, stats.quarantine_files, db.findings().len()), (1, 1, 1));
    assert_eq!(read_all(&db.snapshot()).len(), 9);
}

/// A disk that cannot read a page of a WAL file must not keep the store from opening for ever.
#[test]
fn a_wal_file_that_cannot_be_read_in_one_place_is_replayed_around_it() {
    let whole = FakeDisk::default();
    let quiet = DbOptions { maintenance: false, ..options() };
    let db = open_with(&whole, quiet.clone());
    let noise = |i: usize| f64::from_bits((i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 2);
    for batch in 0..60 {
        // New series each time: no record needs another.
        let samples: Vec<_> = (batch * 100..(batch + 1) * 100).map(|i| (i, NOW_MS, noise(i))).collect();
        write(&db, &samples).unwrap();
    }
    drop(db);
    let path = Path::new("/data/wal/00000000000000000001.wal");
    let length = whole.bytes(path).unwrap().len() as u64;
    assert!(length > 12 * 4096, "{length}");
    for bytes in [0..1, 5 * 4096 + 100..7 * 4096, length - 1..length] {
        let disk = whole.kill();
        disk.set_unreadable(path, bytes.clone());
        let refused = Db::open_on(Arc::new(disk.clone()), quiet.clone(), TestClock::new()).unwrap_err();
        assert!(matches!(refused, StorageError::Io { .. }), "another try may read it: {refused}");
        // The process ended on it.
        let mut suspects = disk.create(Path::new("/data/SUSPECTS")).unwrap();
        suspects.append(path.as_os_str().as_encoded_bytes()).unwrap();
        let db = open_with(&disk, quiet.clone());
        let found = read_all(&db.snapshot());
        assert!((4000..6000).contains(&found.len()), "{bytes:?}: {}", found.len());
        let says = |db: &Db, text: &str| db.findings().iter().any(|finding| finding.contains(text));
        assert!(says(&db, &format!("byte {}: it cannot be read", bytes.start / 4096 * 4096)), "{:?}", db.findings());
        assert!(db.engine.flush_requested.load(Ordering::Relaxed), "so that the next start needs it no more");
        db.flush().unwrap();
        drop(db);
        let db = open_with(&disk, quiet.clone());
        assert_eq!((read_all(&db.snapshot()), db.findings()), (found, Vec::new()));
        assert_eq!(disk.list(Path::new("/data/quarantine")).unwrap(), ["00000000000000000001.wal"]);
    }
}

#[test]
fn a_newer_store_is_refused_by_name() {
    let disk = FakeDisk::default();
    open(&disk).close().unwrap();
    let store = Path::new("/data/STORE");
    let text = String::from_utf8(disk.bytes(store).unwrap()).unwrap();
    // Without the line of the checksum, as one that is made by hand.
    let (text, _) = text.split_once("checksum ").unwrap();
    disk.damage(store, text.replace("reader 1", "reader 7").into_bytes());
    let refused = Db::open_on(Arc::new(disk), options(), TestClock::new()).unwrap_err();
    assert_eq!(refused.to_string(), "/data/STORE has format 7, this version reads up to 1");
}
