//! Segments of buckets: the samples of a series are the last ones of its buckets, and markers that ended them, so all
//! that reads samples reads these as well; behind the values of each series lies what else is known of its buckets.
//!
//! The section [`super::layout::Kind::Buckets`] says that this is so: it holds the resolution in ms (varint).
//!
//! # Bytes behind the values of a series
//! Their length (`u32`), then: number of buckets that have samples (varint), number of markers among the samples (varint),
//! the place of each among the samples less the one before (varints); then for each of [`COLUMNS`] how it is written
//! (`u8`): 0 all zero, 1 as blocks, 2 as the first values, 3 as the last values. Blocks, of at most
//! [`BLOCK_SAMPLES_MAX`] buckets each, have their length (varint) before them; that of times is one of times
//! (`codec/timestamps.rs`).

use std::ops::Range;

use model::{Sample, SampleColumns, Summary, TimeRange, Want, stale_nan};

use super::layout::SeriesRow;
use super::reader::{OpenColumns, Segment};
use crate::codec::{BLOCK_SAMPLES_MAX, Preference, decode_block, encode_block, timestamps};
use crate::error::StorageError;
use crate::format::{Cursor, FormatError, Put};
use crate::rollup::bucket::{Bucket, EVERYTHING, Filler};

/// The columns, in order; the times of first samples come before them.
const COLUMNS: [Column; 8] = [
    Column::Count,
    Column::First,
    Column::Min,
    Column::Max,
    Column::Sum,
    Column::Compensation,
    Column::Resets,
    Column::ResetSum,
];

const AS_ZERO: u8 = 0;
const AS_BLOCKS: u8 = 1;
const AS_FIRST: u8 = 2;
const AS_LAST: u8 = 3;

/// What is known of buckets, beside the times of the first samples and the last samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Count,
    First,
    Min,
    Max,
    Sum,
    Compensation,
    Resets,
    ResetSum,
}

impl Column {
    fn get(self, s: &Summary) -> f64 {
        match self {
            Column::Count => s.count as f64,
            Column::First => s.first.value,
            Column::Min => s.min,
            Column::Max => s.max,
            Column::Sum => s.sum,
            Column::Compensation => s.compensation,
            Column::Resets => s.resets as f64,
            Column::ResetSum => s.reset_sum,
        }
    }

    fn set(self, s: &mut Summary, value: f64) {
        match self {
            // Whole numbers far below 2^53; what a wrong file has instead saturates.
            Column::Count => s.count = value as u64,
            Column::First => s.first.value = value,
            Column::Min => s.min = value,
            Column::Max => s.max = value,
            Column::Sum => s.sum = value,
            Column::Compensation => s.compensation = value,
            Column::Resets => s.resets = value as u64,
            Column::ResetSum => s.reset_sum = value,
        }
    }

    /// When it matters.
    fn wanted_for(self) -> Want {
        match self {
            Column::Count => Want::COUNT,
            Column::First => Want::END_VALUES,
            Column::Min | Column::Max => Want::EXTREMES,
            Column::Sum | Column::Compensation => Want::SUM,
            Column::Resets | Column::ResetSum => Want::RESETS,
        }
    }
}

/// Appends what lies behind the values of a series.
pub(crate) fn encode(buckets: &[Bucket], out: &mut Vec<u8>) {
    let mut bytes = Vec::new();
    let (mut markers, mut samples, mut before) = (Vec::new(), 0_u64, 0_u64);
    for bucket in buckets {
        samples += u64::from(bucket.summary.is_some());
        if bucket.marker_ms.is_some() {
            markers.push(samples - before);
            before = samples;
            samples += 1;
        }
    }
    let summaries: Vec<Summary> = buckets.iter().filter_map(|bucket| bucket.summary).collect();
    bytes.put_varint(summaries.len() as u64);
    bytes.put_varint(markers.len() as u64);
    markers.iter().for_each(|distance| bytes.put_varint(*distance));
    let mut block = Vec::new();
    for part in summaries.chunks(BLOCK_SAMPLES_MAX) {
        block.clear();
        let times_ms: Vec<i64> = part.iter().map(|s| s.first.timestamp_ms).collect();
        timestamps::encode_block(&times_ms, Preference::Balanced, &mut block);
        put_block(&block, &mut bytes);
    }
    let is_same = |a: f64, b: f64| a.to_bits() == b.to_bits();
    for column in COLUMNS {
        let all = |of: fn(&Summary) -> f64| summaries.iter().all(|s| is_same(column.get(s), of(s)));
        if all(|_| 0.0) {
            bytes.put_u8(AS_ZERO);
        } else if column != Column::First && all(|s| s.first.value) {
            bytes.put_u8(AS_FIRST);
        } else if all(|s| s.last.value) {
            bytes.put_u8(AS_LAST);
        } else {
            bytes.put_u8(AS_BLOCKS);
            for part in summaries.chunks(BLOCK_SAMPLES_MAX) {
                block.clear();
                let values: Vec<f64> = part.iter().map(|s| column.get(s)).collect();
                encode_block(&values, Preference::Balanced, &mut block);
                put_block(&block, &mut bytes);
            }
        }
    }
    // A series of a run has far fewer bytes than that; were it more, reading would find that the length is wrong.
    out.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(&bytes);
}

fn put_block(block: &[u8], out: &mut Vec<u8>) {
    out.put_varint(block.len() as u64);
    out.extend_from_slice(block);
}

/// How a column is written.
enum Written<'a> {
    Zero,
    First,
    Last,
    Blocks(Vec<&'a [u8]>),
}

/// What lies behind the values of a series, not decoded yet.
struct Behind<'a> {
    buckets: usize,
    /// Places of the markers among the samples, rising.
    markers: Vec<usize>,
    first_ms: Vec<&'a [u8]>,
    columns: Vec<(Column, Written<'a>)>,
}

impl<'a> Behind<'a> {
    fn parse(bytes: &'a [u8], samples: usize) -> Result<Self, FormatError> {
        let mut cursor = Cursor::new(bytes);
        let (buckets, count) = (cursor.length()?, cursor.length()?);
        if buckets.checked_add(count) != Some(samples) || count > cursor.rest().len() {
            return Err(cursor.error("buckets and markers are not the samples"));
        }
        let (mut markers, mut place) = (Vec::with_capacity(count), 0_usize);
        for i in 0..count {
            let distance = cursor.length()?;
            place = place.saturating_add(distance);
            if place >= samples || (i > 0 && distance == 0) {
                return Err(cursor.error("a marker is at a wrong place"));
            }
            markers.push(place);
        }
        let blocks = buckets.div_ceil(BLOCK_SAMPLES_MAX);
        let first_ms = take_blocks(&mut cursor, blocks)?;
        let mut columns = Vec::with_capacity(COLUMNS.len());
        for column in COLUMNS {
            let written = match cursor.u8()? {
                AS_ZERO => Written::Zero,
                AS_BLOCKS => Written::Blocks(take_blocks(&mut cursor, blocks)?),
                AS_FIRST => Written::First,
                AS_LAST => Written::Last,
                _ => return Err(cursor.error("a column of buckets is written in an unknown way")),
            };
            columns.push((column, written));
        }
        cursor.finish()?;
        Ok(Behind { buckets, markers, first_ms, columns })
    }

    /// Takes what is at the places of markers out of a column of the samples.
    fn without_markers<T: Copy>(&self, column: &mut Vec<T>) {
        let (mut markers, mut place) = (self.markers.iter().peekable(), 0);
        if !self.markers.is_empty() {
            column.retain(|_| {
                place += 1;
                markers.next_if(|marker| **marker + 1 == place).is_none()
            });
        }
    }

    /// Fills what is wanted into the summaries of the buckets in `places`, which lie in `blocks`.
    fn fill(&self, want: Want, blocks: Range<usize>, out: &mut [Summary], skip: usize) -> Result<(), FormatError> {
        let mut values = Vec::new();
        // Others may be written as the first values.
        let (first, others): (Vec<_>, Vec<_>) = self.columns.iter().partition(|(column, _)| *column == Column::First);
        for (column, written) in first.into_iter().chain(others).filter(|(column, _)| want.has(column.wanted_for())) {
            match written {
                Written::Zero => out.iter_mut().for_each(|s| column.set(s, 0.0)),
                Written::First => out.iter_mut().for_each(|s| column.set(s, s.first.value)),
                Written::Last => out.iter_mut().for_each(|s| column.set(s, s.last.value)),
                Written::Blocks(bytes) => {
                    values.clear();
                    for block in blocks.clone() {
                        let bytes = bytes.get(block).copied().unwrap_or_default();
                        decode_block(bytes, super::layout::block_samples(self.buckets, block), &mut values)?;
                    }
                    let values = values.iter().skip(skip);
                    out.iter_mut().zip(values).for_each(|(s, value)| column.set(s, *value));
                }
            }
        }
        Ok(())
    }

    /// Columns may be written as the values of first or last samples, which must be known then.
    fn needs_ends(&self, want: Want) -> bool {
        want.has(Want::END_VALUES)
            || self.columns.iter().any(|(column, written)| {
                matches!(written, Written::First | Written::Last) && want.has(column.wanted_for())
            })
    }
}

fn take_blocks<'a>(cursor: &mut Cursor<'a>, blocks: usize) -> Result<Vec<&'a [u8]>, FormatError> {
    if blocks > cursor.rest().len() {
        return Err(cursor.error("there are more blocks than bytes"));
    }
    (0..blocks)
        .map(|_| {
            let length = cursor.length()?;
            cursor.take(length)
        })
        .collect()
}

/// Decodes all that lies behind the values of a series with so many samples.
///
/// # Errors
/// [`FormatError`] if the bytes are none.
#[cfg(feature = "fuzzing")]
pub(crate) fn decode_behind(bytes: &[u8], samples: usize) -> Result<Vec<Summary>, FormatError> {
    let behind = Behind::parse(bytes, samples)?;
    let mut first_ms = Vec::new();
    for (block, bytes) in behind.first_ms.iter().enumerate() {
        timestamps::decode_block(bytes, super::layout::block_samples(behind.buckets, block), &mut first_ms)?;
    }
    let mut out: Vec<Summary> =
        first_ms.into_iter().map(|ms| Summary::of_count(TimeRange { start_ms: ms, end_ms: ms }, 1)).collect();
    behind.fill(EVERYTHING, 0..behind.first_ms.len(), &mut out, 0)?;
    Ok(out)
}

impl Segment {
    /// Length of the buckets, if this is a segment of buckets.
    pub(crate) fn resolution_ms(&self) -> Option<i64> {
        self.resolution_ms
    }

    /// Appends what is wanted of the buckets of a series that may have samples in the range, in order of time; the range
    /// of each is that from its first to its last sample.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] or [`StorageError::Io`].
    pub(crate) fn read_buckets(
        &self,
        ordinal: u32,
        range: TimeRange,
        want: Want,
        out: &mut Vec<Summary>,
    ) -> Result<(), StorageError> {
        let Some(open) = self.open_columns(ordinal, TimeRange::ALL)? else { return Ok(()) };
        let bytes = self.bytes_behind(&open.row)?;
        let corrupt = |e: FormatError| self.corrupt_behind(&open.row, &e);
        let behind = Behind::parse(&bytes, open.count).map_err(corrupt)?;
        let mut last_ms = Vec::with_capacity(open.count);
        (0..open.block_count()).try_for_each(|block| self.decode_times(&open, block, &mut last_ms))?;
        behind.without_markers(&mut last_ms);
        let from = last_ms.partition_point(|ms| *ms < range.start_ms);
        let to = (last_ms.partition_point(|ms| *ms <= range.end_ms) + 1).min(behind.buckets);
        if from >= to {
            return Ok(());
        }
        let blocks = from / BLOCK_SAMPLES_MAX..to.div_ceil(BLOCK_SAMPLES_MAX);
        let block_start = blocks.start * BLOCK_SAMPLES_MAX;
        let mut first_ms = Vec::new();
        for block in blocks.clone() {
            let bytes = behind.first_ms.get(block).copied().unwrap_or_default();
            let samples = super::layout::block_samples(behind.buckets, block);
            timestamps::decode_block(bytes, samples, &mut first_ms).map_err(corrupt)?;
        }
        let last = if behind.needs_ends(want) { self.last_values(&open, &behind, blocks.clone())? } else { Vec::new() };
        let done = out.len();
        for i in from..to {
            let in_blocks = i - block_start;
            let ends = first_ms.get(in_blocks).copied().zip(last_ms.get(i).copied());
            let (start_ms, end_ms) = ends.ok_or_else(|| corrupt(FormatError::new("a bucket has no times")))?;
            if start_ms > end_ms || (i > from && last_ms.get(i - 1).is_some_and(|before| *before >= start_ms)) {
                return Err(corrupt(FormatError::new("buckets overlap")));
            }
            let mut summary = Summary::of_count(TimeRange { start_ms, end_ms }, 1);
            summary.last.value = last.get(in_blocks).copied().unwrap_or_default();
            out.push(summary);
        }
        let want = if behind.needs_ends(want) { want.and(Want::END_VALUES) } else { want };
        let new = out.get_mut(done..).unwrap_or_default();
        behind.fill(want, blocks, new, from - block_start).map_err(corrupt)?;
        if new.last().is_some_and(|s| s.first.timestamp_ms > range.end_ms) {
            out.pop();
        }
        Ok(())
    }

    /// The values of the last samples of the buckets in these blocks of them.
    fn last_values(
        &self,
        open: &OpenColumns<'_>,
        behind: &Behind<'_>,
        blocks: Range<usize>,
    ) -> Result<Vec<f64>, StorageError> {
        let mut values = Vec::new();
        if behind.markers.is_empty() {
            blocks.into_iter().try_for_each(|block| self.decode_values(open, block, &mut values))?;
            return Ok(values);
        }
        (0..open.block_count()).try_for_each(|block| self.decode_values(open, block, &mut values))?;
        behind.without_markers(&mut values);
        let start = (blocks.start * BLOCK_SAMPLES_MAX).min(values.len());
        Ok(values.split_off(start))
    }

    /// All buckets of a series.
    ///
    /// # Errors
    /// As [`Segment::read_buckets`].
    pub(crate) fn all_buckets(&self, ordinal: u32) -> Result<Vec<Bucket>, StorageError> {
        let mut filler = Filler::new(self.resolution_ms.unwrap_or(i64::MAX));
        let (mut summaries, mut samples) = (Vec::new(), SampleColumns::default());
        self.read_buckets(ordinal, TimeRange::ALL, EVERYTHING, &mut summaries)?;
        self.read(ordinal, TimeRange::ALL, &mut samples)?;
        let mut summaries = summaries.iter().peekable();
        for timestamp_ms in samples.timestamps_ms {
            // A sample is the last one of the next bucket, or else a marker.
            match summaries.next_if(|summary| summary.last.timestamp_ms == timestamp_ms) {
                Some(summary) => filler.add_summary(summary),
                None => filler.add_sample(Sample { timestamp_ms, value: stale_nan() }),
            }
        }
        Ok(filler.buckets)
    }

    fn bytes_behind(&self, row: &SeriesRow) -> Result<std::borrow::Cow<'_, [u8]>, StorageError> {
        let at = row.values_offset.saturating_add(u64::from(row.values_bytes));
        let head = self.part(self.data, at, 4)?;
        let length = Cursor::new(&head).u32().map_err(|e| self.corrupt_behind(row, &e))?;
        self.part(self.data, at.saturating_add(4), length as usize)
    }

    fn corrupt_behind(&self, row: &SeriesRow, error: &FormatError) -> StorageError {
        self.corrupt(self.data.offset.saturating_add(row.values_offset), error)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::super::forge::reseal;
    use super::super::{SegmentMeta, SegmentWriter};
    use super::*;
    use crate::io::Disk;
    use crate::io::fake::FakeDisk;
    use crate::rollup::bucket::last_samples;
    use model::Labels;

    const PATH: &str = "/db/1.seg";
    const RESOLUTION_MS: i64 = 60_000;

    fn filled(samples: &[(i64, f64)]) -> Vec<Bucket> {
        let mut filler = Filler::new(RESOLUTION_MS);
        samples.iter().for_each(|(timestamp_ms, value)| {
            filler.add_sample(Sample { timestamp_ms: *timestamp_ms, value: *value });
        });
        filler.buckets
    }

    fn segment_of(series: &[Vec<Bucket>]) -> Vec<u8> {
        let disk = FakeDisk::default();
        disk.create_dir(Path::new("/db")).unwrap();
        let meta = SegmentMeta { sequence_min: 1, sequence_max: 2 };
        let mut writer = SegmentWriter::create(&disk, Path::new(PATH), meta).unwrap();
        writer.set_resolution(RESOLUTION_MS);
        for (i, buckets) in series.iter().enumerate() {
            writer.add_buckets(&Labels::from_pairs([("i", format!("{i:03}").as_str())]).unwrap(), buckets).unwrap();
        }
        writer.finish().unwrap();
        disk.bytes(Path::new(PATH)).unwrap()
    }

    fn open(bytes: &[u8]) -> Result<Segment, StorageError> {
        let disk = FakeDisk::default();
        disk.create_dir(Path::new("/db")).unwrap();
        disk.create(Path::new(PATH)).unwrap().append(bytes).unwrap();
        Segment::open(&disk, Path::new(PATH))
    }

    #[test]
    fn bytes_are_pinned() {
        // Two samples with a fall between them, a marker alone, a marker behind a sample.
        let stale = stale_nan();
        let buckets = filled(&[(1_000, 5.0), (2_000, 3.0), (60_001, stale), (121_000, 7.0), (122_000, stale)]);
        assert_eq!(buckets.len(), 3);
        let mut bytes = Vec::new();
        encode(&buckets, &mut bytes);
        // Length, two buckets, two markers at 1 and 3; times of first samples.
        let places = b"\x30\x00\x00\x00\x02\x02\x01\x02\x08\x02\x0e\xd0\x0f\xc0\xa9\x07\x02";
        // Counts 2 and 1, first values 5 and 7, minima as the last values, maxima as the first.
        let ends = b"\x01\x04\x02\x0a\x04\x01\x01\x05\x02\x0e\x0a\x02\x02\x03\x02";
        // Sums 8 and 7 of which nothing was lost, resets 1 and 0, which took 5 and 0.
        let rest = b"\x01\x04\x02\x0a\x10\x01\x00\x01\x04\x02\x0a\x02\x01\x01\x05\x02\x0e\x0a\x05\x01";
        let golden = [&places[..], ends, rest].concat();
        assert_eq!(bytes, golden, "{}", bytes.escape_ascii());
        let behind = Behind::parse(&golden[4..], 4).unwrap();
        assert_eq!((behind.buckets, behind.markers), (2, vec![1, 3]));
    }

    #[test]
    fn columns_that_are_as_the_first_values_are_read_as_these() {
        // A bucket has as many samples as its first value says.
        let buckets = filled(&[(1_000, 1.0), (61_000, 1.0), (121_000, 1.0)]);
        let segment = open(&segment_of(std::slice::from_ref(&buckets))).unwrap();
        assert_eq!(segment.all_buckets(0).unwrap(), buckets);
        let mut counts = Vec::new();
        segment.read_buckets(0, TimeRange::ALL, Want::COUNT, &mut counts).unwrap();
        assert_eq!(counts.iter().map(|summary| summary.count).collect::<Vec<_>>(), [1, 1, 1]);
    }

    /// Whatever the bytes behind right checksums say: an error or an answer.
    fn read_all(bytes: &[u8]) -> bool {
        let Ok(segment) = open(bytes) else { return false };
        (0..segment.len()).all(|ordinal| {
            let some = TimeRange { start_ms: 30_000, end_ms: 90_000 };
            let part = segment.read_buckets(ordinal, some, Want::EXTREMES, &mut Vec::new());
            segment.all_buckets(ordinal).is_ok() && part.is_ok()
        })
    }

    #[test]
    fn hostile_bytes_are_found_and_give_no_panic() {
        let samples: Vec<(i64, f64)> =
            (0..90).map(|i| (i * 7_000 + i % 3, if i % 31 == 0 { stale_nan() } else { (i * i % 17) as f64 })).collect();
        let series = [filled(&samples), filled(&[(5, 1.0)])];
        let good = segment_of(&series);
        assert!(read_all(&good));
        for at in 0..good.len() {
            for bit in [0, 3, 7] {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                // What keeps wrong numbers out is the checksums.
                let is_found = !open(&bad).is_ok_and(|segment| segment.verify().is_empty());
                assert!(is_found, "bit {bit} of byte {at}");
                // Behind right ones nearly any number may be one of a bucket; what cannot be read is refused, without panic.
                if let Some(bad) = reseal(&bad) {
                    read_all(&bad);
                }
            }
        }
        let mut bytes = Vec::new();
        encode(&series[0], &mut bytes);
        let samples = last_samples(&series[0]).timestamps_ms.len();
        assert!(Behind::parse(&bytes[4..], samples).is_ok());
        for cut in 4..bytes.len() {
            assert!(Behind::parse(&bytes[4..cut], samples).is_err(), "{cut}");
        }
        assert!(Behind::parse(&bytes[4..], samples + 1).is_err() && Behind::parse(&bytes[4..], 0).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            gaps in prop::collection::vec(1_i64..40_000, 0..300), raw in prop::collection::vec((0_u8..8, any::<u64>()), 300),
        ) {
            let mut time = -100_000;
            let samples: Vec<(i64, f64)> = gaps.iter().zip(&raw).map(|(gap, (kind, bits))| {
                time += gap;
                let value = match kind {
                    0 => stale_nan(),
                    1 => f64::from_bits(*bits),
                    2 => 1.0,
                    _ => (bits % 9) as f64,
                };
                (time, value)
            }).collect();
            let buckets = filled(&samples);
            prop_assume!(!buckets.is_empty());
            let found = open(&segment_of(std::slice::from_ref(&buckets))).unwrap().all_buckets(0).unwrap();
            // As text, because NaN is not itself.
            prop_assert_eq!(format!("{found:?}"), format!("{buckets:?}"));
        }
    }
}
