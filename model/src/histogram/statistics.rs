//! What a histogram says about its observations: quantiles, fractions, mean and variance.
//!
//! Observations are taken to be spread evenly inside a bucket: on a logarithmic scale in exponential buckets, on a
//! linear one in the zero bucket and with custom bounds. As Prometheus's `promql/quantile.go`.

use super::{Bucket, Histogram};
use crate::kahan::KahanSum;

/// What NaN observations do to a quantile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuantileNote {
    /// The quantile lies among them.
    IsNan,
    /// It is higher than it would be without them.
    IsSkewed,
}

/// A fraction leaves NaN observations out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatisticNote;

impl Histogram {
    /// The φ-quantile. With NaN observations (which make the sum NaN) there can be a note.
    pub fn quantile(&self, phi: f64) -> (f64, Option<QuantileNote>) {
        if phi < 0.0 {
            return (f64::NEG_INFINITY, None);
        }
        if phi > 1.0 {
            return (f64::INFINITY, None);
        }
        if self.count == 0.0 || phi.is_nan() {
            return (f64::NAN, None);
        }
        // NaN observations are counted but in no bucket, so ranks must be counted from below.
        let forward = self.sum.is_nan() || phi < 0.5;
        let rank = if forward { phi * self.count } else { (1.0 - phi) * self.count };
        let mut buckets = self.all_buckets();
        if !forward {
            buckets.reverse();
        }
        let mut count = 0.0;
        let mut found = Bucket { lower: 0.0, upper: 0.0, has_lower: true, has_upper: true, count: 0.0 };
        for bucket in buckets.into_iter().filter(|bucket| bucket.count != 0.0) {
            found = bucket;
            count += bucket.count;
            if count >= rank {
                break;
            }
        }
        if self.has_custom_bounds() {
            if found.lower == f64::NEG_INFINITY {
                if found.upper <= 0.0 {
                    return (found.upper, None);
                }
                found.lower = 0.0;
            } else if found.upper == f64::INFINITY {
                return (found.lower, None);
            }
        } else {
            self.take_side(&mut found);
        }
        // Rounding can make the buckets hold more than there is.
        count = count.min(self.count);
        if count < rank {
            let is_nan = self.sum.is_nan();
            return if is_nan { (f64::NAN, Some(QuantileNote::IsNan)) } else { (found.upper, None) };
        }
        let inside = if forward { rank - (count - found.count) } else { count - rank };
        (self.interpolate(&found, inside / found.count), self.skew())
    }

    /// A note if there are observations that are in no bucket.
    fn skew(&self) -> Option<QuantileNote> {
        if !self.sum.is_nan() {
            return None;
        }
        let held: f64 = self.all_buckets().iter().map(|bucket| bucket.count).sum();
        (held < self.count).then_some(QuantileNote::IsSkewed)
    }

    /// If there are buckets on one side of zero only, the zero bucket is taken to lie on that side.
    fn take_side(&self, bucket: &mut Bucket) {
        if bucket.lower < 0.0 && bucket.upper > 0.0 {
            match (self.negative.counts.is_empty(), self.positive.counts.is_empty()) {
                (true, false) => bucket.lower = 0.0,
                (false, true) => bucket.upper = 0.0,
                _ => {}
            }
        }
    }

    fn interpolate(&self, bucket: &Bucket, share: f64) -> f64 {
        if self.has_custom_bounds() || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
            return bucket.lower + (bucket.upper - bucket.lower) * share;
        }
        let (low, high) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
        if bucket.lower > 0.0 {
            (low + (high - low) * share).exp2()
        } else {
            -(high + (low - high) * (1.0 - share)).exp2()
        }
    }

    /// The share of observations between two values. With NaN observations there is a note.
    pub fn fraction(&self, lower: f64, upper: f64) -> (f64, Option<StatisticNote>) {
        if self.count == 0.0 || lower.is_nan() || upper.is_nan() {
            return (f64::NAN, None);
        }
        if lower >= upper {
            return (0.0, None);
        }
        let buckets = self.all_buckets();
        let held: f64 = buckets.iter().map(|bucket| bucket.count).sum();
        let note = (self.sum.is_nan() && held < self.count).then_some(StatisticNote);
        let [lower, upper] = [lower, upper].map(|value| self.rank_of(value, &buckets).min(self.count));
        ((upper - lower) / self.count, note)
    }

    /// Observations up to `value`.
    fn rank_of(&self, value: f64, buckets: &[Bucket]) -> f64 {
        let mut rank = 0.0;
        for bucket in buckets {
            let mut bucket = *bucket;
            if self.has_custom_bounds() {
                if bucket.lower == f64::NEG_INFINITY && bucket.upper > 0.0 {
                    bucket.lower = 0.0;
                }
            } else {
                self.take_side(&mut bucket);
            }
            if bucket.lower >= value {
                return rank;
            }
            if bucket.upper > value {
                return rank + bucket.count * self.share_below(&bucket, value);
            }
            rank += bucket.count;
        }
        // Observations in no bucket are NaN: below nothing.
        if self.sum.is_nan() { rank } else { self.count }
    }

    /// The share of the bucket's observations that lie below a value inside it.
    fn share_below(&self, bucket: &Bucket, value: f64) -> f64 {
        let is_zero = bucket.lower <= 0.0 && bucket.upper >= 0.0;
        if self.has_custom_bounds() || is_zero {
            return if bucket.lower == f64::NEG_INFINITY {
                1.0
            } else {
                (value - bucket.lower) / (bucket.upper - bucket.lower)
            };
        }
        let (low, high, at) = (bucket.lower.abs().log2(), bucket.upper.abs().log2(), value.abs().log2());
        if value > 0.0 { (at - low) / (high - low) } else { 1.0 - (at - high) / (low - high) }
    }

    /// The mean of all observations.
    pub fn mean(&self) -> f64 {
        self.sum / self.count
    }

    /// The variance of the population, each observation being taken to lie at its bucket's middle.
    pub fn variance(&self) -> f64 {
        let mean = self.mean();
        let mut squares = KahanSum::default();
        for bucket in self.all_buckets().iter().filter(|bucket| bucket.count != 0.0) {
            let value = if self.has_custom_bounds() {
                (bucket.upper + bucket.lower) / 2.0
            } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
                0.0
            } else {
                let middle = (bucket.upper * bucket.lower).sqrt();
                if bucket.upper < 0.0 { -middle } else { middle }
            };
            let distance = value - mean;
            squares = squares.plus(bucket.count * distance * distance);
        }
        (squares.sum + squares.lost) / self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::{Buckets, CUSTOM_BOUNDS_SCHEMA};

    fn near(a: f64, b: f64) -> bool {
        a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
    }

    fn both_sides() -> Histogram {
        let side = Buckets::from_indexed([(0, 2.0), (1, 3.0), (3, 1.0), (4, 4.0)]);
        Histogram {
            count: 24.0,
            sum: 100.0,
            zero_count: 4.0,
            zero_threshold: 0.001,
            positive: side.clone(),
            negative: side,
            ..Histogram::default()
        }
    }

    #[test]
    fn quantiles_by_hand() {
        let one_side = Histogram {
            count: 12.0,
            sum: 100.0,
            zero_count: 2.0,
            zero_threshold: 0.001,
            negative: Buckets::from_indexed([(0, 2.0), (1, 3.0), (3, 1.0), (4, 4.0)]),
            ..Histogram::default()
        };
        for (phi, want) in [
            (1.001, f64::INFINITY),
            (1.0, 0.0),
            (0.99, -0.00006),
            (0.5, -1.587_401_051_968_199_6),
            (0.1, -12.996_038_341_699_768),
            (0.0, -16.0),
            (-1.0, f64::NEG_INFINITY),
            (f64::NAN, f64::NAN),
        ] {
            assert!(near(one_side.quantile(phi).0, want), "{phi}: {} {want}", one_side.quantile(phi).0);
        }
        let custom = Histogram {
            schema: CUSTOM_BOUNDS_SCHEMA,
            count: 6.0,
            sum: 5.0,
            custom_bounds: vec![5.0, 10.0],
            positive: Buckets::from_indexed([(0, 1.0), (1, 3.0), (2, 2.0)]),
            ..Histogram::default()
        };
        for (phi, want) in [(0.0, 0.0), (0.5, 5.0 + 10.0 / 3.0), (0.9, 10.0)] {
            assert!(near(custom.quantile(phi).0, want), "{phi}: {}", custom.quantile(phi).0);
        }
        assert!(Histogram::default().quantile(0.5).0.is_nan());
    }

    #[test]
    fn observations_of_nan() {
        let nan = Histogram {
            count: 4.0,
            sum: f64::NAN,
            positive: Buckets::from_indexed([(1, 2.0)]),
            ..Histogram::default()
        };
        let (value, note) = nan.quantile(0.9);
        assert!(value.is_nan() && note == Some(QuantileNote::IsNan));
        let (value, note) = nan.quantile(0.25);
        assert!(near(value, 0.5_f64.exp2()) && note == Some(QuantileNote::IsSkewed));
        assert_eq!(nan.fraction(f64::NEG_INFINITY, f64::INFINITY), (0.5, Some(StatisticNote)));
    }

    #[test]
    fn fractions_by_hand() {
        let (inf, h) = (f64::INFINITY, both_sides());
        for (lower, upper, want) in [
            (0.0, inf, 0.5),
            (-0.001, 0.0, 0.083_333_333_333_333_33),
            (-inf, 0.0005, 0.541_666_666_666_666_6),
            (1.0, 2.0, 0.125),
            (1.5, 2.0, 0.051_879_687_409_855_414),
            (-6.0, -1.5, 0.076_253_124_939_903_62),
            (42.0, 3.0, 0.0),
            (f64::NAN, 1.0, f64::NAN),
            (-inf, inf, 1.0),
        ] {
            assert!(near(h.fraction(lower, upper).0, want), "{lower} {upper}: {}", h.fraction(lower, upper).0);
        }
        // A quantile and a fraction undo each other.
        for phi in [0.05, 0.3, 0.458_333, 0.7, 0.95] {
            assert!(near(h.fraction(-inf, h.quantile(phi).0).0, phi), "{phi}");
        }
    }

    #[test]
    fn variances_by_hand() {
        let h = Histogram {
            schema: 2,
            count: 4.0,
            sum: 10.0,
            positive: Buckets::from_indexed([(0, 1.0), (4, 1.0), (7, 1.0), (8, 1.0)]),
            ..Histogram::default()
        };
        assert!(near(h.variance(), 1.163_807_968_526_718));
        assert_eq!(h.mean(), 2.5);
    }
}
