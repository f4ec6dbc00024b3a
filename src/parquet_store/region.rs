//! A file of a day that is being read: from its local copy while there is one, from the store afterwards.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;
use storage::{Region, StorageError};

use super::Shared;
use super::cache::BLOCK_BYTES;
use super::client::{Object, StoreError};
use super::stats::Counters;

/// Reads from this length on pass the cache by: it would hold little else.
const LARGE_BYTES: u64 = 8 * BLOCK_BYTES;

/// Numbers of regions, for the cache.
static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// A file that may be in two places.
#[derive(Debug)]
pub(super) struct Tiered {
    id: u64,
    name: String,
    path: PathBuf,
    bytes: u64,
    /// The local copy, until it goes.
    local: RwLock<Option<Arc<dyn Region>>>,
    shared: Arc<Shared>,
}

/// What the engine holds of it.
#[derive(Debug)]
pub(super) struct Handle(pub(super) Arc<Tiered>);

impl Tiered {
    pub(super) fn new(shared: &Arc<Shared>, name: &str, bytes: u64, local: Option<Arc<dyn Region>>) -> Arc<Tiered> {
        Arc::new(Tiered {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            name: name.to_owned(),
            path: shared.path_of(name),
            bytes,
            local: RwLock::new(local),
            shared: Arc::clone(shared),
        })
    }

    /// Reads from the store from now on.
    pub(super) fn leave_local(&self) {
        *self.local.write() = None;
    }

    fn outside(&self, offset: u64, len: usize) -> StorageError {
        let detail = format!("{len} bytes are expected here, the file ends at byte {}", self.bytes);
        StorageError::Corrupt { path: self.path.clone(), offset, detail }
    }

    /// Reads from the store, block by block.
    fn fetch(&self, offset: u64, len: usize) -> Result<Vec<u8>, StorageError> {
        let end = offset.checked_add(len as u64).filter(|end| *end <= self.bytes);
        let end = end.ok_or_else(|| self.outside(offset, len))?;
        if len as u64 >= LARGE_BYTES {
            return self.request(offset, end).map(|bytes| bytes.to_vec());
        }
        let mut out = Vec::with_capacity(len);
        while (out.len() as u64) < len as u64 {
            let at = offset + out.len() as u64;
            let start = at / BLOCK_BYTES * BLOCK_BYTES;
            let stop = (start + BLOCK_BYTES).min(self.bytes);
            let block = self.shared.cache.get((self.id, start), || self.request(start, stop))?;
            let wanted = (at - start) as usize..(end.min(stop) - start) as usize;
            out.extend_from_slice(block.get(wanted).ok_or_else(|| self.outside(at, len))?);
        }
        Ok(out)
    }

    fn request(&self, start: u64, end: u64) -> Result<Bytes, StorageError> {
        let counters = &self.shared.counters;
        Counters::add(&counters.reads, 1);
        let known = Object { bytes: self.bytes, etag: None };
        match self.shared.client.read(&self.name, &known, start..end) {
            Ok(bytes) => {
                Counters::add(&counters.read_bytes, bytes.len() as u64);
                Ok(bytes)
            }
            Err(error) => {
                Counters::add(&counters.failed_reads, 1);
                Err(self.failed(error))
            }
        }
    }

    /// Nothing that the store says means that a file is corrupt: its checksums say that.
    fn failed(&self, error: StoreError) -> StorageError {
        StorageError::Unreachable { path: self.path.clone(), detail: error.to_string() }
    }
}

impl Region for Handle {
    fn len(&self) -> u64 {
        self.0.bytes
    }

    fn read(&self, offset: u64, len: usize) -> Result<Cow<'_, [u8]>, StorageError> {
        let local = self.0.local.read().clone();
        // Copied: a mapping must be able to go while others still hold the region.
        match local {
            Some(local) => Ok(Cow::Owned(local.read(offset, len)?.into_owned())),
            None => self.0.fetch(offset, len).map(Cow::Owned),
        }
    }
}
