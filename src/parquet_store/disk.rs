//! The engine's disk where days have a store: files below `parquet/` may be local, in the store, or both.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use storage::{Disk, DiskFile, DiskLock, RealDisk, Region, Space, StorageError};

use super::placement::Document;
use super::region::{Handle, Tiered};
use super::{QUARANTINE_DIR, Shared};

/// The machine's disk with the store behind it.
#[derive(Debug)]
pub(super) struct StoreDisk {
    local: RealDisk,
    shared: Arc<Shared>,
}

impl StoreDisk {
    pub(super) fn new(shared: Arc<Shared>) -> StoreDisk {
        StoreDisk { local: RealDisk::for_data_dir(&shared.data), shared }
    }

    /// Length of a file in the store.
    fn placed(&self, name: &str) -> Option<u64> {
        let find = |document: &Document| document.files.get(name).or_else(|| document.aside.get(name)).cloned();
        self.shared.placement.look(find).map(|object| object.bytes)
    }

    fn is_quarantine(&self, path: &Path) -> bool {
        path.starts_with(self.shared.data.join(QUARANTINE_DIR))
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

    /// What the placement has to forget before a local name changes, durably.
    fn forget(&self, name: &str, path: &Path, is_doomed: bool) -> Result<(), StorageError> {
        let changed = self.shared.placement.change(|document| {
            let Some(object) = document.files.remove(name) else { return };
            if is_doomed {
                document.doomed.insert(name.to_owned());
            } else {
                document.aside.insert(name.to_owned(), object);
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
        let Some(name) = self.shared.name_of(from) else { return self.local.hard_link(from, to) };
        let _moving = self.shared.open.lock();
        let only_there = self.is_only_there(from, &name)?;
        if self.is_quarantine(to) {
            // What is there stays there, for people to look at: the removal that follows finds it put aside.
            self.forget(&name, from, false)?;
            return if only_there { Ok(()) } else { self.local.hard_link(from, to) };
        }
        if only_there {
            // Bringing it back could take hours, under locks that writes wait for.
            let detail = "it is only in parquet.store, and a snapshot does not bring it back".to_owned();
            return Err(StorageError::Unreachable { path: from.to_owned(), detail });
        }
        self.local.hard_link(from, to)
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

    fn list_dirs(&self, dir: &Path) -> Result<Vec<String>, StorageError> {
        self.local.list_dirs(dir)
    }

    fn remove_dir(&self, dir: &Path) -> Result<(), StorageError> {
        self.local.remove_dir(dir)
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

    fn is_local(&self, path: &Path) -> bool {
        let is_away = |name: String| self.is_only_there(path, &name).unwrap_or(false);
        !self.shared.name_of(path).is_some_and(is_away)
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
