//! Which histograms are accepted from outside.

use super::{Buckets, CUSTOM_BOUNDS_SCHEMA, Histogram, SCHEMA_MAX, SCHEMA_MIN};

/// Why a histogram is no histogram.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum InvalidHistogram {
    /// No bounds are known for the schema.
    #[error("histogram has an unknown schema {0}: it must be -53, or from -4 to 8")]
    Schema(i32),
    /// A run other than the first begins before the end of the one before.
    #[error("histogram has a span whose offset is negative")]
    SpanOffset,
    /// The runs have another number of buckets than there are counts.
    #[error("histogram has {counts} buckets but its spans have {spans}")]
    SpanMismatch {
        /// Buckets of all runs.
        spans: u64,
        /// Counts.
        counts: usize,
    },
    /// An index of a bucket does not fit.
    #[error("histogram has a bucket whose index is out of range")]
    Index,
    /// A count is negative or not a number.
    #[error("histogram has a bucket count that is negative or not a number: {0}")]
    Count(f64),
    /// An integer histogram has another number of observations than its buckets.
    #[error("histogram has {count} observations but its buckets have {held}")]
    CountMismatch {
        /// All observations.
        count: f64,
        /// Those in buckets.
        held: f64,
    },
    /// Custom bounds do not rise, or are not finite.
    #[error("histogram has custom bounds that are not finite or do not rise")]
    Bounds,
    /// With custom bounds there is one bucket for each bound and one more.
    #[error("histogram has a bucket beyond its {0} custom bounds")]
    BeyondBounds(usize),
    /// A zero bucket or negative buckets beside custom bounds, or custom bounds beside exponential buckets.
    #[error("histogram mixes custom bounds with exponential, negative or zero buckets")]
    Mixed,
    /// The zero bucket's width is negative or not a number.
    #[error("histogram has a zero threshold that is negative or not a number: {0}")]
    ZeroThreshold(f64),
}

impl Histogram {
    /// Checks that the parts fit together; `is_integer` if the counts were sent as integers, which then add up.
    ///
    /// # Errors
    /// [`InvalidHistogram`] with the first fault.
    pub fn validate(&self, is_integer: bool) -> Result<(), InvalidHistogram> {
        let is_custom = self.has_custom_bounds();
        if !is_custom && !(SCHEMA_MIN..=SCHEMA_MAX).contains(&self.schema) {
            return Err(InvalidHistogram::Schema(self.schema));
        }
        validate_side(&self.negative)?;
        validate_side(&self.positive)?;
        if is_custom {
            self.validate_custom()?;
        } else if !self.custom_bounds.is_empty() {
            return Err(InvalidHistogram::Mixed);
        }
        if self.zero_threshold.is_nan() || self.zero_threshold < 0.0 {
            return Err(InvalidHistogram::ZeroThreshold(self.zero_threshold));
        }
        let counts = self.negative.counts.iter().chain(&self.positive.counts);
        if let Some(count) =
            counts.clone().chain([&self.zero_count, &self.count]).find(|count| count.is_nan() || **count < 0.0)
        {
            return Err(InvalidHistogram::Count(*count));
        }
        if is_integer {
            let held = self.zero_count + counts.sum::<f64>();
            // NaN observations are in no bucket.
            let fits = if self.sum.is_nan() { held <= self.count } else { held == self.count };
            if !fits {
                return Err(InvalidHistogram::CountMismatch { count: self.count, held });
            }
        }
        Ok(())
    }

    fn validate_custom(&self) -> Result<(), InvalidHistogram> {
        debug_assert_eq!(self.schema, CUSTOM_BOUNDS_SCHEMA);
        let has_other = self.zero_count != 0.0
            || self.zero_threshold != 0.0
            || !self.negative.spans.is_empty()
            || !self.negative.counts.is_empty();
        if has_other {
            return Err(InvalidHistogram::Mixed);
        }
        let bounds = &self.custom_bounds;
        let rises = bounds.iter().zip(bounds.iter().skip(1)).all(|(a, b)| a < b);
        if !rises || bounds.iter().any(|bound| !bound.is_finite()) {
            return Err(InvalidHistogram::Bounds);
        }
        let fits = |index: i32| usize::try_from(index).is_ok_and(|index| index <= bounds.len());
        if self.positive.indexed().any(|(index, _)| !fits(index)) {
            return Err(InvalidHistogram::BeyondBounds(bounds.len()));
        }
        Ok(())
    }
}

fn validate_side(side: &Buckets) -> Result<(), InvalidHistogram> {
    if side.spans.iter().skip(1).any(|span| span.offset < 0) {
        return Err(InvalidHistogram::SpanOffset);
    }
    let spans = side.spans.iter().map(|span| u64::from(span.length)).sum();
    if spans != side.counts.len() as u64 {
        return Err(InvalidHistogram::SpanMismatch { spans, counts: side.counts.len() });
    }
    let end: i64 = side.spans.iter().map(|span| i64::from(span.offset) + i64::from(span.length)).sum();
    let start = side.spans.first().map_or(0, |span| i64::from(span.offset));
    // One index stays free on each side, so that bounds and gaps can be reckoned.
    let fits = |index: i64| i32::try_from(index).is_ok_and(|index| (i32::MIN + 1..i32::MAX).contains(&index));
    if fits(start) && fits(end) { Ok(()) } else { Err(InvalidHistogram::Index) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Span;

    fn valid() -> Histogram {
        Histogram {
            count: 6.0,
            zero_count: 1.0,
            positive: Buckets::from_indexed([(1, 2.0), (4, 3.0)]),
            ..Histogram::default()
        }
    }

    fn custom() -> Histogram {
        Histogram {
            schema: CUSTOM_BOUNDS_SCHEMA,
            count: 3.0,
            custom_bounds: vec![1.0, 2.0],
            positive: Buckets::from_indexed([(0, 1.0), (2, 2.0)]),
            ..Histogram::default()
        }
    }

    #[test]
    fn what_fits_together_is_accepted() {
        assert_eq!(valid().validate(true), Ok(()));
        assert_eq!(custom().validate(true), Ok(()));
        assert_eq!(Histogram { count: 6.5, ..valid() }.validate(false), Ok(()), "floats need not add up");
        assert_eq!(Histogram { count: 7.0, sum: f64::NAN, ..valid() }.validate(true), Ok(()), "one was NaN");
    }

    #[test]
    fn every_fault_is_named() {
        let spans = |list: &[(i32, u32)]| Buckets {
            spans: list.iter().map(|(offset, length)| Span { offset: *offset, length: *length }).collect(),
            counts: vec![1.0; 2],
        };
        for (histogram, is_integer, want) in [
            (Histogram { schema: 9, ..valid() }, true, InvalidHistogram::Schema(9)),
            (Histogram { schema: -5, ..valid() }, true, InvalidHistogram::Schema(-5)),
            (Histogram { count: 7.0, ..valid() }, true, InvalidHistogram::CountMismatch { count: 7.0, held: 6.0 }),
            (Histogram { zero_count: -1.0, ..valid() }, false, InvalidHistogram::Count(-1.0)),
            (Histogram { zero_threshold: -1.0, ..valid() }, false, InvalidHistogram::ZeroThreshold(-1.0)),
            (Histogram { custom_bounds: vec![1.0], ..valid() }, false, InvalidHistogram::Mixed),
            (Histogram { zero_count: 1.0, ..custom() }, false, InvalidHistogram::Mixed),
            (Histogram { custom_bounds: vec![2.0, 2.0], ..custom() }, false, InvalidHistogram::Bounds),
            (Histogram { custom_bounds: vec![1.0, f64::INFINITY], ..custom() }, false, InvalidHistogram::Bounds),
            (Histogram { custom_bounds: vec![1.0], ..custom() }, false, InvalidHistogram::BeyondBounds(1)),
            (Histogram { positive: spans(&[(0, 1), (-1, 1)]), ..valid() }, false, InvalidHistogram::SpanOffset),
            (
                Histogram { positive: spans(&[(0, 3)]), ..valid() },
                false,
                InvalidHistogram::SpanMismatch { spans: 3, counts: 2 },
            ),
            (Histogram { positive: spans(&[(i32::MAX - 1, 2)]), ..valid() }, false, InvalidHistogram::Index),
            (Histogram { positive: spans(&[(i32::MIN, 2)]), ..valid() }, false, InvalidHistogram::Index),
        ] {
            assert_eq!(histogram.validate(is_integer), Err(want), "{histogram:?}");
        }
    }
}
