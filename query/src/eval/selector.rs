//! Instant and range selectors: which series, which samples, and the newest sample at each step.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::{Coarse, Histogram, ResetHint, SampleColumns, SeriesSet, Steps, is_stale};

use crate::answer::SeriesPoints;
use crate::ast::{DurationExpr, Selector};
use crate::error::QueryError;
use crate::eval::column::{Charge, Column};
use crate::eval::parallel::{Reading, Scan, Scratch};
use crate::eval::window::Windows;
use crate::eval::{Evaluator, Grid, Sink};
use crate::span::Span;

/// What an instant selector tells of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aspect {
    /// Its value.
    Value,
    /// Its time, in seconds.
    Time,
    /// That there is one.
    Presence,
}

impl<'q> Evaluator<'q> {
    /// The windows of a selector over the grid.
    pub(crate) fn windows(&self, selector: &Selector, range_ms: i64, steps: Steps) -> Result<Windows, QueryError> {
        Ok(Windows {
            steps,
            pinned_ms: self.times.pinned_ms(&selector.modifiers),
            offset_ms: self.times.offset_ms(&selector.modifiers)?,
            range_ms,
        })
    }

    /// Finds the series of a selector that may have samples in the windows.
    pub(crate) fn select(&self, selector: &Selector, windows: &Windows) -> Result<Box<dyn SeriesSet + 'q>, QueryError> {
        Ok(self.source.select(self.scope, &selector.matchers, windows.union(), self.budget)?)
    }

    /// Evaluates an instant selector.
    pub(crate) fn stream_selector(
        &self,
        selector: &Selector,
        span: Span,
        aspect: Aspect,
        grid: Grid,
        sink: &mut Sink<'_, 'q>,
    ) -> Result<(), QueryError> {
        self.scan_selector(selector, span, aspect, grid, |scan| self.each_series(scan, sink))
    }

    /// Finds the series of an instant selector and says `then` how to read them.
    pub(crate) fn scan_selector<R>(
        &self,
        selector: &Selector,
        span: Span,
        aspect: Aspect,
        grid: Grid,
        then: impl FnOnce(&Scan<'_, 'q>) -> Result<R, QueryError>,
    ) -> Result<R, QueryError> {
        let windows = self.windows(selector, self.options.lookback_delta_ms, grid.steps)?;
        let set = self.select(selector, &windows)?;
        let finds_resets = self.finds_resets.load(Ordering::Relaxed);
        // Where buckets stand for samples, each is looked back to for its own length longer.
        let reach = Windows { range_ms: windows.range_ms.saturating_add(set.coarsest_ms()), ..windows };
        let newest = |i: usize, scratch: &mut Scratch<'q>| {
            let mut column = Column::absent(grid.len, self.budget)?;
            let read = &mut scratch.read.samples;
            let coarse = self.coarse(set.as_ref(), i, &reach)?;
            if !coarse.is_empty() {
                self.notes.last_of_buckets(span, &coarse);
            }
            let lookback = Lookback { reach: &reach, samples_ms: windows.range_ms, coarse: &coarse };
            if read.histograms.is_empty() {
                fill_newest(read, &lookback, aspect, &mut column);
            } else {
                if finds_resets {
                    find_resets(&mut read.histograms);
                } else {
                    forget_resets(&mut read.histograms);
                }
                fill_newest_of_both(read, &lookback, aspect, &mut column)?;
            }
            Ok((!column.is_vacant()).then_some(column))
        };
        let reading = match aspect {
            Aspect::Value if finds_resets => Reading::Samples,
            _ if grid.len == 1 => Reading::Newest(aspect == Aspect::Value),
            Aspect::Value => Reading::Samples,
            Aspect::Time | Aspect::Presence => Reading::Times,
        };
        let range = reach.union();
        then(&Scan { set: set.as_ref(), range, reading, transform: &newest })
    }

    /// Where buckets stand for samples of series `i` in the windows.
    pub(crate) fn coarse(&self, set: &dyn SeriesSet, i: usize, windows: &Windows) -> Result<Vec<Coarse>, QueryError> {
        if set.coarsest_ms() == 0 {
            return Ok(Vec::new());
        }
        Ok(set.coarse(i, windows.union())?)
    }

    /// The samples of a range selector in its one window, for an instant query of the selector itself.
    pub(crate) fn raw_samples(
        &self,
        selector: &Selector,
        range: &DurationExpr,
        span: Span,
        grid: Grid,
    ) -> Result<Vec<SeriesPoints>, QueryError> {
        let windows = self.windows(selector, self.times.positive_ms(range)?, grid.steps)?;
        let set = self.select(selector, &windows)?;
        let mut held = Charge::take(self.budget, 0)?;
        let mut found = Vec::new();
        for i in 0..set.len() {
            self.budget.check()?;
            let mut read = SampleColumns::default();
            set.samples(i, windows.union(), self.budget, &mut read)?;
            let coarse = self.coarse(set.as_ref(), i, &windows)?;
            if !coarse.is_empty() {
                self.notes.last_of_buckets(span, &coarse);
            }
            let mut points = SampleColumns::default();
            for sample in read.floats().filter(|s| !is_stale(s.value)) {
                points.push(sample.timestamp_ms, sample.value);
            }
            points.histograms.extend(read.histograms.into_iter().filter(|(_, histogram)| !histogram.is_stale()));
            if !points.is_empty() {
                let labels = set.labels(i)?;
                let bytes_of = |(_, h): &(i64, Arc<Histogram>)| size_of::<(i64, Histogram)>() + h.heap_bytes();
                let histograms: usize = points.histograms.iter().map(bytes_of).sum();
                held.add(points.len() * size_of::<(i64, f64)>() + histograms + labels.heap_bytes())?;
                found.push(SeriesPoints { labels, points });
            }
        }
        Ok(found)
    }
}

/// How far back a sample may lie.
struct Lookback<'c> {
    /// The windows at their longest.
    reach: &'c Windows,
    /// For samples that are none of buckets.
    samples_ms: i64,
    /// Where they are: the coarsest first.
    coarse: &'c [Coarse],
}

impl Lookback<'_> {
    /// True if a sample of this time still counts at the end of a window.
    fn reaches(&self, time_ms: i64, end_ms: i64) -> bool {
        let of_bucket = self.coarse.iter().find(|coarse| time_ms <= coarse.until_ms);
        let longer_ms = of_bucket.map_or(0, |coarse| coarse.resolution_ms);
        time_ms > end_ms.saturating_sub(self.samples_ms.saturating_add(longer_ms))
    }
}

/// Puts the newest float of each window into its place. A staleness marker ends the series.
fn fill_newest(read: &SampleColumns, lookback: &Lookback<'_>, aspect: Aspect, column: &mut Column<'_>) {
    let windows = lookback.reach;
    for (i, slice) in windows.slices(&read.timestamps_ms).enumerate() {
        let Some(newest) = slice.end.checked_sub(1).filter(|at| *at >= slice.start) else { continue };
        let (Some(time), Some(value)) = (read.timestamps_ms.get(newest), read.values.get(newest)) else { continue };
        if !lookback.reaches(*time, windows.end_ms(i)) {
            continue;
        }
        if is_stale(*value) {
            continue;
        }
        match aspect {
            Aspect::Value => column.set(i, *value),
            Aspect::Time => column.set(i, *time as f64 / 1000.0),
            Aspect::Presence => column.set(i, 1.0),
        }
    }
}

/// As [`fill_newest`], where there are histograms: of a float and a histogram the newer one counts.
fn fill_newest_of_both(
    read: &SampleColumns,
    lookback: &Lookback<'_>,
    aspect: Aspect,
    column: &mut Column<'_>,
) -> Result<(), QueryError> {
    let windows = lookback.reach;
    let histogram_times: Vec<i64> = read.histograms.iter().map(|(time, _)| *time).collect();
    let mut histograms = windows.slices(&histogram_times);
    for (i, slice) in windows.slices(&read.timestamps_ms).enumerate() {
        let last = |slice: std::ops::Range<usize>| slice.end.checked_sub(1).filter(|at| *at >= slice.start);
        let end_ms = windows.end_ms(i);
        let float = last(slice).and_then(|at| Some((*read.timestamps_ms.get(at)?, *read.values.get(at)?)));
        let float = float.filter(|(time, _)| lookback.reaches(*time, end_ms));
        let histogram = histograms.next().and_then(last).and_then(|at| read.histograms.get(at));
        // No bucket stands for histograms.
        let histogram = histogram.filter(|(time, _)| *time > end_ms.saturating_sub(lookback.samples_ms));
        let (time, is_end) = match (float, histogram) {
            (None, None) => continue,
            (Some((time, value)), None) => (time, is_stale(value)),
            (Some((time, value)), Some((before, _))) if time > *before => (time, is_stale(value)),
            (_, Some((time, histogram))) => (*time, histogram.is_stale()),
        };
        if is_end {
            continue;
        }
        match (aspect, float, histogram) {
            (Aspect::Value, Some((float_time, value)), _) if float_time == time => column.set(i, value),
            (Aspect::Value, _, Some((_, histogram))) => column.set_histogram(i, histogram.clone())?,
            (Aspect::Value, _, None) => {}
            (Aspect::Time, ..) => column.set(i, time as f64 / 1000.0),
            (Aspect::Presence, ..) => column.set(i, 1.0),
        }
    }
    Ok(())
}

fn set_hint(histogram: &mut Arc<Histogram>, hint: ResetHint) {
    if histogram.reset_hint != hint {
        Arc::make_mut(histogram).reset_hint = hint;
    }
}

/// Notes at each histogram that says nothing of it whether a counter started again since the one before.
pub(crate) fn find_resets(histograms: &mut [(i64, Arc<Histogram>)]) {
    let mut before: Option<Arc<Histogram>> = None;
    for (_, histogram) in histograms.iter_mut().filter(|(_, histogram)| !histogram.is_stale()) {
        let as_read = histogram.clone();
        if let Some(before) = before.filter(|_| histogram.reset_hint == ResetHint::Unknown) {
            let is_reset = histogram.is_reset_after(&before);
            set_hint(histogram, if is_reset { ResetHint::Reset } else { ResetHint::NoReset });
        }
        before = Some(as_read);
    }
}

/// What a sample says of resets is about the sample before it, which the steps of a query may pass over.
fn forget_resets(histograms: &mut [(i64, Arc<Histogram>)]) {
    for (_, histogram) in histograms {
        if matches!(histogram.reset_hint, ResetHint::Reset | ResetHint::NoReset) {
            set_hint(histogram, ResetHint::Unknown);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Budget, Histogram, stale_nan};
    use std::sync::Arc;

    fn newest(read: &SampleColumns, aspect: Aspect) -> Vec<Option<f64>> {
        let budget = Budget::unlimited();
        let steps = Steps { start_ms: 0, end_ms: 60, step_ms: 10 };
        let windows = Windows { steps, pinned_ms: None, offset_ms: 0, range_ms: 20 };
        let mut column = Column::absent(steps.count(), &budget).unwrap();
        let lookback = Lookback { reach: &windows, samples_ms: windows.range_ms, coarse: &[] };
        fill_newest_of_both(read, &lookback, aspect, &mut column).unwrap();
        if read.histograms.is_empty() {
            let both: Vec<_> = column.iter().collect();
            let mut column = Column::absent(steps.count(), &budget).unwrap();
            fill_newest(read, &lookback, aspect, &mut column);
            assert_eq!(column.iter().collect::<Vec<_>>(), both);
        }
        column.iter().collect()
    }

    #[test]
    fn lookback_is_open_and_markers_end_a_series() {
        let mut read = SampleColumns::default();
        for (time, value) in [(0, 1.0), (5, 2.0), (35, stale_nan()), (41, 3.0)] {
            read.push(time, value);
        }
        assert_eq!(newest(&read, Aspect::Value), [Some(1.0), Some(2.0), Some(2.0), None, None, Some(3.0), Some(3.0)]);
        assert_eq!(newest(&read, Aspect::Time)[1], Some(0.005));
        // Exactly the lookback ago is too old.
        let mut read = SampleColumns::default();
        read.push(10, 4.0);
        assert_eq!(newest(&read, Aspect::Value), [None, Some(4.0), Some(4.0), None, None, None, None]);
    }

    #[test]
    fn buckets_are_looked_back_to_for_longer() {
        let coarse = [Coarse { until_ms: 20, resolution_ms: 30 }, Coarse { until_ms: 40, resolution_ms: 5 }];
        let steps = Steps { start_ms: 0, end_ms: 60, step_ms: 10 };
        let reach = Windows { steps, pinned_ms: None, offset_ms: 0, range_ms: 10 + 30 };
        let lookback = Lookback { reach: &reach, samples_ms: 10, coarse: &coarse };
        let at = |times: &[i64]| {
            let mut read = SampleColumns::default();
            times.iter().for_each(|time| read.push(*time, 1.0));
            let budget = Budget::unlimited();
            let mut column = Column::absent(steps.count(), &budget).unwrap();
            fill_newest(&read, &lookback, Aspect::Time, &mut column);
            column.iter().map(|value| value.map(|seconds| (seconds * 1000.0).round() as i64)).collect::<Vec<_>>()
        };
        let (a, b, c) = (Some(1), Some(36), Some(45));
        // 40 ms for the coarse one, 15 for the finer, 10 for the sample.
        assert_eq!(at(&[1]), [None, a, a, a, a, None, None]);
        assert_eq!(at(&[36]), [None, None, None, None, b, b, None]);
        assert_eq!(at(&[45]), [None, None, None, None, None, c, None]);
        // Beside histograms, which have no buckets, it is the same.
        let both = |floats: &[i64], histogram: i64| {
            let mut read = SampleColumns::default();
            floats.iter().for_each(|time| read.push(*time, 1.0));
            read.histograms.push((histogram, Arc::new(Histogram::default())));
            let budget = Budget::unlimited();
            let mut column = Column::absent(steps.count(), &budget).unwrap();
            fill_newest_of_both(&read, &lookback, Aspect::Time, &mut column).unwrap();
            column.iter().map(|value| value.map(|seconds| (seconds * 1000.0).round() as i64)).collect::<Vec<_>>()
        };
        let d = Some(52);
        assert_eq!(both(&[1], 52), [None, a, a, a, a, None, d]);
        assert_eq!(both(&[], 25), [None, None, None, Some(25), None, None, None]);
    }

    #[test]
    fn a_newer_histogram_hides_older_floats() {
        let mut read = SampleColumns::default();
        read.push(0, 1.0);
        read.push(30, 2.0);
        read.histograms.push((10, Arc::new(Histogram::default())));
        assert_eq!(newest(&read, Aspect::Value), [Some(1.0), None, None, Some(2.0), Some(2.0), None, None]);
        assert_eq!(newest(&read, Aspect::Presence)[1..4], [Some(1.0); 3]);
        assert_eq!(newest(&read, Aspect::Time)[1..4], [Some(0.01), Some(0.01), Some(0.03)]);
        // A marker among the histograms ends the series too.
        read.histograms.push((40, Arc::new(Histogram { sum: stale_nan(), ..Histogram::default() })));
        assert_eq!(newest(&read, Aspect::Presence)[3..], [Some(1.0), None, None, None]);
    }

    #[test]
    fn resets_are_found_between_neighbours() {
        let of = |count, reset_hint| Arc::new(Histogram { count, reset_hint, ..Histogram::default() });
        let mut list = vec![
            (0, of(3.0, ResetHint::Unknown)),
            (1, of(4.0, ResetHint::Unknown)),
            (2, of(1.0, ResetHint::Unknown)),
            (3, of(0.0, ResetHint::Gauge)),
        ];
        find_resets(&mut list);
        let hints: Vec<_> = list.iter().map(|(_, h)| h.reset_hint).collect();
        assert_eq!(hints, [ResetHint::Unknown, ResetHint::NoReset, ResetHint::Reset, ResetHint::Gauge]);
        forget_resets(&mut list);
        assert_eq!(list[2].1.reset_hint, ResetHint::Unknown);
    }
}
