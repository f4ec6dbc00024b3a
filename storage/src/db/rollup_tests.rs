//! Roll-ups as readers see them: nothing changes while samples are kept, and what stays when they are gone.

use std::sync::Arc;

use model::{
    Budget, Coarse, Cuts, Matcher, Pieces, Sample, SampleColumns, Scope, SeriesSource, Steps, TimeRange, Want,
    is_stale, stale_nan,
};
use proptest::prelude::*;

use super::pieces_tests::{WANTS, each_want, near, same, summed, value};
use super::tests::{NOW_MS, TestClock, labels, options, write};
use super::*;
use crate::io::fake::{Failure, FakeDisk};
use crate::rollup::{RollupRule, RollupRules};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 86_400_000;
const STEP_MS: i64 = 15_000;
/// Samples of a day.
const DAY_STEPS: i64 = DAY_MS / STEP_MS;
/// The midnight after which samples begin: four days before today.
const START_MS: i64 = NOW_MS - NOW_MS % DAY_MS - 4 * DAY_MS;
/// A series whose number is odd passes this.
const ODD: &str = "odd";

fn rule(resolution_ms: i64, keep_days: Option<i64>, odd_only: bool) -> RollupRule {
    let matchers = if odd_only { vec![Matcher::equal(ODD, "yes")] } else { Vec::new() };
    RollupRule { resolution_ms, keep_ms: keep_days.map(|days| days * DAY_MS), matchers }
}

fn with_rules(rules: Vec<RollupRule>) -> DbOptions {
    DbOptions { maintenance: false, rollups: RollupRules::new(rules).unwrap(), ..options() }
}

fn both() -> Vec<RollupRule> {
    vec![rule(HOUR_MS / 12, None, false), rule(HOUR_MS, None, false)]
}

fn open_at(disk: &FakeDisk, options: DbOptions, clock: &Arc<TestClock>) -> Db {
    Db::open_on(Arc::new(disk.clone()), options, clock.clone()).unwrap()
}

/// Samples of series `i`: step numbers from the first midnight on, with values of this seed.
fn run(i: usize, steps: std::ops::Range<i64>, seed: u64) -> Vec<(usize, i64, f64)> {
    steps.map(|step| (i, START_MS + step * STEP_MS, value(seed, step))).collect()
}

fn samples_of(db: &Db, i: usize, range: TimeRange) -> Vec<Sample> {
    let (snapshot, budget, mut out) = (db.snapshot(), Budget::unlimited(), SampleColumns::default());
    let set = snapshot.select(&Scope::default(), &[Matcher::equal("i", i.to_string())], range, &budget).unwrap();
    assert!(set.len() < 2);
    if !set.is_empty() {
        set.samples(0, range, &budget, &mut out).unwrap();
    }
    out.floats().collect()
}

fn pieces_of(db: &Db, i: usize, range: TimeRange, want: Want, cuts: &Cuts) -> Pieces {
    let (snapshot, budget, mut out) = (db.snapshot(), Budget::unlimited(), Pieces::default());
    let set = snapshot.select(&Scope::default(), &[Matcher::equal("i", i.to_string())], range, &budget).unwrap();
    if !set.is_empty() {
        set.pieces(0, range, want, cuts, &budget, &mut out).unwrap();
    }
    out
}

/// Windows of this length, one after the other.
pub(super) fn windows(range: TimeRange, step_ms: i64) -> Cuts {
    let ends = Steps { start_ms: range.start_ms - 1, end_ms: range.end_ms, step_ms };
    Cuts { starts: ends, ends }
}

const FOUR_DAYS: TimeRange = TimeRange { start_ms: START_MS + 1, end_ms: START_MS + 4 * DAY_MS };

/// For each window what the pieces amount to is what the samples do.
pub(super) fn same_by_window(samples: &[Sample], pieces: &Pieces, range: TimeRange, step_ms: i64, want: Want) {
    let mut end_ms = range.start_ms - 1;
    while end_ms < range.end_ms {
        let window = TimeRange { start_ms: end_ms + 1, end_ms: (end_ms + step_ms).min(range.end_ms) };
        end_ms += step_ms;
        let in_window = |s: &&model::Summary| window.start_ms <= s.range.start_ms && s.range.end_ms <= window.end_ms;
        let mut parts: Vec<model::Summary> = pieces.summaries.iter().filter(in_window).copied().collect();
        let lone = pieces.samples.floats().filter(|s| window.contains(s.timestamp_ms));
        parts.extend(lone.filter_map(|s| summed(&[s], TimeRange { start_ms: s.timestamp_ms, end_ms: s.timestamp_ms })));
        parts.sort_by_key(|part| part.range.start_ms);
        let Some(expected) = summed(samples, window) else {
            assert!(parts.is_empty());
            continue;
        };
        assert_eq!(parts.iter().map(|part| part.count).sum::<u64>(), expected.count, "{window:?}");
        let (first, last) = (parts[0].first, parts[parts.len() - 1].last);
        if want.has(Want::END_TIMES) {
            assert_eq!(first.timestamp_ms, expected.first.timestamp_ms);
            assert_eq!(last.timestamp_ms, expected.last.timestamp_ms);
        }
        if want.has(Want::END_VALUES) {
            assert!(same(first.value, expected.first.value) && same(last.value, expected.last.value));
        }
        if want.has(Want::SUM) {
            let sum: f64 = parts.iter().map(|part| part.sum + part.compensation).sum();
            assert!(near(sum, expected.sum), "{sum} {}", expected.sum);
        }
        if want.has(Want::EXTREMES) {
            let min = parts.iter().map(|part| part.min).fold(f64::NAN, f64::min);
            let max = parts.iter().map(|part| part.max).fold(f64::NAN, f64::max);
            assert!(near(min, expected.min) && near(max, expected.max));
        }
        if want.has(Want::RESETS.and(Want::END_VALUES)) {
            let between = || parts.windows(2).filter(|pair| pair[1].first.value < pair[0].last.value);
            let resets: u64 = parts.iter().map(|part| part.resets).sum::<u64>() + between().count() as u64;
            let taken = parts.iter().map(|part| part.reset_sum).sum::<f64>()
                + between().map(|pair| pair[0].last.value).sum::<f64>();
            assert!(resets == expected.resets && near(taken, expected.reset_sum));
        }
    }
}

/// A database with all samples of the runs in closed days, rolled up, and the clock that it has.
fn rolled_up(options: DbOptions, writes: &[Vec<(usize, i64, f64)>]) -> (Db, Arc<TestClock>, FakeDisk) {
    let (disk, clock) = (FakeDisk::default(), TestClock::new());
    let db = open_at(&disk, options, &clock);
    for samples in writes {
        write(&db, samples).unwrap();
    }
    db.flush().unwrap();
    db.compact().unwrap();
    (db, clock, disk)
}

#[test]
fn hours_are_answered_from_buckets_while_samples_are_kept() {
    let (db, _, _) = rolled_up(with_rules(both()), &[run(0, 0..3 * DAY_STEPS, 7)]);
    let stats = db.stats();
    assert_eq!(
        (stats.rollup_days, stats.rollup_failures, stats.rollup_touched_days),
        (2 * 4, 0, 0),
        "the sample at midnight is of the day before"
    );
    let range = TimeRange { start_ms: START_MS + 1, end_ms: START_MS + 3 * DAY_MS - HOUR_MS };
    let pieces = pieces_of(&db, 0, range, WANTS[5], &windows(range, HOUR_MS));
    assert_eq!((pieces.summaries.len(), pieces.samples.len(), pieces.has_split_buckets), (3 * 24 - 1, 0, false));
    same_by_window(&samples_of(&db, 0, range), &pieces, range, HOUR_MS, WANTS[5]);
    // Windows of half an hour take the finer ones; of ten seconds none.
    let pieces = pieces_of(&db, 0, range, WANTS[5], &windows(range, HOUR_MS / 2));
    assert_eq!((pieces.summaries.len(), pieces.samples.len()), (12 * (3 * 24 - 1), 0));
    let pieces = pieces_of(&db, 0, range, WANTS[5], &windows(range, 10_000));
    assert_eq!(pieces.summaries.len(), 0);
    // A cut between the edge of the buckets and the first sample after it parts nothing.
    let late = TimeRange { start_ms: range.start_ms + 14_000, end_ms: range.end_ms + 14_000 };
    let pieces = pieces_of(&db, 0, late, WANTS[5], &windows(late, HOUR_MS));
    assert_eq!(pieces.summaries.len(), 3 * 24 - 1);
    // Nothing is looked at for a range that is short.
    each_want(&db, TimeRange { start_ms: START_MS, end_ms: START_MS + HOUR_MS }, &Cuts::NONE);
}

/// Each try writes anew, a file for each resolution: what a failed one wrote must go.
#[test]
fn a_build_or_merge_that_fails_anywhere_leaves_no_files() {
    let (disk, clock) = (FakeDisk::default(), TestClock::new());
    let db = open_at(&disk, with_rules(both()), &clock);
    let of_day = |day: i64| (0..4).map(move |i| (0, START_MS + day * DAY_MS + (i + 1) * HOUR_MS, i as f64));
    write(&db, &of_day(0).chain(of_day(1)).collect::<Vec<_>>()).unwrap();
    db.flush().unwrap();
    drop(db);
    let check = |db: &Db, disk: &FakeDisk, call: u64| {
        let manifest = db.engine.manifest.lock().current().clone();
        let files = disk.list(std::path::Path::new("/data/segments")).unwrap().len();
        assert_eq!(files, manifest.sealed_files().len(), "call {call}, {:?}", disk.struck());
    };
    let mut failed = 0;
    for call in 0.. {
        let disk = disk.kill();
        let db = open_at(&disk, with_rules(both()), &clock);
        disk.fail_call_at(call, Failure::Once);
        failed += u64::from(db.compact().is_err());
        if disk.struck().is_none() {
            break;
        }
        // What must stay for now goes with the next install.
        write(&db, &[(0, NOW_MS, 1.0)]).unwrap();
        db.flush().unwrap();
        check(&db, &disk, call);
        db.compact().unwrap();
        assert_eq!(db.stats().rollup_touched_days, 0);
        write(&db, &[(0, NOW_MS + 1, 1.0)]).unwrap();
        db.flush().unwrap();
        check(&db, &disk, call);
    }
    assert!(failed > 30, "{failed}");
}

#[test]
fn late_samples_and_deletes_count_at_once_and_days_are_built_again() {
    let (db, clock, disk) = rolled_up(with_rules(both()), &[run(0, 0..3 * DAY_STEPS, 6)]);
    let cuts = windows(FOUR_DAYS, HOUR_MS);
    let of_hours = |db: &Db| pieces_of(db, 0, FOUR_DAYS, WANTS[5], &cuts).summaries.len();
    let before = of_hours(&db);
    for flushed in [false, true] {
        let late = START_MS + DAY_MS + 5 * HOUR_MS + 1;
        write(&db, &[(0, late, 1e6 + f64::from(u8::from(flushed)))]).unwrap();
        if flushed {
            db.flush().unwrap();
            assert_eq!(db.stats().rollup_touched_days, 2, "of each resolution");
        }
        each_want(&db, FOUR_DAYS, &cuts);
        assert!(of_hours(&db) < before);
    }
    drop(db);
    let db = open_at(&disk, with_rules(both()), &clock);
    assert_eq!(db.stats().rollup_touched_days, 2, "it is in the manifest");
    db.compact().unwrap();
    assert_eq!((db.stats().rollup_touched_days, of_hours(&db)), (0, before));
    each_want(&db, FOUR_DAYS, &cuts);

    let hidden = TimeRange { start_ms: START_MS + 2 * HOUR_MS, end_ms: START_MS + 3 * HOUR_MS };
    let id = db.delete(vec![vec![Matcher::equal("i", "0")]], hidden).unwrap().unwrap();
    each_want(&db, FOUR_DAYS, &cuts);
    db.compact().unwrap();
    each_want(&db, FOUR_DAYS, &cuts);
    db.undo_delete(id).unwrap();
    assert_eq!(db.stats().rollup_touched_days, 2, "the delete parted a bucket");
    each_want(&db, FOUR_DAYS, &cuts);
    db.compact().unwrap();
    assert_eq!(of_hours(&db), before);
    each_want(&db, FOUR_DAYS, &cuts);
}

#[test]
fn when_samples_are_gone_the_last_of_each_bucket_stands_for_them() {
    // By hours, so that both end within the first day.
    let (kept_ms, fine_kept_ms) = (132 * HOUR_MS, 138 * HOUR_MS);
    let fine = RollupRule { keep_ms: Some(fine_kept_ms), ..rule(HOUR_MS / 12, None, false) };
    let options = DbOptions { retention_ms: Some(kept_ms), ..with_rules(vec![fine, rule(HOUR_MS, Some(8), false)]) };
    let mut samples = run(0, 0..DAY_STEPS, 6);
    samples.extend(run(1, 0..DAY_STEPS / 5, 6));
    samples.push((1, START_MS + DAY_MS / 5, stale_nan()));
    let (db, clock, disk) = rolled_up(options.clone(), &[samples, run(0, DAY_STEPS..2 * DAY_STEPS, 6)]);
    let whole = samples_of(&db, 0, FOUR_DAYS);
    assert_eq!(whole.len() as i64, 2 * DAY_STEPS - 1, "the sample at midnight is of the day before");
    assert_eq!(db.snapshot().select(&Scope::default(), &[], FOUR_DAYS, &Budget::unlimited()).unwrap().coarsest_ms(), 0);
    // A day later some hours of samples are gone; the five minutes are kept for six hours more.
    clock.advance(DAY_MS);
    db.enforce_retention().unwrap();
    db.compact().unwrap();
    let (oldest_ms, fine_ms) = (clock.now_ms() - kept_ms, clock.now_ms() - fine_kept_ms);
    assert!(START_MS + HOUR_MS < fine_ms && oldest_ms < START_MS + DAY_MS / 2);
    let found = samples_of(&db, 0, FOUR_DAYS);
    let (kept, lasts): (Vec<&Sample>, Vec<&Sample>) = found.iter().partition(|s| s.timestamp_ms >= oldest_ms);
    assert!(kept.iter().copied().eq(whole.iter().filter(|s| s.timestamp_ms >= oldest_ms)));
    let is_last = |s: &&Sample| {
        let resolution_ms = if s.timestamp_ms >= fine_ms { HOUR_MS / 12 } else { HOUR_MS };
        s.timestamp_ms % resolution_ms == 0
    };
    assert!(!lasts.is_empty() && lasts.iter().all(is_last), "samples lie on the ends of buckets here");
    let expected = whole.iter().filter(|s| s.timestamp_ms < oldest_ms).filter(is_last);
    assert_eq!(expected.count(), lasts.len());
    // The series that ended has its marker.
    let ended = samples_of(&db, 1, FOUR_DAYS);
    assert!(ended.last().is_some_and(|s| is_stale(s.value)));
    let (snapshot, budget) = (db.snapshot(), Budget::unlimited());
    let set = snapshot.select(&Scope::default(), &[], FOUR_DAYS, &budget).unwrap();
    let coarse = set.coarse(0, FOUR_DAYS).unwrap();
    let of = |until_ms, resolution_ms| Coarse { until_ms, resolution_ms };
    assert_eq!(coarse, [of(fine_ms - 1, HOUR_MS), of(oldest_ms - 1, HOUR_MS / 12)]);
    assert_eq!(set.coarsest_ms(), HOUR_MS);
    let mut newest = SampleColumns::default();
    set.newest(0, TimeRange { start_ms: i64::MIN, end_ms: fine_ms - 1 }, true, &budget, &mut newest).unwrap();
    let newest = newest.floats().next_back().unwrap();
    assert!(newest.timestamp_ms > fine_ms - 1 - HOUR_MS && newest.timestamp_ms % HOUR_MS == 0);
    drop(set);
    drop(snapshot);
    // In the end nothing is left, of the coarse ones neither.
    clock.advance(9 * DAY_MS);
    let report = db.enforce_retention().unwrap();
    assert_eq!(report.dropped_days.len(), 2, "{report:?}");
    assert_eq!((samples_of(&db, 0, FOUR_DAYS), db.stats().rollup_runs), (Vec::new(), 0));
    drop(db);
    assert!(samples_of(&open_at(&disk, options, &clock), 0, FOUR_DAYS).is_empty());
}

#[test]
fn what_is_deleted_stays_hidden_when_only_buckets_are_left() {
    let options = DbOptions { retention_ms: Some(5 * DAY_MS), ..with_rules(vec![rule(HOUR_MS, None, false)]) };
    let mut samples = run(0, 0..DAY_STEPS, 6);
    samples.extend(run(1, 0..DAY_STEPS, 6));
    let (db, clock, disk) = rolled_up(options.clone(), &[samples]);
    clock.advance(5 * DAY_MS);
    db.enforce_retention().unwrap();
    assert_eq!(db.stats().segments, 0);
    assert_eq!((samples_of(&db, 0, FOUR_DAYS).len(), samples_of(&db, 1, FOUR_DAYS).len()), (24, 24));
    let one = vec![vec![Matcher::equal("i", "1")]];
    let hidden = TimeRange { start_ms: START_MS, end_ms: START_MS + 10 * HOUR_MS + STEP_MS };
    let id = db.delete(one.clone(), hidden).unwrap().unwrap();
    let of = |db: &Db, i| {
        let pieces = pieces_of(db, i, FOUR_DAYS, Want::COUNT, &windows(FOUR_DAYS, HOUR_MS));
        (samples_of(db, i, FOUR_DAYS).len(), pieces.summaries.len())
    };
    // Of the bucket that is hidden in part the last sample is left; as a whole it does not count.
    assert_eq!((of(&db, 0), of(&db, 1)), ((24, 24), (14, 13)));
    db.undo_delete(id).unwrap();
    assert_eq!(of(&db, 1), (24, 24));
    db.delete(one, hidden).unwrap().unwrap();
    db.purge_deleted().unwrap();
    assert!(db.deletes().is_empty());
    assert_eq!((of(&db, 0), of(&db, 1)), ((24, 24), (13, 13)));
    drop(db);
    let db = open_at(&disk, options, &clock);
    assert_eq!((of(&db, 0), of(&db, 1)), ((24, 24), (13, 13)));
}

#[test]
fn samples_that_are_dropped_for_their_size_leave_their_buckets() {
    let options = DbOptions { retention_bytes: Some(0), ..with_rules(both()) };
    let (db, _, _) = rolled_up(options, &[run(0, 0..3 * DAY_STEPS, 7)]);
    let range = TimeRange { start_ms: START_MS + 1, end_ms: START_MS + 2 * DAY_MS };
    let cuts = windows(range, HOUR_MS);
    let before = pieces_of(&db, 0, range, WANTS[5], &cuts);
    db.enforce_retention().unwrap();
    assert_eq!(db.stats().segments, 1, "the newest day is never dropped");
    assert_eq!(pieces_of(&db, 0, range, WANTS[5], &cuts), before);
    // One that comes for such a day is seen, and the day is not built from it alone.
    write(&db, &[(0, START_MS + HOUR_MS + 7, 5.0)]).unwrap();
    db.flush().unwrap();
    db.compact().unwrap();
    assert_eq!(pieces_of(&db, 0, range, WANTS[5], &cuts).summaries.len(), before.summaries.len());
    assert!(samples_of(&db, 0, range).iter().any(|s| s.value == 5.0));
}

#[test]
fn series_without_roll_ups_are_left_alone() {
    let mut samples = run(0, 0..DAY_STEPS, 7);
    samples.extend(run(1, 0..DAY_STEPS, 7));
    let (db, _, _) = rolled_up(with_rules(vec![rule(HOUR_MS, None, true)]), &[samples]);
    let of = |i| pieces_of(&db, i, FOUR_DAYS, WANTS[5], &windows(FOUR_DAYS, HOUR_MS)).summaries.len();
    assert_eq!((of(0), of(1)), (0, 24));
    let again = db.compact().unwrap();
    assert_eq!(again.rollups, 0, "all is done");
    assert_eq!(labels(1).get(ODD), Some("yes"));
}

#[test]
fn a_corrupt_run_is_put_aside_and_built_again() {
    let (db, clock, disk) = rolled_up(with_rules(vec![rule(HOUR_MS, None, false)]), &[run(0, 0..DAY_STEPS, 6)]);
    let id = db.engine.view.read().rollups.iter().find(|run| run.live.is_some()).unwrap().entry.segment.id;
    let path = db.engine.layout.segment(id);
    drop(db);
    let mut bytes = disk.bytes(&path).unwrap();
    bytes[200] ^= 1;
    disk.damage(&path, bytes);
    let db = open_at(&disk, with_rules(vec![rule(HOUR_MS, None, false)]), &clock);
    assert_eq!((db.stats().quarantined, db.stats().rollup_runs), (1, 0));
    each_want(&db, FOUR_DAYS, &windows(FOUR_DAYS, HOUR_MS));
    db.compact().unwrap();
    assert_eq!(db.stats().rollup_runs, 1);
    assert_eq!(pieces_of(&db, 0, FOUR_DAYS, WANTS[5], &windows(FOUR_DAYS, HOUR_MS)).summaries.len(), 24);
}

/// Hours of the first day of series `i` that buckets answer, and samples that stand for it.
fn first_day(db: &Db, i: usize) -> (usize, usize) {
    let day = TimeRange { start_ms: START_MS + 1, end_ms: START_MS + DAY_MS };
    let pieces = pieces_of(db, i, day, WANTS[5], &windows(day, HOUR_MS));
    (pieces.summaries.len(), samples_of(db, i, day).len())
}

fn all_of(name: &str, value: &str) -> Vec<Vec<Matcher>> {
    vec![vec![Matcher::equal(name, value)]]
}

#[test]
fn a_longer_retention_takes_no_buckets() {
    let options =
        |days: i64| DbOptions { retention_ms: Some(days * DAY_MS), ..with_rules(vec![rule(HOUR_MS, None, false)]) };
    let first = [run(0, 1..DAY_STEPS, 6), run(1, 1..DAY_STEPS, 6)].concat();
    let later = DAY_STEPS..2 * DAY_STEPS;
    let (db, clock, disk) = rolled_up(options(5), &[first, [run(0, later.clone(), 6), run(2, later, 6)].concat()]);
    clock.advance(2 * DAY_MS);
    db.enforce_retention().unwrap();
    assert_eq!((first_day(&db, 0), first_day(&db, 1)), ((24, 24), (24, 24)));
    drop(db);
    let db = open_at(&disk, options(90), &clock);
    assert_eq!((first_day(&db, 0), first_day(&db, 1)), ((24, 24), (24, 24)), "samples are gone all the same");
    // Nothing makes the day be built of what is left of it.
    db.delete(all_of("i", "1"), TimeRange { start_ms: START_MS + 5, end_ms: START_MS + HOUR_MS }).unwrap().unwrap();
    db.delete(all_of("i", "2"), TimeRange::ALL).unwrap().unwrap();
    write(&db, &[(0, START_MS + HOUR_MS + 7, 5.0)]).unwrap();
    db.flush().unwrap();
    db.purge_deleted().unwrap();
    db.compact().unwrap();
    assert_eq!((first_day(&db, 0).0, first_day(&db, 1)), (24, (23, 23)));
}

#[test]
fn a_day_is_built_of_what_is_left_beside_the_buckets_of_what_is_gone() {
    let (disk, clock) = (FakeDisk::default(), TestClock::new());
    let db = open_at(&disk, with_rules(both()), &clock);
    let odd = |keep_ms| vec![RetentionRule::new(vec![Matcher::equal(ODD, "yes")], keep_ms)];
    write(&db, &[run(0, 1..DAY_STEPS, 6), run(1, 1..DAY_STEPS, 6)].concat()).unwrap();
    write(&db, &run(3, 1..DAY_STEPS / 2, 6)).unwrap();
    db.flush().unwrap();
    db.compact().unwrap();
    let before = first_day(&db, 1).0;
    // By a rule half of it goes, and then there is none.
    let noon_ms = START_MS + DAY_MS / 2;
    db.set_retention_rules(odd(clock.now_ms() - noon_ms));
    db.compact().unwrap();
    db.set_retention_rules(Vec::new());
    assert_eq!(samples_of(&db, 1, FOUR_DAYS).len() as i64, DAY_STEPS / 2);
    write(&db, &[(0, noon_ms + 7, 5.0), (1, noon_ms + 7, 5.0), (1, START_MS + 7, 5.0)]).unwrap();
    db.flush().unwrap();
    assert_eq!(db.stats().rollup_touched_days, 2);
    db.compact().unwrap();
    assert_eq!((db.stats().rollup_touched_days, first_day(&db, 1).0), (0, before));
    let counts = |i: usize, hour: i64| {
        let range = TimeRange { start_ms: START_MS + 1, end_ms: START_MS + DAY_MS };
        pieces_of(&db, i, range, Want::COUNT, &windows(range, HOUR_MS)).summaries[hour as usize].count
    };
    assert_eq!([counts(0, 0), counts(0, 12), counts(0, 13)], [240, 241, 240]);
    assert_eq!([counts(1, 0), counts(1, 12), counts(1, 13)], [240, 241, 240], "those of before, and what came");
    let pieces = pieces_of(&db, 3, FOUR_DAYS, Want::COUNT, &windows(FOUR_DAYS, HOUR_MS));
    assert_eq!(pieces.summaries.len(), 0, "less than two blocks of samples");
    let snapshot = db.snapshot().with_short_rows();
    let (matchers, budget, mut pieces) = ([Matcher::equal("i", "3")], Budget::unlimited(), Pieces::default());
    let set = snapshot.select(&Scope::default(), &matchers, FOUR_DAYS, &budget).unwrap();
    set.pieces(0, FOUR_DAYS, Want::COUNT, &windows(FOUR_DAYS, HOUR_MS), &budget, &mut pieces).unwrap();
    assert_eq!(pieces.summaries.iter().map(|summary| summary.count).sum::<u64>() as i64, DAY_STEPS / 2 - 1);
}

#[test]
fn buckets_outlive_a_segment_that_is_put_aside() {
    let options = || with_rules(vec![rule(HOUR_MS, None, false)]);
    let (db, clock, disk) = rolled_up(options(), &[[run(0, 1..DAY_STEPS, 6), run(1, 1..DAY_STEPS, 6)].concat()]);
    let before = (first_day(&db, 0).0, first_day(&db, 1).0);
    let id = db.engine.view.read().segments[0].entry.id;
    let path = db.engine.layout.segment(id);
    drop(db);
    let mut bytes = disk.bytes(&path).unwrap();
    bytes.truncate(bytes.len() / 2);
    disk.damage(&path, bytes);
    let db = open_at(&disk, options(), &clock);
    assert_eq!((db.stats().quarantined, db.stats().segments), (1, 0));
    let late_ms = START_MS + 5 * HOUR_MS + 7;
    write(&db, &[(0, late_ms, 5.0)]).unwrap();
    db.flush().unwrap();
    assert_eq!(db.stats().rollup_touched_days, 1);
    db.compact().unwrap();
    assert_eq!((db.stats().rollup_touched_days, first_day(&db, 0).0, first_day(&db, 1).0), (0, before.0, before.1));
}

#[test]
fn a_day_that_cannot_be_built_does_not_keep_others_from_it() {
    let (disk, clock) = (FakeDisk::default(), TestClock::new());
    let db = open_at(&disk, with_rules(vec![rule(HOUR_MS, None, false)]), &clock);
    write(&db, &run(0, 1..2 * DAY_STEPS, 6)).unwrap();
    db.flush().unwrap();
    disk.fail_kind_at("create", 0, Failure::Once);
    assert!(db.compact().is_err());
    assert_eq!((db.stats().rollup_failures, db.stats().rollup_days), (1, 1));
    db.compact().unwrap();
    assert_eq!((db.stats().rollup_failures, db.stats().rollup_days), (1, 2));
}

#[test]
fn a_merge_that_fails_ends_the_round() {
    let (disk, clock) = (FakeDisk::default(), TestClock::new());
    let options = || with_rules(vec![rule(HOUR_MS / 12, None, false)]);
    // Large enough that not all of it is looked at when it is opened.
    let noise = |i: i64| f64::from_bits(i.cast_unsigned().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 2);
    let day = |day: i64| -> Vec<(usize, i64, f64)> {
        let at = |n: i64| START_MS + day * DAY_MS + n % 576 * 150_000 + 1;
        (0..40 * 576).map(|n| ((n / 576) as usize, at(n), noise(n))).collect()
    };
    let db = open_at(&disk, options(), &clock);
    write(&db, &day(0)).unwrap();
    db.flush().unwrap();
    db.compact().unwrap();
    let id = db.engine.view.read().rollups[0].entry.segment.id;
    let path = db.engine.layout.segment(id);
    drop(db);
    let mut bytes = disk.bytes(&path).unwrap();
    bytes[40] ^= 1;
    disk.damage(&path, bytes);
    let db = open_at(&disk, options(), &clock);
    assert_eq!(db.stats().quarantined, 0, "nobody has read it");
    write(&db, &day(1)).unwrap();
    db.flush().unwrap();
    // A day that was built before must not make it go on for ever.
    assert!(matches!(db.compact(), Err(StorageError::Corrupt { .. })));
    assert_eq!((db.stats().rollup_failures, db.stats().rollup_days), (1, 1));
    db.engine.look_round();
    assert_eq!(db.stats().quarantined, 1);
    db.compact().unwrap();
    assert_eq!((db.stats().rollup_failures, db.stats().rollup_runs), (1, 1));
}

/// Neighbouring steps of a series: its number, first step, how many, seed; then whether a flush and a compaction follow.
type Write = ((usize, i64, i64, u64), (bool, bool));

fn writes() -> impl Strategy<Value = Vec<Write>> {
    let length = prop_oneof![1 => 1_i64..40, 2 => 3_000_i64..DAY_STEPS * 2];
    let write = (0_usize..2, 0..2 * DAY_STEPS, length, any::<u64>());
    prop::collection::vec((write, (any::<bool>(), prop::bool::weighted(0.3))), 1..5)
}

fn fill(db: &Db, writes: &[Write]) {
    for ((i, first, length, seed), (flush, compact)) in writes {
        write(db, &run(*i, *first..(first + length).min(3 * DAY_STEPS), *seed)).unwrap();
        if *flush || *compact {
            db.flush().unwrap();
        }
        if *compact {
            db.compact().unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// While samples are kept, roll-ups change nothing, whatever the windows, what came late and what was deleted.
    #[test]
    fn with_roll_ups_answers_are_those_of_the_samples(
        writes in writes(), deleted in prop::option::of((0_usize..2, 0..3 * DAY_STEPS, 0_i64..2_000)),
        window in prop_oneof![Just(HOUR_MS), Just(HOUR_MS / 2), 60_000_i64..20 * HOUR_MS], shift in -HOUR_MS..HOUR_MS,
        length in 0..20 * HOUR_MS,
    ) {
        let clock = TestClock::new();
        let db = open_at(&FakeDisk::default(), with_rules(both()), &clock);
        fill(&db, &writes);
        if let Some((i, first, steps)) = deleted {
            let start_ms = START_MS + first * STEP_MS;
            let range = TimeRange { start_ms, end_ms: start_ms + steps * STEP_MS };
            db.delete(vec![vec![Matcher::equal("i", i.to_string())]], range).unwrap();
        }
        let ends = Steps { start_ms: START_MS + shift, end_ms: START_MS + shift + 3 * DAY_MS, step_ms: window };
        let starts = Steps { start_ms: ends.start_ms - length, end_ms: ends.end_ms - length, ..ends };
        let range = TimeRange { start_ms: starts.start_ms + 1, end_ms: ends.end_ms };
        each_want(&db, range, &Cuts { starts, ends });
        each_want(&db, TimeRange::ALL, &Cuts::NONE);
        db.flush().unwrap();
        db.compact().unwrap();
        each_want(&db, range, &Cuts { starts, ends });
    }

    /// When samples are gone, windows that are whole buckets are answered as before.
    #[test]
    fn whole_buckets_outlive_their_samples(
        writes in writes(), per_window in 1_i64..30, fine in any::<bool>(), half_gone in any::<bool>(),
    ) {
        let clock = TestClock::new();
        let retention_ms = if half_gone { 4 * DAY_MS + DAY_MS / 3 } else { 3 * DAY_MS };
        let options = DbOptions { retention_ms: Some(5 * DAY_MS), ..with_rules(both()) };
        let disk = FakeDisk::default();
        let db = open_at(&disk, options.clone(), &clock);
        fill(&db, &writes);
        db.flush().unwrap();
        db.compact().unwrap();
        let before: Vec<Vec<Sample>> = (0..2).map(|i| samples_of(&db, i, FOUR_DAYS)).collect();
        drop(db);
        let db = open_at(&disk, DbOptions { retention_ms: Some(retention_ms), ..options }, &clock);
        clock.advance(DAY_MS);
        db.enforce_retention().unwrap();
        db.compact().unwrap();
        let step_ms = per_window * if fine { HOUR_MS / 12 } else { HOUR_MS };
        for (i, samples) in before.iter().enumerate() {
            for want in WANTS {
                let pieces = pieces_of(&db, i, FOUR_DAYS, want, &windows(FOUR_DAYS, step_ms));
                prop_assert!(!pieces.has_split_buckets);
                same_by_window(samples, &pieces, FOUR_DAYS, step_ms, want);
            }
        }
    }
}
