//! Retention by age and by rules.

use super::*;

#[test]
fn retention_drops_whole_days_and_says_which() {
    let disk = FakeDisk::default();
    let db = open_with(&disk, DbOptions { retention_bytes: Some(1 << 30), ..options() });
    write(&db, &[(0, NOW_MS, 1.0), (0, NOW_MS - DAY, 2.0), (0, NOW_MS - 2 * DAY, 3.0)]).unwrap();
    db.flush().unwrap();
    assert_eq!(db.enforce_retention().unwrap(), RetentionReport::default());
    drop(db);
    let clock = TestClock::new();
    let options = DbOptions { retention_ms: Some(DAY + 1000), ..options() };
    let db = Db::open_on(Arc::new(disk.kill()), options, clock).unwrap();
    assert_eq!(read_all(&db.snapshot()).len(), 2, "what is too old is not seen, even before it is dropped");
    let held = db.snapshot();
    let report = db.enforce_retention().unwrap();
    assert_eq!((report.dropped_days.as_slice(), report.freed_bytes > 0), (&["2023-11-12".to_owned()][..], true));
    assert_eq!((read_all(&db.snapshot()).len(), read_all(&held).len()), (2, 2), "an open snapshot keeps its view");
}

/// Nobody may ask for the newest samples for days: files that are gone must not stay open, and take space, all that time.
#[test]
fn what_was_written_before_the_start_is_let_go_by_the_watch() {
    let (disk, clock) = (FakeDisk::default(), TestClock::new());
    let quiet = DbOptions { maintenance: false, ..options() };
    let db = Db::open_on(Arc::new(disk.clone()), quiet.clone(), clock.clone()).unwrap();
    for i in 0..4 {
        write(&db, &[(0, NOW_MS + i, 1.0)]).unwrap();
        db.flush().unwrap();
    }
    drop(db);
    let db = Db::open_on(Arc::new(disk.kill()), quiet.clone(), clock.clone()).unwrap();
    let old: Vec<_> = db.engine.view.read().segments.iter().map(Arc::downgrade).collect();
    assert_eq!(db.compact().unwrap().segments_after, 1);
    let open = || old.iter().filter(|live| live.upgrade().is_some()).count();
    clock.advance(quiet.series_idle_ms());
    db.engine.look_round();
    assert_eq!(open(), 4, "they answer still");
    clock.advance(1);
    db.engine.look_round();
    assert_eq!(open(), 0);
}

/// A flush right after the start must not drop what rules keep that are set a moment later.
#[test]
fn held_retention_drops_nothing_until_rules_are_set() {
    let (disk, clock) = (FakeDisk::default(), TestClock::new());
    let db = Db::open_on(Arc::new(disk.clone()), options(), clock.clone()).unwrap();
    write(&db, &[(0, NOW_MS - 5 * DAY, 1.0), (1, NOW_MS - 5 * DAY, 1.0)]).unwrap();
    db.flush().unwrap();
    write(&db, &[(0, NOW_MS - 4 * DAY, 1.0), (1, NOW_MS - 4 * DAY, 1.0)]).unwrap();
    drop(db);
    let options = DbOptions { retention_ms: Some(DAY), retention_held: true, maintenance: false, ..options() };
    let db = Db::open_on(Arc::new(disk.clone()), options, clock).unwrap();
    db.flush().unwrap();
    db.compact().unwrap();
    assert_eq!(db.enforce_retention().unwrap(), RetentionReport::default());
    assert_eq!(read_all(&db.snapshot()).len(), 4);
    db.set_retention_rules(vec![RetentionRule::new(vec![Matcher::equal("odd", "yes")], 30 * DAY)]);
    assert!(read_all(&db.snapshot()).keys().eq([&(labels(1), NOW_MS - 5 * DAY), &(labels(1), NOW_MS - 4 * DAY)]));
    db.set_retention_rules(Vec::new());
    db.enforce_retention().unwrap();
    assert_eq!(db.stats().segments, 0);
}

#[test]
fn retention_rules_hide_at_once_and_purge_when_segments_are_written() {
    let (disk, clock) = (FakeDisk::default(), TestClock::new());
    let options = DbOptions { retention_ms: Some(DAY), ..options() };
    let db = Db::open_on(Arc::new(disk.clone()), options.clone(), clock.clone()).unwrap();
    for minute in 0..10 {
        write(&db, &[(0, NOW_MS - minute * 60_000, 1.0), (1, NOW_MS - minute * 60_000, 1.0)]).unwrap();
        db.flush().unwrap();
    }
    let counts = |db: &Db| {
        let found = read_all(&db.snapshot());
        let of = |i| found.keys().filter(|(l, _)| *l == labels(i)).count();
        (of(0), of(1))
    };
    let before = db.snapshot();
    db.set_retention_rules(vec![RetentionRule::new(vec![Matcher::equal("odd", "yes")], 5 * 60_000)]);
    assert_eq!((counts(&db), read_all(&before).len()), ((10, 6), 20));
    drop(before);
    db.compact().unwrap();
    drop(db);
    let db = Db::open_on(Arc::new(disk.kill()), options, clock).unwrap();
    assert_eq!(counts(&db), (10, 6), "purged for good");
    let longer = 2 * DAY;
    db.set_retention_rules(vec![RetentionRule::new(vec![Matcher::equal("odd", "yes")], longer)]);
    let mut batch = db.batch();
    let series = batch.define(None, &labels(1)).unwrap();
    assert_eq!(batch.push(series, NOW_MS - longer, 1.0), Ok(()), "a rule may also keep longer");
}
