//! A file under checksums: frames of one size, each verified before any of its bytes is used.
//!
//! The frames cover the file from its first byte up to the table of their checksums ([`FRAME_BYTES`] each, the last one
//! shorter). What is smaller than a frame (a block of six samples takes twenty bytes) thus needs no checksum of its
//! own. A mapped frame is verified at its first use and then trusted; a frame that is read anew is verified anew.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::StorageError;
use crate::format::{Cursor, FormatError, Put, checksum};
use crate::io::{Disk, DiskFile, Region};

/// Bytes of a frame: hashing one takes about a microsecond, its checksum 0.05 % of the space.
pub(crate) const FRAME_BYTES: usize = 16 << 10;

/// Frames that are collected before they are written.
const FRAMES_PER_WRITE: usize = 32;

/// Writes a file and keeps the checksums of its frames.
#[derive(Debug)]
pub(crate) struct FrameWriter {
    file: Box<dyn DiskFile>,
    pending: Vec<u8>,
    flushed: u64,
    checksums: Vec<u64>,
}

impl FrameWriter {
    /// Creates the file.
    pub(crate) fn create(disk: &dyn Disk, path: &Path) -> Result<Self, StorageError> {
        let file = disk.create(path)?;
        Ok(FrameWriter { file, pending: Vec::new(), flushed: 0, checksums: Vec::new() })
    }

    /// Offset at which the next byte will be.
    pub(crate) fn position(&self) -> u64 {
        self.flushed + self.pending.len() as u64
    }

    /// Appends bytes.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= FRAME_BYTES * FRAMES_PER_WRITE {
            let whole = self.pending.len() / FRAME_BYTES * FRAME_BYTES;
            self.flush(whole)?;
        }
        Ok(())
    }

    fn flush(&mut self, count: usize) -> Result<(), StorageError> {
        let bytes = self.pending.get(..count).unwrap_or_default();
        self.checksums.extend(bytes.chunks(FRAME_BYTES).map(checksum));
        self.file.append(bytes)?;
        self.pending.drain(..count);
        self.flushed += count as u64;
        Ok(())
    }

    /// Ends the frames; gives the table of checksums and the file, to which the rest is appended directly.
    pub(crate) fn finish(mut self) -> Result<(Vec<u8>, Box<dyn DiskFile>), StorageError> {
        self.flush(self.pending.len())?;
        let mut table = Vec::with_capacity(self.checksums.len() * 8);
        self.checksums.iter().for_each(|sum| table.put_u64(*sum));
        Ok((table, self.file))
    }
}

/// Reads a file whose frames have checksums.
#[derive(Debug)]
pub(crate) struct FrameReader {
    path: PathBuf,
    region: Box<dyn Region>,
    /// Where the frames end.
    end: u64,
    checksums: Vec<u64>,
    /// A bit for each frame that was verified in the mapping.
    verified: Vec<AtomicU64>,
    /// False: bytes are given without a look at their checksums.
    verifies: bool,
}

impl FrameReader {
    /// A reader of the frames up to `end`, with the bytes of the table of their checksums.
    pub(crate) fn new(path: &Path, region: Box<dyn Region>, end: u64, table: &[u8]) -> Result<Self, FormatError> {
        let mut cursor = Cursor::new(table);
        let mut checksums = Vec::with_capacity(table.len() / 8);
        while !cursor.is_empty() {
            checksums.push(cursor.u64()?);
        }
        if checksums.len() as u64 != end.div_ceil(FRAME_BYTES as u64) || end > region.len() {
            return Err(FormatError::new("the table of checksums has a wrong length"));
        }
        let verified = (0..checksums.len().div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Ok(FrameReader { path: path.to_owned(), region, end, checksums, verified, verifies: true })
    }

    /// A reader that believes everything, for who says what damage touches; `end` lies within the file.
    pub(super) fn unverified(path: &Path, region: Box<dyn Region>, end: u64) -> Self {
        let path = path.to_owned();
        FrameReader { path, region, end, checksums: Vec::new(), verified: Vec::new(), verifies: false }
    }

    /// Where the frames end.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// The bytes of the frame that begins at an offset, as they are, and what their checksum should be.
    pub(super) fn frame_at(&self, offset: u64) -> Option<(Vec<u8>, u64)> {
        let len = usize::try_from(self.end.checked_sub(offset)?).unwrap_or(usize::MAX).min(FRAME_BYTES);
        let checksum = *self.checksums.get(usize::try_from(offset / FRAME_BYTES as u64).ok()?)?;
        Some((self.region.read(offset, len).ok()?.into_owned(), checksum))
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Length of the whole file in bytes.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.region.len()
    }

    /// Reads verified bytes.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if they lie outside the frames or a frame's checksum is wrong; [`StorageError::Io`].
    pub(crate) fn read(&self, offset: u64, len: usize) -> Result<Cow<'_, [u8]>, StorageError> {
        if len == 0 {
            return Ok(Cow::Borrowed(&[]));
        }
        let outside = || FormatError::new("a part of the file lies outside it").in_file(&self.path, offset);
        let end = offset.checked_add(len as u64).filter(|end| *end <= self.end).ok_or_else(outside)?;
        let frame = FRAME_BYTES as u64;
        let first = offset / frame;
        let last = (end - 1) / frame;
        let start = first * frame;
        let covered = ((last + 1) * frame).min(self.end) - start;
        let covered = usize::try_from(covered).map_err(|_| outside())?;
        let skip = usize::try_from(offset - start).map_err(|_| outside())?;
        match self.region.read(start, covered)? {
            Cow::Borrowed(bytes) => {
                self.verify_frames(first, bytes, true)?;
                Ok(Cow::Borrowed(bytes.get(skip..skip + len).unwrap_or_default()))
            }
            Cow::Owned(mut bytes) => {
                self.verify_frames(first, &bytes, false)?;
                bytes.truncate(skip + len);
                bytes.drain(..skip);
                Ok(Cow::Owned(bytes))
            }
        }
    }

    fn verify_frames(&self, first: u64, bytes: &[u8], mapped: bool) -> Result<(), StorageError> {
        for (frame, bytes) in (first..).zip(bytes.chunks(FRAME_BYTES)) {
            let (word, bit) = ((frame / 64) as usize, 1_u64 << (frame % 64));
            let verified = self.verified.get(word);
            if !self.verifies || mapped && verified.is_some_and(|word| word.load(Ordering::Relaxed) & bit != 0) {
                continue;
            }
            if self.checksums.get(frame as usize) != Some(&checksum(bytes)) {
                let error = FormatError::new("a checksum is wrong");
                return Err(error.in_file(&self.path, frame * FRAME_BYTES as u64));
            }
            if let Some(word) = verified.filter(|_| mapped) {
                word.fetch_or(bit, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Verifies every frame anew; gives the offsets of the bad ones, rising, and the errors found.
    pub(crate) fn verify_all(&self) -> Vec<(u64, StorageError)> {
        let mut errors = Vec::new();
        for first in 0..self.checksums.len() as u64 {
            let offset = first * FRAME_BYTES as u64;
            let len = (self.end - offset).min(FRAME_BYTES as u64) as usize;
            let checked = self.region.read(offset, len).and_then(|bytes| self.verify_frames(first, &bytes, false));
            errors.extend(checked.err().map(|error| (offset, error)));
        }
        errors
    }
}
