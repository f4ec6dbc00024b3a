//! Native histograms in the database: random histories against a simple model, over flushes, compactions, deletes and
//! crashes.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{
    Buckets, Budget, Cuts, Histogram, Labels, Matcher, Pieces, SampleColumns, Scope, SeriesSource, TimeRange, Want,
};
use proptest::prelude::*;

use super::tests::{NOW_MS, labels, open, open_with, options, small};
use super::*;
use crate::codec::histogram::BUCKETS_MAX;
use crate::codec::histogram::tests::{any_histogram, bits};
use crate::error::Refusal;
use crate::io::fake::FakeDisk;

/// A sample in a form that can be compared.
#[derive(Debug, Clone, PartialEq)]
enum Sample {
    Float(u64),
    Histogram(Box<(Histogram, Vec<u64>)>),
}

type Content = BTreeMap<(Labels, i64), Sample>;

fn of(histogram: &Histogram) -> Sample {
    Sample::Histogram(Box::new(bits(histogram)))
}

fn content(columns: &SampleColumns, labels: &Labels, out: &mut Content) {
    assert!(columns.histograms.is_sorted_by(|a, b| a.0 < b.0) && columns.timestamps_ms.is_sorted_by(|a, b| a < b));
    let before = out.len();
    out.extend(columns.floats().map(|s| ((labels.clone(), s.timestamp_ms), Sample::Float(s.value.to_bits()))));
    out.extend(columns.histograms.iter().map(|(ms, h)| ((labels.clone(), *ms), of(h))));
    assert_eq!(out.len() - before, columns.len() + columns.histograms.len(), "a time is in one column only");
}

/// All samples in a range, the same by every way to read them.
fn read(db: &Db, range: TimeRange) -> Content {
    let (snapshot, budget, mut out) = (db.snapshot(), Budget::unlimited(), Content::new());
    let set = snapshot.select(&Scope::default(), &[], range, &budget).unwrap();
    let (mut samples, mut other, mut pieces) = (SampleColumns::default(), SampleColumns::default(), Pieces::default());
    for i in 0..set.len() {
        let labels = set.labels(i).unwrap();
        set.samples(i, range, &budget, &mut samples).unwrap();
        content(&samples, &labels, &mut out);
        let times = |columns: &SampleColumns| {
            let histograms: Vec<i64> = columns.histograms.iter().map(|(ms, _)| *ms).collect();
            (columns.timestamps_ms.clone(), histograms)
        };
        set.times(i, range, &budget, &mut other).unwrap();
        assert_eq!(times(&other), times(&samples));
        let newest = |columns: &SampleColumns| {
            let histogram = columns.histograms.last().map(|(ms, h)| (*ms, bits(h)));
            let float = columns.floats().next_back().map(|s| (s.timestamp_ms, s.value.to_bits()));
            if float.map(|f| f.0) > histogram.as_ref().map(|h| h.0) { (float, None) } else { (None, histogram) }
        };
        set.newest(i, range, true, &budget, &mut other).unwrap();
        assert_eq!(newest(&other), newest(&samples));
        set.pieces(i, range, Want::SUM, &Cuts::NONE, &budget, &mut pieces).unwrap();
        if !samples.histograms.is_empty() {
            assert!(pieces.summaries.is_empty());
            assert_eq!(times(&pieces.samples), times(&samples));
        }
    }
    out
}

fn histogram(n: f64) -> Histogram {
    let positive = Buckets::from_indexed([(0, n), (1, 2.0 * n)]);
    Histogram { count: 3.0 * n, sum: n, positive, ..Histogram::default() }
}

#[test]
fn buckets_of_a_sample_are_bounded_at_n_and_n_plus_1() {
    let db = open(&FakeDisk::default());
    let mut batch = db.batch();
    let series = batch.define(None, &labels(0)).unwrap();
    let with = |n: usize| {
        let positive = Buckets::from_indexed((0..n as i32).map(|i| (2 * i, 1.0)));
        Histogram { positive, ..Histogram::default() }
    };
    assert_eq!(batch.push_histogram(series, NOW_MS, with(BUCKETS_MAX)), Ok(()));
    let refused = Refusal::TooManyBuckets { buckets: BUCKETS_MAX as u64 + 1, limit: BUCKETS_MAX as u64 };
    assert_eq!(batch.push_histogram(series, NOW_MS, with(BUCKETS_MAX + 1)), Err(refused));
    let bounds = Histogram { custom_bounds: vec![0.0; BUCKETS_MAX + 1], ..Histogram::default() };
    assert!(batch.push_histogram(series, NOW_MS, bounds).is_err());
    batch.commit().unwrap();
    db.flush().unwrap();
    assert_eq!(read(&db, TimeRange::ALL).values().next(), Some(&of(&with(BUCKETS_MAX))));
}

#[test]
fn histograms_fill_the_head_and_are_flushed() {
    let db = open_with(&FakeDisk::default(), DbOptions { head_samples_max: 2000, ..options() });
    let before = db.stats().flushes;
    for i in 0..200 {
        let mut batch = db.batch();
        let series = batch.define(None, &labels(0)).unwrap();
        batch.push_histogram(series, NOW_MS + i, histogram(i as f64)).unwrap();
        batch.commit().unwrap();
    }
    let since = std::time::Instant::now();
    while db.stats().flushes == before && since.elapsed() < std::time::Duration::from_secs(20) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(db.stats().flushes > before, "200 histograms take the memory of 2000 floats");
    assert_eq!(read(&db, TimeRange::ALL).len(), 200);
}

#[test]
fn a_snapshot_does_not_see_what_comes_after_it() {
    let db = open(&FakeDisk::default());
    let write = |ms: i64, n: f64| {
        let mut batch = db.batch();
        let series = batch.define(None, &labels(0)).unwrap();
        batch.push_histogram(series, ms, histogram(n)).unwrap();
        batch.commit().unwrap();
    };
    write(NOW_MS, 1.0);
    let (held, budget) = (db.snapshot(), Budget::unlimited());
    write(NOW_MS, 2.0);
    write(NOW_MS + 1, 3.0);
    for _ in 0..2 {
        let set = held.select(&Scope::default(), &[], TimeRange::ALL, &budget).unwrap();
        let mut samples = SampleColumns::default();
        set.samples(0, TimeRange::ALL, &budget, &mut samples).unwrap();
        assert_eq!(samples.histograms, [(NOW_MS, Arc::new(histogram(1.0)))]);
        assert_eq!(read(&db, TimeRange::ALL).len(), 2);
        db.flush().unwrap();
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Series, time, and what; one batch.
    Write(Vec<(usize, i64, Result<f64, Histogram>)>),
    Flush,
    Compact,
    /// Deletes the odd series in a range of times.
    Delete(i64, i64),
    Restart,
    Crash(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    // Times lie on four days.
    let time = (0_i64..4, 0_i64..9).prop_map(|(day, n)| NOW_MS - day * 86_400_000 - n * 1000);
    let value = prop_oneof![2 => (-1e3_f64..1e3).prop_map(Ok), 3 => any_histogram().prop_map(Err)];
    prop_oneof![
        8 => prop::collection::vec((0_usize..4, time.clone(), value), 1..8).prop_map(Step::Write),
        2 => Just(Step::Flush),
        1 => Just(Step::Compact),
        1 => (time.clone(), time).prop_map(|(a, b)| Step::Delete(a.min(b), a.max(b))),
        1 => Just(Step::Restart),
        1 => any::<u64>().prop_map(Step::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    #[test]
    fn histories_agree_with_the_model(steps in prop::collection::vec(any_step(), 1..30), big in any::<bool>()) {
        let options = || if big { options() } else { small() };
        let mut disk = FakeDisk::default();
        let mut db = open_with(&disk, options());
        let mut model = Content::new();
        for step in steps {
            match step {
                Step::Write(samples) => {
                    let mut batch = db.batch();
                    // Floats come first in a batch.
                    for (i, ms, value) in samples.iter().filter(|s| s.2.is_ok()).chain(samples.iter().filter(|s| s.2.is_err())) {
                        let series = batch.define(None, &labels(*i)).unwrap();
                        let sample = match value {
                            Ok(value) => {
                                batch.push(series, *ms, *value).unwrap();
                                Sample::Float(value.to_bits())
                            }
                            Err(histogram) => {
                                batch.push_histogram(series, *ms, histogram.clone()).unwrap();
                                of(histogram)
                            }
                        };
                        model.insert((labels(*i), *ms), sample);
                    }
                    batch.commit().unwrap();
                }
                Step::Flush => {
                    db.flush().unwrap();
                }
                Step::Compact => {
                    db.compact().unwrap();
                }
                Step::Delete(start_ms, end_ms) => {
                    let range = TimeRange { start_ms, end_ms };
                    db.delete(vec![vec![Matcher::equal("odd", "yes")]], range).unwrap();
                    model.retain(|(labels, ms), _| labels.get("odd") != Some("yes") || !range.contains(*ms));
                }
                Step::Restart => {
                    db.close().unwrap();
                    drop(db);
                    db = open_with(&disk, options());
                }
                Step::Crash(seed) => {
                    drop(db);
                    disk = disk.crash(seed);
                    db = open_with(&disk, options());
                }
            }
            prop_assert_eq!(read(&db, TimeRange::ALL), model.clone());
            let range = TimeRange { start_ms: NOW_MS - 86_400_000 - 4000, end_ms: NOW_MS - 86_400_000 };
            let part: Content = model.iter().filter(|((_, ms), _)| range.contains(*ms)).map(|(k, v)| (k.clone(), v.clone())).collect();
            prop_assert_eq!(read(&db, range), part);
        }
    }
}
