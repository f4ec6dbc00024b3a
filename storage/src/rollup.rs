//! Roll-ups: what stays of series in buckets of fixed lengths when their samples are gone, and what answers questions
//! about long ranges before that.
//!
//! A bucket of a resolution `r` is what the float samples of one series in `(k·r−r, k·r]` amount to, as PromQL's ranges
//! are open on the left: count, first and last sample, smallest and largest value, sum, resets and what they took (so
//! the increase within the bucket is `last − first + reset_sum`), and the staleness marker that ended it, if one did.
//!
//! A *day* of roll-ups is what lies after midnight up to and with the next midnight (UTC): whole buckets of every
//! resolution. Days are built from the samples once they are closed, all resolutions in one pass; a *run* is a file of
//! some days of one resolution (`segment/buckets.rs`), and runs of one period are merged in tiers. The manifest says
//! which ranges of a run count, and which are *touched*: samples came or went since, so the samples answer as long as
//! they are kept, until the day is built anew.
//!
//! What must hold: where samples are kept, a bucket only ever stands for all of its samples, so answers are those of the
//! samples; where they are not kept, the buckets are all there is, and `snapshot/rolled.rs` says what they stand for.

pub(crate) mod bucket;
pub(crate) mod build;
pub(crate) mod entry;
pub(crate) mod plan;
pub(crate) mod ranges;
mod retention;
mod rules;

pub use rules::{RollupRule, RollupRules, RollupRulesError};

use model::TimeRange;

use crate::db::prepared::DAY_MS;

/// The day of roll-ups that a time belongs to; its number is that of the UTC day it is after.
pub(crate) fn rolled_day_of(timestamp_ms: i64) -> i64 {
    timestamp_ms.saturating_sub(1).div_euclid(DAY_MS)
}

/// The times of a day of roll-ups.
pub(crate) fn times_of_day(day: i64) -> TimeRange {
    // The first day of all begins with time itself.
    let start_ms = day.checked_mul(DAY_MS).map_or(i64::MIN, |midnight| midnight + 1);
    TimeRange { start_ms, end_ms: day.saturating_add(1).saturating_mul(DAY_MS) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_of_its_day() {
        for ms in [i64::MIN, i64::MIN + 1, -1, 0, 1, DAY_MS, i64::MAX] {
            assert!(times_of_day(rolled_day_of(ms)).contains(ms), "{ms}");
        }
        assert_eq!(times_of_day(0), TimeRange { start_ms: 1, end_ms: DAY_MS });
        assert_eq!((rolled_day_of(0), rolled_day_of(DAY_MS)), (-1, 0));
    }
}
