//! A disk in memory for tests. It keeps two images: what a running process sees, and what a power loss leaves.
//!
//! # What a power loss leaves
//! [`FakeDisk::crash`] gives the second image; a seed decides. Of a file, what was synced is there. What was appended
//! since is there up to any length, and any part of its sectors, of [`SECTOR_BYTES`], reads as zeros: the length was
//! written and the sector was not, in any order. Of the changes of directories that were not synced any part has happened; a file that was renamed
//! from one directory to another may have both names, and never has none.
//!
//! A failed sync behaves as Linux does: the pages count as clean afterwards but are not on the disk, so a second sync
//! that succeeds saves nothing. [`FakeDisk::kill`] is the end of a process only: the kernel still has everything.
//!
//! # What fails
//! [`FakeDisk::fail_at`] breaks the n-th change from now, [`FakeDisk::fail_kind_at`] the n-th of one kind, and
//! [`FakeDisk::fail_call_at`] the n-th call of any kind, reads too; [`Failure`] says for how long.
//! [`FakeDisk::set_unreadable`] breaks sectors.
//! [`FakeDisk::set_capacity`] makes the disk small: a write beyond it is done in part and fails with `StorageFull`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, ErrorKind};
use std::ops::Range;
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
    /// The operation fails, and all later ones of its kind on files of its directory.
    Stuck,
}

/// Sizes of the sectors that a power loss loses, of which a seed takes one: those of disks, and pages of the cache.
const SECTOR_BYTES: [usize; 2] = [512, 4096];

/// Which operations a failure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counted {
    /// Those that change the disk.
    Changes,
    /// Those that change the disk, of one kind.
    Kind(&'static str),
    /// All, reads too.
    Calls,
}

/// A failure that is asked for.
#[derive(Debug, Clone)]
struct Plan {
    counted: Counted,
    how: Failure,
    /// Operations until then.
    left: u64,
    /// Kind and directory of the operation that failed first.
    struck: Option<(&'static str, PathBuf)>,
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
    /// The kind of each call.
    calls: Vec<&'static str>,
    syncs: u64,
    failure: Option<Plan>,
    free_bytes: Option<u64>,
    capacity: Option<u64>,
    /// Ranges of files that cannot be read.
    unreadable: Vec<(PathBuf, Range<u64>)>,
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
    /// The old name of a file whose new one, in another directory, is durable.
    Leave(PathBuf, usize),
}

impl NameChange {
    /// The part that becomes durable with a sync of `dir`, and the part that does not.
    fn split(self, dir: &Path) -> (Option<NameChange>, Option<NameChange>) {
        let is_in = |path: &Path| path.parent() == Some(dir);
        match self {
            NameChange::Rename(from, to, file) => match (is_in(&from), is_in(&to)) {
                (_, true) if from.parent() == to.parent() => (Some(NameChange::Rename(from, to, file)), None),
                (false, true) => (Some(NameChange::Link(to, file)), Some(NameChange::Leave(from, file))),
                // A journal writes the new name with the removal of the old one.
                (true, _) => (Some(NameChange::Rename(from, to, file)), None),
                (false, false) => (None, Some(NameChange::Rename(from, to, file))),
            },
            NameChange::Link(ref path, _) | NameChange::Unlink(ref path) | NameChange::Leave(ref path, _) => {
                if is_in(path) { (Some(self), None) } else { (None, Some(self)) }
            }
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            NameChange::Link(path, file) => {
                names.insert(path.clone(), *file);
            }
            NameChange::Rename(from, to, file) => {
                NameChange::Leave(from.clone(), *file).apply(names);
                names.insert(to.clone(), *file);
            }
            NameChange::Unlink(path) => {
                names.remove(path);
            }
            NameChange::Leave(path, file) => {
                // Another file may have the name by now.
                if names.get(path) == Some(file) {
                    names.remove(path);
                }
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
    fn step(&mut self, operation: &'static str, path: &Path) -> Verdict {
        self.operations += 1;
        self.call(operation, path, true)
    }

    /// As [`State::step`], of an operation that only looks.
    fn look(&mut self, operation: &'static str, path: &Path) -> Result<(), StorageError> {
        match self.call(operation, path, false) {
            Verdict::Do => Ok(()),
            Verdict::Fail => Err(failed(operation, path)),
        }
    }

    fn call(&mut self, operation: &'static str, path: &Path, is_change: bool) -> Verdict {
        self.calls.push(operation);
        let Some(plan) = &mut self.failure else { return Verdict::Do };
        let dir = path.parent().unwrap_or(path);
        let is_counted = match plan.counted {
            Counted::Changes => is_change,
            Counted::Kind(kind) => is_change && kind == operation,
            Counted::Calls => true,
        };
        if let Some((kind, place)) = &plan.struck {
            let fails = match plan.how {
                Failure::Once => false,
                Failure::Dead | Failure::DeadAfter => is_change || plan.counted == Counted::Calls,
                Failure::Stuck => *kind == operation && place == dir,
            };
            return if fails { Verdict::Fail } else { Verdict::Do };
        }
        if !is_counted {
            return Verdict::Do;
        }
        if plan.left > 0 {
            plan.left -= 1;
            return Verdict::Do;
        }
        plan.struck = Some((operation, dir.to_owned()));
        if plan.how == Failure::DeadAfter { Verdict::Do } else { Verdict::Fail }
    }

    /// Bytes of all files that have a name.
    fn used_bytes(&self) -> u64 {
        let named: BTreeSet<usize> = self.names.values().copied().collect();
        named.iter().map(|file| self.files[*file].bytes.len() as u64).sum()
    }

    /// Of so many bytes, how many there is room for.
    fn room(&self, len: usize) -> usize {
        let free = self.capacity.map(|capacity| capacity.saturating_sub(self.used_bytes()));
        free.map_or(len, |free| usize::try_from(free).unwrap_or(usize::MAX).min(len))
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
#[derive(Debug, Clone)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number from 0 up to `below`, which is at least 1.
    pub(crate) fn next(&mut self, below: usize) -> usize {
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

    /// The kinds of all operations so far, those that only look too.
    pub(crate) fn calls(&self) -> Vec<&'static str> {
        self.0.lock().calls.clone()
    }

    /// Lets the `n`-th operation from now (0 is the next) that changes the disk fail.
    pub(crate) fn fail_at(&self, n: u64, how: Failure) {
        self.plan(Counted::Changes, n, how);
    }

    /// As [`FakeDisk::fail_at`], counting only one kind: `create`, `write`, `sync`, `rename`, `remove`, `sync directory`.
    pub(crate) fn fail_kind_at(&self, kind: &'static str, n: u64, how: Failure) {
        self.plan(Counted::Kind(kind), n, how);
    }

    /// As [`FakeDisk::fail_at`], counting all operations, those that only look too.
    pub(crate) fn fail_call_at(&self, n: u64, how: Failure) {
        self.plan(Counted::Calls, n, how);
    }

    fn plan(&self, counted: Counted, left: u64, how: Failure) {
        self.0.lock().failure = Some(Plan { counted, how, left, struck: None });
    }

    /// The kind of the operation that failed first, if the failure that was asked for has come.
    pub(crate) fn struck(&self) -> Option<&'static str> {
        self.0.lock().failure.as_ref().and_then(|plan| plan.struck.as_ref()).map(|(kind, _)| *kind)
    }

    /// Reads of these bytes of a file fail from now on, also after a crash.
    pub(crate) fn set_unreadable(&self, path: &Path, bytes: Range<u64>) {
        self.0.lock().unreadable.push((path.to_owned(), bytes));
    }

    /// Everything works again.
    pub(crate) fn heal(&self) {
        self.0.lock().failure = None;
    }

    /// Bytes that fit on the disk from now on.
    pub(crate) fn set_capacity(&self, capacity: u64) {
        self.0.lock().capacity = Some(capacity);
    }

    /// Bytes of all files.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.0.lock().used_bytes()
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
        let unreadable = state.unreadable.clone();
        let state = State { files, names, durable_names, dirs, pending, unreadable, ..State::default() };
        FakeDisk(Arc::new(Mutex::new(state)))
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
        let unreadable = state.unreadable.clone();
        let state = State { files, names, durable_names, dirs, unreadable, ..State::default() };
        FakeDisk(Arc::new(Mutex::new(state)))
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

/// Behind the durable bytes: any length of what was appended, with any part of its sectors as zeros.
fn after_power_loss(file: &FileState, dice: &mut Dice) -> FileState {
    let pending = file.bytes.len() - file.durable;
    let kept = match dice.next(4) {
        0 => 0,
        1 => pending,
        _ => dice.next(pending + 1),
    };
    let mut bytes = file.bytes[..file.durable + kept].to_vec();
    let sector = SECTOR_BYTES[dice.next(SECTOR_BYTES.len())];
    let shape = dice.next(4);
    let behind = dice.next(kept + 1);
    for start in (0..bytes.len()).step_by(sector).filter(|start| start + sector > file.durable) {
        let is_lost = match shape {
            0 => dice.next(2) == 0,
            1 => start + sector > file.durable + behind,
            _ => false,
        };
        if is_lost {
            let end = (start + sector).min(bytes.len());
            bytes[start.max(file.durable)..end].fill(0);
        }
    }
    FileState { durable: bytes.len(), bytes, lost_from: None }
}

impl Disk for FakeDisk {
    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>, StorageError> {
        let mut state = self.0.lock();
        if matches!(state.step("create", path), Verdict::Fail) {
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
        let mut state = self.0.lock();
        state.look("open", path)?;
        let file = state.file_of("open", path)?;
        Ok(Box::new(FakeRegion { disk: self.clone(), bytes: state.files[file].bytes.clone(), path: path.to_owned() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        let mut state = self.0.lock();
        let file = state.file_of("rename", from)?;
        if matches!(state.step("rename", from), Verdict::Fail) {
            return Err(failed("rename", from));
        }
        state.change(NameChange::Rename(from.to_owned(), to.to_owned(), file));
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        let mut state = self.0.lock();
        let file = state.file_of("link", from)?;
        if matches!(state.step("link", from), Verdict::Fail) {
            return Err(failed("link", from));
        }
        state.change(NameChange::Link(to.to_owned(), file));
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), StorageError> {
        let mut state = self.0.lock();
        if matches!(state.step("remove", path), Verdict::Fail) {
            return Err(failed("remove", path));
        }
        if state.names.contains_key(path) {
            state.change(NameChange::Unlink(path.to_owned()));
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>, StorageError> {
        let mut state = self.0.lock();
        state.look("list", &dir.join("_"))?;
        if !state.dirs.contains(dir) {
            return Err(io_error("list", dir, ErrorKind::NotFound.into()));
        }
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn list_dirs(&self, dir: &Path) -> Result<Vec<String>, StorageError> {
        let mut state = self.0.lock();
        state.look("list", &dir.join("_"))?;
        if !state.dirs.contains(dir) {
            return Err(io_error("list", dir, ErrorKind::NotFound.into()));
        }
        let inside = state.dirs.iter().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn remove_dir(&self, dir: &Path) -> Result<(), StorageError> {
        let mut state = self.0.lock();
        if matches!(state.step("remove directory", dir), Verdict::Fail) {
            return Err(failed("remove directory", dir));
        }
        let is_inside = |path: &PathBuf| path.parent() == Some(dir);
        if state.names.keys().any(is_inside) || state.dirs.iter().any(is_inside) {
            return Err(io_error("remove directory", dir, ErrorKind::DirectoryNotEmpty.into()));
        }
        state.dirs.remove(dir);
        Ok(())
    }

    fn create_dir(&self, dir: &Path) -> Result<(), StorageError> {
        let mut state = self.0.lock();
        if matches!(state.step("create directory", dir), Verdict::Fail) {
            return Err(failed("create directory", dir));
        }
        state.dirs.extend(dir.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), StorageError> {
        let mut state = self.0.lock();
        if matches!(state.step("sync directory", &dir.join("_")), Verdict::Fail) {
            return Err(failed("sync directory", dir));
        }
        let pending = std::mem::take(&mut state.pending);
        for change in pending {
            let (now, later) = change.split(dir);
            if let Some(now) = now {
                now.apply(&mut state.durable_names);
            }
            state.pending.extend(later);
        }
        Ok(())
    }

    fn len(&self, path: &Path) -> Result<Option<u64>, StorageError> {
        let mut state = self.0.lock();
        state.look("stat", path)?;
        Ok(state.names.get(path).map(|file| state.files[*file].bytes.len() as u64))
    }

    fn space(&self, dir: &Path) -> Result<Space, StorageError> {
        let mut state = self.0.lock();
        state.look("statvfs", &dir.join("_"))?;
        let total_bytes = state.capacity.unwrap_or(1 << 40);
        let free_bytes = state.free_bytes.unwrap_or(total_bytes.saturating_sub(state.used_bytes()));
        Ok(Space { free_bytes, total_bytes })
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn DiskLock>, StorageError> {
        let mut state = self.0.lock();
        state.look("lock", path)?;
        if !state.locks.insert(path.to_owned()) {
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
        if matches!(state.step("write", &self.path), Verdict::Fail) {
            // A failing write leaves a part behind, how much depends on where it fails.
            let kept = Dice(state.operations).next(bytes.len() + 1);
            state.files[self.file].bytes.extend_from_slice(&bytes[..kept]);
            return Err(failed("write", &self.path));
        }
        let room = state.room(bytes.len());
        state.files[self.file].bytes.extend_from_slice(&bytes[..room]);
        if room < bytes.len() {
            return Err(io_error("write", &self.path, ErrorKind::StorageFull.into()));
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        let mut state = self.disk.0.lock();
        let fails = matches!(state.step("sync", &self.path), Verdict::Fail);
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
    disk: FakeDisk,
    bytes: Vec<u8>,
    path: PathBuf,
}

impl Region for FakeRegion {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read(&self, offset: u64, len: usize) -> Result<Cow<'_, [u8]>, StorageError> {
        let mut state = self.disk.0.lock();
        state.look("read", &self.path)?;
        let is_hit = |bytes: &Range<u64>| bytes.start < offset.saturating_add(len as u64) && offset < bytes.end;
        if state.unreadable.iter().any(|(path, bytes)| *path == self.path && is_hit(bytes)) {
            return Err(failed("read", &self.path));
        }
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
        assert!(after.contains(&b"safe\0\0\0\0\0"[..]), "{after:?}");
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

    #[test]
    fn sectors_are_lost_in_any_order_and_none_that_was_synced() {
        let disk = disk();
        let mut file = write(&disk, "/d/a", &[1; 100]);
        file.sync().unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        file.append(&[2; 20_000]).unwrap();
        let mut shapes = BTreeSet::new();
        for seed in 0..400 {
            let bytes = disk.crash(seed).bytes(Path::new("/d/a")).unwrap();
            assert!(bytes[..100].iter().all(|byte| *byte == 1) && bytes[100..].iter().all(|byte| *byte % 2 == 0));
            shapes.insert(bytes.chunks(4096).map(|sector| *sector.last().unwrap()).collect::<Vec<u8>>());
        }
        assert!(shapes.contains(&[2, 0, 2, 0, 2][..]) || shapes.contains(&[0, 2, 0, 2, 2][..]) || shapes.len() > 20);
        assert!(shapes.iter().any(|shape| shape.windows(2).any(|pair| pair == [0, 2])), "a later one, an earlier not");
    }

    #[test]
    fn a_file_renamed_across_directories_has_one_name_or_both() {
        let disk = disk();
        disk.create_dir(Path::new("/e")).unwrap();
        write(&disk, "/d/a", b"x").sync().unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        disk.rename(Path::new("/d/a"), Path::new("/e/b")).unwrap();
        let names = |disk: &FakeDisk| (0..50).map(|seed| disk.crash(seed).paths().len()).collect::<BTreeSet<usize>>();
        let synced = disk.kill();
        assert!((0..50).all(|seed| disk.crash(seed).paths().len() == 1), "all of it or nothing");
        synced.sync_dir(Path::new("/e")).unwrap();
        assert_eq!(names(&synced), [1, 2].into());
        synced.sync_dir(Path::new("/d")).unwrap();
        assert_eq!(names(&synced), [1].into());
        assert_eq!(synced.crash(0).paths(), [PathBuf::from("/e/b")]);
    }

    #[test]
    fn reads_fail_too_if_all_calls_are_counted() {
        let disk = disk();
        write(&disk, "/d/a", b"x");
        let path = Path::new("/d/a");
        let region = disk.open(path).unwrap();
        let before = disk.calls().len();
        disk.fail_call_at(2, Failure::Stuck);
        disk.len(path).unwrap();
        disk.list(Path::new("/d")).unwrap();
        assert_eq!(disk.struck(), None);
        region.read_all().unwrap_err();
        region.read_all().unwrap_err();
        disk.len(path).unwrap();
        assert_eq!(disk.calls()[before..], ["stat", "list", "read", "read", "stat"]);
        assert_eq!(disk.struck(), Some("read"));
        disk.fail_call_at(0, Failure::Dead);
        disk.lock(path).unwrap_err();
        disk.open(path).unwrap_err();
        disk.heal();
        disk.open(path).unwrap();
    }

    #[test]
    fn a_full_disk_takes_a_part() {
        let disk = disk();
        disk.set_capacity(10);
        let mut file = write(&disk, "/d/a", b"12345678");
        assert_eq!(disk.space(Path::new("/d")).unwrap(), Space { free_bytes: 2, total_bytes: 10 });
        let full = file.append(b"90x").unwrap_err();
        assert!(matches!(full, StorageError::Io { source, .. } if source.kind() == ErrorKind::StorageFull));
        assert_eq!(disk.bytes(Path::new("/d/a")).unwrap(), b"1234567890");
        disk.remove(Path::new("/d/a")).unwrap();
        write(&disk, "/d/b", b"0123456789");
        assert_eq!(disk.used_bytes(), 10);
    }
}
