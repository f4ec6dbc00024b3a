//! Counter resets between two histograms.

use super::arithmetic::{coarser_index, common_bounds, place_in};
use super::{Buckets, Histogram, ResetHint, bucket_bound};

impl Histogram {
    /// True if a counter started again between `before` and this sample: a hint says so, or a count fell, or the
    /// buckets changed in a way that only a restart explains (finer buckets, a narrower zero bucket).
    ///
    /// Buckets that became coarser, a zero bucket that grew and other custom bounds are looked through.
    pub fn is_reset_after(&self, before: &Histogram) -> bool {
        match self.reset_hint {
            ResetHint::Reset => return true,
            ResetHint::NoReset => return false,
            ResetHint::Unknown | ResetHint::Gauge => {}
        }
        if self.count < before.count
            || self.has_custom_bounds() != before.has_custom_bounds()
            || self.schema > before.schema
            || self.zero_threshold < before.zero_threshold
        {
            return true;
        }
        if self.has_custom_bounds() {
            return self.custom_bucket_fell(before);
        }
        let Some(zero_before) = before.zero_count_up_to(self.zero_threshold) else { return true };
        self.zero_count < zero_before
            || self.bucket_fell(&self.positive, &before.positive, before.schema)
            || self.bucket_fell(&self.negative, &before.negative, before.schema)
    }

    /// What the zero bucket would hold with a wider threshold; none if that lies inside a bucket with observations.
    fn zero_count_up_to(&self, threshold: f64) -> Option<f64> {
        let mut count = self.zero_count;
        if threshold == self.zero_threshold {
            return Some(count);
        }
        for side in [&self.positive, &self.negative] {
            for (index, more) in side.indexed().filter(|(_, count)| *count != 0.0) {
                if self.bound(index.saturating_sub(1)) >= threshold {
                    break;
                }
                if self.bound(index) > threshold {
                    return None;
                }
                count += more;
            }
        }
        Some(count)
    }

    /// True if a bucket beyond the zero bucket has fewer observations than before, or is gone.
    fn bucket_fell(&self, now: &Buckets, before: &Buckets, schema_before: i32) -> bool {
        let beyond_zero = |(index, _): &(i32, f64)| bucket_bound(self.schema, &[], *index) > self.zero_threshold;
        let mut merged: Vec<(i32, f64)> = Vec::with_capacity(before.counts.len());
        for (index, count) in before.indexed() {
            add_last(&mut merged, coarser_index(index, schema_before, self.schema), count);
        }
        any_fell(now.indexed().filter(beyond_zero), merged.into_iter().filter(beyond_zero))
    }

    fn custom_bucket_fell(&self, before: &Histogram) -> bool {
        if self.custom_bounds == before.custom_bounds {
            return any_fell(self.positive.indexed(), before.positive.indexed());
        }
        let common = common_bounds(&self.custom_bounds, &before.custom_bounds);
        let map = |histogram: &Histogram| {
            let mut merged = Vec::with_capacity(histogram.positive.counts.len());
            for (index, count) in histogram.positive.indexed() {
                add_last(&mut merged, place_in(&common, &histogram.custom_bounds, index), count);
            }
            merged
        };
        any_fell(map(self).into_iter(), map(before).into_iter())
    }
}

/// Adds a count to the last bucket if it is that of the index, else as a new one.
fn add_last(merged: &mut Vec<(i32, f64)>, index: i32, count: f64) {
    match merged.last_mut() {
        Some((last, sum)) if *last == index => *sum += count,
        _ => merged.push((index, count)),
    }
}

/// True if a bucket of `before` has fewer observations now; buckets that are not there count as empty.
fn any_fell(now: impl Iterator<Item = (i32, f64)>, mut before: impl Iterator<Item = (i32, f64)>) -> bool {
    let mut now = now.peekable();
    before.any(|(index, count)| {
        while now.next_if(|(other, _)| *other < index).is_some() {}
        match now.next_if(|(other, _)| *other == index) {
            Some((_, count_now)) => count_now < count,
            None => count != 0.0,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::CUSTOM_BOUNDS_SCHEMA;

    fn of(buckets: &[(i32, f64)]) -> Histogram {
        let count = buckets.iter().map(|(_, count)| count).sum();
        Histogram { count, positive: Buckets::from_indexed(buckets.to_vec()), ..Histogram::default() }
    }

    #[test]
    fn a_fall_of_any_count_is_a_reset() {
        let before = of(&[(0, 1.0), (1, 2.0), (5, 0.0)]);
        for (now, want) in [
            (of(&[(0, 1.0), (1, 2.0)]), false),
            (of(&[(0, 1.0), (1, 3.0), (9, 1.0)]), false),
            (of(&[(0, 0.0), (1, 9.0)]), true),
            (of(&[(1, 9.0)]), true),
            (Histogram { count: 2.0, ..of(&[(0, 1.0), (1, 2.0)]) }, true),
            (Histogram { zero_count: 1.0, ..of(&[(0, 1.0), (1, 2.0)]) }, false),
            (Histogram { schema: 1, ..of(&[(0, 9.0), (1, 9.0), (2, 9.0)]) }, true),
            (Histogram { reset_hint: ResetHint::Reset, ..of(&[(0, 9.0), (1, 9.0)]) }, true),
            (Histogram { reset_hint: ResetHint::NoReset, ..of(&[]) }, false),
        ] {
            assert_eq!(now.is_reset_after(&before), want, "{now:?}");
        }
    }

    #[test]
    fn coarser_buckets_are_no_reset_by_themselves() {
        let before = Histogram { schema: 1, ..of(&[(1, 1.0), (2, 2.0), (3, 4.0)]) };
        assert!(!of(&[(1, 3.0), (2, 4.0)]).is_reset_after(&before));
        assert!(of(&[(1, 2.0), (2, 9.0)]).is_reset_after(&before));
    }

    #[test]
    fn a_zero_bucket_may_grow_over_whole_buckets() {
        let before = Histogram { zero_count: 1.0, zero_threshold: 0.25, ..of(&[(0, 2.0), (1, 3.0)]) };
        let now = |zero_threshold, zero_count, buckets: &[(i32, f64)]| Histogram {
            zero_threshold,
            zero_count,
            count: 9.0,
            ..of(buckets)
        };
        assert!(!now(1.0, 3.0, &[(1, 3.0)]).is_reset_after(&before));
        assert!(now(1.0, 2.0, &[(1, 3.0)]).is_reset_after(&before));
        assert!(now(0.75, 3.0, &[(1, 3.0)]).is_reset_after(&before), "inside a bucket");
        assert!(now(0.1, 1.0, &[(0, 2.0), (1, 3.0)]).is_reset_after(&before), "narrower");
    }

    #[test]
    fn other_custom_bounds_are_looked_through() {
        let custom = |bounds: &[f64], buckets: &[(i32, f64)]| Histogram {
            schema: CUSTOM_BOUNDS_SCHEMA,
            custom_bounds: bounds.to_vec(),
            ..of(buckets)
        };
        let before = custom(&[1.0, 5.0], &[(0, 1.0), (1, 2.0), (2, 3.0)]);
        assert!(!custom(&[5.0, 10.0], &[(0, 3.0), (1, 2.0), (2, 2.0)]).is_reset_after(&before));
        assert!(custom(&[5.0, 10.0], &[(0, 2.0), (1, 9.0)]).is_reset_after(&before));
        assert!(of(&[(0, 9.0)]).is_reset_after(&before), "other kind of buckets");
    }
}
