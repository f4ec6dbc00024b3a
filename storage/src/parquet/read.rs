//! Gives the values of a day back by the numbers of their rows.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io::{Cursor, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
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

/// Decoded pages that are kept: series are read in order mostly, by a few threads.
const PAGES_KEPT: usize = 16;

/// Opens the files of a day; their footers are read when values are asked for.
///
/// # Errors
/// [`StorageError::Corrupt`] if a file is gone or has a wrong length; [`StorageError::Io`].
pub(crate) fn open_rows(
    disk: &dyn Disk,
    parquet_dir: &Path,
    files: &[CheckedFile],
) -> Result<Arc<dyn ValueRows>, StorageError> {
    let mut rows = DayRows { files: Vec::new(), others: Vec::new(), kept: Mutex::default() };
    let mut first_row = 0;
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
                first_row += file.rows;
            }
            FileKind::Series => rows.others.push(frames),
        }
    }
    Ok(Arc::new(rows))
}

/// The files of a day.
#[derive(Debug)]
struct DayRows {
    /// Those of samples, in order of their rows.
    files: Vec<RowsFile>,
    others: Vec<Checked>,
    kept: Mutex<VecDeque<(PageKey, Page)>>,
}

type Page = Arc<Vec<f64>>;

/// File, row group, page.
type PageKey = (usize, usize, usize);

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
        let (mut groups, mut first_row) = (Vec::new(), 0);
        for (number, group) in metadata.row_groups().iter().enumerate() {
            let of_values = |column: &ColumnChunkMetaData| column.column_path().parts() == [VALUE];
            let place = group.columns().iter().position(of_values);
            let place = place.ok_or_else(|| wrong("there is no column of values"))?;
            let index = metadata.page_index_for_row_group(number);
            let (column, pages) = (group.columns().get(place), index.page_locations(place));
            let (Some(column), Some(pages)) = (column, pages) else { return Err(wrong("there is no page index")) };
            let rows = u64::try_from(group.num_rows()).map_err(|_| wrong("a negative number of rows"))?;
            groups.push(Group {
                first_row,
                rows,
                column: column.clone(),
                descriptor: column.column_descr_ptr(),
                pages: pages.clone(),
            });
            first_row += rows;
        }
        if first_row != self.rows { Err(wrong("a wrong number of rows")) } else { Ok(groups) }
    }

    /// All values of a page.
    fn decode(&self, group: &Group, page: usize) -> Result<Vec<f64>, ParquetError> {
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
        let known = self.kept.lock().iter().find(|(kept, _)| *kept == key).map(|(_, page)| page.clone());
        if let Some(page) = known {
            return Ok(page);
        }
        let page = file.decode(group, key.2).map_err(|error| reading(file.frames.0.path(), error))?;
        let page = Arc::new(page);
        let mut kept = self.kept.lock();
        if kept.len() >= PAGES_KEPT {
            kept.pop_front();
        }
        kept.push_back((key, page.clone()));
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
            let values = self.page((number, place, page), file, group)?;
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
            let (index, end) = (metadata.page_index_for_row_group(number), first_row + whole(group.num_rows()));
            for (place, column) in group.columns().iter().enumerate() {
                let pages = index.page_locations(place).map(Vec::as_slice).unwrap_or_default();
                let (start, bytes) = column.byte_range();
                let first_page = pages.first().map_or(start + bytes, |page| whole(page.offset));
                // A dictionary is needed by all pages.
                places.push(Place { bytes: start..first_page, rows: first_row..end });
                for (i, page) in pages.iter().enumerate() {
                    let page_end = whole(page.offset) + whole(page.compressed_page_size.into());
                    let next = pages.get(i + 1).map_or(end, |next| first_row + whole(next.first_row_index));
                    let rows = first_row + whole(page.first_row_index)..next;
                    places.push(Place { bytes: whole(page.offset)..page_end, rows });
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
