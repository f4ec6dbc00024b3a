//! `deriv`, `predict_linear` and `double_exponential_smoothing`.

use crate::eval::column::Column;
use crate::functions::rollup::{Point, Rolling, Rollup, Window, slide};
use crate::numeric::{KahanSum, zero_or_nan};

/// The range functions of this file.
pub(crate) const ROLLUPS: &[Rollup] = &[
    Rollup::new("deriv", |w, _| Some(regression(w, w.ends()?.0.time_ms).slope)).sliding(slide_deriv),
    Rollup::new("predict_linear", |w, params| {
        w.ends()?;
        Some(regression(w, w.at_ms).after(params.first().copied()?))
    })
    .sliding(slide_prediction),
    Rollup::new("double_exponential_smoothing", smooth).checked(check_factors),
];

/// A straight line; `level` is its value at the time that it was made for.
#[derive(Debug, Clone, Copy)]
struct Line {
    slope: f64,
    level: f64,
}

impl Line {
    /// A line through values that are all the same.
    fn flat(level: f64) -> Self {
        if level.is_infinite() { Line { slope: f64::NAN, level: f64::NAN } } else { Line { slope: 0.0, level } }
    }

    fn after(self, seconds: f64) -> f64 {
        self.slope * seconds + self.level
    }
}

fn seconds(from_ms: i64, to_ms: i64) -> f64 {
    to_ms.saturating_sub(from_ms) as f64 / 1000.0
}

/// Least squares as Prometheus's `linearRegression`, with the level at `at_ms`.
fn regression(window: &Window<'_>, at_ms: i64) -> Line {
    let Some(first) = window.first() else { return Line::flat(f64::NAN) };
    if window.values.iter().skip(1).all(|value| *value == first.value) {
        return Line::flat(first.value);
    }
    let (mut x, mut y, mut xy, mut xx) =
        (KahanSum::default(), KahanSum::default(), KahanSum::default(), KahanSum::default());
    for point in window.points() {
        let time = seconds(at_ms, point.time_ms);
        x = x.plus(time);
        y = y.plus(point.value);
        xy = xy.plus(time * point.value);
        xx = xx.plus(time * time);
    }
    let count = window.values.len() as f64;
    let total = |s: KahanSum| s.sum + s.lost;
    let (x, y, xy, xx) = (total(x), total(y), total(xy), total(xx));
    let slope = (xy - x * y / count) / (xx - x * x / count);
    Line { slope, level: y / count - slope * x / count }
}

/// Central moments of points up to the second order, joined as means and covariances are; `flat` while all values are
/// the same.
#[derive(Clone, Copy)]
struct Moments {
    count: f64,
    mean_x: f64,
    mean_y: f64,
    xx: f64,
    xy: f64,
    first_y: f64,
    flat: bool,
}

impl Moments {
    fn of(x: f64, y: f64) -> Self {
        Moments { count: 1.0, mean_x: x, mean_y: y, xx: 0.0, xy: zero_or_nan(y), first_y: y, flat: true }
    }

    fn join(self, other: Moments) -> Self {
        let count = self.count + other.count;
        let share = other.count / count;
        let (dx, dy) = (other.mean_x - self.mean_x, other.mean_y - self.mean_y);
        Moments {
            count,
            mean_x: self.mean_x + dx * share,
            mean_y: self.mean_y + dy * share,
            xx: self.xx + other.xx + dx * dx * (self.count * share),
            xy: self.xy + other.xy + dx * dy * (self.count * share),
            first_y: self.first_y,
            flat: self.flat && other.flat && self.first_y == other.first_y,
        }
    }

    /// The line, with its level at `x`.
    fn line(&self, x: f64) -> Line {
        if self.flat {
            return Line::flat(self.first_y);
        }
        let slope = self.xy / self.xx;
        Line { slope, level: self.mean_y + slope * (x - self.mean_x) }
    }
}

fn slide_lines(rolling: &Rolling<'_>, mut tell: impl FnMut(usize, &Moments, i64)) {
    let samples = rolling.samples;
    // Times are taken from the first sample on, so that they keep their milliseconds.
    let Some(origin_ms) = samples.times.first().copied() else { return };
    let of = |i: usize| match (samples.times.get(i), samples.values.get(i)) {
        (Some(time), Some(value)) => Moments::of(seconds(origin_ms, *time), *value),
        _ => Moments::of(0.0, f64::NAN),
    };
    slide(rolling.bounds.iter().cloned(), of, Moments::join, |i, moments| {
        if moments.count > 1.0 {
            tell(i, &moments, origin_ms);
        }
    });
}

fn slide_deriv(rolling: &Rolling<'_>, column: &mut Column<'_>) {
    slide_lines(rolling, |i, moments, _| column.set(i, moments.line(0.0).slope));
}

fn slide_prediction(rolling: &Rolling<'_>, column: &mut Column<'_>) {
    let ahead = rolling.params.first().map_or(f64::NAN, |p| p.get(0));
    slide_lines(rolling, |i, moments, origin_ms| {
        let at = seconds(origin_ms, rolling.windows.steps.time_ms(i));
        column.set(i, moments.line(at).after(ahead));
    });
}

fn check_factors(params: &[f64]) -> Result<(), String> {
    for (name, factor) in ["smoothing", "trend"].into_iter().zip(params) {
        if *factor <= 0.0 || *factor >= 1.0 {
            let short = if name == "smoothing" { "sf" } else { "tf" };
            return Err(format!("invalid {name} factor. Expected: 0 < {short} < 1, got: {factor:.6}"));
        }
    }
    Ok(())
}

/// Holt's double exponential smoothing: a level and a trend that older samples influence ever less.
fn smooth(window: &Window<'_>, params: &[f64]) -> Option<f64> {
    let [smoothing, trend_factor] = params else { return None };
    let [first, second, ..] = window.values else { return None };
    let mut before = 0.0;
    let mut level = *first;
    let mut trend = second - first;
    for (i, Point { value, .. }) in window.points().enumerate().skip(1) {
        if i > 1 {
            trend = trend_factor * (level - before) + (1.0 - trend_factor) * trend;
        }
        let next = smoothing * value + (1.0 - smoothing) * (level + trend);
        (before, level) = (level, next);
    }
    Some(level)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window<'w>(times: &'w [i64], values: &'w [f64]) -> Window<'w> {
        Window { times, values, histogram_times: &[], histograms: &[], start_ms: 0, end_ms: 40_000, at_ms: 40_000 }
    }

    #[test]
    fn lines_by_hand() {
        let w = window(&[10_000, 20_000, 30_000], &[1.0, 3.0, 5.0]);
        let line = regression(&w, w.at_ms);
        assert!((line.slope - 0.2).abs() < 1e-12);
        assert!((line.after(10.0) - 9.0).abs() < 1e-12);
        let flat = regression(&window(&[1, 2], &[4.0, 4.0]), 0);
        assert_eq!((flat.slope, flat.level), (0.0, 4.0));
        assert!(regression(&window(&[1, 2], &[f64::INFINITY; 2]), 0).slope.is_nan());
    }

    #[test]
    fn smoothing_by_hand() {
        // Level 1, trend 2; then 0.5·3 + 0.5·(1 + 2) = 3; trend 0.5·(3 − 1) + 0.5·2 = 2; 0.5·4 + 0.5·(3 + 2) = 4.5.
        assert_eq!(smooth(&window(&[1, 2, 3], &[1.0, 3.0, 4.0]), &[0.5, 0.5]), Some(4.5));
        assert_eq!(smooth(&window(&[1], &[1.0]), &[0.5, 0.5]), None);
        assert_eq!(check_factors(&[0.5, 0.5]), Ok(()));
        assert_eq!(check_factors(&[0.5, 1.0]), Err("invalid trend factor. Expected: 0 < tf < 1, got: 1.000000".into()));
        assert!(check_factors(&[0.0, 0.5]).is_err());
    }
}
