//! What can go wrong with jobs.

use crate::catalog::CatalogError;

/// Why something was not recorded or cannot be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JobsError {
    /// There are as many jobs as there may be, and none has ended.
    #[error("too many jobs: limit jobs.max_jobs = {limit} reached, and none of them has ended")]
    TooManyJobs {
        /// `jobs.max_jobs`
        limit: usize,
    },
    /// There are as many jobs as may be there that only series tell of, and none has fallen silent.
    #[error(
        "too many jobs that only series tell of: limit jobs.max_implied_jobs = {limit} reached, and all are there still"
    )]
    TooManyImpliedJobs {
        /// `jobs.max_implied_jobs`
        limit: usize,
    },
    /// Someone who knows it better than series tells of the job.
    #[error("job {id:?} is told of by someone who knows it better than its series")]
    Outranked {
        /// Its id.
        id: String,
    },
    /// A document is too large.
    #[error("a document of kind {kind} has {bytes} bytes: limit jobs.max_document_bytes = {limit} reached")]
    DocumentTooLarge {
        /// Its kind.
        kind: &'static str,
        /// Its size.
        bytes: usize,
        /// `jobs.max_document_bytes`
        limit: usize,
    },
    /// Too many documents at once.
    #[error("{found} documents at once: limit jobs.max_documents = {limit} reached")]
    TooManyDocuments {
        /// How many came.
        found: usize,
        /// `jobs.max_documents`
        limit: usize,
    },
    /// An id, an organization, or the key of a document is too long.
    #[error("{what} has {bytes} bytes: at most {limit}")]
    NameTooLong {
        /// Which one.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The most.
        limit: usize,
    },
    /// Too much waits for the disk; to be tried again.
    #[error("too many documents wait to be written: limit jobs.max_pending_bytes = {limit} reached")]
    Overloaded {
        /// `jobs.max_pending_bytes`
        limit: u64,
    },
    /// A value has no form in the file; a mistake of ours.
    #[error("a document of kind {kind} cannot be written: {detail}")]
    Unwritable {
        /// Its kind.
        kind: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// A document in the file is not what was written.
    #[error("the document {kind} {key:?} of {subject} cannot be read: {detail}")]
    Corrupt {
        /// The job or cluster.
        subject: String,
        /// The kind of the document.
        kind: &'static str,
        /// Its key.
        key: String,
        /// What is wrong.
        detail: String,
    },
    /// The file failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl From<rusqlite::Error> for JobsError {
    fn from(error: rusqlite::Error) -> Self {
        JobsError::Catalog(error.into())
    }
}
