//! The seam to the disk: everything the engine writes or reads goes through [`Disk`], so that tests can break it.
//!
//! The engine needs little: files are written once, from the front to the back, synced, and then only read, renamed,
//! linked and removed. Nothing is ever written in place. [`RealDisk`] hands out reads as mapped regions or by checked
//! `pread`; the test disk in `io/fake.rs` forgets what was not synced and fails on demand.

#[cfg(any(test, feature = "fuzzing"))]
#[allow(dead_code, clippy::indexing_slicing, reason = "a disk for tests; fuzz targets use a part of it")]
pub(crate) mod fake;
mod mapped;
mod real;

use std::borrow::Cow;
use std::fmt::Debug;
use std::path::Path;

use crate::error::StorageError;

pub use mapped::mapped_file_at;
pub use real::RealDisk;

/// The file operations of the engine.
///
/// What an implementer promises: an operation that returned an error may have been done in part, never in more than
/// was asked. A file's bytes survive a power loss only from the last successful [`DiskFile::sync`]; a name in a
/// directory (created, renamed, linked, removed) only from the next successful [`Disk::sync_dir`] of that directory.
pub trait Disk: Send + Sync + Debug {
    /// Creates an empty file for writing; one of this name is an error.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>, StorageError>;

    /// Opens a whole file, as long as it is now, for reading. The region stays readable after the file is removed.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    fn open(&self, path: &Path) -> Result<Box<dyn Region>, StorageError>;

    /// Renames a file; one that has the new name is replaced in the same step.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError>;

    /// Gives a file a second name.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    fn hard_link(&self, from: &Path, to: &Path) -> Result<(), StorageError>;

    /// Removes a file; one that is not there counts as removed.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    fn remove(&self, path: &Path) -> Result<(), StorageError>;

    /// The names of the files in a directory, sorted; names that are not UTF-8 are none of ours and left out.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    fn list(&self, dir: &Path) -> Result<Vec<String>, StorageError>;

    /// The names of the directories in a directory, sorted.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    fn list_dirs(&self, dir: &Path) -> Result<Vec<String>, StorageError>;

    /// Removes an empty directory; one that is not there counts as removed.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    fn remove_dir(&self, dir: &Path) -> Result<(), StorageError>;

    /// Creates a directory and the ones above it, if they are not there, durably.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    fn create_dir(&self, dir: &Path) -> Result<(), StorageError>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    fn sync_dir(&self, dir: &Path) -> Result<(), StorageError>;

    /// Length of a file in bytes; none if there is no such file.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    fn len(&self, path: &Path) -> Result<Option<u64>, StorageError>;

    /// False if a file takes no space on the file system of the data directory, because its bytes are kept elsewhere.
    fn is_local(&self, path: &Path) -> bool {
        let _ = path;
        true
    }

    /// Bytes that can still be written below a directory, and the size of its file system.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    fn space(&self, dir: &Path) -> Result<Space, StorageError>;

    /// Takes a lock file for this process; it is released when the lock is dropped or the process ends.
    ///
    /// # Errors
    /// [`StorageError::Locked`] if another holder has it; [`StorageError::Io`].
    fn lock(&self, path: &Path) -> Result<Box<dyn DiskLock>, StorageError>;
}

/// A file that is being written, by one writer, at its end.
pub trait DiskFile: Send + Debug {
    /// Writes all the bytes at the end. After an error any prefix of them may be in the file.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    fn append(&mut self, bytes: &[u8]) -> Result<(), StorageError>;

    /// Makes everything appended durable. After an error nothing is known about what was appended since the last
    /// success, and a later success means nothing for it: the kernel may have dropped the pages.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    fn sync(&mut self) -> Result<(), StorageError>;
}

/// A file that is being read.
pub trait Region: Send + Sync + Debug {
    /// Length in bytes, as it was when the file was opened.
    fn len(&self) -> u64;

    /// True if the file was empty.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes from `offset` on, `len` of them: borrowed from the mapping, or read and owned.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if the range is not within the file, [`StorageError::Io`].
    fn read(&self, offset: u64, len: usize) -> Result<Cow<'_, [u8]>, StorageError>;

    /// All bytes.
    ///
    /// # Errors
    /// As [`Region::read`].
    fn read_all(&self) -> Result<Cow<'_, [u8]>, StorageError> {
        // A file that does not fit the address space fails in `read`, because the lengths differ.
        self.read(0, usize::try_from(self.len()).unwrap_or(usize::MAX))
    }
}

/// Holds a lock until it is dropped.
pub trait DiskLock: Send + Sync + Debug {}

/// Room on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that this process may still write.
    pub free_bytes: u64,
    /// Size of the file system.
    pub total_bytes: u64,
}

fn io_error(operation: &'static str, path: &Path, source: std::io::Error) -> StorageError {
    StorageError::Io { operation, path: path.to_owned(), source }
}

fn outside(path: &Path, offset: u64, len: usize, file_len: u64) -> StorageError {
    let detail = format!("{len} bytes are expected here, the file ends at byte {file_len}");
    StorageError::Corrupt { path: path.to_owned(), offset, detail }
}

/// The range as indices, if it lies within a file of this length.
fn checked_range(offset: u64, len: usize, file_len: u64) -> Option<std::ops::Range<usize>> {
    let end = offset.checked_add(u64::try_from(len).ok()?)?;
    if end > file_len {
        return None;
    }
    Some(usize::try_from(offset).ok()?..usize::try_from(end).ok()?)
}
