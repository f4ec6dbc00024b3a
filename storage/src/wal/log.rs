//! Writing WAL files: append, sync, and the next file. Owned by one thread.
//!
//! What was appended counts only up to the last successful sync. After a failed write or sync the file is given up:
//! [`Log::next_file`] seals it in its successor's header, at the last offset that is known to be on the disk, and it
//! is never synced again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::file::FileHeader;
use super::record::set_synced_to;
use crate::error::StorageError;
use crate::format::checksum;
use crate::io::{Disk, DiskFile};
use crate::names::Layout;

/// The WAL as its writer sees it.
#[derive(Debug)]
pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    layout: Layout,
    store: u128,
    current: Option<Current>,
    last: LastFile,
    next_number: u64,
    /// A file was sealed below what was written to it.
    lost_tail: bool,
    files: Arc<WalFiles>,
}

/// The last file that is part of the chain and not written any more.
#[derive(Debug, Default)]
pub(crate) struct LastFile {
    /// 0 if there is none.
    pub(crate) number: u64,
    /// Bytes of it that count.
    pub(crate) bytes: u64,
    /// From here on its records stand in `unsure`.
    pub(crate) repeated_from: u64,
    /// The records of which this process does not know that they were synced: the next file begins with them.
    pub(crate) unsure: Vec<u8>,
}

/// The WAL files that are there, shared with those who count and remove them.
#[derive(Debug, Default)]
pub(crate) struct WalFiles {
    sizes: Mutex<BTreeMap<u64, u64>>,
    syncs: AtomicU64,
    started: AtomicU64,
}

impl WalFiles {
    /// Files that were found at the start, with their sizes.
    pub(crate) fn new(sizes: BTreeMap<u64, u64>) -> Self {
        WalFiles { sizes: Mutex::new(sizes), ..WalFiles::default() }
    }

    fn set(&self, number: u64, bytes: u64) {
        self.sizes.lock().insert(number, bytes);
    }

    fn unset(&self, number: u64) {
        self.sizes.lock().remove(&number);
    }

    /// Removes the files below `floor`.
    pub(crate) fn remove_below(&self, floor: u64, disk: &dyn Disk, layout: &Layout) {
        let gone = {
            let mut sizes = self.sizes.lock();
            let keep = sizes.split_off(&floor);
            std::mem::replace(&mut *sizes, keep)
        };
        for number in gone.into_keys() {
            // A file that stays is below the manifest's floor, is never read again, and goes at the next start.
            let _ = disk.remove(&layout.wal(number));
        }
    }

    /// Bytes in all files.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.sizes.lock().values().sum()
    }

    /// Number of files.
    pub(crate) fn count(&self) -> u64 {
        self.sizes.lock().len() as u64
    }

    /// Syncs since the start.
    pub(crate) fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// Files started since the start.
    pub(crate) fn started(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct Current {
    file: Box<dyn DiskFile>,
    number: u64,
    written_bytes: u64,
    synced_bytes: u64,
    /// A write or a sync failed.
    broken: bool,
}

impl Log {
    /// A log that goes on behind `last`; `next_number` is above all numbers that were ever used.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        layout: Layout,
        store: u128,
        last: LastFile,
        next_number: u64,
        files: Arc<WalFiles>,
    ) -> Self {
        Log { disk, layout, store, current: None, last, next_number, lost_tail: false, files }
    }

    /// Seals the current file at what is synced of it, and starts the next one; returns its number.
    ///
    /// # Errors
    /// [`StorageError::Io`]; there is no current file then.
    pub(crate) fn next_file(&mut self) -> Result<u64, StorageError> {
        self.seal();
        let number = self.next_number;
        self.next_number += 1;
        let path = self.layout.wal(number);
        let (file, bytes) = self.start_file(number, &path).inspect_err(|_| {
            // On a full disk it is tried again and again. One that stays is a gap in the chain, as after a crash here.
            let _ = self.disk.remove(&path);
            self.files.unset(number);
        })?;
        self.current = Some(Current { file, number, written_bytes: bytes, synced_bytes: bytes, broken: false });
        self.files.started.fetch_add(1, Ordering::Relaxed);
        Ok(number)
    }

    fn seal(&mut self) {
        if let Some(current) = &mut self.current {
            if !current.broken && current.synced_bytes < current.written_bytes {
                // If this fails, what was not synced is lost to the WAL; whoever acknowledged it has it in the head.
                self.files.syncs.fetch_add(1, Ordering::Relaxed);
                match current.file.sync() {
                    Ok(()) => current.synced_bytes = current.written_bytes,
                    Err(_) => current.broken = true,
                }
            }
            self.lost_tail |= current.synced_bytes < current.written_bytes;
            let (number, bytes) = (current.number, current.synced_bytes);
            self.last = LastFile { number, bytes, repeated_from: bytes, unsure: Vec::new() };
            self.current = None;
        }
    }

    /// Writes the header and what must be repeated; returns the file and its length.
    fn start_file(&mut self, number: u64, path: &Path) -> Result<(Box<dyn DiskFile>, u64), StorageError> {
        // 0 says that this file itself is not yet known to be on the disk.
        set_synced_to(&mut self.last.unsure, 0);
        let header = FileHeader {
            number,
            previous_number: self.last.number,
            previous_bytes: self.last.bytes,
            repeated_from: self.last.repeated_from,
            front_bytes: self.last.unsure.len() as u64,
            front_checksum: checksum(&self.last.unsure),
            store: self.store,
        };
        let mut front = header.encode();
        front.extend_from_slice(&self.last.unsure);
        let bytes = front.len() as u64;
        let mut file = self.disk.create(path)?;
        self.files.set(number, bytes);
        file.append(&front)?;
        self.files.syncs.fetch_add(1, Ordering::Relaxed);
        file.sync()?;
        self.disk.sync_dir(&self.layout.wal_dir())?;
        Ok((file, bytes))
    }

    /// Appends records to the current file. A file with a failed write is given up.
    ///
    /// # Errors
    /// [`StorageError::Io`]; call [`Log::next_file`] then.
    pub(crate) fn append(&mut self, records: &mut [u8]) -> Result<(), StorageError> {
        let Some(current) = self.current.as_mut().filter(|c| !c.broken) else {
            return Err(self.no_file());
        };
        set_synced_to(records, current.synced_bytes);
        if let Err(error) = current.file.append(records) {
            // Part of the records may be there. What was written before them can still be synced, once.
            if current.synced_bytes < current.written_bytes {
                self.files.syncs.fetch_add(1, Ordering::Relaxed);
                if current.file.sync().is_ok() {
                    current.synced_bytes = current.written_bytes;
                }
            }
            current.broken = true;
            return Err(error);
        }
        current.written_bytes += records.len() as u64;
        self.files.set(current.number, current.written_bytes);
        Ok(())
    }

    /// Makes all that was appended durable. A file with a failed sync is given up.
    ///
    /// # Errors
    /// [`StorageError::Io`]; call [`Log::next_file`] then.
    pub(crate) fn sync(&mut self) -> Result<(), StorageError> {
        let Some(current) = self.current.as_mut().filter(|c| !c.broken) else {
            return Err(self.no_file());
        };
        if current.synced_bytes == current.written_bytes {
            return Ok(());
        }
        self.files.syncs.fetch_add(1, Ordering::Relaxed);
        match current.file.sync() {
            Ok(()) => {
                current.synced_bytes = current.written_bytes;
                Ok(())
            }
            Err(error) => {
                current.broken = true;
                Err(error)
            }
        }
    }

    /// True, once, if something that was written without an error is not in the WAL any more: whoever acknowledged it
    /// before its sync must bring it into segments.
    pub(crate) fn take_lost_tail(&mut self) -> bool {
        std::mem::take(&mut self.lost_tail)
    }

    /// Bytes in the current file.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.current.as_ref().map_or(0, |c| c.written_bytes)
    }

    /// True if something was appended that is not synced.
    pub(crate) fn is_dirty(&self) -> bool {
        self.current.as_ref().is_some_and(|c| !c.broken && c.synced_bytes < c.written_bytes)
    }

    fn no_file(&self) -> StorageError {
        StorageError::Io {
            operation: "write",
            path: self.layout.wal_dir(),
            source: std::io::Error::other("there is no WAL file to write to"),
        }
    }
}
