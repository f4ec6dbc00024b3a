//! Backups: copies of a data directory in a directory of their own, and the way back.
//!
//! Each backup is a complete data directory with a list of its files and their hashes ([`list`]). Sealed files that an
//! earlier backup in the same place has are given a second name there instead of being copied; everything else is
//! copied anew. Until a backup or a restore is whole, its directory holds the file `INCOMPLETE`, with which no server
//! opens it; what was copied before it was cut off is used by the next try.

mod copy;
mod list;
mod restore;
mod save;

pub use restore::{Restore, Restored, restore};
pub use save::{Saved, save};

use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

/// Why a backup or a restore failed.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store or a part of it cannot be read.
    #[error(transparent)]
    Storage(#[from] storage::StorageError),
    /// A file operation failed.
    #[error("{operation} {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What was asked for cannot be done; nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// A file of a backup is not what was written.
    #[error("{path} is damaged: {detail}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
}

impl BackupError {
    fn io(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> BackupError {
        let path = path.to_owned();
        move |source| BackupError::Io { operation, path, source }
    }
}

/// Is told of each file before it is copied or linked; an error ends the work as if it had been killed there.
pub type Progress<'a> = dyn FnMut(&str, &Path) -> Result<(), BackupError> + 'a;

/// A name for a backup or a snapshot, as Prometheus makes them: `20171210T211224Z-2be650b6d019eb54`.
pub fn new_name(now_ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(now_ms).unwrap_or_default();
    let number = RandomState::new().hash_one(now_ms);
    format!("{}-{number:016x}", time.strftime("%Y%m%dT%H%M%SZ"))
}

#[cfg(test)]
mod tests;
