//! What runs of samples amount to, so that questions about long ranges need not look at each sample.
//!
//! A source that knows something about whole runs (statistics of blocks, pre-aggregated buckets of a fixed resolution)
//! gives [`Summary`]s in place of the samples; [`crate::SeriesSet::pieces`] is the seam. The asker says what it [`Want`]s
//! to know of a run and where its windows begin and end ([`Cuts`]), as a run must lie in a window as a whole.

use crate::sample::{Sample, SampleColumns};
use crate::time::{Steps, TimeRange};

/// What must be known of each run of samples; their count always is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want(u8);

impl Want {
    /// The number of samples; values need not be read.
    pub const COUNT: Want = Want(0);
    /// Times of the first and the last sample.
    pub const END_TIMES: Want = Want(1);
    /// Values of the first and the last sample.
    pub const END_VALUES: Want = Want(1 << 1);
    /// The smallest and the largest value.
    pub const EXTREMES: Want = Want(1 << 2);
    /// The sum.
    pub const SUM: Want = Want(1 << 3);
    /// Resets and what they took.
    pub const RESETS: Want = Want(1 << 4);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Want) -> Want {
        Want(self.0 | other.0)
    }

    /// True if all of `other` is wanted.
    pub const fn has(self, other: Want) -> bool {
        self.0 & other.0 == other.0
    }

    /// True if values matter, not only times and that samples are no staleness markers.
    pub const fn needs_values(self) -> bool {
        self.0 & !Want::END_TIMES.0 != 0
    }
}

/// What consecutive float samples of one series amount to, staleness markers left out.
///
/// Only the fields that were [`Want`]ed say something, beside `range` and `count`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// All samples of the run lie in it, and no other sample of the series does.
    pub range: TimeRange,
    /// Number of samples, at least 1.
    pub count: u64,
    /// The first sample; its time and its value are wanted separately.
    pub first: Sample,
    /// The last sample; its time and its value are wanted separately.
    pub last: Sample,
    /// Smallest value, the first of equals; NaN only if there is no other.
    pub min: f64,
    /// Largest value, the first of equals; NaN only if there is no other.
    pub max: f64,
    /// Sum of the values; the exact sum is about this plus the compensation.
    pub sum: f64,
    /// What rounding took from the sum.
    pub compensation: f64,
    /// How often a value was less than the one before it.
    pub resets: u64,
    /// Sum of the values before resets: what an increase must add to `last - first`.
    pub reset_sum: f64,
}

impl Summary {
    /// The summary of nothing but a number of samples in a range.
    pub fn of_count(range: TimeRange, count: u64) -> Self {
        let first = Sample { timestamp_ms: range.start_ms, value: 0.0 };
        let last = Sample { timestamp_ms: range.end_ms, value: 0.0 };
        let (min, max, sum, compensation, reset_sum) = (0.0, 0.0, 0.0, 0.0, 0.0);
        Summary { range, count, first, last, min, max, sum, compensation, resets: 0, reset_sum }
    }
}

/// The times after which windows begin and after which they end: a cut at `t` parts samples up to `t` from later ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cuts {
    /// After these times windows begin.
    pub starts: Steps,
    /// After these times windows end.
    pub ends: Steps,
}

impl Cuts {
    /// No cut at all.
    pub const NONE: Cuts = Cuts { starts: NO_STEPS, ends: NO_STEPS };

    /// True if a cut parts two milliseconds of the range.
    pub fn split(&self, range: TimeRange) -> bool {
        parts(&self.starts, range) || parts(&self.ends, range)
    }
}

const NO_STEPS: Steps = Steps { start_ms: 1, end_ms: 0, step_ms: 1 };

/// True if one of the times lies in the range and is not its last millisecond.
fn parts(times: &Steps, range: TimeRange) -> bool {
    // Times of this era leave room for all sums; the others take the long way.
    const SMALL: i64 = i64::MAX / 8;
    let is_small = |ms: i64| (-SMALL..SMALL).contains(&ms);
    let (first, step, start) = (times.start_ms, times.step_ms.max(1), range.start_ms);
    if is_small(first) && is_small(step) && is_small(start) {
        let after = start.max(first) - first + step - 1;
        let time = first + (after.cast_unsigned() / step.cast_unsigned()).cast_signed() * step;
        return time < range.end_ms && time <= times.end_ms;
    }
    let (first, step) = (i128::from(first), i128::from(step));
    let start = i128::from(start).max(first);
    // The first of the times that is not before the range.
    let time = first + (start - first + step - 1).div_euclid(step) * step;
    time < i128::from(range.end_ms) && time <= i128::from(times.end_ms)
}

/// A series' samples in a range: some as they are, some as summaries.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pieces {
    /// The samples that are given as they are. Where values are not wanted they may be 0, but markers are markers.
    pub samples: SampleColumns,
    /// In order of time; no sample of the series lies in the range of a summary.
    pub summaries: Vec<Summary>,
    /// True if there is a bucket of a roll-up that is split and stands whole at the time of its last sample, because
    /// there is nothing finer: what is made of it is near the truth and not exact.
    pub has_split_buckets: bool,
}

/// Where buckets of a roll-up stand for samples that are not kept any more: of each the last sample is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coarse {
    /// Up to this time, back to that of the coarser one before it.
    pub until_ms: i64,
    /// Length of the buckets.
    pub resolution_ms: i64,
}

impl Pieces {
    /// Forgets everything but keeps the memory.
    pub fn clear(&mut self) {
        self.samples.clear();
        self.summaries.clear();
        self.has_split_buckets = false;
    }

    /// True if there is nothing.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty() && self.summaries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn wants_add_up() {
        let both = Want::SUM.and(Want::EXTREMES);
        assert!(both.has(Want::SUM) && both.has(Want::COUNT) && !both.has(Want::RESETS));
        assert!(both.needs_values() && !Want::END_TIMES.needs_values() && !Want::COUNT.needs_values());
    }

    #[test]
    fn no_cuts_split_nothing() {
        assert!(!Cuts::NONE.split(TimeRange::ALL));
        let far = Steps { start_ms: i64::MIN, end_ms: i64::MAX, step_ms: i64::MAX };
        assert!(Cuts { starts: far, ends: NO_STEPS }.split(TimeRange::ALL));
    }

    proptest! {
        #[test]
        fn splitting_is_having_a_cut_inside(
            start in -50_i64..50, len in -5_i64..80, step in 1_i64..30, shift in -40_i64..40,
            low in -80_i64..120, span in 0_i64..60,
        ) {
            let ends = Steps { start_ms: start, end_ms: start + len, step_ms: step };
            let starts = Steps { start_ms: start - shift, end_ms: start + len - shift, ..ends };
            let range = TimeRange { start_ms: low, end_ms: low + span };
            let cut = |t: i64| range.start_ms <= t && t < range.end_ms;
            let want = starts.iter().chain(ends.iter()).any(cut);
            prop_assert_eq!(Cuts { starts, ends }.split(range), want);
        }
    }
}
