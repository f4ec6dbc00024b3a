//! Reads a segment: finds, decodes and caches no more than what is asked for.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use model::{Metadata, SampleColumns, TimeRange};

use super::SegmentInfo;
use super::bases::{self, BlockKey};
use super::frames::FrameReader;
use super::histograms::HistogramIndex;
use super::labels::LabelSets;
use super::layout::{
    BASES_MAX, ColumnHead, FLAG_NEEDED, Footer, HEADER_BYTES, Kind, SERIES_PER_PAGE, Section, SeriesPage, SeriesRow,
    Summary, TIMES_PER_PAGE, TRAILER_BYTES, TimesPage, TimesRow, VERSION, block_count, block_samples, decode_metadata,
    read_header, read_trailer,
};
use super::paged::Paged;
use super::statistics::{BlockStatistics, RECORD_BYTES, RECORDS_PER_PAGE, StatisticsPage};
use super::value_rows::ValueRows;
use crate::codec::{BLOCK_SAMPLES_MAX, Beside, decode_block, decode_block_beside, needs_base, needs_root, timestamps};
use crate::error::StorageError;
use crate::format::{Cursor, FormatError, FormatVersion, checksum};
use crate::index::postings::{ENTRIES_PER_PAGE, EntriesPage};
use crate::index::symbols::{Name, SETS_PER_PAGE, VALUES_PER_PAGE, ValuesPage, decode_names};
use crate::io::{Disk, Region};

/// Largest footer that is read: room for hundreds of kinds of sections.
const FOOTER_BYTES_MAX: u32 = 64 << 10;

/// Decoded pages that are kept, by kind. Series are read in order mostly, by a few threads; the sets they share come
/// again with each metric.
const SERIES_PAGES_KEPT: usize = 16;
const TIMES_PAGES_KEPT: usize = 16;
const SET_PAGES_KEPT: usize = 256;
const VALUE_PAGES_KEPT: usize = 128;
const ENTRY_PAGES_KEPT: usize = 16;
const STATISTICS_PAGES_KEPT: usize = 16;

/// An open segment. Share it behind an `Arc`; all reads may run at the same time.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(super) frames: FrameReader,
    pub(super) summary: Summary,
    pub(super) names: Vec<Name>,
    pub(super) data: Section,
    pub(super) lists: Section,
    /// The index of the names' parts, if there are many names.
    pub(super) name_parts: Option<Section>,
    /// Records by themselves, if there are no pages.
    statistics: Section,
    statistics_pages: Option<Paged<StatisticsPage>>,
    metadata: Section,
    /// About the files that hold the values, if this is only their index.
    rows_section: Option<Section>,
    rows: Option<Arc<dyn ValueRows>>,
    pub(super) histograms: HistogramIndex,
    /// Of a segment of buckets.
    pub(super) resolution_ms: Option<i64>,
    pub(super) values: Paged<ValuesPage>,
    pub(super) own_sets: Paged<LabelSets>,
    pub(super) shared_sets: Paged<LabelSets>,
    series: Paged<SeriesPage>,
    times: Paged<TimesPage>,
    pub(super) entries: Paged<EntriesPage>,
    /// Kinds and places of all sections, unknown ones too.
    pub(super) sections: Vec<(u64, Section)>,
    /// Tells this open segment from all others.
    number: u64,
}

impl Segment {
    /// Opens a segment; reads header, footer, checksums of frames and label names, whatever the number of series.
    ///
    /// # Errors
    /// [`StorageError::NewerFormat`], [`StorageError::Corrupt`], [`StorageError::Io`].
    pub(crate) fn open(disk: &dyn Disk, path: &Path) -> Result<Self, StorageError> {
        Segment::open_region(disk.open(path)?, path)
    }

    /// As [`Segment::open`], of bytes that are at hand.
    ///
    /// # Errors
    /// As there.
    pub(super) fn open_region(region: Box<dyn Region>, path: &Path) -> Result<Self, StorageError> {
        let version = read_header(&region.read(0, HEADER_BYTES as usize)?).map_err(|e| e.in_file(path, 0))?;
        let footer = read_footer(&*region, version, path)?;
        let frames = open_frames(region, path, &footer)?;
        Segment::assemble(frames, footer, path)
    }

    /// The segment behind frames and their footer.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`], [`StorageError::Io`].
    pub(super) fn assemble(frames: FrameReader, footer: Footer, path: &Path) -> Result<Self, StorageError> {
        if footer.sections.iter().any(|(kind, flags, _)| flags & FLAG_NEEDED != 0 && !Kind::is_known(*kind)) {
            return Err(FormatError::new("a section is needed but not known").in_file(path, frames.file_bytes()));
        }
        let s = footer.summary;
        let have =
            |kind: Kind| footer.sections.iter().find(|(k, _, _)| *k == kind as u64).map(|(_, _, section)| *section);
        let find = |kind: Kind| {
            have(kind).ok_or_else(|| FormatError::new("a section is missing").in_file(path, footer.frames_end))
        };
        let section_names = find(Kind::Names)?;
        let bytes = frames.read(section_names.offset, section_len(section_names))?;
        let names = decode_names(&bytes, s.pairs as u32).map_err(|e| e.in_file(path, section_names.offset))?;
        if names.len() as u64 != s.names {
            return Err(FormatError::new("a wrong number of names").in_file(path, section_names.offset));
        }
        drop(bytes);
        let resolution_ms = read_resolution(&frames, &footer)?;
        Ok(Segment {
            names,
            resolution_ms,
            data: find(Kind::Data)?,
            lists: find(Kind::Lists)?,
            name_parts: have(Kind::NameParts),
            statistics: find(Kind::Statistics)?,
            statistics_pages: have(Kind::StatisticsPages)
                .map(|section| Paged::new(section, s.statistics, RECORDS_PER_PAGE, STATISTICS_PAGES_KEPT)),
            metadata: find(Kind::Metadata)?,
            rows_section: have(Kind::Rows),
            rows: None,
            histograms: HistogramIndex::new(find(Kind::Histograms).ok()),
            values: Paged::new(find(Kind::Values)?, s.pairs, VALUES_PER_PAGE, VALUE_PAGES_KEPT),
            own_sets: Paged::new(find(Kind::OwnSets)?, s.own_sets, SETS_PER_PAGE, SET_PAGES_KEPT),
            shared_sets: Paged::new(find(Kind::SharedSets)?, s.shared_sets, SETS_PER_PAGE, SET_PAGES_KEPT),
            series: Paged::new(find(Kind::Series)?, s.series, SERIES_PER_PAGE, SERIES_PAGES_KEPT),
            times: Paged::new(find(Kind::Times)?, s.times, TIMES_PER_PAGE, TIMES_PAGES_KEPT),
            entries: Paged::new(find(Kind::ListPages)?, s.pairs + s.names, ENTRIES_PER_PAGE, ENTRY_PAGES_KEPT),
            summary: s,
            sections: footer.sections.iter().map(|(kind, _, section)| (*kind, *section)).collect(),
            frames,
            number: bases::next_segment(),
        })
    }

    /// What is said about the files that hold the values, if this is only their index.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`], [`StorageError::Io`].
    pub(crate) fn rows_section(&self) -> Result<Option<Cow<'_, [u8]>>, StorageError> {
        self.rows_section.map(|section| self.part(section, 0, section_len(section))).transpose()
    }

    /// Says where the values are that this is only the index of; until then they cannot be read.
    pub(crate) fn attach(&mut self, rows: Arc<dyn ValueRows>) {
        self.rows = Some(rows);
    }

    /// True if another file holds the values.
    pub(crate) fn is_index(&self) -> bool {
        self.rows_section.is_some()
    }

    /// What the segment says about itself.
    pub(crate) fn info(&self) -> SegmentInfo {
        let s = &self.summary;
        SegmentInfo {
            path: self.frames.path().to_owned(),
            bytes: self.frames.file_bytes(),
            series: s.series as u32,
            samples: s.samples,
            range: TimeRange { start_ms: s.time_min_ms, end_ms: s.time_max_ms },
            sequence_min: s.sequence_min,
            sequence_max: s.sequence_max,
        }
    }

    /// Number of series; their ordinals are below it.
    pub(crate) fn len(&self) -> u32 {
        self.summary.series as u32
    }

    /// Appends the samples of a series that lie in the range to `out`, in order of time.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] or [`StorageError::Io`]; `out` may have some of the samples then.
    pub(crate) fn read(&self, ordinal: u32, range: TimeRange, out: &mut SampleColumns) -> Result<(), StorageError> {
        self.read_histograms(ordinal, range, out)?;
        let Some(open) = self.open_columns(ordinal, range)? else { return Ok(()) };
        open.blocks(range).try_for_each(|block| self.read_block(&open, block, range, out))
    }

    /// The columns of a series, if it has samples around the range.
    pub(super) fn open_columns(&self, ordinal: u32, range: TimeRange) -> Result<Option<OpenColumns<'_>>, StorageError> {
        let row = self.series_row(ordinal)?;
        let times_row = self.times_row(row.times)?;
        let covered = TimeRange { start_ms: times_row.first_ms, end_ms: times_row.last_ms };
        if range.is_empty() || !range.overlaps(&covered) {
            return Ok(None);
        }
        let count = times_row.count as usize;
        let times = self.data(times_row.offset, times_row.bytes)?;
        let values =
            if self.is_index() { Cow::Borrowed(&[][..]) } else { self.data(row.values_offset, row.values_bytes)? };
        let times_head = ColumnHead::decode(&times, count, true).map_err(|e| self.corrupt_times(&times_row, &e))?;
        let values_head = if self.is_index() {
            ColumnHead::default()
        } else {
            ColumnHead::decode(&values, count, false).map_err(|e| self.corrupt_values(&row, &e))?
        };
        Ok(Some(OpenColumns { ordinal, row, times_row, count, times, values, times_head, values_head }))
    }

    /// Appends those samples of a block that lie in the range.
    pub(super) fn read_block(
        &self,
        open: &OpenColumns<'_>,
        block: usize,
        range: TimeRange,
        out: &mut SampleColumns,
    ) -> Result<(), StorageError> {
        let samples = open.samples(block);
        let Some((skip, keep)) = self.times_in(open, block, range, &mut out.timestamps_ms)? else { return Ok(()) };
        self.decode_values(open, block, &mut out.values)?;
        cut(&mut out.timestamps_ms, samples, skip, keep);
        cut(&mut out.values, samples, skip, keep);
        Ok(())
    }

    /// Appends the values of a block.
    pub(super) fn decode_values(
        &self,
        open: &OpenColumns<'_>,
        block: usize,
        out: &mut Vec<f64>,
    ) -> Result<(), StorageError> {
        let samples = open.samples(block);
        if self.is_index() {
            return self.read_rows(&open.row, block, samples, out);
        }
        let corrupt = |e: FormatError| self.corrupt_values(&open.row, &e);
        let bytes = open.value_bytes(block).map_err(corrupt)?;
        if needs_base(bytes) {
            let done = out.len();
            let place = BlockPlace { ordinal: open.ordinal, row: open.row, block, samples };
            self.decode_beside(bytes, &place, 1, out)?;
            bases::keep(self.block_key(open.ordinal, block), out.get(done..).unwrap_or_default());
        } else {
            decode_block(bytes, samples, out).map_err(corrupt)?;
        }
        Ok(())
    }

    /// Appends the values of a block that another file holds.
    fn read_rows(&self, row: &SeriesRow, block: usize, samples: usize, out: &mut Vec<f64>) -> Result<(), StorageError> {
        let corrupt = |detail| self.corrupt(self.data.offset, &FormatError::new(detail));
        let rows = self.rows.as_ref().ok_or_else(|| corrupt("the files of this index are not known"))?;
        let done = out.len();
        rows.read(row.values_offset.saturating_add((block * BLOCK_SAMPLES_MAX) as u64), samples, out)?;
        if out.len() - done != samples { Err(corrupt("a block has too few rows")) } else { Ok(()) }
    }

    /// As [`Segment::read_block`], with zeros for values: for who only asks when there are samples.
    pub(super) fn read_block_times(
        &self,
        open: &OpenColumns<'_>,
        block: usize,
        range: TimeRange,
        out: &mut SampleColumns,
    ) -> Result<(), StorageError> {
        if let Some((skip, keep)) = self.times_in(open, block, range, &mut out.timestamps_ms)? {
            cut(&mut out.timestamps_ms, open.samples(block), skip, keep);
            out.values.resize(out.timestamps_ms.len(), 0.0);
        }
        Ok(())
    }

    /// Appends all times of a block and says which of them lie in the range; nothing if none does.
    fn times_in(
        &self,
        open: &OpenColumns<'_>,
        block: usize,
        range: TimeRange,
        out: &mut Vec<i64>,
    ) -> Result<Option<(usize, usize)>, StorageError> {
        let done = out.len();
        self.decode_times(open, block, out)?;
        let times = out.get(done..).unwrap_or_default();
        let skip = times.partition_point(|t| *t < range.start_ms);
        let keep = times.partition_point(|t| *t <= range.end_ms);
        if skip == keep {
            out.truncate(done);
            return Ok(None);
        }
        Ok(Some((skip, keep)))
    }

    /// Appends the times of a block.
    pub(super) fn decode_times(
        &self,
        open: &OpenColumns<'_>,
        block: usize,
        out: &mut Vec<i64>,
    ) -> Result<(), StorageError> {
        let bytes = open.times_head.block(&open.times, block);
        let decoded = bytes.and_then(|bytes| timestamps::decode_block(bytes, open.samples(block), out));
        decoded.map_err(|e| self.corrupt_times(&open.times_row, &e))
    }

    fn corrupt_times(&self, row: &TimesRow, error: &FormatError) -> StorageError {
        self.corrupt(self.data.offset.saturating_add(row.offset), error)
    }

    fn corrupt_values(&self, row: &SeriesRow, error: &FormatError) -> StorageError {
        self.corrupt(self.data.offset.saturating_add(row.values_offset), error)
    }

    /// The statistics of a series' blocks that have them: all full blocks, and the last one if it is large enough.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`], [`StorageError::Io`].
    pub(crate) fn statistics(&self, ordinal: u32) -> Result<Vec<BlockStatistics>, StorageError> {
        let row = self.series_row(ordinal)?;
        let last = row.statistics_first.saturating_add(u64::from(row.statistics_count));
        (row.statistics_first..last).map(|number| self.record(number)).collect()
    }

    /// A record of statistics.
    pub(super) fn record(&self, number: u64) -> Result<BlockStatistics, StorageError> {
        if let Some(pages) = &self.statistics_pages {
            let item = u32::try_from(number).unwrap_or(u32::MAX);
            return pages.get(&self.frames, item, StatisticsPage::decode, |page, i| page.records.get(i).copied());
        }
        let at = number.saturating_mul(RECORD_BYTES as u64);
        let bytes = self.part(self.statistics, at, RECORD_BYTES)?;
        let record = BlockStatistics::decode(&mut Cursor::new(&bytes));
        record.map_err(|e| self.corrupt(self.statistics.offset.saturating_add(at), &e))
    }

    /// First and last time of a series' samples.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`], [`StorageError::Io`].
    pub(crate) fn time_range(&self, ordinal: u32) -> Result<TimeRange, StorageError> {
        let row = self.times_row(self.series_row(ordinal)?.times)?;
        let floats = TimeRange { start_ms: row.first_ms, end_ms: row.last_ms };
        Ok(match self.histogram_times(ordinal)? {
            Some((_, histograms)) if row.count == 0 => histograms,
            Some((_, histograms)) => floats.union(&histograms),
            None => floats,
        })
    }

    /// Number of samples of a series.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`], [`StorageError::Io`].
    pub(crate) fn sample_count(&self, ordinal: u32) -> Result<u32, StorageError> {
        let floats = self.times_row(self.series_row(ordinal)?.times)?.count;
        Ok(floats + self.histogram_times(ordinal)?.map_or(0, |(count, _)| count))
    }

    /// What was known about metric families when the segment was written, sorted by family.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`], [`StorageError::Io`].
    pub(crate) fn metadata(&self) -> Result<Vec<(String, Metadata)>, StorageError> {
        if self.metadata.bytes == 0 && self.summary.families == 0 {
            return Ok(Vec::new());
        }
        let bytes = self.part(self.metadata, 0, section_len(self.metadata))?;
        let corrupt = |detail| self.corrupt(self.metadata.offset, &FormatError::new(detail));
        let mut cursor = Cursor::new(&bytes);
        let length = cursor.varint().map_err(|e| self.corrupt(self.metadata.offset, &e))?;
        let plain = decompress(cursor.rest(), length).ok_or_else(|| corrupt("metadata cannot be decompressed"))?;
        let families = decode_metadata(&plain).map_err(|e| self.corrupt(self.metadata.offset, &e))?;
        if families.len() as u64 != self.summary.families {
            return Err(corrupt("a wrong number of metric families"));
        }
        Ok(families)
    }

    /// Verifies the checksums of the whole file, whatever was verified before; gives what is wrong.
    pub(crate) fn verify(&self) -> Vec<StorageError> {
        let own = self.frames.verify_all().into_iter().map(|(_, error)| error);
        own.chain(self.verify_rows().into_iter().map(|(_, error)| error)).collect()
    }

    /// Verifies the files that hold the values, if others do; gives the rows that are touched by what is wrong.
    pub(super) fn verify_rows(&self) -> Vec<(Range<u64>, StorageError)> {
        self.rows.iter().flat_map(|rows| rows.verify()).collect()
    }

    /// Appends the values of a block that is written beside others, the first of which is the `depth`th in a row.
    fn decode_beside(
        &self,
        bytes: &[u8],
        place: &BlockPlace,
        depth: u32,
        out: &mut Vec<f64>,
    ) -> Result<(), StorageError> {
        let (base_key, base) = self.base_block(place, depth)?;
        let root = if needs_root(bytes) { Some(self.root_block(place)?) } else { None };
        let beside = Beside { base: &base, root: root.as_ref().map_or(&[], |(_, root)| root) };
        let decoded = decode_block_beside(bytes, place.samples, beside, out);
        bases::give(base_key, base);
        if let Some((key, root)) = root {
            bases::give(key, root);
        }
        decoded.map_err(|e| self.corrupt_values(&place.row, &e))
    }

    /// The values of the block that a block of this series is written beside, which is the `depth`th in a row; for who
    /// gives them back.
    fn base_block(&self, place: &BlockPlace, depth: u32) -> Result<(BlockKey, Vec<f64>), StorageError> {
        let base = place.ordinal.checked_sub(place.row.base_distance);
        let Some(base) = base.filter(|base| *base < place.ordinal && depth <= BASES_MAX) else {
            let error = FormatError::new("a block has no base, or too many in a row");
            return Err(self.corrupt_values(&place.row, &error));
        };
        let base = self.beside(place, base)?;
        let values = self.kept_or(&base, |bytes, values| {
            if needs_base(bytes) {
                return self.decode_beside(bytes, &base, depth + 1, values);
            }
            decode_block(bytes, base.samples, values).map_err(|e| self.corrupt_values(&base.row, &e))
        })?;
        Ok((self.block_key(base.ordinal, base.block), values))
    }

    /// The values of the block at the end of the row of bases; for who gives them back.
    fn root_block(&self, place: &BlockPlace) -> Result<(BlockKey, Vec<f64>), StorageError> {
        let mut root = *place;
        for _ in 0..=BASES_MAX {
            if root.row.base_distance == 0 {
                break;
            }
            root = self.beside(place, root.ordinal.saturating_sub(root.row.base_distance))?;
        }
        if root.row.base_distance != 0 {
            return Err(self.corrupt_values(&place.row, &FormatError::new("a block has no root")));
        }
        let values = self.kept_or(&root, |bytes, values| {
            decode_block(bytes, root.samples, values).map_err(|e| self.corrupt_values(&root.row, &e))
        })?;
        Ok((self.block_key(root.ordinal, root.block), values))
    }

    /// The block of another series that a block is written beside.
    fn beside(&self, place: &BlockPlace, ordinal: u32) -> Result<BlockPlace, StorageError> {
        let row = self.series_row(ordinal)?;
        if row.times != place.row.times {
            let error = FormatError::new("the base of a block has other times");
            return Err(self.corrupt_values(&place.row, &error));
        }
        Ok(BlockPlace { ordinal, row, ..*place })
    }

    /// The values of a block if they are kept, else what `decode` makes of its bytes.
    fn kept_or(
        &self,
        place: &BlockPlace,
        decode: impl FnOnce(&[u8], &mut Vec<f64>) -> Result<(), StorageError>,
    ) -> Result<Vec<f64>, StorageError> {
        let kept = bases::take(self.block_key(place.ordinal, place.block));
        if let Some(values) = kept.filter(|values| values.len() == place.samples) {
            return Ok(values);
        }
        let corrupt = |e: FormatError| self.corrupt_values(&place.row, &e);
        let count = self.times_row(place.row.times)?.count as usize;
        let column = self.data(place.row.values_offset, place.row.values_bytes)?;
        let head = ColumnHead::decode(&column, count, false).map_err(corrupt)?;
        let mut values = Vec::with_capacity(place.samples);
        decode(head.block(&column, place.block).map_err(corrupt)?, &mut values)?;
        Ok(values)
    }

    fn block_key(&self, ordinal: u32, block: usize) -> BlockKey {
        BlockKey { segment: self.number, ordinal, block }
    }

    pub(super) fn series_row(&self, ordinal: u32) -> Result<SeriesRow, StorageError> {
        self.series.get(&self.frames, ordinal, SeriesPage::decode, |page, i| page.rows.get(i).copied())
    }

    /// A page of the series section.
    pub(super) fn series_page(&self, number: u32) -> Result<Arc<SeriesPage>, StorageError> {
        self.series.page(&self.frames, number, SeriesPage::decode)
    }

    pub(super) fn times_row(&self, number: u32) -> Result<TimesRow, StorageError> {
        self.times.get(&self.frames, number, TimesPage::decode, |page, i| page.rows.get(i).copied())
    }

    fn data(&self, offset: u64, bytes: u32) -> Result<Cow<'_, [u8]>, StorageError> {
        self.part(self.data, offset, bytes as usize)
    }

    /// Bytes of a section.
    pub(super) fn part(&self, section: Section, offset: u64, len: usize) -> Result<Cow<'_, [u8]>, StorageError> {
        if offset.checked_add(len as u64).is_none_or(|end| end > section.bytes) {
            let error = FormatError::new("something lies outside its section");
            return Err(self.corrupt(section.offset.saturating_add(offset), &error));
        }
        self.frames.read(section.offset + offset, len)
    }

    pub(super) fn corrupt(&self, offset: u64, error: &FormatError) -> StorageError {
        error.in_file(self.frames.path(), offset)
    }
}

/// Which block of which series.
#[derive(Debug, Clone, Copy)]
struct BlockPlace {
    ordinal: u32,
    row: SeriesRow,
    block: usize,
    samples: usize,
}

/// The columns of one series, not decoded yet.
#[derive(Debug)]
pub(super) struct OpenColumns<'s> {
    pub(super) ordinal: u32,
    pub(super) row: SeriesRow,
    times_row: TimesRow,
    /// Samples of the series.
    pub(super) count: usize,
    times: Cow<'s, [u8]>,
    values: Cow<'s, [u8]>,
    times_head: ColumnHead,
    values_head: ColumnHead,
}

impl OpenColumns<'_> {
    /// Number of blocks.
    pub(super) fn block_count(&self) -> usize {
        block_count(self.count)
    }

    /// Samples of a block.
    pub(super) fn samples(&self, block: usize) -> usize {
        block_samples(self.count, block)
    }

    /// The bytes of a block of values.
    pub(super) fn value_bytes(&self, block: usize) -> Result<&[u8], FormatError> {
        self.values_head.block(&self.values, block)
    }

    /// The blocks that may have samples in the range.
    pub(super) fn blocks(&self, range: TimeRange) -> Range<usize> {
        // The first time of the next block bounds this one's times.
        let first_ms = &self.times_head.first_ms;
        if first_ms.is_empty() {
            return 0..block_count(self.count);
        }
        let start = first_ms.partition_point(|first| *first <= range.start_ms).saturating_sub(1);
        start..first_ms.partition_point(|first| *first <= range.end_ms)
    }

    /// The last block and the time of the last sample, if that is the newest sample in the range.
    pub(super) fn last_in(&self, range: TimeRange) -> Option<(usize, i64)> {
        let last_ms = self.times_row.last_ms;
        range.contains(last_ms).then_some((self.block_count().checked_sub(1)?, last_ms))
    }

    /// A range in which all samples of the block lie, and none of another block; the first is at its start.
    pub(super) fn covered(&self, block: usize) -> TimeRange {
        let first_ms = |block: usize| self.times_head.first_ms.get(block).copied();
        TimeRange {
            start_ms: first_ms(block).unwrap_or(self.times_row.first_ms),
            end_ms: first_ms(block + 1).map_or(self.times_row.last_ms, |next| next.saturating_sub(1)),
        }
    }
}

/// Keeps of the last `samples` elements those from `skip` up to `keep`.
fn cut<T: Copy>(column: &mut Vec<T>, samples: usize, skip: usize, keep: usize) {
    let start = column.len() - samples;
    column.truncate(start + keep);
    if skip > 0 {
        column.drain(start..start + skip);
    }
}

fn decompress(bytes: &[u8], length: u64) -> Option<Vec<u8>> {
    use std::io::Read;
    let mut plain = Vec::new();
    let decoder = zstd::stream::read::Decoder::with_buffer(bytes).ok()?;
    decoder.take(length.saturating_add(1)).read_to_end(&mut plain).ok()?;
    (plain.len() as u64 == length).then_some(plain)
}

pub(super) fn section_len(section: Section) -> usize {
    usize::try_from(section.bytes).unwrap_or(usize::MAX)
}

/// The length of the buckets, if the segment is one of buckets.
fn read_resolution(frames: &FrameReader, footer: &Footer) -> Result<Option<i64>, StorageError> {
    let section = footer.sections.iter().find(|(kind, _, _)| *kind == Kind::Buckets as u64);
    let Some((_, _, section)) = section else { return Ok(None) };
    let bytes = frames.read(section.offset, section_len(*section))?;
    let mut cursor = Cursor::new(&bytes);
    let number = cursor.varint().and_then(|ms| cursor.finish().map(|()| ms));
    let resolution_ms = number.ok().and_then(|ms| i64::try_from(ms).ok()).filter(|ms| *ms > 0);
    let wrong = || FormatError::new("the resolution of buckets cannot be read").in_file(frames.path(), section.offset);
    resolution_ms.map(Some).ok_or_else(wrong)
}

pub(super) fn read_footer(region: &dyn Region, header: FormatVersion, path: &Path) -> Result<Footer, StorageError> {
    let corrupt = |detail, at| FormatError::new(detail).in_file(path, at);
    let Some(trailer_at) = region.len().checked_sub(TRAILER_BYTES as u64) else {
        return Err(corrupt("the file is too short", 0));
    };
    let trailer = region.read(trailer_at, TRAILER_BYTES)?;
    let (sum, bytes, version) = read_trailer(&trailer).map_err(|e| e.in_file(path, trailer_at))?;
    // No checksum covers the two, so only if they agree they are believed: a newer version refuses the whole store.
    if version != header {
        return Err(corrupt("header and trailer state different versions", trailer_at));
    }
    version.check(VERSION, path)?;
    let Some(at) = trailer_at.checked_sub(u64::from(bytes)).filter(|_| bytes <= FOOTER_BYTES_MAX) else {
        return Err(corrupt("the footer has a wrong length", trailer_at));
    };
    let footer = region.read(at, bytes as usize)?;
    if checksum(&footer) != sum {
        return Err(corrupt("the checksum of the footer is wrong", at));
    }
    let footer = Footer::decode(&footer).map_err(|e| e.in_file(path, at))?;
    if footer.frames_end > at { Err(corrupt("the frames end too late", at)) } else { Ok(footer) }
}

pub(super) fn open_frames(region: Box<dyn Region>, path: &Path, footer: &Footer) -> Result<FrameReader, StorageError> {
    let corrupt = |detail| FormatError::new(detail).in_file(path, footer.frames_end);
    let bytes = footer.frames_end.div_ceil(super::frames::FRAME_BYTES as u64).checked_mul(8);
    let bytes = bytes.and_then(|n| usize::try_from(n).ok()).ok_or_else(|| corrupt("the file is too large"))?;
    let table = region.read(footer.frames_end, bytes)?.into_owned();
    if checksum(&table) != footer.table_checksum {
        return Err(corrupt("the checksum of the table of checksums is wrong"));
    }
    FrameReader::new(path, region, footer.frames_end, &table).map_err(|e| e.in_file(path, footer.frames_end))
}
