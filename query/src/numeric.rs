//! Arithmetic that answers share with Prometheus: compensated sums, means that do not overflow, quantiles.

pub(crate) use model::KahanSum;

use crate::quote::Number;

/// A mean that is a compensated sum as long as that is finite, and is tracked incrementally once it would overflow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Mean {
    state: KahanSum,
    count: f64,
    incremental: bool,
}

impl Mean {
    /// The mean of one value.
    pub(crate) fn of(value: f64) -> Self {
        Mean { state: KahanSum::of(value), count: 1.0, incremental: false }
    }

    /// Adds a value.
    pub(crate) fn push(&mut self, value: f64) {
        self.count += 1.0;
        if !self.incremental {
            let next = self.state.plus(value);
            if !next.sum.is_infinite() {
                self.state = next;
                return;
            }
            self.incremental = true;
            self.state.sum /= self.count - 1.0;
            self.state.lost /= self.count - 1.0;
        }
        let keep = (self.count - 1.0) / self.count;
        self.state = self.state.times(keep).plus(value / self.count);
    }

    /// The mean of the values of both.
    #[must_use]
    pub(crate) fn join(self, other: Mean) -> Mean {
        let count = self.count + other.count;
        let both = self.state.join(other.state);
        if !self.incremental && !other.incremental && !both.sum.is_infinite() {
            return Mean { state: both, count, incremental: false };
        }
        let share = |mean: Mean| {
            let part = if mean.incremental { 1.0 } else { mean.count };
            mean.state.times(1.0 / part).times(mean.count / count)
        };
        Mean { state: share(self).join(share(other)), count, incremental: true }
    }

    /// The mean.
    pub(crate) fn value(&self) -> f64 {
        if self.incremental {
            self.state.sum + self.state.lost
        } else {
            self.state.sum / self.count + self.state.lost / self.count
        }
    }
}

/// The distance of a value from itself: 0, or NaN for infinities and NaN.
pub(crate) fn zero_or_nan(value: f64) -> f64 {
    if value.is_finite() { 0.0 } else { f64::NAN }
}

/// The φ-quantile of sorted values with linear interpolation, as Prometheus's `quantile`; NaN for no values.
///
/// `sorted` has NaNs first.
pub(crate) fn quantile_of_sorted(phi: f64, sorted: &[f64]) -> f64 {
    let (Some(last), false) = (sorted.len().checked_sub(1), phi.is_nan()) else {
        return f64::NAN;
    };
    if phi < 0.0 {
        return f64::NEG_INFINITY;
    }
    if phi > 1.0 {
        return f64::INFINITY;
    }
    let rank = phi * last as f64;
    let lower = rank.floor();
    let weight = rank - lower;
    let at = |i: usize| sorted.get(i.min(last)).copied().unwrap_or(f64::NAN);
    let lower = lower as usize;
    at(lower) * (1.0 - weight) + at(lower + 1) * weight
}

/// The order in which [`quantile_of_sorted`] wants its values: NaNs first, then rising.
pub(crate) fn nan_first(a: &f64, b: &f64) -> std::cmp::Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => std::cmp::Ordering::Equal,
        (true, false) => std::cmp::Ordering::Less,
        (false, true) => std::cmp::Ordering::Greater,
        (false, false) => a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal),
    }
}

/// A number as OpenMetrics writes label values such as `le`: whole numbers end in `.0`.
pub(crate) fn open_metrics(value: f64) -> String {
    let mut text = Number(value).to_string();
    if value.is_finite() && !text.contains(['.', 'e']) {
        text.push_str(".0");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sums_keep_what_large_terms_swallow() {
        let sum = [1.0, 1e100, 1.0, -1e100].into_iter().fold(KahanSum::default(), KahanSum::plus);
        assert_eq!(sum.total(), 2.0);
        let halves = KahanSum::of(1.0).plus(1e100).join(KahanSum::of(1.0).plus(-1e100));
        assert_eq!(halves.total(), 2.0);
        assert_eq!(KahanSum::of(f64::MAX).plus(f64::MAX).total(), f64::INFINITY);
    }

    #[test]
    fn means_do_not_overflow() {
        let mut mean = Mean::of(f64::MAX);
        mean.push(f64::MAX);
        assert_eq!(mean.value(), f64::MAX);
        let mut mean = Mean::of(f64::INFINITY);
        mean.push(0.0);
        assert_eq!(mean.value(), f64::INFINITY);
        mean.push(f64::NEG_INFINITY);
        assert!(mean.value().is_nan());
    }

    #[test]
    fn quantiles_by_hand() {
        assert_eq!(quantile_of_sorted(0.75, &[0.0, 1.0, 4.0]), 2.5);
        assert_eq!(quantile_of_sorted(1.0, &[0.0, 1.0, 4.0]), 4.0);
        assert_eq!(quantile_of_sorted(-0.1, &[1.0]), f64::NEG_INFINITY);
        assert_eq!(quantile_of_sorted(1.1, &[1.0]), f64::INFINITY);
        assert!(quantile_of_sorted(0.5, &[]).is_nan());
        assert!(quantile_of_sorted(f64::NAN, &[1.0]).is_nan());
    }

    #[test]
    fn whole_numbers_end_in_zero() {
        assert_eq!(open_metrics(1.0), "1.0");
        assert_eq!(open_metrics(0.25), "0.25");
        assert_eq!(open_metrics(1e6), "1e+06");
        assert_eq!(open_metrics(f64::INFINITY), "+Inf");
    }

    proptest! {
        #[test]
        fn joined_sums_agree_with_one_pass(a in prop::collection::vec(-1e9..1e9, 0..20), b in prop::collection::vec(-1e9..1e9, 0..20)) {
            let all = a.iter().chain(&b).fold(KahanSum::default(), |s, v| s.plus(*v)).total();
            let left = a.iter().fold(KahanSum::default(), |s, v| s.plus(*v));
            let right = b.iter().fold(KahanSum::default(), |s, v| s.plus(*v));
            prop_assert!((left.join(right).total() - all).abs() <= 1e-6 * all.abs().max(1e-3));
        }
    }
}
