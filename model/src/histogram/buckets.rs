//! Which bounds a bucket has, and buckets one by one.
//!
//! Bounds follow Prometheus's `model/histogram/generic.go`: bucket `i` of schema `s` ends at `2^(i · 2^-s)`.

use super::{Buckets, CUSTOM_BOUNDS_SCHEMA, Histogram, Span};

/// A bucket with its bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// Lower bound.
    pub lower: f64,
    /// Upper bound.
    pub upper: f64,
    /// True if an observation of exactly the lower bound belongs to the bucket.
    pub has_lower: bool,
    /// True if an observation of exactly the upper bound belongs to the bucket.
    pub has_upper: bool,
    /// Observations.
    pub count: f64,
}

/// The upper bound of bucket `index` on the positive side; `custom` are the bounds of schema −53.
pub(super) fn bucket_bound(schema: i32, custom: &[f64], index: i32) -> f64 {
    if schema == CUSTOM_BOUNDS_SCHEMA {
        return match usize::try_from(index) {
            Err(_) => f64::NEG_INFINITY,
            Ok(i) => custom.get(i).copied().unwrap_or(f64::INFINITY),
        };
    }
    let exponent = f64::from(index) * (-f64::from(schema)).exp2();
    // The bucket that ends at 2^1024 ends at the largest float; one more is there for infinities.
    if exponent == 1024.0 { f64::MAX } else { exponent.exp2() }
}

impl Buckets {
    /// Index and count of each bucket, away from zero.
    pub fn indexed(&self) -> impl Iterator<Item = (i32, f64)> + Clone + '_ {
        let mut next = 0_i32;
        let indices = self.spans.iter().flat_map(move |span| {
            let first = next.saturating_add(span.offset);
            next = first.saturating_add(i32::try_from(span.length).unwrap_or(i32::MAX));
            first..next
        });
        indices.zip(self.counts.iter().copied())
    }

    /// Buckets of these indices, which rise, and counts; neighbours make one run.
    pub fn from_indexed(buckets: impl IntoIterator<Item = (i32, f64)>) -> Self {
        let mut made = Buckets::default();
        let mut next: Option<i32> = None;
        for (index, count) in buckets {
            match made.spans.last_mut() {
                Some(span) if next == Some(index) => span.length += 1,
                _ => made.spans.push(Span { offset: index.saturating_sub(next.unwrap_or(0)), length: 1 }),
            }
            made.counts.push(count);
            next = Some(index.saturating_add(1));
        }
        made
    }
}

impl Histogram {
    /// The upper bound of a bucket on the positive side.
    pub fn bound(&self, index: i32) -> f64 {
        bucket_bound(self.schema, &self.custom_bounds, index)
    }

    /// The buckets above zero, from the lowest on.
    pub fn positive_buckets(&self) -> impl Iterator<Item = Bucket> + '_ {
        let is_custom = self.has_custom_bounds();
        self.positive.indexed().map(move |(index, count)| Bucket {
            lower: self.bound(index.saturating_sub(1)),
            upper: self.bound(index),
            has_lower: is_custom && index == 0,
            has_upper: true,
            count,
        })
    }

    /// The buckets below zero, from the highest on.
    pub fn negative_buckets(&self) -> impl Iterator<Item = Bucket> + '_ {
        self.negative.indexed().map(|(index, count)| Bucket {
            lower: -self.bound(index),
            upper: -self.bound(index.saturating_sub(1)),
            has_lower: true,
            has_upper: false,
            count,
        })
    }

    /// The zero bucket.
    pub fn zero_bucket(&self) -> Bucket {
        let zero = self.zero_threshold;
        Bucket { lower: -zero, upper: zero, has_lower: true, has_upper: true, count: self.zero_count }
    }

    /// All buckets from the lowest on, the zero bucket if it has observations; buckets that overlap with the zero
    /// bucket end at it.
    pub fn all_buckets(&self) -> Vec<Bucket> {
        let zero = self.zero_threshold;
        let mut all: Vec<Bucket> = self.negative_buckets().collect();
        all.reverse();
        for bucket in &mut all {
            if bucket.upper < 0.0 && bucket.upper > -zero {
                bucket.upper = -zero;
            }
        }
        if self.zero_count > 0.0 {
            all.push(self.zero_bucket());
        }
        all.extend(self.positive_buckets().map(|mut bucket| {
            if bucket.lower > 0.0 && bucket.lower < zero {
                bucket.lower = zero;
            }
            bucket
        }));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_exponential_buckets() {
        assert_eq!(bucket_bound(-4, &[], 64), f64::MAX);
        assert_eq!(bucket_bound(-4, &[], 65), f64::INFINITY);
        assert_eq!(bucket_bound(2, &[], 4), 2.0);
        assert_eq!(bucket_bound(2, &[], -8), 0.25);
        assert_eq!(bucket_bound(0, &[], 0), 1.0);
        assert_eq!(bucket_bound(CUSTOM_BOUNDS_SCHEMA, &[5.0], -1), f64::NEG_INFINITY);
        assert_eq!(bucket_bound(CUSTOM_BOUNDS_SCHEMA, &[5.0], 0), 5.0);
        assert_eq!(bucket_bound(CUSTOM_BOUNDS_SCHEMA, &[5.0], 1), f64::INFINITY);
    }

    #[test]
    fn runs_and_indices_are_the_same_thing() {
        let indexed = [(-3, 1.0), (-2, 2.0), (4, 3.0), (7, 4.0), (8, 5.0)];
        let buckets = Buckets::from_indexed(indexed);
        let spans = [(-3, 2), (5, 1), (2, 2)].map(|(offset, length)| Span { offset, length });
        assert_eq!(buckets.spans, spans);
        assert_eq!(buckets.indexed().collect::<Vec<_>>(), indexed);
        // Runs of no length are skipped over.
        let spans = vec![Span { offset: 1, length: 0 }, Span { offset: 2, length: 1 }];
        let odd = Buckets { spans, counts: vec![9.0] };
        assert_eq!(odd.indexed().collect::<Vec<_>>(), [(3, 9.0)]);
    }

    #[test]
    fn buckets_rise_and_end_at_the_zero_bucket() {
        let histogram = Histogram {
            zero_threshold: 0.75,
            zero_count: 2.0,
            positive: Buckets::from_indexed([(0, 1.0), (1, 2.0)]),
            negative: Buckets::from_indexed([(0, 3.0)]),
            ..Histogram::default()
        };
        let bounds: Vec<_> = histogram.all_buckets().iter().map(|b| (b.lower, b.upper, b.count)).collect();
        assert_eq!(bounds, [(-1.0, -0.75, 3.0), (-0.75, 0.75, 2.0), (0.75, 1.0, 1.0), (1.0, 2.0, 2.0)]);
    }
}
