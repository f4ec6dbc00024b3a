//! Writes a segment: blocks as the series come, the index at the end.

use std::path::{Path, PathBuf};

use model::{Labels, Metadata, SampleColumns, TimeRange};

use super::families::Families;
use super::frames::FrameWriter;
use super::histograms::{HistogramRows, encode_column};
use super::layout::{
    ColumnHead, FLAG_NEEDED, HEADER_BYTES, Kind, SERIES_PER_PAGE, Section, SeriesPage, SeriesRow, Summary,
    encode_metadata, header,
};
use super::postings_writer::write_postings;
use super::rows::LabelRows;
use super::sections::{Sections, write_labels, write_name_parts, write_series};
use super::sets::SplitRows;
use super::statistics::{BlockStatistics, RECORDS_PER_PAGE, SAMPLES_MIN, StatisticsPage};
use super::times::TimesColumns;
use super::{SegmentInfo, SegmentMeta};
use crate::codec::{BLOCK_SAMPLES_MAX, Preference, encode_block_beside, needs_base};
use crate::error::StorageError;
use crate::format::Put;
use crate::index::symbols::SET_PAIRS_MAX;
use crate::index::trigrams::NAMES_MIN;
use crate::io::Disk;
use crate::rollup::bucket::{Bucket, last_samples};

/// How hard help texts are compressed; there are few.
const METADATA_ZSTD_LEVEL: i32 = 9;

/// Writes one segment file. Until [`SegmentWriter::finish`] has returned, the file is worth nothing.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    path: PathBuf,
    file: FrameWriter,
    meta: SegmentMeta,
    before: Option<Labels>,
    labels: LabelRows,
    times: TimesColumns,
    families: Families,
    histograms: HistogramRows,
    statistics: Vec<BlockStatistics>,
    page: Vec<SeriesRow>,
    /// Where the values of the series before the page end, in the data section.
    page_offset: u64,
    /// The encoded places of full pages.
    places: Vec<Vec<u8>>,
    metadata: Vec<(String, Metadata)>,
    samples: u64,
    /// Of them those that are floats: the rows, if other files hold them.
    floats: u64,
    range: TimeRange,
    column: Vec<u8>,
    preference: Preference,
    /// The files that hold the values, if this is only their index.
    rows: Option<Vec<u8>>,
    /// Of a segment of buckets.
    resolution_ms: Option<i64>,
    /// Names of metrics from which on their parts are indexed.
    indexed_names_min: u32,
}

impl SegmentWriter {
    /// Creates the file; one of this name is an error.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub(crate) fn create(disk: &dyn Disk, path: &Path, meta: SegmentMeta) -> Result<Self, StorageError> {
        let mut file = FrameWriter::create(disk, path)?;
        file.append(&header())?;
        Ok(SegmentWriter {
            path: path.to_owned(),
            file,
            meta,
            before: None,
            labels: LabelRows::default(),
            times: TimesColumns::default(),
            families: Families::default(),
            histograms: HistogramRows::default(),
            statistics: Vec::new(),
            page: Vec::with_capacity(SERIES_PER_PAGE),
            page_offset: 0,
            places: Vec::new(),
            metadata: Vec::new(),
            samples: 0,
            floats: 0,
            range: TimeRange { start_ms: i64::MAX, end_ms: i64::MIN },
            column: Vec::new(),
            preference: Preference::default(),
            rows: None,
            resolution_ms: None,
            indexed_names_min: NAMES_MIN,
        })
    }

    /// As [`SegmentWriter::create`], for the index of values that another file holds in rows. Say which file by
    /// [`SegmentWriter::set_rows`] before the end.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub(crate) fn create_index(disk: &dyn Disk, path: &Path, meta: SegmentMeta) -> Result<Self, StorageError> {
        Ok(SegmentWriter { rows: Some(Vec::new()), ..SegmentWriter::create(disk, path, meta)? })
    }

    /// Says what matters more when the blocks to come are encoded.
    pub(crate) fn set_preference(&mut self, preference: Preference) {
        self.preference = preference;
    }

    /// Indexes the parts of names from fewer on.
    #[cfg(test)]
    pub(super) fn set_indexed_names_min(&mut self, names: u32) {
        self.indexed_names_min = names;
    }

    /// Sets the content of the section about the files that hold the values.
    pub(crate) fn set_rows(&mut self, section: Vec<u8>) {
        self.rows = Some(section);
    }

    /// Adds the next series, whose labels are greater than those of the series before; one without samples is left out.
    ///
    /// # Errors
    /// [`StorageError::Io`]: of the disk, or because the series cannot be in this segment.
    pub(crate) fn add_series(&mut self, labels: &Labels, samples: &SampleColumns) -> Result<(), StorageError> {
        if self.before.as_ref().is_some_and(|before| before >= labels) {
            return Err(self.refuse("series do not come in label order"));
        }
        if samples.timestamps_ms.len() != samples.values.len() {
            return Err(self.refuse("times and values differ in number"));
        }
        let Some(range) = samples.time_range() else { return Ok(()) };
        let Ok(count) = u32::try_from(samples.values.len() + samples.histograms.len()) else {
            return Err(self.refuse("a series has too many samples"));
        };
        if labels.len() > SET_PAIRS_MAX {
            return Err(self.refuse("a series has too many labels"));
        }
        if !self.labels.push(labels) {
            return Err(self.refuse("there are too many series or labels"));
        }
        let (times, column) = self.times.add(&samples.timestamps_ms, self.data_offset());
        if let Some(column) = column {
            self.file.append(&column)?;
        }
        let statistics_first = self.statistics.len() as u64;
        let (values_offset, (values_bytes, base_distance)) = if self.rows.is_some() {
            self.add_statistics(&samples.values);
            (self.floats, (0, 0))
        } else {
            (self.data_offset(), self.append_values(labels, &samples.values, times)?)
        };
        let statistics_count = (self.statistics.len() as u64 - statistics_first) as u32;
        let row = SeriesRow {
            times,
            base_distance,
            values_offset,
            values_bytes,
            statistics_first,
            statistics_count,
            own: 0,
            shared: 0,
        };
        self.page.push(row);
        self.append_histograms(samples)?;
        if self.page.len() == SERIES_PER_PAGE {
            self.end_page();
        }
        self.samples += u64::from(count);
        self.floats += samples.values.len() as u64;
        self.range = self.range.union(&range);
        self.before = Some(labels.clone());
        Ok(())
    }

    /// Appends the histograms of the series that was added last.
    fn append_histograms(&mut self, samples: &SampleColumns) -> Result<(), StorageError> {
        if samples.histograms.is_empty() {
            return Ok(());
        }
        let column = encode_column(&samples.histograms);
        let bytes = u32::try_from(column.len()).map_err(|_| self.refuse("a series has too many samples"))?;
        let offset = self.data_offset();
        self.file.append(&column)?;
        self.histograms.push(self.labels.len() - 1, offset, bytes, &samples.histograms);
        Ok(())
    }

    /// Makes it a segment of buckets, before the first series.
    pub(crate) fn set_resolution(&mut self, resolution_ms: i64) {
        self.resolution_ms = Some(resolution_ms);
    }

    /// Adds the next series of a segment of buckets, as [`SegmentWriter::add_series`].
    ///
    /// # Errors
    /// As there.
    pub(crate) fn add_buckets(&mut self, labels: &Labels, buckets: &[Bucket]) -> Result<(), StorageError> {
        if buckets.is_empty() {
            return Ok(());
        }
        self.add_series(labels, &last_samples(buckets))?;
        let mut behind = Vec::new();
        super::buckets::encode(buckets, &mut behind);
        self.file.append(&behind)
    }

    /// Says what is known about metric families, sorted by family.
    pub(crate) fn set_metadata(&mut self, families: &[(String, Metadata)]) {
        self.metadata = families.to_vec();
    }

    /// Number of series so far.
    pub(crate) fn series(&self) -> u32 {
        self.labels.len()
    }

    /// Bytes of data so far; the index comes on top.
    pub(crate) fn data_bytes(&self) -> u64 {
        self.file.position()
    }

    fn refuse(&self, why: &'static str) -> StorageError {
        let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, why);
        StorageError::Io { operation: "write segment", path: self.path.clone(), source }
    }

    fn data_offset(&self) -> u64 {
        self.file.position() - HEADER_BYTES
    }

    /// Appends a column of values and its statistics; gives its length in bytes and the distance to its base.
    fn append_values(&mut self, labels: &Labels, values: &[f64], times: u32) -> Result<(u32, u32), StorageError> {
        let ordinal = self.labels.len() - 1;
        let place = self.families.place(labels, times, ordinal, values.len());
        let base = place.as_ref().and_then(|place| self.families.base_of(place, values));
        self.column.clear();
        let mut lengths = Vec::new();
        let mut is_beside = false;
        for (i, block) in values.chunks(BLOCK_SAMPLES_MAX).enumerate() {
            let start = self.column.len();
            let beside = base.as_ref().map(|base| base.block(i)).unwrap_or_default();
            encode_block_beside(block, beside, self.preference, &mut self.column);
            is_beside |= needs_base(&self.column[start..]);
            lengths.push((self.column.len() - start) as i64);
            if block.len() >= SAMPLES_MIN {
                self.statistics.push(BlockStatistics::of(block));
            }
        }
        let mut column = Vec::new();
        ColumnHead::encode(&lengths, None, &mut column);
        column.extend_from_slice(&self.column);
        self.file.append(&column)?;
        let bytes = u32::try_from(column.len()).map_err(|_| self.refuse("a series has too many samples"))?;
        let base = base.filter(|_| is_beside);
        let distance = base.as_ref().map_or(0, |base| ordinal - base.ordinal);
        if let Some(place) = place {
            self.families.keep(place, base.as_ref(), column);
        }
        Ok((bytes, distance))
    }

    /// The statistics of values that another file holds.
    fn add_statistics(&mut self, values: &[f64]) {
        for block in values.chunks(BLOCK_SAMPLES_MAX).filter(|block| block.len() >= SAMPLES_MIN) {
            self.statistics.push(BlockStatistics::of(block));
        }
    }

    fn end_page(&mut self) {
        let mut places = Vec::new();
        SeriesPage::encode_places(&self.page, self.page_offset, &mut places);
        self.places.push(places);
        self.page_offset =
            self.page.last().map_or(self.page_offset, |row| row.values_offset + u64::from(row.values_bytes));
        self.page.clear();
    }

    /// Writes the index and the footer, and syncs the file. Its name in the directory is the caller's to make durable.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub(crate) fn finish(mut self) -> Result<SegmentInfo, StorageError> {
        if !self.page.is_empty() {
            self.end_page();
        }
        let mut rows = std::mem::take(&mut self.labels).sorted();
        let split = SplitRows::new(&rows);
        rows.end_rows();
        let mut summary = Summary {
            series: u64::from(rows.series),
            samples: self.samples,
            time_min_ms: self.range.start_ms,
            time_max_ms: self.range.end_ms,
            sequence_min: self.meta.sequence_min,
            sequence_max: self.meta.sequence_max,
            names: rows.names.len() as u64,
            pairs: u64::from(rows.pairs()),
            own_sets: u64::from(split.own.len()),
            shared_sets: u64::from(split.shared.len()),
            times: 0,
            statistics: self.statistics.len() as u64,
            families: self.metadata.len() as u64,
        };
        let data = Section { offset: HEADER_BYTES, bytes: self.data_offset() };
        let mut sections = Sections { file: self.file, list: vec![(Kind::Data as u64, FLAG_NEEDED, data)] };
        write_labels(&mut sections, &rows, &split)?;
        write_series(&mut sections, &split, &self.places)?;
        let (times, pages) = self.times.finish();
        summary.times = u64::from(times);
        sections.paged(Kind::Times, pages)?;
        write_postings(&mut sections, &rows, &split)?;
        write_name_parts(&mut sections, &rows, self.indexed_names_min)?;
        sections.blob(Kind::Statistics, 0, &[])?;
        if !self.statistics.is_empty() {
            sections.paged(Kind::StatisticsPages, self.statistics.chunks(RECORDS_PER_PAGE).map(statistics_page))?;
        }
        if let Some(bytes) = self.histograms.section() {
            sections.blob(Kind::Histograms, FLAG_NEEDED, &bytes)?;
        }
        sections.blob(Kind::Metadata, 0, &compressed_metadata(&self.metadata, &self.path)?)?;
        if let Some(rows) = &self.rows {
            sections.blob(Kind::Rows, FLAG_NEEDED, rows)?;
        }
        if let Some(resolution_ms) = self.resolution_ms {
            let mut resolution = Vec::new();
            resolution.put_varint(resolution_ms.unsigned_abs());
            sections.blob(Kind::Buckets, FLAG_NEEDED, &resolution)?;
        }
        let bytes = sections.finish(summary)?;
        Ok(SegmentInfo {
            path: self.path,
            bytes,
            series: rows.series,
            samples: self.samples,
            range: self.range,
            sequence_min: self.meta.sequence_min,
            sequence_max: self.meta.sequence_max,
        })
    }
}

fn statistics_page(records: &[BlockStatistics]) -> Vec<u8> {
    let mut page = Vec::new();
    StatisticsPage::encode(records, &mut page);
    page
}

fn compressed_metadata(families: &[(String, Metadata)], path: &Path) -> Result<Vec<u8>, StorageError> {
    let (mut plain, mut out) = (Vec::new(), Vec::new());
    if families.is_empty() {
        return Ok(out);
    }
    encode_metadata(families, &mut plain);
    out.put_varint(plain.len() as u64);
    let frame = zstd::bulk::compress(&plain, METADATA_ZSTD_LEVEL);
    let frame = frame.map_err(|source| StorageError::Io { operation: "compress", path: path.to_owned(), source })?;
    out.extend_from_slice(&frame);
    Ok(out)
}
