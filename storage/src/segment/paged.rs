//! Sections made of pages, with some of the pages kept decoded.

use std::borrow::Cow;
use std::sync::Arc;

use parking_lot::Mutex;

use super::frames::FrameReader;
use super::layout::Section;
use crate::error::StorageError;
use crate::format::{FormatError, u64_at};

/// One slot of a cache: the page's number and the page.
type Slot<T> = Mutex<Option<(u32, Arc<T>)>>;

/// A paged section with some decoded pages.
#[derive(Debug)]
pub(super) struct Paged<T> {
    section: Section,
    items: u64,
    per_page: usize,
    slots: Vec<Slot<T>>,
}

impl<T> Paged<T> {
    pub(super) fn new(section: Section, items: u64, per_page: usize, kept: usize) -> Self {
        let pages = usize::try_from(items).unwrap_or(usize::MAX).div_ceil(per_page);
        let slots = (0..kept.min(pages)).map(|_| Mutex::new(None)).collect();
        Paged { section, items, per_page, slots }
    }

    /// Takes something out of the page that an item is in.
    pub(super) fn get<R>(
        &self,
        frames: &FrameReader,
        item: u32,
        decode: impl FnOnce(&[u8], usize) -> Result<T, FormatError>,
        take: impl FnOnce(&T, usize) -> Option<R>,
    ) -> Result<R, StorageError> {
        let page = self.page(frames, item / self.per_page as u32, decode)?;
        let missing = || FormatError::new("a reference to nothing").in_file(frames.path(), self.section.offset);
        take(&page, item as usize % self.per_page).ok_or_else(missing)
    }

    /// A page, decoded.
    pub(super) fn page(
        &self,
        frames: &FrameReader,
        number: u32,
        decode: impl FnOnce(&[u8], usize) -> Result<T, FormatError>,
    ) -> Result<Arc<T>, StorageError> {
        self.page_with(frames, number, |bytes, count| Ok(decode(bytes, count)))
    }

    /// A page, made of its bytes and the number of its items; the inner error is one of the bytes.
    pub(super) fn page_with(
        &self,
        frames: &FrameReader,
        number: u32,
        make: impl FnOnce(&[u8], usize) -> Result<Result<T, FormatError>, StorageError>,
    ) -> Result<Arc<T>, StorageError> {
        let corrupt = |error: FormatError| error.in_file(frames.path(), self.section.offset);
        let count = self.items.saturating_sub(u64::from(number) * self.per_page as u64).min(self.per_page as u64);
        let slot = self.slots.get(number as usize % self.slots.len().max(1)).filter(|_| count > 0);
        let slot = slot.ok_or_else(|| corrupt(FormatError::new("a reference to nothing")))?;
        if let Some((_, page)) = slot.lock().as_ref().filter(|(kept, _)| *kept == number) {
            return Ok(Arc::clone(page));
        }
        let bytes = self.page_bytes(frames, number)?;
        let page = Arc::new(make(&bytes, count as usize)?.map_err(corrupt)?);
        *slot.lock() = Some((number, Arc::clone(&page)));
        Ok(page)
    }

    fn page_bytes<'a>(&self, frames: &'a FrameReader, number: u32) -> Result<Cow<'a, [u8]>, StorageError> {
        let corrupt =
            || FormatError::new("a page lies outside its section").in_file(frames.path(), self.section.offset);
        let table_bytes = self.items.div_ceil(self.per_page as u64) * 8;
        let table = self.section.bytes.checked_sub(table_bytes).ok_or_else(corrupt)?;
        // The end of the page before, and of this page.
        let first = u64::from(number.saturating_sub(1));
        let ends = frames.read(self.section.offset + table + first * 8, if number == 0 { 8 } else { 16 })?;
        let (start, end) = match (u64_at(&ends, 0), u64_at(&ends, 8)) {
            (Some(start), Some(end)) => (start, end),
            (Some(end), None) => (0, end),
            _ => return Err(corrupt()),
        };
        let len = end.checked_sub(start).filter(|_| end <= table).and_then(|len| usize::try_from(len).ok());
        frames.read(self.section.offset + start, len.ok_or_else(corrupt)?)
    }
}
