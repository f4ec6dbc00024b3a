//! Cutting a histogram at a value, as Prometheus's operators `</` and `>/` do.
//!
//! Buckets on the kept side stay, the bucket with the value in it is shared out, the rest go. The sum is then estimated
//! from the middles of what is left.

use super::{Bucket, Histogram};

/// What is left of a bucket: observations, and where they are taken to lie.
type Kept = (f64, f64);

/// Which observations stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    Below,
    Above,
}

impl Histogram {
    /// The observations below a value.
    #[must_use]
    pub fn below(&self, value: f64) -> Histogram {
        self.trimmed(value, Keep::Below)
    }

    /// The observations above a value.
    #[must_use]
    pub fn above(&self, value: f64) -> Histogram {
        self.trimmed(value, Keep::Above)
    }

    fn trimmed(&self, value: f64, keep: Keep) -> Histogram {
        let linear = self.has_custom_bounds();
        let (mut count, mut sum, mut changed) = (0.0, 0.0, false);
        let mut keep_of = |bucket: &Bucket, (left, at): Kept| {
            count += left;
            sum = f64::mul_add(at, left, sum);
            changed |= left != bucket.count;
            left
        };
        let mut trimmed = self.clone();
        let positive = self.positive_buckets().zip(&mut trimmed.positive.counts);
        for (bucket, left) in positive.filter(|(bucket, _)| bucket.count != 0.0) {
            *left = keep_of(&bucket, keep_bucket(&bucket, value, keep, linear));
        }
        let negative = self.negative_buckets().zip(&mut trimmed.negative.counts);
        for (bucket, left) in negative.filter(|(bucket, _)| bucket.count != 0.0) {
            *left = keep_of(&bucket, keep_bucket(&bucket, value, keep, linear));
        }
        if self.zero_count > 0.0 {
            let mut zero = self.zero_bucket();
            let has_any = |counts: &[f64]| counts.iter().any(|count| *count != 0.0);
            match (has_any(&self.negative.counts), has_any(&self.positive.counts)) {
                (true, false) => zero.upper = 0.0,
                (false, true) => zero.lower = 0.0,
                _ => {}
            }
            trimmed.zero_count = keep_of(&zero, keep_zero(&zero, value, keep));
        }
        if changed {
            (trimmed.count, trimmed.sum) = (count, sum);
            trimmed.compact();
        }
        trimmed
    }
}

fn keep_bucket(bucket: &Bucket, value: f64, keep: Keep, linear: bool) -> Kept {
    let is_kept = match keep {
        Keep::Below => bucket.upper <= value,
        Keep::Above => bucket.lower >= value,
    };
    let is_cut = bucket.lower < value && value < bucket.upper;
    if is_kept {
        (bucket.count, middle(bucket.lower, bucket.upper, linear))
    } else if !is_cut {
        (0.0, 0.0)
    } else if bucket.lower.is_infinite() || bucket.upper.is_infinite() {
        keep_endless(bucket, value, keep)
    } else {
        let below = bucket.count * share_below(bucket, value, linear);
        match keep {
            Keep::Below => (below, middle(bucket.lower, value, linear)),
            Keep::Above => (bucket.count - below, middle(value, bucket.upper, linear)),
        }
    }
}

/// How observations lie in a bucket without an end is not known: all of them go, or all stay at the value.
fn keep_endless(bucket: &Bucket, value: f64, keep: Keep) -> Kept {
    if bucket.lower.is_infinite() {
        // A bucket that reaches above zero is taken to begin there.
        let from_zero = bucket.upper > 0.0 && bucket.upper.is_finite();
        return match keep {
            Keep::Below if from_zero && value > 0.0 => (bucket.count * value / bucket.upper, value / 2.0),
            Keep::Below if bucket.upper <= 0.0 => (bucket.count, value),
            Keep::Above if from_zero && value >= 0.0 => {
                (bucket.count * (1.0 - value / bucket.upper), f64::midpoint(value, bucket.upper))
            }
            _ => (0.0, 0.0),
        };
    }
    match keep {
        Keep::Below => (0.0, 0.0),
        Keep::Above => (bucket.count, value),
    }
}

fn keep_zero(zero: &Bucket, value: f64, keep: Keep) -> Kept {
    let whole = (zero.count, f64::midpoint(zero.lower, zero.upper));
    let (is_below, is_above) = (value <= zero.lower, value >= zero.upper);
    let (lower, upper) = match keep {
        Keep::Below if is_below => return (0.0, 0.0),
        Keep::Below if is_above => return whole,
        Keep::Above if is_below => return whole,
        Keep::Above if is_above => return (0.0, 0.0),
        Keep::Below => (zero.lower, value),
        Keep::Above => (value, zero.upper),
    };
    (zero.count * ((upper - lower) / (zero.upper - zero.lower)), f64::midpoint(lower, upper))
}

fn share_below(bucket: &Bucket, value: f64, linear: bool) -> f64 {
    if linear {
        return (value - bucket.lower) / (bucket.upper - bucket.lower);
    }
    let (low, high, at) = (bucket.lower.abs().log2(), bucket.upper.abs().log2(), value.abs().log2());
    if bucket.lower >= 0.0 { (at - low) / (high - low) } else { 1.0 - (at - high) / (low - high) }
}

/// Where the observations between two bounds are taken to lie.
fn middle(lower: f64, upper: f64, linear: bool) -> f64 {
    match (lower.is_infinite(), upper.is_infinite()) {
        (true, true) => 0.0,
        (true, false) if upper > 0.0 => upper / 2.0,
        (true, false) => upper,
        (false, true) => lower,
        (false, false) if linear => f64::midpoint(lower, upper),
        (false, false) => {
            let middle = (lower * upper).abs().sqrt();
            if upper <= 0.0 { -middle } else { middle }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::{Buckets, CUSTOM_BOUNDS_SCHEMA};

    fn near(a: f64, b: f64) -> bool {
        a == b || (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
    }

    fn exponential() -> Histogram {
        Histogram {
            sum: 123.75,
            count: 34.0,
            zero_count: 1.0,
            zero_threshold: 0.001,
            positive: Buckets::from_indexed([(0, 2.0), (1, 4.0), (2, 8.0), (3, 16.0)]),
            negative: Buckets::from_indexed([(0, 1.0), (1, 2.0)]),
            ..Histogram::default()
        }
    }

    #[test]
    fn everything_or_nothing() {
        let h = exponential();
        assert_eq!(h.below(f64::INFINITY), h);
        assert_eq!(h.above(f64::NEG_INFINITY), h);
        for nothing in [h.below(f64::NEG_INFINITY), h.above(f64::INFINITY)] {
            assert_eq!((nothing.count, nothing.sum, nothing.zero_count, nothing.bucket_count()), (0.0, 0.0, 0.0, 0));
        }
    }

    #[test]
    fn exponential_buckets_by_hand() {
        let h = exponential();
        let below = h.below(2.0_f64.sqrt());
        assert!(near(below.count, 8.0) && near(below.sum, 0.257_093_886_598_984_7), "{below:?}");
        let above = h.above(2.0_f64.sqrt());
        assert!(near(above.count, 26.0) && near(above.sum, 116.500_670_650_709_82), "{above:?}");
        let below = h.below(0.0);
        assert!(near(below.count, 3.5) && near(below.zero_count, 0.5), "{below:?}");
        let above = h.above(-1.0);
        assert_eq!((above.count, above.negative), (32.0, Buckets::from_indexed([(0, 1.0)])));
    }

    #[test]
    fn custom_bounds_by_hand() {
        let h = Histogram {
            schema: CUSTOM_BOUNDS_SCHEMA,
            sum: 172.5,
            count: 15.0,
            custom_bounds: vec![5.0, 10.0, 15.0, 20.0],
            positive: Buckets::from_indexed([(0, 1.0), (1, 6.0), (2, 4.0), (3, 3.0), (4, 1.0)]),
            ..Histogram::default()
        };
        let of = |h: Histogram| (h.count, h.sum);
        assert_eq!(of(h.below(15.0)), (11.0, 97.5));
        assert_eq!(of(h.above(15.0)), (4.0, 72.5));
        assert_eq!(of(h.below(7.5)), (4.0, 21.25));
        assert_eq!(of(h.below(50.0)), (14.0, 150.0));
    }
}
