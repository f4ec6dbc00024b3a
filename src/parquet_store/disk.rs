//! The engine's disk where days have a store: files below `parquet/` may be local, in the store, or both.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use storage::{Disk, DiskFile, DiskLock, RealDisk, Region, Space, StorageError};

use super::Shared;
use super::region::{Handle, Tiered};

/// Bytes that are copied at a time when a file is brought back.
const COPY_BYTES: usize = 8 << 20;

/// The machine's disk with the store behind it.
#[derive(Debug)]
pub(super) struct StoreDisk {
    local: RealDisk,
    shared: Arc<Shared>,
}

impl StoreDisk {
    pub(super) fn new(shared: Arc<Shared>) -> StoreDisk {
        StoreDisk { local: RealDisk::mapped(), shared }
    }

    /// Length of a file in the store.
    fn placed(&self, name: &str) -> Option<u64> {
        self.shared.placement.look(|document| document.files.get(name).map(|object| object.bytes))
    }

    /// True if the file is in the store and has no local copy.
    fn is_only_there(&self, path: &Path, name: &str) -> Result<bool, StorageError> {
        Ok(self.placed(name).is_some() && self.local.len(path)?.is_none())
    }

    fn tiered(&self, path: &Path, name: &str) -> Result<Arc<Tiered>, StorageError> {
        let mut open = self.shared.open.lock();
        let local: Option<Arc<dyn Region>> = match self.local.len(path)? {
            Some(_) => Some(Arc::from(self.local.open(path)?)),
            None => None,
        };
        let bytes = match (&local, self.placed(name)) {
            (Some(local), _) => local.len(),
            (None, Some(bytes)) => bytes,
            // The machine's own words for a file that is not there.
            (None, None) => self.local.open(path)?.len(),
        };
        let region = Tiered::new(&self.shared, name, bytes, local);
        let regions = open.entry(name.to_owned()).or_default();
        regions.retain(|region| region.strong_count() > 0);
        regions.push(Arc::downgrade(&region));
        Ok(region)
    }

    /// Writes a copy of a file in the store.
    fn bring_back(&self, region: &Handle, to: &Path) -> Result<(), StorageError> {
        let mut file = self.local.create(to)?;
        let mut offset = 0;
        while offset < region.len() {
            let bytes = region.read(offset, COPY_BYTES.min((region.len() - offset) as usize))?;
            file.append(&bytes)?;
            offset += bytes.len() as u64;
        }
        file.sync()
    }

    /// What the placement has to forget before a local name changes, durably.
    fn forget(&self, name: &str, path: &Path, is_doomed: bool) -> Result<(), StorageError> {
        let changed = self.shared.placement.change(|document| {
            if document.files.remove(name).is_some() {
                let to = if is_doomed { &mut document.doomed } else { &mut document.aside };
                to.insert(name.to_owned());
            }
        });
        changed.map_err(|source| StorageError::Io { operation: "note", path: path.to_owned(), source })
    }
}

impl Disk for StoreDisk {
    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>, StorageError> {
        self.local.create(path)
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Region>, StorageError> {
        match self.shared.name_of(path) {
            Some(name) => Ok(Box::new(Handle(self.tiered(path, &name)?))),
            None => self.local.open(path),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        let (old, new) = (self.shared.name_of(from), self.shared.name_of(to));
        let _moving = (old.is_some() || new.is_some()).then(|| self.shared.open.lock());
        if let Some(new) = new {
            self.forget(&new, to, true)?;
        }
        if let Some(old) = old {
            let only_there = self.is_only_there(from, &old)?;
            // Into quarantine, say: the object stays where it is, for people to look at.
            self.forget(&old, from, false)?;
            if only_there {
                return Ok(());
            }
        }
        self.local.rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        match self.shared.name_of(from) {
            Some(name) if self.is_only_there(from, &name)? => self.bring_back(&Handle(self.tiered(from, &name)?), to),
            _ => self.local.hard_link(from, to),
        }
    }

    fn remove(&self, path: &Path) -> Result<(), StorageError> {
        let name = self.shared.name_of(path);
        let _moving = name.is_some().then(|| self.shared.open.lock());
        if let Some(name) = name {
            self.forget(&name, path, true)?;
        }
        self.local.remove(path)
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>, StorageError> {
        let mut names = match self.local.list(dir) {
            Ok(names) => names,
            // A day may have nothing local any more.
            Err(StorageError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                let there = self.names_below(dir);
                return if there.is_empty() { self.local.list(dir) } else { Ok(there) };
            }
            Err(error) => return Err(error),
        };
        names.extend(self.names_below(dir));
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    fn create_dir(&self, dir: &Path) -> Result<(), StorageError> {
        self.local.create_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), StorageError> {
        self.local.sync_dir(dir)
    }

    fn len(&self, path: &Path) -> Result<Option<u64>, StorageError> {
        let local = self.local.len(path)?;
        Ok(local.or_else(|| self.placed(&self.shared.name_of(path)?)))
    }

    fn space(&self, dir: &Path) -> Result<Space, StorageError> {
        self.local.space(dir)
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn DiskLock>, StorageError> {
        self.local.lock(path)
    }
}

impl StoreDisk {
    /// Names in the store of files of a directory, sorted.
    fn names_below(&self, dir: &Path) -> Vec<String> {
        let below = |name: &String| {
            let path: PathBuf = self.shared.path_of(name);
            let file = path.file_name()?.to_str()?;
            (path.parent() == Some(dir)).then(|| file.to_owned())
        };
        self.shared.placement.look(|document| document.files.keys().filter_map(below).collect())
    }
}

/// Ends the use of a local copy in all regions that read it.
pub(super) fn leave_local(regions: &[Weak<Tiered>]) {
    regions.iter().filter_map(Weak::upgrade).for_each(|region| region.leave_local());
}
