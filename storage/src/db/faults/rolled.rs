//! What a store with roll-ups must show, as the model reckons it: samples where they are kept, the last ones of buckets
//! where they are gone, and for windows of whole buckets what their samples amounted to.
//!
//! The model holds all samples for ever. That is exact because the suites let the clock go on only by whole days, from
//! midnight to midnight, and only after what was written and deleted is rolled up; and because they delete from what is
//! gone by whole buckets.

use model::{Matcher, Pieces, Sample, SeriesSource, Want, is_stale};

use super::super::pieces_tests::{near, same, summed};
use super::super::rollup_tests::{same_by_window, windows};
use super::*;
use crate::rollup::bucket::Bucket;
use crate::rollup::{RollupRule, RollupRules};

pub(super) const HOUR_MS: i64 = 3_600_000;
/// Above this, and for what is not finite, the order of additions decides.
const SUMMABLE_MAX: f64 = 1e290;
/// Days around now in which windows are asked for.
const DAYS: i64 = 6;

/// What is kept of what.
#[derive(Debug, Clone, Default)]
pub(super) struct Keeps {
    pub(super) rollups: RollupRules,
    pub(super) retention_ms: Option<i64>,
    /// For the series with `odd="yes"`.
    pub(super) odd_ms: Option<i64>,
}

/// The last `days` days before today, and today, if the clock goes on by days.
pub(super) fn whole_days(days: i64) -> i64 {
    days * DAY_MS + NOW_MS.rem_euclid(DAY_MS) - 1
}

/// Buckets of five minutes for some days, and of an hour for ever or for some days more, these perhaps only for some
/// series.
pub(super) fn rollups(fine_days: i64, coarse_days: Option<i64>, coarse_is_odd: bool) -> RollupRules {
    let odd = if coarse_is_odd { vec![Matcher::equal("odd", "yes")] } else { Vec::new() };
    let rule = |resolution_ms, days: Option<i64>, matchers| RollupRule {
        resolution_ms,
        keep_ms: days.map(whole_days),
        matchers,
    };
    RollupRules::new(vec![rule(HOUR_MS / 12, Some(fine_days), Vec::new()), rule(HOUR_MS, coarse_days, odd)]).unwrap()
}

fn is_odd(labels: &Labels) -> bool {
    labels.get("odd") == Some("yes")
}

/// The samples of each series of the model.
fn by_series(content: &Content) -> BTreeMap<Labels, Vec<Sample>> {
    let mut out: BTreeMap<Labels, Vec<Sample>> = BTreeMap::new();
    for ((labels, timestamp_ms), bits) in content {
        let sample = Sample { timestamp_ms: *timestamp_ms, value: f64::from_bits(*bits) };
        out.entry(labels.clone()).or_default().push(sample);
    }
    out
}

/// Runs of samples that belong to one bucket, which is open on the left.
fn buckets(samples: &[Sample], resolution_ms: i64) -> impl Iterator<Item = &[Sample]> {
    let number = move |s: &Sample| (i128::from(s.timestamp_ms) - 1).div_euclid(i128::from(resolution_ms));
    samples.chunk_by(move |a, b| number(a) == number(b))
}

impl Keeps {
    /// The oldest time that is kept of a series.
    pub(super) fn oldest_ms(&self, labels: &Labels, now_ms: i64) -> i64 {
        let odd_ms = self.odd_ms.filter(|_| is_odd(labels));
        odd_ms.or(self.retention_ms).map_or(i64::MIN, |keep_ms| now_ms - keep_ms)
    }

    fn rules_of(&self, labels: &Labels) -> impl Iterator<Item = &RollupRule> {
        self.rollups.rules().iter().filter(|rule| rule.selects(labels))
    }

    /// The samples that are seen.
    pub(super) fn shown(&self, content: &Content, now_ms: i64) -> Content {
        let mut out = Content::new();
        for (labels, samples) in by_series(content) {
            let mut put = |s: &Sample| {
                out.insert((labels.clone(), s.timestamp_ms), s.value.to_bits());
            };
            // What is older is left to the next coarser resolution.
            let mut until_ms = self.oldest_ms(&labels, now_ms);
            samples.iter().filter(|s| s.timestamp_ms >= until_ms).for_each(&mut put);
            for rule in self.rules_of(&labels) {
                let from_ms = rule.keep_ms.map_or(i64::MIN, |keep_ms| now_ms - keep_ms);
                for bucket in buckets(&samples, rule.resolution_ms) {
                    let plain = bucket.iter().rfind(|s| !is_stale(s.value));
                    let marker = bucket.last().filter(|s| is_stale(s.value));
                    let seen = |s: &&Sample| from_ms <= s.timestamp_ms && s.timestamp_ms < until_ms;
                    plain.into_iter().chain(marker).filter(seen).for_each(&mut put);
                }
                until_ms = until_ms.min(from_ms);
            }
        }
        out
    }

    /// Widens what is to be deleted to whole buckets where samples are gone.
    pub(super) fn whole_buckets(&self, odd: &str, range: TimeRange, now_ms: i64) -> TimeRange {
        let of_odd = Labels::from_pairs([("odd", odd)]).unwrap();
        let oldest_ms = self.oldest_ms(&of_odd, now_ms);
        let hour = |ms: i64| (ms - 1).div_euclid(HOUR_MS) * HOUR_MS;
        let TimeRange { mut start_ms, mut end_ms } = range;
        let near = |ms: i64| ms < oldest_ms && ms > i64::MIN / 2;
        if near(start_ms) {
            start_ms = hour(start_ms) + 1;
        }
        if near(end_ms) {
            end_ms = hour(end_ms) + HOUR_MS;
        }
        TimeRange { start_ms, end_ms }
    }

    /// Compares the answers for windows with those of the model; gives how many runs of samples answered.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn check_windows(&self, db: &Db, content: &Content, now_ms: i64) -> Result<usize, SourceError> {
        if self.rollups.rules().is_empty() {
            return Ok(0);
        }
        let model = by_series(content);
        let (budget, snapshot, mut pieces) = (Budget::unlimited(), db.snapshot().with_short_rows(), Pieces::default());
        let midnight = now_ms - now_ms.rem_euclid(DAY_MS);
        let range = TimeRange { start_ms: midnight - DAYS * DAY_MS + 1, end_ms: midnight + DAY_MS };
        let set = snapshot.select(&Scope::default(), &[], range, &budget)?;
        let mut answered = 0;
        for i in 0..set.len() {
            let labels = set.labels(i)?;
            let of_model = model.get(&labels).map(Vec::as_slice).unwrap_or_default();
            let gone_ms = self.oldest_ms(&labels, now_ms).saturating_sub(1);
            // What is gone without any bucket left does not count.
            let seen_from = |rule: &RollupRule| rule.keep_ms.map_or(i64::MIN, |keep_ms| now_ms - keep_ms);
            for step_ms in [HOUR_MS, HOUR_MS / 4] {
                let rules = self.rules_of(&labels).filter(|rule| step_ms % rule.resolution_ms == 0);
                let seen_ms = rules.map(seen_from).fold(gone_ms.saturating_add(1), i64::min);
                let range = TimeRange { start_ms: range.start_ms.max(seen_ms), ..range };
                let counts = |s: &&Sample| s.timestamp_ms >= seen_ms;
                let samples: Vec<Sample> = of_model.iter().filter(counts).copied().collect();
                let is_tame = samples.iter().all(|s| is_stale(s.value) || s.value.abs() <= SUMMABLE_MAX);
                let ends = Want::END_TIMES.and(Want::END_VALUES).and(Want::EXTREMES);
                let want = if is_tame { ends.and(Want::SUM).and(Want::RESETS) } else { ends };
                set.pieces(i, range, want, &windows(range, step_ms), &budget, &mut pieces)?;
                assert!(!pieces.has_split_buckets, "windows are whole buckets");
                same_by_window(&samples, &pieces, range, step_ms, want);
                answered += pieces.summaries.len();
            }
        }
        Ok(answered)
    }

    /// After everything was rolled up, all days whose buckets and samples are kept are as their samples are.
    pub(super) fn check_up_to_date(&self, db: &Db, now_ms: i64) {
        let longest_ms = self.retention_ms.map(|keep_ms| keep_ms.max(self.odd_ms.unwrap_or(keep_ms)));
        let kept_ms = longest_ms.map_or(i64::MIN, |keep_ms| now_ms - keep_ms);
        for run in db.engine.view.read().rollups.iter() {
            let oldest_ms = self.rollups.oldest_ms(run.entry.resolution_ms, now_ms).max(kept_ms);
            let touched = run.entry.touched.span().filter(|span| span.end_ms >= oldest_ms);
            assert_eq!(touched, None, "{:?}", run.entry);
        }
    }

    /// Compares the buckets that count with those of the model: none is missing, and none is wrong. Gives their number.
    pub(super) fn check_runs(&self, db: &Db, content: &Content, now_ms: i64) -> usize {
        if db.stats().head_samples > 0 {
            return 0;
        }
        let model = by_series(content);
        let (rollups, deletes) = {
            let view = db.engine.view.read();
            (view.rollups.clone(), view.deletes.clone())
        };
        let mut compared = 0;
        for run in rollups.iter() {
            let Some(rule) = self.rollups.rules().iter().find(|rule| rule.resolution_ms == run.entry.resolution_ms)
            else {
                continue;
            };
            let oldest_ms = self.rollups.oldest_ms(rule.resolution_ms, now_ms);
            let counts = |labels: &Labels, end_ms: i64| {
                let is_gone = end_ms < self.oldest_ms(labels, now_ms);
                let is_seen = end_ms >= oldest_ms && run.entry.ranges.contains(end_ms);
                is_seen && (is_gone || !run.entry.touched.contains(end_ms))
            };
            let mut found: BTreeMap<Labels, Vec<Bucket>> = BTreeMap::new();
            if let Some(live) = &run.live {
                let mask = live.mask(&deletes).unwrap();
                for ordinal in 0..live.segment.len() {
                    let labels = live.segment.labels(ordinal).unwrap();
                    let mut all = live.segment.all_buckets(ordinal).unwrap();
                    all.retain(|bucket| {
                        let times = bucket.summary.map(|summary| summary.range);
                        let times =
                            times.or(bucket.marker_ms.map(|ms| TimeRange { start_ms: ms, end_ms: ms })).unwrap();
                        let is_hidden = mask.as_ref().is_some_and(|mask| mask.hides_some(ordinal, times));
                        counts(&labels, bucket.end_ms) && !is_hidden
                    });
                    if !all.is_empty() {
                        found.insert(labels, all);
                    }
                }
            }
            let mut wanted = 0;
            for (labels, samples) in model.iter().filter(|(labels, _)| rule.selects(labels)) {
                let end_of =
                    |bucket: &&[Sample]| crate::rollup::bucket::end_of(bucket[0].timestamp_ms, rule.resolution_ms);
                let all: Vec<&[Sample]> =
                    buckets(samples, rule.resolution_ms).filter(|bucket| counts(labels, end_of(bucket))).collect();
                let there = found.get(labels).map(Vec::as_slice).unwrap_or_default();
                assert_eq!(there.len(), all.len(), "buckets of {labels:?}: {there:?}, of {all:?}");
                all.iter().zip(there).for_each(|(samples, bucket)| same_bucket(samples, bucket));
                wanted += usize::from(!all.is_empty());
                compared += all.len();
            }
            assert_eq!(found.len(), wanted, "no series has buckets without samples");
        }
        compared
    }
}

/// A bucket is what its samples amount to.
fn same_bucket(samples: &[Sample], bucket: &Bucket) {
    let marker = samples.last().filter(|s| is_stale(s.value)).map(|s| s.timestamp_ms);
    assert_eq!(bucket.marker_ms, marker, "{samples:?}");
    let expected = summed(samples, TimeRange::ALL);
    assert_eq!(bucket.summary.is_some(), expected.is_some(), "{samples:?}");
    let Some((found, expected)) = bucket.summary.zip(expected) else { return };
    let times = |s: &model::Summary| (s.count, s.first.timestamp_ms, s.last.timestamp_ms, s.resets);
    assert_eq!(times(&found), times(&expected), "{samples:?}");
    let ends = same(found.first.value, expected.first.value) && same(found.last.value, expected.last.value);
    assert!(ends && near(found.min, expected.min) && near(found.max, expected.max), "{samples:?} {found:?}");
    if found.min.abs().max(found.max.abs()) <= SUMMABLE_MAX {
        let sum = found.sum + found.compensation;
        assert!(near(sum, expected.sum) && near(found.reset_sum, expected.reset_sum), "{samples:?} {found:?}");
    }
}
