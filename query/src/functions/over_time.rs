//! The `…_over_time` functions.

use crate::eval::column::Column;
use crate::functions::histograms;
use crate::functions::partial::{larger, smaller};
use crate::functions::rollup::{Histograms, Point, Rolling, Rollup, Window, slide};
use crate::numeric::{KahanSum, Mean, nan_first, quantile_of_sorted, zero_or_nan};

/// The range functions of this file.
pub(crate) const ROLLUPS: &[Rollup] = &[
    Rollup::new("sum_over_time", |w, _| Some(sum(w.values).total()))
        .histograms(Histograms::Refuse)
        .of_histograms(histograms::sum)
        .sliding(slide_sum),
    Rollup::new("avg_over_time", |w, _| mean(w.values))
        .histograms(Histograms::Refuse)
        .of_histograms(histograms::mean)
        .sliding(slide_mean),
    Rollup::new("min_over_time", |w, _| w.values.iter().copied().reduce(smaller)).sliding(slide_min),
    Rollup::new("max_over_time", |w, _| w.values.iter().copied().reduce(larger)).sliding(slide_max),
    Rollup::new("stddev_over_time", |w, _| Some(variance(w.values).sqrt()))
        .sliding(|rolling, column| slide_variance(rolling, f64::sqrt, column)),
    Rollup::new("stdvar_over_time", |w, _| Some(variance(w.values)))
        .sliding(|rolling, column| slide_variance(rolling, |v| v, column)),
    Rollup::new("quantile_over_time", |w, params| Some(quantile(w.values, params))).sliding(slide_quantile),
    Rollup::new("mad_over_time", |w, _| Some(median_deviation(w.values))),
    Rollup::new("count_over_time", |w, _| Some((w.values.len() + w.histogram_times.len()) as f64))
        .histograms(Histograms::See),
    Rollup::new("present_over_time", |_, _| Some(1.0)).histograms(Histograms::See),
    Rollup::new("absent_over_time", |_, _| Some(1.0)).histograms(Histograms::See),
    Rollup::new("last_over_time", |w, _| last(w))
        .histograms(Histograms::See)
        .of_histograms(|w, _| histograms::last(w))
        .keeping_name(),
    Rollup::new("first_over_time", |w, _| first(w))
        .histograms(Histograms::See)
        .of_histograms(|w, _| histograms::first(w))
        .keeping_name(),
    Rollup::new("ts_of_last_over_time", |w, _| w.times.last().max(w.histogram_times.last()).map(|time| seconds(*time)))
        .histograms(Histograms::See),
    Rollup::new("ts_of_first_over_time", |w, _| {
        w.times.iter().take(1).chain(w.histogram_times.first()).min().map(|time| seconds(*time))
    })
    .histograms(Histograms::See),
    Rollup::new("ts_of_min_over_time", |w, _| w.points().reduce(last_smallest).map(|p| seconds(p.time_ms)))
        .sliding(|rolling, column| slide_extreme_time(rolling, last_smallest, column)),
    Rollup::new("ts_of_max_over_time", |w, _| w.points().reduce(last_largest).map(|p| seconds(p.time_ms)))
        .sliding(|rolling, column| slide_extreme_time(rolling, last_largest, column)),
];

fn seconds(time_ms: i64) -> f64 {
    time_ms as f64 / 1000.0
}

fn sum(values: &[f64]) -> KahanSum {
    values.iter().copied().fold(KahanSum::default(), KahanSum::plus)
}

fn mean(values: &[f64]) -> Option<f64> {
    let (first, rest) = values.split_first()?;
    let mut mean = Mean::of(*first);
    rest.iter().for_each(|value| mean.push(*value));
    Some(mean.value())
}

fn last_smallest(a: Point, b: Point) -> Point {
    if b.value <= a.value || a.value.is_nan() { b } else { a }
}

fn last_largest(a: Point, b: Point) -> Point {
    if b.value >= a.value || a.value.is_nan() { b } else { a }
}

/// The last float, unless a native histogram came after it.
fn last(window: &Window<'_>) -> Option<f64> {
    let point = window.last()?;
    (window.histogram_times.last() < Some(&point.time_ms)).then_some(point.value)
}

/// The first float, unless a native histogram came before it.
fn first(window: &Window<'_>) -> Option<f64> {
    let point = window.first()?;
    window.histogram_times.first().is_none_or(|time| point.time_ms < *time).then_some(point.value)
}

/// The variance of a population by the corrected two-pass algorithm (Chan, Golub and LeVeque, 1983), from the first
/// value as a provisional mean; as exact as Prometheus's compensated recurrence, and several values at a time.
fn variance(values: &[f64]) -> f64 {
    let Some(first) = values.first() else { return f64::NAN };
    let count = values.len() as f64;
    let mean = in_lanes(values, |value| value - first) / count;
    let off = in_lanes(values, |value| (value - first) - mean);
    let squares = in_lanes(values, |value| {
        let distance = (value - first) - mean;
        distance * distance
    });
    // What rounding left of the squares can fall below what the mean was off.
    let variance = (squares - off * off / count) / count;
    if variance < 0.0 { 0.0 } else { variance }
}

/// The sum of a function of each value, in partial sums that processors can form side by side.
fn in_lanes(values: &[f64], of: impl Fn(f64) -> f64) -> f64 {
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    let (rows, rest) = values.as_chunks::<LANES>();
    for row in rows {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += of(*value);
        }
    }
    let rest: f64 = rest.iter().map(|value| of(*value)).sum();
    sums.iter().sum::<f64>() + rest
}

fn quantile(values: &[f64], params: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(nan_first);
    quantile_of_sorted(params.first().copied().unwrap_or(f64::NAN), &sorted)
}

/// The median of the distances from the median; NaN if any value is.
fn median_deviation(values: &[f64]) -> f64 {
    if values.iter().any(|value| value.is_nan()) {
        return f64::NAN;
    }
    let median = quantile(values, &[0.5]);
    let distances: Vec<f64> = values.iter().map(|value| (value - median).abs()).collect();
    quantile(&distances, &[0.5])
}

fn value_at(rolling: &Rolling<'_>, i: usize) -> f64 {
    rolling.samples.values.get(i).copied().unwrap_or(f64::NAN)
}

fn slide_sum(rolling: &Rolling<'_>, column: &mut Column<'_>) {
    let of = |i| KahanSum::default().plus(value_at(rolling, i));
    slide(rolling.bounds.iter().cloned(), of, KahanSum::join, |i, sum| column.set(i, sum.total()));
}

fn slide_mean(rolling: &Rolling<'_>, column: &mut Column<'_>) {
    let of = |i| KahanSum::of(value_at(rolling, i));
    slide(rolling.bounds.iter().cloned(), of, KahanSum::join, |i, sum| {
        let window = rolling.window(i);
        let count = window.values.len() as f64;
        // A sum that overflows needs the incremental mean, which cannot be joined; that is rare enough to scan.
        let value = if sum.sum.is_finite() { Some(sum.sum / count + sum.lost / count) } else { mean(window.values) };
        if let Some(value) = value {
            column.set(i, value);
        }
    });
}

fn slide_min(rolling: &Rolling<'_>, column: &mut Column<'_>) {
    slide(rolling.bounds.iter().cloned(), |i| value_at(rolling, i), smaller, |i, value| column.set(i, value));
}

fn slide_max(rolling: &Rolling<'_>, column: &mut Column<'_>) {
    slide(rolling.bounds.iter().cloned(), |i| value_at(rolling, i), larger, |i, value| column.set(i, value));
}

fn slide_extreme_time(rolling: &Rolling<'_>, choose: fn(Point, Point) -> Point, column: &mut Column<'_>) {
    let times = &rolling.samples.times;
    let of = |i| Point { time_ms: times.get(i).copied().unwrap_or_default(), value: value_at(rolling, i) };
    slide(rolling.bounds.iter().cloned(), of, choose, |i, point| column.set(i, seconds(point.time_ms)));
}

/// Count, mean and sum of squared distances from the mean; joined by Chan's formula.
#[derive(Clone, Copy)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn of(value: f64) -> Self {
        Moments { count: 1.0, mean: value, squares: zero_or_nan(value) }
    }

    fn join(self, other: Moments) -> Self {
        let count = self.count + other.count;
        let delta = other.mean - self.mean;
        Moments {
            count,
            mean: self.mean + delta * (other.count / count),
            squares: self.squares + other.squares + delta * delta * (self.count * other.count / count),
        }
    }
}

fn slide_variance(rolling: &Rolling<'_>, finish: fn(f64) -> f64, column: &mut Column<'_>) {
    let of = |i| Moments::of(value_at(rolling, i));
    slide(rolling.bounds.iter().cloned(), of, Moments::join, |i, moments| {
        column.set(i, finish(moments.squares / moments.count));
    });
}

/// Keeps the window's values sorted: a search and a short move of memory for each sample that comes or goes.
fn slide_quantile(rolling: &Rolling<'_>, column: &mut Column<'_>) {
    let phi = rolling.params.first().map_or(f64::NAN, |p| p.get(0));
    let place = |sorted: &[f64], value: f64| sorted.partition_point(|held| nan_first(held, &value).is_lt());
    let mut sorted: Vec<f64> = Vec::new();
    let (mut low, mut high) = (0, 0);
    for (i, bounds) in rolling.bounds.iter().enumerate() {
        if bounds.start >= high {
            sorted.clear();
            (low, high) = (bounds.start, bounds.start);
        }
        for index in high..bounds.end {
            let value = value_at(rolling, index);
            let at = place(&sorted, value);
            sorted.insert(at, value);
        }
        high = high.max(bounds.end);
        for index in low..bounds.start {
            let at = place(&sorted, value_at(rolling, index));
            if at < sorted.len() {
                sorted.remove(at);
            }
        }
        low = bounds.start;
        if !sorted.is_empty() {
            column.set(i, quantile_of_sorted(phi, &sorted));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_by_hand() {
        assert_eq!(sum(&[1.0, 1e100, 1.0, -1e100]).total(), 2.0);
        assert_eq!(mean(&[1.0, 2.0, 6.0]), Some(3.0));
        assert_eq!(variance(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]), 4.0);
        assert_eq!(variance(&[1.599_050_563_727_786_8; 3]), 0.0);
        assert_eq!(median_deviation(&[4.0, 6.0, 2.0, 1.0, 999.0, 1.0, 2.0]), 1.0);
        assert!(median_deviation(&[1.0, 2.0, f64::NAN, 4.0]).is_nan());
        assert_eq!(quantile(&[4.0, 0.0, 1.0], &[0.75]), 2.5);
        assert!(quantile(&[0.0, f64::NAN], &[0.2]).is_nan());
    }

    #[test]
    fn extremes_skip_nan_and_take_the_last_of_equals() {
        let nan = f64::NAN;
        assert_eq!([nan, 0.0, 1.0].into_iter().reduce(smaller), Some(0.0));
        assert_eq!([2.0, nan, 1.0].into_iter().reduce(larger), Some(2.0));
        assert!([nan, nan].into_iter().reduce(larger).unwrap().is_nan());
        let w = Window {
            times: &[1000, 2000, 3000],
            values: &[5.0, 5.0, 1.0],
            histogram_times: &[2500],
            histograms: &[],
            start_ms: 0,
            end_ms: 3000,
            at_ms: 3000,
        };
        assert_eq!(w.points().reduce(last_largest).unwrap().time_ms, 2000);
        assert_eq!(last(&w), Some(1.0));
        assert_eq!(first(&w), Some(5.0));
        assert_eq!(last(&Window { histogram_times: &[3500], ..w }), None);
        assert_eq!(first(&Window { histogram_times: &[500], ..w }), None);
    }
}
