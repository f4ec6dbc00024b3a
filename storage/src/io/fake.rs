//! A disk in memory for tests. It keeps two images: what a running process sees, and what a power loss leaves.
//!
//! [`FakeDisk::crash`] gives the second, with each write and each change of a directory that was not yet synced kept,
//! lost or kept in part as a seed decides, in any order. [`FakeDisk::fail_at`] breaks the n-th operation from now, once
//! or for good. A failed sync behaves as Linux does: the pages count as clean afterwards but are not on the disk, so a
//! second sync that succeeds saves nothing.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, DiskFile, DiskLock, Region, Space, checked_range, io_error, outside};
use crate::error::StorageError;

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The operation fails, the next ones succeed.
    Once,
    /// The operation and all after it fail, as if the process had been killed there.
    Dead,
    /// The operation is done, and all after it fail.
    DeadAfter,
}

/// A handle to a disk in memory; clones are the same disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct FakeDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    files: Vec<FileState>,
    /// What a running process sees, and what is durable.
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    dirs: BTreeSet<PathBuf>,
    /// Changes of directories since their last sync, in order.
    pending: Vec<NameChange>,
    locks: BTreeSet<PathBuf>,
    operations: u64,
    syncs: u64,
    failure: Option<(u64, Failure)>,
    only: Option<&'static str>,
    free_bytes: Option<u64>,
}

/// A file: `durable` bytes at its front are safe, then come bytes in the cache.
#[derive(Debug, Default, Clone)]
struct FileState {
    bytes: Vec<u8>,
    durable: usize,
    /// A sync failed when this many bytes were durable: nothing behind becomes so any more.
    lost_from: Option<usize>,
}

#[derive(Debug, Clone)]
enum NameChange {
    Link(PathBuf, usize),
    Rename(PathBuf, PathBuf, usize),
    Unlink(PathBuf),
}

impl NameChange {
    fn touches(&self, dir: &Path) -> bool {
        match self {
            NameChange::Link(path, _) | NameChange::Unlink(path) => path.parent() == Some(dir),
            NameChange::Rename(from, to, _) => from.parent() == Some(dir) || to.parent() == Some(dir),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            NameChange::Link(path, file) => {
                names.insert(path.clone(), *file);
            }
            NameChange::Rename(from, to, file) => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
            NameChange::Unlink(path) => {
                names.remove(path);
            }
        }
    }
}

/// What happens to an operation.
enum Verdict {
    Do,
    Fail,
}

impl State {
    /// Counts an operation that changes the disk and says whether it works.
    fn step(&mut self, operation: &'static str) -> Verdict {
        let dead = self.failure.is_some_and(|(at, how)| how != Failure::Once && at < self.operations);
        if dead {
            return Verdict::Fail;
        }
        if self.only.is_some_and(|only| only != operation) {
            return Verdict::Do;
        }
        let number = self.operations;
        self.operations += 1;
        match self.failure {
            Some((at, Failure::Once | Failure::Dead)) if at == number => Verdict::Fail,
            _ => Verdict::Do,
        }
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.pending.push(change);
    }

    fn file_of(&self, operation: &'static str, path: &Path) -> Result<usize, StorageError> {
        let found = self.names.get(path).copied();
        found.ok_or_else(|| io_error(operation, path, ErrorKind::NotFound.into()))
    }
}

/// A small generator (splitmix64): crashes must be the same for the same seed.
struct Dice(u64);

impl Dice {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % below.max(1) as u64) as usize
    }
}

impl FakeDisk {
    /// Operations that changed the disk so far.
    pub(crate) fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// Syncs of files so far.
    pub(crate) fn syncs(&self) -> u64 {
        self.0.lock().syncs
    }

    /// Lets the `n`-th operation from now (0 is the next) fail.
    pub(crate) fn fail_at(&self, n: u64, how: Failure) {
        let mut state = self.0.lock();
        state.failure = Some((state.operations + n, how));
        state.only = None;
    }

    /// As [`FakeDisk::fail_at`], counting only one kind: `create`, `write`, `sync`, `rename`, `remove`, `sync directory`.
    pub(crate) fn fail_kind_at(&self, kind: &'static str, n: u64, how: Failure) {
        let mut state = self.0.lock();
        state.failure = Some((state.operations + n, how));
        state.only = Some(kind);
    }

    /// Everything works again.
    pub(crate) fn heal(&self) {
        let mut state = self.0.lock();
        state.failure = None;
        state.only = None;
    }

    /// Says how much room there is from now on.
    pub(crate) fn set_free_bytes(&self, free_bytes: u64) {
        self.0.lock().free_bytes = Some(free_bytes);
    }

    /// The disk after the process is killed: everything that was written is there, no lock is held.
    pub(crate) fn kill(&self) -> FakeDisk {
        let state = self.0.lock();
        let (files, names, dirs) = (state.files.clone(), state.names.clone(), state.dirs.clone());
        let (durable_names, pending) = (state.durable_names.clone(), state.pending.clone());
        FakeDisk(Arc::new(Mutex::new(State { files, names, durable_names, dirs, pending, ..State::default() })))
    }

    /// The disk after a power loss.
    pub(crate) fn crash(&self, seed: u64) -> FakeDisk {
        let state = self.0.lock();
        let mut dice = Dice(seed);
        let mut names = state.durable_names.clone();
        for change in &state.pending {
            if dice.next(2) == 0 {
                change.apply(&mut names);
            }
        }
        let files: Vec<FileState> = state.files.iter().map(|file| after_power_loss(file, &mut dice)).collect();
        let (durable_names, dirs) = (names.clone(), state.dirs.clone());
        FakeDisk(Arc::new(Mutex::new(State { files, names, durable_names, dirs, ..State::default() })))
    }

    /// The bytes of a file, as a running process sees them.
    pub(crate) fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.0.lock();
        state.names.get(path).map(|file| state.files[*file].bytes.clone())
    }

    /// Puts bytes in place of a file's own, durably: damage that the engine must find.
    pub(crate) fn damage(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.0.lock();
        let file = state.names[path];
        state.files[file] = FileState { durable: bytes.len(), bytes, lost_from: None };
    }

    /// All files, sorted.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.0.lock().names.keys().cloned().collect()
    }
}

/// Behind the durable bytes: nothing, a part, a part with a hole of zeros, or everything.
fn after_power_loss(file: &FileState, dice: &mut Dice) -> FileState {
    let mut bytes = file.bytes[..file.durable].to_vec();
    let pending = &file.bytes[file.durable..];
    let kept = match dice.next(4) {
        0 => 0,
        1 => pending.len(),
        _ => dice.next(pending.len() + 1),
    };
    bytes.extend_from_slice(&pending[..kept]);
    if kept > 0 && dice.next(4) == 0 {
        // The file's length was written before its pages.
        let hole = file.durable + dice.next(kept);
        bytes[hole..].fill(0);
    }
    FileState { durable: bytes.len(), bytes, lost_from: None }
}

impl Disk for FakeDisk {
    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>, StorageError> {
        let mut state = self.0.lock();
        if matches!(state.step("create"), Verdict::Fail) {
            return Err(failed("create", path));
        }
        if !path.parent().is_some_and(|dir| state.dirs.contains(dir)) {
            return Err(io_error("create", path, ErrorKind::NotFound.into()));
        }
        if state.names.contains_key(path) {
            return Err(io_error("create", path, ErrorKind::AlreadyExists.into()));
        }
        let file = state.files.len();
        state.files.push(FileState::default());
        state.change(NameChange::Link(path.to_owned(), file));
        Ok(Box::new(FakeFile { disk: self.clone(), file, path: path.to_owned() }))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Region>, StorageError> {
        let state = self.0.lock();
        let file = state.file_of("open", path)?;
        Ok(Box::new(FakeRegion { bytes: state.files[file].bytes.clone(), path: path.to_owned() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        let mut state = self.0.lock();
        let file = state.file_of("rename", from)?;
        if matches!(state.step("rename"), Verdict::Fail) {
            return Err(failed("rename", from));
        }
        state.change(NameChange::Rename(from.to_owned(), to.to_owned(), file));
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        let mut state = self.0.lock();
        let file = state.file_of("link", from)?;
        if matches!(state.step("link"), Verdict::Fail) {
            return Err(failed("link", from));
        }
        state.change(NameChange::Link(to.to_owned(), file));
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), StorageError> {
        let mut state = self.0.lock();
        if matches!(state.step("remove"), Verdict::Fail) {
            return Err(failed("remove", path));
        }
        if state.names.contains_key(path) {
            state.change(NameChange::Unlink(path.to_owned()));
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>, StorageError> {
        let state = self.0.lock();
        if !state.dirs.contains(dir) {
            return Err(io_error("list", dir, ErrorKind::NotFound.into()));
        }
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn create_dir(&self, dir: &Path) -> Result<(), StorageError> {
        let mut state = self.0.lock();
        if matches!(state.step("create directory"), Verdict::Fail) {
            return Err(failed("create directory", dir));
        }
        state.dirs.extend(dir.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), StorageError> {
        let mut state = self.0.lock();
        if matches!(state.step("sync directory"), Verdict::Fail) {
            return Err(failed("sync directory", dir));
        }
        let pending = std::mem::take(&mut state.pending);
        let (now, later): (Vec<_>, Vec<_>) = pending.into_iter().partition(|change| change.touches(dir));
        for change in now {
            change.apply(&mut state.durable_names);
        }
        state.pending = later;
        Ok(())
    }

    fn len(&self, path: &Path) -> Result<Option<u64>, StorageError> {
        let state = self.0.lock();
        Ok(state.names.get(path).map(|file| state.files[*file].bytes.len() as u64))
    }

    fn space(&self, _dir: &Path) -> Result<Space, StorageError> {
        let total_bytes = 1 << 40;
        Ok(Space { free_bytes: self.0.lock().free_bytes.unwrap_or(total_bytes), total_bytes })
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn DiskLock>, StorageError> {
        if !self.0.lock().locks.insert(path.to_owned()) {
            return Err(StorageError::Locked { path: path.parent().unwrap_or(path).to_owned() });
        }
        Ok(Box::new(FakeLock { disk: self.clone(), path: path.to_owned() }))
    }
}

fn failed(operation: &'static str, path: &Path) -> StorageError {
    io_error(operation, path, Error::other("the test disk fails here"))
}

#[derive(Debug)]
struct FakeFile {
    disk: FakeDisk,
    file: usize,
    path: PathBuf,
}

impl DiskFile for FakeFile {
    fn append(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        let mut state = self.disk.0.lock();
        if matches!(state.step("write"), Verdict::Fail) {
            // A failing write leaves a part behind, how much depends on where it fails.
            let kept = Dice(state.operations).next(bytes.len() + 1);
            state.files[self.file].bytes.extend_from_slice(&bytes[..kept]);
            return Err(failed("write", &self.path));
        }
        state.files[self.file].bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        let mut state = self.disk.0.lock();
        let fails = matches!(state.step("sync"), Verdict::Fail);
        state.syncs += 1;
        let file = &mut state.files[self.file];
        if fails {
            file.lost_from.get_or_insert(file.durable);
            return Err(failed("sync", &self.path));
        }
        file.durable = file.lost_from.unwrap_or(file.bytes.len());
        Ok(())
    }
}

#[derive(Debug)]
struct FakeRegion {
    bytes: Vec<u8>,
    path: PathBuf,
}

impl Region for FakeRegion {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read(&self, offset: u64, len: usize) -> Result<Cow<'_, [u8]>, StorageError> {
        let range = checked_range(offset, len, self.len());
        let bytes = range.ok_or_else(|| outside(&self.path, offset, len, self.len()))?;
        Ok(Cow::Borrowed(&self.bytes[bytes]))
    }
}

#[derive(Debug)]
struct FakeLock {
    disk: FakeDisk,
    path: PathBuf,
}

impl DiskLock for FakeLock {}

impl Drop for FakeLock {
    fn drop(&mut self) {
        self.disk.0.lock().locks.remove(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> FakeDisk {
        let disk = FakeDisk::default();
        disk.create_dir(Path::new("/d")).unwrap();
        disk
    }

    fn write(disk: &FakeDisk, path: &str, bytes: &[u8]) -> Box<dyn DiskFile> {
        let mut file = disk.create(Path::new(path)).unwrap();
        file.append(bytes).unwrap();
        file
    }

    #[test]
    fn a_crash_keeps_what_was_synced_and_a_part_of_the_rest() {
        let disk = disk();
        let mut file = write(&disk, "/d/a", b"safe");
        file.sync().unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        file.append(b"loose").unwrap();
        let after: BTreeSet<Vec<u8>> =
            (0..200).map(|seed| disk.crash(seed).bytes(Path::new("/d/a")).unwrap()).collect();
        assert!(after.iter().all(|bytes| bytes.starts_with(b"safe") && bytes.len() <= 9));
        assert!(after.contains(&b"safe"[..]) && after.contains(&b"safeloose"[..]) && after.len() > 5, "{after:?}");
        assert_eq!(disk.kill().bytes(Path::new("/d/a")).unwrap(), b"safeloose");
    }

    #[test]
    fn names_need_the_directory_synced() {
        let disk = disk();
        write(&disk, "/d/a", b"x").sync().unwrap();
        let there = |disk: &FakeDisk| (0..50).filter(|seed| !disk.crash(*seed).paths().is_empty()).count();
        assert!((1..50).contains(&there(&disk)), "sometimes there, sometimes not");
        disk.sync_dir(Path::new("/d")).unwrap();
        assert_eq!(there(&disk), 50);
    }

    #[test]
    fn a_failed_sync_is_never_made_good() {
        let disk = disk();
        let mut file = write(&disk, "/d/a", b"x");
        disk.sync_dir(Path::new("/d")).unwrap();
        disk.fail_kind_at("sync", 0, Failure::Once);
        file.sync().unwrap_err();
        file.sync().unwrap();
        assert!((0..50).any(|seed| disk.crash(seed).bytes(Path::new("/d/a")).unwrap().is_empty()));
    }

    #[test]
    fn failures_come_when_they_are_asked_for() {
        let disk = disk();
        disk.fail_at(1, Failure::Once);
        let mut file = disk.create(Path::new("/d/a")).unwrap();
        file.append(b"x").unwrap_err();
        file.append(b"y").unwrap();
        disk.fail_at(0, Failure::DeadAfter);
        file.sync().unwrap();
        file.append(b"z").unwrap_err();
        disk.sync_dir(Path::new("/d")).unwrap_err();
        disk.heal();
        file.append(b"z").unwrap();
        assert_eq!((disk.syncs(), disk.operations() > 0), (1, true));
    }
}
