//! Old days as Parquet, seen through the database: the same answers, whatever happens on the way.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{Matcher, Metadata, MetricType, TimeRange, stale_nan};

use super::tests::{Content, NOW_MS, TestClock, labels, options, read_all, write};
use super::*;
use crate::io::fake::FakeDisk;

const DAY_MS: i64 = 86_400_000;

fn ripe() -> DbOptions {
    DbOptions { maintenance: false, parquet_after_ms: Some(0), ..options() }
}

fn open_on(disk: &FakeDisk) -> Db {
    Db::open_on(Arc::new(disk.clone()), ripe(), TestClock::new()).unwrap()
}

/// Two days back: values of all kinds, several blocks of one series.
fn fill(db: &Db) {
    let old = NOW_MS - 2 * DAY_MS;
    let many: Vec<_> = (0..5000).map(|i| (0, old + i * 1000, (i % 97) as f64 / 8.0)).collect();
    write(db, &many).unwrap();
    let odd = [stale_nan(), f64::NAN, -0.0, f64::INFINITY, f64::from_bits(0x7ff8_dead_beef_0001), 1e-310];
    let odd: Vec<_> = (0..).zip(odd).map(|(i, value)| (1, old + i * 15_000, value)).collect();
    write(db, &odd).unwrap();
    write(db, &[(2, NOW_MS, 1.0), (1, NOW_MS - DAY_MS, 7.0)]).unwrap();
    db.flush().unwrap();
}

fn files(disk: &FakeDisk) -> Vec<PathBuf> {
    let root = PathBuf::from("/data/parquet");
    let mut found = Vec::new();
    for kind in ["samples", "series"] {
        for day in disk.list_dirs(&root.join(kind)).unwrap_or_default() {
            let dir = root.join(kind).join(day);
            found.extend(disk.list(&dir).unwrap().into_iter().map(|name| dir.join(name)));
        }
    }
    found
}

fn parquet_days(db: &Db) -> usize {
    db.engine.manifest.lock().current().segments.iter().filter(|entry| entry.is_parquet()).count()
}

fn list_of(disk: &FakeDisk) -> String {
    String::from_utf8(disk.bytes(&PathBuf::from("/data/parquet/_live.json")).unwrap()).unwrap()
}

fn converted() -> (FakeDisk, Db, Content) {
    let disk = FakeDisk::default();
    let db = open_on(&disk);
    fill(&db);
    let before = read_all(&db.snapshot());
    db.compact().unwrap();
    (disk, db, before)
}

#[test]
fn closed_days_become_parquet_and_answers_stay_the_same() {
    let (disk, db, before) = converted();
    assert_eq!((parquet_days(&db), files(&disk).len(), db.stats().segments), (2, 4, 3));
    assert_eq!(read_all(&db.snapshot()), before);
    let names: Vec<String> = files(&disk).iter().map(|path| path.display().to_string()).collect();
    assert!(names[0].starts_with("/data/parquet/samples/dt=2023-11-12/"), "{names:?}");
    let list = list_of(&disk);
    assert!(names.iter().all(|name| list.contains(name.trim_start_matches("/data/parquet/"))), "{list}");
    drop(db);
    let db = open_on(&disk);
    assert_eq!(read_all(&db.snapshot()), before);
    let report = db.compact().unwrap();
    assert_eq!(report.segments_before, 0, "nothing is left to do");
}

#[test]
fn what_comes_late_lies_above_and_is_merged_in() {
    let (disk, db, mut before) = converted();
    let old = NOW_MS - 2 * DAY_MS;
    write(&db, &[(0, old, 42.0), (3, old, 1.0)]).unwrap();
    before.insert((labels(0), old), 42.0_f64.to_bits());
    before.insert((labels(3), old), 1.0_f64.to_bits());
    for _ in 0..3 {
        assert_eq!(read_all(&db.snapshot()), before);
        db.flush().unwrap();
        assert_eq!(read_all(&db.snapshot()), before);
        db.compact().unwrap();
    }
    assert_eq!((parquet_days(&db), files(&disk).len()), (2, 4), "old files are gone");
}

#[test]
fn deletes_are_purged_from_it_and_retention_takes_whole_days() {
    let (disk, db, before) = converted();
    db.delete(vec![vec![Matcher::equal("odd", "yes")]], TimeRange::ALL).unwrap();
    let left: Content = before.into_iter().filter(|((l, _), _)| l.get("odd") != Some("yes")).collect();
    assert_eq!(read_all(&db.snapshot()), left);
    db.purge_deleted().unwrap();
    assert_eq!(read_all(&db.snapshot()), left);
    assert_eq!((parquet_days(&db), files(&disk).len()), (1, 2), "a day without samples has no files");
    drop(db);
    let options = DbOptions { retention_ms: Some(DAY_MS), ..ripe() };
    let db = Db::open_on(Arc::new(disk.clone()), options, TestClock::new()).unwrap();
    let dropped = db.enforce_retention().unwrap();
    assert_eq!(dropped.dropped_days, ["2023-11-12"]);
    assert!(dropped.freed_bytes > 1000, "{}", dropped.freed_bytes);
    assert_eq!(files(&disk), Vec::<PathBuf>::new());
    assert!(!list_of(&disk).contains("samples/"));
}

#[test]
fn a_day_whose_file_is_gone_or_corrupt_is_put_aside_and_the_rest_is_served() {
    for damage in ["gone", "cut", "flipped"] {
        let (disk, db, before) = converted();
        drop(db);
        let path = files(&disk).into_iter().find(|path| path.display().to_string().contains("2023-11-12")).unwrap();
        let mut bytes = disk.bytes(&path).unwrap();
        disk.remove(&path).unwrap();
        match damage {
            "cut" => bytes.truncate(bytes.len() - 1),
            "flipped" => bytes[1000] ^= 4,
            _ => {}
        }
        if damage != "gone" {
            disk.create(&path).unwrap().append(&bytes).unwrap();
        }
        let db = open_on(&disk);
        if damage == "flipped" {
            let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| read_all(&db.snapshot())));
            assert!(read.is_err(), "an error, and no wrong value");
            db.engine.look_round();
        }
        assert!(!db.findings().is_empty(), "{damage}");
        let left: Content = before.into_iter().filter(|((_, ms), _)| *ms >= NOW_MS - DAY_MS).collect();
        assert_eq!(read_all(&db.snapshot()), left, "{damage}");
        let aside = disk.list(&PathBuf::from("/data/quarantine")).unwrap();
        assert_eq!(aside.len(), if damage == "gone" { 2 } else { 3 }, "{damage}: {aside:?}");
        drop(db);
        assert_eq!(read_all(&open_on(&disk).snapshot()), left, "{damage}");
        assert!(disk.list(&PathBuf::from("/data/quarantine")).unwrap() == aside, "{damage}");
    }
}

#[test]
fn others_read_what_was_written() {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::RowAccessor;

    let dir = tempfile::tempdir().unwrap();
    let options = DbOptions { data_dir: dir.path().to_owned(), ..ripe() };
    let db = Db::open_on(Arc::new(RealDisk::mapped()), options, TestClock::new()).unwrap();
    let mut batch = db.batch();
    let metadata = Metadata { metric_type: MetricType::Counter, ..Metadata::default() };
    batch.set_metadata("m", metadata);
    batch.commit().unwrap();
    write(&db, &[(1, NOW_MS - 2 * DAY_MS, 2.5), (1, NOW_MS - 2 * DAY_MS + 1, stale_nan())]).unwrap();
    db.flush().unwrap();
    db.compact().unwrap();
    let read = |kind: &str| {
        let day = dir.path().join("parquet").join(kind).join("dt=2023-11-12");
        let path = std::fs::read_dir(day).unwrap().next().unwrap().unwrap().path();
        SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap()
    };
    let samples = read("samples");
    let columns = samples.metadata().file_metadata().schema().get_fields().iter();
    let columns: Vec<&str> = columns.map(|field| field.name()).collect();
    assert_eq!((columns[0], columns[1]), ("metric", "job"));
    assert_eq!(columns[columns.len() - 6..], ["timestamp", "value", "stale", "type", "series", "histogram"]);
    let rows: Vec<String> = samples.get_row_iter(None).unwrap().map(|row| row.unwrap().to_string()).collect();
    assert_eq!(rows.len(), 2);
    assert!(
        rows[0].contains("metric: \"m\"") && rows[0].contains("value: 2.5") && rows[0].contains("counter"),
        "{rows:?}"
    );
    assert!(rows[1].contains("value: null") && rows[1].contains("stale: true"), "{rows:?}");
    let keys = samples.metadata().file_metadata().key_value_metadata().unwrap().clone();
    assert!(keys.iter().any(|k| k.key == "streamgauge.schema_version" && k.value.as_deref() == Some("2")));
    let series = read("series").get_row_iter(None).unwrap().next().unwrap().unwrap();
    assert_eq!((series.get_long(0).unwrap(), series.get_long(6).unwrap()), (0, 2));
    assert!(series.to_string().contains("\"odd\" -> \"yes\""), "{series}");
}

/// `verify` finds every kind of damage in the files of a day, with series and times, and `inspect` shows them.
#[test]
fn damage_in_its_files_is_verified_and_its_content_is_shown() {
    let (disk, db, before) = converted();
    let look = |disk: &FakeDisk| {
        crate::verify::verify_on(Arc::new(disk.clone()), Path::new("/data"), crate::VerifyOptions::default()).unwrap()
    };
    let sound = look(&disk);
    assert_eq!((sound.damage.len(), sound.samples), (0, before.len() as u64));
    let content = crate::inspect::inspect_on(&disk, Path::new("/data")).unwrap();
    let day = content.segments.iter().find(|segment| !segment.parquet.is_empty()).unwrap();
    let rows: u64 =
        day.parquet.iter().filter(|(name, _, _)| name.starts_with("samples")).map(|(_, _, rows)| rows).sum();
    assert_eq!((rows, content.unread.len()), (day.samples, 0));
    let parquet: u64 = content.segments.iter().flat_map(|one| &one.parquet).map(|(_, bytes, _)| bytes).sum();
    let total: u64 = content.metrics.iter().map(|metric| metric.bytes).sum();
    assert!(total > parquet / 2 && total < db.stats().segment_bytes, "{total} {parquet}");
    drop(db);
    for path in files(&disk) {
        let good = disk.bytes(&path).unwrap();
        // Each kind of bit at many places; the frames' checksums cover the whole file.
        for bit in (0..good.len() * 8).step_by(good.len() * 8 / 60 + 1) {
            let bad = disk.kill();
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bad.damage(&path, bytes);
            let report = look(&bad);
            let found = report.damage.iter().find(|damage| damage.path == path);
            let found = found.unwrap_or_else(|| panic!("{} bit {bit}: {report:?}", path.display()));
            let is_samples = path.starts_with("/data/parquet/samples");
            assert!(!is_samples || found.touched.series_count > Some(0), "{found:?}");
        }
    }
}

/// Files of which it is known that they are kept elsewhere are missing without being damage; those that are here are read.
#[test]
fn verify_says_what_is_kept_elsewhere() {
    let (disk, db, _) = converted();
    drop(db);
    let look = |elsewhere: &[&PathBuf]| {
        let relative = elsewhere.iter().map(|path| path.strip_prefix("/data/parquet").unwrap().to_owned());
        let options = crate::VerifyOptions { elsewhere: relative.collect(), ..Default::default() };
        crate::verify::verify_on(Arc::new(disk.clone()), Path::new("/data"), options).unwrap()
    };
    let all = files(&disk);
    let (here, away) = all.split_last().unwrap();
    assert!(look(&all.iter().collect::<Vec<_>>()).notes.is_empty(), "all are here");
    away.iter().for_each(|path| disk.remove(path).unwrap());
    assert!(!look(&[]).damage.is_empty());
    let report = look(&away.iter().collect::<Vec<_>>());
    assert_eq!((report.damage.len(), report.notes.len()), (0, 1), "{report:?}");
    assert!(report.notes[0].starts_with(&format!("{} files", away.len())), "{:?}", report.notes);
    disk.remove(here).unwrap();
    assert!(!look(&away.iter().collect::<Vec<_>>()).damage.is_empty(), "{} is nowhere", here.display());
}
