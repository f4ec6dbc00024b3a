//! Adding, subtracting and scaling two histograms, and bringing them to common buckets.
//!
//! Only histograms that both have exponential buckets, or both custom bounds, can be added. The coarser schema and the
//! wider zero bucket win; custom bounds shrink to those that both have.

use super::{Buckets, Histogram, HistogramSum, ResetHint, SCHEMA_MAX};

/// One histogram has exponential buckets and the other custom bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot combine histograms with exponential and custom buckets")]
pub struct Incompatible;

/// What happened while histograms were added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Joined {
    /// One said that there was a reset, the other that there was none.
    pub resets_collide: bool,
    /// Their custom bounds differed.
    pub bounds_reconciled: bool,
}

impl Joined {
    /// What happened in either.
    #[must_use]
    pub fn or(self, other: Joined) -> Joined {
        Joined {
            resets_collide: self.resets_collide || other.resets_collide,
            bounds_reconciled: self.bounds_reconciled || other.bounds_reconciled,
        }
    }
}

/// What is known of resets of a sum, and whether the two disagree.
pub(super) fn join_hints(a: ResetHint, b: ResetHint) -> (ResetHint, bool) {
    use ResetHint::{Gauge, Unknown};
    match (a, b) {
        (a, b) if a == b => (a, false),
        (Gauge, _) | (_, Gauge) => (Gauge, false),
        (Unknown, _) | (_, Unknown) => (Unknown, false),
        _ => (Unknown, true),
    }
}

/// The place of a bucket in a coarser schema.
pub(super) fn coarser_index(index: i32, from: i32, to: i32) -> i32 {
    let shift = u32::try_from(from.saturating_sub(to)).unwrap_or(0).min(31);
    (index.saturating_sub(1) >> shift).saturating_add(1)
}

/// The bounds that are in both lists; both rise.
pub(super) fn common_bounds(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().copied().filter(|bound| b.binary_search_by(|other| other.total_cmp(bound)).is_ok()).collect()
}

/// The place among fewer bounds of the bucket `index` of `own` bounds.
pub(super) fn place_in(bounds: &[f64], own: &[f64], index: i32) -> i32 {
    let upper = usize::try_from(index).ok().and_then(|i| own.get(i));
    let place = upper.map_or(bounds.len(), |upper| bounds.partition_point(|bound| bound < upper));
    i32::try_from(place).unwrap_or(i32::MAX)
}

impl Histogram {
    /// The sum of both without empty buckets.
    ///
    /// # Errors
    /// [`Incompatible`] if only one of the two has custom bounds.
    pub fn plus(&self, other: &Histogram) -> Result<(Histogram, Joined), Incompatible> {
        self.combine(other, |a, b| a + b, HistogramSum::add)
    }

    /// The difference without empty buckets. Its hint is that of a sum; a caller for whom the result is no counter
    /// says so.
    ///
    /// # Errors
    /// As [`Histogram::plus`].
    pub fn minus(&self, other: &Histogram) -> Result<(Histogram, Joined), Incompatible> {
        self.combine(other, |a, b| a - b, HistogramSum::subtract)
    }

    fn combine(
        &self,
        other: &Histogram,
        number: fn(f64, f64) -> f64,
        slow: fn(&mut HistogramSum, &Histogram) -> Result<Joined, Incompatible>,
    ) -> Result<(Histogram, Joined), Incompatible> {
        if !self.has_layout_of(other) {
            let mut sum = HistogramSum::of(self);
            let joined = slow(&mut sum, other)?;
            return Ok((sum.finish(), joined));
        }
        let side = |a: &Buckets, b: &Buckets| {
            let counts = a.counts.iter().zip(&b.counts).map(|(a, b)| number(*a, *b)).collect();
            Buckets { spans: a.spans.clone(), counts }
        };
        let (reset_hint, resets_collide) = join_hints(self.reset_hint, other.reset_hint);
        let mut made = Histogram {
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: number(self.zero_count, other.zero_count),
            count: number(self.count, other.count),
            sum: number(self.sum, other.sum),
            positive: side(&self.positive, &other.positive),
            negative: side(&self.negative, &other.negative),
            custom_bounds: self.custom_bounds.clone(),
            reset_hint,
        };
        made.compact();
        Ok((made, Joined { resets_collide, bounds_reconciled: false }))
    }

    /// True if both have the same buckets, so that their counts can be added as they stand.
    fn has_layout_of(&self, other: &Histogram) -> bool {
        self.schema == other.schema
            && self.zero_threshold == other.zero_threshold
            && self.positive.spans == other.positive.spans
            && self.negative.spans == other.negative.spans
            && self.custom_bounds == other.custom_bounds
            && self.positive.counts.len() == other.positive.counts.len()
            && self.negative.counts.len() == other.negative.counts.len()
    }

    fn numbers(&mut self) -> impl Iterator<Item = &mut f64> {
        let sides = self.positive.counts.iter_mut().chain(&mut self.negative.counts);
        [&mut self.zero_count, &mut self.count, &mut self.sum].into_iter().chain(sides)
    }

    /// Multiplies everything; a negative factor makes a gauge.
    pub fn multiply(&mut self, factor: f64) {
        self.numbers().for_each(|number| *number *= factor);
        if factor < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
    }

    /// Divides everything; a negative divisor makes a gauge, and 0 leaves no buckets.
    pub fn divide(&mut self, divisor: f64) {
        self.numbers().for_each(|number| *number /= divisor);
        if divisor == 0.0 {
            (self.positive, self.negative) = (Buckets::default(), Buckets::default());
        } else if divisor < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
    }

    /// Takes empty buckets away.
    pub fn compact(&mut self) {
        for side in [&mut self.positive, &mut self.negative] {
            if side.counts.contains(&0.0) {
                *side = Buckets::from_indexed(side.indexed().filter(|(_, count)| *count != 0.0));
            }
        }
    }

    /// Merges exponential buckets until the schema is at most this; a histogram that is as coarse, or has custom
    /// bounds, stays as it is.
    pub fn coarsen(&mut self, schema: i32) {
        if self.schema <= schema || self.has_custom_bounds() {
            return;
        }
        let from = std::mem::replace(&mut self.schema, schema);
        for side in [&mut self.positive, &mut self.negative] {
            let mut merged: Vec<(i32, f64)> = Vec::with_capacity(side.counts.len());
            for (index, count) in side.indexed().map(|(index, count)| (coarser_index(index, from, schema), count)) {
                match merged.last_mut() {
                    Some((last, sum)) if *last == index => *sum += count,
                    _ => merged.push((index, count)),
                }
            }
            *side = Buckets::from_indexed(merged);
        }
    }

    /// Merges buckets until there are at most `buckets_max`; false if the coarsest schema has more.
    pub fn coarsen_to_fit(&mut self, buckets_max: usize) -> bool {
        while self.bucket_count() > buckets_max {
            if self.has_custom_bounds() || self.schema <= super::SCHEMA_MIN {
                return false;
            }
            self.coarsen(self.schema.min(SCHEMA_MAX + 1) - 1);
        }
        true
    }

    /// True if everything is the same bit for bit, however the runs of buckets are put. Hints do not count.
    pub fn same_as(&self, other: &Histogram) -> bool {
        let bits = |h: &Histogram| [h.zero_threshold, h.zero_count, h.count, h.sum].map(f64::to_bits);
        let same_sides = |a: &Buckets, b: &Buckets| {
            a.counts.len() == b.counts.len()
                && a.indexed().zip(b.indexed()).all(|(a, b)| a.0 == b.0 && a.1.to_bits() == b.1.to_bits())
        };
        self.schema == other.schema
            && bits(self) == bits(other)
            && self.custom_bounds == other.custom_bounds
            && same_sides(&self.positive, &other.positive)
            && same_sides(&self.negative, &other.negative)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::CUSTOM_BOUNDS_SCHEMA;
    use proptest::prelude::*;

    fn simple() -> Histogram {
        Histogram {
            count: 6.0,
            sum: 12.0,
            zero_threshold: 0.5,
            zero_count: 1.0,
            positive: Buckets::from_indexed([(1, 1.0), (2, 2.0)]),
            negative: Buckets::from_indexed([(3, 2.0)]),
            ..Histogram::default()
        }
    }

    #[test]
    fn scaling_by_hand() {
        let mut h = simple();
        h.multiply(-2.0);
        assert_eq!((h.count, h.sum, h.zero_count, h.reset_hint), (-12.0, -24.0, -2.0, ResetHint::Gauge));
        assert_eq!(h.positive.counts, [-2.0, -4.0]);
        h.divide(0.0);
        assert_eq!((h.count, h.bucket_count()), (f64::NEG_INFINITY, 0));
    }

    #[test]
    fn differences_have_no_empty_buckets() {
        let mut more = simple();
        more.positive = Buckets::from_indexed([(1, 1.0), (2, 5.0)]);
        let (rise, joined) = more.minus(&simple()).unwrap();
        assert_eq!((rise.positive, rise.negative), (Buckets::from_indexed([(2, 3.0)]), Buckets::default()));
        assert_eq!(joined, Joined::default());
        let custom = Histogram { schema: CUSTOM_BOUNDS_SCHEMA, ..Histogram::default() };
        assert_eq!(more.minus(&custom), Err(Incompatible));
    }

    #[test]
    fn hints_of_sums() {
        use ResetHint::{Gauge, NoReset, Reset, Unknown};
        for (a, b, want) in [
            (Reset, Reset, (Reset, false)),
            (Gauge, NoReset, (Gauge, false)),
            (Reset, Gauge, (Gauge, false)),
            (Unknown, NoReset, (Unknown, false)),
            (Reset, NoReset, (Unknown, true)),
        ] {
            assert_eq!(join_hints(a, b), want, "{a:?} {b:?}");
        }
    }

    #[test]
    fn too_many_buckets_are_merged() {
        let buckets = Buckets::from_indexed((-15..17).map(|i| (i, 1.0)));
        let mut h = Histogram { schema: 2, positive: buckets, ..Histogram::default() };
        assert!(h.coarsen_to_fit(8));
        assert_eq!((h.schema, h.bucket_count()), (0, 8));
        assert_eq!(h.positive.counts.iter().sum::<f64>(), 32.0);
        assert!(!h.coarsen_to_fit(1));
        assert_eq!(h.schema, super::super::SCHEMA_MIN);
    }

    fn any_side() -> impl Strategy<Value = Buckets> {
        prop::collection::btree_map(-40_i32..40, (0_u32..5).prop_map(f64::from), 0..12).prop_map(Buckets::from_indexed)
    }

    prop_compose! {
        fn any_histogram()(
            schema in -4_i32..=8, threshold in prop_oneof![Just(0.0), Just(0.001), 0.01_f64..3.0], zero in 0_u32..4,
            positive in any_side(), negative in any_side(),
        ) -> Histogram {
            let mut h = Histogram {
                schema, zero_threshold: threshold, zero_count: f64::from(zero), positive, negative,
                ..Histogram::default()
            };
            h.count = h.zero_count + h.positive.counts.iter().chain(&h.negative.counts).sum::<f64>();
            h
        }
    }

    /// Observations in the buckets and the zero bucket.
    fn held(h: &Histogram) -> f64 {
        h.zero_count + h.positive.counts.iter().chain(&h.negative.counts).sum::<f64>()
    }

    proptest! {
        #[test]
        fn sums_lose_no_observation(a in any_histogram(), b in any_histogram()) {
            let (ab, _) = a.plus(&b).unwrap();
            let (ba, _) = b.plus(&a).unwrap();
            prop_assert_eq!(held(&ab), held(&a) + held(&b));
            prop_assert_eq!(ab.count, held(&ab));
            prop_assert_eq!(&ab, &ba);
            prop_assert!(ab.schema <= a.schema.min(b.schema));
            prop_assert!(ab.zero_threshold >= a.zero_threshold.max(b.zero_threshold));
            // Taking the same away again leaves as many observations as there were.
            let (back, _) = ab.minus(&b).unwrap();
            prop_assert_eq!(held(&back), held(&a));
        }

        #[test]
        fn layouts_do_not_matter_for_sums(a in any_histogram(), b in any_histogram()) {
            // The same histogram with the gaps filled by empty buckets.
            let fill = |side: &Buckets| {
                let Some((first, last)) = side.indexed().next().zip(side.indexed().last()) else { return side.clone() };
                let at = |i| side.indexed().find(|(index, _)| *index == i).map_or(0.0, |(_, count)| count);
                Buckets::from_indexed((first.0..=last.0).map(|i| (i, at(i))))
            };
            let filled = Histogram { positive: fill(&a.positive), negative: fill(&a.negative), ..a.clone() };
            prop_assert_eq!(filled.plus(&b).unwrap().0, a.plus(&b).unwrap().0);
        }

        #[test]
        fn coarsening_in_steps_is_coarsening_at_once(a in any_histogram(), to in -4_i32..8) {
            let mut at_once = a.clone();
            at_once.coarsen(to);
            let mut in_steps = a.clone();
            for schema in (to..8).rev() {
                in_steps.coarsen(schema);
            }
            prop_assert_eq!(at_once, in_steps);
        }
    }
}
