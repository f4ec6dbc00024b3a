//! Every single bit of a small store flipped in turn: an error or the right answer, never a wrong value, and what is
//! missing is reported.
//!
//! `STREAMGAUGE_FLIP_EVERY` takes each n-th bit only; 1 is the full form.

use std::path::{Path, PathBuf};

use super::rolled::{Keeps, rollups, whole_days};
use super::*;

const EVERY: &str = "STREAMGAUGE_FLIP_EVERY";

/// What came of one flipped bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// The store does not open and says why.
    Refused,
    /// All answers are right.
    Right,
    /// Something is missing, and that is reported.
    Reported,
    /// A query failed, and the file was put aside.
    FailedQuery,
    /// Something is missing, and nothing says so.
    Silent,
}

/// Two days in segments, then two WAL files.
fn store() -> (FakeDisk, Vec<Content>) {
    let disk = FakeDisk::default();
    let options = quiet();
    let db = try_open(&disk, &options).unwrap();
    let mut ledger = Ledger::default();
    let rows = |day: i64| -> Vec<Write> {
        (0..60).map(|i| (i as usize % 3, NOW_MS - day * DAY_MS - i * 1000, i as f64 / 4.0)).collect()
    };
    commit(&db, &mut ledger, &rows(0));
    commit(&db, &mut ledger, &rows(2));
    db.flush().unwrap();
    drop(db);
    // The state after each record, from none on.
    let mut states = vec![ledger.visible()];
    let db = try_open(&disk, &DbOptions { wal_file_bytes: 250, ..options }).unwrap();
    for i in 0..6 {
        let samples = [(i, NOW_MS + i as i64, 10.0 + i as f64), (0, NOW_MS - 1000 * i as i64, 1000.0 + i as f64)];
        commit(&db, &mut ledger, &samples);
        states.push(ledger.visible());
    }
    (disk.kill(), states)
}

fn flipped(disk: &FakeDisk, path: &Path, bit: usize) -> FakeDisk {
    let disk = disk.kill();
    let mut bytes = disk.bytes(path).unwrap();
    bytes[bit / 8] ^= 1 << (bit % 8);
    disk.damage(path, bytes);
    disk
}

/// Each sample that is there is one that was written; true if all are there.
fn is_whole(found: &Content, states: &[Content]) -> bool {
    let last = states.last().unwrap();
    for (key, value) in found {
        assert!(states.iter().any(|state| state.get(key) == Some(value)), "{key:?} = {value:x} was never written");
    }
    found == last
}

/// Opens the store twice: the second start has only what the first one left, which ended before it flushed anything.
fn outcome(disk: &FakeDisk, states: &[Content]) -> Outcome {
    let Ok(db) = try_open(disk, &quiet()) else { return Outcome::Refused };
    let outcome = first_outcome(&db, states);
    let found = content(&db);
    drop(db);
    assert_eq!(content(&try_open(disk, &quiet()).unwrap()), found, "the next start has the same");
    outcome
}

fn first_outcome(db: &Db, states: &[Content]) -> Outcome {
    match try_read(&db.snapshot()) {
        Ok(found) if is_whole(&found, states) => Outcome::Right,
        Ok(_) if db.findings().is_empty() => Outcome::Silent,
        Ok(_) => Outcome::Reported,
        Err(_) => {
            db.engine.look_round();
            assert_eq!((db.findings().len(), db.stats().quarantine_files), (1, 1), "it is put aside");
            assert!(!is_whole(&content(db), states), "the rest is served");
            Outcome::FailedQuery
        }
    }
}

/// Flips the bits of the files whose paths begin so; how often what came of it.
fn flip_all(begin: &str) -> BTreeMap<Outcome, usize> {
    let (disk, states) = store();
    let paths: Vec<PathBuf> =
        disk.paths().into_iter().filter(|path| path.to_str().unwrap().starts_with(begin)).collect();
    assert!(!paths.is_empty(), "{begin} of {:?}", disk.paths());
    let mut outcomes = BTreeMap::new();
    for path in paths {
        for bit in (0..disk.bytes(&path).unwrap().len() * 8).step_by(setting(EVERY, 7) as usize) {
            println!("{} bit {bit}", path.display());
            *outcomes.entry(outcome(&flipped(&disk, &path, bit), &states)).or_insert(0) += 1;
        }
    }
    println!("{begin}: {outcomes:?}");
    assert!(!outcomes.contains_key(&Outcome::Silent), "{outcomes:?}");
    outcomes
}

#[test]
fn no_bit_of_a_segment_goes_unseen() {
    let outcomes = flip_all("/data/segments/");
    assert!(!outcomes.contains_key(&Outcome::Refused), "the rest is served: {outcomes:?}");
    assert!(outcomes.get(&Outcome::Reported).is_some_and(|count| *count > 0), "{outcomes:?}");
}

#[test]
fn no_bit_of_the_manifest_goes_unseen() {
    let outcomes = flip_all("/data/MANIFEST");
    assert_eq!(outcomes.keys().collect::<Vec<_>>(), [&Outcome::Refused], "{outcomes:?}");
}

#[test]
fn a_bit_of_the_store_file_is_refused_or_harmless() {
    let outcomes = flip_all("/data/STORE");
    assert!(outcomes.keys().all(|one| matches!(one, Outcome::Refused | Outcome::Right)), "{outcomes:?}");
}

#[test]
fn a_bit_of_the_wal_costs_one_record_and_is_reported() {
    let outcomes = flip_all("/data/wal/");
    assert!(!outcomes.contains_key(&Outcome::Refused), "the rest is served: {outcomes:?}");
    assert!(outcomes.get(&Outcome::Reported).is_some_and(|count| *count > 0), "{outcomes:?}");
}

/// Of the record that is damaged nothing counts, and all that others wrote does.
#[test]
fn records_beside_the_damage_stay() {
    let (disk, states) = store();
    let wal: Vec<PathBuf> = disk.paths().into_iter().filter(|path| path.starts_with("/data/wal")).collect();
    for path in wal {
        for bit in (0..disk.bytes(&path).unwrap().len() * 8).step_by(8 * setting(EVERY, 7) as usize + 1) {
            let db = try_open(&flipped(&disk, &path, bit), &quiet()).unwrap();
            let found = content(&db);
            let last = states.last().unwrap();
            // A record has two samples, and defines series that later ones may use.
            let lost = last.keys().filter(|key| !found.contains_key(*key)).count();
            let reported = db.stats().wal_lost_samples;
            assert!(lost as u64 <= 2 + reported, "{} bit {bit}: {lost} lost, {reported} reported", path.display());
        }
    }
}

/// Of a segment that is not read as a whole when it is opened, the queries find it.
#[test]
fn bits_of_a_large_segment_fail_the_queries_that_read_them() {
    let disk = FakeDisk::default();
    let db = try_open(&disk, &quiet()).unwrap();
    let mut ledger = Ledger::default();
    let noise = |i: u64| f64::from_bits(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let rows: Vec<Write> = (0..20_000).map(|i| (i % 500, NOW_MS + i as i64, noise(i as u64))).collect();
    assert!(commit(&db, &mut ledger, &rows) && commit(&db, &mut ledger, &[(0, NOW_MS - DAY_MS, 2.0)]));
    db.flush().unwrap();
    drop(db);
    let states = [ledger.visible()];
    let newest = disk.paths().into_iter().rfind(|path| path.starts_with("/data/segments")).unwrap();
    let bits = disk.bytes(&newest).unwrap().len() * 8;
    let mut outcomes = BTreeMap::new();
    for bit in (0..bits).step_by(bits * setting(EVERY, 7) as usize / 300 + 1) {
        *outcomes.entry(outcome(&flipped(&disk.kill(), &newest, bit), &states)).or_insert(0) += 1;
    }
    assert!(outcomes.keys().all(|one| *one != Outcome::Refused && *one != Outcome::Silent), "{outcomes:?}");
    assert!(outcomes.contains_key(&Outcome::FailedQuery), "{outcomes:?}");
}

/// Of buckets whose samples are gone nothing can be built again: what is damaged is missing, and that is reported.
#[test]
fn no_bit_of_a_roll_up_goes_unseen() {
    let keeps = Keeps { rollups: rollups(5, None, false), retention_ms: Some(whole_days(1)), odd_ms: None };
    let options = DbOptions { rollups: keeps.rollups.clone(), retention_ms: keeps.retention_ms, ..quiet() };
    let (disk, clock, mut ledger) = (FakeDisk::default(), TestClock::new(), Ledger::default());
    let db = try_open_at(&disk, &options, &clock).unwrap();
    let yesterday: Vec<Write> =
        (0..200).map(|i| (i as usize % 3, NOW_MS - DAY_MS - i * 60_000, (i * i % 31) as f64 / 4.0)).collect();
    assert!(commit(&db, &mut ledger, &yesterday));
    db.flush().unwrap();
    db.compact().unwrap();
    clock.advance(DAY_MS);
    db.enforce_retention().unwrap();
    assert_eq!(db.stats().segments, 0);
    drop(db);
    let (model, now_ms) = (ledger.visible(), NOW_MS + DAY_MS);
    let shown = keeps.shown(&model, now_ms);
    let runs: Vec<PathBuf> = disk.paths().into_iter().filter(|path| path.starts_with("/data/segments")).collect();
    assert_eq!(runs.len(), 2, "one of each resolution");
    let (mut missing, mut failed) = (0, 0);
    for path in runs {
        for bit in (0..disk.bytes(&path).unwrap().len() * 8).step_by(setting(EVERY, 7) as usize) {
            let db = try_open_at(&flipped(&disk, &path, bit), &options, &clock).expect("the rest is served");
            let Ok(found) = try_read(&db.snapshot()) else {
                db.engine.look_round();
                assert_eq!(db.findings().len(), 1, "it is put aside");
                failed += 1;
                continue;
            };
            if found == shown && db.findings().is_empty() {
                // An error is fine.
                let _ = keeps.check_windows(&db, &model, now_ms);
                continue;
            }
            missing += 1;
            assert_eq!(db.findings().len(), 1, "{} bit {bit}", path.display());
            // Of the finer ones the coarser are left.
            assert!(found.iter().all(|(key, value)| model.get(key) == Some(value)), "{} bit {bit}", path.display());
        }
    }
    println!("{missing} missing, {failed} failed queries");
    assert!(missing > 0);
}
