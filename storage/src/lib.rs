//! The storage engine: write-ahead log, head, mapped columnar segments. Synchronous; no network, no wall clock of its
//! own (a [`Clock`] is passed in).
//!
//! Writing: [`Db::batch`] → [`Batch::resolve`] / [`Batch::define`] → [`Batch::push`] → [`Batch::commit`], which returns
//! when the batch is synced and visible. Reading: [`Db::snapshot`] gives a [`Snapshot`], a [`model::SeriesSource`].

#![deny(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod batch;
#[doc(hidden)]
pub mod benching;
#[expect(clippy::indexing_slicing, reason = "encoders index rows of a length they have set; decoders use cursors")]
mod codec;
mod compaction;
mod db;
mod deletes;
mod error;
#[allow(dead_code, reason = "the cursors are a set, not every width has a user yet")]
mod format;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod head;
mod index;
mod inspect;
mod io;
mod manifest;
mod names;
mod offline;
mod options;
pub mod parquet;
mod precision;
mod repair;
mod retention;
mod rollup;
#[allow(dead_code, unused_imports, reason = "block statistics are written from the first version on and read later")]
#[expect(clippy::indexing_slicing, reason = "writers index what they have built; readers of bytes use cursors")]
mod segment;
mod snapshot;
mod stats;
mod verify;
mod wal;

pub use batch::{Batch, Committed, Exemplar, HeldSeries, RawKey, Resolved, SeriesRef};
pub use codec::Preference as CodecPreference;
pub use compaction::progress::{CompactionJob, CompactionStatus, SetAside};
pub use db::{CompactReport, Db, FlushReport, Latest, LatestGroup, RetentionReport, SavedSnapshot};
pub use deletes::Delete;
pub use error::{CommitError, DeleteError, Refusal, StorageError};
pub use inspect::{MetricContent, SegmentContent, StoreContent, inspect, inspect_segment};
pub use io::{Disk, DiskFile, DiskLock, RealDisk, Region, Space, mapped_file_at};
pub use names::{INCOMPLETE, SUSPECTS};
pub use offline::{DataFile, check_sealed_file, data_files, have_same_seal, lock_data_dir};
pub use options::{Clock, DbOptions, SeriesLimits, SystemClock, WalSync};
#[doc(hidden)]
pub use options::{Probe, Step};
pub use precision::{PRECISION_DIGITS, PrecisionRule};
pub use retention::RetentionRule;
pub use rollup::{RollupRule, RollupRules, RollupRulesError};
pub use snapshot::Snapshot;
pub use stats::{BudgetStats, DbStats, JobSeries, WorkFailure};
pub use verify::{FoundDamage, Touched, TouchedSeries, VerifyOptions, VerifyReport, verify};
