//! The machine's file system.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock, statvfs};

use super::mapped::MappedRegion;
use super::{Disk, DiskFile, DiskLock, Region, Space, checked_range, io_error, outside};
use crate::error::StorageError;
use crate::names::SUSPECTS;

/// The machine's file system, read through mappings or, for fault tests, by `pread`.
#[derive(Debug, Clone, Copy)]
pub struct RealDisk {
    mapped: bool,
}

impl RealDisk {
    /// Reads are borrowed from memory mappings.
    pub fn mapped() -> Self {
        RealDisk { mapped: true }
    }

    /// Each read is a checked `pread`: a failing disk gives an error and not a signal.
    pub fn pread() -> Self {
        RealDisk { mapped: false }
    }

    /// Mapped, unless the last process that had this data directory ended because a mapped file could not be read
    /// ([`SUSPECTS`]): then by `pread`, so that the same read is an error now.
    pub fn for_data_dir(data_dir: &Path) -> Self {
        RealDisk { mapped: !data_dir.join(SUSPECTS).exists() }
    }
}

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>, StorageError> {
        let file = OpenOptions::new().append(true).create_new(true).open(path);
        let file = file.map_err(|source| io_error("create", path, source))?;
        Ok(Box::new(RealFile { file, path: path.to_owned() }))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Region>, StorageError> {
        let failed = |source| io_error("open", path, source);
        let file = File::open(path).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        // An empty mapping is an error to the kernel.
        if !self.mapped || len == 0 {
            return Ok(Box::new(PreadRegion { file, len, path: path.to_owned() }));
        }
        let region = MappedRegion::new(&file, path).map_err(|source| io_error("map", path, source))?;
        Ok(Box::new(region))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        fs::rename(from, to).map_err(|source| io_error("rename", from, source))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        fs::hard_link(from, to).map_err(|source| io_error("link", to, source))
    }

    fn remove(&self, path: &Path) -> Result<(), StorageError> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error("remove", path, error)),
            _ => Ok(()),
        }
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>, StorageError> {
        list_where(dir, fs::FileType::is_file)
    }

    fn list_dirs(&self, dir: &Path) -> Result<Vec<String>, StorageError> {
        list_where(dir, fs::FileType::is_dir)
    }

    fn remove_dir(&self, dir: &Path) -> Result<(), StorageError> {
        match fs::remove_dir(dir) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error("remove directory", dir, error)),
            _ => Ok(()),
        }
    }

    fn create_dir(&self, dir: &Path) -> Result<(), StorageError> {
        let missing: Vec<&Path> = dir.ancestors().take_while(|d| !d.as_os_str().is_empty() && !d.exists()).collect();
        for dir in missing.into_iter().rev() {
            fs::create_dir(dir).map_err(|source| io_error("create directory", dir, source))?;
            match dir.parent() {
                Some(above) if !above.as_os_str().is_empty() => self.sync_dir(above)?,
                _ => self.sync_dir(Path::new("."))?,
            }
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), StorageError> {
        let synced = File::open(dir).and_then(|opened| opened.sync_all());
        synced.map_err(|source| io_error("sync directory", dir, source))
    }

    fn len(&self, path: &Path) -> Result<Option<u64>, StorageError> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("stat", path, error)),
        }
    }

    fn space(&self, dir: &Path) -> Result<Space, StorageError> {
        let stat = statvfs(dir).map_err(|error| io_error("statvfs", dir, error.into()))?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Space { free_bytes: bytes(stat.f_bavail), total_bytes: bytes(stat.f_blocks) })
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn DiskLock>, StorageError> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file = file.map_err(|source| io_error("open", path, source))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Box::new(RealLock { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                Err(StorageError::Locked { path: path.parent().unwrap_or(path).to_owned() })
            }
            Err(error) => Err(io_error("lock", path, error.into())),
        }
    }
}

/// The names of what is of a type in a directory, sorted.
fn list_where(dir: &Path, is_wanted: fn(&fs::FileType) -> bool) -> Result<Vec<String>, StorageError> {
    let failed = |source| io_error("list", dir, source);
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if is_wanted(&entry.file_type().map_err(failed)?) {
            names.extend(entry.file_name().into_string());
        }
    }
    names.sort_unstable();
    Ok(names)
}

#[derive(Debug)]
struct RealFile {
    file: File,
    path: PathBuf,
}

impl DiskFile for RealFile {
    fn append(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.file.write_all(bytes).map_err(|source| io_error("write", &self.path, source))
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        self.file.sync_data().map_err(|source| io_error("sync", &self.path, source))
    }
}

#[derive(Debug)]
struct PreadRegion {
    file: File,
    len: u64,
    path: PathBuf,
}

impl Region for PreadRegion {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, offset: u64, len: usize) -> Result<Cow<'_, [u8]>, StorageError> {
        if checked_range(offset, len, self.len).is_none() {
            return Err(outside(&self.path, offset, len, self.len));
        }
        let mut bytes = vec![0; len];
        let done = self.file.read_exact_at(&mut bytes, offset);
        done.map_err(|source| io_error("read", &self.path, source))?;
        Ok(Cow::Owned(bytes))
    }
}

/// The lock goes with the descriptor.
#[derive(Debug)]
struct RealLock {
    _file: File,
}

impl DiskLock for RealLock {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_written_read_renamed_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        for disk in [RealDisk::mapped(), RealDisk::pread()] {
            let sub = dir.path().join("a/b");
            disk.create_dir(&sub).unwrap();
            disk.create_dir(&sub).unwrap();
            let (one, two) = (sub.join("one"), sub.join("two"));
            let mut file = disk.create(&one).unwrap();
            file.append(b"hello ").unwrap();
            file.append(b"world").unwrap();
            file.sync().unwrap();
            assert!(disk.create(&one).is_err(), "files are created once");

            let region = disk.open(&one).unwrap();
            assert_eq!((region.len(), &*region.read(6, 5).unwrap()), (11, &b"world"[..]));
            assert_eq!(region.read(11, 0).unwrap().len(), 0);
            for (offset, len) in [(7, 5), (12, 0), (u64::MAX, 1), (0, usize::MAX)] {
                assert!(matches!(region.read(offset, len), Err(StorageError::Corrupt { .. })), "{offset} {len}");
            }

            disk.hard_link(&one, &two).unwrap();
            assert_eq!(disk.list(&sub).unwrap(), ["one", "two"]);
            disk.rename(&two, &one).unwrap();
            disk.remove(&two).unwrap();
            disk.remove(&two).unwrap();
            assert_eq!(disk.len(&two).unwrap(), None);
            disk.remove(&one).unwrap();
            assert_eq!(&*region.read_all().unwrap(), b"hello world", "a region outlives its name");
            disk.create(&one).unwrap();
            assert!(disk.open(&one).unwrap().is_empty());
            disk.remove(&one).unwrap();
            disk.sync_dir(&sub).unwrap();
            assert_eq!(disk.list_dirs(dir.path()).unwrap(), ["a"]);
            assert!(disk.list(dir.path()).unwrap().is_empty() && disk.list_dirs(&sub).unwrap().is_empty());
            let inner = sub.join("c");
            disk.create_dir(&inner).unwrap();
            assert!(disk.remove_dir(&sub).is_err(), "it is not empty");
            disk.remove_dir(&inner).unwrap();
            disk.remove_dir(&inner).unwrap();
            let space = disk.space(&sub).unwrap();
            assert!(space.free_bytes > 0 && space.free_bytes <= space.total_bytes);
        }
    }

    #[test]
    fn a_lock_is_held_once_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, path) = (RealDisk::mapped(), dir.path().join("LOCK"));
        let held = disk.lock(&path).unwrap();
        let refused = disk.lock(&path).unwrap_err();
        assert!(refused.to_string().contains("LOCK"), "{refused}");
        drop(held);
        disk.lock(&path).unwrap();
    }
}
