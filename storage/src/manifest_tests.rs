use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::io::fake::{Failure, FakeDisk};

fn entry(id: u64) -> SegmentEntry {
    SegmentEntry {
        id,
        day: (!id.is_multiple_of(3)).then_some(-(id as i64)),
        times: TimeRange { start_ms: -5, end_ms: 7 },
        sequence_min: id,
        sequence_max: id + 1,
        series: 2,
        samples: 3,
        bytes: 300,
        created_ms: 9,
        files: Vec::new(),
    }
}

fn manifest(ids: impl Iterator<Item = u64>) -> Manifest {
    let segments = ids.map(entry).collect();
    Manifest {
        store: 1 << 64 | 7,
        version: 2,
        next_segment: 9,
        wal_floor: 4,
        flushed_sequence: 5,
        segments,
        ..Manifest::default()
    }
}

#[test]
fn bytes_are_pinned() {
    let bytes = manifest([1, 3].into_iter()).encode();
    let want = b"SGMANIF\0\x01\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\
        \x02\x09\x04\x05\x01\x01\x18\x02\
        \x01\x01\x01\x09\x0e\x01\x02\x02\x03\xac\x02\x12\
        \x03\x00\x09\x0e\x03\x04\x02\x03\xac\x02\x12";
    assert_eq!(&bytes[..bytes.len() - 8], want, "{:?}", bytes.escape_ascii().to_string());
    assert_eq!(Manifest::decode(&bytes, Path::new("m")).unwrap(), manifest([1, 3].into_iter()));
}

#[test]
fn a_newer_manifest_is_refused_by_name() {
    let mut bytes = manifest(0..0).encode();
    bytes[8] = 2;
    bytes.truncate(bytes.len() - 8);
    let sum = checksum(&bytes);
    bytes.put_u64(sum);
    let refused = Manifest::decode(&bytes, Path::new("MANIFEST-7")).unwrap_err();
    assert_eq!(refused.to_string(), "MANIFEST-7 has format 2, this version reads up to 1");
}

#[test]
fn a_flipped_bit_is_found() {
    let bytes = manifest(0..3).encode();
    for bit in 0..bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Manifest::decode(&bad, Path::new("m")).is_err(), "bit {bit}");
    }
}

fn open(disk: &FakeDisk) -> Result<(ManifestStore, Vec<String>), StorageError> {
    let layout = Layout::new("/d");
    disk.create_dir(&layout.tmp_dir())?;
    ManifestStore::open(Arc::new(disk.clone()), layout, 7, None)
}

/// At each step of each install: after a power loss the old or the new version counts, and never anything else.
#[test]
fn install_is_all_or_nothing_at_each_step() {
    for step in 0..6 {
        for how in [Failure::Once, Failure::Dead, Failure::DeadAfter] {
            for seed in 0..8 {
                let disk = FakeDisk::default();
                let (mut store, _) = open(&disk).unwrap();
                store.install(manifest(0..1), |_| ()).unwrap();
                disk.fail_at(step, how);
                let done = store.install(manifest(0..2), |_| ());
                let visible = store.current().segments.len();
                assert_eq!(visible, 1 + usize::from(done.is_ok()));
                let (after, bad) = open(&disk.crash(seed)).unwrap();
                let count = after.current().segments.len();
                assert!(bad.is_empty() && (1..=2).contains(&count), "step {step} {how:?} seed {seed}");
                assert!(done.is_err() || count == 2, "installed and lost: step {step} {how:?} seed {seed}");
            }
        }
    }
}

#[test]
fn after_a_failed_install_the_next_one_counts() {
    let disk = FakeDisk::default();
    let (mut store, _) = open(&disk).unwrap();
    disk.fail_kind_at("sync directory", 0, Failure::Once);
    store.install(manifest(0..2), |_| panic!("not visible")).unwrap_err();
    disk.heal();
    store.install(manifest(0..1), |_| ()).unwrap();
    assert_eq!(open(&disk.crash(1)).unwrap().0.current().segments.len(), 1);
}

/// On a full disk an install is tried again and again.
#[test]
fn failed_installs_leave_no_files() {
    let disk = FakeDisk::default();
    let (mut store, _) = open(&disk).unwrap();
    store.install(manifest(0..1), |_| ()).unwrap();
    for kind in ["create", "write", "sync", "rename", "sync directory"] {
        disk.fail_kind_at(kind, 0, Failure::Once);
        store.install(manifest(0..2), |_| panic!("not visible")).unwrap_err();
        assert_eq!(disk.list(&Layout::new("/d").tmp_dir()).unwrap(), Vec::<String>::new(), "{kind}");
    }
    disk.fail_kind_at("remove", 0, Failure::Once);
    store.install(manifest(0..2), |_| ()).unwrap();
    store.install(manifest(0..3), |_| ()).unwrap();
    assert_eq!(disk.list(Path::new("/d")).unwrap(), [manifest_name(store.current().version)]);
}

/// Files that an install which failed would have made count go at once, if it cannot count any more, else later.
#[test]
fn files_stay_as_long_as_a_failed_install_may_count() {
    for (kind, may_count) in
        [("create", false), ("write", false), ("sync", false), ("rename", true), ("sync directory", true)]
    {
        let (disk, layout) = (FakeDisk::default(), Layout::new("/d"));
        let (mut store, _) = open(&disk).unwrap();
        store.install(manifest(0..1), |_| ()).unwrap();
        disk.create_dir(&layout.segments_dir()).unwrap();
        let files = || disk.list(&layout.segments_dir()).unwrap().len();
        for id in [1, 2] {
            disk.create(&layout.segment(id)).unwrap();
        }
        disk.fail_kind_at(kind, 0, Failure::Once);
        store.install(manifest(0..2), |_| panic!("not visible")).unwrap_err();
        // The other one was in no version.
        let go: Vec<u64> = store.give_up([entry(1), entry(2)]).iter().map(|entry| entry.id).collect();
        assert_eq!(go, if may_count { vec![2] } else { vec![1, 2] }, "{kind}");
        store.install(manifest(0..1), |_| ()).unwrap();
        assert_eq!(files(), if may_count { 1 } else { 2 }, "{kind}");
        // One that cannot be removed goes later.
        store.remove_later([entry(2)]);
        disk.fail_kind_at("remove", 1, Failure::Once);
        store.install(manifest(0..1), |_| ()).unwrap();
        assert_eq!(disk.struck(), Some("remove"));
        store.install(manifest(0..1), |_| ()).unwrap();
        assert_eq!(disk.len(&layout.segment(2)).unwrap(), None, "{kind}");
    }
}

#[test]
fn a_corrupt_version_falls_back_to_the_one_before() {
    let disk = FakeDisk::default();
    let (mut store, _) = open(&disk).unwrap();
    store.install(manifest(0..1), |_| ()).unwrap();
    let layout = Layout::new("/d");
    let old = disk.bytes(&layout.manifest(1)).unwrap();
    store.install(manifest(0..2), |_| ()).unwrap();
    assert_eq!(disk.bytes(&layout.manifest(1)), None, "the old version goes");
    disk.damage(&layout.manifest(2), b"junk".to_vec());
    assert!(matches!(open(&disk.kill()), Err(StorageError::Corrupt { .. })), "never a silent empty store");
    let mut file = disk.create(&layout.manifest(1)).unwrap();
    file.append(&old).unwrap();
    let (found, bad) = open(&disk.kill()).unwrap();
    assert_eq!((found.current().segments.len(), bad), (1, vec![manifest_name(2)]));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut whole = manifest(0..0).encode();
        whole.truncate(32);
        whole.extend(&bytes);
        let sum = checksum(&whole);
        whole.put_u64(sum);
        let _ = Manifest::decode(&whole, Path::new("m"));
        let _ = Manifest::decode(&bytes, Path::new("m"));
    }
}
