//! Backups of real files: what is copied, what is shared, and what a backup or a restore that is cut off leaves.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use model::{Budget, Labels, SampleColumns, Scope, SeriesSource, TimeRange};
use storage::{Db, DbOptions, StorageError, SystemClock};

use super::*;

const NOW_MS: i64 = 1_700_000_000_000;
const DAY_MS: i64 = 86_400_000;

type Content = BTreeMap<(Labels, i64), u64>;

fn open(dir: &Path) -> Result<Db, StorageError> {
    let options = DbOptions { free_bytes_min: 0, maintenance: false, ..DbOptions::new(dir) };
    Db::open(options, Arc::new(SystemClock))
}

fn write(db: &Db, day: i64, value: f64) {
    let mut batch = db.batch();
    for i in 0..3 {
        let labels = Labels::from_pairs([("__name__", "m"), ("i", ["a", "b", "c"][i])]).unwrap();
        let series = batch.define(None, &labels).unwrap();
        batch.push(series, NOW_MS - day * DAY_MS, value + i as f64).unwrap();
    }
    batch.commit().unwrap();
}

fn content(dir: &Path) -> Content {
    let (db, budget, mut out) = (open(dir).unwrap(), Budget::unlimited(), BTreeMap::new());
    let snapshot = db.snapshot();
    let set = snapshot.select(&Scope::default(), &[], TimeRange::ALL, &budget).unwrap();
    let mut samples = SampleColumns::default();
    for i in 0..set.len() {
        set.samples(i, TimeRange::ALL, &budget, &mut samples).unwrap();
        out.extend(samples.floats().map(|s| ((set.labels(i).unwrap(), s.timestamp_ms), s.value.to_bits())));
    }
    out
}

/// A store of three days in segments and a day in the WAL.
fn store(dir: &Path) -> Content {
    let db = open(dir).unwrap();
    (1..4).for_each(|day| write(&db, day, day as f64));
    db.flush().unwrap();
    write(&db, 0, 0.5);
    drop(db);
    fs::write(dir.join("catalog.db"), "rows").unwrap();
    content(dir)
}

fn go_on(_: &str, _: &Path) -> Result<(), BackupError> {
    Ok(())
}

/// Fails at the n-th file.
fn cut_at(n: usize) -> impl FnMut(&str, &Path) -> Result<(), BackupError> {
    let mut left = n;
    move |_, _| match left.checked_sub(1) {
        Some(rest) => {
            left = rest;
            Ok(())
        }
        None => Err(BackupError::Refused("cut off".to_owned())),
    }
}

fn from(dir: &Path) -> Restore<'_> {
    Restore { from: dir, name: None, allows_damage: false }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn names_have_their_time_and_differ() {
    let name = new_name(1_512_940_344_000);
    assert!(name.starts_with("20171210T211224Z-") && name.len() == 33, "{name}");
    assert_ne!(name, new_name(1_512_940_344_000));
}

#[test]
fn a_second_backup_copies_what_is_new_and_both_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let (data, to) = (dir.path().join("data"), dir.path().join("backups"));
    let first_content = store(&data);
    let first = save(&data, &to, "first", 1, &mut go_on).unwrap();
    assert_eq!((first.copied_files, first.copied_bytes), (first.files, first.bytes));
    let taken = save(&data, &to, "first", 2, &mut go_on).unwrap_err().to_string();
    assert!(taken.contains("there is a backup"), "{taken}");

    let db = open(&data).unwrap();
    write(&db, 9, 7.0);
    db.flush().unwrap();
    drop(db);
    let second_content = content(&data);
    let second = save(&data, &to, "second", 3, &mut go_on).unwrap();
    // Three segments are shared; two new ones are copied with all that is not sealed.
    let shared = second.files - second.copied_files;
    assert_eq!(shared, 3, "{second:?}");
    let inode = |backup: &str| {
        let path = to.join(backup).join("segments");
        let name = names(&path)[0].clone();
        fs::metadata(path.join(name)).unwrap().ino()
    };
    assert_eq!(inode("first"), inode("second"));

    for (name, want, at) in [(Some("first"), &first_content, 1), (None, &second_content, 3)] {
        let target = dir.path().join(format!("restored-{at}"));
        let restored = restore(Restore { name, ..from(&to) }, &target, &mut go_on).unwrap();
        assert_eq!((restored.created_ms, restored.damage.len()), (at, 0));
        assert_eq!(&content(&target), want);
        assert_eq!(fs::read_to_string(target.join("catalog.db")).unwrap(), "rows");
        let full = restore(from(&to), &target, &mut go_on).unwrap_err().to_string();
        assert!(full.contains("is not empty"), "{full}");
    }
    assert_eq!(content(&to.join("second")), second_content, "a backup is a data directory");
}

/// After a restore of an old state the store gives the same numbers to other files.
#[test]
fn equal_names_do_not_hide_other_content() {
    let dir = tempfile::tempdir().unwrap();
    let (data, to, again) = (dir.path().join("data"), dir.path().join("backups"), dir.path().join("again"));
    store(&data);
    save(&data, &to, "old", 1, &mut go_on).unwrap();
    let grow = |data: &Path, value| {
        let db = open(data).unwrap();
        write(&db, 9, value);
        db.flush().unwrap();
        drop(db);
        content(data)
    };
    grow(&data, 7.0);
    save(&data, &to, "newer", 2, &mut go_on).unwrap();
    restore(Restore { name: Some("old"), ..from(&to) }, &again, &mut go_on).unwrap();
    let other = grow(&again, 8.0);
    let segments = |dir: &Path| names(&dir.join("segments"));
    assert_eq!(segments(&data), segments(&again), "the same names");
    save(&again, &to, "other", 3, &mut go_on).unwrap();
    let target = dir.path().join("target");
    restore(from(&to), &target, &mut go_on).unwrap();
    assert_eq!(content(&target), other);
}

#[test]
fn a_backup_that_is_cut_off_anywhere_is_none_and_is_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let want = store(&data);
    let mut cuts = 0;
    for n in 0.. {
        let to = dir.path().join(format!("backups-{n}"));
        let outcome = save(&data, &to, "cut", 1, &mut cut_at(n));
        if outcome.is_ok() {
            break;
        }
        cuts += 1;
        let target = dir.path().join(format!("target-{n}"));
        for what in [from(&to), from(&to.join("cut")), Restore { name: Some("cut"), ..from(&to) }] {
            let refused = restore(what, &target, &mut go_on).unwrap_err();
            assert!(matches!(refused, BackupError::Refused(_)), "{n}: {refused}");
        }
        assert!(matches!(open(&to.join("cut")), Err(StorageError::Incomplete { .. })), "{n}");
        let segments = to.join("cut/segments");
        let sealed = if segments.is_dir() { names(&segments) } else { Vec::new() };
        let sealed = sealed.iter().filter(|name| name.ends_with(".seg")).count() as u64;
        let whole = save(&data, &to, "whole", 2, &mut go_on).unwrap();
        assert_eq!(whole.files - whole.copied_files, sealed, "{n}: what was copied is used");
        assert_eq!(names(&to), ["whole"]);
        restore(from(&to), &target, &mut go_on).unwrap();
        assert_eq!(content(&target), want);
    }
    assert!(cuts > 6, "{cuts}");
    // Cut off before anything was in it; and what is not ours stays.
    let to = dir.path().join("more");
    fs::create_dir_all(to.join("empty")).unwrap();
    fs::create_dir_all(to.join("other")).unwrap();
    fs::write(to.join("other/file"), "").unwrap();
    save(&data, &to, "whole", 2, &mut go_on).unwrap();
    assert_eq!(names(&to), ["other", "whole"]);
}

#[test]
fn a_restore_that_is_cut_off_anywhere_does_not_open_and_is_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let (data, to) = (dir.path().join("data"), dir.path().join("backups"));
    let want = store(&data);
    save(&data, &to, "one", 1, &mut go_on).unwrap();
    let mut cuts = 0;
    for n in 0.. {
        let target = dir.path().join(format!("target-{n}"));
        if restore(from(&to), &target, &mut cut_at(n)).is_ok() {
            break;
        }
        cuts += 1;
        assert!(matches!(open(&target), Err(StorageError::Incomplete { .. })), "{n}");
        let mut copied = 0;
        let mut count = |_: &str, _: &Path| {
            copied += 1;
            Ok(())
        };
        let restored = restore(from(&to), &target, &mut count).unwrap();
        assert_eq!(copied, restored.files - n as u64, "{n}: what is there is not copied again");
        assert_eq!(content(&target), want);
    }
    assert!(cuts > 6, "{cuts}");
}

#[test]
fn damage_in_a_backup_is_named_and_can_be_gone_on_beside() {
    let dir = tempfile::tempdir().unwrap();
    let (data, to) = (dir.path().join("data"), dir.path().join("backups"));
    let want = store(&data);
    save(&data, &to, "one", 1, &mut go_on).unwrap();
    let segments = to.join("one/segments");
    let bad = segments.join(&names(&segments)[0]);
    let mut bytes = fs::read(&bad).unwrap();
    bytes[20] ^= 1;
    fs::write(&bad, bytes).unwrap();
    let gone = segments.join(&names(&segments)[1]);
    fs::remove_file(&gone).unwrap();
    let target = dir.path().join("target");
    let refused = restore(from(&to), &target, &mut go_on).unwrap_err().to_string();
    assert!(refused.starts_with(&format!("{} is damaged", bad.display())), "{refused}");
    let what = Restore { allows_damage: true, ..from(&to) };
    let restored = restore(what, &target, &mut go_on).unwrap();
    assert_eq!(restored.damage.len(), 2, "{:?}", restored.damage);
    let left = content(&target);
    assert_eq!((left.len(), want.len()), (6, 12), "two of four days are served");
    assert!(left.iter().all(|(key, value)| want.get(key) == Some(value)));
}

#[test]
fn damage_in_the_store_is_told_by_its_backup() {
    let dir = tempfile::tempdir().unwrap();
    let (data, to) = (dir.path().join("data"), dir.path().join("backups"));
    store(&data);
    save(&data, &to, "sound", 1, &mut go_on).unwrap();
    let segments = data.join("segments");
    let bad = segments.join(&names(&segments)[0]);
    let mut bytes = fs::read(&bad).unwrap();
    bytes[20] ^= 1;
    fs::write(&bad, bytes).unwrap();
    let elsewhere = save(&data, &dir.path().join("other"), "bad", 2, &mut go_on).unwrap();
    assert!(elsewhere.damage[0].contains("a checksum is wrong"), "{:?}", elsewhere.damage);
    // The sound copy that is there already is kept.
    let beside = save(&data, &to, "second", 2, &mut go_on).unwrap();
    assert!(beside.damage.is_empty() && restore(from(&to), &dir.path().join("target"), &mut go_on).is_ok());
}
