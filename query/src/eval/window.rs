//! Time windows of a selector over the step grid, and the samples that fall into them.
//!
//! Ranges and the lookback are open on the left: a sample exactly at the start does not belong. Windows move forward
//! with the grid, so two indices that only rise find all of them: O(samples + steps) per series.

use std::ops::Range;
use std::sync::Arc;

use model::{Histogram, SampleColumns, Steps, TimeRange, is_stale};

/// The evaluation times and what a selector looks at from each of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Windows {
    /// The evaluation times.
    pub(crate) steps: Steps,
    /// Where all windows end if `@` pins them, before the offset.
    pub(crate) pinned_ms: Option<i64>,
    /// How far before the evaluation time a window ends.
    pub(crate) offset_ms: i64,
    /// Length.
    pub(crate) range_ms: i64,
}

impl Windows {
    /// Last millisecond of the window at step `i`.
    pub(crate) fn end_ms(&self, i: usize) -> i64 {
        self.pinned_ms.unwrap_or_else(|| self.steps.time_ms(i)).saturating_sub(self.offset_ms)
    }

    /// The time before the first millisecond of the window at step `i`.
    pub(crate) fn start_ms(&self, i: usize) -> i64 {
        self.end_ms(i).saturating_sub(self.range_ms)
    }

    /// The smallest range that covers all windows.
    pub(crate) fn union(&self) -> TimeRange {
        let last = self.steps.count().saturating_sub(1);
        TimeRange { start_ms: self.start_ms(0).saturating_add(1), end_ms: self.end_ms(last) }
    }

    /// For each step the indices of those of the rising `times` that lie in its window.
    pub(crate) fn slices<'t>(&self, times: &'t [i64]) -> impl Iterator<Item = Range<usize>> + use<'t> {
        let windows = *self;
        let (mut low, mut high) = (0, 0);
        (0..self.steps.count()).map(move |i| {
            let end = windows.end_ms(i);
            let start = end.saturating_sub(windows.range_ms);
            while times.get(high).is_some_and(|time| *time <= end) {
                high += 1;
            }
            while low < high && times.get(low).is_some_and(|time| *time <= start) {
                low += 1;
            }
            low..high
        })
    }
}

/// Samples of one series without staleness markers, ready for range functions.
#[derive(Debug, Default)]
pub(crate) struct RangeSamples {
    /// Times of the floats.
    pub(crate) times: Vec<i64>,
    /// The floats.
    pub(crate) values: Vec<f64>,
    /// Times of native histograms.
    pub(crate) histogram_times: Vec<i64>,
    /// The native histograms.
    pub(crate) histograms: Vec<Arc<Histogram>>,
}

impl RangeSamples {
    /// Forgets everything but keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.times.clear();
        self.values.clear();
        self.histogram_times.clear();
        self.histograms.clear();
    }

    /// Adds a histogram; the caller keeps the times rising.
    pub(crate) fn push_histogram(&mut self, time_ms: i64, histogram: Arc<Histogram>) {
        self.histogram_times.push(time_ms);
        self.histograms.push(histogram);
    }

    /// Takes over what was read, markers left out; leaves memory to read into.
    pub(crate) fn refill(&mut self, read: &mut SampleColumns) {
        self.clear();
        if read.values.iter().any(|value| is_stale(*value)) {
            for sample in read.floats().filter(|s| !is_stale(s.value)) {
                self.times.push(sample.timestamp_ms);
                self.values.push(sample.value);
            }
        } else {
            std::mem::swap(&mut self.times, &mut read.timestamps_ms);
            std::mem::swap(&mut self.values, &mut read.values);
        }
        for (time, histogram) in read.histograms.drain(..).filter(|(_, histogram)| !histogram.is_stale()) {
            self.push_histogram(time, histogram);
        }
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        let words = self.times.capacity() + self.values.capacity() + self.histogram_times.capacity();
        let histograms: usize = self.histograms.iter().map(|h| size_of::<Histogram>() + h.heap_bytes()).sum();
        (words + self.histograms.capacity()) * size_of::<f64>() + histograms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn windows_are_open_on_the_left() {
        let steps = Steps { start_ms: 10, end_ms: 30, step_ms: 10 };
        let windows = Windows { steps, pinned_ms: None, offset_ms: 0, range_ms: 10 };
        assert_eq!(windows.slices(&[0, 1, 10, 11, 20, 30]).collect::<Vec<_>>(), [1..3, 3..5, 5..6]);
        assert_eq!(windows.union(), TimeRange { start_ms: 1, end_ms: 30 });
        let pinned = Windows { pinned_ms: Some(20), offset_ms: 5, ..windows };
        assert_eq!(pinned.slices(&[0, 5, 6, 15, 16]).collect::<Vec<_>>(), [2..4, 2..4, 2..4]);
    }

    proptest! {
        #[test]
        fn slices_agree_with_a_filter(
            times in prop::collection::btree_set(-50_i64..200, 0..60),
            start in -20_i64..50, len in 0_i64..120, step in 1_i64..40, range in 0_i64..80, offset in -30_i64..30,
        ) {
            let times: Vec<i64> = times.into_iter().collect();
            let steps = Steps { start_ms: start, end_ms: start + len, step_ms: step };
            let windows = Windows { steps, pinned_ms: None, offset_ms: offset, range_ms: range };
            for (i, slice) in windows.slices(&times).enumerate() {
                let end = steps.time_ms(i) - offset;
                let want: Vec<i64> = times.iter().copied().filter(|t| *t > end - range && *t <= end).collect();
                prop_assert_eq!(&times[slice], &want[..]);
                prop_assert!(want.iter().all(|t| windows.union().contains(*t)));
            }
        }
    }
}
