//! What a database is opened with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::Preference as CodecPreference;
use crate::parquet::RowColumns;
use crate::precision::PrecisionRule;
use crate::rollup::RollupRules;

/// When a batch's WAL record is synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalSync {
    /// Before the batch is acknowledged; batches that wait at the same time share one sync.
    Always,
    /// At this interval; a power loss may cost what came since.
    Interval(Duration),
}

/// Where the time comes from, so that tests can set it.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Milliseconds since 1970.
    fn now_ms(&self) -> i64;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        }
    }
}

/// A place in the work of the engine at which tests pause it or end the process.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// A group of batches is about to be written to the WAL.
    WalWrite,
    /// It is written and not synced.
    WalWritten,
    /// It is synced and not visible.
    WalSynced,
    /// The next WAL file is about to be started.
    WalRoll,
    /// It is started.
    WalRolled,
    /// The head is frozen.
    FlushFrozen,
    /// A segment is written and synced, under its temporary name.
    SegmentWritten,
    /// It has its name.
    SegmentRenamed,
    /// All segments of a flush or a compaction have their names.
    SegmentsDurable,
    /// A manifest is written and not synced.
    ManifestWritten,
    /// It is synced, under its temporary name.
    ManifestSynced,
    /// It has its name.
    ManifestRenamed,
    /// Its name is durable.
    ManifestDurable,
    /// It counts.
    ManifestInstalled,
    /// The WAL files of a flush are removed.
    WalRemoved,
}

/// Is told of each [`Step`], on the thread that does the work.
#[doc(hidden)]
pub trait Probe: Send + Sync + std::fmt::Debug {
    /// The step is reached; the work goes on when this returns.
    fn reached(&self, step: Step);
}

pub(crate) fn reached(probe: &Option<Arc<dyn Probe>>, step: Step) {
    if let Some(probe) = probe {
        probe.reached(step);
    }
}

/// How many active series there may be. A series is active from its first sample until the first flush after it had none
/// for [`DbOptions::series_idle_max`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesLimits {
    /// Of all (`ingest.max_series`).
    pub series_max: u64,
    /// The label whose value is the job (`ingest.job_label`); series without it are one job.
    pub label: String,
    /// Of each job (`ingest.max_series_per_job`); none for no bound but that of all.
    pub per_job: Option<u64>,
    /// Of some jobs, in place of that (`ingest.max_series_of_job`).
    pub of_job: BTreeMap<String, u64>,
}

impl SeriesLimits {
    /// The limit of a job and its name.
    pub(crate) fn of(&self, job: &str) -> Option<(&'static str, u64)> {
        match self.of_job.get(job) {
            Some(limit) => Some(("ingest.max_series_of_job", *limit)),
            None => self.per_job.map(|limit| ("ingest.max_series_per_job", limit)),
        }
    }
}

impl Default for SeriesLimits {
    fn default() -> Self {
        SeriesLimits { series_max: 20_000_000, label: "job".to_owned(), per_job: None, of_job: BTreeMap::new() }
    }
}

/// Options and limits of a database; each limit's name, as users set it, stands in brackets.
#[derive(Debug, Clone)]
pub struct DbOptions {
    /// The data directory; created if missing.
    pub data_dir: PathBuf,
    /// Samples older than this are refused and dropped, in milliseconds; none keeps for ever (`retention`).
    pub retention_ms: Option<i64>,
    /// True: nothing is dropped or hidden for its age until [`crate::Db::set_retention_rules`] is called for the first
    /// time. For who knows of rules only after the database is open, or does not know whether they are all.
    pub retention_held: bool,
    /// The oldest days go when the directory is larger (`retention_size`); none for no bound.
    pub retention_bytes: Option<u64>,
    /// How far in the future a sample may lie, in milliseconds (`ingest.max_future`).
    pub future_max_ms: i64,
    /// When the WAL is synced (`wal.sync`).
    pub wal_sync: WalSync,
    /// Size of one WAL file at which the next begins (`wal.file_bytes`).
    pub wal_file_bytes: u64,
    /// Size of the whole WAL at which the head is flushed, and so the bound of replay (`wal.max_bytes`).
    pub wal_bytes_max: u64,
    /// Samples in the head at which it is flushed (`head.max_samples`).
    pub head_samples_max: u64,
    /// Age of the head at which it is flushed (`head.max_age`).
    pub head_age_max: Duration,
    /// Most active series, in all and of each job; new series above are refused.
    pub series: SeriesLimits,
    /// Bytes of batches that may wait for the WAL (`ingest.max_pending_bytes`); above, batches are refused with
    /// [`crate::CommitError::Overloaded`].
    pub pending_bytes_max: u64,
    /// Most time partitions that are written at once by a flush (`storage.max_open_partitions`).
    pub open_partitions_max: usize,
    /// What matters more when blocks are encoded (`storage.codec`).
    pub codec: CodecPreference,
    /// Which values are rounded when they leave the head; the first rule that suits a series counts
    /// (`storage.precision`).
    pub precision: Vec<PrecisionRule>,
    /// Bytes of segments that compaction in the background reads a second (`storage.compaction_rate`), unless queries
    /// slow it down; none for no bound and no regard for queries.
    pub compaction_rate: Option<u64>,
    /// Free space on the file system below which the store turns read-only (`storage.min_free_bytes`).
    pub free_bytes_min: u64,
    /// Most deletes that are not purged yet (`storage.max_deletes`); more are refused with
    /// [`crate::DeleteError::TooMany`].
    pub deletes_max: usize,
    /// How long a delete can be undone (`storage.delete_undo`).
    pub delete_undo: Duration,
    /// How long after its end a day becomes Parquet, in milliseconds; none for never (`parquet.after`).
    pub parquet_after_ms: Option<i64>,
    /// Which labels have columns of their own there (`parquet.label_columns`).
    pub parquet_columns: RowColumns,
    /// How long a series may be without samples until the head forgets it (`head.series_idle`).
    pub series_idle_max: Duration,
    /// Metric families whose type and help are kept (`ingest.max_metadata`); more are left out and counted.
    pub metadata_max: usize,
    /// Exemplars that are kept, the newest (`ingest.max_exemplars`).
    pub exemplars_max: usize,
    /// Which roll-ups are kept (`rollups`).
    pub rollups: RollupRules,
    /// False: nothing is flushed, compacted or dropped but by a call; tests count the operations on a disk.
    #[doc(hidden)]
    pub maintenance: bool,
    /// Tests hear of each step here.
    #[doc(hidden)]
    pub probe: Option<Arc<dyn Probe>>,
}

impl DbOptions {
    /// [`DbOptions::series_idle_max`] in milliseconds.
    pub(crate) fn series_idle_ms(&self) -> i64 {
        i64::try_from(self.series_idle_max.as_millis()).unwrap_or(i64::MAX)
    }

    /// The defaults for a data directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        DbOptions {
            data_dir: data_dir.into(),
            retention_ms: None,
            retention_held: false,
            retention_bytes: None,
            future_max_ms: 86_400_000,
            wal_sync: WalSync::Always,
            wal_file_bytes: 64 << 20,
            wal_bytes_max: 512 << 20,
            head_samples_max: 32_000_000,
            head_age_max: Duration::from_secs(2 * 3600),
            series: SeriesLimits::default(),
            pending_bytes_max: 256 << 20,
            open_partitions_max: 64,
            codec: CodecPreference::default(),
            precision: Vec::new(),
            compaction_rate: Some(16 << 20),
            free_bytes_min: 256 << 20,
            deletes_max: 1000,
            parquet_after_ms: None,
            parquet_columns: RowColumns::default(),
            delete_undo: Duration::from_secs(24 * 3600),
            series_idle_max: Duration::from_secs(20 * 60),
            metadata_max: 200_000,
            exemplars_max: 100_000,
            rollups: RollupRules::default(),
            maintenance: true,
            probe: None,
        }
    }
}
