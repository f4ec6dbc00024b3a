//! `rate`, `increase`, `delta` (one implementation), `irate`, `idelta`, `changes`, `resets`.

use model::Sample;

use crate::eval::column::Column;
use crate::functions::histograms;
use crate::functions::rollup::{Histograms, Point, Rolling, Rollup, Window, slide};
use crate::numeric::KahanSum;

/// The range functions of this file.
pub(crate) const ROLLUPS: &[Rollup] = &[
    Rollup::new("rate", |w, _| extrapolated(w, Kind::RATE))
        .histograms(Histograms::Refuse)
        .of_histograms(|w, met| histograms::extrapolated(w, Kind::RATE, met))
        .sliding(slide_rate)
        .shortcut(|rolling, column| few_resets(rolling, Kind::RATE, column)),
    Rollup::new("increase", |w, _| extrapolated(w, Kind::INCREASE))
        .histograms(Histograms::Refuse)
        .of_histograms(|w, met| histograms::extrapolated(w, Kind::INCREASE, met))
        .sliding(slide_increase)
        .shortcut(|rolling, column| few_resets(rolling, Kind::INCREASE, column)),
    Rollup::new("delta", |w, _| extrapolated(w, Kind::DELTA))
        .histograms(Histograms::Refuse)
        .of_histograms(|w, met| histograms::extrapolated(w, Kind::DELTA, met)),
    Rollup::new("irate", |w, _| last_two(w, true))
        .histograms(Histograms::RefuseNewest)
        .of_histograms(|w, met| histograms::last_two(w, true, met)),
    Rollup::new("idelta", |w, _| last_two(w, false))
        .histograms(Histograms::RefuseNewest)
        .of_histograms(|w, met| histograms::last_two(w, false, met)),
    Rollup::new("changes", |w, _| Some(changes(w)))
        .histograms(Histograms::See)
        .sliding(|rolling, column| slide_pairs(rolling, is_change, column)),
    Rollup::new("resets", |w, _| Some(resets(w)))
        .histograms(Histograms::See)
        .sliding(|rolling, column| slide_pairs(rolling, is_reset, column)),
];

/// Which of the three functions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    is_counter: bool,
    per_second: bool,
}

impl Kind {
    pub(crate) const RATE: Kind = Kind { is_counter: true, per_second: true };
    pub(crate) const INCREASE: Kind = Kind { is_counter: true, per_second: false };
    pub(crate) const DELTA: Kind = Kind { is_counter: false, per_second: false };

    /// True if a fall is a reset.
    pub(crate) fn is_counter(self) -> bool {
        self.is_counter
    }
}

/// A counter that falls starts again from 0.
fn is_reset(before: f64, after: f64) -> bool {
    after < before
}

fn is_change(before: f64, after: f64) -> bool {
    after != before && !(after.is_nan() && before.is_nan())
}

fn pairs(values: &[f64]) -> impl Iterator<Item = (f64, f64)> + '_ {
    values.iter().copied().zip(values.iter().copied().skip(1))
}

fn count_pairs(values: &[f64], counts: fn(f64, f64) -> bool) -> f64 {
    pairs(values).filter(|(a, b)| counts(*a, *b)).count() as f64
}

fn changes(window: &Window<'_>) -> f64 {
    if window.histograms.is_empty() {
        return count_pairs(window.values, is_change);
    }
    histograms::count_pairs(window, is_change, |before, after| !after.same_as(before))
}

fn resets(window: &Window<'_>) -> f64 {
    if window.histograms.is_empty() {
        return count_pairs(window.values, is_reset);
    }
    histograms::count_pairs(window, is_reset, |before, after| after.is_reset_after(before))
}

fn seconds(from_ms: i64, to_ms: i64) -> f64 {
    to_ms.saturating_sub(from_ms) as f64 / 1000.0
}

fn extrapolated(window: &Window<'_>, kind: Kind) -> Option<f64> {
    let (first, last) = window.ends()?;
    let mut rise = last.value - first.value;
    if kind.is_counter {
        rise = pairs(window.values).filter(|(a, b)| is_reset(*a, *b)).fold(rise, |rise, (before, _)| rise + before);
    }
    extrapolate(window, rise, kind)
}

fn extrapolate(window: &Window<'_>, rise: f64, kind: Kind) -> Option<f64> {
    let (first, last) = window.ends()?;
    let sample = |point: Point| Sample { timestamp_ms: point.time_ms, value: point.value };
    let (first, last, count) = (sample(first), sample(last), window.values.len() as u64);
    Stretch { first, last, count, start_ms: window.start_ms, end_ms: window.end_ms }.of(rise, kind)
}

/// A window and the samples at its ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stretch {
    pub(crate) first: Sample,
    pub(crate) last: Sample,
    /// Samples in the window, at least 2.
    pub(crate) count: u64,
    /// The time before the window's first millisecond.
    pub(crate) start_ms: i64,
    /// The window's last millisecond.
    pub(crate) end_ms: i64,
}

impl Stretch {
    /// Stretches what the samples show over the whole range, as Prometheus 3's `extrapolatedRate`: to the range's edges
    /// where a sample lies within 1.1 average gaps of them, else by half a gap; never to where a counter would be
    /// negative.
    pub(crate) fn of(&self, rise: f64, kind: Kind) -> Option<f64> {
        Some(rise * self.factor(rise, kind)?)
    }

    /// What the rise is to be multiplied with.
    pub(crate) fn factor(&self, rise: f64, kind: Kind) -> Option<f64> {
        let sampled = seconds(self.first.timestamp_ms, self.last.timestamp_ms);
        let gap = sampled / (self.count.checked_sub(1)?) as f64;
        let reach = |distance: f64| if distance >= gap * 1.1 { gap / 2.0 } else { distance };
        let mut to_start = reach(seconds(self.start_ms, self.first.timestamp_ms));
        if kind.is_counter && rise > 0.0 && self.first.value >= 0.0 {
            let to_zero = sampled * (self.first.value / rise);
            if to_zero < to_start {
                to_start = to_zero;
            }
        }
        let to_end = reach(seconds(self.last.timestamp_ms, self.end_ms));
        let mut factor = (sampled + to_start + to_end) / sampled;
        if kind.per_second {
            factor /= seconds(self.start_ms, self.end_ms);
        }
        Some(factor)
    }
}

fn last_two(window: &Window<'_>, is_rate: bool) -> Option<f64> {
    let [.., before_ms, last_ms] = window.times else { return None };
    let [.., before, last] = window.values else { return None };
    if !is_rate {
        return Some(last - before);
    }
    let rise = if is_reset(*before, *last) { *last } else { last - before };
    Some(rise / seconds(*before_ms, *last_ms))
}

fn slide_rate(rolling: &Rolling<'_>, column: &mut Column<'_>) {
    slide_counter(rolling, Kind::RATE, column);
}

fn slide_increase(rolling: &Rolling<'_>, column: &mut Column<'_>) {
    slide_counter(rolling, Kind::INCREASE, column);
}

/// The bounds of the pairs in each window, a pair being named by its second sample.
fn pair_bounds<'r>(rolling: &'r Rolling<'_>) -> impl Iterator<Item = std::ops::Range<usize>> + 'r {
    rolling.bounds.iter().map(|b| (b.start + 1).min(b.end)..b.end)
}

fn pair_at(values: &[f64], second: usize) -> (f64, f64) {
    match (second.checked_sub(1).and_then(|first| values.get(first)), values.get(second)) {
        (Some(a), Some(b)) => (*a, *b),
        _ => (0.0, 0.0),
    }
}

fn slide_counter(rolling: &Rolling<'_>, kind: Kind, column: &mut Column<'_>) {
    let values = &rolling.samples.values;
    let lost = |second| match pair_at(values, second) {
        (before, after) if is_reset(before, after) => KahanSum::of(before),
        _ => KahanSum::default(),
    };
    slide(pair_bounds(rolling), lost, KahanSum::join, |i, lost| {
        let window = rolling.window(i);
        let Some((first, last)) = window.ends() else { return };
        if let Some(value) = extrapolate(&window, last.value - first.value + lost.total(), kind) {
            column.set(i, value);
        }
    });
}

/// Resets of a series up to which each window looks at those that lie in it.
const RESETS_MAX: usize = 16;

/// Counters seldom start again: then a window is its first and its last sample.
fn few_resets(rolling: &Rolling<'_>, kind: Kind, column: &mut Column<'_>) -> bool {
    let values = &rolling.samples.values;
    if values.iter().zip(values.iter().skip(1)).filter(|(a, b)| b < a).count() > RESETS_MAX {
        return false;
    }
    // Each by its second sample, with the value before.
    let resets: Vec<(usize, f64)> =
        (1..).zip(pairs(values)).filter(|(_, (a, b))| is_reset(*a, *b)).map(|(second, (a, _))| (second, a)).collect();
    let times = &rolling.samples.times;
    let sample = |i: usize| Some(Sample { timestamp_ms: *times.get(i)?, value: *values.get(i)? });
    for (i, bounds) in rolling.bounds.iter().enumerate().filter(|(_, bounds)| bounds.len() > 1) {
        let Some((first, last)) = sample(bounds.start).zip(sample(bounds.end - 1)) else { continue };
        let mut rise = last.value - first.value;
        for (_, before) in resets.iter().filter(|(second, _)| bounds.start < *second && *second < bounds.end) {
            rise += before;
        }
        let (start_ms, end_ms) = (rolling.windows.start_ms(i), rolling.windows.end_ms(i));
        let stretch = Stretch { first, last, count: bounds.len() as u64, start_ms, end_ms };
        if let Some(value) = stretch.of(rise, kind) {
            column.set(i, value);
        }
    }
    true
}

fn slide_pairs(rolling: &Rolling<'_>, counts: fn(f64, f64) -> bool, column: &mut Column<'_>) {
    for (i, bounds) in rolling.bounds.iter().enumerate() {
        if bounds.len() == 1 {
            column.set(i, 0.0);
        }
    }
    let values = &rolling.samples.values;
    let of = |second| {
        let (a, b) = pair_at(values, second);
        u64::from(counts(a, b))
    };
    slide(pair_bounds(rolling), of, |a, b| a + b, |i, count| column.set(i, count as f64));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window<'w>(times: &'w [i64], values: &'w [f64], range: (i64, i64)) -> Window<'w> {
        let (histogram_times, histograms) = (&[], &[]);
        Window { times, values, histogram_times, histograms, start_ms: range.0, end_ms: range.1, at_ms: range.1 }
    }

    #[test]
    fn extrapolation_by_hand() {
        // Three samples 10 s apart, 5 s from both edges: stretched over the whole 30 s.
        let w = window(&[5_000, 15_000, 25_000], &[10.0, 20.0, 30.0], (0, 30_000));
        assert_eq!(extrapolated(&w, Kind::INCREASE), Some(30.0));
        assert_eq!(extrapolated(&w, Kind::RATE), Some(1.0));
        assert_eq!(extrapolated(&w, Kind::DELTA), Some(30.0));
        // 15 s are more than 1.1 gaps: half a gap on that side.
        let w = window(&[15_000, 25_000], &[10.0, 20.0], (0, 30_000));
        assert_eq!(extrapolated(&w, Kind::INCREASE), Some(20.0));
        // The counter was 0 one second before its first sample.
        let w = window(&[5_000, 15_000, 25_000], &[1.0, 11.0, 21.0], (0, 30_000));
        assert_eq!(extrapolated(&w, Kind::INCREASE), Some(26.0));
        // A reset adds what was lost.
        let w = window(&[10_000, 20_000, 30_000], &[10.0, 14.0, 2.0], (0, 30_000));
        assert!((extrapolated(&w, Kind::INCREASE).unwrap() - 9.0).abs() < 1e-12);
        assert_eq!(extrapolated(&window(&[1], &[1.0], (0, 2)), Kind::RATE), None);
    }

    #[test]
    fn instant_rates_by_hand() {
        let w = window(&[0, 10_000, 15_000], &[5.0, 8.0, 2.0], (-1, 15_000));
        assert_eq!(last_two(&w, true), Some(0.4));
        assert_eq!(last_two(&w, false), Some(-6.0));
        assert_eq!(last_two(&window(&[1], &[1.0], (0, 2)), true), None);
    }

    #[test]
    fn changes_and_resets_by_hand() {
        let nan = f64::NAN;
        assert_eq!(count_pairs(&[1.0, nan, nan, 1.0, 1.0, 0.0], is_change), 3.0);
        assert_eq!(count_pairs(&[3.0, 2.0, nan, 1.0, 5.0, 4.0], is_reset), 2.0);
    }
}
