//! What to do next for roll-ups: a pure function of the live set, the rules and the clock.

use std::collections::{BTreeMap, BTreeSet};

use super::entry::RollupEntry;
use super::rules::RollupRules;
use super::{rolled_day_of, times_of_day};
use crate::compaction::plan::Effort;
use crate::db::prepared::DAY_MS;
use crate::manifest::{Manifest, SegmentEntry};

/// A day that was built and is touched is built again after this time, so that one sender that is late with every flush
/// does not cost a day's work with each.
const AGAIN_AFTER_MS: i64 = 6 * 3_600_000;
/// Runs of like size that wait until they are merged.
const TIER_WIDTH: usize = 4;
/// A period is as many days as have about this many buckets: a block of each column.
const PERIOD_BUCKETS: i64 = 2048;

/// A piece of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RollupJob {
    /// Build a day of these resolutions, from fine to coarse, from its samples.
    Build {
        /// Number of the day.
        day: i64,
        /// In milliseconds.
        resolutions_ms: Vec<i64>,
    },
    /// Merge these runs of one resolution.
    Merge {
        /// Their places in the manifest.
        runs: Vec<RollupEntry>,
    },
}

/// What the plan looks at beside the manifest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circumstances<'a> {
    pub(crate) rules: &'a RollupRules,
    /// The days of samples that lie in segments of several days.
    pub(crate) mixed_days: &'a BTreeSet<i64>,
    pub(crate) now_ms: i64,
    /// How long after its end a day is closed.
    pub(crate) settled_after_ms: i64,
    /// The oldest time whose samples are kept, of all series.
    pub(crate) oldest_ms: Option<i64>,
    pub(crate) effort: Effort,
}

/// The next piece of work, if there is any; days that were `tried` are left alone.
pub(crate) fn plan(manifest: &Manifest, around: Circumstances<'_>, tried: &BTreeSet<i64>) -> Option<RollupJob> {
    // Newest days first: they are asked for most.
    let days = days_with_samples(manifest, around.mixed_days);
    let build = days.iter().rev().filter(|day| !tried.contains(day)).find_map(|day| {
        let resolutions_ms = due(manifest, around, *day);
        (!resolutions_ms.is_empty()).then_some(RollupJob::Build { day: *day, resolutions_ms })
    });
    build.or_else(|| merge(manifest, around))
}

/// The days of roll-ups that have samples, or had some.
fn days_with_samples(manifest: &Manifest, mixed_days: &BTreeSet<i64>) -> BTreeSet<i64> {
    let mut days = mixed_days.clone();
    for entry in manifest.segments.iter().filter(|entry| entry.day.is_some()) {
        days.extend([rolled_day_of(entry.times.start_ms), rolled_day_of(entry.times.end_ms)]);
    }
    // All samples of a day may be deleted: then it is built again without any.
    for range in manifest.rollups.runs.iter().flat_map(|run| run.touched.iter()) {
        days.extend(rolled_day_of(range.start_ms)..=rolled_day_of(range.end_ms));
    }
    days
}

/// The resolutions of which a day is to be built.
fn due(manifest: &Manifest, around: Circumstances<'_>, day: i64) -> Vec<i64> {
    let times = times_of_day(day);
    let closed_ms = match around.effort {
        Effort::Due => times.end_ms.saturating_add(around.settled_after_ms),
        Effort::Everything => times.end_ms,
    };
    let floor_ms = manifest.rollups.floor_ms;
    let is_above = floor_ms == i64::MIN || times.start_ms > floor_ms;
    let is_whole = is_above && around.oldest_ms.is_none_or(|oldest| oldest <= times.start_ms);
    if closed_ms > around.now_ms {
        return Vec::new();
    }
    let is_due = |resolution_ms: i64| {
        if times.end_ms < around.rules.oldest_ms(resolution_ms, around.now_ms) {
            return false;
        }
        let same = |run: &&RollupEntry| run.resolution_ms == resolution_ms && run.ranges.covers(times);
        let Some(run) = manifest.rollups.runs.iter().find(same) else { return true };
        // What is not whole any more must not replace what was built when it was.
        let again = run.segment.created_ms.saturating_add(AGAIN_AFTER_MS) <= around.now_ms;
        is_whole && run.touched.overlaps(times) && (again || around.effort == Effort::Everything)
    };
    around.rules.rules().iter().map(|rule| rule.resolution_ms).filter(|ms| is_due(*ms)).collect()
}

/// True if samples of a segment are not in roll-ups yet as they are now.
pub(crate) fn is_pending(manifest: &Manifest, rules: &RollupRules, entry: &SegmentEntry, now_ms: i64) -> bool {
    let days = rolled_day_of(entry.times.start_ms)..=rolled_day_of(entry.times.end_ms);
    rules.rules().iter().any(|rule| {
        let of_rule = |run: &&RollupEntry| run.resolution_ms == rule.resolution_ms;
        let oldest_ms = rules.oldest_ms(rule.resolution_ms, now_ms);
        days.clone().map(times_of_day).filter(|times| times.end_ms >= oldest_ms).any(|times| {
            let mut runs = manifest.rollups.runs.iter().filter(of_rule);
            !runs.any(|run| run.ranges.covers(times) && !run.touched.overlaps(times))
        })
    })
}

/// The period of a day, for a resolution.
fn period_of(day: i64, resolution_ms: i64) -> i64 {
    day.div_euclid((PERIOD_BUCKETS * resolution_ms / DAY_MS).max(1))
}

/// Runs of one period that are to be one.
fn merge(manifest: &Manifest, around: Circumstances<'_>) -> Option<RollupJob> {
    let mut periods: BTreeMap<(i64, i64), Vec<&RollupEntry>> = BTreeMap::new();
    for run in &manifest.rollups.runs {
        let Some(span) = run.ranges.span() else { continue };
        let period = period_of(rolled_day_of(span.end_ms), run.resolution_ms);
        periods.entry((run.resolution_ms, period)).or_default().push(run);
    }
    for ((resolution_ms, period), mut runs) in periods {
        runs.sort_by_key(|run| run.ranges.span().map(|span| span.start_ms));
        let today = rolled_day_of(around.now_ms.saturating_sub(around.settled_after_ms));
        let is_over = period < period_of(today.saturating_sub(1), resolution_ms);
        let all = runs.len() > 1 && (is_over || around.effort == Effort::Everything);
        let tier = if all { Some(runs.as_slice()) } else { tier_of(&runs) };
        if let Some(tier) = tier.filter(|tier| !is_divided(manifest, tier)) {
            return Some(RollupJob::Merge { runs: tier.iter().map(|run| (*run).clone()).collect() });
        }
    }
    None
}

/// The longest row of neighbours in which none is more than half.
fn tier_of<'a, 'b>(runs: &'b [&'a RollupEntry]) -> Option<&'b [&'a RollupEntry]> {
    let samples = |run: &&RollupEntry| run.segment.samples;
    let is_like = |row: &&[&RollupEntry]| {
        let total: u64 = row.iter().map(samples).sum();
        row.iter().map(samples).max().unwrap_or_default() <= total / 2
    };
    (TIER_WIDTH..=runs.len()).rev().flat_map(|width| runs.windows(width)).find(is_like)
}

/// True if a delete hides what is in some of these and not what is in others. One that is final counts as well: its purge
/// may wait for a segment that cannot be read.
fn is_divided(manifest: &Manifest, runs: &[&RollupEntry]) -> bool {
    manifest.deletes.iter().any(|delete| {
        let covered = |run: &&RollupEntry| run.is_covered_by(delete);
        runs.iter().any(covered) && !runs.iter().all(covered)
    })
}
