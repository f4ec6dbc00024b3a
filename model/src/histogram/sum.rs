//! Compensated sums and means of histograms.
//!
//! Every number of the histogram is a compensated sum of its own, so that adding many histograms loses no more than
//! adding as many floats.

use std::mem;

use super::arithmetic::{Incompatible, Joined, coarser_index, common_bounds, join_hints, place_in};
use super::{Buckets, Histogram, ResetHint, bucket_bound};
use crate::kahan::KahanSum;

/// Buckets of one side by rising index.
type Side = Vec<(i32, KahanSum)>;

/// The sum of some histograms.
#[derive(Debug, Clone)]
pub struct HistogramSum {
    schema: i32,
    zero_threshold: f64,
    zero_count: KahanSum,
    count: KahanSum,
    sum: KahanSum,
    positive: Side,
    negative: Side,
    custom_bounds: Vec<f64>,
    reset_hint: ResetHint,
}

fn side_of(buckets: &Buckets) -> Side {
    buckets.indexed().map(|(index, count)| (index, KahanSum::of(count))).collect()
}

impl HistogramSum {
    /// A sum of one histogram.
    pub fn of(histogram: &Histogram) -> Self {
        HistogramSum {
            schema: histogram.schema,
            zero_threshold: histogram.zero_threshold,
            zero_count: KahanSum::of(histogram.zero_count),
            count: KahanSum::of(histogram.count),
            sum: KahanSum::of(histogram.sum),
            positive: side_of(&histogram.positive),
            negative: side_of(&histogram.negative),
            custom_bounds: histogram.custom_bounds.clone(),
            reset_hint: histogram.reset_hint,
        }
    }

    /// Adds a histogram.
    ///
    /// # Errors
    /// [`Incompatible`] if only one of the two has custom bounds; the sum is as it was.
    pub fn add(&mut self, histogram: &Histogram) -> Result<Joined, Incompatible> {
        self.join(HistogramSum::of(histogram))
    }

    /// Takes a histogram away.
    ///
    /// # Errors
    /// As [`HistogramSum::add`].
    pub fn subtract(&mut self, histogram: &Histogram) -> Result<Joined, Incompatible> {
        let mut other = HistogramSum::of(histogram);
        other.each(|number| *number = number.times(-1.0));
        self.join(other)
    }

    /// Adds another sum.
    ///
    /// # Errors
    /// As [`HistogramSum::add`].
    pub fn join(&mut self, mut other: HistogramSum) -> Result<Joined, Incompatible> {
        let custom = |schema| schema == super::CUSTOM_BOUNDS_SCHEMA;
        if custom(self.schema) != custom(other.schema) {
            return Err(Incompatible);
        }
        let mut joined = Joined::default();
        (self.reset_hint, joined.resets_collide) = join_hints(self.reset_hint, other.reset_hint);
        if custom(self.schema) {
            if self.custom_bounds != other.custom_bounds {
                joined.bounds_reconciled = true;
                let bounds = common_bounds(&self.custom_bounds, &other.custom_bounds);
                self.map_to(&bounds);
                other.map_to(&bounds);
            }
        } else {
            let schema = self.schema.min(other.schema);
            self.reconcile_zero(&mut other);
            self.coarsen(schema);
            other.coarsen(schema);
        }
        self.zero_count = self.zero_count.join(other.zero_count);
        self.count = self.count.join(other.count);
        self.sum = self.sum.join(other.sum);
        merge(&mut self.positive, other.positive);
        merge(&mut self.negative, other.negative);
        Ok(joined)
    }

    fn each(&mut self, mut change: impl FnMut(&mut KahanSum)) {
        [&mut self.zero_count, &mut self.count, &mut self.sum].into_iter().for_each(&mut change);
        self.positive.iter_mut().chain(&mut self.negative).for_each(|(_, number)| change(number));
    }

    /// True if a number is infinite.
    pub fn overflows(&self) -> bool {
        let sides = self.positive.iter().chain(&self.negative).map(|(_, number)| *number);
        [self.zero_count, self.count, self.sum].into_iter().chain(sides).any(|number| number.sum.is_infinite())
    }

    /// Divides everything.
    pub fn divide(&mut self, divisor: f64) {
        self.each(|number| *number = number.over(divisor));
    }

    /// Multiplies everything.
    pub fn multiply(&mut self, factor: f64) {
        self.each(|number| *number = number.times(factor));
    }

    /// Says what the result is known to be about resets.
    pub fn set_hint(&mut self, hint: ResetHint) {
        self.reset_hint = hint;
    }

    /// The sum as a histogram without empty buckets.
    pub fn finish(&self) -> Histogram {
        self.as_histogram(KahanSum::total)
    }

    fn as_histogram(&self, value: fn(KahanSum) -> f64) -> Histogram {
        let side = |side: &Side| {
            let values = side.iter().map(|(index, number)| (*index, value(*number)));
            Buckets::from_indexed(values.filter(|(_, count)| *count != 0.0))
        };
        Histogram {
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: value(self.zero_count),
            count: value(self.count),
            sum: value(self.sum),
            positive: side(&self.positive),
            negative: side(&self.negative),
            custom_bounds: self.custom_bounds.clone(),
            reset_hint: self.reset_hint,
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        (self.positive.capacity() + self.negative.capacity()) * size_of::<(i32, KahanSum)>()
            + self.custom_bounds.capacity() * size_of::<f64>()
    }

    /// Makes exponential buckets coarser.
    fn coarsen(&mut self, schema: i32) {
        if self.schema > schema {
            let from = mem::replace(&mut self.schema, schema);
            let index = |index| coarser_index(index, from, schema);
            regroup(&mut self.positive, index);
            regroup(&mut self.negative, index);
        }
    }

    /// Puts buckets with custom bounds into those of some of the bounds.
    fn map_to(&mut self, bounds: &[f64]) {
        let own = mem::replace(&mut self.custom_bounds, bounds.to_vec());
        regroup(&mut self.positive, |index| place_in(bounds, &own, index));
    }

    /// Widens the zero buckets of both until they are the same.
    fn reconcile_zero(&mut self, other: &mut HistogramSum) {
        while self.zero_threshold != other.zero_threshold {
            let widest = self.zero_threshold.max(other.zero_threshold);
            let narrow = if self.zero_threshold < other.zero_threshold { &mut *self } else { &mut *other };
            if narrow.zero_threshold.is_nan() || narrow.zero_threshold >= widest {
                // Thresholds that cannot be compared: nothing can be widened.
                return;
            }
            narrow.widen_zero(widest);
        }
    }

    /// Widens the zero bucket to a threshold at least; further, where that lies inside a bucket with observations.
    fn widen_zero(&mut self, least: f64) {
        let bound = |index| bucket_bound(self.schema, &[], index);
        let mut threshold = least;
        loop {
            let sides = self.positive.iter().chain(&self.negative);
            let cut = sides
                .filter(|(_, count)| count.sum != 0.0)
                .map(|(index, _)| (bound(index.saturating_sub(1)), bound(*index)))
                .find(|(lower, upper)| *lower < threshold && threshold < *upper);
            match cut {
                Some((_, upper)) => threshold = upper,
                None => break,
            }
        }
        for side in [&mut self.positive, &mut self.negative] {
            let covered = side.partition_point(|(index, _)| bound(index.saturating_sub(1)) < threshold);
            for (_, count) in side.drain(..covered) {
                self.zero_count = self.zero_count.join(count);
            }
        }
        self.zero_threshold = threshold;
    }
}

/// Moves buckets to other places, which rise with the old ones; what meets is added.
fn regroup(side: &mut Side, place: impl Fn(i32) -> i32) {
    side.iter_mut().for_each(|(index, _)| *index = place(*index));
    side.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        if same {
            earlier.1 = earlier.1.join(later.1);
        }
        same
    });
}

/// Adds buckets to those of a side.
fn merge(side: &mut Side, other: Side) {
    let same_places = side.len() == other.len() && side.iter().zip(&other).all(|(a, b)| a.0 == b.0);
    if same_places {
        side.iter_mut().zip(other).for_each(|((_, number), (_, more))| *number = number.join(more));
        return;
    }
    let mut merged = Side::with_capacity(side.len() + other.len());
    let (mut left, mut right) = (mem::take(side).into_iter().peekable(), other.into_iter().peekable());
    loop {
        let (a, b) = (left.peek().map(|(index, _)| *index), right.peek().map(|(index, _)| *index));
        let next = match (a, b) {
            (None, None) => break,
            (Some(a), Some(b)) if a == b => left.next().zip(right.next()).map(|((i, a), (_, b))| (i, a.join(b))),
            (Some(a), Some(b)) if a > b => right.next(),
            (None, Some(_)) => right.next(),
            (Some(_), _) => left.next(),
        };
        merged.extend(next);
    }
    *side = merged;
}

/// The mean of some histograms: a sum as long as that is finite, tracked incrementally once it would overflow.
#[derive(Debug, Clone)]
pub struct HistogramMean {
    state: HistogramSum,
    count: f64,
    is_incremental: bool,
}

impl HistogramMean {
    /// The mean of one histogram.
    pub fn of(histogram: &Histogram) -> Self {
        HistogramMean { state: HistogramSum::of(histogram), count: 1.0, is_incremental: false }
    }

    /// Adds a histogram.
    ///
    /// # Errors
    /// [`Incompatible`] if only one of the two has custom bounds.
    pub fn push(&mut self, histogram: &Histogram) -> Result<Joined, Incompatible> {
        self.join(HistogramMean::of(histogram))
    }

    /// Adds the histograms of another mean.
    ///
    /// # Errors
    /// As [`HistogramMean::push`].
    pub fn join(&mut self, mut other: HistogramMean) -> Result<Joined, Incompatible> {
        let count = self.count + other.count;
        if !self.is_incremental && !other.is_incremental {
            let mut next = self.state.clone();
            let joined = next.join(other.state.clone())?;
            if !next.overflows() {
                (self.state, self.count) = (next, count);
                return Ok(joined);
            }
        }
        self.become_share_of(count);
        other.become_share_of(count);
        self.count = count;
        self.state.join(other.state)
    }

    /// Turns the sum or mean into what it adds to the mean of `count` histograms.
    fn become_share_of(&mut self, count: f64) {
        if !self.is_incremental {
            self.is_incremental = true;
            if self.count == 1.0 {
                return self.state.divide(count);
            }
            self.state.divide(self.count);
        }
        self.state.multiply(self.count / count);
    }

    /// The mean as a histogram without empty buckets.
    pub fn finish(&self) -> Histogram {
        if self.is_incremental {
            return self.state.finish();
        }
        let mut mean = self.state.clone();
        mean.divide(self.count);
        mean.finish()
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.state.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::CUSTOM_BOUNDS_SCHEMA;

    fn counts(positive: &[(i32, f64)]) -> Histogram {
        let count = positive.iter().map(|(_, count)| count).sum();
        Histogram { count, sum: count, positive: Buckets::from_indexed(positive.to_vec()), ..Histogram::default() }
    }

    fn added(histograms: &[Histogram]) -> Histogram {
        let mut sum = HistogramSum::of(&histograms[0]);
        histograms[1..].iter().for_each(|h| {
            sum.add(h).unwrap();
        });
        sum.finish()
    }

    #[test]
    fn sums_keep_small_terms() {
        let of = |sum| Histogram { sum, ..counts(&[(1, sum), (4, 1.0)]) };
        let all = added(&[of(1.0), of(1e100), of(1.0), of(-1e100)]);
        assert_eq!((all.sum, all.positive), (2.0, Buckets::from_indexed([(1, 2.0), (4, 4.0)])));
    }

    #[test]
    fn the_coarser_schema_wins() {
        let fine = Histogram { schema: 1, ..counts(&[(-1, 1.0), (0, 1.0), (1, 2.0), (2, 3.0), (3, 4.0)]) };
        let coarse = counts(&[(1, 10.0)]);
        let want = [(0, 2.0), (1, 15.0), (2, 4.0)];
        for (a, b) in [(&fine, &coarse), (&coarse, &fine)] {
            let all = added(&[a.clone(), b.clone()]);
            assert_eq!((all.schema, all.positive), (0, Buckets::from_indexed(want)));
        }
    }

    #[test]
    fn zero_buckets_grow_to_a_bound_of_a_bucket() {
        let narrow = Histogram { zero_threshold: 0.1, zero_count: 1.0, ..counts(&[(-3, 0.0), (0, 2.0), (1, 3.0)]) };
        let wide = Histogram { zero_threshold: 0.6, zero_count: 5.0, ..counts(&[(1, 1.0)]) };
        for (a, b) in [(&narrow, &wide), (&wide, &narrow)] {
            let all = added(&[a.clone(), b.clone()]);
            assert_eq!((all.zero_threshold, all.zero_count), (1.0, 8.0));
            assert_eq!(all.positive, Buckets::from_indexed([(1, 4.0)]));
        }
    }

    #[test]
    fn custom_bounds_are_reconciled_to_the_common_ones() {
        let custom = |bounds: &[f64], buckets: &[(i32, f64)]| Histogram {
            schema: CUSTOM_BOUNDS_SCHEMA,
            custom_bounds: bounds.to_vec(),
            ..counts(buckets)
        };
        let mut sum = HistogramSum::of(&custom(&[2.0, 5.0, 10.0], &[(0, 1.0), (1, 2.0), (3, 4.0)]));
        let joined = sum.add(&custom(&[5.0, 7.0], &[(0, 10.0), (1, 20.0), (2, 40.0)])).unwrap();
        assert!(joined.bounds_reconciled);
        let all = sum.finish();
        assert_eq!((all.custom_bounds, all.count), (vec![5.0], 77.0));
        assert_eq!(all.positive, Buckets::from_indexed([(0, 13.0), (1, 64.0)]));
        assert!(sum.add(&counts(&[(0, 1.0)])).is_err(), "exponential buckets do not fit");
    }

    #[test]
    fn means_do_not_overflow() {
        let big = Histogram { count: f64::MAX, sum: 1.0, ..Histogram::default() };
        let mut mean = HistogramMean::of(&big);
        mean.push(&big).unwrap();
        mean.push(&big).unwrap();
        let mean = mean.finish();
        assert!((mean.count / f64::MAX - 1.0).abs() < 1e-12 && (mean.sum - 1.0).abs() < 1e-12);
    }
}
