//! Reads a series in pieces: statistics where they answer, samples elsewhere.
//!
//! Large blocks have a record of statistics. Of small ones the head of their bytes often tells how many staleness
//! markers there are, which answers how many samples count without looking at any.

use model::{Cuts, Sample, SampleColumns, Summary, TimeRange, Want};

use super::layout::{BASES_MAX, ColumnHead, SeriesRow, block_samples};
use super::reader::{OpenColumns, Segment};
use super::statistics::BlockStatistics;
use crate::codec::{Markers, markers};
use crate::error::StorageError;
use crate::format::FormatError;

/// Above this the order of additions decides whether a sum overflows.
const SUMMABLE_MAX: f64 = 1e290;

/// True if the samples of a run with these extremes need not be added one by one. Those that are all NaN have no others,
/// and NaN as their sum in whatever order.
pub(crate) fn is_summable(min: f64, max: f64) -> bool {
    let largest = min.abs().max(max.abs());
    largest.is_nan() || largest <= SUMMABLE_MAX
}

/// What is asked of one run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PiecesRequest<'a> {
    /// Only samples in it.
    pub(crate) range: TimeRange,
    /// What a summary must know.
    pub(crate) want: Want,
    /// What a summary must not be split by.
    pub(crate) cuts: &'a Cuts,
    /// Where other runs have samples of the series.
    pub(crate) others: &'a [TimeRange],
}

impl PiecesRequest<'_> {
    /// True if samples that all lie in `covered` may stand as a summary.
    fn takes(&self, covered: TimeRange) -> bool {
        self.range.start_ms <= covered.start_ms
            && covered.end_ms <= self.range.end_ms
            && !self.others.iter().any(|other| other.overlaps(&covered))
            && !self.cuts.split(covered)
    }
}

/// What is known of a block without its values.
enum Known {
    /// All that was wanted.
    Summary(Summary),
    /// There is no sample beside markers.
    Nothing,
    /// Not enough.
    Little,
}

impl Segment {
    /// Appends to `samples` and `summaries` what the series has in the range, in order of time.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] or [`StorageError::Io`]; the lists may have some of the pieces then.
    pub(crate) fn read_pieces(
        &self,
        ordinal: u32,
        request: &PiecesRequest<'_>,
        samples: &mut SampleColumns,
        summaries: &mut Vec<Summary>,
    ) -> Result<(), StorageError> {
        if self.has_histograms() {
            let before = samples.histograms.len();
            self.read_histograms(ordinal, request.range, samples)?;
            if samples.histograms.len() > before {
                let Some(open) = self.open_columns(ordinal, request.range)? else { return Ok(()) };
                return open.blocks(request.range).try_for_each(|b| self.read_block(&open, b, request.range, samples));
            }
        }
        let Some(open) = self.open_columns(ordinal, request.range)? else { return Ok(()) };
        for block in open.blocks(request.range) {
            let covered = open.covered(block);
            if request.takes(covered) {
                match self.known(&open, block, covered, request.want)? {
                    Known::Summary(summary) => {
                        summaries.push(summary);
                        continue;
                    }
                    Known::Nothing => continue,
                    Known::Little => {}
                }
            }
            if request.want.needs_values() {
                self.read_block(&open, block, request.range, samples)?;
            } else {
                self.read_presence(&open, block, request.range, samples)?;
            }
        }
        Ok(())
    }

    /// Appends the samples of a series that lie in the range, with zeros for values where there are no markers.
    ///
    /// # Errors
    /// As [`Segment::read`].
    pub(crate) fn read_times(
        &self,
        ordinal: u32,
        range: TimeRange,
        out: &mut SampleColumns,
    ) -> Result<(), StorageError> {
        self.read_histograms(ordinal, range, out)?;
        let Some(open) = self.open_columns(ordinal, range)? else { return Ok(()) };
        open.blocks(range).try_for_each(|block| self.read_presence(&open, block, range, out))
    }

    /// Appends the newest sample of a series in the range; where that is not its last sample, others may come with it.
    ///
    /// # Errors
    /// As [`Segment::read`].
    pub(crate) fn read_newest(
        &self,
        ordinal: u32,
        range: TimeRange,
        out: &mut SampleColumns,
    ) -> Result<(), StorageError> {
        self.read_histograms(ordinal, range, out)?;
        let Some(open) = self.open_columns(ordinal, range)? else { return Ok(()) };
        match open.last_in(range) {
            Some((block, last_ms)) => {
                let mut values = Vec::new();
                self.decode_values(&open, block, &mut values)?;
                values.last().into_iter().for_each(|value| out.push(last_ms, *value));
                Ok(())
            }
            None => open.blocks(range).try_for_each(|block| self.read_block(&open, block, range, out)),
        }
    }

    /// As [`Segment::read_newest`], with zero for the value if it is no marker.
    ///
    /// # Errors
    /// As [`Segment::read`].
    pub(crate) fn read_newest_time(
        &self,
        ordinal: u32,
        range: TimeRange,
        out: &mut SampleColumns,
    ) -> Result<(), StorageError> {
        self.read_histograms(ordinal, range, out)?;
        let Some(open) = self.open_columns(ordinal, range)? else { return Ok(()) };
        match open.last_in(range) {
            Some((block, last_ms)) if self.markers_of(&open, block)? == Some(0) => out.push(last_ms, 0.0),
            Some(_) => {
                out.histograms.clear();
                return self.read_newest(ordinal, range, out);
            }
            None => return open.blocks(range).try_for_each(|block| self.read_presence(&open, block, range, out)),
        }
        Ok(())
    }

    fn read_presence(
        &self,
        open: &OpenColumns<'_>,
        block: usize,
        range: TimeRange,
        out: &mut SampleColumns,
    ) -> Result<(), StorageError> {
        match self.markers_of(open, block)? {
            Some(0) => self.read_block_times(open, block, range, out),
            _ => self.read_block(open, block, range, out),
        }
    }

    fn known(
        &self,
        open: &OpenColumns<'_>,
        block: usize,
        covered: TimeRange,
        want: Want,
    ) -> Result<Known, StorageError> {
        let samples = open.samples(block);
        let recorded = self.recorded(&open.row, block)?;
        let mut summary = match recorded {
            Some(statistics) => match summary_of(&statistics, covered, want) {
                Some(summary) => summary,
                None => return Ok(Known::Little),
            },
            None if want.needs_values() => return Ok(Known::Little),
            None => match self.markers_of(open, block)? {
                Some(markers) => Summary::of_count(covered, (samples - markers.min(samples)) as u64),
                None => return Ok(Known::Little),
            },
        };
        if summary.count == 0 {
            return Ok(Known::Nothing);
        }
        if want.has(Want::END_TIMES) {
            // Which samples the markers are is not known.
            if summary.count != samples as u64 {
                return Ok(Known::Little);
            }
            let (first_ms, last_ms) = self.end_times(open, block)?;
            summary.first.timestamp_ms = first_ms;
            summary.last.timestamp_ms = last_ms;
        }
        Ok(Known::Summary(summary))
    }

    /// The record of a block, if it has one: all full blocks do, and the last one if it is large enough.
    fn recorded(&self, row: &SeriesRow, block: usize) -> Result<Option<BlockStatistics>, StorageError> {
        if block >= row.statistics_count as usize {
            return Ok(None);
        }
        self.record(row.statistics_first.saturating_add(block as u64)).map(Some)
    }

    /// Times of the first and the last sample of a block.
    fn end_times(&self, open: &OpenColumns<'_>, block: usize) -> Result<(i64, i64), StorageError> {
        let covered = open.covered(block);
        if block + 1 == open.block_count() {
            return Ok((covered.start_ms, covered.end_ms));
        }
        let mut times = Vec::with_capacity(open.samples(block));
        self.decode_times(open, block, &mut times)?;
        Ok((covered.start_ms, times.last().copied().unwrap_or(covered.end_ms)))
    }

    /// Number of staleness markers in a block, if its bytes tell without its values being decoded.
    fn markers_of(&self, open: &OpenColumns<'_>, block: usize) -> Result<Option<usize>, StorageError> {
        if self.is_index() {
            return Ok(None);
        }
        let corrupt = |row: &SeriesRow, e: FormatError| self.corrupt(self.data.offset + row.values_offset, &e);
        let bytes = open.value_bytes(block).map_err(|e| corrupt(&open.row, e))?;
        let samples = open.samples(block);
        let mut found = markers(bytes, samples).map_err(|e| corrupt(&open.row, e))?;
        let (mut ordinal, mut row) = (open.ordinal, open.row);
        for _ in 0..BASES_MAX {
            if found != Markers::AsBase {
                break;
            }
            ordinal -= row.base_distance.min(ordinal);
            row = self.series_row(ordinal)?;
            if row.times != open.row.times {
                return Err(corrupt(&row, FormatError::new("the base of a block has other times")));
            }
            let column = self.part(self.data, row.values_offset, row.values_bytes as usize)?;
            let head = ColumnHead::decode(&column, open.count, false).map_err(|e| corrupt(&row, e))?;
            let bytes = head.block(&column, block).map_err(|e| corrupt(&row, e))?;
            found = markers(bytes, block_samples(open.count, block)).map_err(|e| corrupt(&row, e))?;
        }
        Ok(match found {
            Markers::Count(count) => Some(count),
            Markers::AsBase | Markers::Unknown => None,
        })
    }
}

/// What the statistics of a block say; none if that is not all that is wanted.
fn summary_of(statistics: &BlockStatistics, covered: TimeRange, want: Want) -> Option<Summary> {
    let s = statistics;
    if want.has(Want::SUM) && !is_summable(s.min, s.max) {
        return None;
    }
    Some(Summary {
        range: covered,
        count: u64::from(s.count),
        first: Sample { timestamp_ms: covered.start_ms, value: s.first },
        last: Sample { timestamp_ms: covered.end_ms, value: s.last },
        min: s.min,
        max: s.max,
        sum: s.sum,
        compensation: s.compensation,
        resets: u64::from(s.resets),
        reset_sum: s.reset_sum,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_overflow_or_is_infinite_is_not_summable() {
        let nan = f64::NAN;
        for (min, max) in [(0.0, 0.0), (-SUMMABLE_MAX, 5.0), (1.0, SUMMABLE_MAX), (nan, nan), (nan, 1.0)] {
            assert!(is_summable(min, max), "{min} {max}");
        }
        for (min, max) in [(-1.1e290, 5.0), (1.0, 1.1e290), (1.0, f64::INFINITY), (f64::NEG_INFINITY, nan)] {
            assert!(!is_summable(min, max), "{min} {max}");
        }
    }
}
