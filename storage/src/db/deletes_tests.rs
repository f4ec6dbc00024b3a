//! Deletes as users see them: what goes at once, what comes back, what is given up.

use std::sync::Arc;

use model::{MatchOp, Matcher, Metadata, Scope, SeriesSource, TimeRange};

use super::tests::{NOW_MS, TestClock, labels, open_with, options, read_all, write};
use super::*;
use crate::error::DeleteError;
use crate::io::fake::FakeDisk;

const HOUR_MS: i64 = 3_600_000;

fn quiet() -> DbOptions {
    DbOptions { maintenance: false, ..options() }
}

fn odd() -> Vec<Vec<Matcher>> {
    vec![vec![Matcher::equal("odd", "yes")]]
}

fn names_and_values(db: &Db) -> (Vec<String>, Vec<String>) {
    let (snapshot, budget, scope) = (db.snapshot(), model::Budget::unlimited(), Scope::default());
    let names = snapshot.label_names(&scope, &[], TimeRange::ALL, &budget).unwrap();
    (names, snapshot.label_values(&scope, "i", &[], TimeRange::ALL, &budget).unwrap())
}

#[test]
fn data_and_index_vanish_at_once_and_what_comes_later_is_seen() {
    let disk = FakeDisk::default();
    let db = open_with(&disk, quiet());
    write(&db, &[(0, NOW_MS, 1.0), (1, NOW_MS, 2.0), (1, NOW_MS - 1, 3.0)]).unwrap();
    let held = db.snapshot();
    let before = read_all(&held);
    assert_eq!(db.delete(odd(), TimeRange { start_ms: NOW_MS, end_ms: NOW_MS }).unwrap(), Some(1));
    let left: Vec<i64> = read_all(&db.snapshot()).keys().map(|(_, ms)| *ms).collect();
    assert_eq!(left, [NOW_MS, NOW_MS - 1]);
    assert_eq!(names_and_values(&db).1, ["0", "1"]);
    assert_eq!(db.delete(odd(), TimeRange::ALL).unwrap(), Some(2));
    assert_eq!(names_and_values(&db), (vec!["__name__".into(), "i".into()], vec!["0".into()]));
    assert_eq!(db.delete(odd(), TimeRange::ALL).unwrap(), None, "there is nothing left to hide");
    assert_eq!(read_all(&held), before, "an older snapshot does not change");
    write(&db, &[(1, NOW_MS, 4.0)]).unwrap();
    for _ in 0..2 {
        assert_eq!(read_all(&db.snapshot()).get(&(labels(1), NOW_MS)), Some(&4.0_f64.to_bits()));
        assert_eq!(read_all(&db.snapshot()).len(), 2);
        db.flush().unwrap();
        db.compact().unwrap();
    }
}

#[test]
fn the_newest_sample_is_the_newest_that_is_left() {
    let db = open_with(&FakeDisk::default(), quiet());
    write(&db, &[(0, NOW_MS - 5, 1.0), (0, NOW_MS, 2.0), (1, NOW_MS, 2.0)]).unwrap();
    let everything = vec![vec![Matcher::new("i", MatchOp::Regex, ".+").unwrap()]];
    db.delete(everything, TimeRange { start_ms: NOW_MS, end_ms: i64::MAX }).unwrap();
    let (snapshot, budget) = (db.snapshot(), model::Budget::unlimited());
    let set = snapshot.select(&Scope::default(), &[], TimeRange::ALL, &budget).unwrap();
    let mut newest = model::SampleColumns::default();
    set.newest(0, TimeRange::ALL, true, &budget, &mut newest).unwrap();
    assert_eq!((set.len(), newest.timestamps_ms.last()), (1, Some(&(NOW_MS - 5))));
    assert_eq!(
        db.latest(&Scope::default(), &[], 0, &Budget::unlimited()).unwrap(),
        [],
        "hidden samples are not the latest"
    );
    write(&db, &[(1, NOW_MS - 4, 3.0)]).unwrap();
    assert_eq!(
        db.latest(&Scope::default(), &[], 0, &Budget::unlimited()).unwrap().len(),
        0,
        "a sample before the hidden one is not the newest"
    );
}

#[test]
fn an_undo_brings_everything_back_after_merges_and_a_restart() {
    let disk = FakeDisk::default();
    let mut db = open_with(&disk, quiet());
    for round in 0..3 {
        write(&db, &[(0, NOW_MS - round, 1.0), (1, NOW_MS - round, 2.0)]).unwrap();
        db.flush().unwrap();
    }
    let before = read_all(&db.snapshot());
    let id = db.delete(odd(), TimeRange::ALL).unwrap().unwrap();
    for round in 0..3 {
        write(&db, &[(0, NOW_MS - 10 - round, 1.0), (1, NOW_MS - 10 - round, 3.0)]).unwrap();
        db.flush().unwrap();
    }
    db.compact().unwrap();
    assert_eq!(db.stats().segments, 2, "what the delete covers is not merged with the rest");
    assert_eq!(read_all(&db.snapshot()).len(), 3 + 6);
    db.close().unwrap();
    drop(db);
    db = open_with(&disk, quiet());
    assert_eq!(read_all(&db.snapshot()).len(), 3 + 6);
    db.undo_delete(id).unwrap();
    let all = read_all(&db.snapshot());
    assert_eq!(all.len(), 6 + 6);
    assert!(before.iter().all(|(key, value)| all.get(key) == Some(value)));
    assert!(matches!(db.undo_delete(id), Err(DeleteError::Unknown(1))));
    db.compact().unwrap();
    assert_eq!(db.stats().segments, 1);
}

#[test]
fn what_is_hidden_is_given_up_when_it_cannot_be_undone_any_more() {
    let (disk, clock) = (FakeDisk::default(), TestClock::new());
    let db = Db::open_on(Arc::new(disk.clone()), quiet(), clock.clone()).unwrap();
    let many: Vec<_> = (0..2000).map(|i| (1, NOW_MS - i, i as f64 * 1.7)).collect();
    write(&db, &many).unwrap();
    write(&db, &[(0, NOW_MS, 1.0)]).unwrap();
    db.delete(odd(), TimeRange::ALL).unwrap();
    db.compact().unwrap();
    assert_eq!((db.stats().segment_samples, db.deletes().len()), (2001, 1), "it can be undone");
    clock.advance(24 * HOUR_MS);
    assert!(matches!(db.undo_delete(1), Err(DeleteError::Final(1))));
    db.compact().unwrap();
    assert_eq!((db.stats().segment_samples, db.deletes().len()), (1, 0));
    db.delete(vec![vec![Matcher::equal("i", "0")]], TimeRange::ALL).unwrap();
    db.purge_deleted().unwrap();
    assert_eq!((db.stats().segments, db.deletes().len()), (0, 0), "at once if one asks for it");
    write(&db, &[(1, NOW_MS, 1.0)]).unwrap();
    assert_eq!(db.delete(odd(), TimeRange::ALL).unwrap(), Some(3), "no number twice");
}

#[test]
fn metadata_goes_with_the_last_series_of_its_family() {
    let disk = FakeDisk::default();
    let db = open_with(&disk, quiet());
    let help = |text: &str| Metadata { help: text.into(), ..Metadata::default() };
    let report = |db: &Db, text: &str| {
        let mut batch = db.batch();
        for name in ["took_bucket", "took_sum", "up"] {
            let labels = Labels::from_pairs([("__name__", name), ("job", "a")]).unwrap();
            let series = batch.define(None, &labels).unwrap();
            batch.push(series, NOW_MS, 1.0).unwrap();
        }
        batch.set_metadata("took", help(text));
        batch.set_metadata("up", help(text));
        batch.set_metadata("never", help(text));
        batch.commit().unwrap();
    };
    let families = |db: &Db| db.metadata().into_iter().map(|(family, _)| family).collect::<Vec<_>>();
    report(&db, "1");
    db.delete(vec![vec![Matcher::equal("__name__", "took_sum")]], TimeRange::ALL).unwrap();
    assert_eq!(families(&db), ["never", "took", "up"], "the buckets are left");
    db.delete(vec![vec![Matcher::equal("__name__", "took_bucket")]], TimeRange::ALL).unwrap();
    assert_eq!(families(&db), ["never", "up"]);
    drop(db);
    let db = open_with(&disk, quiet());
    assert_eq!(families(&db), ["never", "up"]);
    db.undo_delete(2).unwrap();
    assert_eq!(families(&db), ["never", "took", "up"]);
    db.delete(vec![vec![Matcher::equal("__name__", "took_bucket")]], TimeRange::ALL).unwrap();
    db.purge_deleted().unwrap();
    drop(db);
    let db = open_with(&disk, quiet());
    assert_eq!((families(&db), db.deletes().len()), (vec!["never".to_owned(), "up".to_owned()], 0));
    report(&db, "2");
    assert_eq!(db.metadata_of("took"), Some(help("2")));
}

/// A batch that has only exemplars leaves the head empty, and so stays in the WAL when its series are deleted.
#[test]
fn exemplars_and_metadata_that_are_deleted_do_not_come_back() {
    let disk = FakeDisk::default();
    let db = open_with(&disk, quiet());
    write(&db, &[(0, NOW_MS, 1.0), (1, NOW_MS, 1.0)]).unwrap();
    db.flush().unwrap();
    let say_more = |db: &Db| {
        let mut batch = db.batch();
        for i in 0..2 {
            let series = batch.define(None, &labels(i)).unwrap();
            let one = crate::Exemplar { labels: Labels::empty(), value: 0.5, timestamp_ms: NOW_MS };
            batch.push_exemplar(series, one);
        }
        batch.commit().unwrap();
    };
    let told = |db: &Db| {
        let list = db.exemplars(&Scope::default(), &[], TimeRange::ALL);
        list.into_iter().map(|(labels, _)| labels).collect::<Vec<_>>()
    };
    say_more(&db);
    assert_eq!(told(&db).len(), 2);
    db.delete(odd(), TimeRange::ALL).unwrap().unwrap();
    assert_eq!(told(&db), [labels(0)]);
    drop(db);
    let db = open_with(&disk, quiet());
    assert_eq!(told(&db), [labels(0)]);
    // What comes later counts, with samples and without.
    say_more(&db);
    write(&db, &[(1, NOW_MS + 1, 2.0)]).unwrap();
    drop(db);
    let db = open_with(&disk, quiet());
    assert_eq!((told(&db), read_all(&db.snapshot()).len()), (vec![labels(0), labels(1)], 2));
}

#[test]
fn there_are_so_many_deletes_and_no_more() {
    let db = open_with(&FakeDisk::default(), DbOptions { deletes_max: 2, ..quiet() });
    write(&db, &[(0, NOW_MS, 1.0), (1, NOW_MS, 1.0), (2, NOW_MS, 1.0)]).unwrap();
    let one = |i: &str| db.delete(vec![vec![Matcher::equal("i", i)]], TimeRange::ALL);
    one("0").unwrap();
    one("1").unwrap();
    let refused = one("2").unwrap_err().to_string();
    assert_eq!(refused, "limit storage.max_deletes = 2 reached: clean_tombstones purges what was deleted");
    assert_eq!(read_all(&db.snapshot()).len(), 1);
    db.purge_deleted().unwrap();
    one("2").unwrap();
}
