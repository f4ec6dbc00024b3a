//! Range functions over native histograms, as Prometheus's `histogramRate`, `instantValue` and `…_over_time`.

use std::sync::Arc;

use model::{CUSTOM_BOUNDS_SCHEMA, Histogram, HistogramMean, HistogramSum, Incompatible, Joined, ResetHint, Sample};

use crate::functions::rate::{Kind, Stretch};
use crate::functions::rollup::{Met, Window};

fn is_gauge(histogram: &Histogram) -> bool {
    histogram.reset_hint == ResetHint::Gauge
}

/// `rate`, `increase` and `delta` over a window with nothing but histograms.
pub(crate) fn extrapolated(window: &Window<'_>, kind: Kind, met: &mut Met) -> Option<Histogram> {
    let [first, .., last] = window.histograms else { return None };
    let [first_ms, .., last_ms] = window.histogram_times else { return None };
    if kind.is_counter() {
        met.not_counter |= window.histograms.iter().any(|histogram| is_gauge(histogram));
    } else {
        met.not_gauge |= !is_gauge(first) || !is_gauge(last);
    }
    let rise = match rise_of(window.histograms, first, last, kind.is_counter(), met) {
        Ok(rise) => rise,
        Err(Incompatible) => {
            met.mixed_schemas = true;
            return None;
        }
    };
    let stretch = Stretch {
        first: Sample { timestamp_ms: *first_ms, value: first.count },
        last: Sample { timestamp_ms: *last_ms, value: last.count },
        count: window.histograms.len() as u64,
        start_ms: window.start_ms,
        end_ms: window.end_ms,
    };
    let factor = stretch.factor(rise.count, kind)?;
    let mut rise = rise;
    rise.multiply(factor);
    rise.reset_hint = ResetHint::Gauge;
    rise.compact();
    Some(rise)
}

fn rise_of(
    all: &[Arc<Histogram>],
    first: &Histogram,
    last: &Histogram,
    is_counter: bool,
    met: &mut Met,
) -> Result<Histogram, Incompatible> {
    // What the first sample looks like does not matter if all started again right after it.
    let after_reset = all.get(1).filter(|second| is_counter && second.is_reset_after(first));
    let nothing = after_reset.map(|second| Histogram {
        schema: second.schema,
        custom_bounds: second.custom_bounds.clone(),
        ..Histogram::default()
    });
    let mut before = nothing.as_ref().unwrap_or(first);
    let is_custom = before.schema == CUSTOM_BOUNDS_SCHEMA;
    let differs = |histogram: &Histogram| histogram.has_custom_bounds() != is_custom;
    if differs(last) || (is_counter && all.iter().skip(1).any(|histogram| differs(histogram))) {
        return Err(Incompatible);
    }
    let (mut rise, mut joined) = last.minus(before)?;
    met.reconciled_in_subtraction |= joined.bounds_reconciled;
    if is_counter {
        joined = Joined::default();
        for now in all.iter().skip(1) {
            if now.is_reset_after(before) {
                let (more, happened) = rise.plus(before)?;
                (rise, joined) = (more, joined.or(happened));
            }
            before = now;
        }
        met.reconciled_in_addition |= joined.bounds_reconciled;
    }
    Ok(rise)
}

/// `irate` and `idelta` of the two newest samples, which are histograms.
pub(crate) fn last_two(window: &Window<'_>, is_rate: bool, met: &mut Met) -> Option<Histogram> {
    let [.., before_ms, last_ms] = window.histogram_times else { return None };
    let [.., before, last] = window.histograms else { return None };
    if is_rate {
        met.not_counter |= is_gauge(before) || is_gauge(last);
    } else {
        met.not_gauge |= !is_gauge(before) || !is_gauge(last);
    }
    let mut result = if is_rate && last.is_reset_after(before) {
        Histogram::clone(last)
    } else {
        let Ok((difference, joined)) = last.minus(before) else {
            met.mixed_schemas = true;
            return None;
        };
        met.reconciled_in_subtraction |= joined.bounds_reconciled;
        difference
    };
    result.reset_hint = ResetHint::Gauge;
    result.compact();
    if is_rate {
        result.divide(last_ms.saturating_sub(*before_ms) as f64 / 1000.0);
    }
    Some(result)
}

/// Notes whether samples that are put together disagree on resets, or had other custom bounds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Together {
    /// A sample comes with a reset.
    pub(crate) reset: bool,
    /// A sample comes without one.
    pub(crate) no_reset: bool,
    /// Custom bounds differed.
    pub(crate) reconciled: bool,
}

impl Together {
    /// A sample is put to the others.
    pub(crate) fn meet(&mut self, histogram: &Histogram) {
        self.reset |= histogram.reset_hint == ResetHint::Reset;
        self.no_reset |= histogram.reset_hint == ResetHint::NoReset;
    }

    /// What was noted elsewhere as well.
    pub(crate) fn join(&mut self, other: Together) {
        self.reset |= other.reset;
        self.no_reset |= other.no_reset;
        self.reconciled |= other.reconciled;
    }
}

fn put_together<T>(
    window: &Window<'_>,
    met: &mut Met,
    of: fn(&Histogram) -> T,
    add: fn(&mut T, &Histogram) -> Result<Joined, Incompatible>,
) -> Option<T> {
    let (first, rest) = window.histograms.split_first()?;
    let mut noted = Together::default();
    noted.meet(first);
    let mut all = of(first);
    for histogram in rest {
        noted.meet(histogram);
        match add(&mut all, histogram) {
            Ok(joined) => noted.reconciled |= joined.bounds_reconciled,
            Err(Incompatible) => {
                met.mixed_schemas = true;
                return None;
            }
        }
    }
    met.resets_collide |= noted.reset && noted.no_reset;
    met.reconciled_in_aggregation |= noted.reconciled;
    Some(all)
}

/// `sum_over_time`.
pub(crate) fn sum(window: &Window<'_>, met: &mut Met) -> Option<Histogram> {
    put_together(window, met, HistogramSum::of, HistogramSum::add).map(|sum| sum.finish())
}

/// `avg_over_time`.
pub(crate) fn mean(window: &Window<'_>, met: &mut Met) -> Option<Histogram> {
    put_together(window, met, HistogramMean::of, HistogramMean::push).map(|mean| mean.finish())
}

/// A float or a histogram.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Either<'w> {
    /// A float.
    Float(f64),
    /// A histogram.
    Histogram(&'w Histogram),
}

/// Counts the neighbours of which `counts` holds; those of two kinds count too.
pub(crate) fn count_pairs(
    window: &Window<'_>,
    floats: fn(f64, f64) -> bool,
    histograms: fn(&Histogram, &Histogram) -> bool,
) -> f64 {
    let mut count = 0_u64;
    let mut before: Option<Either<'_>> = None;
    window.in_order(|now| {
        let is_counted = match (before, now) {
            (None, _) => false,
            (Some(Either::Float(a)), Either::Float(b)) => floats(a, b),
            (Some(Either::Histogram(a)), Either::Histogram(b)) => histograms(a, b),
            _ => true,
        };
        count += u64::from(is_counted);
        before = Some(now);
    });
    count as f64
}

/// The last sample if it is a histogram.
pub(crate) fn last(window: &Window<'_>) -> Option<Histogram> {
    let is_last = window.histogram_times.last() > window.times.last();
    window.histograms.last().filter(|_| is_last).map(|histogram| Histogram::clone(histogram))
}

/// The first sample if it is a histogram.
pub(crate) fn first(window: &Window<'_>) -> Option<Histogram> {
    let time = window.histogram_times.first()?;
    let is_first = window.times.first().is_none_or(|float| time < float);
    window.histograms.first().filter(|_| is_first).map(|histogram| Histogram::clone(histogram))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Buckets;

    fn of(count: f64, hint: ResetHint) -> Arc<Histogram> {
        let positive = Buckets::from_indexed([(1, count)]);
        Arc::new(Histogram { count, sum: count, positive, reset_hint: hint, ..Histogram::default() })
    }

    fn window<'w>(times: &'w [i64], histograms: &'w [Arc<Histogram>], range: (i64, i64)) -> Window<'w> {
        Window {
            times: &[],
            values: &[],
            histogram_times: times,
            histograms,
            start_ms: range.0,
            end_ms: range.1,
            at_ms: range.1,
        }
    }

    #[test]
    fn rates_look_through_resets() {
        let list = [10.0, 14.0, 2.0].map(|count| of(count, ResetHint::Unknown));
        let times = [10_000, 20_000, 30_000];
        let w = window(&times, &list, (0, 30_000));
        let mut met = Met::default();
        let rise = extrapolated(&w, Kind::INCREASE, &mut met).unwrap();
        assert!((rise.count - 9.0).abs() < 1e-12 && (rise.positive.counts[0] - 9.0).abs() < 1e-12);
        assert_eq!((rise.reset_hint, met), (ResetHint::Gauge, Met::default()));
        // A delta does not, and wants a gauge.
        let change = extrapolated(&w, Kind::DELTA, &mut met).unwrap();
        assert!((change.count + 12.0).abs() < 1e-12 && met.not_gauge);
        assert!(extrapolated(&window(&times[..1], &list[..1], (0, 30_000)), Kind::RATE, &mut met).is_none());
    }

    #[test]
    fn instant_rates_of_histograms() {
        let list = [5.0, 8.0, 2.0].map(|count| of(count, ResetHint::Unknown));
        let times = [0, 10_000, 15_000];
        let mut met = Met::default();
        assert_eq!(last_two(&window(&times, &list, (-1, 15_000)), true, &mut met).unwrap().count, 0.4);
        assert_eq!(last_two(&window(&times, &list, (-1, 15_000)), false, &mut met).unwrap().count, -6.0);
        assert!(met.not_gauge && !met.not_counter);
        assert_eq!(last_two(&window(&times[..2], &list[..2], (-1, 15_000)), true, &mut met).unwrap().count, 0.3);
    }

    #[test]
    fn sums_note_what_does_not_fit() {
        let list = [of(1.0, ResetHint::Reset), of(2.0, ResetHint::NoReset)];
        let mut met = Met::default();
        assert_eq!(sum(&window(&[1, 2], &list, (0, 2)), &mut met).unwrap().count, 3.0);
        assert_eq!(mean(&window(&[1, 2], &list, (0, 2)), &mut met).unwrap().count, 1.5);
        assert!(met.resets_collide);
        let custom = Arc::new(Histogram { schema: CUSTOM_BOUNDS_SCHEMA, ..Histogram::default() });
        assert!(sum(&window(&[1, 2], &[list[0].clone(), custom], (0, 2)), &mut met).is_none());
        assert!(met.mixed_schemas);
    }

    #[test]
    fn pairs_of_two_kinds_count() {
        let list = [of(1.0, ResetHint::Unknown), of(1.0, ResetHint::Unknown)];
        let w = Window { times: &[1, 4], values: &[3.0, 3.0], ..window(&[2, 3], &list, (0, 4)) };
        assert_eq!(count_pairs(&w, |a, b| a != b, |a, b| !a.same_as(b)), 2.0);
        assert!(last(&w).is_none() && first(&w).is_none());
        let w = Window { times: &[], values: &[], ..w };
        assert!(last(&w).is_some() && first(&w).is_some());
    }
}
