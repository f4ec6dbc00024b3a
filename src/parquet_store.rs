//! Days of Parquet in object storage: an S3-compatible bucket, or a directory that stands for one.
//!
//! The storage engine knows nothing of this: it reads and removes files through its `Disk` seam, and the disk made here
//! ([`ParquetStore::disk`]) answers for files below `parquet/` that are only in the store. One thread copies finished
//! files there (`mover.rs`), verifies them, remembers that durably (`placement.rs`) and only then lets the local copy go.
//! The indexes of the days stay in the data directory, among the segments, so only values are ever fetched, by ranged
//! reads of blocks that are cached (`cache.rs`). While the store is away nothing is lost: what is local stays local and is served, and reads of the rest
//! end with [`storage::StorageError::Unreachable`], which a query turns into a warning.

mod cache;
mod client;
mod disk;
mod mover;
mod placement;
mod plan;
mod region;
mod stats;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use storage::{Clock, Disk};

use crate::config::Config;
use crate::telemetry::Telemetry;
use cache::Cache;
use client::Client;
use disk::StoreDisk;
use mover::Mover;
pub use placement::FILE as PLACEMENT_FILE;
use placement::Placement;
use region::Tiered;
use stats::Counters;
pub use stats::StoreStats;

/// The files below `parquet/` of a data directory that are in a store, by their paths from there.
///
/// # Errors
/// A text that names the file in which that stands, if it cannot be read.
pub fn files_in_store(data: &Path) -> Result<BTreeSet<PathBuf>, String> {
    let document = Placement::read(data)?;
    Ok(document.into_iter().flat_map(|document| document.files.into_keys()).map(PathBuf::from).collect())
}

/// Directory of days below the data directory.
const PARQUET_DIR: &str = "parquet";
/// Directory of what was found corrupt, below the data directory.
const QUARANTINE_DIR: &str = "quarantine";

/// What the disk and the mover share.
#[derive(Debug)]
struct Shared {
    data: PathBuf,
    client: Client,
    placement: Placement,
    cache: Cache,
    /// Regions that may still be read, by the names of their files. Held while files come, go or move.
    open: Mutex<HashMap<String, Vec<Weak<Tiered>>>>,
    counters: Counters,
}

impl Shared {
    /// Name of a file of a day in the store; none for other paths.
    fn name_of(&self, path: &Path) -> Option<String> {
        let inside = path.strip_prefix(self.data.join(PARQUET_DIR)).ok()?.to_str()?;
        let mut parts = inside.split('/');
        let (_kind, day, file) = (parts.next()?, parts.next()?, parts.next()?);
        (day.starts_with("dt=") && !file.is_empty() && parts.next().is_none()).then(|| inside.to_owned())
    }

    fn path_of(&self, name: &str) -> PathBuf {
        self.data.join(PARQUET_DIR).join(name)
    }
}

/// The store of days, and the thread that fills it.
#[derive(Debug)]
pub struct ParquetStore {
    shared: Arc<Shared>,
    mover: Mover,
}

impl ParquetStore {
    /// The store of this configuration, if it has one; nothing is asked of it yet.
    ///
    /// # Errors
    /// A text for people: the configuration is wrong, or files are in a store that it does not name any more.
    pub fn open(config: &Config) -> Result<Option<ParquetStore>, String> {
        let Some(url) = &config.parquet_store else {
            let left = Placement::read(&config.data)?.filter(|document| document.only_there(&config.data) > 0);
            return match left {
                Some(document) => Err(format!(
                    "parquet.store is not set, but {} files are only in {}",
                    document.only_there(&config.data),
                    document.store
                )),
                None => Ok(None),
            };
        };
        let shared = Shared {
            client: Client::new(url, config.parquet_store_timeout.std())?,
            placement: Placement::open(&config.data, &url.text(), mover::new_owner)?,
            cache: Cache::new(config.parquet_store_cache_bytes.usize()),
            open: Mutex::default(),
            counters: Counters::default(),
            data: config.data.clone(),
        };
        Ok(Some(ParquetStore { shared: Arc::new(shared), mover: Mover::new(config.parquet_keep_local.ms()) }))
    }

    /// The disk for the database: the machine's, and behind it the store.
    pub fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(StoreDisk::new(Arc::clone(&self.shared)))
    }

    /// Starts to move files there.
    ///
    /// # Errors
    /// A text, if no thread can be started.
    pub fn start(&self, clock: Arc<dyn Clock>, telemetry: Arc<Telemetry>) -> Result<(), String> {
        self.mover.start(Arc::clone(&self.shared), clock, telemetry)
    }

    /// Ends the moving; a transfer under way ends first.
    pub fn stop(&self) {
        self.mover.stop();
    }

    /// Numbers for `/metrics`.
    pub fn stats(&self) -> StoreStats {
        self.shared.counters.stats(&self.shared)
    }
}
