//! Native histograms in a segment: columns in the data section, and a section that says where they are.
//!
//! The section ([`super::layout::Kind::Histograms`]) is there only if the segment has histograms; a reader that does not
//! know it must refuse the file. Its content, as varints unless said otherwise: the number of series with histograms;
//! for each in order the ordinal (difference to the one before), the offset of its column in the data section, the
//! column's length in bytes, the number of samples, and the first and the last time (zigzag).
//!
//! A **column** of histograms is, for each of its blocks, the block's length in bytes and its first time (zigzag,
//! difference to the one before), then the blocks as in `codec/histogram.rs`, all but the last full.
//!
//! A series with histograms only has an empty column of float times.

use std::sync::{Arc, OnceLock};

use model::{SampleColumns, TimeRange};

use super::layout::Section;
use super::reader::Segment;
use crate::codec::histogram::{BLOCK_SAMPLES_MAX, HistogramPoint, decode, encode};
use crate::error::StorageError;
use crate::format::{Cursor, FormatError, Put};

/// Where the histograms of a series are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    ordinal: u32,
    /// In the data section.
    pub(super) offset: u64,
    pub(super) bytes: u32,
    pub(super) count: u32,
    first_ms: i64,
    last_ms: i64,
}

/// Notes where histograms were written.
#[derive(Debug, Default)]
pub(super) struct HistogramRows {
    rows: Vec<Row>,
}

impl HistogramRows {
    /// Notes a column that was written.
    pub(super) fn push(&mut self, ordinal: u32, offset: u64, bytes: u32, samples: &[HistogramPoint]) {
        let (Some((first_ms, _)), Some((last_ms, _))) = (samples.first(), samples.last()) else { return };
        let count = samples.len() as u32;
        self.rows.push(Row { ordinal, offset, bytes, count, first_ms: *first_ms, last_ms: *last_ms });
    }

    /// The bytes of the section; none if there is nothing to say.
    pub(super) fn section(&self) -> Option<Vec<u8>> {
        if self.rows.is_empty() {
            return None;
        }
        let (mut out, mut before) = (Vec::new(), 0);
        out.put_varint(self.rows.len() as u64);
        for row in &self.rows {
            out.put_varint(u64::from(row.ordinal - before));
            before = row.ordinal;
            for number in [row.offset, u64::from(row.bytes), u64::from(row.count)] {
                out.put_varint(number);
            }
            out.put_zigzag(row.first_ms);
            out.put_zigzag(row.last_ms);
        }
        Some(out)
    }
}

/// The bytes of a column.
pub(super) fn encode_column(samples: &[HistogramPoint]) -> Vec<u8> {
    let (mut out, mut blocks, mut before) = (Vec::new(), Vec::new(), 0_i64);
    for block in samples.chunks(BLOCK_SAMPLES_MAX) {
        let start = blocks.len();
        encode(block, &mut blocks);
        out.put_varint((blocks.len() - start) as u64);
        let first_ms = block.first().map_or(0, |(ms, _)| *ms);
        out.put_zigzag(first_ms.wrapping_sub(before));
        before = first_ms;
    }
    out.append(&mut blocks);
    out
}

/// The histograms of an open segment; which series have some is read when it is first asked.
#[derive(Debug, Default)]
pub(super) struct HistogramIndex {
    section: Option<Section>,
    rows: OnceLock<Arc<Vec<Row>>>,
}

impl HistogramIndex {
    pub(super) fn new(section: Option<Section>) -> Self {
        HistogramIndex { section, rows: OnceLock::new() }
    }
}

fn decode_rows(bytes: &[u8], series: u32) -> Result<Vec<Row>, FormatError> {
    let mut cursor = Cursor::new(bytes);
    let count = cursor.length()?;
    if count > cursor.rest().len() {
        return Err(cursor.error("a count is larger than the data"));
    }
    let mut rows: Vec<Row> = Vec::with_capacity(count);
    for i in 0..count {
        let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let step = narrow(cursor.varint()?);
        let before = rows.last().map_or(0, |row| row.ordinal);
        let ordinal = before.saturating_add(step);
        if ordinal >= series || (i > 0 && step == 0) {
            return Err(cursor.error("histograms of a series that is not there"));
        }
        let (offset, bytes, count) = (cursor.varint()?, narrow(cursor.varint()?), narrow(cursor.varint()?));
        let (first_ms, last_ms) = (cursor.zigzag()?, cursor.zigzag()?);
        rows.push(Row { ordinal, offset, bytes, count, first_ms, last_ms });
    }
    cursor.finish()?;
    Ok(rows)
}

impl Segment {
    /// True if any series has histograms.
    pub(crate) fn has_histograms(&self) -> bool {
        self.histograms.section.is_some()
    }

    fn histogram_rows(&self) -> Result<&[Row], StorageError> {
        let Some(section) = self.histograms.section else { return Ok(&[]) };
        if let Some(rows) = self.histograms.rows.get() {
            return Ok(rows);
        }
        let bytes = self.part(section, 0, usize::try_from(section.bytes).unwrap_or(usize::MAX))?;
        let rows = decode_rows(&bytes, self.len()).map_err(|error| self.corrupt(section.offset, &error))?;
        Ok(self.histograms.rows.get_or_init(|| Arc::new(rows)))
    }

    /// Where the histograms of a series are; none if it has none.
    pub(super) fn histogram_row(&self, ordinal: u32) -> Result<Option<Row>, StorageError> {
        if !self.has_histograms() {
            return Ok(None);
        }
        let rows = self.histogram_rows()?;
        let found = rows.binary_search_by_key(&ordinal, |row| row.ordinal).ok();
        Ok(found.and_then(|at| rows.get(at)).copied())
    }

    /// Number of a series' histograms, and the range of their times; none if it has none.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`], [`StorageError::Io`].
    pub(super) fn histogram_times(&self, ordinal: u32) -> Result<Option<(u32, TimeRange)>, StorageError> {
        let row = self.histogram_row(ordinal)?;
        Ok(row.map(|row| (row.count, TimeRange { start_ms: row.first_ms, end_ms: row.last_ms })))
    }

    /// Appends the histograms of a series that lie in the range to those of `out`, in order of time.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`], [`StorageError::Io`].
    pub(super) fn read_histograms(
        &self,
        ordinal: u32,
        range: TimeRange,
        out: &mut SampleColumns,
    ) -> Result<(), StorageError> {
        let Some(row) = self.histogram_row(ordinal)? else { return Ok(()) };
        if range.is_empty() || !range.overlaps(&TimeRange { start_ms: row.first_ms, end_ms: row.last_ms }) {
            return Ok(());
        }
        let bytes = self.part(self.data, row.offset, row.bytes as usize)?;
        let decoded = decode_column(&bytes, row.count as usize, range, &mut out.histograms);
        decoded.map_err(|error| self.corrupt(self.data.offset.saturating_add(row.offset), &error))
    }
}

/// Decodes the blocks of a column that may have samples in the range, and keeps those samples.
fn decode_column(
    bytes: &[u8],
    count: usize,
    range: TimeRange,
    out: &mut Vec<HistogramPoint>,
) -> Result<(), FormatError> {
    let block_count = count.div_ceil(BLOCK_SAMPLES_MAX);
    // Every block has two bytes in the head at least.
    if block_count > bytes.len() / 2 {
        return Err(FormatError::new("a column has too few bytes"));
    }
    let mut cursor = Cursor::new(bytes);
    let (mut blocks, mut first_ms) = (Vec::with_capacity(block_count), 0_i64);
    for _ in 0..block_count {
        let length = cursor.length()?;
        first_ms = first_ms.wrapping_add(cursor.zigzag()?);
        blocks.push((length, first_ms));
    }
    for (i, (length, first_ms)) in blocks.iter().enumerate() {
        let block = cursor.take(*length)?;
        let next_ms = blocks.get(i + 1).map_or(i64::MAX, |(_, next)| *next);
        if *first_ms > range.end_ms || (next_ms <= range.start_ms && i + 1 < block_count) {
            continue;
        }
        let start = out.len();
        decode(block, count.saturating_sub(i * BLOCK_SAMPLES_MAX).min(BLOCK_SAMPLES_MAX), out)?;
        let mut place = 0;
        out.retain(|(ms, _)| {
            place += 1;
            place <= start || range.contains(*ms)
        });
    }
    cursor.finish()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use model::{Histogram, Labels};

    use super::*;
    use crate::io::Disk;
    use crate::io::fake::FakeDisk;
    use crate::segment::{SegmentMeta, SegmentWriter};

    fn labels(name: &str) -> Labels {
        Labels::from_pairs([("__name__", name)]).unwrap()
    }

    fn histograms(count: i64) -> Vec<HistogramPoint> {
        (0..count)
            .map(|i| (i * 1000 - 5000, Arc::new(Histogram { count: i as f64, sum: 0.5, ..Histogram::default() })))
            .collect()
    }

    fn segment(disk: &FakeDisk) -> Segment {
        disk.create_dir(Path::new("/db")).unwrap();
        let path = Path::new("/db/1.seg");
        let mut writer = SegmentWriter::create(disk, path, SegmentMeta { sequence_min: 1, sequence_max: 2 }).unwrap();
        let floats = SampleColumns { timestamps_ms: vec![1, 2], values: vec![1.0, 2.0], histograms: Vec::new() };
        let only = SampleColumns { histograms: histograms(300), ..SampleColumns::default() };
        let both = SampleColumns { histograms: histograms(3), ..floats.clone() };
        for (name, samples) in [("a", &floats), ("b", &only), ("c", &floats), ("d", &both)] {
            writer.add_series(&labels(name), samples).unwrap();
        }
        let info = writer.finish().unwrap();
        assert_eq!((info.samples, info.range), (309, TimeRange { start_ms: -5000, end_ms: 294_000 }));
        Segment::open(disk, path).unwrap()
    }

    #[test]
    fn histograms_are_read_beside_floats() {
        let segment = segment(&FakeDisk::default());
        let read = |ordinal, range| {
            let mut out = SampleColumns::default();
            segment.read(ordinal, range, &mut out).unwrap();
            out
        };
        assert!(read(0, TimeRange::ALL).histograms.is_empty());
        assert_eq!(read(1, TimeRange::ALL).histograms, histograms(300));
        assert_eq!(read(1, TimeRange::ALL).values.len(), 0);
        let both = read(3, TimeRange::ALL);
        assert_eq!((both.values.len(), both.histograms.len()), (2, 3));
        for (start_ms, end_ms) in
            [(-5000, -5000), (0, 122_500), (122_000, 124_000), (294_000, 294_000), (294_001, 900_000)]
        {
            let want: Vec<_> = histograms(300).into_iter().filter(|(ms, _)| (start_ms..=end_ms).contains(ms)).collect();
            assert_eq!(read(1, TimeRange { start_ms, end_ms }).histograms, want, "{start_ms} {end_ms}");
        }
        assert_eq!(segment.time_range(1).unwrap(), TimeRange { start_ms: -5000, end_ms: 294_000 });
        assert_eq!((segment.sample_count(1).unwrap(), segment.sample_count(3).unwrap()), (300, 5));
    }

    #[test]
    fn rows_are_pinned() {
        let mut rows = HistogramRows::default();
        rows.push(1, 300, 20, &histograms(2));
        rows.push(3, 320, 5, &histograms(1));
        let want =
            [&[2, 1, 0xAC, 2, 20, 2][..], &[0x8F, 0x4E, 0xBF, 0x3E], &[2, 0xC0, 2, 5, 1, 0x8F, 0x4E, 0x8F, 0x4E]];
        let bytes = rows.section().unwrap();
        assert_eq!(bytes, want.concat());
        assert_eq!(decode_rows(&bytes, 4).unwrap(), rows.rows);
        assert!(decode_rows(&bytes, 3).is_err(), "there is no series 3");
        assert_eq!(HistogramRows::default().section(), None);
    }
}
