//! The seam to values that another file holds, row by row: a segment may be only the index of a Parquet day.
//!
//! Such a segment has everything but columns of values: labels, postings, times and statistics are read from it as from
//! any other. Its series stand for rows, one for each sample, in order of the series and then of time.

use std::fmt::Debug;
use std::ops::Range;
use std::path::PathBuf;

use crate::error::StorageError;

/// Reads values by the number of their row.
pub(crate) trait ValueRows: Send + Sync + Debug {
    /// Appends the values of `count` rows from `first` on, bit for bit as they were written.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`], also if there are no such rows; [`StorageError::Io`].
    fn read(&self, first: u64, count: usize, out: &mut Vec<f64>) -> Result<(), StorageError>;

    /// The files.
    fn paths(&self) -> Vec<PathBuf>;

    /// Verifies the checksums of all files, whatever was verified before; gives what is wrong and the rows it touches.
    fn verify(&self) -> Vec<(Range<u64>, StorageError)>;
}
