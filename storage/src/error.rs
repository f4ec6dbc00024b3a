//! What can go wrong: the caller is wrong ([`Refusal`]), a bound is reached ([`CommitError`]), the disk failed or the
//! data is corrupt ([`StorageError`]).

use std::path::PathBuf;
use std::time::Duration;

/// One sample or series was refused; the rest of its batch goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The sample lies outside retention.
    #[error("timestamp {timestamp_ms} is older than retention allows (oldest {oldest_ms})")]
    TooOld {
        /// Of the sample.
        timestamp_ms: i64,
        /// The oldest that is kept now.
        oldest_ms: i64,
    },
    /// The sample lies too far in the future.
    #[error("timestamp {timestamp_ms} is too far in the future: limit ingest.max_future allows {newest_ms}")]
    TooNew {
        /// Of the sample.
        timestamp_ms: i64,
        /// The newest that is taken now.
        newest_ms: i64,
    },
    /// A histogram has more buckets than are stored of one sample.
    #[error("a histogram has {buckets} buckets or custom bounds: at most {limit} are stored")]
    TooManyBuckets {
        /// Of the sample, or its custom bounds.
        buckets: u64,
        /// What the format allows.
        limit: u64,
    },
    /// There are as many active series as there may be.
    #[error("limit ingest.max_series = {limit} reached")]
    TooManySeries {
        /// `ingest.max_series`
        limit: u64,
    },
    /// There are as many active series of the same job as there may be.
    #[error("limit {limit_name} = {limit} reached by the series with {label}={:?}", beginning(job))]
    TooManySeriesOfJob {
        /// `ingest.max_series_per_job`, or `ingest.max_series_of_job` if the job has a limit of its own.
        limit_name: &'static str,
        /// What it is set to.
        limit: u64,
        /// The label that names the job (`ingest.job_label`).
        label: String,
        /// Its value.
        job: String,
    },
}

/// The beginning of a text that a sender chose, for messages.
fn beginning(text: &str) -> String {
    text.chars().take(64).collect()
}

/// A batch could not be made durable; nothing of it is acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Too much is waiting; try again later.
    #[error("too much is waiting to be written: limit {limit_name} = {limit} reached")]
    Overloaded {
        /// `ingest.max_pending_bytes`, `wal.max_bytes` or `head.max_samples`
        limit_name: &'static str,
        /// What it is set to.
        limit: u64,
        /// When to try again.
        retry_after: Duration,
    },
    /// The store is read-only; the text says why.
    #[error("the store is read-only: {0}")]
    ReadOnly(String),
    /// The database is shutting down.
    #[error("the store is shutting down")]
    Closed,
    /// The WAL could not be written or synced.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A delete, or what is done with one, was refused or failed; nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// There are as many as there may be.
    #[error("limit storage.max_deletes = {limit} reached: clean_tombstones purges what was deleted")]
    TooMany {
        /// `storage.max_deletes`
        limit: usize,
    },
    /// There is no delete with this number, or it is purged.
    #[error("there is no delete {0}")]
    Unknown(u64),
    /// It was made too long ago, or what is deleted is being purged.
    #[error("delete {0} cannot be undone any more: what it hides is being purged")]
    Final(u64),
    /// What is selected could not be read.
    #[error(transparent)]
    Source(#[from] model::SourceError),
    /// The disk.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// The disk failed or what is on it is wrong.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Another process has the directory.
    #[error("{path} is in use by another process (lock file {path}/LOCK)")]
    Locked {
        /// The data directory.
        path: PathBuf,
    },
    /// A snapshot, a backup or a restore into the directory was not finished.
    #[error(
        "{path} is not whole: a snapshot, backup or restore into it was cut off (file {path}/INCOMPLETE); do it again"
    )]
    Incomplete {
        /// The data directory.
        path: PathBuf,
    },
    /// The directory was written by a newer version.
    #[error("{path} has format {found}, this version reads up to {known}")]
    NewerFormat {
        /// The file that says so.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that is known.
        known: u32,
    },
    /// The database is closed, or is being closed.
    #[error("the store is shutting down")]
    Closed,
    /// An operation on a file failed.
    #[error("{operation} {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file's content is not what was written.
    #[error("{path} is corrupt at byte {offset}: {detail}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        detail: String,
    },
    /// A file that a [`crate::Disk`] keeps elsewhere cannot be reached now; as far as is known it is whole. Queries
    /// leave it out, and say so ([`crate::Snapshot::unreachable`]).
    #[error("{path} cannot be read: {detail}")]
    Unreachable {
        /// The file.
        path: PathBuf,
        /// Why.
        detail: String,
    },
}

impl StorageError {
    /// The same error once more: one failed sync is told to every batch that waited for it.
    pub(crate) fn again(&self) -> Self {
        match self {
            StorageError::Locked { path } => StorageError::Locked { path: path.clone() },
            StorageError::Incomplete { path } => StorageError::Incomplete { path: path.clone() },
            StorageError::NewerFormat { path, found, known } => {
                StorageError::NewerFormat { path: path.clone(), found: *found, known: *known }
            }
            StorageError::Closed => StorageError::Closed,
            StorageError::Io { operation, path, source } => {
                let source = std::io::Error::new(source.kind(), source.to_string());
                StorageError::Io { operation, path: path.clone(), source }
            }
            StorageError::Corrupt { path, offset, detail } => {
                StorageError::Corrupt { path: path.clone(), offset: *offset, detail: detail.clone() }
            }
            StorageError::Unreachable { path, detail } => {
                StorageError::Unreachable { path: path.clone(), detail: detail.clone() }
            }
        }
    }
}

impl From<StorageError> for model::SourceError {
    fn from(error: StorageError) -> Self {
        model::SourceError::Storage(error.to_string())
    }
}
