//! What the store did, in numbers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Shared;

/// Counters that only grow, and the size of what waits.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) uploads: AtomicU64,
    pub(super) upload_bytes: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) reads: AtomicU64,
    pub(super) read_bytes: AtomicU64,
    pub(super) failed_reads: AtomicU64,
    pub(super) deletes: AtomicU64,
    pub(super) pending_files: AtomicU64,
    pub(super) missing_files: AtomicU64,
    pub(super) foreign: AtomicBool,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn stats(&self, shared: &Shared) -> StoreStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (files, bytes) = shared
            .placement
            .look(|document| (document.files.len() as u64, document.files.values().map(|object| object.bytes).sum()));
        StoreStats {
            is_reachable: shared.client.away().is_none() && !self.foreign.load(Ordering::Relaxed),
            files,
            bytes,
            pending_files: get(&self.pending_files),
            missing_files: get(&self.missing_files),
            uploads: get(&self.uploads),
            upload_bytes: get(&self.upload_bytes),
            failures: get(&self.failures),
            reads: get(&self.reads),
            read_bytes: get(&self.read_bytes),
            failed_reads: get(&self.failed_reads),
            deletes: get(&self.deletes),
            cache_bytes: shared.cache.bytes() as u64,
        }
    }
}

/// Numbers of the store of days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreStats {
    /// False after a request failed, until the next is tried, and while the prefix belongs to another data directory.
    pub is_reachable: bool,
    /// Files in the store.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Local files that have still to go there.
    pub pending_files: u64,
    /// Files that should be there and are not.
    pub missing_files: u64,
    /// Files that were put there and verified.
    pub uploads: u64,
    /// Their bytes.
    pub upload_bytes: u64,
    /// Uploads, removals and listings that failed; they are tried again.
    pub failures: u64,
    /// Ranged reads.
    pub reads: u64,
    /// Bytes that they brought.
    pub read_bytes: u64,
    /// Ranged reads that failed.
    pub failed_reads: u64,
    /// Objects removed.
    pub deletes: u64,
    /// Bytes of blocks in memory.
    pub cache_bytes: u64,
}
