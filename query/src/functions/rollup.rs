//! What range functions have in common: a window of samples, a description of each function, and the two ways to run
//! one over all windows of a series.
//!
//! Every function can *scan* a window on its own. Where windows overlap much, scanning would cost O(samples × steps);
//! functions whose scan is not O(1) also say how to *slide*: from one window to the next with amortized O(1) or
//! O(log n) work per sample.

use std::ops::Range;
use std::sync::Arc;

use model::Histogram;

use crate::error::{ErrorKind, QueryError};
use crate::eval::column::{Column, Scalars};
use crate::eval::window::{RangeSamples, Windows};
use crate::functions::histograms::Either;
use crate::functions::{over_time, rate, trend};

/// The samples of one window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window<'w> {
    /// Their times.
    pub(crate) times: &'w [i64],
    /// Their values.
    pub(crate) values: &'w [f64],
    /// Times of native histograms in the window.
    pub(crate) histogram_times: &'w [i64],
    /// The native histograms.
    pub(crate) histograms: &'w [Arc<Histogram>],
    /// The time before the window's first millisecond.
    pub(crate) start_ms: i64,
    /// The window's last millisecond.
    pub(crate) end_ms: i64,
    /// The evaluation time; differs from `end_ms` under `offset` and `@`.
    pub(crate) at_ms: i64,
}

impl<'w> Window<'w> {
    /// First and last value, if there are two samples at least.
    pub(crate) fn ends(&self) -> Option<(Point, Point)> {
        let (first, last) = (self.first()?, self.last()?);
        (self.values.len() > 1).then_some((first, last))
    }

    /// The first sample.
    pub(crate) fn first(&self) -> Option<Point> {
        Some(Point { time_ms: *self.times.first()?, value: *self.values.first()? })
    }

    /// The last sample.
    pub(crate) fn last(&self) -> Option<Point> {
        Some(Point { time_ms: *self.times.last()?, value: *self.values.last()? })
    }

    /// Tells all samples in order of time.
    pub(crate) fn in_order(&self, mut tell: impl FnMut(Either<'w>)) {
        let mut histograms = self.histogram_times.iter().zip(self.histograms).peekable();
        for point in self.points() {
            while let Some((_, histogram)) = histograms.next_if(|(time, _)| **time <= point.time_ms) {
                tell(Either::Histogram(histogram));
            }
            tell(Either::Float(point.value));
        }
        histograms.for_each(|(_, histogram)| tell(Either::Histogram(histogram)));
    }

    /// All float samples.
    pub(crate) fn points(&self) -> impl ExactSizeIterator<Item = Point> + use<'w> {
        self.times.iter().zip(self.values).map(|(&time_ms, &value)| Point { time_ms, value })
    }
}

/// A float sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    pub(crate) time_ms: i64,
    pub(crate) value: f64,
}

/// What a function does about native histograms in its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Histograms {
    /// Floats and histograms together are refused with a warning.
    Refuse,
    /// As `Refuse`, but only the two newest samples count.
    RefuseNewest,
    /// They are left out with an info.
    LeaveOut,
    /// The function sees them beside the floats.
    See,
}

/// Slides over the windows of a series and fills the column.
pub(crate) type Slide = fn(&Rolling<'_>, &mut Column<'_>);

/// As [`Slide`]; false, and the column as it was, if the samples are not of the kind it is for.
pub(crate) type Shortcut = fn(&Rolling<'_>, &mut Column<'_>) -> bool;

/// The histogram for one window.
pub(crate) type HistogramScan = fn(&Window<'_>, &mut Met) -> Option<Histogram>;

/// A range function.
pub(crate) struct Rollup {
    /// The name.
    pub(crate) name: &'static str,
    /// The value for one window, and the scalar arguments.
    pub(crate) scan: fn(&Window<'_>, &[f64]) -> Option<f64>,
    /// How to do all windows together; none if `scan` looks at a few samples only or cannot be split.
    pub(crate) slide: Option<Slide>,
    /// How to do all windows together at less cost than either, where the samples allow it; false if they do not.
    pub(crate) shortcut: Option<Shortcut>,
    /// Native histograms beside floats.
    pub(crate) histograms: Histograms,
    /// The histogram for one window where `scan` gives no float; none if the function makes floats only.
    pub(crate) of_histograms: Option<HistogramScan>,
    /// Values are samples of the metric, so its name stays.
    pub(crate) keeps_name: bool,
    /// Says what is wrong with scalar arguments.
    pub(crate) check: fn(&[f64]) -> Result<(), String>,
}

impl Rollup {
    pub(crate) const fn new(name: &'static str, scan: fn(&Window<'_>, &[f64]) -> Option<f64>) -> Self {
        Rollup {
            name,
            scan,
            slide: None,
            shortcut: None,
            histograms: Histograms::LeaveOut,
            of_histograms: None,
            keeps_name: false,
            check: |_| Ok(()),
        }
    }

    pub(crate) const fn sliding(mut self, slide: Slide) -> Self {
        self.slide = Some(slide);
        self
    }

    pub(crate) const fn shortcut(mut self, shortcut: Shortcut) -> Self {
        self.shortcut = Some(shortcut);
        self
    }

    pub(crate) const fn histograms(mut self, what: Histograms) -> Self {
        self.histograms = what;
        self
    }

    pub(crate) const fn of_histograms(mut self, scan: HistogramScan) -> Self {
        self.of_histograms = Some(scan);
        self
    }

    pub(crate) const fn keeping_name(mut self) -> Self {
        self.keeps_name = true;
        self
    }

    pub(crate) const fn checked(mut self, check: fn(&[f64]) -> Result<(), String>) -> Self {
        self.check = check;
        self
    }
}

/// The range function of that name.
pub(crate) fn find(name: &str) -> Option<&'static Rollup> {
    [rate::ROLLUPS, over_time::ROLLUPS, trend::ROLLUPS].into_iter().flatten().find(|rollup| rollup.name == name)
}

/// Everything that is needed to run a range function over one series.
pub(crate) struct Rolling<'r> {
    /// The samples.
    pub(crate) samples: &'r RangeSamples,
    /// For each step the indices of the floats in its window.
    pub(crate) bounds: &'r [Range<usize>],
    /// For each step the indices of the histograms in its window; empty if the series has none.
    pub(crate) histogram_bounds: &'r [Range<usize>],
    /// Where the windows are.
    pub(crate) windows: &'r Windows,
    /// The scalar arguments.
    pub(crate) params: &'r [Scalars<'r>],
}

/// What was met while rolling that a person should know.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Met {
    /// Floats and histograms in one window, so no value.
    pub(crate) mixed: bool,
    /// Histograms were left out.
    pub(crate) left_out: bool,
    /// A gauge where a counter is needed.
    pub(crate) not_counter: bool,
    /// A counter where a gauge is needed.
    pub(crate) not_gauge: bool,
    /// Exponential buckets and custom bounds in one window, so no value.
    pub(crate) mixed_schemas: bool,
    /// Samples disagree on a reset.
    pub(crate) resets_collide: bool,
    /// Custom bounds differed where histograms were subtracted,
    pub(crate) reconciled_in_subtraction: bool,
    /// were added,
    pub(crate) reconciled_in_addition: bool,
    /// were put together over time.
    pub(crate) reconciled_in_aggregation: bool,
}

/// Windows of this many samples are cheaper to scan than to slide over.
const SCAN_SAMPLES_MAX: usize = 32;

impl<'r> Rolling<'r> {
    /// The window at step `i`.
    pub(crate) fn window(&self, i: usize) -> Window<'r> {
        let bounds = self.bounds.get(i).cloned().unwrap_or_default();
        let histograms = self.histogram_bounds.get(i).cloned().unwrap_or_default();
        Window {
            times: self.samples.times.get(bounds.clone()).unwrap_or_default(),
            values: self.samples.values.get(bounds).unwrap_or_default(),
            histogram_times: self.samples.histogram_times.get(histograms.clone()).unwrap_or_default(),
            histograms: self.samples.histograms.get(histograms).unwrap_or_default(),
            start_ms: self.windows.start_ms(i),
            end_ms: self.windows.end_ms(i),
            at_ms: self.windows.steps.time_ms(i),
        }
    }

    /// Runs the function over all windows.
    pub(crate) fn run(&self, rollup: &Rollup, column: &mut Column<'_>) -> Result<Met, QueryError> {
        if self.histogram_bounds.is_empty()
            && let Some(shortcut) = rollup.shortcut
            && shortcut(self, column)
        {
            return Ok(Met::default());
        }
        if self.histogram_bounds.is_empty()
            && self.params.iter().all(|p| matches!(p, Scalars::Constant(_)))
            && let Some(slide) = rollup.slide
            && self.scanning_is_dear()
        {
            self.check_params(rollup, 0)?;
            slide(self, column);
            return Ok(Met::default());
        }
        self.scan_all(rollup, column)
    }

    fn scanning_is_dear(&self) -> bool {
        let scanned: usize = self.bounds.iter().map(ExactSizeIterator::len).sum();
        scanned > self.bounds.len().saturating_mul(SCAN_SAMPLES_MAX)
            && scanned > self.samples.values.len().saturating_mul(4)
    }

    fn check_params(&self, rollup: &Rollup, i: usize) -> Result<Vec<f64>, QueryError> {
        let params: Vec<f64> = self.params.iter().map(|p| p.get(i)).collect();
        let failed = |message| QueryError { kind: ErrorKind::Execution, message, span: None };
        (rollup.check)(&params).map(|()| params).map_err(failed)
    }

    /// Scans each window for itself.
    pub(crate) fn scan_all(&self, rollup: &Rollup, column: &mut Column<'_>) -> Result<Met, QueryError> {
        let mut met = Met::default();
        let constant = self.params.iter().all(|p| matches!(p, Scalars::Constant(_)));
        let mut params: Option<Vec<f64>> = None;
        for i in 0..self.bounds.len() {
            let window = self.window(i);
            let (floats, histograms) = (!window.values.is_empty(), !window.histogram_times.is_empty());
            if !floats && (!histograms || (rollup.histograms != Histograms::See && rollup.of_histograms.is_none())) {
                continue;
            }
            let mut scans_floats = floats || rollup.histograms == Histograms::See;
            if floats && histograms {
                match rollup.histograms {
                    Histograms::Refuse => {
                        met.mixed = true;
                        continue;
                    }
                    Histograms::RefuseNewest => match newest_kinds(&window) {
                        (true, true) => {}
                        (false, false) => scans_floats = false,
                        _ => {
                            met.mixed = true;
                            continue;
                        }
                    },
                    Histograms::LeaveOut => met.left_out = true,
                    Histograms::See => {}
                }
            }
            if params.is_none() || !constant {
                params = Some(self.check_params(rollup, i)?);
            }
            let scanned =
                if scans_floats { (rollup.scan)(&window, params.as_deref().unwrap_or_default()) } else { None };
            if let Some(value) = scanned {
                column.set(i, value);
            } else if histograms
                && let Some(scan) = rollup.of_histograms
                && let Some(histogram) = scan(&window, &mut met)
            {
                column.set_histogram(i, Arc::new(histogram))?;
            }
        }
        Ok(met)
    }
}

/// For the newest and the second newest sample whether it is a float.
fn newest_kinds(window: &Window<'_>) -> (bool, bool) {
    let (mut floats, mut histograms) = (window.times.iter().rev(), window.histogram_times.iter().rev());
    let (float, histogram) = (floats.next(), histograms.next());
    if float > histogram { (true, floats.next() > histogram) } else { (false, float > histograms.next()) }
}

/// Slides an associative operation over the windows `bounds`, which move forward only, and tells the result of each
/// window that is not empty.
///
/// A queue of two stacks: the front holds the results of all its suffixes, the back one running result. Nothing is
/// ever subtracted, so nothing cancels; each index is joined at most twice.
pub(crate) fn slide<M: Copy>(
    bounds: impl Iterator<Item = Range<usize>>,
    of: impl Fn(usize) -> M,
    join: impl Fn(M, M) -> M,
    mut tell: impl FnMut(usize, M),
) {
    let (mut low, mut middle, mut high) = (0, 0, 0);
    let mut front: Vec<M> = Vec::new();
    let mut back: Option<M> = None;
    for (i, window) in bounds.enumerate() {
        if window.start >= high {
            (low, middle, high) = (window.start, window.start, window.start);
            front.clear();
            back = None;
        }
        while high < window.end {
            back = Some(back.map_or_else(|| of(high), |sum| join(sum, of(high))));
            high += 1;
        }
        if window.start >= middle && low < window.start {
            front.clear();
            let mut suffix: Option<M> = None;
            for index in (window.start..high).rev() {
                let joined = suffix.map_or_else(|| of(index), |rest| join(of(index), rest));
                front.push(joined);
                suffix = Some(joined);
            }
            (low, middle, back) = (window.start, high, None);
        }
        while low < window.start {
            front.pop();
            low += 1;
        }
        match (front.last().copied(), back) {
            _ if window.is_empty() => {}
            (Some(a), Some(b)) => tell(i, join(a, b)),
            (Some(one), None) | (None, Some(one)) => tell(i, one),
            (None, None) => {}
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use model::{Budget, Steps};
    use proptest::prelude::*;

    /// The values of a range function over windows of `range_ms`, scanned, and slid over if it can be.
    pub(crate) fn both_ways(
        name: &str,
        samples: &RangeSamples,
        steps: Steps,
        range_ms: i64,
        params: &[f64],
    ) -> (Vec<Option<f64>>, Option<Vec<Option<f64>>>) {
        let budget = Budget::unlimited();
        let windows = Windows { steps, pinned_ms: None, offset_ms: 0, range_ms };
        let bounds: Vec<_> = windows.slices(&samples.times).collect();
        let params: Vec<Scalars<'_>> = params.iter().map(|p| Scalars::Constant(*p)).collect();
        let rolling = Rolling { samples, bounds: &bounds, histogram_bounds: &[], windows: &windows, params: &params };
        let rollup = find(name).unwrap();
        let mut scanned = Column::absent(bounds.len(), &budget).unwrap();
        rolling.scan_all(rollup, &mut scanned).unwrap();
        let slid = rollup.slide.map(|slide| {
            let mut slid = Column::absent(bounds.len(), &budget).unwrap();
            slide(&rolling, &mut slid);
            slid.iter().collect()
        });
        (scanned.iter().collect(), slid)
    }

    type Values = Vec<Option<f64>>;

    /// The values of a range function without parameters, scanned, and by its shortcut if that is possible.
    fn quick(rollup: &Rollup, samples: &RangeSamples, steps: Steps, range_ms: i64) -> (Values, Option<Values>) {
        let budget = Budget::unlimited();
        let windows = Windows { steps, pinned_ms: None, offset_ms: 0, range_ms };
        let bounds: Vec<_> = windows.slices(&samples.times).collect();
        let rolling = Rolling { samples, bounds: &bounds, histogram_bounds: &[], windows: &windows, params: &[] };
        let (scanned, _) = both_ways(rollup.name, samples, steps, range_ms, &[]);
        let mut column = Column::absent(bounds.len(), &budget).unwrap();
        let done = rollup.shortcut.is_some_and(|shortcut| shortcut(&rolling, &mut column));
        (scanned, done.then(|| column.iter().collect()))
    }

    #[test]
    fn counters_with_few_resets_are_not_scanned() {
        let mut samples = RangeSamples::default();
        for i in 0..100_i64 {
            samples.times.push(i * 1000);
            samples.values.push((i % 10) as f64);
        }
        let steps = Steps { start_ms: 10_000, end_ms: 90_000, step_ms: 7_000 };
        for range_ms in [5_000, 30_000] {
            let (scanned, quick) = quick(find("rate").unwrap(), &samples, steps, range_ms);
            assert_eq!(quick, Some(scanned));
        }
        samples.values.iter_mut().step_by(2).for_each(|value| *value += 100.0);
        assert_eq!(quick(find("rate").unwrap(), &samples, steps, 5_000).1, None);
    }

    #[test]
    fn kinds_of_the_newest_samples() {
        let kinds = |times: &[i64], histogram_times: &[i64]| {
            let values = vec![0.0; times.len()];
            let window =
                Window { times, values: &values, histogram_times, histograms: &[], start_ms: 0, end_ms: 9, at_ms: 9 };
            newest_kinds(&window)
        };
        assert_eq!(kinds(&[1, 2, 3], &[0]), (true, true));
        assert_eq!(kinds(&[1, 3], &[2]), (true, false));
        assert_eq!(kinds(&[1, 3], &[4]), (false, true));
        assert_eq!(kinds(&[1], &[3, 4]), (false, false));
    }

    proptest! {
        #[test]
        fn sliding_joins_exactly_the_window(
            moves in prop::collection::vec((0_usize..9, 0_usize..9), 0..40),
        ) {
            let (mut start, mut end) = (0, 0);
            let bounds: Vec<Range<usize>> = moves
                .into_iter()
                .map(|(a, b)| {
                    end += b;
                    start = (start + a).min(end);
                    start..end
                })
                .collect();
            let mut told = vec![None; bounds.len()];
            // Joining ranges shows order and completeness: neighbours must touch.
            slide(
                bounds.iter().cloned(),
                |i| (i, i + 1),
                |a: (usize, usize), b| {
                    assert_eq!(a.1, b.0);
                    (a.0, b.1)
                },
                |i, joined| told[i] = Some(joined),
            );
            for (window, joined) in bounds.iter().zip(told) {
                prop_assert_eq!(joined, (!window.is_empty()).then_some((window.start, window.end)));
            }
        }

        /// Every function that can slide says the same as its scan.
        #[test]
        fn sliding_agrees_with_scanning(
            gaps in prop::collection::vec(1_i64..40, 0..120),
            raw in prop::collection::vec(prop_oneof![8 => -1e4_f64..1e4, 3 => 0.0_f64..3.0, 1 => Just(f64::NAN), 2 => Just(7.0)], 120),
            whole in any::<bool>(),
            step in 1_i64..60, range in 1_i64..900, phi in -0.1_f64..1.1,
        ) {
            let mut samples = RangeSamples::default();
            let mut time = 0;
            for (gap, value) in gaps.iter().zip(&raw) {
                time += gap * 1000;
                samples.times.push(time);
                samples.values.push(if whole { value.round() } else { *value });
            }
            let steps = Steps { start_ms: 500, end_ms: 600_000, step_ms: step * 500 };
            for table in [rate::ROLLUPS, over_time::ROLLUPS, trend::ROLLUPS] {
                for rollup in table.iter().filter(|rollup| rollup.shortcut.is_some()) {
                    let (scanned, quick) = quick(rollup, &samples, steps, range * 1000);
                    prop_assert!(quick.is_none_or(|quick| format!("{quick:?}") == format!("{scanned:?}")), "{}", rollup.name);
                }
                for rollup in table.iter().filter(|rollup| rollup.slide.is_some()) {
                    let (scanned, slid) = both_ways(rollup.name, &samples, steps, range * 1000, &[phi, phi]);
                    for (scan, slide) in scanned.iter().zip(slid.iter().flatten()) {
                        let same = match (scan, slide) {
                            (Some(a), Some(b)) => a == b || (a.is_nan() && b.is_nan())
                                || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1e-3),
                            (a, b) => a.is_none() && b.is_none(),
                        };
                        prop_assert!(same, "{}: {:?} {:?}", rollup.name, scan, slide);
                    }
                }
            }
        }
    }
}
