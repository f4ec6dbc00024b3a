//! Plain counters of the engine, for telemetry and status pages.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::error::StorageError;

/// A number that only rises, or a gauge that is set.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the engine counts while it runs.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) committed_batches: Counter,
    pub(crate) committed_samples: Counter,
    pub(crate) failed_batches: Counter,
    pub(crate) refused_batches: Counter,
    pub(crate) commit_groups: Counter,
    pub(crate) wal_rolls: Counter,
    pub(crate) wal_failures: Counter,
    pub(crate) wal_damaged: Counter,
    pub(crate) wal_lost_samples: Counter,
    pub(crate) replayed_records: Counter,
    pub(crate) replayed_samples: Counter,
    pub(crate) replay_us: Counter,
    pub(crate) open_us: Counter,
    pub(crate) flushes: Counter,
    pub(crate) flush_failures: Counter,
    pub(crate) flushed_samples: Counter,
    pub(crate) segments_written: Counter,
    pub(crate) segment_bytes_written: Counter,
    pub(crate) manifest_installs: Counter,
    pub(crate) compactions: Counter,
    pub(crate) compaction_failures: Counter,
    pub(crate) compacted_samples: Counter,
    pub(crate) retention_dropped_bytes: Counter,
    pub(crate) retention_failures: Counter,
    pub(crate) retired_series: Counter,
    pub(crate) rollup_days: Counter,
    pub(crate) rollup_merges: Counter,
    pub(crate) rollup_failures: Counter,
    pub(crate) rollup_dropped_bytes: Counter,
    pub(crate) quarantined: Counter,
    pub(crate) metadata_dropped: Counter,
    pub(crate) free_bytes: Counter,
    pub(crate) panics: Counter,
    pub(crate) findings: Findings,
    pub(crate) failures: Failures,
}

/// Findings that are kept; more are only counted.
const FINDINGS_MAX: usize = 100;

/// What was found wrong on the disk, in words.
#[derive(Debug, Default)]
pub(crate) struct Findings(Mutex<Vec<String>>);

impl Findings {
    /// Notes one.
    pub(crate) fn add(&self, text: String) {
        let mut list = self.0.lock();
        if list.len() < FINDINGS_MAX {
            list.push(text);
        }
    }

    /// All that are kept.
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().clone()
    }
}

/// The last failure of a kind of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkFailure {
    /// `flush`, `compaction` (roll-ups and purges too) or `retention`.
    pub work: &'static str,
    /// What went wrong.
    pub error: String,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
}

/// The last failure of each kind of work.
#[derive(Debug, Default)]
pub(crate) struct Failures(Mutex<BTreeMap<&'static str, WorkFailure>>);

impl Failures {
    /// Notes one in place of the last.
    pub(crate) fn note(&self, work: &'static str, error: &StorageError, at_ms: i64) {
        self.0.lock().insert(work, WorkFailure { work, error: error.to_string(), at_ms });
    }

    /// All, by kind.
    pub(crate) fn all(&self) -> Vec<WorkFailure> {
        self.0.lock().values().cloned().collect()
    }
}

/// The state of a database in numbers. What is counted is counted since it was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DbStats {
    /// Active series in the head.
    pub series: u64,
    /// Series that the head forgot because they were idle.
    pub retired_series: u64,
    /// New series that were refused because of `ingest.max_series` or the budget of their job.
    pub refused_series: u64,
    /// Samples in the head, those included that are on their way into segments.
    pub head_samples: u64,
    /// Bytes of the head's chunks.
    pub head_bytes: u64,
    /// Bytes of series rows, symbols and newest samples.
    pub registry_bytes: u64,
    /// Distinct label names and values in the head.
    pub symbols: u64,
    /// Raw keys that are remembered.
    pub raw_keys: u64,
    /// Bytes of the raw keys' table.
    pub raw_keys_bytes: u64,
    /// Metric families with metadata.
    pub metadata_families: u64,
    /// Families that were not noted because of `ingest.max_metadata`.
    pub metadata_dropped: u64,
    /// Days that are Parquet.
    pub parquet_days: u64,
    /// Bytes of Parquet files.
    pub parquet_bytes: u64,
    /// Deletes that are not purged yet.
    pub deletes: u64,
    /// Exemplars that are kept.
    pub exemplars: u64,
    /// Sequence of the last visible batch.
    pub sequence: u64,
    /// Batches committed.
    pub committed_batches: u64,
    /// Samples committed.
    pub committed_samples: u64,
    /// Batches that failed because the WAL could not be written or synced.
    pub failed_batches: u64,
    /// Batches that were refused because a bound was reached or the store is read-only.
    pub refused_batches: u64,
    /// Groups of batches that shared a write and a sync.
    pub commit_groups: u64,
    /// Bytes of batches that are not finished.
    pub pending_bytes: u64,
    /// WAL files.
    pub wal_files: u64,
    /// Bytes of the WAL.
    pub wal_bytes: u64,
    /// WAL files started.
    pub wal_files_started: u64,
    /// Times that writing went on to the next WAL file.
    pub wal_rolls: u64,
    /// Syncs of WAL files.
    pub wal_syncs: u64,
    /// Writes and syncs of the WAL that failed.
    pub wal_failures: u64,
    /// Damaged places found in WAL files at the start.
    pub wal_damaged: u64,
    /// Samples of sound WAL records whose series was defined in a damaged place.
    pub wal_lost_samples: u64,
    /// Records replayed at the start.
    pub replayed_records: u64,
    /// Samples replayed at the start.
    pub replayed_samples: u64,
    /// Duration of the replay, in microseconds.
    pub replay_us: u64,
    /// Duration of opening, replay included, in microseconds.
    pub open_us: u64,
    /// Flushes done.
    pub flushes: u64,
    /// Flushes that failed; their samples are still in the head and in the WAL.
    pub flush_failures: u64,
    /// Samples that went from the head into segments.
    pub flushed_samples: u64,
    /// Segments that count.
    pub segments: u64,
    /// Bytes of these.
    pub segment_bytes: u64,
    /// Samples in these; overwritten ones may be counted more than once.
    pub segment_samples: u64,
    /// Segments written, by flushes and compactions.
    pub segments_written: u64,
    /// Bytes of these.
    pub segment_bytes_written: u64,
    /// Version of the manifest.
    pub manifest_version: u64,
    /// Manifests installed.
    pub manifest_installs: u64,
    /// Compactions done.
    pub compactions: u64,
    /// Compactions that failed; what was there stays.
    pub compaction_failures: u64,
    /// Samples that went through compactions.
    pub compacted_samples: u64,
    /// Bytes that the compaction that runs now reads; 0 if none does.
    pub compaction_bytes: u64,
    /// Bytes of these that are done.
    pub compaction_done_bytes: u64,
    /// Segments that compaction leaves alone for some minutes because it failed on them or found no room.
    pub compaction_set_aside: u64,
    /// Bytes that retention dropped.
    pub retention_dropped_bytes: u64,
    /// Rounds of retention that failed; what could not be dropped stays.
    pub retention_failures: u64,
    /// Runs of roll-ups that count.
    pub rollup_runs: u64,
    /// Bytes of these.
    pub rollup_bytes: u64,
    /// Buckets in these; those that do not count any more and markers included.
    pub rollup_buckets: u64,
    /// Days of roll-ups that wait to be built again because samples came or went.
    pub rollup_touched_days: u64,
    /// Days of roll-ups built, for each resolution.
    pub rollup_days: u64,
    /// Merges of runs of roll-ups.
    pub rollup_merges: u64,
    /// Pieces of work for roll-ups that failed.
    pub rollup_failures: u64,
    /// Bytes of roll-ups that were dropped for their age.
    pub rollup_dropped_bytes: u64,
    /// Files that were found corrupt and moved away, since the start.
    pub quarantined: u64,
    /// Files in the directory of those.
    pub quarantine_files: u64,
    /// Snapshots that are open.
    pub open_snapshots: u64,
    /// Saved snapshots, as [`crate::Db::save_snapshot`] makes them.
    pub saved_snapshots: u64,
    /// Bytes free on the file system, when last looked at.
    pub free_bytes: u64,
    /// Panics of background threads; all but that of the WAL start again.
    pub panics: u64,
    /// Why the store is read-only, if it is.
    pub read_only: Option<String>,
}

/// The budgets of jobs: how many active series each has, and how many were refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BudgetStats {
    /// The jobs with the most active series, at most a hundred.
    pub jobs: Vec<JobSeries>,
    /// How many new series were refused because of the budget of their job, by job: the first hundred jobs.
    pub refused: Vec<(String, u64)>,
    /// The same for all other jobs together.
    pub refused_of_others: u64,
}

/// The active series of one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSeries {
    /// The value of the label that names the job; empty for series without it.
    pub job: String,
    /// How many there are.
    pub series: u64,
    /// How many there may be; none for no bound.
    pub limit: Option<u64>,
}
