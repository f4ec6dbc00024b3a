//! Says which series and times are touched by damage of a segment file.

use std::ops::Range;

use model::TimeRange;

use super::frames::FRAME_BYTES;
use super::reader::Segment;
use crate::error::StorageError;

/// A series that cannot be trusted, or not be read, because of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DamagedSeries {
    /// Its ordinal. Its labels may be lost as well.
    pub(crate) ordinal: u32,
    /// The times of its samples; those of the whole segment if its own are lost.
    pub(crate) range: TimeRange,
}

/// What is wrong with a segment file.
#[derive(Debug, Default)]
pub(crate) struct Damage {
    /// What was found, in order of the file.
    pub(crate) errors: Vec<StorageError>,
    /// The series it touches, in order. A series is read as a whole, so it is touched as a whole; it is also touched by
    /// damage of a base. None are touched if the damage is in statistics, postings or metadata only.
    pub(crate) series: Vec<DamagedSeries>,
}

impl Segment {
    /// Verifies the checksums of the whole file, whatever was verified before, and finds the series that are touched.
    pub(crate) fn damage(&self) -> Damage {
        let found = self.frames.verify_all();
        let (frames, mut errors): (Vec<u64>, Vec<StorageError>) = found.into_iter().unzip();
        let (rows, row_errors): (Vec<Range<u64>>, Vec<StorageError>) = self.verify_rows().into_iter().unzip();
        errors.extend(row_errors);
        if errors.is_empty() {
            return Damage::default();
        }
        let mut touched = vec![false; self.len() as usize];
        let mut series = Vec::new();
        let mut rows = BadRows { ranges: rows, next_histogram: self.float_count() };
        for ordinal in 0..self.len() {
            let range = self.damaged_range(ordinal, &frames, &mut rows, &touched);
            if let (Some(range), Some(touched)) = (range, touched.get_mut(ordinal as usize)) {
                *touched = true;
                series.push(DamagedSeries { ordinal, range });
            }
        }
        Damage { errors, series }
    }

    /// Rows of floats in the files of a Parquet day, which stand before those of histograms.
    fn float_count(&self) -> u64 {
        let histograms = |ordinal| self.histogram_row(ordinal).ok().flatten().map_or(0, |row| u64::from(row.count));
        let histograms: u64 = if self.has_histograms() { (0..self.len()).map(histograms).sum() } else { 0 };
        self.info().samples.saturating_sub(histograms)
    }

    /// The times of a series if damage touches it; `touched` says so of those before it.
    fn damaged_range(&self, ordinal: u32, frames: &[u64], rows: &mut BadRows, touched: &[bool]) -> Option<TimeRange> {
        let whole = self.info().range;
        let histograms = self.histogram_row(ordinal);
        let histogram_count = histograms.as_ref().ok().and_then(|row| Some(row.as_ref()?.count)).unwrap_or(0);
        let is_histogram_row_bad = rows.touch_histograms(u64::from(histogram_count));
        let Ok(row) = self.series_row(ordinal) else { return Some(whole) };
        let Ok(times) = self.times_row(row.times) else { return Some(whole) };
        let Ok(histograms) = histograms else { return Some(whole) };
        let is_hit = |offset: u64, bytes: u32| {
            let start = self.data.offset.saturating_add(offset);
            let end = start.saturating_add(u64::from(bytes));
            // Frames rise: the first that ends after the start is the only one to ask.
            let next = frames.partition_point(|frame| frame + FRAME_BYTES as u64 <= start);
            frames.get(next).is_some_and(|frame| *frame < end)
        };
        let own_rows = row.values_offset..row.values_offset.saturating_add(u64::from(times.count));
        let base = ordinal.checked_sub(row.base_distance).filter(|_| row.base_distance > 0);
        let is_touched = is_hit(times.offset, times.bytes)
            || (!self.is_index() && is_hit(row.values_offset, row.values_bytes))
            || histograms.is_some_and(|row| is_hit(row.offset, row.bytes))
            || rows.touch(&own_rows)
            || is_histogram_row_bad
            || base.is_some_and(|base| touched.get(base as usize) == Some(&true))
            || self.labels(ordinal).is_err();
        is_touched.then(|| self.time_range(ordinal).unwrap_or(whole))
    }
}

/// Rows of the files of a Parquet day that are touched by damage.
struct BadRows {
    ranges: Vec<Range<u64>>,
    /// The first row of the histograms of the next series.
    next_histogram: u64,
}

impl BadRows {
    fn touch(&self, rows: &Range<u64>) -> bool {
        self.ranges.iter().any(|bad| bad.start < rows.end && rows.start < bad.end && !rows.is_empty())
    }

    /// Goes on by the histograms of a series.
    fn touch_histograms(&mut self, count: u64) -> bool {
        let rows = self.next_histogram..self.next_histogram.saturating_add(count);
        self.next_histogram = rows.end;
        self.touch(&rows)
    }
}
