//! Saved snapshots: complete data directories below `snapshots/`, which cost no space until the files they share with
//! the store are compacted away there.
//!
//! Sealed files get a second name; what is small and not sealed is copied; the manifest is written last. Until then the
//! directory holds the file `INCOMPLETE`, with which it is neither listed nor opened; what a crash left so is removed
//! by the next save. There is no WAL in it: what was in the head is flushed before, or left out.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::engine::Engine;
use crate::error::StorageError;
use crate::io::Disk;
use crate::manifest::{Manifest, SegmentEntry};
use crate::names::Layout;

/// Longest name of a snapshot, in bytes.
const NAME_BYTES_MAX: usize = 100;

/// A saved snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedSnapshot {
    /// Its name.
    pub name: String,
    /// The data directory that it is.
    pub path: PathBuf,
    /// Bytes of its sealed files, which it may share with the store and with other snapshots.
    pub bytes: u64,
    /// Samples in it; overwritten ones may count more than once.
    pub samples: u64,
}

impl Engine {
    /// Saves the live set of this moment.
    ///
    /// # Errors
    /// I/O errors, and those of `add`.
    pub(crate) fn save_snapshot(
        &self,
        name: &str,
        add: &dyn Fn(&Path) -> Result<(), StorageError>,
    ) -> Result<SavedSnapshot, StorageError> {
        let _one = self.saving.lock();
        let target = self.snapshot_layout(name)?;
        self.remove_incomplete()?;
        if self.disk.list_dirs(&self.layout.snapshots_dir())?.iter().any(|taken| taken == name) {
            return Err(refused(target.root(), std::io::ErrorKind::AlreadyExists, "there is a snapshot of this name"));
        }
        let made = self.make_snapshot(&target, add);
        if made.is_err() {
            // Its links would keep space. What stays all the same does not count, and goes with the next save.
            let _ = discard(&*self.disk, &target);
        }
        Ok(saved(name, &target, &made?))
    }

    fn make_snapshot(
        &self,
        target: &Layout,
        add: &dyn Fn(&Path) -> Result<(), StorageError>,
    ) -> Result<Manifest, StorageError> {
        let disk = &*self.disk;
        disk.create_dir(target.root())?;
        write_durably(disk, &target.incomplete(), b"")?;
        disk.sync_dir(target.root())?;
        let manifest = self.link_live_set(target)?;
        let store = disk.open(&self.layout.store())?.read_all()?.into_owned();
        write_durably(disk, &target.store(), &store)?;
        add(target.root())?;
        write_durably(disk, &target.manifest(manifest.version), &manifest.encode())?;
        disk.sync_dir(target.root())?;
        disk.remove(&target.incomplete())?;
        disk.sync_dir(target.root())?;
        Ok(manifest)
    }

    /// Gives the files of the live set a second name. Under the manifest's lock: an install that gives a file up comes
    /// before the file is removed.
    fn link_live_set(&self, target: &Layout) -> Result<Manifest, StorageError> {
        let store = self.manifest.lock();
        let manifest = Manifest::clone(store.current());
        let names = |file: PathBuf| (self.layout.root().join(&file), target.root().join(&file));
        let links: Vec<(PathBuf, PathBuf)> = manifest.sealed_files().into_iter().map(names).collect();
        let dirs = links.iter().filter_map(|(_, to)| to.parent().map(Path::to_owned));
        let dirs: BTreeSet<PathBuf> = dirs.chain([target.segments_dir()]).collect();
        dirs.iter().try_for_each(|dir| self.disk.create_dir(dir))?;
        links.iter().try_for_each(|(from, to)| self.disk.hard_link(from, to))?;
        drop(store);
        dirs.iter().try_for_each(|dir| self.disk.sync_dir(dir))?;
        Ok(manifest)
    }

    /// The names of the saved snapshots that are whole.
    pub(crate) fn saved_names(&self) -> Result<Vec<String>, StorageError> {
        let dir = self.layout.snapshots_dir();
        if self.disk.list_dirs(self.layout.root())?.iter().all(|name| !dir.ends_with(name)) {
            return Ok(Vec::new());
        }
        let mut names = self.disk.list_dirs(&dir)?;
        names.retain(|name| matches!(self.disk.len(&Layout::new(dir.join(name)).incomplete()), Ok(None)));
        Ok(names)
    }

    /// The saved snapshots that are whole and can be read, by name.
    pub(crate) fn saved_snapshots(&self) -> Result<Vec<SavedSnapshot>, StorageError> {
        let _one = self.saving.lock();
        let mut found = Vec::new();
        for name in self.saved_names()? {
            let layout = Layout::new(self.layout.snapshots_dir().join(&name));
            let version = self.disk.list(layout.root())?.iter().filter_map(|n| crate::names::manifest_version(n)).max();
            let Some(version) = version else { continue };
            let path = layout.manifest(version);
            let manifest = Manifest::decode(&self.disk.open(&path)?.read_all()?, &path)?;
            found.push(saved(&name, &layout, &manifest));
        }
        Ok(found)
    }

    /// Removes a saved snapshot; false if there is none.
    pub(crate) fn remove_saved_snapshot(&self, name: &str) -> Result<bool, StorageError> {
        let _one = self.saving.lock();
        let layout = self.snapshot_layout(name)?;
        if !self.saved_names()?.iter().any(|known| known == name) {
            return Ok(false);
        }
        discard(&*self.disk, &layout)?;
        Ok(true)
    }

    /// Removes what earlier saves left that were cut off.
    fn remove_incomplete(&self) -> Result<(), StorageError> {
        let dir = self.layout.snapshots_dir();
        self.disk.create_dir(&dir)?;
        for name in self.disk.list_dirs(&dir)? {
            let layout = Layout::new(dir.join(&name));
            // One without even that was cut off before it began, or while it was removed.
            let is_begun = !self.disk.list(layout.root())?.is_empty();
            if self.disk.len(&layout.incomplete())?.is_some() || !is_begun {
                remove_tree(&*self.disk, layout.root())?;
            }
        }
        Ok(())
    }

    fn snapshot_layout(&self, name: &str) -> Result<Layout, StorageError> {
        let path = self.layout.snapshots_dir().join(name);
        let is_plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !is_plain {
            let text = "a snapshot's name has 1 to 100 letters, digits, - and _";
            return Err(refused(&path, std::io::ErrorKind::InvalidInput, text));
        }
        Ok(Layout::new(path))
    }
}

fn refused(path: &Path, kind: std::io::ErrorKind, text: &'static str) -> StorageError {
    StorageError::Io { operation: "save", path: path.to_owned(), source: std::io::Error::new(kind, text) }
}

fn saved(name: &str, layout: &Layout, manifest: &Manifest) -> SavedSnapshot {
    SavedSnapshot {
        name: name.to_owned(),
        path: layout.root().to_owned(),
        bytes: manifest.segments.iter().map(SegmentEntry::total_bytes).sum(),
        samples: manifest.segments.iter().map(|entry| entry.samples).sum(),
    }
}

fn write_durably(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    let mut file = disk.create(path)?;
    file.append(bytes)?;
    file.sync()
}

/// Removes a snapshot. Cut off in the middle, it must not look whole.
fn discard(disk: &dyn Disk, layout: &Layout) -> Result<(), StorageError> {
    if disk.len(&layout.incomplete())?.is_none() {
        write_durably(disk, &layout.incomplete(), b"")?;
        disk.sync_dir(layout.root())?;
    }
    remove_tree(disk, layout.root())
}

/// Removes a directory with what is in it; the file `INCOMPLETE` goes last.
fn remove_tree(disk: &dyn Disk, dir: &Path) -> Result<(), StorageError> {
    for inner in disk.list_dirs(dir)? {
        remove_tree(disk, &dir.join(inner))?;
    }
    let marker = Layout::new(dir).incomplete();
    for path in disk.list(dir)?.iter().map(|name| dir.join(name)).filter(|path| *path != marker) {
        disk.remove(&path)?;
    }
    // What was removed must not come back without its mark.
    disk.sync_dir(dir)?;
    disk.remove(&marker)?;
    disk.remove_dir(dir)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::db::tests::{Content, NOW_MS, TestClock, open, options, read_all, write};
    use crate::io::fake::{Failure, FakeDisk};
    use crate::{Db, DbOptions};

    const DAY_MS: i64 = 86_400_000;

    fn content(db: &Db) -> Content {
        read_all(&db.snapshot())
    }

    fn nothing(_: &Path) -> Result<(), StorageError> {
        Ok(())
    }

    fn open_at(disk: &FakeDisk, path: &Path) -> Result<Db, StorageError> {
        let options = DbOptions { data_dir: path.to_owned(), maintenance: false, ..options() };
        Db::open_on(Arc::new(disk.clone()), options, TestClock::new())
    }

    #[test]
    fn a_snapshot_is_a_store_of_its_own_and_outlives_the_files_it_shares() {
        let disk = FakeDisk::default();
        let db = open(&disk);
        write(&db, &[(0, NOW_MS, 1.0), (1, NOW_MS - DAY_MS, 2.0)]).unwrap();
        db.flush().unwrap();
        write(&db, &[(0, NOW_MS + 1, 3.0)]).unwrap();
        let before = content(&db);
        let whole = db.save_snapshot("whole", false, &nothing).unwrap();
        assert_eq!((whole.samples, whole.path.as_path()), (3, Path::new("/data/snapshots/whole")));
        write(&db, &[(0, NOW_MS, 9.0), (2, NOW_MS, 4.0)]).unwrap();
        let sealed = db.save_snapshot("sealed", true, &nothing).unwrap();
        assert_eq!(db.saved_snapshots().unwrap(), [sealed.clone(), whole.clone()]);
        assert_eq!(db.stats().saved_snapshots, 2);
        // The store goes on, and its old files go.
        db.flush().unwrap();
        db.compact().unwrap();
        drop(db);

        // After a power loss, too.
        let disk = disk.crash(3);
        for saved in [whole, sealed] {
            let copy = open_at(&disk, &saved.path).unwrap();
            assert_eq!(content(&copy), before, "{}", saved.name);
            write(&copy, &[(5, NOW_MS, 5.0)]).unwrap();
            copy.flush().unwrap();
            copy.compact().unwrap();
        }
        assert_eq!(content(&open(&disk)).len(), 4, "the store itself is as it was");
    }

    #[test]
    fn names_are_plain_and_taken_once() {
        let db = open(&FakeDisk::default());
        let longest = "n".repeat(NAME_BYTES_MAX);
        db.save_snapshot(&longest, true, &nothing).unwrap();
        assert!(db.save_snapshot(&longest, true, &nothing).unwrap_err().to_string().contains("of this name"));
        for name in ["", ".", "..", "a/b", "a b", "ä", &format!("{longest}n")] {
            let refused = db.save_snapshot(name, true, &nothing).unwrap_err().to_string();
            assert!(refused.contains("letters, digits"), "{name:?}: {refused}");
            assert!(db.remove_saved_snapshot(name).is_err());
        }
        assert!(!db.remove_saved_snapshot("other").unwrap());
        assert!(db.remove_saved_snapshot(&longest).unwrap());
        assert!(db.saved_snapshots().unwrap().is_empty());
        db.save_snapshot(&longest, true, &nothing).unwrap();
    }

    /// Whatever call fails: what is listed opens and is whole, the store itself is untouched, the next save works.
    #[test]
    fn a_save_that_is_cut_off_anywhere_leaves_nothing_that_counts() {
        let disk = FakeDisk::default();
        let db = open(&disk);
        write(&db, &[(0, NOW_MS, 1.0), (1, NOW_MS - DAY_MS, 2.0)]).unwrap();
        db.close().unwrap();
        let mut finished = false;
        for n in 0.. {
            let disk = disk.kill();
            let options = DbOptions { maintenance: false, ..options() };
            let db = Db::open_on(Arc::new(disk.clone()), options, TestClock::new()).unwrap();
            let want = content(&db);
            disk.fail_at(n, Failure::Dead);
            let add = |dir: &Path| write_durably(&disk, &dir.join("catalog.db"), b"rows");
            let outcome = db.save_snapshot("one", true, &add);
            let removed = outcome.is_ok().then(|| db.remove_saved_snapshot("one"));
            drop(db);
            for disk in [disk.kill(), disk.crash(n)] {
                let db = open(&disk);
                assert_eq!(content(&db), want);
                for saved in db.saved_snapshots().unwrap() {
                    assert_eq!(content(&open_at(&disk, &saved.path).unwrap()), want, "{n}");
                    assert_eq!(disk.bytes(&saved.path.join("catalog.db")).unwrap(), b"rows");
                }
                db.save_snapshot("two", false, &nothing).unwrap();
                let names: Vec<String> = db.saved_snapshots().unwrap().into_iter().map(|s| s.name).collect();
                assert!(names.contains(&"two".to_owned()) && names.len() <= 2, "{n}: {names:?}");
            }
            if matches!(removed, Some(Ok(_))) {
                finished = true;
                break;
            }
        }
        assert!(finished);
    }

    /// Its links would keep the space of files that compaction gives up.
    #[test]
    fn a_save_that_fails_leaves_no_files() {
        let disk = FakeDisk::default();
        let db = open_at(&disk, Path::new("/data")).unwrap();
        write(&db, &[(0, NOW_MS, 1.0), (1, NOW_MS - DAY_MS, 2.0)]).unwrap();
        db.flush().unwrap();
        let mut failed = 0;
        for n in 0.. {
            disk.fail_at(n, Failure::Once);
            if db.save_snapshot("one", true, &nothing).is_ok() {
                break;
            }
            failed += 1;
            assert!(disk.paths().iter().all(|path| !path.starts_with("/data/snapshots")), "{n}: {:?}", disk.paths());
        }
        disk.heal();
        assert!(failed > 10, "{failed}");
        assert_eq!(db.saved_snapshots().unwrap().len(), 1);
        let refused = |_: &Path| Err(refused(Path::new("x"), std::io::ErrorKind::Other, "no room"));
        db.save_snapshot("two", true, &refused).unwrap_err();
        assert!(disk.paths().iter().all(|path| !path.starts_with("/data/snapshots/two")));
    }

    #[test]
    fn what_is_not_whole_is_not_opened() {
        let disk = FakeDisk::default();
        let db = open(&disk);
        write(&db, &[(0, NOW_MS, 1.0)]).unwrap();
        let saved = db.save_snapshot("one", false, &nothing).unwrap();
        write_durably(&disk, &saved.path.join("INCOMPLETE"), b"").unwrap();
        let refused = open_at(&disk, &saved.path).unwrap_err().to_string();
        assert!(refused.contains("/data/snapshots/one is not whole"), "{refused}");
        assert!(db.saved_snapshots().unwrap().is_empty());
    }
}
