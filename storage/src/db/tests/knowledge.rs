//! What is known beside samples: raw keys, metadata, exemplars, the newest samples, labels, idle series.

use super::*;

#[test]
fn raw_keys_resolve_until_the_series_goes() {
    let db = open(&FakeDisk::default());
    let key = |hash| RawKey { context: 7, hash };
    let mut batch = db.batch();
    assert_eq!(batch.resolve(key(1)), None);
    let series = batch.define(Some(key(1)), &labels(3)).unwrap();
    batch.define_dropped(key(2));
    assert_eq!(batch.resolve(key(1)), Some(Resolved::Series(series)));
    assert_eq!(batch.resolve(key(2)), Some(Resolved::Dropped));
}

#[test]
fn metadata_outlives_flushes_and_crashes() {
    let mut disk = FakeDisk::default();
    let metadata = |help: &str| Metadata { metric_type: MetricType::Counter, help: help.into(), unit: "s".into() };
    let set = |db: &Db, help: &str| {
        let mut batch = db.batch();
        batch.set_metadata("m", metadata(help));
        batch.commit().unwrap();
    };
    let db = open(&disk);
    set(&db, "one");
    write(&db, &[(0, NOW_MS, 1.0)]).unwrap();
    db.flush().unwrap();
    let batches = db.stats().committed_batches;
    set(&db, "one");
    assert_eq!(db.stats().committed_batches, batches, "only what is new is written");
    drop(db);
    disk = disk.crash(1);
    let db = open(&disk);
    assert_eq!(db.metadata_of("m"), Some(metadata("one")));
    set(&db, "two");
    drop(db);
    disk = disk.crash(2);
    let db = open(&disk);
    assert_eq!(db.metadata(), [("m".to_owned(), metadata("two"))]);
    db.close().unwrap();
    assert_eq!(open(&disk.crash(3)).metadata_of("m"), Some(metadata("two")));
}

#[test]
fn exemplars_are_replayed_with_their_series() {
    let disk = FakeDisk::default();
    let db = open(&disk);
    let mut batch = db.batch();
    let series = batch.define(None, &labels(1)).unwrap();
    let trace = Labels::from_pairs([("trace_id", "x")]).unwrap();
    let exemplar = Exemplar { labels: trace, value: 0.5, timestamp_ms: NOW_MS };
    batch.push_exemplar(series, exemplar.clone());
    batch.commit().unwrap();
    drop(db);
    let db = open(&disk.crash(1));
    let found = db.exemplars(&Scope::default(), &[Matcher::equal("odd", "yes")], TimeRange::ALL);
    assert_eq!(found, [(labels(1), vec![exemplar])]);
}

#[test]
fn latest_is_by_arrival_and_newest_by_time() {
    let (disk, clock) = (FakeDisk::default(), TestClock::new());
    let db = Db::open_on(Arc::new(disk.clone()), options(), clock.clone()).unwrap();
    write(&db, &[(0, NOW_MS - 5, 1.0), (1, NOW_MS, 2.0)]).unwrap();
    clock.advance(60_000);
    write(&db, &[(1, NOW_MS - DAY, 3.0)]).unwrap();
    db.flush().unwrap();
    let of = |db: &Db, since| {
        let list = db.latest(&Scope::default(), &[], since, &Budget::unlimited()).unwrap();
        list.into_iter().map(|l| (l.labels, l.sample.value, l.arrived_ms)).collect::<Vec<_>>()
    };
    assert_eq!(of(&db, NOW_MS), [(labels(0), 1.0, NOW_MS), (labels(1), 2.0, NOW_MS + 60_000)]);
    assert_eq!(of(&db, NOW_MS + 1), [(labels(1), 2.0, NOW_MS + 60_000)]);
    let odd = Scope::confined(Matcher::equal("odd", "yes"));
    let some = db.latest(&odd, &[Matcher::equal("i", "0")], 0, &Budget::unlimited()).unwrap();
    assert!(some.is_empty());
    let arrivals = |i, times: [i64; 2]| times.map(|ms| db.arrival(&labels(i), ms));
    assert_eq!(arrivals(0, [NOW_MS - 5, NOW_MS]), [Some(NOW_MS), None]);
    assert_eq!(arrivals(1, [NOW_MS, NOW_MS - DAY]), [Some(NOW_MS + 60_000), None], "only the newest");
    assert_eq!(arrivals(2, [NOW_MS, 0]), [None, None]);
}

#[test]
fn latest_stays_within_the_account_at_n_and_n_plus_1() {
    let disk = FakeDisk::default();
    let db = open(&disk);
    let samples: Vec<_> = (0..5000).map(|i| (i, NOW_MS - 1, 1.0)).collect();
    write(&db, &samples).unwrap();
    let latest = |db: &Db, bytes_max| {
        let budget = Budget::new(u64::MAX, bytes_max);
        (db.latest(&Scope::default(), &[], 0, &budget).map(|found| found.len()), budget.bytes_peak())
    };
    let (found, bytes) = latest(&db, u64::MAX);
    let least: usize = (0..5000).map(|i| labels(i).heap_bytes()).sum();
    assert_eq!(found, Ok(5000));
    assert!(bytes > least as u64, "{bytes}");
    let refused = Err(model::BudgetError::Bytes { limit: bytes - 1 });
    assert_eq!((latest(&db, bytes).0, latest(&db, bytes - 1).0), (Ok(5000), refused.clone()));
    db.close().unwrap();
    let again = open(&disk.kill());
    assert_eq!((latest(&again, bytes).0, latest(&again, bytes - 1).0), (Ok(5000), refused), "from segments");
    let cancelled = Budget::unlimited();
    cancelled.cancel();
    assert_eq!(again.latest(&Scope::default(), &[], 0, &cancelled), Err(model::BudgetError::Cancelled));
}

#[test]
fn groups_say_how_recent_their_series_are() {
    let (disk, clock) = (FakeDisk::default(), TestClock::new());
    let db = Db::open_on(Arc::new(disk.clone()), options(), clock.clone()).unwrap();
    let stale = model::stale_nan();
    write(&db, &[(0, NOW_MS - 9, 1.0), (2, NOW_MS - 7, 1.0), (4, NOW_MS - 5, stale), (1, NOW_MS - 3, stale)]).unwrap();
    clock.advance(60_000);
    write(&db, &[(6, NOW_MS - DAY, 1.0)]).unwrap();
    db.flush().unwrap();
    let of = |matchers: &[Matcher], since, budget: &Budget| {
        db.latest_groups(&Scope::default(), matchers, &["odd", "none"], since, budget)
    };
    let group = |odd, series, live_ms, ended_ms| {
        let labels = Labels::from_pairs([("odd", odd)]).unwrap();
        LatestGroup { labels, series, live_ms, ended_ms }
    };
    let even = group("", 4, Some(NOW_MS - 7), Some(NOW_MS - 5));
    let odd = group("yes", 1, None, Some(NOW_MS - 3));
    let budget = Budget::unlimited();
    assert_eq!(of(&[], 0, &budget), Ok(vec![even.clone(), odd.clone()]));
    assert_eq!(of(&[Matcher::equal("odd", "yes")], 0, &Budget::unlimited()), Ok(vec![odd.clone()]));
    assert_eq!(of(&[], NOW_MS + 1, &Budget::unlimited()), Ok(vec![group("", 1, Some(NOW_MS - DAY), None)]));
    let scope = Scope::confined(Matcher::equal("i", "1"));
    assert_eq!(db.latest_groups(&scope, &[], &["odd"], 0, &Budget::unlimited()), Ok(vec![odd]));

    let bytes = budget.bytes_peak();
    let refused = Err(model::BudgetError::Bytes { limit: bytes - 1 });
    assert_eq!(of(&[], 0, &Budget::new(u64::MAX, bytes)).map(|groups| groups.len()), Ok(2));
    assert_eq!(of(&[], 0, &Budget::new(u64::MAX, bytes - 1)), refused);

    // What a delete hides does not count, and what comes after it does.
    let selector = vec![Matcher::new("i", MatchOp::Regex, "1|2").unwrap()];
    db.delete(vec![selector], TimeRange { start_ms: NOW_MS - 8, end_ms: NOW_MS }).unwrap();
    assert_eq!(of(&[], 0, &Budget::unlimited()), Ok(vec![group("", 3, Some(NOW_MS - 9), Some(NOW_MS - 5))]));
    clock.advance(1);
    write(&db, &[(1, NOW_MS, 1.0)]).unwrap();
    assert_eq!(of(&[], 0, &Budget::unlimited()).unwrap()[1], group("yes", 1, Some(NOW_MS), None));
}

#[test]
fn label_names_and_values_come_from_all_parts() {
    let db = open(&FakeDisk::default());
    let (all, budget) = (TimeRange::ALL, Budget::unlimited());
    write(&db, &[(0, NOW_MS - 3 * DAY, 1.0), (2, NOW_MS, 1.0)]).unwrap();
    db.flush().unwrap();
    let before = db.snapshot();
    write(&db, &[(1, NOW_MS, 1.0)]).unwrap();
    let scope = Scope::default();
    let names = |s: &Snapshot| s.label_names(&scope, &[], all, &budget).unwrap();
    assert_eq!(names(&before), ["__name__", "i"]);
    assert_eq!(names(&db.snapshot()), ["__name__", "i", "odd"]);
    let values =
        |s: &Snapshot, matchers: &[Matcher], range| s.label_values(&scope, "i", matchers, range, &budget).unwrap();
    assert_eq!(values(&before, &[], all), ["0", "2"]);
    assert_eq!(values(&db.snapshot(), &[], all), ["0", "1", "2"]);
    let today = TimeRange { start_ms: NOW_MS - 1000, end_ms: NOW_MS };
    assert_eq!(values(&db.snapshot(), &[], today), ["1", "2"]);
    assert_eq!(values(&db.snapshot(), &[Matcher::equal("odd", "yes")], all), ["1"]);
    let even = Scope::confined(Matcher::new("odd", MatchOp::NotEqual, "yes").unwrap());
    assert_eq!(db.snapshot().label_values(&even, "i", &[], all, &budget).unwrap(), ["0", "2"]);
    assert_eq!(db.snapshot().label_names(&even, &[], all, &budget).unwrap(), ["__name__", "i"]);
}

#[test]
fn latest_knows_what_arrived_before_a_clean_restart() {
    let (disk, clock) = (FakeDisk::default(), TestClock::new());
    let open = || Db::open_on(Arc::new(disk.kill()), options(), clock.clone()).unwrap();
    let db = Db::open_on(Arc::new(disk.clone()), options(), clock.clone()).unwrap();
    write(&db, &[(0, NOW_MS - 60_000, 1.0), (0, NOW_MS - 90_000, 2.0), (1, NOW_MS - 600_000, 3.0)]).unwrap();
    db.close().unwrap();
    clock.advance(1000);
    let of = |db: &Db, since| {
        let list = db.latest(&Scope::default(), &[], since, &Budget::unlimited()).unwrap();
        list.into_iter().map(|l| (l.labels, l.sample.value)).collect::<Vec<_>>()
    };
    let db = open();
    assert_eq!(of(&db, NOW_MS - 300_000), [(labels(0), 1.0)]);
    write(&db, &[(0, NOW_MS, 4.0)]).unwrap();
    assert_eq!(of(&db, NOW_MS - 700_000), [(labels(0), 4.0), (labels(1), 3.0)]);
    clock.advance(3_600_000);
    assert_eq!(of(&db, NOW_MS - 700_000), [(labels(0), 4.0)], "after a while only the head counts");
}

#[test]
fn idle_series_are_forgotten_and_come_back_unchanged() {
    let (disk, clock) = (FakeDisk::default(), TestClock::new());
    let options = DbOptions { series_idle_max: Duration::from_secs(60), ..options() };
    let db = Db::open_on(Arc::new(disk.clone()), options, clock.clone()).unwrap();
    let mut expected = Expected::default();
    for round in 0..6_i64 {
        let samples: Vec<(usize, i64, f64)> =
            (0..20).map(|i| ((round as usize % 3) * 20 + i, NOW_MS + round * 1000, round as f64)).collect();
        write(&db, &samples).unwrap();
        expected.acknowledged(&samples);
        let held = db.snapshot();
        let found = read_all(&held);
        db.flush().unwrap();
        clock.advance(61_000);
        write(&db, &[(99, NOW_MS + round, 0.0)]).unwrap();
        expected.acknowledged(&[(99, NOW_MS + round, 0.0)]);
        db.flush().unwrap();
        assert_eq!(db.series_count(), 1, "round {round}");
        write(&db, &samples).unwrap();
        assert_eq!(read_all(&held), found, "an old snapshot still knows the series");
        expected.check(read_all(&db.snapshot()));
    }
    drop(db);
    expected.check(read_all(&open(&disk.crash(1)).snapshot()));
}
