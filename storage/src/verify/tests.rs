//! No damage goes unseen: every single bit of a small store, whole files that are cut, gone or foreign; and nothing is
//! called damage that is none, beside a running store too.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;
use crate::db::tests::{NOW_MS, labels, open_with, options, write};
use crate::io::fake::FakeDisk;
use crate::options::SystemClock;
use crate::wal::file::FILE_HEADER_BYTES;
use crate::wal::record::{HEADER_BYTES, RecordHeader};
use crate::{Db, DbOptions};

const DAY_MS: i64 = 86_400_000;
/// Takes each n-th bit only, while working on this.
const EVERY: &str = "STREAMGAUGE_FLIP_EVERY";

fn quiet() -> DbOptions {
    DbOptions { maintenance: false, ..options() }
}

/// Two days in segments, then two WAL files, of which the second repeats the end of the first.
fn store() -> FakeDisk {
    let disk = FakeDisk::default();
    let db = open_with(&disk, quiet());
    for day in [0, 2] {
        let rows: Vec<_> = (0..9).map(|i| (i % 3, NOW_MS - day * DAY_MS - i as i64 * 1000, i as f64 / 4.0)).collect();
        write(&db, &rows).unwrap();
    }
    db.flush().unwrap();
    for i in 0..2 {
        write(&db, &[(i, NOW_MS + i as i64, 1.0), (2, NOW_MS - i as i64, 2.0)]).unwrap();
    }
    drop(db);
    let disk = disk.kill();
    let db = open_with(&disk, quiet());
    for i in 0..2 {
        write(&db, &[(i, NOW_MS + 10 + i as i64, 3.0)]).unwrap();
    }
    drop(db);
    disk.kill()
}

fn look(disk: &FakeDisk) -> VerifyReport {
    verify_on(Arc::new(disk.clone()), Path::new("/data"), VerifyOptions::default()).unwrap()
}

fn with_bytes(disk: &FakeDisk, path: &Path, edit: impl FnOnce(&mut Vec<u8>)) -> FakeDisk {
    let disk = disk.kill();
    let mut bytes = disk.bytes(path).unwrap();
    edit(&mut bytes);
    disk.damage(path, bytes);
    disk
}

fn files(disk: &FakeDisk, begin: &str) -> Vec<PathBuf> {
    let found: Vec<_> = disk.paths().into_iter().filter(|path| path.to_str().unwrap().starts_with(begin)).collect();
    assert!(!found.is_empty(), "{begin}");
    found
}

/// Flips each bit of the files whose paths begin so; `check` sees the byte and the damage, which names the file and, if
/// `exact`, the byte.
fn flip_all(begin: &str, exact: bool, mut check: impl FnMut(&Path, usize, &FoundDamage)) {
    let every = std::env::var(EVERY).map_or(1, |text| text.parse().unwrap());
    let disk = store();
    assert_eq!(look(&disk).damage, [], "a sound store has no damage");
    for path in files(&disk, begin) {
        for bit in (0..disk.bytes(&path).unwrap().len() * 8).step_by(every) {
            let report = look(&with_bytes(&disk, &path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8)));
            let found = report.damage.iter().find(|damage| damage.path == path);
            let found = found.unwrap_or_else(|| panic!("{} bit {bit}: {report:?}", path.display()));
            assert!(!found.sections.is_empty() && !found.effect.is_empty(), "{found:?}");
            if exact {
                assert_eq!(found.offset, Some(bit as u64 / 8), "{} bit {bit}: {found:?}", path.display());
                assert!(found.detail.contains(&format!("bit {} of byte {}", bit % 8, bit / 8)), "{found:?}");
            }
            check(&path, bit / 8, found);
        }
    }
}

#[test]
fn every_bit_of_a_segment_is_found_with_its_series_and_times() {
    let mut sections = BTreeSet::new();
    flip_all("/data/segments/", true, |path, byte, damage| {
        let day = if path.ends_with("00000000000000000001.seg") { 2 } else { 0 };
        // All are in the one frame, and none is served without it.
        let named: Vec<_> =
            damage.touched.series.iter().map(|one| (one.labels.clone().unwrap(), one.is_sure)).collect();
        let mut want: Vec<_> = (0..3).map(|i| (labels(i), true)).collect();
        want.sort();
        assert_eq!(named, want, "byte {byte}");
        let newest = NOW_MS - day * DAY_MS;
        assert_eq!(damage.touched.times, Some(TimeRange { start_ms: newest - 8000, end_ms: newest }));
        assert_eq!(damage.touched.series_count, Some(3));
        assert_eq!(damage.sections.len(), 1, "{damage:?}");
        sections.extend(damage.sections.clone());
    });
    for section in ["header", "data", "label names", "series", "times", "postings", "checksums", "footer", "trailer"] {
        assert!(sections.contains(section), "{section} of {sections:?}");
    }
}

#[test]
fn every_bit_of_the_manifest_is_found() {
    flip_all("/data/MANIFEST", true, |_, _, damage| {
        let times = damage.touched.times.unwrap();
        assert_eq!((times.start_ms, times.end_ms), (NOW_MS - 2 * DAY_MS - 8000, NOW_MS));
        assert_eq!(damage.touched.series_count, None, "all of them");
    });
}

#[test]
fn every_bit_of_the_store_file_is_found() {
    flip_all("/data/STORE", false, |_, _, _| ());
}

/// The records of a file: where each begins and ends, and its sequence.
fn records(bytes: &[u8]) -> Vec<(usize, usize, u64)> {
    let (mut at, mut found) = (FILE_HEADER_BYTES, Vec::new());
    while at < bytes.len() {
        let header = RecordHeader::decode(&bytes[at..]).unwrap();
        let end = at + HEADER_BYTES + header.stored_bytes as usize;
        found.push((at, end, header.sequence));
        at = end;
    }
    found
}

#[test]
fn every_bit_of_the_wal_is_found_with_the_series_and_times_of_its_record() {
    let disk = store();
    let (mut in_records, mut repeated, mut orphaned) = (0, 0, 0);
    flip_all("/data/wal/", true, |path, byte, damage| {
        let all = records(&disk.bytes(path).unwrap());
        let Some((_, _, sequence)) = all.iter().find(|(start, end, _)| (*start..*end).contains(&byte)) else {
            assert_eq!(damage.sections, ["header"]);
            return;
        };
        if damage.effect == "nothing is lost: no acknowledged record stands only here" {
            repeated += 1;
            return;
        }
        in_records += 1;
        assert!(damage.detail.contains(&format!("; batch {sequence}, which arrived at {NOW_MS} ms")), "{damage:?}");
        assert!(damage.touched.series.iter().all(|one| one.is_sure));
        let touched: BTreeSet<_> =
            damage.touched.series.iter().map(|one| (one.labels.clone().unwrap(), ends(one.times.unwrap()))).collect();
        let same = |ms| (ms, ms);
        // Batches 1 and 2 were flushed. Of the third the later ones need the definition of series 2, of the fourth that
        // of series 1.
        let want = match sequence {
            3 => BTreeSet::from([(labels(0), same(NOW_MS)), (labels(2), (NOW_MS - 1, NOW_MS))]),
            4 => BTreeSet::from([(labels(1), same(NOW_MS + 1)), (labels(2), same(NOW_MS - 1))]),
            5 => BTreeSet::from([(labels(0), same(NOW_MS + 10))]),
            6 => BTreeSet::from([(labels(1), same(NOW_MS + 11))]),
            other => panic!("batch {other}"),
        };
        orphaned += usize::from(*sequence == 3);
        assert_eq!(touched, want, "{} byte {byte}, batch {sequence}", path.display());
    });
    assert!(in_records > 1000 && repeated > 100 && orphaned > 100, "{in_records} {repeated} {orphaned}");
}

fn ends(times: TimeRange) -> (i64, i64) {
    (times.start_ms, times.end_ms)
}

/// Many bits: what is named without a look at the checksum is marked as unsure, and it is what cannot be read.
#[test]
fn larger_damage_names_what_cannot_be_read() {
    let disk = FakeDisk::default();
    let db = open_with(&disk, quiet());
    let mut dice = crate::io::fake::Dice(1);
    let mut noise = |_| dice.next(1 << 50) as f64 / 3.0;
    let rows: Vec<_> = (0..20_000).map(|i| (i % 500, NOW_MS + i as i64, noise(i))).collect();
    write(&db, &rows).unwrap();
    db.flush().unwrap();
    drop(db);
    let newest = manifest::newest(&disk, &Layout::new("/data")).unwrap().unwrap();
    let entry = newest.segments[0].clone();
    let path = files(&disk, "/data/segments/")[0].clone();
    let frame = 16 << 10;
    let bad = with_bytes(&disk, &path, |bytes| bytes[frame * 2 + 5..frame * 2 + 300].fill(0xAA));
    let report = look(&bad);
    let [damage] = &report.damage[..] else { panic!("{report:?}") };
    assert_eq!((damage.offset, &damage.sections[..]), (Some(frame as u64 * 2), &["data".to_owned()][..]));
    let segment = crate::segment::Segment::open(&bad, &path).unwrap();
    let mut samples = model::SampleColumns::default();
    let unread: Vec<Labels> = (0..segment.len())
        .filter(|ordinal| segment.read(*ordinal, TimeRange::ALL, &mut samples).is_err())
        .map(|ordinal| segment.labels(ordinal).unwrap())
        .collect();
    let named: Vec<Labels> = damage.touched.series.iter().map(|one| one.labels.clone().unwrap()).collect();
    assert_eq!(named, unread);
    assert!(!unread.is_empty() && damage.touched.series.iter().all(|one| !one.is_sure));

    // The list is cut, the count is not.
    for series_max in [named.len() - 1, named.len()] {
        let options = VerifyOptions { series_max, ..VerifyOptions::default() };
        let report = verify_on(Arc::new(bad.clone()), Path::new("/data"), options).unwrap();
        let touched = &report.damage[0].touched;
        assert_eq!((touched.series.len(), touched.series_count), (series_max, Some(named.len() as u64)));
    }

    // Without its end nothing of a file can be read: the manifest tells what it held.
    let cut = with_bytes(&disk, &path, |bytes| bytes.truncate(bytes.len() - 40));
    let gone = disk.kill();
    gone.remove(&path).unwrap();
    for disk in [cut, gone] {
        let report = look(&disk);
        let touched = &report.damage[0].touched;
        assert_eq!((touched.series_count, touched.times), (Some(entry.series), Some(entry.times)), "{report:?}");
    }
}

#[test]
fn wal_files_that_are_missing_or_foreign_are_found() {
    let disk = store();
    let wal = files(&disk, "/data/wal/");
    let gone = disk.kill();
    gone.remove(&wal[wal.len() - 2]).unwrap();
    let report = look(&gone);
    assert_eq!((&report.damage[0].path, report.damage[0].offset), (&wal[wal.len() - 2], None), "{report:?}");
    assert!(report.damage[0].detail.contains("missing"));
    // The file of another store, whole as it is.
    let other = store();
    let last = wal.last().unwrap();
    let foreign = with_bytes(&disk, last, |bytes| *bytes = other.bytes(last).unwrap());
    assert!(look(&foreign).damage[0].detail.contains("of another store"), "{:?}", look(&foreign));
    // A torn tail is none.
    let torn = with_bytes(&disk, last, |bytes| bytes.truncate(bytes.len() - 3));
    let report = look(&torn);
    assert!(report.damage.is_empty() && report.notes[0].contains("torn"), "{report:?}");
    // Nor is a file that was never started.
    let empty = disk.kill();
    empty.create(&Path::new("/data/wal").join(crate::names::wal_name(99))).unwrap();
    assert_eq!(look(&empty).damage, []);
}

#[test]
fn an_old_manifest_counts_when_the_new_one_is_damaged() {
    let disk = store();
    let newest = files(&disk, "/data/MANIFEST").pop().unwrap();
    let version = crate::names::manifest_version(newest.file_name().unwrap().to_str().unwrap()).unwrap();
    let older = Path::new("/data").join(crate::names::manifest_name(version - 1));
    disk.create(&older).unwrap();
    let old = crate::manifest::Manifest { version: version - 1, wal_floor: 1, ..Default::default() };
    let store = crate::manifest::Manifest::decode(&disk.bytes(&newest).unwrap(), &newest).unwrap().store;
    let old = crate::manifest::Manifest { store, ..old };
    disk.damage(&older, old.encode());
    assert_eq!(look(&disk).damage, []);
    let bad = with_bytes(&disk, &newest, |bytes| bytes[30] ^= 3);
    let report = look(&bad);
    let found = report.damage.iter().find(|damage| damage.path == newest).unwrap();
    assert!(found.effect.starts_with(&format!("version {} counts instead", version - 1)), "{found:?}");
    assert!(report.notes.iter().any(|note| note.contains("does not name")), "{report:?}");
}

#[test]
fn what_is_new_or_closed_or_saved_is_sound() {
    let disk = FakeDisk::default();
    let db = open_with(&disk, quiet());
    assert_eq!(look(&disk).damage, [], "a store without any batch");
    write(&db, &[(0, NOW_MS, 1.0)]).unwrap();
    let saved = db.save_snapshot("s", false, &|_| Ok(())).unwrap();
    db.close().unwrap();
    let report = look(&disk);
    assert_eq!((report.damage.len(), report.series, report.samples), (0, 1, 1));
    let copy = verify_on(Arc::new(disk.clone()), &saved.path, VerifyOptions::default()).unwrap();
    assert_eq!((copy.damage.len(), copy.samples), (0, 1), "{copy:?}");
    disk.create(&saved.path.join("INCOMPLETE")).unwrap();
    let cut = verify_on(Arc::new(disk), &saved.path, VerifyOptions::default()).unwrap();
    assert!(cut.damage[0].detail.contains("not finished"), "{cut:?}");
}

/// Files come and go, the WAL grows: none of it is damage.
#[test]
fn beside_a_running_store_nothing_is_called_damage() {
    let dir = tempfile::tempdir().unwrap();
    let options = DbOptions {
        wal_file_bytes: 4 << 10,
        wal_bytes_max: 1 << 20,
        head_samples_max: 2000,
        free_bytes_min: 0,
        maintenance: false,
        ..DbOptions::new(dir.path())
    };
    let db = Db::open(options, Arc::new(SystemClock)).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in 0_i64.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let rows: Vec<_> = (0..20).map(|s| (s, NOW_MS + i * 20 + s as i64, i as f64)).collect();
                write(&db, &rows).unwrap();
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                db.flush().unwrap();
                db.compact().unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let (mut looks, mut looked, began) = (0, 0, std::time::Instant::now());
        while looks < 100 || looked == 0 {
            looks += 1;
            let report = verify(dir.path(), VerifyOptions::default());
            let is_sound = report.as_ref().is_ok_and(|report| report.damage.is_empty());
            if !is_sound || began.elapsed() > Duration::from_secs(60) {
                stop.store(true, Ordering::Relaxed);
                panic!("{report:?}");
            }
            looked += report.unwrap().samples;
        }
        stop.store(true, Ordering::Relaxed);
    });
    db.close().unwrap();
}

/// Behind checksums that are right: a fault of the program that wrote the file, not of the disk.
#[test]
fn content_that_contradicts_itself_is_found_behind_right_checksums() {
    let disk = FakeDisk::default();
    let db = open_with(&disk, quiet());
    let rows: Vec<_> = (0..1200).map(|i| (i % 2, NOW_MS + i as i64 * 500, (i * i % 977) as f64 / 8.0)).collect();
    write(&db, &rows).unwrap();
    db.flush().unwrap();
    drop(db);
    let path = files(&disk, "/data/segments/")[0].clone();
    let good = disk.bytes(&path).unwrap();
    let end = crate::segment::Segment::open(&disk, &path).unwrap().section_bytes()[0].1 as usize + 16;
    let (mut found, mut texts) = (0, BTreeSet::new());
    let bits: Vec<usize> = (16 * 8..end * 8).step_by(11).chain((end * 8..good.len() * 8).step_by(23)).collect();
    for bit in &bits {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let Some(forged) = crate::segment::forge::reseal(&bytes) else { continue };
        let report = look(&with_bytes(&disk, &path, |bytes| *bytes = forged));
        found += usize::from(*bit < end * 8 && !report.damage.is_empty());
        texts.extend(report.damage.into_iter().map(|damage| damage.detail));
    }
    let in_data = bits.iter().filter(|bit| **bit < end * 8).count();
    assert!(found * 10 > in_data * 9, "{found} of {in_data} wrong bits of times and values");
    for text in ["statistics are not those of its values", "its times do not rise", "postings of a label's values"] {
        assert!(texts.iter().any(|found| found.contains(text)), "{text}: {texts:#?}");
    }
}

/// Between the manifest and the files a server goes on: what it gave up meanwhile is not missing.
#[test]
fn files_that_go_between_two_looks_are_not_missing() {
    let disk = FakeDisk::default();
    let db = open_with(&disk, quiet());
    for i in 0..4 {
        write(&db, &[(0, NOW_MS + i, 1.0)]).unwrap();
        db.flush().unwrap();
    }
    write(&db, &[(1, NOW_MS, 1.0)]).unwrap();
    let (options, report) = (VerifyOptions::default(), VerifyReport::default());
    let mut work = Work { disk: Arc::new(disk.clone()), layout: Layout::new("/data"), options, report };
    let (store, manifest) = work.find_manifest().unwrap();
    db.compact().unwrap();
    db.flush().unwrap();
    work.verify_segments(&manifest).unwrap();
    work.verify_wal(store, manifest.clone()).unwrap();
    assert_eq!(work.report.damage, []);
    // Without a newer manifest they are.
    let named = files(&disk, "/data/MANIFEST").pop().unwrap();
    disk.damage(&named, manifest.encode());
    work.verify_segments(&manifest).unwrap();
    assert_eq!(work.report.damage.len(), 4, "{:?}", work.report.damage);
}
