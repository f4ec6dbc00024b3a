//! What deletes hide of one segment.

use std::sync::Arc;

use model::{SampleColumns, Scope, TimeRange};
use roaring::RoaringBitmap;

use super::Delete;
use crate::error::StorageError;
use crate::segment::Segment;

/// Series of one segment, and the times at which they are hidden.
#[derive(Debug)]
pub(crate) struct Mask {
    hidden: Vec<(TimeRange, RoaringBitmap)>,
}

impl Mask {
    /// What the deletes hide of a segment whose samples lie in `times`; none if that is nothing.
    ///
    /// # Errors
    /// Those of reading its index.
    pub(crate) fn of<'d>(
        segment: &Segment,
        times: TimeRange,
        deletes: impl Iterator<Item = &'d Delete>,
    ) -> Result<Option<Arc<Mask>>, StorageError> {
        let mut hidden = Vec::new();
        for delete in deletes.filter(|delete| delete.range.overlaps(&times)) {
            let mut series = RoaringBitmap::new();
            for selector in &delete.selectors {
                series |= segment.select(&Scope::default(), selector)?;
            }
            if !series.is_empty() {
                hidden.push((delete.range, series));
            }
        }
        Ok((!hidden.is_empty()).then(|| Arc::new(Mask { hidden })))
    }

    /// When a series is hidden.
    fn ranges(&self, ordinal: u32) -> impl Iterator<Item = TimeRange> {
        self.hidden.iter().filter(move |(_, series)| series.contains(ordinal)).map(|(range, _)| *range)
    }

    /// True if anything of the series may be hidden.
    pub(crate) fn touches(&self, ordinal: u32) -> bool {
        self.ranges(ordinal).next().is_some()
    }

    /// True if some of the range is hidden of the series.
    pub(crate) fn hides_some(&self, ordinal: u32, range: TimeRange) -> bool {
        self.ranges(ordinal).any(|hidden| hidden.overlaps(&range))
    }

    /// Takes the hidden samples of a series out; values may be left out as a whole.
    pub(crate) fn remove(&self, ordinal: u32, samples: &mut SampleColumns) {
        for range in self.ranges(ordinal) {
            let from = samples.timestamps_ms.partition_point(|ms| *ms < range.start_ms);
            let to = samples.timestamps_ms.partition_point(|ms| *ms <= range.end_ms);
            samples.timestamps_ms.drain(from..to);
            if samples.values.len() >= to {
                samples.values.drain(from..to);
            }
            samples.histograms.retain(|(ms, _)| !range.contains(*ms));
        }
    }

    /// Takes the series out of `found` that are hidden as a whole.
    ///
    /// # Errors
    /// Those of reading the segment.
    pub(crate) fn leave_visible(&self, segment: &Segment, found: &mut RoaringBitmap) -> Result<(), StorageError> {
        let mut touched = RoaringBitmap::new();
        self.hidden.iter().for_each(|(_, series)| touched |= series);
        touched &= &*found;
        for ordinal in touched {
            let mut left = segment.time_range(ordinal)?;
            let mut ranges: Vec<TimeRange> = self.ranges(ordinal).collect();
            ranges.sort_by_key(|range| range.start_ms);
            for range in &ranges {
                if range.contains(left.start_ms) {
                    left.start_ms = range.end_ms.saturating_add(1);
                }
            }
            // The last millisecond of all has none behind it.
            if left.is_empty() || ranges.iter().any(|range| range.end_ms == i64::MAX && range.contains(left.start_ms)) {
                found.remove(ordinal);
            }
        }
        Ok(())
    }
}
