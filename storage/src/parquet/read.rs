//! Gives the values of a day back by the numbers of their rows.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::io::{Cursor, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use model::stale_nan;
use parking_lot::Mutex;
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::DoubleType;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, PageIndexPolicy, ParquetMetaDataReader};
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::schema::types::ColumnDescPtr;

use super::error::reading;
use super::files::{CheckedFile, FileKind};
use super::schema::VALUE;
use crate::error::StorageError;
use crate::format::FormatError;
use crate::io::Disk;
use crate::segment::{FRAME_BYTES, FrameReader, ValueRows};

/// Bytes of decoded pages that are kept, of all days together.
const KEPT_BYTES_MAX: usize = 32 << 20;
/// Most rows of a page that is decoded. Ours have 8192; no row group has more than this.
const PAGE_ROWS_MAX: u64 = 1 << 20;

/// Series are read in order mostly, by a few threads. A process serves one database.
static KEPT: Mutex<KeptPages> = Mutex::new(KeptPages::new(KEPT_BYTES_MAX));
/// The number of the next day that is opened.
static NEXT_DAY: AtomicU64 = AtomicU64::new(0);

/// Opens the files of a day; their footers are read when values are asked for.
///
/// # Errors
/// [`StorageError::Corrupt`] if a file is gone or has a wrong length; [`StorageError::Io`].
pub(crate) fn open_rows(
    disk: &dyn Disk,
    parquet_dir: &Path,
    files: &[CheckedFile],
) -> Result<Arc<dyn ValueRows>, StorageError> {
    let day = NEXT_DAY.fetch_add(1, Ordering::Relaxed);
    let mut rows = DayRows { day, files: Vec::new(), others: Vec::new() };
    let mut first_row = 0_u64;
    for CheckedFile { file, table } in files {
        let path = file.path(parquet_dir);
        if disk.len(&path)? != Some(file.bytes) {
            return Err(FormatError::new("a file of a Parquet day is gone or has a wrong length").in_file(&path, 0));
        }
        let frames = FrameReader::new(&path, disk.open(&path)?, file.bytes, table);
        let frames = Checked(Arc::new(frames.map_err(|error| error.in_file(&path, 0))?));
        match file.kind {
            FileKind::Samples => {
                rows.files.push(RowsFile { first_row, rows: file.rows, frames, groups: OnceLock::new() });
                let too_many = || FormatError::new("a Parquet day has too many rows").in_file(&path, 0);
                first_row = first_row.checked_add(file.rows).ok_or_else(too_many)?;
            }
            FileKind::Series => rows.others.push(frames),
        }
    }
    Ok(Arc::new(rows))
}

/// The files of a day.
#[derive(Debug)]
struct DayRows {
    /// Its pages are kept under this number.
    day: u64,
    /// Those of samples, in order of their rows.
    files: Vec<RowsFile>,
    others: Vec<Checked>,
}

impl Drop for DayRows {
    fn drop(&mut self) {
        KEPT.lock().forget(self.day);
    }
}

type Page = Arc<[f64]>;

/// Number of the day; file, row group, page.
type PageKey = (u64, usize, usize, usize);

/// The pages that were decoded last.
#[derive(Debug)]
struct KeptPages {
    bytes_max: usize,
    bytes: usize,
    pages: BTreeMap<PageKey, Page>,
    /// The oldest first.
    order: VecDeque<PageKey>,
}

impl KeptPages {
    const fn new(bytes_max: usize) -> Self {
        KeptPages { bytes_max, bytes: 0, pages: BTreeMap::new(), order: VecDeque::new() }
    }

    fn get(&self, key: PageKey) -> Option<Page> {
        self.pages.get(&key).cloned()
    }

    fn put(&mut self, key: PageKey, page: Page) {
        let bytes = size_of_val(&*page);
        // Else another thread was faster.
        if self.pages.insert(key, page).is_none() {
            self.bytes += bytes;
            self.order.push_back(key);
        }
        while self.bytes > self.bytes_max {
            let Some(oldest) = self.order.pop_front() else { break };
            self.remove(oldest);
        }
    }

    fn remove(&mut self, key: PageKey) {
        self.bytes -= self.pages.remove(&key).map_or(0, |page| size_of_val(&*page));
    }

    /// Lets go of the pages of a day.
    fn forget(&mut self, day: u64) {
        let gone: Vec<PageKey> = self.pages.keys().filter(|key| key.0 == day).copied().collect();
        self.order.retain(|key| key.0 != day);
        gone.into_iter().for_each(|key| self.remove(key));
    }
}

#[derive(Debug)]
struct RowsFile {
    first_row: u64,
    rows: u64,
    frames: Checked,
    groups: OnceLock<Vec<Group>>,
}

/// The column of values in a row group.
#[derive(Debug)]
struct Group {
    /// In the file.
    first_row: u64,
    rows: u64,
    column: ColumnChunkMetaData,
    descriptor: ColumnDescPtr,
    pages: Vec<PageLocation>,
}

impl Group {
    /// The rows of a page, counted in the group.
    fn page_rows(&self, page: usize) -> Range<u64> {
        let start = |page: usize| self.pages.get(page).map(|page| page.first_row_index.max(0).unsigned_abs());
        start(page).unwrap_or(self.rows)..start(page + 1).unwrap_or(self.rows)
    }

    fn page_of(&self, row: u64) -> usize {
        self.pages.partition_point(|page| page.first_row_index.max(0).unsigned_abs() <= row).saturating_sub(1)
    }

    /// True if the pages lie in their column, and have all rows, of which none has too many.
    fn is_sound(&self) -> bool {
        let Some(bytes) = bytes_of(&self.column) else { return false };
        let lies_in = |page: &PageLocation| {
            u64::try_from(page.offset).is_ok_and(|offset| bytes.start <= offset) && page.compressed_page_size >= 0
        };
        self.pages.iter().all(lies_in) && are_pages(self.pages.iter().map(|page| page.first_row_index), self.rows)
    }
}

/// True if pages that begin with these rows have so many rows together, and none has too many.
fn are_pages(starts: impl Iterator<Item = i64>, rows: u64) -> bool {
    let ends = starts.map(|start| u64::try_from(start).ok()).chain([Some(rows)]).collect::<Option<Vec<u64>>>();
    let is_page = |pair: &[u64]| matches!(pair, [from, to] if from < to && to - from <= PAGE_ROWS_MAX);
    ends.is_some_and(|ends| ends.first() == Some(&0) && ends.windows(2).all(is_page))
}

/// Where a column lies; none if that cannot be.
fn bytes_of(column: &ColumnChunkMetaData) -> Option<Range<u64>> {
    let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
    let (start, length) = (u64::try_from(start).ok()?, u64::try_from(column.compressed_size()).ok()?);
    Some(start..start.checked_add(length)?)
}

impl RowsFile {
    fn groups(&self) -> Result<&[Group], StorageError> {
        if self.groups.get().is_none() {
            let groups = self.read_groups().map_err(|error| reading(self.frames.0.path(), error))?;
            let _ = self.groups.set(groups);
        }
        Ok(self.groups.get().map(Vec::as_slice).unwrap_or_default())
    }

    fn read_groups(&self) -> Result<Vec<Group>, ParquetError> {
        let wrong = |detail: &str| ParquetError::General(detail.to_owned());
        let reader = ParquetMetaDataReader::new().with_offset_index_policy(PageIndexPolicy::Required);
        let metadata = reader.parse_and_finish(&self.frames)?;
        let (mut groups, mut first_row) = (Vec::new(), 0_u64);
        for (number, group) in metadata.row_groups().iter().enumerate() {
            let of_values = |column: &ColumnChunkMetaData| column.column_path().parts() == [VALUE];
            let place = group.columns().iter().position(of_values);
            let place = place.ok_or_else(|| wrong("there is no column of values"))?;
            let index = metadata.page_index_for_row_group(number);
            let (column, pages) = (group.columns().get(place), index.page_locations(place));
            let (Some(column), Some(pages)) = (column, pages) else { return Err(wrong("there is no page index")) };
            let rows = u64::try_from(group.num_rows()).map_err(|_| wrong("a negative number of rows"))?;
            let group = Group {
                first_row,
                rows,
                column: column.clone(),
                descriptor: column.column_descr_ptr(),
                pages: pages.clone(),
            };
            if !group.is_sound() {
                return Err(wrong("pages that cannot be"));
            }
            groups.push(group);
            first_row = first_row.checked_add(rows).ok_or_else(|| wrong("too many rows"))?;
        }
        if first_row != self.rows { Err(wrong("a wrong number of rows")) } else { Ok(groups) }
    }

    /// All values of a page.
    fn decode(&self, group: &Group, page: usize) -> Result<Page, ParquetError> {
        let rows = group.page_rows(page);
        let count = usize::try_from(rows.end.saturating_sub(rows.start))?;
        let total = usize::try_from(group.rows)?;
        let pages = Some(group.pages.clone());
        let pages = SerializedPageReader::new(Arc::new(self.frames.clone()), &group.column, total, pages)?;
        let mut reader = ColumnReaderImpl::<DoubleType>::new(group.descriptor.clone(), Box::new(pages));
        reader.skip_records(usize::try_from(rows.start)?)?;
        let (mut values, mut levels) = (Vec::with_capacity(count), Vec::with_capacity(count));
        while levels.len() < count {
            let (records, _, _) = reader.read_records(count - levels.len(), Some(&mut levels), None, &mut values)?;
            if records == 0 {
                return Err(ParquetError::General("a page has too few rows".to_owned()));
            }
        }
        let mut values = values.into_iter();
        let value = |level| if level == 0 { stale_nan() } else { values.next().unwrap_or_else(stale_nan) };
        Ok(levels.into_iter().map(value).collect())
    }
}

impl DayRows {
    fn page(&self, key: PageKey, file: &RowsFile, group: &Group) -> Result<Page, StorageError> {
        let known = KEPT.lock().get(key);
        if let Some(page) = known {
            return Ok(page);
        }
        let page = file.decode(group, key.3).map_err(|error| reading(file.frames.0.path(), error))?;
        KEPT.lock().put(key, page.clone());
        Ok(page)
    }
}

impl ValueRows for DayRows {
    fn read(&self, first: u64, count: usize, out: &mut Vec<f64>) -> Result<(), StorageError> {
        let (mut row, mut left) = (first, count);
        while left > 0 {
            let number = self.files.partition_point(|file| file.first_row <= row).checked_sub(1);
            let found = number.and_then(|number| Some((number, self.files.get(number)?)));
            let Some((number, file)) = found.filter(|(_, file)| row < file.first_row.saturating_add(file.rows)) else {
                let path = self.files.first().map(|file| file.frames.0.path()).unwrap_or(Path::new("parquet"));
                return Err(FormatError::new("there are not so many rows").in_file(path, 0));
            };
            let groups = file.groups()?;
            let in_file = row - file.first_row;
            let place = groups.partition_point(|group| group.first_row <= in_file).saturating_sub(1);
            let wrong = || FormatError::new("a row is missing").in_file(file.frames.0.path(), 0);
            let group = groups.get(place).ok_or_else(wrong)?;
            let in_group = in_file - group.first_row;
            let page = group.page_of(in_group);
            let values = self.page((self.day, number, place, page), file, group)?;
            let skip = usize::try_from(in_group - group.page_rows(page).start).map_err(|_| wrong())?;
            let some = values.get(skip..).unwrap_or_default();
            let some = some.get(..left.min(some.len())).unwrap_or_default();
            if some.is_empty() {
                return Err(wrong());
            }
            out.extend_from_slice(some);
            row += some.len() as u64;
            left -= some.len();
        }
        Ok(())
    }

    fn verify(&self) -> Vec<(Range<u64>, StorageError)> {
        let mut found = Vec::new();
        for file in &self.files {
            let errors = file.frames.0.verify_all();
            let places = if errors.is_empty() { Vec::new() } else { file.places() };
            let rows = |offset| rows_of_frame(&places, offset);
            let all = file.first_row..file.first_row.saturating_add(file.rows);
            found.extend(errors.into_iter().map(|(offset, error)| (rows(offset).unwrap_or(all.clone()), error)));
        }
        for file in &self.others {
            // Labels: whoever joins with them may get wrong ones.
            found.extend(file.0.verify_all().into_iter().map(|(_, error)| (0..u64::MAX, error)));
        }
        found
    }

    fn paths(&self) -> Vec<PathBuf> {
        let samples = self.files.iter().map(|file| &file.frames);
        samples.chain(&self.others).map(|frames| frames.0.path().to_owned()).collect()
    }
}

/// The rows that a piece of a file belongs to.
struct Place {
    bytes: Range<u64>,
    rows: Range<u64>,
}

/// The rows that a bad frame touches; none if that is not known, so that all rows may be.
fn rows_of_frame(places: &[Place], offset: u64) -> Option<Range<u64>> {
    let end = offset.saturating_add(FRAME_BYTES as u64);
    // Behind the columns are the page index and the footer, of which all rows need something.
    if places.iter().map(|place| place.bytes.end).max().is_none_or(|columns_end| end > columns_end) {
        return None;
    }
    let touched = places.iter().filter(|place| place.bytes.start < end && offset < place.bytes.end);
    touched.map(|place| place.rows.clone()).reduce(|a, b| a.start.min(b.start)..a.end.max(b.end))
}

impl RowsFile {
    /// The pages of all columns; none if the footer or the page index cannot be read.
    fn places(&self) -> Vec<Place> {
        self.read_places().unwrap_or_default()
    }

    fn read_places(&self) -> Result<Vec<Place>, ParquetError> {
        let reader = ParquetMetaDataReader::new().with_offset_index_policy(PageIndexPolicy::Required);
        let metadata = reader.parse_and_finish(&self.frames)?;
        let (mut places, mut first_row) = (Vec::new(), self.first_row);
        let whole = |number: i64| number.max(0).unsigned_abs();
        for (number, group) in metadata.row_groups().iter().enumerate() {
            let index = metadata.page_index_for_row_group(number);
            let row = |in_group: i64| first_row.saturating_add(whole(in_group));
            let end = row(group.num_rows());
            for (place, column) in group.columns().iter().enumerate() {
                let pages = index.page_locations(place).map(Vec::as_slice).unwrap_or_default();
                let bytes =
                    bytes_of(column).ok_or_else(|| ParquetError::General("a column lies nowhere".to_owned()))?;
                let first_page = pages.first().map_or(bytes.end, |page| whole(page.offset));
                // A dictionary is needed by all pages.
                places.push(Place { bytes: bytes.start..first_page, rows: first_row..end });
                for (i, page) in pages.iter().enumerate() {
                    let page_end = whole(page.offset).saturating_add(whole(page.compressed_page_size.into()));
                    let next = pages.get(i + 1).map_or(end, |next| row(next.first_row_index));
                    places.push(Place { bytes: whole(page.offset)..page_end, rows: row(page.first_row_index)..next });
                }
            }
            first_row = end;
        }
        Ok(places)
    }
}

/// A file whose bytes are verified before the library sees them.
#[derive(Debug, Clone)]
struct Checked(Arc<FrameReader>);

impl Length for Checked {
    fn len(&self) -> u64 {
        self.0.file_bytes()
    }
}

impl ChunkReader for Checked {
    type T = Box<dyn Read>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let length = usize::try_from(self.len().saturating_sub(start))?;
        Ok(Box::new(Cursor::new(self.get_bytes(start, length)?)))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let bytes = self.0.read(start, length).map_err(|error| ParquetError::External(Box::new(error)))?;
        Ok(Bytes::from(bytes.into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_all_rows_and_none_too_many() {
        let are = |starts: &[i64], rows| are_pages(starts.iter().copied(), rows);
        assert!(are(&[0, 8192], 8193) && are(&[], 0));
        assert!(!are(&[0, 8192], 8192) && !are(&[1], 5) && !are(&[], 5) && !are(&[0, -1], 5) && !are(&[0, 5, 5], 9));
        let most = PAGE_ROWS_MAX.cast_signed();
        assert!(are(&[0], PAGE_ROWS_MAX) && are(&[0, most], 2 * PAGE_ROWS_MAX));
        assert!(!are(&[0], PAGE_ROWS_MAX + 1) && !are(&[0, most + 1], 2 * PAGE_ROWS_MAX) && !are(&[0], u64::MAX));
    }

    #[test]
    fn pages_are_kept_up_to_a_number_of_bytes() {
        let mut kept = KeptPages::new(10 * size_of::<f64>());
        let page = |rows: usize| -> Page { vec![0.5; rows].into() };
        let has = |kept: &KeptPages| [1, 2, 3].map(|page| kept.get((0, 0, 0, page)).is_some());
        kept.put((0, 0, 0, 1), page(4));
        kept.put((0, 0, 0, 1), page(4));
        kept.put((0, 0, 0, 2), page(6));
        assert_eq!((has(&kept), kept.bytes), ([true, true, false], 80));
        kept.put((0, 0, 0, 3), page(1));
        assert_eq!((has(&kept), kept.bytes), ([false, true, true], 56), "the oldest goes");
        kept.put((1, 0, 0, 0), page(3));
        kept.forget(0);
        assert_eq!((has(&kept), kept.bytes, kept.order.len()), ([false; 3], 24, 1));
        kept.put((1, 0, 0, 1), page(11));
        assert_eq!((kept.bytes, kept.pages.len(), kept.order.len()), (0, 0, 0), "one that is larger is not kept");
    }
}
