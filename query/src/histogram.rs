//! Quantiles and fractions of classic histograms (series with the label `le` that count the observations up to a bound)
//! and of native ones.

use std::cmp::Ordering;
use std::collections::HashMap;

use model::{Histogram, Labels, LabelsBuilder, METRIC_NAME, StatisticNote};

use crate::ast::Expr;
use crate::error::QueryError;
use crate::eval::column::{Column, Scalars, Series};
use crate::eval::{Evaluator, Grid, Sink, failed, merged};
use crate::numeric::open_metrics;
use crate::plan::strip;
use crate::span::Span;

/// The label with a bucket's upper bound.
const BUCKET_LABEL: &str = "le";

/// Counts of neighbouring buckets this close are taken as equal: sums of rates are not exact.
const SMALL_DELTA_TOLERANCE: f64 = 1e-12;

/// Observations up to and including a bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bucket {
    upper: f64,
    count: f64,
}

/// The series of one histogram, sorted by bound; or one with native histograms; or, by mistake, both.
struct Family<'q> {
    name: String,
    labels: Labels,
    buckets: Vec<(f64, Column<'q>)>,
    native: Option<Column<'q>>,
}

impl Family<'_> {
    /// The buckets that have a value at step `i`.
    fn at(&self, i: usize, buckets: &mut Vec<Bucket>) {
        buckets.clear();
        let present = self.buckets.iter().filter_map(|(upper, column)| Some((*upper, column.get(i)?)));
        buckets.extend(present.map(|(upper, count)| Bucket { upper, count }));
    }
}

impl<'q> Evaluator<'q> {
    /// `histogram_quantile(φ, buckets)`.
    pub(crate) fn histogram_quantile(
        &self,
        args: &[Expr],
        grid: Grid,
        sink: &mut Sink<'_, 'q>,
    ) -> Result<(), QueryError> {
        let phi = self.scalar(self.arg(args, 0)?, grid)?;
        self.note_phi(self.arg(args, 0)?, &phi, grid);
        let arg = strip(self.arg(args, 1)?);
        let families = self.families(arg, grid)?;
        let results = self.quantiles(&families, &phi, arg, self.arg(args, 0)?.span, grid)?;
        merged(results)?.into_iter().try_for_each(sink)
    }

    /// `histogram_quantiles(buckets, label, φ, …)`: one series for each φ, told apart by the label.
    pub(crate) fn histogram_quantiles(
        &self,
        args: &[Expr],
        grid: Grid,
        sink: &mut Sink<'_, 'q>,
    ) -> Result<(), QueryError> {
        let label = self.text(args, 1)?;
        let arg = strip(self.arg(args, 0)?);
        let families = self.families(arg, grid)?;
        let mut results = Vec::new();
        for phi_arg in args.get(2..).unwrap_or_default() {
            let phi = self.scalar(phi_arg, grid)?;
            self.note_phi(phi_arg, &phi, grid);
            for series in self.quantiles(&families, &phi, arg, arg.span, grid)? {
                if series.labels.get(label).is_some() {
                    return Err(failed(&format!("label {label:?} of histogram_quantiles is there already")));
                }
                results.extend(self.split_by_phi(&series, label, &phi)?);
            }
        }
        merged(results)?.into_iter().try_for_each(sink)
    }

    /// `histogram_fraction(lower, upper, buckets)`.
    pub(crate) fn histogram_fraction(
        &self,
        args: &[Expr],
        grid: Grid,
        sink: &mut Sink<'_, 'q>,
    ) -> Result<(), QueryError> {
        let lower = self.scalar(self.arg(args, 0)?, grid)?;
        let upper = self.scalar(self.arg(args, 1)?, grid)?;
        let families = self.families(strip(self.arg(args, 2)?), grid)?;
        let native = |i, name: &str, histogram: &Histogram| {
            let (value, note) = histogram.fraction(lower.get(i), upper.get(i));
            if let (Some(StatisticNote), Some(first)) = (note, args.first()) {
                self.notes.nan_in_fraction(first.span, name);
            }
            value
        };
        let classic = |i, buckets: &mut Vec<Bucket>| fraction(lower.get(i), upper.get(i), buckets);
        let results = self.each_family(&families, strip(self.arg(args, 2)?), grid, classic, native)?;
        merged(results)?.into_iter().try_for_each(sink)
    }

    fn note_phi(&self, arg: &Expr, phi: &Scalars<'_>, grid: Grid) {
        phi.distinct(grid.len).for_each(|phi| self.notes.invalid_quantile(strip(arg).span, phi));
    }

    /// Puts the buckets of each histogram together. Metrics of different names are different histograms.
    fn families(&self, arg: &Expr, grid: Grid) -> Result<Vec<Family<'q>>, QueryError> {
        let mut places: HashMap<Labels, usize> = HashMap::new();
        let mut families: Vec<Family<'q>> = Vec::new();
        let mut add = |mut series: Series<'q>| {
            let mut place_of = |families: &mut Vec<Family<'q>>, key: Labels| {
                *places.entry(key).or_insert_with_key(|key| {
                    let labels = key.filtered(|name| name != METRIC_NAME);
                    let name = key.metric_name().to_owned();
                    families.push(Family { name, labels, buckets: Vec::new(), native: None });
                    families.len() - 1
                })
            };
            if series.column.has_histograms() {
                let mut native = Column::absent(grid.len, self.budget)?;
                for (i, histogram) in series.column.histograms() {
                    native.set_histogram(i, histogram.clone())?;
                }
                let place = place_of(&mut families, series.labels.clone());
                if let Some(family) = families.get_mut(place) {
                    family.native = Some(native);
                }
                if series.column.has_no_floats() {
                    return Ok(());
                }
                series.column.clear_histograms();
            }
            let bound = series.labels.get(BUCKET_LABEL).unwrap_or_default();
            let Ok(upper) = bound.parse::<f64>() else {
                self.notes.bad_bucket_label(arg.span, series.labels.metric_name(), bound);
                return Ok(());
            };
            let key = series.labels.filtered(|name| name != BUCKET_LABEL);
            let place = place_of(&mut families, key);
            if let Some(family) = families.get_mut(place) {
                family.buckets.push((upper, series.column));
            }
            Ok(())
        };
        self.finding_resets(false, || self.stream(arg, grid, &mut add))?;
        for family in &mut families {
            family.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        Ok(families)
    }

    /// A function of each histogram at each step: of the buckets of a classic one, or of a native one.
    fn each_family(
        &self,
        families: &[Family<'q>],
        arg: &Expr,
        grid: Grid,
        mut classic: impl FnMut(usize, &mut Vec<Bucket>) -> f64,
        native: impl Fn(usize, &str, &Histogram) -> f64,
    ) -> Result<Vec<Series<'q>>, QueryError> {
        let mut results = Vec::with_capacity(families.len());
        let mut buckets = Vec::new();
        for family in families {
            self.budget.check()?;
            let mut column = Column::absent(grid.len, self.budget)?;
            for i in 0..grid.len {
                family.at(i, &mut buckets);
                match family.native.as_ref().and_then(|column| column.histogram(i)) {
                    Some(_) if !buckets.is_empty() => self.notes.mixed_classic_native(arg.span, &family.name),
                    Some(histogram) => column.set(i, native(i, &family.name, histogram)),
                    None if !buckets.is_empty() => column.set(i, classic(i, &mut buckets)),
                    None => {}
                }
            }
            let mut series = Series::new(family.labels.clone(), column)?;
            self.drop_name(&mut series);
            results.push(series);
        }
        Ok(results)
    }

    fn quantiles(
        &self,
        families: &[Family<'q>],
        phi: &Scalars<'_>,
        arg: &Expr,
        note_span: Span,
        grid: Grid,
    ) -> Result<Vec<Series<'q>>, QueryError> {
        let mut forced = false;
        let classic = |i, buckets: &mut Vec<Bucket>| {
            let (value, was_forced) = quantile(phi.get(i), buckets);
            forced |= was_forced;
            value
        };
        let native = |i, name: &str, histogram: &Histogram| {
            let (value, note) = histogram.quantile(phi.get(i));
            if let Some(note) = note {
                self.notes.nan_in_quantile(note_span, name, note);
            }
            value
        };
        let results = self.each_family(families, arg, grid, classic, native)?;
        if forced {
            self.notes.forced_monotonicity(arg.span);
        }
        Ok(results)
    }

    /// The series with φ in a label; where φ changes with time there are several.
    fn split_by_phi(&self, series: &Series<'q>, label: &str, phi: &Scalars<'_>) -> Result<Vec<Series<'q>>, QueryError> {
        let mut parts: Vec<(u64, Series<'q>)> = Vec::new();
        for (i, value) in series.column.present() {
            let phi = phi.get(i);
            let place = match parts.iter().position(|(bits, _)| *bits == phi.to_bits()) {
                Some(place) => place,
                None => {
                    let mut part = series.with_column(Column::absent(series.column.len(), self.budget)?)?;
                    let labels = LabelsBuilder::from_labels(&series.labels).set(label, &open_metrics(phi)).build();
                    part.labels = labels.map_err(|error| failed(&error.to_string()))?;
                    parts.push((phi.to_bits(), part));
                    parts.len() - 1
                }
            };
            if let Some((_, part)) = parts.get_mut(place) {
                part.column.set(i, value);
            }
        }
        Ok(parts.into_iter().map(|(_, part)| part).collect())
    }
}

/// The φ-quantile of sorted buckets and whether counts had to be forced to rise, as Prometheus's `BucketQuantile`:
/// observations are spread evenly inside a bucket, and the first one starts at 0 if its bound is positive.
fn quantile(phi: f64, buckets: &mut Vec<Bucket>) -> (f64, bool) {
    if phi.is_nan() {
        return (f64::NAN, false);
    }
    if phi < 0.0 {
        return (f64::NEG_INFINITY, false);
    }
    if phi > 1.0 {
        return (f64::INFINITY, false);
    }
    if buckets.last().is_none_or(|b| b.upper != f64::INFINITY) {
        return (f64::NAN, false);
    }
    join_equal_bounds(buckets);
    level_small_deltas(buckets);
    let forced = force_rising(buckets);
    let [inner @ .., last] = buckets.as_slice() else { return (f64::NAN, false) };
    let Some(highest) = inner.last() else { return (f64::NAN, false) };
    if last.count == 0.0 {
        return (f64::NAN, false);
    }
    let rank = phi * last.count;
    // The last bucket has no upper bound; what falls into it is put at its lower one.
    let place = inner.partition_point(|b| b.count.partial_cmp(&rank).is_none_or(Ordering::is_lt));
    let Some(bucket) = inner.get(place) else { return (highest.upper, forced) };
    let below = match place.checked_sub(1).and_then(|before| inner.get(before)) {
        Some(before) => *before,
        None if bucket.upper <= 0.0 => return (bucket.upper, forced),
        None => Bucket { upper: 0.0, count: 0.0 },
    };
    let share = (rank - below.count) / (bucket.count - below.count);
    (below.upper + (bucket.upper - below.upper) * share, forced)
}

/// The share of observations between two values, as Prometheus's `BucketFraction`.
fn fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    join_equal_bounds(buckets);
    let Some(last) = buckets.last().filter(|b| b.upper == f64::INFINITY).copied() else { return f64::NAN };
    if last.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    (rank_of(upper, buckets, last.count) - rank_of(lower, buckets, last.count)) / last.count
}

/// Observations up to `value`, spread evenly inside a bucket. What lies in a bucket without a lower bound counts as
/// below `value`, what lies in one without an upper bound as above.
fn rank_of(value: f64, buckets: &[Bucket], all: f64) -> f64 {
    let mut below = Bucket { upper: f64::NEG_INFINITY, count: 0.0 };
    for (i, bucket) in buckets.iter().enumerate() {
        if i == 0 && bucket.upper > 0.0 {
            below.upper = 0.0;
        }
        if below.upper >= value {
            return below.count.min(all);
        }
        if bucket.upper > value {
            let inside = bucket.count - below.count;
            let share = match (below.upper.is_finite(), bucket.upper.is_finite()) {
                (false, _) => 1.0,
                (true, false) => 0.0,
                (true, true) => (value - below.upper) / (bucket.upper - below.upper),
            };
            return (below.count + inside * share).min(all);
        }
        below = *bucket;
    }
    all
}

/// Bounds that are written differently but are the same make one bucket.
fn join_equal_bounds(buckets: &mut Vec<Bucket>) {
    buckets.dedup_by(|later, earlier| {
        let same = later.upper == earlier.upper;
        if same {
            earlier.count += later.count;
        }
        same
    });
}

fn level_small_deltas(buckets: &mut [Bucket]) {
    let Some(mut before) = buckets.first().map(|b| b.count) else { return };
    for bucket in buckets.iter_mut().skip(1) {
        let delta = (bucket.count - before).abs();
        if delta == 0.0 {
            continue;
        }
        if delta / bucket.count <= SMALL_DELTA_TOLERANCE {
            bucket.count = before;
        } else {
            before = bucket.count;
        }
    }
}

/// Lifts counts that fall to the highest before them; true if there were any.
fn force_rising(buckets: &mut [Bucket]) -> bool {
    let mut forced = false;
    let Some(mut highest) = buckets.first().map(|b| b.count) else { return false };
    for bucket in buckets.iter_mut().skip(1) {
        if bucket.count > highest {
            highest = bucket.count;
        } else if bucket.count < highest {
            bucket.count = highest;
            forced = true;
        }
    }
    forced
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(list: &[(f64, f64)]) -> Vec<Bucket> {
        list.iter().map(|(upper, count)| Bucket { upper: *upper, count: *count }).collect()
    }

    const INF: f64 = f64::INFINITY;

    #[test]
    fn quantiles_by_hand() {
        let of = |phi, list: &[(f64, f64)]| quantile(phi, &mut buckets(list)).0;
        let positive = [(0.1, 50.0), (0.2, 70.0), (1.0, 110.0), (INF, 120.0)];
        assert!((of(0.2, &positive) - 0.048).abs() < 1e-12);
        assert!((of(0.8, &positive) - 0.72).abs() < 1e-12);
        assert_eq!(of(1.0, &positive), 1.0);
        let negative = [(-0.2, 10.0), (-0.1, 20.0), (0.3, 20.0), (INF, 30.0)];
        assert_eq!(of(0.0, &negative), -0.2);
        assert_eq!(of(0.8, &negative), 0.3);
        assert_eq!(of(-0.1, &positive), f64::NEG_INFINITY);
        assert_eq!(of(1.1, &positive), INF);
        assert!(of(0.5, &positive[..3]).is_nan(), "no +Inf");
        assert!(of(0.5, &[(INF, 3.0)]).is_nan(), "one bucket");
        assert!(of(0.5, &[(1.0, 0.0), (INF, 0.0)]).is_nan(), "no observations");
    }

    #[test]
    fn counts_that_fall_are_forced() {
        let mut list = buckets(&[(0.1, 20.0), (1.0, 10.0), (10.0, 50.0), (100.0, 40.0), (1000.0, 90.0), (INF, 80.0)]);
        let (value, forced) = quantile(0.5, &mut list);
        assert!((value - 8.5).abs() < 1e-12 && forced);
        let mut list = buckets(&[(1.0, 1.0), (2.0, 1.0 - 1e-14), (INF, 2.0)]);
        assert!(!quantile(0.9, &mut list).1, "a rounding error is no fall");
    }

    #[test]
    fn fractions_by_hand() {
        let of = |lower, upper, list: &[(f64, f64)]| fraction(lower, upper, &mut buckets(list));
        let positive = [(1.0, 1.0), (2.0, 3.0), (3.0, 6.0), (INF, 100.0)];
        assert_eq!(of(0.0, 1.5, &positive), 0.02);
        assert_eq!(of(0.5, 2.0, &positive), 0.025);
        assert_eq!(of(2.0, 5.0, &positive), 0.03);
        assert_eq!(of(-INF, INF, &positive), 1.0);
        assert_eq!(of(400.0, INF, &positive), 0.94);
        assert_eq!(of(-10.0, -5.0, &positive), 0.0);
        assert_eq!(of(3.0, 2.0, &positive), 0.0);
        let negative = [(-3.0, 10.0), (-2.0, 12.0), (-1.0, 15.0), (INF, 100.0)];
        assert_eq!(of(-4.0, -2.0, &negative), 0.02);
        assert_eq!(of(-INF, -1.5, &negative), 0.135);
        assert!(of(f64::NAN, 1.0, &positive).is_nan());
        assert!(of(0.0, 1.0, &positive[..3]).is_nan());
    }
}
