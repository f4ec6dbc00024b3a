//! Writes a segment: blocks as the series come, the index at the end.

use std::path::{Path, PathBuf};

use hashbrown::HashMap;
use model::{Labels, Metadata, SampleColumns, TimeRange};

use super::frames::FrameWriter;
use super::layout::{
    ColumnHead, FLAG_NEEDED, Footer, HEADER_BYTES, Kind, SERIES_PER_PAGE, Section, SeriesPage, SeriesRow, Summary,
    encode_metadata, header,
};
use super::rows::{LabelRows, SortedRows};
use super::sets::{SetTable, SplitRows};
use super::statistics::{BlockStatistics, SAMPLES_MIN};
use super::times::TimesColumns;
use super::{SegmentInfo, SegmentMeta};
use crate::codec::{BLOCK_SAMPLES_MAX, Preference, encode_block};
use crate::error::StorageError;
use crate::format::{Put, checksum, content_hash};
use crate::index::postings::{ENTRIES_PER_PAGE, encode_entries, encode_list, encode_ranges};
use crate::index::symbols::{SETS_PER_PAGE, VALUES_PER_PAGE, encode_names, encode_sets, encode_values};
use crate::io::Disk;

/// Postings that are collected at a time: bounds memory, at the price of one more pass over the series for each.
const POSTINGS_PER_PASS: usize = 4 << 20;

/// Bytes of postings that are kept to find equal lists (`instance` and `job_id` may stand for the same series).
const LISTS_KEPT_BYTES_MAX: usize = 32 << 20;

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
    statistics: Vec<u8>,
    statistics_count: u64,
    page: Vec<SeriesRow>,
    /// Where the values of the series before the page end, in the data section.
    page_offset: u64,
    /// The encoded places of full pages.
    places: Vec<Vec<u8>>,
    metadata: Vec<(String, Metadata)>,
    samples: u64,
    range: TimeRange,
    column: Vec<u8>,
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
            statistics: Vec::new(),
            statistics_count: 0,
            page: Vec::with_capacity(SERIES_PER_PAGE),
            page_offset: 0,
            places: Vec::new(),
            metadata: Vec::new(),
            samples: 0,
            range: TimeRange { start_ms: i64::MAX, end_ms: i64::MIN },
            column: Vec::new(),
        })
    }

    /// Adds the next series, whose labels are greater than those of the series before; one without samples is left out.
    ///
    /// # Errors
    /// [`StorageError::Io`]: of the disk, or because the series cannot be in this segment.
    pub(crate) fn add_series(&mut self, labels: &Labels, samples: &SampleColumns) -> Result<(), StorageError> {
        if self.before.as_ref().is_some_and(|before| before >= labels) {
            return Err(self.refuse("series do not come in label order"));
        }
        if !samples.histograms.is_empty() {
            return Err(self.refuse("segments of this version hold no native histograms"));
        }
        if samples.timestamps_ms.len() != samples.values.len() {
            return Err(self.refuse("times and values differ in number"));
        }
        let (Some(first_ms), Some(last_ms)) = (samples.timestamps_ms.first(), samples.timestamps_ms.last()) else {
            return Ok(());
        };
        let Ok(count) = u32::try_from(samples.values.len()) else {
            return Err(self.refuse("a series has too many samples"));
        };
        if !self.labels.push(labels) {
            return Err(self.refuse("there are too many series or labels"));
        }
        let (times, column) = self.times.add(&samples.timestamps_ms, self.data_offset());
        if let Some(column) = column {
            self.file.append(&column)?;
        }
        let (values_offset, statistics_first) = (self.data_offset(), self.statistics_count);
        let values_bytes = self.append_values(&samples.values)?;
        let statistics_count = (self.statistics_count - statistics_first) as u32;
        let row =
            SeriesRow { times, values_offset, values_bytes, statistics_first, statistics_count, own: 0, shared: 0 };
        self.page.push(row);
        if self.page.len() == SERIES_PER_PAGE {
            self.end_page();
        }
        self.samples += u64::from(count);
        self.range = self.range.union(&TimeRange { start_ms: *first_ms, end_ms: *last_ms });
        self.before = Some(labels.clone());
        Ok(())
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

    /// Appends a column of values and its statistics; gives its length in bytes.
    fn append_values(&mut self, values: &[f64]) -> Result<u32, StorageError> {
        self.column.clear();
        let mut lengths = Vec::new();
        for block in values.chunks(BLOCK_SAMPLES_MAX) {
            let start = self.column.len();
            encode_block(block, Preference::Balanced, &mut self.column);
            lengths.push((self.column.len() - start) as i64);
            if block.len() >= SAMPLES_MIN {
                BlockStatistics::of(block).encode(&mut self.statistics);
                self.statistics_count += 1;
            }
        }
        let mut head = Vec::new();
        ColumnHead::encode(&lengths, None, &mut head);
        self.file.append(&head)?;
        self.file.append(&self.column)?;
        u32::try_from(head.len() + self.column.len()).map_err(|_| self.refuse("a series has too many samples"))
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
        let rows = std::mem::take(&mut self.labels).sorted();
        let split = SplitRows::new(&rows);
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
            statistics: self.statistics_count,
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
        sections.blob(Kind::Statistics, 0, &self.statistics)?;
        sections.blob(Kind::Metadata, 0, &compressed_metadata(&self.metadata, &self.path)?)?;
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

/// The sections after the data, as they are written.
struct Sections {
    file: FrameWriter,
    list: Vec<(u64, u64, Section)>,
}

impl Sections {
    fn blob(&mut self, kind: Kind, flags: u64, bytes: &[u8]) -> Result<(), StorageError> {
        let section = Section { offset: self.file.position(), bytes: bytes.len() as u64 };
        self.file.append(bytes)?;
        self.list.push((kind as u64, flags, section));
        Ok(())
    }

    fn paged(&mut self, kind: Kind, pages: impl IntoIterator<Item = Vec<u8>>) -> Result<(), StorageError> {
        let start = self.file.position();
        let mut ends = Vec::new();
        for page in pages {
            self.file.append(&page)?;
            ends.put_u64(self.file.position() - start);
        }
        self.file.append(&ends)?;
        let section = Section { offset: start, bytes: self.file.position() - start };
        self.list.push((kind as u64, FLAG_NEEDED, section));
        Ok(())
    }

    /// Ends the frames, appends their checksums, footer and trailer, and syncs; gives the length of the file.
    fn finish(self, summary: Summary) -> Result<u64, StorageError> {
        let frames_end = self.file.position();
        let (table, mut file) = self.file.finish()?;
        let footer = Footer { frames_end, table_checksum: checksum(&table), summary, sections: self.list };
        let end = footer.encode();
        file.append(&table)?;
        file.append(&end)?;
        file.sync()?;
        Ok(frames_end + (table.len() + end.len()) as u64)
    }
}

fn write_labels(sections: &mut Sections, rows: &SortedRows, split: &SplitRows) -> Result<(), StorageError> {
    let mut names = Vec::new();
    encode_names(rows.names.iter().map(String::as_str).zip(rows.name_counts()), &mut names);
    sections.blob(Kind::Names, FLAG_NEEDED, &names)?;
    let mut values = rows.values().peekable();
    let value_pages = std::iter::from_fn(|| {
        values.peek()?;
        let mut page = Vec::new();
        encode_values(values.by_ref().take(VALUES_PER_PAGE), &mut page);
        Some(page)
    });
    sections.paged(Kind::Values, value_pages)?;
    sections.paged(Kind::OwnSets, set_pages(&split.own))?;
    sections.paged(Kind::SharedSets, set_pages(&split.shared))
}

fn set_pages(table: &SetTable) -> impl Iterator<Item = Vec<u8>> {
    (0..table.len()).step_by(SETS_PER_PAGE).map(|first| {
        let sets: Vec<&[u32]> = (first..table.len()).take(SETS_PER_PAGE).map(|id| table.get(id)).collect();
        let mut page = Vec::new();
        encode_sets(&sets, &mut page);
        page
    })
}

fn write_series(sections: &mut Sections, split: &SplitRows, places: &[Vec<u8>]) -> Result<(), StorageError> {
    let pages = split.rows.chunks(SERIES_PER_PAGE).zip(places).map(|(rows, places)| {
        let own: Vec<i64> = rows.iter().map(|(own, _)| i64::from(*own)).collect();
        let shared: Vec<i64> = rows.iter().map(|(_, shared)| i64::from(*shared)).collect();
        let mut page = Vec::new();
        SeriesPage::encode_sets(&own, &shared, &mut page);
        page.extend_from_slice(places);
        page
    });
    sections.paged(Kind::Series, pages)
}

/// Writes the lists of all pairs, then of all names, and their directory.
fn write_postings(sections: &mut Sections, rows: &SortedRows, split: &SplitRows) -> Result<(), StorageError> {
    let start = sections.file.position();
    let mut lists = Lists::default();
    let counts = pair_counts(rows, split);
    let mut first = 0;
    while first < counts.len() {
        let mut total = 0;
        let fits = |count: &&u32| {
            total += **count as usize;
            total <= POSTINGS_PER_PASS
        };
        let last = first + counts[first..].iter().take_while(fits).count().max(1);
        lists.add_pass(&mut sections.file, split, &counts[first..last], first as u32)?;
        first = last;
    }
    let mut list = Vec::new();
    for ranges in name_ranges(rows, split) {
        list.clear();
        encode_ranges(&ranges, &mut list);
        lists.add(&mut sections.file, &list)?;
    }
    lists.flush(&mut sections.file)?;
    let section = Section { offset: start, bytes: sections.file.position() - start };
    sections.list.push((Kind::Lists as u64, FLAG_NEEDED, section));
    let pages = lists.entries.chunks(ENTRIES_PER_PAGE).map(|entries| {
        let mut page = Vec::new();
        encode_entries(entries, &mut page);
        page
    });
    sections.paged(Kind::ListPages, pages)
}

/// Number of series of each pair.
fn pair_counts(rows: &SortedRows, split: &SplitRows) -> Vec<u32> {
    let mut counts = vec![0_u32; rows.pairs() as usize];
    for (own, shared) in &split.rows {
        for pair in split.own.get(*own).iter().chain(split.shared.get(*shared)) {
            counts[*pair as usize] += 1;
        }
    }
    counts
}

/// For each name the ranges of series that have it.
fn name_ranges(rows: &SortedRows, split: &SplitRows) -> Vec<Vec<(u32, u32)>> {
    let names_of = |table: &SetTable| -> Vec<Vec<u32>> {
        let name_of = |pair: &u32| rows.name_of.get(*pair as usize).copied().unwrap_or_default();
        (0..table.len()).map(|id| table.get(id).iter().map(name_of).collect()).collect()
    };
    let (own_names, shared_names) = (names_of(&split.own), names_of(&split.shared));
    let mut ranges: Vec<Vec<(u32, u32)>> = vec![Vec::new(); rows.names.len()];
    for (ordinal, (own, shared)) in (0_u32..).zip(&split.rows) {
        for name in own_names[*own as usize].iter().chain(&shared_names[*shared as usize]) {
            let ranges = &mut ranges[*name as usize];
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == ordinal => *last = ordinal,
                _ => ranges.push((ordinal, ordinal)),
            }
        }
    }
    ranges
}

/// Postings lists as they are written, each different one once.
#[derive(Default)]
struct Lists {
    /// Lists that are not in the file yet: what new ones are compared with.
    kept: Vec<u8>,
    /// Bytes of lists in the file.
    written: u64,
    /// Places in `kept` by hash.
    known: HashMap<u128, (usize, usize)>,
    entries: Vec<(u64, u32)>,
}

impl Lists {
    /// Adds the lists of the pairs from `first` on, whose lengths are `counts`.
    fn add_pass(
        &mut self,
        file: &mut FrameWriter,
        split: &SplitRows,
        counts: &[u32],
        first: u32,
    ) -> Result<(), StorageError> {
        let mut next: Vec<usize> = Vec::with_capacity(counts.len());
        let mut total = 0;
        for count in counts {
            next.push(total);
            total += *count as usize;
        }
        let mut ordinals = vec![0_u32; total];
        for (ordinal, (own, shared)) in (0_u32..).zip(&split.rows) {
            for pair in split.own.get(*own).iter().chain(split.shared.get(*shared)) {
                if let Some(next) = pair.checked_sub(first).and_then(|i| next.get_mut(i as usize)) {
                    ordinals[*next] = ordinal;
                    *next += 1;
                }
            }
        }
        let (mut start, mut list) = (0, Vec::new());
        for end in next {
            list.clear();
            encode_list(&ordinals[start..end], &mut list);
            self.add(file, &list)?;
            start = end;
        }
        Ok(())
    }

    fn add(&mut self, file: &mut FrameWriter, list: &[u8]) -> Result<(), StorageError> {
        let hash = content_hash(list);
        let equal = self.known.get(&hash).filter(|(start, end)| self.kept.get(*start..*end) == Some(list));
        let start = match equal {
            Some((start, _)) => *start,
            None => {
                let start = self.kept.len();
                self.kept.extend_from_slice(list);
                self.known.insert(hash, (start, self.kept.len()));
                start
            }
        };
        // Even all possible ordinals take less than 4 GiB as a Roaring bitmap.
        self.entries.push((self.written + start as u64, list.len() as u32));
        if self.kept.len() > LISTS_KEPT_BYTES_MAX { self.flush(file) } else { Ok(()) }
    }

    fn flush(&mut self, file: &mut FrameWriter) -> Result<(), StorageError> {
        file.append(&self.kept)?;
        self.written += self.kept.len() as u64;
        self.kept.clear();
        self.known.clear();
        Ok(())
    }
}
