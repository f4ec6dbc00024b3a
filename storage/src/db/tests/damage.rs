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

/// The version before names fewer segments: those of the lost one are kept for someone to look at.
#[test]
fn segments_of_a_lost_manifest_are_put_aside_and_not_removed() {
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
    disk.damage(&manifest(version + 1), b"junk".to_vec());
    let disk = disk.kill();
    let db = open(&disk);
    assert_eq!(read_all(&db.snapshot()).len(), 1);
    assert!(db.findings()[0].contains("MANIFEST"), "{:?}", db.findings());
    let aside = disk.list(Path::new("/data/quarantine")).unwrap();
    assert_eq!(aside, ["00000000000000000002.seg", &crate::names::manifest_name(version + 1)]);
    write(&db, &[(2, NOW_MS, 3.0)]).unwrap();
    db.flush().unwrap();
    assert!(disk.bytes(Path::new("/data/segments/00000000000000000003.seg")).is_some(), "its name is not used again");
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
