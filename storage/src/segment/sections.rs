//! Writes the sections after the data: labels, series, and the end of the file.

use model::METRIC_NAME;

use super::frames::FrameWriter;
use super::layout::{FLAG_NEEDED, Footer, Kind, SERIES_PER_PAGE, Section, SeriesPage, Summary};
use super::rows::SortedRows;
use super::sets::{SetTable, SplitRows};
use crate::error::StorageError;
use crate::format::{Put, checksum};
use crate::index::symbols::{SETS_PER_PAGE, VALUES_PER_PAGE, encode_names, encode_sets, encode_values};
use crate::index::trigrams;

/// The sections after the data, as they are written.
pub(super) struct Sections {
    pub(super) file: FrameWriter,
    pub(super) list: Vec<(u64, u64, Section)>,
}

impl Sections {
    /// Appends a section.
    pub(super) fn blob(&mut self, kind: Kind, flags: u64, bytes: &[u8]) -> Result<(), StorageError> {
        let section = Section { offset: self.file.position(), bytes: bytes.len() as u64 };
        self.file.append(bytes)?;
        self.list.push((kind as u64, flags, section));
        Ok(())
    }

    /// Appends a section of pages.
    pub(super) fn paged(&mut self, kind: Kind, pages: impl IntoIterator<Item = Vec<u8>>) -> Result<(), StorageError> {
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
    pub(super) fn finish(self, summary: Summary) -> Result<u64, StorageError> {
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

/// Writes names, values and label sets.
pub(super) fn write_labels(sections: &mut Sections, rows: &SortedRows, split: &SplitRows) -> Result<(), StorageError> {
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

/// Writes the index of the names' parts, if there are at least so many names.
pub(super) fn write_name_parts(sections: &mut Sections, rows: &SortedRows, names_min: u32) -> Result<(), StorageError> {
    let Ok(place) = rows.names.binary_search_by(|name| name.as_str().cmp(METRIC_NAME)) else { return Ok(()) };
    let counts = rows.name_counts();
    let (before, names) = (counts.iter().take(place).sum(), counts.get(place).copied().unwrap_or_default());
    if names < names_min {
        return Ok(());
    }
    let names = rows.values().skip(before as usize).take(names as usize);
    match trigrams::encode(trigrams::by_page(before, names)) {
        Some(index) => sections.blob(Kind::NameParts, 0, &index),
        None => Ok(()),
    }
}

fn set_pages(table: &SetTable) -> impl Iterator<Item = Vec<u8>> {
    (0..table.len()).step_by(SETS_PER_PAGE).map(|first| {
        let sets: Vec<&[u32]> = (first..table.len()).take(SETS_PER_PAGE).map(|id| table.get(id)).collect();
        let mut page = Vec::new();
        encode_sets(&sets, &mut page);
        page
    })
}

/// Writes the series: their label sets and the encoded places of each page.
pub(super) fn write_series(sections: &mut Sections, split: &SplitRows, places: &[Vec<u8>]) -> Result<(), StorageError> {
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
